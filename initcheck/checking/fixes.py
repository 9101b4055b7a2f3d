"""Try candidate fixes of a finding on redrawn weights; report those that help.

Nothing of the model is changed: a fix is measured by drawing the weights with another initializer, from the same seeds,
in the same graph. Which candidates are tried for a finding is said by its rule
(:class:`initcheck.audit.findings.FixPlan`). The interval of a fix is not adjusted for its having been chosen among
several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.findings import Cause, Finding, Fix, FixPlan, Measured, ModelMeasurement, Rule
from initcheck.audit.problems import is_same_cause
from initcheck.audit.rules import RULES
from initcheck.audit.site_shares import estimate_share
from initcheck.audit.total_change import JudgedPath, judge_paths
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.columns import Direction
from initcheck.core.formatting import Progress
from initcheck.core.statistics import estimate_mean
from initcheck.probe import RedrawPlan
from initcheck.probe.weights import WeightFacts

if TYPE_CHECKING:
    from initcheck.checking.check import CheckSession  # a check tries fixes, and imports this module

MOST_SEEDS: Final = 5
"""Draws that a candidate is measured on, at most."""

_RATE: Final = "factor a layer, in squares"


def add_fixes(
    findings: Sequence[Finding], session: CheckSession, measurement: ModelMeasurement, progress: Progress
) -> Iterator[Finding]:
    """Try to fix each finding, as its rule plans; yield it with the fix if one helped."""
    search = FixSearch(session, measurement, progress)
    solved: list[Cause] = []
    for finding in findings:
        plan = finding.rule.fix_plan
        by_inputs = finding.cause is not None and finding.cause.kind == "inputs"
        # What one cause brings about is gone with it: a change that removed one of its findings is not sought again.
        known = any(is_same_cause(finding.cause, each) for each in solved)
        fix = None if plan is None or by_inputs or known or finding.note else _find_fix(finding, plan, search)
        if fix is not None and fix.solved and finding.cause is not None:
            solved.append(finding.cause)
        yield finding if fix is None else finding.with_fix(fix)


def _find_fix(finding: Finding, plan: FixPlan, search: FixSearch) -> Fix | None:
    if plan.candidates == "initializers":
        return search.find(finding, plan)
    weights = [each for each in search.facts if {each.path, each.layer} & set(finding.named)]
    return _WEIGHT_FIXES[plan.candidates](search.session, finding, weights) if weights else None


# --- other initializers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    """A change of initializers: in words, as code, and by key of the weight."""

    label: str
    code: str
    initializers: Mapping[str, Any]


class FixSearch:
    """Tries other initializers, each once, from the textbook's to a gain fitted to this network."""

    def __init__(self, session: CheckSession, measurement: ModelMeasurement, progress: Progress) -> None:
        self.session = session
        self.facts = measurement.facts
        self._measurement = measurement
        self._progress = progress
        self._seeds = session.seeds[:MOST_SEEDS]
        self._trials: dict[tuple[str, int], ModelMeasurement] = {}
        self._before: dict[str, Sequence[Finding]] = {}

    def find(self, finding: Finding, plan: FixPlan) -> Fix | None:
        """Return the first candidate that removes the finding and brings no worse one; else the one that helps most."""
        before = finding.measured if plan.rate is None else _rate(finding, self._measurement.paths, plan.rate)
        best: Fix | None = None
        if before is None:
            return None
        for candidate in self._candidates(finding):
            # One draw shows which candidates are hopeless; the others are measured on several.
            if self._measure_help(finding, plan, before, candidate, self._seeds[:1]) is None:
                continue
            helped = self._measure_help(finding, plan, before, candidate, self._seeds)
            if helped is None:
                continue
            after, solved = helped
            fix = Fix(candidate.label, candidate.code, before, after, solved)
            if solved:
                return fix
            if best is None or _distance(after) < _distance(best.after):
                best = fix
        return best

    def _measure_help(
        self, finding: Finding, plan: FixPlan, before: Measured, candidate: _Candidate, seeds: Sequence[int]
    ) -> tuple[Measured, bool] | None:
        """Measure a candidate: the value after it and whether the finding is gone; None where it did not help."""
        trial = self._try(candidate, seeds)
        after = self._value_after(finding, plan, before, trial)
        # The finding has to go, and none about the rate along a path may come in its place.
        unwanted = [
            rule
            for rule in RULES.values()
            if rule.code == finding.code or (rule.fix_plan is not None and rule.fix_plan.rate is not None)
        ]
        known = [each for rule in unwanted for each in self._find_before(rule)]
        left = [each for rule in unwanted for each in rule.find(trial) if not each.note]
        # What else was wrong before, in other layers, is not this change's to remove.
        solved = all(not _is_about(each, finding) and any(_is_about(each, other) for other in known) for each in left)
        return None if after is None or not _helps(before, after, solved) else (after, solved)

    def _find_before(self, rule: Rule) -> Sequence[Finding]:
        """Find what a rule finds in the model as it is, once."""
        if rule.code not in self._before:
            self._before[rule.code] = tuple(rule.find(self._measurement))
        return self._before[rule.code]

    def _try(self, candidate: _Candidate, seeds: Sequence[int]) -> ModelMeasurement:
        key = (candidate.label, len(seeds))
        if key not in self._trials:
            self._progress(self.session.steps, self.session.steps, f"trying {candidate.label}")
            table, _ = self.session.measure_with(candidate.initializers, seeds)
            known = self._measurement
            followed = list(dict.fromkeys(judged.path for judged in known.paths))
            paths = judge_paths(table, known.nodes, followed, known.limits)
            self._trials[key] = replace(known, table=table, paths=paths)
        return self._trials[key]

    def _candidates(self, finding: Finding) -> Iterator[_Candidate]:
        kernels = [each for each in self.facts if _is_kernel(each)]
        if len(kernels) > 1:
            kernels = [each for each in kernels if each.layer != self._head()]
        single = [each for each in kernels if each.layer == finding.layer] if len(finding.layers) == 1 else []
        if finding.cause is not None and finding.cause.kind in ("spread", "constant"):
            # Those that did it, the head as well.
            single = [each for each in self.facts if _is_kernel(each) and each.layer in finding.cause.layers]
        for some in [single, kernels] if single else [kernels]:
            for name in ("HeNormal", "LecunNormal", "GlorotUniform"):
                if any(_class_name(each.initializer) != name for each in some):
                    yield _replace(name, {}, some)
            if (gain := self._fitted_scale(some)) is not None:
                settings = {"scale": float(f"{gain:.3g}"), "mode": "fan_in", "distribution": "truncated_normal"}
                yield _replace("VarianceScaling", settings, some)

    def _head(self) -> str:
        positions = self._measurement.paths[0].path.positions if self._measurement.paths else ()
        return self._measurement.nodes[positions[-1]].layer if len(positions) > 1 else ""

    def _fitted_scale(self, kernels: Sequence[WeightFacts]) -> float | None:
        """Compute the scale that would make the forward rate 1, from the rate under LecunNormal, whose scale is 1."""
        trial = self._try(_replace("LecunNormal", {}, kernels), self._seeds[:1])
        rates = [judged.rate[0] for judged in trial.paths if judged.levels.direction == "forward"]
        if not rates or not (1e-6 < rates[0] < 1e6):
            return None
        return 1.0 / rates[0]

    def _value_after(
        self, finding: Finding, plan: FixPlan, before: Measured, trial: ModelMeasurement
    ) -> Measured | None:
        if plan.rate is not None:
            return _rate(finding, trial.paths, plan.rate)
        where = finding.layers[-1] if plan.at_last else finding.layer
        assert plan.share is not None  # other initializers are judged by a rate or by a share
        estimate = estimate_share(plan.share, trial.table, trial.nodes, where)
        if estimate is None:
            return None
        return Measured(before.quantity, estimate.value, estimate.low, estimate.high, before.limit, estimate.count)


