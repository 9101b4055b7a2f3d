"""What dropout, normalization and the softmax loss make of a signal and of its gradient at initialization.

Layers with a kernel are followed by :mod:`initcheck.theory.mean_field` and :mod:`initcheck.theory.dense_network`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import special

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number
from initcheck.theory.breakpoints import Array

KERAS_EPSILON: Final = 1e-3
"""The default epsilon of Keras' BatchNormalization and LayerNormalization."""

# Trapezoidal sums of functions analytic within pi / 2 of the real axis: the error is about exp(-pi^2 / step).
_STEP: Final = 0.25
_REACH: Final = 10.0
_LOWEST: Final = -45.0  # exp of it is 3e-20
_HIGHEST: Final = 6.5  # exp(-exp of it) is 5e-289
_WIDE: Final = 1.0


def compute_dropout_gain(keep: float) -> float:
    """Compute the factor by which dropout multiplies the second moment, and the squared gradient norm: 1 / keep.

    In training, a value is kept with probability ``keep`` (1 - rate of Keras' Dropout) and then divided by it, so that
    its mean stays; the same mask and factor meet the gradient on the way back. Exact in expectation over masks.

    Source: Srivastava et al., "Dropout", 2014, inverted; Pretorius et al., "Critical initialisation for deep signal
    propagation in noisy rectifier neural networks", NeurIPS 2018.
    """
    return 1.0 / check_number("keep", keep, 0.0, 1.0, low_included=False)


def compute_normalized_gradient_gain(variance: float, size: int, epsilon: float = KERAS_EPSILON) -> float:
    """Compute the factor by which a normalization multiplies the squared norm of a gradient on the way back.

    A normalized value is y = (x - mean) / sqrt(v + epsilon). The Jacobian is (I - 1 1' / N - y y' / N) / sqrt(v +
    epsilon). For a gradient of no preferred direction the factor is its squared Frobenius norm over N: with
    r = v / (v + epsilon),

        [(N - 2) + (1 - r)^2] / [N (v + epsilon)],    that is (1 - 2 / N) / v without epsilon.

    Args:
        variance: v of the N values that are normalized together, with ddof=0: across the batch for batch normalization,
            across the units for layer normalization.
        size: N: samples of the batch, or units of the layer; at least 2.

    Source: exact, from the Jacobian.
    """
    v = check_number("variance", variance, 0.0)
    n = check_count("size", size, least=2)
    total = v + check_number("epsilon", epsilon, 0.0)
    if not total > 0.0:
        raise TheoryError(
            "Equal values cannot be normalized without epsilon. Received: variance=0, epsilon=0. Give one above 0."
        )
    return (n - 2.0 + (1.0 - v / total) ** 2) / (n * total)


def compute_expected_cross_entropy(classes: int, standard_deviation: float) -> float:
    """Compute the expected cross-entropy in nats at K independent N(0, s^2) logits, E ln S with S = sum_i exp(s z_i).

    With E_i exponential and T = min_i (ln E_i - s z_i), exp(T) S is exponential. So, with gamma Euler's constant,

        E ln S = -gamma - E T,    P(T > ln t) = L(t)^K,    L(t) = E exp(-t e^(s z)):

    a one-dimensional integral, smooth in ln t. E T is Frullani's integral for E ln S, integrated by parts. The result
    is right to about 1e-12 relative; ln K for s = 0.
    """
    count = check_count("classes", classes, least=2)
    deviation = check_number("standard_deviation", standard_deviation, 0.0)
    if deviation == 0.0:
        return math.log(count)
    low = _LOWEST - math.log(count) - min(0.5 * deviation * deviation, _REACH * deviation)
    step = max(_STEP, deviation / 32.0)
    grid = np.arange(low, _REACH * deviation + _HIGHEST, step)
    logarithm, slope = _transform(grid, deviation)
    density = count * np.exp((count - 1.0) * logarithm) * slope
    return -float(np.euler_gamma) - step * float(density @ grid)


def _transform(grid: Array, deviation: float) -> tuple[Array, Array]:
    """Compute ln L(t) and -t L'(t) = E[t e^(s z) exp(-t e^(s z))] on a grid of ln t.

    The means over z are summed in z where the exponentials vary slowly, else in y = ln t + s z.
    """
    t = grid[:, np.newaxis]
    if deviation < _WIDE:
        z = np.arange(-_REACH, _REACH + _STEP, _STEP)
        mass = _STEP * np.exp(-0.5 * np.square(z)) / math.sqrt(2.0 * math.pi)
        y = np.minimum(t + deviation * z, _HIGHEST)
        size = np.exp(y)
        decay = np.exp(-size)
        return _take_logarithm(decay @ mass, -np.expm1(-size) @ mass), (size * decay) @ mass
    y = np.arange(_LOWEST, _HIGHEST, _STEP)
    size = np.exp(y)
    gumbel = _STEP * size * np.exp(-size)
    distance = (y - t) / deviation
    normal = np.exp(-0.5 * np.square(distance)) / (deviation * math.sqrt(2.0 * math.pi))
    # By parts, the mean of exp(-e^y) is that of the normal distribution function at y, over a Gumbel distribution.
    return _take_logarithm(special.ndtr(distance) @ gumbel, special.ndtr(-distance) @ gumbel), normal @ gumbel


def _take_logarithm(share: Array, rest: Array) -> Array:
    """Take ln(share) = ln(1 - rest) from the smaller of the two; a power of it is wanted."""
    small = np.log(np.maximum(share, np.finfo(np.float64).tiny))
    return np.where(rest < 0.5, np.log1p(-np.minimum(rest, 0.5)), small)
