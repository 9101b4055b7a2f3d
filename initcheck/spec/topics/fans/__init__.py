"""Claims on fans: what an initializer assumes of a layer, against what the layer does.

Where Keras counts other units than the layer has, the sentence is asserted as refuted, and a second claim says which
units Keras counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import INITIALIZERS
from initcheck.spec import causes
from initcheck.spec.claim import Claim, ExactRow, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, AllWithin, EstimateWithin
from initcheck.spec.subjects import to_numpy
from initcheck.spec.topics.fans import special
from initcheck.spec.topics.fans.cases import LayerKind, fans_of_shape, layer_kinds
from initcheck.spec.topics.fans.measurement import (
    MARGIN,
    SCALINGS,
    Fans,
    LayerVariance,
    Mode,
    Scaling,
    documented_variance,
)
from initcheck.spec.versions import INITIALIZER_AXES

MODES: Final[tuple[Mode, ...]] = ("fan_in", "fan_out", "fan_avg")
_SCALE: Final = 2.5
_MEMBERS: Final = 16
"""More than the numbers that one claim draws, for how large a sample each needs."""
_NEEDED: Final = math.ceil(2.0 * math.log(CLAIM_FALSE_ALARM / _MEMBERS) / math.log1p(-MARGIN))
"""Weights of which the largest lacks more than half the margin with the share of one in the claim's false alarms."""
_LACK: Final = -0.5 * math.log1p(-MARGIN)
"""Of the logarithm of the limit."""

Axes = tuple[tuple[int, ...] | None, tuple[int, ...] | None]


@dataclass(frozen=True)
class Shaped:
    """A shape and the fans that are documented for it."""

    shape: tuple[int, ...]
    fans: Fans
    axes: Axes = (None, None)
    drawn: tuple[int, ...] | None = None
    """The shape that is drawn in its place, the defect of a control; None for none."""

    @property
    def label(self) -> str:
        """The text that seeds derive from; another text would give other numbers."""
        fans = f"Fans(into={self.fans.fan_in}, out={self.fans.fan_out})"
        return f"Shaped(shape={self.shape}, fans={fans}, axes={self.axes}, drawn={self.drawn})"


def _largest_of(context: RunContext, shaped: Shaped, mode: Mode) -> tuple[float, int]:
    """Draw enough weights that the largest comes near the limit; give it, and how many there were."""

    def draw() -> tuple[float, int]:
        drawn = shaped.drawn or shaped.shape
        count = math.ceil(_NEEDED / math.prod(drawn))
        given = {
            name: list(axes) for name, axes in zip(("input_axes", "output_axes"), shaped.axes, strict=True) if axes
        }
        largest = 0.0
        for seed in context.seeds(f"fans/{shaped.label}/{mode}/{_SCALE}", count):
            initializer = import_keras().initializers.VarianceScaling(_SCALE, mode, "uniform", seed=seed, **given)
            largest = max(largest, float(np.abs(to_numpy(initializer(drawn))).max()))
        return largest, count * math.prod(drawn)

    return context.remember(("fans/largest", shaped, mode), draw)


_ONE: Final = Shaped((1, 1), Fans(1, 1))
"""One input and one output: the limit of its weights is the scale's alone."""


