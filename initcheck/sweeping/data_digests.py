"""Digests of the data files of cells: a cell is measured anew where its file has changed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from initcheck.data import SOURCES, load_set
from initcheck.digests import digest_arrays
from initcheck.sweeping.cell import Cell


def digest_files(cells: Iterable[Cell], data_folder: Path) -> dict[str, str]:
    """Digest the data files of some cells.

    Args:
        cells: those whose data are made, not read, have no file.
        data_folder: paths of data files are relative to it.

    Returns:
        Digests of samples and labels, by the name that the cells give their file.

    Raises:
        DataError: a file cannot be read.
    """
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
