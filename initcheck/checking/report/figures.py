"""The figure of a checked model: the level at each layer, forward and backward, in the order of execution.

A level is the base-10 logarithm of the second moment (forward) or of the squared gradient norm (backward). The layers
of the main path are joined by a line; layers in branches, and layers that only pass the signal on, are faint dots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult, Finding
from initcheck.audit.site_estimates import estimate_levels
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.report.text import LayerRow, layer_rows, names_layer
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import format_level, format_names, shorten
from initcheck.pages import svg
from initcheck.pages.document import Figure, Key, Panel, Text, prose
from initcheck.pages.svg import FONT_SIZE, SMALL_FONT_SIZE, begin_drawing, set_powers

_WIDTH: Final = 480
_HEIGHT: Final = 300
_NAMED: Final = 12  # sites whose names fit below the panel
_LONGEST_NAME: Final = 16
_NAME_ANGLE: Final = 40.0
_CHARACTER: Final = 5.2  # mean width of a small character in CSS pixels
DOTTED: Final = 60  # sites on the main path up to which each gets a dot
_LABEL_ROOM: Final = 0.14  # share of the height for the labels of the findings
_LEAST_SPAN: Final = 2.0  # powers of ten that a panel shows at least, so that noise does not fill it
_LABEL_SHARE: Final = 0.2  # of the width, taken by a label of _LABEL_CHARACTERS characters
_LABEL_CHARACTERS: Final = 9
_LABEL_LINE: Final = 13
_MOST_LABEL_LINES: Final = 4

_LINE: Final = svg.SERIES[0]
_WRONG: Final = svg.SERIES[1]

TITLES: Final = {
    "forward": "Forward: second moment of z",
    "backward": "Backward: squared norm of one sample’s gradient",
}
_AXIS_LABELS: Final = {"forward": "layer, in order of execution", "backward": "layer (the gradient flows ←)"}

Bound = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Places of sites, and the level there that is the limit."""


@dataclass(frozen=True, eq=False)
class SiteLevels:
    """The mean level of all sites over seeds in one direction, with its 95% interval.

    The mean is -inf where a seed's level is exactly zero, inf where one is not finite, NaN where it was not measured.
    """

    direction: Direction
    rows: tuple[LayerRow, ...]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def take_site_levels(result: CheckResult, direction: Direction) -> SiteLevels:
    """Take the levels of all sites from the measurement table."""
    levels = estimate_levels(result.table, direction)
    return SiteLevels(direction, tuple(layer_rows(result)), levels.middle, levels.low, levels.high)


def draw_check_figure(result: CheckResult) -> Figure | None:
    """Draw the figure of a model, one panel a direction; None where no site has a level."""
    levels = [take_site_levels(result, direction) for direction in DIRECTIONS] if len(result.table) else []
    drawn = [each for each in levels if not np.isnan(each.middle).all()]
    if not drawn:
        return None
    return Figure(
        name="check-levels",
        caption=_caption(result, drawn[0].rows),
        keys=_keys(result, drawn[0].rows),
        marks=_marks(result, drawn),
        panels=tuple(_draw_panel(result, each) for each in drawn),
        alternative="Level of the signal and of its gradient at each layer, in order of execution.",
        columns=1,
    )


def _draw_panel(result: CheckResult, levels: SiteLevels) -> Panel:
    direction, rows = levels.direction, levels.rows
    judged = _main_path(result, direction)
    bounds = [] if judged is None else _limit_levels(judged)
    drawn = [levels.middle, levels.low, levels.high, *(bound for _, bound in bounds)]
    limits = find_limits(drawn, room=_LABEL_ROOM)
    names = shorten_names([row.name for row in rows])
    room = measure_names(names)
    height = _HEIGHT + room
    with svg.drawing_settings():
        drawing, axes = begin_drawing(_WIDTH, height, left=66, bottom=40 + room, right=10, top=10)
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_ylim(*limits)
        set_powers(axes, limits, "y")
        style_places(axes, names, direction)
        for bound in bounds:
            axes.plot(*bound, color=svg.MUTED, linewidth=1.0, linestyle=(0.0, (4.0, 3.0)), zorder=2)
        _draw_levels(axes, result, levels)
        draw_states(axes, np.arange(len(rows), dtype=np.float64), levels.middle, limits)
        shown = [place for place in _offending(result, levels) if np.isfinite(levels.middle[place])]
        axes.plot(shown, levels.middle[shown], "o", markersize=_dot_size(len(rows)) + 1.0, color=_WRONG, zorder=6)
        _label_findings(axes, result, rows, direction)
        text = _describe(levels)
        picture = svg.export_svg(drawing, f"check-{direction}", text)
    missing = [row.name for row, level in zip(rows, levels.middle, strict=True) if np.isnan(level)]
    notes = (f"no value: {format_names(missing)}",) if missing else ()
    return Panel(TITLES[direction], text, picture, _WIDTH, height, notes)


