"""What the start says of the training, as pages, tables and text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import pandas as pd

from initcheck.numbers import count, format_duration, format_number, format_share
from initcheck.output import publish_files
from initcheck.report.document import (
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Document,
    Paragraph,
    Row,
    Section,
    Table,
    code,
    prose,
    strong,
)
from initcheck.report.render import render_html, render_markdown, render_pictures
from initcheck.report.trainability_figures import draw_maps, draw_scatter, write_loss
from initcheck.training.trainability import LAST_STEPS, MEASURED_ON, TRAINED_BELOW, TrainabilityRecord
from initcheck.training.trainability_relations import (
    PREDICTORS,
    RESAMPLES,
    THRESHOLDS,
    Agreement,
    RankCorrelation,
    Relations,
    count_agreement,
    find_deepest,
    find_failures,
)

TITLE: Final = "initcheck: does the start predict the training?"
_NAMES: Final = {
    "depth": "depth",
    "forward_change": "the change of the signal on its way",
    "backward_change": "the change of the gradient on its way",
    "distinct_log_share": "the loss of what tells samples apart",
    "largest_change": "the largest change at the start, of the signal, the gradient, or what tells samples apart",
    "depth_ratio": "theory's depth",
}
_SCALES: Final = {"xi_c": "ξ_c", "xi_gradient": "|ξ_∇|", "": "none"}


def write_trainability(relations: Relations, folder: Path) -> list[Path]:
    """Write ``trainability.html`` and ``trainability.md`` with their pictures, and the tables as CSV.

    Args:
        relations: what was measured, and made of it.
        folder: where they go.

    Raises:
        OutputError: they cannot be written.
    """
    document = build_trainability_document(relations)
    files = {
        "trainability.html": render_html(document),
        "trainability.md": render_markdown(document),
        **render_pictures(document),
        "trainability.csv": _write_csv(relations.summary),
        "runs.csv": _write_csv(relations.record.runs),
    }
    return publish_files(folder, files)


def trainability_text(relations: Relations) -> str:
    """Write the answer for a terminal."""
    record, summary = relations.record, relations.summary
    agreement = count_agreement(summary)
    lines = [f"{record.data}. {_tell_descent(record)}.", "", *_tell_agreement(summary, agreement), ""]
    lines.append("Spearman's correlation with the loss after training:")
    lines += [f"  {_write_correlation(each):<22} {PREDICTORS[each.predictor]}" for each in relations.correlations]
    return "\n".join(lines)


def trainability_json(relations: Relations) -> str:
    """Write the answer as one JSON object: settings, agreement, correlations, configurations."""
    record, summary = relations.record, relations.summary
    document = {
        "data": record.data,
        "descent": _tell_descent(record),
        "chance": record.chance,
        "width": record.width,
        "seeds": list(record.seeds),
        "seconds": record.seconds,
        "versions": dict(record.versions),
        "agreement": [
            {
                "threshold": each.threshold,
                "both": each.both,
                "neither": each.neither,
                "only_predicted": each.only_predicted,
                "only_trained": each.only_trained,
                "share": _plain(each.share),
            }
            for each in (count_agreement(summary, threshold) for threshold in THRESHOLDS)
        ],
        "correlations": [
            {
                "predictor": each.predictor,
                "spearman": _plain(each.value),
                "low": _plain(each.low),
                "high": _plain(each.high),
                "configurations": each.configurations,
            }
            for each in relations.correlations
        ],
        "configurations": [
            {key: _plain(value) for key, value in row.items()}
            for row in summary.astype(object).to_dict("records")  # plain Python values
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False)


def build_trainability_document(relations: Relations) -> Document:
    """Build the page: the answer, the map, the correlations, where theory fails, and how it was made.

    Args:
        relations: what was measured, and made of it.
    """
    record, summary = relations.record, relations.summary
    sections = (
        _write_answer(relations),
        Section("map", "What trained", (draw_maps(summary), Details(prose("Pair by pair"), (_pair_table(summary),)))),
        _write_correlations(relations),
        _write_failures(record, summary),
        _write_method(record),
    )
    subtitle = prose("Networks measured before the first step, and what became of them.")
    return Document(TITLE, subtitle, sections)


def _write_answer(relations: Relations) -> Section:
    record, summary = relations.record, relations.summary
    agreement = count_agreement(summary)
    told = [prose(each) for each in _tell_agreement(summary, agreement)]
    by_name = {each.predictor: each for each in relations.correlations}
    strongest = max(
        relations.correlations,
        key=lambda each: -math.inf if math.isnan(each.value) else each.value,
    )
    told.append(
        prose(
            "Of what is known before the first step, the loss after training goes most closely with ",
            strong(_NAMES[strongest.predictor]),
            f": Spearman {_write_correlation(strongest)}; depth alone has {_write_correlation(by_name['depth'])}, "
            f"theory without a measurement {_write_correlation(by_name['depth_ratio'])}.",
        )
    )
    blocks: list[Block] = [Paragraph(prose(f"{record.data}. {_tell_descent(record)}.")), Bullets(tuple(told))]
    blocks.append(_agreement_table(summary))
    return Section("answer", "The answer", tuple(blocks))


def _tell_agreement(summary: pd.DataFrame, agreement: Agreement) -> list[str]:
    pairs = summary.drop_duplicates(["activation", "initializer"])
    first = (
        f"{count(len(summary), 'configuration')} ({count(len(pairs), 'pair')} of initializer and activation function): "
        f"{int(summary['trained'].sum())} trained, which means a loss of at most {TRAINED_BELOW:g} of what guessing "
        "costs."
    )
    lines = [first]
    if agreement.count:
        lines.append(
            f"Theory, which expects training up to six depth scales, is right for {agreement.both + agreement.neither} "
            f"of {agreement.count} ({format_share(agreement.share)}; one answer for all would be right for "
            f"{format_share(agreement.share_by_one_answer)})."
        )
        lines.append(
            f"It is wrong for {agreement.only_predicted + agreement.only_trained}: {agreement.only_predicted} were "
            f"expected to train and did not, {agreement.only_trained} trained against expectation."
        )
    return lines


def _agreement_table(summary: pd.DataFrame) -> Table:
    rows = []
    for threshold in THRESHOLDS:
        each = count_agreement(summary, threshold)
        figures = (each.both, each.neither, each.only_predicted, each.only_trained)
        shares = (Cell(format_share(each.share)), Cell(format_share(each.share_by_one_answer)))
        rows.append(Row(f"{threshold:g} of chance", (*(Cell(str(figure)) for figure in figures), *shares)))
    columns = (
        "Trained is a loss of at most",
        "Expected, and trained",
        "Not expected, and did not",
        "Expected only",
        "Trained only",
        "Theory right",
        "One answer for all",
    )
    return Table(prose("How much hangs on the threshold."), columns, tuple(rows), code_headers=False)


def _pair_table(summary: pd.DataFrame) -> Table:
    rows = []
    for (activation, initializer), part in summary.groupby(["activation", "initializer"], sort=False):
        first = part.iloc[0]
        deepest = find_deepest(part)
        cells = (
            Cell(_number(first["sigma_w2"])),
            Cell(_number(first["xi_c"])),
            Cell(_number(first["xi_gradient"])),
            Cell(_number(first["predicted_depth"]), (_SCALES[str(first["scale"])],)),
            Cell(str(deepest) if deepest else f"below {part['depth'].min()}"),
        )
        rows.append(Row(f"{activation}, {initializer}", cells))
    columns = ("Pair", "σ_w²", "ξ_c", "ξ_∇", "Six depth scales", "Trained up to")
    caption = prose(
        "σ_w² = fan_in · Var(W). Trained up to: the greatest depth tried up to which every depth trained. Where the "
        "signal vanishes or grows without limit there is no ξ_c, and |ξ_∇| stands in for it."
    )
    return Table(caption, columns, tuple(rows))


def _write_correlations(relations: Relations) -> Section:
    rows = []
    for each in relations.correlations:
        interval = () if math.isnan(each.low) else (f"[{each.low:+.2f}, {each.high:+.2f}]",)
        rows.append(
            Row(PREDICTORS[each.predictor], (Cell(_signed(each.value), interval), Cell(str(each.configurations))))
        )
    caption = prose(
        "Spearman's rank correlation with the loss after training: +1 where more of it always means a higher loss. "
        f"95 % intervals by {RESAMPLES:,} bootstrap samples (percentiles) of the pairs of initializer and activation "
        "function, each with all its depths: depths of one pair are no independent replicates."
    )
    table = Table(
        caption, ("Known before the first step", "Spearman", "Configurations"), tuple(rows), code_headers=False
    )
    return Section("correlations", "What goes with the loss", (table, draw_scatter(relations.summary)))


def _write_failures(record: TrainabilityRecord, summary: pd.DataFrame) -> Section:
    limits = (
        "What the rule leaves out: it was found with tanh, wide networks and many more steps than the "
        f"{record.steps} here. At a finite width n the logarithm of a critical ReLU network's signal has a variance of "
        f"about 5 L / n from seed to seed (Hanin and Rolnick 2018), which is 1 at {max(1, round(record.width / 5))} "
        f"layers of {record.width} units. Where ξ_c is infinite samples still grow alike, by a power of the depth. And "
        "a network can fail for its gradient before it fails for its correlations."
    )
    blocks: list[Block] = [Paragraph(prose(limits))]
    for predicted, title in ((True, "Expected to train, and did not"), (False, "Trained against expectation")):
        failures = find_failures(summary, predicted=predicted)
        blocks.append(Paragraph(prose(strong(f"{title}: {count(len(failures), 'configuration')}."))))
        if len(failures):
            blocks.append(_failure_table(failures, title))
    untold = summary[summary["predicted_trainable"].isna()]
    if len(untold):
        names = ", ".join(dict.fromkeys(untold["initializer"]))
        told = f"Theory says nothing of {count(len(untold), 'configuration')} ({names}); they are not counted."
        blocks.append(Paragraph(prose(told)))
    return Section("failures", "Where theory fails", tuple(blocks))


def _failure_table(failures: pd.DataFrame, title: str) -> Table:
    rows = tuple(
        Row(
            f"{row['activation']}, {row['initializer']}, {row['depth']} layers",
            (
                Cell(write_loss(row["relative_loss"])),
                Cell(_number(row["predicted_depth"]), (_SCALES[str(row["scale"])],)),
                Cell(_signed(row["forward_change"])),
                Cell(_signed(row["backward_change"])),
                Cell(_signed(row["distinct_log_share"])),
            ),
        )
        for row in failures.to_dict("records")
    )
    columns = (
        "Configuration",
        "Loss / chance",
        "Six depth scales",
        "Change of the signal, nats",
        "Change of the gradient, nats",
        "ln of the share that differs",
    )
    return Table(prose(f"{title}; figures of the start, means over seeds."), columns, rows)


def _write_method(record: TrainabilityRecord) -> Section:
    facts = (
        ("Network", prose(f"hidden layers of {record.width} units, zero biases, a softmax head from LecunNormal")),
        ("Data", prose(f"{record.data}; guessing by the classes' frequencies costs {record.chance:.3f} nats.")),
        ("Training", prose(_tell_descent(record))),
        (
            "Loss",
            prose(
                f"mean training loss of the last {LAST_STEPS} steps, each before its step; the learning rate with the "
                "lowest mean over the seeds counts, and a loss that is no number counts as infinite"
            ),
        ),
        (
            "Start",
            prose(
                f"on the first {MEASURED_ON} samples before any step; gradients are those of a random linear function "
                "of the logits. q is the second moment of a layer's pre-activations, g the squared norm of a sample's "
                "gradient with respect to them"
            ),
        ),
        (
            "Theory",
            prose(
                "depth scales of an infinitely wide network for an input of mean square 1; networks train up to about "
                "six of them (Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, 2017, section 5, for tanh)"
            ),
        ),
        (
            "Seeds",
            prose(f"{', '.join(map(str, record.seeds))}; weights and the order of batches derive from them."),
        ),
        (
            "Time",
            prose(
                f"{format_duration(record.seconds)}, of which the processors were at it for "
                f"{format_duration(record.processor_seconds)}, all cores together"
            ),
        ),
        ("Versions", prose(", ".join(f"{name} {version}" for name, version in record.versions.items()))),
    )
    blocks: tuple[Block, ...] = (Definitions(facts),)
    if record.command_line:
        blocks += (Paragraph(prose("Made by ", code("initcheck trainability"), ":")), CodeBlock(record.command_line))
    return Section("method", "How it was made", blocks)


def _tell_descent(record: TrainabilityRecord) -> str:
    rates = ", ".join(f"{rate:g}" for rate in record.learning_rates)
    return (
        f"Plain stochastic gradient descent, {count(record.steps, 'step')} of {record.batch_size} samples, the best of "
        f"the learning rates {rates}; {count(len(record.seeds), 'seed')} for each configuration and rate"
    )


def _write_correlation(each: RankCorrelation) -> str:
    interval = "" if math.isnan(each.low) else f" [{each.low:+.2f}, {each.high:+.2f}]"
    return f"{_signed(each.value)}{interval}"


def _write_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def _number(value: Any) -> str:
    return "none" if pd.isna(value) else format_number(float(value))


def _signed(value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:+.2f}".replace("inf", "∞")


def _plain(value: Any) -> Any:
    """Make a value fit for JSON, which knows neither NaN nor infinity."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{value}"
    return value
