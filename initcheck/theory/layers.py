"""What layers without weights do to second moments and gradients: dropout and pooling.

The other layers have files of their own: :mod:`~initcheck.theory.layers`,
:mod:`~initcheck.theory.convolution` and :mod:`~initcheck.theory.residual`. A layer's gain is the factor by which it
multiplies the mean square of what passes, forward, or the squared norm of the gradient, on the way back.

Pooled values are taken to be independent. Neighbouring places of an image are alike: there, averaging loses less than
these laws say, and a maximum wins less.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number
from initcheck.theory.breakpoints import Function, find_pieces

_REACH: Final = 13.0  # the normal density is 8e-38 there
_PANEL_WIDTH: Final = 0.5
_NODES: Final = 20


class PooledMoments(NamedTuple):
    """Moments of what a pooling layer puts out.

    Attributes:
        mean: E y.
        second_moment: E y^2.
    """

    mean: float
    second_moment: float


def compute_dropout_gain(keep: float) -> float:
    """Compute the factor by which dropout multiplies the second moment, and the squared gradient norm: 1 / p.

    In training, a value is kept with probability p and then divided by p, as in Keras, so that its mean stays; the
    same mask and factor meet the gradient on the way back.

    Args:
        keep: p, the probability to keep a value: 1 - rate of Keras' Dropout.

    Returns:
        The gain, exact in expectation over masks.

    Raises:
        TheoryError: p is not above 0 and at most 1.

    Source: Srivastava et al., "Dropout", 2014, inverted; Pretorius et al., "Critical initialisation for deep signal
    propagation in noisy rectifier neural networks", NeurIPS 2018.
    """
    return 1.0 / check_number("keep", keep, 0.0, 1.0, low_included=False)


def compute_critical_sigma_w2_with_dropout(keep: float, share: float = 0.5) -> float:
    """Compute the sigma_w2 = fan_in * Var(W) that keeps the second moment through a layer with dropout: p / share.

    Args:
        keep: p, the probability to keep a value: 1 - rate of Keras' Dropout.
        share: E phi(sqrt(q) z)^2 / q of the activation function: 1/2 for ReLU, 1 for linear.

    Returns:
        The critical sigma_w2: 2 p for ReLU, below He's 2.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: Pretorius et al. (2018), for multiplicative noise of second moment 1 / p.
    """
    kept = check_number("keep", keep, 0.0, 1.0, low_included=False)
    return kept / check_number("share", share, 0.0, low_included=False)


def compute_average_pooling_moments(mean: float, variance: float, size: int) -> PooledMoments:
    """Compute the moments of the average of k independent values: mean^2 + variance / k for the second.

    Args:
        mean: E x.
        variance: Var(x).
        size: values in a window, k; all places of the image for global average pooling, which keeps the mean alone.

    Returns:
        Mean and second moment of the output, exact.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: the variance of an average.
    """
    center = check_number("mean", mean)
    return PooledMoments(center, center * center + check_number("variance", variance, 0.0) / check_count("size", size))


def compute_average_pooling_gradient_gain(size: int) -> float:
    """Compute the factor by which average pooling multiplies the squared gradient norm: 1 / k.

    Each of the k values of a window receives 1 / k of the gradient; windows do not overlap. Max pooling hands it to one
    value, and has the factor 1.

    Args:
        size: values in a window, k.

    Returns:
        The gain, exact.

    Raises:
        TheoryError: the size is below 1 or not whole.

    Source: the transpose of the average.
    """
    return 1.0 / check_count("size", size)


def compute_max_pooling_moments(function: Function, size: int, q: float = 1.0) -> PooledMoments:
    """Compute the moments of the maximum of k independent values phi(z), z ~ N(0, q), for a phi that never falls.

    max phi(z_i) = phi(max z_i), and the largest of k standard normal values has density k Phi(z)^(k - 1) Phi'(z). So
    pooling after the activation function and before it come to the same.

    Args:
        function: phi: takes and returns a float64 array of one axis, element by element, and does not decrease.
        size: values in a window, k.
        q: variance of z.

    Returns:
        Mean and second moment of the output, to about 1e-12.

    Raises:
        TheoryError: an argument is out of range or NaN, or the function falls somewhere or is not finite there.

    Source: the density of an order statistic (David and Nagaraja, "Order statistics", 2003, section 2.1).
    """
    count = check_count("size", size)
    root = math.sqrt(check_number("q", q, 0.0, low_included=False))
    panels = np.arange(-_REACH, _REACH + _PANEL_WIDTH / 2.0, _PANEL_WIDTH)
    kinks = find_pieces(function).edges / root
    edges = np.union1d(panels, kinks[np.abs(kinks) < _REACH])
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * np.diff(edges)[:, np.newaxis]
    z = (0.5 * (edges[:-1] + edges[1:])[:, np.newaxis] + half * points).ravel()
    logarithm = math.log(count) + (count - 1.0) * special.log_ndtr(z) - 0.5 * np.square(z)
    mass = (half * weights).ravel() * np.exp(logarithm) / math.sqrt(2.0 * math.pi)
    value = np.asarray(function(root * z), dtype=np.float64)
    if not (np.isfinite(value).all() and (np.diff(value) >= -1e-12 * np.abs(value).max()).all()):
        raise TheoryError(
            "The maximum passes through a function only where it never falls. Received: a function that falls, or is "
            f"not finite, between {-_REACH * root:g} and {_REACH * root:g}. Use one that never does."
        )
    return PooledMoments(float(mass @ value), float(mass @ np.square(value)))


Array = NDArray[np.float64]

# Trapezoidal sums of functions analytic within pi / 2 of the real axis: the error is about exp(-pi^2 / step).
_STEP: Final = 0.25
_LOGIT_REACH: Final = 10.0
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
    low = _LOWEST - math.log(classes) - min(0.5 * spread * spread, _LOGIT_REACH * spread)
    step = max(_STEP, spread / 32.0)
    return np.arange(low, _LOGIT_REACH * spread + _HIGHEST, step), step


def _transform(grid: Array, spread: float) -> _Transforms:
    """Take the means over z: summed in z where the exponentials vary slowly, else in y = ln t + s z."""
    t = grid[:, np.newaxis]
    if spread < _WIDE:
        z = np.arange(-_LOGIT_REACH, _LOGIT_REACH + _STEP, _STEP)
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


KERAS_EPSILON: Final = 1e-3
"""The default epsilon of Keras' BatchNormalization and LayerNormalization."""


