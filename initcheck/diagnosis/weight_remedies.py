"""Remedies of findings about the weights themselves: seeds that are shared, constant kernels, fans counted wrongly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.findings import Finding, Measured, Remedy
from initcheck.diagnosis.bench import Bench
from initcheck.inference import estimate_mean
from initcheck.keras_runtime import import_keras
from initcheck.probe import RedrawPlan
from initcheck.probe.weight_facts import WeightFacts
from initcheck.random_state import preserved_random_state

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
