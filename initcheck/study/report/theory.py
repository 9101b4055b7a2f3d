"""The part of a network's section that compares theory with what was measured.

Each pair and direction falls into one category, and these are counted. The score z of the summary is the difference
between measured and predicted gain in standard errors over the seeds, made standard normal. Not every pair has one:
theory may know only the infinite width, or nothing; a prediction may be the same for all seeds; and there may be no
measured gain. These are counted apart, so that no gap reads as agreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy import stats

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count, format_estimate, format_number
from initcheck.core.statistics import adjust_pvalues
from initcheck.pages import palette
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Details,
    Figure,
    Row,
    Section,
    Table,
    Text,
    code,
    listed,
    paragraph,
    prose,
    strong,
)
from initcheck.study.record import NotMeasured
from initcheck.study.report import figures
from initcheck.study.report.levels import (
    FINITE_WIDTH,
    UNEXPLAINED,
    DirectionSummary,
    LevelSummary,
    PredictedLevels,
    SummaryRow,
)
from initcheck.study.report.maps import MapCell, draw_score_maps
from initcheck.study.report.tables import gain_cell, names_in_order, pick_headlines

Category = Literal["scored", "exact", "off", "unscored", "mean field", "no gain", "no theory"]
NOTABLE: Final = 2.0
STRIKING: Final = 3.0
EXACT_TOLERANCE: Final = 1e-4
"""A prediction that is the same for all seeds is met within this; float32 adds up to about 1e-6 a layer."""
DEVIATION_LEVEL: Final = 0.05
_NO_DEVIATION: Final = 1e-6  # of the predicted gain
_OFF_BY: Final = f"one part in {1.0 / EXACT_TOLERANCE:,.0f}"
_DIGITS: Final = 4
_PART: Final = ("predicted", "measured", "difference")
GAIN_COLUMNS: Final = tuple(f"{direction.capitalize()}: {part}" for direction in DIRECTIONS for part in _PART)
_WORDS: Final[Mapping[Category, str]] = {
    "exact": "=",
    "off": "≠",
    "unscored": "–",
    "mean field": "∞",
    "no gain": "–",
    "no theory": "",
}
_LEAST_RANGE: Final = 0.35  # of a close-up, in powers of ten on either side
_GREATEST_RANGE: Final = 2.0


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
        """The values of the direction."""
        return self.pair.by_direction[self.direction]

    @property
    def measured_sd(self) -> float:
        """The standard deviation of the measured gain over the seeds, from its interval."""
        quantile = float(stats.t.ppf(0.975, self.pair.seeds - 1))
        return (self.summary.high - self.summary.gain) / quantile * math.sqrt(self.pair.seeds)

    @property
    def relative_difference(self) -> float:
        """Measured over predicted gain (textbook gain, where only that is known), less 1."""
        expected = self.summary.textbook if math.isnan(self.summary.predicted) else self.summary.predicted
        if expected == 0.0:
            return 0.0 if self.summary.gain == 0.0 else math.inf
        return self.summary.gain / expected - 1.0


@dataclass(frozen=True)
class TableMarks:
    """What the tables of gains mark: the number of each note, and pairs whose predicted standard deviation is wrong."""

    notes: Mapping[str, int]
    wrong_deviations: Mapping[Direction, Sequence[SummaryRow]]


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


def write_theory(
    pairs: Sequence[SummaryRow],
    not_measured: Sequence[NotMeasured],
    levels: Sequence[LevelSummary],
    predictions: Sequence[PredictedLevels],
    network: str,
    anchor: str,
    *,
    unfolded: bool = False,
) -> Section:
    """Write the section that sets theory against measurement on one network."""
    title = "Theory against measurement"
    if not is_predicted(pairs):
        nothing = paragraph("No gain was predicted on the network ", code(network), "; the notes say why.")
        return Section(f"{anchor}-theory", title, (nothing, list_gaps(pairs)))
    marks = mark_tables(pairs)
    counts = [count_scores(pairs, direction) for direction in DIRECTIONS]
    scores = [describe_scores(found, len(pairs)) for found in counts]
    deviations = [describe_deviations(marks.wrong_deviations[found.direction], found) for found in counts]
    beyond = [found.beyond(NOTABLE) for found in counts]
    words = f"Scores: {beyond[0]} forward and {beyond[1]} backward lie beyond ±{NOTABLE:g}"
    listing = Bullets((*scores, *(text for text in deviations if text)))
    blocks: list[Block] = [Details(prose(words), (listing,), unfolded=unfolded)]
    headlines = pick_headlines(pairs)
    if headlines:
        caption = prose(
            "Textbook against measured: the pairs that textbooks discuss. Each number is a factor per layer. "
            "sd: the standard deviation from seed to seed that theory expects. In brackets: the 95% interval over "
            "seeds. Measured is the arithmetic mean here, which the textbook’s number is about. Difference: measured "
            "less predicted in standard errors, as a normal score."
        )
        table = make_gain_table(headlines, caption, marks, headlines=True)
        blocks.append(Details(prose(f"{count(len(headlines), 'pair')} that textbooks discuss"), (table,)))
    if len(names_in_order(pairs, "activation")) > 1:
        caption = prose(
            "Scores on ", code(network), ": measured less predicted gain, in standard errors over the seeds. White: "
            f"within ±{NOTABLE:g}. “=”: theory expects the same of all seeds, and it was measured; “≠”: it was not; "
            "“∞”: only the infinite width is known. The cells of one initializer share their weights over all "
            "activation functions, and initializers of one distribution draw proportional numbers from one seed: a "
            "few unlucky draws can colour many cells."
        )  # fmt: skip
        picture = draw_score_maps(pairs, not_measured, score_map_cell, caption, f"{anchor}-scores")
        blocks.append(Details(prose("Every score"), (picture,)))
    close_up = _draw_close_up(headlines, levels, predictions, f"{anchor}-distance")
    if close_up is not None:
        blocks.append(Details(prose("The same pairs, layer by layer, close up"), (close_up,)))
    if gaps := explain_gaps(pairs):
        summary = prose(
            f"What the predictions rest on where it is not the theory of finite width: {count(len(gaps), 'note')}"
        )
        blocks.append(Details(summary, (list_gaps(pairs),)))
    return Section(f"{anchor}-theory", title, tuple(blocks))


def mark_tables(pairs: Sequence[SummaryRow]) -> TableMarks:
    """Find what the tables of the gains of one network mark."""
    wrong = {direction: find_wrong_deviations(pairs, direction) for direction in DIRECTIONS}
    return TableMarks(number_gaps(pairs), wrong)


def score_map_cell(pair: SummaryRow, direction: Direction) -> MapCell:
    """Give the score of one pair, or a sign for why there is none."""
    item = compare(pair, direction)
    if item.category == "scored":
        z = item.summary.z
        return MapCell(format_score(z), "" if abs(z) <= NOTABLE else "+" if z > 0.0 else "−", palette.tone_of_score(z))
    cell = difference_cell(item)
    return MapCell(_WORDS[item.category], _WORDS[item.category], cell.tone)


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
    """Check whether theory says anything about the gains of these pairs."""
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
        f"Of {count(scored, 'independent standard normal score')}, chance would put at most {chance}. "
        f"The largest is {format_score(largest.summary.z)} (",
        code(largest.pair.initializer), " with ", code(largest.pair.activation), ").",
        _describe_unscored(found),
    )  # fmt: skip


def describe_deviations(wrong: Sequence[SummaryRow], found: ScoreCounts) -> Text:
    """Say where the seeds vary otherwise than theory predicts; nothing without scores."""
    scored = len(found.of("scored"))
    if not scored:
        return ()
    test = f"(χ² in each pair, at {100.0 * DEVIATION_LEVEL:g}% in all after Holm’s correction)"
    head = prose(
        strong(found.direction.capitalize()),
        ", the standard deviation over the seeds differs significantly from the predicted one in ",
        f"{len(wrong) or 'none'} of {count(scored, 'pair')} {test}",
    )
    if not wrong:
        return prose(head, ".")
    by_activation = [
        prose(listed(tuple(pair.initializer for pair in wrong if pair.activation == name)), " with ", code(name))
        for name in names_in_order(wrong, "activation")
    ]
    return prose(head, ": ", *(prose("; " if place else "", text) for place, text in enumerate(by_activation)), ".")


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


def find_wrong_deviations(pairs: Sequence[SummaryRow], direction: Direction) -> tuple[SummaryRow, ...]:
    """Find the pairs whose seeds vary otherwise than theory predicts.

    The variance over S seeds, in units of the predicted one, is compared with chi-square of S - 1 degrees of freedom,
    two-sided, after Holm's correction over the pairs.
    """
    scored = [item for item in count_scores(pairs, direction).of("scored") if item.summary.predicted_sd > 0.0]
    if not scored:
        return ()
    freedom = np.asarray([item.pair.seeds - 1 for item in scored])
    ratios = np.asarray([item.measured_sd / item.summary.predicted_sd for item in scored])
    sums = freedom * np.square(ratios)
    p_values = 2.0 * np.minimum(stats.chi2.sf(sums, freedom), stats.chi2.cdf(sums, freedom))
    adjusted = adjust_pvalues(np.minimum(p_values, 1.0), "holm")
    return tuple(item.pair for item, p_value in zip(scored, adjusted, strict=True) if p_value < DEVIATION_LEVEL)


def make_gain_table(pairs: Sequence[SummaryRow], caption: Text, marks: TableMarks, *, headlines: bool = False) -> Table:
    """Set predicted and measured gain of each pair side by side; headlines name the activation as well."""
    rows = tuple(
        Row(
            f"{pair.initializer} with {pair.activation}" if headlines else ", ".join(pair.names),
            _gain_cells(pair, marks),
        )
        for pair in pairs
    )
    return Table(caption, ("Pair" if headlines else "Initializer", *GAIN_COLUMNS), rows, code_headers=not headlines)


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


def _draw_close_up(
    pairs: Sequence[SummaryRow], levels: Sequence[LevelSummary], predictions: Sequence[PredictedLevels], name: str
) -> Figure | None:
    """Draw for each pair how far the signal lies from the predicted median, so close that the bands can be seen."""
    measured = {(item.initializer, item.activation, item.direction): item for item in levels}
    predicted = {(item.initializer, item.activation, item.direction): item for item in predictions}
    chosen = []
    for pair in pairs:
        for direction in DIRECTIONS:
            key = (pair.initializer, pair.activation, direction)
            if key in measured and key in predicted and predicted[key].has_band:
                chosen.append(figures.subtract_median(measured[key], predicted[key]))
    if not chosen or chosen[0][0].middle.size <= figures.MOST_DOTS:
        return None
    limit = figures.find_range([item for both in chosen for item in both], _LEAST_RANGE, _GREATEST_RANGE)
    panels = []
    for number, (series, prediction) in enumerate(chosen):
        title = f"{series.initializer} with {series.activation}, {series.direction}"
        names = [series.initializer]
        panels.append(
            figures.draw_lines(title, f"{name}-{number}", [series], names, limit, [prediction], "measured / theory")
        )
    return Figure(
        name=name,
        caption=prose(
            "The same pairs, close up: the size of the signal at each layer, divided by the median that theory "
            "predicts. × 1 is theory. Line and thin lines: the median and the 10th and 90th percentile of the seeds. "
            "Pale band: median and percentiles as predicted. The band widens with the distance from where the signal "
            "enters, because every layer adds randomness. The median of a few seeds varies inside the band, and "
            "neighbouring layers vary together."
        ),
        keys=(*figures.line_keys(("measured",)), figures.edge_key(), figures.theory_line_key()),
        marks=(),
        panels=tuple(panels),
        alternative="Measured size of the signal by layer, divided by the predicted median.",
    )


def _classify(summary: DirectionSummary) -> Category:
    if math.isnan(summary.predicted) and math.isnan(summary.textbook):
        return "no theory"
    if math.isnan(summary.gain):
        return "no gain"
    if math.isnan(summary.predicted):
        return "mean field"
    if summary.predicted_sd <= _NO_DEVIATION * abs(summary.predicted):
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


def _point_to_note(pair: SummaryRow, numbers: Mapping[str, int]) -> str:
    number = numbers.get(pair.prediction or UNEXPLAINED)
    return f"note {number}" if number else ""


def _gain_cells(pair: SummaryRow, marks: TableMarks) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for direction in DIRECTIONS:
        item = compare(pair, direction)
        cells += [
            _predicted_cell(item, pair in marks.wrong_deviations[direction]),
            _measured_cell(item.summary),
            _gap_cell(item, _point_to_note(pair, marks.notes)),
        ]
    return tuple(cells)


def _predicted_cell(item: AgreementScore, wrong_deviation: bool) -> Cell:
    summary = item.summary
    textbook = "" if math.isnan(summary.textbook) else f"textbook {format_number(summary.textbook, _DIGITS)}"
    if math.isnan(summary.predicted):
        return Cell("none", (textbook,) if textbook else ())
    notes = [textbook, f"sd {format_number(summary.predicted_sd, 2, missing='not known')}"]
    if wrong_deviation:
        notes.append(f"seeds: {format_number(item.measured_sd, 2)}")
    return Cell(format_number(summary.predicted, _DIGITS), tuple(notes), emphasis=wrong_deviation)


def _measured_cell(summary: DirectionSummary) -> Cell:
    """Give the arithmetic mean, which textbooks speak of."""
    if math.isnan(summary.gain):
        return gain_cell(summary)
    estimate = format_estimate(summary.gain, summary.low, summary.high)
    return Cell(estimate.value, (estimate.interval,))


def _gap_cell(item: AgreementScore, note: str) -> Cell:
    """Say the difference; where only the infinite width is known, how far from it the measured gain lies."""
    cell = difference_cell(item, note)
    if cell.tone == "expected":
        return replace(cell, tone="")
    if item.category != "mean field" or item.summary.textbook == 0.0:
        return cell
    values = (item.summary.gain, item.summary.low, item.summary.high)
    ratio = format_estimate(*(value / item.summary.textbook for value in values))
    return replace(cell, notes=(f"{ratio.value} × textbook", *cell.notes))


def _part(difference: float) -> str:
    """Write a relative difference with its sign: in percent, or as a power of ten where it is tiny."""
    sign = "−" if difference < 0.0 else "+"
    if math.isinf(difference):
        return f"{sign}∞"
    size = abs(difference)
    return sign + (f"{format_number(100.0 * size, 2)}%" if size >= 1e-4 else format_number(size, 1))
