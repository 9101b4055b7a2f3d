"""The report of a study: tables for programs, and a page for people in HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.files import publish_files
from initcheck.pages import palette
from initcheck.pages.document import Block, Document, Scale, Section, code, listed, paragraph, prose
from initcheck.pages.export import summary_json, write_measurements_csv, write_measurements_parquet, write_summary_csv
from initcheck.pages.html import render_html, render_markdown, render_pictures
from initcheck.study.record import NotMeasured, StudyRecord
from initcheck.study.report.answer import write_answer
from initcheck.study.report.figures import write_layers
from initcheck.study.report.guide import write_column_definitions, write_guide, write_method, write_not_measured
from initcheck.study.report.levels import (
    LevelSummary,
    PredictedLevels,
    SummaryRow,
    predict_levels,
    read_pairs,
    summarize_levels,
)
from initcheck.study.report.phases import write_phases
from initcheck.study.report.tables import (
    find_twins,
    format_outcomes,
    group_by_activation,
    heat_cell,
    make_map,
    make_verdict_table,
    names_in_order,
)
from initcheck.study.report.theory import write_theory

_NEUTRAL_FACTOR = 1.0 + PRESERVING_MARGIN
_PATHS: dict[Direction, str] = {
    "forward": "from the input to the output: how much larger or smaller each layer makes the pre-activations",
    "backward": "from the output to the input: how much larger or smaller each layer makes the gradient",
}
__all__ = ["summary_json", "write_report"]


def write_report(study: StudyRecord, out: Path) -> list[Path]:
    """Write a study's report and its tables to a folder: all files, or none."""
    document = build_document(study)
    return publish_files(
        out,
        {
            "measurements.csv": partial(write_measurements_csv, study.table),
            "measurements.parquet": partial(write_measurements_parquet, study.table),
            "summary.csv": partial(write_summary_csv, study.summary),
            **render_pictures(document),
            "report.md": render_markdown(document),
            "report.html": render_html(document),
        },
    )


def build_document(study: StudyRecord) -> Document:
    """Build the report of a study."""
    pairs = read_pairs(study.summary, study.table)
    levels = summarize_levels(study.table, study.signal_layers)
    predictions = predict_levels(study.table, study.signal_layers)
    measured = names_in_order(pairs, "network")
    described = [network.name for network in study.provenance.networks if network.name in measured]
    networks = tuple(
        _write_network(study, pairs, levels, predictions, network, f"network-{number}")
        for number, network in enumerate(described, start=1)
    )
    opening = (write_answer(study, pairs, described[0]),) if described else ()
    keras = study.provenance.versions.get("keras")
    day, _, _ = study.provenance.started.partition("T")
    subtitle = prose(
        "Does the signal survive the network at initialization, forward and backward? Measured on ",
        f"Keras {keras}, " if keras else "", f"{day}.",
    )  # fmt: skip
    sections = (
        *opening,
        write_guide(),
        *networks,
        write_not_measured(study.not_measured),
        write_method(study),
        write_column_definitions(),
    )
    return Document("Weight initialization, measured", subtitle, sections)


def _write_network(
    study: StudyRecord,
    pairs: Sequence[SummaryRow],
    levels: Sequence[LevelSummary],
    predictions: Sequence[PredictedLevels],
    network: str,
    anchor: str,
) -> Section:
    own = [pair for pair in pairs if pair.network == network]
    measured = [series for series in levels if series.network == network]
    predicted = [series for series in predictions if series.network == network]
    refused = [item for item in study.not_measured if item.network == network]
    description = next(item for item in study.provenance.networks if item.name == network)
    layers = study.signal_layers[network]
    parts = [
        write_layers(measured, predicted, own, layers, anchor),
        _write_verdicts(own, anchor),
        write_theory(own, refused, measured, predicted, network, anchor),
        write_phases(own, study.table, layers, network, anchor),
    ]
    if len(names_in_order(own, "activation")) > 1:
        parts.insert(0, _write_heat_maps(own, refused, network, anchor))
    introduction = paragraph(
        description.description.rstrip("."), f". Data: {description.data}, {description.batch_size} samples."
    )
    return Section(anchor, f"The network {network}", (introduction,), tuple(parts))


def _write_verdicts(pairs: Sequence[SummaryRow], anchor: str) -> Section:
    introduction = paragraph(
        "Every pair with its verdict in words. In brackets: the 95% interval over seeds. The terms are explained "
        "under “How to read this report”.",
    )
    groups = group_by_activation(pairs, make_verdict_table, "Verdicts", format_outcomes)
    return Section(f"{anchor}-verdicts", "The verdicts, pair by pair", (introduction, *groups))


def _write_heat_maps(pairs: Sequence[SummaryRow], refused: Sequence[NotMeasured], network: str, anchor: str) -> Section:
    blocks: list[Block] = [
        paragraph(
            "Each cell holds the gain of one layer, the geometric mean over layers and seeds, and below it the 95% "
            "interval over seeds. A cell without "
            "colour keeps the signal; blue cells lose it, orange cells blow it up. Equal strength of colour means "
            "equal ratio: a gain of 1/4 is as blue as a gain of 4 is orange. In the Markdown edition, gains within "
            "the neutral range are bold instead. A colour shows the measured gain, over all layers; whether "
            "the signal is shown to be kept is what the verdict says, by the deeper half of the network.",
        ),
        Scale(palette.scale_steps(_NEUTRAL_FACTOR)),
    ]
    for direction in DIRECTIONS:
        caption = prose(f"{direction.capitalize()} gain per layer on ", code(network), f", {_PATHS[direction]}.")
        blocks.append(
            make_map(pairs, refused, partial(heat_cell, direction=direction, margin=_NEUTRAL_FACTOR), caption)
        )
    blocks += [
        paragraph(
            listed(twins),
            " have the same gains to the last bit: on this network they draw the same weights from the same "
            "seeds. Their rows are one measurement, not several that agree.",
        )
        for twins in find_twins(pairs)
    ]
    return Section(f"{anchor}-gains", "Gain per layer, at a glance", tuple(blocks))