def _is_about(one: Finding, other: Finding) -> bool:
    """Find whether two findings are of one rule and about the same layers."""
    return one.code == other.code and bool(set(one.named) & set(other.named))


def _rate(finding: Finding, paths: Sequence[JudgedPath], direction: Direction) -> Measured | None:
    """Give the factor a layer along the path that the finding is about: the first that holds its first layer."""
    for judged in paths:
        if judged.levels.direction == direction and finding.layer in judged.levels.layers:
            return Measured(_RATE, *judged.rate, 1.0, judged.total.count) if judged.steps else None
    return None


def _helps(before: Measured, after: Measured, solved: bool) -> bool:
    """Find whether a change helped: the finding is gone, or what is left of it is half as far from 1 and shown so."""
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
    return _Candidate(f"{shown} in {whom}", code, {each.key: made for each in kernels})


# --- changes of single weights ----------------------------------------------------------------------------------------


def _separate_seeds(session: CheckSession, finding: Finding, facts: Sequence[WeightFacts]) -> Fix | None:  # noqa: ARG001
    """Draw each weight from a seed of its own and compare the first two again."""
    if len(facts) < 2 or any(each.kept for each in facts[:2]):
        return None
    current = {path: np.asarray(v, dtype=np.float64) for path, v in _current(session, facts[:2]).items()}
    drawn = _draw(session.plan, [each.key for each in facts[:2]], session.seeds[0])
    first, second = (each.key for each in facts[:2])
    before, after = _similarity(current[first], current[second]), _similarity(drawn[first], drawn[second])
    if not (after < 0.5 * before):
        return None
    seeded = any(each.seed_given == "integer" for each in facts)
    change = "no seed in the initializers, and keras.utils.set_random_seed for the whole program"
    code = "keras.utils.set_random_seed(0)  # once, before the model is made"
    if not seeded and len({each.instance for each in facts}) < len(facts):
        change = "an initializer instance of its own for each weight"
    elif not seeded:
        change = "keras.utils.set_random_seed once for the whole program, and not again while the model is made"
        code += ", and nowhere in the functions that make its parts"
    names = "\n".join(f"#   {each.path}" for each in facts)
    name = facts[0].initializer or "GlorotUniform"
    written = name if name.endswith(")") else f"{name}()"
    code += f"\n# for each of:\n{names}\n"
    code += f"keras.initializers.{written}  # without seed=, and a new instance each time"
    quantity = "share of the variance in common"
    return Fix(change, code, Measured(quantity, before), Measured(quantity, after, seeds=1), solved=after < 0.5)


