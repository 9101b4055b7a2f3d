"""The signal between two layers as mean-field theory sees it, what layers do to it, and what is predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from scipy import interpolate

from initcheck.core.errors import TheoryError
from initcheck.probe.layer_kinds import main_kernel
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_network import DenseLayer, Gain
from initcheck.theory.gaussian import Activation, evaluate_on_grid, expand
from initcheck.theory.weights import WeightDistribution

_FEW: Final = 32


_KNOTS: Final = 96


@dataclass(frozen=True, eq=False)
class Signal:
    """One tensor. All expectations are over the weights; shapes are [B] or, with spatial axes, [B, ...].

    Attributes:
        cross: E x_a x_b of two samples, shape [B, B]; None where it is not known, as with spatial axes.
        units: size of the feature axis.
        sources: the places of the nodes whose fresh weights, or data, the signal consists of. Two signals without a
            common one are independent, given what lies before them.
        variance: variance of the Gaussian variable of which the signal is a function; None if there is none.
        covariance: covariance of that variable between samples, shape [B, B]; None where it is not known.
        function: that function; None for the Gaussian itself.
        excess: E z^4 / (E z^2)^2 - 3 of that variable, where it is not quite Gaussian: a normalized batch lies on a
            sphere.
        restarted: the layer from whose measured value the prediction was restarted; empty if from none.
    """

    second: Array
    mean: Array
    cross: Array | None
    units: int
    sources: frozenset[int]
    variance: Array | None = None
    covariance: Array | None = None
    function: Activation | None = None
    excess: float = 0.0
    data: Array | None = None
    restarted: str = ""


def make_input(data: Array, place: int) -> Signal:
    """Describe an input of the model by its values, shape [B, ..., units]."""
    flat = data.ndim == 2
    return Signal(
        second=np.square(data).mean(axis=-1),
        mean=data.mean(axis=-1),
        cross=data @ data.T / data.shape[-1] if flat else None,
        units=int(data.shape[-1]),
        sources=frozenset({place}),
        data=data,
    )


def make_gaussian(variance: Array, covariance: Array | None, units: int, place: int, restarted: str) -> Signal:
    """Describe the pre-activations of a layer with fresh weights."""
    return Signal(
        second=variance,
        mean=np.zeros_like(variance),
        cross=covariance,
        units=units,
        sources=frozenset({place}),
        variance=variance,
        covariance=covariance,
        restarted=restarted,
    )


def apply_activation(signal: Signal, phi: Activation) -> tuple[Signal, Array]:
    """Pass a signal through an activation function."""
    if signal.variance is None:
        raise TheoryError(f"what enters the activation {phi.name!r} is no function of a Gaussian")
    phi.require_moments()
    before = signal.function
    composed = phi if before is None else _compose(phi, before)
    mean, second, slope = moments_over(composed, signal.variance, signal.excess)
    if before is not None:
        # The gradient behind phi is wanted with respect to the signal, not to the Gaussian behind it.
        slope = slope / np.maximum(moments_over(before, signal.variance, signal.excess)[2], np.finfo(np.float64).tiny)
    cross = None
    if signal.covariance is not None:
        cross = _cross_moments(composed, signal.variance, signal.covariance, second)
    return replace(signal, second=second, mean=mean, cross=cross, function=composed, data=None), slope


def _compose(outer: Activation, inner: Activation) -> Activation:
    return Activation(f"{outer.name} of {inner.name}", lambda x: outer.function(inner.function(x)))


def moments_over(phi: Activation, variance: Array, excess: float = 0.0) -> tuple[Array, Array, Array]:
    """Compute E phi, E phi^2 and E phi'^2 at many variances: exactly at a few, from a spline over ln q at more.

    A kurtosis of 3 + excess shifts E f by excess E[f He_4] / 24.
    """
    flat = variance.ravel()
    unique, index = np.unique(flat, return_inverse=True)
    if unique.size <= _FEW:
        found = _exact(phi, unique, excess)
        mean, second, slope = (part[index].reshape(variance.shape) for part in found)
    else:
        positive = unique[unique > 0.0]
        knots = np.geomspace(positive[0], positive[-1], _KNOTS)
        found = _exact(phi, np.concatenate([[0.0], knots]), excess)
        logarithm = np.log(np.maximum(flat, positive[0]))
        parts = [
            np.where(flat > 0.0, interpolate.make_interp_spline(np.log(knots), part[1:])(logarithm), part[0])
            for part in found
        ]
        mean, second, slope = (np.asarray(part).reshape(variance.shape) for part in parts)
    return mean, np.maximum(second, 0.0), np.maximum(slope, 0.0)


def _exact(phi: Activation, variance: Array, excess: float) -> tuple[Array, Array, Array]:
    grid = evaluate_on_grid(phi, variance)
    z2 = np.square(grid.z)
    shift = excess / 24.0 * (z2 * z2 - 6.0 * z2 + 3.0) if excess else 0.0
    with np.errstate(all="ignore"):
        parts = (grid.value, np.square(grid.value), np.square(grid.slope))
        found = tuple(grid.expect(part * (1.0 + shift)) for part in parts)
    if not all(np.isfinite(part).all() for part in found):
        raise TheoryError(f"moments of the activation {phi.name!r} diverge or overflow at this variance")
    return found[0], found[1], found[2]


def _cross_moments(phi: Activation, variance: Array, covariance: Array, second: Array) -> Array:
    """Compute E phi(u_a) phi(u_b), with the correlation's effect taken at the typical variance."""
    typical = float(np.exp(np.mean(np.log(np.maximum(variance, np.finfo(np.float64).tiny)))))
    grid = evaluate_on_grid(phi, typical)
    size = float(grid.expect(np.square(grid.value))[0])
    if not size > 0.0:
        return np.zeros_like(covariance)
    expansion = expand(grid.z[0], grid.weight[0], np.nan_to_num(grid.value / math.sqrt(size)))
    root = np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    correlation = np.clip(covariance / np.outer(root, root), -1.0, 1.0)
    series = expansion.expect_products(correlation.ravel())[:, 0, 0].reshape(correlation.shape)
    cross = series * np.sqrt(np.outer(second, second))
    np.fill_diagonal(cross, second)
    return np.asarray(cross)


