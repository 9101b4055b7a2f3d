"""Does the signal survive a model of any shape? The change over a whole path, forward and backward, against a limit.

Followed along a path (:mod:`initcheck.audit.paths`) are q, the second moment of the pre-activation (of the output where
a site has none), from the input to the output, and g, the squared norm of one sample's gradient there, from the output
to the input. With v_0, ..., v_n the levels of one seed in that direction, the total change is T = ln v_n - ln v_0 over
the layers that count (:func:`levels_along`), a number per seed. A change at a single
layer counts forward even at the head, where it grows; a small last layer is a choice (a head drawn near zero).

T is *wrong* where its 95% interval over seeds lies wholly beyond the limit, *right* where the 90% interval lies within
(two one-sided tests at 5%), else undecided. From one draw there is no interval, and the value itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.limits import NORMALIZATION_GROWTH, NORMALIZED_DEPTH, Limits
from initcheck.audit.paths import SignalPath, SiteNode
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.statistics import Estimate, estimate_mean, seeds_needed

Outcome = Literal["within", "falls", "grows", "undecided", "dead", "nonfinite"]

CENTERING_KINDS: Final = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization"})
"""Kinds that subtract the mean before they divide: they let the gradient grow by NORMALIZATION_GROWTH."""


_FEWEST_WITH_HEAD: Final = 3


@dataclass(frozen=True, eq=False)
class SignalLevels:
    """What is followed along layers in one direction.

    Attributes:
        squares: shape [seeds, layers], in that direction. Forward q, the second moment of the pre-activation where the
            layer has one, else of its output; backward g, the squared norm of one sample's dL/dz (or dL/dh).
        counted: shape [layers - 1]: whether the change from this layer to the next says something of initialization.
    """

    direction: Direction
    layers: tuple[str, ...]
    positions: tuple[int, ...]
    squares: NDArray[np.float64]
    counted: NDArray[np.bool_]

    @cached_property
    def logs(self) -> NDArray[np.float64]:
        """The logarithm of the squares: -inf for 0, NaN for what is undefined."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.squares), dtype=np.float64)

    @cached_property
    def total_logs(self) -> NDArray[np.float64]:
        """The change over all layers that count, in nats, shape [seeds]."""
        with np.errstate(invalid="ignore"):  # -inf minus -inf: between two layers of no signal there is no change
            return np.asarray(np.diff(self.logs, axis=1)[:, self.counted].sum(axis=1), dtype=np.float64)

    @property
    def last_counted(self) -> int:
        """Index of the last layer that counts."""
        counted = np.flatnonzero(self.counted)
        return int(counted[-1]) + 1 if counted.size else len(self.layers) - 1

    @property
    def share_of_dead_seeds(self) -> float:
        """Share of seeds in which the signal is exactly zero somewhere."""
        return float(np.isneginf(self.logs).any(axis=1).mean())


def levels_along(
    table: pd.DataFrame, nodes: Sequence[SiteNode], path: SignalPath, direction: Direction
) -> SignalLevels:
    """Take the levels along a path of a model.

    Changes across an average over positions do not count, nor does the last layer with weights, the head: what stands
    before it often averages, and its scale is a choice of its own. Backward it is left out.
    """
    kept, counted = list(path.positions), [not each for each in path.averaged]
    has_head = path.is_main and len(kept) >= _FEWEST_WITH_HEAD
    if has_head and direction == "forward":
        counted[-1] = False
    elif has_head:
        kept, counted = kept[:-1], counted[:-1]
    squares = second_moments(table) if direction == "forward" else table["gradient_norm"].astype(float) ** 2
    by_site = pd.Series(squares.to_numpy(dtype=float, na_value=np.nan), index=[table["seed"], table["position"]])
    matrix = by_site.unstack("position").reindex(columns=kept).to_numpy(dtype=np.float64)
    if direction == "backward":
        matrix, kept, counted = matrix[:, ::-1], kept[::-1], counted[::-1]
    layers = tuple(nodes[position].layer for position in kept)
    return SignalLevels(direction, layers, tuple(kept), matrix, np.asarray(counted, dtype=np.bool_))


def second_moments(table: pd.DataFrame) -> pd.Series:
    """Take the second moment of each site's pre-activation, or of its output where it has none."""
    return table["preactivation_second_moment"].fillna(table["activation_second_moment"])


@dataclass(frozen=True)
class JudgedPath:
    """The judgement of one path in one direction.

    Attributes:
        total: T with its 95% interval over seeds, in nats.
        limit: the limit of |T| in the direction that T points to, in nats.
        allowance: how much of the limit is the growth that normalization layers bring by themselves, in nats.
        step_change: that change with its interval, in nats; None without one.
        seeds_needed: how many seeds would decide; None where that is not the question.
    """

    path: SignalPath
    levels: SignalLevels
    outcome: Outcome
    total: Estimate
    steps: int
    limit: float
    allowance: float = 0.0
    beyond: tuple[str, ...] = ()
    step: tuple[str, str] | None = None
    step_change: Estimate | None = None
    seeds_needed: int | None = None

    @property
    def rate(self) -> tuple[float, float, float]:
        """Factor a layer with its 95% interval: exp(T / steps)."""
        if not self.steps:
            return math.nan, math.nan, math.nan
        with np.errstate(over="ignore"):
            value, low, high = np.exp(np.asarray([self.total.value, self.total.low, self.total.high]) / self.steps)
        return float(value), float(low), float(high)

    @property
    def total_is_wrong(self) -> bool:
        """Whether the total change is shown to exceed the limit."""
        end = self.total.high if self.total.value < 0 else self.total.low
        bound = self.total.value if self.total.count == 1 else end
        return abs(bound) > self.limit and math.copysign(1.0, bound) == math.copysign(1.0, self.total.value)


