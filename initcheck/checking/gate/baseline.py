"""A baseline: what was measured of one model, and under which conditions, as plain data.

A *metric* is the natural logarithm of an amplitude (the root of a second moment), one for each seed:

- ``scale``, for each weight: ln of the root mean square of its entries;
- ``forward``, for each call of a layer: ln of the amplitude of its pre-activation (of its output where it has none)
  over that of what goes in;
- ``activation``, for each call with an activation function of its own: ln of the amplitude of the output over that of
  the pre-activation;
- ``backward``, for each call: ln of the amplitude of one sample's gradient there over that of the gradients that
  arrive.

These are changes by one layer and not levels: a level is the sum of all changes before it, so that its standard
deviation grows from layer to layer, and one change would be seen in all layers behind it. Where a call takes or feeds
several others, their mean squares (forward) or the sum of their squares (backward) are taken.

Nothing heavy is imported here, not even NumPy: a baseline is read and checked in milliseconds.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from initcheck.audit.findings import CheckResult, Conditions

Word = Literal["zero", "not finite", "undefined"]
"""What stands for a logarithm that is none: the amplitude is exactly 0, or not finite; or what it is compared with is 0
or was not measured."""

LIBRARIES: Final = ("keras", "tensorflow", "initcheck")
"""The libraries that draw and measure."""

DIGITS: Final = 6
"""Decimals that a logarithm keeps: float32 sums are no more exact than that."""

_KEPT_VERSIONS: Final = ("initcheck", "keras", "numpy", "python", "tensorflow")


@dataclass(frozen=True)
class Metric:
    """One amplitude of one layer call or weight.

    Attributes:
        logs: natural logarithms, one for each seed, or a word in place of one that is none.
    """

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


@dataclass(frozen=True)
class SiteRecord:
    """One call of one layer."""

    kind: str
    metrics: Mapping[str, Metric]


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
        findings: code and layer of each finding of ``initcheck check`` at the time: the known ones.
        weights: by path.
        sites: by path, with ``#2`` for the second call.
    """

    label: str
    recipe: Recipe
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    conditions: Conditions
    findings: tuple[tuple[str, str], ...]
    weights: Mapping[str, WeightRecord]
    sites: Mapping[str, SiteRecord]

    @property
    def redrawn(self) -> bool:
        """Whether weights were drawn for each seed, or measured as they were."""
        return self.recipe.weights == "redraw"

    @classmethod
    def from_result(cls, result: CheckResult, recipe: Recipe) -> Baseline:
        """Make the baseline of what ``initcheck check`` measured; the recipe says how it is measured once more."""
        from initcheck.checking.gate.metrics import read_sites, read_weights

        return cls(
            label=result.model,
            recipe=replace(recipe, weights="redraw" if result.redrawn else "keep"),
            seeds=result.seeds,
            versions={name: result.versions[name] for name in _KEPT_VERSIONS},
            conditions=result.conditions,
            findings=tuple(sorted({(each.code, each.layer) for each in result.findings})),
            weights=read_weights(result.facts, result.weights),
            sites=read_sites(result.table, result.nodes),
        )
