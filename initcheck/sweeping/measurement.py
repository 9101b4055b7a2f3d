"""From cells to numbers: the one function that every engine runs, in whatever process."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from initcheck.audit.propagation import summarize_propagation
from initcheck.data import SOURCES, Batch, load_data
from initcheck.errors import InitcheckError
from initcheck.initializers import InitializerSpec, parse_initializer
from initcheck.keras_runtime import import_keras
from initcheck.layers import HEAD
from initcheck.networks import NetworkSpec, make_network
from initcheck.prediction import ModelPredictor, add_gain_predictions, add_site_predictions
from initcheck.probe import DrawingLoops, Probe, RedrawPlan
from initcheck.sweeping.cell import Cell

DATA_SEED: Final = 0
"""Seed of the batch: the same for all cells, so that only the weights differ."""

MOST_BYTES_DRAWN: Final = 2**26
"""Weights of at most this many bytes (but of one seed at least) are held at a time."""

State = Literal["measured", "refused", "failed"]


@dataclass(frozen=True, eq=False)
class CellResult:
    """What became of one cell.

    Attributes:
        cell: the cell.
        state: ``measured``, ``refused`` (it cannot be measured and never will be) or ``failed`` (something broke).
        reason: why it was not measured; empty where it was.
        seconds: how long it took, without what was shared with cells before it.
        table: the measurement table of all seeds, with predictions, or what
            :func:`initcheck.sweeping.packing.pack_table` makes of it; None where there is none.
        summary: its one row of the summary, by ``schema.SUMMARY_COLUMNS``; empty where there is none.
    """

    cell: Cell
    state: State
    reason: str = ""
    seconds: float = 0.0
    table: pd.DataFrame | bytes | None = field(default=None, repr=False)
    summary: dict[str, Any] = field(default_factory=dict, repr=False)


def measure_cells(cells: Iterable[Cell], data_folder: Path) -> Iterator[CellResult]:
    """Measure cells one after the other.

    Cells that follow each other share what they have in common: the batch, the traced graph of an activation function,
    and the traced drawing of an initializer. What the last cell used is kept for the next call in the same process.

    Args:
        cells: best in the order of :func:`initcheck.sweeping.cell.order_cells`.
        data_folder: paths of data files are relative to it.

    Yields:
        The result of each cell. A cell that initcheck cannot measure, with the reason, is ``refused``; any other
        exception is passed on.
    """
    for cell in cells:
        started = time.perf_counter()
        try:
            table, summary = _find_bench(cell, data_folder).measure(cell)
        except InitcheckError as error:
            yield CellResult(cell, "refused", str(error), time.perf_counter() - started)
        else:
            yield CellResult(cell, "measured", "", time.perf_counter() - started, table, summary)


_benches: dict[tuple[Any, ...], _Bench] = {}
_loops: Final = DrawingLoops()


def _find_bench(cell: Cell, data_folder: Path) -> _Bench:
    """Return the bench of a cell; only the last one is kept, since graphs take memory."""
    key = (cell.bench, str(data_folder))
    if key not in _benches:
        _benches.clear()
        gc.collect()  # graphs refer to themselves
        _benches[key] = _Bench(cell, data_folder)
    return _benches[key]


class _Bench:
    """Measures cells that differ in initializer and activation function alone."""

    def __init__(self, cell: Cell, data_folder: Path) -> None:
        self._seeds, self._dtype = cell.seeds, cell.dtype
        self._batch = load_batch(cell, data_folder)
        self._plans: dict[str, RedrawPlan] = {}
        self._activation = ""
        self._probe: Probe | None = None
        self._predictor: ModelPredictor | None = None

    def measure(self, cell: Cell) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Measure one cell.

        Returns:
            The measurement table with keys and predictions, and the row of the summary.
        """
        initializer = parse_initializer(cell.initializer)
        spec = _make_network(cell, initializer)
        probe, predictor = self._trace(cell.activation, spec)
        if cell.initializer not in self._plans:
            self._plans[cell.initializer] = RedrawPlan(probe.model, spec.weight_initializers(probe.model), _loops)
        plan = self._plans[cell.initializer]
        size = sum(weight.numpy().nbytes for weight in probe.model.weights)
        step = max(1, MOST_BYTES_DRAWN // max(size, 1))
        chunks = [self._seeds[start : start + step] for start in range(0, len(self._seeds), step)]
        parts = [probe.measure_weights(chunk, plan.sample(chunk)) for chunk in chunks]
        table = self._label(pd.concat(parts, ignore_index=True), cell)
        signal_layers = spec.signal_layers()
        prediction = predictor.predict(
            table, signal_layers, lambda layer: spec.head_initializer if layer.name == HEAD else initializer
        )
        table = add_site_predictions(table, prediction)
        summary = summarize_propagation(table, {cell.network: signal_layers})
        pair = (cell.network, cell.initializer, cell.activation)
        return table, dict(add_gain_predictions(summary, {pair: prediction}).iloc[0])

    def _trace(self, activation: str, spec: NetworkSpec) -> tuple[Probe, ModelPredictor]:
        """Return what measures and predicts under an activation function; only the last is kept, for the memory."""
        if self._probe is None or self._predictor is None or activation != self._activation:
            self._probe = self._predictor = None
            gc.collect()
            self._probe = Probe(self._build(spec), self._batch.x)
            self._predictor = ModelPredictor(self._probe.model, self._batch.x)
            self._activation = activation
        return self._probe, self._predictor

    def _build(self, spec: NetworkSpec) -> Any:
        with _policy(self._dtype):
            return spec.build(self._batch.sample_shape, seed=self._seeds[0])

    def _label(self, table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
        for name in ("network", "initializer", "activation", "depth", "width"):
            table[name] = pd.Series(getattr(cell, name), index=table.index, dtype=table[name].dtype)
        table["data"] = pd.Series(self._batch.name, index=table.index, dtype=table["data"].dtype)
        return table


def _make_network(cell: Cell, initializer: InitializerSpec) -> NetworkSpec:
    spec = make_network(cell.network, initializer=initializer, activation=cell.activation)
    settings = {key: getattr(cell, key) for key in ("depth", "width") if key in spec.ADJUSTABLE}
    return make_network(cell.network, initializer=initializer, activation=cell.activation, **settings)


def load_batch(cell: Cell, data_folder: Path) -> Batch:
    """Load the batch of a cell.

    Raises:
        DataError: the data cannot be had, or do not suit the network.
    """
    spec = _make_network(cell, InitializerSpec("GlorotUniform"))
    source = cell.data if cell.data in SOURCES else str(data_folder / cell.data)
    shape = spec.sample_shape if source == "gaussian" else None
    return load_data(source, batch_size=cell.batch_size, seed=DATA_SEED, sample_shape=shape)


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Let new layers have a dtype policy."""
    config = import_keras().config
    former = config.dtype_policy()
    config.set_dtype_policy(name)
    try:
        yield
    finally:
        config.set_dtype_policy(former)


def measure_batch(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """Measure cells and return all results at once: the work of one task on another process."""
    return list(measure_cells(cells, data_folder))
