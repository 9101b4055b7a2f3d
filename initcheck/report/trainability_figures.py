"""Pictures of trainability: the loss by depth and initializer with theory's border, and against two predictors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from initcheck.report.axes import FONT_SIZE, SMALL_FONT_SIZE, begin_drawing
from initcheck.report.document import Figure, Key, Panel, prose
from initcheck.report.svg import GRID, INK, MUTED, SERIES, draw_dot_key, drawing_settings, export_svg
from initcheck.training.trainability import TRAINED_BELOW
from initcheck.training.trainability_relations import find_predictor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_ROW: Final = 24
_COLUMN: Final = 44
_CHARACTER: Final = 6.0
_DEEPEST: Final = 0.55  # opacity of a cell whose loss is zero: its figure has to stay readable
_SCATTER: Final = (420, 300)
_CEILING: Final = 1.25  # of the relative loss that is drawn; what is beyond lies on it
_LEAST_RATIO: Final = 1e-2
_MOST_RATIO: Final = 1e2
_LEAST_CHANGE: Final = 0.3
_MOST_CHANGE: Final = 300.0
_SHAPES: Final = (
    ("o", '<circle cx="6" cy="6" r="4"/>'),
    ("s", '<rect x="2.5" y="2.5" width="7" height="7"/>'),
    ("D", '<path d="M6 1.5 10.5 6 6 10.5 1.5 6z"/>'),
    ("^", '<path d="M6 2 10.5 10 1.5 10z"/>'),
)


def find_border(depths: Sequence[int], predicted: float) -> float:
    """Place theory's depth between the columns of a map: the depths left of it are predicted to train.

    Args:
        depths: in increasing order, one a column; column i reaches from i - 1/2 to i + 1/2.
        predicted: the depth; NaN is told by NaN.
    """
    if math.isnan(predicted):
        return math.nan
    return sum(depth <= predicted for depth in depths) - 0.5


def draw_maps(summary: DataFrame) -> Figure:
    """Draw a map of the loss for each activation function: initializers in rows, depths in columns.

    Args:
        summary: of :func:`initcheck.training.trainability_relations.summarize_runs`.
    """
    activations = list(dict.fromkeys(summary["activation"]))
    with drawing_settings():
        panels = tuple(_draw_map(name, summary[summary["activation"] == name]) for name in activations)
    line = '<line x1="17" y1="0" x2="17" y2="12" stroke="var(--ink)" stroke-width="3"/>'
    keys = (
        _box("var(--series-0)", _DEEPEST, "loss near 0"),
        _box("var(--series-0)", 0.5 * _DEEPEST, "half of chance"),
        _box("var(--series-0)", 0.0, "chance, or worse"),
        Key(f'<svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">{line}</svg>', "six depth scales"),
    )
    caption = prose(
        "Loss after training over what guessing costs, at the best learning rate, mean over seeds; ∞ has diverged at "
        "every rate. Left of the thick line theory expects a network to train. Initializers from the weakest to the "
        "strongest."
    )
    trained = int(summary["trained"].sum())
    told = f"Trainability by activation, initializer and depth: {trained} of {len(summary)} configurations trained."
    return Figure("trainability", caption, keys, (), panels, told, columns=2)


def draw_scatter(summary: DataFrame) -> Figure:
    """Draw the loss against theory's depth ratio, and against the largest change at the start."""
    activations = list(dict.fromkeys(summary["activation"]))
    panels = []
    with drawing_settings():
        for predictor, title, label, limits in (
            ("depth_ratio", "Theory alone", "depth / six depth scales", (_LEAST_RATIO, _MOST_RATIO)),
            ("largest_change", "Measured at step 0", "largest change, nats", (_LEAST_CHANGE, _MOST_CHANGE)),
        ):
            panels.append(_draw_scatter(summary, activations, predictor, title, label, limits))
    keys = tuple(
        draw_dot_key(name, place % len(SERIES), _SHAPES[place % len(_SHAPES)][1])
        for place, name in enumerate(activations)
    )
    caption = prose(
        "Each dot is one configuration. The horizontal line is the threshold below which it has trained; what lies "
        "outside a picture is drawn on its edge. On the left edge of the first picture theory sets no limit."
    )
    return Figure("predictors", caption, keys, (), tuple(panels), "Loss against two predictors of it.", columns=2)


def write_loss(relative: float) -> str:
    """Write a loss over chance for a cell: two decimals, or that it is beyond."""
    if math.isnan(relative):
        return "?"
    if math.isinf(relative):
        return "∞"
    return f"{relative:.2f}" if relative < 9.995 else ">10"


