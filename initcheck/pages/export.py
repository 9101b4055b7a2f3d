"""The tables of a study as files that read back to the last bit: fixed columns, dtypes and order of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from initcheck.core.columns import KEY_COLUMNS, MEASUREMENT_COLUMNS, SUMMARY_COLUMNS, Column
from initcheck.core.formatting import to_json

if TYPE_CHECKING:
    from pandas import DataFrame

_MEASUREMENT_ORDER = [column.name for column in KEY_COLUMNS] + ["position", "layer", "call"]
_CSV: Final = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
_ROWS_AT_A_TIME = 10_000
_SUMMARY_ORDER = [column.name for column in KEY_COLUMNS if column.name != "seed"]


def write_measurements_csv(table: DataFrame, path: Path) -> None:
    """Write the measurement table as CSV, sorted by its keys and position, nulls empty, floats in full."""
    write_chunks_csv(_conform_chunks(table, MEASUREMENT_COLUMNS, _MEASUREMENT_ORDER), path)


def write_measurements_parquet(table: DataFrame, path: Path) -> None:
    """Write the measurement table as Parquet, with the documented dtypes and the order of the CSV."""
    chunks = (
        pyarrow.Table.from_pandas(chunk, preserve_index=False)
        for chunk in _conform_chunks(table, MEASUREMENT_COLUMNS, _MEASUREMENT_ORDER)
    )
    first = next(chunks)
    with pyarrow.parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)


def write_summary_csv(summary: DataFrame, path: Path) -> None:
    """Write the summary as CSV, sorted by its keys, nulls empty, floats in full."""
    rows = _conform(summary, SUMMARY_COLUMNS, _SUMMARY_ORDER)
    # No float format: the shortest text that reads back to the same float is written.
    rows.astype(object).to_csv(path, index=False, lineterminator="\n")


def write_chunks_csv(chunks: Iterator[DataFrame], path: Path) -> None:
    """Write the pieces of a table of numbers and names as one CSV file, nulls empty, floats in full."""
    with path.open("wb") as file:
        for number, chunk in enumerate(chunks):
            if number == 0:
                file.write((",".join(chunk.columns) + "\n").encode())
            # Numbers are the shortest text that reads back to the same float, ten times as fast as by pandas.
            table = pyarrow.Table.from_pandas(chunk, preserve_index=False)
            pyarrow.csv.write_csv(table, file, _CSV)


def summary_json(summary: DataFrame) -> str:
    """Write the summary as a JSON list of objects, sorted by its keys, floats in full."""
    rows = _conform(summary, SUMMARY_COLUMNS, _SUMMARY_ORDER).astype(object)
    return to_json(rows.to_dict(orient="records"))


def _conform_chunks(frame: DataFrame, columns: Sequence[Column], order: list[str]) -> Iterator[DataFrame]:
    """Yield the conformed frame in pieces, so that no copy of a large table is held beside it; at least one piece."""
    by_order = frame[order].reset_index(drop=True).sort_values(order, kind="stable", na_position="last")
    rows = by_order.index.to_numpy()
    for start in range(0, max(len(rows), 1), _ROWS_AT_A_TIME):
        yield _take_columns(frame.iloc[rows[start : start + _ROWS_AT_A_TIME]], columns)


def _conform(frame: DataFrame, columns: Sequence[Column], order: list[str]) -> DataFrame:
    """Take the documented columns in their order and dtypes, sort the rows, and leave any other column out."""
    return _take_columns(frame, columns).sort_values(order, kind="stable", na_position="last", ignore_index=True)


def _take_columns(frame: DataFrame, columns: Sequence[Column]) -> DataFrame:
    return frame[[column.name for column in columns]].astype({column.name: column.dtype for column in columns})
