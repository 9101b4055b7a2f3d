"""Compare two baselines: same, changed or inconclusive.

For each metric, with d the difference of its mean logarithms and m = ln(1 + margin):

- *same* where |d| < m is shown: two one-sided t tests at 5% (Schuirmann 1987), which is to say that the 90% interval of
  d lies within the margin. For a whole model to be called the same every metric has to be, so the level needs no
  adjustment (intersection-union test, Berger 1982);
- *changed* where |d| > m is shown: a t test whose p-values are adjusted by Holm's method over all metrics, at 1 in
  10,000 for all of them together. Logarithms of narrow networks are skewed, and at 1 in 1,000 two of 1,000 gates of
  five seeds called an unchanged model changed: the level leaves room for that;
- else *inconclusive*.

The interval of a metric is the one that its verdict rests on: that of 90%, or where the difference lies beyond the
margin, the interval at the level at which Holm's method judges it.

A signal may be exactly zero, or not finite, for some seeds and not for others. Where the same seeds were drawn by the
same library, each has to be so again, or something has changed; else the two numbers of seeds without a logarithm are
compared by Fisher's exact test, at the level of *changed*.

Metrics of the same seeds are compared seed by seed: where nothing has changed, the same numbers are drawn, and the
differences are exactly zero. Other seeds are compared by Welch's test.

A weight that is kept because its initializer is not known, or because it was loaded, is one draw that no seed repeats.
Where it holds other values than in the baseline, its entries are compared as independent draws, by the standard errors
of their two root mean squares; what the signal makes of it is one number against another, and not compared.

The change along each path is a further metric, the sum of many: it can be called changed, by the same test, and nothing
rests on its being the same, since the layers are.

What is not random is compared as it is (:mod:`initcheck.checking.gate.structure`). A finding is known where the
baseline has one of the same code at a common layer, or on the same path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy import stats

from initcheck.audit.rules import RULES
from initcheck.checking.gate.baseline import LIBRARIES, Baseline, FindingRecord, Metric
from initcheck.checking.gate.structure import (
    FactChange,
    LayerChange,
    Matching,
    StructureChange,
    compare_weights,
    layer_of_call,
)
from initcheck.core.statistics import Shift, adjust_pvalues, shift_test

Verdict = Literal["same", "changed", "inconclusive"]

DEFAULT_MARGIN: Final = 0.05
"""Five per cent in amplitude, the margin a layer that the findings allow too (``limits.layer-margin``).

