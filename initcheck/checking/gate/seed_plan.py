"""How many seeds would decide what is inconclusive.

Of many metrics one always lies near the margin by chance, and a plan for what was measured of it would ask for seeds
without end. So a metric that is not shown to differ at all (a two-sided t test against 0, Holm at 5% over those that
are inconclusive) is planned for as if nothing had changed: at 5%, with the whole margin as its distance. One that is
shown to differ is planned for at the level that decides it, with its distance from the margin, which is known as far as
the end of its one-sided 80% interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy import stats

from initcheck.checking.gate.comparison import LEVEL_SAME, Comparison, Difference
from initcheck.core.statistics import MOST_ADVISED, adjust_pvalues, count_seeds

_CONFIDENCE: Final = 0.8
_POWER: Final = 0.9


@dataclass(frozen=True)
class SeedPlan:
    """Between how many seeds all that is inconclusive is decided.

    Attributes:
        low: with so many as often as not, if standard deviations are as estimated, and means as favourable as they may.
        high: with so many in nine of ten cases, where neither is; None where a mean then lies at the margin.
        renew: whether the baseline has to be recorded with as many.
        supposes_no_change: whether no metric is shown to differ, so that the plan is to show that nothing does.
    """

    low: int
    high: int | None
    renew: bool
    supposes_no_change: bool


def plan_seeds(comparison: Comparison) -> SeedPlan | None:
    """Plan for what is inconclusive; None where nothing is, or no number of seeds that anybody draws decides it."""
    undecided = comparison.of_verdict("inconclusive")
    if comparison.verdict != "inconclusive" or any(_degrees(each) is None for each in undecided):
        return None
    adjusted = adjust_pvalues([_p_of_no_difference(each) for each in undecided])
    differs = [bool(each <= LEVEL_SAME) for each in adjusted]
    share = 1.0 / len(undecided)
    lows = [
        _plan(each, comparison, differ, 0.5**share, worst=False)
        for each, differ in zip(undecided, differs, strict=True)
    ]
    highs = [
        _plan(each, comparison, differ, 1.0 - (1.0 - _POWER) * share, worst=True)
        for each, differ in zip(undecided, differs, strict=True)
    ]
    low, high = _largest(lows), _largest(highs)
    if low is None:
        return None
    then, now = len(comparison.before.seeds), len(comparison.after.seeds)
    # The baseline's seeds are what they are; to compare seed by seed, both sides need the same.
    alone = [None if comparison.paired or each is None else _count_alone(each, then) for each in (low, high)]
    renew = alone[0] is None or (high is not None and alone[1] is None)
    if not renew:
        low, high = alone[0] or low, alone[1]
    low = max(low, now + 1)
    return SeedPlan(low, None if high is None else max(high, low), renew, not any(differs))


def _degrees(difference: Difference) -> float | None:
    """Find the degrees of freedom of a metric that more seeds decide; None where it has no standard error."""
    shift = difference.shift
    return None if shift is None or not 0.0 < shift.degrees < math.inf else shift.degrees


def _p_of_no_difference(difference: Difference) -> float:
    shift = difference.shift
    assert shift is not None
    return 2.0 * float(stats.t.sf(abs(shift.value) / shift.standard_error, shift.degrees))


def _plan(difference: Difference, comparison: Comparison, differs: bool, power: float, *, worst: bool) -> int | None:
    """Count the seeds a side that decide one metric with some power."""
    shift = difference.shift
    assert shift is not None
    then, now = len(comparison.before.seeds), len(comparison.after.seeds)
    # The standard deviation of one seed, if it is the same then and now: error^2 = sd^2 (1 / then + 1 / now).
    deviation = shift.standard_error / math.sqrt(1.0 / then + 1.0 / now)
    if worst:
        deviation *= math.sqrt(shift.degrees / float(stats.chi2.ppf(1.0 - _CONFIDENCE, shift.degrees)))
    margin = math.log1p(comparison.margin)
    distance, alpha = margin, LEVEL_SAME / comparison.looks
    if differs:
        reach = float(stats.t.ppf(_CONFIDENCE, shift.degrees)) * shift.standard_error
        distance, alpha = abs(abs(shift.value) - margin) + (-reach if worst else reach), difference.alpha
    if comparison.paired:
        # The difference of a pair, where that of two seeds counts twice.
        return count_seeds(math.sqrt(2.0) * deviation, distance, alpha, power)
    return count_seeds(deviation, distance, alpha, power, samples=2)


def _largest(numbers: Sequence[int | None]) -> int | None:
    known = [each for each in numbers if each is not None]
    return max(known) if len(known) == len(numbers) else None


def _count_alone(equal: int, then: int) -> int | None:
    """Count the seeds now that do what so many on both sides do; None where the baseline's are too few for that."""
    left = 2.0 / equal - 1.0 / then
    needed = math.ceil(1.0 / left) if left > 0.0 else MOST_ADVISED + 1
    return needed if needed <= MOST_ADVISED else None
