"""A baseline: what was measured of one model, and under which conditions, as plain data and as a file.

A *metric* is the natural logarithm of an amplitude (the root of a second moment), one for each seed:

- ``scale``, for each weight: ln of the root mean square of its entries;
- ``forward``, for each call of a layer: ln of the amplitude of its pre-activation (of its output where it has none)
  over that of what goes in;
- ``activation``, for each call with an activation function of its own: ln of the amplitude of the output over that of
  the pre-activation;
- ``backward``, for each call: ln of the amplitude of one sample's gradient there over that of the gradients that
  arrive.

- ``total forward`` and ``total backward``, for each path: ln of the amplitude by which the signal, or the gradient,
  changes from one end to the other (:mod:`initcheck.audit.total_change`).

All but the last are changes by one layer and not levels: a level is the sum of all changes before it, so that its
standard deviation grows from layer to layer, and one change would be seen in all layers behind it. Where a call takes
or feeds several others, their mean squares (forward) or the sum of their squares (backward) are taken.

On disk it is sorted JSON that a person reads and a diff shows line by line; its format is ``baseline_schema.json``
beside this file. A file is replaced at once or not at all.

Nothing heavy is imported here, not even NumPy: a baseline is read and checked in milliseconds.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from initcheck.audit.findings import CheckResult, Conditions, Finding, LayerFacts
from initcheck.backend.runtime import BACKEND_LIBRARIES
from initcheck.core.errors import BaselineError
from initcheck.core.files import replace_files

Word = Literal["zero", "not finite", "undefined"]
"""What stands for a logarithm that is none: the amplitude is exactly 0, or not finite; or what it is compared with is 0
or was not measured."""

LIBRARIES: Final = ("keras", *BACKEND_LIBRARIES, "initcheck")
"""The libraries that draw and measure."""

DIGITS: Final = 6
"""Decimals that a logarithm keeps: float32 sums are no more exact than that."""

_KEPT_VERSIONS: Final = (*LIBRARIES, "numpy", "python")

FORMAT: Final = "initcheck baseline"
SCHEMA_VERSION: Final = 3
"""Raised when a reader of the earlier version would misread a file."""

_WORDS: Final = get_args(Word)


@dataclass(frozen=True)
class Metric:
    """One amplitude of a layer call or weight: its logarithm for each seed, or a word in place of one that is none."""

    logs: tuple[float | Word, ...]

    @classmethod
    def undefined(cls, seeds: int) -> Metric:
        """Make the metric of what was not measured for any seed."""
        word: Word = "undefined"
        return cls((word,) * seeds)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The logarithms without the words."""
        return tuple(each for each in self.logs if not isinstance(each, str))

    @property
    def words(self) -> tuple[str, ...]:
        """For each seed its word; empty for a logarithm."""
        return tuple(each if isinstance(each, str) else "" for each in self.logs)

    @property
    def state(self) -> str:
        """``finite``; the word, if all seeds have the same one; else ``partly`` with the most frequent one."""
        counts = Counter(word for word in self.words if word)
        if not counts:
            return "finite"
        word, count = counts.most_common(1)[0]
        return word if count == len(self.logs) else f"partly {word}"

    @property
    def mean(self) -> float:
        """Mean of the logarithms; NaN without any."""
        return statistics.fmean(self.numbers) if self.numbers else math.nan

    @property
    def standard_deviation(self) -> float:
        """Standard deviation of the logarithms over seeds (ddof=1); NaN with fewer than two."""
        return statistics.stdev(self.numbers) if len(self.numbers) > 1 else math.nan


@dataclass(frozen=True)
class WeightRecord:
    """One weight: what draws it, and its scale.

    Attributes:
        initializer: its initializer in words, without the seed; empty where it is not known.
        default_initializer: what the class of the layer takes by itself on the installed Keras; empty if not known.
        mode: which of them the initializer scales with; empty where with none.
        variance: expected variance of the entries; None where it is not known.
        seed: the integer that the user gave its initializer; None without one.
        same_as: structural path of the first weight that one instance of an initializer draws too; empty without.
        error: standard error of the logarithm of its scale, where its value is kept and is one draw; else None.
    """

    kind: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    initializer: str
    default_initializer: str
    fan_in: float | None
    fan_out: float | None
    mode: str
    variance: float | None
    scale: Metric
    seed: int | None = None
    same_as: str = ""
    error: float | None = None


