"""The result of ``initcheck check`` for the terminal: verdict, coverage, findings, and the layers that matter."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from initcheck.audit.examination import Examination
from initcheck.audit.findings import Finding, Measured, Remedy
from initcheck.audit.rules.signal import count_steps, describe_rate
from initcheck.audit.signal import Course
from initcheck.checking.gate.causes import (
    find_condition_changes,
    find_culprit,
    find_version_changes,
    group_weight_changes,
)
from initcheck.checking.gate.comparison import Comparison, Difference
from initcheck.checking.gate.report import gate_line, tell_changes, tell_conditions, write_gate_text
from initcheck.checking.report.layers import LayerRow, layer_rows, rows_that_matter
from initcheck.core.formatting import format_change, format_number, format_share
from initcheck.core.statistics import Estimate

WIDTH: Final = 110
_LARGEST_COUNT: Final = 1e9
_VERDICTS: Final = {
    "healthy": "healthy",
    "findings": "findings",
    "cannot judge": "cannot judge",
}


def write_text(examination: Examination, comparison: Comparison | None = None, *, full: bool = False) -> str:
    """Write the result for reading in a terminal of 110 columns.

    Args:
        examination: the result.
        comparison: what has changed since the baseline; it is told first.
        full: all layers in the table, not only those that matter.
    """
    gate = "" if comparison is None else write_gate_text(comparison, full=full)
    known = frozenset() if comparison is None else frozenset(comparison.before.findings)
    blocks = [
        gate,
        _head(examination),
        *_findings(examination.findings, known),
        _courses(examination),
        _layers(examination, full),
    ]
    if examination.waived:
        names = ", ".join(sorted({f"{each.code} {each.name}" for each in examination.waived}))
        blocks.append(_wrap(f"Left out on request: {names}."))
    return "\n\n".join(block for block in blocks if block)


def verdict_line(examination: Examination) -> str:
    """Write the verdict in one line."""
    count = sum(1 for each in examination.findings if each.severity == "wrong")
    open_points = len(examination.findings) - count
    told = _VERDICTS[examination.verdict]
    if count:
        told = f"{count} finding{'s' if count > 1 else ''}"
    if examination.verdict == "healthy":
        told += ": nothing found" + (" but what was waived or let pass" if examination.waived or open_points else "")
    elif open_points:
        told += f"{' and ' if count else ': '}{open_points} point{'s' if open_points > 1 else ''} not judged"
    return f"{examination.model}: {told}"


def coverage_line(examination: Examination) -> str:
    """Write in one line what was measured, and from how many draws."""
    coverage = examination.coverage
    covered = len(coverage.gaps) - len(coverage.open_gaps)
    told = f"Measured: {coverage.calls} layer calls, {coverage.weights} weights"
    told += f"; {len(coverage.open_gaps)} not" if coverage.open_gaps else "; nothing left out"
    if covered:
        told += f" ({covered} inner part{'s' if covered > 1 else ''} told through others or without numbers)"
    return f"{told}. {_draws(examination)} Batch: {examination.conditions.batch}. Loss: {examination.conditions.loss}."


def _draws(examination: Examination) -> str:
    if examination.redrawn:
        first, last = examination.seeds[0], examination.seeds[-1]
        return f"{len(examination.seeds)} draws of the model's own initializers (seeds {first} to {last})."
    return "The weights as they are: one draw, so there are no intervals over seeds."


def _head(examination: Examination) -> str:
    return "\n".join([verdict_line(examination), *textwrap.wrap(coverage_line(examination), WIDTH)])


def _findings(findings: Sequence[Finding], known: Collection[tuple[str, str]]) -> Iterable[str]:
    for finding in findings:
        mark = " (known)" if (finding.code, finding.layer) in known else ""
        lines = textwrap.wrap(
            f"{finding.code} {finding.name}{mark}: {finding.message}.", WIDTH, subsequent_indent="      "
        )
        if finding.remedy is not None:
            told = f"tried: {describe_remedy(finding.remedy)}"
            lines += textwrap.wrap(told, WIDTH, initial_indent="      ", subsequent_indent="      ")
        yield "\n".join(lines)


def describe_measured(measured: Measured) -> str:
    """Write a figure with its interval and its limit."""
    limit = "" if math.isnan(measured.limit) else f", limit {write_limit(measured)}"
    return f"{measured.quantity}: {write_figure(measured, measured.value)}{write_interval(measured)}{limit}"


def write_figure(measured: Measured, value: float) -> str:
    """Write one number of a figure: a share in per cent, a count exactly, anything else to three digits."""
    if measured.quantity.startswith("share"):
        return format_share(value)
    counted = math.isnan(measured.low) and value.is_integer() and abs(value) < _LARGEST_COUNT
    return f"{value:.0f}" if counted else format_number(value)


def write_interval(measured: Measured) -> str:
    """Write the interval with a space before it; empty where there is none."""
    if math.isnan(measured.low):
        return ""
    return f" [{write_figure(measured, measured.low)}, {write_figure(measured, measured.high)}]"


def write_limit(measured: Measured) -> str:
    """Write the limit, a number that somebody chose: without digits that nobody meant."""
    return format_share(measured.limit) if measured.quantity.startswith("share") else f"{measured.limit:.3g}"


def describe_remedy(remedy: Remedy) -> str:
    """Write what was changed, the figure before and after, and whether the finding is gone."""
    outcome = "the finding is gone" if remedy.solved else "better, but not gone"
    before, after = remedy.before, remedy.after
    change = f"{write_figure(before, before.value)} -> {write_figure(after, after.value)}{write_interval(after)}"
    return f"{remedy.change}: {remedy.before.quantity} {change} ({outcome})"


def _courses(examination: Examination) -> str:
    lines = [_course_line(course) for course in examination.courses if not course.levels.route.inside]
    if not lines:
        return "No layer lies on every path from the inputs to the outputs: propagation has nothing to follow."
    return "\n".join(["Along the trunk (layers that every path passes), in squares:", *lines])


def _course_line(course: Course) -> str:
    word = "forward " if course.levels.direction == "forward" else "backward"
    if course.steps == 0:
        return f"  {word}  too few layers to follow"
    if course.outcome in ("dead", "nonfinite") or not math.isfinite(course.total.value):
        return f"  {word}  {course.outcome}: see the findings"
    verdict = {"within": "within the limit", "undecided": "undecided"}.get(course.outcome, course.outcome)
    return f"  {word}  {format_change(course.total.value)} in {count_steps(course)}, {describe_rate(course)}: {verdict}"


def _layers(examination: Examination, full: bool) -> str:
    rows = layer_rows(examination)
    shown = rows if full else rows_that_matter(rows)
    head = ("layer", "kind", "E z^2", "Var h", "varies", "zero", "E|dL/dz|^2")
    cells = [head, *[_cells(row) for row in shown]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    previous = -1
    for line, row in zip(cells, [None, *shown], strict=True):
        if row is not None and row.order > previous + 1:
            lines.append(f"  ... {row.order - previous - 1} more")
        previous = row.order if row is not None else -1
        text = "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        mark = "! " if row is not None and row.codes else "  "
        lines.append(f"{mark}{text}  {' '.join(row.codes) if row is not None else ''}".rstrip())
    if rows and previous < len(rows) - 1:
        lines.append(f"  ... {len(rows) - 1 - previous} more")
    return "\n".join(lines)


def _cells(row: LayerRow) -> tuple[str, ...]:
    figures = (row.second_moment, row.variance)
    return (
        row.name,
        row.kind,
        *(_figure(each) for each in figures),
        "" if math.isnan(row.varies) else format_share(row.varies),
        "" if math.isnan(row.zero) else format_share(row.zero),
        _figure(row.gradient),
    )


def _figure(value: float) -> str:
    return "" if math.isnan(value) else format_number(value)


def _wrap(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH))


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
        "figures": [_figure_json(each) for each in comparison.differences],
        "new_findings": [{"code": code, "layer": layer or None} for code, layer in comparison.new_findings],
        "seeds_needed": comparison.seeds_needed,
        "baseline_seeds_needed": comparison.baseline_seeds_needed,
    }


def _figure_json(difference: Difference) -> dict[str, Any]:
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


_MOST_TOLD: Final = 20
_SPECIAL: Final = "\\`*_{}[]()<>#+!|~"


def write_summary(examination: Examination, comparison: Comparison | None = None) -> str:
    """Write the result in Markdown: what failed first, the whole text folded away.

    Args:
        examination: the result of the check.
        comparison: what has changed since the baseline; None without one.
    """
    failed = _failed(examination, comparison)
    lines = [f"### initcheck: {_mark(examination, comparison)} {escape_markdown(examination.model)}", ""]
    if comparison is not None:
        lines += [f"**Gate: {escape_markdown(gate_line(comparison))}**", ""]
        told = [*tell_conditions(comparison), *tell_changes(comparison, _MOST_TOLD)]
        lines += [*(f"- {escape_markdown(each)}" for each in told), ""]
    lines += [f"{escape_markdown(verdict_line(examination))}", ""]
    for finding in failed:
        lines.append(f"- **{finding.code} {finding.name}**: {escape_markdown(finding.message)}")
        if finding.remedy is not None:
            lines.append(f"  - tried: {escape_markdown(describe_remedy(finding.remedy))}")
    # Inside <pre> Markdown is not read, and names may hold anything.
    whole = escape(write_text(examination, comparison, full=True), quote=False)
    lines += ["", "<details><summary>All that was measured</summary>", "", f"<pre>{whole}</pre>", "</details>", ""]
    return "\n".join(lines)


def write_annotations(examination: Examination, comparison: Comparison | None = None, baseline: str = "") -> str:
    """Write a line for each thing that failed, which GitHub shows beside the pull request.

    Args:
        examination: the result of the check.
        comparison: what has changed since the baseline; None without one.
        baseline: name of the baseline's file.
    """
    place = baseline or _file_of(examination.model)
    return "\n".join(_annotations(examination, comparison, place))


def escape_markdown(text: str) -> str:
    """Escape what Markdown or HTML would read in a raw text of one line."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in " ".join(text.split())).replace(
        "&", "&amp;"
    )