def _main_path(result: CheckResult, direction: Direction) -> JudgedPath | None:
    for judged in result.paths:
        if judged.levels.direction == direction and judged.path.is_main and judged.steps:
            return judged
    return None


def _limit_levels(judged: JudgedPath) -> list[Bound]:
    """Give the levels that a path must not cross, by site: both, or only the one that it does cross.

    Changes that do not count move the limits along.
    """
    levels = judged.levels
    if not np.isfinite(levels.logs).all() or not math.isfinite(judged.limit) or not levels.counted.any():
        return []
    reference = (levels.logs - levels.changes[:, 1:]).mean(axis=0)
    places = np.asarray(levels.positions, dtype=np.int64)
    # An allowance is one for the direction of the change alone.
    wide, narrow = judged.limit, judged.limit - judged.allowance
    down, up = (narrow, wide) if judged.total.value > 0 else (wide, narrow)
    low = places, np.log10(math.e) * (reference - down)
    high = places, np.log10(math.e) * (reference + up)
    return {"falls": [low], "grows": [high]}.get(judged.outcome, [low, high])


def find_limits(levels: Sequence[NDArray[np.float64]], *, room: float = 0.0) -> tuple[float, float]:
    """Find the ends of the vertical axis, with a share of the height left free at the top."""
    everything = np.concatenate(levels)
    finite = everything[np.isfinite(everything)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = max(0.06 * (high - low), (_LEAST_SPAN - (high - low)) / 2.0, 0.1)
    return low - margin, high + margin + room * (high - low + 2.0 * margin)


def shorten_names(names: Sequence[str]) -> list[str]:
    """Shorten the names of sites so that they fit below a picture; none where there are too many."""
    return [shorten(each, _LONGEST_NAME, keep_end=True) for each in names] if len(names) <= _NAMED else []


def style_places(axes: Axes, names: Sequence[str], direction: Direction) -> None:
    """Let the horizontal axis show sites: by their names, or by their numbers where there are none."""
    if names:
        axes.set_xticks(range(len(names)), names)
        for label in axes.get_xticklabels():
            label.set(rotation=_NAME_ANGLE, ha="right", rotation_mode="anchor", fontsize=SMALL_FONT_SIZE)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(_AXIS_LABELS[direction], color=svg.MUTED, labelpad=2)


def measure_names(names: Sequence[str]) -> int:
    """Give the height that slanted names take, in CSS pixels."""
    longest = max(map(len, names), default=0)
    return round(longest * _CHARACTER * math.sin(math.radians(_NAME_ANGLE)))


def _draw_levels(axes: Axes, result: CheckResult, levels: SiteLevels) -> None:
    rows = levels.rows
    main = np.asarray([row.order for row in rows if row.on_main_path], dtype=np.int64)
    others = np.asarray([row.order for row in rows if not row.on_main_path], dtype=np.int64)
    middle = np.where(np.isfinite(levels.middle), levels.middle, np.nan)
    for judged in result.paths:
        if not judged.path.is_main and judged.levels.direction == levels.direction:
            places = np.sort(np.asarray(judged.levels.positions))
            axes.plot(places, middle[places], color=svg.MUTED, linewidth=0.8, alpha=0.6, zorder=2)
    # Without a main path there is nothing to be faint beside.
    faint = {"color": svg.MUTED, "alpha": 0.75} if main.size else {"color": _LINE}
    axes.plot(others, middle[others], "o", markersize=_dot_size(len(rows)), markeredgewidth=0.0, zorder=3, **faint)
    if not main.size:
        return
    axes.fill_between(main, levels.low[main], levels.high[main], color=_LINE, alpha=0.22, linewidth=0.0, zorder=4)
    marker = "o" if main.size <= DOTTED else ""
    axes.plot(main, middle[main], color=_LINE, linewidth=1.8, marker=marker, markersize=_dot_size(len(rows)), zorder=5)


def _dot_size(count: int) -> float:
    return 4.5 if count <= DOTTED else 3.0


def draw_states(
    axes: Axes,
    places: NDArray[np.float64],
    levels: NDArray[np.float64],
    limits: tuple[float, float],
    *,
    colour: str = _WRONG,
) -> None:
    """Put a sign at the edge where a level is exactly zero or not finite."""
    span = limits[1] - limits[0]
    for value, marker, edge in ((-np.inf, "x", limits[0] + 0.03 * span), (np.inf, "D", limits[1] - 0.15 * span)):
        there = places[levels == value]
        axes.plot(there, np.full(there.size, edge), marker, markersize=5.5, color=colour, zorder=7)


def mark_states(levels: Sequence[NDArray[np.float64]]) -> list[tuple[str, str]]:
    """Explain the signs that are drawn for levels without a place."""
    everything = np.concatenate(levels)
    marks = [("×", "exactly zero in at least one seed")] if np.isneginf(everything).any() else []
    return [*marks, ("◆", "not a finite number in at least one seed")] if np.isposinf(everything).any() else marks


def _offending(result: CheckResult, levels: SiteLevels) -> list[int]:
    """Find the places of the layers that findings name."""
    drawn = _drawn_findings(result, levels.direction)
    return [row.order for row in levels.rows if any(names_layer(finding.named, row.layer) for finding in drawn)]


def _drawn_findings(result: CheckResult, direction: Direction) -> list[Finding]:
    return [finding for finding in result.findings if direction in finding.rule.panels_of(finding)]


def _label_findings(axes: Axes, result: CheckResult, rows: Sequence[LayerRow], direction: Direction) -> None:
    """Write the code of each finding above its first layer; labels that would meet go into lines of their own."""
    codes: dict[int, list[str]] = {}
    for finding in _drawn_findings(result, direction):
        places = [row.order for row in rows if names_layer((finding.layer,), row.layer)]
        if places and finding.code not in codes.setdefault(places[0], []):
            codes[places[0]].append(finding.code)
    ends: list[float] = []  # where the last label of each line ends
    for place in sorted(codes):
        label = " ".join(codes[place])
        width = _LABEL_SHARE * len(rows) * len(label) / _LABEL_CHARACTERS
        centre = min(max(place, width / 2.0 - 0.5), len(rows) - 0.5 - width / 2.0)
        line = next((i for i, end in enumerate(ends) if end <= centre - width / 2.0), len(ends))
        axes.axvline(place, color=_WRONG, linewidth=0.8, linestyle=(0.0, (1.0, 2.0)), zorder=2)
        if line >= _MOST_LABEL_LINES:
            continue  # its dotted line stays, and the table of all layers names it
        ends[line : line + 1] = [centre + width / 2.0]
        axes.annotate(
            label,
            (centre, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -3 - _LABEL_LINE * line),
            textcoords="offset points",
            ha="center",
            va="top",
            color=svg.LABEL,
            fontsize=FONT_SIZE,
            zorder=22,
        )


def _describe(levels: SiteLevels) -> str:
    known = [place for place, row in enumerate(levels.rows) if row.on_main_path] or list(range(len(levels.rows)))
    first, last = known[0], known[-1]
    return (
        f"{TITLES[levels.direction]}: {format_level(float(levels.middle[first]))} at {levels.rows[first].name}, "
        f"{format_level(float(levels.middle[last]))} at {levels.rows[last].name}."
    )


def _caption(result: CheckResult, rows: Sequence[LayerRow]) -> Text:
    caption = "Each step of the vertical scale is a power of ten. "
    has_main_path = any(row.on_main_path for row in rows)
    if has_main_path:
        caption += (
            "The line follows the main path, the layers that every path passes: a straight slope means that every "
            "layer multiplies by the same factor, and a level line that the signal is kept. "
        )
    else:
        caption += "No layer with weights lies on every path from the inputs to the outputs: there is no main path. "
    if any(not judged.path.is_main for judged in result.paths):
        caption += f"Thin lines follow the {'other ' if has_main_path else ''}paths: towers, heads and branches. "
    caption += "Where a layer has no z (no activation function of its own), its output stands for it. "
    if len(result.seeds) > 1:
        caption += f"Levels are geometric means of {len(result.seeds)} draws"
        caption += ", with a band for the 95% interval over seeds. " if has_main_path else ". "
    else:
        caption += "There is one draw, and so no interval. "
    if len(rows) > _NAMED:
        caption += "The numbers below are those of the table of all layers. "
    return prose(caption + "The backward panel is read from right to left.")


def _marks(result: CheckResult, drawn: Sequence[SiteLevels]) -> tuple[tuple[str, str], ...]:
    codes = [finding.code for finding in result.findings if finding.rule.panels_of(finding)]
    marks = [(codes[0], "a finding, at the first layer that it names")] if codes else []
    return (*marks, *mark_states([each.middle for each in drawn]))


def _keys(result: CheckResult, rows: Sequence[LayerRow]) -> tuple[Key, ...]:
    keys = []
    if any(row.on_main_path for row in rows):
        keys.append(svg.draw_line_key("main path", 0, 1.8, ()))
        if any(not row.on_main_path for row in rows):
            keys.append(_dot_key("other layers", "muted"))
    paths = [_main_path(result, direction) for direction in DIRECTIONS]
    if any(judged is not None and _limit_levels(judged) for judged in paths):
        keys.append(_limit_key("limit"))
    if any(finding.rule.panels_of(finding) for finding in result.findings):
        keys.append(_dot_key("named by a finding", "series-1"))
    return tuple(keys)


def _dot_key(label: str, colour: str) -> Key:
    dot = f'<circle cx="6" cy="6" r="4" fill="var(--{colour})"/>'
    return svg.draw_key(label, dot, width=12)


def _limit_key(label: str) -> Key:
    line = '<path d="M0 6H34" stroke="var(--muted)" stroke-dasharray="4 3" fill="none"/>'
    return svg.draw_key(label, line)
