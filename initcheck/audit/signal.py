"""Propagation judged on a model of any shape: levels along its routes, forward and backward.

Followed along a route (:mod:`initcheck.audit.site_graph`) are q, the second moment of the pre-activation (of the output
where a site has none), from the input to the output, and g, the squared norm of one sample's gradient there, from the
output to the input. With v_0, ..., v_n the levels of one seed in the direction of travel, the change in all is
T = ln v_n - ln v_0, a number per seed; steps on which positions are averaged do not count towards it. The last layer
with weights, the head, is left out of T and of the way back: what stands before it often averages, and its scale is a
choice of its own. A single step into it counts forward.

T is *wrong* where its 95% interval over seeds lies wholly beyond the limit, *right* where the 90% interval lies
within (two one-sided tests at 5%), else undecided. From one draw there is no interval, and the value itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.limits import NORMALIZATION_GROWTH, NORMALIZED_DEPTH, Limits
from initcheck.audit.site_graph import SignalRoute, SiteNode
from initcheck.core.columns import Direction
from initcheck.core.statistics import Estimate, estimate_mean, seeds_needed

Outcome = Literal["within", "falls", "grows", "undecided", "dead", "nonfinite"]

CENTERING_KINDS: Final = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization"})
"""Kinds that take the mean away before they divide: the growth of NORMALIZATION_GROWTH is theirs."""

_LEAST: Final = 3


@dataclass(frozen=True)
class Levels:
    """What is followed along one route in one direction.

    Attributes:
        direction: forward or backward.
        route: the route.
        layers: paths of the sites in the direction of travel.
        positions: their positions in the table.
        logs: ln q or ln g, shape [seeds, sites], in the direction of travel; -inf for 0, NaN for what is undefined.
        counted: for each step, whether it counts towards the change in all.
    """

    direction: Direction
    route: SignalRoute
    layers: tuple[str, ...]
    positions: tuple[int, ...]
    logs: NDArray[np.float64]
    counted: NDArray[np.bool_]


@dataclass(frozen=True)
class Course:
    """The judgement of one route in one direction.

    Attributes:
        levels: what was followed.
        outcome: the judgement.
        total: T with its 95% interval over seeds, in nats.
        steps: number of steps that count.
        limit: the limit of |T| in the direction that T points to, in nats.
        allowance: how much of the limit is the growth that normalization layers bring by themselves, in nats.
        beyond: the layers, in the direction of travel, whose level is beyond the limit's factor, or has no figure.
        step: the layer before and the layer after the worst single step that no later layer makes up for; or None.
        step_change: that step's change with its interval, in nats; None without one.
        seeds_needed: how many seeds would decide; None where that is not the question.
    """

    levels: Levels
    outcome: Outcome
    total: Estimate
    steps: int
    limit: float
    allowance: float
    beyond: tuple[str, ...]
    step: tuple[str, str] | None
    step_change: Estimate | None
    seeds_needed: int | None

    @property
    def rate(self) -> tuple[float, float, float]:
        """Factor per step with its 95% interval: exp(T / steps)."""
        if not self.steps:
            return math.nan, math.nan, math.nan
        with np.errstate(over="ignore"):
            value, low, high = np.exp(np.asarray([self.total.value, self.total.low, self.total.high]) / self.steps)
        return float(value), float(low), float(high)


def judge_courses(
    table: pd.DataFrame, nodes: Sequence[SiteNode], routes: Sequence[SignalRoute], limits: Limits
) -> list[Course]:
    """Judge all routes in both directions.

    Args:
        table: the measurement table of one model.
        nodes: its sites, by position.
        routes: its routes.
        limits: the limits.

    Returns:
        Forward and backward of each route in turn.
    """
    return [
        judge_course(take_levels(table, nodes, route, direction), nodes, limits)
        for route in routes
        for direction in ("forward", "backward")
    ]


def take_levels(table: pd.DataFrame, nodes: Sequence[SiteNode], route: SignalRoute, direction: Direction) -> Levels:
    """Take the levels along a route from the measurement table."""
    kept, averaged = list(route.positions), list(route.averaged)
    counted = [not each for each in averaged]
    has_head = not route.inside and len(kept) >= _LEAST
    if has_head and direction == "forward":
        counted[-1] = False
    elif has_head:
        kept, counted = kept[:-1], counted[:-1]
    quantity = _second_moments(table) if direction == "forward" else table["gradient_norm"].astype(float) ** 2
    by_site = pd.Series(quantity.to_numpy(dtype=float, na_value=np.nan), index=[table["seed"], table["position"]])
    matrix = by_site.unstack("position").reindex(columns=kept).to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(matrix)
    if direction == "backward":
        logs, kept, counted = logs[:, ::-1], kept[::-1], counted[::-1]
    layers = tuple(nodes[position].layer for position in kept)
    return Levels(direction, route, layers, tuple(kept), logs, np.asarray(counted, dtype=np.bool_))


def judge_course(levels: Levels, nodes: Sequence[SiteNode], limits: Limits) -> Course:
    """Judge one route in one direction; how is told above.

    The degenerate cases: fewer than two sites: ``within`` with no step; a level of exactly 0 in any seed: ``dead``; a
    level that is not finite: ``nonfinite``, unless it was not measured at all (NaN in all seeds), which is
    ``undecided``.
    """
    logs, counted = levels.logs, levels.counted
    if logs.shape[1] < 2:
        empty = estimate_mean([])
        return Course(levels, "within", empty, 0, math.nan, 0.0, (), None, None, None)
    with np.errstate(invalid="ignore"):  # -inf minus -inf: a signal that is zero in two layers has no step
        changes = np.diff(logs, axis=1)
    steps = int(counted.sum())
    total = estimate_mean(_sum_steps(changes, counted))
    allowance = _normalization_allowance(levels, nodes) if levels.direction == "backward" else 0.0
    limit = limits.total_log(steps) + (allowance if total.value > 0 else 0.0)
    bad = _judge_values(logs)
    if bad is not None:
        where = tuple(levels.layers[int(place)] for place in np.flatnonzero(~np.isfinite(logs).all(axis=0)))
        return Course(levels, bad, total, steps, limit, allowance, where, None, None, None)
    outcome, needed = _judge_total(_sum_steps(changes, counted), total, limit)
    step, change = _worst_step(levels, math.log(limits.step_factor))
    if outcome in ("within", "undecided") and step is not None and change is not None:
        outcome = "falls" if change.value < 0 else "grows"
    beyond = _find_beyond(levels, limit) if outcome in ("falls", "grows") else ()
    return Course(levels, outcome, total, steps, limit, allowance, beyond, step, change, needed)


def _second_moments(table: pd.DataFrame) -> pd.Series:
    return table["preactivation_second_moment"].fillna(table["activation_second_moment"])


def _sum_steps(changes: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(changes[:, counted].sum(axis=1), dtype=np.float64)


def _judge_values(logs: NDArray[np.float64]) -> Outcome | None:
    if np.isnan(logs).all(axis=0).any():
        return "undecided"
    if np.isnan(logs).any() or np.isposinf(logs).any():
        return "nonfinite"
    return "dead" if np.isneginf(logs).any() else None


def _judge_total(totals: NDArray[np.float64], total: Estimate, limit: float) -> tuple[Outcome, int | None]:
    if total.count == 1:
        return ("within" if abs(total.value) < limit else "falls" if total.value < 0 else "grows"), None
    narrow = estimate_mean(totals, confidence=0.90)
    if -limit < narrow.low and narrow.high < limit:
        return "within", None
    if total.high < -limit:
        return "falls", None
    if total.low > limit:
        return "grows", None
    distance = abs(abs(total.value) - limit)
    spread = total.standard_error * math.sqrt(total.count)
    needed = seeds_needed(spread, distance, 0.025, 0.9) if distance > 1e-6 * spread else None
    return "undecided", None if needed is None else max(needed, total.count + 1)


def _normalization_allowance(levels: Levels, nodes: Sequence[SiteNode]) -> float:
    """Add up what normalization layers between the ends of a route do by themselves."""
    low, high = min(levels.positions), max(levels.positions)
    normalizing = {position for position in range(low + 1, high + 1) if nodes[position].kind in CENTERING_KINDS}
    bypassed = {position for position in normalizing if _is_bypassed(position, nodes, levels.positions)}
    count = len(bypassed) + min(len(normalizing) - len(bypassed), NORMALIZED_DEPTH)
    return count * math.log(NORMALIZATION_GROWTH)


def _is_bypassed(position: int, nodes: Sequence[SiteNode], followed: Sequence[int]) -> bool:
    """Tell whether branches meet right behind: the next followed site merges two or more sites."""
    behind = [each for each in followed if each >= position]
    return bool(behind) and len(nodes[min(behind)].parents) > 1


def _worst_step(levels: Levels, limit: float) -> tuple[tuple[str, str] | None, Estimate | None]:
    """Find the largest change in one step that parts all earlier from all later levels by more than the limit."""
    logs = levels.logs
    worst: tuple[float, tuple[str, str], Estimate] | None = None
    for index in range(logs.shape[1] - 1):
        if index < len(levels.route.averaged) and _step_averaged(levels, index):
            continue
        # A dip or a spike is no loss: all that comes after must differ from all that came before.
        earlier, later = logs[:, : index + 1], logs[:, index + 1 :]
        fall = later.max(axis=1) - earlier.min(axis=1)
        growth = later.min(axis=1) - earlier.max(axis=1)
        for values, sign in ((fall, -1.0), (growth, 1.0)):
            if not (sign * values.mean() > limit):
                continue
            direct = estimate_mean(logs[:, index + 1] - logs[:, index])
            lasting = estimate_mean(values)
            bound = lasting.value if lasting.count == 1 else (lasting.high if sign < 0 else lasting.low)
            single = sign * direct.value > limit
            if sign * bound > limit and single and (worst is None or abs(direct.value) > worst[0]):
                worst = (abs(direct.value), (levels.layers[index], levels.layers[index + 1]), direct)
    return (None, None) if worst is None else (worst[1], worst[2])


def _step_averaged(levels: Levels, index: int) -> bool:
    averaged = levels.route.averaged[: len(levels.layers) - 1]
    ordered = averaged if levels.direction == "forward" else averaged[::-1]
    return ordered[index]


def _find_beyond(levels: Levels, limit: float) -> tuple[str, ...]:
    """Find the layers whose level has changed by more than the limit."""
    counted = np.where(levels.counted, np.diff(levels.logs, axis=1), 0.0)
    change = np.cumsum(counted, axis=1).mean(axis=0)
    return tuple(levels.layers[int(step) + 1] for step in np.flatnonzero(np.abs(change) > limit))