@dataclass(frozen=True)
class SiteRecord:
    """One call of one layer.

    Attributes:
        inputs: the calls that feed it, by structural path.
    """

    kind: str
    metrics: Mapping[str, Metric]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PathRecord:
    """The change along one path, by direction.

    Attributes:
        limits: what the logarithm of the amplitude may change, in size.
    """

    metrics: Mapping[str, Metric]
    limits: Mapping[str, float]


@dataclass(frozen=True)
class FindingRecord:
    """A finding that the model had.

    Attributes:
        layers: structural paths of the layers or weights that it was about, the first one first.
        quantity: what its value is; empty without one.
        value: the value that it rested on; None without one, as are the ends of its interval and its limit.
    """

    code: str
    layers: tuple[str, ...]
    quantity: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Recipe:
    """How to measure the model once more.

    Attributes:
        model: the reference of the model, as on the command line; None where a test made it.
        test: the id of the test that recorded the baseline; None where a command did.
        batch_size: None for the default.
        data: path of the batch's file from the baseline's folder, with slashes; None for a batch that is made.
    """

    model: str | None = None
    test: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "redraw"
    batch_size: int | None = None
    input_shapes: tuple[str, ...] = ()
    data: str | None = None

    def data_file(self, folder: Path) -> Path | None:
        """Find the batch's file from the baseline's folder, whichever platform wrote its path."""
        if self.data is None:
            return None
        path = folder / self.data
        return path if path.exists() else folder / self.data.replace("\\", "/")


@dataclass(frozen=True)
class Baseline:
    """What was measured of one model, how, and under which conditions.

    Attributes:
        label: the model's name for reports.
        recipe: how to measure it once more.
        seeds: the seed of each draw.
        versions: of the libraries, Python and NumPy.
        conditions: under which was measured.
        findings: those of ``initcheck check`` at the time: the known ones.
        weights: by structural path (``initcheck.probe.paths``), which is the same in every process.
        sites: likewise, with ``#2`` for the second call.
        names: by structural path, the name that people saw, where that is another.
        layers: what is not random of each layer; empty where the file is older than that (schema versions 1 and 2).
        calls: the keys of ``sites`` in the order of execution.
        paths: by the ends of the path, ``inputs -> outputs`` for the main one.
        set_aside: code and layer of the findings that settings left out; a file does not hold them.
    """

    label: str
    recipe: Recipe
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    conditions: Conditions
    findings: tuple[FindingRecord, ...]
    weights: Mapping[str, WeightRecord]
    sites: Mapping[str, SiteRecord]
    names: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, LayerFacts] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    paths: Mapping[str, PathRecord] = field(default_factory=dict)
    set_aside: tuple[tuple[str, str], ...] = ()

    @property
    def redrawn(self) -> bool:
        """Whether weights were drawn for each seed, or measured as they were."""
        return self.recipe.weights != "keep"

    @classmethod
    def from_result(cls, result: CheckResult, recipe: Recipe) -> Baseline:
        """Make the baseline of what ``initcheck check`` measured; the recipe says how it is measured once more."""
        from initcheck.checking.gate.metrics import read_paths, read_sites, read_weights

        keys = result.keys
        sites = read_sites(result.table, result.nodes, keys)
        return cls(
            label=result.model,
            recipe=replace(recipe, weights=_weights_of(result)),
            seeds=result.seeds,
            versions={name: result.versions[name] for name in sorted(_KEPT_VERSIONS) if name in result.versions},
            conditions=result.conditions,
            findings=tuple(_record_finding(each, result) for each in result.findings if not each.note),
            weights=read_weights(result.facts, result.weights),
            sites=sites,
            names={key: name for name, key in keys.items() if key != name},
            layers=result.layers,
            calls=tuple(sites),
            paths=read_paths(result.paths, keys),
            set_aside=tuple((each.code, keys.get(name, name)) for each in result.waived for name in each.named),
        )

    def names_by_key(self) -> dict[str, str]:
        """Map the structural path of all that is named here to its name for people."""
        layers = [*self.layers, *(key.partition("#")[0] for key in self.sites)]
        found = [layer for each in self.findings for layer in each.layers]
        return {key: self.names.get(key, key) for key in (*layers, *found, *self.weights)} | dict(self.names)


