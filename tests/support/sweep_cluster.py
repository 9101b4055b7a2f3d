"""A Dask cluster of processes started by command line, and work for it that goes wrong in ways that are asked for.

The workers import this module: it is on their path, and imports neither pytest nor Keras.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from initcheck.core.columns import MEASUREMENT_COLUMNS
from initcheck.core.errors import DataError
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.spec import Cell

SINGLE_THREADED = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
START_SECONDS = 60.0
SUPPORT = Path(__file__).parent


class Cluster:
    """A scheduler and workers on the loopback interface, their logs in a folder.

    Of a task ``deaths_allowed`` workers may die before the scheduler gives it up; it finds modules on ``path``.
    """

    def __init__(self, folder: Path, deaths_allowed: int = 1, path: Path = SUPPORT) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._file = folder / "scheduler.json"
        setting = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(deaths_allowed), "PYTHONPATH": str(path)}
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._file)),
            environment=setting,
        )
        # The scheduler writes the file while this looks at it: it is whole when it ends its object.
        wait_until(lambda: self._file.exists() and self._file.read_text().rstrip().endswith("}"))
        self.address = json.loads(self._file.read_text())["address"]

    def start_worker(self, nanny: bool = False, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker with one thread; a nanny starts it anew when it dies."""
        return self._start(
            "distributed.cli.dask_worker",
            *(self.address, "--host", "127.0.0.1", "--nworkers", "1", "--nthreads", "1", "--no-dashboard"),
            *("--nanny" if nanny else "--no-nanny", "--local-directory", str(self.folder)),
            environment={"PYTHONPATH": str(SUPPORT), **SINGLE_THREADED, **environment},
        )

    def _start(self, module: str, *options: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"log-{len(self.processes)}.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *options],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a worker's nanny has children: all go together
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.processes):
            kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def open_cluster(folder: Path, **settings: Any) -> Iterator[Cluster]:
    cluster = Cluster(folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()


def wait_until(holds, seconds: float = START_SECONDS) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {holds}")
        time.sleep(0.02)


# Work for the workers. A cell asks for trouble by its initializer, so that it shares a task with cells that do not.

KILLS, RAISES, RAISES_ONCE, REFUSED = (f"Constant(value={number}.0)" for number in (101, 102, 103, 104))


def measure_stub(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """Give each cell a table of one row, unless it asks for trouble."""
    return [_measure_one(cell, data_folder) for cell in cells]


def measure_stub_slowly(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """The same, a task taking a while: there is time to break something in the middle."""
    time.sleep(0.3)
    return measure_stub(cells, data_folder)


def measure_single_threaded(cells: Sequence[Cell], data_folder: Path) -> list[CellResult]:
    """The same, where TensorFlow is set to use one thread."""
    if any(os.environ.get(name) != "1" for name in SINGLE_THREADED):
        raise RuntimeError("several threads")
    return measure_stub_slowly(cells, data_folder)


def _measure_one(cell: Cell, data_folder: Path) -> CellResult:
    if cell.initializer == KILLS:
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.initializer == RAISES:
        raise ZeroDivisionError("a defect\nin two lines")
    if cell.initializer == RAISES_ONCE:
        with contextlib.suppress(FileExistsError):
            (data_folder / "raised").touch(exist_ok=False)
            raise ConnectionError("once only")
    if cell.initializer == REFUSED:
        raise DataError("This work refuses altogether. Fix it.")
    return make_result(cell)


def make_result(cell: Cell) -> CellResult:
    """Make a result with a table of one row."""
    row = {name: getattr(cell, name) for name in ("network", "initializer", "activation", "depth", "width", "data")}
    names = {column.name: column.dtype for column in MEASUREMENT_COLUMNS}
    table = pd.DataFrame([{**row, "batch_size": cell.batch_size, "seed": cell.seeds[0]}], columns=list(names))
    return CellResult(cell, "measured", "", 0.001, table.astype(names), dict(row))
