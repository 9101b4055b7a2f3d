"""The result of the gate as a section of the page of an examined model."""

from __future__ import annotations

import math
from typing import Final

from initcheck.gate.causes import find_condition_changes, find_version_changes, group_weight_changes
from initcheck.gate.comparison import Comparison, Difference
from initcheck.numbers import count, format_number
from initcheck.report.document import (
    Block,
    Bullets,
    Cell,
    Definitions,
    Details,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    code,
    prose,
    strong,
)
from initcheck.report.gate_text import advise, describe_weight_change, gate_line

_COLUMNS: Final = ("Layer or weight", "Quantity", "Verdict", "Factor", "Then", "Now")
_TONES: Final = {"same": "kept", "changed": "growing-3", "inconclusive": "unknown"}
_UNFOLDED: Final = 30


def write_gate(comparison: Comparison) -> Section:
    """Write what has changed since the baseline.

    Args:
        comparison: the result.
    """
    blocks: list[Block] = [Paragraph(prose(strong(f"{gate_line(comparison)}.")))]
    moved = [(each.name, prose(f"{each.before} → {each.after}")) for each in find_version_changes(comparison)]
    moved += [(each.what, prose(f"{each.before} → {each.after}")) for each in find_condition_changes(comparison)]
    if moved:
        blocks.append(Definitions(tuple(moved)))
    told = [describe_weight_change(each) for each in group_weight_changes(comparison)]
    told += [f"{each.word}: {' → '.join(filter(None, (each.before, each.after)))}" for each in comparison.structure]
    told += [f"new finding: {name} at {layer or 'the whole model'}" for name, layer in comparison.new_findings]
    if told:
        blocks.append(Bullets(tuple(prose(each) for each in told)))
    for verdict in ("changed", "inconclusive"):
        found = comparison.of_verdict(verdict)
        if found:
            blocks.append(_fold(found, f"{count(len(found), 'figure')} {verdict}."))
    if comparison.of_verdict("inconclusive"):
        blocks.append(Paragraph(prose(advise(comparison))))
    blocks.append(Paragraph(_method(comparison)))
    same = comparison.of_verdict("same")
    if same:
        blocks.append(Details(prose(f"{count(len(same), 'figure')} that stayed the same"), (_table(same, ""),)))
    return Section("gate", "Against the baseline", tuple(blocks))


def _method(comparison: Comparison) -> Text:
    how = "seed by seed" if comparison.paired else "as independent draws (Welch)"
    return prose(
        "Figures are roots of second moments: of a weight, and of what a layer makes of the signal and of the gradient "
        f"that reach it. They are compared {how}. Same: two one-sided tests at 5 % within a margin of ",
        code(f"{comparison.margin:g}"),
        "; changed: beyond it, at 1 in 10,000 for all figures together (Holm).",
    )


def _fold(found: tuple[Difference, ...], caption: str) -> Block:
    table = _table(found, caption)
    return table if len(found) <= _UNFOLDED else Details(prose(caption), (table,))


def _table(found: tuple[Difference, ...], caption: str) -> Table:
    return Table(prose(caption), _COLUMNS, tuple(map(_row, found)))


def _row(difference: Difference) -> Row:
    shift = difference.shift
    factor = Cell("none")
    if shift is not None:
        ends = () if math.isnan(shift.low) else (f"[{_exp(shift.low)}, {_exp(shift.high)}]",)
        factor = Cell(_exp(shift.value), ends)
    cells = (
        Cell(difference.quantity),
        Cell(difference.verdict, tone=_TONES[difference.verdict]),
        factor,
        *(_side(state, mean) for state, mean in zip(difference.states, difference.means, strict=True)),
    )
    return Row(difference.path, cells)


def _side(state: str, mean: float) -> Cell:
    """Write the geometric mean over seeds, or why there is none."""
    if math.isnan(mean):
        return Cell(state)
    return Cell(_exp(mean), () if state == "finite" else (state,))


def _exp(value: float) -> str:
    return format_number(math.exp(value))
