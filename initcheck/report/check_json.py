"""The result of ``initcheck check`` as JSON, by the schema of ``check_schema.json`` beside this file.

Numbers: an infinite one is the text ``"inf"`` or ``"-inf"``, and what has no value is null, as in ``initcheck predict
--json``. Factors of a whole route are given as such and as natural logarithms, because a factor may leave the range of
floats where its logarithm does not. Names and messages are raw text.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Final

from initcheck.audit.examination import Examination
from initcheck.audit.findings import Finding
from initcheck.audit.signal import Course
from initcheck.gate.causes import (
    find_condition_changes,
    find_culprit,
    find_version_changes,
    group_weight_changes,
)
from initcheck.gate.comparison import Comparison, Difference
from initcheck.inference import Estimate
from initcheck.report.check_layers import layer_rows

SCHEMA_VERSION: Final = 1
"""Raised when a field is removed or changes its meaning; fields may be added without."""

_NO_FACTOR: Final = {"value": math.nan, "low": math.nan, "high": math.nan}


def write_check_json(examination: Examination, comparison: Comparison | None = None) -> str:
    """Write the result as one JSON object, which ends in a line break.

    Args:
        examination: the result.
        comparison: what has changed since the baseline; None without one.

    Returns:
        The text. It is strict JSON: no NaN, no Infinity.
    """
    return json.dumps(_plain(_collect(examination, comparison)), indent=2, allow_nan=False) + "\n"


def read_check_schema() -> dict[str, Any]:
    """Read the JSON Schema (draft 2020-12) of what :func:`write_check_json` writes."""
    path = Path(__file__).with_name("check_schema.json")
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def _collect(examination: Examination, comparison: Comparison | None) -> dict[str, Any]:
    coverage = examination.coverage
    return {
        "schema_version": SCHEMA_VERSION,
        "model": examination.model,
        "verdict": examination.verdict,
        "exit_code": examination.exit_code if comparison is None else _gate_exit_code(examination, comparison),
        "seeds": examination.seeds,
        "redrawn": examination.redrawn,
        "data": examination.conditions.batch,
        "loss": examination.conditions.loss,
        "allow_inconclusive": examination.allow_inconclusive,
        "seconds": examination.seconds,
        "versions": dict(examination.versions),
        "limits": dataclasses.asdict(examination.limits),
        "coverage": {
            "layer_calls": coverage.calls,
            "weights": coverage.weights,
            "unmeasured": len(coverage.open_gaps),
            "gaps": [{**dataclasses.asdict(gap), "covered_by": gap.covered_by or None} for gap in coverage.gaps],
        },
        "findings": [_finding(each) for each in examination.findings],
        "waived": [_finding(each) for each in examination.waived],
        "courses": [_course(each) for each in examination.courses],
        "gate": None if comparison is None else _gate(comparison),
        "layers": [dataclasses.asdict(row) for row in layer_rows(examination)],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    fields = dataclasses.asdict(finding)
    head = {"code": finding.code, "name": finding.name, "severity": finding.severity}
    return {**head, **fields, "layer": finding.layer or None}


def _course(course: Course) -> dict[str, Any]:
    levels = course.levels
    step = None
    if course.step is not None and course.step_change is not None:
        before, after = course.step
        step = {"before": before, "after": after, **_changes(course.step_change)}
    return {
        "direction": levels.direction,
        "inside": levels.route.inside or None,
        "layers": levels.layers,
        "outcome": course.outcome,
        "steps": course.steps,
        "seeds": course.total.count,
        "factor_per_step": dict(zip(_NO_FACTOR, course.rate, strict=True)) if course.steps else _NO_FACTOR,
        "factor_in_all": _exponentials(course.total),
        "log_change_in_all": _ends(course.total),
        "limit": _exp(course.limit),
        "log_limit": course.limit,
        "log_allowance": course.allowance,
        "beyond": course.beyond,
        "worst_step": step,
        "seeds_needed": course.seeds_needed,
    }


def _gate_exit_code(examination: Examination, comparison: Comparison) -> int:
    return comparison.exit_code(allow_inconclusive=examination.allow_inconclusive)


def _gate(comparison: Comparison) -> dict[str, Any]:
    return {
        "verdict": comparison.verdict,
        "culprit": find_culprit(comparison),
        "margin": comparison.margin,
        "paired": comparison.paired,
        "versions": [dataclasses.asdict(each) for each in find_version_changes(comparison)],
        "conditions": [dataclasses.asdict(each) for each in find_condition_changes(comparison)],
        "weights": [dataclasses.asdict(each) for each in group_weight_changes(comparison)],
        "structure": [{"change": each.word, **dataclasses.asdict(each)} for each in comparison.structure],
        "figures": [_figure(each) for each in comparison.differences],
        "new_findings": [{"code": code, "layer": layer or None} for code, layer in comparison.new_findings],
        "seeds_needed": comparison.seeds_needed,
        "baseline_seeds_needed": comparison.baseline_seeds_needed,
    }


def _figure(difference: Difference) -> dict[str, Any]:
    shift = difference.shift
    return {
        "path": difference.path,
        "quantity": difference.quantity,
        "verdict": difference.verdict,
        "factor": None if shift is None else {name: _exp(getattr(shift, name)) for name in _NO_FACTOR},
        "p_within": None if shift is None else shift.p_within,
        "p_changed": difference.p_changed,
        "states": list(difference.states),
    }


def _changes(change: Estimate) -> dict[str, Any]:
    return {"factor": _exponentials(change), "log_change": _ends(change)}


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _exponentials(estimate: Estimate) -> dict[str, float]:
    return {name: _exp(value) for name, value in _ends(estimate).items()}


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _plain(value: Any) -> Any:
    """Turn tuples into lists, and numbers that JSON does not know into text or null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0.0 else "-inf")
    return value