def _record_finding(finding: Finding, result: CheckResult) -> FindingRecord:
    """Record a finding with its layers; one about a path has all layers of it, whichever passed the limit first."""
    named = [finding.layer, *finding.layers]
    if finding.rule.of_paths:
        for judged in result.paths:
            levels = judged.levels
            if levels.direction in finding.rule.directions and finding.layer in levels.layers:
                named += levels.layers
    layers = tuple(result.keys.get(each, each) for each in dict.fromkeys(named))
    measured = finding.measured
    if measured is None:
        return FindingRecord(finding.code, layers)
    numbers = (measured.value, measured.low, measured.high, measured.limit)
    value, low, high, limit = (float(f"{each:.6g}") if math.isfinite(each) else None for each in numbers)
    return FindingRecord(finding.code, layers, measured.quantity, value, low, high, limit, measured.seeds)


def _weights_of(result: CheckResult) -> str:
    """Say how the weights of a check come about once more; ``auto`` where some were drawn and some kept."""
    if not result.redrawn:
        return "keep"
    return "auto" if result.loaded else "redraw"


# --- baselines on disk ------------------------------------------------------------------------------------------------


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
    for path, owner in [*document["sites"].items(), *document.get("paths", {}).items()]:
        found += [(f"{quantity} of {path}", metric) for quantity, metric in owner["figures"].items()]
    return found


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(Path(__file__).with_name("baseline_schema.json").read_text("utf-8")))


def _to_plain(baseline: Baseline) -> dict[str, Any]:
    return {
        "model": baseline.label,
        "recipe": asdict(baseline.recipe),
        "seeds": list(baseline.seeds),
        "versions": dict(baseline.versions),
        "conditions": asdict(baseline.conditions),
        "findings": [
            {**vars(each), "layers": list(each.layers)}
            for each in sorted(baseline.findings, key=lambda each: (each.code, each.layers))
        ],
        "weights": {
            path: {**vars(weight), "shape": list(weight.shape), "scale": _metric_to_plain(weight.scale)}
            for path, weight in baseline.weights.items()
        },
        "sites": {
            path: {
                "kind": site.kind,
                "figures": _metrics_to_plain(site.metrics),
                "inputs": list(site.inputs),
            }
            for path, site in baseline.sites.items()
        },
        "names": dict(baseline.names),
        "layers": {path: dict(vars(layer)) for path, layer in baseline.layers.items()},
        "calls": list(baseline.calls),
        "paths": {
            path: {"figures": _metrics_to_plain(each.metrics), "limits": dict(each.limits)}
            for path, each in baseline.paths.items()
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
        findings=tuple(map(_finding_from_plain, document["findings"])),
        weights={
            path: WeightRecord(
                **{**weight, "shape": tuple(weight["shape"]), "scale": _metric_from_plain(weight["scale"], seeds)}
            )
            for path, weight in document["weights"].items()
        },
        sites={
            path: SiteRecord(
                site["kind"],
                _metrics_from_plain(site["figures"], seeds),
                tuple(site.get("inputs", ())),
            )
            for path, site in document["sites"].items()
        },
        names=document.get("names", {}),
        layers={path: LayerFacts(**layer) for path, layer in document.get("layers", {}).items()},
        calls=tuple(document.get("calls", document["sites"])),
        paths={
            path: PathRecord(_metrics_from_plain(each["figures"], seeds), each["limits"])
            for path, each in document.get("paths", {}).items()
        },
    )


def _finding_from_plain(plain: Any) -> FindingRecord:
    if isinstance(plain, list):  # schema versions 1 and 2
        code, layer = plain
        return FindingRecord(code, (layer,))
    return FindingRecord(**{**plain, "layers": tuple(plain["layers"])})


def _metrics_to_plain(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: _metric_to_plain(metric) for name, metric in metrics.items()}


def _metrics_from_plain(plain: Mapping[str, Any], seeds: int) -> dict[str, Metric]:
    return {name: _metric_from_plain(metric, seeds) for name, metric in plain.items()}


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