def _draw_at_random(session: CheckSession, finding: Finding, facts: Sequence[WeightFacts]) -> Fix | None:  # noqa: ARG001
    """Draw the kernels among the weights by Keras' default and count units that are still alike."""
    kernels = [each for each in facts if len(each.shape) >= 2]
    if not kernels:
        return None
    made = import_keras().initializers.GlorotUniform()
    plan = RedrawPlan(session.model, {**session.initializers, **{each.key: made for each in kernels}})
    keys = [each.key for each in kernels]
    before = _alike([np.asarray(v) for v in _current(session, kernels).values()])
    after = _alike([np.asarray(v) for v in _draw(plan, keys, session.seeds[0]).values()])
    if not (after < before):
        return None
    names = "\n".join(f"#   {each.path}" for each in kernels)
    code = f"# for these weights:\n{names}\nkeras.initializers.GlorotUniform()"
    quantity = "share of units with a twin"
    where = kernels[0].layer if len({each.layer for each in kernels}) == 1 else f"{len(kernels)} weights"
    return Fix(
        f"GlorotUniform in {where}", code, Measured(quantity, before), Measured(quantity, after, seeds=1), after == 0.0
    )


def _correct_fan(session: CheckSession, finding: Finding, facts: Sequence[WeightFacts]) -> Fix | None:
    """Scale each initializer to the variance that the true fan asks for; solved if all variances are right."""
    planned = {each.path: each.initializer for each in session.plan.variables}
    by_path = {each.path: each for each in facts if each.ideal_variance > 0 and each.variance > 0 and not each.kept}
    weights = [by_path[path] for path in finding.layers if path in by_path]
    changes: dict[str, tuple[Any, str]] = {}
    for each in weights:
        old: Any = planned[each.key]
        if all(hasattr(old, name) for name in ("scale", "mode", "distribution")):
            changes[each.path] = _scaled(old, each.ideal_variance / each.variance)
    if not weights or len(changes) < len(weights):
        return None
    plan = RedrawPlan(
        session.model, {**session.initializers, **{by_path[path].key: made for path, (made, _) in changes.items()}}
    )
    before = [_variance_ratio(session.plan, session, each) for each in weights]
    after = [_variance_ratio(plan, session, each) for each in weights]
    if not all(_off(new) < _off(old) for new, old in zip(after, before, strict=True)):
        return None
    first = weights[0].path
    code = "\n".join(f"keras.initializers.{written}  # for {path}" for path, (_, written) in changes.items())
    whom = first if len(weights) == 1 else f"{first}, and likewise {len(weights) - 1} more"
    solved = all(_off(each) < math.log(_limit_of(finding)) for each in after)
    return Fix(f"{changes[first][1]} for {whom}", code, before[0], after[0], solved)


def _limit_of(finding: Finding) -> float:
    """Return the factor from which on the finding is one."""
    assert finding.measured is not None
    return max(finding.measured.limit, 1.0 / finding.measured.limit)


def _scaled(old: Any, ratio: float) -> tuple[Any, str]:
    """Make the initializer with another scale; as an object, and as code."""
    settings = {"scale": float(f"{old.scale * ratio:.4g}"), "mode": old.mode, "distribution": old.distribution}
    written = f"VarianceScaling({', '.join(f'{key}={value!r}' for key, value in settings.items())})"
    return import_keras().initializers.VarianceScaling(**settings), written


def _variance_ratio(plan: RedrawPlan, session: CheckSession, facts: WeightFacts) -> Measured:
    draws = [_draw(plan, [facts.key], seed)[facts.key] for seed in session.seeds[:MOST_SEEDS]]
    # E w^2, not the variance: what the layer's sums have for a variance goes by it.
    estimate = estimate_mean([float(np.mean(np.square(each))) / facts.ideal_variance for each in draws])
    quantity = "variance of the entries over what the true fan asks for"
    return Measured(quantity, estimate.value, estimate.low, estimate.high, 1.0, estimate.count)


def _off(measured: Measured) -> float:
    return abs(math.log(measured.value)) if measured.value > 0 else math.inf


def _current(session: CheckSession, facts: Sequence[WeightFacts]) -> dict[str, Any]:
    values = dict(zip(session.plan.paths, session.model.weights, strict=True))
    return {each.key: import_keras().ops.convert_to_numpy(values[each.key]) for each in facts}


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


_WEIGHT_FIXES: Final[Mapping[str, Callable[[CheckSession, Finding, Sequence[WeightFacts]], Fix | None]]] = {
    "separate seeds": _separate_seeds,
    "random kernels": _draw_at_random,
    "true fans": _correct_fan,
}
