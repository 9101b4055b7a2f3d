"""The sections about the report itself: how to read it, what was not measured, how the rest was, and the columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from initcheck.audit.gains import PRESERVED_FACTOR
from initcheck.audit.limits import INDISTINGUISHABLE_SHARE, PRESERVING_MARGIN
from initcheck.core.columns import MEASUREMENT_COLUMNS, SUMMARY_COLUMNS, Column
from initcheck.core.formatting import count, format_duration, format_number
from initcheck.pages.document import (
    Block,
    CodeBlock,
    Definitions,
    Details,
    Paragraph,
    Section,
    Table,
    Text,
    code,
    method_table,
    paragraph,
    prose,
    table_row,
)
from initcheck.study.record import NotMeasured, Provenance, StudyRecord
from initcheck.theory.thousandfold import MOST_LAYERS, THOUSANDFOLD

_FEW: Final = 3
_MARGIN: Final = f"{100 * PRESERVING_MARGIN:.0f}%"
_CRITICAL_DEPTH: Final = f"{THOUSANDFOLD / math.log1p(PRESERVING_MARGIN):.0f}"
_FACTOR: Final = format_number(math.exp(THOUSANDFOLD), 4)


def write_guide() -> Section:
    """Write the section that explains the words and the pictures to a student."""
    introduction = paragraph(
        "Before a network has learned anything, its weights are random numbers. A signal that enters it is multiplied "
        "by one random matrix after another, and so is the gradient on its way back. If each layer makes the signal a "
        "little smaller, nothing is left after many layers; if each makes it a little larger, it overflows. The "
        "initializer chooses the size of the random numbers, and this report measures what comes of that choice."
    )
    vocabulary = {
        "Size of a signal": prose(
            "The second moment: the mean of the squares of all values in a layer. Why not the variance? The "
            "variance measures distance from the mean, but the next layer adds up everything it receives, mean "
            "included. ReLU's outputs are never negative, so their mean is far from zero, and their variance alone "
            "would miss much of what is passed on."
        ),
        "Forward and backward": prose(
            "Forward, the signal goes from the input to the output. Backward, the gradient goes from the output to "
            "the input: its size is the squared length of one sample's ", code("dL/dz"), ", which says how "
            "strongly the loss ", code("L"), " reacts to the pre-activations of a layer. The length, not the mean "
            "over units, because it can be kept through layers of different widths. Weights learn only where a "
            "gradient arrives, so both directions must survive.",
        ),
        "Preserves": prose(
            f"The rate is shown to lie within {_MARGIN} a layer of no change, by an equivalence test (two "
            f"one-sided tests over seeds). At {_MARGIN} a layer it takes {_CRITICAL_DEPTH} layers to change the "
            f"signal by a factor {_FACTOR}. In a network of few layers it is enough that the signal changes by "
            f"less than a factor {PRESERVED_FACTOR:g} in all. The rate judged is the typical one, the mean "
            "logarithm of the factors, over the deeper half of the network: the half nearer to the output, in both "
            "directions. There the forward signal has settled, and the factors of the gradient depend on it too, "
            "so a deeper network has more layers like these. The rate can differ from the gain, which is "
            "taken over all layers.",
        ),
        "Vanishes, explodes": prose(
            "That rate is shown to lie below, or above, that margin; or the signal faded until it was "
            "exactly zero, or grew beyond the largest number.",
        ),
        "Differs between inputs": prose(
            "The share of the last hidden layer's second moment that changes from one input to another. A signal "
            f"can keep its size and forget what it was about; below {100 * INDISTINGUISHABLE_SHARE:g}% the "
            "report says that inputs become indistinguishable.",
        ),
        "Layers until 1/1000 or × 1000": prose(
            f"Over how many layers the geometric mean over the seeds changes by a factor {_FACTOR}: forward from the "
            "first layer to a later one, backward from a later one to the first. Within the network it is measured. "
            "Beyond, theory goes on from the last measured layer, with more layers of the same kind and width, as ",
            code("initcheck predict"), f" does; it looks {MOST_LAYERS:,} layers far. Where there is no theory, nothing "
            "is said of layers that were not measured.",
        ),
        "Textbook": prose(
            "The gain that theory gives for an infinitely wide network, where chance averages out: for ReLU and "
            "He's weights it is 1. Theory follows the sizes of the signal layer by layer, from the initializer, "
            "the activation function and the data; it measures nothing.",
        ),
        "Predicted": prose(
            "The gain that theory expects of a network of this width on a batch of this size, with its standard "
            "deviation (sd) from seed to seed. The narrower the layers, the farther networks lie apart, and the "
            "farther their mean may lie from the textbook. Where the seeds vary otherwise than predicted, "
            "the table says so. “Mean field only”: the textbook's gain is known, and "
            "what the width does to it is not.",
        ),
        "Score": prose(
            "How far the arithmetic mean of the measured gains lies from the predicted one, in standard errors: that "
            "over the seeds or that which theory predicts, whichever is larger. It is made comparable with a standard "
            "normal number (a z-score; Student's t on few seeds has longer tails, which are taken out). Near 0 the two "
            "agree. Chance alone takes at most about one score in 22 beyond ±2 and one in 370 beyond ±3. A large score "
            "is a finding: about the network, the measurement, or the theory.",
        ),
        "Ordered, critical, chaotic": prose(
            "What an infinitely deep network does, by the factor ", code("χ"), " with which each layer multiplies "
            "the squared gradient once the signal has settled: below 1, ordered, gradients vanish; above 1, "
            "chaotic, they explode; at 1, critical, they are kept. The squared difference between two inputs that are "
            "nearly alike changes by the same factor. Where the signal grows without limit, there is no fixed point. "
            "Of ReLU and its like, without biases, χ says only how the sizes change: the correlation of two inputs "
            "does not depend on ", code("σ_w"), ". ", code("σ_w"), " is the standard deviation of "
            "a weight times the square root of the number of inputs that a unit sums, ", code("σ_b"), " the "
            "standard deviation of the biases, which Keras initializes to zero.",
        ),
    }  # fmt: skip
    terms = Details(
        prose(f"{count(len(vocabulary), 'term')} of this report"), (Definitions(tuple(vocabulary.items())),)
    )
    return Section("reading", "How the values are made", (introduction, terms))


def write_not_measured(items: Sequence[NotMeasured]) -> Section:
    """Write the section that lists what could not be measured, and why."""
    block: Block
    if items:
        rows = tuple(table_row(item.initializer, item.activation, item.network, item.reason) for item in items)
        caption = prose("Not measured, and why. Nothing is claimed about these.")
        table = Table(caption, ("Initializer", "Activation", "Network", "Reason"), rows)
        block = Details(prose(count(len(items), "entry", "entries")), (table,), unfolded=len(items) <= _FEW)
    else:
        block = paragraph("Everything that was asked for was measured.")
    return Section("not-measured", "What was not measured", (block,))


def write_method(study: StudyRecord) -> Section:
    """Write the section with all that is needed to repeat the study."""
    provenance = study.provenance
    rows = (
        ("Seeds", f"{len(provenance.seeds)}: {_format_seeds(provenance.seeds)}"),
        ("Loss", provenance.loss),
        ("Mode", provenance.training_mode),
        ("Precision", provenance.precision),
        ("Started", provenance.started),
        ("Duration", format_duration(provenance.duration_seconds)),
    )
    facts = (method_table(rows, provenance.versions), _networks_table(provenance))
    words = prose(f"Circumstances, versions and {count(len(provenance.networks), 'network')}")
    command: tuple[Block, ...] = (paragraph("The command:"), CodeBlock(provenance.command_line))
    return Section(
        "method",
        "How it was measured",
        (
            *(command if provenance.command_line else ()),
            Details(words, facts),
            Details(prose("What the predictions rest on"), (Paragraph(_describe_theory(study)),)),
        ),
    )


def write_column_definitions() -> Section:
    """Write the section that defines every column of the files."""
    summary = _define(SUMMARY_COLUMNS, prose("Columns of ", code("summary.csv"), ": one row per network and pair."))
    measurements = _define(
        MEASUREMENT_COLUMNS,
        prose(
            "Columns of ", code("measurements.csv"), " and ", code("measurements.parquet"),
            ": one row per seed and measured site.",
        ),
    )  # fmt: skip
    introduction = paragraph(
            "The numbers in this report are rounded; the files beside it hold them in full. ", code("z"),
            " is a layer's pre-activation, ", code("h"), " its output, ", code("W"), " its kernel and ", code("L"),
            " the loss. An empty cell means: not measured, not predicted, or not defined there.",
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


def _networks_table(provenance: Provenance) -> Table:
    rows = tuple(
        table_row(
            network.name,
            network.description,
            f"{network.layers:,}",
            f"{network.parameters:,}",
            network.data,
            f"{network.batch_size:,}",
            format_number(network.input_second_moment, 3),
        )
        for network in provenance.networks
    )
    columns = ("Network", "What it is", "Layers", "Parameters", "Data", "Batch", "Input's second moment")
    return Table(prose("The networks. The input's second moment is the mean of its squares."), columns, rows)


def _describe_theory(study: StudyRecord) -> Text:
    """Say what the predictions rest on and where there are none."""
    predicted = [
        f"{end}_{direction}_gain" for end in ("textbook", "predicted") for direction in ("forward", "backward")
    ]
    if bool(study.summary[predicted].isna().all(axis=None)):
        return prose(
            "The theory: no gain was predicted in this study. Phase diagrams rest on mean-field theory alone, that of "
            "infinitely wide networks."
        )
    return prose(
        "The theory: predictions follow from the initializer, the activation function, the widths and the batch, and "
        "not from the measurements, unless they say that they begin with a measured value. For plain networks of Dense "
        "layers they hold to leading order in 1/width: means with their first correction, standard deviations from "
        "seed to seed, and a log-normal distribution of each layer’s signal. For He’s initialization with ReLU the "
        "expected gain of 1 is exact at every width forward; backward it is so for one sample, and a little below 1 "
        "for the mean over a batch. Other networks are predicted in mean-field theory, as if they were "
        "infinitely wide, and without standard deviations. There is no theory for weights that are not drawn at "
        "random or whose mean is not zero, nor for activation functions that grow faster than any power. Phase "
        "diagrams are about infinitely wide and deep networks."
    )


def _format_seeds(seeds: Sequence[int]) -> str:
    """Write runs of consecutive seeds as ranges: ``0 to 15, 40``."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _define(columns: Sequence[Column], caption: Text) -> Table:
    rows = tuple(table_row(column.name, column.meaning, column.unit, column.dtype) for column in columns)
    return Table(caption, ("Column", "Meaning", "Unit", "Type"), rows)


def _fold(files: Text, table: Table) -> Details:
    return Details(prose(files, f": {count(len(table.rows), 'column')}"), (table,))
