"""One task on a worker: a few cells, where the worker has the versions and the data files that it ought to have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pandas as pd

from initcheck.errors import EngineError, InitcheckError
from initcheck.sweeping.cell import VERSIONED, Cell
from initcheck.sweeping.data_digests import digest_files
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


def read_versions() -> dict[str, str]:
    """Read the versions that a process measures with."""
    from initcheck.keras_runtime import versions

    return versions()


def compare_versions(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Tell in words which of the versions that count differ; empty where none does."""
    differing = [name for name in VERSIONED if wanted[name] != found.get(name)]
    return ", ".join(f"{name} {found.get(name, 'not installed')} instead of {wanted[name]}" for name in differing)
