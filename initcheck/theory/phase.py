"""The phase of a network: where its signal settles, how fast, and after how many layers it is lost.

What happens in the limit of many layers, and on the way there, in an infinitely wide network whose layers have all the
same sigma_w^2 and sigma_b^2 (see :mod:`initcheck.theory.mean_field` for the maps).

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017: depth scales, L <~ 6 xi_c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np

from initcheck.core.errors import InitcheckError, TheoryError
from initcheck.theory.gaussian import OVERFLOWS, Activation, evaluate_on_grid, find_activation
from initcheck.theory.mean_field import (
    CRITICAL_TOLERANCE,
    TRAINABLE_DEPTHS,
    ActivationLike,
    FixedPoint,
    PowerLaw,
    Regime,
    depth_scale,
    find_correlation_fixed_point,
    find_fixed_point,
    find_power_law,
    map_variance,
    tabulate_moments,
)

MOST_LAYERS: Final = 10_000
"""The signal is followed through so many layers and no farther."""

_THOUSANDFOLD: Final = math.log(1000.0)
_EXACT_STEPS: Final = 300
_SETTLED: Final = 1e-14
_FARTHEST_Q: Final = 1e200

SizeChange = Literal["vanishes", "explodes", "keeps"]


@dataclass(frozen=True)
class ThousandfoldChange:
    """When a squared size has become a thousand times smaller or larger.

    Attributes:
        layers: in how many layers; None where MOST_LAYERS do not suffice.
    """

    layers: int | None
    direction: SizeChange


@dataclass(frozen=True)
class LayersUntil:
    """When a signal and its gradient have changed a thousandfold.

    Attributes:
        forward: q, counted from the first layer on; None where its moments overflow before.
        backward: the gradient's squared norm, counted from the last layer down to the first; None likewise.
    """

    forward: ThousandfoldChange | None
    backward: ThousandfoldChange | None


@dataclass(frozen=True)
class Phase:
    """Where a network settles. NaN, or None, is what has no value; ``reasons`` says why.

    Attributes:
        regime: ordered (chi_backward below 1), critical or chaotic.
        trainable_depth: 6 xi_c, the depth up to which networks were seen to train (Schoenholz et al. 2017).
    """

    regime: Regime | None
    fixed_point: float
    chi_forward: float
    chi_backward: float
    xi_q: float
    xi_c: float
    xi_gradient: float
    correlation_fixed_point: float
    trainable_depth: float
    power_law: PowerLaw | None
    layers_until: LayersUntil | None
    reasons: Mapping[str, str]


_SETTLING: Final = ("regime", "fixed_point", "chi_forward", "chi_backward", "xi_q", "xi_gradient")
_CORRELATION: Final = ("correlation_fixed_point", "xi_c", "trainable_depth")


def without_phase(reason: str) -> Phase:
    """Say why a network has no phase, as one whose layers differ."""
    fields = (*_SETTLING, *_CORRELATION, "power_law", "layers_until")
    nan = math.nan
    return Phase(None, nan, nan, nan, nan, nan, nan, nan, nan, None, None, dict.fromkeys(fields, reason))


def find_phase(activation: ActivationLike, sigma_w2: float, sigma_b2: float = 0.0, start: float | None = None) -> Phase:
    """Find where a network settles, and how fast.

    Source: Schoenholz et al. 2017 for depth scales and trainable depth; the thousandfold change by following V and
        chi_1 layer by layer.
    """
    begin = sigma_w2 + sigma_b2 if start is None else start
    return _find_phase(find_activation(activation), sigma_w2, sigma_b2, begin)


@lru_cache(maxsize=256)
def _find_phase(phi: Activation, sigma_w2: float, sigma_b2: float, begin: float) -> Phase:
    """Find it once for all initializers whose variances agree."""
    reasons: dict[str, str] = {}
    point = _find_point(phi, sigma_w2, sigma_b2, begin, reasons)
    correlation, xi_c = _find_correlation(phi, sigma_w2, sigma_b2, point, reasons)
    layers_until = _count_layers_until_thousandfold(phi, sigma_w2, sigma_b2, begin)
    for name, change in (("forward", layers_until.forward), ("backward", layers_until.backward)):
        if change is None:
            reasons[f"layers_until.{name}"] = OVERFLOWS
        elif change.layers is None:
            reasons[f"layers_until.{name}.layers"] = f"there is no thousandfold change within {MOST_LAYERS:,} layers"
    return Phase(
        regime=None if "regime" in reasons else point.regime,
        fixed_point=point.q,
        chi_forward=point.chi_forward,
        chi_backward=point.chi_backward,
        xi_q=_find_scale(point.chi_forward),
        xi_c=xi_c,
        xi_gradient=_find_scale(point.chi_backward),
        correlation_fixed_point=correlation,
        trainable_depth=TRAINABLE_DEPTHS * xi_c,
        power_law=_find_power_law(phi, point, reasons),
        layers_until=layers_until,
        reasons=reasons,
    )


def _find_point(phi: Activation, sigma_w2: float, sigma_b2: float, begin: float, reasons: dict[str, str]) -> FixedPoint:
    if math.isnan(float(map_variance(phi, begin, sigma_w2, sigma_b2))):
        reasons |= dict.fromkeys(_SETTLING, OVERFLOWS)
        return FixedPoint(math.nan, math.nan, math.nan)
    try:
        point = find_fixed_point(phi, sigma_w2, sigma_b2, start=begin)
    except ValueError as error:
        reason = _describe_error(error, "V(q) and q cannot be distinguished near the fixed point")
        reasons |= dict.fromkeys(_SETTLING, reason)
        return FixedPoint(math.nan, math.nan, math.nan)
    for name, value, needs in (
        ("chi_forward", point.chi_forward, ("xi_q",)),
        ("chi_backward", point.chi_backward, ("xi_gradient", "regime")),
    ):
        if math.isnan(value):
            reasons |= dict.fromkeys((name, *needs), OVERFLOWS)
    return point


def _find_correlation(
    phi: Activation, sigma_w2: float, sigma_b2: float, point: FixedPoint, reasons: dict[str, str]
) -> tuple[float, float]:
    """Find c* and xi_c."""
    reason = ""
    if point.q == 0.0:
        reason = "the signal vanishes, and its correlations with it"
    elif math.isinf(point.q):
        reason = "q* is infinite: the correlation has no map to settle by"
    elif math.isnan(point.q) or math.isnan(point.chi_backward):
        reason = reasons.get("fixed_point", OVERFLOWS)
    else:
        try:
            settled = find_correlation_fixed_point(phi, sigma_w2, sigma_b2, point)
        except ValueError as error:
            reason = _describe_error(error, "C(c) and c cannot be distinguished near the fixed point")
        else:
            scale = _find_scale(settled.slope)
            if not math.isnan(settled.correlation + scale):
                return settled.correlation, scale
            reason = OVERFLOWS
    reasons |= dict.fromkeys(_CORRELATION, reason)
    return math.nan, math.nan


def _describe_error(error: ValueError, otherwise: str) -> str:
    """Word what theory refused, or that the root finder saw no change of sign: all is rounding there."""
    return str(error) if isinstance(error, InitcheckError) else otherwise


def _find_scale(slope: float) -> float:
    """Give the depth scale of a slope; infinite where it counts as 1."""
    if math.isnan(slope):
        return math.nan
    return math.inf if abs(abs(slope) - 1.0) <= CRITICAL_TOLERANCE else depth_scale(abs(slope))


def _find_power_law(phi: Activation, point: FixedPoint, reasons: dict[str, str]) -> PowerLaw | None:
    if not (point.q == 0.0 and "regime" not in reasons and point.regime == "critical"):
        reasons["power_law"] = "only critical networks whose signal vanishes fade by a power law"
        return None
    try:
        return find_power_law(phi)
    except TheoryError as error:
        reasons["power_law"] = str(error)
        return None


def _count_layers_until_thousandfold(phi: Activation, sigma_w2: float, sigma_b2: float, start: float) -> LayersUntil:
    """Count the layers until the signal, and its gradient, has changed a thousandfold.

    q_{l+1} = V(q_l), and the gradient's squared norm is multiplied by chi_1(q_l), layer by layer, and not by the rates
    at the fixed point, which say nothing of the way there.
    """
    changes: dict[str, ThousandfoldChange] = {}
    moments = _measure_exactly(phi)
    q, gradient = start, 0.0
    for step in range(1, MOST_LAYERS + 1):
        if step == _EXACT_STEPS + 1:
            moments = _interpolate(phi)
        second, slope = moments(q)
        following, chi = sigma_w2 * second + sigma_b2, sigma_w2 * slope
        gradient += _logarithm(chi)
        _note_change(changes, "forward", step, _logarithm(following) - _logarithm(start))
        _note_change(changes, "backward", step, gradient)
        if len(changes) == 2:
            break
        if math.isnan(following) or math.isnan(gradient):
            return LayersUntil(changes.get("forward"), changes.get("backward"))
        if abs(following - q) <= _SETTLED * q or not 1.0 / _FARTHEST_Q < following < _FARTHEST_Q:
            # From here on the signal stands still, or has left the scale of the function: chi changes no more.
            _continue_gradient(changes, step, gradient, _logarithm(chi))
            break
        q = following
    stays = ThousandfoldChange(None, "keeps")
    return LayersUntil(changes.get("forward", stays), changes.get("backward", stays))


def _note_change(changes: dict[str, ThousandfoldChange], which: str, step: int, change: float) -> None:
    if which not in changes and abs(change) >= _THOUSANDFOLD:
        changes[which] = ThousandfoldChange(step, "explodes" if change > 0.0 else "vanishes")


def _continue_gradient(changes: dict[str, ThousandfoldChange], step: int, gradient: float, rate: float) -> None:
    if abs(rate) <= CRITICAL_TOLERANCE:
        return
    left = math.copysign(_THOUSANDFOLD, rate) - gradient
    total = step + math.ceil(left / rate)
    if total <= MOST_LAYERS:
        _note_change(changes, "backward", total, math.copysign(_THOUSANDFOLD, rate))


def _logarithm(value: float) -> float:
    return math.log(value) if value > 0.0 else (-math.inf if value == 0.0 else math.nan)


def _measure_exactly(phi: Activation) -> Callable[[float], tuple[float, float]]:
    def measure(q: float) -> tuple[float, float]:
        second, slope = evaluate_on_grid(phi, q).second_moments()
        return float(second[0]), float(slope[0])

    return measure


def _interpolate(phi: Activation) -> Callable[[float], tuple[float, float]]:
    """Give E phi^2 and E phi'^2 by splines of their logarithms over ln q: good to 1e-5, and fifty times faster."""
    from scipy.interpolate import CubicSpline

    table = tabulate_moments(phi)
    floor = np.finfo(np.float64).tiny
    moments = np.stack([table.second, table.slope_second], axis=1)
    known = np.isfinite(moments).all(axis=1)
    spline = CubicSpline(np.log(table.q[known]), np.log(np.maximum(moments[known], floor)))
    low, high = table.q[known][[0, -1]]
    exactly = _measure_exactly(phi)

    def measure(q: float) -> tuple[float, float]:
        if not low <= q <= high:
            return exactly(q)
        second, slope = np.exp(spline(math.log(q)))
        return float(second), float(slope)

    return measure
