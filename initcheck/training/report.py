"""The report of `initcheck train`: pages, tables, text and JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from initcheck.core.files import publish_files
from initcheck.core.formatting import (
    count,
    format_interval,
    format_names,
    format_number,
    format_share,
    format_signed,
    is_missing,
    to_json,
    wrap,
)
from initcheck.pages.document import (
    Answer,
    Block,
    Cell,
    Details,
    Document,
    Figure,
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
from initcheck.pages.forest import ForestRow, draw_forest
from initcheck.pages.html import render_pages
from initcheck.pages.svg import (
    DOTS,
    INK,
    LONGEST_LABEL,
    MUTED,
    SERIES,
    begin_drawing,
    draw_dot_key,
    draw_line_key,
    drawing_settings,
    export_svg,
    label_ends,
    mark_sizes,
    measure_labels,
)
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

MOST_LINES: Final = len(SERIES)
_PANEL: Final = (300, 230)
_LINE_WIDTH: Final = 1.8
_ROOM: Final = 0.2
"""Of the axis of the errors at each end, as a logarithm."""
_PANELS: Final = (
    ("validation_accuracy", "Validation error"),
    ("validation_loss", "Validation loss, nats"),
    ("loss", "Training loss, nats"),
)
_TONES: Final = {"true": "kept", "false": "growing-3", "undecided": "unknown"}
_WORDS: Final = {"accuracy": "more accurate", "first_loss": "faster"}
_DOT_KEYS: Final = ("the lowest", "shown to be higher", "not shown to be higher")
_DOT_COLOURS: Final = (0, 1, 5)
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
    """Write the comparison for a terminal: the verdict, then a line for each initializer, the best first."""
    summary = _rank(record)
    width = max(len(name) for name in record.initializers)
    lines = [*wrap(_describe_ranking(record), hanging="    "), f"{record.data}. {record.descent}.", ""]
    for row in summary.to_dict("records"):
        accuracy = " ".join((_number(row["accuracy"], 4), *_interval(row, "accuracy", 4)))
        loss = " ".join((_format_loss(row, record), *_interval(row, "loss", 3)))
        epochs = _format_epochs(row, "95", record)
        lines.append(f"  {row['initializer']:<{width}}  accuracy {accuracy}  loss {loss}  to .95: {epochs}")
    statements = _judge(record)
    if statements:
        lines += ["", _STATEMENT]
        for line in [_count_verdicts(statements), *_describe_statements(statements)]:
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
            for each in _judge(record)
        ],
    }
    return to_json(document)


def build_training_document(record: TrainingRecord) -> Document:
    """Build the page: the verdict and the errors, all pairs, every initializer, the curves, how it was measured."""
    statements = _judge(record)
    sections = [
        _write_pairs(record),
        _write_initializers(record),
        Section("curves", "The learning curves", (draw_curves(record),)),
        *([_write_statements(statements)] if statements else []),
        _write_method(record),
    ]
    subtitle = prose("Networks that differ in nothing but their initializer, trained side by side.")
    return Document("initcheck: initializers, trained", subtitle, tuple(sections), _write_answer(record))


def draw_curves(record: TrainingRecord) -> Figure:
    """Draw error and losses by epoch, of at most six initializers from the best to the worst."""
    ranked = [str(name) for name in _rank(record)["initializer"]]
    places = np.linspace(0, len(ranked) - 1, min(MOST_LINES, len(ranked))).round().astype(int)
    chosen = [ranked[place] for place in places]
    with drawing_settings():
        panels = tuple(_draw(record, chosen, *panel) for panel in _PANELS)
    keys = tuple(
        draw_line_key(name, place, _LINE_WIDTH, ()) for place, name in enumerate(chosen) if len(name) > LONGEST_LABEL
    )
    left_out = len(ranked) - len(chosen)
    more = f" {count(left_out, 'more initializer is', 'more initializers are')} in history.csv." if left_out else ""
    caption = prose(
        "Each line is the mean over the seeds, each band reaches from the lowest to the highest of them; the scales "
        "are logarithmic. Epoch 0 is the initialization, and the dotted line what the best constant answer reaches. "
        "Losses are drawn up to ten times that; the line of a network that is worse leaves the picture." + more
    )
    alternative = f"Learning curves. {_describe_ranking(record)}"
    return Figure("learning-curves", caption, keys, (), panels, alternative, columns=3)


_STATEMENT: Final = '"Xavier trains faster and more accurately than random or zero":'


def _judge(record: TrainingRecord) -> list[Statement]:
    """Judge the notebook's statement where its comparison is repeated; who compares others has not asked for it."""
    return judge_notebook(record.history, record.initializers) if record.notebook else []


