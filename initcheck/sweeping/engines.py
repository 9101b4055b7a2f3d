"""Who measures the cells of a sweep: this process, processes on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from initcheck.core.errors import EngineError
from initcheck.sweeping.measurement import CellResult, measure_cells
from initcheck.sweeping.spec import Cell

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


def describe_exception(error: BaseException) -> str:
    """Word an unexpected exception in one line of at most 500 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
