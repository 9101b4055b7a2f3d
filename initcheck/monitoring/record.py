"""Everything that a monitored training has yielded so far, in memory and on disk."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd

from initcheck.errors import OutputError
from initcheck.monitoring.events import EventFile
from initcheck.monitoring.step_probe import StepProbe
from initcheck.monitoring.table import SCALARS, Moment, empty_table, tabulate_moments
from initcheck.output import publish_files

CSV: Final = "monitor.csv"
PARQUET: Final = "monitor.parquet"

SECONDS_BETWEEN: Final = 10.0
"""Files are not written more often than this while a training runs: to write a few rows costs as much as four steps of
a small network."""


class MonitorRecord:
    """Collects measurements, and writes them where a folder is given.

    A measurement is kept as the vector that the device returned; rows are made of many at a time, because making a
    table costs as much for a thousand rows as for ten.

    Args:
        folder: for ``monitor.csv``, ``monitor.parquet`` and TensorBoard's events; None keeps all in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._events = None if folder is None else EventFile(folder)
        self._waiting: list[tuple[Moment, Any]] = []
        self._tables: list[pd.DataFrame] = []
        self._written = 0
        self._last = -math.inf

    def add(self, moment: Moment, vector: Any) -> None:
        """Keep one measurement of :meth:`StepProbe.measure_change`."""
        self._waiting.append((moment, vector))

    def collect(self, probe: StepProbe | None) -> pd.DataFrame:
        """Return the table of all measurements so far."""
        self._make_rows(probe)
        if len(self._tables) > 1:
            # The rows that are on disk stay in front, in the order in which they were measured.
            self._tables = [pd.concat(self._tables, ignore_index=True)]
        return self._tables[0] if self._tables else empty_table()

    def write_now_and_then(self, probe: StepProbe | None) -> None:
        """Write as :meth:`write` does, unless that was done less than ``SECONDS_BETWEEN`` ago."""
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self.write(probe)
            self._last = time.monotonic()

    def write(self, probe: StepProbe | None) -> None:
        """Append what is new to the CSV and to the events.

        Raises:
            OutputError: something cannot be written.
        """
        if self._folder is None or self._events is None:
            return
        table = self.collect(probe)
        new = table.iloc[self._written :]
        if not len(new):
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            first = self._written == 0
            with (self._folder / CSV).open("wb" if first else "ab") as file:
                _append_csv(new, file, head=first)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(
                f"Cannot write to {str(self._folder)!r}: {reason}. Make room or choose another log_dir."
            ) from error
        self._written = len(table)
        self._events.flush()

    def close(self, probe: StepProbe | None) -> None:
        """Write what is new, and the whole table as Parquet.

        Raises:
            OutputError: something cannot be written.
        """
        if self._folder is None:
            return
        self.write(probe)
        table = self.collect(probe)
        publish_files(self._folder, {PARQUET: lambda path: table.to_parquet(path, index=False)})

    def _make_rows(self, probe: StepProbe | None) -> None:
        if not self._waiting or probe is None:
            return
        moments = [moment for moment, _ in self._waiting]
        vectors = np.stack([np.asarray(vector) for _, vector in self._waiting])
        self._waiting = []
        quantities, changes = probe.unpack(vectors)
        table = tabulate_moments(moments, probe.sites, quantities, changes)
        self._tables.append(table)
        if self._events is not None:
            _write_scalars(self._events, moments, table, len(probe.sites))


def _append_csv(rows: pd.DataFrame, file: BinaryIO, *, head: bool) -> None:
    """Write rows as CSV: by Arrow, in a tenth of the time of pandas, which is felt where epochs are short."""
    import pyarrow as pa
    from pyarrow import csv

    table = pa.Table.from_pandas(rows, preserve_index=False)
    csv.write_csv(table, file, csv.WriteOptions(include_header=head, quoting_style="needed"))


def _write_scalars(events: EventFile, moments: list[Moment], table: pd.DataFrame, sites: int) -> None:
    """Write one scalar for each quantity and layer; what is undefined is left out."""
    values = table[list(SCALARS)].to_numpy(dtype=np.float64, na_value=np.nan).reshape(len(moments), sites, len(SCALARS))
    calls = zip(table["layer"].iloc[:sites], table["call"].iloc[:sites], strict=True)
    tags = [[name_scalar(name, layer, int(call)) for name in SCALARS] for layer, call in calls]
    for moment, step in zip(moments, values.tolist(), strict=True):
        scalars = {
            tag: value
            for names, numbers in zip(tags, step, strict=True)
            for tag, value in zip(names, numbers, strict=True)
            if not math.isnan(value)
        }
        events.write(moment.step, moment.wall_time, scalars)


def name_scalar(quantity: str, layer: str, call: int) -> str:
    """Name TensorBoard's tag of a quantity: TensorBoard groups tags by what stands before the first slash."""
    return f"{quantity}/{layer}" if call == 0 else f"{quantity}/{layer}#{call}"
