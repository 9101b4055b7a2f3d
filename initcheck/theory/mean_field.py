"""Mean-field theory of plain deep networks: the maps of variance and correlation, and their fixed points.

A layer of many units with independent random weights of variance sigma_w^2 / fan_in and biases of variance sigma_b^2
takes

- the variance q of the pre-activations of one input to V(q) = sigma_w^2 E phi(sqrt(q) z)^2 + sigma_b^2,
- the correlation c of those of two inputs to C(c) = (sigma_w^2 E phi(u) phi(v) + sigma_b^2) / q*,
- the squared norm of the gradient, on its way back, to chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 times itself.

The first layer has no activation before it: its q is sigma_w^2 mean(x^2) + sigma_b^2.

sigma_w^2 = fan_in Var(W) with the true fan_in. In a layer with n inputs and m outputs, Var(W) = v, the gradient's
squared *norm* is multiplied by n v E phi'^2, the mean square of its *single entries* by m v E phi'^2: an initializer
that scales with fan_in keeps the norm in layers of any shape. chi_1 here is about the norm.

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016: V, C, chi_1.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017: depth scales, L <~ 6 xi_c.
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, optimize
from scipy.optimize import elementwise

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, compute_moments, evaluate_on_grid, expect_pair, find_activation

ActivationLike = str | Callable[..., Any] | Activation
Regime = Literal["ordered", "critical", "chaotic", "no fixed point"]

SMALLEST_Q: Final = 1e-12
"""Variances below this count as vanished."""

LARGEST_Q: Final = 1e12
"""Variances above this count as grown without limit."""

CRITICAL_TOLERANCE: Final = 1e-6
"""chi_1 within this of 1 is critical: over a million layers the gradient keeps its size to a factor e."""

_POINTS_PER_DECADE: Final = 12
_POINTS_AT_A_TIME: Final = 128
TINY_Q: Final = 1e-20
"""Where limits at q = 0 are taken, with kinks and bends of phi out of sight."""

_HUGE_Q: Final = 1e16
PRODUCT_LAYERS: Final = 100
"""Over so many layers the product of chi_1 is given where chi_1 at the fixed point does not say what it comes to."""

NEUTRAL: Final = 1e-11
"""Relative drift of q below which every q is a fixed point (He and ReLU)."""


def map_variance(activation: ActivationLike, q: ArrayLike, sigma_w2: float, sigma_b2: float = 0.0) -> Array:
    """Take the variance of a layer's pre-activations to that of the next: V(q) = sigma_w^2 E phi^2 + sigma_b^2."""
    check_sigmas(sigma_w2, sigma_b2)
    return np.asarray(sigma_w2 * compute_moments(activation, q).second + sigma_b2)


@dataclass(frozen=True)
class Profile:
    """The signal through a plain network, by layer.

    Attributes:
        chi: factor of the gradient's squared norm from layer l + 1's pre-activations to layer l's, for l = 1 to L - 1
            (with the weights of layer l + 1).
    """

    q: Array
    activation_second_moment: Array
    chi: Array


def trace_profile(
    activation: ActivationLike,
    sigma_w2: float | Sequence[float],
    depth: int,
    *,
    sigma_b2: float = 0.0,
    input_second_moment: float = 1.0,
) -> Profile:
    """Follow variance and gradient factor through the layers; one layer is a linear map of the input, without chi."""
    if depth < 1:
        raise TheoryError(f"A network has at least one layer. Received: depth={depth!r}. Give 1 or more.")
    gains = [float(sigma_w2)] * depth if isinstance(sigma_w2, int | float) else [float(gain) for gain in sigma_w2]
    if len(gains) != depth:
        raise TheoryError(
            f"sigma_w2 must be one number, or one for each layer. Received: {len(gains)} for depth={depth}. "
            "Give as many."
        )
    for gain in gains:
        check_sigmas(gain, sigma_b2)
    phi = find_activation(activation)
    phi.require_moments()
    q = [gains[0] * input_second_moment + sigma_b2]
    second, slopes = [], []
    for layer in range(depth):
        moments = compute_moments(phi, q[layer] if math.isfinite(q[layer]) else 0.0)
        finite = math.isfinite(q[layer])
        second.append(float(moments.second) if finite else math.inf)
        slopes.append(float(moments.slope_second) if finite else math.nan)
        if layer + 1 < depth:
            q.append(gains[layer + 1] * second[layer] + sigma_b2)
    chi = np.asarray(gains[1:]) * np.asarray(slopes[:-1])
    return Profile(np.asarray(q), np.asarray(second), chi)


