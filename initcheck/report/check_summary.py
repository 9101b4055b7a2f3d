"""The result for a pull request: Markdown for its page, and annotations in the form that GitHub reads.

References:
    GitHub, "Workflow commands for GitHub Actions": the escapes of ``::error`` and its properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from initcheck.audit.examination import Examination
from initcheck.audit.findings import Finding
from initcheck.gate.comparison import Comparison
from initcheck.report.check_text import describe_remedy, verdict_line, write_text
from initcheck.report.gate_text import gate_line, tell_changes, tell_conditions

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
