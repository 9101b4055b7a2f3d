"""The report of ``initcheck trainability``: does the initialization predict the loss after training?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from initcheck.core.files import publish_files
from initcheck.core.formatting import (
    count,
    format_duration,
    format_interval,
    format_number,
    format_share,
    format_signed,
    to_json,
)
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    Details,
    Document,
    Figure,
    Key,
    Panel,
    Row,
    Section,
    Table,
    Text,
    Tone,
    method_section,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.pages.forest import ForestRow, draw_forest
from initcheck.pages.html import render_pages
from initcheck.pages.svg import (
    DOTS,
    FONT_SIZE,
    GRID,
    INK,
    MUTED,
    PHONE_WIDTH,
    SERIES,
    begin_drawing,
    begin_map,
    break_name,
    draw_dot_key,
    draw_key,
    draw_map_cell,
    drawing_settings,
    export_svg,
)
from initcheck.training.trainability import (
    DIGITS,
    FEWEST_PAIRS,
    LAST_STEPS,
    MEASURED_ON,
    PREDICTORS,
    RESAMPLES,
    TRAINED_BELOW,
    Agreement,
    CorrelationLead,
    RankCorrelation,
    Relations,
    TrainabilityRecord,
    find_deepest,
    find_failures,
    find_predictor,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from pandas import DataFrame

_ROW: Final = 24
_PHONE_ROW: Final = 32
_PHONE_NAME: Final = 18  # characters of a line of a name on a phone
_DEEPEST: Final = 0.55  # opacity of a cell whose loss is zero: its number has to stay readable
_SCATTER: Final = (420, 300)
_CEILING: Final = 1.25  # of the relative loss that is drawn; what is beyond lies on it
_LEAST_RATIO: Final = 1e-2
_MOST_RATIO: Final = 1e2
_LEAST_CHANGE: Final = 0.3
_MOST_CHANGE: Final = 300.0
TITLE: Final = "initcheck: does the initialization predict the training?"
_NAMES: Final = {
    "depth": "depth",
    "forward_change": "the change of the signal from the first to the last layer",
    "backward_change": "the change of the gradient from the last to the first layer",
    "distinct_log_share": "the loss of what distinguishes samples",
    "largest_change": "the largest of the three changes",
    "depth_ratio": "theory's depth",
}
_LABELS: Final = {
    "depth": "depth alone",
    "forward_change": "change of the signal",
    "backward_change": "change of the gradient",
    "distinct_log_share": "samples becoming alike",
    "largest_change": "largest of the three",
    "depth_ratio": "theory, unmeasured",
}
"""What is written beside the picture of the correlations."""

_THEORY: Final = "depth_ratio"
_SCALES: Final = {"xi_c": "ξ_c", "xi_gradient": "|ξ_∇|", "": "none"}


def write_trainability(relations: Relations, folder: Path) -> list[Path]:
    """Write ``trainability.html`` and ``trainability.md`` with their pictures, and the tables as CSV."""
    document = build_trainability_document(relations)
    files = {
        **render_pages(document, "trainability"),
        "trainability.csv": _write_csv(relations.summary),
        "runs.csv": _write_csv(relations.record.runs),
    }
    return publish_files(folder, files)


def trainability_text(relations: Relations) -> str:
    """Write the answer for a terminal."""
    record = relations.record
    lines = [f"{record.data}. {_describe_descent(record)}.", "", *_describe_agreement(relations), ""]
    lines.append("Spearman's correlation with the loss after training:")
    lines += [f"  {_format_correlation(each):<22} {PREDICTORS[each.predictor]}" for each in relations.correlations]
    return "\n".join(lines)


def trainability_json(relations: Relations) -> str:
    """Write the answer as one JSON object: settings, agreement, correlations, configurations."""
    record, summary = relations.record, relations.summary
    document = {
        "data": record.data,
        "descent": _describe_descent(record),
        "chance": record.chance,
        "width": record.width,
        "seeds": list(record.seeds),
        "seconds": record.seconds,
        "versions": dict(record.versions),
        "agreement": [
            {**asdict(each), "share": each.share, "share_by_one_answer": each.share_by_one_answer}
            for each in relations.agreements
        ],
        "correlations": [
            {
                "predictor": each.predictor,
                "spearman": each.value,
                "low": each.low,
                "high": each.high,
                "configurations": each.configurations,
            }
            for each in relations.correlations
        ],
        "lead": None if relations.lead is None else asdict(relations.lead),
        "configurations": summary.astype(object).to_dict("records"),
    }
    return to_json(document)


def build_trainability_document(relations: Relations) -> Document:
    """Build the page: the answer, the map, the correlations, where theory fails, and how it was made."""
    record, summary = relations.record, relations.summary
    pairs = summary.drop_duplicates(["activation", "initializer"])
    table = Details(prose(count(len(pairs), "pair")), (_pair_table(summary),))
    sections = (
        _write_agreement(relations),
        Section("map", "What trained", (draw_maps(summary), table)),
        _write_correlations(relations),
        _write_failures(record, summary),
        _write_method(record),
    )
    subtitle = prose("Networks measured before the first step, and their loss after training.")
    return Document(TITLE, subtitle, sections, _write_answer(relations))


def draw_maps(summary: DataFrame) -> Figure:
    """Draw a map of the loss for each activation function: initializers in rows, depths in columns."""
    activations = list(dict.fromkeys(summary["activation"]))
    with drawing_settings():
        panels = tuple(_draw_map(name, summary[summary["activation"] == name]) for name in activations)
    line = '<line x1="17" y1="0" x2="17" y2="12" stroke="var(--ink)" stroke-width="3"/>'
    keys = (
        _box("var(--series-0)", _DEEPEST, "loss near 0"),
        _box("var(--series-0)", 0.5 * _DEEPEST, "half of chance"),
        _box("var(--series-0)", 0.0, "chance, or worse"),
        draw_key("six depth scales", line),
    )
    caption = prose(
        "Loss after training over that at chance level, at the best learning rate, mean over seeds; ∞ has diverged at "
        "every rate. Left of the thick line theory expects a network to train. Initializers from the weakest to the "
        "strongest."
    )
    trained = int(summary["trained"].sum())
    alternative = f"Trainability by activation, initializer and depth: {trained} of {len(summary)} trained."
    return Figure("trainability", caption, keys, (), panels, alternative, columns=2)


def draw_scatter(summary: DataFrame) -> Figure:
    """Draw the loss against theory's depth ratio, and against the largest change at initialization."""
    activations = list(dict.fromkeys(summary["activation"]))
    panels = []
    with drawing_settings():
        for predictor, title, label, limits in (
            ("depth_ratio", "Theory alone", "depth / six depth scales", (_LEAST_RATIO, _MOST_RATIO)),
            ("largest_change", "Measured at step 0", "largest change, nats", (_LEAST_CHANGE, _MOST_CHANGE)),
        ):
            panels.append(_draw_scatter(summary, activations, predictor, title, label, limits))
    keys = tuple(
        draw_dot_key(name, place % len(SERIES), DOTS[place % len(DOTS)][1]) for place, name in enumerate(activations)
    )
    caption = prose(
        "Each dot is one configuration. The horizontal line is the threshold below which it has trained; what lies "
        "outside a picture is drawn on its edge. On the left edge of the first picture theory sets no limit."
    )
    return Figure("predictors", caption, keys, (), tuple(panels), "Loss against two predictors of it.", columns=2)