def multiply_chi(activation: ActivationLike, sigma_w2: float, sigma_b2: float, start: float) -> float:
    """Give ln of the product of chi_1 over PRODUCT_LAYERS layers, from the variance in the first one."""
    profile = trace_profile(
        activation, sigma_w2, PRODUCT_LAYERS + 1, sigma_b2=sigma_b2, input_second_moment=(start - sigma_b2) / sigma_w2
    )
    with np.errstate(divide="ignore"):  # of a gradient that is exactly zero
        return float(np.log(profile.chi).sum())


@dataclass(frozen=True)
class FixedPoint:
    """Where the variance settles.

    Attributes:
        is_neutral: q stands still, to 1e-11 a layer, without being drawn there: every q does (He initialization and
            ReLU; q is then the one that was begun with), or every q below this one (relu6).
    """

    q: float
    chi_forward: float
    chi_backward: float
    is_neutral: bool = False

    @property
    def regime(self) -> Regime:
        """Ordered (chi_1 < 1), critical or chaotic (chi_1 > 1), by Schoenholz et al. 2017; none where q grows."""
        # chi_1 tends to a limit there, and may stay on one side of it for good: its limit is about no layer.
        return "no fixed point" if math.isinf(self.q) else classify(self.chi_backward)


def classify(chi: float) -> Regime:
    """Name the regime that a gradient factor chi_1 belongs to."""
    if math.isnan(chi):
        raise TheoryError("The regime of a NaN is not known. Received: chi=nan. Give a number.")
    if abs(chi - 1.0) <= CRITICAL_TOLERANCE:
        return "critical"
    return "ordered" if chi < 1.0 else "chaotic"


def find_fixed_point(
    activation: ActivationLike, sigma_w2: float, sigma_b2: float = 0.0, start: float | None = None
) -> FixedPoint:
    """Find the fixed point of the variance map that a network tends to.

    Marginal cases are decided by the sign of V(q) - q on a logarithmic grid from 1e-12 to 1e12 and not by iterating:
    at sigma_w = 1 tanh approaches 0 like 1 / (2 l), so that an iteration would stop anywhere.
    """
    check_sigmas(sigma_w2, sigma_b2)
    phi = find_activation(activation)
    phi.require_moments()
    begin = sigma_w2 + sigma_b2 if start is None else float(start)
    if not (begin > 0.0 and math.isfinite(begin)):
        raise TheoryError(
            f"The variance to begin with must be finite and above 0. Received: start={begin!r}. Give one that is."
        )

    def drift(logarithm: float) -> float:
        q = math.exp(logarithm)
        return float(map_variance(phi, q, sigma_w2, sigma_b2)) / q - 1.0

    initial = drift(math.log(begin))
    if abs(initial) <= NEUTRAL:
        # At a fixed point, or on a line of them? Elsewhere the variance stands still as well only on a line.
        neutral = abs(drift(math.log(2.0 * begin))) <= NEUTRAL
        return _describe(phi, begin, sigma_w2, neutral)
    table = tabulate_moments(phi)
    grid = np.log(table.q)
    relative = (sigma_w2 * table.second + sigma_b2) / table.q - 1.0
    upward = initial > 0.0
    ahead = np.flatnonzero(grid > math.log(begin)) if upward else np.flatnonzero(grid < math.log(begin))[::-1]
    sign = 1.0 if upward else -1.0
    resting = [place for place in ahead if not sign * relative[place] > NEUTRAL]
    if not resting:
        return _describe(phi, math.inf if upward else 0.0, sigma_w2, neutral=False)
    # Between the last point at which the variance still moves on, and the first at which it does not.
    far = resting[0]
    moving = [place for place in ahead if (place < far if upward else place > far)]
    near = grid[moving[-1]] if moving else math.log(begin)
    beyond = far + int(sign)
    if sign * relative[far] >= -NEUTRAL and beyond in resting and sign * relative[beyond] < -NEUTRAL:
        far = beyond  # the point of the grid is the fixed point itself (selu, 1)
    if sign * relative[far] >= -NEUTRAL:
        # It comes to rest without being turned back, within rounding. Upwards or near 0 it only moves more
        # and more slowly (softplus, tanh); else it has come to a stretch on which phi is linear (relu6).
        if upward or not table.q[far] > 1e3 * SMALLEST_Q:
            return _describe(phi, math.inf if upward else 0.0, sigma_w2, neutral=False)
        return _describe(phi, float(table.q[far]), sigma_w2, neutral=True)
    root = optimize.brentq(drift, near, grid[far], xtol=1e-15, rtol=8.9e-16)
    return _describe(phi, math.exp(root), sigma_w2, neutral=False)


