"""The report's tables about pairs, and what is counted of them: a measurement of several initializers counts once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import format_estimate, format_number, format_share
from initcheck.pages.document import Cell, Details, Row, Table, Text, code, listed, prose, table_row
from initcheck.study.report.levels import DirectionSummary, LevelSummary, Outcome, SummaryRow
from initcheck.theory.thousandfold import MOST_LAYERS

# Pairs that textbooks talk about. Only those in the study are shown.
HEADLINES: Final = (
    ("HeNormal", "relu"),
    ("GlorotUniform", "relu"),
    ("RandomNormal(stddev=1.0)", "relu"),
    ("RandomNormal", "relu"),
    ("GlorotUniform", "tanh"),
    ("LecunNormal", "selu"),
    ("Zeros", "relu"),
)
# Each outcome as a verb, for one pair and for several.
OUTCOMES: Final[Mapping[Outcome, tuple[str, str]]] = {
    "kept": ("keeps the signal", "keep the signal"),
    "uniform": ("keeps only its size", "keep only its size"),
    "vanishes": ("vanishes", "vanish"),
    "explodes": ("explodes", "explode"),
    "symmetric": ("symmetric", "symmetric"),
    "dead": ("dead", "dead"),
    "undecided": ("undecided", "undecided"),
}
_LONG_TABLE: Final = 24
_TONES: Final[Mapping[Outcome, str]] = {
    "kept": "kept",
    "uniform": "unknown",
    "vanishes": "fading-2",
    "explodes": "growing-2",
    "symmetric": "symmetric",
    "dead": "dead",
    "undecided": "unknown",
}
_KEPT: Final = "Kept both ways"
_FORWARD_ONLY: Final = "Size kept forward only"
_BACKWARD_ONLY: Final = "Size kept backward only"
_UNDECIDED: Final = "Undecided"
_LOST: Final = "Size kept, but information lost"
KEPT_COLUMNS: Final = ("Activation", _KEPT, _FORWARD_ONLY, _BACKWARD_ONLY, _UNDECIDED, _LOST)
VERDICT_COLUMNS: Final = (
    "Initializer",
    "Verdict",
    "Forward gain per layer",
    "Backward gain per layer",
    "Differs between inputs",
    "Also seen",
)
# The best known initializer of each family, and both sizes of plain noise.
REPRESENTATIVES: Final = (
    "HeNormal",
    "GlorotUniform",
    "LecunNormal",
    "Orthogonal",
    "RandomNormal",
    "RandomNormal(stddev=1.0)",
)


def names_in_order(items: Sequence[SummaryRow] | Sequence[LevelSummary], field: str) -> tuple[str, ...]:
    """List the networks, initializers or activations of some pairs or levels, each once, in their order."""
    return tuple(dict.fromkeys(str(getattr(item, field)) for item in items))


def pick_headlines(pairs: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Pick from the pairs of one network those that textbooks talk about, in their order, under the names there."""
    return [
        replace(pair, initializer=initializer, twins=())
        for initializer, activation in HEADLINES
        for pair in pairs
        if initializer in pair.names and pair.activation == activation
    ]


def list_activations(
    pairs: Sequence[SummaryRow],
    count_up: Callable[[Sequence[SummaryRow]], str],
    *make_tables: Callable[[Sequence[SummaryRow], str], Table],
) -> tuple[Details, ...]:
    """Make the tables of each activation function, folded behind a line with a count; few pairs are unfolded."""
    groups = []
    for activation in names_in_order(pairs, "activation"):
        group = [pair for pair in pairs if pair.activation == activation]
        tables = tuple(make_table(group, activation) for make_table in make_tables)
        summary = prose(code(activation), f": {count_up(group)}")
        groups.append(Details(summary, tables, unfolded=len(pairs) <= _LONG_TABLE))
    return tuple(groups)


def merge_twins(pairs: Sequence[SummaryRow]) -> tuple[SummaryRow, ...]:
    """Make one of the pairs whose initializers were measured on the same weights, under the best known of the names.

    Keras draws the same numbers for one seed whatever the class, and on square kernels several initializers have the
    same variance: equal rows are no independent confirmations.
    """
    merged: list[SummaryRow] = []
    for network in names_in_order(pairs, "network"):
        own = [pair for pair in pairs if pair.network == network]
        groups = _find_twins(own)
        for pair in own:
            names = groups.get(pair.initializer, (pair.initializer,))
            if pair.initializer == names[0]:
                shown = choose_name(names)
                others = tuple(name for name in names if name != shown)
                merged.append(replace(pair, initializer=shown, twins=others))
    return tuple(merged)