def find_border(depths: Sequence[int], predicted: float) -> float:
    """Place theory's depth between the columns of a map: the depths left of it are predicted to train."""
    if math.isnan(predicted):
        return math.nan
    return sum(depth <= predicted for depth in depths) - 0.5


def format_loss(relative: float) -> str:
    """Write a loss over chance for a cell: two decimals, or that it is beyond."""
    if math.isnan(relative):
        return "?"
    if math.isinf(relative):
        return "∞"
    return f"{relative:.2f}" if relative < 9.995 else ">10"


def _write_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")


def _describe_agreement(relations: Relations) -> list[str]:
    """Say how many trained, how often theory is right, and how often it is wrong in each way."""
    summary, agreement = relations.summary, relations.agreement
    pairs = summary.drop_duplicates(["activation", "initializer"])
    first = (
        f"{count(len(summary), 'configuration')} ({count(len(pairs), 'pair')} of initializer and activation function): "
        f"{int(summary['trained'].sum())} trained, which means a loss of at most {TRAINED_BELOW:g} of that at "
        "chance level."
    )
    if not agreement.count:
        return [first]
    wrong = (
        f"It is wrong for {agreement.only_predicted + agreement.only_trained}: {agreement.only_predicted} were "
        f"expected to train and did not, {agreement.only_trained} trained against expectation."
    )
    return [first, _describe_theory(agreement), wrong]


