"""The result of ``initcheck check`` as one JSON object; ``check_schema.json`` describes its fields."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any, Final

from initcheck.audit.findings import CheckResult, Edit, Finding, Fix
from initcheck.audit.proofs import LossCurves, Proof
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.causes import find_causes, find_condition_changes, find_origin, find_version_changes
from initcheck.checking.gate.comparison import Comparison, Difference
from initcheck.checking.gate.seed_plan import plan_seeds
from initcheck.checking.report.text import exit_code_of, find_place, layer_rows
from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import exponential, to_plain
from initcheck.core.statistics import Estimate

SCHEMA_VERSION: Final = 3
"""Raised when a field is removed or changes its meaning; fields may be added without."""

_NO_FACTOR: Final = {"value": math.nan, "low": math.nan, "high": math.nan}


def format_json(result: CheckResult, comparison: Comparison | None = None) -> str:
    """Format the result, and what has changed since the baseline, as one JSON object that ends in a line break."""
    # ASCII alone: a model's name may hold what a terminal, or UTF-8, does not know.
    return json.dumps(to_plain(_collect(result, comparison)), indent=2, allow_nan=False) + "\n"


def _collect(result: CheckResult, comparison: Comparison | None) -> dict[str, Any]:
    coverage = result.coverage
    return {
        "schema_version": SCHEMA_VERSION,
        "model": result.model,
        "verdict": result.verdict,
        "exit_code": exit_code_of(result, comparison),
        "seeds": result.seeds,
        "redrawn": result.redrawn,
        "data": result.conditions.batch,
        "loss": result.conditions.loss,
        "allow_inconclusive": result.allow_inconclusive,
        "fail_on": result.fail_on,
        "seconds": result.seconds,
        "versions": dict(result.versions),
        "limits": dataclasses.asdict(result.limits),
        "coverage": {
            "layer_calls": coverage.calls,
            "weights": coverage.weights,
            "unmeasured": len(coverage.open_gaps),
            "loaded": list(result.loaded),
            "not_finite": list(result.not_finite),
            "judged_paths": len(result.paths) // len(DIRECTIONS),
            "gaps": [{**dataclasses.asdict(gap), "covered_by": gap.covered_by or None} for gap in coverage.gaps],
        },
        "problems": _problems(result),
        "proofs": [_proof(each) for each in result.proofs],
        "fix_command": result.fix_command or None,
        "findings": [_finding(result, each) for each in result.findings],
        "waived": [_finding(result, each) for each in result.waived],
        "paths": [_path(result, each) for each in result.paths],
        "gate": None if comparison is None else _gate(comparison),
        "layers": [dataclasses.asdict(row) for row in layer_rows(result)],
    }


def _problems(result: CheckResult) -> list[dict[str, Any]]:
    indexes = {id(finding): index for index, finding in enumerate(result.findings)}
    return [
        {
            "title": problem.title,
            "level": problem.level,
            "place": _place(find_place(result, problem)),
            "layers": list(dict.fromkeys(each for each in problem.layers if each)),
            "codes": problem.codes,
            "cause": problem.cause,
            "findings": [indexes[id(finding)] for finding in problem.findings],
            "fix": _fix(problem.fix),
            "tried": problem.tried,
        }
        for problem in result.problems
    ]


def _proof(proof: Proof) -> dict[str, Any]:
    finite = proof.is_finite
    return {
        "problems": proof.problems,
        "fix": proof.change or None,
        "steps": proof.steps,
        "steps_asked": proof.asked,
        "seeds": proof.seeds,
        "optimizer": proof.optimizer,
        "task": proof.task,
        "seconds": proof.seconds,
        "outcome": proof.outcome,
        "scale": "plain" if proof.floor is None else "logarithm",
        "before": proof.before if finite else None,
        "after": _ends(proof.after) if finite else None,
        "as_it_is": _losses(proof.as_it_is),
        "with_fix": None if proof.fixed is None else _losses(proof.fixed),
    }


def _losses(curves: LossCurves) -> dict[str, Any]:
    return {"losses": curves.losses.tolist(), "not_finite_from": curves.not_finite_from}


def _place(place: str) -> dict[str, Any] | None:
    file, _, line = place.rpartition(":")
    return {"file": file, "line": int(line)} if file else None


def _fix(fix: Fix | None) -> dict[str, Any] | None:
    if fix is None:
        return None
    return {
        "change": fix.change,
        "edits": [_edit(each) for each in fix.edits],
        "before": fix.before,
        "after": fix.after,
        "cures": fix.cures,
        "left": fix.left,
        "draws": fix.draws,
    }


def _edit(edit: Edit) -> dict[str, Any]:
    return {
        "layer": edit.layer,
        "argument": edit.argument or None,
        "old": edit.old or None,
        "new": edit.new,
        "place": None if edit.site is None else _place(str(edit.site)),
        "others": edit.others,
    }


def _finding(result: CheckResult, finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "layer": finding.layer or None,
        "layers": finding.layers,
        "place": _place(find_place(result, finding)),
        "message": finding.message,
        "measured": finding.measured,
        "cause": finding.cause,
        "fix": _fix(finding.fix),
    }


def _path(result: CheckResult, judged: JudgedPath) -> dict[str, Any]:
    levels, path = judged.levels, judged.path
    step = None
    if judged.step is not None and judged.step_change is not None:
        before, after = judged.step
        step = {"before": before, "after": after, **_changes(judged.step_change)}
    return {
        "direction": levels.direction,
        "is_main": path.is_main,
        "from": path.inside[0] if path.inside else "inputs",
        "to": path.inside[1] if path.inside else "outputs",
        "layers": levels.layers,
        "counted": levels.counted.tolist(),
        "small_end_is_chosen": path.small_end_is_chosen,
        "stands_for": [result.nodes[position].layer for position in path.stands_for],
        "outcome": judged.outcome,
        "steps": judged.steps,
        "seeds": judged.total.count,
        "factor_per_step": dict(zip(_NO_FACTOR, judged.rate, strict=True)) if judged.steps else _NO_FACTOR,
        "factor_in_all": _exponentials(judged.total),
        "log_change_in_all": _ends(judged.total),
        "limit": exponential(judged.limit),
        "log_limit": judged.limit,
        "log_allowance": judged.allowance,
        "beyond": judged.beyond,
        "doers": [levels.layers[place] for place in judged.doers],
        "worst_step": step,
        "seeds_needed": None if judged.seeds_needed is None else dataclasses.asdict(judged.seeds_needed),
    }


def _gate(comparison: Comparison) -> dict[str, Any]:
    return {
        "verdict": comparison.verdict,
        "origin": find_origin(comparison),
        "margin": comparison.margin,
        "paired": comparison.paired,
        "versions": [dataclasses.asdict(each) for each in find_version_changes(comparison)],
        "conditions": [dataclasses.asdict(each) for each in find_condition_changes(comparison)],
        "causes": [dataclasses.asdict(each) for each in find_causes(comparison)],
        "weights": [dataclasses.asdict(each) for each in comparison.facts],
        "layers": [dataclasses.asdict(each) for each in comparison.layers],
        "structure": [{"change": each.action, **dataclasses.asdict(each)} for each in comparison.structure],
        "figures": [_difference(each) for each in comparison.differences],
        "totals": [_difference(each) for each in comparison.totals],
        "new_findings": _pairs(comparison.new_findings),
        "known_findings": _pairs(sorted(comparison.known)),
        "unconfirmed_findings": _pairs(comparison.unconfirmed),
        "gone_findings": [dataclasses.asdict(each) for each in comparison.gone_findings],
        "worse_findings": [
            {"before": dataclasses.asdict(then), "after": dataclasses.asdict(now)}
            for then, now in comparison.worse_findings
        ],
        "kept": comparison.kept,
        "not_compared": comparison.not_compared,
        "seeds_needed": plan_seeds(comparison),
    }


def _pairs(findings: Iterable[tuple[str, str]]) -> list[dict[str, str | None]]:
    return [{"code": code, "layer": layer or None} for code, layer in findings]


def _difference(difference: Difference) -> dict[str, Any]:
    shift = difference.shift
    return {
        "path": difference.path,
        "quantity": difference.quantity,
        "verdict": difference.verdict,
        "factor": None
        if shift is None
        else dict(zip(_NO_FACTOR, map(exponential, (shift.value, *difference.interval)), strict=True)),
        "trend": difference.trend or None,
        "p_within": None if shift is None else shift.p_within,
        "p_changed": difference.p_changed,
        "states": list(difference.states),
    }


def _changes(change: Estimate) -> dict[str, Any]:
    return {"factor": _exponentials(change), "log_change": _ends(change)}


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _exponentials(estimate: Estimate) -> dict[str, float]:
    return {name: exponential(value) for name, value in _ends(estimate).items()}
