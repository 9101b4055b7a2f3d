"""A forest plot: values with their intervals, one below the other, beside a band or a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, MaxNLocator

from initcheck.core.formatting import exponential, format_number, format_short, shorten
from initcheck.pages import svg
from initcheck.pages.document import Panel
from initcheck.pages.svg import SMALL_FONT_SIZE, begin_drawing

_WIDTH: Final = 900
_LABELS: Final = 340  # CSS pixels left of the plot, and right of it
_VALUES: Final = 170
_ROW: Final = 24
_PHONE_ROW: Final = 32
_BOTTOM: Final = 36
_SIDE: Final = 10
_CHARACTER: Final = 6.6
_APART: Final = 4.0  # how many times farther than all others a value may lie and not be cut off
_FEW: Final = 4  # rows below which none is cut off
_FACTORS: Final = (1.0, 2.0, 5.0)
_NEAR: Final = (0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0)
_WIDE: Final = math.log(4.5)
_LEAST_GAP: Final = 0.09  # of the axis, between two factors that are written


def _format_factor(factor: float) -> str:
    return f"× {format_short(factor, 3)}"


@dataclass(frozen=True)
class ForestRow:
    """One value with its interval.

    Attributes:
        value: where it lies on the axis; NaN where it has no place, and only its text is written.
        text: the value for people, with its interval.
        series: number of its colour.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    series: int = 0


def draw_forest(
    rows: Sequence[ForestRow],
    band: tuple[float, float] | None,
    *,
    title: str,
    description: str,
    prefix: str,
    axis: str,
    as_factors: bool = True,
    format_factor: Callable[[float], str] = _format_factor,
    limits: tuple[float, float] | None = None,
) -> Panel:
    """Draw rows from the top down; a value beyond the ends of the axis is an arrow.

    Args:
        band: what values are compared with, on the axis; an end may be infinite, and equal ends are a line.
        prefix: of the ids in the picture.
        axis: what the axis shows.
        as_factors: whether values are natural logarithms of factors.
        format_factor: writes a factor below the axis.
        limits: the ends of the axis; None finds them, and cuts off a value that would set the scale alone.
    """
    ends = _find_limits(rows, band) if limits is None else limits
    mark = format_factor if as_factors else None
    with svg.drawing_settings():
        wide = _draw(rows, band, ends, _WIDTH, axis, mark)
        narrow = _draw(rows, band, ends, svg.PHONE_WIDTH, axis, mark)
        pictures = [
            svg.export_svg(each, name, description) for each, name in ((wide, prefix), (narrow, f"{prefix}-phone"))
        ]
    height = _BOTTOM + _ROW * len(rows)
    return Panel(title, description, pictures[0], _WIDTH, height, phone=pictures[1])


def _find_limits(rows: Sequence[ForestRow], band: tuple[float, float] | None) -> tuple[float, float]:
    """Find the ends of the axis: all of the band and of the intervals, but for one row far from all others."""
    ends = [each for each in band or () if math.isfinite(each)]
    reach = []
    for row in rows:
        own = [each for each in (row.value, row.low, row.high) if math.isfinite(each)]
        reach.append((max((abs(each) for each in own), default=0.0), own))
    reach.sort(key=lambda each: each[0])
    others = max([*(abs(each) for each in ends), *(each for each, _ in reach[:-1])], default=0.0)
    if len(reach) >= _FEW and reach[-1][0] > _APART * others > 0.0:
        ends.append(math.copysign(1.5 * others, reach[-1][1][0]))
        reach.pop()
    ends += [each for _, own in reach for each in own]
    low, high = (min(ends), max(ends)) if ends else (-1.0, 1.0)
    room = max(0.06 * (high - low), 1e-3)
    return low - room, high + room