def _describe_theory(agreement: Agreement) -> str:
    return (
        f"Theory, which expects training up to six depth scales, is right for {agreement.both + agreement.neither} of "
        f"{agreement.count} ({_format_agreement(agreement)}; one answer for all would be right for "
        f"{format_share(agreement.share_by_one_answer)})."
    )


def _describe_descent(record: TrainabilityRecord) -> str:
    rates = ", ".join(f"{rate:g}" for rate in record.learning_rates)
    return (
        f"Plain stochastic gradient descent, {count(record.steps, 'step')} of {record.batch_size} samples, the best of "
        f"the learning rates {rates}; {count(len(record.seeds), 'seed')} for each configuration and rate"
    )


def _format_agreement(agreement: Agreement) -> str:
    return f"{format_share(agreement.share)} {format_interval(agreement.low, agreement.high, format_share)}".rstrip()


def _describe_lead(relations: Relations, lead: CorrelationLead) -> Text:
    """Say what the loss has the highest correlation with, and whether it is shown to be higher than the next."""
    by_name = {each.predictor: each for each in relations.correlations}
    first, second = by_name[lead.first], by_name[lead.second]
    difference = f"{_signed(lead.value)} {format_interval(lead.low, lead.high, _signed)}".rstrip()
    shown = "is" if lead.low > 0.0 else "is not"
    return prose(
        "Of what is known before the first step, the loss after training has the highest rank correlation with ",
        strong(_NAMES[lead.first]),
        f": Spearman {_format_correlation(first)}. The next is {_NAMES[lead.second]}, with "
        f"{_format_correlation(second)}; it {shown} shown to be lower (difference {difference}). Depth alone has "
        f"{_format_correlation(by_name['depth'])}, theory without a measurement "
        f"{_format_correlation(by_name['depth_ratio'])}.",
    )


def _signed(value: float) -> str:
    return format_signed(value, ".3f")


def _format_correlation(each: RankCorrelation) -> str:
    return f"{format_signed(each.value)} {format_interval(each.low, each.high, format_signed)}".rstrip()


def _write_answer(relations: Relations) -> Answer:
    agreement = relations.agreement
    verdict = "Theory says nothing of these configurations."
    tone: Tone = "undecided"
    values = []
    if agreement.count:
        verdict = _describe_theory(agreement)
        one_answer = agreement.share_by_one_answer
        tone = "passed" if agreement.low > one_answer else "failed" if agreement.high < one_answer else "undecided"
        values = [
            (str(agreement.only_predicted), "were expected to train and did not"),
            (str(agreement.only_trained), "trained against expectation"),
        ]
    if relations.lead is not None:
        first = next(each for each in relations.correlations if each.predictor == relations.lead.first)
        values.append((format_signed(first.value), "highest rank correlation with the loss"))
    return Answer(prose(verdict), tone, tuple(values), (draw_correlations(relations),))


