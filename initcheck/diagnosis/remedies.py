"""Changes that might mend a finding, each tried on draws of the same model and measured; only what helped is told.

Nothing of the model is changed: a remedy is measured by drawing the weights with another initializer, from the same
seeds, in the same graph. Candidates are ranked from the textbook's initializers to a gain fitted to this network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from initcheck.audit.course_findings import find_course_findings
from initcheck.audit.findings import Finding, Measured, Remedy
from initcheck.audit.limits import Limits
from initcheck.audit.signal import Course, Direction, judge_courses
from initcheck.audit.site_findings import find_site_findings, measure_at
from initcheck.audit.site_graph import SignalRoute
from initcheck.diagnosis.bench import Bench
from initcheck.diagnosis.weight_remedies import try_weight_remedy
from initcheck.keras_runtime import import_keras
from initcheck.probe.weight_facts import WeightFacts

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
    tell: Callable[[int, int, str], None],
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
        tell: Callable[[int, int, str], None],
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
