"""What ``initcheck check`` is asked to do, and ``[tool.initcheck]`` in pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from initcheck.audit.limits import Limits
from initcheck.audit.rules import FAMILIES, RULES, matches_rule
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.seeds import FEWEST_SEEDS, check_seed

Weights = Literal["redraw", "keep"]


@dataclass(frozen=True)
class CheckSettings:
    """How to check.

    Attributes:
        seeds: number of draws; None chooses by the size of the model (:func:`default_seeds`).
        first_seed: the first of their seeds.
        weights: ``redraw`` the model's own initializers for each seed, or ``keep`` the weights as they are.
        batch_size: samples of a batch that is made; None chooses by the size of a sample.
        input_shapes: shapes of inputs that the model leaves open.
        select: prefixes of codes, or names, of the findings that are wanted; empty for all.
        ignore: likewise, of those that are not.
        waive: paths of layers or weights that may have findings, with wildcards.
        allow_inconclusive: whether what could not be decided (IC603) is let pass.
        remedies: whether changes are tried.
        limits: the limits.
    """

    seeds: int | None = None
    first_seed: int = 0
    weights: Weights = "redraw"
    batch_size: int | None = None
    input_shapes: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    waive: tuple[str, ...] = ()
    allow_inconclusive: bool = False
    remedies: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.seeds is not None and (isinstance(self.seeds, bool) or self.seeds < FEWEST_SEEDS):
            raise UsageError(
                f"seeds must be at least {FEWEST_SEEDS}: an interval needs two draws or more. Received: {self.seeds!r}."
            )
        check_seed(self.first_seed)
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1. Received: {self.batch_size!r}.")
        if self.weights not in ("redraw", "keep"):
            raise UsageError(f"weights must be 'redraw' or 'keep'. Received: {self.weights!r}.")
        for name, prefixes in (("select", self.select), ("ignore", self.ignore)):
            for each in prefixes:
                if not any(matches_rule(each, code) for code in RULES):
                    known = [*FAMILIES, *RULES, *(rule.name for rule in RULES.values())]
                    raise name_unknown(f"finding in {name}", each, known)


def default_seeds(weights: int) -> int:
    """Choose how many draws are measured: 16, 8 above 5 million numbers, 5 above 30 million.

    Five draws still give intervals that part a factor of 100 from 1; large models vary less from draw to draw.

    Args:
        weights: how many numbers the model's weights hold.
    """
    return 16 if weights <= 5_000_000 else 8 if weights <= 30_000_000 else 5


_PROJECT_KEYS: Final = ("seeds", "batch-size", "select", "ignore", "waive", "allow-inconclusive", "limits")


def read_project_settings(folder: Path) -> dict[str, Any]:
    """Read ``[tool.initcheck]`` of the nearest pyproject.toml, searched from a folder upwards.

    Args:
        folder: where the search begins.

    Returns:
        Fields of :class:`CheckSettings` by name; empty without such a file or table.

    Raises:
        UsageError: the file is no TOML, or a key is unknown or of the wrong type.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        path = place / "pyproject.toml"
        if path.is_file():
            return _read_table(path)
    return {}


def override(settings: Mapping[str, Any], **given: Any) -> CheckSettings:
    """Let what was given on the command line win over the project's settings; None and () mean not given."""
    return CheckSettings(**{**settings, **{name: value for name, value in given.items() if value not in (None, ())}})


def _read_table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}. Mend the file.") from error
    table = document.get("tool", {}).get("initcheck", {})
    if not isinstance(table, dict):
        raise UsageError(f"[tool.initcheck] in {str(path)!r} must be a table. Received: {table!r}.")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _PROJECT_KEYS:
            raise name_unknown(f"key of [tool.initcheck] in {str(path)!r}", name, _PROJECT_KEYS)
        found[name.replace("-", "_")] = _typed(name, value, path)
    return found


def _typed(name: str, value: Any, path: Path) -> Any:
    where = f"{name} of [tool.initcheck] in {str(path)!r}"
    if name in ("select", "ignore", "waive"):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise UsageError(f"{where} must be a list of strings. Received: {value!r}.")
        return tuple(value)
    if name == "limits":
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table of numbers. Received: {value!r}.")
        return Limits().replaced(value)
    wanted = bool if name == "allow-inconclusive" else int
    if type(value) is not wanted:
        raise UsageError(
            f"{where} must be {'true or false' if wanted is bool else 'a whole number'}. Received: {value!r}."
        )
    return value


def split_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Split options that take several words apart at commas: ``IC1,IC2``."""
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())