def judge_paths(
    table: pd.DataFrame, nodes: Sequence[SiteNode], paths: Sequence[SignalPath], limits: Limits
) -> list[JudgedPath]:
    """Judge each path forward and backward, in turn."""
    return [
        judge_path(path, levels_along(table, nodes, path, direction), nodes, limits)
        for path in paths
        for direction in DIRECTIONS
    ]


def judge_path(path: SignalPath, levels: SignalLevels, nodes: Sequence[SiteNode], limits: Limits) -> JudgedPath:
    """Judge one path in one direction; see the module docstring for the method.

    A level that is not finite is ``nonfinite``, but ``undecided`` where it is NaN in all seeds: it was not measured.
    """
    if len(levels.layers) < 2:
        return JudgedPath(path, levels, "within", estimate_mean([]), 0, math.nan)
    steps = int(levels.counted.sum())
    total = estimate_mean(levels.total_logs)
    allowance = _normalization_allowance(levels, nodes) if levels.direction == "backward" else 0.0
    limit = limits.total_log(steps) + (allowance if total.value > 0 else 0.0)
    undefined = _judge_undefined(levels.logs)
    if undefined is not None:
        where = tuple(levels.layers[int(place)] for place in np.flatnonzero(~np.isfinite(levels.logs).all(axis=0)))
        return JudgedPath(path, levels, undefined, total, steps, limit, allowance, where)
    outcome, needed = _judge_total(levels.total_logs, total, limit)
    into_head = levels.direction == "forward" and _is_head(nodes, levels.positions[-1])
    step, change = _worst_step(path, levels, math.log(limits.step_factor), into_head)
    if outcome in ("within", "undecided") and step is not None and change is not None:
        outcome = "falls" if change.value < 0 else "grows"
    beyond = _find_beyond(levels, limit) if outcome in ("falls", "grows") else ()
    return JudgedPath(path, levels, outcome, total, steps, limit, allowance, beyond, step, change, needed)


def _judge_undefined(logs: NDArray[np.float64]) -> Outcome | None:
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
    deviation = total.standard_error * math.sqrt(total.count)
    needed = seeds_needed(deviation, distance, 0.025, 0.9) if distance > 1e-6 * deviation else None
    return "undecided", None if needed is None else max(needed, total.count + 1)


def _normalization_allowance(levels: SignalLevels, nodes: Sequence[SiteNode]) -> float:
    """Add up what normalization layers between the ends of a path do by themselves."""
    low, high = min(levels.positions), max(levels.positions)
    normalizing = {position for position in range(low + 1, high + 1) if nodes[position].kind in CENTERING_KINDS}
    bypassed = {position for position in normalizing if _is_bypassed(position, nodes, levels.positions)}
    count = len(bypassed) + min(len(normalizing) - len(bypassed), NORMALIZED_DEPTH)
    return count * math.log(NORMALIZATION_GROWTH)


def _is_bypassed(position: int, nodes: Sequence[SiteNode], followed: Sequence[int]) -> bool:
    """Find whether branches meet right behind: the next followed site merges two or more sites."""
    behind = [each for each in followed if each >= position]
    return bool(behind) and len(nodes[min(behind)].parents) > 1


def _is_head(nodes: Sequence[SiteNode], position: int) -> bool:
    """Find whether the outputs follow without another layer with weights: an activation may, or a reshaping."""
    reached = {position}
    for place, node in enumerate(nodes):
        if not reached.isdisjoint(node.parents):
            if node.weighted:
                return False
            reached.add(place)
    return any(nodes[place].feeds_output for place in reached)


def _worst_step(
    path: SignalPath, levels: SignalLevels, limit: float, into_head: bool
) -> tuple[tuple[str, str] | None, Estimate | None]:
    """Find the largest change at one layer that parts all earlier from all later levels by more than the limit."""
    logs = levels.logs
    averaged = path.averaged[: len(levels.layers) - 1]
    averaged = averaged if levels.direction == "forward" else averaged[::-1]
    worst: tuple[float, tuple[str, str], Estimate] | None = None
    for index in range(logs.shape[1] - 1):
        if averaged[index]:
            continue
        # A dip or a spike is no loss: all that comes after must differ from all that came before.
        earlier, later = logs[:, : index + 1], logs[:, index + 1 :]
        fall = later.max(axis=1) - earlier.min(axis=1)
        growth = later.min(axis=1) - earlier.max(axis=1)
        for values, sign in ((fall, -1.0), (growth, 1.0)):
            small_head = into_head and sign < 0 and index == logs.shape[1] - 2
            if small_head or not (sign * values.mean() > limit):
                continue
            direct = estimate_mean(logs[:, index + 1] - logs[:, index])
            lasting = estimate_mean(values)
            bound = lasting.value if lasting.count == 1 else (lasting.high if sign < 0 else lasting.low)
            single = sign * direct.value > limit
            if sign * bound > limit and single and (worst is None or abs(direct.value) > worst[0]):
                worst = (abs(direct.value), (levels.layers[index], levels.layers[index + 1]), direct)
    return (None, None) if worst is None else (worst[1], worst[2])


def _find_beyond(levels: SignalLevels, limit: float) -> tuple[str, ...]:
    """Find the layers whose level has changed by more than the limit."""
    counted = np.where(levels.counted, np.diff(levels.logs, axis=1), 0.0)
    change = np.cumsum(counted, axis=1).mean(axis=0)
    return tuple(levels.layers[int(step) + 1] for step in np.flatnonzero(np.abs(change) > limit))
