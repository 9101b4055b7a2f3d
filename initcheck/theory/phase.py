"""The phase of a network: where its signal settles, and how fast.

What happens in the limit of many layers in an infinitely wide network whose layers have all the same sigma_w^2 and
sigma_b^2 (see :mod:`initcheck.theory.mean_field` for the maps).

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017: depth scales, L <~ 6 xi_c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from initcheck.core.errors import InitcheckError, TheoryError
from initcheck.theory.gaussian import OVERFLOWS, Activation, find_activation
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
    multiply_chi,
)


@dataclass(frozen=True)
class Phase:
    """Where a network settles. NaN, or None, is what has no value; ``reasons`` says why.

    Attributes:
        regime: ordered (chi_backward below 1), critical or chaotic; or no fixed point, where q grows without limit.
        log_chi_product: ln of the product of chi_1 over 100 layers, beginning with the first layer's variance.
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
    log_chi_product: float
    trainable_depth: float
    power_law: PowerLaw | None
    reasons: Mapping[str, str]


_SETTLING: Final = ("regime", "fixed_point", "chi_forward", "chi_backward", "xi_q", "xi_gradient", "log_chi_product")
_CORRELATION: Final = ("correlation_fixed_point", "xi_c", "trainable_depth")


def without_phase(reason: str) -> Phase:
    """Say why a network has no phase, as one whose layers differ."""
    fields = (*_SETTLING, *_CORRELATION, "power_law")
    nan = math.nan
    return Phase(None, nan, nan, nan, nan, nan, nan, nan, nan, nan, None, dict.fromkeys(fields, reason))


def find_phase(activation: ActivationLike, sigma_w2: float, sigma_b2: float = 0.0, start: float | None = None) -> Phase:
    """Find where a network settles, and how fast.

    Source: Schoenholz et al. 2017 for depth scales and trainable depth.
    """
    begin = sigma_w2 + sigma_b2 if start is None else start
    return _find_phase(find_activation(activation), sigma_w2, sigma_b2, begin)


@lru_cache(maxsize=256)
def _find_phase(phi: Activation, sigma_w2: float, sigma_b2: float, begin: float) -> Phase:
    """Find it once for all initializers whose variances agree."""
    reasons: dict[str, str] = {}
    point = _find_point(phi, sigma_w2, sigma_b2, begin, reasons)
    correlation, xi_c = _find_correlation(phi, sigma_w2, sigma_b2, point, reasons)
    return Phase(
        regime=None if "regime" in reasons else point.regime,
        fixed_point=point.q,
        chi_forward=point.chi_forward,
        chi_backward=point.chi_backward,
        xi_q=_find_scale(point.chi_forward),
        xi_c=xi_c,
        xi_gradient=_find_scale(point.chi_backward),
        correlation_fixed_point=correlation,
        log_chi_product=_multiply(phi, sigma_w2, sigma_b2, begin, reasons),
        trainable_depth=TRAINABLE_DEPTHS * xi_c,
        power_law=_find_power_law(phi, point, reasons),
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


def _multiply(phi: Activation, sigma_w2: float, sigma_b2: float, begin: float, reasons: dict[str, str]) -> float:
    product = multiply_chi(phi, sigma_w2, sigma_b2, begin)
    if math.isnan(product):
        reasons["log_chi_product"] = OVERFLOWS
    return product


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
