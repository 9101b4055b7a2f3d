"""Does the signal survive a model of any shape? The change along each path, forward and backward, against a limit.

Followed along a path (:mod:`initcheck.audit.paths`) are, from its beginning to its end, q, the second moment of the
pre-activation (of the output where a site has none), and from its end to its beginning g, the squared norm of one
sample's gradient there. Each layer changes them by a step, in nats: ln of q over that of the site before, or over the
second moment of what the layer receives (the first layer, and behind an average over positions), or over 1 (a
normalization, whose outputs have the second moment 1 but for its own scale). The total change T is the sum over the
steps that count, a number a seed; forward it begins anew with each normalization, and the part that changes most is
judged. These do not count:

- forward, a step to a size that is free (a normalization divides it out); backward, what is followed there is g q,
  which no factor changes, in place of g;
- a step into a last layer that may be small by choice: a head, or the end of a branch beside others;
- backward the head, and what an average over positions takes from the gradient.

A change at a single layer counts where it lasts; at the end of a path, and in front of the softmax of attention, where
it grows.

T is *wrong* where its 95% interval over seeds lies wholly beyond the limit, *right* where the 90% interval lies within
(two one-sided tests at 5%), else undecided. From one draw there is no interval, and the value itself decides.
"""

from __future__ import annotations

import itertools
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
from initcheck.core.statistics import Estimate, SeedRange, estimate_mean, seeds_of_equivalence

Outcome = Literal["within", "falls", "grows", "undecided", "dead", "nonfinite"]

CENTERING_KINDS: Final = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization"})
"""Kinds that subtract the mean before they divide: they let the gradient grow by NORMALIZATION_GROWTH."""

