"""Laws against simulations: how far a mean over independent draws is from what a law says, in standard errors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

STANDARD_ERRORS = 4.4
"""Tolerance: a law that holds fails one comparison with probability 1.1e-5 under a fresh seed, and 8e-5 with 40 draws.

The seeds are fixed, so that a test that passes goes on passing.
"""


def measure_distance(draws: ArrayLike, expected: float) -> float:
    """Give |mean - expected| over the standard error of the mean; one number per independent draw."""
    values = np.asarray(draws, dtype=np.float64)
    return float(abs(values.mean() - expected) * math.sqrt(values.size) / values.std(ddof=1))


def holds(draws: ArrayLike, expected: float) -> bool:
    """Tell whether the draws agree with a law for their mean."""
    return measure_distance(draws, expected) <= STANDARD_ERRORS
