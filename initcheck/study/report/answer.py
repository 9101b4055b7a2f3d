"""The first page of the report: what was found, in words. Every number is computed from the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from initcheck.audit.gains import PRESERVED_FACTOR
from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import count
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Figure,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    code,
    prose,
    strong,
)
from initcheck.study.record import StudyRecord
from initcheck.study.report import figures
from initcheck.study.report import figures as theory_figures
from initcheck.study.report.agreement import NOTABLE, STRIKING, UNEXPLAINED, Tally, normal_share, tally
from initcheck.study.report.levels import Levels, Pair, PredictedLevels
from initcheck.study.report.tables import (
    count_outcomes,
    make_kept_table,
    names_in_order,
    say_gain,
    say_layers_until,
    say_verdict,
    summarise_counts,
)

# Pairs that textbooks talk about. Only those in the study are told of.
HEADLINES: Final = (
    ("HeNormal", "relu"),
    ("GlorotUniform", "relu"),
    ("RandomNormal(stddev=1.0)", "relu"),
    ("RandomNormal", "relu"),
    ("GlorotUniform", "tanh"),
    ("LecunNormal", "selu"),
    ("Zeros", "relu"),
)


def write_answer(study: StudyRecord, pairs: Sequence[Pair], network: str) -> Section:
    """Write the section that answers first.

    Args:
        study: the study.
        pairs: all pairs of the study.
        network: the main network, which the answer is about.

    Returns:
        The section.
    """
    own = [pair for pair in pairs if pair.network == network]
    blocks: list[Block] = [
        Paragraph(_introduce(own, network)),
        Bullets(tuple(_count_verdicts(own, len(study.not_measured)))),
    ]
    if headlines := pick_headlines(own):
        blocks.append(_tell_headlines(headlines))
    caption = prose(
        "Which initializers keep the signal on ", code(network), ", by activation function. ",
        "“Of no use” names what keeps the size of the signal and loses what it carries.",
    )  # fmt: skip
    blocks.append(make_kept_table(own, caption))
    others = [name for name in names_in_order(pairs, "network") if name != network]
    blocks += [Paragraph(_summarise_other([pair for pair in pairs if pair.network == name], name)) for name in others]
    return Section("found", "What was found", tuple(blocks))


def pick_headlines(pairs: Sequence[Pair]) -> list[Pair]:
    """Pick from the pairs of one network those that textbooks talk about, in their order."""
    return [pair for name in HEADLINES for pair in pairs if (pair.initializer, pair.activation) == name]


def _introduce(pairs: Sequence[Pair], network: str) -> Text:
    initializers = count(len(names_in_order(pairs, "initializer")), "initializer")
    activations = count(len(names_in_order(pairs, "activation")), "activation function")
    seeds = sorted({pair.seeds for pair in pairs})
    replicates = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return prose(
        "Does a signal survive this network when training begins? ",
        strong(f"{count(len(pairs), 'pair')} of {initializers} and {activations}"),
        " on the network ", code(network), f", each measured on {replicates} networks drawn from different seeds:",
    )  # fmt: skip


def _count_verdicts(pairs: Sequence[Pair], missing: int) -> list[Text]:
    outcomes = count_outcomes(pairs)
    kept = outcomes.get("kept", 0)
    lines = [
        prose(
            strong(f"{kept} of {count(len(pairs), 'pair')}"),
            f" {'keeps' if kept == 1 else 'keep'} the signal in both directions: at the rate of the deeper half of ",
            f"the network, its size changes by less than {_say_margin(pairs)}, and the last layer still tells inputs ",
            "apart.",
        ),
        *(prose(strong(way.capitalize()), f", {summarise_counts(pairs, way)}.") for way in DIRECTIONS),
    ]
    if uniform := outcomes.get("uniform"):
        lines.append(
            prose(
                f"In {count(uniform, 'pair')} the size is kept, but the last hidden layer is nearly the same for every "
                "input, or it is not known whether it is: a signal without a message."
            )
        )
    if symmetric := outcomes.get("symmetric"):
        lines.append(
            prose(
                f"In {count(symmetric, 'pair')} all units of a layer start alike. They receive the same gradient and "
                "stay alike, so the layer works as a single unit, whatever its gain."
            )
        )
    if overflowing := sum(not pair.is_finite for pair in pairs):
        lines.append(prose(f"In {count(overflowing, 'pair')} values left the range of floating-point numbers."))
    lines.append(_say_agreement(pairs))
    if missing:
        entries = count(missing, "entry is", "entries are")
        lines.append(
            prose(f"Not everything was measured: {entries} listed, with the reason, under “What was not measured”.")
        )
    return lines


def _say_agreement(pairs: Sequence[Pair]) -> Text:
    """Say in one sentence how theory fares."""
    found = [tally(pairs, direction) for direction in DIRECTIONS]
    if not any(item.of("scored") for item in found):
        return prose("Theory’s gains could not be compared with these: “Theory against measurement” says why.")
    (scored, back), (notable, back_notable), (striking, back_striking) = (
        tuple(figures) for figures in zip(*(_count_scores(item) for item in found), strict=True)
    )
    return prose(
        strong("Theory"), f" predicts the gain, with its spread, of {count(scored, 'pair')} forward and {back:,} "
        f"backward. The score of the measured gain, its distance in standard errors, lies beyond ±{NOTABLE:g} in "
        f"{notable:,} and {back_notable:,} of them, and beyond ±{STRIKING:g} in {striking:,} and {back_striking:,}; of "
        f"independent normal scores, {_share(NOTABLE)} and {_share(STRIKING)} would.",
    )  # fmt: skip


def _count_scores(found: Tally) -> tuple[int, int, int]:
    return len(found.of("scored")), found.beyond(NOTABLE), found.beyond(STRIKING)


def _share(limit: float) -> str:
    return f"{100.0 * normal_share(limit):.2g}%"


def _say_margin(pairs: Sequence[Pair]) -> str:
    """Say which of the verdicts' two limits holds on a network of this depth."""
    steps = max((flow.steps for pair in pairs for flow in pair.flows.values()), default=0)
    if steps * math.log1p(PRESERVING_MARGIN) < math.log(PRESERVED_FACTOR):
        return f"a factor {PRESERVED_FACTOR:g} in all"
    return f"{100 * PRESERVING_MARGIN:.0f}% a layer"