GATES: Final = {
    "GRU": math.log(4.0),
    **dict.fromkeys(("LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), math.log(16.0)),
}
"""What gates that are half open take from the square of a signal, in nats: LSTM has two in a row, GRU one."""

_FEWEST_WITH_HEAD: Final = 3

_MOST_NAMED: Final = 3
"""A change is that of single layers if at most this many account for it; else it is spread over the path."""

_STANDS_OUT: Final = 3.0
"""How many times the logarithm of a named layer's step is that of every other's, at least."""


@dataclass(frozen=True, eq=False)
class SignalLevels:
    """What is followed along layers in one direction.

    Attributes:
        squares: shape [seeds, layers], in that direction. Forward q, the second moment of the pre-activation where the
            layer has one, else of its output; backward g, the squared norm of one sample's dL/dz (or dL/dh).
    """

    direction: Direction
    layers: tuple[str, ...]
    positions: tuple[int, ...]
    squares: NDArray[np.float64]

    @cached_property
    def logs(self) -> NDArray[np.float64]:
        """The logarithm of the squares: -inf for 0, NaN for what is undefined."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.squares), dtype=np.float64)

    @property
    def share_of_dead_seeds(self) -> float:
        """Share of seeds in which the signal is exactly zero somewhere."""
        return float(np.isneginf(self.logs).any(axis=1).mean())


@dataclass(frozen=True, eq=False)
class PathLevels(SignalLevels):
    """What is followed along a path of a model.

    Attributes:
        steps: shape [seeds, layers]: the change at each layer in nats; NaN where there is nothing to compare with.
        counted: shape [layers]: whether that step says something of initialization.
        only_growth: shape [layers]: whether it does so only where it is growth.
    """

    steps: NDArray[np.float64]
    counted: NDArray[np.bool_]
    only_growth: NDArray[np.bool_]

    @cached_property
    def total_logs(self) -> NDArray[np.float64]:
        """The change over all layers that count, in nats, shape [seeds]."""
        with np.errstate(invalid="ignore"):  # -inf minus -inf: between two layers of no signal there is no change
            return np.asarray(self.steps[:, self.counted].sum(axis=1), dtype=np.float64)

    @cached_property
    def changes(self) -> NDArray[np.float64]:
        """The change up to and with each layer, by what counts, shape [seeds, 1 + layers]; 0 at the beginning."""
        summed = np.cumsum(np.where(self.counted, self.steps, 0.0), axis=1)
        return np.concatenate([np.zeros((len(summed), 1)), summed], axis=1)

    @property
    def last_counted(self) -> int:
        """Index of the last layer that counts."""
        counted = np.flatnonzero(self.counted)
        return int(counted[-1]) if counted.size else len(self.layers) - 1

    @property
    def start(self) -> str:
        """Where the change begins: at a layer, or at what it receives."""
        counted = np.flatnonzero(self.counted)
        if counted.size and counted[0] == 0:
            return f"the input of {self.layers[0]}"
        return self.layers[max(int(counted[0]) - 1, 0)] if counted.size else self.layers[0]


class SiteSquares:
    """The squares of all sites, each of shape [seeds, sites], for the paths of one model."""

    def __init__(self, table: pd.DataFrame, count: int) -> None:
        def arrange(values: pd.Series) -> NDArray[np.float64]:
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            wide = pd.Series(numbers, index=[table["seed"], table["position"]]).unstack("position")
            return np.asarray(wide.reindex(columns=range(count)).to_numpy(dtype=np.float64))

        self.signal = arrange(second_moments(table))
        self.gradient = arrange(table["gradient_norm"].astype(float) ** 2)
        known = "input_second_moment" in table
        self.received = arrange(table["input_second_moment"]) if known else np.full_like(self.signal, np.nan)


def levels_along(squares: SiteSquares, nodes: Sequence[SiteNode], path: SignalPath, direction: Direction) -> PathLevels:
    """Take the levels along a path of a model; which steps count is said at the top of this module."""
    kept = list(path.positions)
    with np.errstate(divide="ignore", invalid="ignore"):
        if direction == "forward":
            values = squares.signal[:, kept]
            logs = np.log(values)
            bases = np.concatenate([np.full((len(logs), 1), np.nan), logs[:, :-1]], axis=1)
            received = np.log(squares.received[:, kept])
            for place, origin in enumerate(path.origins):
                if origin != "previous":
                    bases[:, place] = {"received": received[:, place], "one": 0.0}.get(origin, np.nan)
            steps = logs - bases
            known = ~np.isnan(bases).any(axis=0)
            counted = known & np.asarray([each == "" for each in path.freedoms])
            large = known & np.asarray([each == "small" for each in path.freedoms])
            if path.small_end_is_chosen:
                large[-1] |= counted[-1]
                counted[-1] = False
            within = _worst_segment(path, steps, counted, large)
            counted, large = counted & within, large & within
            if path.inside and large[-1]:
                # The small end of a branch makes up for growth in it: squeezing layers that count their few outputs.
                before, after = (float(steps[:, each].sum(axis=1).mean()) for each in (counted, counted | large))
                counted[-1] = before > abs(after)
        else:
            averaged = list(path.averaged)
            if path.ends_in_outputs and nodes[kept[-1]].weighted and len(kept) >= _FEWEST_WITH_HEAD:
                kept, averaged = kept[:-1], averaged[:-1]
            free = np.asarray([each != "" for each in path.freedoms[: len(kept)]], dtype=bool)
            values = squares.gradient[:, kept] * np.where(free, squares.signal[:, kept], 1.0)
            values, kept = values[:, ::-1], kept[::-1]
            logs = np.log(values)
            steps = np.concatenate([np.full((len(logs), 1), np.nan), np.diff(logs, axis=1)], axis=1)
            counted = np.asarray([False, *(not each for each in averaged[::-1])], dtype=np.bool_)
            large = np.zeros_like(counted)
    layers = tuple(nodes[position].layer for position in kept)
    return PathLevels(direction, layers, tuple(kept), values, steps, counted, large)


def _worst_segment(
    path: SignalPath, steps: NDArray[np.float64], counted: NDArray[np.bool_], large: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Find the part of a path with the largest change: with each normalization the size begins anew."""
    segments = np.cumsum([origin == "one" for origin in path.origins])
    with np.errstate(invalid="ignore"):
        means = np.where(counted | large, steps, 0.0).mean(axis=0)
    means = np.where(large, np.maximum(means, 0.0), means)
    totals = np.bincount(segments, weights=np.nan_to_num(means, posinf=0.0, neginf=0.0))
    return np.asarray(segments == int(np.argmax(np.abs(totals))), dtype=np.bool_)


def second_moments(table: pd.DataFrame) -> pd.Series:
    """Take the second moment of each site's pre-activation, or of its output where it has none."""
    return table["preactivation_second_moment"].fillna(table["activation_second_moment"])


@dataclass(frozen=True)
class JudgedPath:
    """The judgement of one path in one direction.

    Attributes:
        total: T with its 95% interval over seeds, in nats.
        limit: the limit of |T| in the direction that T points to, in nats.
        allowance: how much of the limit is what layers do by themselves in the direction of T, in nats: the growth that
            normalization layers bring, and the fall through gates.
        step_change: that change with its interval, in nats; None without one.
        doers: where a change beyond the limit comes from: the places on the path of the few layers that account for it;
            empty where it is spread over the path.
        seeds_needed: between how many seeds would decide; None where a change is shown or excluded, and where the
            total lies at the limit.
        wakes: whether a path without a signal has one after small steps of gradient descent.
    """

    path: SignalPath
    levels: PathLevels
    outcome: Outcome
    total: Estimate
    steps: int
    limit: float
    allowance: float = 0.0
    beyond: tuple[str, ...] = ()
    step: tuple[str, str] | None = None
    step_change: Estimate | None = None
    seeds_needed: SeedRange | None = None
    doers: tuple[int, ...] = ()
    wakes: bool = False

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
    squares = SiteSquares(table, len(nodes))
    return [
        judge_path(path, levels_along(squares, nodes, path, direction), nodes, limits)
        for path in paths
        for direction in DIRECTIONS
    ]


def judge_path(path: SignalPath, levels: PathLevels, nodes: Sequence[SiteNode], limits: Limits) -> JudgedPath:
    """Judge one path in one direction; see the module docstring for the method.

    A level that is not finite is ``nonfinite``, but ``undecided`` where it is NaN in all seeds: it was not measured.
    """
    steps = int(levels.counted.sum())
    total = estimate_mean(levels.total_logs if steps else [])
    gates = np.asarray([GATES.get(nodes[position].kind, 0.0) for position in levels.positions])
    allowance = float(gates[levels.counted].sum())
    if total.value > 0.0:
        allowance = _normalization_allowance(levels, nodes) if levels.direction == "backward" else 0.0
    limit = limits.total_log(steps) + allowance
    logs = levels.logs
    if levels.direction == "forward" and path.small_end_is_chosen:
        logs = logs[:, :-1]  # an end of zero is one of the small ones
    undefined = _judge_undefined(logs)
    if undefined is not None:
        where = tuple(levels.layers[int(place)] for place in np.flatnonzero(~np.isfinite(logs).all(axis=0)))
        return JudgedPath(path, levels, undefined, total, steps, limit, allowance, where)
    outcome = _judge_total(levels.total_logs, total, limit) if steps else "within"
    passed = _passed_between(levels, nodes) if levels.direction == "backward" else np.zeros(len(levels.layers))
    step, change = _worst_step(levels, math.log(limits.step_factor), gates, passed)
    if outcome in ("within", "undecided") and step is not None and change is not None:
        outcome = "falls" if change.value < 0 else "grows"
    wrong = outcome in ("falls", "grows")
    beyond = _find_beyond(levels, limit) if wrong else ()
    doers = _find_doers(levels, limits, gates, -1.0 if outcome == "falls" else 1.0) if wrong else ()
    needed = _count_seeds(total, limit) if outcome == "undecided" else None
    return JudgedPath(path, levels, outcome, total, steps, limit, allowance, beyond, step, change, needed, doers)


def _find_doers(levels: PathLevels, limits: Limits, gates: NDArray[np.float64], sign: float) -> tuple[int, ...]:
    """Find the few layers that account for a change: without them the rest is within its limit, and they stand out."""
    with np.errstate(invalid="ignore"):
        means = sign * np.where(levels.counted | (levels.only_growth & (sign > 0)), levels.steps, 0.0).mean(axis=0)
    # A fall into a small end is no part of the change, and does not hide the layer that made it grow.
    means = np.where(levels.counted, means, np.maximum(means, 0.0))
    if sign < 0:
        means = np.where(levels.counted, means - gates, means)  # what gates take by themselves is nobody's doing
    order = np.argsort(-means, kind="stable")
    for count in range(1, min(_MOST_NAMED, len(order)) + 1):
        named, others = order[:count], order[count:]
        rest = float(means[others].sum())
        largest = float(np.abs(means[others]).max(initial=0.0))
        if rest < limits.total_log(len(others)) and means[named[-1]] > _STANDS_OUT * largest:
            return tuple(sorted(int(place) for place in named))
    return ()


def _judge_undefined(logs: NDArray[np.float64]) -> Outcome | None:
    if np.isnan(logs).all(axis=0).any():
        return "undecided"
    if np.isnan(logs).any() or np.isposinf(logs).any():
        return "nonfinite"
    return "dead" if np.isneginf(logs).any() else None


def _judge_total(totals: NDArray[np.float64], total: Estimate, limit: float) -> Outcome:
    if total.count == 1:
        return "within" if abs(total.value) < limit else "falls" if total.value < 0 else "grows"
    narrow = estimate_mean(totals, confidence=2.0 * total.confidence - 1.0)  # 90% beside 95%: two one-sided tests
    if -limit < narrow.low and narrow.high < limit:
        return "within"
    if total.high < -limit:
        return "falls"
    return "grows" if total.low > limit else "undecided"


def _count_seeds(total: Estimate, limit: float) -> SeedRange | None:
    """Count the seeds that would decide: the 90% interval within the limit, or the 95% interval beyond it."""
    return seeds_of_equivalence(total, -limit, limit, 0.05 if abs(total.value) < limit else 0.025)


def _normalization_allowance(levels: PathLevels, nodes: Sequence[SiteNode]) -> float:
    """Add up what normalization layers between the ends of a path do by themselves."""
    low, high = min(levels.positions), max(levels.positions)
    normalizing = {position for position in range(low + 1, high + 1) if nodes[position].kind in CENTERING_KINDS}
    bypassed = {position for position in normalizing if _is_bypassed(position, nodes, levels.positions)}
    count = len(bypassed) + min(len(normalizing) - len(bypassed), NORMALIZED_DEPTH)
    return count * math.log(NORMALIZATION_GROWTH)


def _passed_between(levels: PathLevels, nodes: Sequence[SiteNode]) -> NDArray[np.float64]:
    """Say by layer how much normalization layers between it and the one before let the gradient grow, in nats."""
    passed = [0.0]
    for behind, position in itertools.pairwise(levels.positions):
        between = sum(nodes[each].kind in CENTERING_KINDS for each in range(position + 1, behind + 1))
        passed.append(min(between, NORMALIZED_DEPTH) * math.log(NORMALIZATION_GROWTH))
    return np.asarray(passed)


def _is_bypassed(position: int, nodes: Sequence[SiteNode], followed: Sequence[int]) -> bool:
    """Find whether branches meet right behind: the next followed site merges two or more sites."""
    behind = [each for each in followed if each >= position]
    return bool(behind) and len(nodes[min(behind)].parents) > 1


def _worst_step(
    levels: PathLevels, factor: float, gates: NDArray[np.float64], passed: NDArray[np.float64]
) -> tuple[tuple[str, str] | None, Estimate | None]:
    """Find the largest change at one layer that parts all earlier from all later levels by more than the limit."""
    with np.errstate(invalid="ignore"):
        grown = levels.only_growth & (levels.steps.mean(axis=0) > 0.0)
    # A small end makes up for growth before it, though it is no fault itself.
    known = levels.counted | levels.only_growth
    summed = np.cumsum(np.where(known, levels.steps, 0.0), axis=1)
    changes = np.concatenate([np.zeros((len(summed), 1)), summed], axis=1)
    worst: tuple[float, tuple[str, str], Estimate] | None = None
    for index in np.flatnonzero(levels.counted | grown):
        # A dip or a spike is no loss: all that comes after must differ from all that came before.
        earlier, later = changes[:, : index + 1], changes[:, index + 1 :]
        fall = later.max(axis=1) - earlier.min(axis=1)
        growth = later.min(axis=1) - earlier.max(axis=1)
        for values, sign, limit in ((fall, -1.0, factor + gates[index]), (growth, 1.0, factor + passed[index])):
            if not (sign * values.mean() > limit):
                continue
            direct = estimate_mean(levels.steps[:, index])
            lasting = estimate_mean(values)
            bound = lasting.value if lasting.count == 1 else (lasting.high if sign < 0 else lasting.low)
            single = sign * direct.value > limit
            if sign * bound > limit and single and (worst is None or abs(direct.value) > worst[0]):
                before = levels.layers[index - 1] if index else f"the input of {levels.layers[0]}"
                worst = (abs(direct.value), (before, levels.layers[index]), direct)
    return (None, None) if worst is None else (worst[1], worst[2])


def _find_beyond(levels: PathLevels, limit: float) -> tuple[str, ...]:
    """Find the layers whose level has changed by more than the limit."""
    change = levels.changes[:, 1:].mean(axis=0)
    return tuple(levels.layers[int(place)] for place in np.flatnonzero(levels.counted & (np.abs(change) > limit)))
