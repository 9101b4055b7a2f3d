"""Compare two baselines: same, changed or inconclusive.

For each metric, with d the difference of its mean logarithms and m = ln(1 + margin):

- *same* where |d| < m is shown: two one-sided t tests at 5% (Schuirmann 1987). For a whole model to be called the same
  every metric has to be, so the level needs no adjustment (intersection-union test, Berger 1982);
- *changed* where |d| > m is shown: a t test whose p-values are adjusted by Holm's method over all metrics, at 1 in
  10,000 for all of them together. Logarithms of narrow networks are skewed, and at 1 in 1,000 two of 1,000 gates of
  five seeds called an unchanged model changed: the level leaves room for that;
- else *inconclusive*.

A signal may be exactly zero, or not finite, for some seeds and not for others. Where the same seeds were drawn by the
same library, each has to be so again, or something has changed; else the two numbers of seeds without a logarithm are
compared by Fisher's exact test, at the level of *changed*.

Metrics of the same seeds are compared seed by seed: where nothing has changed, the same numbers are drawn, and the
differences are exactly zero. Other seeds are compared by Welch's test.

A weight that is kept because its initializer is not known, or because it was loaded, is one draw that no seed repeats.
Where it holds other values than in the baseline, nothing is decided that it takes part in.

What is not random is compared as it is: which layers and weights there are, and for each weight its initializer, the
fans that Keras counts, its expected variance, shape and dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

import numpy as np
from scipy import stats

from initcheck.audit.rules import RULES
from initcheck.checking.gate.baseline import LIBRARIES, Baseline, Metric, SiteRecord, WeightRecord
from initcheck.core.statistics import Shift, adjust_pvalues, seeds_needed, shift_test

Verdict = Literal["same", "changed", "inconclusive"]

DEFAULT_MARGIN: Final = 0.05
"""Five per cent in amplitude, the margin a layer that the findings allow too (``limits.layer-margin``).