def draw_correlations(relations: Relations) -> Figure:
    """Draw how well each predictor ranks the loss, the best first."""
    ranked = sorted(relations.correlations, key=lambda each: -math.inf if math.isnan(each.value) else each.value)
    rows = [
        ForestRow(
            _LABELS[each.predictor],
            each.value,
            each.low,
            each.high,
            format_signed(each.value),
            1 if each.predictor == _THEORY else 0,
        )
        for each in reversed(ranked)
    ]
    ends = [end for row in rows for end in (row.value, row.low) if math.isfinite(end)]
    title = "Rank correlation with the loss after training"
    panel = draw_forest(
        rows,
        (0.0, 0.0),
        title="",
        description="; ".join(f"{row.label} {row.text}" for row in rows),
        prefix="correlations",
        axis=f"{title[0].lower()}{title[1:]}",
        as_factors=False,
        limits=(min([0.0, *ends]) - 0.03, 1.0),
    )
    keys = (
        draw_dot_key("measured before the first step", 0, DOTS[0][1]),
        draw_dot_key("theory, without a measurement", 1, DOTS[0][1]),
    )
    caption = prose(
        "Spearman: +1 where more of it always means a higher loss. ",
        _describe_lead(relations, relations.lead) if relations.lead is not None else "",
    )
    return Figure("correlations", caption, keys, (), (panel,), f"{title}. {panel.description}", columns=1)


def _write_agreement(relations: Relations) -> Section:
    record = relations.record
    trained, *_ = sentences = _describe_agreement(relations)
    wrong = sentences[2:]  # how often theory is right is the verdict
    blocks: list[Block] = [
        Bullets(tuple(prose(each) for each in (trained, *wrong))),
        paragraph(f"{record.data}. {_describe_descent(record)}."),
        Details(prose("The same at other thresholds"), (_agreement_table(relations.agreements),)),
    ]
    return Section("agreement", "Where theory is right", tuple(blocks))


def _agreement_table(agreements: Sequence[Agreement]) -> Table:
    rows = []
    for each in agreements:
        counts = (each.both, each.neither, each.only_predicted, each.only_trained)
        interval = format_interval(each.low, each.high, format_share)
        shares = (
            Cell(format_share(each.share), (interval,) if interval else ()),
            format_share(each.share_by_one_answer),
        )
        rows.append(table_row(f"{each.threshold:g} of chance", *(str(number) for number in counts), *shares))
    columns = (
        "Trained is a loss of at most",
        "Expected, and trained",
        "Not expected, and did not",
        "Expected only",
        "Trained only",
        "Theory right",
        "One answer for all",
    )
    caption = prose("Where trained means a loss of at most so much of that at chance level.")
    return Table(caption, columns, tuple(rows), code_headers=False)


def _write_correlations(relations: Relations) -> Section:
    rows = []
    for each in relations.correlations:
        interval = format_interval(each.low, each.high, format_signed)
        correlation = Cell(format_signed(each.value), (interval,) if interval else ())
        rows.append(table_row(PREDICTORS[each.predictor], correlation, str(each.configurations)))
    caption = prose(
        "Spearman's rank correlation with the loss after training: +1 where more of it always means a higher loss. "
        f"Losses that agree to {DIGITS} digits, as in the table, have one rank. {_describe_intervals(relations)}"
    )
    table = Table(
        caption, ("Known before the first step", "Spearman", "Configurations"), tuple(rows), code_headers=False
    )
    details = Details(prose(count(len(rows), "predictor")), (table,))
    return Section("correlations", "What is correlated with the loss", (draw_scatter(relations.summary), details))


def _describe_intervals(relations: Relations) -> str:
    if max(each.pairs for each in relations.correlations) < FEWEST_PAIRS:
        return f"No intervals: they take {FEWEST_PAIRS} pairs of initializer and activation function."
    return (
        f"95% intervals by {RESAMPLES:,} bootstrap samples (percentiles) of the pairs of initializer and activation "
        "function, each with all its depths: depths of one pair are no independent replicates."
    )


