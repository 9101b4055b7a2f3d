"""The section with the signal of one network, layer by layer, and its pictures: small multiples of levels.

Deep networks get lines (level by layer, one panel an activation), shallow ones get dots (level by initializer); what
theory predicts is drawn over both. Pictures are drawn in stand-in colours that ``svg.py`` turns into the page's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count, format_level, power_of_ten
from initcheck.pages import svg
from initcheck.pages.document import Block, Details, Figure, Key, Panel, Paragraph, Section, paragraph, prose
from initcheck.pages.svg import (
    FONT_SIZE,
    LONGEST_NAME,
    SMALL_FONT_SIZE,
    begin_drawing,
    break_name,
    set_powers,
    style_level_axis,
)
from initcheck.study.report.levels import FINITE_WIDTH, UNEXPLAINED, LevelSummary, PredictedLevels, SummaryRow
from initcheck.study.report.tables import REPRESENTATIVES, names_in_order

_Levels = TypeVar("_Levels", bound=LevelSummary)
_THEORY_WIDTH: Final = 7.0  # so wide that it is seen beside the measured line on top of it
_THEORY_ALPHA: Final = 0.25
_EDGE_WIDTH: Final = 0.7
_RING: Final = 9.0
_CAP: Final = 0.13  # of a row
_ABOUT_GRADIENTS: Final = re.compile(r"; gradients [^;]*")
THEORY_LABEL: Final = "theory: the median, and from the 10th to the 90th percentile"
EDGE_LABEL: Final = "seeds: the 10th and the 90th percentile"
MOST_LINES: Final = len(svg.SERIES)
MOST_DOTS: Final = len(svg.DOTS)
_CLIP: Final = 10.0
_LINE_PANEL: Final = (300, 212)
_LABEL_ROOM: Final = 0.22  # of the width of a panel
_DOT_PANEL_WIDTH: Final = 400
_DOT_ROW: Final = 18
_DOT_ROW_OF_TWO_LINES: Final = 23
_CHARACTER: Final = 5.9  # mean width of a character in CSS pixels
_DOT_CLIP: Final = 4.0  # powers of ten on either side of the median that are shown
_DOT_MARGIN: Final = 0.8
_DOT_LABEL_WIDTH: Final = 26
_DOT_DISTANCE: Final = 0.22  # of a row, so that the dots of two layers at one level stay apart
_QUANTITY: Final[dict[Direction, str]] = {"forward": "second moment of z", "backward": "squared norm of dL/dz"}
_AXIS: Final[dict[Direction, str]] = {"forward": "layer (the signal flows →)", "backward": "layer (the signal flows ←)"}
# Width and dashes of each line. Lines that coincide stay visible: the later ones are thinner and broken.
_STROKES: Final[tuple[tuple[float, tuple[float, ...]], ...]] = (
    (2.0, ()),
    (3.8, ()),
    (2.2, (4.0, 2.0)),
    (1.6, (1.0, 1.6)),
    (1.8, (6.0, 1.5, 1.2, 1.5)),
    (1.8, (2.5, 1.0)),
)
MARKS: Final = (
    ("▲ ▼", "the line leaves the picture and goes on; the label says how far the farthest one goes"),
    ("×", "the signal is exactly zero"),
    ("◆", "the signal is not a finite number"),
)
_LINES_OF_THEORY: Final = (
    " Pale band: what theory expects, from the initializer, the width and the batch, and not from what was measured, "
    "unless the note below a picture says that it begins with a measured value."
)
_DOTS_OF_THEORY: Final = (
    " Hollow marks: the median that theory expects, with a capped whisker from the 10th to the 90th percentile where "
    "that is wider than the mark. They come from the initializer, the widths and the batch, and not from what was "
    "measured, unless the note below a picture says that they begin with a measured value."
)


def write_layers(
    levels: Sequence[LevelSummary],
    predictions: Sequence[PredictedLevels],
    pairs: Sequence[SummaryRow],
    layers: Sequence[str],
    anchor: str,
    *,
    unfolded: bool = False,
) -> Section:
    """Write the section that shows the signal of one network layer by layer."""
    by_pair = {(series.initializer, series.activation, series.direction): series for series in levels}
    predicted = predictions if any(prediction.is_known for prediction in predictions) else ()
    blocks: list[Block] = []
    own: dict[Direction, list[LevelSummary]] = {}
    for direction in DIRECTIONS:
        found = [by_pair[pair.initializer, pair.activation, direction] for pair in pairs]
        if all(not series.is_known for series in found):
            blocks.append(paragraph(f"No {direction} signal was measured on this network."))
        else:
            own[direction] = found
    if len(layers) > MOST_DOTS:
        for direction, found in own.items():
            figure = _line_figure(found, predicted, f"{anchor}-{direction}")
            summary = prose(f"{direction.capitalize()}, {count(len(figure.panels), 'picture')}")
            blocks.append(Details(summary, (figure,), unfolded=unfolded and direction == "forward"))
    elif own:
        figure = _dot_figure(own, predicted, layers, f"{anchor}-levels")
        blocks.append(Details(prose(count(len(figure.panels), "picture")), (figure,), unfolded=unfolded))
    if not predicted:
        blocks.append(_explain_gap(predictions))
    elif not all(prediction.is_known for prediction in predicted):
        blocks.append(paragraph("Why there is no theory of some pairs is said under “Theory against measurement”."))
    return Section(f"{anchor}-layers", "The signal, layer by layer", tuple(blocks))


def draw_lines(
    title: str,
    prefix: str,
    levels: Sequence[LevelSummary],
    initializers: Sequence[str],
    limit: float,
    predicted: Sequence[PredictedLevels] = (),
    quantity: str = "",
) -> Panel:
    """Draw the level by layer, one line an initializer, with a band over seeds."""
    by_name = {series.initializer: series for series in levels}
    direction = levels[0].direction
    width, height = _LINE_PANEL
    with svg.drawing_settings():
        drawing, axes = begin_drawing(width, height, left=52, bottom=36, right=10, top=8)
        style_level_axis(axes, limit)
        depth = levels[0].middle.size
        axes.set_xlim(1.0 - 0.02 * depth, depth + 0.02 * depth)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=2))
        axes.set_xlabel(_AXIS[direction], color=svg.MUTED, labelpad=2)
        axes.set_ylabel(quantity or _QUANTITY[direction], color=svg.MUTED, labelpad=0)
        for index, name in enumerate(initializers):
            if name in by_name:
                _draw_line(axes, by_name[name], index, limit)
        for prediction in predicted:
            _draw_predicted_line(axes, prediction, initializers.index(prediction.initializer), limit)
        _label_exits(axes, {initializers.index(name): series for name, series in by_name.items()}, limit, direction)
        text = describe_panel(title, levels, predicted, quantity)
        picture = svg.export_svg(drawing, prefix, text)
    missing = [name for name in initializers if name not in by_name]
    missing += [name for name in initializers if name in by_name and not by_name[name].is_known]
    notes = (f"not measured: {', '.join(missing)}",) if missing else ()
    return Panel(title, text, picture, width, height, notes + describe_basis(predicted))


def draw_dots(
    title: str,
    prefix: str,
    levels: Sequence[LevelSummary],
    layers: Sequence[str],
    limits: tuple[float, float],
    predicted: Sequence[PredictedLevels] = (),
) -> Panel:
    """Draw the level by initializer, one dot a layer, with a whisker over seeds."""
    direction = levels[0].direction
    predictions = {prediction.initializer: prediction for prediction in predicted}
    names = [break_name(series.initializer) for series in levels]
    longest = max(len(line) for name in names for line in name.split("\n"))
    row = _DOT_ROW if longest <= LONGEST_NAME and not any("\n" in name for name in names) else _DOT_ROW_OF_TWO_LINES
    left = min(210, 14 + int(_CHARACTER * longest))
    width, height = _DOT_PANEL_WIDTH, row * len(levels) + 52
    with svg.drawing_settings():
        drawing, axes = begin_drawing(width, height, left=left, bottom=38, right=14, top=6)
        axes.set_xlim(*limits)
        set_powers(axes, limits, "x")
        axes.set_ylim(len(levels) - 0.4, -0.6)
        axes.set_yticks(range(len(levels)), names)
        for label in axes.get_yticklabels():
            label.set_fontsize(SMALL_FONT_SIZE if "\n" in label.get_text() else FONT_SIZE)
        axes.set_xlabel(_QUANTITY[direction], color=svg.MUTED, labelpad=2)
        if limits[0] < 0.0 < limits[1]:
            axes.axvline(0.0, color=svg.MUTED, linewidth=0.8, zorder=1)
        for place, series in enumerate(levels):
            for index in range(len(layers)):
                height_of_dot = place + _DOT_DISTANCE * (index - 0.5)
                _draw_dot(axes, series, height_of_dot, index, limits)
                if series.initializer in predictions:
                    prediction = predictions[series.initializer]
                    _draw_predicted_dot(axes, prediction, index, height_of_dot, limits)
        text = describe_panel(title, levels, predicted)
        picture = svg.export_svg(drawing, prefix, text)
    return Panel(title, text, picture, width, height, describe_basis(predicted))


def describe_panel(
    title: str, levels: Sequence[LevelSummary], predictions: Sequence[PredictedLevels] = (), quantity: str = ""
) -> str:
    """Say in words where each line of a panel begins and ends, measured and predicted, along the signal."""
    direction = levels[0].direction
    text = f"{title}, {direction}, {quantity or _QUANTITY[direction]}: {_describe_ends(levels)}."
    known = [prediction for prediction in predictions if prediction.is_known]
    return f"{text} Theory: {_describe_ends(known)}." if known else text


def describe_basis(predictions: Sequence[PredictedLevels]) -> tuple[str, ...]:
    """Say under a picture what its predictions rest on, where that is not finite width, and which lines have none."""
    by_basis: dict[str, list[str]] = {}
    for prediction in predictions:
        for basis in prediction.basis if prediction.is_known else ():
            words = basis if prediction.direction == "backward" else _ABOUT_GRADIENTS.sub("", basis)
            names = by_basis.setdefault(words, [])
            if prediction.initializer not in names:
                names.append(prediction.initializer)
    by_basis.pop(FINITE_WIDTH, None)
    notes = [f"theory of {', '.join(names)}: {words}" for words, names in by_basis.items()]
    if missing := [prediction.initializer for prediction in predictions if not prediction.is_known]:
        notes.append(f"without theory: {', '.join(missing)}")
    return tuple(notes)


def choose_representatives(initializers: Sequence[str]) -> tuple[str, ...]:
    """Choose the few initializers that get a line."""
    known = [name for name in REPRESENTATIVES if name in initializers]
    if len(initializers) <= MOST_LINES:
        known += [name for name in initializers if name not in known]
    return tuple(known[:MOST_LINES] or initializers[:MOST_LINES])


def shared_limit(levels: Sequence[LevelSummary]) -> float:
    """Find the range of levels, the same up and down, that all panels of a figure share."""
    finite = [np.abs(series.middle[np.isfinite(series.middle)]).max(initial=0.0) for series in levels]
    return float(min(_CLIP, np.ceil(max(finite, default=0.0)) + 0.5))


def dot_limits(levels: Sequence[LevelSummary]) -> tuple[float, float]:
    """Find the range of levels that the dot panels of one direction share; a few extreme ones may lie outside."""
    middles = np.concatenate([series.middle[np.isfinite(series.middle)] for series in levels])
    if not middles.size:
        return -1.0, 1.0
    within = middles[np.abs(middles - np.median(middles)) <= _DOT_CLIP]
    return float(within.min()) - _DOT_MARGIN, float(within.max()) + _DOT_MARGIN


def find_range(items: Sequence[LevelSummary], least: float, greatest: float) -> float:
    """Find the range, the same up and down, that shows the bands of all items, between two bounds."""
    ends = np.concatenate([values for item in items for values in (item.middle, item.low, item.high)])
    farthest = np.abs(ends[np.isfinite(ends)]).max(initial=0.0)
    return float(np.clip(1.1 * farthest, least, greatest))


def subtract_median(series: LevelSummary, prediction: PredictedLevels) -> tuple[LevelSummary, PredictedLevels]:
    """Measure levels from the predicted median, so that what remains is the distance from theory."""
    origin = np.where(np.isfinite(prediction.middle), prediction.middle, np.nan)

    def shift(levels: _Levels) -> _Levels:
        return replace(levels, middle=levels.middle - origin, low=levels.low - origin, high=levels.high - origin)

    return shift(series), shift(prediction)


def line_keys(initializers: Sequence[str]) -> tuple[Key, ...]:
    """Make the legend shared by the line panels."""
    return tuple(svg.draw_line_key(name, index, *_STROKES[index]) for index, name in enumerate(initializers))


def dot_keys(layers: Sequence[str]) -> tuple[Key, ...]:
    """Make the legend shared by the dot panels."""
    return tuple(svg.draw_dot_key(name, index, svg.DOTS[index][1]) for index, name in enumerate(layers))


def edge_key() -> Key:
    """Make the legend entry of the thin lines beside a measured one."""
    line = f'stroke="var(--ink)" stroke-width="{_EDGE_WIDTH}"'
    return svg.draw_key(EDGE_LABEL, f'<path d="M1 2.5H33M1 9.5H33" {line}/>')


def theory_line_key() -> Key:
    """Make the legend entry of a predicted line with its band."""
    band = f'<rect x="1" y="1" width="32" height="10" fill="var(--ink)" opacity="{_THEORY_ALPHA}"/>'
    return svg.draw_key(THEORY_LABEL, band)


def theory_dot_keys() -> tuple[Key, ...]:
    """Make the legend entry of a predicted dot."""
    mark = (
        '<g fill="none" stroke="var(--ink)"><circle cx="17" cy="6" r="4.5"/>'
        '<path d="M1 6H12.500M21.500 6H33M1 3V9M33 3V9"/></g>'
    )
    label = "theory, in the shape of the layer: median, and the 10th and 90th percentiles"
    return (svg.draw_key(label, mark),)


def _line_figure(levels: Sequence[LevelSummary], predictions: Sequence[PredictedLevels], name: str) -> Figure:
    direction = levels[0].direction
    everyone = names_in_order(levels, "initializer")
    chosen = choose_representatives(everyone)
    shown = [series for series in levels if series.initializer in chosen]
    predicted = [
        prediction
        for prediction in predictions
        if prediction.direction == direction and prediction.initializer in chosen
    ]
    limit = shared_limit([*shown, *predicted])
    panels = []
    for number, activation in enumerate(names_in_order(levels, "activation")):
        group = [series for series in shown if series.activation == activation]
        if group:
            expected = [prediction for prediction in predicted if prediction.activation == activation]
            panels.append(draw_lines(activation, f"{name}-{number}", group, chosen, limit, expected))
    omitted = len(everyone) - len(chosen)
    others = f" The other {omitted} initializers are in the tables." if omitted else ""
    if direction == "forward":
        caption = prose(
            "Forward: the size of the signal at each layer, one picture an activation function; layer 1 is next to the "
            "input. The vertical scale is logarithmic: a straight slope means that every layer "
            "multiplies by the same factor, and a level line that the signal is kept. Line: the median of the seeds. "
            "Thin lines: their 10th and 90th percentile, between which single networks lie. All pictures share one "
            "scale, and lines that coincide lie on top of each other."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    else:
        caption = prose(
            "Backward: the same for the gradient. It starts at the output, so read from right to left: a line that "
            "falls towards the left is a gradient that fades before it reaches the first layers."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    return Figure(
        name=name,
        caption=caption,
        keys=(*line_keys(chosen), edge_key(), *((theory_line_key(),) if predicted else ())),
        marks=MARKS,
        panels=tuple(panels),
        alternative=f"{direction.capitalize()} size of the signal by layer on {levels[0].network}, by activation.",
    )


def _describe_ends(levels: Sequence[LevelSummary]) -> str:
    parts = []
    for series in levels:
        first, last = (format_level(level) for level in series.ends)
        parts.append(f"{series.initializer} from {first} to {last}")
    return "; ".join(parts)


def _explain_gap(predictions: Sequence[PredictedLevels]) -> Paragraph:
    """Say why there is no predicted line in any picture."""
    reasons = dict.fromkeys(words for prediction in predictions for words in prediction.basis) or {UNEXPLAINED: None}
    return paragraph(f"There is no predicted signal to compare with: {'; '.join(reasons)}.")


def _dot_figure(
    levels: Mapping[Direction, Sequence[LevelSummary]],
    predictions: Sequence[PredictedLevels],
    layers: Sequence[str],
    name: str,
) -> Figure:
    everything = [series for found in levels.values() for series in found]
    limits = {direction: dot_limits(found) for direction, found in levels.items()}
    panels = []
    for number, activation in enumerate(names_in_order(everything, "activation")):
        for direction, found in levels.items():
            group = [series for series in found if series.activation == activation]
            expected = [
                prediction
                for prediction in predictions
                if prediction.activation == activation and prediction.direction == direction
            ]
            prefix = f"{name}-{number}-{direction}"
            panels.append(draw_dots(f"{activation}, {direction}", prefix, group, layers, limits[direction], expected))
    caption = prose(
        "The size of the signal at each hidden layer, by initializer: of the pre-activations going forward, and of "
        "their gradients going backward. The scale is logarithmic. Dots that lie one above the other: "
        "the layers hand the signal on as they got it. Dot: the median of the seeds. Whisker: from the 10th to the "
        "90th percentile of the seeds, often narrower than the dot." + (_DOTS_OF_THEORY if predictions else ""),
    )
    return Figure(
        name=name,
        caption=caption,
        keys=dot_keys(layers) + (theory_dot_keys() if predictions else ()),
        marks=(("▶ ◀", "the dot lies outside the picture, at the level written"), *MARKS[1:]),
        panels=tuple(panels),
        alternative=f"Size of the signal by initializer on {everything[0].network}.",
        columns=2,
    )


def _label_exits(axes: Axes, shown: Mapping[int, LevelSummary], limit: float, direction: Direction) -> None:
    """Put a triangle where a line leaves the picture; at each edge, say how far the farthest line goes."""
    for sign, marker in ((1.0, "^"), (-1.0, "v")):
        farthest, places = 0.0, []
        for index, series in shown.items():
            outside = np.flatnonzero(np.isfinite(series.middle) & (sign * series.middle > limit))
            if outside.size:
                places.append(_crossing(series.middle, outside, sign * limit))
                colour = svg.SERIES[index]
                axes.plot(places[-1], sign * 0.96 * limit, marker=marker, markersize=6, color=colour, zorder=21)
                farthest = max(farthest, float(np.max(sign * series.middle[outside])))
        if places:
            text = f"to {power_of_ten(round(sign * farthest))}"
            _label_exit(axes, text, places, sign * 0.96 * limit, direction)


def _label_exit(axes: Axes, text: str, places: Sequence[float], level: float, direction: Direction) -> None:
    """Write beyond the last triangle in the direction of the signal, where no line is, if there is room."""
    first, last = axes.get_xlim()
    room = _LABEL_ROOM * (last - first)
    right = max(places) < last - room if direction == "forward" else min(places) < first + room
    axes.annotate(
        text,
        (max(places) if right else min(places), level),
        xytext=(6 if right else -6, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        color=svg.LABEL,
        fontsize=FONT_SIZE,
        zorder=22,
    )


def _crossing(middle: NDArray[np.float64], outside: NDArray[np.int64], edge: float) -> float:
    """Give the layer, as a fraction, where a line first crosses an edge, coming from its inside end."""
    first, last = int(outside[0]), int(outside[-1])
    inner, outer = (first - 1, first) if first > 0 else (last + 1, last)
    if inner >= middle.size or not np.isfinite(middle[inner]):
        return float(first + 1)
    share = (edge - middle[inner]) / (middle[outer] - middle[inner])
    return float(inner + 1 + share * (outer - inner))


def _draw_predicted_line(axes: Axes, prediction: PredictedLevels, index: int, limit: float) -> None:
    """Draw what theory expects as a pale band, below the measured lines."""
    layer, colour = np.arange(1, prediction.middle.size + 1), svg.SERIES[index]
    middle, low, high = (
        np.where(np.isfinite(values), np.clip(values, -2.0 * limit, 2.0 * limit), np.nan)
        for values in (prediction.middle, prediction.low, prediction.high)
    )
    if not np.isnan(low).all():
        axes.fill_between(layer, low, high, color=colour, alpha=_THEORY_ALPHA, linewidth=0.0, zorder=2)
    if not np.isnan(middle).all():
        axes.plot(layer, middle, color=colour, linewidth=_THEORY_WIDTH, alpha=_THEORY_ALPHA, zorder=2)


def _draw_line(axes: Axes, series: LevelSummary, index: int, limit: float) -> None:
    layer = np.arange(1, series.middle.size + 1)
    colour, (width, dashes) = svg.SERIES[index], _STROKES[index]
    for edge in (series.low, series.high):
        axes.plot(layer, np.clip(edge, -2.0 * limit, 2.0 * limit), color=colour, linewidth=_EDGE_WIDTH, zorder=3)
    shown = np.where(np.isfinite(series.middle), series.middle, np.nan)
    style = "-" if not dashes else (0.0, dashes)
    axes.plot(layer, shown, color=colour, linewidth=width, linestyle=style, zorder=4 + index)
    _mark(axes, layer[np.isneginf(series.middle)], -0.94 * limit, "x", colour)
    _mark(axes, layer[np.isposinf(series.middle)], 0.94 * limit, "D", colour)


def _mark(axes: Axes, layer: NDArray[np.int64], level: float, marker: str, colour: str) -> None:
    axes.plot(layer, np.full(layer.size, level), linestyle="none", marker=marker, markersize=5, color=colour, zorder=20)


def _draw_dot(axes: Axes, series: LevelSummary, height: float, index: int, limits: tuple[float, float]) -> None:
    level, colour = series.middle[index], svg.SERIES[index]
    if np.isnan(level):
        return
    low, high = limits
    if low <= level <= high:
        whisker = np.clip((series.low[index], series.high[index]), low, high)
        axes.plot(whisker, [height, height], color=colour, linewidth=2.0, alpha=0.55, zorder=3)
        axes.plot(level, height, marker=svg.DOTS[index][0], markersize=5.5, color=colour, zorder=4)
        return
    inset = 0.02 * (high - low)
    side = -1.0 if level < low else 1.0
    edge = low + inset if side < 0 else high - inset
    marker = ("x" if side < 0 else "D") if np.isinf(level) else ("<" if side < 0 else ">")
    axes.plot(edge, height, marker=marker, markersize=5.5, color=colour, zorder=4)
    if np.isfinite(level):
        axes.annotate(
            power_of_ten(round(level)),
            (edge, height),
            xytext=(-side * (6 + _DOT_LABEL_WIDTH * index), 0),
            textcoords="offset points",
            ha="left" if side < 0 else "right",
            va="center",
            color=svg.LABEL,
            fontsize=SMALL_FONT_SIZE,
            zorder=22,
        )


def _draw_predicted_dot(
    axes: Axes, prediction: PredictedLevels, index: int, height: float, limits: tuple[float, float]
) -> None:
    """Draw a predicted dot with its whisker; outside the limits, a hollow triangle at the edge."""
    level, (low, high) = prediction.middle[index], limits
    if not np.isfinite(level):
        return
    if not low <= level <= high:
        inset = 0.02 * (high - low)
        edge, marker = (low + inset, "<") if level < low else (high - inset, ">")
        _draw_ring(axes, edge, height, marker)
        return
    _draw_ring(axes, level, height, svg.DOTS[index][0])
    ends = np.clip((prediction.low[index], prediction.high[index]), low, high)
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
