"""Criticality: where a network neither forgets nor amplifies, and the phases around it.

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016: the edge of chaos.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017.
    Roberts, Yaida and Hanin, "The principles of deep learning theory", 2022: criticality at q = 0, half-stable points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import interpolate, optimize
from scipy.optimize import elementwise

from initcheck.errors import TheoryError
from initcheck.theory.gaussian import Activation, compute_moments, find_activation
from initcheck.theory.mean_field import NEUTRAL, TINY_Q, ActivationLike, check_sigmas, tabulate_moments
from initcheck.theory.pieces import Array


@dataclass(frozen=True)
class CriticalPoint:
    """A point on the edge of chaos, chi_1 = 1.

    Attributes:
        sigma_w2: fan_in Var(W).
        sigma_b2: variance of the biases.
        q: the fixed point of the variance there.
    """

    sigma_w2: float
    sigma_b2: float
    q: float


def critical_point_at(activation: ActivationLike, q: float) -> CriticalPoint:
    """Give the critical point whose fixed point is q: sigma_w^2 = 1 / E phi'^2, sigma_b^2 = q - sigma_w^2 E phi^2.

    Args:
        activation: phi.
        q: the fixed point, above 0.

    Returns:
        The point. A negative sigma_b2 says that no critical network has this fixed point.
    """
    moments = compute_moments(activation, q)
    sigma_w2 = 1.0 / float(moments.slope_second)
    return CriticalPoint(sigma_w2, q - sigma_w2 * float(moments.second), q)


def find_critical_points(activation: ActivationLike, sigma_b2: ArrayLike) -> tuple[CriticalPoint, ...]:
    """Find the critical sigma_w^2 (chi_1 = 1 at q*) for given variances of the biases.

    Args:
        activation: phi.
        sigma_b2: variances of the biases, at least 0.

    Returns:
        One point for each: the one of smallest q. At sigma_b2 = 0 that is q = 0 with sigma_w^2 = 1 / phi'(0)^2 wherever
        phi is smooth at 0 and phi(0) = 0, and any q for functions without a scale, such as ReLU. NaN where no
        critical point exists (ReLU with biases).

    Raises:
        TheoryError: a variance is out of range, or phi grows faster than any power.
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


def find_half_stable_point(activation: ActivationLike) -> CriticalPoint:
    """Find the critical point at which the variance map has slope 1 as well: chi_1 = V' = 1.

    GELU and SiLU, which have no scale-free or power-law criticality, come nearest to it there (Roberts et al. 2022,
    chapter 5).

    Args:
        activation: phi.

    Returns:
        The point of smallest q; NaN where there is none.
    """
    phi = find_activation(activation)

    def difference(logarithm: float) -> float:
        moments = compute_moments(phi, math.exp(logarithm))
        return float(moments.second_slope - moments.slope_second)

    grid = np.log(np.logspace(-3.0, 3.0, 61))
    values = np.asarray([difference(logarithm) for logarithm in grid])
    # Both are equal to rounding where phi is linear: only signs that are beyond it count.
    signs = np.where(np.abs(values) > 1e-9, np.sign(values), 0.0)
    crossing = np.flatnonzero(signs[:-1] * signs[1:] < 0.0)
    if not crossing.size:
        return CriticalPoint(math.nan, math.nan, math.nan)
    root = optimize.brentq(difference, grid[crossing[0]], grid[crossing[0] + 1], xtol=1e-15)
    return critical_point_at(phi, math.exp(root))


@dataclass(frozen=True)
class PowerLaw:
    """How a critical network with q* = 0 decays: algebraically, neither level nor exponentially.

    Attributes:
        decay: a in V(q) = q - a q^2: q_l tends to 1 / (a l).
        gradient_exponent: p in chi_1...chi_l ~ l^(-p).
    """

    decay: float
    gradient_exponent: float


def find_power_law(activation: ActivationLike) -> PowerLaw:
    """Find the power law of a network at sigma_w^2 = 1 / phi'(0)^2, sigma_b = 0.

    With V(q) = q - a q^2 + ... and chi_1(q) = 1 - b q + ..., q_l -> 1 / (a l) and prod chi_1 ~ l^(-b/a). For tanh
    a = b = 2: K_l ~ 1 / (2 l) and the gradient falls like 1 / l.

    Args:
        activation: phi, smooth at 0, with phi(0) = 0 and phi'(0) not 0.

    Returns:
        The law.

    Raises:
        TheoryError: phi has no such criticality (ReLU, sigmoid), or its variance grows (GELU).
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
        sigma_w: shape [W].
        sigma_b: shape [S].
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

    Args:
        activation: phi.
        sigma_w: standard deviations of the weights times sqrt(fan_in), above 0.
        sigma_b: standard deviations of the biases, at least 0.

    Returns:
        The diagram. The network begins with an input of mean square 1, as in :func:`find_fixed_point`.

    Raises:
        TheoryError: an argument is out of range, or phi grows faster than any power.
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
    relative = (w2[:, np.newaxis] * table.second + b2[:, np.newaxis]) / table.q - 1.0
    start = np.clip(np.searchsorted(grid, np.log(w2 + b2)), 1, grid.size - 2)
    rows = np.arange(w2.size)
    initial = relative[rows, start]
    place = np.arange(grid.size)
    upward = initial > 0.0
    ahead = np.where(upward[:, np.newaxis], place > start[:, np.newaxis], place < start[:, np.newaxis])
    other_side = np.where(upward[:, np.newaxis], relative <= 0.0, relative >= 0.0) & ahead
    found = other_side.any(axis=1) & (np.abs(initial) > NEUTRAL)
    first = np.where(upward, np.argmax(other_side, axis=1), grid.size - 1 - np.argmax(other_side[:, ::-1], axis=1))
    left = np.clip(np.where(upward, first - 1, first), 0, grid.size - 2)
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
