"""What batch and layer normalization do to second moments, and to squared norms of gradients on the way back.

A normalized value is y = (x - mean) / sqrt(v + epsilon), with mean and variance v (ddof=0) over the samples of a batch
for batch normalization and over the units of a sample for layer normalization; scale 1 and offset 0, as Keras starts.
The scale of the kernel before it cancels, so no initializer can repair or break what follows from the laws here.

References:
    Ioffe and Szegedy, "Batch normalization", 2015; Ba, Kiros and Hinton, "Layer normalization", 2016.
    Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, "A mean field theory of batch normalization", ICLR 2019.
"""

from __future__ import annotations

import math
from typing import Final

from initcheck.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number

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
