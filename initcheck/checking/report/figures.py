"""The picture of a checked model: the size of signal and gradient at each layer, as it is and with a fix.

A level is the decimal logarithm of a root mean square (forward) or of the norm of one sample's gradient (backward).
The layers of the main path are joined by a line, or those of the branch that a problem lies in; layers beside it are
faint dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult
from initcheck.audit.problems import Problem
from initcheck.audit.site_estimates import LevelEstimates, estimate_levels
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.report.text import LayerRow, layer_rows, names_layer
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count, format_level, format_names, shorten
from initcheck.pages import svg
from initcheck.pages.document import Figure, Key, Panel, Text, prose
from initcheck.pages.svg import FONT_SIZE, SMALL_FONT_SIZE, begin_drawing

_WIDTH: Final = 450
_HEIGHT: Final = 262
_SIDE: Final = 62  # margins left, and right of lines that are named
_TOP: Final = 10
_BOTTOM: Final = 40
_LONGEST_NAME: Final = 16
_NAME_ANGLE: Final = 40.0
_NAME_GAP: Final = 18  # CSS pixels between two slanted names
_CHARACTER: Final = 5.2  # mean width of a small character in CSS pixels
_DOTTED: Final = 60  # sites on a path up to which each gets a dot
_LABEL_ROOM: Final = 0.14  # share of the height for the labels of the findings
_LEAST_SPAN: Final = 1.0  # powers of ten that a panel shows at least, so that noise does not fill it
_LABEL_CHARACTER: Final = 8.0
_LABEL_LINE: Final = 13
_MOST_LABEL_LINES: Final = 4
_LINE: Final = 1.8

_AS_IT_IS: Final = svg.SERIES[0]
_WRONG: Final = svg.SERIES[1]
_WITH_FIX: Final = svg.SERIES[2]
_NAMES: Final = ("as it is", "with the fix")

_TITLES: Final = {
    "forward": "Forward: root mean square of the signal",
    "backward": "Backward: norm of one sample’s gradient",
}
_AXIS_LABELS: Final = {"forward": "layer, in order of execution →", "backward": "layer (the gradient flows ←)"}

Bound = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Places of sites, and the level there that is the limit."""


@dataclass(frozen=True, eq=False)
class SiteLevels:
    """The levels of all sites in one direction, what is wrong there, and the levels of the same model with a fix.

    Attributes:
        followed: the path that is drawn as a line; None where there is none.
        wrong: the codes of findings, each with the places of the layers that did it.
        fixed: middle, low and high with the fix, of the same sites; None without a fix.
    """

    direction: Direction
    rows: tuple[LayerRow, ...]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    followed: JudgedPath | None
    wrong: tuple[tuple[str, tuple[int, ...]], ...]
    fixed: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None

    @property
    def line(self) -> NDArray[np.int64]:
        """Places of the sites that the line joins."""
        positions = () if self.followed is None else self.followed.levels.positions
        return np.sort(np.asarray(positions, dtype=np.int64))

    @property
    def marked(self) -> list[int]:
        """Places of the sites that did what was found."""
        return sorted({place for _, places in self.wrong for place in places})


def draw_check_figure(
    result: CheckResult, problems: Sequence[Problem] | None = None, name: str = "check-levels"
) -> Figure | None:
    """Draw signal and gradient at each layer with what is wrong, and with the first fix; None where there is no level.

    Args:
        problems: those that are marked, the worst first; None stands for all.
    """
    shown = result.problems if problems is None else problems
    taken = [_take_levels(result, direction, shown) for direction in DIRECTIONS] if len(result.table) else []
    drawn = [each for each in taken if not np.isnan(each.middle).all()]
    if not drawn:
        return None
    return Figure(
        name=name,
        caption=_caption(result, drawn[0], _find_fixed(shown)),
        keys=_keys(drawn),
        marks=_marks(drawn),
        panels=tuple(_draw_panel(result, each, f"{name}-{each.direction}") for each in drawn),
        alternative="Size of the signal and of its gradient at each layer, in order of execution.",
        columns=2,
    )


def _find_fixed(problems: Sequence[Problem]) -> Problem | None:
    """Find the worst problem whose fix was measured."""
    return next((each for each in problems if each.fix is not None and each.fix.levels), None)


