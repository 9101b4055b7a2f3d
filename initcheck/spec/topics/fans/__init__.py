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
SCALES: Final = (0.7, 2.5)
_ROUNDING: Final = 1e-5

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


@dataclass(frozen=True)
class UniformReach:
    """How far the largest weight is from the limit that the fans say, in every mode and for several scales."""

    shapes: tuple[Shaped, ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        """Draw enough weights that the largest comes near the limit."""
        members = list(itertools.product(self.shapes, MODES, SCALES))
        needed = math.ceil(2.0 * math.log(CLAIM_FALSE_ALARM / len(members)) / math.log1p(-MARGIN))
        for shaped, mode, scale in members:
            drawn = shaped.drawn or shaped.shape
            count = math.ceil(needed / math.prod(drawn))
            largest = 0.0
            given = {
                name: list(axes) for name, axes in zip(("input_axes", "output_axes"), shaped.axes, strict=True) if axes
            }
            for seed in context.seeds(f"fans/{shaped.label}/{mode}/{scale}", count):
                initializer = import_keras().initializers.VarianceScaling(scale, mode, "uniform", seed=seed, **given)
                largest = max(largest, float(np.abs(to_numpy(initializer(drawn))).max()))
            documented = math.sqrt(3.0 * documented_variance(scale, mode, shaped.fans))
            # Beyond the limit nothing is tolerated but rounding; below it, what the largest of so many may lack.
            deviation = 1.0 - largest / documented
            deviation = math.inf if deviation < -_ROUNDING else deviation
            name = f"{shaped.shape} {mode} scale {scale}"
            yield ExactRow(name, deviation, 1.0 - math.sqrt(1.0 - MARGIN), count * math.prod(drawn))


_RANKS: Final[tuple[tuple[tuple[tuple[int, ...], ...], str], ...]] = (
    (((),), "a scalar has one input and one output"),
    (((5,), (64,)), "a vector's length is both its inputs and its outputs"),
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
    decide = AllWithin("what the largest weight lacks of the limit sqrt(3 scale / n)", false_alarm=CLAIM_FALSE_ALARM)
    for rank, (sizes, words) in enumerate(_RANKS):
        shapes = tuple(Shaped(shape, fans_of_shape(shape)) for shape in sizes)
        yield Claim(
            f"fans.computation.rank_{rank}",
            f"VarianceScaling counts by shape: {words}.",
            _SOURCE,
            f"shapes {', '.join(map(str, sizes))}; all three modes; scales .7 and 2.5; uniform",
            UniformReach(shapes),
            decide,
            UniformReach(tuple(replace(each, drawn=_of_other_fans(each.shape)) for each in shapes)),
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
    condition = "all three modes; scales .7 and 2.5; uniform"
    claim = partial(Claim, source=_SOURCE, decide=decide, keras=INITIALIZER_AXES, rows=("S5",))
    yield claim(
        id="fans.computation.axes",
        statement="VarianceScaling with input_axes and output_axes counts the axes that it is given.",
        condition=f"shapes {', '.join(str(each.shape) for each in _AXES)}; {condition}",
        experiment=UniformReach(_AXES),
        control=UniformReach(tuple(replace(each, axes=(None, None)) for each in _AXES)),
        control_note="no axes given",
        rows=("B7",),
    )
    yield claim(
        id="fans.computation.input_axes_alone",
        statement="VarianceScaling with input_axes alone counts these as inputs.",
        condition=f"shape (40, 12), input_axes [1]; {condition}",
        experiment=UniformReach((replace(by_shape, fans=Fans(12, 12)),)),
        control=UniformReach((Shaped((40, 12), Fans(12, 12), ((1,), (1,))),)),
        control_note="output_axes given too",
        expected="refuted",
        cause=causes.AXES_ALONE,
    )
    yield claim(
        id="fans.computation.axes_alone_ignored",
        statement="VarianceScaling with only one of input_axes and output_axes counts as if it had neither.",
        source=f"{_SOURCE} (its behaviour)",
        condition=f"shape (40, 12), input_axes [1] or output_axes [0]; {condition}",
        experiment=UniformReach((by_shape, outputs)),
        control=UniformReach((Shaped((40, 12), Fans(40, 12), ((1,), (0,))),)),
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
