"""The specification as pages: what is false and why on the first, and each topic's full record on one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from initcheck.backend.runtime import BACKENDS
from initcheck.core.files import replace_files
from initcheck.core.formatting import count, format_duration
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    Details,
    Document,
    Row,
    Section,
    Table,
    Tone,
    linked,
    method_section,
    paragraph,
    prose,
    strong,
)
from initcheck.pages.html import render_html, render_markdown, render_pictures
from initcheck.spec.causes import Basis
from initcheck.spec.claim import Status
from initcheck.spec.records import (
    STATUSES,
    ClaimRecord,
    PowerTable,
    SpecificationRecord,
    count_statuses,
    specification_json,
)
from initcheck.spec.report.claims import FOLDER, TONES, build_topic, name_topic
from initcheck.spec.report.defects import build_defects, group_by_defect
from initcheck.spec.report.false_claims import (
    FalseClaims,
    draw_false_claims,
    group_false_claims,
    list_wrong,
    write_false_claims,
)

_MEANINGS: Final[dict[Status, str]] = {
    "holds": "the claim was shown to be true within its bounds, and its control was recognised as false.",
    "refuted": "the claim is known to be false, and was shown to be false once more. As specified.",
    "broken": "a claim that has to hold was shown not to, or could not be measured.",
    "now holds": "a claim that was known to be false has become true: the specification is outdated.",
    "not shown": "the claim came out as it has to, and so did its control, which must not: the test shows nothing.",
    "inconclusive": "neither was shown. This counts as a failure of the run, and says nothing about Keras.",
    "changed": "what the implementation happens to do, and no document promises, is otherwise than it was.",
    "not there": "the claim is about other versions of Keras, or about another backend; nothing was measured.",
}

_FALSE: Final[dict[Basis, str]] = {
    "stated": "false by Keras’ own words",
    "applied": "false by its rules",
    "assumed": "false, though often assumed",
}
"""What is said of the number of false claims on each basis."""


def write_specification(record: SpecificationRecord, out: Path, power: PowerTable | None = None) -> list[Path]:
    """Write ``spec.json``, the main page and a folder of the pages that it leads to: all files, or none."""
    files = {out / "spec.json": specification_json(record) + "\n"}
    for suffix, render in ((".html", render_html), (".md", render_markdown)):
        main = build_specification(record, power, suffix)
        files[out / f"spec{suffix}"] = render(main)
        for name, page in _build_pages(record, power, suffix).items():
            files[out / FOLDER / f"{name}{suffix}"] = render(page)
    files |= {out / name: picture for name, picture in render_pictures(main).items()}
    return replace_files(files, (out,))


def _build_pages(record: SpecificationRecord, power: PowerTable | None, suffix: str) -> dict[str, Document]:
    pages = {topic: build_topic(topic, claims, suffix) for topic, claims in _by_topic(record).items()}
    return pages if power is None else pages | {"defects": build_defects(power, suffix)}


def _by_topic(record: SpecificationRecord) -> dict[str, list[ClaimRecord]]:
    by_topic: dict[str, list[ClaimRecord]] = {}
    for claim in record.claims:
        by_topic.setdefault(claim.topic, []).append(claim)
    return by_topic


def build_specification(
    record: SpecificationRecord, power: PowerTable | None = None, suffix: str = ".html"
) -> Document:
    """Build the main page of a run as plain data, with links to pages whose names have this suffix."""
    groups = group_false_claims(record.claims)
    wrong = list_wrong(record.claims, suffix)
    figure = draw_false_claims(groups)
    first = figure if wrong is None else wrong
    sections = list(write_false_claims(groups, suffix))
    if wrong is not None and figure is not None:
        sections.insert(0, Section("effects", "How far false claims are off", (figure,)))
    sections.append(_write_topics(record, suffix))
    if power is not None:
        sections.append(_write_defects(power, suffix))
    facts = (
        ("Seed", str(record.seed)),
        ("Started", record.started),
        ("Duration", format_duration(record.duration_seconds)),
        ("Claims", _describe_extent(record)),
    )
    meanings = Bullets(tuple(prose(strong(status), f": {_MEANINGS[status]}") for status in STATUSES))
    more = (Details(prose("What the statuses mean"), (meanings,)),)
    sections.append(method_section(facts, record.versions, command_line=record.command_line, more=more))
    day = record.started.partition("T")[0]
    subtitle = prose(f"What Keras’ documentation, papers and advice claim, measured {day}.")
    answer = _write_answer(record, groups, () if first is None else (first,))
    return Document("Weight initialization, specified", subtitle, tuple(sections), answer)


def _write_answer(record: SpecificationRecord, groups: tuple[FalseClaims, ...], blocks: tuple[Block, ...]) -> Answer:
    counts = count_statuses(record.claims)
    keras = f"Keras {record.versions['keras']}" if "keras" in record.versions else "Keras"
    keras += "".join(f" on {title}" for backend, title in BACKENDS.items() if backend in record.versions)
    verbs = "was" if counts["now holds"] == 1 else "were"
    amiss = [
        words
        for number, words in (
            (counts["broken"], f"{count(counts['broken'], 'claim')} broken"),
            (counts["now holds"], f"{counts['now holds']} now true that {verbs} false"),
            (counts["not shown"], f"{counts['not shown']} not shown"),
            (counts["inconclusive"], f"{counts['inconclusive']} inconclusive"),
        )
        if number
    ]
    tone: Tone = "passed"
    if amiss:
        tone = "failed" if counts["broken"] or counts["now holds"] else "undecided"
    measured = count(len(record.claims) - counts["not there"], "claim")
    changed = f", or pinned and changed ({counts['changed']})" if counts["changed"] else ""
    others = counts["not there"]
    more = f" {others} more are about other versions of Keras, or about other backends." if others else ""
    verdict = (
        f"{keras} is as specified: {counts['holds']:,} of {measured} hold, the others are known to be "
        f"false{changed}.{more}"
    )
    if amiss:
        verdict = f"{keras} is not as specified: {', '.join(amiss)}."
    values = tuple(_count_basis(groups, basis, words) for basis, words in _FALSE.items())
    return Answer(prose(verdict), tone, values, blocks)


def _count_basis(groups: tuple[FalseClaims, ...], basis: Basis, words: str) -> tuple[str, str]:
    own = [group for group in groups if group.cause.basis == basis]
    return str(sum(len(group.claims) for group in own)), f"{words}: {count(len(own), 'cause')}"


def _describe_extent(record: SpecificationRecord) -> str:
    text = count(len(record.claims), "claim")
    return f"{text}, {count(record.left_out, 'claim')} of the catalogue not selected" if record.left_out else text


def _write_topics(record: SpecificationRecord, suffix: str) -> Section:
    by_topic = _by_topic(record)
    rows = tuple(_count_row(name_topic(topic), own, f"{FOLDER}/{topic}{suffix}") for topic, own in by_topic.items())
    if len(rows) > 1:
        rows = (*rows, _count_row("All", record.claims, ""))
    heads = ("Topic", "Claims", *(status.capitalize() for status in STATUSES), "Time")
    table = Table(prose("Claims by topic and status; each topic leads to its claims."), heads, rows, code_headers=False)
    holding = count_statuses(record.claims)["holds"]
    summary = prose(f"{count(holding, 'claim')} hold, of {count(len(by_topic), 'topic')}")
    return Section("holds", "What holds", (Details(summary, (table,)),))


def _count_row(name: str, claims: list[ClaimRecord] | tuple[ClaimRecord, ...], address: str) -> Row:
    counts = count_statuses(claims)
    cells = (
        Cell(f"{len(claims):,}"),
        *(Cell(f"{number:,}", tone=TONES[status] if number else "") for status, number in counts.items()),
        Cell(format_duration(sum(claim.seconds for claim in claims))),
    )
    return Row(name, cells, address=address)


def _write_defects(power: PowerTable, suffix: str) -> Section:
    number = len(group_by_defect(power))
    planted = f"{count(number, 'defect')} {'was' if number == 1 else 'were'} planted"
    text = paragraph(
        f"A specification is worth what it catches. {planted} into Keras, one at a time: ",
        linked("what turned red because of each", f"{FOLDER}/defects{suffix}"),
        ".",
    )
    return Section("power", "What the specification catches", (text,))
