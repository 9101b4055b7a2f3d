"""The exact distribution of a ReLU layer's log increment at finite width: its moments, and draws from it."""

from __future__ import annotations

import numpy as np

from initcheck.theory.sampling import compute_relu_increment


def log_moments(width: int) -> tuple[float, float]:
    """Give the mean and variance of ln(M_{l+1} / M_l), given that a unit is alive, for Gaussian weights."""
    increment = compute_relu_increment(width)
    return increment.mean, increment.variance


def simulate_increments(random: np.random.Generator, width: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw log increments from the distribution itself, without any network."""
    return np.log(2 / width * random.chisquare(random.binomial(width, 0.5, shape)))