def _write_failures(record: TrainabilityRecord, summary: pd.DataFrame) -> Section:
    limits = (
        "What the rule leaves out: it was found with tanh, wide networks and many more steps than the "
        f"{record.steps} here. At a finite width n the logarithm of a critical ReLU network's signal has a variance of "
        f"about 5 L / n from seed to seed (Hanin and Rolnick 2018), which is 1 at {max(1, round(record.width / 5))} "
        f"layers of {record.width} units. Where ξ_c is infinite samples still grow alike, though not exponentially. "
        "And a network can fail for its gradient before it fails for its correlations."
    )
    blocks: list[Block] = []
    for predicted, title in ((True, "Expected to train, and did not"), (False, "Trained against expectation")):
        failures = find_failures(summary, predicted=predicted)
        words = f"{title}: {count(len(failures), 'configuration')}"
        if len(failures):
            blocks.append(Details(prose(words), (_failure_table(failures, title),)))
        else:
            blocks.append(paragraph(f"{words}."))
    unpredicted = summary[summary["predicted_trainable"].isna()]
    if len(unpredicted):
        names = ", ".join(dict.fromkeys(unpredicted["initializer"]))
        note = f"Theory says nothing of {count(len(unpredicted), 'configuration')} ({names}); they are not counted."
        blocks.append(paragraph(note))
    blocks.append(paragraph(limits))
    return Section("failures", "Where theory fails", tuple(blocks))


def _failure_table(failures: pd.DataFrame, title: str) -> Table:
    rows = tuple(
        table_row(
            f"{row['activation']}, {row['initializer']}, {row['depth']} layers",
            format_loss(row["relative_loss"]),
            Cell(_number(row["predicted_depth"]), (_SCALES[str(row["scale"])],)),
            format_signed(row["forward_change"]),
            format_signed(row["backward_change"]),
            format_signed(row["distinct_log_share"]),
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
    return Table(prose(f"{title}; values at initialization, means over seeds."), columns, rows)


def _number(value: Any) -> str:
    return format_number(value, missing="none")


def _write_method(record: TrainabilityRecord) -> Section:
    rows = {
        "Network": f"hidden layers of {record.width} units, zero biases, a softmax head from LecunNormal",
        "Data": f"{record.data}; chance level, by the classes' frequencies, is {record.chance:.3f} nats.",
        "Training": _describe_descent(record),
        "Loss": (
            f"mean training loss of the last {LAST_STEPS} steps, each before its step; the learning rate with the "
            "lowest mean over the seeds counts, and a loss that is not finite counts as infinite"
        ),
        "Initialization": (
            f"on the first {MEASURED_ON} samples before any step; gradients are those of a random linear function "
            "of the logits. q is the second moment of a layer's pre-activations, g the squared norm of a sample's "
            "gradient with respect to them"
        ),
        "Theory": (
            "depth scales of an infinitely wide network for an input of mean square 1; networks train up to about "
            "six of them (Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, 2017, section 5, for tanh)"
        ),
        "Seeds": f"{', '.join(map(str, record.seeds))}; weights and the order of batches derive from them.",
        "Time": (
            f"{format_duration(record.seconds)}; CPU time {format_duration(record.processor_seconds)}, all cores "
            "together"
        ),
    }
    return method_section(rows.items(), record.versions, command_line=record.command_line)


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


def _box(fill: str, opacity: float, label: str) -> Key:
    box = f'<rect x="5" y="0.5" width="24" height="11" fill="{fill}" fill-opacity="{opacity:g}" stroke="var(--grid)"/>'
    return draw_key(label, box)


def _draw_map(activation: str, part: DataFrame) -> Panel:
    initializers = list(dict.fromkeys(part.sort_values("sigma_w2", kind="stable")["initializer"]))
    deepest = {name: part[(part["initializer"] == name) & part["trained"]]["depth"].max() for name in initializers}
    reached = ", ".join(f"{name} {'none' if math.isnan(depth) else int(depth)}" for name, depth in deepest.items())
    description = f"{activation}, deepest network that trained: {reached}."
    wide, width, height = _draw_cells(part, initializers, initializers, _ROW)
    names = [break_name(name, _PHONE_NAME) for name in initializers]
    phone, _, _ = _draw_cells(part, initializers, names, _PHONE_ROW, PHONE_WIDTH)
    pictures = [
        export_svg(each, f"map-{activation}{end}", description) for each, end in ((wide, ""), (phone, "-phone"))
    ]
    return Panel(activation, description, pictures[0], width, height, phone=pictures[1])


def _draw_cells(
    part: DataFrame, initializers: Sequence[str], names: Sequence[str], row_height: int, width: int | None = None
) -> tuple[Drawing, int, int]:
    """Draw the map of one activation function, and give its size; in a width if one is given."""
    depths = sorted(set(part["depth"]))
    drawing, axes, *size = begin_map(depths, names, "hidden layers", row_height=row_height, margin=12, width=width)
    cells = part.set_index(["initializer", "depth"])
    for row, initializer in enumerate(initializers):
        for column, depth in enumerate(depths):
            _draw_cell(axes, column, row, float(cells.loc[(initializer, depth), "relative_loss"]))
    _draw_border(axes, [find_border(depths, _reach(part, name)) for name in initializers])
    return drawing, size[0], size[1]


def _draw_border(axes: Axes, borders: Sequence[float]) -> None:
    """Draw one line from row to row; where theory says nothing it is interrupted."""
    xs = [x for border in borders for x in (border, border)]
    ys = [y for row in range(len(borders)) for y in (row - 0.5, row + 0.5)]
    axes.plot(xs, ys, color=INK, linewidth=3.0, solid_capstyle="butt", clip_on=False, zorder=3)


def _draw_cell(axes: Axes, column: int, row: int, relative: float) -> None:
    share = min(max(1.0 - relative, 0.0), 1.0) if math.isfinite(relative) else 0.0
    frame = {"facecolor": "none", "edgecolor": GRID, "linewidth": 0.8, "zorder": 2}
    draw_map_cell(axes, (column, row), format_loss(relative), INK, **frame)
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1.0, 1.0, facecolor=SERIES[0], edgecolor="none", alpha=_DEEPEST * share, zorder=1))


