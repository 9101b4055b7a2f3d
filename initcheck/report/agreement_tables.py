"""The tables that set theory beside measurement: scores by cell, and gains in the textbook, predicted and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from initcheck.numbers import count, format_estimate, format_number
from initcheck.record import NotMeasured
from initcheck.report import palette
from initcheck.report.agreement import (
    NOTABLE,
    UNEXPLAINED,
    Comparison,
    compare,
    explain_gaps,
    format_score,
    tally,
)
from initcheck.report.document import Bullets, Cell, Details, Row, Table, Text, code, listed, prose
from initcheck.report.levels import DIRECTIONS, Direction
from initcheck.report.pairs import Flow, Pair
from initcheck.report.tables import lay_out, names_in_order, say_gain

_DIGITS: Final = 4
_PART: Final = ("textbook", "predicted", "measured", "difference")
GAIN_COLUMNS: Final = tuple(f"{direction.capitalize()}: {part}" for direction in DIRECTIONS for part in _PART)


def make_score_map(
    pairs: Sequence[Pair], not_measured: Sequence[NotMeasured], direction: Direction, caption: Text
) -> Table:
    """Lay the scores out by initializer and activation; a cell without a score says in words why.

    Args:
        pairs: the pairs of one network.
        not_measured: what could not be measured on that network.
        direction: which gain.
        caption: the table's caption.
    """
    numbers = number_gaps(pairs)
    return lay_out(pairs, not_measured, lambda pair: _say_cell(pair, direction, numbers), caption)


def number_gaps(pairs: Sequence[Pair]) -> dict[str, int]:
    """Number the notes that :func:`list_gaps` lists: by the words of the column ``prediction``."""
    return {words: number for number, words in enumerate(explain_gaps(pairs), start=1)}


def list_gaps(pairs: Sequence[Pair]) -> Bullets:
    """List what the predictions rest on where that is not a law of finite width, or why there are none, by note."""
    everything = names_in_order(pairs, "activation")
    items = []
    for number, (words, members) in enumerate(explain_gaps(pairs).items(), start=1):
        by_activations: dict[tuple[str, ...], list[str]] = {}
        for initializer in names_in_order(members, "initializer"):
            own = tuple(pair.activation for pair in members if pair.initializer == initializer)
            by_activations.setdefault(own, []).append(initializer)
        parts: list[Text] = []
        for activations, initializers in by_activations.items():
            whole = activations == everything and len(everything) > 1
            names = prose("every activation function") if whole else listed(activations)
            parts.append(prose("; " if parts else "", listed(tuple(initializers)), " with ", names))
        items.append(prose(f"Note {number}, ", *parts, f": {words}."))
    return Bullets(tuple(items))


def say_difference(item: Comparison, note: str = "") -> Cell:
    """Say in one cell how measurement and theory differ, or why that cannot be said.

    Args:
        item: the comparison.
        note: which note says more; empty if none does.
    """
    notes = (note,) if note else ()
    if item.standing == "scored":
        z = item.flow.z
        return Cell(format_score(z), notes, palette.tone_of_score(z), emphasis=abs(z) > NOTABLE)
    if item.standing == "exact":
        off = item.relative_difference
        return Cell("exact", ("no difference" if off == 0.0 else _part(off),), "expected")
    if item.standing == "off":
        tone = "growing-5" if item.relative_difference > 0.0 else "fading-5"
        return Cell("off", (f"differs by {_part(item.relative_difference)}",), tone, emphasis=True)
    if item.standing == "unscored":
        cause = "one seed" if item.pair.seeds == 1 else "no spread"
        return Cell("no score", (cause, f"differs by {_part(item.relative_difference)}"), "unknown")
    if item.standing == "mean field":
        return Cell("mean field only", notes, "unknown")
    if item.standing == "no gain":
        return Cell("no gain", notes, "unknown")
    symmetric = ("symmetric",) if item.pair.symmetric else ()
    return Cell("no theory", (*symmetric, *notes), "unknown")


def _part(difference: float) -> str:
    """Write a relative difference with its sign: in per cent, or as a power of ten where it is tiny."""
    sign = "−" if difference < 0.0 else "+"
    if math.isinf(difference):
        return f"{sign}∞"
    size = abs(difference)
    return sign + (f"{format_number(100.0 * size, 2)} %" if size >= 1e-4 else format_number(size, 1))


def _say_cell(pair: Pair, direction: Direction, numbers: Mapping[str, int]) -> Cell:
    return say_difference(compare(pair, direction), _point_to_note(pair, numbers))


def _point_to_note(pair: Pair, numbers: Mapping[str, int]) -> str:
    number = numbers.get(pair.prediction or UNEXPLAINED)
    return f"note {number}" if number else ""


def make_gain_table(pairs: Sequence[Pair], caption: Text, numbers: Mapping[str, int]) -> Table:
    """Set textbook, predicted and measured gain of each pair side by side.

    Args:
        pairs: pairs of one network and one activation.
        caption: the table's caption.
        numbers: the numbers of the notes, of :func:`number_gaps`.
    """
    rows = tuple(Row(pair.initializer, _gain_cells(pair, numbers)) for pair in pairs)
    return Table(caption, ("Initializer", *GAIN_COLUMNS), rows)


def group_gains(pairs: Sequence[Pair], unfolded: bool) -> tuple[Details, ...]:
    """Make one foldable table of gains an activation, with a count of the scores in the line that stays."""
    activations = names_in_order(pairs, "activation")
    ordered = sorted(pairs, key=lambda pair: activations.index(pair.activation))
    numbers = number_gaps(pairs)
    groups = []
    for activation, members in groupby(ordered, key=lambda pair: pair.activation):
        group = tuple(members)
        table = make_gain_table(group, prose("Gains per layer with ", code(activation), "."), numbers)
        groups.append(Details(prose(code(activation), f": {_count_scores(group)}"), (table,), unfolded))
    return tuple(groups)


def _count_scores(pairs: Sequence[Pair]) -> str:
    parts = []
    for direction in DIRECTIONS:
        found = tally(pairs, direction)
        scored = len(found.of("scored"))
        beyond = f", {found.beyond(NOTABLE)} beyond ±{NOTABLE:g}" if scored else ""
        parts.append(f"{direction} {count(scored, 'score')}{beyond}")
    return " · ".join(parts)


def make_headline_table(pairs: Sequence[Pair], caption: Text, numbers: Mapping[str, int]) -> Table:
    """Set textbook, predicted and measured gain side by side for the pairs that textbooks speak of."""
    rows = tuple(Row(f"{pair.initializer} with {pair.activation}", _gain_cells(pair, numbers)) for pair in pairs)
    return Table(caption, ("Pair", *GAIN_COLUMNS), rows, code_headers=False)


def _gain_cells(pair: Pair, numbers: Mapping[str, int]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for direction in DIRECTIONS:
        item = compare(pair, direction)
        cells += [
            _say_textbook(item.flow),
            _say_predicted(item.flow),
            say_gain(item.flow),
            _say_gap(item, _point_to_note(pair, numbers)),
        ]
    return tuple(cells)


def _say_textbook(flow: Flow) -> Cell:
    return Cell("none" if math.isnan(flow.textbook) else format_number(flow.textbook, _DIGITS))


def _say_predicted(flow: Flow) -> Cell:
    if math.isnan(flow.predicted):
        return Cell("none")
    spread = flow.predicted_spread
    note = "spread not known" if math.isnan(spread) else f"sd {format_number(spread, 2)}"
    return Cell(format_number(flow.predicted, _DIGITS), (note,))


def _say_gap(item: Comparison, note: str) -> Cell:
    """Say the difference; where only the infinite width is known, how far from it the measured gain lies."""
    cell = say_difference(item, note)
    if cell.tone == "expected":
        return replace(cell, tone="")
    if item.standing != "mean field" or item.flow.textbook == 0.0:
        return cell
    figures = (item.flow.gain, item.flow.low, item.flow.high)
    ratio = format_estimate(*(figure / item.flow.textbook for figure in figures))
    return replace(cell, notes=(f"{ratio.value} of the textbook", *cell.notes))
