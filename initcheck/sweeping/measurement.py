"""From cells to numbers: the one function that every engine runs, in whatever process."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from initcheck.audit.gains import summarize_propagation
from initcheck.core.errors import EngineError, InitcheckError
from initcheck.core.seeds import BATCH_SEED
from initcheck.models.data import SOURCES, Batch, load_data
from initcheck.models.initializers import InitializerSpec, parse_initializer
from initcheck.models.networks import NetworkSpec, make_network
from initcheck.prediction import add_gain_predictions, add_site_predictions
from initcheck.probe import DrawingLoops
from initcheck.study.measurement import NetworkMeasurement
from initcheck.sweeping.spec import Cell, digest_files

State = Literal["measured", "refused", "failed"]


@dataclass(frozen=True, eq=False)
class CellResult:
    """What became of one cell.

    Attributes:
        reason: why it was not measured; empty where it was.
        table: the measurement table of all seeds, with predictions, or what
            :func:`initcheck.sweeping.store.pack_table` makes of it; None where there is none.
        summary: its one row of the summary, by ``schema.SUMMARY_COLUMNS``; empty where there is none.
        data_digest: of the data file that it was measured on; empty where it has none, None where that is not known.
    """

    cell: Cell
    state: State
    reason: str = ""
    seconds: float = 0.0
    table: pd.DataFrame | bytes | None = field(default=None, repr=False)
    summary: dict[str, Any] = field(default_factory=dict, repr=False)
    data_digest: str | None = None


def measure_cells(cells: Iterable[Cell], data_folder: Path) -> Iterator[CellResult]:
    """Measure cells one after the other.

    Cells that follow each other share what they have in common: the batch, the traced graph of an activation function,
    and the traced drawing of an initializer. What the last cell used is kept for the next call in the same process.
    """
    for cell in cells:
        started = time.perf_counter()
        digest = digest_files([cell], data_folder).get(cell.data, "")
        try:
            table, summary = _measure(cell, _find_network(cell, data_folder, digest))
        except EngineError:
            raise
        except InitcheckError as error:
            yield CellResult(cell, "refused", str(error), time.perf_counter() - started, data_digest=digest)
        else:
            yield CellResult(cell, "measured", "", time.perf_counter() - started, table, summary, digest)


_networks: dict[tuple[Any, ...], NetworkMeasurement] = {}
_loops: Final = DrawingLoops()


def _find_network(cell: Cell, data_folder: Path, digest: str) -> NetworkMeasurement:
    """Return what measures the network of a cell on its data; only the last is kept, since graphs take memory."""
    key = (cell.setting, str(data_folder), digest)
    if key not in _networks:
        _networks.clear()
        gc.collect()  # graphs refer to themselves
        spec = _make_network(cell, parse_initializer(cell.initializer))

        def specify(initializer: InitializerSpec, activation: str) -> NetworkSpec:
            return replace(spec, initializer=initializer, activation=activation)

        batch = load_batch(cell, data_folder)
        if digest_files([cell], data_folder).get(cell.data, "") != digest:
            raise EngineError(describe_replaced_file(data_folder / cell.data))
        _networks[key] = NetworkMeasurement(specify, batch, cell.seeds, dtype=cell.dtype, loops=_loops, one_graph=True)
    return _networks[key]


def describe_replaced_file(path: Path) -> str:
    """Say that a data file is not any more what it was when the sweep began."""
    return f"The file {str(path)!r} was replaced during the sweep. What is finished is kept: run the sweep again."


def _measure(cell: Cell, network: NetworkMeasurement) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure one cell."""
    initializer = parse_initializer(cell.initializer)
    (table,) = network.measure(initializer, [cell.activation])
    prediction = network.predict(initializer, cell.activation, table)
    table = add_site_predictions(table, prediction)
    layers = _make_network(cell, initializer).signal_layers()
    summary = summarize_propagation(table, {cell.network: layers})
    pair = (cell.network, cell.initializer, cell.activation)
    return table, dict(add_gain_predictions(summary, {pair: prediction}).iloc[0])


def _make_network(cell: Cell, initializer: InitializerSpec) -> NetworkSpec:
    spec = make_network(cell.network, initializer=initializer, activation=cell.activation)
    settings = {key: getattr(cell, key) for key in ("depth", "width") if key in spec.ADJUSTABLE}
    return make_network(cell.network, initializer=initializer, activation=cell.activation, **settings)


def load_batch(cell: Cell, data_folder: Path) -> Batch:
    """Load the batch of a cell."""
    spec = _make_network(cell, InitializerSpec("GlorotUniform"))
    source = cell.data if cell.data in SOURCES else str(data_folder / cell.data)
    shape = spec.sample_shape if source == "gaussian" else None
    return load_data(source, batch_size=cell.batch_size, seed=BATCH_SEED, sample_shape=shape)


def measure_batch(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """Measure cells and return all results at once: the work of one task on another process."""
    return list(measure_cells(cells, data_folder))
