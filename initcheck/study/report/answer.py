"""The first page of the report: what was found, in words. Every number is computed from the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initcheck.audit.gains import PRESERVED_FACTOR
from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import count
from initcheck.pages.document import (
    Block,
    Bullets,
    Paragraph,
    Section,
    Table,
    Text,
    code,
    prose,
    strong,
    table_row,
)
from initcheck.study.record import StudyRecord
from initcheck.study.report.levels import SummaryRow
from initcheck.study.report.tables import (
    count_outcomes,
    describe_verdicts,
    format_layers_until,
    gain_cell,
    make_kept_table,
    names_in_order,
    pick_headlines,
    verdict_cell,
)
from initcheck.study.report.theory import NOTABLE, STRIKING, ScoreCounts, count_scores, normal_share


def write_answer(study: StudyRecord, pairs: Sequence[SummaryRow], network: str) -> Section:
    """Write the section that answers first."""
    own = [pair for pair in pairs if pair.network == network]
    blocks: list[Block] = [
        Paragraph(_introduce(own, network)),
        Bullets(tuple(_count_verdicts(own, len(study.not_measured)))),
    ]
    if headlines := pick_headlines(own):
        blocks.append(_headline_table(headlines))
    caption = prose(
        "Which initializers keep the signal on ", code(network), ", by activation function. ",
        "“Undecided” names the direction in which more seeds would decide; “information lost” what keeps the size of "
        "the signal in a direction and loses what it carries.",
    )  # fmt: skip
    blocks.append(make_kept_table(own, caption))
    others = [name for name in names_in_order(pairs, "network") if name != network]
    blocks += [Paragraph(_summarise_other([pair for pair in pairs if pair.network == name], name)) for name in others]
    return Section("found", "What was found", tuple(blocks))


def _introduce(pairs: Sequence[SummaryRow], network: str) -> Text:
    initializers = count(len(names_in_order(pairs, "initializer")), "initializer")
    activations = count(len(names_in_order(pairs, "activation")), "activation function")
    seeds = sorted({pair.seeds for pair in pairs})
    replicates = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return prose(
        "Does a signal survive this network when training begins? ",
        strong(f"{count(len(pairs), 'pair')} of {initializers} and {activations}"),
        " on the network ", code(network), f", each measured on {replicates} networks drawn from different seeds:",
    )  # fmt: skip


def _headline_table(pairs: Sequence[SummaryRow]) -> Table:
    rows = tuple(
        table_row(
            f"{pair.initializer} with {pair.activation}",
            *(gain_cell(pair.by_direction[way]) for way in DIRECTIONS),
            *(format_layers_until(pair.by_direction[way]) for way in DIRECTIONS),
            verdict_cell(pair),
        )
        for pair in pairs
    )
    columns = (
        "Pair",
        "Each layer multiplies the signal by",
        "and the gradient by",
        "Signal, layers until",
        "Gradient, layers until",
        "Verdict",
    )
    caption = prose(
        "The pairs that textbooks discuss, as measured here: the geometric mean factor of a layer, and over how many "
        "layers signal and gradient change a thousandfold. Beyond the measured layers theory goes on at this width, "
        "where the geometric mean falls a little in every layer even if the arithmetic mean is kept. In brackets: the "
        "95% interval over seeds."
    )
    return Table(caption, columns, rows, code_headers=False)


def _summarise_other(pairs: Sequence[SummaryRow], network: str) -> Text:
    kept = sum(pair.outcome == "kept" for pair in pairs)
    return prose(
        "On the network ", code(network), f", {kept} of {count(len(pairs), 'pair')} ",
        "keeps" if kept == 1 else "keep", " the signal in both directions. Forward, ",
        describe_verdicts(pairs, "forward"), "; backward, ", describe_verdicts(pairs, "backward"), ".",
    )  # fmt: skip


def _count_verdicts(pairs: Sequence[SummaryRow], missing: int) -> list[Text]:
    outcomes = count_outcomes(pairs)
    kept = outcomes.get("kept", 0)
    lines = [
        prose(
            strong(f"{kept} of {count(len(pairs), 'pair')}"),
            f" {'keeps' if kept == 1 else 'keep'} the signal in both directions: at the rate of the deeper half of ",
            f"the network, its size changes by less than {_format_margin(pairs)}, and the last layer still ",
            "distinguishes inputs.",
        ),
        *(prose(strong(way.capitalize()), f", {describe_verdicts(pairs, way)}.") for way in DIRECTIONS),
    ]
    if uniform := outcomes.get("uniform"):
        lines.append(
            prose(
                f"In {count(uniform, 'pair')} the size is kept, but the last hidden layer is nearly the same for every "
                "input, or it is not known whether it is: the outputs no longer depend on the input."
            )
        )
    if symmetric := outcomes.get("symmetric"):
        lines.append(
            prose(
                f"In {count(symmetric, 'pair')} all units of a layer are initialized alike. They receive the same "
                "gradient and stay alike, so the layer works as a single unit, whatever its gain."
            )
        )
    if overflowing := sum(not pair.is_finite for pair in pairs):
        lines.append(prose(f"In {count(overflowing, 'pair')} values left the range of floating-point numbers."))
    lines.append(_describe_agreement(pairs))
    if missing:
        entries = count(missing, "entry is", "entries are")
        lines.append(
            prose(f"Not everything was measured: {entries} listed, with the reason, under “What was not measured”.")
        )
    return lines


def _describe_agreement(pairs: Sequence[SummaryRow]) -> Text:
    """Say in one sentence how theory fares."""
    found = [count_scores(pairs, direction) for direction in DIRECTIONS]
    if not any(item.of("scored") for item in found):
        return prose("Theory’s gains could not be compared with these: “Theory against measurement” says why.")
    (scored, back), (notable, back_notable), (striking, back_striking) = (
        tuple(counts) for counts in zip(*(_headline_counts(item) for item in found), strict=True)
    )
    return prose(
        strong("Theory"), f" predicts the gain, with its standard deviation, of {count(scored, 'pair')} forward and "
        f"{back:,} backward. The score of the measured gain, its distance in standard errors, lies beyond "
        f"±{NOTABLE:g} in {notable:,} and {back_notable:,} of them, and beyond ±{STRIKING:g} in {striking:,} and "
        f"{back_striking:,}; of independent normal scores, at most {_share(NOTABLE)} and {_share(STRIKING)} would.",
    )  # fmt: skip


def _share(limit: float) -> str:
    return f"{100.0 * normal_share(limit):.2g}%"


def _headline_counts(found: ScoreCounts) -> tuple[int, int, int]:
    return len(found.of("scored")), found.beyond(NOTABLE), found.beyond(STRIKING)


def _format_margin(pairs: Sequence[SummaryRow]) -> str:
    """Say which of the verdicts' two limits holds on a network of this depth."""
    steps = max((summary.steps for pair in pairs for summary in pair.by_direction.values()), default=0)
    if steps * math.log1p(PRESERVING_MARGIN) < math.log(PRESERVED_FACTOR):
        return f"a factor {PRESERVED_FACTOR:g} in all"
    return f"{100 * PRESERVING_MARGIN:.0f}% a layer"
