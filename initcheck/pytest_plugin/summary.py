"""The summary at the end of a run: the table in the terminal, and the page of the job."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

from initcheck.core.files import relative_path
from initcheck.core.formatting import count
from initcheck.pytest_plugin import ROOT
from initcheck.pytest_plugin.unused import Exemption, find_unneeded, find_unused_baselines

if TYPE_CHECKING:
    import pytest

    from initcheck.checking.check import Report
    from initcheck.checking.gate.comparison import Comparison


_SHORT: Final = 80
"""Characters of a line that pytest's summary shows."""


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes:
        model: the model's name; empty where there is none.
        margin: of the comparison with the baseline; None without one.
        keras: version of Keras; empty where nothing was measured.
        part: which tests of a model without code it belongs to; empty for a test's own.
        known: the findings that the baseline has, with their values now.
        fixed: the findings that it has, and the model has no more, with their values then.
        exemptions: what was to be ignored or waived.
        page: its own page, packed; empty unless the run writes a page, and it failed.
    """

    subject: str
    call: str
    verdict: str
    failed: bool
    model: str = ""
    calls: int = 0
    weights: int = 0
    seeds: int = 0
    same: int = 0
    changed: int = 0
    inconclusive: int = 0
    baseline: str = ""
    margin: float | None = None
    gate: str = ""
    findings: tuple[str, ...] = ()
    keras: str = ""
    message: str = ""
    markdown: str = ""
    part: str = ""
    known: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    page: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Give the record as a dictionary of Python's own types, which any worker process can send."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Record:
        """Read what :meth:`to_plain` gave."""
        texts = {name: tuple(plain[name]) for name in ("findings", "known", "fixed")}
        return cls(**{**plain, **texts, "exemptions": tuple(Exemption(**each) for each in plain["exemptions"])})

    @property
    def test_id(self) -> str:
        """The id of the test that has measured it."""
        return f"{ROOT}::{self.subject}::{self.part}" if self.part else self.subject

    def properties(self) -> list[tuple[str, str]]:
        """List what the JUnit file keeps, as text, each with the id of the test behind its name."""
        pairs = [
            ("model", self.model),
            ("verdict", self.verdict),
            ("margin", "" if self.margin is None else f"{self.margin:g}"),
            ("seeds", str(self.seeds or "")),
            ("findings", "; ".join(self.findings) or ("none" if self.seeds else "")),
            ("known", "; ".join(self.known)),
            ("fixed", "; ".join(self.fixed)),
            ("gate", self.gate),
            ("baseline", self.baseline),
            ("keras", self.keras),
        ]
        return [(f"initcheck_{name} {self.test_id}", text) for name, text in pairs if text]


def summarize_problems(report: Report, trend: str = "") -> str:
    """Write in one short line what is worst, and that it got so, which is all that pytest's summary shows."""
    from initcheck.checking.report.text import describe_verdict, title_problem

    problems = [each for each in report.result.problems if each.level != "note"]
    if not problems:
        return describe_verdict(report.result)
    more = f", and {len(problems) - 1} more" if problems[1:] else ""
    title = f"{trend}{problems[0].codes[0]} {title_problem(problems[0])}"
    return f"{shorten(title, _SHORT - len(more), placeholder=' ...')}{more}"


def describe_report(report: Report) -> dict[str, Any]:
    """Take from a report the fields of a record that every measurement has."""
    from initcheck.checking.gate.report import describe_fixed, describe_known

    result, comparison = report.result, report.comparison
    fields: dict[str, Any] = {
        "model": str(result.model),
        "calls": int(result.coverage.calls),
        "weights": int(result.coverage.weights),
        "seeds": len(result.seeds),
        "findings": tuple(f"{each.code} {each.name} {each.layer}".rstrip() for each in result.findings),
        "keras": str(result.versions.get("keras", "")),
        "baseline": report.baseline,
        "known": (),
        "fixed": (),
    }
    if comparison is not None:
        fields |= {name: len(comparison.of_verdict(name)) for name in ("same", "changed", "inconclusive")}
        fields |= {"margin": float(comparison.margin), "gate": str(comparison.verdict)}
        fields |= {"known": tuple(describe_known(comparison)), "fixed": tuple(describe_fixed(comparison))}
    return fields


def name_verdict(report: Report, comparison: Comparison) -> str:
    """Name the verdict of a gate, which is not the comparison's alone: known findings are not healthy."""
    if comparison.verdict != "same":
        return comparison.verdict
    return "new findings" if report.exit_code else "known" if comparison.known else "same"


VARIABLE: Final = "GITHUB_STEP_SUMMARY"

_LARGEST: Final = 900_000
"""Bytes that are written: GitHub refuses a page of more than 1 MiB."""

HEAD: Final = ("test or model", "verdict", "measured", "seeds", "same", "changed", "inconclusive", "baseline")
_RIGHT: Final = frozenset({"seeds", "same", "changed", "inconclusive"})
_MADE: Final = frozenset({"written", "updated"})