def _draw_map(activation: str, part: DataFrame) -> Panel:
    initializers = list(dict.fromkeys(part.sort_values("sigma_w2", kind="stable")["initializer"]))
    depths = sorted(set(part["depth"]))
    left = 12 + int(_CHARACTER * max(len(name) for name in initializers))
    width, height = left + _COLUMN * len(depths) + 12, _ROW * len(initializers) + 44
    drawing, axes = begin_drawing(width, height, left=left, bottom=36, right=12, top=8)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(depths) - 0.5)
    axes.set_ylim(len(initializers) - 0.5, -0.5)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_yticks(range(len(initializers)), initializers)
    axes.set_xlabel("hidden layers", color=MUTED, labelpad=2)
    cells = part.set_index(["initializer", "depth"])
    for row, initializer in enumerate(initializers):
        for column, depth in enumerate(depths):
            _draw_cell(axes, column, row, float(cells.loc[(initializer, depth), "relative_loss"]))
    _draw_border(axes, [find_border(depths, _reach(part, name)) for name in initializers])
    deepest = {name: part[(part["initializer"] == name) & part["trained"]]["depth"].max() for name in initializers}
    told = ", ".join(f"{name} {'none' if math.isnan(depth) else int(depth)}" for name, depth in deepest.items())
    description = f"{activation}, deepest network that trained: {told}."
    return Panel(activation, description, export_svg(drawing, f"map-{activation}", description), width, height)


def _draw_cell(axes: Axes, column: int, row: int, relative: float) -> None:
    share = min(max(1.0 - relative, 0.0), 1.0) if math.isfinite(relative) else 0.0
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1.0, 1.0, facecolor="none", edgecolor=GRID, linewidth=0.8, zorder=2))
    axes.add_patch(Rectangle(corner, 1.0, 1.0, facecolor=SERIES[0], edgecolor="none", alpha=_DEEPEST * share, zorder=1))
    text = write_loss(relative)
    axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=SMALL_FONT_SIZE + 1.0, zorder=4)


def _reach(part: DataFrame, initializer: str) -> float:
    return float(part[part["initializer"] == initializer]["predicted_depth"].iloc[0])


def _draw_border(axes: Axes, borders: Sequence[float]) -> None:
    """Draw one line from row to row; where theory says nothing it is interrupted."""
    xs = [x for border in borders for x in (border, border)]
    ys = [y for row in range(len(borders)) for y in (row - 0.5, row + 0.5)]
    axes.plot(xs, ys, color=INK, linewidth=3.0, solid_capstyle="butt", clip_on=False, zorder=3)


def _draw_scatter(
    summary: DataFrame,
    activations: Sequence[str],
    predictor: str,
    title: str,
    label: str,
    limits: tuple[float, float],
) -> Panel:
    width, height = _SCATTER
    drawing, axes = begin_drawing(width, height, left=52, bottom=42, right=12, top=10)
    axes.set_xscale("log")
    axes.set_xlim(limits[0] / 1.25, limits[1] * 1.25)
    axes.set_ylim(0.0, _CEILING + 0.05)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    values = np.clip(find_predictor(summary, predictor), *limits)
    loss = np.clip(summary["relative_loss"].to_numpy(dtype=np.float64), 0.0, _CEILING)
    for place, name in enumerate(activations):
        own = (summary["activation"] == name).to_numpy() & ~np.isnan(values)
        axes.plot(
            values[own],
            loss[own],
            linestyle="none",
            marker=_SHAPES[place % len(_SHAPES)][0],
            markersize=5,
            color=SERIES[place % len(SERIES)],
            alpha=0.75,
            markeredgewidth=0.0,
            zorder=3,
            clip_on=False,
        )
    axes.axhline(TRAINED_BELOW, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    if predictor == "depth_ratio":
        axes.axvline(1.0, color=INK, linewidth=1.6, zorder=2)
    axes.set_xlabel(label, color=INK, fontsize=FONT_SIZE)
    axes.set_ylabel("loss / chance", color=INK, fontsize=FONT_SIZE)
    description = f"Loss over chance against {label}, one dot for each of {len(summary)} configurations."
    return Panel(title, description, export_svg(drawing, f"scatter-{predictor}", description), width, height)


def _box(fill: str, opacity: float, label: str) -> Key:
    box = f'<rect x="5" y="0.5" width="24" height="11" fill="{fill}" fill-opacity="{opacity:g}" stroke="var(--grid)"/>'
    return Key(f'<svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">{box}</svg>', label)