@dataclass(frozen=True)
class CountedByShape:
    """The units that the initializer counts, by how much smaller its limit is than with one input and one output.

    The scale, and whatever else is the same for all shapes, has no part in it. The limit goes with 1 / sqrt(n), and the
    largest of so many weights lacks next to nothing of it, on either side of the ratio. The deviation is that of the
    logarithm.
    """

    shapes: tuple[Shaped, ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        for shaped, mode in itertools.product(self.shapes, MODES):
            (one, _), (largest, count) = _largest_of(context, _ONE, mode), _largest_of(context, shaped, mode)
            documented = math.sqrt(documented_variance(1.0, mode, shaped.fans))
            counted = (one / largest) ** 2 if largest > 0.0 else math.inf
            deviation = abs(math.log(largest / one / documented)) if largest > 0.0 < one else math.nan
            seen = f"counted {counted:.3g}, documented {documented**-2:.3g}"
            yield ExactRow(f"{shaped.shape} {mode}", deviation, _LACK, count, seen)


@dataclass(frozen=True)
class Modes:
    """What the three modes count of one shape, compared with each other.

    Whatever the inputs and outputs of the shape are taken for, and whatever the scale is: fan_in and fan_out are as
    different as they are documented to be, or the other way round, and fan_avg is the mean of both.
    """

    shaped: Shaped
    modes: tuple[Mode, ...] = MODES
    """What is drawn in the place of each; others for a control."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        largest = [_largest_of(context, self.shaped, mode) for mode in self.modes]
        count = sum(number for _, number in largest)
        with np.errstate(divide="ignore", invalid="ignore"):
            fan_in, fan_out, fan_avg = np.asarray([value for value, _ in largest]) ** -2.0
            differ = min(fan_in, fan_out) / max(fan_in, fan_out)
            mean = abs(np.log(fan_avg / ((fan_in + fan_out) / 2.0)))
        yield ExactRow("fan_in and fan_out, smaller over larger", float(differ), 0.5, count)
        seen = f"{fan_avg / (fan_in + fan_out):.3g} of their sum"
        yield ExactRow("fan_avg against the mean of both, logarithm", float(mean), 2.0 * _LACK, count, seen)


_RANKS: Final[tuple[tuple[tuple[tuple[int, ...], ...], str], ...]] = (
    (((),), "a scalar has one input and one output"),
    (((40,), (640,)), "a vector's length is both its inputs and its outputs"),
    (((3, 8), (96, 20)), "a matrix has its rows as inputs and its columns as outputs"),
    (((3, 4, 9), (5, 24, 2)), "a kernel's inputs and outputs are its last two axes times its one spatial axis"),
    (((3, 2, 4, 9), (5, 3, 12, 2)), "a kernel's inputs and outputs are its last two axes times its area"),
    (((3, 2, 4, 2, 9), (2, 3, 2, 12, 2)), "a kernel's inputs and outputs are its last two axes times its volume"),
)
"""By rank: shapes, and what is documented of them."""
_AXES: Final = (
    Shaped((3, 4, 5, 6), Fans(4, 18), ((1,), (0, 3))),
    Shaped((8, 3, 16), Fans(48, 8), ((1, 2), (0,))),
    Shaped((12, 40), Fans(40, 12), ((1,), (0,))),
)
_SOURCE: Final = "Keras, keras.initializers.VarianceScaling"


def _claims_on_counting() -> Iterator[Claim]:
    """List the claims, of which those on axes are of a Keras that has them."""
    uneven = Shaped((3, 48), Fans(3, 48))
    yield Claim(
        "fans.computation.modes",
        "VarianceScaling's modes count three different numbers of units, and fan_avg the mean of the other two's.",
        _SOURCE,
        f"shape {uneven.shape}; uniform",
        Modes(uneven),
        AllWithin("deviation of what is counted", false_alarm=CLAIM_FALSE_ALARM),
        Modes(uneven, ("fan_in", "fan_in", "fan_in")),
        "fan_in in place of all three",
        rows=("A7",),
    )
    decide = AllWithin("logarithm of the limit, off by", false_alarm=CLAIM_FALSE_ALARM)
    for rank, (sizes, words) in enumerate(_RANKS):
        shapes = tuple(Shaped(shape, fans_of_shape(shape)) for shape in sizes)
        yield Claim(
            f"fans.computation.rank_{rank}",
            f"VarianceScaling counts by shape: {words}.",
            _SOURCE,
            f"shapes {', '.join(map(str, sizes))}, against one input and one output; all three modes; uniform",
            CountedByShape(shapes),
            decide,
            CountedByShape(tuple(replace(each, drawn=_of_other_fans(each.shape)) for each in shapes)),
            "the weights of another shape, whose inputs or outputs are others",
            slow=rank == 0,
            rows=("A16",) if rank == 1 else ("A7",),
        )
    yield from _claims_on_axes(decide)


def _of_other_fans(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 2:
        return (*(shape or (1,)), 1 if shape else 2)
    return (*shape[:-2], shape[-1], shape[-2])


def _claims_on_axes(decide: AllWithin) -> Iterator[Claim]:
    # With input axes alone: fan_in by them is 12, by the shape 40.
    by_shape, outputs = (Shaped((40, 12), Fans(40, 12), axes) for axes in (((1,), None), (None, (0,))))
    condition = "against one input and one output; all three modes; uniform"
    claim = partial(Claim, source=_SOURCE, decide=decide, keras=INITIALIZER_AXES, rows=("S5",))
    yield claim(
        id="fans.computation.axes",
        statement="VarianceScaling with input_axes and output_axes counts the axes that it is given.",
        condition=f"shapes {', '.join(str(each.shape) for each in _AXES)}; {condition}",
        experiment=CountedByShape(_AXES),
        control=CountedByShape(tuple(replace(each, axes=(None, None)) for each in _AXES)),
        control_note="no axes given",
        rows=("B7",),
    )
    yield claim(
        id="fans.computation.input_axes_alone",
        statement="VarianceScaling with input_axes alone counts these as inputs.",
        condition=f"shape (40, 12), input_axes [1]; {condition}",
        experiment=CountedByShape((replace(by_shape, fans=Fans(12, 12)),)),
        control=CountedByShape((Shaped((40, 12), Fans(12, 12), ((1,), (1,))),)),
        control_note="output_axes given too",
        expected="refuted",
        cause=causes.AXES_ALONE,
    )
    yield claim(
        id="fans.computation.axes_alone_ignored",
        statement="VarianceScaling with only one of input_axes and output_axes counts as if it had neither.",
        source=f"{_SOURCE} (its behaviour)",
        condition=f"shape (40, 12), input_axes [1] or output_axes [0]; {condition}",
        experiment=CountedByShape((by_shape, outputs)),
        control=CountedByShape((Shaped((40, 12), Fans(40, 12), ((1,), (0,))),)),
        control_note="both given",
    )


_DECIDE: Final = EstimateWithin("variance over what the fans say", 1.0 - MARGIN, 1.0 + MARGIN)
_COUNTED: Final[dict[Mode, str]] = {
    "fan_in": "its inputs",
    "fan_out": "its outputs",
    "fan_avg": "the mean of its inputs and outputs",
}


def claims() -> Iterator[Claim]:
    """List the claims of this topic."""
    for kind, scaling in itertools.product(layer_kinds(), SCALINGS):
        yield from _claims(kind, scaling)
    yield from _claims_on_counting()
    yield from special.claims()


def _claims(kind: LayerKind, scaling: Scaling) -> Iterator[Claim]:
    experiment = LayerVariance(kind.slug, scaling, kind.cases)
    wrong = scaling.mode in kind.wrong
    # A sentence that holds is false where other units are counted; one that is false holds with the right variance.
    other: Mode = "fan_in" if scaling.mode == "fan_avg" else "fan_out"
    name = scaling.spec.class_name
    source = f"Keras, keras.initializers.{name} and keras.layers.{kind.cases[0].layer}; {INITIALIZERS[name].source}"
    outputs = any(case.position is not None for case in kind.cases)
    condition = "; ".join(case.name for case in kind.cases) + (
        "; independent inputs of mean square one, outputs away from the borders" if outputs else ""
    )
    stated = f"{name} gives weights of variance {scaling.scale:g} over {_COUNTED[scaling.mode]}"
    measured = ", and outputs of the variance that follows" if outputs else ""
    claim = Claim(
        f"fans.{kind.slug}.{scaling.slug}",
        f"In {kind.words}, {stated}{measured}.",
        source,
        condition,
        experiment,
        _DECIDE,
        replace(experiment, corrected=True) if wrong else replace(experiment, mode=other),
        "kernels rescaled to the units that the layer really has" if wrong else f"kernels scaled by {_COUNTED[other]}",
        expected="refuted" if wrong else "holds",
        cause=kind.cause,
        keras=kind.keras,
        # Two initializers show the fans of a layer; the others, and three dimensions, show that none is an exception.
        slow=scaling.slug not in ("glorot_uniform", "he_normal") or "3d" in kind.slug,
        rows=kind.rows,
    )
    yield claim
    # Of a bias, and of attention, which is wrong in old versions of Keras only, two initializers show how: the claims
    # of all six would take the specification past the false alarms that it may have.
    if wrong and not (claim.slow and ("attention" in kind.slug or "bias" in kind.slug)):
        yield replace(
            claim,
            id=f"{claim.id}_as_counted",
            statement=f"In {kind.words}, {name} scales with the units that the shape of the kernel says, "
            f"so that {kind.outcome}.",
            experiment=replace(experiment, by="shape"),
            control=replace(experiment, by="shape", corrected=True),
            expected="holds",
        )