def closing_lines(plain: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write the table of what was measured, what failed last."""
    records = sorted(merge_parts(map(Record.from_plain, plain)), key=lambda each: (each.failed, each.subject))
    rows = [HEAD, *map(list_cells, records)]
    shown = [column for column in range(len(HEAD)) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in shown}
    lines: list[str] = []
    listed: set[tuple[str, str]] = set()
    for record, row in zip([None, *records], rows, strict=True):
        cells = ((row[column], widths[column], HEAD[column] in _RIGHT) for column in shown)
        lines.append("  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in cells))
        # The tests of a model and its baseline are two rows.
        notes = [(record.subject, each) for each in describe_known_findings(record)] if record else []
        lines += [f"  {note}" for subject, note in notes if (subject, note) not in listed]
        listed.update(notes)
    made = [each for each in records if each.verdict in _MADE]
    return [*map(str.rstrip, lines), *(f"{each.verdict} {each.baseline}: commit it" for each in made)]


def describe_known_findings(record: Record) -> list[str]:
    """List the findings that the baseline has: those that are still there, and those that are gone."""
    return [*(f"known: {each}" for each in record.known), *record.fixed]


def describe_unused(
    config: pytest.Config,
    surveys: Sequence[Mapping[str, Any]],
    plain: Iterable[Mapping[str, Any]],
    unfinished: Collection[str],
) -> list[str]:
    """List the baselines that no test compares with, and what is ignored or waived though nothing of it was found."""
    folder = config.invocation_params.dir
    records = [Record.from_plain(each) for each in plain]
    asked = {(folder / each.baseline).resolve() for each in records if each.baseline}
    baselines = find_unused_baselines(surveys, asked, unfinished)
    exemptions = find_unneeded(surveys, (exemption for each in records for exemption in each.exemptions), unfinished)
    return [
        *(f"not used: {relative_path(path, folder)}: no test compares with it, delete it" for path in baselines),
        *(f"not needed: {each}: no finding fits it, leave it out" for each in exemptions),
    ]


def add_suite_properties(config: pytest.Config, plain: Iterable[Mapping[str, Any]]) -> None:
    """Add what was measured to the suite of the JUnit file, where one is written: its published form has no others."""
    from _pytest.junitxml import xml_key  # record_testsuite_property does nothing in the workers of pytest-xdist

    file = config.stash.get(xml_key, None)
    if file is not None:
        for name, text in (each for record in plain for each in Record.from_plain(record).properties()):
            file.add_global_property(name, text)


def append_job_summary(plain: Iterable[Mapping[str, Any]]) -> str:
    """Append the result to the page of a GitHub job, where there is one."""
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
    from initcheck.pages.markdown import escape_text

    blocks: list[str] = []
    left = _LARGEST
    failed = [each for each in records if each.failed]
    for each in failed:
        text = each.markdown
        if not text:
            lines = [f"- {escape_text(line)}\n" for line in each.message.splitlines() if line.strip()]
            text = f"### initcheck: ❌ {escape_text(each.model or each.subject)}\n\n{''.join(lines)}"
        block = f"{text.rstrip()}\n\nTest: {escape_text(each.subject)}\n"
        left -= len(block.encode())
        if left < 0:
            blocks.append(f"{len(failed) - len(blocks)} more failed; the log of the job has them.\n")
            break
        blocks.append(block)
    passed = [each for each in records if not each.failed]
    if passed:
        head = "| " + " | ".join(HEAD) + " |\n|" + " --- |" * len(HEAD) + "\n"
        rows = "".join("| " + " | ".join(map(escape_text, list_cells(each))) + " |\n" for each in passed)
        title = f"initcheck: {count(len(passed), 'measurement')} without a failure"
        notes = "".join(
            f"- {escape_text(f'{each.subject}: {note}')}\n" for each in passed for note in describe_known_findings(each)
        )
        blocks.append(f"<details><summary>{title}</summary>\n\n{head}{rows}\n{notes}</details>\n")
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
    worse = second if _rank(second) > _rank(first) else first
    messages = [each.message for each in (first, second) if each.failed == worse.failed and each.message]
    return replace(
        worse,
        message="\n\n".join(dict.fromkeys(messages)),
        findings=tuple(dict.fromkeys([*first.findings, *second.findings])),
        known=tuple(dict.fromkeys([*first.known, *second.known])),
        fixed=tuple(dict.fromkeys([*first.fixed, *second.fixed])),
    )


def _rank(record: Record) -> tuple[bool, bool, bool]:
    return record.failed, record.verdict == "findings", record.verdict == "known"


def list_cells(record: Record) -> tuple[str, ...]:
    """Write the row of a record, in the columns of ``HEAD``."""
    measured = f"{record.calls} layer calls, {record.weights} weights" if record.seeds else ""
    counts = [str(each) if record.gate else "" for each in (record.same, record.changed, record.inconclusive)]
    named = record.model and record.model != record.subject
    subject = f"{record.subject} ({record.model})" if named else record.subject
    return (subject, record.verdict, measured, str(record.seeds or ""), *counts, record.baseline)
