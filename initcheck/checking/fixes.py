"""Changes that might mend a finding, each tried on draws of the same model and measured; only what helped is told.

Nothing of the model is changed: a remedy is measured by drawing the weights with another initializer, from the same
seeds, in the same graph. Candidates are ranked from the textbook's initializers to a gain fitted to this network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.findings import Finding, Measured, Remedy
from initcheck.audit.limits import Limits
from initcheck.audit.rules.signal import find_course_findings
from initcheck.audit.rules.sites import find_site_findings, measure_at
from initcheck.audit.signal import Course, judge_courses
from initcheck.audit.site_graph import SignalRoute
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.measurement import Bench
from initcheck.core.columns import Direction
from initcheck.core.progress import Progress
from initcheck.core.statistics import estimate_mean
from initcheck.probe import RedrawPlan
from initcheck.probe.weights import WeightFacts

_DRAWS = 5


def try_weight_remedy(bench: Bench, finding: Finding, facts: Sequence[WeightFacts]) -> Remedy | None:
    """Try to mend a finding about weights.

    Args:
        bench: where the model is measured.
        finding: IC301, IC302 or IC401.
        facts: the weights of the model.

    Returns:
        The remedy, if it was tried and helped.
    """
    named = set(finding.layers or (finding.layer,))
    some = [each for each in facts if each.path in named or each.layer in named]
    if not some:
        return None
    if finding.code == "IC301":
        return _separate_seeds(bench, some)
    return _draw_at_random(bench, some) if finding.code == "IC302" else _correct_fan(bench, finding, some)


def _separate_seeds(bench: Bench, facts: Sequence[WeightFacts]) -> Remedy | None:
    """Draw each weight from a seed of its own and compare the first two again."""
    if len(facts) < 2 or any(each.kept for each in facts[:2]):
        return None
    current = {path: np.asarray(v, dtype=np.float64) for path, v in _current(bench, facts[:2]).items()}
    drawn = _draw(bench.plan, [each.path for each in facts[:2]], bench.seeds[0])
    first, second = (each.path for each in facts[:2])
    before, after = _similarity(current[first], current[second]), _similarity(drawn[first], drawn[second])
    if not (after < 0.5 * before):
        return None
    seeded = any(each.seed_given == "integer" for each in facts)
    change = "no seed in the initializers, and keras.utils.set_random_seed for the whole program"
    if not seeded:
        change = "an initializer instance of its own for each weight"
    names = "\n".join(f"#   {each.path}" for each in facts)
    name = facts[0].initializer or "GlorotUniform"
    written = name if name.endswith(")") else f"{name}()"
    code = f"keras.utils.set_random_seed(0)  # once, before the model is made\n# for each of:\n{names}\n"
    code += f"keras.initializers.{written}  # without seed=, and a new instance each time"
    quantity = "share of the variance in common"
    return Remedy(change, code, Measured(quantity, before), Measured(quantity, after, seeds=1), solved=after < 0.5)


def _draw_at_random(bench: Bench, facts: Sequence[WeightFacts]) -> Remedy | None:
    """Draw the kernels among the weights by Keras' default and count units that are still alike."""
    kernels = [each for each in facts if len(each.shape) >= 2]
    if not kernels:
        return None
    made = import_keras().initializers.GlorotUniform()
    plan = RedrawPlan(bench.model, {**bench.initializers, **{each.path: made for each in kernels}})
    paths = [each.path for each in kernels]
    before = _alike([np.asarray(v) for v in _current(bench, kernels).values()])
    after = _alike([np.asarray(v) for v in _draw(plan, paths, bench.seeds[0]).values()])
    if not (after < before):
        return None
    names = "\n".join(f"#   {path}" for path in paths)
    code = f"# for these weights:\n{names}\nkeras.initializers.GlorotUniform()"
    quantity = "share of units with a twin"
    where = kernels[0].layer if len({each.layer for each in kernels}) == 1 else f"{len(kernels)} weights"
    return Remedy(
        f"GlorotUniform in {where}", code, Measured(quantity, before), Measured(quantity, after, seeds=1), after == 0.0
    )


