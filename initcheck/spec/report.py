"""The specification as a page: what was claimed, what was measured, and whether the two agree."""

from __future__ import annotations

import csv
import html
import math
from pathlib import Path
from typing import Final

from initcheck.core.errors import DataError
from initcheck.core.files import publish_files
from initcheck.core.formatting import count, format_duration, format_interval, format_number, format_short
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Definitions,
    Details,
    Document,
    Paragraph,
    Row,
    Section,
    Table,
    method_section,
    prose,
    strong,
)
from initcheck.pages.html import render_html, render_markdown
from initcheck.spec.claim import Evidence, Status
from initcheck.spec.records import (
    STATUSES,
    ClaimRecord,
    PowerTable,
    SpecificationRecord,
    count_statuses,
    describe_counts,
    specification_json,
)

_WIDTH: Final = 150
_HEIGHT: Final = 20
_MARGIN: Final = 8
"""Of the picture of an interval."""

_TONES: Final[dict[Status, str]] = {
    "holds": "kept",
    "refuted": "symmetric",
    "broken": "growing-5",
    "now holds": "growing-3",
    "inconclusive": "unknown",
}
_MEANINGS: Final[dict[Status, str]] = {
    "holds": "the claim was shown to be true within its bounds, and its control was recognised as false.",
    "refuted": "the claim is documented and known to be false, and was shown to be false once more. As specified.",
    "broken": "a claim that has to hold was shown not to, could not be measured, or its control was not recognised.",
    "now holds": "a claim that is documented and was known to be false has become true: the specification is outdated.",
    "inconclusive": "neither was shown. This counts as a failure of the run, and says nothing about Keras.",
}
_COLUMNS: Final = ("Claim", "What is claimed", "Result", "Value", "Evidence", "Negative control")
_DID: Final = {"fail": "failed", "pass": "passed", "inconclusive": "is inconclusive", "": "was not run"}
_GUIDE: Final = {
    "Value": "That of the member of the claim (a shape, a layer, a case) that is nearest to breaking it. The picture "
    "shows its interval as a line and its bounds as a band.",
    "p": "After Holm’s correction over the members. Where a claim gives bounds it is the p-value of lying outside, and "
    "a small one supports the claim; in a test of fit it is that of the fit, and a small one speaks against the claim.",
    "False alarm": "At most so often the claim comes out otherwise over fresh seeds though Keras is right: a bound by "
    "design, and not a count.",
    "Detects": "A deviation of this size does not pass unnoticed, with the probability called power.",
    "Negative control": "The same experiment where the claim is false (or true, where it is documented and false). A "
    "claim whose control is not recognised is broken, whatever its own value is.",
}


def write_specification(record: SpecificationRecord, out: Path, power: PowerTable | None = None) -> list[Path]:
    """Write ``spec.json``, ``spec.md`` and ``spec.html``, which needs none of the others: all files, or none."""
    document = build_specification(record, power)
    return publish_files(
        out,
        {
            "spec.json": specification_json(record) + "\n",
            "spec.md": render_markdown(document),
            "spec.html": render_html(document),
        },
    )


