"""The result of ``initcheck check`` for a pull request: a summary in Markdown, and annotations that GitHub shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from initcheck.audit.findings import CheckResult, Finding
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import describe_changes, describe_conditions, format_verdict
from initcheck.checking.report.text import describe_fix, describe_verdict, exit_code_of, format_text
from initcheck.pages.markdown import escape_text

_MOST_CHANGES: Final = 20


def format_summary(result: CheckResult, comparison: Comparison | None = None) -> str:
    """Format the result in Markdown: what failed first, the whole text folded away."""
    failed = _failed(result, comparison)
    lines = [f"### initcheck: {_mark(result, comparison)} {escape_text(result.model)}", ""]
    if comparison is not None:
        lines += [f"**Gate: {escape_text(format_verdict(comparison))}**", ""]
        lines += [*(f"- {escape_text(each)}" for each in _changes(comparison)), ""]
    lines += [f"{escape_text(describe_verdict(result))}", ""]
    for finding in failed:
        lines.append(f"- **{finding.code} {finding.name}**: {escape_text(finding.message)}")
        if finding.fix is not None:
            lines.append(f"  - tried: {escape_text(describe_fix(finding.fix))}")
    # Inside <pre> Markdown is not read, and names may hold anything.
    whole = escape(format_text(result, comparison, full=True), quote=False)
    lines += ["", "<details><summary>All that was measured</summary>", "", f"<pre>{whole}</pre>", "</details>", ""]
    return "\n".join(lines)


def format_annotations(result: CheckResult, comparison: Comparison | None = None, baseline: str = "") -> str:
    """Format a line for each thing that failed, beside the baseline's file or else the model's; a notice if nothing."""
    place = baseline or _file_of(result.model)
    lines = []
    if comparison is not None and comparison.verdict != "same":
        level = "error" if comparison.verdict == "changed" else "warning"
        message = "\n".join([format_verdict(comparison), *_changes(comparison)])
        lines.append(_annotation(level, place, f"initcheck: {comparison.verdict}", message))
    for finding in _failed(result, comparison):
        level = "error" if finding.severity == "wrong" else "warning"
        fix = "" if finding.fix is None else f"\ntried: {describe_fix(finding.fix)}"
        title = f"initcheck: {finding.code} {finding.name}"
        lines.append(_annotation(level, place, title, f"{finding.message}{fix}"))
    if not lines:
        verdict = describe_verdict(result) if comparison is None else f"{result.model}: {format_verdict(comparison)}"
        lines.append(_annotation("notice", place, "initcheck", verdict))
    return "\n".join(lines)


def _changes(comparison: Comparison) -> list[str]:
    return [*describe_conditions(comparison), *describe_changes(comparison, _MOST_CHANGES)]


def _failed(result: CheckResult, comparison: Comparison | None) -> Sequence[Finding]:
    known = frozenset() if comparison is None else frozenset(comparison.before.findings)
    return [each for each in result.findings if (each.code, each.layer) not in known]


def _mark(result: CheckResult, comparison: Comparison | None) -> str:
    return {0: "✅", 1: "❌", 2: "⚠️"}[exit_code_of(result, comparison)]


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
