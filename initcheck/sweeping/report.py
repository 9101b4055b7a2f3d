"""The report of ``initcheck sweep``: pages with tables of gains, text and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow
import pyarrow.parquet

from initcheck.core.columns import DIRECTIONS, DTYPE_COLUMN, MEASUREMENT_COLUMNS, SUMMARY_COLUMNS, Direction
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.files import publish_files
from initcheck.core.formatting import count, format_duration, format_number, format_share, format_signed, to_json, wrap
from initcheck.pages import palette
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Details,
    Document,
    Row,
    Section,
    Table,
    code,
    method_section,
    paragraph,
    prose,
    table_row,
)
from initcheck.pages.export import write_chunks_csv
from initcheck.pages.html import render_pages
from initcheck.sweeping.answer import (
    TITLE,
    MeasuredCell,
    describe_sweep,
    drop_alike,
    format_gain,
    name_initializer,
    name_labels,
    order_names,
    read_cells,
    write_answer,
)
from initcheck.sweeping.run import SweepResult
from initcheck.sweeping.spec import AXES
from initcheck.sweeping.store import SweepStore, make_schema

MOST_PANELS: Final = 60
_NAMES: Final = {"depth": "hidden layers", "width": "units a layer", "batch_size": "samples", "dtype": "dtype policy"}
_VERDICTS: Final = ("preserves", "vanishes", "explodes", "dead", "inconclusive")
_FARTHEST: Final = 10
_MOST_REASONS: Final = 50


@dataclass(frozen=True)
class MapAxes:
    """What stands against what: a table for each combination of the facets, and the axes with one value beside it."""

    x: str
    y: str
    facets: tuple[str, ...]
    fixed: dict[str, Any]


def write_sweep(result: SweepResult, folder: Path, command_line: str, x: str | None, y: str | None) -> list[Path]:
    """Write ``sweep.html`` and ``sweep.md``, and the summary as CSV and Parquet."""
    document = build_sweep_document(result, command_line, x, y)
    summary = result.summary
    return publish_files(
        folder,
        {
            **render_pages(document, "sweep"),
            "summary.csv": summary.to_csv(index=False, lineterminator="\n"),
            "summary.parquet": lambda path: summary.to_parquet(path, index=False),
        },
    )


def sweep_text(result: SweepResult) -> str:
    """Write the answer for a terminal."""
    lines = [_describe_cells(result)]
    if result.stale:
        lines.append(_describe_stale(result))
    lines += wrap(describe_sweep(result.summary)[0])
    for verdict, number in result.summary["verdict"].value_counts().items():
        lines.append(f"  {number:>6}  {verdict}")
    lines += [f"not measured: {cell.label}: {reason}" for cell, reason in result.refused[:_FARTHEST]]
    if len(result.refused) > _FARTHEST:
        lines.append(f"... and {len(result.refused) - _FARTHEST} more that cannot be measured.")
    lines += [f"failed: {cell.label}: {reason}" for cell, reason in result.failed]
    return "\n".join(lines)


def sweep_json(result: SweepResult) -> str:
    """Write the result as one JSON object: counts, versions, what was not measured, and the summary."""
    names = [column.name for column in SUMMARY_COLUMNS] + [DTYPE_COLUMN.name]
    records = result.summary[names].astype(object).to_dict("records")
    document = {
        "cells": len(result.spec.cells),
        "measured": result.measured,
        "skipped": result.skipped,
        "stale": result.stale,
        "changed": result.changed,
        "seconds": result.seconds,
        "versions": dict(result.versions),
        "refused": [{**json.loads(cell.content), "reason": reason} for cell, reason in result.refused],
        "failed": [{**json.loads(cell.content), "reason": reason} for cell, reason in result.failed],
        "summary": records,
    }
    return to_json(document)


def export_cells(store: SweepStore, identities: list[str], path: Path) -> int:
    """Write the measurement table of the finished cells as one file, cell by cell, so that any number of them fits."""
    writers = {".parquet": _write_parquet, ".csv": write_chunks_csv}
    if path.suffix not in writers:
        raise UsageError(f"--export takes a file that ends in .parquet or .csv. Received: {str(path)!r}.")
    rows = 0

    def count_rows() -> Iterator[pd.DataFrame]:
        nonlocal rows
        for table in store.read_tables(identities):
            rows += len(table)
            yield table

    publish_files(path.absolute().parent, {path.name: lambda place: writers[path.suffix](count_rows(), place)})
    return rows


def build_sweep_document(result: SweepResult, command_line: str, x: str | None, y: str | None) -> Document:
    """Build the page: the answer, the gains of all cells, theory, what is missing, and how it was made."""
    sections = []
    if len(result.summary):
        chosen = choose_axes(result.summary, x, y)
        cells = read_cells(result.summary)
        summary, _ = drop_alike(result.summary)
        sections += [
            _write_gains(cells, summary, chosen),
            _write_verdicts(summary, name_labels(cells)),
            _write_theory(summary, chosen),
        ]
    if result.refused or result.failed:
        sections.append(_write_missing(result))
    sections.append(_write_method(result, command_line))
    subtitle = prose("Many networks, measured before the first step of training.")
    return Document(TITLE, subtitle, tuple(sections), write_answer(result))


def check_axes(x: str | None, y: str | None) -> None:
    """Refuse axes that are none, or one and the same; None is chosen later."""
    for option, axis in (("--x", x), ("--y", y)):
        if axis is not None and axis not in AXES:
            raise UsageError(f"{option}: {name_unknown('axis', axis, AXES)}")
    if x is not None and x == y:
        raise UsageError(f"--x and --y must be two different axes. Received: {x!r} twice.")


def choose_axes(summary: pd.DataFrame, x: str | None, y: str | None) -> MapAxes:
    """Choose the axes of the tables: depth and initializer by default if they vary, else those with the most values."""
    check_axes(x, y)
    counts = {axis: summary[axis].nunique() for axis in AXES}
    free = sorted((axis for axis in AXES if axis not in (x, y)), key=lambda axis: -counts[axis])

    def choose(preferred: str) -> str:
        axis = preferred if preferred in free and counts[preferred] > 1 else free[0]
        free.remove(axis)
        return axis

    y = y or choose("initializer")
    x = x or choose("depth" if y != "depth" else "initializer")
    others = [axis for axis in AXES if axis not in (x, y)]
    facets = tuple(axis for axis in others if counts[axis] > 1)
    fixed = {axis: summary[axis].iloc[0] for axis in others if counts[axis] == 1}
    panels = len(summary.drop_duplicates(list(facets))) if facets else 1
    if panels > MOST_PANELS:
        raise UsageError(
            f"{y} against {x} would take {panels} tables, more than {MOST_PANELS}. Choose the axes with the most "
            "values with --x and --y."
        )
    return MapAxes(x, y, facets, fixed)


def list_farthest(summary: pd.DataFrame, quantity: str, number: int) -> list[tuple[pd.Series[Any], str]]:
    """List the cells in which a score is farthest from 0."""
    scored = summary[summary[quantity].notna()]
    order = scored[quantity].abs().sort_values(ascending=False).index[:number]
    return [(scored.loc[place], format_number(float(scored.loc[place, quantity]))) for place in order]


def count_beyond(scores: Sequence[float], limit: float) -> int:
    """Count the scores beyond a limit, either way."""
    return sum(abs(score) > limit for score in scores)


def _describe_cells(result: SweepResult) -> str:
    parts = [f"{count(result.measured, 'cell')} of {len(result.spec.cells):,} measured"]
    if result.skipped:
        parts.append(f"{result.skipped:,} finished before")
    if result.refused:
        parts.append(f"{len(result.refused):,} cannot be measured")
    if result.failed:
        parts.append(f"{len(result.failed):,} failed")
    return ", ".join(parts) + "."


def _describe_stale(result: SweepResult) -> str:
    return f"{count(result.stale, 'cell')} measured again, because of a change: {result.changed}."


def _write_parquet(tables: Iterator[pd.DataFrame], path: Path) -> None:
    columns = list(MEASUREMENT_COLUMNS)
    columns.insert([column.name for column in columns].index("batch_size") + 1, DTYPE_COLUMN)
    schema = make_schema(columns)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(pyarrow.Table.from_pandas(table, schema=schema, preserve_index=False))


def _write_gains(cells: Sequence[MeasuredCell], summary: pd.DataFrame, chosen: MapAxes) -> Section:
    """Write a folded table of each direction for each combination of the other axes."""
    columns, rows = (_order_axis(cells, axis) for axis in (chosen.x, chosen.y))
    groups: dict[tuple[Any, ...], list[MeasuredCell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.axes[axis] for axis in chosen.facets), []).append(cell)
    blocks: list[Block] = []
    for key, group in groups.items():
        kept = sum(cell.state == "kept" for cell in group)
        title = _title(chosen, key) or f"{chosen.y} by {chosen.x}"
        tables = tuple(_tabulate(group, chosen, direction, columns, rows) for direction in DIRECTIONS)
        summary_line = prose(f"{title}: kept in {kept} of {count(len(group), 'measurement')}")
        blocks.append(Details(summary_line, tables, unfolded=len(groups) == 1))
    scores = summary[[f"{direction}_gain_z" for direction in DIRECTIONS]].notna().to_numpy().any()
    caption = (
        "The number is the gain of a layer, geometric mean over the deeper half of the network, which decides; framed: "
        "shown to be kept."
    )
    if scores:
        caption += " Below it, z is the score of the mean gain against theory's."
    fixed = ", ".join(f"{axis.replace('_', ' ')} {value}" for axis, value in chosen.fixed.items())
    blocks.append(paragraph(caption + (f" In all tables: {fixed}." if fixed else "")))
    title = f"Gains by {chosen.y.replace('_', ' ')} and {chosen.x.replace('_', ' ')}"
    return Section("gains", title, tuple(blocks))


def _order_axis(cells: Sequence[MeasuredCell], axis: str) -> list[Any]:
    """Order the values of an axis: numbers by size, initializers by their gains, other names as they come."""
    if axis == "initializer":
        return list(order_names(cells, name_initializer))
    found = list(dict.fromkeys(cell.axes[axis] for cell in cells))
    return found if any(value is None or isinstance(value, str) for value in found) else sorted(found)


def _tabulate(
    group: Sequence[MeasuredCell],
    chosen: MapAxes,
    direction: Direction,
    columns: Sequence[Any],
    rows: Sequence[Any],
) -> Table:
    by_place = {(cell.axes[chosen.y], cell.axes[chosen.x]): cell for cell in group}
    labels = name_labels(group) if chosen.y == "initializer" else {}
    written = []
    for name in rows:
        own = [by_place.get((name, column)) for column in columns]
        if any(own):
            cells = tuple(Cell("") if cell is None else _write_cell(cell, direction) for cell in own)
            written.append(Row(labels.get(str(name), str(name)), cells))
    axis = _NAMES.get(chosen.x, chosen.x)
    caption = prose(f"{direction.capitalize()}, by {axis}.")
    return Table(caption, (chosen.y.capitalize(), *map(str, columns)), tuple(written), "heat map")


def _write_cell(cell: MeasuredCell, direction: Direction) -> Cell:
    """Write the gain of one direction, coloured by its verdict, with the score of its mean."""
    found = cell.row.by_direction[direction]
    text = "dead" if found.verdict == "dead" else format_gain(found.settled)
    if math.isnan(found.settled) and not cell.row.is_finite:
        text = "∞"
    tones = {"preserves": "neutral", "inconclusive": "unknown", "dead": "dead"}
    strength = "non-finite" if math.isnan(found.settled) else palette.tone_of_gain(found.settled, 1.0)
    notes = () if math.isnan(found.z) else (f"z {format_signed(found.z, '.1f')}",)
    return Cell(text, notes, tone=tones.get(found.verdict, strength), emphasis=found.verdict == "preserves")


def _write_verdicts(summary: pd.DataFrame, labels: Mapping[str, str]) -> Section:
    axis = next((axis for axis in ("initializer", "activation", *AXES) if summary[axis].nunique() > 1), AXES[0])
    rows = []
    for name, part in summary.groupby(axis, sort=False):
        found = [part[f"{direction}_verdict"].value_counts() for direction in DIRECTIONS]
        both = int((part["verdict"] == "preserves in both directions").sum())
        numbers = (both, *(int(counts.get(verdict, 0)) for counts in found for verdict in _VERDICTS))
        rows.append(Row(labels.get(str(name), str(name)), tuple(Cell(str(number or "")) for number in numbers)))
    caption = prose(
        "In how many of its cells the signal is kept in both directions (with inputs that stay apart and units that "
        "differ), and each direction's own verdict."
    )
    columns = (axis.capitalize(), "Both kept", *(f"{way} {word}" for way in DIRECTIONS for word in _VERDICTS))
    table = Table(caption, columns, tuple(rows), "heat map")
    words = axis.replace("_", " ")
    return Section(
        "verdicts",
        "Verdicts, counted",
        (Details(prose(f"{count(len(rows), 'row')}, one for each {words}"), (table,)),),
    )


def _write_method(result: SweepResult, command_line: str) -> Section:
    cells = result.spec.cells
    seeds = sorted({len(cell.seeds) for cell in cells})
    rows = {
        "Seeds": f"{' or '.join(map(str, seeds))} networks for each cell; intervals are over them.",
        "Loss": "A fixed random linear functional of the outputs, scaled to mean r² = 1.",
        "Mode": "training=True: normalization by the statistics of the batch.",
        "Cells": " ".join([_describe_cells(result), *([_describe_stale(result)] if result.stale else [])]),
        "This run": (
            f"{format_duration(result.seconds)} for {count(len(cells) - result.skipped, 'cell')}; "
            f"{result.skipped:,} were finished before. "
            f"All cells together took {format_duration(result.cell_seconds)}."
        ),
    }
    files = paragraph(
        "The summary, one row per cell, is in ",
        code("summary.csv"),
        " and ",
        code("summary.parquet"),
        "; the table of all layers and seeds is written by ",
        code("--export"),
        ".",
    )
    return method_section(rows.items(), result.versions, command_line=command_line, more=(files,))


def _write_theory(summary: pd.DataFrame, chosen: MapAxes) -> Section:
    counts, rows = [], []
    for direction in DIRECTIONS:
        name: Any = f"{direction}_gain_z"
        scores = [float(score) for score in summary[name].dropna()]
        if not scores:
            counts.append(prose(f"{direction}: no cell has a prediction with a standard deviation to compare with."))
            continue
        two, three = count_beyond(scores, 2.0), count_beyond(scores, 3.0)
        counts.append(
            prose(
                f"{direction}: {count(len(scores), 'measurement')} with a score; {two} beyond ±2 "
                f"({format_share(two / len(scores))}, at most 4.6% by chance alone), "
                f"{three} beyond ±3 (chance: at most 0.3%)."
            )
        )
        for cell, score in list_farthest(summary, name, _FARTHEST):
            where = ", ".join(str(cell[axis]) for axis in (chosen.y, chosen.x, *chosen.facets))
            gains = (cell[f"{direction}_gain"], cell[f"predicted_{direction}_gain"])
            cells = (Cell(direction), *(Cell(format_number(float(gain))) for gain in gains), Cell(score))
            rows.append(Row(where, cells))
    blocks: list[Block] = [Bullets(tuple(counts))]
    if rows:
        columns = (
            ", ".join((chosen.y, chosen.x, *chosen.facets)),
            "Direction",
            "Measured gain",
            "Predicted gain",
            "Score",
        )
        caption = prose("Where measurement and theory are farthest apart; gains are arithmetic means.")
        blocks.append(
            Details(prose(f"The {count(len(rows), 'farthest cell')}"), (Table(caption, columns, tuple(rows)),))
        )
    blocks += [
        paragraph(
            "A score is the measured gain less the predicted one, both arithmetic means, in standard errors, measured "
            "or predicted, whichever is larger; as a normal score: of the same probability under Student's "
            "distribution, which takes the number of seeds into account. The prediction is theory's for this depth, "
            "width and batch, to order 1/width; the summary's files hold it for each cell, with what it rests on. "
            "Cells of one seed and width share weights, so their scores are not independent.",
        ),
        paragraph(
            "Why the two may differ besides by chance: the next order in 1/width, in deep and narrow networks; and "
            "float32. TensorFlow and JAX flush a signal below 1e-38 to zero, and TensorFlow's ",
            code("elu"),
            " and ",
            code("selu"),
            " give exactly 0 for negative inputs smaller than 3e-8, where they become half dead: a small signal "
            "then loses half of what theory expects.",
        ),
    ]
    return Section("theory", "Theory beside it", tuple(blocks))


def _write_missing(result: SweepResult) -> Section:
    blocks: list[Block] = []
    for title, listed in (("Cannot be measured", result.refused), ("Failed", result.failed)):
        if listed:
            rows = tuple(table_row(cell.label, reason) for cell, reason in listed[:_MOST_REASONS])
            blocks.append(Table(prose(f"{title}: {count(len(listed), 'cell')}."), ("Cell", "Reason"), rows))
            if len(listed) > _MOST_REASONS:
                blocks.append(paragraph(f"{len(listed) - _MOST_REASONS} more are in the store."))
    return Section("missing", "Not measured", tuple(blocks))


def _title(chosen: MapAxes, key: Any) -> str:
    if not chosen.facets:
        return ""
    return ", ".join(
        str(value) if isinstance(value, str) else f"{axis.replace('_', ' ')} {value}"
        for axis, value in zip(chosen.facets, key, strict=True)
    )
