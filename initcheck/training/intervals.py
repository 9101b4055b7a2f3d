"""Values with their intervals, one below the other, on one axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from initcheck.pages.document import Panel
from initcheck.pages.svg import (
    INK,
    MUTED,
    PHONE_WIDTH,
    SERIES,
    SMALL_FONT_SIZE,
    begin_drawing,
    break_name,
    drawing_settings,
    export_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_WIDE: Final = 760
_ROW: Final = 26
_PHONE_ROW: Final = 30
_LINE_WIDTH: Final = 1.8
_PHONE_NAME: Final = 17  # characters of a line of a name on a phone
_CHARACTER: Final = 7.2
_BOTTOM: Final = 38


@dataclass(frozen=True)
class IntervalRow:
    """One value with its interval, and what is written beside it.

    Attributes:
        value: its place on the axis; where it is not finite only the text is written.
        series: number of its colour.
    """

    name: str
    value: float
    low: float
    high: float
    text: str
    series: int


def draw_intervals(
    rows: Sequence[IntervalRow],
    limits: tuple[float, float],
    mark: float | None,
    mark_axis: Callable[[Axes], None],
    *,
    title: str,
    description: str,
    prefix: str,
) -> Panel:
    """Draw rows from the top down, for a wide page and for a phone.

    Args:
        limits: the ends of the axis; an interval that goes on is cut there.
        mark: where a dotted line stands.
        mark_axis: writes the numbers below the axis.
    """
    pictures = []
    with drawing_settings():
        for width in (_WIDE, PHONE_WIDTH):
            drawing = _draw(rows, limits, mark, mark_axis, width)
            pictures.append(export_svg(drawing, f"{prefix}-{width}", description))
    return Panel(title, description, pictures[0], _WIDE, _ROW * len(rows) + _BOTTOM + 6, phone=pictures[1])


def _draw(
    rows: Sequence[IntervalRow],
    limits: tuple[float, float],
    mark: float | None,
    mark_axis: Callable[[Axes], None],
    width: int,
) -> Drawing:
    is_phone = width < _WIDE
    names = [break_name(row.name, _PHONE_NAME) if is_phone else row.name for row in rows]
    left = 14 + int(_CHARACTER * max(len(line) for name in names for line in name.splitlines()))
    right = 14 + int(_CHARACTER * max(len(row.text) for row in rows))
    height = (_PHONE_ROW if is_phone else _ROW) * len(rows) + _BOTTOM + 6
    drawing, axes = begin_drawing(width, height, left=left, bottom=_BOTTOM, right=right, top=6)
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for place, row in enumerate(rows):
        if math.isfinite(row.value):
            ends = [min(max(end, limits[0]), limits[1]) for end in (row.low, row.high) if not math.isnan(end)]
            axes.plot(ends, [place] * len(ends), color=SERIES[row.series], linewidth=_LINE_WIDTH)
            axes.plot([row.value], [place], color=SERIES[row.series], marker="o", markersize=6)
        axes.annotate(
            row.text,
            (1.0, place),
            (8.0, 0.0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=SMALL_FONT_SIZE,
        )
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(names)), names, fontsize=SMALL_FONT_SIZE, linespacing=0.95)
    axes.grid(visible=False, axis="y")
    mark_axis(axes)
    return drawing