A quarter of the difference between the initializers that are mistaken for each other most often (He over Glorot in
square layers: 41%), and below the 10% that a wrong gain of one layer makes.
"""

LEVEL_SAME: Final = 0.05
LEVEL_CHANGED: Final = 0.0001


@dataclass(frozen=True)
class Difference:
    """One metric, then and now.

    Attributes:
        shift: of the mean logarithms; None where a seed has no logarithm.
        interval: of the shift, the one that the verdict rests on; NaN where there is none.
        means: the two mean logarithms, of the seeds that have one; NaN without any.
        alpha: the probability that the interval leaves out on either side.
        limit: of a change along a path, what its logarithm may be in size; NaN for all other metrics.
        trend: whether the change along a path has moved away from its limit, or towards it and beyond; empty where that
            is not shown. Where other facts show that the model changed, it rests on the 95% interval.
    """

    path: str
    kind: str
    quantity: str
    verdict: Verdict
    shift: Shift | None
    states: tuple[str, str]
    means: tuple[float, float]
    p_changed: float
    interval: tuple[float, float] = (math.nan, math.nan)
    alpha: float = math.nan
    limit: float = math.nan
    trend: Literal["better", "worse", ""] = ""

    @property
    def is_weight(self) -> bool:
        """Whether it is about a weight, and not about the signal in a layer call."""
        return self.quantity == "scale"


@dataclass(frozen=True)
class Comparison:
    """What has changed between two baselines of one model.

    Attributes:
        before: the baseline.
        after: the same of now.
        margin: in amplitude, as a share.
        paired: whether the same seeds were compared one by one.
        differences: one for each metric that is on both sides, weights first, in the order of execution.
        totals: likewise for the change along each path.
        facts: what changed of the weights.
        layers: what changed of the layers.
        hints: what changed of the user's own code and of what its layers hold.
        structure: layers and weights that were added, removed or renamed.
        known: code and first layer of the findings that the baseline has.
        new_findings: likewise of those that it has not.
        unconfirmed: likewise of those that other seeds than the baseline's may have brought about.
        gone_findings: findings of the baseline that there are no more.
        worse_findings: findings that are shown to be further from their limit: then and now.
        kept: paths of the weights that no seed draws, and that hold other values than in the baseline.
        not_compared: how many metrics rest on these, and one draw says nothing of them.
        alike: whether the same seeds were drawn by the same library: chance changes nothing then.
        looks: how often the same gate judges.
    """

    before: Baseline
    after: Baseline
    margin: float
    paired: bool
    differences: tuple[Difference, ...]
    totals: tuple[Difference, ...] = ()
    facts: tuple[FactChange, ...] = ()
    layers: tuple[LayerChange, ...] = ()
    hints: tuple[LayerChange, ...] = ()
    structure: tuple[StructureChange, ...] = ()
    known: frozenset[tuple[str, str]] = frozenset()
    new_findings: tuple[tuple[str, str], ...] = ()
    unconfirmed: tuple[tuple[str, str], ...] = ()
    gone_findings: tuple[FindingRecord, ...] = ()
    worse_findings: tuple[tuple[FindingRecord, FindingRecord], ...] = ()
    kept: tuple[str, ...] = ()
    not_compared: int = 0
    alike: bool = False
    looks: int = 1

    @property
    def verdict(self) -> Verdict:
        """``changed`` if anything is; else ``inconclusive`` if a metric is; else ``same``."""
        verdicts = {each.verdict for each in self.differences}
        if self.facts or self.structure or self.layers or self.worse_findings or "changed" in verdicts:
            return "changed"
        if any(each.verdict == "changed" for each in self.totals):
            return "changed"
        if "inconclusive" not in verdicts:
            return "same"
        # The user's own code is another one, chance has changed nothing, and the effect is not shown to be small.
        return "changed" if self.hints and self.alike else "inconclusive"

    def exit_code(self, *, allow_inconclusive: bool = False) -> int:
        """What a command exits with: 1 for a change or a new finding, 2 for what is not decided, else 0."""
        new = [RULES[code] for code, _ in self.new_findings]
        if self.verdict == "changed" or any(rule.severity == "wrong" for rule in new):
            return 1
        undecided = self.verdict == "inconclusive" and not allow_inconclusive
        return 2 if undecided or any(not (allow_inconclusive and rule.inconclusive) for rule in new) else 0

    def of_verdict(self, verdict: Verdict) -> tuple[Difference, ...]:
        """List the metrics with one verdict: weights first, then the largest changes."""
        found = [each for each in self.differences if each.verdict == verdict]
        return tuple(sorted(found, key=lambda each: (not each.is_weight, -_size(each))))


def compare(before: Baseline, after: Baseline, margin: float = DEFAULT_MARGIN, looks: int = 1) -> Comparison:
    """Compare what was measured now with a baseline.

    Layers and weights are matched by their structural paths, and bear in the comparison the names that they have now.

    Args:
        looks: how often the same gate judges, if it draws more seeds where the first do not decide: each time at that
            part of the levels (Bonferroni).
    """
    matching = Matching(before, after)
    paired = before.seeds == after.seeds
    moved = any(before.versions.get(name) != after.versions.get(name) for name in LIBRARIES)
    setting = _Setting(
        math.log1p(margin), looks, paired, paired and not moved, not before.redrawn and not after.redrawn
    )
    kept = _find_moved(before, after)
    rests = _find_dependent(matching, kept)
    found = [each for each in _match_metrics(matching) if each[:2] not in rests]
    tests = [_test(*each, setting, matching) for each in (*found, *_match_totals(before, after, skip=bool(kept)))]
    judged = _judge(tests, setting)
    # Of a kept weight with few entries no number of seeds decides.
    open_ones = {
        place
        for place, each in enumerate(judged)
        if each.is_weight and each.path in kept and each.verdict == "inconclusive"
    }
    naming = _Naming(before, after)
    structure = tuple(matching.list_structure())
    layers = tuple(matching.list_changes())
    facts = tuple(compare_weights(matching))
    known, new, gone, worse = _compare_findings(matching, setting)
    worse = [] if kept else worse  # one draw of the weights that are kept says nothing of them
    differences = tuple(
        replace(each, path=naming.now(each.path))
        for place, each in enumerate(judged[: len(found)])
        if place not in open_ones
    )
    totals = tuple(replace(each, path=naming.path(each.path)) for each in judged[len(found) :])
    changed = bool(facts or structure or layers or any(each.verdict == "changed" for each in (*differences, *totals)))
    if changed:
        totals = tuple(_find_trend(each, setting.margin) for each in totals)
    # Other draws of an unchanged model may bring a finding about, or not, where it lies at its limit.
    certain = changed or (setting.alike and not kept)
    listed = tuple((each.code, naming.now(each.layers[0])) for each in new)
    return Comparison(
        before=before,
        after=after,
        margin=margin,
        paired=paired,
        differences=differences,
        totals=totals,
        facts=tuple(replace(each, path=naming.now(each.path)) for each in facts),
        layers=tuple(replace(each, path=naming.now(each.path)) for each in layers),
        hints=tuple(replace(each, path=naming.now(each.path)) for each in matching.list_hints()),
        structure=tuple(
            replace(each, before=naming.then(each.before), after=naming.now(each.after)) for each in structure
        ),
        known=frozenset((each.code, naming.now(each.layers[0])) for each in known),
        new_findings=listed if certain else tuple(each for each in listed if not _is_random(each[0])),
        unconfirmed=() if certain else tuple(each for each in listed if _is_random(each[0])),
        gone_findings=tuple(naming.name_finding(each) for each in gone) if certain else (),
        worse_findings=tuple((naming.name_finding(then), naming.name_finding(now)) for then, now in worse),
        kept=tuple(map(naming.now, kept)),
        not_compared=len(rests) + len(open_ones),
        alike=setting.alike,
        looks=looks,
    )


def _find_trend(total: Difference, margin: float) -> Difference:
    """Say whether the change along a path is for the better, where it is shown to be one."""
    interval, shift = total.interval, total.shift
    if total.verdict != "changed":
        if shift is None or not (shift.low > margin or shift.high < -margin):
            return total
        interval = (shift.low, shift.high)
    then, now = (
        math.inf if state != "finite" else abs(mean) for state, mean in zip(total.states, total.means, strict=True)
    )
    return replace(total, interval=interval, trend="" if then == now else "worse" if now > then else "better")


class _Naming:
    """The names of layers, weights and calls for people, by their structural paths."""

    def __init__(self, before: Baseline, after: Baseline) -> None:
        self._now = after.names_by_key()
        self._then = dict(self._now)
        taken = set(self._now.values())
        for key, name in before.names_by_key().items():
            if key not in self._then:
                # Another layer may bear the name now that one had when it was recorded.
                self._then[key] = f"{name} (as recorded)" if name in taken else name
                taken.add(self._then[key])

    def now(self, key: str) -> str:
        """Name something by its path now."""
        return self._name(key, self._now)

    def then(self, key: str) -> str:
        """Name something by its path in the baseline, with the name now where it is still there."""
        return self._name(key, self._then)

    def path(self, ends: str) -> str:
        """Name a path by its ends."""
        return " -> ".join(map(self.now, ends.split(" -> ")))

    def name_finding(self, finding: FindingRecord) -> FindingRecord:
        """Name the layers of a finding."""
        return replace(finding, layers=tuple(map(self.then, finding.layers)))

    @staticmethod
    def _name(key: str, names: Mapping[str, str]) -> str:
        if key in names:
            return names[key]
        layer = layer_of_call(key)
        return f"{names.get(layer, layer)}{key.removeprefix(layer)}"


@dataclass(frozen=True)
class _Setting:
    """How two baselines are compared.

    Attributes:
        margin: that of a logarithm.
        paired: whether the same seeds were drawn.
        alike: whether the same library drew them.
        known: whether all weights were measured as they are.
    """

    margin: float
    looks: int
    paired: bool
    alike: bool
    known: bool


_Found = tuple[str, str, str, Metric, Metric, float]
"""Path, quantity, kind, the metric then and now, and the limit."""


def _find_moved(before: Baseline, after: Baseline) -> tuple[str, ...]:
    """Find the weights that are kept on both sides, with other values, where the other weights are drawn."""
    if not (before.redrawn and after.redrawn):
        return ()
    return tuple(
        path
        for path, weight in after.weights.items()
        if path in before.weights
        and not weight.initializer
        and not before.weights[path].initializer
        and weight.scale.logs[:1] != before.weights[path].scale.logs[:1]
    )


def _find_dependent(matching: Matching, kept: Sequence[str]) -> frozenset[tuple[str, str]]:
    """List the metrics of the signal that rest on weights of other values: behind them forward, and all backward."""
    if not kept:
        return frozenset()
    owners = {path.rpartition("/")[0] for path in kept}
    behind: set[str] = set()
    for key in matching.after.calls:
        layer = layer_of_call(key)
        inside = any(
            layer == owner or layer.startswith(f"{owner}/") or owner.startswith(f"{layer}/") for owner in owners
        )
        if inside or not behind.isdisjoint(matching.after.sites[key].inputs):
            behind.add(key)
    return frozenset(
        (key, quantity)
        for key, site in matching.after.sites.items()
        if key in matching.before.sites
        for quantity in site.metrics
        if quantity == "backward" or key in behind
    )


def _match_metrics(matching: Matching) -> Iterator[_Found]:
    before, after = matching.before, matching.after
    for path, weight in after.weights.items():
        if path in before.weights and matching.is_same(path):
            yield path, "scale", weight.kind, before.weights[path].scale, weight.scale, math.nan
    for path, site in after.sites.items():
        if path not in before.sites or not matching.is_same(path):
            continue
        earlier = before.sites[path].metrics
        for quantity in sorted({*earlier, *site.metrics}):
            then = earlier.get(quantity) or Metric.undefined(len(before.seeds))
            now = site.metrics.get(quantity) or Metric.undefined(len(after.seeds))
            yield path, quantity, site.kind, then, now, math.nan


def _match_totals(before: Baseline, after: Baseline, *, skip: bool) -> Iterator[_Found]:
    for path, now in after.paths.items():
        then = before.paths.get(path)
        if then is None or skip:
            continue
        for direction in sorted(now.metrics.keys() & then.metrics.keys()):
            sides = then.metrics[direction], now.metrics[direction]
            yield path, f"total {direction}", "path", *sides, now.limits[direction]


def _test(
    path: str,
    quantity: str,
    kind: str,
    first: Metric,
    second: Metric,
    limit: float,
    setting: _Setting,
    matching: Matching,
) -> tuple[Difference, float]:
    """Test one metric; return it undecided, with a p-value that is not adjusted, and the p-value of no change."""
    states = (first.state, second.state)
    shift = None
    errors = _find_errors(path, matching) if quantity == "scale" else None
    if errors is not None:
        shift = _compare_entries(second.numbers[0] - first.numbers[0], math.hypot(*errors), setting.margin)
        p_changed, p_same = shift.p_beyond, shift.p_within
    elif states == ("finite", "finite"):
        shift = _test_logs(first.numbers, second.numbers, setting)
        p_changed, p_same = shift.p_beyond, shift.p_within
    else:
        p_changed, p_same = _test_without_logs(first, second, setting)
    means = (first.mean, second.mean)
    return Difference(path, kind, quantity, "inconclusive", shift, states, means, p_changed, limit=limit), p_same


def _find_errors(path: str, matching: Matching) -> tuple[float, float] | None:
    """Find the two standard errors of a kept weight that holds other values; None for any other weight."""
    then, now = matching.before.weights[path], matching.after.weights[path]
    if then.error is None or now.error is None or then.scale.logs[:1] == now.scale.logs[:1]:
        return None
    return (then.error, now.error) if then.scale.state == now.scale.state == "finite" else None


def _compare_entries(value: float, error: float, margin: float) -> Shift:
    """Compare two root mean squares of many independent entries each: their logarithms are as good as normal."""
    if error == 0.0:
        return Shift(value, value, value, 0.0, float(abs(value) >= margin), float(abs(value) <= margin))
    size = abs(value)
    within = float(stats.norm.sf((margin - size) / error))
    beyond = float(stats.norm.sf((size - margin) / error) + stats.norm.sf((size + margin) / error))
    half_width = float(stats.norm.ppf(0.975)) * error
    return Shift(value, value - half_width, value + half_width, error, within, min(beyond, 1.0), math.inf)


def _test_logs(first: Sequence[float], second: Sequence[float], setting: _Setting) -> Shift:
    shift = shift_test(first, second, setting.margin, paired=setting.paired)
    if setting.known and len(first) == len(second) == 1:
        beyond = float(abs(shift.value) > setting.margin)
        return Shift(shift.value, math.nan, math.nan, 0.0, beyond, 1.0 - beyond)
    return shift


def _test_without_logs(first: Metric, second: Metric, setting: _Setting) -> tuple[float, float]:
    """Give the p-values of a change and of none where seeds have no logarithm; 0 and 1 where it is certain."""
    if setting.alike:
        if first.words != second.words:
            return 0.0, 1.0
        pairs = zip(first.numbers, second.numbers, strict=True)
        return 1.0, float(any(abs(now - then) >= setting.margin for then, now in pairs))
    without = [sum(map(bool, each.words)) for each in (first, second)]
    counts = np.asarray(
        [[number, len(each.logs) - number] for number, each in zip(without, (first, second), strict=True)]
    )
    same = not first.numbers and first.state == second.state
    return float(stats.fisher_exact(counts).pvalue), float(not same)


# --- verdicts and intervals -------------------------------------------------------------------------------------------


def _judge(tests: Sequence[tuple[Difference, float]], setting: _Setting) -> list[Difference]:
    """Judge all metrics together: Holm's method, and the intervals at the levels that it takes."""
    level = LEVEL_CHANGED / setting.looks
    raw = np.asarray([test.p_changed for test, _ in tests], dtype=np.float64)
    adjusted = adjust_pvalues(raw)
    rejected = int((adjusted <= level).sum())
    ranks = np.argsort(np.argsort(np.where(np.isnan(raw), 2.0, raw), kind="stable"), kind="stable")
    judged = []
    for (test, p_same), p, rank in zip(tests, adjusted, ranks, strict=True):
        # The i-th smallest p-value is judged at the level over the number of those that are left.
        own_level = level / (len(tests) - min(int(rank), rejected, len(tests) - 1))
        verdict: Verdict = (
            "changed" if p <= level else "same" if p_same <= LEVEL_SAME / setting.looks else "inconclusive"
        )
        shift = test.shift
        beyond = shift is not None and abs(shift.value) > setting.margin
        alpha = own_level if beyond else LEVEL_SAME / setting.looks
        judged.append(
            replace(
                test,
                verdict=verdict,
                p_changed=float(p),
                interval=(math.nan, math.nan) if shift is None else shift.interval(alpha),
                alpha=alpha,
            )
        )
    return judged


