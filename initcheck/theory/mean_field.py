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
from numpy.typing import ArrayLike
from scipy import optimize

from initcheck.errors import TheoryError
from initcheck.theory.gaussian import Activation, compute_moments, evaluate_on_grid, find_activation
from initcheck.theory.pieces import Array

ActivationLike = str | Callable[..., Any] | Activation
Regime = Literal["ordered", "critical", "chaotic"]

SMALLEST_Q: Final = 1e-12
"""Variances below this count as vanished."""

LARGEST_Q: Final = 1e12
"""Variances above this count as grown without limit."""

CRITICAL_TOLERANCE: Final = 1e-6
"""chi_1 within this of 1 is critical: over a million layers the gradient keeps its size to a factor e."""

_POINTS_PER_DECADE: Final = 12
TINY_Q: Final = 1e-20
"""Where limits at q = 0 are taken, with kinks and bends of phi out of sight."""

_HUGE_Q: Final = 1e16
NEUTRAL: Final = 1e-11
"""Relative drift of q below which every q is a fixed point (He and ReLU)."""


def map_variance(activation: ActivationLike, q: ArrayLike, sigma_w2: float, sigma_b2: float = 0.0) -> Array:
    """Take the variance of a layer's pre-activations to that of the next: V(q) = sigma_w^2 E phi^2 + sigma_b^2.

    Args:
        activation: phi.
        q: variances, of any shape.
        sigma_w2: fan_in Var(W) of the next layer.
        sigma_b2: variance of its biases.

    Returns:
        V(q), of the shape of q; NaN where E phi^2 diverges.

    Raises:
        TheoryError: an argument is out of range.
    """
    check_sigmas(sigma_w2, sigma_b2)
    return np.asarray(sigma_w2 * compute_moments(activation, q).second + sigma_b2)


@dataclass(frozen=True)
class Profile:
    """The course of the signal through a plain network, by layer.

    Attributes:
        q: variance of the pre-activations of layers 1 to L.
        activation_second_moment: E phi(z_l)^2, K_l in the literature.
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
    """Follow variance and gradient factor through the layers.

    The degenerate case depth = 1 is a linear map of the input: one q, no chi.

    Args:
        activation: phi, of every layer.
        sigma_w2: fan_in Var(W): one number, or one for each layer (rectangular layers).
        depth: number of layers L, at least 1.
        sigma_b2: variance of the biases.
        input_second_moment: mean x^2 of one input.

    Returns:
        The profile.

    Raises:
        TheoryError: an argument is out of range, or there are not as many sigma_w2 as layers.
    """
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


@dataclass(frozen=True)
class FixedPoint:
    """Where the variance settles.

    Attributes:
        q: the fixed point q* that the variance tends to; 0 where it vanishes, inf where it grows without limit.
        chi_forward: V'(q*): deviations of the variance are multiplied by this in each layer.
        chi_backward: chi_1 at q*: the gradient's squared norm is multiplied by this in each layer.
        is_neutral: q stands still, to 1e-11 a layer, without being drawn there: every q does (He initialization and
            ReLU; q is then the one that was begun with), or every q below this one (relu6).
    """

    q: float
    chi_forward: float
    chi_backward: float
    is_neutral: bool = False

    @property
    def regime(self) -> Regime:
        """Ordered (chi_1 < 1), critical or chaotic (chi_1 > 1); Schoenholz et al. 2017."""
        return classify(self.chi_backward)


def classify(chi: float) -> Regime:
    """Name the regime that a gradient factor chi_1 belongs to.

    Raises:
        TheoryError: chi is NaN.
    """
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

    Args:
        activation: phi.
        sigma_w2: fan_in Var(W).
        sigma_b2: variance of the biases.
        start: the variance to begin with; by default that of an input of mean square 1.

    Returns:
        The nearest fixed point in the direction in which the variance moves from there.

    Raises:
        TheoryError: an argument is out of range, or phi grows faster than any power.
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
    standing = [place for place in ahead if not sign * relative[place] > NEUTRAL]
    if not standing:
        return _describe(phi, math.inf if upward else 0.0, sigma_w2, neutral=False)
    # Between the last point at which the variance still moves on, and the first at which it does not.
    far = standing[0]
    moving = [place for place in ahead if (place < far if upward else place > far)]
    near = grid[moving[-1]] if moving else math.log(begin)
    beyond = far + int(sign)
    if sign * relative[far] >= -NEUTRAL and beyond in standing and sign * relative[beyond] < -NEUTRAL:
        far = beyond  # the point of the grid is the fixed point itself (selu, 1)
    if sign * relative[far] >= -NEUTRAL:
        # It comes to rest without being turned back, as far as rounding can tell. Upwards or near 0 it only moves more
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
    grid = evaluate_on_grid(phi, q)
    with np.errstate(all="ignore"):
        return MomentTable(q, grid.expect(np.square(grid.value)), grid.expect(np.square(grid.slope)))


def depth_scale(slope: float) -> float:
    """Turn the factor of a deviation per layer into layers per factor e: xi = -1 / ln(slope).

    Args:
        slope: V'(q*) for xi_q, C'(c*) for xi_c, chi_1 for the gradient's scale.

    Returns:
        The depth scale in layers: positive for a decay, negative for growth (an exploding gradient), infinite at 1, and
        0 where the slope is 0.

    Raises:
        TheoryError: a negative slope, whose deviations alternate in sign: take its magnitude.
    """
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

    Args:
        gradient_norm2: E |dL/dz_l|^2 of one sample.
        fan_in: n_{l-1}.
        input_second_moment: K_{l-1}, mean square of the layer's input.

    Returns:
        The squared norms.
    """
    squared, units, entering = (
        np.asarray(part, dtype=np.float64) for part in (gradient_norm2, fan_in, input_second_moment)
    )
    return np.asarray(squared * units * entering)


def check_sigmas(sigma_w2: float, sigma_b2: float) -> None:
    """Refuse variances of weights and biases that are out of range.

    Raises:
        TheoryError: sigma_w2 is not above 0, or sigma_b2 below 0, or one is not finite.
    """
    if not (0.0 < sigma_w2 < math.inf):
        raise TheoryError(f"sigma_w^2 must be finite and above 0. Received: sigma_w2={sigma_w2!r}. Give one that is.")
    if not (0.0 <= sigma_b2 < math.inf):
        raise TheoryError(
            f"sigma_b^2 must be finite and at least 0. Received: sigma_b2={sigma_b2!r}. Give one that is."
        )
