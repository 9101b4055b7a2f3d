"""The options of ``initcheck check``: names, types and defaults, and ``[tool.initcheck]`` in pyproject.toml.

Nothing heavy is imported here: the plugin of pytest checks the marker of each test with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from initcheck.audit.findings import SharedPattern
from initcheck.audit.limits import Limits
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.seeds import FEWEST_SEEDS, check_seed, whole_number

Weights = Literal["auto", "redraw", "keep"]

LARGEST_MARGIN: Final = 1.0

DEFAULT_STEPS: Final = 100
"""Steps of training of ``--prove``."""


@dataclass(frozen=True)
class CheckSettings:
    """How to check.

    Attributes:
        seeds: number of draws; None chooses by the size of the model (``default_seeds``).
        first_seed: the first of their seeds; None begins with 0, or where the baseline begins.
        weights: ``redraw`` all for each seed, by the model's own initializers, or ``keep`` all as they are; ``auto``
            keeps those alone that these initializers cannot have drawn: weights that were loaded or trained.
        batch_size: samples of a batch that is made; None chooses by the size of a sample.
        input_shapes: shapes of inputs that the model leaves open.
        select: prefixes of codes, or names, of the findings that are wanted; empty for all.
        ignore: likewise, of those that are not.
        waive: names of layers or weights that may have findings, with wildcards.
        allow_inconclusive: whether what could not be decided (IC603) is let pass.
        fixes: whether changes that might fix a finding are tried.
        prove: steps for which the model is trained as it is, and with each fix; 0 for none.
        stop_early: whether a slow model is measured on fewer draws, where the number is left open and the first decide.
        limits: the limits.
    """

    seeds: int | None = None
    first_seed: int | None = None
    weights: Weights = "auto"
    batch_size: int | None = None
    input_shapes: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    waive: tuple[str, ...] = ()
    allow_inconclusive: bool = False
    fixes: bool = True
    prove: int = 0
    stop_early: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.seeds is not None and (isinstance(self.seeds, bool) or self.seeds < FEWEST_SEEDS):
            raise UsageError(
                f"seeds must be at least {FEWEST_SEEDS}: an interval needs two draws or more. Received: {self.seeds!r}."
            )
        if self.first_seed is not None:
            check_seed(self.first_seed)
        if whole_number(self.prove, 0) is None:
            raise UsageError(f"prove must be a whole number of steps, 0 for none. Received: {self.prove!r}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1. Received: {self.batch_size!r}.")
        if self.weights not in get_args(Weights):
            raise UsageError(f"weights must be 'auto', 'redraw' or 'keep'. Received: {self.weights!r}.")
        for name, prefixes in (("select", self.select), ("ignore", self.ignore)):
            for each in prefixes:
                _check_finding(name, each)


CHECK_OPTIONS: Final = tuple(each.name for each in fields(CheckSettings))

GATE_OPTIONS: Final = ("margin", "auto_seeds")
"""What a comparison with a baseline takes beside them."""

_DECIDED_BY_BASELINE: Final = ("seeds", "batch_size")

_KINDS: Final = {
    **dict.fromkeys(("seeds", "first_seed", "batch_size", "auto_seeds", "prove"), "a whole number"),
    **dict.fromkeys(("allow_inconclusive", "fixes", "stop_early"), "true or false"),
    **dict.fromkeys(("input_shapes", "select", "ignore", "waive"), "a list of strings"),
    "margin": "a number",
    "limits": "a table of numbers",
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "a whole number": (int,),
    "a number": (int, float),
    "true or false": (bool,),
}

PROJECT_KEYS: Final = ("seeds", "batch-size", "select", "ignore", "waive", "allow-inconclusive", "limits")
"""What ``[tool.initcheck]`` takes."""


def check_option(name: str, value: Any, where: str, *, one_string: bool = False) -> Any:
    """Check the type of an option, and bring it to the type that :class:`CheckSettings` has."""
    kind = _KINDS.get(name, "")
    if kind == "a list of strings":
        strings = (value,) if one_string and isinstance(value, str) else value
        if isinstance(strings, list | tuple) and all(isinstance(each, str) for each in strings):
            return tuple(strings)
    elif kind == "a table of numbers":
        if isinstance(value, Mapping):
            return Limits().replaced(value)
        if isinstance(value, Limits):
            return value
    elif not kind or type(value) in _TYPES[kind]:
        return value
    raise UsageError(f"{where} must be {kind}. Received: {value!r}.")


def check_margin(margin: float) -> None:
    """Check that a margin can be used."""
    if not (0.0 < margin <= LARGEST_MARGIN):
        raise UsageError(
            f"margin must be above 0 and at most {LARGEST_MARGIN:g}: 0.05 allows 5%. Received: {margin!r}."
        )


def choose_settings(settings: CheckSettings | None, options: Mapping[str, Any]) -> CheckSettings:
    """Take the settings, or make them of single options."""
    if settings is not None and options:
        raise TypeError(f"Give settings or single options, not both. Received both: {sorted(options)}.")
    return settings or CheckSettings(**options)


def override(settings: Mapping[str, Any], **given: Any) -> CheckSettings:
    """Let what was given on the command line win over the project's settings; None and () mean not given."""
    return CheckSettings(**{**settings, **{name: value for name, value in given.items() if value not in (None, ())}})


def leave_to_baseline(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a project's settings what a baseline decides: it is compared draw by draw, on the same batch."""
    return {name: value for name, value in settings.items() if name not in _DECIDED_BY_BASELINE}


def read_project_settings(folder: Path) -> dict[str, Any]:
    """Read ``[tool.initcheck]`` of the nearest pyproject.toml, searched from a folder upwards."""
    path = find_project_file(folder)
    return {} if path is None else _read_table(path)


def find_project_file(folder: Path) -> Path | None:
    """Find the nearest pyproject.toml, from a folder upwards; None where there is none."""
    files = (place / "pyproject.toml" for place in (folder.absolute(), *folder.absolute().parents))
    return next((path for path in files if path.is_file()), None)


def split_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Split options that take several words apart at commas: ``IC1,IC2``."""
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def default_seeds(weights: int) -> int:
    """Choose how many draws are measured: 16, 8 above 5 million numbers, 5 above 30 million.

    Five draws still give intervals that part a factor of 100 from 1; large models vary less from draw to draw.
    """
    return 16 if weights <= 5_000_000 else 8 if weights <= 30_000_000 else 5


def _check_finding(option: str, prefix: str) -> None:
    from initcheck.audit.rules import FAMILIES, RULES, matches_rule

    if not any(matches_rule(prefix, code) for code in RULES):
        known = [*FAMILIES, *RULES, *(rule.name for rule in RULES.values())]
        raise name_unknown(f"finding in {option}", prefix, known)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}. Fix the file.") from error
    table = document.get("tool", {}).get("initcheck", {})
    if not isinstance(table, dict):
        raise UsageError(f"[tool.initcheck] in {str(path)!r} must be a table. Received: {table!r}.")
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in PROJECT_KEYS:
            raise name_unknown(f"key of [tool.initcheck] in {str(path)!r}", key, PROJECT_KEYS)
        name = key.replace("-", "_")
        found[name] = check_option(name, value, f"{key} of [tool.initcheck] in {str(path)!r}")
    if "waive" in found:
        found["waive"] = tuple(SharedPattern(each) for each in found["waive"])
    return found