def compute_normalized_second_moment(variance: float, epsilon: float = KERAS_EPSILON) -> float:
    """Compute the mean square of what a normalization puts out: v / (v + epsilon).

    Args:
        variance: v of the values that are normalized together, with ddof=0: across the batch for batch normalization,
            across the units for layer normalization.
        epsilon: the layer's epsilon.

    Returns:
        The mean square of the output: 1 where v is large against epsilon, 0 where all values are equal.

    Raises:
        TheoryError: an argument is negative or NaN, or both are 0.

    Source: the layers' definition; exact.
    """
    v = check_number("variance", variance, 0.0)
    return v / _add_epsilon(v, epsilon)


def compute_normalized_gradient_gain(variance: float, size: int, epsilon: float = KERAS_EPSILON) -> float:
    """Compute the factor by which a normalization multiplies the squared norm of a gradient on the way back.

    The Jacobian is (I - 1 1' / N - y y' / N) / sqrt(v + epsilon). For a gradient of no preferred direction the factor
    is its squared Frobenius norm over N: with r = v / (v + epsilon),

        [(N - 2) + (1 - r)^2] / [N (v + epsilon)],    that is (1 - 2 / N) / v without epsilon.

    Args:
        variance: v of the N values that are normalized together, with ddof=0.
        size: N: samples of the batch, or units of the layer; at least 2.
        epsilon: the layer's epsilon.

    Returns:
        E |dL/dx|^2 / |dL/dy|^2 over gradients independent of x with uncorrelated entries of equal variance.

    Raises:
        TheoryError: an argument is out of range or NaN, or variance and epsilon are both 0.

    Source: exact, from the Jacobian.
    """
    v = check_number("variance", variance, 0.0)
    n = check_count("size", size, least=2)
    total = _add_epsilon(v, epsilon)
    return (n - 2.0 + (1.0 - v / total) ** 2) / (n * total)


def compute_linear_batch_normalization_rate(batch_size: float) -> float:
    """Compute by what factor a linear batch-normalized layer makes the squared gradient norm grow: (B - 2) / (B - 3).

    Args:
        batch_size: samples in the batch, B, at least 4; or inf.

    Returns:
        The factor per layer on the way back, at infinite width; above 1 for every batch.

    Raises:
        TheoryError: the batch is too small: with 3 samples and fewer the factor is infinite.

    Source: Yang et al. (2019), theorem 8 and its linear case.
    """
    samples = _check_batch_size(batch_size)
    return 1.0 if math.isinf(samples) else (samples - 2.0) / (samples - 3.0)