def _tell_headlines(pairs: Sequence[Pair]) -> Table:
    rows = tuple(
        Row(
            f"{pair.initializer} with {pair.activation}",
            (
                *(say_gain(pair.flows[way]) for way in DIRECTIONS),
                *(Cell(say_layers_until(pair.flows[way])) for way in DIRECTIONS),
                say_verdict(pair),
            ),
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
    caption = prose("The pairs that textbooks speak of, as measured here. In brackets: the 95% interval over seeds.")
    return Table(caption, columns, rows, code_headers=False)


def _summarise_other(pairs: Sequence[Pair], network: str) -> Text:
    kept = sum(pair.outcome == "kept" for pair in pairs)
    return prose(
        "On the network ", code(network), f", {kept} of {count(len(pairs), 'pair')} ",
        "keeps" if kept == 1 else "keep", " the signal in both directions. Forward, ",
        summarise_counts(pairs, "forward"), "; backward, ", summarise_counts(pairs, "backward"), ".",
    )  # fmt: skip


_LINES_OF_THEORY: Final = (
    " Thin dashed lines: the median that theory expects, and dotted, the 10th and 90th percentile. They come "
    "from the initializer, the width and the batch, and not from what was measured, unless the note below a picture "
    "says that they begin with a measured value."
)
_DOTS_OF_THEORY: Final = (
    " Hollow marks: the median that theory expects, with a capped whisker from the 10th to the 90th percentile where "
    "that is wider than the mark. They come from the initializer, the widths and the batch, and not from what was "
    "measured, unless the note below a picture says that they begin with a measured value."
)


def write_course(
    levels: Sequence[Levels],
    laws: Sequence[PredictedLevels],
    pairs: Sequence[Pair],
    layers: Sequence[str],
    anchor: str,
) -> Section:
    """Write the section that shows the signal of one network layer by layer.

    Args:
        levels: its measured levels.
        laws: its predicted levels.
        pairs: its pairs.
        layers: its hidden layers, input side first.
        anchor: the anchor of the network's section.
    """
    by_pair = {(series.initializer, series.activation, series.direction): series for series in levels}
    predicted = laws if any(law.is_known for law in laws) else ()
    blocks: list[Block] = []
    own: dict[Direction, list[Levels]] = {}
    for direction in DIRECTIONS:
        found = [by_pair[pair.initializer, pair.activation, direction] for pair in pairs]
        if all(np.isnan(series.middle).all() for series in found):
            blocks.append(Paragraph(prose(f"No {direction} signal was measured on this network.")))
        else:
            own[direction] = found
    if len(layers) > figures.MOST_DOTS:
        blocks += [_draw_lines(found, predicted, f"{anchor}-{direction}") for direction, found in own.items()]
    elif own:
        blocks.append(_draw_dots(own, predicted, layers, f"{anchor}-levels"))
    if not predicted:
        blocks.append(_miss_theory(laws))
    elif not all(law.is_known for law in predicted):
        blocks.append(
            Paragraph(prose("Why there is no theory of some pairs is said under “Theory against measurement”."))
        )
    return Section(f"{anchor}-layers", "The signal, layer by layer", tuple(blocks))


def _miss_theory(laws: Sequence[PredictedLevels]) -> Paragraph:
    """Say why there is no predicted line in any picture."""
    reasons = dict.fromkeys(words for law in laws for words in law.basis) or {UNEXPLAINED: None}
    return Paragraph(prose(f"There is no predicted signal to compare with: {'; '.join(reasons)}."))


def _draw_lines(levels: Sequence[Levels], laws: Sequence[PredictedLevels], name: str) -> Figure:
    direction = levels[0].direction
    everyone = names_in_order(levels, "initializer")
    chosen = figures.choose_representatives(everyone)
    shown = [series for series in levels if series.initializer in chosen]
    predicted = [law for law in laws if law.direction == direction and law.initializer in chosen]
    limit = figures.shared_limit([*shown, *predicted])
    panels = []
    for number, activation in enumerate(names_in_order(levels, "activation")):
        group = [series for series in shown if series.activation == activation]
        if group:
            expected = [law for law in predicted if law.activation == activation]
            panels.append(figures.draw_lines(activation, f"{name}-{number}", group, chosen, limit, expected))
    omitted = len(everyone) - len(chosen)
    others = f" The other {omitted} initializers are in the tables." if omitted else ""
    if direction == "forward":
        caption = prose(
            "Forward: the size of the signal at each layer, one picture an activation function; layer 1 is next to the "
            "input. Each step of the vertical scale is a power of ten: a straight slope means that every layer "
            "multiplies by the same factor, and a level line that the signal is kept. Line: the median of the seeds. "
            "Band: from the 10th to the 90th percentile of the seeds, which is where single networks lie. All pictures "
            "share one scale, and lines that coincide lie on top of each other."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    else:
        caption = prose(
            "Backward: the same for the gradient. It starts at the output, so read from right to left: a line that "
            "falls towards the left is a gradient that fades before it reaches the first layers."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.line_keys(chosen) + (theory_figures.theory_line_keys() if predicted else ()),
        marks=figures.MARKS,
        panels=tuple(panels),
        alternative=f"{direction.capitalize()} size of the signal by layer on {levels[0].network}, by activation.",
    )


def _draw_dots(
    levels: Mapping[Direction, Sequence[Levels]], laws: Sequence[PredictedLevels], layers: Sequence[str], name: str
) -> Figure:
    everything = [series for found in levels.values() for series in found]
    limits = {direction: figures.dot_limits(found) for direction, found in levels.items()}
    panels = []
    for number, activation in enumerate(names_in_order(everything, "activation")):
        for direction, found in levels.items():
            group = [series for series in found if series.activation == activation]
            expected = [law for law in laws if law.activation == activation and law.direction == direction]
            prefix = f"{name}-{number}-{direction}"
            panels.append(
                figures.draw_dots(f"{activation}, {direction}", prefix, group, layers, limits[direction], expected)
            )
    caption = prose(
        "The size of the signal at each hidden layer, by initializer: of the pre-activations going forward, and of "
        "their gradients going backward. Each step of the scale is a power of ten. Dots that lie one above the other: "
        "the layers hand the signal on as they got it. Dot: the median of the seeds. Whisker: from the 10th to the "
        "90th percentile of the seeds, often narrower than the dot." + (_DOTS_OF_THEORY if laws else ""),
    )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.dot_keys(layers) + (theory_figures.theory_dot_keys() if laws else ()),
        marks=(("▶ ◀", "the dot lies outside the picture, at the level written"), *figures.MARKS[1:]),
        panels=tuple(panels),
        alternative=f"Size of the signal by initializer on {everything[0].network}.",
        columns=2,
    )
