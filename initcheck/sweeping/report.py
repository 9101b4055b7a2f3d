"""The report of ``initcheck sweep``: pages with heat maps, tables, text and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import pyarrow
import pyarrow.parquet

from initcheck.audit.limits import PRESERVING_MARGIN
from initcheck.core.columns import DIRECTIONS, DTYPE_COLUMN, MEASUREMENT_COLUMNS, SUMMARY_COLUMNS
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.files import publish_files
from initcheck.core.formatting import count, format_duration, format_number, format_share, format_signed, to_json
from initcheck.pages import palette
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Details,
    Document,
    Figure,
    Panel,
    Row,
    Scale,
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
from initcheck.pages.svg import GRID, GROUNDS, TEXTS, begin_map, break_name, draw_map_cell, drawing_settings, export_svg
from initcheck.sweeping.run import SweepResult
from initcheck.sweeping.spec import AXES
from initcheck.sweeping.store import SweepStore, make_schema

MOST_PANELS: Final = 60
_ROW: Final = 22
_TWO_LINES: Final = 7.5  # font size of two lines in one row
_NAMES: Final = {"depth": "hidden layers", "width": "units a layer", "batch_size": "samples", "dtype": "dtype policy"}
Quantity = Literal["forward_gain", "backward_gain", "forward_gain_z", "backward_gain_z"]
TITLE: Final = "initcheck: a sweep"
_MARGIN: Final = 1.0 + PRESERVING_MARGIN
_VERDICTS: Final = ("preserves", "vanishes", "explodes", "dead", "inconclusive")
_FARTHEST: Final = 10
_MOST_REASONS: Final = 50


@dataclass(frozen=True)
class MapAxes:
    """What is drawn against what: one map for each combination of the facets, and the axes with one value beside it."""

    x: str
    y: str
    facets: tuple[str, ...]
    fixed: dict[str, Any]


def write_sweep(result: SweepResult, folder: Path, command_line: str, x: str | None, y: str | None) -> list[Path]:
    """Write ``sweep.html`` and ``sweep.md`` with their pictures, and the summary as CSV and Parquet."""
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
    """Build the page: the answer, the maps, theory, what is missing, and how it was made."""
    sections = [_write_answer(result)]
    if len(result.summary):
        chosen = choose_axes(result.summary, x, y)
        sections += [_write_maps(result.summary, chosen), _write_theory(result.summary, chosen)]
    if result.refused or result.failed:
        sections.append(_write_missing(result))
    sections.append(_write_method(result, command_line))
    return Document(TITLE, prose("Many networks, measured before the first step of training."), tuple(sections))


def check_axes(x: str | None, y: str | None) -> None:
    """Refuse axes that are none, or one and the same; None is chosen later."""
    for option, axis in (("--x", x), ("--y", y)):
        if axis is not None and axis not in AXES:
            raise UsageError(f"{option}: {name_unknown('axis', axis, AXES)}")
    if x is not None and x == y:
        raise UsageError(f"--x and --y must be two different axes. Received: {x!r} twice.")


def choose_axes(summary: pd.DataFrame, x: str | None, y: str | None) -> MapAxes:
    """Choose the axes of the maps: depth and initializer by default if they vary, else those with the most values."""
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
            f"{y} against {x} would take {panels} maps, more than {MOST_PANELS}. Choose the axes with the most values "
            "with --x and --y."
        )
    return MapAxes(x, y, facets, fixed)


def draw_maps(summary: pd.DataFrame, chosen: MapAxes, quantity: Quantity, margin: float) -> Figure:
    """Draw a quantity over two axes."""
    score = quantity.endswith("_z")
    write: Callable[[Any], tuple[str, str]] = (
        _format_score if score else lambda row: _format_gain(row, quantity, margin)
    )
    groups: list[tuple[Any, pd.DataFrame]] = [("", summary)]
    if chosen.facets:
        groups = list(summary.groupby(list(chosen.facets), sort=False, dropna=False))
    with drawing_settings():
        panels = tuple(
            _draw_map(part, chosen, _title(chosen, key), f"{quantity.replace('_', '-')}-{place}", quantity, write)
            for place, (key, part) in enumerate(groups)
        )
    direction = quantity.partition("_")[0]
    caption = f"{direction.capitalize()} gain per layer, arithmetic mean over layers and seeds; without colour: kept."
    if score:
        caption = (
            f"Score of the {direction} gain: measured less predicted in standard errors, measured or predicted, "
            "whichever is larger, as a normal score. Beyond 3 it is far from theory; cells without a score have no "
            "prediction with a standard deviation, or do not vary."
        )
    name = quantity.replace("_", "-")
    alternative = f"{caption.partition(';')[0]} by {chosen.y} and {chosen.x}."
    return Figure(name, prose(caption), (), (), panels, alternative, columns=2)


def list_farthest(summary: pd.DataFrame, quantity: Quantity, number: int) -> list[tuple[pd.Series[Any], str]]:
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


def _write_answer(result: SweepResult) -> Section:
    blocks: list[Block] = [paragraph(_describe_cells(result))]
    if result.stale:
        blocks.append(paragraph(_describe_stale(result)))
    summary = result.summary
    if len(summary):
        axis = next((axis for axis in ("initializer", "activation", *AXES) if summary[axis].nunique() > 1), AXES[0])
        rows = []
        for name, part in summary.groupby(axis, sort=False):
            found = [part[f"{direction}_verdict"].value_counts() for direction in DIRECTIONS]
            both = int((part["verdict"] == "preserves in both directions").sum())
            numbers = (both, *(int(counts.get(verdict, 0)) for counts in found for verdict in _VERDICTS))
            rows.append(Row(str(name), tuple(Cell(str(number or "")) for number in numbers)))
        caption = prose(
            "In how many of its cells the signal is kept in both directions (with inputs that stay apart and units "
            "that differ), and each direction's own verdict."
        )
        columns = (axis.capitalize(), "Both kept", *(f"{way} {word}" for way in DIRECTIONS for word in _VERDICTS))
        blocks.append(Table(caption, columns, tuple(rows)))
    return Section("answer", "The answer", tuple(blocks))


def _write_method(result: SweepResult, command_line: str) -> Section:
    cells = result.spec.cells
    seeds = sorted({len(cell.seeds) for cell in cells})
    rows = {
        "Seeds": f"{' or '.join(map(str, seeds))} networks for each cell; intervals are over them.",
        "Loss": "A fixed random linear functional of the outputs, scaled to mean r² = 1.",
        "Mode": "training=True: normalization by the statistics of the batch.",
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


def _write_maps(summary: pd.DataFrame, chosen: MapAxes) -> Section:
    introduction = (
        "The gain of a layer is the factor by which the signal's second moment, or the squared norm of one sample's "
        "gradient, changes from layer to layer: mean over layers, then over seeds. Blue layers lose the signal, orange "
        "ones blow it up; a gain of 1/4 is as blue as a gain of 4 is orange."
    )
    fixed = ", ".join(f"{axis.replace('_', ' ')} {value}" for axis, value in chosen.fixed.items())
    blocks: list[Block] = [paragraph(introduction), Scale(palette.scale_steps(_MARGIN))]
    if fixed:
        blocks.append(paragraph(f"In all maps: {fixed}."))
    blocks += [
        draw_maps(summary, chosen, "forward_gain", _MARGIN),
        draw_maps(summary, chosen, "backward_gain", _MARGIN),
    ]
    return Section("maps", f"Gains by {chosen.y} and {chosen.x}", tuple(blocks))


def _write_theory(summary: pd.DataFrame, chosen: MapAxes) -> Section:
    counts, rows = [], []
    maps: list[Block] = []
    for direction in DIRECTIONS:
        name: Any = f"{direction}_gain_z"
        scores = [float(score) for score in summary[name].dropna()]
        if not scores:
            counts.append(prose(f"{direction}: no cell has a prediction with a standard deviation to compare with."))
            continue
        two, three = count_beyond(scores, 2.0), count_beyond(scores, 3.0)
        counts.append(
            prose(
                f"{direction}: {count(len(scores), 'cell')} with a score; {two} beyond ±2 "
                f"({format_share(two / len(scores))}, at most 4.6% by chance alone), "
                f"{three} beyond ±3 (chance: at most 0.3%)."
            )
        )
        for cell, score in list_farthest(summary, name, _FARTHEST):
            where = ", ".join(str(cell[axis]) for axis in (chosen.y, chosen.x, *chosen.facets))
            gains = (cell[f"{direction}_gain"], cell[f"predicted_{direction}_gain"])
            cells = (Cell(direction), *(Cell(format_number(float(gain))) for gain in gains), Cell(score))
            rows.append(Row(where, cells))
        maps.append(draw_maps(summary, chosen, name, _MARGIN))
    blocks: list[Block] = [
        paragraph(
            "A score is the measured gain less the predicted one, both arithmetic means, in standard errors, measured "
            "or predicted, whichever is larger; as a normal score: of the same probability under Student's "
            "distribution, which takes the number of seeds into "
            "account. The prediction is theory's for this depth, width and batch, to order 1/width; the summary's "
            "files hold it for each cell, with what it rests on. Cells of one seed and width share weights, so "
            "their scores are not independent.",
        ),
        Bullets(tuple(counts)),
        paragraph(
            "Why the two may differ besides by chance: the next order in 1/width, in deep and narrow networks; and "
            "float32. A signal below 1e-38 is flushed to zero, and TensorFlow's ",
            code("elu"),
            " and ",
            code("selu"),
            " give exactly 0 for negative inputs smaller than 3e-8, where they become half dead: a small signal "
            "then loses half of what theory expects.",
        ),
    ]
    if maps:
        columns = (
            ", ".join((chosen.y, chosen.x, *chosen.facets)),
            "Direction",
            "Measured gain",
            "Predicted gain",
            "Score",
        )
        farthest = Table(prose("Where measurement and theory are farthest apart."), columns, tuple(rows))
        blocks += [Details(prose("The farthest cells"), (farthest,)), Scale(palette.score_steps(), "Colours of scores")]
        blocks += maps
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


def _format_score(value: float) -> tuple[str, str]:
    if math.isnan(value):
        return "", "unknown"
    return format_signed(value, ".1f"), palette.tone_of_score(value)


def _format_gain(row: Any, quantity: str, margin: float) -> tuple[str, str]:
    """Say a gain in few characters, and name its tone."""
    if row[f"{quantity.partition('_')[0]}_verdict"] == "dead":
        return "dead", "dead"
    gain = row[quantity]
    if pd.isna(gain):
        return ("∞", "non-finite") if not pd.isna(row["nonfinite_from_position"]) else ("none", "unknown")
    return _format_short_gain(float(gain)), palette.tone_of_gain(float(gain), margin)


def _format_short_gain(gain: float) -> str:
    """Write a gain in at most six characters."""
    if 0.01 <= gain < 10.0:
        return f"{gain:.2f}"
    return f"{gain:.0f}" if 10.0 <= gain < 1e4 else f"{gain:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _draw_map(
    part: pd.DataFrame,
    chosen: MapAxes,
    title: str,
    prefix: str,
    quantity: Quantity,
    write: Callable[[Any], tuple[str, str]],
) -> Panel:
    columns, rows = _in_order(part[chosen.x]), _in_order(part[chosen.y])
    labels = [break_name(str(name)) for name in rows]
    axis = _NAMES.get(chosen.x, chosen.x)
    drawing, axes, width, height = begin_map(columns, labels, axis, row_height=_ROW, margin=14)
    for label in axes.get_yticklabels():
        label.set_linespacing(0.9)
        if "\n" in label.get_text():
            label.set_fontsize(_TWO_LINES)
    cells = []
    for _, cell in part.iterrows():
        value = cell[quantity]
        argument = (math.nan if pd.isna(value) else float(value)) if quantity.endswith("_z") else cell
        text, tone = write(argument)
        place = columns.index(cell[chosen.x]), rows.index(cell[chosen.y])
        style = {"facecolor": GROUNDS[tone], "edgecolor": GRID, "linewidth": 0.6, "zorder": 1}
        draw_map_cell(axes, place, text, TEXTS[tone], **style)
        cells.append(f"{cell[chosen.y]}, {cell[chosen.x]}: {text or 'none'}")
    description = f"{title + '. ' if title else ''}{'; '.join(cells)}."
    return Panel(
        title or quantity.replace("_", " "), description, export_svg(drawing, prefix, description), width, height
    )


def _in_order(values: pd.Series[Any]) -> list[Any]:
    """List the values of an axis: numbers by size, names as they come."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(not isinstance(value, str) for value in found) else found


def _title(chosen: MapAxes, key: Any) -> str:
    if not chosen.facets:
        return ""
    return ", ".join(
        str(value) if isinstance(value, str) else f"{axis.replace('_', ' ')} {value}"
        for axis, value in zip(chosen.facets, key, strict=True)
    )
