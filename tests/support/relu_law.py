"""The finite-width law of He-initialized ReLU layers: log increments of the second moment of one sample.

With n units, Gaussian weights of variance 2 / n and zero biases the second moment M of a layer's output obeys

    M_{l+1} / M_l = (2 / n) sum_{i <= n} B_i g_i^2,   B_i ~ Bernoulli(1/2), g_i ~ N(0, 1),

exactly and independently by layer, whatever the input (Hanin and Rolnick, NeurIPS 2018). Given k positive units the
sum is chi-square with k degrees of freedom, so the moments of the logarithm are those of ln chi-square averaged over
k ~ Binomial(n, 1/2), k >= 1 (given that the sample is alive).

Keras draws from bounded distributions of kurtosis below 3: a unit's pre-activation is then a sum with kurtosis
3 + (kurtosis - 3) S4, where S4 = sum x^4 / (sum x^2)^2. That adds 2 (kurtosis - 3) S4 / n to the variance, of order
1 / n^2 for dense x, and takes half as much from the mean: the leading law 5 / n does not change. At n = 256 it is
0.6 % of the variance (truncated normal) or 1.1 % (uniform); it is taken into account, since a few hundred seeds of
twenty layers measure the variance to 2 %.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats

KURTOSIS = {"HeNormal": 2.36553671712965, "HeUniform": 1.8, "RandomNormal": 3.0}
"""Of the distributions that Keras draws from; "normal" in He, Glorot and LeCun is truncated at two sigma."""


def log_moments(width: int) -> tuple[float, float]:
    """Mean and variance of ln(M_{l+1} / M_l), given that the sample is alive, for Gaussian weights."""
    alive = np.arange(1, width + 1)
    share = stats.binom.pmf(alive, width, 0.5)
    share /= share.sum()
    given = math.log(4 / width) + special.digamma(alive / 2)
    mean = float(share @ given)
    return mean, float(share @ (special.polygamma(1, alive / 2) + (given - mean) ** 2))


def log_law(width: int, kurtosis: float, peakedness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the log increment of each layer, corrected for the weights' kurtosis.

    Args:
        width: units of every layer.
        kurtosis: of the weights.
        peakedness: S4 of each layer's input, as far as it is known; :func:`hidden_peakedness` where it is random.
    """
    mean, variance = log_moments(width)
    extra = 2 * (kurtosis - 3) * np.asarray(peakedness) / width
    return mean - extra / 2, variance + extra


def peakedness_of(x: np.ndarray) -> float:
    """S4 of one sample."""
    x = np.asarray(x, np.float64)
    return float(np.sum(x**4) / np.sum(x**2) ** 2)


def hidden_peakedness(width: int) -> float:
    """Expected S4 of a ReLU layer's output: 3 / (k + 2) over the k = width / 2 units that are positive."""
    return 6 / (width + 4)


def simulate_increments(random: np.random.Generator, width: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw log increments from the law itself, without any network."""
    return np.log(2 / width * random.chisquare(random.binomial(width, 0.5, shape)))
