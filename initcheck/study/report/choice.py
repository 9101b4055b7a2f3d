"""Which initializer for which activation function: the first and the second choice, by what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import exponential, format_estimate, format_names, format_share
from initcheck.models.initializers import INITIALIZERS
from initcheck.pages.document import Cell, Table, code, prose, table_row
from initcheck.study.report.levels import SeedGains, SummaryRow
from initcheck.study.report.tables import format_layers_until, names_in_order

CHOICE_COLUMNS: Final = ("Activation", "Recommended", "Forward gain", "Backward gain", "Second choice", "Why")
_FARTHEST: Final = math.log(2.0)  # a layer: beyond, a signal is lost at once


@dataclass(frozen=True)
class Choice:
    """What to initialize with, for one activation function.

    Attributes:
        ranked: the best first; those that are shown to keep the signal in both directions come before all others.
        at_this_width: those that keep it by weights whose size does not follow that of the layer.
    """

    activation: str
    ranked: tuple[SummaryRow, ...]
    at_this_width: tuple[SummaryRow, ...]

    @property
    def best(self) -> SummaryRow | None:
        """The best of those that keep the signal; None where none is shown to."""
        return self.ranked[0] if self.ranked and self.ranked[0].outcome == "kept" else None


def choose_initializers(pairs: Sequence[SummaryRow], gains: Sequence[SeedGains]) -> tuple[Choice, ...]:
    """Rank the initializers of one network for each activation function."""
    settled = {(each.initializer, each.activation, each.direction): each for each in gains}

    def measure_distance(pair: SummaryRow) -> tuple[float, float]:
        """Give how far from 1 the gain is at least and at most, in the worse direction, as a logarithm."""
        return tuple(  # type: ignore[return-value]
            max(_bound_distance(settled[pair.initializer, pair.activation, way])[end] for way in DIRECTIONS)
            for end in (0, 1)
        )

    choices = []
    for activation in names_in_order(pairs, "activation"):
        candidates = [
            pair
            for pair in pairs
            if pair.activation == activation and _is_candidate(pair) and math.isfinite(measure_distance(pair)[1])
        ]
        following = [pair for pair in candidates if not ignores_width(pair.initializer)]
        kept = [pair for pair in following if pair.outcome == "kept"]
        others = [pair for pair in following if pair.outcome != "kept" and measure_distance(pair)[0] <= _FARTHEST]
        ranked: list[SummaryRow] = []
        for group in (kept, others):
            left = {pair.initializer: (pair, *measure_distance(pair)) for pair in group}
            while left:
                # The first of which no other is shown to be better: noise does not decide.
                nearest = min(most for _, _, most in left.values())
                chosen = next(name for name, (_, least, _) in left.items() if least <= nearest)
                ranked.append(left.pop(chosen)[0])
        by_chance = (pair for pair in candidates if pair.outcome == "kept" and ignores_width(pair.initializer))
        choices.append(Choice(activation, tuple(ranked), tuple(by_chance)))
    return tuple(choices)


def ignores_width(initializer: str) -> bool:
    """Check whether the size of the weights is known not to follow the size of the layer."""
    known = INITIALIZERS.get(initializer.partition("(")[0])
    return known is not None and known.ignores_size


def make_choice_table(choices: Sequence[Choice], gains: Sequence[SeedGains], network: str) -> Table:
    """Tabulate the choices, a row an activation function."""
    settled = {(each.initializer, each.activation, each.direction): each for each in gains}
    rows = []
    for choice in choices:
        best, ranked = choice.best, choice.ranked
        cells = [Cell("none keeps it", tone="unknown"), Cell("–"), Cell("–")]
        second = ranked[1] if best and len(ranked) > 1 else None if best else ranked[0] if ranked else None
        if best:
            of_best = [settled[best.initializer, choice.activation, way] for way in DIRECTIONS]
            cells = [Cell(best.label, tone="kept", emphasis=True), *(Cell(*_write_gain(each)) for each in of_best)]
        notes = _describe_second(second, settled) if second else ()
        rows.append(
            table_row(
                choice.activation,
                *cells,
                Cell(second.label if second else "none", notes),
                _explain(choice, second),
            )
        )
    caption = prose(
        "Which initializer for my activation function, on ", code(network), ". Recommended is what is shown to keep "
        f"the signal in both directions, within {100.0 * PRESERVING_MARGIN:.0f}% a layer, with the gain nearest to 1; "
        "where intervals overlap, the order of the study decides. Not recommended are weights without chance, of "
        "which all seeds give the same network, and weights whose size does not follow that of the layer, which keep a "
        "signal at one width and lose it at another."
    )  # fmt: skip
    return Table(caption, CHOICE_COLUMNS, tuple(rows))


def _is_candidate(pair: SummaryRow) -> bool:
    """Check whether a pair carries a signal, by weights that differ from seed to seed."""
    forward = pair.by_direction["forward"]
    alive = all(summary.verdict != "dead" for summary in pair.by_direction.values())
    return alive and not pair.symmetric and pair.is_finite and pair.distinguishes_inputs and forward.low < forward.high


def _bound_distance(gains: SeedGains) -> tuple[float, float]:
    """Give the distance of an interval from no change: of its nearer and of its farther end."""
    low, high = gains.settled.low, gains.settled.high
    return max(low, -high, 0.0), max(abs(low), abs(high))


def _write_gain(gains: SeedGains) -> tuple[str, tuple[str, ...]]:
    estimate = format_estimate(*(exponential(each) for each in _interval(gains)))
    return estimate.value, (estimate.interval,)


def _interval(gains: SeedGains) -> tuple[float, float, float]:
    return gains.settled.value, gains.settled.low, gains.settled.high


def _describe_second(pair: SummaryRow, settled: dict[tuple[str, str, Direction], SeedGains]) -> tuple[str, ...]:
    """Give the gains of a second choice, and what becomes of the signal where it is not kept."""
    notes = []
    for way in DIRECTIONS:
        verdict = pair.by_direction[way].verdict
        gain, _ = _write_gain(settled[pair.initializer, pair.activation, way])
        notes.append(f"{gain} {way}" if verdict == "preserves" else f"{gain} {way}: {verdict}")
    return tuple(notes)


def _explain(choice: Choice, second: SummaryRow | None) -> str:
    if choice.best:
        return f"{format_share(choice.best.batch_variance_share)} of the output differs between inputs"
    here = format_names([pair.label for pair in choice.at_this_width])
    remark = f"; at this width alone, {here}" if here else ""
    if second is None:
        return f"with none do inputs stay apart at a gain within a factor of 2{remark}"
    lost = {way: second.by_direction[way] for way in DIRECTIONS if second.by_direction[way].verdict != "preserves"}
    depths = "; ".join(f"{way} {format_layers_until(summary)}" for way, summary in lost.items())
    return f"second choice: {depths} layers{remark}"
