"""Where a function bends or jumps: the pieces on which it is smooth, found by looking at its values.

Gaussian quadrature converges at once on smooth functions and hardly at all across a kink. So the points where an
activation function or its slope is not smooth become edges of quadrature panels. They are found, not listed: a panel is
bisected until a polynomial of low degree fits the function to its own noise, and where that never happens there is
a kink. The method is that of piecewise Chebyshev approximation with edge detection (Pachon, Platte and Trefethen,
"Piecewise-smooth chebfuns", IMA J. Numerical Analysis 30, 2010), with Legendre polynomials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import TheoryError

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

NODES: Final = 16
"""Points in a panel while pieces are looked for; a panel is resolved by a polynomial of this degree less one."""

FARTHEST: Final = 2.0**20
"""Breakpoints are looked for up to here on both sides; beyond it, a function goes on as in its outermost piece."""

_NEAREST: Final = 2.0**-12
_RANGES: Final = (FARTHEST, 2.0**10, 2.0**6)
_SMALLEST_SIZE: Final = 0.05
_TAIL: Final = 3  # coefficients at the end of the expansion that must have died away
_TOLERANCE: Final = 1e-13
_ABSOLUTE: Final = 4e-16
_MOST_NOISE: Final = 1e-4
_FINEST: Final = 2.0**-46
_MOST_PIECES: Final = 400

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(NODES)
# Coefficients by discrete projection, exact for polynomials of degree below NODES.
_ORDERS = np.arange(NODES)
_TRANSFORM: Final = (np.polynomial.legendre.legvander(_POINTS, NODES - 1) * _WEIGHTS[:, np.newaxis]).T * (
    _ORDERS[:, np.newaxis] + 0.5
)


@dataclass(frozen=True, eq=False)
class Breakpoints:
    """The pieces of one function.

    Attributes:
        is_polynomially_bounded: whether the function is finite, and grows no faster than a power, up to
            ``FARTHEST``. Otherwise its moments under wide Gaussian distributions diverge or overflow.
    """

    edges: Array
    kinks: Array
    farthest: float
    is_polynomially_bounded: bool


def find_breakpoints(function: Function) -> Breakpoints:
    """Find the pieces of a function on [-FARTHEST, FARTHEST], or where it is finite and does not oscillate."""
    with np.errstate(all="ignore"):
        return _find_breakpoints(function)


@dataclass(frozen=True)
class _Tolerance:
    """How well a polynomial has to fit: in relation to the function's values, and absolutely.

    The absolute part is rounding: a function may compute small values as a difference of larger ones, as exp(x) - 1 or
    x + sqrt(x^2 + 4).
    """

    relative: float
    absolute: float
    growth: float

    def at(self, size: Array | float, farthest: Array | float) -> Array:
        """Give the largest misfit of values of this size, on a panel that reaches this far from 0."""
        rounding = self.absolute + self.growth * np.maximum(farthest - 1.0, 0.0)
        return np.asarray(np.maximum(self.relative * size, rounding))

    def times(self, factor: float) -> _Tolerance:
        return _Tolerance(factor * self.relative, factor * self.absolute, factor * self.growth)


def _find_breakpoints(function: Function) -> Breakpoints:
    bounded = _grows_like_a_power(function)
    size = np.abs(function(np.linspace(-1.0, 1.0, 33)))
    noise = _measure_noise(function)
    if not noise <= _MOST_NOISE:
        raise _refuse_roughness(_RANGES[-1])
    tolerance = _Tolerance(
        max(_TOLERANCE, 100.0 * noise),
        _ABSOLUTE * float(size[np.isfinite(size)].max(initial=0.0)),
        _measure_rounding(function),
    )
    for farthest in _RANGES:
        scale = 2.0 ** np.arange(np.log2(_NEAREST), np.log2(farthest) + 1.0)
        starts = np.concatenate([-scale[::-1], [0.0], scale])
        starts = starts[np.isfinite(function(starts))]
        _, breaks = _bisect(function, starts, tolerance)
        edges, _ = _bisect(function, np.union1d(starts, breaks), tolerance)
        if edges.size <= _MOST_PIECES:
            edges = _merge(function, edges, tolerance)
            kinks = np.asarray([edge for edge in edges[1:-1] if not _is_smooth_at(function, edge, tolerance)])
            return Breakpoints(edges, kinks, farthest, bounded)
    raise _refuse_roughness(_RANGES[-1])


def _refuse_roughness(farthest: float) -> TheoryError:
    return TheoryError(
        "Theory needs an activation function that is smooth but for a few points, and does not oscillate fast. "
        f"Received: one with more than {_MOST_PIECES} pieces between -{farthest:g} and {farthest:g}. "
        "Choose a smoother one."
    )


def _grows_like_a_power(function: Function) -> bool:
    """Return whether doubling the argument multiplies the function by no more than a fixed factor."""
    far = np.abs(function(np.asarray([-FARTHEST, -FARTHEST / 2.0, FARTHEST / 2.0, FARTHEST])))
    if not np.isfinite(far).all():
        return False
    return bool(max(far[0], 1.0) <= 2.0**8 * max(far[1], 1.0) and max(far[3], 1.0) <= 2.0**8 * max(far[2], 1.0))


def _measure_noise(function: Function) -> float:
    """Estimate the relative rounding noise of the function from high differences of closely spaced values.

    A smooth function's eighth difference at a spacing of 1e-4 is far below rounding; what is left is noise, amplified
    by the root of the sum of the squared binomial coefficients (More and Wild, "Estimating computational noise", 2011).
    """
    centers = np.asarray([-5.3, -2.7, -1.3, -0.6, -0.21, 0.17, 0.37, 0.9, 1.7, 3.3, 5.9])
    noise, size = _difference(function, centers, np.full(centers.size, 1e-4))
    # The third largest: an activation may be constant, and so without noise, at most places, and have a kink at one.
    return float(np.sort(noise / np.maximum(size, np.finfo(np.float64).tiny))[-3])


def _measure_rounding(function: Function) -> float:
    """Estimate the rounding of far values that are differences of numbers of the size of x, in units of x."""
    centers = np.asarray([-6e5, -3e4, -1e3, -30.0, 30.0, 1e3, 3e4, 6e5])
    noise, size = _difference(function, centers, 1e-4 * np.abs(centers))
    relative = noise / np.abs(centers)
    # More than rounding is no rounding: the function oscillates.
    is_rounding = (relative < 1e-15) & (noise > 1e-14 * size)
    return 8.0 * float(np.sort(np.where(is_rounding, relative, 0.0))[-2])


def _difference(function: Function, centers: Array, spacings: Array) -> tuple[Array, Array]:
    """Return the noise of values near some places, from high differences, and the values' size."""
    order = 8
    points = centers[:, np.newaxis] + spacings[:, np.newaxis] * np.arange(2 * order)
    values = function(points.ravel()).reshape(points.shape)
    differences = np.diff(values, order, axis=1)
    amplification = np.sqrt(np.sum(np.square(_binomials(order))))
    return np.sqrt(np.mean(np.square(differences), axis=1)) / amplification, np.abs(values).max(axis=1)


