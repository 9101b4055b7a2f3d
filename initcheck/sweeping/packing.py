"""Measurement tables as bytes: what the store keeps, and what a worker sends."""

from __future__ import annotations

import io
from functools import cache

import pandas as pd
import pyarrow as pa

from initcheck.schema import MEASUREMENT_COLUMNS


@cache
def _arrow_schema() -> pa.Schema:
    empty = pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in MEASUREMENT_COLUMNS})
    return pa.Schema.from_pandas(empty, preserve_index=False).remove_metadata()


def pack_table(table: pd.DataFrame) -> bytes:
    """Write a measurement table as a compressed Arrow stream: less than half of what pickle makes of it."""
    schema = _arrow_schema()
    # Half the time of Table.from_pandas, which looks at each column anew.
    columns = [pa.array(table[field.name].array, type=field.type, from_pandas=True) for field in schema]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return sink.getvalue()


def unpack_table(packed: bytes) -> pd.DataFrame:
    """Read a table back, with the columns and dtypes that it had."""
    with pa.ipc.open_stream(packed) as reader:
        frame: pd.DataFrame = reader.read_all().to_pandas()
    return frame.astype({column.name: column.dtype for column in MEASUREMENT_COLUMNS})
