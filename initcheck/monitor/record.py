"""All measurements of a monitored training run so far, in memory and on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.core.columns import BACKWARD_COLUMNS, FORWARD_COLUMNS, QUANTITIES, SITE_COLUMNS, WEIGHT_COLUMNS, Column
from initcheck.core.errors import OutputError
from initcheck.core.files import publish_files
from initcheck.monitor.events import EventFile
from initcheck.probe.capture import SiteInfo
from initcheck.probe.measure import repeat_sites
from initcheck.probe.steps import StepProbe

_SITE: Final = tuple(column for column in SITE_COLUMNS if not column.name.startswith("fan_"))

MONITOR_COLUMNS: Final = (
    Column("step", "Int64", "steps", "training steps made until then, over all fits; 0 is the initialization", "key"),
    Column("epoch", "Int64", "1", "epoch of the step, from 0, as fit counts them", "key"),
    *_SITE,
    *FORWARD_COLUMNS,
    *BACKWARD_COLUMNS,
    *WEIGHT_COLUMNS,
    Column("loss", "Float64", "1", "compiled loss on the monitor's batch; null without labels", "training"),
    Column("update_steps", "Int64", "steps", "steps that made the update: 1, or steps_per_execution", "training"),
    Column("update_norm", "Float64", "1", "Frobenius norm of the change of W in these steps", "training"),
    Column("update_to_weight_ratio", "Float64", "1", "update_norm / weight_norm", "training"),
)
"""The columns of a monitor's table; quantities are those of the measurement table."""

SCALARS: Final = (
    "activation_second_moment",
    "activation_variance",
    "gradient_norm",
    "weight_gradient_norm",
    "weight_norm",
    "update_to_weight_ratio",
    "dead_fraction",
    "zero_fraction",
    "saturated_fraction",
    "nonfinite_fraction",
)
"""The quantities that are shown: TensorBoard's scalars, and the figures."""


CSV: Final = "monitor.csv"
PARQUET: Final = "monitor.parquet"

SECONDS_BETWEEN: Final = 10.0
"""Files are not written more often than this during a training run: to write a few rows costs as much as four steps of
a small network."""


@dataclass(frozen=True)
class Moment:
    """When a measurement was made.

    Attributes:
        wall_time: seconds since 1970.
    """

    step: int
    epoch: int
    update_steps: int
    wall_time: float


def tabulate_moments(
    moments: Sequence[Moment],
    sites: Sequence[SiteInfo],
    quantities: NDArray[np.float64],
    changes: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> pd.DataFrame:
    """Make the rows of some measurements.

    Args:
        quantities: shape [moments, sites, len(columns.QUANTITIES)].
        changes: norm of the change of each site's kernel, shape [moments, sites]; NaN without a kernel.
        losses: one for each moment; NaN without labels.

    Returns:
        The columns of ``MONITOR_COLUMNS``; null where a quantity is undefined. An update is undefined before the first
        step, and its ratio where the weights are all zero.
    """
    updated = np.asarray([moment.update_steps > 0 for moment in moments], dtype=bool)[:, np.newaxis]
    norms = np.where(updated, changes, np.nan)
    weights = quantities[:, :, QUANTITIES.index("weight_norm")]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(weights > 0.0, norms / weights, np.nan)
    numbers = {name: quantities[:, :, place].reshape(-1) for place, name in enumerate(QUANTITIES)}
    numbers |= {"update_norm": norms.reshape(-1), "update_to_weight_ratio": ratios.reshape(-1)}
    numbers["loss"] = np.repeat(losses, len(sites))
    columns: dict[str, Any] = {
        name: pd.arrays.FloatingArray(np.ascontiguousarray(numbers[name]), np.isnan(numbers[name])) for name in numbers
    }
    for name in ("step", "epoch", "update_steps"):
        values = np.repeat(np.asarray([getattr(moment, name) for moment in moments], dtype=np.int64), len(sites))
        unknown = np.repeat(~updated[:, 0], len(sites)) if name == "update_steps" else np.zeros(len(values), dtype=bool)
        columns[name] = pd.arrays.IntegerArray(values, unknown)
    columns |= repeat_sites(sites, _SITE, len(moments))
    return pd.DataFrame({column.name: columns[column.name] for column in MONITOR_COLUMNS}, copy=False)


def empty_table() -> pd.DataFrame:
    """Make the table before anything was measured."""
    return pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in MONITOR_COLUMNS})


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
        """Append what is new to the CSV and to the events."""
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
        """Write what is new, and the whole table as Parquet."""
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
        table = tabulate_moments(moments, probe.sites, *probe.unpack(vectors))
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
    """Name TensorBoard's tag of a quantity: TensorBoard groups tags by what comes before the first slash."""
    return f"{quantity}/{label_site(layer, call)}"


def label_site(layer: str, call: int) -> str:
    """Name a call of a layer: by the layer alone where it is the first one."""
    return layer if call == 0 else f"{layer}#{call}"
