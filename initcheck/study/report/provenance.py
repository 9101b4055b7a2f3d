"""The parts of the report about the study itself: what was not measured, and how the rest was."""

from __future__ import annotations

from collections.abc import Sequence

from initcheck.core.formatting import format_duration, format_number
from initcheck.pages.document import Block, Cell, Paragraph, Row, Section, Table, Text, prose
from initcheck.pages.provenance import method_section
from initcheck.study.record import NotMeasured, Provenance, StudyRecord


def write_not_measured(items: Sequence[NotMeasured]) -> Section:
    """Write the section that lists what could not be measured, and why."""
    block: Block
    if items:
        rows = tuple(
            Row(item.initializer, (Cell(item.activation), Cell(item.network), Cell(item.reason))) for item in items
        )
        caption = prose("Not measured, and why. Nothing is claimed about these.")
        block = Table(caption, ("Initializer", "Activation", "Network", "Reason"), rows)
    else:
        block = Paragraph(prose("Everything that was asked for was measured."))
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
    more = (_networks_table(provenance), Paragraph(_describe_theory(study)))
    return method_section(rows, provenance.versions, command_line=provenance.command_line, more=more)


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
        "not from the measurements, unless they say that they begin with a measured value. For plain networks of "
        "Dense layers they hold to leading order in 1/width: means with their first correction, spreads from seed to "
        "seed, and a log-normal law of each layer’s signal. For He’s initialization with ReLU the expected gain of 1 "
        "is exact at every width. Other networks are predicted in mean-field theory, as if they were infinitely wide, "
        "and without spreads. There is no theory for weights that are not drawn at random or whose mean is not zero, "
        "nor for activation functions that grow faster than any power. Phase diagrams are about infinitely wide and "
        "deep networks."
    )


def _networks_table(provenance: Provenance) -> Table:
    rows = tuple(
        Row(
            network.name,
            (
                Cell(network.description),
                Cell(f"{network.layers:,}"),
                Cell(f"{network.parameters:,}"),
                Cell(network.data),
                Cell(f"{network.batch_size:,}"),
                Cell(format_number(network.input_second_moment, 3)),
            ),
        )
        for network in provenance.networks
    )
    columns = ("Network", "What it is", "Layers", "Parameters", "Data", "Batch", "Input's second moment")
    return Table(prose("The networks. The input's second moment is the mean of its squares."), columns, rows)


def _format_seeds(seeds: Sequence[int]) -> str:
    """Write runs of consecutive seeds as ranges: ``0 to 15, 40``."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
