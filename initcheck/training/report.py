"""The report of `initcheck train`: pages, tables, text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from initcheck.core.files import publish_files
from initcheck.core.formatting import count, format_interval, format_number, format_share, format_signed, to_json, wrap
from initcheck.pages.document import (
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
    method_section,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.pages.html import render_pages
from initcheck.pages.svg import GRID, INK, MUTED, SERIES, begin_drawing, draw_line_key, drawing_settings, export_svg
from initcheck.training.comparison import (
    LEVEL,
    QUANTITIES,
    PairedDifference,
    Statement,
    compare_pairs,
    count_losses,
    judge_notebook,
    summarize,
)
from initcheck.training.run import TrainingRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_WIDTH: Final = 420
_HEIGHT: Final = 300
_LINE_WIDTH: Final = 1.8
_DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (5.0, 2.0), (1.5, 1.5), (5.0, 1.5, 1.0, 1.5))
_PANELS: Final = (
    ("validation_accuracy", "Validation accuracy", "accuracy"),
    ("validation_loss", "Validation loss", "nats"),
    ("loss", "Training loss", "nats"),
)
_TONES: Final = {"true": "kept", "false": "growing-3", "undecided": "unknown"}
_WORDS: Final = {"accuracy": "more accurate", "first_loss": "faster"}
_COLUMNS: Final = (
    "Initializer",
    "Accuracy at the end",
    "Loss at the end",
    "Training loss, first epoch",
    "Epochs to .90",
    "Epochs to .95",
)


def write_training(record: TrainingRecord, folder: Path) -> list[Path]:
    """Write the pages ``training.html`` and ``training.md`` with their pictures, and the tables as CSV."""
    document = build_training_document(record)
    summary = summarize(record.history, record.initializers)
    files = {
        **render_pages(document, "training"),
        "history.csv": record.history.to_csv(index=False, lineterminator="\n"),
        "comparison.csv": summary.to_csv(index=False, lineterminator="\n"),
    }
    return publish_files(folder, files)


def training_text(record: TrainingRecord) -> str:
    """Write the comparison for a terminal: a line for each initializer, then the verdict on the notebook."""
    summary = summarize(record.history, record.initializers)
    width = max(len(name) for name in record.initializers)
    lines = [f"{record.data}. {record.descent}.", ""]
    for row in summary.to_dict("records"):
        accuracy = " ".join((_number(row["accuracy"], 4), *_interval(row, "accuracy", 4)))
        loss = " ".join((_format_loss(row, record), *_interval(row, "loss", 3)))
        epochs = _format_epochs(row, "95", record)
        lines.append(f"  {row['initializer']:<{width}}  accuracy {accuracy}  loss {loss}  to .95: {epochs}")
    lines.append("")
    for line in _describe_statements(judge_notebook(record.history, record.initializers)):
        lines += wrap(line, hanging="    ")
    return "\n".join(lines)


def training_json(record: TrainingRecord) -> str:
    """Write the comparison as one JSON object: settings, summary, differences in pairs, statements."""
    history, names = record.history, record.initializers
    document = {
        "data": record.data,
        "descent": record.descent,
        "chance": record.chance,
        "chance_loss": record.chance_loss,
        "seeds": list(record.seeds),
        "epochs": record.epochs,
        "seconds": record.seconds,
        "resumed": record.resumed,
        "versions": dict(record.versions),
        "comparison": summarize(history, names).astype(object).to_dict("records"),
        "differences": [
            _difference(each) for quantity in QUANTITIES for each in compare_pairs(history, names, quantity)
        ],
        "statements": [
            {"xavier": each.xavier, "other": each.other, "claim": _WORDS[each.quantity], "verdict": each.verdict}
            for each in judge_notebook(history, names)
        ],
    }
    return to_json(document)


def build_training_document(record: TrainingRecord) -> Document:
    """Build the page of a comparison: the verdict first, then the curves, the differences and how it was measured."""
    statements = judge_notebook(record.history, record.initializers)
    sections = [
        _write_answer(record, statements),
        Section("curves", "The learning curves", tuple(draw_curves(record))),
        _write_differences(record),
        _write_method(record),
    ]
    subtitle = prose("Networks that differ in nothing but their initializer, trained side by side.")
    return Document("initcheck: initializers, trained", subtitle, tuple(sections))


def draw_curves(record: TrainingRecord) -> Iterator[Figure]:
    """Draw accuracy and loss by epoch."""
    with drawing_settings():
        panels = tuple(_draw(record, *panel) for panel in _PANELS)
    keys = tuple(_key(name, place) for place, name in enumerate(record.initializers))
    caption = prose(
        "Each line is the mean over the seeds, each band reaches from the lowest to the highest of them. Epoch 0 is "
        "the initialization, and the dotted line the chance level: what the best constant answer reaches "
        f"({format_number(record.chance_loss)} nats). Losses are drawn up to ten times the chance level; the line of a "
        "network that is worse leaves the picture."
    )
    best = _best(record)
    yield Figure("learning-curves", caption, keys, (), panels, f"Learning curves; {best}", columns=3)


def _describe_statements(statements: list[Statement]) -> list[str]:
    if not statements:
        return []
    lines = ['"Xavier trains faster and more accurately than random or zero":']
    counts = {verdict: sum(each.verdict == verdict for each in statements) for verdict in _TONES}
    parts = ", ".join(f"{verdict} in {number}" for verdict, number in counts.items() if number)
    lines.append(f"of {len(statements)} parts {parts}.")
    for quantity, word in _WORDS.items():
        for verdict in ("true", "false", "undecided"):
            found = [each for each in statements if each.quantity == quantity and each.verdict == verdict]
            if found:
                pairs = "; ".join(
                    f"{each.xavier} against {each.other} ({_format_lead(each.difference, each)})" for each in found
                )
                lines.append(f"{word}: {verdict} for {pairs}.")
    return lines


def _format_lead(difference: PairedDifference, statement: Statement) -> str:
    """Write by how much Xavier is ahead: the sign of the difference follows which is first."""
    sign = 1.0 if difference.first == statement.xavier else -1.0
    estimate = difference.estimate
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return f"{_signed(sign * estimate.value)} {format_interval(low, high, _signed)}, p {_number(difference.p_value, 2)}"


def _signed(value: float) -> str:
    return format_signed(value, ".3g")


def _number(value: Any, digits: int = 3) -> str:
    return format_number(value, digits, missing="none")


def _format_epochs(row: dict[Any, Any], key: str, record: TrainingRecord) -> str:
    reached, networks = int(row[f"reached_{key}"]), int(row["seeds"])
    if not reached:
        return f"not in {record.epochs}"
    epochs = f"{row[f'epochs_to_{key}']:.1f}"
    return epochs if reached == networks else f"{epochs} ({reached} of {networks})"


def _format_loss(row: dict[Any, Any], record: TrainingRecord) -> str:
    """Write a mean final loss, and of how many networks where some have none."""
    finite, networks = count_losses(record.history, row["initializer"]), int(row["seeds"])
    loss = _number(row["loss"])
    return loss if finite in (0, networks) else f"{loss} ({finite} of {networks})"


def _interval(row: dict[Any, Any], name: str, digits: int) -> tuple[str, ...]:
    interval = format_interval(row[f"{name}_low"], row[f"{name}_high"], lambda end: format_number(end, digits))
    return (interval,) if interval else ()


def _difference(difference: PairedDifference) -> dict[str, Any]:
    estimate = difference.estimate
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "p": difference.p_value}
    return {
        "first": difference.first,
        "second": difference.second,
        "quantity": difference.quantity,
        **values,
        "better": difference.better or None,
    }


def _write_answer(record: TrainingRecord, statements: list[Statement]) -> Section:
    summary = summarize(record.history, record.initializers)
    blocks: list[Block] = [paragraph(f"{record.data}. {count(len(record.seeds), 'network')} for each initializer.")]
    if statements:
        blocks.append(paragraph(strong("“Xavier trains faster and more accurately than random or zero”")))
        blocks.append(Bullets(tuple(prose(each) for each in _describe_statements(statements)[1:])))
        blocks.append(_statement_table(statements))
    rows = tuple(_summary_row(row, record) for row in summary.to_dict("records"))
    caption = prose(
        "Means over seeds with 95% intervals; accuracy and loss on the held-out samples. A network whose loss is not "
        "finite has none."
    )
    blocks.append(Table(caption, _COLUMNS, rows))
    return Section("answer", "The verdict", tuple(blocks))


def _statement_table(statements: list[Statement]) -> Table:
    rows = tuple(
        table_row(
            f"{each.xavier} against {each.other}",
            _WORDS[each.quantity],
            Cell(each.verdict, tone=_TONES[each.verdict]),
            _format_lead(each.difference, each),
        )
        for each in statements
    )
    columns = ("Xavier against", "Claim", "Verdict", "Difference")
    caption = prose(
        "Faster: a lower training loss in the first epoch (nats). More accurate: a higher accuracy at the end. "
        f"Xavier's value less the other's; the same batches on both sides, Holm over all pairs, level {LEVEL:g}."
    )
    return Table(caption, columns, rows, code_headers=False)


def _summary_row(row: dict[Any, Any], record: TrainingRecord) -> Row:
    cells = (
        Cell(format_number(row["accuracy"], 4), _interval(row, "accuracy", 4)),
        Cell(_format_loss(row, record), _interval(row, "loss", 3)),
        Cell(_number(row["first_loss"])),
        Cell(_format_epochs(row, "90", record)),
        Cell(_format_epochs(row, "95", record)),
    )
    return Row(str(row["initializer"]), cells)


def _write_differences(record: TrainingRecord) -> Section:
    blocks: list[Block] = []
    for quantity, words in QUANTITIES.items():
        pairs = compare_pairs(record.history, record.initializers, quantity)
        rows = tuple(
            table_row(
                f"{each.first} less {each.second}",
                Cell(
                    _signed(each.estimate.value),
                    (format_interval(each.estimate.low, each.estimate.high, _signed),),
                ),
                _number(each.p_value, 2),
                Cell(each.better or "not shown", tone="" if each.better else "unknown"),
            )
            for each in pairs
        )
        if rows:
            table = Table(prose(f"{words.capitalize()}."), ("Pair", "Difference", "p", "Better"), rows)
            blocks.append(Details(prose(f"Differences in {words}"), (table,), unfolded=quantity == "accuracy"))
    if not blocks:
        blocks.append(paragraph("One initializer alone has nothing to be compared with."))
    introduction = paragraph(
        "Differences of networks of one seed, which see the same batches; p-values after Holm over all pairs."
    )
    return Section("differences", "In pairs", (introduction, *blocks))


def _write_method(record: TrainingRecord) -> Section:
    loss = format_number(record.chance_loss)
    constant = f"a constant answer is right for {format_share(record.chance)}, and its loss is at least {loss} nats"
    seeds = f"{record.seeds[0]} to {record.seeds[-1]}; weights and the order of the batches derive from them."
    rows = (
        ("Network", record.network),
        ("Data", f"{record.data}; {constant}."),
        ("Training", record.descent),
        ("Seeds", seeds),
    )
    return method_section(rows, record.versions, command_line=record.command_line)


def _best(record: TrainingRecord) -> str:
    final = record.history[record.history["epoch"] == record.history["epoch"].max()]
    means = final.groupby("initializer")["validation_accuracy"].mean()
    return f"at the end {means.idxmax()} is the most accurate, at {means.max():.3f} on average"


def _key(name: str, place: int) -> Key:
    return draw_line_key(name, place % len(SERIES), _LINE_WIDTH, _DASHES[place // len(SERIES) % len(_DASHES)])


def _draw(record: TrainingRecord, column: str, title: str, unit: str) -> Panel:
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=52, bottom=42, right=10, top=10)
    for place, name in enumerate(record.initializers):
        _draw_line(axes, record.history[record.history["initializer"] == name], column, place)
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.set_xlim(0, record.epochs)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if unit == "nats":
        axes.set_ylim(0.0, _highest_loss(record, column))
    else:
        axes.set_ylim(0.0, 1.0)
    chance = record.chance_loss if unit == "nats" else record.chance
    axes.axhline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(colors=INK)
    description = f"{title} by epoch; {_best(record)}"
    return Panel(title, description, export_svg(drawing, f"curves-{column}", description), _WIDTH, _HEIGHT)


def _draw_line(axes: Axes, part: DataFrame, column: str, place: int) -> None:
    matrix = part.pivot(index="epoch", columns="seed", values=column)
    values = matrix.to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(values).any(axis=1)
    if not known.any():
        return
    epochs = matrix.index.to_numpy(dtype=np.float64)[known]
    masked = np.ma.masked_invalid(values[known])
    colour = SERIES[place % len(SERIES)]
    dashes = _DASHES[place // len(SERIES) % len(_DASHES)]
    style = (0, dashes) if dashes else "solid"
    axes.plot(epochs, masked.mean(axis=1), color=colour, linewidth=_LINE_WIDTH, linestyle=style)
    axes.fill_between(epochs, masked.min(axis=1), masked.max(axis=1), color=colour, alpha=0.18, linewidth=0)


def _highest_loss(record: TrainingRecord, column: str) -> float:
    """End the axis where chance level is well inside, and those that have not blown up are all seen."""
    values = record.history[column].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    chance = max(record.chance_loss, 0.1)  # with a single class chance costs nothing; an axis has a height
    return float(min(10.0 * chance, max(1.2 * chance, finite.max(initial=0.0) * 1.05)))