def choose_name(names: Sequence[str]) -> str:
    """Choose the best known of some initializers."""
    return next((name for name in REPRESENTATIVES if name in names), min(names, key=len))


def _find_twins(pairs: Sequence[SummaryRow]) -> dict[str, tuple[str, ...]]:
    """Find for each initializer with an equal row all that have it, in their order."""
    rows: dict[str, list[object]] = {}
    for pair in pairs:
        gains = [(summary.gain, summary.low, summary.high) for summary in pair.by_direction.values()]
        if all(math.isfinite(gain) and low < high for gain, low, high in gains):
            rows.setdefault(pair.initializer, []).append((pair.activation, gains))
    groups: dict[str, list[str]] = {}
    for initializer, row in rows.items():
        groups.setdefault(repr(row), []).append(initializer)
    return {name: tuple(group) for group in groups.values() if len(group) > 1 for name in group}


def describe_twins(pairs: Sequence[SummaryRow]) -> Text:
    """Say which names stand for several initializers; nothing where none does."""
    twins = {pair.label: pair.twins for pair in pairs if pair.twins}
    if not twins:
        return ()
    listing = [prose(code(label), " stands for ", listed(names), " too; ") for label, names in twins.items()]
    return prose(*listing, "from one seed they draw the same weights here, so they are one measurement.")


def make_verdict_table(pairs: Sequence[SummaryRow], activation: str) -> Table:
    """Make the table with the verdict of each pair in words."""
    caption = prose(
        "Verdicts with ", code(activation), ". Gains are geometric means: first that over the deeper half of the "
        "network, which decides, then that over all layers with its 95% interval over seeds."
    )  # fmt: skip
    return Table(caption, VERDICT_COLUMNS, tuple(Row(", ".join(pair.names), _verdict_cells(pair)) for pair in pairs))


def count_outcomes(pairs: Sequence[SummaryRow]) -> dict[Outcome, int]:
    """Count the outcomes of some pairs, in a fixed order, without those that do not occur."""
    outcomes = [pair.outcome for pair in pairs]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome in outcomes}


def format_outcomes(pairs: Sequence[SummaryRow]) -> str:
    """Say how often each outcome occurs: ``3 keep the signal · 9 vanish``."""
    counts = count_outcomes(pairs)
    return " · ".join(f"{number} {OUTCOMES[outcome][number != 1]}" for outcome, number in counts.items())


def verdict_cell(pair: SummaryRow) -> Cell:
    """Give the verdict in the summary's words, with what qualifies it below."""
    verdict, _, addition = pair.verdict.partition("; ")
    notes = (addition,) if addition else ()
    return Cell(verdict, notes, _TONES[pair.outcome], emphasis=pair.outcome == "kept")


def gain_cell(summary: DirectionSummary) -> Cell:
    """Give the geometric mean gain over all layers with its interval, or say why there is none."""
    if summary.verdict == "dead":
        return Cell("dead", ("no rate: exactly zero",))
    if summary.steps == 0 and math.isnan(summary.geometric):
        return Cell("no rate", ("no layer measured",))
    estimate = format_estimate(summary.geometric, summary.geometric_low, summary.geometric_high)
    return Cell(estimate.value, (estimate.interval,))


def settled_cell(summary: DirectionSummary) -> Cell:
    """Give the gain that decides, that over all layers, and after how many layers a thousandfold change is there."""
    every = gain_cell(summary)
    if math.isnan(summary.settled) or summary.verdict == "dead":
        return every
    notes = (f"all layers {every.text}", *every.notes, format_layers_until(summary))
    return Cell(format_number(summary.settled, 3), notes)


