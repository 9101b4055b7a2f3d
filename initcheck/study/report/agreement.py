"""Measured against predicted gains: each pair and direction falls into one category, and these are counted.

The score z of the summary is the difference between measured and predicted gain in standard errors over the seeds, made
standard normal. Not every pair has one: theory may know only the infinite width, or nothing; a prediction may be the
same for all seeds; and there may be no measured gain. These are counted apart, so that no gap reads as agreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Literal

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count, format_estimate, format_number
from initcheck.pages import palette
from initcheck.pages.document import Bullets, Cell, Details, Row, Table, Text, code, listed, prose, strong
from initcheck.study.record import NotMeasured
from initcheck.study.report.levels import DirectionSummary, SummaryRow
from initcheck.study.report.tables import gain_cell, make_map, names_in_order

Category = Literal["scored", "exact", "off", "unscored", "mean field", "no gain", "no theory"]
FINITE_WIDTH: Final = "finite width"
"""The words of the column ``prediction`` that need no remark."""
UNEXPLAINED: Final = "no prediction was made"
"""The reason where the column ``prediction`` is empty."""
NOTABLE: Final = 2.0
STRIKING: Final = 3.0
EXACT_TOLERANCE: Final = 1e-4
"""A prediction that is the same for all seeds is met within this; float32 adds up to about 1e-6 a layer."""
_WITHOUT_SPREAD: Final = 1e-6  # of the predicted gain
_OFF_BY: Final = f"one part in {1.0 / EXACT_TOLERANCE:,.0f}"
_DIGITS: Final = 4
_PART: Final = ("textbook", "predicted", "measured", "difference")
GAIN_COLUMNS: Final = tuple(f"{direction.capitalize()}: {part}" for direction in DIRECTIONS for part in _PART)


@dataclass(frozen=True)
class AgreementScore:
    """Theory and measurement of one pair in one direction.

    Attributes:
        category: ``scored`` has a z. ``exact``: theory expects the same gain from every seed, and it was measured;
            ``off``: it was not. ``unscored``: predicted and measured, but the seeds give no standard error. ``mean
            field``: only the infinite width is predicted. ``no gain``: predicted, but no gain could be measured.
            ``no theory``: nothing is predicted.
    """

    pair: SummaryRow
    direction: Direction
    category: Category

    @property
    def summary(self) -> DirectionSummary:
        """The figures."""
        return self.pair.by_direction[self.direction]

    @property
    def relative_difference(self) -> float:
        """Measured over predicted gain (textbook gain, where only that is known), less 1."""
        expected = self.summary.textbook if math.isnan(self.summary.predicted) else self.summary.predicted
        if expected == 0.0:
            return 0.0 if self.summary.gain == 0.0 else math.inf
        return self.summary.gain / expected - 1.0


@dataclass(frozen=True)
class ScoreCounts:
    """How many pairs of one direction have which category."""

    direction: Direction
    groups: dict[Category, tuple[AgreementScore, ...]]

    def of(self, category: Category) -> tuple[AgreementScore, ...]:
        """Give the comparisons of one category."""
        return self.groups.get(category, ())

    def beyond(self, limit: float) -> int:
        """Count the scores that are larger than a limit in magnitude."""
        return sum(abs(item.summary.z) > limit for item in self.of("scored"))

    @property
    def largest(self) -> AgreementScore | None:
        """The comparison with the largest score in magnitude; None without scores."""
        return max(self.of("scored"), key=lambda item: abs(item.summary.z), default=None)


def compare(pair: SummaryRow, direction: Direction) -> AgreementScore:
    """Sort a pair and a direction into its category."""
    return AgreementScore(pair, direction, _classify(pair.by_direction[direction]))


def count_scores(pairs: Sequence[SummaryRow], direction: Direction) -> ScoreCounts:
    """Compare all pairs in one direction."""
    groups: dict[Category, list[AgreementScore]] = {}
    for pair in pairs:
        item = compare(pair, direction)
        groups.setdefault(item.category, []).append(item)
    return ScoreCounts(direction, {category: tuple(items) for category, items in groups.items()})


def is_predicted(pairs: Sequence[SummaryRow]) -> bool:
    """Tell whether theory says anything about the gains of these pairs."""
    return any(compare(pair, direction).category != "no theory" for pair in pairs for direction in DIRECTIONS)


def normal_share(limit: float) -> float:
    """Give the share of independent standard normal scores beyond a limit on either side."""
    return math.erfc(limit / math.sqrt(2.0))


def format_score(z: float) -> str:
    """Write a score with its sign and one decimal."""
    if math.isinf(z):
        return "+∞" if z > 0.0 else "−∞"
    if abs(z) >= 1000.0:
        return ("+" if z > 0.0 else "") + format_number(z, 2)
    text = f"{z:+.1f}".replace("-", "−")
    return "0.0" if float(f"{z:.1f}") == 0.0 else text


def describe_scores(found: ScoreCounts, total: int) -> Text:
    """Say how many pairs have a score, how large the scores are, and what chance alone would give."""
    scored = len(found.of("scored"))
    head = (strong(found.direction.capitalize()), f", {scored} of {count(total, 'pair')} {_has(scored)} a score")
    if not scored:
        return prose(*head, ".", _describe_unscored(found))
    shares = {limit: normal_share(limit) for limit in (NOTABLE, STRIKING)}
    chance = " and ".join(
        f"{format_number(scored * share, 2)} ({100.0 * share:.2g}%) beyond ±{limit:g}"
        for limit, share in shares.items()
    )
    largest = found.largest
    assert largest is not None  # there are scores
    return prose(
        *head,
        f": {found.beyond(NOTABLE)} of them beyond ±{NOTABLE:g}, {found.beyond(STRIKING)} beyond ±{STRIKING:g}. "
        f"Of {count(scored, 'independent standard normal score')}, chance would put {chance}. "
        f"The largest is {format_score(largest.summary.z)} (",
        code(largest.pair.initializer), " with ", code(largest.pair.activation), ").",
        _describe_unscored(found),
    )  # fmt: skip


def explain_gaps(pairs: Sequence[SummaryRow]) -> dict[str, tuple[SummaryRow, ...]]:
    """Group pairs by what their predictions rest on, wherever that is not plain finite width."""
    groups: dict[str, list[SummaryRow]] = {}
    for pair in pairs:
        if pair.prediction != FINITE_WIDTH:
            groups.setdefault(pair.prediction or UNEXPLAINED, []).append(pair)
    return {words: tuple(members) for words, members in groups.items()}


def number_gaps(pairs: Sequence[SummaryRow]) -> dict[str, int]:
    """Number the notes that :func:`list_gaps` lists: by the words of the column ``prediction``."""
    return {words: number for number, words in enumerate(explain_gaps(pairs), start=1)}


def list_gaps(pairs: Sequence[SummaryRow]) -> Bullets:
    """List what the predictions rest on where it is not the theory of finite width, or why there are none, by note."""
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


def make_score_map(
    pairs: Sequence[SummaryRow], not_measured: Sequence[NotMeasured], direction: Direction, caption: Text
) -> Table:
    """Lay the scores out by initializer and activation; a cell without a score says in words why."""
    numbers = number_gaps(pairs)
    return make_map(pairs, not_measured, lambda pair: _score_cell(pair, direction, numbers), caption)


def make_headline_table(pairs: Sequence[SummaryRow], caption: Text, numbers: Mapping[str, int]) -> Table:
    """Set textbook, predicted and measured gain side by side for the pairs that textbooks discuss."""
    rows = tuple(Row(f"{pair.initializer} with {pair.activation}", _gain_cells(pair, numbers)) for pair in pairs)
    return Table(caption, ("Pair", *GAIN_COLUMNS), rows, code_headers=False)


def make_gain_table(pairs: Sequence[SummaryRow], caption: Text, numbers: Mapping[str, int]) -> Table:
    """Set textbook, predicted and measured gain of each pair side by side."""
    rows = tuple(Row(pair.initializer, _gain_cells(pair, numbers)) for pair in pairs)
    return Table(caption, ("Initializer", *GAIN_COLUMNS), rows)


def group_gains(pairs: Sequence[SummaryRow], unfolded: bool) -> tuple[Details, ...]:
    """Make one foldable table of gains an activation, with a count of the scores in the line that stays."""
    activations = names_in_order(pairs, "activation")
    ordered = sorted(pairs, key=lambda pair: activations.index(pair.activation))
    numbers = number_gaps(pairs)
    groups = []
    for activation, members in groupby(ordered, key=lambda pair: pair.activation):
        group = tuple(members)
        table = make_gain_table(group, prose("Gains per layer with ", code(activation), "."), numbers)
        groups.append(Details(prose(code(activation), f": {_format_counts(group)}"), (table,), unfolded))
    return tuple(groups)


def difference_cell(item: AgreementScore, note: str = "") -> Cell:
    """Say in one cell how measurement and theory differ, or why that cannot be said."""
    notes = (note,) if note else ()
    if item.category == "scored":
        z = item.summary.z
        return Cell(format_score(z), notes, palette.tone_of_score(z), emphasis=abs(z) > NOTABLE)
    if item.category == "exact":
        off = item.relative_difference
        return Cell("exact", ("no difference" if off == 0.0 else _part(off),), "expected")
    if item.category == "off":
        tone = "growing-5" if item.relative_difference > 0.0 else "fading-5"
        return Cell("off", (f"differs by {_part(item.relative_difference)}",), tone, emphasis=True)
    if item.category == "unscored":
        cause = "one seed" if item.pair.seeds == 1 else "no variation"
        return Cell("no score", (cause, f"differs by {_part(item.relative_difference)}"), "unknown")
    if item.category == "mean field":
        return Cell("mean field only", notes, "unknown")
    if item.category == "no gain":
        return Cell("no gain", notes, "unknown")
    symmetric = ("symmetric",) if item.pair.symmetric else ()
    return Cell("no theory", (*symmetric, *notes), "unknown")


def _classify(summary: DirectionSummary) -> Category:
    if math.isnan(summary.predicted) and math.isnan(summary.textbook):
        return "no theory"
    if math.isnan(summary.gain):
        return "no gain"
    if math.isnan(summary.predicted):
        return "mean field"
    if summary.predicted_sd <= _WITHOUT_SPREAD * abs(summary.predicted):
        # A score would compare rounding errors with rounding errors.
        return "exact" if abs(summary.gain - summary.predicted) <= EXACT_TOLERANCE * abs(summary.predicted) else "off"
    return "unscored" if math.isnan(summary.z) else "scored"


def _describe_unscored(found: ScoreCounts) -> str:
    """Say what became of the pairs without a score."""
    parts = []
    if exact := found.of("exact"):
        farthest = max(abs(item.relative_difference) for item in exact)
        parts.append(f"{len(exact)} where theory expects the same of all seeds and is met {_within(farthest)}")
    phrases: tuple[tuple[Category, str], ...] = (
        ("off", f"where theory expects the same of all seeds and is missed by more than {_OFF_BY}"),
        ("unscored", "where the seeds give no standard error"),
        ("mean field", "of which only the infinite width is known"),
        ("no gain", "predicted, but without a measured gain"),
        ("no theory", "without a theory"),
    )
    parts += [f"{len(found.of(category))} {phrase}" for category, phrase in phrases if found.of(category)]
    return f" Without a score: {'; '.join(parts)}." if parts else ""


def _within(difference: float) -> str:
    return "to the last bit" if difference == 0.0 else f"within {format_number(difference, 1)} of itself"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def _score_cell(pair: SummaryRow, direction: Direction, numbers: Mapping[str, int]) -> Cell:
    return difference_cell(compare(pair, direction), _point_to_note(pair, numbers))


def _point_to_note(pair: SummaryRow, numbers: Mapping[str, int]) -> str:
    number = numbers.get(pair.prediction or UNEXPLAINED)
    return f"note {number}" if number else ""


def _gain_cells(pair: SummaryRow, numbers: Mapping[str, int]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for direction in DIRECTIONS:
        item = compare(pair, direction)
        cells += [
            _textbook_cell(item.summary),
            _predicted_cell(item.summary),
            gain_cell(item.summary),
            _gap_cell(item, _point_to_note(pair, numbers)),
        ]
    return tuple(cells)


def _textbook_cell(summary: DirectionSummary) -> Cell:
    return Cell("none" if math.isnan(summary.textbook) else format_number(summary.textbook, _DIGITS))


def _predicted_cell(summary: DirectionSummary) -> Cell:
    if math.isnan(summary.predicted):
        return Cell("none")
    note = f"sd {format_number(summary.predicted_sd, 2, missing='not known')}"
    return Cell(format_number(summary.predicted, _DIGITS), (note,))


def _gap_cell(item: AgreementScore, note: str) -> Cell:
    """Say the difference; where only the infinite width is known, how far from it the measured gain lies."""
    cell = difference_cell(item, note)
    if cell.tone == "expected":
        return replace(cell, tone="")
    if item.category != "mean field" or item.summary.textbook == 0.0:
        return cell
    values = (item.summary.gain, item.summary.low, item.summary.high)
    ratio = format_estimate(*(value / item.summary.textbook for value in values))
    return replace(cell, notes=(f"{ratio.value} of the textbook", *cell.notes))


def _format_counts(pairs: Sequence[SummaryRow]) -> str:
    parts = []
    for direction in DIRECTIONS:
        found = count_scores(pairs, direction)
        scored = len(found.of("scored"))
        beyond = f", {found.beyond(NOTABLE)} beyond ±{NOTABLE:g}" if scored else ""
        parts.append(f"{direction} {count(scored, 'score')}{beyond}")
    return " · ".join(parts)


def _part(difference: float) -> str:
    """Write a relative difference with its sign: in percent, or as a power of ten where it is tiny."""
    sign = "−" if difference < 0.0 else "+"
    if math.isinf(difference):
        return f"{sign}∞"
    size = abs(difference)
    return sign + (f"{format_number(100.0 * size, 2)}%" if size >= 1e-4 else format_number(size, 1))
