"""The claims that are known to be false, by cause, worst effect first, and how far they are off as a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from initcheck.core.formatting import count, format_change, format_interval, format_number, format_short, shorten
from initcheck.pages.document import (
    Block,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Figure,
    Panel,
    Row,
    Section,
    Span,
    Table,
    Text,
    code,
    linked,
    paragraph,
    prose,
)
from initcheck.pages.svg import (
    GROUNDS,
    INK,
    MUTED,
    PHONE_WIDTH,
    SERIES,
    SMALL_FONT_SIZE,
    begin_drawing,
    draw_key,
    drawing_settings,
    export_svg,
)
from initcheck.spec.causes import BASES, CAUSES, FIRST_TRIED, Basis, KnownCause, Quotation, documentation_address
from initcheck.spec.claim import Evidence
from initcheck.spec.order import list_amiss
from initcheck.spec.records import ClaimRecord
from initcheck.spec.report.claims import TONES, describe_bounds, has_interval, record_address
from initcheck.spec.versions import format_version

_LAYER: Final = re.compile(r"keras\.layers\.[A-Z]\w+")
_ISSUE: Final = re.compile(r"https://github\.com/([^/]+/[^/]+)/(?:issues|pull)/(\d+)")

_EXPLAINED: Final[dict[Basis, tuple[str | Span, ...]]] = {
    "stated": ("Code runs after ", code("import keras"), "."),
    "applied": ("What is documented of the weight tensor is measured by what the outputs of the layer sum.",),
    "assumed": (),
}

_MOST_DRAWN: Final = 8
_MOST_OPEN: Final = 17
"""Rows of the picture: as many as fit on the first screen of a phone."""
_WIDTH: Final = 900
_LEFT: Final = 260
_LONGEST_QUANTITY: Final = 42
_ROW: Final = 40
_PHONE_ROW: Final = 38
_RIGHT: Final = 78
"""For the label at the end of a row."""


@dataclass(frozen=True)
class FalseClaims:
    """The refuted claims of one cause."""

    cause: KnownCause
    claims: tuple[ClaimRecord, ...]

    @property
    def ratios(self) -> tuple[ClaimRecord, ...]:
        """Those that say by which factor something is off, the farthest first."""
        ratios = (claim for claim in self.claims if is_ratio(claim.evidence))
        return tuple(sorted(ratios, key=lambda claim: -abs(math.log(claim.evidence.effect))))

    @property
    def worst(self) -> ClaimRecord:
        """The one whose factor is farthest off, else the first."""
        return (*self.ratios, *self.claims)[0]

    @property
    def distance(self) -> float:
        """The logarithm of the farthest factor; 0 where there is none."""
        return abs(math.log(self.worst.evidence.effect)) if self.ratios else 0.0


def is_ratio(evidence: Evidence) -> bool:
    """Find whether an effect is a factor, of which 1 is claimed: its bounds lie evenly around 1."""
    low, high = evidence.bounds
    even = math.isclose(1.0 - low, high - 1.0) or math.isclose(low * high, 1.0)
    return 0.0 < low < 1.0 < high < math.inf and even and 0.0 < evidence.effect < math.inf


def group_false_claims(claims: Iterable[ClaimRecord]) -> tuple[FalseClaims, ...]:
    """Group the refuted claims by cause: the firmest basis first, then the largest effect, then the most claims."""
    by_cause: dict[str, list[ClaimRecord]] = {}
    for claim in claims:
        if claim.status == "refuted":
            by_cause.setdefault(claim.cause, []).append(claim)
    groups = [FalseClaims(CAUSES[slug], tuple(own)) for slug, own in by_cause.items()]
    order: list[Basis] = list(BASES)
    return tuple(sorted(groups, key=lambda g: (order.index(g.cause.basis), -g.distance, -len(g.claims))))


def write_false_claims(groups: Sequence[FalseClaims], suffix: str) -> tuple[Section, ...]:
    """Write a section for each basis; what nobody at Keras has stated is folded, and the last of many causes."""
    sections, room = [], _MOST_OPEN
    for basis, title in BASES.items():
        own = [group for group in groups if group.cause.basis == basis]
        if not own:
            continue
        number = sum(len(group.claims) for group in own)
        order = "what is farthest off first, then what has the most claims"
        lead = paragraph(f"{count(number, 'claim')} of {count(len(own), 'cause')}: {order}. ", *_EXPLAINED[basis])
        if basis == "assumed":
            blocks = tuple(_fold_cause(group, suffix) for group in own)
            sections.append(Section(basis, title, (lead, *blocks)))
        else:
            parts = tuple(
                Section(
                    f"cause-{group.cause.slug}",
                    group.cause.title,
                    _write_cause(group, suffix),
                    brief=_capitalize(group.cause.label),
                )
                for group in own[:room]
            )
            folded = tuple(_fold_cause(group, suffix) for group in own[room:])
            further = (Section(f"further-{basis}", "Further causes", folded),) if folded else ()
            room = max(room - len(own), 0)
            sections.append(Section(basis, title, (lead,), (*parts, *further)))
    return tuple(sections)


def _fold_cause(group: FalseClaims, suffix: str) -> Details:
    return Details(prose(f"{group.cause.title}: {count(len(group.claims), 'claim')}"), _write_cause(group, suffix))


def _write_cause(group: FalseClaims, suffix: str) -> tuple[Block, ...]:
    cause = group.cause
    facts: list[tuple[str, Text]] = []
    if cause.quotations:
        says = "Keras says" if cause.basis == "assumed" else "Documented"
        facts.append((says, _join(" ", [_quote(quotation) for quotation in cause.quotations])))
    facts.append(("Measured", _describe_measured(group, suffix)))
    quoted = {quotation.name for quotation in cause.quotations}
    names = dict.fromkeys(name for claim in group.claims for name in _LAYER.findall(claim.source))
    links = [_link_name(name) for name in names if name not in quoted and documentation_address(name)]
    links += [linked(_name_issue(issue), issue) for issue in cause.issues]
    if links:
        facts.append(("See also", _join(", ", [prose(link) for link in links])))
    shown: tuple[Block, ...] = (CodeBlock(f"{cause.code}\n# prints {cause.prints}"),) if cause.code else ()
    rows = tuple(
        Row(
            claim.id,
            (Cell(claim.statement, (claim.source,)), _measured_cell(claim)),
            address=record_address(claim, suffix),
        )
        for claim in group.claims
    )
    columns = ("Claim", "What is claimed", "Measured")
    table = Table(prose("Each leads to its full record."), columns, rows, form="claims")
    # One claim is linked above already.
    listed = (Details(prose(count(len(rows), "claim")), (table,)),) if len(rows) > 1 else ()
    return (paragraph(cause.text), Definitions(tuple(facts)), *shown, *listed)


def _quote(quotation: Quotation) -> Text:
    return prose(f"“{quotation.words}” (", _link_name(quotation.name), ")")


def _link_name(name: str) -> Span:
    address = documentation_address(name)
    short = name.split(".", 2)[-1]
    return Span(short, "code", address) if address else code(short)


def _name_issue(address: str) -> str:
    found = _ISSUE.fullmatch(address)
    assert found is not None
    return f"{found[1]}#{found[2]}"


def _join(separator: str, texts: Sequence[Text]) -> Text:
    parts: list[str | Text] = []
    for text in texts:
        parts += [separator, text] if parts else [text]
    return prose(*parts)


def _capitalize(text: str) -> str:
    # Names of code stay as they are.
    return text if "_" in text.split()[0] or "(" in text.split()[0] else text[0].upper() + text[1:]


def _describe_measured(group: FalseClaims, suffix: str) -> Text:
    worst = group.worst
    same = [each.evidence.effect for each in group.ratios if each.evidence.quantity == worst.evidence.quantity]
    others = (
        f" {len(same)} claims: {format_short(min(same), 3)} to {format_short(max(same), 3)}." if len(same) > 1 else ""
    )
    own = f"{_capitalize(worst.evidence.quantity)}: {describe_effect(worst.evidence)}"
    seen = own if has_interval(worst.evidence) else worst.reason.rstrip(".")
    name = Span(worst.id, "code", record_address(worst, suffix))
    return prose(seen, " (", name, f").{others}{_describe_since(group.cause)}")


def _describe_since(cause: KnownCause) -> str:
    if not cause.code:
        return ""
    since, until = cause.keras.since, cause.keras.until
    fixed = f" Until Keras {format_version(until)}." if until else ""
    return (f" In Keras {since} already." if since == FIRST_TRIED else f" Since Keras {format_version(since)}.") + fixed


def describe_effect(evidence: Evidence) -> str:
    """Write an effect with its interval and what was claimed: ``0.5 [0.49, 0.51], claimed 1``."""
    words = format_short(evidence.effect)
    if has_interval(evidence):
        words += f" {format_interval(evidence.low, evidence.high, format_short)}"
    claimed = "1" if is_ratio(evidence) else describe_bounds(evidence.bounds)
    return f"{words}, claimed {claimed}" if claimed else words


def _measured_cell(claim: ClaimRecord) -> Cell:
    return Cell(describe_effect(claim.evidence), (claim.evidence.quantity, f"of: {claim.evidence.worst}"))


# --- the picture ------------------------------------------------------------------------------------------------------


def draw_false_claims(groups: Sequence[FalseClaims]) -> Figure | None:
    """Draw how far claims about Keras are off, a row a cause; None where none says by which factor."""
    rows = sorted((g for g in groups if g.ratios and g.cause.basis != "assumed"), key=lambda g: -g.distance)
    if not rows:
        return None
    drawn, left_out = rows[:_MOST_DRAWN], rows[_MOST_DRAWN:]
    title = "Measured over documented"
    alternative = f"{title}: " + "; ".join(
        f"{row.cause.label} {format_change(math.log(row.worst.evidence.effect))}" for row in drawn
    )
    with drawing_settings():
        wide = _draw(drawn, _WIDTH, _ROW, alternative, phone=False)
        phone = _draw(drawn, PHONE_WIDTH, _PHONE_ROW, alternative, phone=True)
    more = (
        f" {count(len(left_out), 'cause')} with smaller factors {'is' if len(left_out) == 1 else 'are'} below."
        if left_out
        else ""
    )
    caption = prose(
        f"Of each cause with a factor, every claim with its interval; the label is the one that is farthest off.{more}"
    )
    keys = (
        draw_key("measured", '<circle cx="17" cy="6" r="4" fill="var(--series-1)"/>'),
        draw_key("documented", '<rect x="14" width="6" height="12" fill="var(--ground-kept)"/>'),
    )
    panel = Panel(title, alternative, wide, _WIDTH, _height(len(drawn), _ROW), phone=phone)
    return Figure("false-claims", caption, keys, (), (panel,), alternative, columns=1)


_BOTTOM: Final = 30
_TOP: Final = 6


def _height(rows: int, row_height: int) -> int:
    return rows * row_height + _BOTTOM + _TOP


def _draw(rows: Sequence[FalseClaims], width: int, row_height: int, description: str, *, phone: bool) -> str:
    left = 12 if phone else _LEFT
    height = _height(len(rows), row_height)
    drawing, axes = begin_drawing(width, height, left=left, bottom=_BOTTOM, right=_RIGHT, top=_TOP)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    every = [claim.evidence for row in rows for claim in row.ratios]
    ends = [math.log10(value) for each in every for value in (each.low, each.high, *each.bounds) if value > 0.0]
    margin = 0.04 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    powers = range(math.ceil(min(ends)), math.floor(max(ends)) + 1)
    axes.set_xticks(list(powers))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda power, _: _format_power(round(power))))
    for place, row in enumerate(rows):
        _draw_row(axes, place, row, phone=phone)
    return export_svg(drawing, f"false-claims-{'phone' if phone else 'wide'}", description)


def _format_power(power: int) -> str:
    return f"1/{10**-power:,}" if power < 0 else f"{10**power:,}"


def _draw_row(axes: Axes, place: int, row: FalseClaims, *, phone: bool) -> None:
    # A phone has the name above the marks, a wide screen beside them.
    middle = place + (0.18 if phone else 0.0)
    worst = row.worst.evidence
    low, high = (math.log10(bound) for bound in worst.bounds)
    axes.add_patch(Rectangle((low, middle - 0.25), high - low, 0.5, facecolor=GROUNDS["kept"], linewidth=0.0, zorder=1))
    for claim in row.ratios:
        evidence = claim.evidence
        if evidence.low > 0.0:
            ends = [math.log10(evidence.low), math.log10(evidence.high)]
            axes.plot(ends, [middle, middle], color=SERIES[1], linewidth=2.0, zorder=2)
        axes.plot([math.log10(evidence.effect)], [middle], color=SERIES[1], marker="o", markersize=5.0, zorder=3)
    name = f"{_capitalize(row.cause.label)} ({count(len(row.ratios), 'claim')})"
    at_left, at_right = axes.get_yaxis_transform(), axes.get_yaxis_transform()
    if phone:
        axes.text(0.0, place - 0.25, name, transform=at_left, va="center", ha="left", color=INK)
    else:
        axes.text(-0.02, place - 0.18, name, transform=at_left, va="center", ha="right", color=INK)
        small: dict[str, Any] = {"va": "center", "ha": "right", "color": MUTED, "fontsize": SMALL_FONT_SIZE}
        axes.text(-0.02, place + 0.2, shorten(worst.quantity, _LONGEST_QUANTITY), transform=at_left, **small)
    axes.text(1.02, middle, _format_factor(worst.effect), transform=at_right, va="center", ha="left", color=INK)


def _format_factor(effect: float) -> str:
    return f"1/{format_number(1.0 / effect)}" if effect < 1.0 else f"× {format_number(effect)}"


def list_wrong(claims: Sequence[ClaimRecord], suffix: str) -> Table | None:
    """Tabulate what did not come out as specified, with its reason; None where all did."""
    rows = tuple(
        Row(
            claim.id,
            (Cell(claim.status, (claim.reason,), tone=TONES[claim.status]),),
            address=record_address(claim, suffix),
        )
        for claim in list_amiss(claims)
        if not claim.green
    )
    caption = prose("What did not come out as specified, and why.")
    return Table(caption, ("Claim", "Result"), rows, form="claims") if rows else None
