"""From cells to numbers: the one function that every engine runs, in whatever process."""

from __future__ import annotations

import gc
import io
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import pyarrow as pa

from initcheck.audit.gains import summarize_propagation
from initcheck.backend.runtime import import_keras
from initcheck.core.columns import MEASUREMENT_COLUMNS
from initcheck.core.errors import EngineError, InitcheckError
from initcheck.models.data import SOURCES, Batch, load_data
from initcheck.models.initializers import InitializerSpec, parse_initializer
from initcheck.models.layers import HEAD
from initcheck.models.networks import NetworkSpec, make_network
from initcheck.prediction import ModelPredictor, add_gain_predictions, add_site_predictions
from initcheck.probe import DrawingLoops, Probe, RedrawPlan
from initcheck.sweeping.spec import VERSIONED, Cell, digest_files

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
            :func:`initcheck.sweeping.measurement.pack_table` makes of it; None where there is none.
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
        cells: best in the order of :func:`initcheck.sweeping.spec.order_cells`.
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


LONGEST_SECONDS: Final = 30.0
"""A task should not last longer, and about twice as long at most: a killed worker loses what it was at."""

SHORTEST_SECONDS: Final = 2.0
"""Towards the end tasks get shorter, so that workers end together, but not shorter than this."""

_SHARES: Final = 2  # tasks for each thread that what is left should still make

_FIRST_BATCH: Final = 16
_LARGEST_BATCH: Final = 200
_MEMORY: Final = 0.5  # weight of the newest task in the running mean


@dataclass
class Batching:
    """Cuts a sequence of cells into batches, by what cells took so far.

    Attributes:
        seconds_per_cell: running mean; None before the first task is back.
    """

    seconds_per_cell: float | None = None

    def take(self, left: deque[Cell], threads: int) -> tuple[Cell, ...]:
        """Take the next batch off the left: cells that share a bench, as many as do not take too long.

        Tracing takes longer than measuring most cells. A worker traces the graph of an activation function once for all
        initializers: so a batch ends between two of them if it can.

        Args:
            left: the cells that are left, those that share a graph together; at least one.
            threads: how many there are to measure them.
        """
        if self.seconds_per_cell is None:
            size = min(_FIRST_BATCH, math.ceil(len(left) / threads))
        else:
            share = len(left) * self.seconds_per_cell / (_SHARES * threads)
            seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, share))
            size = max(1, min(_LARGEST_BATCH, int(seconds / max(self.seconds_per_cell, 1e-6))))
        batch = [left.popleft()]
        while left and len(batch) < size and left[0].bench == batch[0].bench:
            batch.append(left.popleft())
        self._end_between_graphs(batch, left)
        return tuple(batch)

    def _end_between_graphs(self, batch: list[Cell], left: deque[Cell]) -> None:
        """Where the cut goes through the cells of one graph, which two workers would trace, move it to the nearer end.

        It stays where it is if a batch would become empty or more than twice as long, unless what is left is short.
        """
        graph = batch[-1].graph
        taken = sum(cell.graph == graph for cell in batch)
        rest = sum(1 for _ in itertools.takewhile(lambda cell: cell.graph == graph, left))
        if rest > taken and taken < len(batch):
            for _ in range(taken):
                left.appendleft(batch.pop())
        elif rest <= taken or rest * (self.seconds_per_cell or math.inf) <= SHORTEST_SECONDS:
            batch.extend(left.popleft() for _ in range(rest))

    def learn(self, results: Sequence[CellResult]) -> None:
        """Take note of how long cells took."""
        if not results:
            return
        mean = sum(result.seconds for result in results) / len(results)
        if self.seconds_per_cell is None:
            self.seconds_per_cell = mean
        else:
            self.seconds_per_cell += _MEMORY * (mean - self.seconds_per_cell)


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


MeasureBatch = Callable[[Sequence[Cell], Path], list[CellResult]]
"""The work of one task."""


def run_task(
    measure: MeasureBatch,
    cells: Sequence[Cell],
    data_folder: Path,
    versions: Mapping[str, str],
    digests: Mapping[str, str],
) -> list[CellResult]:
    """Do the work of one task, on a worker.

    Args:
        measure: the work.
        cells: what to measure.
        data_folder: paths of data files are relative to it.
        versions: what to measure with.
        digests: of the data files of these cells.

    Raises:
        EngineError: this worker, which may have come later than the others, has other versions or other data.
    """
    differing = compare_versions(versions, read_versions())
    if differing:
        raise EngineError(f"A worker has {differing}. Install the same versions everywhere.")
    try:
        found = digest_files(cells, data_folder)
    except InitcheckError as error:
        raise EngineError(
            f"A worker cannot read the data: {error} Workers need each file under the same path."
        ) from None
    for name in digests:
        if found[name] != digests[name]:
            path = str(data_folder / name)
            raise EngineError(f"A worker has another file {path!r}. Copy the file to each worker, or share its folder.")
    # Keras' settings are the process's own: a worker with several threads measures one task at a time.
    with _one_at_a_time:
        return [_pack(result) for result in measure(cells, data_folder)]


def _pack(result: CellResult) -> CellResult:
    """Pack the table here: all workers together would soon have more of them than the sweep's one process can pack."""
    table = result.table
    return replace(result, table=pack_table(table)) if isinstance(table, pd.DataFrame) else result


_one_at_a_time: Final = threading.Lock()


def read_versions() -> dict[str, str]:
    """Read the versions that a process measures with."""
    from initcheck.backend.runtime import versions

    return versions()


def compare_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Tell in words which of the versions that count differ; empty where none does."""
    differing = [name for name in VERSIONED if wanted[name] != found.get(name)]
    return ", ".join(f"{name} {found.get(name, 'not installed')} instead of {wanted[name]}" for name in differing)
