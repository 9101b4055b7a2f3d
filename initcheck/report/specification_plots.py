"""The small picture of a claim's figure: its interval as a line, its bounds as a band."""

from __future__ import annotations

import html
import math
from typing import Final

from initcheck.claims.base import Evidence

_WIDTH: Final = 150
_HEIGHT: Final = 20
_MARGIN: Final = 8


def draw_interval(evidence: Evidence, description: str) -> str:
    """Draw a figure with its interval over the range that it is held against.

    Args:
        evidence: the figure, its interval and its bounds.
        description: the same in words, for those who cannot see it.

    Returns:
        An ``<svg>`` element in the colours of ``palette.py``; empty without a finite interval or without bounds.
    """
    bounds = [bound for bound in evidence.bounds if math.isfinite(bound)]
    figures = [evidence.effect, evidence.low, evidence.high]
    if not bounds or not all(math.isfinite(figure) for figure in figures):
        return ""
    lowest, highest = min(bounds + figures), max(bounds + figures)
    span = highest - lowest or abs(highest) or 1.0

    def place(value: float) -> float:
        # A bound that is infinite lies at the edge of the picture.
        if math.isinf(value):
            return 0.0 if value < 0.0 else float(_WIDTH)
        return _MARGIN + (value - lowest) / span * (_WIDTH - 2 * _MARGIN)

    left, right = (place(bound) for bound in evidence.bounds)
    low, high, effect = place(evidence.low), place(evidence.high), place(evidence.effect)
    middle = _HEIGHT / 2
    marks = "".join(
        f'<line x1="{place(bound):.1f}" y1="1" x2="{place(bound):.1f}" y2="{_HEIGHT - 1}" stroke="var(--muted)"/>'
        for bound in bounds
    )
    width = max(right - left, 1.0)
    band = f'<rect x="{left:.1f}" y="1" width="{width:.1f}" height="{_HEIGHT - 2}" fill="var(--ordered)"/>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(description)}">'
        f"{band}{marks}"
        f'<line x1="{low:.1f}" y1="{middle}" x2="{max(high, low + 1.0):.1f}" y2="{middle}" stroke="var(--ink)" '
        'stroke-width="2"/>'
        f'<circle cx="{effect:.1f}" cy="{middle}" r="3.5" fill="var(--ink)"/></svg>'
    )
