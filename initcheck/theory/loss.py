"""The cross-entropy loss of a softmax at initialization, and the gradient that it sends back.

The logits of a class are independent N(0, s^2), K classes, one label drawn without regard to them; y is the label as a
one-hot vector and p the softmax. dL/dlogits = p - y for one sample, over the batch size for a mean over the batch.

With E_i exponential and T = min_i (ln E_i - s z_i), exp(T) S is exponential for S = sum_i exp(s z_i). So, with gamma
Euler's constant and L(t) = E exp(-t e^(s z)), and the integral over all t > 0,

    E ln S = -gamma - E T,    P(T > ln t) = L(t)^K,    E p_1^2 = integral t L''(t) L(t)^(K - 1) dt:

two one-dimensional integrals, smooth in ln t. E T is Frullani's integral for E ln S, integrated by parts.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from initcheck.theory.arguments import check_count, check_number

Array = NDArray[np.float64]

# Trapezoidal sums of functions analytic within pi / 2 of the real axis: the error is about exp(-pi^2 / step).
_STEP: Final = 0.25
_REACH: Final = 10.0
_LOWEST: Final = -45.0  # exp of it is 3e-20
_HIGHEST: Final = 6.5  # exp(-exp of it) is 5e-289
_WIDE: Final = 1.0


class _Transforms(NamedTuple):
    """Means over z of functions of t e^(s z), on a grid of ln t.

    Attributes:
        logarithm: ln E exp(-t e^(s z)).
        first: E[t e^(s z) exp(-t e^(s z))].
        second: E[(t e^(s z))^2 exp(-t e^(s z))].
    """

    logarithm: Array
    first: Array
    second: Array


def compute_zero_logits_cross_entropy(classes: int) -> float:
    """Compute the cross-entropy at equal logits: ln K.

    Args:
        classes: K, at least 2.

    Returns:
        The loss of a sample in nats, whatever its label.

    Raises:
        TheoryError: there are fewer than 2 classes.

    Source: the softmax of equal logits is 1 / K.
    """
    return math.log(check_count("classes", classes, least=2))


def compute_zero_logits_gradient(classes: int) -> float:
    """Compute the squared norm of p - y at equal logits: 1 - 1 / K.

    Args:
        classes: K, at least 2.

    Returns:
        |p - y|^2 of one sample. For the mean over a batch of B samples, divide by B^2.

    Raises:
        TheoryError: there are fewer than 2 classes.

    Source: (1 - 1 / K)^2 + (K - 1) / K^2.
    """
    return 1.0 - 1.0 / check_count("classes", classes, least=2)


def compute_expected_cross_entropy(classes: int, standard_deviation: float) -> float:
    """Compute the expected cross-entropy at independent N(0, s^2) logits: E ln sum_i exp(s z_i).

    Args:
        classes: K, at least 2.
        standard_deviation: s, of a logit over seeds.

    Returns:
        The expected loss of a sample in nats, to about 1e-12 relative; ln K for s = 0.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: the Frullani integral of E ln S; see the module's head.
    """
    count = check_count("classes", classes, least=2)
    spread = check_number("standard_deviation", standard_deviation, 0.0)
    if spread == 0.0:
        return math.log(count)
    grid, step = _build_grid(count, spread)
    transforms = _transform(grid, spread)
    density = count * np.exp((count - 1.0) * transforms.logarithm) * transforms.first
    return -float(np.euler_gamma) - step * float(density @ grid)


def compute_expected_gradient(classes: int, standard_deviation: float) -> float:
    """Compute the expected squared norm of p - y at independent N(0, s^2) logits: 1 - 2 / K + K E p_1^2.

    Args:
        classes: K, at least 2.
        standard_deviation: s, of a logit over seeds.

    Returns:
        E |p - y|^2 of one sample, to about 1e-12 relative; from 1 - 1 / K for s = 0 to 2 (1 - 1 / K) for large s. So
        initializers that differ in the variance of the logits start from different gradients.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: 1 / S^2 as the integral of t exp(-t S); see the module's head.
    """
    count = check_count("classes", classes, least=2)
    spread = check_number("standard_deviation", standard_deviation, 0.0)
    if spread == 0.0:
        return 1.0 - 1.0 / count
    grid, step = _build_grid(count, spread)
    transforms = _transform(grid, spread)
    square = step * float(transforms.second @ np.exp((count - 1.0) * transforms.logarithm))
    return 1.0 - 2.0 / count + count * square


def _build_grid(classes: int, spread: float) -> tuple[Array, float]:
    """Give the nodes of ln t, and their distance."""
    low = _LOWEST - math.log(classes) - min(0.5 * spread * spread, _REACH * spread)
    step = max(_STEP, spread / 32.0)
    return np.arange(low, _REACH * spread + _HIGHEST, step), step


def _transform(grid: Array, spread: float) -> _Transforms:
    """Take the means over z: summed in z where the exponentials vary slowly, else in y = ln t + s z."""
    t = grid[:, np.newaxis]
    if spread < _WIDE:
        z = np.arange(-_REACH, _REACH + _STEP, _STEP)
        mass = _STEP * np.exp(-0.5 * np.square(z)) / math.sqrt(2.0 * math.pi)
        y = np.minimum(t + spread * z, _HIGHEST)
        size = np.exp(y)
        decay = np.exp(-size)
        logarithm = _take_logarithm(decay @ mass, -np.expm1(-size) @ mass)
        return _Transforms(logarithm, (size * decay) @ mass, (np.square(size) * decay) @ mass)
    y = np.arange(_LOWEST, _HIGHEST, _STEP)
    size = np.exp(y)
    gumbel = _STEP * size * np.exp(-size)
    distance = (y - t) / spread
    normal = np.exp(-0.5 * np.square(distance)) / (spread * math.sqrt(2.0 * math.pi))
    # By parts, the mean of exp(-e^y) is that of the normal distribution function at y, over a Gumbel law.
    logarithm = _take_logarithm(special.ndtr(distance) @ gumbel, special.ndtr(-distance) @ gumbel)
    return _Transforms(logarithm, normal @ gumbel, normal @ (gumbel * size))


def _take_logarithm(share: Array, rest: Array) -> Array:
    """Take ln(share) = ln(1 - rest) from the smaller of the two; a power of it is wanted."""
    small = np.log(np.maximum(share, np.finfo(np.float64).tiny))
    return np.where(rest < 0.5, np.log1p(-np.minimum(rest, 0.5)), small)
