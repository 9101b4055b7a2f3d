"""The first page of the report: what was found. Every number is computed from the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence

from initcheck.audit.gains import PRESERVED_FACTOR
from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import count, format_names
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Details,
    Section,
    Table,
    Text,
    Tone,
    code,
    linked,
    prose,
    strong,
    table_row,
)
from initcheck.study.record import StudyRecord
from initcheck.study.report.calibration import calibrate_scores
from initcheck.study.report.choice import choose_initializers, make_choice_table
from initcheck.study.report.levels import SeedGains, SummaryRow
from initcheck.study.report.maps import draw_gain_maps
from initcheck.study.report.tables import (
    count_outcomes,
    describe_twins,
    describe_verdicts,
    format_layers_until,
    format_outcomes,
    gain_cell,
    make_kept_table,
    names_in_order,
    pick_headlines,
    verdict_cell,
)
from initcheck.study.report.theory import NOTABLE, STRIKING, ScoreCounts, count_scores, normal_share


def write_answer(study: StudyRecord, pairs: Sequence[SummaryRow], gains: Sequence[SeedGains], network: str) -> Answer:
    """Write what stands on the first screen: for which activation functions something keeps the signal."""
    own = [pair for pair in pairs if pair.network == network]
    refused = [item for item in study.not_measured if item.network == network]
    own_gains = [each for each in gains if each.network == network]
    choices = choose_initializers(own, own_gains)
    served = tuple(choice.activation for choice in choices if choice.best)
    tone: Tone = "passed" if len(served) == len(choices) else "undecided" if served else "failed"
    outcomes = count_outcomes(own)
    lost = [outcomes.get(outcome, 0) for outcome in ("vanishes", "explodes")]
    values = [
        (f"{outcomes.get('kept', 0)} of {len(own)}", "measured pairs keep the signal"),
        (f"{lost[0]} and {lost[1]}", "vanish and explode in a direction"),
    ]
    found = [calibrate_scores(own, own_gains, direction) for direction in DIRECTIONS]
    if all(found):
        sizes = ", ".join(f"{each.rms:.2f}" for each in found if each)
        values.append((sizes, "root mean square of theory’s scores: 1 by chance"))
    picture = draw_gain_maps(own, refused, _explain_maps(own, network), "network-1-gains")
    return Answer(
        _name_served(served, len(choices)),
        tone,
        tuple(values),
        (picture, make_choice_table(choices, own_gains, network)),
    )


def write_findings(study: StudyRecord, pairs: Sequence[SummaryRow], network: str) -> Section:
    """Write the section that counts what was found, with the pairs that textbooks discuss."""
    own = [pair for pair in pairs if pair.network == network]
    blocks: list[Block] = []
    if headlines := pick_headlines(own):
        blocks.append(_headline_table(headlines))
    blocks.append(Bullets(tuple(_count_verdicts(own, network, len(study.not_measured)))))
    names = names_in_order(pairs, "network")
    blocks.append(_compare_networks(pairs, names))
    caption = prose(
        "Which initializers keep the signal on ", code(network), ", by activation function. "
        "“Undecided” names the direction in which more seeds would decide; “information lost” what keeps the size of "
        "the signal in a direction and loses what it carries.",
    )  # fmt: skip
    blocks.append(Details(prose("Everything that keeps the signal in a direction"), (make_kept_table(own, caption),)))
    return Section("found", "What was found", tuple(blocks))


def _name_served(served: Sequence[str], activations: int) -> Text:
    """Say for which activation functions something is recommended."""
    functions = count(activations, "activation function")
    if not served:
        return prose(f"With none of {functions} is there an initializer to recommend, which keeps the signal.")
    has = "has" if len(served) == 1 else "have"
    names = format_names(served, len(served))
    return prose(f"{len(served)} of {functions} {has} an initializer to recommend, which keeps the signal: {names}.")


def _explain_maps(pairs: Sequence[SummaryRow], network: str) -> Text:
    twins = describe_twins(pairs)
    return prose(
        "Gain on ", code(network), ": the factor of the mean square from one layer to the next, as a geometric mean "
        "over the deeper half of the layers, which decides the verdict. Kept: shown to change by less than ",
        f"{_format_margin(pairs)}.", *((" ", twins) if twins else ()),
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
        "The pairs that textbooks discuss: the geometric mean factor of a layer over all layers with its 95% interval "
        "over seeds, and over how many layers signal and gradient change a thousandfold. Beyond the measured layers "
        "theory goes on at this width, where the geometric mean falls a little in every layer even if the arithmetic "
        "mean is kept."
    )
    return Table(caption, columns, rows, code_headers=False)


def _compare_networks(pairs: Sequence[SummaryRow], networks: Sequence[str]) -> Table:
    rows = []
    for network in networks:
        own = [pair for pair in pairs if pair.network == network]
        ways = (describe_verdicts(own, direction) for direction in DIRECTIONS)
        rows.append(table_row(network, _count_measured(own), format_outcomes(own), *ways))
    caption = prose("What was measured on each network, and what becomes of the size of the signal.")
    return Table(caption, ("Network", "Measured", "Pairs that", "Forward, the size", "Backward, the size"), tuple(rows))


def _count_measured(pairs: Sequence[SummaryRow]) -> str:
    """Count pairs, and say how many were asked for if some of them are one measurement."""
    asked = sum(len(pair.names) for pair in pairs)
    return (
        count(len(pairs), "pair") if asked == len(pairs) else f"{count(len(pairs), 'measured pair')} ({asked} by name)"
    )


def _count_verdicts(pairs: Sequence[SummaryRow], network: str, missing: int) -> list[Text]:
    outcomes = count_outcomes(pairs)
    kept = outcomes.get("kept", 0)
    initializers = count(len(names_in_order(pairs, "initializer")), "initializer")
    activations = count(len(names_in_order(pairs, "activation")), "activation function")
    seeds = sorted({pair.seeds for pair in pairs})
    replicates = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines = [
        prose(
            strong(f"{kept} of {_count_measured(pairs)}"),
            f" {'keeps' if kept == 1 else 'keep'} the signal in both directions on ", code(network),
            f": {initializers} that differ and {activations}, each pair on {replicates} networks drawn from different "
            "seeds. At the rate of the deeper half of the network, the size of the signal changes by less than "
            f"{_format_margin(pairs)}, and the last layer still distinguishes inputs.",
        ),
    ]  # fmt: skip
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
            prose(
                f"Not everything was measured: {entries} listed, with the reason, under ",
                linked("What was not measured", "#not-measured"), ".",
            )
        )  # fmt: skip
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