def _describe(phi: Activation, q: float, sigma_w2: float, neutral: bool) -> FixedPoint:
    at = min(max(q, TINY_Q), _HUGE_Q)
    moments = compute_moments(phi, at)
    return FixedPoint(
        q, sigma_w2 * float(moments.second_slope), sigma_w2 * float(moments.slope_second), is_neutral=neutral
    )


@dataclass(frozen=True, eq=False)
class MomentTable:
    """E phi^2 and E phi'^2 on a logarithmic grid of variances, ``SMALLEST_Q`` to ``LARGEST_Q``; shape [Q] each."""

    q: Array
    second: Array
    slope_second: Array


@lru_cache(maxsize=64)
def tabulate_moments(phi: Activation) -> MomentTable:
    """Tabulate the two moments that maps and phases need; made once for each activation."""
    decades = math.log10(LARGEST_Q / SMALLEST_Q)
    q = np.logspace(math.log10(SMALLEST_Q), math.log10(LARGEST_Q), round(decades * _POINTS_PER_DECADE) + 1)
    return MomentTable(q, *evaluate_on_grid(phi, q).second_moments())


def map_correlation(
    activation: ActivationLike, correlation: float, q: float, sigma_w2: float, sigma_b2: float = 0.0
) -> float:
    """Take the correlation of two inputs' pre-activations to that in the next layer.

    C(c) = (sigma_w^2 E phi(u) phi(v) + sigma_b^2) / V(q), where u and v have variance q and correlation c. At the fixed
    point V(q) = q, and the slope of C at c = 1 is chi_1.
    """
    check_sigmas(sigma_w2, sigma_b2)
    both = sigma_w2 * expect_pair(activation, q, correlation) + sigma_b2
    return both / float(map_variance(activation, q, sigma_w2, sigma_b2))


@dataclass(frozen=True)
class CorrelationFixedPoint:
    """Where the correlation of two inputs settles."""

    correlation: float
    slope: float


def find_correlation_fixed_point(
    activation: ActivationLike, sigma_w2: float, sigma_b2: float = 0.0, fixed_point: FixedPoint | None = None
) -> CorrelationFixedPoint:
    """Find the stable fixed point c* of the correlation map at q*.

    C is a power series with coefficients >= 0 (Daniely, Frostig and Singer 2016), so it is convex on [0, 1]: for
    chi_1 <= 1 its only fixed point there is 1, for chi_1 > 1 there is one more, below 1, and that one is stable.

    Returns:
        c* and the slope there; NaN where q* is 0 or infinite, or phi linear, since nothing settles. For functions
        without a scale of their own (ReLU) correlations do not depend on q: without biases they approach 1 like 1/l^2,
        with slope 1.
    """
    phi = find_activation(activation)
    if phi.has_jumps:
        raise TheoryError(
            f"The correlation map of the activation {phi.name!r} has no slope at 1, because the function jumps: its "
            "gradient does not see the jumps. Choose a continuous activation."
        )
    point = fixed_point or find_fixed_point(phi, sigma_w2, sigma_b2)
    q = point.q
    if not (0.0 < q < math.inf):
        if sigma_b2 == 0.0 and _bends_without_scale(phi):
            return CorrelationFixedPoint(1.0, 1.0)
        return CorrelationFixedPoint(math.nan, math.nan)
    if not point.chi_backward > 1.0 + CRITICAL_TOLERANCE:
        if sigma_b2 == 0.0 and abs(map_correlation(phi, 0.5, q, sigma_w2) - 0.5) < 1e-12:
            return CorrelationFixedPoint(math.nan, math.nan)  # a linear network keeps every correlation
        return CorrelationFixedPoint(1.0, point.chi_backward)

    def excess(c: float) -> float:
        return map_correlation(phi, c, q, sigma_w2, sigma_b2) - c

    correlation = 0.0
    if excess(0.0) > 1e-14:
        # The nearer to criticality, the nearer to 1 is c*: go there until the map lies below the diagonal.
        distance = 0.5
        while excess(1.0 - distance) >= 0.0 and distance > 1e-9:
            distance *= 0.25
        correlation = float(optimize.brentq(excess, 0.0, 1.0 - distance, xtol=1e-14))
    return CorrelationFixedPoint(correlation, sigma_w2 * expect_pair(phi, q, correlation, slopes=True))


