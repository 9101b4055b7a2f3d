"""Sweeps on a real scheduler with real workers, over TCP, where everything dies that can die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque

import numpy as np
import pandas as pd
import psutil
import pytest
import sweep_cluster as cluster_support
from marked import slow
from sweep_cluster import SINGLE_THREADED, SUPPORT, kill_group, open_cluster

from initcheck.backend.runtime import versions
from initcheck.core.errors import EngineError
from initcheck.models.initializers import study_initializers
from initcheck.sweeping.dask_engine import LONGEST_SECONDS, SHORTEST_SECONDS, Batching, DaskEngine, LocalEngine
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.run import run_sweep
from initcheck.sweeping.spec import Cell, make_spec
from initcheck.sweeping.store import SweepStore

INITIALIZERS = [initializer.label for initializer in study_initializers()]
SMALL = {"network": "mlp", "width": 8, "seeds": 2, "batch_size": 8}

IN_PROCESS = """
import json, sys
from pathlib import Path
from initcheck.sweeping.run import sweep
sweep(json.loads(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def cluster(tmp_path):
    with open_cluster(tmp_path) as started:
        yield started


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.sqlite"


def make_stub_spec(folder, *troubles, depths=3):
    """All initializers at a few depths, and cells that ask for trouble among those of one of them."""
    grid = {**SMALL, "initializer": INITIALIZERS, "activation": "relu", "depth": list(range(1, depths + 1))}
    cells = [{**SMALL, "initializer": trouble, "activation": "relu", "depth": 2} for trouble in troubles]
    return make_spec({"grid": grid, "cell": cells}, folder)


class Directly:
    """Measures by the stub in this process."""

    @contextlib.contextmanager
    def open(self, data_folder, versions):
        yield lambda cells: iter(cluster_support.measure_stub(cells, data_folder))


def once(at, act):
    """Make a progress that acts as soon as so many cells are in the store."""
    left = [act]

    def progress(done, total, label):
        if done >= at and left:
            left.pop()()

    return progress


@contextlib.contextmanager
def refused(*parts):
    """The sweep ends with an error in one line that has these parts."""
    with pytest.raises(EngineError) as error:
        yield
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.cluster
def test_a_killed_worker_costs_no_cell_and_the_rows_are_those_of_one_process(cluster, path, tmp_path):
    scales = [f"VarianceScaling(scale={1.0 + 0.05 * number:.2f})" for number in range(1, 39)]
    document = {
        "grid": {
            **SMALL,
            "initializer": [*INITIALIZERS, *scales],
            "activation": ["relu", "selu", "tanh"],
            "depth": [1, 2, 3],
        }
    }
    one = tmp_path / "one.sqlite"
    log = (tmp_path / "one.txt").open("wb")
    alone = subprocess.Popen(
        [sys.executable, "-c", IN_PROCESS, json.dumps(document), str(one)],
        env={**os.environ, **SINGLE_THREADED},
        stdout=log,
        stderr=log,
    )
    try:
        first = cluster.start_worker()
        cluster.start_worker()

        def replace():
            assert first.poll() is None
            first.send_signal(signal.SIGKILL)
            cluster.start_worker()

        spec = make_spec(document)
        result = run_sweep(spec, path, DaskEngine(cluster.address), once(100, replace))
        assert first.wait() == -signal.SIGKILL
        assert alone.wait() == 0, (tmp_path / "one.txt").read_text()
    finally:
        alone.kill()
        log.close()
    assert len(spec.cells) == 513
    assert (result.measured, result.refused, result.failed) == (len(spec.cells), (), ())
    same = run_sweep(spec, one, Directly())
    assert same.skipped == len(spec.cells)
    pd.testing.assert_frame_equal(result.table, same.table, check_exact=True)
    pd.testing.assert_frame_equal(result.summary, same.summary, check_exact=True)
    assert np.isfinite(result.table["weight_variance"].dropna()).any()


@pytest.mark.cluster
def test_a_cell_that_kills_its_worker_is_found_and_no_other_is_blamed(tmp_path, path):
    """With no death allowed, the scheduler blames at once whatever waits for the worker that died."""
    spec = make_stub_spec(tmp_path, cluster_support.KILLS)
    with open_cluster(tmp_path, deaths_allowed=0) as cluster:
        cluster.start_worker(nanny=True)
        cluster.start_worker(nanny=True)
        engine = DaskEngine(cluster.address, cluster_support.measure_stub_slowly)
        result = run_sweep(spec, path, engine)
    assert len(result.failed) == 1, result.failed
    failed = result.failed[0]
    assert (failed[0].initializer, failed[0].depth) == (cluster_support.KILLS, 2)
    assert failed[1] == "the worker process died of this cell (killed, or out of memory)"
    assert result.measured == len(spec.cells) - 1 == len(result.table)


def test_an_unexpected_exception_fails_its_cell_alone_and_one_that_comes_once_is_no_failure(cluster, path, tmp_path):
    spec = make_stub_spec(tmp_path, cluster_support.RAISES, cluster_support.RAISES_ONCE)
    cluster.start_worker()
    result = run_sweep(spec, path, DaskEngine(cluster.address, cluster_support.measure_stub))
    assert (tmp_path / "raised").exists()
    (failed,) = result.failed
    assert failed[0].initializer == cluster_support.RAISES
    assert failed[1] == "ZeroDivisionError: a defect in two lines"
    assert result.measured == len(spec.cells) - 1 == len(result.table)


@pytest.mark.cluster
def test_a_worker_that_cannot_work_at_all_ends_the_sweep_and_what_is_finished_is_kept(cluster, path, tmp_path):
    run_sweep(make_stub_spec(tmp_path), path, Directly())
    cluster.start_worker()
    spec = make_stub_spec(tmp_path, cluster_support.REFUSED)
    with refused("This work refuses altogether. Fix it."):
        run_sweep(spec, path, DaskEngine(cluster.address, cluster_support.measure_stub))
    with SweepStore(path, readonly=True) as store:
        assert store.count()["measured"] == len(spec.cells) - 1


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", *slow("cluster", "nowhere", "tls://127.0.0.1:9", "what://127.0.0.1:9")]
)
def test_without_a_scheduler_one_line_says_so(address, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom initcheck.core.errors import EngineError\n"
        "from initcheck.sweeping.dask_engine import DaskEngine\n"
        "try:\n    with DaskEngine(sys.argv[1], connect_seconds=1.0).open(Path(), {}): pass\n"
        "except EngineError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"No scheduler answers at {address!r}: ")
    assert line.endswith("Start one with 'dask scheduler', or check --scheduler.")


@pytest.mark.cluster
def test_without_a_worker_one_line_says_so(cluster, tmp_path):
    engine = DaskEngine(cluster.address, workers_seconds=0.5)
    with refused("No worker has come", "within 0.5 s", "dask worker"), engine.open(tmp_path, versions()):
        pass


@pytest.mark.cluster
def test_other_versions_are_reported_with_the_worker(cluster, tmp_path):
    cluster.start_worker()
    wanted = {**versions(), "keras": "0.1", "numpy": "0.2"}
    parts = ("The worker at tcp://127.0.0.1:", "keras ", " instead of 0.1, numpy ", " instead of 0.2")
    with refused(*parts), DaskEngine(cluster.address).open(tmp_path, wanted):
        pass


@pytest.mark.cluster
def test_a_worker_with_other_versions_that_comes_late_measures_nothing(cluster, path, tmp_path):
    other = tmp_path / "other" / "keras"
    (other / "src").mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "src" / "version.py").write_text('__version__ = "0.1"\n')
    first = cluster.start_worker()

    def replace():
        cluster.start_worker(PYTHONPATH=f"{SUPPORT}{os.pathsep}{other.parent}")
        kill_group(first)

    engine = DaskEngine(cluster.address, cluster_support.measure_stub_slowly)
    with refused("A worker has keras 0.1 instead of ", "Install the same versions everywhere."):
        run_sweep(make_stub_spec(tmp_path), path, engine, once(1, replace))
    with SweepStore(path, readonly=True) as store:
        assert store.count()["failed"] == 0 < store.count()["measured"]


@pytest.fixture
def without_initcheck(tmp_path):
    """A folder that hides initcheck from a Python that has it on its path."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'initcheck':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    return folder


@pytest.mark.cluster
def test_a_worker_without_initcheck_is_reported(cluster, tmp_path, without_initcheck):
    cluster.start_worker(PYTHONPATH=str(without_initcheck))
    parts = (
        "The worker at tcp://",
        " cannot run initcheck: ",
        "No module named 'initcheck'",
        "Install initcheck on each worker.",
    )
    with refused(*parts), DaskEngine(cluster.address).open(tmp_path, versions()):
        pass


@pytest.mark.cluster
def test_a_scheduler_without_initcheck_is_reported(tmp_path, without_initcheck):
    parts = ("The cluster cannot run a task: ", "No module named 'initcheck", "on the scheduler")
    with open_cluster(tmp_path, path=without_initcheck) as cluster:
        cluster.start_worker()
        with refused(*parts), DaskEngine(cluster.address).open(tmp_path, versions()):
            pass


@pytest.mark.cluster
@pytest.mark.parametrize("gone", ["scheduler", "workers"])
def test_what_is_finished_outlives_the_cluster_and_another_finishes_the_rest(tmp_path, path, gone):
    spec = make_stub_spec(tmp_path, depths=6)
    (tmp_path / "first").mkdir()
    with open_cluster(tmp_path / "first") as cluster:
        workers = [cluster.start_worker() for _ in range(2)]
        engine = DaskEngine(
            cluster.address, cluster_support.measure_stub_slowly, connect_seconds=2.0, workers_seconds=4.0
        )

        def kill():
            for process in workers if gone == "workers" else [cluster.scheduler]:
                kill_group(process)

        lost = "All workers are gone." if gone == "workers" else "The connection to the scheduler was lost."
        with refused(lost, "The finished cells are kept"):
            run_sweep(spec, path, engine, once(10, kill))
    with SweepStore(path, readonly=True) as store:
        finished = store.count()
    assert 10 <= finished["measured"] < len(spec.cells) and finished["failed"] == 0
    (tmp_path / "second").mkdir()
    with open_cluster(tmp_path / "second") as cluster:
        cluster.start_worker()
        result = run_sweep(spec, path, DaskEngine(cluster.address, cluster_support.measure_stub))
    assert result.skipped == finished["measured"]
    expected = run_sweep(spec, tmp_path / "expected.sqlite", Directly())
    pd.testing.assert_frame_equal(result.table, expected.table, check_exact=True)


@pytest.mark.cluster
def test_a_sweep_waits_for_a_new_worker_where_the_last_one_died(cluster, path, tmp_path):
    spec = make_stub_spec(tmp_path, depths=4)
    first = cluster.start_worker()
    later = threading.Timer(1.0, cluster.start_worker)

    def kill():
        kill_group(first)
        later.start()

    engine = DaskEngine(cluster.address, cluster_support.measure_stub_slowly)
    result = run_sweep(spec, path, engine, once(5, kill))
    later.join()
    assert (result.measured, result.failed) == (len(spec.cells), ())


@pytest.mark.cluster
@pytest.mark.parametrize("change", ["missing", "other"])
def test_a_worker_that_sees_no_data_file_or_another_ends_the_sweep(cluster, path, tmp_path, change):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x)
    cell = {**SMALL, "initializer": "HeNormal", "activation": "relu", "data": "data.npz"}
    spec = make_spec({"cell": [{**cell, "depth": depth} for depth in (1, 2)]}, tmp_path)
    cluster.start_worker()
    engine = DaskEngine(cluster.address, cluster_support.measure_stub)
    with engine.open(tmp_path, versions()) as measure:
        # To the workers the folder is what it was when they look.
        results = measure(spec.cells)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("initcheck.sweeping.dask_engine.digest_files", lambda cells, folder: {"data.npz": "before"})
            if change == "missing":
                (tmp_path / "data.npz").unlink()
            wanted = {"missing": "A worker cannot read the data: ", "other": "A worker has another file "}
            with refused(wanted[change], "data.npz"):
                list(results)


@pytest.mark.cluster
def test_a_killed_process_of_this_machine_is_replaced(path, tmp_path):
    spec = make_stub_spec(tmp_path, depths=6)
    before = {name: os.environ.get(name) for name in SINGLE_THREADED}
    killed = []

    def kill():
        for process in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(process.cmdline()):
                process.kill()
                killed.append(process.pid)
                return

    result = run_sweep(spec, path, LocalEngine(2, cluster_support.measure_single_threaded), once(10, kill))
    assert len(killed) == 1
    assert (result.measured, result.failed) == (len(spec.cells), ())
    assert {name: os.environ.get(name) for name in SINGLE_THREADED} == before
    assert not [each for each in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


@pytest.mark.cluster
@pytest.mark.parametrize("guard", ["if __name__ == '__main__':", "if True:"])
def test_a_script_without_a_guard_says_how_to_start_worker_processes(tmp_path, guard):
    cell = {**SMALL, "initializer": "Zeros", "activation": "relu", "depth": 1}
    script = f"import initcheck\n{guard}\n"
    script += (
        f"    print(initcheck.sweep({{'cell': [{cell}]}}, engine=initcheck.LocalEngine(1)).measured, 'measured')\n"
    )
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    if guard == "if True:":
        assert done.returncode == 1
        assert "the sweep must stand under: if __name__ == '__main__'" in done.stderr.splitlines()[-1]
    else:
        assert (done.returncode, done.stdout) == (0, "1 measured\n"), done.stderr


# --- batches: by time, by traced graph, and shorter towards the end


def make_cells(count, activation="relu", depth=2):
    return [
        Cell(network="mlp", initializer=f"Constant(value={number}.0)", activation=activation, depth=depth, width=8)
        for number in range(count)
    ]


def cut(batching, cells, threads):
    left, batches = deque(cells), []
    while left:
        batches.append(batching.take(left, threads))
    return batches


@pytest.mark.parametrize("seconds", [None, 0.0, 0.001, 0.3, 7.0, 1e4])
@pytest.mark.parametrize("threads", [1, 3, 1000])
def test_every_cell_is_in_one_batch_in_order(seconds, threads):
    cells = [*make_cells(50), *make_cells(30, "tanh"), *make_cells(1, depth=3)]
    batches = cut(Batching(seconds), cells, threads)
    assert [cell for batch in batches for cell in batch] == cells
    assert all(batches)


def test_a_batch_goes_over_activation_functions_but_not_over_networks():
    cells = [*make_cells(5), *make_cells(5, "tanh"), *make_cells(5, "tanh", depth=3)]
    assert [len(batch) for batch in cut(Batching(0.01), cells, 1)] == [10, 5]


def test_a_batch_ends_between_two_graphs_if_it_can():
    cells = [cell for name in ("elu", "relu", "selu", "silu") for cell in make_cells(19, name)]

    def take(seconds, threads):
        return len(Batching(seconds).take(deque(cells), threads))

    assert take(1.0, 1) == 38  # 30 s, the longest: one graph and more than a half of another, which goes along
    assert take(1.2, 1) == 19  # 30 s: one graph and less than a half, which is left
    assert take(1.0, 3) == 19  # 12 s, a share: more than a half of one
    assert take(1.0, 8) == 4  # 4 s: less than a half, and too much to go along
    assert take(0.1, 8) == 19  # 2 s, the shortest: 20 cells, one of them of another graph
    assert take(4.0, 1) == 7  # a graph takes more than twice as long as a task should


def test_before_anything_is_known_a_batch_is_small_and_leaves_some_for_the_other_workers():
    assert len(Batching().take(deque(make_cells(1000)), 4)) == 16
    assert [len(batch) for batch in cut(Batching(), make_cells(8), 4)] == [2, 2, 1, 1, 2]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 11.0])
def test_where_much_is_left_a_batch_takes_as_long_as_a_task_may(seconds):
    batch = Batching(seconds).take(deque(make_cells(2000)), 2)
    assert len(batch) * seconds <= LONGEST_SECONDS < (len(batch) + 1) * seconds


def test_a_cell_that_takes_longer_than_a_task_may_goes_alone():
    assert len(Batching(10 * LONGEST_SECONDS).take(deque(make_cells(20)), 1)) == 1


def test_cells_that_take_no_time_make_no_endless_batch():
    assert len(Batching(0.0).take(deque(make_cells(5000)), 1)) == 200


def test_towards_the_end_batches_get_shorter_but_not_too_short():
    lengths = [len(batch) for batch in cut(Batching(0.1), make_cells(1000), 2)]
    assert lengths[:-1] == sorted(lengths[:-1], reverse=True)
    assert lengths[0] == 200  # the largest; of the seconds that are left, a quarter would be 250
    assert lengths[1] == 800 // 4
    assert lengths[2] == 600 // 4
    shortest = round(SHORTEST_SECONDS / 0.1)
    assert lengths[-2] == shortest
    # The last two would have been of one graph, and short.
    assert shortest <= lengths[-1] <= 2 * shortest


def test_what_cells_took_is_learnt_and_recent_ones_count_more():
    batching = Batching()
    batching.learn([])
    assert batching.seconds_per_cell is None
    for seconds, mean in ((1.0, 1.0), (3.0, 2.0), (4.0, 3.0)):
        batching.learn([CellResult(cell, "measured", "", seconds) for cell in make_cells(3)])
        assert batching.seconds_per_cell == pytest.approx(mean)