# --- findings ---------------------------------------------------------------------------------------------------------


def _compare_findings(
    matching: Matching, setting: _Setting
) -> tuple[list[FindingRecord], list[FindingRecord], list[FindingRecord], list[tuple[FindingRecord, FindingRecord]]]:
    """Tell known findings from new ones, and list those that are gone, and those that got worse."""
    known, new, worse = [], [], []
    matched: set[int] = set()
    places = [frozenset(matching.find_now(each) for each in then.layers) for then in matching.before.findings]
    for now in matching.after.findings:
        twins = [
            place
            for place, then in enumerate(matching.before.findings)
            if then.code == now.code and (places[place] & set(now.layers) or "" in then.layers)
        ]
        if not twins:
            new.append(now)
            continue
        known.append(now)
        matched.update(twins)
        then = matching.before.findings[twins[0]]
        if _is_worse(then, now, setting, len(matching.after.findings)):
            worse.append((then, now))
    dropped = {*matching.after.set_aside}
    gone = [
        then
        for place, then in enumerate(matching.before.findings)
        if place not in matched and not any(code == then.code and layer in places[place] for code, layer in dropped)
    ]
    return known, new, gone, worse


def _is_worse(then: FindingRecord, now: FindingRecord, setting: _Setting, count: int) -> bool:
    """Find whether a value is shown to lie further from its limit than it did, by more than the margin of a square."""
    values = (then.value, now.value, now.limit)
    if then.quantity != now.quantity or any(each is None or not each > 0.0 for each in values):
        return False
    first, second, limit = (math.log(each) for each in values if each is not None)
    further = abs(second - limit) - abs(first - limit)
    if (first - limit) * (second - limit) < 0.0 or not further > 2.0 * setting.margin:
        return False
    errors = [_error_of(each) for each in (then, now)]
    if None in errors:
        return setting.alike
    error = math.hypot(*(each for each in errors if each is not None))
    if error == 0.0:
        return True
    degrees = max(1, min(then.seeds, now.seeds) - 1)
    return float(stats.t.sf((further - 2.0 * setting.margin) / error, degrees)) <= LEVEL_CHANGED / count


def _error_of(finding: FindingRecord) -> float | None:
    """Read the standard error of a value's logarithm off its 95% interval; None without one."""
    if finding.low is None or finding.high is None or not finding.low > 0.0 or finding.seeds < 2:
        return None
    return (math.log(finding.high) - math.log(finding.low)) / 2.0 / float(stats.t.ppf(0.975, finding.seeds - 1))


def _is_random(code: str) -> bool:
    """Find whether a finding rests on what was drawn, and not on what draws."""
    return not RULES[code].compares_weights


def _size(difference: Difference) -> float:
    return math.inf if difference.shift is None else abs(difference.shift.value)