def _bends_without_scale(phi: Activation) -> bool:
    """Return whether phi(a x) = a phi(x) for a > 0 only, as for ReLU: correlations behave alike at every variance."""
    x = np.asarray([0.2, 1.0, 3.0])
    homogeneous = np.allclose(phi(1000.0 * x), 1000.0 * phi(x), rtol=1e-9, atol=0.0)
    homogeneous &= np.allclose(phi(-1000.0 * x), 1000.0 * phi(-x), rtol=1e-9, atol=0.0)
    return bool(homogeneous and not np.allclose(phi(-x), -phi(x)))


def depth_scale(slope: float) -> float:
    """Turn the factor of a deviation per layer into layers per factor e: xi = -1 / ln(slope), negative for growth."""
    if slope < 0.0:
        raise TheoryError(f"A depth scale needs a slope of at least 0. Received: slope={slope!r}. Take its magnitude.")
    if slope == 0.0:
        return 0.0
    return math.inf if slope == 1.0 else -1.0 / math.log(slope)


TRAINABLE_DEPTHS: Final = 6.0
"""Networks train up to about this many times xi_c in depth (Schoenholz et al. 2017, section 5)."""


def predict_weight_gradient(gradient_norm2: ArrayLike, fan_in: ArrayLike, input_second_moment: ArrayLike) -> Array:
    """Predict the squared norm of one sample's weight gradient: E |dL/dW_l|^2 = E |dL/dz_l|^2 n_{l-1} K_{l-1}.

    For ReLU, leaky ReLU and linear networks of equal widths it is the same in every layer for any sigma_w, even while
    signal and gradient vanish (Glorot and Bengio 2010, eq. 14): a level weight gradient shows nothing.
    """
    squared, units, entering = (
        np.asarray(part, dtype=np.float64) for part in (gradient_norm2, fan_in, input_second_moment)
    )
    return np.asarray(squared * units * entering)


def check_sigmas(sigma_w2: float, sigma_b2: float) -> None:
    """Refuse variances of weights and biases that are out of range."""
    if not (0.0 < sigma_w2 < math.inf):
        raise TheoryError(f"sigma_w^2 must be finite and above 0. Received: sigma_w2={sigma_w2!r}. Give one that is.")
    if not (0.0 <= sigma_b2 < math.inf):
        raise TheoryError(
            f"sigma_b^2 must be finite and at least 0. Received: sigma_b2={sigma_b2!r}. Give one that is."
        )


@dataclass(frozen=True)
class CriticalPoint:
    """A point on the edge of chaos, chi_1 = 1."""

    sigma_w2: float
    sigma_b2: float
    q: float


def critical_point_at(activation: ActivationLike, q: float) -> CriticalPoint:
    """Give the critical point whose fixed point is q: sigma_w^2 = 1 / E phi'^2, sigma_b^2 = q - sigma_w^2 E phi^2."""
    moments = compute_moments(activation, q)
    sigma_w2 = 1.0 / float(moments.slope_second)
    return CriticalPoint(sigma_w2, q - sigma_w2 * float(moments.second), q)


