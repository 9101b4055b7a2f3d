"""Baselines on disk: sorted JSON that a person reads and a diff shows line by line.

The format is ``baseline_schema.json`` beside this file. A file is replaced at once or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, get_args

from initcheck.audit.findings import Conditions
from initcheck.checking.gate.baseline import DIGITS, Baseline, Metric, Recipe, SiteRecord, WeightRecord, Word
from initcheck.core.errors import BaselineError
from initcheck.core.files import replace_files

FORMAT: Final = "initcheck baseline"
SCHEMA_VERSION: Final = 1
"""Raised when a reader of the earlier version would misread a file."""

_WORDS: Final = get_args(Word)


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline so that the file is there whole, or as it was before."""
    write_baselines({path: baseline})


def write_baselines(baselines: Mapping[Path, Baseline]) -> None:
    """Write several baselines, so that all files are replaced or none is."""
    replace_files({path.absolute(): format_baseline(baseline) for path, baseline in baselines.items()})


def format_baseline(baseline: Baseline) -> str:
    """Write a baseline as JSON: keys sorted, a list of numbers on one line, a line break at the end."""
    document = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **_to_plain(baseline)}
    return _format(document, "") + "\n"


def _format(value: Any, margin: str) -> str:
    """Write dicts over lines with sorted keys, and everything else on one line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    inner = f"{margin} "
    entries = [f"{inner}{json.dumps(key, ensure_ascii=False)}: {_format(value[key], inner)}" for key in sorted(value)]
    return "{\n" + ",\n".join(entries) + f"\n{margin}}}"


def read_baseline(path: Path) -> Baseline:
    """Read a baseline and check all of it."""
    named = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BaselineError(f"There is no baseline {named!r}. Record it: initcheck baseline MODEL -o {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"The baseline {named!r} cannot be read: {_in_line(error)}. Check the path.") from error
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise BaselineError(
            f"The baseline {named!r} is damaged or no JSON: {_in_line(error)}. Restore it, or record it anew."
        ) from error
    _check_document(document, named)
    return _from_plain(document)


def _check_document(document: Any, named: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BaselineError(f"{named!r} is no baseline of initcheck. Give a file that 'initcheck baseline' wrote.")
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BaselineError(
            f"The baseline {named!r} is of schema version {version}, and this initcheck reads {SCHEMA_VERSION}. "
            "Install a newer initcheck, or record the baseline anew."
        )
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(document))
    if error is not None:
        raise BaselineError(f"The baseline {named!r} is damaged: {error.json_path}: {_shorten(error.message)}.")
    for where, metric in _metrics(document):
        if "logs" in metric:
            _check_metric(metric, where, len(document["seeds"]), named)


def _check_metric(metric: dict[str, Any], where: str, seeds: int, named: str) -> None:
    """Compare the logarithms with their number and their mean: whoever edits a file by hand forgets one of the two."""
    if len(metric["logs"]) != seeds:
        raise BaselineError(f"The baseline {named!r} is damaged: {where} has {len(metric['logs'])} logs, not {seeds}.")
    mean = Metric(tuple(metric["logs"])).mean
    given = math.nan if metric["mean"] is None else metric["mean"]
    if not (abs(mean - given) <= 10.0**-DIGITS or (math.isnan(mean) and math.isnan(given))):
        raise BaselineError(f"The baseline {named!r} is damaged: the mean of {where} is not that of its logs.")


def _metrics(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [(f"the scale of {path}", weight["scale"]) for path, weight in document["weights"].items()]
    for path, site in document["sites"].items():
        found += [(f"{quantity} of {path}", metric) for quantity, metric in site["figures"].items()]
    return found


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(Path(__file__).with_name("baseline_schema.json").read_text("utf-8")))


def _to_plain(baseline: Baseline) -> dict[str, Any]:
    return {
        "model": baseline.label,
        "recipe": dataclasses.asdict(baseline.recipe),
        "seeds": list(baseline.seeds),
        "versions": dict(baseline.versions),
        "conditions": dataclasses.asdict(baseline.conditions),
        "findings": [list(each) for each in sorted(baseline.findings)],
        "weights": {
            path: {**_fields(weight), "shape": list(weight.shape), "scale": _metric_to_plain(weight.scale)}
            for path, weight in baseline.weights.items()
        },
        "sites": {
            path: {
                "kind": site.kind,
                "figures": {name: _metric_to_plain(metric) for name, metric in site.metrics.items()},
            }
            for path, site in baseline.sites.items()
        },
    }


def _from_plain(document: dict[str, Any]) -> Baseline:
    seeds = len(document["seeds"])
    recipe = {**document["recipe"], "input_shapes": tuple(document["recipe"]["input_shapes"])}
    return Baseline(
        label=document["model"],
        recipe=Recipe(**recipe),
        seeds=tuple(document["seeds"]),
        versions=document["versions"],
        conditions=Conditions(**document["conditions"]),
        findings=tuple((code, layer) for code, layer in document["findings"]),
        weights={
            path: WeightRecord(
                **{**weight, "shape": tuple(weight["shape"]), "scale": _metric_from_plain(weight["scale"], seeds)}
            )
            for path, weight in document["weights"].items()
        },
        sites={
            path: SiteRecord(
                site["kind"], {name: _metric_from_plain(metric, seeds) for name, metric in site["figures"].items()}
            )
            for path, site in document["sites"].items()
        },
    )


def _fields(weight: WeightRecord) -> dict[str, Any]:
    return {each.name: getattr(weight, each.name) for each in dataclasses.fields(weight)}


def _metric_to_plain(metric: Metric) -> dict[str, Any]:
    if metric.state in _WORDS:
        return {"state": metric.state}
    return {"mean": _rounded(metric.mean), "sd": _rounded(metric.standard_deviation), "logs": list(metric.logs)}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def _metric_from_plain(plain: dict[str, Any], seeds: int) -> Metric:
    if "state" in plain:
        return Metric((plain["state"],) * seeds)
    logs: list[float | Word] = plain["logs"]
    return Metric(tuple(logs))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that a baseline holds")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _in_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")


def _shorten(message: str, length: int = 200) -> str:
    message = " ".join(message.split()).rstrip(".")
    return message if len(message) <= length else f"{message[:length]}..."