def _count_verdicts(statements: list[Statement]) -> str:
    counts = {verdict: sum(each.verdict == verdict for each in statements) for verdict in _TONES}
    parts = ", ".join(f"{verdict} in {number}" for verdict, number in counts.items() if number)
    return f"of {len(statements)} parts {parts}."


def _describe_statements(statements: list[Statement]) -> list[str]:
    lines = []
    for quantity, word in _WORDS.items():
        for verdict in ("true", "false", "undecided"):
            found = [each for each in statements if each.quantity == quantity and each.verdict == verdict]
            if found:
                pairs = "; ".join(
                    f"{each.xavier} against {each.other} ({_format_lead(each.difference, each)})" for each in found
                )
                lines.append(f"{word}: {verdict} for {pairs}.")
    return lines


def _rank(record: TrainingRecord) -> DataFrame:
    """Summarize, the most accurate first."""
    summary = summarize(record.history, record.initializers)
    return summary.sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)


def _find_worse(record: TrainingRecord) -> tuple[str, list[str], list[str]]:
    """Find the most accurate initializer, those that are shown to be less accurate, and the others."""
    best, *others = (str(name) for name in _rank(record)["initializer"])
    pairs = compare_pairs(record.history, record.initializers, "accuracy")
    worse = {name for each in pairs if each.better == best for name in (each.first, each.second)}
    return best, [name for name in others if name in worse], [name for name in others if name not in worse]


def _describe_ranking(record: TrainingRecord) -> str:
    best, worse, others = _find_worse(record)
    accuracy = _percent(float(_rank(record)["accuracy"].iloc[0]))
    if not worse and not others:
        return f"{best} reaches an accuracy of {accuracy}; there is nothing to compare it with."
    if not worse:
        return f"{best} has the highest accuracy, {accuracy}, and is not shown to be more accurate than any other."
    if not others:
        return f"{best} is shown to be more accurate ({accuracy}) than {format_names(worse, 4)}."
    verb = "is" if len(worse) == 1 else "are"
    return (
        f"{best} has the highest accuracy, {accuracy}; of the other {len(worse) + len(others)}, {len(worse)} {verb} "
        f"shown to be less accurate: {format_names(worse, 4)}."
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}%"


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


def _write_answer(record: TrainingRecord) -> Answer:
    best, worse, _ = _find_worse(record)
    pairs = compare_pairs(record.history, record.initializers, "accuracy")
    accuracy = float(_rank(record)["accuracy"].iloc[0])
    values = (
        (_percent(accuracy), f"highest accuracy at the end, of {best}"),
        (f"{sum(bool(each.better) for each in pairs)} of {len(pairs)}", "pairs are shown to differ in accuracy"),
        (_percent(record.chance), "is right by the best constant answer"),
    )
    return Answer(prose(_describe_ranking(record)), "passed" if worse else "undecided", values, (draw_errors(record),))


