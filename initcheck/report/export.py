"""The tables as files that read back to the last bit: columns and dtypes of the schema, rows in a fixed order."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from initcheck import schema

if TYPE_CHECKING:
    from pandas import DataFrame

_MEASUREMENT_ORDER = [column.name for column in schema.KEY_COLUMNS] + ["position", "layer", "call"]
_SUMMARY_ORDER = [column.name for column in schema.KEY_COLUMNS if column.name != "seed"]


def measurements_csv(table: DataFrame) -> bytes:
    """Write the measurement table as CSV, sorted by its keys and position, nulls empty, floats in full."""
    return _write_csv(_conform(table, schema.MEASUREMENT_COLUMNS, _MEASUREMENT_ORDER))


def measurements_parquet(table: DataFrame) -> bytes:
    """Write the measurement table as Parquet, with the schema's dtypes and the order of the CSV."""
    buffer = io.BytesIO()
    _conform(table, schema.MEASUREMENT_COLUMNS, _MEASUREMENT_ORDER).to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def summary_csv(summary: DataFrame) -> bytes:
    """Write the summary as CSV, sorted by its keys, nulls empty, floats in full."""
    return _write_csv(_conform(summary, schema.SUMMARY_COLUMNS, _SUMMARY_ORDER))


def summary_json(summary: DataFrame) -> str:
    """Write the summary as a JSON list of objects, sorted by its keys, floats in full.

    JSON knows no infinity: it is written as the string "inf" or "-inf". Nulls are null.
    """
    rows = _conform(summary, schema.SUMMARY_COLUMNS, _SUMMARY_ORDER).astype(object)
    records = [{name: _json_value(value) for name, value in row.items()} for row in rows.to_dict(orient="records")]
    return json.dumps(records, indent=2, allow_nan=False, ensure_ascii=False)


def _json_value(value: Any) -> str | int | float | bool | None:
    if pd.isna(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return value  # type: ignore[no-any-return]


def _conform(frame: DataFrame, columns: Sequence[schema.Column], order: list[str]) -> DataFrame:
    """Take the schema's columns in its order and dtypes, sort the rows, and leave any other column out."""
    chosen = frame[[column.name for column in columns]].astype({column.name: column.dtype for column in columns})
    return chosen.sort_values(order, kind="stable", na_position="last", ignore_index=True)


def _write_csv(frame: DataFrame) -> bytes:
    # No float format: the shortest text that reads back to the same float is written.
    return frame.to_csv(index=False, lineterminator="\n").encode()
