"""Does a second worker halve a sweep, and does the sweep's own process stay small however many cells there are?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from interleaved import estimate_ratio

from initcheck.backend.runtime import versions
from initcheck.models.initializers import study_initializers
from initcheck.models.networks import STUDY_ACTIVATIONS
from initcheck.sweeping.dask_engine import LocalEngine
from initcheck.sweeping.spec import make_spec

ROUNDS = 3
GRID = {
    "network": "mlp",
    "initializer": [initializer.label for initializer in study_initializers()],
    "activation": list(STUDY_ACTIVATIONS),
    "depth": [6, 8, 10, 12],
    "width": 32,
    "seeds": 4,
}
"""912 cells: more than two minutes of work for one worker."""

FEWEST_SECONDS = 120.0

FEW, MANY = 10_000, 100_000
BYTES_MEASURING, BYTES_IN_ALL = 1_000, 2_000
"""For each cell: the cell, its identity and its key; at the end also its row of the summary. No table is among them,
not even of the smallest network with two seeds, which is 16,000 bytes."""

PARENT = """
import contextlib, json, re, sys
from dataclasses import replace
from pathlib import Path
import sweep_stub as stub
from initcheck.sweeping.store import pack_table
from initcheck.sweeping.run import run_sweep

first = stub.measure(stub.make_cells(1)[0])
packed = replace(first, table=pack_table(first.table))

class Engine:
    @contextlib.contextmanager
    def open(self, data_folder, versions):
        yield lambda cells: (
            stub.measure(cell) if place % 50 == 0 else replace(packed, cell=cell) for place, cell in enumerate(cells)
        )

def read_peak():
    # Not getrusage: what it reports begins with the peak of the process that started this one.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

def progress(done, total, label):
    if done in (0, total):
        peaks.append(read_peak())

count, path, peaks = int(sys.argv[1]), Path(sys.argv[2]), []
result = run_sweep(stub.make_spec(count), path, Engine(), progress)
assert result.measured == len(result.summary) == count
print(json.dumps([*peaks, read_peak()]))
"""


def compare_workers():
    """Measure the same cells by one worker and by two, in turns: seconds by number of workers, shape [rounds]."""
    spec, installed, seconds = make_spec({"grid": GRID}), versions(), {1: [], 2: []}
    warm_up = make_spec({"grid": {**GRID, "initializer": "Zeros", "activation": list(STUDY_ACTIVATIONS), "depth": 1}})
    with ExitStack() as stack:
        engines = {each: stack.enter_context(LocalEngine(each).open(spec.data_folder, installed)) for each in seconds}
        for measure in engines.values():
            list(measure(warm_up.cells))  # imports TensorFlow
        for turn in range(ROUNDS):
            for workers in (1, 2) if turn % 2 == 0 else (2, 1):
                start = time.perf_counter()
                results = list(engines[workers](spec.cells))
                seconds[workers].append(time.perf_counter() - start)
                assert {result.state for result in results} == {"measured"}
                assert len(results) == len(spec.cells)
    assert min(seconds[1]) >= FEWEST_SECONDS
    return {workers: np.asarray(each) for workers, each in seconds.items()}


def test_two_workers_take_little_more_than_half_the_time_of_one(benchmark, report_ratio):
    """Start-up excluded. It needs two processors that nobody else uses: the scheduler runs on them, too."""
    seconds = compare_workers()
    ratio = estimate_ratio(seconds[1], 2.0 * seconds[2])
    report_ratio("sweep: efficiency of two local workers against one", ratio, "at least 0.85")
    benchmark.pedantic(lambda: None, rounds=1)
    assert ratio.value >= 0.85


def read_peaks(count, path):
    """Peak of memory in bytes of a process with so many cells: before the first, behind the last, and at the end."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(count), str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "support")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(json.loads(done.stdout))


def test_the_memory_of_a_sweep_grows_by_little_more_than_its_list_of_cells(benchmark, tmp_path):
    few, many = (read_peaks(count, tmp_path / f"{count}.sqlite") for count in (FEW, MANY))
    before, measuring, whole = (many - few) / (MANY - FEW)
    by_moment = {"before the first": before, "until the last": measuring, "with the summary": whole}
    benchmark.extra_info["sweep: bytes a cell in the sweep's own process"] = by_moment
    benchmark.extra_info["sweep: MiB with 100,000 cells"] = float(many[-1]) / 2**20
    benchmark.pedantic(lambda: None, rounds=1)
    assert measuring <= BYTES_MEASURING
    assert whole <= BYTES_IN_ALL
