"""Finished cells in one SQLite file: written by one process, readable by others all the while.

The file is in WAL mode: each cell is one transaction, so that a process killed at any moment leaves every cell that was
recorded and nothing of any other.
"""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import filelock
import pandas as pd
import pyarrow as pa

from initcheck.core.columns import DTYPE_COLUMN, MEASUREMENT_COLUMNS, SUMMARY_COLUMNS, Column
from initcheck.core.errors import StoreError
from initcheck.core.formatting import is_missing
from initcheck.sweeping.measurement import CellResult, State
from initcheck.sweeping.spec import Cell, keep_versions

APPLICATION: Final = 0x696E6974
"""The file's application id, "init" in ASCII: a database of another program is not written to."""

VERSION: Final = 1

_ROWS_AT_ONCE: Final = 1000

_TABLES: Final = """
CREATE TABLE cells (
    identity TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('measured', 'refused', 'failed')),
    reason TEXT NOT NULL,
    seconds REAL NOT NULL,
    finished TEXT NOT NULL,
    versions TEXT NOT NULL,
    summary TEXT NOT NULL,
    measurement BLOB
) WITHOUT ROWID
"""


class SweepStore:
    """The finished cells of sweeps."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._lock: filelock.BaseFileLock | None = None
        if readonly and not path.exists():
            raise StoreError(f"There is no store {str(path)!r}. Run the sweep first, or check --store.")
        if not readonly:
            self._lock = _take_lock(path)
        try:
            self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise self._explain(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another sweep have it."""
        connection: sqlite3.Connection | None = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
        if self._lock is not None:
            self._lock.release()

    def find_finished(self, keys: Mapping[str, str]) -> tuple[set[str], set[str]]:
        """Find the cells that need not be measured again, and those that were measured under other versions."""
        with self._explained():
            rows = self._connection.execute("SELECT identity, key FROM cells WHERE state != 'failed'").fetchall()
        finished = {identity for identity, key in rows if keys.get(identity) == key}
        stale = {identity for identity, key in rows if identity in keys and keys[identity] != key}
        return finished, stale

    def read_versions(self, identities: Iterable[str]) -> dict[str, str]:
        """Read under which versions the first of some cells was measured."""
        with self._explained():
            for identity in identities:
                row = self._connection.execute("SELECT versions FROM cells WHERE identity = ?", (identity,)).fetchone()
                if row is not None:
                    return dict(json.loads(row[0]))
        return {}

    def record(self, result: CellResult, versions: Mapping[str, str], data_digest: str, finished: str) -> None:
        """Write what became of a cell, over what was known of it.

        Args:
            data_digest: of its data file; empty where it has none.
        """
        cell = result.cell
        row = (
            cell.identity,
            cell.key(versions, data_digest),
            cell.content,
            result.state,
            result.reason,
            result.seconds,
            finished,
            json.dumps(keep_versions(versions)),
            json.dumps({key: _unwrap(value) for key, value in result.summary.items()}),
            pack_table(result.table) if isinstance(result.table, pd.DataFrame) else result.table,
        )
        with self._explained():
            self._connection.execute(f"INSERT OR REPLACE INTO cells VALUES ({', '.join('?' * len(row))})", row)

    def count(self, identities: Iterable[str] | None = None) -> dict[State, int]:
        """Count the cells by what became of them: all, or those of a sweep."""
        wanted = None if identities is None else set(identities)
        counts: dict[State, int] = {"measured": 0, "refused": 0, "failed": 0}
        with self._explained():
            for identity, state in self._connection.execute("SELECT identity, state FROM cells"):
                if wanted is None or identity in wanted:
                    counts[state] += 1
        return counts

    def read_reasons(self, identities: Sequence[str], state: State) -> list[tuple[Cell, str]]:
        """List the cells that were not measured, with reasons, in the order given."""
        query = "SELECT content, reason FROM cells WHERE identity = ? AND state = ?"
        with self._explained():
            found = (self._connection.execute(query, (identity, state)).fetchone() for identity in identities)
            return [(Cell.read(row[0]), row[1]) for row in found if row is not None]

    def read_seconds(self) -> list[tuple[Cell, float]]:
        """List how long each measured cell took."""
        with self._explained():
            rows = self._connection.execute("SELECT content, seconds FROM cells WHERE state = 'measured'").fetchall()
        return [(Cell.read(content), seconds) for content, seconds in rows]

    def sum_seconds(self, identities: Iterable[str]) -> float:
        """Add up how long the measured cells of a sweep took."""
        wanted = set(identities)
        query = "SELECT identity, seconds FROM cells WHERE state = 'measured'"
        with self._explained():
            return math.fsum(time for identity, time in self._connection.execute(query) if identity in wanted)

    def read_summary(self, identities: Sequence[str]) -> pd.DataFrame:
        """Read the summary: one row per measured cell, in the order given."""
        names = {column.name: column.dtype for column in SUMMARY_COLUMNS}
        parts = []
        # A row of Python objects takes ten times the memory of its row in the frame.
        for start in range(0, max(len(identities), 1), _ROWS_AT_ONCE):
            found = [(cell, summary) for cell, summary, _ in self._read(identities[start : start + _ROWS_AT_ONCE])]
            frame = pd.DataFrame([json.loads(summary) for _, summary in found], columns=list(names)).astype(names)
            parts.append(_with_dtype(frame, [cell.dtype for cell, _ in found]))
        return pd.concat(parts, ignore_index=True)

    def read_tables(self, identities: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Read the measurement tables of some cells, one at a time, in the order given."""
        for cell, _, packed in self._read(identities):
            table = unpack_table(packed)
            yield _with_dtype(table, [cell.dtype] * len(table))

    def _read(self, identities: Sequence[str]) -> Iterator[tuple[Cell, str, bytes]]:
        query = "SELECT content, summary, measurement FROM cells WHERE identity = ? AND state = 'measured'"
        for identity in identities:
            with self._explained():
                row = self._connection.execute(query, (identity,)).fetchone()
            if row is not None:
                yield Cell.read(row[0]), row[1], row[2]

    def _prepare(self) -> None:
        connection = self._connection
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if application != APPLICATION and not (empty and application == 0):
            shown = repr(str(self.path))
            raise StoreError(f"{shown} is the database of another program. Choose another file with --store.")
        if version > VERSION:
            raise StoreError(
                f"The store {str(self.path)!r} was written by a newer initcheck (version {version} of the format; this "
                f"one knows {VERSION}). Upgrade initcheck, or choose another file with --store."
            )
        if self._lock is None:
            if empty:
                raise StoreError(f"{str(self.path)!r} is empty. Run the sweep first.")
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        # A process may be killed and lose nothing; NORMAL would only risk the last cells when the power fails.
        connection.execute("PRAGMA synchronous = NORMAL")
        if empty:
            with self._transaction():
                connection.execute(_TABLES)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> StoreError:
        shown, code = repr(str(self.path)), getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"The disk of the store {shown} is full. Make room; the cells recorded so far are kept.")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return StoreError(f"{shown} is no store, or is damaged: {error}. Choose another file with --store.")
        return StoreError(f"The store {shown} cannot be used: {error}. Check its path and its permissions.")


def _take_lock(path: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(f"{path}.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise StoreError(
            f"Another sweep is using the store {str(path)!r}. Wait for it, or choose another file with --store."
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"Cannot write beside {str(path)!r}: {reason}. Choose another place with --store.") from None
    return lock


def _with_dtype(frame: pd.DataFrame, dtypes: Sequence[str]) -> pd.DataFrame:
    place = list(frame.columns).index("batch_size") + 1
    frame.insert(place, DTYPE_COLUMN.name, pd.Series(dtypes, index=frame.index, dtype=DTYPE_COLUMN.dtype))
    return frame


def _unwrap(value: Any) -> Any:
    """Make a value of a table Python's own; infinity stays a number, which Python reads back from its JSON."""
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value


def make_schema(columns: Sequence[Column]) -> pa.Schema:
    """Make the Arrow schema of a table with these columns."""
    empty = pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in columns})
    return pa.Schema.from_pandas(empty, preserve_index=False).remove_metadata()


@cache
def _measurement_schema() -> pa.Schema:
    return make_schema(MEASUREMENT_COLUMNS)


def pack_table(table: pd.DataFrame) -> bytes:
    """Write a measurement table as a compressed Arrow stream: less than half of what pickle makes of it."""
    schema = _measurement_schema()
    # Half the time of Table.from_pandas, which looks at each column anew.
    columns = [_to_arrow(table[field.name].array, field.type) for field in schema]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return sink.getvalue()


def _to_arrow(values: Any, dtype: pa.DataType) -> pa.Array:
    array = pa.array(values, type=dtype, from_pandas=True)
    # Text of a table that was put together from several ones lies in several pieces.
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def unpack_table(packed: bytes) -> pd.DataFrame:
    """Read a table back, with the columns and dtypes that it had."""
    with pa.ipc.open_stream(packed) as reader:
        frame: pd.DataFrame = reader.read_all().to_pandas()
    return frame.astype({column.name: column.dtype for column in MEASUREMENT_COLUMNS})
