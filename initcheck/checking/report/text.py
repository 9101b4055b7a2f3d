"""The result of ``initcheck check`` for the terminal: verdict, coverage, findings, and the layers that matter."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from initcheck.audit.findings import CheckResult, Finding, Fix, Measured
from initcheck.audit.rules.signal import describe_rate
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import format_gate
from initcheck.checking.report.layers import LayerRow, layer_rows, rows_that_matter
from initcheck.core.formatting import count, format_change, format_number, format_share, wrap

_LARGEST_COUNT: Final = 1e9
_INDENT: Final = "      "


def format_text(result: CheckResult, comparison: Comparison | None = None, *, full: bool = False) -> str:
    """Format the result for a terminal, what has changed since the baseline first; ``full`` shows all layers."""
    known = frozenset() if comparison is None else frozenset(comparison.before.findings)
    blocks = [
        "" if comparison is None else format_gate(comparison, full=full),
        "\n".join([describe_verdict(result), *wrap(describe_coverage(result))]),
        *_format_findings(result.findings, known),
        _format_paths(result),
        _format_layers(result, full),
    ]
    if result.waived:
        names = ", ".join(sorted({f"{each.code} {each.name}" for each in result.waived}))
        blocks.append("\n".join(wrap(f"Left out on request: {names}.")))
    return "\n\n".join(block for block in blocks if block)


def exit_code_of(result: CheckResult, comparison: Comparison | None) -> int:
    """Give what a command exits with: the verdict's code, or the comparison's where there is a baseline."""
    if comparison is None:
        return result.exit_code
    return comparison.exit_code(allow_inconclusive=result.allow_inconclusive)


def describe_verdict(result: CheckResult) -> str:
    """Write the verdict in one line."""
    wrong = sum(1 for each in result.findings if each.severity == "wrong")
    unjudged = len(result.findings) - wrong
    verdict = count(wrong, "finding") if wrong else str(result.verdict)
    if result.verdict == "healthy":
        verdict += ": nothing found" + (" but what was waived or let pass" if result.waived or unjudged else "")
    elif unjudged:
        verdict += f"{' and ' if wrong else ': '}{count(unjudged, 'point')} not judged"
    return f"{result.model}: {verdict}"


def describe_coverage(result: CheckResult) -> str:
    """Write in one line what was measured, and from how many draws."""
    coverage = result.coverage
    covered = len(coverage.gaps) - len(coverage.open_gaps)
    measured = f"Measured: {coverage.calls} layer calls, {coverage.weights} weights"
    measured += f"; {len(coverage.open_gaps)} not" if coverage.open_gaps else "; nothing left out"
    if covered:
        measured += f" ({count(covered, 'inner part')} measured through others or without numbers)"
    if result.redrawn:
        first, last = result.seeds[0], result.seeds[-1]
        draws = f"{len(result.seeds)} draws of the model's own initializers (seeds {first} to {last})."
    else:
        draws = "The weights as they are: one draw, so there are no intervals over seeds."
    return f"{measured}. {draws} Batch: {result.conditions.batch}. Loss: {result.conditions.loss}."


def describe_measured(measured: Measured) -> str:
    """Write a value with its interval and its limit."""
    limit = "" if math.isnan(measured.limit) else f", limit {format_limit(measured)}"
    return f"{measured.quantity}: {format_value(measured, measured.value)}{format_interval(measured)}{limit}"


def format_value(measured: Measured, value: float) -> str:
    """Format one number of a measured quantity: a share in per cent, a count exactly, anything else to three digits."""
    if measured.quantity.startswith("share"):
        return format_share(value)
    counted = math.isnan(measured.low) and float(value).is_integer() and abs(value) < _LARGEST_COUNT
    return f"{value:.0f}" if counted else format_number(value)


def format_interval(measured: Measured) -> str:
    """Format the interval with a space before it; empty where there is none."""
    if math.isnan(measured.low):
        return ""
    return f" [{format_value(measured, measured.low)}, {format_value(measured, measured.high)}]"


def format_limit(measured: Measured) -> str:
    """Format the limit, a number that somebody chose: without digits that nobody meant."""
    return format_share(measured.limit) if measured.quantity.startswith("share") else f"{measured.limit:.3g}"


def describe_fix(fix: Fix) -> str:
    """Write what was changed, the value before and after, and whether the finding is gone."""
    outcome = "the finding is gone" if fix.solved else "better, but not gone"
    before, after = fix.before, fix.after
    change = f"{format_value(before, before.value)} -> {format_value(after, after.value)}{format_interval(after)}"
    return f"{fix.change}: {before.quantity} {change} ({outcome})"


def _format_findings(findings: Sequence[Finding], known: Collection[tuple[str, str]]) -> Iterator[str]:
    for finding in findings:
        mark = " (known)" if (finding.code, finding.layer) in known else ""
        message = f"{finding.code} {finding.name}{mark}: {finding.message}."
        lines = wrap(message, hanging=_INDENT)
        if finding.fix is not None:
            lines += wrap(f"tried: {describe_fix(finding.fix)}", _INDENT)
        yield "\n".join(lines)


def _format_paths(result: CheckResult) -> str:
    lines = [_format_path(judged) for judged in result.paths if judged.path.is_main]
    if not lines:
        return "No layer lies on every path from the inputs to the outputs: propagation has nothing to follow."
    return "\n".join(["Along the main path (layers that every path passes), in squares:", *lines])


def _format_path(judged: JudgedPath) -> str:
    word = "forward " if judged.levels.direction == "forward" else "backward"
    if judged.steps == 0:
        return f"  {word}  too few layers to follow"
    if judged.outcome in ("dead", "nonfinite") or not math.isfinite(judged.total.value):
        return f"  {word}  {judged.outcome}: see the findings"
    verdict = {"within": "within the limit", "undecided": "undecided"}.get(judged.outcome, judged.outcome)
    change = f"{format_change(judged.total.value)} in {count(judged.steps, 'layer')}, {describe_rate(judged)}"
    return f"  {word}  {change}: {verdict}"


def _format_layers(result: CheckResult, full: bool) -> str:
    rows = layer_rows(result)
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
    return (
        row.name,
        row.kind,
        format_number(row.second_moment, missing=""),
        format_number(row.variance, missing=""),
        format_share(row.varies, missing=""),
        format_share(row.zero, missing=""),
        format_number(row.gradient, missing=""),
    )