def _draw(
    rows: Sequence[ForestRow],
    band: tuple[float, float] | None,
    limits: tuple[float, float],
    width: int,
    axis: str,
    format_factor: Callable[[float], str] | None,
) -> Drawing:
    """Draw for a width; on a phone labels and values stand above their rows."""
    is_phone = width <= svg.PHONE_WIDTH
    row_height = _PHONE_ROW if is_phone else _ROW
    left, right = (_SIDE, _SIDE) if is_phone else (_LABELS, _VALUES)
    height = _BOTTOM + row_height * len(rows)
    drawing, axes = begin_drawing(width, height, left=left, bottom=_BOTTOM, right=right, top=2)
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    if band is not None and band[0] == band[1]:
        axes.axvline(band[0], color=svg.MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    elif band is not None:
        low, high = max(band[0], limits[0]), min(band[1], limits[1])
        axes.axvspan(low, high, color=svg.SERIES[2], alpha=0.16, linewidth=0.0, zorder=1)
    _mark_axis(axes, limits, format_factor, 0.16 if is_phone else _LEAST_GAP)
    axes.set_xlabel(axis, color=svg.MUTED, labelpad=2)
    for place, row in enumerate(rows):
        colour = svg.SERIES[row.series]
        _draw_row(axes, row, place + (0.24 if is_phone else 0.0), limits, colour)
        text: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": SMALL_FONT_SIZE,
            "annotation_clip": False,
        }
        if is_phone:
            room = (width - 2 * _SIDE) / _CHARACTER - len(row.text) - 2
            axes.annotate(_fit(row.label, room), (0.0, place - 0.2), xytext=(0, 0), color=svg.LABEL, **text)
            axes.annotate(row.text, (1.0, place - 0.2), xytext=(0, 0), ha="right", color=svg.LABEL, **text)
        else:
            label = _fit(row.label, (left - 12) / _CHARACTER)
            axes.annotate(label, (0.0, place), xytext=(-10, 0), ha="right", color=svg.INK, **text)
            axes.annotate(row.text, (1.0, place), xytext=(10, 0), color=svg.INK, **text)
    return drawing


def _fit(label: str, characters: float) -> str:
    return shorten(label, max(int(characters), 8), keep_end=True)


def _draw_row(axes: Axes, row: ForestRow, place: float, limits: tuple[float, float], colour: str) -> None:
    if math.isnan(row.value):
        return
    if not limits[0] <= row.value <= limits[1]:
        edge, marker = (limits[1], ">") if row.value > limits[1] else (limits[0], "<")
        axes.plot([edge], [place], marker, color=colour, markersize=7.0, clip_on=False, zorder=5)
        return
    if row.low < row.high:
        ends = max(row.low, limits[0]), min(row.high, limits[1])
        axes.plot(ends, [place, place], color=colour, linewidth=2.0, zorder=4)
    axes.plot([row.value], [place], "o", color=colour, markersize=6.0, zorder=5)


def _mark_axis(
    axes: Axes, limits: tuple[float, float], format_factor: Callable[[float], str] | None, gap: float
) -> None:
    if format_factor is None:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value, 2)))
        return
    low, high = limits
    span = high - low
    if max(-low, high) <= _WIDE:
        candidates = list(_NEAR)
    else:
        powers = range(math.floor(low / math.log(10.0)), math.ceil(high / math.log(10.0)) + 1)
        candidates = [factor * 10.0**power for power in powers for factor in _FACTORS]
    chosen: list[float] = []
    # 1 first, then powers of ten: what is written before keeps what is too near away.
    for factor in sorted(candidates, key=lambda each: (each != 1.0, not _is_power(each), -abs(math.log(each)))):
        level = math.log(factor)
        if low <= level <= high and all(abs(level - other) >= gap * span for other in chosen):
            chosen.append(level)
    axes.set_xticks(sorted(chosen))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda level, _: format_factor(exponential(level))))


def _is_power(factor: float) -> bool:
    return math.isclose(math.log10(factor), round(math.log10(factor)), abs_tol=1e-9)
