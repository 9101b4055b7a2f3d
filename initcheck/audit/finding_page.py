"""What a notebook shows of one finding: what was found, its value beside its limit, and the fix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from initcheck.audit.findings import (
    RATE,
    Finding,
    Measured,
    Severity,
    describe_change,
    describe_fix,
    format_interval,
    format_limit,
    format_value,
    is_share,
)
from initcheck.core.formatting import format_names

if TYPE_CHECKING:
    from initcheck.pages.document import Document, Figure, Tone
    from initcheck.pages.forest import ForestRow

_TONES: Final[dict[Severity, Tone]] = {"wrong": "failed", "unjudged": "undecided", "note": "passed"}
_WRONG: Final = 1
_FIXED: Final = 2
"""Numbers of the colours of the value as it is, and with the fix."""


def build_finding_document(finding: Finding) -> Document:
    """Build what a notebook shows of a finding: what was found, its value beside its limit, and the fix."""
    from initcheck.pages.document import Answer, Block, Document, Table, prose, table_row

    measured, fix = finding.measured, finding.fix
    values = []
    if measured is not None:
        values.append((f"{format_value(measured, measured.value)}{format_interval(measured)}", measured.quantity))
        if not math.isnan(measured.limit):
            values.append((format_limit(measured), "limit"))
    figure = _draw_value(finding)
    blocks: list[Block] = [] if figure is None else [figure]
    facts = [("Layers", format_names(finding.named, 6) if finding.layer else "the whole model")]
    if fix is not None:
        facts += [("Fix", describe_change(fix)), ("What it does", describe_fix(fix))]
    elif finding.severity != "note":
        facts.append(("What usually helps", finding.rule.fix))
    rows = tuple(table_row(name, text) for name, text in facts)
    blocks.append(
        Table(prose(f"{finding.code}: where, and what helps."), ("What", "Of this finding"), rows, code_headers=False)
    )
    message = (
        f"{finding.message[0].upper()}{finding.message[1:]}" if finding.message.startswith("the ") else finding.message
    )
    answer = Answer(prose(f"{message}."), _TONES[finding.severity], tuple(values), tuple(blocks))
    return Document(f"{finding.code} {finding.name}", (), (), answer)


def _draw_value(finding: Finding) -> Figure | None:
    """Draw the value beside its limit, and with the fix where that was measured; None where there is no number."""
    from initcheck.pages.document import Figure, prose
    from initcheck.pages.forest import draw_forest

    fix = finding.fix
    pair = [] if fix is None else [each for each in (fix.before, fix.after) if each is not None]
    shown = pair if len(pair) > 1 else [finding.measured] if finding.measured is not None else []
    shares = [is_share(each) for each in shown]
    if not shown or not all(math.isfinite(each.value) and (shares[0] or each.value > 0.0) for each in shown):
        return None
    as_factors = not shares[0]
    rows = [
        _make_row(each, name, series, as_factors)
        for each, name, series in zip(shown, ("as it is", "with the fix"), (_WRONG, _FIXED), strict=False)
    ]
    first = shown[0]
    limit = _place(first.limit, as_factors)
    band: tuple[float, float] | None
    if first.quantity == RATE:
        band, caption, axis = (0.0, 0.0), "A factor of 1 keeps the size.", "factor of the square a layer"
    elif math.isnan(limit):
        band, caption, axis = None, "The value itself has no limit.", first.quantity
    else:  # what is wrong lies on the other side of the limit
        band = (limit, math.inf) if rows[0].value < limit else (-math.inf, limit)
        caption, axis = "Shaded: within the limit.", first.quantity
    panel = draw_forest(
        rows,
        band,
        title="",
        description=f"{first.quantity}: {rows[0].text}",
        prefix=f"finding-{finding.code}",
        axis=axis,
        as_factors=as_factors,
    )
    return Figure("finding", prose(caption), (), (), (panel,), finding.message, columns=1)


def _make_row(measured: Measured, name: str, series: int, as_factors: bool) -> ForestRow:
    from initcheck.pages.forest import ForestRow

    low, high = (_place(each, as_factors) for each in (measured.low, measured.high))
    text = f"{format_value(measured, measured.value)}{format_interval(measured)}"
    return ForestRow(name, _place(measured.value, as_factors), low, high, text, series)


def _place(value: float, as_factors: bool) -> float:
    """Give the place of a value on the axis: its logarithm where it is a factor."""
    if not as_factors:
        return value
    return math.log(value) if value > 0.0 else -math.inf if value == 0.0 else math.nan
