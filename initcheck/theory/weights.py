"""How the entries of a kernel are distributed, from its initializer and its fans, worked out without Keras.

Two pairs of fans belong to a kernel. Those that the *initializer* assumes come from the kernel's shape and set the
variance of the scaled initializers. The *true* ones say how many terms the layer sums. They differ for depthwise
and transposed convolutions.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initcheck.core.errors import TheoryError
from initcheck.models.initializers import (
    AXES,
    INITIALIZERS,
    KURTOSIS,
    Distribution,
    InitializerSpec,
    KernelCall,
    check_number,
)


@dataclass(frozen=True)
class WeightDistribution:
    """How the entries of one kernel are distributed, and how many of them meet in a unit.

    Attributes:
        kurtosis: E w⁴ / (E w²)²: 3 for the normal, 2.3655 for the normal truncated at two standard deviations,
            9/5 for the uniform distribution. NaN for the orthogonal: its entries depend on each other, so that
            no formula for independent entries holds, whatever the kurtosis of one of them (3n/(n + 2) with n
            the longer side).
    """

    distribution: Distribution
    variance: float
    kurtosis: float
    fan_in: float
    fan_out: float

    @property
    def forward_gain(self) -> float:
        """σ_w² = fan_in · variance: the mean square of a pre-activation over that of its inputs (bias apart)."""
        return self.fan_in * self.variance

    @property
    def backward_gain(self) -> float:
        """fan_out · variance: the mean square *per unit* of the gradient at the inputs over that at the outputs.

        He's and Glorot's backward conditions set this one to 2 and to 1 (Glorot & Bengio, 2010; He et al., 2015).
        """
        return self.fan_out * self.variance

    @property
    def norm_gain(self) -> float:
        """fan_in · variance: the squared *norm* of the gradient at the inputs over that at the outputs.

        With n inputs and m outputs the norm sums n units where it summed m, so the factor per unit, m · variance,
        becomes n · variance: the forward gain once more. A stack that keeps the mean square of its
        pre-activations keeps the gradient's norm, whatever the widths in between.
        """
        return self.fan_in * self.variance


def weight_distribution(
    spec: InitializerSpec, shape: tuple[int, ...], fans: tuple[float, float] | None = None
) -> WeightDistribution:
    """Work out how the entries of a kernel are distributed; its true fans are by default those that Keras computes."""
    sizes = _check_shape(shape)
    settings = _read_settings(spec)
    assumed = _compute_fans(spec, sizes, settings)
    if fans is None:
        fans = assumed
    elif not all(0 < fan < math.inf for fan in fans):
        raise TheoryError(
            f"The fans must be finite and above 0. Received: {fans!r}. Pass the numbers of inputs that a unit sums and "
            "of outputs that an input feeds."
        )
    draw = INITIALIZERS[spec.class_name].draw
    assert draw is not None  # settings were read
    drawn = draw(KernelCall(spec.label, settings, sizes, assumed))
    if drawn.mean != 0:
        raise TheoryError(
            f"A weight mean of {drawn.mean:g} adds a rank-one term that grows with the square of the fan-in, and mean "
            f"field leaves it out. Received: {spec.label}. "
            f"Use {'minval=-maxval' if 'minval' in settings else 'mean=0'}."
        )
    if not (0 < drawn.variance < math.inf):
        raise TheoryError(
            f"The weights must have a variance above 0 and finite. Received: {spec.label}, variance "
            f"{drawn.variance:g}. Use a stddev, minval and maxval, scale or gain that gives one."
        )
    kurtosis = KURTOSIS[drawn.distribution]
    return WeightDistribution(drawn.distribution, drawn.variance, kurtosis, float(fans[0]), float(fans[1]))


def count_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Count (fan_in, fan_out) as Keras does by the shape alone: the axes before the last two are the kernel's area."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    area = math.prod(shape[:-2])
    return area * shape[-2], area * shape[-1]


def _check_shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Make the sizes plain integers, and refuse what is no count."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise TheoryError(
            f"A kernel's shape must be whole numbers, 1 or more. Received: {shape!r}. Pass the shape that the "
            "initializer is called with."
        )
    return sizes


def _read_settings(spec: InitializerSpec) -> dict[str, Any]:
    """Complete the arguments of a spec with the defaults of its class; refuse what theory has no distribution for."""
    known = INITIALIZERS.get(spec.class_name)
    if known is None:
        drawn = ", ".join(sorted(name for name, row in INITIALIZERS.items() if row.draw is not None))
        raise TheoryError(f"The distribution of the weights is not known. Received: {spec.label}. Use one of {drawn}.")
    if known.draw is None:
        raise TheoryError(
            f"{spec.class_name} leaves nothing to chance, and mean field averages over random weights: "
            f"{known.values}. Received: {spec.label}. Use an initializer that draws its weights, such as HeNormal."
        )
    settings = {**known.arguments, **known.fixed}
    allowed = [*known.arguments, *(AXES if known.scales else ())]
    for name, value in spec.arguments:
        if name not in allowed:
            takes = f"Use {', '.join(allowed)}."
            raise TheoryError(f"{spec.class_name} has no argument {name!r}. Received: {spec.label}. {takes}")
        settings[name] = check_number(name, value, known.arguments.get(name), spec.label)
    return settings


def _compute_fans(spec: InitializerSpec, shape: tuple[int, ...], settings: Mapping[str, Any]) -> tuple[int, int]:
    """Compute the fans that Keras' initializer assumes; one pair of axes without the other is ignored, as there."""
    input_axes, output_axes = (settings.get(name) for name in AXES)
    if input_axes is not None and output_axes is not None:
        try:
            return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
        except (IndexError, TypeError):
            raise TheoryError(
                f"The axes must be whole numbers that the kernel's shape has. Received: {spec.label} and shape "
                f"{shape!r}. Use numbers from 0 to {len(shape) - 1}."
            ) from None
    return count_fans(shape)
