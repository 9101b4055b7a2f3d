"""From measured tasks to any number of workers: a simulation of a sweep, written as ``docs/scale.md``.

Each task is all cells of one traced graph; of short ones the engine puts several into a task. Their times are measured
(``sweep_tasks.csv``, one row a task); the scheduler's time for a task is measured by :func:`measure_overhead`, the time
in which the sweep's own process records a cell by :func:`measure_recording`. Workers take the tasks in order, the
dearest graphs first, each as soon as it is free; the scheduler hands out one task after the other, and one process
records the cells of one after the other.

``python tests/benchmarks/sweep_simulation.py`` writes the page again; with ``--measure STORE`` it takes the tasks from
the store of a sweep and measures the other two first; without STORE the tasks stay as they are.
"""

from __future__ import annotations

import argparse
import heapq
import pickle
import tempfile
import textwrap
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
TASKS = HERE / "sweep_tasks.csv"
PAGE = HERE.parent.parent / "docs" / "scale.md"
WORKERS = (1, 2, 10, 20, 50, 100, 200, 500, 1000)
REPEATS = 100
"""The simulated sweep has the tasks of this many measured ones: sixty would leave a thousand workers idle."""


def simulate(seconds, workers, overhead, recording=()):
    """Compute how long it takes until workers have done tasks in the order given, and all are recorded."""
    free = [0.0] * workers
    heapq.heapify(free)
    handed_out, ends = 0.0, []
    for task in seconds:
        handed_out = max(handed_out + overhead, heapq.heappop(free))
        heapq.heappush(free, handed_out + task)
        ends.append(handed_out + task)
    recorded = 0.0
    for end, time_recording in sorted(zip(ends, recording or [0.0] * len(ends), strict=True)):
        recorded = max(recorded, end) + time_recording
    return recorded


def read_tasks(store):
    """Take the tasks of a finished sweep: the cells of one graph together, the dearest networks first."""
    from initcheck.sweeping.store import SweepStore

    with SweepStore(store, readonly=True) as finished:
        cells = finished.read_seconds()
    rows = [
        {"depth": cell.depth, "width": cell.width, "activation": cell.activation, "cells": 1, "seconds": seconds}
        for cell, seconds in cells
    ]
    keys = ["depth", "width", "activation"]
    tasks = pd.DataFrame(rows).groupby(keys, as_index=False).sum()
    return tasks.sort_values(["depth", "activation"], ascending=[False, True], ignore_index=True)


def measure_overhead(tasks=2000):
    """Measure the scheduler's time for a task: many that do nothing, on two worker processes."""
    from distributed import Client, LocalCluster, wait

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        wait(client.map(abs, range(100), pure=False))
        start = time.perf_counter()
        wait(client.map(abs, range(tasks), pure=False))
        return (time.perf_counter() - start) / tasks


def measure_recording(repeats=500):
    """Measure the time in which the sweep's own process unpacks and records a cell: a real one, of a deep network."""
    from initcheck.sweeping.dask_engine import read_versions, run_task
    from initcheck.sweeping.measurement import measure_batch
    from initcheck.sweeping.spec import make_spec
    from initcheck.sweeping.store import SweepStore

    installed = read_versions()
    cell = {"network": "mlp", "initializer": "HeNormal", "activation": "relu", "depth": 50, "width": 64, "seeds": 16}
    sent = pickle.dumps(run_task(measure_batch, make_spec({"cell": [cell]}).cells, Path(), installed, {}))
    with tempfile.TemporaryDirectory() as folder, SweepStore(Path(folder) / "cells.sqlite") as store:
        start = time.perf_counter()
        for _ in range(repeats):
            (result,) = pickle.loads(sent)
            store.record(result, installed, "", "2000-01-01T00:00:00+00:00")
        return (time.perf_counter() - start) / repeats


def write_page(tasks, overhead, recording):
    """Make the page of the measured tasks, the scheduler's seconds a task and the recording's seconds a cell."""
    ordered = tasks.sort_values("seconds", ascending=False)
    seconds = [each for each in ordered["seconds"] for _ in range(REPEATS)]
    recordings = [each * recording for each in ordered["cells"] for _ in range(REPEATS)]
    alone = sum(seconds)
    cells = int(tasks["cells"].sum())
    spread = (
        f"{tasks['seconds'].min():.1f} to {tasks['seconds'].max():.0f} s, {tasks['seconds'].mean():.1f} s on average"
    )
    nature = (
        "A simulation, not a measurement: nobody has a thousand workers for a test. The tasks are measured, and so are "
        "the scheduler's time for each and the time in which the sweep's own process records a cell. Left out are the "
        "network between machines, machines that are not alike, and the start: a worker needs about ten seconds to "
        "import TensorFlow. What two workers of one machine take against one is measured: "
        "[benchmarks](../reports/benchmarks/sweeps.md)."
    )
    origin = (
        f"The measured sweep is [`reports/sweep`](../reports/sweep/sweep.md): {cells:,} cells in {len(tasks)} tasks of "
        f"{spread}. The simulated one has {REPEATS} times these: {REPEATS * cells:,} cells, "
        f"{REPEATS * len(tasks):,} tasks. One after the other, the scheduler takes {1000 * overhead:.2f} ms for a "
        f"task, and the sweep's process {1000 * recording:.2f} ms for a cell. Workers take tasks as they become free, "
        "the longest first. Efficiency is the time of the tasks by themselves, over workers and time."
    )
    lines = ["# How far a sweep scales", ""]
    for paragraph in (nature, origin):
        lines += [*textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False), ""]
    lines += ["| workers | time | efficiency |", "|---|---|---|"]
    for workers in WORKERS:
        end = simulate(seconds, workers, overhead, recordings)
        lines.append(f"| {workers:,} | {_write_time(end)} | {100 * alone / end / workers:.1f}% |")
    by_scheduler = tasks["seconds"].mean() / overhead
    by_process = tasks["seconds"].sum() / (cells * recording)
    limit = (
        f"At this length of a task, one scheduler keeps up with {by_scheduler:,.0f} workers, and the "
        f"process that records with {by_process:,.0f}: more of them wait. Before that, the end of the sweep "
        "costs the most, when free workers wait for the last tasks. Deeper or wider networks take longer and are "
        "recorded about as fast: they keep more workers busy."
    )
    maker = "Made by `tests/benchmarks/sweep_simulation.py` of `tests/benchmarks/sweep_tasks.csv`."
    for paragraph in (limit, maker):
        lines += ["", *textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False)]
    return "\n".join([*lines, ""])


def _write_time(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def read_csv():
    """Read the measured tasks, and the scheduler's and the recording's times that stand in each row."""
    table = pd.read_csv(TASKS)
    names = ["overhead", "recording"]
    return table.drop(columns=names), *(float(table[name].iloc[0]) for name in names)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", nargs="?", const="", metavar="STORE")
    store = parser.parse_args().measure
    if store is not None:
        tasks = read_tasks(Path(store)) if store else pd.read_csv(TASKS)
        tasks = tasks.assign(overhead=measure_overhead(), recording=measure_recording())
        tasks.to_csv(TASKS, index=False, lineterminator="\n")
    PAGE.write_text(write_page(*read_csv()), encoding="utf-8")


if __name__ == "__main__":
    main()