def format_layers_until(summary: DirectionSummary) -> str:
    """Say after how many layers the signal has changed a thousandfold, and which way."""
    layers = summary.layers_until_thousandth
    if math.isinf(layers):
        return f"not within {MOST_LAYERS:,}"
    if not math.isnan(layers):
        end = "1/1000" if summary.thousandfold_change == "vanishes" else "× 1000"
        return f"{end} after {layers:.0f}"
    return f"not within {summary.steps + 1}" if summary.steps and summary.verdict != "dead" else "no rate"


def make_kept_table(pairs: Sequence[SummaryRow], caption: Text) -> Table:
    """List by activation which initializers keep the signal both ways, and which keep less than that.

    What the signal carries comes before its size: where that is lost, no other column names the pair.
    """
    rows = []
    for activation in names_in_order(pairs, "activation"):
        found: dict[str, list[str]] = {column: [] for column in KEPT_COLUMNS[1:]}
        for pair in pairs:
            if pair.activation == activation and (column := _find_kept_column(pair)):
                found[column].append(f"{pair.label}{_describe_flaw(pair, column)}")
        cells = [Cell(", ".join(names) or "none") for names in found.values()]
        if found[_KEPT]:
            cells[0] = Cell(cells[0].text, tone="kept", emphasis=True)
        rows.append(table_row(activation, *cells))
    return Table(caption, KEPT_COLUMNS, tuple(rows))


def _find_kept_column(pair: SummaryRow) -> str:
    """Find the column that names a pair; none for one that keeps its size in no direction."""
    preserved = [direction for direction in DIRECTIONS if pair.by_direction[direction].verdict == "preserves"]
    undecided = any(summary.verdict == "inconclusive" for summary in pair.by_direction.values())
    if pair.outcome == "kept":
        return _KEPT
    if not preserved:
        return _UNDECIDED if undecided else ""
    if pair.symmetric or not pair.distinguishes_inputs:
        return _LOST
    if undecided or len(preserved) > 1:
        return _UNDECIDED
    return _FORWARD_ONLY if preserved == ["forward"] else _BACKWARD_ONLY


def _describe_flaw(pair: SummaryRow, column: str) -> str:
    """Say in brackets what a pair loses, or what was not decided."""
    if column == _LOST:
        if pair.symmetric:
            return " (symmetric units)"
        return " (not known)" if math.isnan(pair.batch_variance_share) else " (same for all inputs)"
    if column == _UNDECIDED:
        return f" ({_name_undecided(pair)})"
    return ""


def _name_undecided(pair: SummaryRow) -> str:
    if not pair.is_finite:
        return "values that are not finite"
    open_ways = [way for way in DIRECTIONS if pair.by_direction[way].verdict == "inconclusive"]
    return " and ".join(open_ways) or "not fully measured"


def describe_verdicts(pairs: Sequence[SummaryRow], direction: Direction) -> str:
    """Say how often each verdict of one direction was given."""
    phrases = {
        "preserves": "is kept",
        "vanishes": "vanishes",
        "explodes": "explodes",
        "dead": "is exactly zero",
        "inconclusive": "could not be decided",
    }
    words = [pair.by_direction[direction].verdict for pair in pairs]
    known = {word: words.count(word) for word in dict.fromkeys([*phrases, *words]) if word in words}
    parts = [f"{phrases.get(word, word)} in {number:,}" for word, number in known.items()]
    return ", ".join(parts)


def _verdict_cells(pair: SummaryRow) -> tuple[Cell, ...]:
    return (
        verdict_cell(pair),
        *(settled_cell(pair.by_direction[direction]) for direction in DIRECTIONS),
        Cell("not known" if math.isnan(pair.batch_variance_share) else format_share(pair.batch_variance_share)),
        Cell(", ".join(_remarks(pair)) or "nothing"),
    )


def _remarks(pair: SummaryRow) -> list[str]:
    remarks = []
    if pair.symmetric is None:
        remarks.append("symmetry not known")
    elif pair.symmetric:
        remarks.append("units identical")
    if pair.nonfinite_from is not None:
        remarks.append(f"non-finite from position {pair.nonfinite_from}")
    if math.isnan(pair.dead_fraction):
        remarks.append("dead units not known")
    elif pair.dead_fraction > 0.0:
        remarks.append(f"{format_share(pair.dead_fraction)} of the units dead")
    if pair.saturated_fraction > 0.0:
        remarks.append(f"{format_share(pair.saturated_fraction)} saturated")
    return remarks
