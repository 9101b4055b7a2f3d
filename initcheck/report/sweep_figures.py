"""Heat maps of a sweep over any two of its axes: one small map for each combination of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd
from matplotlib.patches import Rectangle

from initcheck.errors import UsageError, name_unknown
from initcheck.numbers import format_number
from initcheck.report import palette
from initcheck.report.axes import FONT_SIZE, SMALL_FONT_SIZE, begin_drawing, break_name
from initcheck.report.document import Figure, Panel, prose
from initcheck.report.svg import GRID, GROUNDS, MUTED, TEXTS, drawing_settings, export_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES: Final = ("network", "initializer", "activation", "depth", "width", "data", "batch_size", "dtype")
MOST_PANELS: Final = 60
_ROW: Final = 22
_COLUMN: Final = 44
_CHARACTER: Final = 6.0
_TWO_LINES: Final = 7.5  # font size of two lines in one row
_NAMES: Final = {"depth": "hidden layers", "width": "units a layer", "batch_size": "samples", "dtype": "dtype policy"}

Quantity = Literal["forward_gain", "backward_gain", "forward_gain_z", "backward_gain_z"]


@dataclass(frozen=True)
class Plan:
    """What is drawn against what.

    Attributes:
        x: the axis from left to right.
        y: the axis from top to bottom.
        facets: the other axes with more than one value: one map for each of their combinations.
        fixed: the axes with one value, and that value.
    """

    x: str
    y: str
    facets: tuple[str, ...]
    fixed: dict[str, Any]


def plan_maps(summary: pd.DataFrame, x: str | None, y: str | None) -> Plan:
    """Choose the axes of the maps.

    Args:
        summary: one row per cell, with the columns of :data:`AXES`.
        x: the axis from left to right; None for the depth where it varies, else the axis with the most values left.
        y: the axis from top to bottom; None for the initializer where it varies, else likewise.

    Raises:
        UsageError: an axis is unknown, or both are one, or there would be too many maps.
    """
    for option, axis in (("--x", x), ("--y", y)):
        if axis is not None and axis not in AXES:
            raise UsageError(f"{option}: {name_unknown('axis', axis, AXES)}")
    if x is not None and x == y:
        raise UsageError(f"--x and --y must be two different axes. Received: {x!r} twice.")
    counts = {axis: summary[axis].nunique() for axis in AXES}
    free = sorted((axis for axis in AXES if axis not in (x, y)), key=lambda axis: -counts[axis])

    def choose(preferred: str) -> str:
        axis = preferred if preferred in free and counts[preferred] > 1 else free[0]
        free.remove(axis)
        return axis

    y = y or choose("initializer")
    x = x or choose("depth" if y != "depth" else "initializer")
    others = [axis for axis in AXES if axis not in (x, y)]
    facets = tuple(axis for axis in others if counts[axis] > 1)
    fixed = {axis: summary[axis].iloc[0] for axis in others if counts[axis] == 1}
    panels = len(summary.drop_duplicates(list(facets))) if facets else 1
    if panels > MOST_PANELS:
        raise UsageError(
            f"{y} against {x} would take {panels} maps, more than {MOST_PANELS}. Choose the axes with the most values "
            "with --x and --y."
        )
    return Plan(x, y, facets, fixed)


def draw_maps(summary: pd.DataFrame, plan: Plan, quantity: Quantity, margin: float) -> Figure:
    """Draw a quantity over two axes.

    Args:
        summary: one row per cell.
        plan: which axes.
        quantity: a gain per layer, or its distance from theory.
        margin: gains between 1/margin and margin are neutral.
    """
    score = quantity.endswith("_z")
    tell: Callable[[Any], tuple[str, str]] = _tell_score if score else lambda row: _tell_gain(row, quantity, margin)
    groups: list[tuple[Any, pd.DataFrame]] = [("", summary)]
    if plan.facets:
        groups = list(summary.groupby(list(plan.facets), sort=False, dropna=False))
    with drawing_settings():
        panels = tuple(
            _draw_map(part, plan, _title(plan, key), f"{quantity.replace('_', '-')}-{place}", quantity, tell)
            for place, (key, part) in enumerate(groups)
        )
    direction = quantity.partition("_")[0]
    caption = f"{direction.capitalize()} gain per layer, mean over layers and seeds; without colour: kept."
    if score:
        caption = (
            f"Score of the {direction} gain: measured less predicted in standard errors over the seeds, as a normal "
            "score. Beyond 3 it is far from theory; cells without a figure have no prediction with a spread, or do not "
            "vary."
        )
    name = quantity.replace("_", "-")
    told = f"{caption.partition(';')[0]} by {plan.y} and {plan.x}."
    return Figure(name, prose(caption), (), (), panels, told, columns=2)


def _title(plan: Plan, key: Any) -> str:
    if not plan.facets:
        return ""
    return ", ".join(
        str(value) if isinstance(value, str) else f"{axis.replace('_', ' ')} {value}"
        for axis, value in zip(plan.facets, key, strict=True)
    )


def _tell_gain(row: Any, quantity: str, margin: float) -> tuple[str, str]:
    """Say a gain in few characters, and name its tone."""
    if row[f"{quantity.partition('_')[0]}_verdict"] == "dead":
        return "dead", "dead"
    gain = row[quantity]
    if pd.isna(gain):
        return ("∞", "non-finite") if not pd.isna(row["nonfinite_from_position"]) else ("none", "unknown")
    return _shorten(float(gain)), palette.tone_of_gain(float(gain), margin)


def _tell_score(value: float) -> tuple[str, str]:
    if math.isnan(value):
        return "", "unknown"
    return f"{value:+.1f}".replace("-", "−"), palette.tone_of_score(value)


def _shorten(gain: float) -> str:
    """Write a gain in at most six characters."""
    if 0.01 <= gain < 10.0:
        return f"{gain:.2f}"
    return f"{gain:.0f}" if 10.0 <= gain < 1e4 else f"{gain:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _draw_map(
    part: pd.DataFrame, plan: Plan, title: str, prefix: str, quantity: Quantity, tell: Callable[[Any], tuple[str, str]]
) -> Panel:
    columns, rows = _in_order(part[plan.x]), _in_order(part[plan.y])
    labels = [break_name(str(name)) for name in rows]
    left = 14 + int(_CHARACTER * max(len(line) for label in labels for line in label.splitlines()))
    tilted = any(len(str(name)) > 6 for name in columns)
    bottom = 36 + (int(_CHARACTER * 0.75 * max(len(str(name)) for name in columns)) if tilted else 0)
    width, height = left + _COLUMN * len(columns) + 12, _ROW * len(rows) + bottom + 8
    drawing, axes = begin_drawing(width, height, left=left, bottom=bottom, right=12, top=8)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(
        range(len(columns)),
        [str(name) for name in columns],
        rotation=45 if tilted else 0,
        ha="right" if tilted else "center",
    )
    axes.set_yticks(range(len(rows)), labels, fontsize=FONT_SIZE, linespacing=0.9)
    for label in axes.get_yticklabels():
        if "\n" in label.get_text():
            label.set_fontsize(_TWO_LINES)
    axes.set_xlabel(_NAMES.get(plan.x, plan.x), color=MUTED, labelpad=2)
    told = []
    for _, cell in part.iterrows():
        value = cell[quantity]
        argument = (math.nan if pd.isna(value) else float(value)) if quantity.endswith("_z") else cell
        text, tone = tell(argument)
        _draw_cell(axes, columns.index(cell[plan.x]), rows.index(cell[plan.y]), text, tone)
        told.append(f"{cell[plan.y]}, {cell[plan.x]}: {text or 'none'}")
    description = f"{title + '. ' if title else ''}{'; '.join(told)}."
    return Panel(
        title or quantity.replace("_", " "), description, export_svg(drawing, prefix, description), width, height
    )


def _draw_cell(axes: Axes, column: int, row: int, text: str, tone: str) -> None:
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1.0, 1.0, facecolor=GROUNDS[tone], edgecolor=GRID, linewidth=0.6, zorder=1))
    axes.text(column, row, text, ha="center", va="center", color=TEXTS[tone], fontsize=SMALL_FONT_SIZE + 1.0, zorder=4)


def _in_order(values: pd.Series[Any]) -> list[Any]:
    """List the values of an axis: numbers by size, names as they come."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(not isinstance(value, str) for value in found) else found


def tell_strongest(summary: pd.DataFrame, quantity: Quantity, number: int) -> list[tuple[pd.Series[Any], str]]:
    """List the cells in which a score is farthest from 0.

    Returns:
        Rows of the summary, the farthest first, each with its score in words.
    """
    scored = summary[summary[quantity].notna()]
    order = scored[quantity].abs().sort_values(ascending=False).index[:number]
    return [(scored.loc[place], format_number(float(scored.loc[place, quantity]))) for place in order]


def count_beyond(scores: Sequence[float], limit: float) -> int:
    """Count the scores beyond a limit, either way."""
    return sum(abs(score) > limit for score in scores)
