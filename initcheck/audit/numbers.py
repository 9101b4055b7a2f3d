"""Figures in sentences: three digits, and words for factors."""

from __future__ import annotations

import math


def factor(value: float) -> str:
    """Write a factor with three digits at most: ``.56``, ``1.02``, ``230``, ``3.3e-4``, ``2.4e+12``."""
    if math.isnan(value):
        return "?"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent):+d}"


def times(log_change: float) -> str:
    """Write a change given in nats: ``4.1e+3-fold`` for growth, ``to 1/4100`` for a fall."""
    size = abs(log_change)
    amount = factor(math.exp(size)) if size < 700 else f"10^{size / math.log(10):.0f}"
    return f"to 1/{amount}" if log_change < 0 else f"{amount}-fold"


def share(value: float) -> str:
    """Write a share in per cent: ``47 %``, ``.3 %``."""
    return f"{factor(100 * value)} %" if not math.isnan(value) else "?"