def compute_relu_batch_normalization_rate(batch_size: float) -> float:
    """Compute by what factor a batch-normalized ReLU layer makes the squared gradient norm grow.

    A unit's normalized values over the batch are sqrt(B) u, with u uniform on the unit sphere of the B - 1 dimensions
    orthogonal to 1. Let D be the diagonal of relu'(u), G = I - 1 1' / B, P = G - u u', J the arc-cosine kernel of order
    1 with J(1) = 1, taken at the correlation c = -1 / (B - 1) of two samples. The second moments of the units' outputs
    are 1/2 within and J / 2 between samples; the gradients of a deep network have covariance proportional to G. Then

        rate = B / [(1 - J) / 2 (B - 3)] E tr[P D G D P] / (B - 1),

    where the traces are sums over d = relu'(u) with E d_i d_j = 1/4 + arcsin(c) / (2 pi) and
    E d_i u_i d_j u_j = J / (2 B).

    Args:
        batch_size: samples in the batch, B, at least 4; or inf.

    Returns:
        The factor per layer on the way back, at infinite width without epsilon: 1.788 for B = 8, 1.522 for B = 32,
        pi / (pi - 1) in the limit. Above 1 for every batch: deep networks of this kind have exploding gradients.

    Raises:
        TheoryError: the batch is too small: with 3 samples and fewer the factor is infinite.

    Source: Yang et al. (2019), theorem 8.
    """
    b = _check_batch_size(batch_size)
    if math.isinf(b):
        return math.pi / (math.pi - 1.0)
    cosine = -1.0 / (b - 1.0)
    angle = math.acos(cosine)
    kernel = (math.sin(angle) + (math.pi - angle) * cosine) / math.pi
    both_positive = 0.25 + math.asin(cosine) / (2.0 * math.pi)
    count, count_squared = b / 2.0, b / 2.0 + b * (b - 1.0) * both_positive  # E sum d, E (sum d)^2
    square, sum_squared = 0.5, 0.5 + (b - 1.0) * kernel / 2.0  # E sum d u^2, E (sum d u)^2
    trace = count * (1.0 - 1.0 / b)  # tr[D G D]
    along_ones = (count - count_squared / b) / b  # 1' D G D 1 / B
    along_u = square - sum_squared / b  # u' D G D u
    return b / ((1.0 - kernel) / 2.0 * (b - 3.0)) * (trace - along_ones - along_u) / (b - 1.0)


def compute_layer_normalization_rate(second_moment: float, slope_second_moment: float) -> float:
    """Compute by what factor a layer-normalized layer multiplies the squared gradient norm: E phi'^2 / E phi^2.

    The kernel multiplies it by sigma_w2, the normalization by 1 / v with v = sigma_w2 E phi^2 (x = W phi(y)), the
    activation function by E phi'^2; so that the kernel's scale cancels.

    Args:
        second_moment: E phi(z)^2 for z ~ N(0, 1).
        slope_second_moment: E phi'(z)^2 for z ~ N(0, 1).

    Returns:
        The factor per layer on the way back, at infinite width without epsilon: 1 for ReLU, leaky ReLU and linear.

    Raises:
        TheoryError: a moment is out of range or NaN.

    Source: mean-field argument as in Yang et al. (2019), for statistics over units.
    """
    second = check_number("second_moment", second_moment, 0.0, low_included=False)
    return check_number("slope_second_moment", slope_second_moment, 0.0) / second


def _add_epsilon(variance: float, epsilon: float) -> float:
    total = variance + check_number("epsilon", epsilon, 0.0)
    if not total > 0.0:
        raise TheoryError(
            "Equal values cannot be normalized without epsilon. Received: variance=0, epsilon=0. Give one above 0."
        )
    return total


def _check_batch_size(batch_size: float) -> float:
    if batch_size == math.inf:
        return math.inf
    number = check_number("batch_size", batch_size)
    samples = check_count("batch_size", int(number) if number.is_integer() else batch_size)
    if samples < 4:
        raise TheoryError(
            "Gradients through batch normalization have no mean square for so small a batch: a unit's values are equal "
            f"too often. Received: batch_size={samples}. Give 4 or more."
        )
    return float(samples)
