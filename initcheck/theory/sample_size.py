"""How many seeds, or weights, it takes to see a difference, from the laws of finite width.

Seeds are the replicates. Beyond a few layers ln q is close to normal over seeds, and q itself is not: claims are tested
on mean logarithms. The quantile of the normal distribution is written z_p.
"""

from __future__ import annotations

import math
from typing import Final

from scipy import special

from initcheck.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number

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

    Source: gains shift ln q_L and leave its spread, see :mod:`initcheck.theory.finite_width`.
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