def find_critical_points(activation: ActivationLike, sigma_b2: ArrayLike) -> tuple[CriticalPoint, ...]:
    """Find the critical sigma_w^2 (chi_1 = 1 at q*) for given variances of the biases.

    Args:
        sigma_b2: variances of the biases, at least 0.

    Returns:
        One point for each: the one of smallest q. At sigma_b2 = 0 that is q = 0 with sigma_w^2 = 1 / phi'(0)^2 wherever
        phi is smooth at 0 and phi(0) = 0, and any q for functions without a scale, such as ReLU. NaN where no
        critical point exists (ReLU with biases).
    """
    phi = find_activation(activation)
    phi.require_moments()
    table = tabulate_moments(phi)
    with np.errstate(all="ignore"):
        bias = table.q - table.second / table.slope_second
    return tuple(_find_critical(phi, float(value), table.q, bias) for value in np.ravel(sigma_b2))


def _find_critical(phi: Activation, sigma_b2: float, q: Array, bias: Array) -> CriticalPoint:
    check_sigmas(1.0, sigma_b2)
    noise = 1e-13 * q
    if sigma_b2 == 0.0 and abs(bias[0]) <= max(1e-9 * q[0], noise[0]):
        # The branch that begins at q = 0.
        sigma_w2 = 1.0 / float(compute_moments(phi, TINY_Q).slope_second)
        scale_free = abs(bias[len(bias) // 2]) <= 1e-9 * q[len(q) // 2]
        return CriticalPoint(sigma_w2, 0.0, 1.0 if scale_free else 0.0)
    known = np.isfinite(bias)
    above = np.where(known, bias - sigma_b2, np.nan)
    crossing = np.flatnonzero((above[:-1] < 0.0) & (above[1:] >= 0.0) | (above[:-1] > 0.0) & (above[1:] <= 0.0))
    if not crossing.size:
        return CriticalPoint(math.nan, sigma_b2, math.nan)
    low, high = np.log(q[crossing[0]]), np.log(q[crossing[0] + 1])
    root = optimize.brentq(
        lambda logarithm: critical_point_at(phi, math.exp(logarithm)).sigma_b2 - sigma_b2, low, high, xtol=1e-15
    )
    return CriticalPoint(critical_point_at(phi, math.exp(root)).sigma_w2, sigma_b2, math.exp(root))


@dataclass(frozen=True)
class PowerLaw:
    """How a critical network with q* = 0 decays: algebraically, neither level nor exponentially."""

    decay: float
    gradient_exponent: float


def find_power_law(activation: ActivationLike) -> PowerLaw:
    """Find the power law of a network at sigma_w^2 = 1 / phi'(0)^2, sigma_b = 0.

    With V(q) = q - a q^2 + ... and chi_1(q) = 1 - b q + ..., q_l -> 1 / (a l) and prod chi_1 ~ l^(-b/a). For tanh
    a = b = 2: K_l ~ 1 / (2 l) and the gradient falls like 1 / l.

    Args:
        activation: phi, smooth at 0, with phi(0) = 0 and phi'(0) not 0.
    """
    phi = find_activation(activation)
    steps = np.asarray([1e-3, 5e-4])
    moments = compute_moments(phi, np.concatenate([[TINY_Q], steps]))
    gain = 1.0 / float(moments.slope_second[0]) if moments.slope_second[0] > 0.0 else math.nan
    settled = abs(gain * float(moments.second[0]) / TINY_Q - 1.0) < 1e-5
    second = (1.0 - gain * moments.second[1:] / steps) / steps
    slope = (1.0 - gain * moments.slope_second[1:]) / steps
    # The next term of both is linear in q: one step of Richardson's extrapolation takes it away.
    decay, fall = (float(2.0 * values[1] - values[0]) for values in (second, slope))
    # Where phi bends at 0, V(q) - q falls like another power of q, and a is no number.
    quadratic = abs(second[1] - second[0]) < 0.05 * abs(second[0])
    if not (settled and quadratic and decay > 1e-6):
        raise TheoryError(
            f"The activation {phi.name!r} has no power law at q = 0: it needs phi(0) = 0, a smooth slope there, and a "
            f"variance that falls. Received: V(q) = q - {decay:.3g} q^2. Choose another, such as tanh."
        )
    return PowerLaw(decay, fall / decay)


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """The phases of one activation function over sigma_w and sigma_b.

    Attributes:
        q: fixed points, shape [S, W]; 0 where the variance vanishes, inf where it grows without limit.
        chi: chi_1 at the fixed points, shape [S, W].
    """

    sigma_w: Array
    sigma_b: Array
    q: Array
    chi: Array


def map_phases(activation: ActivationLike, sigma_w: ArrayLike, sigma_b: ArrayLike) -> PhaseDiagram:
    """Compute q* and chi_1 over a grid, by interpolation on a table over ln q that is made once.

    Good to about 1e-5 relative, which is finer than a picture; use :func:`find_fixed_point` for single points.
    """
    phi = find_activation(activation)
    phi.require_moments()
    weights, biases = np.ravel(np.asarray(sigma_w, dtype=np.float64)), np.ravel(np.asarray(sigma_b, dtype=np.float64))
    for value in weights:
        check_sigmas(math.copysign(float(value) ** 2, value), 0.0)
    for value in biases:
        check_sigmas(1.0, math.copysign(float(value) ** 2, value))
    table = tabulate_moments(phi)
    grid = np.log(table.q)
    w2, b2 = (array.ravel() for array in np.broadcast_arrays(np.square(weights), np.square(biases)[:, np.newaxis]))
    # A few points at a time: the drifts of all of them over the whole table would take a tenth of a gigabyte.
    parts = [
        _bracket_fixed_points(table, *points)
        for points in zip(*(np.array_split(array, 1 + w2.size // _POINTS_AT_A_TIME) for array in (w2, b2)), strict=True)
    ]
    initial, found, left = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    upward = initial > 0.0
    logarithm = np.where(upward, np.inf, -np.inf)
    neutral = np.abs(initial) <= NEUTRAL
    logarithm[neutral] = np.log((w2 + b2)[neutral])
    if found.any():
        second = interpolate.make_interp_spline(grid, np.log(np.maximum(table.second, 1e-300)), k=3)

        def drift(at: Array, gain: Array, bias: Array) -> Array:
            return np.asarray((gain * np.exp(second(at)) + bias) / np.exp(at) - 1.0)

        bracket = (grid[left[found]], grid[left[found] + 1])
        solved = elementwise.find_root(drift, bracket, args=(w2[found], b2[found]))
        logarithm[found] = np.where(solved.success, solved.x, 0.5 * (bracket[0] + bracket[1]))
    slope = interpolate.make_interp_spline(grid, table.slope_second, k=3)
    chi = w2 * slope(np.clip(logarithm, grid[0], grid[-1]))
    shape = (biases.size, weights.size)
    return PhaseDiagram(weights, biases, np.exp(logarithm).reshape(shape), np.asarray(chi).reshape(shape))


def _bracket_fixed_points(
    table: MomentTable, w2: Array, b2: Array
) -> tuple[Array, NDArray[np.bool_], NDArray[np.intp]]:
    """Find between which variances of a table those that start at w2 + b2 settle.

    Returns:
        The relative change in the first layer; whether the variance settles in the table; and the place there of the
        variance below.
    """
    grid = np.log(table.q)
    relative = (w2[:, np.newaxis] * table.second + b2[:, np.newaxis]) / table.q - 1.0
    start = np.clip(np.searchsorted(grid, np.log(w2 + b2)), 1, grid.size - 2)
    initial = relative[np.arange(w2.size), start]
    place = np.arange(grid.size)
    upward = initial > 0.0
    ahead = np.where(upward[:, np.newaxis], place > start[:, np.newaxis], place < start[:, np.newaxis])
    other_side = np.where(upward[:, np.newaxis], relative <= 0.0, relative >= 0.0) & ahead
    found = other_side.any(axis=1) & (np.abs(initial) > NEUTRAL)
    first = np.where(upward, np.argmax(other_side, axis=1), grid.size - 1 - np.argmax(other_side[:, ::-1], axis=1))
    return initial, found, np.clip(np.where(upward, first - 1, first), 0, grid.size - 2)
