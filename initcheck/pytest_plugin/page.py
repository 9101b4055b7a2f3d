"""The page of ``--initcheck-report``: a table of all that was measured in a run of pytest, and each result in full."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from initcheck.core.files import publish_files
from initcheck.core.formatting import count
from initcheck.pages import svg
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Details,
    Document,
    Figure,
    Paragraph,
    Section,
    Table,
    prose,
    strong,
    table_row,
)
from initcheck.pages.html import render_html
from initcheck.pytest_plugin.summary import HEAD, Record, describe_known_findings, list_cells, merge_parts

if TYPE_CHECKING:
    from initcheck.checking.check import Report

FILE: Final = "index.html"

_MOST_ROWS: Final = 12


def pack_page(report: Report) -> str:
    """Write the page of a report as text, which the report of a test takes to the process that reports."""
    from initcheck.checking.report.document import build_check_document

    return base64.b64encode(pickle.dumps(build_check_document(report.result, report.comparison))).decode()


def write_page(folder: Path, plain: Iterable[Mapping[str, Any]], closing: Sequence[str]) -> None:
    """Write the page of a run into a folder, complete or not at all.

    Args:
        closing: what no test needed.
    """
    publish_files(folder, {FILE: render_html(build_run_document(plain, closing))})


def build_run_document(plain: Iterable[Mapping[str, Any]], closing: Sequence[str]) -> Document:
    """Build the page of a run: how much failed and the table, each failure with its picture, all others folded."""
    records = merge_parts(map(Record.from_plain, plain))
    failed = [each for each in records if each.failed]
    passed = [each for each in records if not each.failed]
    sections = []
    if failed:
        parts = tuple(
            Section(
                _anchor(number),
                each.subject,
                tuple(_list_blocks(each, f"f{number}")),
                brief=each.subject.rpartition("::")[2],
            )
            for number, each in enumerate(failed, start=1)
        )
        sections.append(Section("failures", "Failures", (), parts))
    if passed:
        folded = tuple(_fold_record(each, f"p{number}") for number, each in enumerate(passed, start=1))
        sections.append(Section("passed", f"{count(len(passed), 'measurement')} without a failure", folded))
    keras = ", ".join(sorted({each.keras for each in records if each.keras}))
    subtitle = f"{count(len(records), 'measurement')} in a run of pytest{f', with Keras {keras}' if keras else ''}."
    answer = _write_answer(failed, passed, closing)
    return Document("initcheck: initialization in a run of pytest", prose(subtitle), tuple(sections), answer)


def _write_answer(failed: Sequence[Record], passed: Sequence[Record], closing: Sequence[str]) -> Answer:
    """Say how much failed, with a table of the failures; of all that was measured where nothing failed."""
    records = [*failed, *passed]
    verdict = f"{len(failed)} of {count(len(records), 'measurement')} failed." if failed else "Nothing failed."
    values = [(str(len(failed)), "failed"), (str(len(passed)), "without a failure")] if records else []
    with_known = sum(bool(each.known) for each in passed)
    if with_known:
        values.append((str(with_known), "with findings that their baselines know"))
    blocks: list[Block] = []
    shown = failed or passed[:_MOST_ROWS]
    others = passed if failed else passed[_MOST_ROWS:]
    if shown:
        blocks.append(_table("What failed." if failed else "What was measured.", shown, linked=bool(failed)))
    if others:
        text = f"{count(len(others), 'measurement' if failed else 'more measurement')} without a failure"
        blocks.append(Details(prose(text), (_table(f"{text}.", others),)))
    # Below the table, whose lines do not break. The tests of a model and its baseline know the same.
    known = dict.fromkeys(f"{each.subject}: {note}" for each in records for note in describe_known_findings(each))
    if known or closing:
        blocks.append(Bullets(tuple(prose(each) for each in (*known, *closing))))
    return Answer(prose(verdict), "failed" if failed else "passed", tuple(values), tuple(blocks))


def _table(caption: str, records: Sequence[Record], *, linked: bool = False) -> Table:
    rows = []
    for number, record in enumerate(records, start=1):
        subject, verdict, *others = list_cells(record)
        shown = Cell(verdict, tone=_tone_of(record))
        rows.append(table_row(subject, shown, *others, link=_anchor(number) if linked else ""))
    return Table(prose(caption), tuple(each.capitalize() for each in HEAD), tuple(rows))


def _anchor(number: int) -> str:
    return f"failure-{number}"


def _tone_of(record: Record) -> str:
    return "growing-3" if record.failed else "unknown" if record.verdict == "known" else "kept"


def _fold_record(record: Record, prefix: str) -> Details:
    summary = prose(f"{record.subject}: ", strong(record.verdict))
    return Details(summary, tuple(_list_blocks(record, prefix)))


def _list_blocks(record: Record, prefix: str) -> Iterator[Block]:
    """Write one result in full: the answer of its own page, its text, and the other sections of that page folded."""
    if not record.page:
        if record.message:
            yield CodeBlock(record.message)
        return
    page: Document = pickle.loads(base64.b64decode(record.page))
    if page.answer is not None:
        yield Paragraph(tuple(replace(each, style="strong") for each in page.answer.verdict))
        yield from (_adopt(each, prefix, record.subject) for each in page.answer.blocks)
    if record.message:
        yield Details(prose("The text in the terminal"), (CodeBlock(record.message),))
    yield from (_fold(each, prefix, record.subject) for each in page.sections)


def _fold(section: Section, prefix: str, subject: str) -> Details:
    blocks = [_adopt(each, prefix, subject) for each in section.blocks]
    return Details(prose(section.title), (*blocks, *(_fold(each, prefix, subject) for each in section.sections)))


def _adopt(block: Block, prefix: str, subject: str) -> Block:
    """Take a block over into a page with others like it: without anchors, with ids and names of its own."""

    def rename(picture: str) -> str:
        return svg.prefix_ids(picture, prefix)

    if isinstance(block, Details):
        return replace(block, blocks=tuple(_adopt(each, prefix, subject) for each in block.blocks))
    if isinstance(block, Table):
        rows = [
            replace(
                row,
                anchor="",
                link="",
                cells=tuple(replace(cell, picture=rename(cell.picture)) for cell in row.cells),
            )
            for row in block.rows
        ]
        return replace(block, rows=tuple(rows), caption=prose(f"{subject}: ", block.caption))
    if isinstance(block, Figure):
        return replace(
            block,
            keys=tuple(replace(each, svg=rename(each.svg)) for each in block.keys),
            panels=tuple(replace(each, svg=rename(each.svg), phone=rename(each.phone)) for each in block.panels),
        )
    return block
