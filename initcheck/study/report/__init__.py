"""The report of a study: tables for programs, and a page for people in HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from initcheck.audit.gains import trace_networks
from initcheck.core.files import publish_files
from initcheck.core.formatting import count
from initcheck.pages.document import Block, Details, Document, Section, Table, code, paragraph, prose
from initcheck.pages.export import summary_json, write_measurements_csv, write_measurements_parquet, write_summary_csv
from initcheck.pages.html import render_html, render_markdown, render_pictures
from initcheck.study.record import StudyRecord
from initcheck.study.report.answer import write_answer, write_findings
from initcheck.study.report.calibration import write_calibration
from initcheck.study.report.figures import write_layers
from initcheck.study.report.guide import write_column_definitions, write_guide, write_method, write_not_measured
from initcheck.study.report.levels import (
    LevelSummary,
    PredictedLevels,
    SummaryRow,
    measure_seeds,
    predict_levels,
    read_pairs,
    summarize_levels,
)
from initcheck.study.report.maps import draw_gain_maps
from initcheck.study.report.phases import write_phases
from initcheck.study.report.tables import (
    describe_twins,
    format_outcomes,
    list_activations,
    make_verdict_table,
    merge_twins,
    names_in_order,
)
from initcheck.study.report.theory import is_predicted, make_gain_table, mark_tables, write_theory

_TITLE: Final = "Weight initialization"
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


def build_summary(study: StudyRecord) -> Document:
    """Build the answer of the report alone, as a notebook shows it."""
    pairs = merge_twins(read_pairs(study.summary, study.table))
    gains = measure_seeds(tuple(trace_networks(study.table, study.signal_layers)))
    described = _name_networks(study, pairs)
    return Document(_TITLE, (), (), write_answer(study, pairs, gains, described[0]) if described else None)


def build_document(study: StudyRecord) -> Document:
    """Build the report of a study."""
    pairs = merge_twins(read_pairs(study.summary, study.table))
    traced = tuple(trace_networks(study.table, study.signal_layers))
    levels, gains = summarize_levels(traced), measure_seeds(traced)
    predictions = predict_levels(study.table, study.signal_layers)
    described = _name_networks(study, pairs)
    networks = tuple(
        _write_network(study, pairs, levels, predictions, network, number)
        for number, network in enumerate(described, start=1)
    )
    keras = study.provenance.versions.get("keras")
    day, _, _ = study.provenance.started.partition("T")
    subtitle = prose("Measured on ", f"Keras {keras}, " if keras else "", f"{day}.")
    calibration = write_calibration(pairs, gains)
    sections = (
        *((write_findings(study, pairs, described[0]),) if described else ()),
        *networks,
        *((calibration,) if calibration else ()),
        write_not_measured(study.not_measured),
        write_guide(),
        write_method(study),
        write_column_definitions(),
    )
    answer = write_answer(study, pairs, gains, described[0]) if described else None
    return Document(_TITLE, subtitle, sections, answer)


def _name_networks(study: StudyRecord, pairs: Sequence[SummaryRow]) -> list[str]:
    """Name the networks of which something was measured, in the order of the study."""
    measured = names_in_order(pairs, "network")
    return [network.name for network in study.provenance.networks if network.name in measured]


def _write_network(
    study: StudyRecord,
    pairs: Sequence[SummaryRow],
    levels: Sequence[LevelSummary],
    predictions: Sequence[PredictedLevels],
    network: str,
    number: int,
) -> Section:
    own = [pair for pair in pairs if pair.network == network]
    shown = {pair.initializer for pair in own}
    measured = [series for series in levels if series.network == network and series.initializer in shown]
    predicted = [series for series in predictions if series.network == network and series.initializer in shown]
    refused = [item for item in study.not_measured if item.network == network]
    description = next(item for item in study.provenance.networks if item.name == network)
    layers = study.signal_layers[network]
    anchor = f"network-{number}"
    words = paragraph(
        f"{description.description.rstrip('.')}. Data: {description.data}, {description.batch_size} samples."
    )
    blocks: list[Block] = [words]
    if number > 1:
        twins = describe_twins(own)
        if len(names_in_order(own, "activation")) > 1:
            picture = draw_gain_maps(own, refused, twins, f"{anchor}-gains")
            blocks.append(Details(prose(f"Gains: {format_outcomes(own)}"), (picture,)))
        elif twins:
            blocks.append(paragraph(twins))
    parts = (
        write_layers(measured, predicted, own, layers, anchor, unfolded=number == 1),
        _write_pairs(own, anchor),
        write_theory(own, refused, measured, predicted, network, anchor, unfolded=number == 1),
        write_phases(own, study.table, layers, network, anchor),
    )
    return Section(anchor, f"The network {network}", tuple(blocks), parts)


def _write_pairs(pairs: Sequence[SummaryRow], anchor: str) -> Section:
    """Write the section with the tables of all pairs, by activation function: verdicts and theory."""
    marks = mark_tables(pairs)

    def make_theory_table(group: Sequence[SummaryRow], activation: str) -> Table:
        caption = prose(
            "Gains per layer with ", code(activation), ", arithmetic means: as theory expects them for this width and "
            "batch, with the standard deviation (sd) from seed to seed and the textbook’s number for infinite width; "
            "as measured, with the 95% interval; and the difference in standard errors."
        )  # fmt: skip
        return make_gain_table(group, caption, marks)

    makers = (make_verdict_table, make_theory_table) if is_predicted(pairs) else (make_verdict_table,)
    tables = list_activations(pairs, format_outcomes, *makers)
    listing = Details(prose(f"{count(len(pairs), 'pair')}: {format_outcomes(pairs)}"), tables)
    return Section(
        f"{anchor}-verdicts", "Every pair, by activation function", (listing,) if len(tables) > 1 else tables
    )