def draw_errors(record: TrainingRecord) -> Figure:
    """Draw the error at the end of each initializer with its interval; the loss where an error is zero."""
    summary = _rank(record)
    by_error = bool((summary["accuracy"] < 1.0).all())
    title, chance = (
        ("Error at the end", _log(1.0 - record.chance)) if by_error else ("Loss at the end over chance level", 0.0)
    )
    best, worse, _ = _find_worse(record)
    rows = []
    for row in summary.to_dict("records"):
        value, low, high = _take_row(row, record, by_error=by_error)
        text = _percent(value) if by_error else format_number(value, missing="not finite")
        kind = 0 if row["initializer"] == best else 1 if row["initializer"] in worse else 2
        rows.append(ForestRow(str(row["initializer"]), _log(value), _log(low), _log(high), text, _DOT_COLOURS[kind]))
    ends = [end for row in rows for end in (row.value, row.low, row.high, chance) if math.isfinite(end)]
    ranking = _describe_ranking(record)
    panel = draw_forest(
        rows,
        (chance, chance) if math.isfinite(chance) else None,
        title="",
        description=f"{title}, with 95% intervals. {ranking}",
        prefix="errors",
        axis=f"{title[0].lower()}{title[1:]}",
        format_factor=format_share if by_error else lambda factor: format_number(factor, 1),
        limits=(min(ends, default=-1.0) - _ROOM, max(ends, default=0.0) + _ROOM),
    )
    keys = tuple(draw_dot_key(label, colour, DOTS[0][1]) for label, colour in zip(_DOT_KEYS, _DOT_COLOURS, strict=True))
    caption = prose(
        f"Means over {count(len(record.seeds), 'seed')} with 95% intervals, on the samples that were held out; the "
        "scale is logarithmic, and the dotted line is the chance level. Whether a difference is shown is decided by "
        f"the differences in accuracy for each seed, at the level {LEVEL:g}, by Holm's method over all pairs."
    )
    return Figure("errors", caption, keys, (), (panel,), f"{title}. {ranking}", columns=1)


def _log(value: float) -> float:
    """Give the natural logarithm; minus infinite for what is not above 0."""
    return math.log(value) if value > 0.0 else math.nan if math.isnan(value) else -math.inf


def _take_row(row: dict[Any, Any], record: TrainingRecord, *, by_error: bool) -> tuple[float, float, float]:
    """Take what is drawn of an initializer, with the ends of its interval; NaN where there is none."""
    if by_error:
        return 1.0 - _float(row["accuracy"]), 1.0 - _float(row["accuracy_high"]), 1.0 - _float(row["accuracy_low"])
    chance = record.chance_loss or 1.0
    return _float(row["loss"]) / chance, _float(row["loss_low"]) / chance, _float(row["loss_high"]) / chance


def _float(value: Any) -> float:
    return math.nan if is_missing(value) else float(value)


def _write_initializers(record: TrainingRecord) -> Section:
    rows = tuple(_summary_row(row, record) for row in _rank(record).to_dict("records"))
    caption = prose(
        "Means over seeds with 95% intervals; accuracy and loss on the held-out samples. A network whose loss is not "
        "finite has none."
    )
    return Section("initializers", "Every initializer, the most accurate first", (Table(caption, _COLUMNS, rows),))


def _write_statements(statements: list[Statement]) -> Section:
    sentence = strong("“Xavier trains faster and more accurately than random or zero”")
    table = Details(prose(count(len(statements), "part")), (_statement_table(statements),))
    return Section(
        "notebook",
        "The statement of the notebook",
        (paragraph(sentence, ": ", _count_verdicts(statements)), table),
    )


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


def _write_pairs(record: TrainingRecord) -> Section:
    """Write all pairs, the largest difference first: those shown to differ open, the others folded."""
    blocks: list[Block] = []
    for quantity, words in QUANTITIES.items():
        pairs = compare_pairs(record.history, record.initializers, quantity)
        ordered = sorted(pairs, key=_order_by_effect)
        for shown, said in ((True, "shown to differ"), (False, "not shown to differ")):
            rows = tuple(_pair_row(each) for each in ordered if bool(each.better) == shown)
            if rows:
                caption = prose(f"Differences in {words}, the largest first, with 95% intervals.")
                table = Table(caption, ("Pair", "Difference", "p", "Better"), rows)
                summary = f"{words.capitalize()}: {count(len(rows), 'pair')} {said}"
                blocks.append(Details(prose(summary), (table,), unfolded=shown and quantity == "accuracy"))
    if not blocks:
        blocks.append(paragraph("One initializer alone has nothing to be compared with."))
    introduction = paragraph(
        "Differences of networks of one seed, which see the same batches; p-values after Holm over all pairs."
    )
    return Section("differences", "In pairs", (*blocks, introduction))


