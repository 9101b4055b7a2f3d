"""The full record of each claim, a page a topic: value, evidence and negative control."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Final

from initcheck.core.formatting import count, format_interval, format_number, format_short
from initcheck.pages.document import (
    Cell,
    Definitions,
    Details,
    Document,
    Row,
    Section,
    Table,
    linked,
    prose,
    strong,
)
from initcheck.spec.claim import Evidence, Status
from initcheck.spec.records import ClaimRecord, count_statuses
from initcheck.spec.versions import describe_setup

FOLDER: Final = "spec"
"""Beside the main page, of the pages that it leads to."""

_WIDTH: Final = 150
_HEIGHT: Final = 20
_MARGIN: Final = 8
"""Of the picture of an interval."""

TONES: Final[dict[Status, str]] = {
    "holds": "kept",
    "refuted": "symmetric",
    "broken": "growing-5",
    "now holds": "growing-3",
    "not shown": "unknown",
    "inconclusive": "unknown",
    "changed": "fading-2",
    "not there": "unknown",
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
    "Negative control": "The same experiment where the claim is false (or true, where it is known to be false). A "
    "claim whose value is as it has to be and whose control is not recognised is not shown.",
}


def record_address(claim: ClaimRecord, suffix: str) -> str:
    """Give the address of a claim's full record, as seen from the main page."""
    return f"{FOLDER}/{claim.topic}{suffix}#{claim.id}"


def name_topic(topic: str) -> str:
    """Name a topic in words."""
    return topic.replace("_", " ").capitalize()


def build_topic(topic: str, claims: Sequence[ClaimRecord], suffix: str) -> Document:
    """Build the page of a topic: its claims by subject, folded where all came out as specified."""
    by_subject: dict[str, list[ClaimRecord]] = {}
    for claim in claims:
        by_subject.setdefault(claim.subject, []).append(claim)
    blocks: list[Details] = []
    for subject, own in by_subject.items():
        wrong = sum(not claim.green for claim in own)
        counts = ", ".join(f"{number} {status}" for status, number in count_statuses(own).items() if number)
        summary = prose(strong(subject.replace("_", " ")), f": {counts}")
        caption = prose(f"{name_topic(topic)}: {subject.replace('_', ' ')}.")
        table = Table(caption, _COLUMNS, tuple(map(_write_claim, own)), form="claims")
        blocks.append(Details(summary, (table,), unfolded=wrong > 0))
    guide = Definitions(tuple((term, prose(text)) for term, text in _GUIDE.items()))
    sections = (Section("claims", "The claims", tuple(blocks)), Section("guide", "How to read the tables", (guide,)))
    back = linked("What is false, and what was run", f"../spec{suffix}")
    subtitle = prose("The full record of each claim. ", back, ".")
    return Document(f"{name_topic(topic)}: {count(len(claims), 'claim')}", subtitle, sections)


def _write_claim(claim: ClaimRecord) -> Row:
    notes = [claim.source, f"Condition: {claim.condition}"]
    if claim.expected == "refuted":
        notes.append("Known to be false.")
    if setup := describe_setup(claim.keras, claim.backends):
        notes.append(f"About {setup}.")
    if claim.rows:
        notes.append(f"Catalogue: {', '.join(claim.rows)}")
    control = Cell(
        f"must {'fail' if claim.expected == 'holds' else 'pass'}, {_DID[claim.control_verdict]}",
        tuple(note for note in (claim.control_note, claim.control_reason) if note),
    )
    cells = (
        Cell(claim.statement, tuple(notes)),
        # The values of a claim that came out as specified are in the next cell, unless there is no interval.
        _status_cell(claim, with_reason=not (claim.green and has_interval(claim.evidence))),
        _effect_cell(claim.evidence),
        _evidence_cell(claim),
        control,
    )
    return Row(claim.id, cells, anchor=claim.id, link=claim.id)


def _status_cell(claim: ClaimRecord, *, with_reason: bool) -> Cell:
    notes = (claim.reason,) if with_reason else ()
    return Cell(claim.status, notes, tone=TONES[claim.status], emphasis=not claim.green)


def _effect_cell(evidence: Evidence) -> Cell:
    effect = format_short(evidence.effect)
    notes = [evidence.quantity]
    if has_interval(evidence):
        confidence = "" if math.isnan(evidence.confidence) else f" ({_format_confidence(evidence.confidence)})"
        notes.append(f"Interval {format_interval(evidence.low, evidence.high, format_short)}{confidence}")
    bounds = describe_bounds(evidence.bounds)
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


def has_interval(evidence: Evidence) -> bool:
    """Find whether an effect has an interval."""
    return math.isfinite(evidence.low) and math.isfinite(evidence.high)


def describe_bounds(bounds: tuple[float, float]) -> str:
    """Write what was claimed of an effect; nothing where there is no bound."""
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
