"""How many seeds, or weights, it takes to see a difference, from the laws of finite width.

Seeds are the replicates. Beyond a few layers ln q is close to normal over seeds, and q itself is not: claims are tested
on mean logarithms. The quantile of the normal distribution is written z_p.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_array, check_count, check_counts, check_number

LARGEST_LOG_VARIANCE: Final = 1e6
"""Of a logarithm over seeds; the signal of a deeper network has left the range of floating-point numbers."""

SMALLEST_RELATIVE_ERROR: Final = 1e-6
"""Of a mean over seeds; less would take more seeds than can be run."""

LARGEST_LOG_SPREAD: Final = 0.5
"""Up to this sum of 5 / n over the layers, an arithmetic mean over seeds can be tested."""


def compute_seeds_for_ratio(ratio: float, log_variance: float, alpha: float = 1e-3, power: float = 0.9) -> float:
    """Compute how many seeds show that q_L is off by a ratio r: ((z_{1 - alpha/2} + z_power) / ln r)^2 Var(ln q_L).

    The test is the two-sided z-test of the mean of ln q_L over seeds, with the variance known from theory.

    Args:
        ratio: r, above 0 and not 1; r and 1 / r need equally many.
        log_variance: Var(ln q_L) over seeds: the sum over layers of the variances of the log increments; up to
            LARGEST_LOG_VARIANCE.
        alpha: rate of false alarms, two-sided.
        power: probability to see the ratio where it is there.

    Returns:
        The number of seeds as a fraction; :func:`count_seeds_for_ratio` rounds it up.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: the sample size of the z-test (Lehmann and Romano, "Testing statistical hypotheses", 2005).
    """
    size = abs(math.log(_check_ratio(ratio)))
    spread = check_number("log_variance", log_variance, 0.0, LARGEST_LOG_VARIANCE)
    error = check_number("alpha", alpha, 0.0, 1.0, low_included=False, high_included=False)
    seen = check_number("power", power, 0.5, 1.0, high_included=False)
    quantiles = float(special.ndtri(seen) - special.ndtri(error / 2.0))
    return (quantiles / size) ** 2 * spread


def count_seeds_for_ratio(ratio: float, log_variance: float, alpha: float = 1e-3, power: float = 0.9) -> int:
    """Count the seeds that show that q_L is off by a ratio: :func:`compute_seeds_for_ratio`, rounded up.

    Args:
        ratio: as there.
        log_variance: as there.
        alpha: as there.
        power: as there.

    Returns:
        The number of seeds, from 1.

    Raises:
        TheoryError: an argument is out of range or NaN.
    """
    return max(1, math.ceil(compute_seeds_for_ratio(ratio, log_variance, alpha, power)))


def compute_separation(gain_ratio: float, depth: int, log_variance: float) -> float:
    """Compute how far apart two gains put ln q_L, in standard deviations of one seed: L |ln r| / sd(ln q_L).

    Args:
        gain_ratio: ratio r of the two gains per layer: 2 for He against Glorot or LeCun in square layers.
        depth: layers, L.
        log_variance: Var(ln q_L) over seeds, above 0.

    Returns:
        The distance: about 11 for He against Glorot over ten ReLU layers of 128 units.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: gains shift ln q_L and leave its spread, see :mod:`initcheck.theory.sampling`.
    """
    spread = check_number("log_variance", log_variance, 0.0, low_included=False)
    return check_count("depth", depth) * abs(math.log(_check_ratio(gain_ratio))) / math.sqrt(spread)


def count_seeds_for_arithmetic_mean(relative_error: float, log_spread: float) -> int:
    """Count the seeds whose arithmetic mean of q has a given relative standard error: (e^beta - 1) / epsilon^2.

    Args:
        relative_error: epsilon, the standard error over the mean, from SMALLEST_RELATIVE_ERROR on.
        log_spread: beta, the sum over layers of 5 / n for ReLU; c / n in general.

    Returns:
        The number of seeds, rounded up, from 1.

    Raises:
        TheoryError: an argument is out of range or NaN; or beta is above LARGEST_LOG_SPREAD, where a mean is ruled by
            seeds too rare to be among those drawn.

    Source: the relative variance of q_L, exp(beta) - 1; Hanin and Nica, "Products of many large random matrices", 2018.
    """
    error = check_number("relative_error", relative_error, SMALLEST_RELATIVE_ERROR)
    beta = check_number("log_spread", log_spread, 0.0)
    if beta > LARGEST_LOG_SPREAD:
        raise TheoryError(
            "An arithmetic mean over seeds cannot be tested where single seeds spread so far. "
            f"Received: log_spread={log_spread!r}, above {LARGEST_LOG_SPREAD}. "
            "Test the mean of the logarithms, or take wider or fewer layers."
        )
    return max(1, math.ceil(math.expm1(beta) / (error * error)))


def compute_sample_variance_error(kurtosis: float, count: int) -> float:
    """Compute the relative standard error sqrt((kurtosis - 1) / N) of the mean square of N independent weights.

    Args:
        kurtosis: of the weights, from 1 on: 3 Gaussian, 2.3655 truncated at two sigma, 1.8 uniform.
        count: number of weights, N.

    Returns:
        The standard error over the variance itself; exact about the known mean, to leading order about the sample's.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: the variance of w^2 over the squared mean of w^2.
    """
    return math.sqrt((check_number("kurtosis", kurtosis, 1.0) - 1.0) / check_count("count", count))


def compute_uniform_normal_distance() -> float:
    """Compute the Kolmogorov distance between the uniform and the normal distribution of equal mean and variance.

    sup |F - Phi| is reached where the densities are equal, at x = sqrt(ln(6 / pi)) for unit variance.

    Returns:
        0.0572: it takes about a thousand weights to tell HeUniform from a normal distribution.

    Source: exact.
    """
    x = math.sqrt(math.log(6.0 / math.pi))
    return abs(0.5 + x / math.sqrt(12.0) - float(special.ndtr(x)))


def _check_ratio(ratio: float) -> float:
    number = check_number("ratio", ratio, 0.0, low_included=False)
    if number == 1.0:
        raise TheoryError("A ratio of 1 is no difference, and no seeds show one. Received: ratio=1. Give another.")
    return number


SMALLEST_FLOAT32: Final = 2.0**-126
"""The smallest normal number of float32. TensorFlow sets what is smaller to zero."""


def compute_dead_probability(widths: Iterable[int]) -> float:
    """Compute the probability that all units of the last ReLU layer are zero for one input: 1 - prod_l (1 - 2^-n_l).

    Args:
        widths: units of each ReLU layer, n_l, in any order. Layers may differ in width.

    Returns:
        The probability over seeds, exact for weights symmetric about zero, zero biases and an input that is not zero.
        Below one in 10^308 it is 0.

    Raises:
        TheoryError: a width is below 1, or there is none.

    Source: exact: a layer that is alive dies when all its units are negative.
    """
    dead = np.exp2(-check_counts("widths", widths).astype(np.float64))
    return -math.expm1(float(np.log1p(-dead).sum()))


def compute_dead_network_bound(width: int, depth: int) -> float:
    """Compute an upper bound of the probability that a ReLU network is constant from birth: 1 - (1 - 2^-n)^(L - 1).

    Args:
        width: units of every hidden layer, n.
        depth: layers L, the linear one at the end included; at least 2.

    Returns:
        The bound: a network that is dead for every input is dead for a given one.

    Raises:
        TheoryError: an argument is too small.

    Source: Lu, Shin, Su and Karniadakis, "Dying ReLU and initialization", 2019.
    """
    units, hidden = check_count("width", width), check_count("depth", depth, least=2) - 1
    return -math.expm1(hidden * math.log1p(-math.exp2(-units)))


def count_layers_until_underflow(gain: float, start: float = 1.0, smallest: float = SMALLEST_FLOAT32) -> float:
    """Count the layers after which a squared norm is too small for a float32.

    Args:
        gain: factor per layer of the squared norm.
        start: the squared norm at layer 0.
        smallest: the smallest number that is not set to zero.

    Returns:
        The first l with start * gain^l < smallest, a whole number; inf for a gain from 1 on.

    Raises:
        TheoryError: the gain is negative or NaN, or start or smallest is not positive.

    Source: float32 as of IEEE 754; the norm of one layer after another is a geometric sequence.
    """
    factor = check_number("gain", gain, 0.0)
    first = check_number("start", start, 0.0, low_included=False)
    last = check_number("smallest", smallest, 0.0, low_included=False)
    if first < last:
        return 0.0
    if factor >= 1.0:
        return math.inf
    if factor == 0.0:
        return 1.0
    return math.floor((math.log2(first) - math.log2(last)) / -math.log2(factor)) + 1.0


LARGEST_WIDTH: Final = 10**7
"""Up to here the exact sums are taken; beyond, rounding would be seen in them."""

GAUSSIAN_KURTOSIS: Final = 3.0

_BULK: Final = 4.7  # exp(-2 * 4.7^2) < 1e-19: what is left out beyond 4.7 sqrt(n) on either side of the mean, Hoeffding


class LogIncrement(NamedTuple):
    """The law of ln(M_{l+1} / M_l), given that the input is alive.

    Attributes:
        mean: its mean, in nats.
        variance: its variance over seeds, in nats squared.
    """

    mean: float
    variance: float


def compute_relu_increment(
    width: int, scale: float = 1.0, kurtosis: float = GAUSSIAN_KURTOSIS, participation: float = 0.0
) -> LogIncrement:
    """Compute the law of the log increment of the second moment in a ReLU layer, given that a unit is alive.

    With k positive units the sum of squares is chi-square with k degrees of freedom, so that with
    d_k = ln(4 / n) + psi(k / 2) and P(k) the binomial law of k, given k >= 1,

        mean = sum_k P(k) d_k + ln(scale),    variance = sum_k P(k) [psi_1(k / 2) + d_k^2] - (sum_k P(k) d_k)^2.

    For large n the mean is -5 / (2 n) and the variance 5 / n. Weights that are not Gaussian add
    2 (kurtosis - 3) S4 / n to the variance and take half as much from the mean, to leading order.

    Args:
        width: units of the layer, n; up to LARGEST_WIDTH.
        scale: variance of the weights over He's: 0.5 for Glorot or LeCun in a square layer.
        kurtosis: of the weights: 3 Gaussian, 2.3655 truncated at two sigma, 1.8 uniform.
        participation: S4 of the layer's input, from :func:`compute_participation`; about 6 / (n + 4) for the output of
            a ReLU layer, and of no effect for Gaussian weights.

    Returns:
        Mean and variance. For Gaussian weights both are exact.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: exact, from chi-square sums; to leading order Hanin and Nica (2018) and Hanin and Rolnick (2018).
    """
    n = _check_width(width)
    shift = math.log(check_number("scale", scale, 0.0, low_included=False))
    extra = 2.0 * _compute_excess(kurtosis, participation) / n
    reach = math.ceil(_BULK * math.sqrt(n))
    alive = np.arange(max(1, n // 2 - reach), min(n, n // 2 + reach) + 1, dtype=np.float64)
    # Ratios of neighbouring binomial coefficients, added up: factorials would lose digits to cancellation.
    steps = np.log((n - alive[:-1]) / (alive[:-1] + 1.0))
    logarithms = np.concatenate([[0.0], np.cumsum(steps)])
    share = np.exp(logarithms - logarithms.max())
    share /= share.sum()
    given = np.log(2.0 * alive / n) + (special.digamma(alive / 2.0) - np.log(alive / 2.0))
    mean = float(share @ given)
    variance = float(share @ (special.polygamma(1, alive / 2.0) + np.square(given - mean)))
    return LogIncrement(mean + shift - extra / 2.0, variance + extra)


def compute_linear_increment(width: int, scale: float = 1.0) -> LogIncrement:
    """Compute the law of the log increment of the second moment in a layer without activation function.

    n M_{l+1} / M_l is chi-square with n degrees of freedom, so that
    mean = psi(n / 2) + ln(2 / n) + ln(scale) and variance = psi_1(n / 2), about -1 / n and 2 / n.

    Args:
        width: units of the layer, n; up to LARGEST_WIDTH.
        scale: variance of the weights over 1 / fan_in.

    Returns:
        Mean and variance, exact for Gaussian weights.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: exact.
    """
    n = _check_width(width)
    shift = math.log(check_number("scale", scale, 0.0, low_included=False))
    mean = float(special.digamma(n / 2.0)) - math.log(n / 2.0)
    return LogIncrement(mean + shift, float(special.polygamma(1, n / 2.0)))


def compute_squared_mean_ratio(widths: Iterable[int], coefficient: float = 5.0) -> float:
    """Compute E[M_L^2] / E[M_L]^2 = prod_l (1 + c / n_l), exactly for Gaussian weights.

    The square of the seeds' relative spread, plus 1. It is ruled by rare seeds: where it is large, a mean over a few
    hundred seeds is far below E[M_L], and laws are to be tested on ln M.

    Args:
        widths: units of each layer, n_l.
        coefficient: c, n times the variance of M_{l+1} / M_l: 5 for He and ReLU.

    Returns:
        The ratio, from 1; inf where it passes the range of float64.

    Raises:
        TheoryError: a width is below 1, or the coefficient is negative or NaN.

    Source: exact; exp(5 sum 1 / n_l) in Hanin and Rolnick (2018) and Hanin and Nica (2018) is its leading order.
    """
    units = check_counts("widths", widths)
    exponent = float(np.log1p(check_number("coefficient", coefficient, 0.0) / units).sum())
    return math.exp(exponent) if exponent < math.log(np.finfo(np.float64).max) else math.inf


def compute_gaussian_coefficient(second_moment: float, fourth_moment: float) -> float:
    """Compute c in Var(M_{l+1} / E M_{l+1}) = c / n for independent Gaussian weights: E phi^4 / (E phi^2)^2 - 1.

    Args:
        second_moment: E phi(z)^2.
        fourth_moment: E phi(z)^4.

    Returns:
        c: 2 for linear, 5 for ReLU.

    Raises:
        TheoryError: a moment is not positive, or the fourth is below the square of the second.

    Source: exact for one layer; Roberts, Yaida and Hanin (2022), chapter 4.
    """
    second, fourth = _check_moments(second_moment, fourth_moment)
    return fourth / second / second - 1.0


def compute_orthogonal_coefficient(second_moment: float, fourth_moment: float, radial_moment: float) -> float:
    """Compute c in Var(M_{l+1} / E M_{l+1}) ~ c / n for a square Haar-orthogonal kernel.

    The units of z = W x share the norm of x, which takes the part of phi^2 along g^2 - 1 out of the spread:
    c = E phi^4 / (E phi^2)^2 - 1 - (E[phi^2 (g^2 - 1)])^2 / (2 (E phi^2)^2), with phi at sqrt(q) g, g ~ N(0, 1).

    Args:
        second_moment: E phi^2.
        fourth_moment: E phi^4.
        radial_moment: E[phi^2 (g^2 - 1)]; equal to 2 q V'(q) / sigma_w2.

    Returns:
        c, to leading order in 1 / n: 0 for linear, 3 for ReLU.

    Raises:
        TheoryError: a moment is out of range, or no function has these three.

    Source: regression of phi^2 on the second Hermite polynomial.
    """
    second, fourth = _check_moments(second_moment, fourth_moment)
    radial = check_number("radial_moment", radial_moment)
    spread = fourth / second / second - 1.0
    taken = (radial / second) * (radial / second) / 2.0
    if taken > spread + 1e-9 * (spread + 1.0):
        raise TheoryError(
            "No function has such moments: (E[phi^2 (g^2 - 1)])^2 / 2 is at most Var(phi^2). "
            f"Received: radial_moment={radial!r}, second_moment={second!r}, fourth_moment={fourth!r}. "
            "Take all three at the same variance q."
        )
    return max(0.0, spread - taken)


def compute_leaky_relu_coefficient(
    negative_slope: float = 0.0, kurtosis: float = GAUSSIAN_KURTOSIS, participation: float = 0.0
) -> float:
    """Compute c in Var(M_{l+1} / M_l) = c / n for leaky ReLU at its critical gain, at any width.

    With slope a for negative z, and 3 + (kurtosis - 3) S4 for the kurtosis of a unit's pre-activation,

        c = 2 (3 + (kurtosis - 3) S4) (1 + a^4) / (1 + a^2)^2 - 1.

    ReLU has 5 + 2 (kurtosis - 3) S4, linear (a = 1) 2 + (kurtosis - 3) S4. Dense inputs have S4 ~ 1 / n and hardly feel
    the law of the weights; a one-hot input has S4 = 1.

    Args:
        negative_slope: a: 0 is ReLU, 1 is linear.
        kurtosis: of the weights, symmetric about zero: 3 Gaussian, 2.3655 truncated at two sigma, 1.8 uniform.
        participation: S4 of the input, from :func:`compute_participation`.

    Returns:
        c, exact for independent symmetric weights.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: exact; the Gaussian case is 3 A4 / A2^2 - 1 in Roberts, Yaida and Hanin (2022), chapter 5.
    """
    a2 = math.pow(check_number("negative_slope", negative_slope, -1e75, 1e75), 2)
    fourth = GAUSSIAN_KURTOSIS + _compute_excess(kurtosis, participation)
    return 2.0 * fourth * (1.0 + a2 * a2) / ((1.0 + a2) * (1.0 + a2)) - 1.0


def compute_orthogonal_leaky_relu_variance(width: int, negative_slope: float = 0.0) -> float:
    """Compute Var(M_{l+1} / M_l) for a square Haar-orthogonal kernel and leaky ReLU at its critical gain.

    Var = [6 (1 + a^4) / (1 + a^2)^2 - 3] / (n + 2): 3 / (n + 2) for ReLU, 0 for linear.

    Args:
        width: units, n.
        negative_slope: a: 0 is ReLU, 1 is linear.

    Returns:
        The variance over seeds, exact at any width.

    Raises:
        TheoryError: an argument is out of range or NaN.

    Source: exact, from E u_i^4 = 3 E u_i^2 u_j^2 = 3 / (n (n + 2)) on the unit sphere.
    """
    n = check_count("width", width)
    return max(0.0, compute_leaky_relu_coefficient(negative_slope) - 2.0) / (n + 2.0)


@overload
def compute_batch_covariance(correlation: float) -> float: ...
@overload
def compute_batch_covariance(correlation: NDArray[np.float64]) -> NDArray[np.float64]: ...
def compute_batch_covariance(correlation: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """Compute n Cov(M_{l+1} / M_l of input a, the same of input b), for He and ReLU.

    With t = arccos c: (2 / pi) [3 sin t cos t + (pi - t) (1 + 2 cos^2 t)] - 1. It is 0 at c = 0 and 5 at c = 1: deep
    layers make all inputs alike, so the samples of a batch stop being independent of each other.

    Args:
        correlation: cosine c between the layer's inputs for a and b; a number or an array of any shape.

    Returns:
        n times the covariance over seeds, in the shape received; exact for Gaussian weights at any width.

    Raises:
        TheoryError: a correlation is NaN or outside [-1, 1].

    Source: arc-cosine kernel of order 2, Cho and Saul, "Kernel methods for deep learning", 2009.
    """
    cosine = check_array("correlation", correlation, -1.0, 1.0)
    angle = np.arccos(cosine)
    kernel = 3.0 * np.sin(angle) * cosine + (np.pi - angle) * (1.0 + 2.0 * np.square(cosine))
    covariance: NDArray[np.float64] = np.asarray((2.0 / np.pi) * kernel - 1.0)
    return covariance if covariance.ndim else float(covariance)


def compute_participation(inputs: ArrayLike) -> float:
    """Compute the inverse participation ratio S4 = sum x^4 / (sum x^2)^2 of one input.

    Args:
        inputs: one sample, of any shape.

    Returns:
        From 1 / (number of values), where all are equally large, to 1 for a one-hot input.

    Raises:
        TheoryError: all values are zero, or one is not finite.

    Source: the definition; the inverse is the number of values that take part (Bell and Dean, 1970).
    """
    x = check_array("inputs", inputs)
    largest = float(np.abs(x).max())
    if not largest > 0.0:
        raise TheoryError(
            "An input of zeros has no participation ratio. Received: inputs=0. Give an input that is not."
        )
    squares = np.square(x / largest)
    return float(np.square(squares).sum() / squares.sum() ** 2)


def compute_fixed_point_variance(sigma_w2: float, second_moment: float, fourth_moment: float, slope: float) -> float:
    """Compute n Var(q) at a stable fixed point: sigma_w2^2 (E phi^4 - (E phi^2)^2) / (1 - V'^2).

    q is the variance of a pre-activation given the weights of the layers below. A layer adds the sampling variance of
    a mean over n units, and hands on V' times the deviation that it received.

    Args:
        sigma_w2: fan_in * Var(W).
        second_moment: E phi(z)^2 at the fixed point.
        fourth_moment: E phi(z)^4 there.
        slope: V' there, below 1 in absolute value.

    Returns:
        n times the variance over seeds, to leading order in 1 / n.

    Raises:
        TheoryError: an argument is out of range, or the fixed point is not stable.

    Source: the recursion of Roberts, Yaida and Hanin (2022), chapter 4, solved for the fixed point.
    """
    sigma2 = check_number("sigma_w2", sigma_w2, 0.0)
    second, fourth = _check_moments(second_moment, fourth_moment)
    rate = _check_stable(slope)
    return sigma2 * sigma2 * (fourth - second * second) / ((1.0 - rate) * (1.0 + rate))


def compute_fixed_point_bias(variance: float, slope: float, curvature: float) -> float:
    """Compute by how much the mean of q over seeds differs from the fixed point: V'' Var(q) / (2 (1 - V')).

    Args:
        variance: Var(q) over seeds, or n Var(q).
        slope: V' at the fixed point, below 1 in absolute value.
        curvature: V'' there.

    Returns:
        E q - q*, or n times it, to leading order in 1 / n: -1.57 / n for SELU and LeCun, 0 for ReLU.

    Raises:
        TheoryError: an argument is out of range, or the fixed point is not stable.

    Source: second-order expansion of q' = V(q); the first-order kernel of Roberts, Yaida and Hanin (2022), chapter 4.
    """
    spread = check_number("variance", variance, 0.0)
    rate = _check_stable(slope)
    return check_number("curvature", curvature) * spread / (2.0 * (1.0 - rate))


def compute_critical_tanh_variance(width: int, depth: int) -> float:
    """Compute Var(ln q_l) ~ (2 / 3) l / n for tanh at sigma_w = 1 without biases, where q decays as 1 / (2 l).

    The variance grows by 2 / n a layer and shrinks by the factor 1 - 2 / l: v' = -2 v / l + 2 / n.

    Args:
        width: units of every layer, n.
        depth: layers so far, l; small against n: at n = 64, l = 10 it is 7 % too large.

    Returns:
        The variance over seeds of ln q_l, to leading order in l / n.

    Raises:
        TheoryError: an argument is below 1.

    Source: Roberts, Yaida and Hanin (2022), chapter 5, universality class K* = 0.
    """
    return 2.0 * check_count("depth", depth) / (3.0 * check_count("width", width))


def _check_width(width: int) -> int:
    n = check_count("width", width)
    if n > LARGEST_WIDTH:
        raise TheoryError(
            f"The exact law is not computed for so wide a layer. Received: width={width!r}. "
            f"Give one up to {LARGEST_WIDTH}; beyond, the mean is -c / (2 n) and the variance c / n, c = 5 for ReLU."
        )
    return n


def _check_moments(second_moment: float, fourth_moment: float) -> tuple[float, float]:
    second = check_number("second_moment", second_moment, 0.0, low_included=False)
    fourth = check_number("fourth_moment", fourth_moment, 0.0, low_included=False)
    if fourth < second * second * (1.0 - 1e-12):
        raise TheoryError(
            "A fourth moment is at least the square of the second. Received: "
            f"second_moment={second!r}, fourth_moment={fourth!r}. Give E phi^2 and E phi^4 at the same variance q."
        )
    return second, max(fourth, second * second)


def _check_stable(slope: float) -> float:
    rate = check_number("slope", slope)
    if not abs(rate) < 1.0:
        raise TheoryError(
            f"The fixed point is not stable, so that the spread grows with depth. Received: slope={slope!r}. "
            "Take V' at a fixed point where it is between -1 and 1, or use the law of the log increments."
        )
    return rate


def _compute_excess(kurtosis: float, participation: float) -> float:
    """Give the excess kurtosis of a pre-activation."""
    excess = check_number("kurtosis", kurtosis, 1.0) - GAUSSIAN_KURTOSIS
    return excess * check_number("participation", participation, 0.0, 1.0)