def _reach(part: DataFrame, initializer: str) -> float:
    return float(part[part["initializer"] == initializer]["predicted_depth"].iloc[0])


def _draw_scatter(
    summary: DataFrame,
    activations: Sequence[str],
    predictor: str,
    title: str,
    label: str,
    limits: tuple[float, float],
) -> Panel:
    description = f"Loss over chance against {label}, one dot for each of {len(summary)} configurations."
    width, height = _SCATTER
    pictures = [
        export_svg(
            _draw_dots(summary, activations, predictor, label, limits, each), f"scatter-{predictor}-{each}", description
        )
        for each in (width, PHONE_WIDTH)
    ]
    return Panel(title, description, pictures[0], width, height, phone=pictures[1])


def _draw_dots(
    summary: DataFrame,
    activations: Sequence[str],
    predictor: str,
    label: str,
    limits: tuple[float, float],
    width: int,
) -> Drawing:
    height = _SCATTER[1]
    drawing, axes = begin_drawing(width, height, left=52, bottom=42, right=12, top=10)
    axes.set_xscale("log")
    axes.set_xlim(limits[0] / 1.25, limits[1] * 1.25)
    axes.set_ylim(0.0, _CEILING + 0.05)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    values = np.clip(find_predictor(summary, predictor), *limits)
    loss = np.clip(summary["relative_loss"].to_numpy(dtype=np.float64), 0.0, _CEILING)
    for place, name in enumerate(activations):
        own = (summary["activation"] == name).to_numpy() & ~np.isnan(values)
        axes.plot(
            values[own],
            loss[own],
            linestyle="none",
            marker=DOTS[place % len(DOTS)][0],
            markersize=5,
            color=SERIES[place % len(SERIES)],
            alpha=0.75,
            markeredgewidth=0.0,
            zorder=3,
            clip_on=False,
        )
    axes.axhline(TRAINED_BELOW, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    if predictor == "depth_ratio":
        axes.axvline(1.0, color=INK, linewidth=1.6, zorder=2)
    axes.set_xlabel(label, color=INK, fontsize=FONT_SIZE)
    axes.set_ylabel("loss / chance", color=INK, fontsize=FONT_SIZE)
    return drawing
