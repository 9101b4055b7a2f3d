"""A baseline: what was measured of one model, and under which conditions, as plain data.

Kept are *figures*: natural logarithms of amplitudes (roots of second moments), one for each seed, of

- ``scale``, for each weight: ln of the root mean square of its entries;
- ``forward``, for each call of a layer: ln of the amplitude of its pre-activation (of its output where it has none)
  over that of what goes in;
- ``activation``, for each call with an activation function of its own: ln of the amplitude of the output over that of
  the pre-activation;
- ``backward``, for each call: ln of the amplitude of one sample's gradient there over that of the gradients that
  arrive.

These are steps and not levels: a level is the sum of all steps before it, so that its spread grows from layer to layer,
and one change would be seen in all layers behind it. Where a call takes or feeds several others, their mean squares
(forward) or the sum of their squares (backward) are taken.

Nothing here knows Keras or pandas: a baseline is read and checked in milliseconds.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.check_result import CheckResult, Conditions
from initcheck.audit.paths import SiteNode
from initcheck.probe.weights import WeightFacts

Word = Literal["zero", "not finite", "undefined"]
"""What stands for a logarithm that is none: the amplitude is exactly 0, or not finite; or what it is compared with is 0
or was not measured."""

QUANTITIES: Final = ("scale", "forward", "activation", "backward")

LIBRARIES: Final = ("keras", "tensorflow", "initcheck")
"""What is told first when it differs: the libraries that draw and measure."""


@dataclass(frozen=True)
class Figure:
    """One quantity of one layer call or weight.

    Attributes:
        logs: natural logarithms, one for each seed, or a word in place of one that is none.
    """

    logs: tuple[float | Word, ...]

    @classmethod
    def undefined(cls, seeds: int) -> Figure:
        """Make the figure of what was not measured for any seed."""
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
        kind: class of the layer that holds it.
        role: what it is to the layer, in words: ``kernel``, ``query kernel``, ``bias``...
        shape: its shape.
        dtype: its dtype.
        trainable: whether training changes it.
        initializer: its initializer in words, without the seed; empty where it is not known.
        default_initializer: what the class of the layer takes by itself on the installed Keras; empty if not known.
        fan_in: inputs that Keras counted for the initializer.
        fan_out: outputs that it counted.
        mode: which of them the initializer scales with; empty where with none.
        variance: expected variance of the entries; None where it is not known.
        scale: the figure.
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
    scale: Figure


@dataclass(frozen=True)
class SiteRecord:
    """One call of one layer.

    Attributes:
        kind: class of the layer.
        figures: by quantity.
    """

    kind: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Recipe:
    """How to measure the model once more.

    Attributes:
        model: the reference of the model, as on the command line; None where a test made it.
        test: the id of the test that recorded the baseline; None where a command did.
        arguments: keyword arguments of the factory.
        weights: ``redraw`` or ``keep``.
        batch_size: as asked for; None for the default.
        input_shapes: as asked for.
        data: path of the batch, relative to the baseline's folder; None for a batch that is made.
    """

    model: str | None = None
    test: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "redraw"
    batch_size: int | None = None
    input_shapes: tuple[str, ...] = ()
    data: str | None = None


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


DIGITS: Final = 6
"""Decimals that a logarithm keeps: float32 sums are no more exact than that."""

_KEPT_VERSIONS: Final = ("initcheck", "keras", "numpy", "python", "tensorflow")
_INPUT: Final = "Input"

Squares = NDArray[np.float64]
"""Second moments or squared norms, shape [seeds, sites]."""


def take_baseline(result: CheckResult, recipe: Recipe) -> Baseline:
    """Take the figures of a baseline from what was measured.

    Args:
        result: the result of ``initcheck check``.
        recipe: how the same is measured once more.

    Returns:
        The baseline.
    """
    return Baseline(
        label=result.model,
        recipe=replace(recipe, weights="redraw" if result.redrawn else "keep"),
        seeds=result.seeds,
        versions={name: result.versions[name] for name in _KEPT_VERSIONS},
        conditions=result.conditions,
        findings=tuple(sorted({(each.code, each.layer) for each in result.findings})),
        weights=_take_weights(result.facts, result.weights),
        sites=_take_sites(result.table, result.nodes),
    )


def _take_weights(facts: Sequence[WeightFacts], weights: pd.DataFrame) -> dict[str, WeightRecord]:
    norms = weights.pivot(index="seed", columns="weight", values="weight_norm")
    return {
        each.path: WeightRecord(
            kind=each.kind,
            role=each.role,
            shape=each.shape,
            dtype=each.dtype,
            trainable=each.trainable,
            initializer=each.initializer,
            default_initializer=each.default_initializer,
            fan_in=_or_none(each.assumed_fan_in if each.mode else math.nan),
            fan_out=_or_none(each.assumed_fan_out if each.mode else math.nan),
            mode=each.mode,
            variance=_or_none(each.variance),
            scale=_figure(
                norms[each.path].to_numpy(dtype=np.float64, na_value=np.nan) ** 2 / max(1, math.prod(each.shape)),
                np.ones(len(norms)),
            ),
        )
        for each in facts
    }


def _take_sites(table: pd.DataFrame, nodes: Sequence[SiteNode]) -> dict[str, SiteRecord]:
    outputs = _by_position(table, "activation_second_moment")
    entering = _by_position(table, "preactivation_second_moment")
    has_own: NDArray[np.bool_] = np.asarray(~np.isnan(entering).all(axis=0))
    followed = np.where(has_own, entering, outputs)
    gradients = _by_position(table, "gradient_norm") ** 2
    # All moments of what is not finite are undefined; this column alone tells why.
    followed = np.where(_by_position(table, "nonfinite_fraction") > 0.0, np.inf, followed)
    children = _invert([node.parents for node in nodes])
    sites: dict[str, SiteRecord] = {}
    first = table.drop_duplicates("position").sort_values("position")
    for position, (layer, call) in enumerate(zip(first["layer"], first["call"], strict=True)):
        node = nodes[position]
        if node.kind == _INPUT:
            continue
        before = [outputs[:, parent] for parent in node.parents]
        after = [gradients[:, child] for child in children[position]]
        figures = {
            "forward": _figure(followed[:, position], np.mean(before, axis=0) if before else _ones(table)),
            "backward": _figure(gradients[:, position], np.sum(after, axis=0) if after else _ones(table)),
        }
        if has_own[position]:
            figures["activation"] = _figure(outputs[:, position], entering[:, position])
        sites[f"{layer}#{call + 1}" if call else str(layer)] = SiteRecord(node.kind, figures)
    return sites


def _by_position(table: pd.DataFrame, column: str) -> Squares:
    values = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
    frame = pd.Series(values, index=[table["seed"], table["position"]]).unstack("position")
    return frame.to_numpy(dtype=np.float64)


def _ones(table: pd.DataFrame) -> Squares:
    return np.ones(table["seed"].nunique())


def _invert(parents: Sequence[tuple[int, ...]]) -> Mapping[int, list[int]]:
    children: dict[int, list[int]] = {position: [] for position in range(len(parents))}
    for position, above in enumerate(parents):
        for parent in above:
            children[parent].append(position)
    return children


def _figure(squares: Squares, reference: Squares) -> Figure:
    """Make a figure of second moments and of those that they are compared with, one of each for a seed."""
    return Figure(tuple(_log(float(each), float(other)) for each, other in zip(squares, reference, strict=True)))


def _log(square: float, reference: float) -> float | Word:
    if math.isinf(square):
        return "not finite"
    if square == 0.0:
        return "zero"
    if math.isnan(square) or not 0.0 < reference < math.inf:
        return "undefined"
    return round(0.5 * (math.log(square) - math.log(reference)), DIGITS)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