# --- what a layer does to a signal ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """How one layer's weights are distributed; the kernel is None for a layer without one."""

    kernel: WeightDistribution | None
    bias_variance: float


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of one layer."""

    operation: Any
    inputs: Sequence[Signal]
    place: int
    weights: LayerWeights
    training: bool


Backward = Callable[[Array], Sequence[Array]]
"""From E (dL/dx)^2 at the output, by sample and place, to that at each input."""


@dataclass(frozen=True, eq=False)
class LayerEffect:
    """What a layer does to the signal; the pre-activation is None without a fused activation function."""

    output: Signal
    backward: Backward
    preactivation: Signal | None = None
    slope: Array | None = None


def require_kernel(weights: LayerWeights) -> WeightDistribution:
    """Return the distribution of a layer's kernel."""
    if weights.kernel is None:
        raise TheoryError("the distribution of its kernel is not known")
    return weights.kernel


def join_restarts(inputs: Sequence[Signal]) -> str:
    """Name the layers from whose measured values the predictions of several signals were restarted."""
    return ", ".join(dict.fromkeys(signal.restarted for signal in inputs if signal.restarted))


def pass_unchanged(call: LayerCall) -> LayerEffect:
    """Pass on the signal as it is."""
    return LayerEffect(call.inputs[0], lambda gradient: (gradient,))


# --- what is predicted ------------------------------------------------------------------------------------------------


FINITE_WIDTH: Final = "finite width"


MEAN_FIELD: Final = "mean field"


SiteKey = tuple[str, int]
"""Path of the layer, and number of its call, as in the measurement table."""


Measured = Mapping[SiteKey, Mapping[str, float]]
"""Means over seeds of measured quantities, by site; what predictions restart from."""


WeightsOf = Callable[[Any], LayerWeights]
"""From a layer to how its weights are distributed; raises TheoryError where there is none."""


@dataclass
class SitePrediction:
    """What is predicted of one site."""

    values: dict[str, float] = field(default_factory=dict)
    basis: str = MEAN_FIELD


@dataclass(frozen=True)
class RepeatedLayers:
    """Hidden layers of which all after the first are alike, so that theory can go on with more of them."""

    layers: tuple[DenseLayer, ...]
    input_second_moment: float


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """What is predicted of a model."""

    sites: Mapping[SiteKey, SitePrediction]
    gains: Mapping[str, Gain]
    basis: str
    unknown: Mapping[str, str]
    repeated: RepeatedLayers | None = None


def describe_weights(values: dict[str, float], operation: Any, weights: WeightDistribution | None) -> None:
    """Add what is known of a kernel's entries.

    The variance of N independent entries has the relative standard deviation sqrt((kurtosis - 1) / N), the norm half of
    it. The norm of an orthogonal kernel is the same in every draw.
    """
    kernel = main_kernel(operation) if weights is not None else None
    if weights is None or kernel is None:
        return
    count = math.prod(kernel.shape)
    deviation = 0.0 if weights.distribution == "orthogonal" else math.sqrt((weights.kurtosis - 1.0) / count)
    values["weight_variance"] = weights.variance
    values["weight_variance_sd"] = weights.variance * deviation
    values["weight_norm"] = math.sqrt(weights.variance * count)
    values["weight_norm_sd"] = 0.5 * deviation * values["weight_norm"]
