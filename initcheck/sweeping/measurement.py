"""From cells to numbers: what every engine runs, in whatever process, and the engine that is this process."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, Protocol

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
    """What became of one cell, with the reason why it was not measured.

    The table of all seeds, with predictions, may be packed; the digest of the data file is None where it is not known.
    """

    cell: Cell
    state: State
    reason: str = ""
    seconds: float = 0.0
    table: pd.DataFrame | bytes | None = field(default=None, repr=False)
    summary: dict[str, Any] = field(default_factory=dict, repr=False)
    data_digest: str | None = None


Measure = Callable[[Sequence[Cell]], Iterator[CellResult]]
"""Measures cells and yields each result once, in any order."""


class Engine(Protocol):
    """Measures cells somewhere."""

    def open(self, data_folder: Path, versions: Mapping[str, str]) -> AbstractContextManager[Measure]:
        """Get ready."""


class InProcess:
    """This process, one cell after the other.

    Ctrl-C takes effect behind the cell that is being measured: TensorFlow swallows an exception that comes at some
    moments, and goes on with what it left undone. A second one takes effect at once.
    """

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:  # noqa: ARG002 - Engine's
        """Get ready: nothing is needed. An unexpected exception in a cell makes that cell ``failed``."""
        with _deferred_interrupts() as interrupted:
            yield lambda cells: _measure_each(cells, data_folder, interrupted)


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


def measure_batch(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """Measure cells and return all results at once: the work of one task on another process."""
    return list(measure_cells(cells, data_folder))


def describe_replaced_file(path: Path) -> str:
    """Say that a data file is not any more what it was when the sweep began."""
    return f"The file {str(path)!r} was replaced during the sweep. What is finished is kept: run the sweep again."


def describe_exception(error: BaseException) -> str:
    """Word an unexpected exception in one line of at most 500 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


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

        batch = _load_batch(cell, data_folder)
        if digest_files([cell], data_folder).get(cell.data, "") != digest:
            raise EngineError(describe_replaced_file(data_folder / cell.data))
        _networks[key] = NetworkMeasurement(specify, batch, cell.seeds, dtype=cell.dtype, loops=_loops, one_graph=True)
    return _networks[key]


def _measure(cell: Cell, network: NetworkMeasurement) -> tuple[pd.DataFrame, dict[str, Any]]:
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


def _load_batch(cell: Cell, data_folder: Path) -> Batch:
    """Load the batch of a cell."""
    spec = _make_network(cell, InitializerSpec("GlorotUniform"))
    source = cell.data if cell.data in SOURCES else str(data_folder / cell.data)
    shape = spec.sample_shape if source == "gaussian" else None
    return load_data(source, batch_size=cell.batch_size, seed=BATCH_SEED, sample_shape=shape)


def _measure_each(cells: Sequence[Cell], data_folder: Path, interrupted: threading.Event) -> Iterator[CellResult]:
    for cell in cells:
        try:
            yield from measure_cells([cell], data_folder)
        except EngineError:  # a data file was replaced: that concerns all that is left
            raise
        except Exception as error:  # noqa: BLE001 - one broken cell must not end the others; it is reported
            yield CellResult(cell, "failed", describe_exception(error))
        if interrupted.is_set():
            raise KeyboardInterrupt


@contextmanager
def _deferred_interrupts() -> Iterator[threading.Event]:
    """Note the first Ctrl-C instead of raising an exception."""
    noted = threading.Event()
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield noted  # only the main thread may set a handler, and a signal that is ignored stays ignored
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            former(number, frame)
        noted.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, former)