def _binomials(order: int) -> Array:
    return np.asarray(np.poly1d([1.0, 1.0]) ** order, dtype=np.float64)


def _bisect(function: Function, starts: Array, tolerance: _Tolerance) -> tuple[Array, Array]:
    """Halve unresolved panels."""
    low, high = starts[:-1], starts[1:]
    edges, breaks = [starts], []
    count = starts.size
    while low.size:
        unresolved = ~_are_resolved(function, low, high, tolerance)
        low, high = low[unresolved], high[unresolved]
        middle = 0.5 * (low + high)
        tiny = (high - low) <= _FINEST * np.maximum(1.0, np.abs(middle))
        breaks.append(middle[tiny])
        low, high, middle = low[~tiny], high[~tiny], middle[~tiny]
        edges.append(middle)
        count += middle.size
        if count > 4 * _MOST_PIECES:  # rough, or oscillating without end: the caller tries a shorter range
            break
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    found = np.unique(np.concatenate(breaks)) if breaks else np.empty(0)
    if found.size > 1:  # a kink seen from both sides of an edge is one
        apart = np.diff(found) > 8.0 * _FINEST * np.maximum(1.0, np.abs(found[1:]))
        found = found[np.concatenate([[True], apart])]
    return np.unique(np.concatenate(edges)), found


def _are_resolved(function: Function, low: Array, high: Array, tolerance: _Tolerance) -> NDArray[np.bool_]:
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    points = middle[:, np.newaxis] + half[:, np.newaxis] * _POINTS
    values = function(points.ravel()).reshape(points.shape)
    coefficients = np.abs(values @ _TRANSFORM.T)
    size = np.maximum(np.abs(values).max(axis=1), _floor(low, high))
    resolved: NDArray[np.bool_] = coefficients[:, -_TAIL:].max(axis=1) <= tolerance.at(size, _reach(low, high))
    return resolved


def _floor(low: Array | float, high: Array | float) -> Array:
    """Give the size below which a function's values on a panel need not be right in relation to themselves.

    Where a function passes through zero, or fades in its tail, its relative rounding error has no limit.
    """
    return np.asarray(_SMALLEST_SIZE * np.minimum(1.0, _reach(low, high)))


def _reach(low: Array | float, high: Array | float) -> Array:
    return np.asarray(np.maximum(np.abs(low), np.abs(high)))


def _merge(function: Function, edges: Array, tolerance: _Tolerance) -> Array:
    """Take away the edges without which the function is as well resolved."""
    middle, half = 0.5 * (edges[:-1] + edges[1:]), 0.5 * np.diff(edges)
    points = middle[:, np.newaxis] + half[:, np.newaxis] * _POINTS
    values = function(points.ravel()).reshape(points.shape)
    kept = [0]
    for index in range(2, edges.size):
        low, high = edges[kept[-1]], edges[index]
        if not _fits(function, low, high, points[kept[-1] : index], values[kept[-1] : index], tolerance):
            kept.append(index - 1)
    return edges[[*kept, edges.size - 1]]


def _fits(function: Function, low: float, high: float, points: Array, values: Array, tolerance: _Tolerance) -> bool:
    """Return whether one polynomial on [low, high] gives all the values of the panels inside."""
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    own = function(middle + half * _POINTS)
    coefficients = _TRANSFORM @ own
    largest = max(np.abs(own).max(), float(_floor(low, high)))
    if not np.abs(coefficients[-_TAIL:]).max() <= tolerance.at(largest, _reach(low, high)):
        return False
    fitted = np.polynomial.legendre.legval((points - middle) / half, coefficients)
    # By the size in each panel: near zero a function has to be right in relation to itself.
    ends = points[:, :1], points[:, -1:]
    size = np.maximum(np.abs(values).max(axis=1, keepdims=True), _floor(*ends))
    return bool((np.abs(fitted - values) <= 10.0 * tolerance.at(size, _reach(*ends))).all())


def _is_smooth_at(function: Function, edge: float, tolerance: _Tolerance) -> bool:
    half = 2.0**-6 * max(_NEAREST, min(1.0, abs(edge))) if edge else 2.0**-6
    return bool(
        _are_resolved(function, np.asarray([edge - half]), np.asarray([edge + half]), tolerance.times(100.0))[0]
    )