def _correct_fan(bench: Bench, finding: Finding, facts: Sequence[WeightFacts]) -> Remedy | None:
    """Scale each initializer so that its variance is the one that the true fan asks for, and measure the variances.

    The figures told are those of the first weight of the finding, the worst; it counts as solved if all are.
    """
    planned = {each.path: each.initializer for each in bench.plan.variables}
    by_path = {each.path: each for each in facts if each.ideal_variance > 0 and each.variance > 0 and not each.kept}
    weights = [by_path[path] for path in finding.layers if path in by_path]
    changes: dict[str, tuple[Any, str]] = {}
    for each in weights:
        old: Any = planned[each.path]
        if all(hasattr(old, name) for name in ("scale", "mode", "distribution")):
            changes[each.path] = _scaled(old, each.ideal_variance / each.variance)
    if not weights or len(changes) < len(weights):
        return None
    plan = RedrawPlan(bench.model, {**bench.initializers, **{path: made for path, (made, _) in changes.items()}})
    before = [_variance_ratio(bench.plan, bench, each) for each in weights]
    after = [_variance_ratio(plan, bench, each) for each in weights]
    if not all(_off(new) < _off(old) for new, old in zip(after, before, strict=True)):
        return None
    first = weights[0].path
    code = "\n".join(f"keras.initializers.{written}  # for {path}" for path, (_, written) in changes.items())
    whom = first if len(weights) == 1 else f"{first}, and likewise {len(weights) - 1} more"
    solved = all(_off(each) < math.log(_limit_of(finding)) for each in after)
    return Remedy(f"{changes[first][1]} for {whom}", code, before[0], after[0], solved)


def _limit_of(finding: Finding) -> float:
    """Return the factor from which on the finding is one."""
    assert finding.measured is not None
    return max(finding.measured.limit, 1.0 / finding.measured.limit)


def _scaled(old: Any, ratio: float) -> tuple[Any, str]:
    """Make the initializer with another scale; as an object, and as code."""
    settings = {"scale": float(f"{old.scale * ratio:.4g}"), "mode": old.mode, "distribution": old.distribution}
    written = f"VarianceScaling({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
    return import_keras().initializers.VarianceScaling(**settings), written


def _variance_ratio(plan: RedrawPlan, bench: Bench, facts: WeightFacts) -> Measured:
    draws = [_draw(plan, [facts.path], seed)[facts.path] for seed in bench.seeds[:_DRAWS]]
    # E w^2, not the variance: what the layer's sums have for a variance goes by it.
    estimate = estimate_mean([float(np.mean(np.square(each))) / facts.ideal_variance for each in draws])
    quantity = "variance of the entries over what the true fan asks for"
    return Measured(quantity, estimate.value, estimate.low, estimate.high, 1.0, estimate.count)


def _off(measured: Measured) -> float:
    return abs(math.log(measured.value)) if measured.value > 0 else math.inf


def _current(bench: Bench, facts: Sequence[WeightFacts]) -> dict[str, Any]:
    values = dict(zip(bench.plan.paths, bench.model.weights, strict=True))
    return {each.path: import_keras().ops.convert_to_numpy(values[each.path]) for each in facts}


def _draw(plan: RedrawPlan, paths: Sequence[str], seed: int) -> dict[str, NDArray[np.float64]]:
    """Draw some weights of one replicate, and not the others."""
    ops = import_keras().ops
    states = plan.derive([seed])[0]
    with preserved_random_state():
        drawn = plan.draw_some(ops.convert_to_tensor(states), set(paths))
    return {path: np.asarray(ops.convert_to_numpy(value), dtype=np.float64) for path, value in drawn.items()}


