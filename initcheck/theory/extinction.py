"""Where a signal ends: inputs that no unit answers to, and squared norms too small for a float32."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from initcheck.theory.arguments import check_count, check_counts, check_number

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
