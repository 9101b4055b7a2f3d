"""The result of ``initcheck check`` for the terminal: verdict, coverage, findings, and the layers that matter."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from initcheck.audit.course_findings import count_steps, describe_rate
from initcheck.audit.examination import Examination
from initcheck.audit.findings import Finding, Measured, Remedy
from initcheck.audit.signal import Course
from initcheck.gate.comparison import Comparison
from initcheck.numbers import format_change, format_number, format_share
from initcheck.report.check_layers import LayerRow, layer_rows, rows_that_matter
from initcheck.report.gate_text import write_gate_text

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
