"""How every picture of the report begins: its size, its frame, and its scale of levels."""

from __future__ import annotations

import math
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter

from initcheck.numbers import format_number, power_of_ten
from initcheck.report import svg

FONT_SIZE: Final = 10.0
SMALL_FONT_SIZE: Final = 8.5

LONGEST_NAME: Final = 28
"""Characters that fit into one line beside a picture."""

_FACTORS: Final = (1.0, 2.0, 5.0)
_FEW_POWERS: Final = 2.5  # below which a scale of sizes is marked with 1, 2 and 5 of each
_NARROW: Final = 1.5  # powers of ten on either side below which the scale is marked in factors


def begin_drawing(width: int, height: int, *, left: int, bottom: int, right: int, top: int) -> tuple[Drawing, Axes]:
    """Begin a picture of a size in CSS pixels, with the given margins."""
    drawing = Drawing(figsize=(width / 72.0, height / 72.0), dpi=72)
    axes = drawing.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(svg.GRID)
    axes.tick_params(length=0, colors=svg.INK, labelsize=FONT_SIZE)
    axes.grid(visible=True, color=svg.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return drawing, axes


def style_level_axis(axes: Axes, limit: float) -> None:
    """Let the vertical axis show levels from -limit to limit."""
    axes.set_ylim(-limit, limit)
    if limit < _NARROW:
        _set_factors(axes, limit)
    else:
        set_powers(axes, (-limit, limit), "y")
        axes.axhline(0.0, color=svg.MUTED, linewidth=0.8, zorder=1)


def set_powers(axes: Axes, limits: tuple[float, float], which: str) -> None:
    """Mark an axis of levels with powers of ten."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = limits
    step = max(1, round((high - low) / (4.0 if which == "x" else 5.0)))
    axis.set_ticks([level for level in range(math.ceil(low), int(high) + 1) if level % step == 0])
    axis.set_major_formatter(FuncFormatter(lambda level, _: power_of_ten(round(level))))


def mark_sizes(axes: Axes, limits: tuple[float, float]) -> None:
    """Mark a vertical axis of logarithms of sizes: with round numbers where it spans few powers of ten."""
    low, high = limits
    if high - low >= _FEW_POWERS:
        set_powers(axes, limits, "y")
        return
    powers = range(math.floor(low), math.ceil(high) + 1)
    levels = [power + math.log10(factor) for power in powers for factor in _FACTORS]
    axes.yaxis.set_ticks([level for level in levels if low <= level <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda level, _: format_number(10.0**level, 1)))


def _set_factors(axes: Axes, limit: float) -> None:
    """Mark a narrow axis of levels with round factors."""
    factors = [factor * 10.0**power for power in (-2, -1, 0, 1) for factor in _FACTORS]
    axes.yaxis.set_ticks([math.log10(factor) for factor in factors if abs(math.log10(factor)) < limit])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"× {format_number(10.0**level, 1)}"))


def break_name(name: str) -> str:
    """Break a long name in two at the comma or bracket nearest to its middle."""
    places = [index + 1 for index, character in enumerate(name) if character in ",( "]
    if len(name) <= LONGEST_NAME or not places:
        return name
    place = min(places, key=lambda index: abs(index - len(name) / 2.0))
    return f"{name[:place].rstrip()}\n{name[place:].lstrip()}"
