"""What layers without weights do to second moments and gradients: dropout and pooling.

The other layers have files of their own: :mod:`~initcheck.theory.normalization`,
:mod:`~initcheck.theory.convolution` and :mod:`~initcheck.theory.residual`. A layer's gain is the factor by which it
multiplies the mean square of what passes, forward, or the squared norm of the gradient, on the way back.

Pooled values are taken to be independent. Neighbouring places of an image are alike: there, averaging loses less than
these laws say, and a maximum wins less.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from initcheck.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number
from initcheck.theory.pieces import Function, find_pieces

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
