"""How far networks of one width differ from seed to seed, and how many seeds it takes to see a difference.

Notation: n is the number of units of a layer, M_l the mean square of the outputs of layer l for one input. With
Gaussian weights and zero biases, a ReLU layer of variance 2 / n (He) multiplies M by

    M_{l+1} / M_l = (2 / n) sum_{i <= n} B_i g_i^2,    B_i ~ Bernoulli(1/2),    g_i ~ N(0, 1),

exactly, whatever the input, and independently by layer; so ln M is a random walk, close to normal over seeds beyond a
few layers. The squared norm of the gradient has the same distribution on the way back. Seeds are the replicates.

References:
    Hanin and Nica, "Products of many large random matrices and gradients in deep neural networks", 2018.
    Hanin and Rolnick, "How to start training: the effect of initialization and architecture", NeurIPS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_array, check_count, check_counts, check_number

LARGEST_WIDTH: Final = 10**7
"""Up to here the exact sums are taken; beyond, rounding would be seen in them."""

LARGEST_LOG_VARIANCE: Final = 1e6
"""Of a logarithm over seeds; the signal of a deeper network has left the range of floating-point numbers."""

_GAUSSIAN_KURTOSIS: Final = 3.0
_BULK: Final = 4.7  # exp(-2 * 4.7^2) < 1e-19: what is left out beyond 4.7 sqrt(n) on either side of the mean, Hoeffding


class LogIncrement(NamedTuple):
    """Mean and variance over seeds of ln(M_{l+1} / M_l), in nats, given that the input is alive."""

    mean: float
    variance: float


def compute_relu_increment(
    width: int, scale: float = 1.0, kurtosis: float = _GAUSSIAN_KURTOSIS, participation: float = 0.0
) -> LogIncrement:
    """Compute the log increment of the second moment in a ReLU layer, given that a unit is alive.

    With k positive units the sum of squares is chi-square with k degrees of freedom, so that with
    d_k = ln(4 / n) + psi(k / 2) and P(k) the binomial probability of k, given k >= 1,

        mean = sum_k P(k) d_k + ln(scale),    variance = sum_k P(k) [psi_1(k / 2) + d_k^2] - (sum_k P(k) d_k)^2.

    For large n the mean is -5 / (2 n) and the variance 5 / n. Weights that are not Gaussian add
    2 (kurtosis - 3) S4 / n to the variance and take half as much from the mean, to leading order.

    Args:
        participation: S4 of the layer's input, from :func:`compute_participation`; about 6 / (n + 4) for the output of
            a ReLU layer, and of no effect for Gaussian weights.

    Source: exact for Gaussian weights, from chi-square sums; to leading order Hanin and Nica (2018) and Hanin and
    Rolnick (2018).
    """
    n = _check_width(width)
    shift = math.log(check_number("scale", scale, 0.0, low_included=False))
    excess = check_number("kurtosis", kurtosis, 1.0) - _GAUSSIAN_KURTOSIS
    extra = 2.0 * (excess * check_number("participation", participation, 0.0, 1.0)) / n
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
    """Compute the log increment of the second moment in a linear layer, exact for Gaussian weights.

    n M_{l+1} / M_l is chi-square with n degrees of freedom, so that
    mean = psi(n / 2) + ln(2 / n) + ln(scale) and variance = psi_1(n / 2), about -1 / n and 2 / n.
    """
    n = _check_width(width)
    shift = math.log(check_number("scale", scale, 0.0, low_included=False))
    mean = float(special.digamma(n / 2.0)) - math.log(n / 2.0)
    return LogIncrement(mean + shift, float(special.polygamma(1, n / 2.0)))


def compute_participation(inputs: ArrayLike) -> float:
    """Compute the inverse participation ratio S4 = sum x^4 / (sum x^2)^2 of one input, of any shape.

    It goes from 1 / (number of values), where all are equally large, to 1 for a one-hot input: the inverse is the
    number of values that take part (Bell and Dean, 1970).
    """
    x = check_array("inputs", inputs)
    largest = float(np.abs(x).max())
    if not largest > 0.0:
        raise TheoryError(
            "An input of zeros has no participation ratio. Received: inputs=0. Give an input that is not."
        )
    squares = np.square(x / largest)
    return float(np.square(squares).sum() / squares.sum() ** 2)


def compute_dead_probability(widths: Iterable[int]) -> float:
    """Compute the probability that all units of the last ReLU layer are zero for one input: 1 - prod_l (1 - 2^-n_l).

    Exact over seeds, for weights symmetric about zero, zero biases and an input that is not zero: a layer that is alive
    dies when all its units are negative. Below one in 10^308 it is 0.
    """
    dead = np.exp2(-check_counts("widths", widths).astype(np.float64))
    return -math.expm1(float(np.log1p(-dead).sum()))


def compute_seeds_for_ratio(ratio: float, log_variance: float, alpha: float = 1e-3, power: float = 0.9) -> float:
    """Compute how many seeds show that q_L is off by a ratio r: ((z_{1 - alpha/2} + z_power) / ln r)^2 Var(ln q_L).

    The test is the two-sided z-test of the mean of ln q_L over seeds, with the variance known from theory; z_p is the
    quantile of the normal distribution. The number is a fraction; :func:`count_seeds_for_ratio` rounds it up.

    Args:
        ratio: r, above 0 and not 1; r and 1 / r need equally many.

    Source: the sample size of the z-test (Lehmann and Romano, "Testing statistical hypotheses", 2005).
    """
    number = check_number("ratio", ratio, 0.0, low_included=False)
    if number == 1.0:
        raise TheoryError("A ratio of 1 is no difference, and no seeds show one. Received: ratio=1. Give another.")
    variance = check_number("log_variance", log_variance, 0.0, LARGEST_LOG_VARIANCE)
    error = check_number("alpha", alpha, 0.0, 1.0, low_included=False, high_included=False)
    seen = check_number("power", power, 0.5, 1.0, high_included=False)
    quantiles = float(special.ndtri(seen) - special.ndtri(error / 2.0))
    return (quantiles / abs(math.log(number))) ** 2 * variance


def count_seeds_for_ratio(ratio: float, log_variance: float, alpha: float = 1e-3, power: float = 0.9) -> int:
    """Count the seeds that show that q_L is off by a ratio: :func:`compute_seeds_for_ratio`, rounded up."""
    return max(1, math.ceil(compute_seeds_for_ratio(ratio, log_variance, alpha, power)))


def _check_width(width: int) -> int:
    n = check_count("width", width)
    if n > LARGEST_WIDTH:
        raise TheoryError(
            f"The exact distribution is not computed for so wide a layer. Received: width={width!r}. "
            f"Give one up to {LARGEST_WIDTH}; beyond, the mean is -c / (2 n) and the variance c / n, c = 5 for ReLU."
        )
    return n