def _similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Square the correlation of the entries that two weights have in common, in order."""
    count = min(first.size, second.size)
    a, b = first.ravel()[:count], second.ravel()[:count]
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(a, b)[0, 1] ** 2) if count > 2 else math.nan


def _alike(values: Sequence[NDArray[Any]]) -> float:
    """Count the share of units (last axis) whose incoming weights another unit of the same weight has too."""
    units = twins = 0
    for value in values:
        columns = value.reshape(-1, value.shape[-1]).T
        _, counts = np.unique(columns, axis=0, return_counts=True)
        units += len(columns)
        twins += int(counts[counts > 1].sum())
    return twins / units if units else math.nan


PROPAGATION_CODES: Final = ("IC101", "IC102", "IC201", "IC202", "IC103", "IC303", "IC304", "IC501")
MOST_SEEDS: Final = 5
"""Draws that a candidate is measured on, at most."""

_DIRECTIONS: Final[Mapping[str, Direction]] = {
    "IC101": "forward",
    "IC102": "forward",
    "IC201": "backward",
    "IC202": "backward",
}
_RATE: Final = "factor a step, in squares"


@dataclass(frozen=True)
class _Candidate:
    """A change of initializers: in words, as code, and by path of the weight."""

    label: str
    code: str
    initializers: Mapping[str, Any]


@dataclass(frozen=True)
class _Trial:
    """What was found with a candidate in place."""

    table: pd.DataFrame
    courses: Sequence[Course]
    findings: Sequence[Finding]


def try_remedies(
    bench: Bench,
    findings: Sequence[Finding],
    courses: Sequence[Course],
    routes: Sequence[SignalRoute],
    facts: Sequence[WeightFacts],
    limits: Limits,
    tell: Progress,
) -> Iterator[Finding]:
    """Try to mend each finding; yield it with its remedy if one helped.

    Args:
        bench: where the model is measured.
        findings: the findings.
        courses: the judgements that they were made from.
        routes: the routes of the model.
        facts: its weights.
        limits: the limits.
        tell: the progress display.
    """
    clinic = _Clinic(bench, routes, facts, limits, tell)
    for finding in findings:
        remedy = None
        if finding.code in PROPAGATION_CODES:
            remedy = clinic.treat(finding, courses)
        elif finding.code in ("IC301", "IC302", "IC401"):
            remedy = try_weight_remedy(bench, finding, facts)
        yield finding if remedy is None else finding.with_remedy(remedy)


class _Clinic:
    """Tries candidates, each once."""

    def __init__(
        self,
        bench: Bench,
        routes: Sequence[SignalRoute],
        facts: Sequence[WeightFacts],
        limits: Limits,
        tell: Progress,
    ) -> None:
        self._bench = bench
        self._routes = routes
        self._facts = facts
        self._limits = limits
        self._tell = tell
        self._seeds = bench.seeds[:MOST_SEEDS]
        self._trials: dict[tuple[str, int], _Trial] = {}

    def treat(self, finding: Finding, courses: Sequence[Course]) -> Remedy | None:
        """Return the first candidate that removes the finding and brings no worse one; else the one that helps most."""
        before = self._figure_before(finding, courses)
        best: Remedy | None = None
        if before is None:
            return None
        for candidate in self._candidates(finding):
            # One draw tells which candidates are hopeless; those that are not are measured on several.
            if self._measure_help(finding, before, candidate, self._seeds[:1]) is None:
                continue
            helped = self._measure_help(finding, before, candidate, self._seeds)
            if helped is None:
                continue
            after, solved = helped
            remedy = Remedy(candidate.label, candidate.code, before, after, solved)
            if solved:
                return remedy
            if best is None or _distance(after) < _distance(best.after):
                best = remedy
        return best

    def _measure_help(
        self, finding: Finding, before: Measured, candidate: _Candidate, seeds: Sequence[int]
    ) -> tuple[Measured, bool] | None:
        """Measure a candidate: the figure after it and whether the finding is gone; None where it did not help."""
        trial = self._try(candidate, seeds)
        after = self._figure_after(finding, before, trial)
        codes = {each.code for each in trial.findings}
        solved = finding.code not in codes and not codes & set(PROPAGATION_CODES[:4])
        return None if after is None or not _helps(before, after, solved) else (after, solved)

    def _try(self, candidate: _Candidate, seeds: Sequence[int]) -> _Trial:
        key = (candidate.label, len(seeds))
        if key not in self._trials:
            self._tell(self._bench.steps, self._bench.steps, f"trying {candidate.label}")
            table, _ = self._bench.measure_with(candidate.initializers, seeds)
            nodes = self._bench.nodes()
            courses = judge_courses(table, nodes, self._routes, self._limits)
            findings = [
                *find_course_findings(courses, self._limits),
                *find_site_findings(table, nodes, self._routes, self._limits),
            ]
            self._trials[key] = _Trial(table, courses, findings)
        return self._trials[key]

    def _candidates(self, finding: Finding) -> Iterator[_Candidate]:
        kernels = [each for each in self._facts if _is_kernel(each)]
        if len(kernels) > 1:
            kernels = [each for each in kernels if each.layer != self._head()]
        single = [each for each in kernels if each.layer == finding.layer] if len(finding.layers) == 1 else []
        everything = [kernels] if not single else [single, kernels]
        for some in everything:
            for name in ("HeNormal", "LecunNormal", "GlorotUniform"):
                if any(_class_name(each.initializer) != name for each in some):
                    yield _replace(name, {}, some)
            if (gain := self._fitted_scale(some)) is not None:
                settings = {"scale": float(f"{gain:.3g}"), "mode": "fan_in", "distribution": "truncated_normal"}
                yield _replace("VarianceScaling", settings, some)

    def _head(self) -> str:
        positions = self._routes[0].positions if self._routes else ()
        return self._bench.probe.sites[positions[-1]].layer if len(positions) > 1 else ""

    def _fitted_scale(self, kernels: Sequence[WeightFacts]) -> float | None:
        """Compute the scale that would make the forward rate 1, from the rate under LecunNormal, whose scale is 1."""
        trial = self._try(_replace("LecunNormal", {}, kernels), self._seeds[:1])
        rates = [course.rate[0] for course in trial.courses if course.levels.direction == "forward"]
        if not rates or not (1e-6 < rates[0] < 1e6):
            return None
        return 1.0 / rates[0]

    def _figure_before(self, finding: Finding, courses: Sequence[Course]) -> Measured | None:
        """Take the figure that is told before and after: the rate of the finding's route, or the finding's own."""
        direction = _DIRECTIONS.get(finding.code)
        return finding.measured if direction is None else _rate(finding, courses, direction)

    def _figure_after(self, finding: Finding, before: Measured, trial: _Trial) -> Measured | None:
        direction = _DIRECTIONS.get(finding.code)
        if direction is not None:
            return _rate(finding, trial.courses, direction)
        where = finding.layers[-1] if finding.code == "IC103" else finding.layer
        estimate = measure_at(finding.code, trial.table, self._bench.nodes(), where)
        if estimate is None:
            return None
        return Measured(before.quantity, estimate.value, estimate.low, estimate.high, before.limit, estimate.count)


def _rate(finding: Finding, courses: Sequence[Course], direction: Direction) -> Measured | None:
    course = _course_of(finding, courses, direction)
    if course is None or not course.steps:
        return None
    return Measured(_RATE, *course.rate, 1.0, course.total.count)


def _course_of(finding: Finding, courses: Sequence[Course], direction: Direction) -> Course | None:
    """Find the judgement of the route that the finding is about: the first that holds its first layer."""
    for course in courses:
        if course.levels.direction == direction and finding.layer in course.levels.layers:
            return course
    return None


def _helps(before: Measured, after: Measured, solved: bool) -> bool:
    """Tell whether a change helped: the finding is gone, or what is left of it is half as far from 1 and shown so."""
    if before.quantity != _RATE:
        return solved
    if not math.isfinite(_distance(before)):
        return math.isfinite(_distance(after))
    return solved or _distance(after) < 0.5 * _distance(before)


def _distance(measured: Measured) -> float:
    """Measure how far a factor is from 1, in nats, at the worse end of its interval."""
    ends = [each for each in (measured.value, measured.low, measured.high) if not math.isnan(each)]
    if not ends or any(each <= 0.0 for each in ends):
        return math.inf
    return float(np.abs(np.log(ends)).max())


def _is_kernel(facts: WeightFacts) -> bool:
    return facts.trainable and facts.role.endswith("kernel") and len(facts.shape) >= 2


def _class_name(initializer: str) -> str:
    return initializer.partition("(")[0]


def _replace(name: str, settings: Mapping[str, Any], kernels: Sequence[WeightFacts]) -> _Candidate:
    made = getattr(import_keras().initializers, name)(**settings)
    written = f"{name}({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
    shown = name if not settings else written
    layers = list(dict.fromkeys(each.layer for each in kernels))
    whom = layers[0] if len(layers) == 1 else f"{len(layers)} layers"
    names = "\n".join(f"#   {layer}" for layer in layers)
    code = f"# in these layers:\n{names}\nkernel_initializer=keras.initializers.{written}"
    return _Candidate(f"{shown} in {whom}", code, {each.path: made for each in kernels})