def _order_by_effect(pair: PairedDifference) -> float:
    value = pair.estimate.value
    return math.inf if math.isnan(value) else -abs(value)


def _pair_row(pair: PairedDifference) -> Row:
    """Write a pair so that the difference is positive."""
    estimate = pair.estimate
    if estimate.value < 0.0:
        names, ends = (pair.second, pair.first), (-estimate.value, -estimate.high, -estimate.low)
    else:
        names, ends = (pair.first, pair.second), (estimate.value, estimate.low, estimate.high)
    interval = format_interval(*ends[1:], _signed)
    return table_row(
        f"{names[0]} less {names[1]}",
        Cell(_signed(ends[0]), (interval,) if interval else ()),
        _number(pair.p_value, 2),
        Cell(pair.better or "not shown", tone="" if pair.better else "unknown"),
    )


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


def _draw(record: TrainingRecord, chosen: list[str], column: str, title: str) -> Panel:
    width, height = _PANEL
    drawing, axes = begin_drawing(width, height, left=50, bottom=40, right=measure_labels(chosen), top=10)
    error = column == "validation_accuracy"
    ends, drawn = [], []
    for place, name in enumerate(chosen):
        part = record.history[record.history["initializer"] == name]
        line = _draw_line(axes, part, column, place, error=error)
        if len(line):
            drawn.append(line[:, 1])
            ends.append((name, (float(line[-1, 0]), float(line[-1, 1])), SERIES[place]))
    axes.set_xlabel("epoch", color=INK)
    axes.set_xlim(0, record.epochs)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    chance = 1.0 - record.chance if error else record.chance_loss
    highest = 1.0 if error else _highest_loss(record, column)
    lowest = min((float(heights.min()) for heights in drawn), default=-1.0)
    limits = min(lowest, math.log10(highest) - 0.5) - 0.05, math.log10(highest)
    axes.set_ylim(*limits)
    mark_sizes(axes, limits)
    if chance > 0.0:
        axes.axhline(math.log10(chance), color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    label_ends(axes, ends)
    description = f"{title} by epoch. {_describe_ranking(record)}"
    return Panel(title, description, export_svg(drawing, f"curves-{column}", description), width, height)


def _draw_line(axes: Axes, part: DataFrame, column: str, place: int, *, error: bool) -> Any:
    """Draw one line with its band, and return its points, one row each; those of zero and infinity are left out."""
    matrix = part.pivot(index="epoch", columns="seed", values=column)
    values = matrix.to_numpy(dtype=np.float64, na_value=np.nan)
    masked = np.ma.masked_invalid(1.0 - values if error else values)
    mean = masked.mean(axis=1)
    known = ~np.ma.getmaskarray(mean) & (mean.filled(0.0) > 0.0)
    epochs = matrix.index.to_numpy(dtype=np.float64)[known]
    line = np.log10(mean[known].filled())
    with np.errstate(divide="ignore"):
        low, high = (np.log10(end[known].filled()) for end in (masked.min(axis=1), masked.max(axis=1)))
    axes.plot(epochs, line, color=SERIES[place], linewidth=_LINE_WIDTH)
    axes.fill_between(epochs, np.maximum(low, -99.0), high, color=SERIES[place], alpha=0.18, linewidth=0)
    return np.column_stack((epochs, line))


def _highest_loss(record: TrainingRecord, column: str) -> float:
    """End the axis where chance level is well inside, and those that have not blown up are all seen."""
    values = record.history[column].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    chance = max(record.chance_loss, 0.1)  # with a single class chance costs nothing; an axis has a height
    return float(min(10.0 * chance, max(1.2 * chance, finite.max(initial=0.0) * 1.05)))
