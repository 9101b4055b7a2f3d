"""The finite-width law of ReLU layers for whole networks: :func:`initcheck.theory.sampling.compute_relu_increment`.

The law is exact for Gaussian weights. Keras draws from bounded distributions of lower kurtosis, which changes it by
terms of order 1 / n^2: 0.6 % (truncated normal) or 1.1 % (uniform) of the variance at n = 256. They are taken into
account, since a few hundred seeds of twenty layers measure the variance to 2 %.
"""

from __future__ import annotations

import numpy as np

from initcheck.theory.sampling import compute_participation, compute_relu_increment
from initcheck.theory.weights import read_initializer, weight_law

KURTOSIS = {
    name: weight_law(read_initializer(name), (4, 4)).kurtosis for name in ("HeNormal", "HeUniform", "RandomNormal")
}
"""Of the distributions that Keras draws from; "normal" in He, Glorot and LeCun is truncated at two sigma."""


def log_moments(width: int) -> tuple[float, float]:
    """Mean and variance of ln(M_{l+1} / M_l), given that the sample is alive, for Gaussian weights."""
    increment = compute_relu_increment(width)
    return increment.mean, increment.variance


def log_law(width: int, kurtosis: float, peakedness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the log increment of each layer, corrected for the weights' kurtosis.

    Args:
        width: units of every layer.
        kurtosis: of the weights.
        peakedness: S4 of each layer's input, as far as it is known; :func:`hidden_peakedness` where it is random.
    """
    increments = [compute_relu_increment(width, kurtosis=kurtosis, participation=float(s4)) for s4 in peakedness]
    return np.asarray([each.mean for each in increments]), np.asarray([each.variance for each in increments])


def peakedness_of(x: np.ndarray) -> float:
    """S4 of one sample."""
    return float(compute_participation(x))


def hidden_peakedness(width: int) -> float:
    """Expected S4 of a ReLU layer's output: 3 / (k + 2) over the k = width / 2 units that are positive."""
    return 6 / (width + 4)


def simulate_increments(random: np.random.Generator, width: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw log increments from the law itself, without any network."""
    return np.log(2 / width * random.chisquare(random.binomial(width, 0.5, shape)))
