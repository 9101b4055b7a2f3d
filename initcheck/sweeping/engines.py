"""Who measures the cells of a sweep: this process, processes on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from initcheck.sweeping.cell import Cell
from initcheck.sweeping.measurement import CellResult, measure_cells

Measure = Callable[[Sequence[Cell]], Iterator[CellResult]]
"""Measures cells and yields each result once, in any order."""


class Engine(Protocol):
    """Measures cells somewhere."""

    def open(self, data_folder: Path, versions: Mapping[str, str]) -> AbstractContextManager[Measure]:
        """Get ready.

        Args:
            data_folder: paths of data files are relative to it.
            versions: of what the figures are to be measured with.

        Returns:
            A context that yields the function to call, and that gives everything back at its end.

        Raises:
            EngineError: the engine cannot be had; or, in the function, it was lost.
        """


class InProcess:
    """This process, one cell after the other."""

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:  # noqa: ARG002 - Engine's
        """Get ready: nothing is needed. An unexpected exception in a cell makes that cell ``failed``."""
        yield lambda cells: _measure_each(cells, data_folder)


def _measure_each(cells: Sequence[Cell], data_folder: Path) -> Iterator[CellResult]:
    for cell in cells:
        try:
            yield from measure_cells([cell], data_folder)
        except Exception as error:  # noqa: BLE001 - one broken cell must not end the others; it is reported
            yield CellResult(cell, "failed", describe_exception(error))


def describe_exception(error: BaseException) -> str:
    """Word an unexpected exception in one line of at most 500 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
