"""What theory needs to know of a batch of inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, expect_pair, find_activation
from initcheck.theory.mean_field import (
    CRITICAL_TOLERANCE,
    ActivationLike,
    FixedPoint,
    check_sigmas,
    find_fixed_point,
    map_variance,
)

_GROUPS: Final = 12


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What theory needs to know of a batch.

    Attributes:
        second_moments: mean x^2 of each sample, shape [B].
        fourth_moment_sum: S_4 = sum x^4 / (sum x^2)^2, averaged over the samples: 3/(n + 2) for Gaussian inputs, 1 for
            one-hot ones.
        correlations: cosines of pairs of samples, the means of up to 12 groups, shape [K]; empty for one sample.
        shares: the share of all pairs that each group holds, shape [K].
        correlation_variances: the variance within each group, shape [K].
        gradient_cosines: r_a . r_b / mean |r|^2 of the gradients at the outputs, averaged over each group of pairs,
            shape [K]. The gradients of the weights are summed over the batch, so the loss's directions matter for them.
    """

    second_moments: Array
    fourth_moment_sum: float
    correlations: Array
    shares: Array
    correlation_variances: Array
    gradient_cosines: Array


def describe_batch(x: ArrayLike, output_gradients: ArrayLike | None = None) -> InputStatistics:
    """Describe a batch.

    Args:
        x: shape [B, ...]; a sample's numbers are the inputs of the first layer.
        output_gradients: dL/dy of each sample, shape [B, ...]; by default without correlation between samples.

    Raises:
        TheoryError: a sample is zero or not finite: it carries no signal to follow.
    """
    samples = np.asarray(x, dtype=np.float64)
    samples = samples.reshape(samples.shape[0], -1)
    square = np.square(samples)
    energy = square.sum(axis=1)
    if not (np.isfinite(energy).all() and (energy > 0.0).all()):
        raise TheoryError(
            "Every sample must be finite and not all zeros, to have a signal to follow. Received: one that is not. "
            "Leave it out."
        )
    cosines = (samples @ samples.T) / np.sqrt(np.outer(energy, energy))
    above = np.triu_indices(samples.shape[0], 1)
    pairs = np.clip(cosines[above], -1.0, 1.0)
    order = np.argsort(pairs)
    groups = np.array_split(order, min(_GROUPS, pairs.size)) if pairs.size else []
    gradients = np.zeros(pairs.size)
    if output_gradients is not None:
        directions = np.asarray(output_gradients, dtype=np.float64).reshape(samples.shape[0], -1)
        gram = directions @ directions.T
        gradients = gram[above] / np.diag(gram).mean()
    return InputStatistics(
        second_moments=square.mean(axis=1),
        fourth_moment_sum=float(np.mean(np.square(square).sum(axis=1) / np.square(energy))),
        correlations=np.asarray([pairs[group].mean() for group in groups]),
        shares=np.asarray([group.size / pairs.size for group in groups]),
        correlation_variances=np.asarray([pairs[group].var() for group in groups]),
        gradient_cosines=np.asarray([gradients[group].mean() for group in groups]),
    )


def single_input(size: int, second_moment: float = 1.0) -> InputStatistics:
    """Describe one dense input: size numbers as a Gaussian distribution would draw them, of the given mean square."""
    return InputStatistics(np.asarray([second_moment]), 3.0 / (size + 2.0), *(np.empty(0) for _ in range(4)))


def map_correlation(
    activation: ActivationLike, correlation: float, q: float, sigma_w2: float, sigma_b2: float = 0.0
) -> float:
    """Take the correlation of two inputs' pre-activations to that in the next layer.

    C(c) = (sigma_w^2 E phi(u) phi(v) + sigma_b^2) / V(q), where u and v have variance q and correlation c. At the fixed
    point V(q) = q, and the slope of C at c = 1 is chi_1.

    Args:
        q: the variance of both.
        sigma_w2: fan_in Var(W).
        sigma_b2: variance of the biases.

    Returns:
        C(c).
    """
    check_sigmas(sigma_w2, sigma_b2)
    both = sigma_w2 * expect_pair(activation, q, correlation) + sigma_b2
    return both / float(map_variance(activation, q, sigma_w2, sigma_b2))


@dataclass(frozen=True)
class CorrelationFixedPoint:
    """Where the correlation of two inputs settles.

    Attributes:
        correlation: c*; 1 in the ordered phase, where all inputs become alike.
        slope: C'(c*) = sigma_w^2 E phi'(u) phi'(v): deviations are multiplied by this in each layer.
    """

    correlation: float
    slope: float


def find_correlation_fixed_point(
    activation: ActivationLike, sigma_w2: float, sigma_b2: float = 0.0, fixed_point: FixedPoint | None = None
) -> CorrelationFixedPoint:
    """Find the stable fixed point c* of the correlation map at q*.

    C is a power series with coefficients >= 0 (Daniely, Frostig and Singer 2016), so it is convex on [0, 1]: for
    chi_1 <= 1 its only fixed point there is 1, for chi_1 > 1 there is one more, below 1, and that one is stable.

    Args:
        sigma_w2: fan_in Var(W).
        sigma_b2: variance of the biases.

    Returns:
        c* and the slope there; NaN where q* is 0 or infinite, or phi linear, since nothing settles. For functions
        without a scale of their own (ReLU) correlations do not depend on q: without biases they approach 1 like 1/l^2,
        with slope 1.
    """
    phi = find_activation(activation)
    if phi.has_jumps:
        raise TheoryError(
            f"The correlation map of the activation {phi.name!r} has no slope at 1, because the function jumps: its "
            "gradient tells nothing of the jumps. Choose a continuous activation."
        )
    point = fixed_point or find_fixed_point(phi, sigma_w2, sigma_b2)
    q = point.q
    if not (0.0 < q < math.inf):
        if sigma_b2 == 0.0 and _bends_without_scale(phi):
            return CorrelationFixedPoint(1.0, 1.0)
        return CorrelationFixedPoint(math.nan, math.nan)
    if not point.chi_backward > 1.0 + CRITICAL_TOLERANCE:
        if sigma_b2 == 0.0 and abs(map_correlation(phi, 0.5, q, sigma_w2) - 0.5) < 1e-12:
            return CorrelationFixedPoint(math.nan, math.nan)  # a linear network keeps every correlation
        return CorrelationFixedPoint(1.0, point.chi_backward)

    def excess(c: float) -> float:
        return map_correlation(phi, c, q, sigma_w2, sigma_b2) - c

    correlation = 0.0
    if excess(0.0) > 1e-14:
        # The nearer to criticality, the nearer to 1 is c*: go there until the map lies below the diagonal.
        distance = 0.5
        while excess(1.0 - distance) >= 0.0 and distance > 1e-9:
            distance *= 0.25
        correlation = float(optimize.brentq(excess, 0.0, 1.0 - distance, xtol=1e-14))
    return CorrelationFixedPoint(correlation, sigma_w2 * expect_pair(phi, q, correlation, slopes=True))


def _bends_without_scale(phi: Activation) -> bool:
    """Tell whether phi(a x) = a phi(x) for a > 0 only, as for ReLU: correlations behave alike at every variance."""
    x = np.asarray([0.2, 1.0, 3.0])
    homogeneous = np.allclose(phi(1000.0 * x), 1000.0 * phi(x), rtol=1e-9, atol=0.0)
    homogeneous &= np.allclose(phi(-1000.0 * x), 1000.0 * phi(-x), rtol=1e-9, atol=0.0)
    return bool(homogeneous and not np.allclose(phi(-x), -phi(x)))
