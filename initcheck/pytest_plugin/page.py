"""The page of ``--initcheck-report``: a table of all that was measured in a run of pytest, and each result in full."""

from __future__ import annotations

import base64
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from initcheck.core.files import publish_files
from initcheck.core.formatting import count
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Details,
    Document,
    Figure,
    Section,
    Table,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.pages.html import render_html
from initcheck.pytest_plugin.summary import HEAD, Record, describe_known_findings, list_cells, merge_parts

if TYPE_CHECKING:
    from initcheck.checking.check import Report

FILE: Final = "index.html"

_ID: Final = re.compile(r'\b(id="|href="#)|(url\(#)')


def pack_sections(report: Report) -> str:
    """Write the sections of a report's page as text, which the report of a test takes to the process that reports."""
    from initcheck.checking.report.document import build_check_document

    return base64.b64encode(pickle.dumps(build_check_document(report.result, report.comparison).sections)).decode()


def write_page(folder: Path, plain: Iterable[Mapping[str, Any]], closing: Sequence[str]) -> None:
    """Write the page of a run into a folder, complete or not at all.

    Args:
        closing: what no test needed.
    """
    publish_files(folder, {FILE: render_html(build_run_document(plain, closing))})


def build_run_document(plain: Iterable[Mapping[str, Any]], closing: Sequence[str]) -> Document:
    """Build the page of a run: the answer and the table, the failures open, all others folded away."""
    records = merge_parts(map(Record.from_plain, plain))
    failed = [each for each in records if each.failed]
    passed = [each for each in records if not each.failed]
    anchors = {id(each): f"failure-{number}" for number, each in enumerate(failed, start=1)}
    answer = f"{count(len(failed), 'measurement')} of {len(records)} failed." if failed else "Nothing failed."
    blocks: list[Block] = [paragraph(strong(answer))]
    if records:
        rows = []
        for record in [*failed, *passed]:
            subject, verdict, *others = list_cells(record)
            shown = Cell(verdict, tone=_tone_of(record))
            rows.append(table_row(subject, shown, *others, link=anchors.get(id(record), "")))
        heads = tuple(each.capitalize() for each in HEAD)
        blocks.append(Table(prose("All that was measured."), heads, tuple(rows)))
    # Below the table, whose lines do not break. The tests of a model and its baseline know the same.
    known = dict.fromkeys(f"{each.subject}: {note}" for each in records for note in describe_known_findings(each))
    if known or closing:
        blocks.append(Bullets(tuple(prose(each) for each in (*known, *closing))))
    sections = [Section("answer", "Answer", tuple(blocks))]
    if failed:
        parts = tuple(
            Section(anchors[id(each)], each.subject, (_detail(each, f"f{number}", unfolded=True),))
            for number, each in enumerate(failed)
        )
        sections.append(Section("failures", "Failures", (), parts))
    if passed:
        folded = tuple(_detail(each, f"p{number}", unfolded=False) for number, each in enumerate(passed))
        sections.append(Section("passed", "Without a failure", folded))
    keras = ", ".join(sorted({each.keras for each in records if each.keras}))
    subtitle = f"{count(len(records), 'measurement')} in a run of pytest{f', with Keras {keras}' if keras else ''}."
    return Document("initcheck: initialization in a run of pytest", prose(subtitle), tuple(sections))


def _tone_of(record: Record) -> str:
    return "growing-3" if record.failed else "unknown" if record.verdict == "known" else "kept"


def _detail(record: Record, prefix: str, *, unfolded: bool) -> Details:
    """Write one result in full: its text, and the sections of its own page where there are some."""
    first, _, _ = record.message.partition("\n")
    summary = prose(strong(first)) if record.failed else prose(f"{record.subject}: ", strong(record.verdict))
    blocks: list[Block] = [CodeBlock(record.message)] if record.message else []
    if record.page:
        sections: tuple[Section, ...] = pickle.loads(base64.b64decode(record.page))
        blocks += [_fold(each, prefix) for each in sections]
    return Details(summary, tuple(blocks), unfolded)


def _fold(section: Section, prefix: str) -> Details:
    blocks = [_adopt(each, prefix) for each in section.blocks]
    return Details(prose(section.title), (*blocks, *(_fold(each, prefix) for each in section.sections)))


def _adopt(block: Block, prefix: str) -> Block:
    """Take a block over into a page with others like it: without its anchors, and with ids of its own in pictures."""

    def rename(picture: str) -> str:
        return _ID.sub(rf"\g<0>{prefix}-", picture)

    if isinstance(block, Details):
        return replace(block, blocks=tuple(_adopt(each, prefix) for each in block.blocks))
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
        return replace(block, rows=tuple(rows))
    if isinstance(block, Figure):
        return replace(
            block,
            keys=tuple(replace(each, svg=rename(each.svg)) for each in block.keys),
            panels=tuple(replace(each, svg=rename(each.svg)) for each in block.panels),
        )
    return block