def _annotations(examination: Examination, comparison: Comparison | None, place: str) -> Iterator[str]:
    count = 0
    if comparison is not None and comparison.verdict != "same":
        level = "error" if comparison.verdict == "changed" else "warning"
        details = [*tell_conditions(comparison), *tell_changes(comparison, _MOST_TOLD)]
        count += 1
        yield _annotation(
            level, place, f"initcheck: {comparison.verdict}", "\n".join([gate_line(comparison), *details])
        )
    for finding in _failed(examination, comparison):
        level = "error" if finding.severity == "wrong" else "warning"
        remedy = "" if finding.remedy is None else f"\ntried: {describe_remedy(finding.remedy)}"
        count += 1
        yield _annotation(level, place, f"initcheck: {finding.code} {finding.name}", f"{finding.message}{remedy}")
    if not count:
        told = verdict_line(examination) if comparison is None else f"{examination.model}: {gate_line(comparison)}"
        yield _annotation("notice", place, "initcheck", told)


def _failed(examination: Examination, comparison: Comparison | None) -> Sequence[Finding]:
    known = frozenset() if comparison is None else frozenset(comparison.before.findings)
    return [each for each in examination.findings if (each.code, each.layer) not in known]


def _mark(examination: Examination, comparison: Comparison | None) -> str:
    code = (
        examination.exit_code
        if comparison is None
        else comparison.exit_code(allow_inconclusive=examination.allow_inconclusive)
    )
    return {0: "✅", 1: "❌", 2: "⚠️"}[code]


def _file_of(model: str) -> str:
    path, colon, _ = model.rpartition(":")
    return path if colon and path.endswith(".py") else ""


def _annotation(level: str, place: str, title: str, message: str) -> str:
    properties = [f"file={_escape_property(place)}"] if place else []
    properties.append(f"title={_escape_property(title)}")
    return f"::{level} {','.join(properties)}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