A quarter of the difference between the initializers that are mistaken for each other most often (He over Glorot in
square layers: 41%), and below the 10% that a wrong gain of one layer makes.
"""

LEVEL_SAME: Final = 0.05
LEVEL_CHANGED: Final = 0.0001
_POWER: Final = 0.9

FACTS: Final = {
    "kind": "layer class",
    "role": "role",
    "shape": "shape",
    "dtype": "dtype",
    "trainable": "trainable",
    "initializer": "initializer",
    "mode": "fan mode",
    "fan_in": "fan_in",
    "fan_out": "fan_out",
    "variance": "expected variance",
}
"""What is compared of each weight apart from its metric, in words."""


@dataclass(frozen=True)
class Difference:
    """One metric, then and now.

    Attributes:
        shift: of the mean logarithms; None where a seed has no logarithm.
        means: the two mean logarithms, of the seeds that have one; NaN without any.
        needed: how many seeds would decide; None where that is not the question, or no number would.
        needed_baseline: how many seeds the baseline would have to be recorded with for that; None if it has enough.
    """

    path: str
    kind: str
    quantity: str
    verdict: Verdict
    shift: Shift | None
    states: tuple[str, str]
    means: tuple[float, float]
    p_changed: float
    needed: int | None = None
    needed_baseline: int | None = None

    @property
    def is_weight(self) -> bool:
        """Whether it is about a weight, and not about the signal in a layer call."""
        return self.quantity == "scale"


@dataclass(frozen=True)
class FactChange:
    """A property of a weight that is not random, and has changed; ``fact`` is a key of :data:`FACTS`."""

    path: str
    role: str
    fact: str
    before: object
    after: object


@dataclass(frozen=True)
class StructureChange:
    """A layer call or weight that is there on one side only.

    Attributes:
        before: its path in the baseline; empty where it was added.
        after: its path now; empty where it was removed.
    """

    kind: str
    before: str
    after: str

    @property
    def action(self) -> Literal["added", "removed", "renamed"]:
        """What was done to it."""
        return "added" if not self.before else "removed" if not self.after else "renamed"


@dataclass(frozen=True)
class Comparison:
    """What has changed between two baselines of one model.

    Attributes:
        before: the baseline.
        after: the same of now.
        margin: in amplitude, as a share.
        paired: whether the same seeds were compared one by one.
        differences: one for each metric that is on both sides, weights first, in the order of execution.
        facts: what changed of the weights.
        structure: layers and weights on one side only.
        new_findings: code and layer of the findings that the baseline does not know.
        kept: paths of the weights that no seed draws, and that hold other values than in the baseline.
    """

    before: Baseline
    after: Baseline
    margin: float
    paired: bool
    differences: tuple[Difference, ...]
    facts: tuple[FactChange, ...]
    structure: tuple[StructureChange, ...]
    new_findings: tuple[tuple[str, str], ...]
    kept: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``changed`` if anything is; else ``inconclusive`` if a metric is; else ``same``."""
        verdicts = {each.verdict for each in self.differences}
        if self.facts or self.structure or "changed" in verdicts:
            return "changed"
        return "inconclusive" if "inconclusive" in verdicts else "same"

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

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would decide all that is inconclusive; None if nothing is, or no number would."""
        needed = [each.needed for each in self.of_verdict("inconclusive")]
        return None if not needed or None in needed else max(each for each in needed if each is not None)

    @property
    def baseline_seeds_needed(self) -> int | None:
        """How many seeds the baseline needs for that; None if it has enough."""
        return max((each.needed_baseline or 0 for each in self.of_verdict("inconclusive")), default=0) or None


def compare(before: Baseline, after: Baseline, margin: float = DEFAULT_MARGIN, looks: int = 1) -> Comparison:
    """Compare what was measured now with a baseline.

    Layers and weights are matched by their structural paths, and bear in the comparison the names that they have now.

    Args:
        looks: how often the same gate judges, if it draws more seeds where the first do not decide: each time at that
            part of the levels (Bonferroni).
    """
    names = after.names_by_key()
    before, after = before.named_as(names), after.named_as(names)
    paired = before.seeds == after.seeds
    moved = any(before.versions.get(name) != after.versions.get(name) for name in LIBRARIES)
    setting = _Setting(math.log1p(margin), paired, paired and not moved, not before.redrawn and not after.redrawn)
    tests = [_test(*each, setting) for each in _match_metrics(before, after)]
    adjusted = adjust_pvalues([each.p_changed for each, _ in tests])
    sizes = (len(before.seeds), len(after.seeds))
    kept = _find_moved(before, after)
    decided = (
        _decide(replace(test, p_changed=float(p)), p_same, setting.margin, looks, sizes)
        for (test, p_same), p in zip(tests, adjusted, strict=True)
    )
    return Comparison(
        before=before,
        after=after,
        margin=margin,
        paired=paired,
        differences=tuple(
            replace(each, verdict="inconclusive", needed=None, needed_baseline=None)
            if kept and (not each.is_weight or each.path in kept)
            else each
            for each in decided
        ),
        facts=tuple(_compare_facts(before.weights, after.weights)),
        structure=(
            *_compare_structure(before.weights, after.weights, _signature_of_weight),
            *_compare_structure(before.sites, after.sites, _signature_of_site),
        ),
        new_findings=tuple(each for each in after.findings if each not in before.findings),
        kept=kept,
    )


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


@dataclass(frozen=True)
class _Setting:
    """How two baselines are compared; the margin is that of a logarithm."""

    margin: float
    paired: bool
    alike: bool
    known: bool


def _match_metrics(before: Baseline, after: Baseline) -> Iterator[tuple[str, str, str, Metric, Metric]]:
    for path, weight in after.weights.items():
        if path in before.weights:
            yield path, weight.kind, "scale", before.weights[path].scale, weight.scale
    for path, site in after.sites.items():
        if path not in before.sites:
            continue
        earlier = before.sites[path].metrics
        for quantity in sorted({*earlier, *site.metrics}):
            then = earlier.get(quantity) or Metric.undefined(len(before.seeds))
            now = site.metrics.get(quantity) or Metric.undefined(len(after.seeds))
            yield path, site.kind, quantity, then, now


def _test(
    path: str, kind: str, quantity: str, first: Metric, second: Metric, setting: _Setting
) -> tuple[Difference, float]:
    """Test one metric; return it undecided, with a p-value that is not adjusted, and the p-value of no change."""
    states = (first.state, second.state)
    shift = None
    if states == ("finite", "finite"):
        shift = _test_logs(first.numbers, second.numbers, setting)
        p_changed, p_same = shift.p_beyond, shift.p_within
    else:
        p_changed, p_same = _test_without_logs(first, second, setting)
    means = (first.mean, second.mean)
    return Difference(path, kind, quantity, "inconclusive", shift, states, means, p_changed), p_same


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


def _decide(test: Difference, p_same: float, margin: float, looks: int, sizes: tuple[int, int]) -> Difference:
    if test.p_changed <= LEVEL_CHANGED / looks:
        return replace(test, verdict="changed")
    if p_same <= LEVEL_SAME / looks:
        return replace(test, verdict="same")
    if test.shift is None:
        return test
    needed, needed_baseline = _count_seeds(test.shift, margin, *sizes)
    return replace(test, needed=needed, needed_baseline=needed_baseline)


def _count_seeds(shift: Shift, margin: float, then: int, now: int) -> tuple[int | None, int | None]:
    """Count the seeds that would decide, if mean and standard deviation stay as they are."""
    distance = abs(margin - abs(shift.value))
    error = shift.standard_error
    if math.isnan(error) or distance <= 1e-6 * error:
        return None, None
    # The standard deviation of one seed, if it is the same then and now: error^2 = sd^2 (1 / then + 1 / now).
    deviation = error / math.sqrt(1.0 / then + 1.0 / now)
    equal = seeds_needed(math.sqrt(2.0) * deviation, distance, LEVEL_SAME, _POWER)
    reachable = 2.0 / equal - 1.0 / then
    if reachable > 0.0:
        return max(math.ceil(1.0 / reachable), now + 1), None
    return max(equal, now + 1), equal


def _compare_facts(before: Mapping[str, WeightRecord], after: Mapping[str, WeightRecord]) -> Iterator[FactChange]:
    for path, weight in after.items():
        if path not in before:
            continue
        for fact in FACTS:
            then, now = getattr(before[path], fact), getattr(weight, fact)
            if not _agree(then, now):
                yield FactChange(path, weight.role, fact, then, now)


def _agree(then: object, now: object) -> bool:
    if isinstance(then, float | int) and isinstance(now, float | int):
        return math.isclose(then, now, rel_tol=1e-9)
    return then == now


_Record = TypeVar("_Record", WeightRecord, SiteRecord)


def _compare_structure(
    before: Mapping[str, _Record], after: Mapping[str, _Record], signature: Callable[[_Record], object]
) -> list[StructureChange]:
    """List what is on one side only; a pair that is alike but for the path counts as renamed."""
    removed: list[str] = [path for path in before if path not in after]
    changes: list[StructureChange] = []
    for path, record in after.items():
        if path in before:
            continue
        twin = next((each for each in removed if signature(before[each]) == signature(record)), "")
        if twin:
            removed.remove(twin)
        changes.append(StructureChange(record.kind, twin, path))
    return [*changes, *(StructureChange(before[path].kind, path, "") for path in removed)]


def _signature_of_weight(weight: WeightRecord) -> Sequence[object]:
    return weight.kind, weight.role, weight.shape, weight.initializer, weight.trainable


def _signature_of_site(site: SiteRecord) -> Sequence[object]:
    return site.kind, sorted(site.metrics)


def _size(difference: Difference) -> float:
    return math.inf if difference.shift is None else abs(difference.shift.value)
