"""The figure of a fix: the levels along the path of its problem as they are, and with the edits, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult, Edit
from initcheck.audit.problems import Problem
from initcheck.audit.site_estimates import LevelEstimates, estimate_levels
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.report.figures import (
    DOTTED,
    TITLES,
    draw_states,
    find_limits,
    mark_states,
    measure_names,
    shorten_names,
    style_places,
)
from initcheck.checking.report.text import names_layer
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count, format_level
from initcheck.pages import svg
from initcheck.pages.document import Figure, Key, Panel, prose
from initcheck.pages.svg import begin_drawing, export_svg, set_powers

_WIDTH: Final = 400
_HEIGHT: Final = 220
_LINE: Final = 1.8
_SERIES: Final = (1, 0)
"""Colours of the model as it is, and with the fix: those of the loss curves."""
_NAMES: Final = ("as it is", "with the fix")
_MOST_MARKED: Final = 6
"""Edited layers up to which each is marked."""


@dataclass(frozen=True, eq=False)
class _LevelPair:
    """The levels of some sites, as they are and with the fix.

    Attributes:
        sites: their names.
        orders: their numbers in the order of execution.
        edited: indices of those that are edited.
        levels: middle, low and high of both models, each of shape [sites]; NaN where one model has no such site.
    """

    direction: Direction
    sites: tuple[str, ...]
    orders: NDArray[np.float64]
    edited: tuple[int, ...]
    levels: tuple[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], ...]

    @property
    def marked(self) -> tuple[int, ...]:
        """Indices of the edited sites, where they are few."""
        return self.edited if len(self.edited) <= _MOST_MARKED else ()


def draw_fix_figure(result: CheckResult, problem: Problem, name: str) -> Figure | None:
    """Draw what the fix of a problem does, in the directions that its findings are about; None without a fix."""
    fix = problem.fix
    if fix is None or not fix.levels:
        return None
    panels = {each for finding in problem.findings for each in finding.rule.panels_of(finding)}
    with_fix = {each.direction: each for each in fix.levels}
    taken = [
        _take_pair(result, problem, with_fix[direction], fix.edits)
        for direction in DIRECTIONS
        if direction in panels and direction in with_fix
    ]
    pairs = [each for each in taken if any(np.isfinite(middle).any() for middle, _, _ in each.levels)]
    if not pairs:
        return None
    keys: list[Key] = [
        svg.draw_line_key(label, series, _LINE, ()) for label, series in zip(_NAMES, _SERIES, strict=True)
    ]
    if any(each.marked for each in pairs):
        line = '<path d="M17 0V12" stroke="var(--muted)" stroke-dasharray="2 2" fill="none"/>'
        keys.append(svg.draw_key("edited", line))
    drawn = f"{count(len(result.seeds), 'draw')} as it is, and {fix.draws} others with the fix"
    numbers = any(not shorten_names(each.sites) for each in pairs)
    caption = prose(
        f"Each step of the vertical scale is a power of ten. Levels are geometric means of {drawn}, with a band for "
        f"the 95% interval.{' The numbers below are those of the table of all layers.' if numbers else ''}"
    )
    marks = mark_states([levels[0] for each in pairs for levels in each.levels])
    with svg.drawing_settings():
        pictures = tuple(_draw_panel(each, name) for each in pairs)
    alternative = "Level of the signal and of its gradient along the path, as it is and with the fix."
    return Figure(f"check-{name}", caption, tuple(keys), tuple(marks), pictures, alternative, columns=2)


def _take_pair(result: CheckResult, problem: Problem, with_fix: LevelEstimates, edits: Sequence[Edit]) -> _LevelPair:
    """Take the levels of both models along the path on which the problem lies."""
    as_it_is = estimate_levels(result.table, with_fix.direction)
    orders = _list_sites(result, problem, with_fix.direction, len(as_it_is.sites))
    sites = tuple(as_it_is.sites[order] for order in orders)
    edited = tuple(
        place
        for place, site in enumerate(sites)
        if any(names_layer((each.layer,), site.partition("#")[0]) for each in edits)
    )
    levels = tuple(_select(each, sites) for each in (as_it_is, with_fix))
    return _LevelPair(with_fix.direction, sites, np.asarray(orders, dtype=np.float64), edited, levels)


def _select(
    levels: LevelEstimates, sites: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Take the levels of some sites; NaN where there is none of that name."""
    places = {site: place for place, site in enumerate(levels.sites)}
    known = np.asarray([places.get(site, -1) for site in sites])

    def take(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(known < 0, np.nan, values[known])

    return take(levels.middle), take(levels.low), take(levels.high)


def _list_sites(result: CheckResult, problem: Problem, direction: Direction, everything: int) -> list[int]:
    """List the sites of the path that most of a problem's layers lie on, with what it begins with; else all sites."""
    positions = sorted(set(result.table["position"]))
    order = {position: place for place, position in enumerate(positions)}
    named = [*problem.layers, *(name for each in problem.findings for name in each.named)]

    def count_named(judged: JudgedPath) -> tuple[int, bool]:
        layers = {result.nodes[position].layer for position in judged.path.positions}
        return sum(names_layer(named, layer) for layer in layers), judged.path.is_main

    paths = [each for each in result.paths if each.levels.direction == direction]
    best = max(paths, key=count_named, default=None)
    if best is None or not count_named(best)[0]:
        return list(range(everything))
    first = min(best.path.positions)
    before = [parent for parent in result.nodes[first].parents if result.nodes[parent].kind == "Input"]
    return sorted(order[position] for position in {*best.path.positions, *before} if position in order)


def _draw_panel(pair: _LevelPair, name: str) -> Panel:
    names = shorten_names(pair.sites)
    room = measure_names(names)
    places = np.arange(len(pair.sites), dtype=np.float64) if names else pair.orders
    limits = find_limits([each for levels in pair.levels for each in levels])
    height = _HEIGHT + room
    drawing, axes = begin_drawing(_WIDTH, height, left=58, bottom=40 + room, right=10, top=10)
    axes.set_xlim(places[0] - 0.5, places[-1] + 0.5)
    axes.set_ylim(*limits)
    set_powers(axes, limits, "y")
    style_places(axes, names, pair.direction)
    for place in pair.marked:
        axes.axvline(places[place], color=svg.MUTED, linewidth=0.8, linestyle=(0.0, (2.0, 2.0)), zorder=2)
    for (middle, low, high), series in zip(pair.levels, _SERIES, strict=True):
        _draw_line(axes, places, (middle, low, high), svg.SERIES[series])
        draw_states(axes, places, middle, limits, colour=svg.SERIES[series])
    text = _describe(pair)
    picture = export_svg(drawing, f"check-{name}-{pair.direction}", text)
    return Panel(TITLES[pair.direction], text, picture, _WIDTH, height)


def _draw_line(axes: Axes, places: NDArray[np.float64], levels: Sequence[NDArray[np.float64]], colour: str) -> None:
    middle, low, high = (np.where(np.isfinite(each), each, np.nan) for each in levels)
    axes.fill_between(places, low, high, color=colour, alpha=0.22, linewidth=0.0, zorder=4)
    marker = "o" if len(places) <= DOTTED else ""
    axes.plot(places, middle, color=colour, linewidth=_LINE, marker=marker, markersize=4.0, zorder=5)


def _describe(pair: _LevelPair) -> str:
    ends = [
        f"{label} {format_level(float(middle[0]))} at {pair.sites[0]}, "
        f"{format_level(float(middle[-1]))} at {pair.sites[-1]}"
        for label, (middle, _, _) in zip(_NAMES, pair.levels, strict=True)
    ]
    return f"{TITLES[pair.direction]}: {'; '.join(ends)}."