def read_power_table(path: Path) -> PowerTable:
    """Read the table of planted defects: a CSV file with a head, the defect in the first column."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [tuple(line) for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {str(path)!r} as CSV: {' '.join(str(error).split())}.") from error
    if not lines or len({len(line) for line in lines}) > 1 or len(lines[0]) < 2:
        raise DataError(f"{str(path)!r} is no table of defects. Give CSV with a head, the defect in the first column.")
    return PowerTable(lines[0], tuple(lines[1:]))


def build_specification(record: SpecificationRecord, power: PowerTable | None = None) -> Document:
    """Build the page of a run as plain data; without a table of planted defects it has no section about them."""
    by_topic: dict[str, list[ClaimRecord]] = {}
    for claim in record.claims:
        by_topic.setdefault(claim.topic, []).append(claim)
    keras = record.versions.get("keras")
    subtitle = prose(
        "What the documentation of Keras and the papers behind it claim about weight initialization, tested",
        f" on Keras {keras}" if keras else "",
        f", {record.started.partition('T')[0]}.",
    )
    sections = [_write_answer(record, by_topic)]
    sections += [_write_topic(topic, claims) for topic, claims in by_topic.items()]
    if power is not None:
        sections.append(_write_power(power))
    facts = (
        ("Seed", str(record.seed)),
        ("Started", record.started),
        ("Duration", format_duration(record.duration_seconds)),
    )
    sections += [_write_guide(), method_section(facts, record.versions, command_line=record.command_line)]
    return Document("Weight initialization, specified", subtitle, tuple(sections))


def _anchor(topic: str) -> str:
    # A topic's anchor has no dot, and so is never that of a claim.
    return f"topic-{topic}"


def _write_answer(record: SpecificationRecord, by_topic: dict[str, list[ClaimRecord]]) -> Section:
    wrong = [claim for claim in record.claims if not claim.green]
    verdict = (
        "Every claim came out as specified"
        if not wrong
        else f"{count(len(wrong), 'claim')} did not come out as specified"
    )
    blocks: list[Block] = [
        Paragraph(prose(strong(f"{verdict}: {describe_counts(record.claims)}."), f" {_describe_extent(record)}"))
    ]
    if wrong:
        rows = tuple(
            Row(
                claim.id,
                (Cell(claim.statement), _status_cell(claim, with_reason=False), Cell(claim.reason)),
                link=claim.id,
            )
            for status in ("broken", "now holds", "inconclusive")
            for claim in wrong
            if claim.status == status
        )
        columns = ("Claim", "What is claimed", "Status", "Reason")
        blocks.append(Table(prose("What did not come out as specified, and why."), columns, rows, form="claims"))
    rows = tuple(_count_row(_title(topic), claims, _anchor(topic)) for topic, claims in by_topic.items())
    if len(rows) > 1:
        rows = (*rows, _count_row("All", record.claims, ""))
    heads = ("Topic", "Claims", *(status.capitalize() for status in STATUSES), "Time")
    blocks.append(Table(prose("Claims by topic and status."), heads, rows, code_headers=False))
    return Section("answer", "The answer", tuple(blocks))


def _describe_extent(record: SpecificationRecord) -> str:
    text = f"{count(len(record.claims), 'claim')} in {format_duration(record.duration_seconds)}, seed {record.seed}."
    if record.left_out:
        text += f" Not selected: {count(record.left_out, 'claim')} of the catalogue."
    return text


def _count_row(name: str, claims: list[ClaimRecord] | tuple[ClaimRecord, ...], link: str) -> Row:
    counts = count_statuses(claims)
    cells = (
        Cell(f"{len(claims):,}"),
        *(Cell(f"{number:,}", tone=_TONES[status] if number else "") for status, number in counts.items()),
        Cell(format_duration(sum(claim.seconds for claim in claims))),
    )
    return Row(name, cells, link=link)


def _write_topic(topic: str, claims: list[ClaimRecord]) -> Section:
    blocks: list[Block] = [Paragraph(prose(f"{describe_counts(claims)}."))]
    by_subject: dict[str, list[ClaimRecord]] = {}
    for claim in claims:
        by_subject.setdefault(claim.subject, []).append(claim)
    for subject, own in by_subject.items():
        wrong = sum(not claim.green for claim in own)
        title = prose(
            strong(subject.replace("_", " ")),
            f": {count(len(own), 'claim')}" + (f", {wrong} not as specified" if wrong else ""),
        )
        caption = prose(f"{_title(topic)}: {subject.replace('_', ' ')}.")
        table = Table(caption, _COLUMNS, tuple(map(_write_claim, own)), form="claims")
        # Unfolded, so that the browser finds every word on the page.
        blocks.append(Details(title, (table,), unfolded=True))
    return Section(_anchor(topic), _title(topic), tuple(blocks))


def _title(topic: str) -> str:
    return topic.replace("_", " ").capitalize()


def _write_claim(claim: ClaimRecord) -> Row:
    notes = [claim.source, f"Condition: {claim.condition}"]
    if claim.expected == "refuted":
        notes.append("Documented, and known to be false.")
    if claim.rows:
        notes.append(f"Catalogue: {', '.join(claim.rows)}")
    control = Cell(
        f"must {'fail' if claim.expected == 'holds' else 'pass'}, {_DID[claim.control_verdict]}",
        tuple(note for note in (claim.control_note, claim.control_reason) if note),
    )
    cells = (
        Cell(claim.statement, tuple(notes)),
        # The values of a claim that came out as specified are in the next cell, unless there is no interval.
        _status_cell(claim, with_reason=not (claim.green and _has_interval(claim.evidence))),
        _effect_cell(claim.evidence),
        _evidence_cell(claim),
        control,
    )
    return Row(claim.id, cells, anchor=claim.id, link=claim.id)


def _status_cell(claim: ClaimRecord, *, with_reason: bool) -> Cell:
    notes = (claim.reason,) if with_reason else ()
    return Cell(claim.status, notes, tone=_TONES[claim.status], emphasis=not claim.green)


def _effect_cell(evidence: Evidence) -> Cell:
    effect = format_short(evidence.effect)
    notes = [evidence.quantity]
    if _has_interval(evidence):
        confidence = "" if math.isnan(evidence.confidence) else f" ({_format_confidence(evidence.confidence)})"
        notes.append(f"Interval {format_interval(evidence.low, evidence.high, format_short)}{confidence}")
    bounds = _format_bounds(evidence.bounds)
    if bounds:
        notes.append(f"Bounds: {bounds}")
    description = "; ".join((effect, *notes[1:]))
    return Cell(effect, tuple(notes), picture=draw_interval(evidence, description))


def draw_interval(evidence: Evidence, description: str) -> str:
    """Draw an effect and its interval over its bounds, as ``<svg>``; empty without a finite interval or bounds."""
    bounds = [bound for bound in evidence.bounds if math.isfinite(bound)]
    values = [evidence.effect, evidence.low, evidence.high]
    if not bounds or not all(math.isfinite(value) for value in values):
        return ""
    lowest, highest = min(bounds + values), max(bounds + values)
    span = highest - lowest or abs(highest) or 1.0

    def place(value: float) -> float:
        # A bound that is infinite lies at the edge of the picture.
        if math.isinf(value):
            return 0.0 if value < 0.0 else float(_WIDTH)
        return _MARGIN + (value - lowest) / span * (_WIDTH - 2 * _MARGIN)

    left, right = (place(bound) for bound in evidence.bounds)
    low, high, effect = place(evidence.low), place(evidence.high), place(evidence.effect)
    middle = _HEIGHT / 2
    marks = "".join(
        f'<line x1="{place(bound):.1f}" y1="1" x2="{place(bound):.1f}" y2="{_HEIGHT - 1}" stroke="var(--muted)"/>'
        for bound in bounds
    )
    width = max(right - left, 1.0)
    band = f'<rect x="{left:.1f}" y="1" width="{width:.1f}" height="{_HEIGHT - 2}" fill="var(--ordered)"/>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(description)}">'
        f"{band}{marks}"
        f'<line x1="{low:.1f}" y1="{middle}" x2="{max(high, low + 1.0):.1f}" y2="{middle}" stroke="var(--ink)" '
        'stroke-width="2"/>'
        f'<circle cx="{effect:.1f}" cy="{middle}" r="3.5" fill="var(--ink)"/></svg>'
    )


def _has_interval(evidence: Evidence) -> bool:
    return math.isfinite(evidence.low) and math.isfinite(evidence.high)


def _format_bounds(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(low):
        return f"at most {format_short(high)}"
    if math.isinf(high):
        return f"at least {format_short(low)}"
    return format_interval(low, high, format_short)


def _format_confidence(share: float) -> str:
    # Levels such as 99.99998%: as many nines as there are.
    return f"{100.0 * share:.10f}".rstrip("0").rstrip(".")[:9] + "%"


def _evidence_cell(claim: ClaimRecord) -> Cell:
    evidence = claim.evidence
    p_value = format_number(evidence.p_value, 2) if evidence.p_value else "0 (below what a float can hold)"
    notes = ["exact" if math.isnan(evidence.p_value) else f"p = {p_value}"]
    if math.isfinite(evidence.detectable):
        power = f", power {format_short(evidence.power)}" if math.isfinite(evidence.power) else ""
        notes.append(f"detects {format_short(evidence.detectable)}{power}")
    if evidence.members > 1:
        notes.append(f"{evidence.members} judged together")
    if evidence.worst:
        notes.append(f"value of: {evidence.worst}")
    notes.append(f"false alarm ≤ {format_number(claim.false_alarm, 1)}" if claim.false_alarm else "without chance")
    if math.isfinite(claim.seconds):
        notes.append(f"took {claim.seconds:.2f} s")
    return Cell(f"{evidence.count:,} {evidence.unit}", tuple(notes))


def _write_power(power: PowerTable) -> Section:
    introduction = Paragraph(
        prose(
            "A specification is worth what it catches. Each row is a defect that was planted into Keras, and what "
            "turned red because of it."
        )
    )
    rows = tuple(Row(line[0], tuple(Cell(text) for text in line[1:])) for line in power.rows)
    columns = tuple(name.replace("_", " ").capitalize() for name in power.columns)
    table = Table(prose(f"{count(len(rows), 'planted defect')}."), columns, rows, form="claims")
    return Section("power", "What the specification catches", (introduction, table))


def _write_guide() -> Section:
    return Section(
        "guide",
        "How to read this page",
        (
            Paragraph(prose("A claim has one of five statuses:")),
            Bullets(tuple(prose(strong(status), f": {_MEANINGS[status]}") for status in STATUSES)),
            Definitions(tuple((term, prose(text)) for term, text in _GUIDE.items())),
        ),
    )
