"""The part of a network's section that sets theory against what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from initcheck.audit.gains import PRESERVED_FACTOR, THOUSANDFOLD
from initcheck.audit.limits import INDISTINGUISHABLE_SHARE, PRESERVING_MARGIN
from initcheck.core import columns as schema
from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import count, format_number
from initcheck.pages import palette
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Definitions,
    Details,
    Figure,
    Paragraph,
    Row,
    Scale,
    Section,
    Table,
    Text,
    code,
    prose,
)
from initcheck.study.record import NotMeasured
from initcheck.study.report import figures
from initcheck.study.report import figures as theory_figures
from initcheck.study.report.agreement import (
    EXACT_TOLERANCE,
    NOTABLE,
    explain_gaps,
    group_gains,
    is_predicted,
    list_gaps,
    make_headline_table,
    make_score_map,
    number_gaps,
    summarise,
    tally,
)
from initcheck.study.report.answer import pick_headlines
from initcheck.study.report.levels import Levels, Pair, PredictedLevels
from initcheck.study.report.tables import names_in_order

_LEAST_RANGE: Final = 0.35  # of a close-up, in powers of ten on either side
_GREATEST_RANGE: Final = 2.0
_LONG_TABLE: Final = 24


def write_theory(
    pairs: Sequence[Pair],
    not_measured: Sequence[NotMeasured],
    levels: Sequence[Levels],
    laws: Sequence[PredictedLevels],
    network: str,
    anchor: str,
) -> Section:
    """Write the section that sets theory against measurement on one network.

    Args:
        pairs: the pairs of the network.
        not_measured: what could not be measured on it.
        levels: its measured levels.
        laws: its predicted levels.
        network: its name.
        anchor: the anchor of the network's section.
    """
    title = "Theory against measurement"
    if not is_predicted(pairs):
        nothing = Paragraph(prose("No gain was predicted on the network ", code(network), "; the notes say why."))
        return Section(f"{anchor}-theory", title, (nothing, list_gaps(pairs)))
    blocks: list[Block] = [_introduce()]
    headlines = pick_headlines(pairs)
    if headlines:
        caption = prose(
            "Textbook against measured: the pairs that textbooks speak of. Each figure is a factor per layer. "
            "sd: the standard deviation from seed to seed that theory expects. In brackets: the 95% interval over "
            "seeds. Difference: measured less predicted in standard errors, as a normal score."
        )
        blocks.append(make_headline_table(headlines, caption, number_gaps(pairs)))
    blocks.append(Bullets(tuple(summarise(tally(pairs, direction), len(pairs)) for direction in DIRECTIONS)))
    blocks.append(_warn())
    if len(names_in_order(pairs, "activation")) > 1:
        blocks.append(Scale(palette.score_steps(), "Colours of the scores"))
        for direction in DIRECTIONS:
            caption = prose(
                f"{direction.capitalize()} scores on ", code(network), ": measured less predicted gain, in standard "
                f"errors over the seeds. Without colour: within ±{NOTABLE:g}.",
            )  # fmt: skip
            blocks.append(make_score_map(pairs, not_measured, direction, caption))
    if explain_gaps(pairs):
        blocks.append(Paragraph(prose("What the predictions rest on where that is not a law of finite width:")))
        blocks.append(list_gaps(pairs))
    close_up = _draw_close_up(headlines, levels, laws, f"{anchor}-distance")
    if close_up is not None:
        blocks.append(close_up)
    blocks.append(
        Paragraph(
            prose(
                "All pairs: the gain in the textbook’s infinitely wide network, the gain that theory expects at this "
                "width and batch with its standard deviation from seed to seed, the measured gain with its interval, "
                "and their difference as a score. Where no note is named, the prediction is a law of finite width."
            )
        )
    )
    blocks += group_gains(pairs, unfolded=len(pairs) <= _LONG_TABLE)
    return Section(f"{anchor}-theory", title, tuple(blocks))


def _introduce() -> Paragraph:
    return Paragraph(
        prose(
            "Before anything is measured, theory says what to expect: the gain of an infinitely wide network, which is "
            "what textbooks give, and the gain of a network of this width on a batch of this size, with its spread "
            "from seed to seed. The score is the distance between the measured and the predicted gain in standard "
            "errors over the seeds. If theory is right, about 19 of 20 scores lie within ±2; a score far outside says "
            "that theory, or the measurement, leaves something out. “Exact”: theory expects the same gain from every "
            f"seed, and it was measured to one part in {1.0 / EXACT_TOLERANCE:,.0f}; the relative difference stands "
            "below it. In the Markdown edition, scores beyond ±2 are bold."
        )
    )


def _warn() -> Paragraph:
    return Paragraph(
        prose(
            "The scores are not independent of each other: the cells of one initializer share their weights over all "
            "activation functions, and initializers of one distribution draw proportional numbers from one seed. So "
            "they move together, and a few unlucky draws can colour many cells: the counts can lie well off what "
            "independent scores would give, either way."
        )
    )


def _draw_close_up(
    pairs: Sequence[Pair], levels: Sequence[Levels], laws: Sequence[PredictedLevels], name: str
) -> Figure | None:
    """Draw for each pair how far the signal lies from the predicted median, so near that the bands can be told."""
    measured = {(item.initializer, item.activation, item.direction): item for item in levels}
    predicted = {(item.initializer, item.activation, item.direction): item for item in laws}
    chosen = []
    for pair in pairs:
        for direction in DIRECTIONS:
            key = (pair.initializer, pair.activation, direction)
            if key in measured and key in predicted and predicted[key].has_band:
                chosen.append(theory_figures.subtract_median(measured[key], predicted[key]))
    if not chosen or chosen[0][0].middle.size <= figures.MOST_DOTS:
        return None
    limit = theory_figures.find_range([item for both in chosen for item in both], _LEAST_RANGE, _GREATEST_RANGE)
    panels = []
    for number, (series, law) in enumerate(chosen):
        title = f"{series.initializer} with {series.activation}, {series.direction}"
        names = [series.initializer]
        panels.append(figures.draw_lines(title, f"{name}-{number}", [series], names, limit, [law], "measured / theory"))
    return Figure(
        name=name,
        caption=prose(
            "The same pairs, close up: the size of the signal at each layer, divided by the median that theory "
            "predicts. × 1 is theory. Line and filled band: the median and the 10th to 90th percentile of the seeds. "
            "Dashed line and dotted edges: median and percentiles as predicted. The band widens with the distance from "
            "where the signal starts, because every layer adds chance of its own. The median of a few seeds wanders "
            "inside the dotted edges, and neighbouring layers wander together."
        ),
        keys=(*figures.line_keys(("measured",)), *theory_figures.theory_line_keys()),
        marks=(),
        panels=tuple(panels),
        alternative="Measured size of the signal by layer, divided by the predicted median.",
    )


_MARGIN = f"{100 * PRESERVING_MARGIN:.0f}%"
_CRITICAL_DEPTH = f"{THOUSANDFOLD / math.log1p(PRESERVING_MARGIN):.0f}"
_FACTOR = format_number(math.exp(THOUSANDFOLD), 4)


def write_guide() -> Section:
    """Write the section that explains the words and the pictures to a student."""
    introduction = prose(
        "Before a network has learned anything, its weights are random numbers. A signal that enters it is multiplied "
        "by one random matrix after another, and so is the gradient on its way back. If each layer makes the signal a "
        "little smaller, nothing is left after many layers; if each makes it a little larger, it overflows. The "
        "initializer chooses the size of the random numbers, and this report measures what comes of that choice."
    )
    vocabulary: tuple[tuple[str, Text], ...] = (
        (
            "Size of a signal",
            prose(
                "The second moment: the mean of the squares of all values in a layer. Why not the variance? The "
                "variance measures distance from the mean, but the next layer adds up everything it receives, mean "
                "included. ReLU's outputs are never negative, so their mean is far from zero, and their variance alone "
                "would miss much of what is passed on."
            ),
        ),
        (
            "Pre-activation",
            prose(
                "Each layer first computes a weighted sum, called ", code("z"), ", then bends it with its activation "
                "function. Forward sizes are taken of ", code("z"), ", before the bend: this is the quantity that the "
                "theory of He and of Glorot speaks about, and it can be compared between activation functions.",
            ),
        ),
        (
            "Gain",
            prose(
                "The factor by which the size changes from one layer to the next. A gain of 1 keeps the signal. Gains "
                "multiply: ten layers of gain 0.5 leave about a thousandth of the signal. The gain in the tables is "
                "the mean factor over all layers, then over all seeds.",
            ),
        ),
        (
            "Forward and backward",
            prose(
                "Forward, the input travels to the output. Backward, the gradient travels from the output to the "
                "input: its size is the squared length of one sample's ", code("dL/dz"), ", which says how strongly "
                "the loss ", code("L"), " reacts to the pre-activations of a layer. The length, not the mean over "
                "units, because it can be kept through layers of different widths. Weights learn only where a gradient "
                "arrives, so both directions must survive.",
            ),
        ),
        (
            "Interval",
            prose(
                "Another draw of the weights would give other figures. Each pair is therefore measured on several "
                "networks with different seeds, and the 95% t interval over seeds says where the mean of many such "
                "networks lies. Only seeds count as repetitions: thousands of units in one network share one draw of "
                "the weights and are not independent evidence. No more digits are printed than the interval supports. "
                "“No spread”: every seed gave the same, as an initializer without chance does.",
            ),
        ),
        (
            "Preserves",
            prose(
                f"The rate is shown to lie within {_MARGIN} a layer of no change, by an equivalence test (two "
                f"one-sided tests over seeds). At {_MARGIN} a layer it takes {_CRITICAL_DEPTH} layers to change the "
                f"signal by a factor {_FACTOR}. In a network of few layers it is enough that the signal changes by "
                f"less than a factor {PRESERVED_FACTOR:g} in all. The rate judged is the typical one, the mean "
                "logarithm of the factors, over the deeper half of the network: the half nearer to the output, in both "
                "directions. There the forward signal has settled, and the factors of the gradient depend on it too, "
                "so a deeper network has more layers like these. The rate can differ from the gain, which is a mean of "
                "the factors themselves, over all layers.",
            ),
        ),
        (
            "Vanishes, explodes",
            prose(
                "That rate is shown to lie below, or above, that margin; or the signal faded until it was "
                "exactly zero, or grew beyond the largest number.",
            ),
        ),
        (
            "Inconclusive",
            prose("The interval allows both; more seeds would decide. It is not a pass."),
        ),
        ("Dead", prose("The signal, or the gradient, is exactly zero without having faded. There is no rate.")),
        (
            "Symmetric",
            prose(
                "All weights of a kernel are equal, so all units of a layer compute the same and learn the same. A "
                "symmetric layer of 300 units is one unit, 300 times. A gain near 1 does not help it.",
            ),
        ),
        (
            "Differs between inputs",
            prose(
                "The share of the last hidden layer's second moment that changes from one input to another. A signal "
                f"can keep its size and forget what it was about; below {100 * INDISTINGUISHABLE_SHARE:g}% the "
                "report says that inputs become indistinguishable.",
            ),
        ),
        (
            "Layers until 1/1000 or × 1000",
            prose(
                f"After how many layers the signal has changed by a factor {_FACTOR}, at the rate of the deeper half "
                "of the network, where the first layers' transient has passed. “No trend told from none”: that "
                "rate's interval includes no change at all.",
            ),
        ),
        (
            "Textbook",
            prose(
                "The gain that theory gives for an infinitely wide network, where chance averages out: for ReLU and "
                "He's weights it is 1. Theory follows the sizes of the signal layer by layer, from the initializer, "
                "the activation function and the data; it measures nothing.",
            ),
        ),
        (
            "Predicted",
            prose(
                "The gain that theory expects of a network of this width on a batch of this size, with its standard "
                "deviation (sd) from seed to seed. The narrower the layers, the farther networks lie apart, and the "
                "farther their mean may lie from the textbook. “Mean field only”: the textbook's gain is known, and "
                "what the width does to it is not.",
            ),
        ),
        (
            "Score",
            prose(
                "How far the measured gain lies from the predicted one, in standard errors over the seeds, made "
                "comparable with a standard normal number (a z-score; Student's t on few seeds has longer tails, "
                "which are taken out). Near 0 the two agree. Chance alone takes about one score in 22 beyond "
                "±2 and one in 370 beyond ±3. A large score is a finding: about the network, the measurement, or the "
                "theory.",
            ),
        ),
        (
            "Ordered, critical, chaotic",
            prose(
                "What an infinitely deep network does, by the factor ", code("χ"), " with which each layer multiplies "
                "the squared gradient once the signal has settled: below 1, ordered, gradients vanish; above 1, "
                "chaotic, they explode; at 1, critical, they are kept. ", code("σ_w"), " is the standard deviation of "
                "a weight times the square root of the number of inputs that a unit sums, ", code("σ_b"), " the "
                "standard deviation of the biases, which Keras sets to zero at the start.",
            ),
        ),
    )  # fmt: skip
    return Section("reading", "How to read this report", (Paragraph(introduction), Definitions(vocabulary)))


def write_column_definitions() -> Section:
    """Write the section that defines every column of the files."""
    summary = _define(
        schema.SUMMARY_COLUMNS, prose("Columns of ", code("summary.csv"), ": one row per network and pair.")
    )
    measurements = _define(
        schema.MEASUREMENT_COLUMNS,
        prose(
            "Columns of ", code("measurements.csv"), " and ", code("measurements.parquet"),
            ": one row per seed and measured site.",
        ),
    )  # fmt: skip
    introduction = Paragraph(
        prose(
            "The figures in this report are rounded; the files beside it hold them in full. ", code("z"),
            " is a layer's pre-activation, ", code("h"), " its output, ", code("W"), " its kernel and ", code("L"),
            " the loss. An empty cell means: not measured, not predicted, or not defined there.",
        )
    )  # fmt: skip
    return Section(
        "columns",
        "What the columns mean",
        (
            introduction,
            _fold(prose(code("summary.csv")), summary),
            _fold(prose(code("measurements.csv"), " and ", code("measurements.parquet")), measurements),
        ),
    )


def _fold(files: Text, table: Table) -> Details:
    return Details(prose(files, f": {count(len(table.rows), 'column')}"), (table,))


def _define(columns: Sequence[schema.Column], caption: Text) -> Table:
    rows = tuple(Row(column.name, (Cell(column.meaning), Cell(column.unit), Cell(column.dtype))) for column in columns)
    return Table(caption, ("Column", "Meaning", "Unit", "Type"), rows)
