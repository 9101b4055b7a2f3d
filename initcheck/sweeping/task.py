"""One task on a worker: a few cells, where the worker has the versions and the data files that it ought to have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import pandas as pd

from initcheck.data import SOURCES, load_set
from initcheck.digests import digest_arrays
from initcheck.errors import EngineError, InitcheckError
from initcheck.sweeping.cell import VERSIONED, Cell
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.packing import pack_table

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


def digest_files(cells: Sequence[Cell], data_folder: Path) -> dict[str, str]:
    """Digest the data files of some cells, by the name that the cells give them."""
    paths = {name: data_folder / name for name in sorted({cell.data for cell in cells} - set(SOURCES))}
    return {name: _digest_file(path, _read_state(path)) for name, path in paths.items()}


@lru_cache(maxsize=16)
def _digest_file(path: Path, state: tuple[int, int]) -> str:  # noqa: ARG001 - a file that was changed is read again
    return digest_arrays(load_set(str(path))[:2])


def _read_state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0  # reading it tells what is wrong
    return state.st_mtime_ns, state.st_size


def read_versions() -> dict[str, str]:
    """Read the versions that a process measures with."""
    from initcheck.keras_runtime import versions

    return versions()


def compare_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Tell in words which of the versions that count differ; empty where none does."""
    differing = [name for name in VERSIONED if wanted[name] != found.get(name)]
    return ", ".join(f"{name} {found.get(name, 'not installed')} instead of {wanted[name]}" for name in differing)
