"""What is told at the end of a run: the table in the terminal, and the page of the job."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from initcheck.pytest_plugin.records import Record

VARIABLE: Final = "GITHUB_STEP_SUMMARY"

_LARGEST: Final = 900_000
"""Bytes that are written: GitHub refuses a page of more than 1 MiB."""

_HEAD: Final = ("test or model", "verdict", "measured", "seeds", "same", "changed", "inconclusive", "baseline")
_RIGHT: Final = frozenset({"seeds", "same", "changed", "inconclusive"})
_MADE: Final = frozenset({"written", "updated"})


def closing_lines(plain: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write the table of what was measured, what failed last.

    Args:
        plain: the records, as they travelled.

    Returns:
        The lines.
    """
    records = sorted(merge_parts(map(Record.from_plain, plain)), key=lambda each: (each.failed, each.subject))
    rows = [_HEAD, *map(_cells, records)]
    shown = [column for column in range(len(_HEAD)) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in shown}
    lines = [
        "  ".join(
            row[column].rjust(widths[column]) if _HEAD[column] in _RIGHT else row[column].ljust(widths[column])
            for column in shown
        ).rstrip()
        for row in rows
    ]
    made = [each for each in records if each.verdict in _MADE]
    return [*lines, *(f"{each.verdict} {each.baseline}: commit it" for each in made)]


def append_job_summary(plain: Iterable[Mapping[str, Any]]) -> str:
    """Append the result to the page of a GitHub job, where there is one.

    Args:
        plain: the records, as they travelled.

    Returns:
        A warning where it cannot be written, else nothing.
    """
    path = os.environ.get(VARIABLE, "")
    if not path:
        return ""
    text = write_job_summary(merge_parts(map(Record.from_plain, plain)))
    try:
        with Path(path).open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        return f"initcheck: the summary was not written to {path!r}: {error.strerror or error}. Check {VARIABLE}."
    return ""


def write_job_summary(records: Sequence[Record]) -> str:
    """Write the result in Markdown: each failure in full, then all others in one table that is folded away."""
    from initcheck.report.check_summary import escape_markdown

    blocks: list[str] = []
    left = _LARGEST
    failed = [each for each in records if each.failed]
    for each in failed:
        told = each.markdown
        if not told:
            lines = [f"- {escape_markdown(line)}\n" for line in each.message.splitlines() if line.strip()]
            told = f"### initcheck: ❌ {escape_markdown(each.model or each.subject)}\n\n{''.join(lines)}"
        block = f"{told.rstrip()}\n\nTest: {escape_markdown(each.subject)}\n"
        left -= len(block.encode())
        if left < 0:
            blocks.append(f"{len(failed) - len(blocks)} more failed; the log of the job has them.\n")
            break
        blocks.append(block)
    passed = [each for each in records if not each.failed]
    if passed:
        head = "| " + " | ".join(_HEAD) + " |\n|" + " --- |" * len(_HEAD) + "\n"
        rows = "".join("| " + " | ".join(map(escape_markdown, _cells(each))) + " |\n" for each in passed)
        word = "measurement" if len(passed) == 1 else "measurements"
        title = f"initcheck: {len(passed)} {word} without a failure"
        blocks.append(f"<details><summary>{title}</summary>\n\n{head}{rows}\n</details>\n")
    return "\n".join([*blocks, ""])


def merge_parts(records: Iterable[Record]) -> list[Record]:
    """Make one record of the tests that share the measurement of a model, whichever process ran them."""
    merged: dict[tuple[str, str], Record] = {}
    single: list[Record] = []
    for record in records:
        if not record.part:
            single.append(record)
            continue
        key = record.subject, record.call if record.call == "gate" else ""
        merged[key] = _merge(merged[key], record) if key in merged else record
    return [*single, *merged.values()]


def _merge(first: Record, second: Record) -> Record:
    """Keep the worse of two, with the findings of both."""
    worse = (
        second if (second.failed, second.verdict == "findings") > (first.failed, first.verdict == "findings") else first
    )
    return replace(worse, findings=tuple(dict.fromkeys([*first.findings, *second.findings])))


def _cells(record: Record) -> tuple[str, ...]:
    measured = f"{record.calls} layer calls, {record.weights} weights" if record.seeds else ""
    counts = [str(each) if record.gate else "" for each in (record.same, record.changed, record.inconclusive)]
    named = record.model and record.model != record.subject
    subject = f"{record.subject} ({record.model})" if named else record.subject
    return (subject, record.verdict, measured, str(record.seeds or ""), *counts, record.baseline)
