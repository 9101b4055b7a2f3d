"""Theory drawn over measurement: thin dashed lines with dotted band edges, and hollow marks with capped whiskers.

All of it is in the colour of the text, so that it shows on any line; strokes and shapes tell it from what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from initcheck.report import svg
from initcheck.report.agreement import FINITE_WIDTH
from initcheck.report.document import Key
from initcheck.report.levels import Levels, say_level
from initcheck.report.predicted_levels import PredictedLevels

_LINE: Final = (1.1, (4.5, 3.0))  # width, dashes in multiples of it
_EDGE: Final = (1.0, (1.0, 2.0))
_LINE_LAYER: Final = 15  # above the measured lines, below the marks
_RING: Final = 9.0
_CAP: Final = 0.13  # of a row

_ABOUT_GRADIENTS: Final = re.compile(r"; gradients [^;]*")

MEDIAN_LABEL: Final = "theory: the median of the seeds"
BAND_LABEL: Final = "theory: from the 10th to the 90th percentile"


def line_keys() -> tuple[Key, ...]:
    """Make the legend entries of a predicted line and of the edges of its band."""
    parts = []
    for label, (width, dashes), heights in ((MEDIAN_LABEL, _LINE, (6.0,)), (BAND_LABEL, _EDGE, (2.5, 9.5))):
        pattern = " ".join(f"{length * width:g}" for length in dashes)
        lines = "".join(
            f'<line x1="1" y1="{y:g}" x2="33" y2="{y:g}" stroke="var(--ink)" stroke-width="{width:g}" '
            f'stroke-dasharray="{pattern}"/>'
            for y in heights
        )
        parts.append(Key(f'<svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">{lines}</svg>', label))
    return tuple(parts)


def dot_keys() -> tuple[Key, ...]:
    """Make the legend entry of a predicted dot."""
    mark = (
        '<g fill="none" stroke="var(--ink)"><circle cx="17" cy="6" r="4.5"/>'
        '<path d="M1 6H12.500M21.500 6H33M1 3V9M33 3V9"/></g>'
    )
    label = "theory, in the shape of the layer: median, and the 10th and 90th percentiles"
    return (Key(f'<svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">{mark}</svg>', label),)


def draw_line(axes: Axes, law: PredictedLevels, limit: float) -> None:
    """Draw a predicted line with the edges of its band."""
    layer = np.arange(1, law.middle.size + 1)
    for values, (width, dashes) in ((law.middle, _LINE), (law.low, _EDGE), (law.high, _EDGE)):
        shown = np.where(np.isfinite(values), np.clip(values, -2.0 * limit, 2.0 * limit), np.nan)
        if not np.isnan(shown).all():
            axes.plot(layer, shown, color=svg.INK, linewidth=width, linestyle=(0.0, dashes), zorder=_LINE_LAYER)


def draw_dot(
    axes: Axes, law: PredictedLevels, index: int, height: float, marker: str, limits: tuple[float, float]
) -> None:
    """Draw a predicted dot with its whisker; outside the limits, a hollow triangle at the edge."""
    level, (low, high) = law.middle[index], limits
    if not np.isfinite(level):
        return
    if not low <= level <= high:
        inset = 0.02 * (high - low)
        edge, marker = (low + inset, "<") if level < low else (high - inset, ">")
        _draw_ring(axes, edge, height, marker)
        return
    _draw_ring(axes, level, height, marker)
    ends = np.clip((law.low[index], law.high[index]), low, high)
    if np.isfinite(ends).all() and ends[1] > ends[0]:
        for end in ends:
            axes.plot([end, end], [height - _CAP, height + _CAP], color=svg.INK, linewidth=1.0, zorder=5)
        axes.plot(ends, [height, height], color=svg.INK, linewidth=0.9, linestyle=(0.0, (1.0, 1.4)), zorder=5)


def _draw_ring(axes: Axes, level: float, height: float, marker: str) -> None:
    axes.plot(
        level,
        height,
        marker=marker,
        markersize=_RING,
        markerfacecolor="none",
        markeredgecolor=svg.INK,
        markeredgewidth=1.0,
        zorder=5,
    )


def describe(laws: Sequence[PredictedLevels]) -> str:
    """Say in words where each predicted line begins and ends, in the direction of the signal; empty without one."""
    ends = []
    for law in laws:
        if law.is_known:
            first, last = law.middle[[0, -1]] if law.direction == "forward" else law.middle[[-1, 0]]
            ends.append(f"{law.initializer} from {say_level(first)} to {say_level(last)}")
    return f" Theory: {'; '.join(ends)}." if ends else ""


def remark(laws: Sequence[PredictedLevels]) -> tuple[str, ...]:
    """Say under a picture what its predictions rest on, where that is not finite width, and which lines have none."""
    by_basis: dict[str, list[str]] = {}
    for law in laws:
        for basis in law.basis if law.is_known else ():
            words = basis if law.direction == "backward" else _ABOUT_GRADIENTS.sub("", basis)
            names = by_basis.setdefault(words, [])
            if law.initializer not in names:
                names.append(law.initializer)
    by_basis.pop(FINITE_WIDTH, None)
    notes = [f"theory of {', '.join(names)}: {words}" for words, names in by_basis.items()]
    if missing := [law.initializer for law in laws if not law.is_known]:
        notes.append(f"without theory: {', '.join(missing)}")
    return tuple(notes)


def subtract_median(series: Levels, law: PredictedLevels) -> tuple[Levels, PredictedLevels]:
    """Measure levels from the predicted median, so that what remains is the distance from theory.

    Args:
        series: measured levels.
        law: the law of the same pair and direction.

    Returns:
        Both, less the law's median; a layer without a finite median is NaN.
    """
    middle = np.where(np.isfinite(law.middle), law.middle, np.nan)

    def shift(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values - middle)

    keys = (series.network, series.initializer, series.activation, series.direction)
    return (
        Levels(*keys, shift(series.middle), shift(series.low), shift(series.high)),
        PredictedLevels(*keys, shift(law.middle), shift(law.low), shift(law.high), law.basis),
    )


def find_range(items: Sequence[Levels | PredictedLevels], least: float, greatest: float) -> float:
    """Find the range, the same up and down, that shows the bands of all items, between two bounds."""
    ends = np.concatenate([values for item in items for values in (item.middle, item.low, item.high)])
    farthest = np.abs(ends[np.isfinite(ends)]).max(initial=0.0)
    return float(np.clip(1.1 * farthest, least, greatest))