def _take_levels(result: CheckResult, direction: Direction, problems: Sequence[Problem]) -> SiteLevels:
    levels = estimate_levels(result.table, direction)
    rows = tuple(layer_rows(result))
    wrong = tuple(_find_wrong(rows, direction, problems))
    fixed = _find_fixed(problems)
    about = fixed or next(iter(problems), None)
    with_fix = None if fixed is None or fixed.fix is None else _select(fixed.fix.levels, direction, levels.sites)
    followed = _find_path(result, direction, about)
    return SiteLevels(direction, rows, levels.middle, levels.low, levels.high, followed, wrong, with_fix)


def _find_wrong(
    rows: Sequence[LayerRow], direction: Direction, problems: Sequence[Problem]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """List the findings that are about a direction, each with the places of the layers that did it, the first first."""
    for problem in problems:
        for finding in problem.findings:
            if direction not in finding.rule.panels_of(finding):
                continue
            names = finding.named if problem.cause is None else problem.cause.layers
            places = [row.order for name in names for row in rows if names_layer((name,), row.layer)]
            if places:
                yield finding.code, tuple(dict.fromkeys(places))


def _select(
    levels: Sequence[LevelEstimates], direction: Direction, sites: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Take the levels of some sites; NaN where the model with the fix has none of that name."""
    own = next((each for each in levels if each.direction == direction), None)
    if own is None:
        return None
    places = {site: place for place, site in enumerate(own.sites)}
    known = np.asarray([places.get(site, -1) for site in sites])

    def take(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(known < 0, np.nan, values[known])

    return take(own.middle), take(own.low), take(own.high)


def _find_path(result: CheckResult, direction: Direction, problem: Problem | None) -> JudgedPath | None:
    """Find the path that most of a problem's layers lie on, else the main path."""
    named = () if problem is None else (*problem.layers, *(name for each in problem.findings for name in each.named))

    def rank(judged: JudgedPath) -> tuple[int, bool]:
        layers = {result.nodes[position].layer for position in judged.path.positions}
        return sum(names_layer(named, layer) for layer in layers), judged.path.is_main

    paths = [each for each in result.paths if each.levels.direction == direction]
    best = max(paths, key=rank, default=None)
    return None if best is None or not any(rank(best)) else best


def _draw_panel(result: CheckResult, levels: SiteLevels, prefix: str) -> Panel:
    text = _describe(levels)
    missing = [row.name for row, level in zip(levels.rows, levels.middle, strict=True) if np.isnan(level)]
    notes = (f"no value: {format_names(missing)}",) if missing else ()
    with svg.drawing_settings():
        wide, height = _draw(result, levels, _WIDTH, prefix, text)
        narrow, _ = _draw(result, levels, svg.PHONE_WIDTH, f"{prefix}-phone", text)
    return Panel(_TITLES[levels.direction], text, wide, _WIDTH, height, notes, narrow)


def _draw(result: CheckResult, levels: SiteLevels, width: int, prefix: str, text: str) -> tuple[str, int]:
    """Draw a panel of a width; return it with its height."""
    rows = levels.rows
    bounds = [] if levels.followed is None else _limit_levels(levels.followed)
    everything = [levels.middle, levels.low, levels.high, *(bound for _, bound in bounds), *(levels.fixed or ())]
    limits = _find_limits(everything)
    right = 10 if levels.fixed is None else _SIDE + 12
    plot = width - _SIDE - right
    ticks = _choose_ticks(levels, plot)
    names = {place: shorten(rows[place].name, _LONGEST_NAME, keep_end=True) for place in ticks}
    room = round(max(map(len, names.values())) * _CHARACTER * math.sin(math.radians(_NAME_ANGLE)))
    height = _HEIGHT + room
    drawing, axes = begin_drawing(width, height, left=_SIDE, bottom=_BOTTOM + room, right=right, top=_TOP)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylim(*limits)
    svg.mark_sizes(axes, limits)
    axes.set_xticks(ticks, [names[place] for place in ticks])
    for place, label in zip(ticks, axes.get_xticklabels(), strict=True):
        label.set(rotation=_NAME_ANGLE, ha="right", rotation_mode="anchor", fontsize=SMALL_FONT_SIZE)
        label.set_color(_WRONG if place in levels.marked else svg.INK)
    axes.set_xlabel(_AXIS_LABELS[levels.direction], color=svg.MUTED, labelpad=2)
    for bound in bounds:
        axes.plot(*bound, color=svg.MUTED, linewidth=1.0, linestyle=(0.0, (4.0, 3.0)), zorder=2)
    _draw_levels(axes, result, levels)
    places = np.arange(len(rows), dtype=np.float64)
    _draw_states(axes, places, levels.middle, limits, _WRONG)
    if levels.fixed is not None:
        middle, low, high = levels.fixed
        _draw_line(axes, levels.line, (middle, low, high), _WITH_FIX)
        _draw_states(axes, places[levels.line], middle[levels.line], limits, _WITH_FIX)
        pair = zip((levels.middle, middle), _NAMES, (_AS_IT_IS, _WITH_FIX), strict=True)
        ends = [(_end_of(each, levels.line), name, colour) for each, name, colour in pair]
        known = [end for end in ends if math.isfinite(end[0])]
        svg.label_line_ends(axes, known, height=height - _TOP - _BOTTOM - room)
    shown = [place for place in levels.marked if np.isfinite(levels.middle[place])]
    axes.plot(shown, levels.middle[shown], "o", markersize=_dot_size(len(rows)) + 1.0, color=_WRONG, zorder=6)
    _label_findings(axes, levels, plot)
    return svg.export_svg(drawing, prefix, text), height


def _choose_ticks(levels: SiteLevels, width: int) -> list[int]:
    """Choose the sites that are named below: where a finding begins, the ends, and as many more as fit evenly."""
    count_of_sites = len(levels.rows)
    gap = max(1.0, _NAME_GAP * count_of_sites / width)
    first = [places[0] for _, places in levels.wrong]
    ends = [0, count_of_sites - 1]
    evenly = range(0, count_of_sites, math.ceil(gap))
    chosen: list[int] = []
    for place in (*first, *ends, *levels.marked, *evenly):
        if all(abs(place - other) >= gap for other in chosen):
            chosen.append(place)
    return sorted(chosen)


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
    # These are squares; what is drawn are their roots.
    low = places, 0.5 * np.log10(math.e) * (reference - down)
    high = places, 0.5 * np.log10(math.e) * (reference + up)
    return {"falls": [low], "grows": [high]}.get(judged.outcome, [low, high])


def _find_limits(levels: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Find the ends of the vertical axis, with a share of the height left free at the top for labels."""
    everything = np.concatenate(levels)
    finite = everything[np.isfinite(everything)]
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = max(0.06 * (high - low), (_LEAST_SPAN - (high - low)) / 2.0, 0.05)
    return low - margin, high + margin + _LABEL_ROOM * (high - low + 2.0 * margin)


def _draw_levels(axes: Axes, result: CheckResult, levels: SiteLevels) -> None:
    rows, line = levels.rows, levels.line
    others = np.asarray([row.order for row in rows if row.order not in {*line}], dtype=np.int64)
    middle = np.where(np.isfinite(levels.middle), levels.middle, np.nan)
    for judged in result.paths:
        if judged is not levels.followed and judged.levels.direction == levels.direction:
            places = np.sort(np.asarray(judged.levels.positions))
            axes.plot(places, middle[places], color=svg.MUTED, linewidth=0.8, alpha=0.6, zorder=2)
    # Without a line there is nothing to be faint beside.
    faint = {"color": svg.MUTED, "alpha": 0.75} if line.size else {"color": _AS_IT_IS}
    axes.plot(others, middle[others], "o", markersize=_dot_size(len(rows)), markeredgewidth=0.0, zorder=3, **faint)
    if line.size:
        _draw_line(axes, line, (levels.middle, levels.low, levels.high), _AS_IT_IS)


def _draw_line(axes: Axes, line: NDArray[np.int64], levels: Sequence[NDArray[np.float64]], colour: str) -> None:
    middle, low, high = (np.where(np.isfinite(each), each, np.nan)[line] for each in levels)
    axes.fill_between(line, low, high, color=colour, alpha=0.22, linewidth=0.0, zorder=4)
    marker = "o" if line.size <= _DOTTED else ""
    axes.plot(line, middle, color=colour, linewidth=_LINE, marker=marker, markersize=_dot_size(line.size), zorder=5)


def _end_of(levels: NDArray[np.float64], line: NDArray[np.int64]) -> float:
    """Give the last level of a line; NaN where it has none."""
    finite = levels[line][np.isfinite(levels[line])]
    return float(finite[-1]) if finite.size else math.nan


def _dot_size(number: int) -> float:
    return 4.5 if number <= _DOTTED else 3.0


def _draw_states(
    axes: Axes,
    places: NDArray[np.float64],
    levels: NDArray[np.float64],
    limits: tuple[float, float],
    colour: str,
) -> None:
    """Put a sign at the edge where a level is exactly zero or not finite."""
    span = limits[1] - limits[0]
    for value, marker, edge in ((-np.inf, "x", limits[0] + 0.03 * span), (np.inf, "D", limits[1] - 0.15 * span)):
        there = places[levels == value]
        axes.plot(there, np.full(there.size, edge), marker, markersize=5.5, color=colour, zorder=7)


def _label_findings(axes: Axes, levels: SiteLevels, plot: int) -> None:
    """Write the code of each finding above its first layer; labels that would meet go into lines of their own."""
    codes: dict[int, list[str]] = {}
    for code, places in levels.wrong:
        if code not in codes.setdefault(places[0], []):
            codes[places[0]].append(code)
    ends: list[float] = []  # where the last label of each line ends
    sites = len(levels.rows)
    for place in sorted(codes):
        label = " ".join(codes[place])
        width = _LABEL_CHARACTER * len(label) * sites / plot
        centre = min(max(place, width / 2.0 - 0.5), sites - 0.5 - width / 2.0)
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
    known = list(levels.line) or list(range(len(levels.rows)))
    first, last = known[0], known[-1]
    drawn = (
        [("", levels.middle)] if levels.fixed is None else zip(_NAMES, (levels.middle, levels.fixed[0]), strict=True)
    )
    ends = [
        f"{name} {format_level(float(middle[first]))} at {levels.rows[first].name}, "
        f"{format_level(float(middle[last]))} at {levels.rows[last].name}".strip()
        for name, middle in drawn
    ]
    return f"{_TITLES[levels.direction]}: {'; '.join(ends)}."


def _caption(result: CheckResult, levels: SiteLevels, fixed: Problem | None) -> Text:
    parts = ["Of what each layer’s activation function receives, or of the output where a layer has none."]
    followed = levels.followed
    if followed is None:
        parts.append("No line, since no layer with weights lies on every path from the inputs to the outputs.")
    elif not followed.path.is_main:
        inside = followed.path.inside
        where = f" between {inside[0]} and {inside[1]}" if inside else ""
        parts.append(f"The line follows the path{where} that the problem lies on.")
    if followed is not None and any(each.path != followed.path for each in result.paths):
        parts.append("Thin lines follow the other paths.")
    draws = f"Geometric means of {count(len(result.seeds), 'draw')}"
    if fixed is not None and fixed.fix is not None:
        draws += f", with the fix of {fixed.fix.draws} others"
    if len(result.seeds) == 1:
        parts.append("One draw, so there is no interval.")
    else:
        parts.append(f"{draws}{', with bands for 95% intervals' if followed is not None else ''}.")
    return prose(" ".join(parts))


def _marks(drawn: Sequence[SiteLevels]) -> tuple[tuple[str, str], ...]:
    """Explain the codes and signs that are drawn."""
    codes = [code for each in drawn for code, _ in each.wrong]
    marks = [(codes[0], "code of a finding, at its first layer")] if codes else []
    levels = [each for one in drawn for each in (one.middle, one.fixed[0] if one.fixed is not None else one.middle)]
    everything = np.concatenate(levels)
    if np.isneginf(everything).any():
        marks.append(("×", "exactly zero in at least one seed"))
    if np.isposinf(everything).any():
        marks.append(("◆", "not a finite number in at least one seed"))
    return tuple(marks)


def _keys(drawn: Sequence[SiteLevels]) -> tuple[Key, ...]:
    keys = []
    followed = [each.followed for each in drawn if each.followed is not None]
    if followed:
        path = "main path" if followed[0].path.is_main else "path of the problem"
        if all(each.fixed is None for each in drawn):
            keys.append(svg.draw_line_key(path, 0, _LINE, ()))
        if any(len(each.line) < len(each.rows) for each in drawn):
            keys.append(_dot_key("other layers", "muted"))
    if any(_limit_levels(each) for each in followed):
        line = '<path d="M0 6H34" stroke="var(--muted)" stroke-dasharray="4 3" fill="none"/>'
        keys.append(svg.draw_key("limit", line))
    if any(each.wrong for each in drawn):
        keys.append(_dot_key("named in a finding", "series-1"))
    return tuple(keys)


def _dot_key(label: str, colour: str) -> Key:
    dot = f'<circle cx="6" cy="6" r="4" fill="var(--{colour})"/>'
    return svg.draw_key(label, dot, width=12)
