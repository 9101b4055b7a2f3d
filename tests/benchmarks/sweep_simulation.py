"""From measured tasks to any number of workers: a simulation of a sweep, written as ``docs/scale.md``.

The tasks are those that the engine makes: all cells of one traced graph. Their times are measured
(``sweep_tasks.csv``, one row a task); the scheduler's time for a task is measured by :func:`measure_overhead`.
Workers take the tasks in order, the dearest graphs first, each as soon as it is free; the scheduler hands out one task
after the other.

``python tests/benchmarks/sweep_simulation.py`` writes the page again; with ``--measure STORE`` it takes the tasks from
the store of a sweep and measures the overhead first.
"""

from __future__ import annotations

import argparse
import heapq
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


def simulate(seconds, workers, overhead):
    """Tell how long workers take for tasks in the order given.

    Args:
        seconds: of each task.
        workers: how many.
        overhead: the scheduler's time for each task, one after the other.
    """
    free = [0.0] * workers
    heapq.heapify(free)
    handed_out = end = 0.0
    for task in seconds:
        handed_out = max(handed_out + overhead, heapq.heappop(free))
        heapq.heappush(free, handed_out + task)
        end = max(end, handed_out + task)
    return end


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


def write_page(tasks, overhead):
    """Make the page of the measured tasks and the overhead in seconds."""
    seconds = list(tasks["seconds"]) * REPEATS
    seconds.sort(reverse=True)
    alone = simulate(seconds, 1, overhead)
    cells = int(tasks["cells"].sum())
    spread = (
        f"{tasks['seconds'].min():.1f} to {tasks['seconds'].max():.0f} s, {tasks['seconds'].mean():.1f} s on average"
    )
    nature = (
        "A simulation, not a measurement: nobody has a thousand workers for a test. Its tasks are measured, and so is "
        "the scheduler's time for each of them; what is left out is the network between machines, and machines that "
        "are not alike."
    )
    origin = (
        f"The measured sweep is [`reports/sweep`](../reports/sweep/sweep.md): {cells:,} cells in {len(tasks)} tasks of "
        f"{spread}, on two workers of one machine that was busy with other work, too. The simulated sweep has a "
        f"hundred times these tasks: {REPEATS * cells:,} cells, {REPEATS * len(tasks):,} tasks. The scheduler takes "
        f"{1000 * overhead:.2f} ms for a task, one after the other, measured with tasks that do nothing. Workers take "
        "tasks as they become free, the longest first."
    )
    lines = ["# How far a sweep scales", ""]
    for paragraph in (nature, origin):
        lines += [*textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False), ""]
    lines += ["| workers | time | efficiency |", "|---|---|---|"]
    for workers in WORKERS:
        end = simulate(seconds, workers, overhead)
        lines.append(f"| {workers:,} | {_write_time(end)} | {100 * alone / end / workers:.1f} % |")
    bound = tasks["seconds"].mean() / overhead
    limit = (
        f"One scheduler keeps up with about {_round(bound):,} workers at this length of a task. Before that, the end "
        "of the sweep costs the most: workers that are free wait for the last tasks. A sweep with fewer tasks than "
        "workers gains nothing from the rest of them."
    )
    start = "Start-up is left out: a worker needs about ten seconds to import TensorFlow."
    maker = "Made by `tests/benchmarks/sweep_simulation.py` of `tests/benchmarks/sweep_tasks.csv`."
    for paragraph in (limit, start, maker):
        lines += ["", *textwrap.wrap(paragraph, 118, break_long_words=False, break_on_hyphens=False)]
    return "\n".join([*lines, ""])


def _write_time(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _round(number):
    return int(float(f"{number:.1g}"))


def read_csv():
    """Read the measured tasks, and the overhead that stands in each row."""
    table = pd.read_csv(TASKS)
    return table.drop(columns="overhead"), float(table["overhead"].iloc[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", type=Path, metavar="STORE")
    store = parser.parse_args().measure
    if store is not None:
        read_tasks(store).assign(overhead=measure_overhead()).to_csv(TASKS, index=False, lineterminator="\n")
    PAGE.write_text(write_page(*read_csv()), encoding="utf-8")


if __name__ == "__main__":
    main()
