"""A run: what is finished is skipped, what is stale is done anew, and a kill costs the cell under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import sweep_stub as stub
from marked import only_on, slow

from initcheck.cli import main
from initcheck.core.columns import INPUT_COLUMNS, QUANTITIES
from initcheck.core.errors import EngineError, SpecError
from initcheck.study.run import StudyOptions, run_study
from initcheck.sweeping import run as run_module
from initcheck.sweeping.measurement import InProcess
from initcheck.sweeping.run import run_sweep, sweep
from initcheck.sweeping.spec import make_spec
from initcheck.sweeping.store import SweepStore

SUPPORT = Path(__file__).parent.parent / "support"
KILLS, CELLS = 50, 1000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cells.sqlite"


@pytest.fixture(autouse=True)
def versions(monkeypatch, request):
    # The killed runs are processes of their own: they, and what finishes their work, have the installed versions.
    if not any(word in request.node.name for word in ("real", "killed")):
        monkeypatch.setattr(run_module, "versions", lambda: dict(stub.VERSIONS))


def test_a_second_run_measures_nothing_and_says_the_same(path):
    spec, reported = stub.make_spec(5), []
    first = run_sweep(spec, path, stub.StubEngine(), lambda *step: reported.append(step))
    engine = stub.StubEngine()
    second = run_sweep(spec, path, engine)
    assert engine.measured == []
    assert (first.skipped, second.skipped) == (0, 5)
    assert [(done, total) for done, total, _ in reported] == [(number, 5) for number in range(6)]
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    pd.testing.assert_frame_equal(first.summary, second.summary, check_exact=True)


def test_a_larger_sweep_on_the_same_store_measures_what_is_new(path):
    run_sweep(stub.make_spec(5), path, stub.StubEngine())
    engine = stub.StubEngine()
    result = run_sweep(stub.make_spec(8), path, engine)
    assert [cell.depth for cell in engine.measured] == [6, 7, 8]
    assert (result.measured, result.skipped) == (8, 5)


def test_a_changed_version_is_reported_and_its_cells_are_measured_anew_and_not_doubled(path, monkeypatch):
    spec = stub.make_spec(5)
    run_sweep(spec, path, stub.StubEngine())
    monkeypatch.setattr(run_module, "versions", lambda: {**stub.VERSIONS, "keras": "9"})
    engine = stub.StubEngine()
    result = run_sweep(spec, path, engine)
    assert (result.stale, result.skipped, result.measured) == (5, 0, 5)
    assert result.changed == "keras 2 -> 9"
    assert len(engine.measured) == len(result.summary) == 5
    assert len(result.table) == 5 * len(stub.SEEDS)


def test_failed_cells_are_tried_again_and_refused_ones_are_not(path):
    spec = stub.make_spec(4)
    ends = {2: ("failed", "broke"), 3: ("refused", "no kernel")}
    first = run_sweep(spec, path, stub.StubEngine(ends=ends))
    assert [(cell.depth, reason) for cell, reason in first.failed] == [(2, "broke")]
    assert [(cell.depth, reason) for cell, reason in first.refused] == [(3, "no kernel")]
    engine = stub.StubEngine()
    second = run_sweep(spec, path, engine)
    assert [cell.depth for cell in engine.measured] == [2]
    assert second.failed == ()
    assert second.measured == 3


def test_a_lost_engine_leaves_what_was_finished(path):
    spec = stub.make_spec(6)
    with pytest.raises(EngineError, match="gone"):
        run_sweep(spec, path, stub.StubEngine(fail_after=(4, EngineError("gone"))))
    engine = stub.StubEngine()
    assert run_sweep(spec, path, engine).skipped == 4
    assert len(engine.measured) == 2


def test_another_content_of_a_data_file_makes_cells_stale(tmp_path, path):
    grid = {"network": "mlp", "initializer": "HeNormal", "activation": "relu", "depth": 1, "data": "mine.npz"}
    for number, expected in ((1, 0), (1, 0), (2, 1)):
        np.savez(tmp_path / "mine.npz", x=np.full((64, 4), number, np.float32))
        result = run_sweep(run_module.make_spec({"grid": grid}, tmp_path), path, stub.StubEngine())
        assert result.stale == expected
    assert result.changed == "the data file"


@pytest.mark.cluster
def test_killed_fifty_times_a_sweep_loses_the_cells_under_way_and_ends_with_the_same_table(tmp_path):
    """Each kill comes at a moment drawn at random; a run measures one cell at a time."""
    tested = tmp_path / "killed"
    tested.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    program = [sys.executable, str(SUPPORT / "sweep_kills.py"), str(tested), str(KILLS), str(CELLS)]
    result = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout == f"{KILLS}\n", result.stderr[-2000:]
    with SweepStore(tested / "cells.sqlite", readonly=True) as store:
        finished = store.count()["measured"]
    begun = (tested / "log").read_text().splitlines()
    assert 0 < finished < CELLS
    assert finished <= len(begun) <= finished + KILLS
    resumed = run_sweep(stub.make_spec(CELLS), tested / "cells.sqlite", stub.StubEngine(log=tested / "log"))
    whole = run_sweep(stub.make_spec(CELLS), tmp_path / "whole.sqlite", stub.StubEngine())
    assert resumed.skipped == finished
    assert len((tested / "log").read_text().splitlines()) <= CELLS + KILLS
    pd.testing.assert_frame_equal(resumed.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(resumed.summary, whole.summary, check_exact=True)


REAL = {
    "network": "mlp",
    "initializer": ["HeNormal", "GlorotUniform", "Identity"],
    "activation": ["relu", "tanh"],
    "depth": 3,
    "width": 8,
    "batch_size": 16,
    "seeds": 3,
}


def test_real_cells_have_the_values_of_a_study(path):
    """The study draws each initializer's weights once for all activations; a sweep cell by cell."""
    result = sweep({"grid": REAL}, path)
    options = StudyOptions(
        networks=("mlp",),
        initializers=("HeNormal", "GlorotUniform", "Identity"),
        activations=("relu", "tanh"),
        depth=3,
        widths=(8,),
        batch_size=16,
        seeds=(0, 1, 2),
    )
    study = run_study(options)
    order = ["initializer", "activation", "seed", "position"]
    ours, theirs = (frame.sort_values(order).reset_index(drop=True) for frame in (result.table, study.table))
    assert len(ours) == 6 * 3 * 5
    beside = [column.name for column in INPUT_COLUMNS]  # what a check alone asks for: a sweep does not keep it
    pd.testing.assert_frame_equal(ours.drop(columns=["dtype", *beside]), theirs.drop(columns=beside), rtol=1e-6)
    assert ours[list(QUANTITIES)].notna().any().all()
    keys = ["initializer", "activation"]
    mine, others = (frame.sort_values(keys).reset_index(drop=True) for frame in (result.summary, study.summary))
    pd.testing.assert_frame_equal(mine.drop(columns="dtype"), others, rtol=1e-6)


def test_real_cells_that_cannot_be_measured_are_refused_with_a_reason(path):
    grid = {"network": "conv", "initializer": ["Identity", "HeNormal"], "activation": "relu", "depth": 1, "width": 2}
    result = sweep({"grid": {**grid, "seeds": 2}}, path)
    ((cell, reason),) = result.refused
    assert cell.initializer == "Identity"
    assert "can only be used for 2D matrices" in reason
    assert result.measured == 1


@pytest.mark.parametrize("dtype", [*slow("float64", "float64"), *slow("thorough", "float16", "mixed_bfloat16")])
def test_real_cells_have_the_dtype_asked_for_and_leave_keras_as_it_was(path, dtype):

    config = keras.config
    before = config.dtype_policy()
    grid = {**REAL, "initializer": "HeNormal", "activation": "relu"}
    result = sweep({"grid": {**grid, "dtype": [dtype, "float32"]}}, path)
    assert config.dtype_policy() is before
    by_dtype = {name: part.set_index(["seed", "position"]) for name, part in result.table.groupby("dtype")}
    exact, other = by_dtype["float32"]["activation_variance"], by_dtype[dtype]["activation_variance"]
    # The seeds draw other numbers in another dtype: the precision alone shows what is drawn.
    assert not np.array_equal(exact.to_numpy(float), other.to_numpy(float))
    assert np.isfinite(other.to_numpy(float)).all()


def save_data(folder, seed):
    np.savez(folder / "data.npz", x=np.random.default_rng(seed).normal(size=(20 + seed, 4)).astype("float32"))


ON_FILE = {**REAL, "initializer": "HeNormal", "activation": "relu", "depth": [1, 2], "data": "data.npz"}


def test_real_cells_on_a_data_file_that_was_replaced_end_the_sweep(path, tmp_path):
    save_data(tmp_path, 0)

    def replace(done, total, what):
        if done == 1:
            save_data(tmp_path, 1)

    with pytest.raises(EngineError, match=r"data\.npz' was replaced during the sweep.*run the sweep again"):
        run_sweep(make_spec({"grid": ON_FILE}, tmp_path), path, InProcess(), replace)
    with SweepStore(path, readonly=True) as store:
        assert store.count() == {"measured": 1, "refused": 0, "failed": 0}
    again = run_sweep(make_spec({"grid": ON_FILE}, tmp_path), path, InProcess())
    assert (again.stale, again.changed, again.measured) == (1, "the data file", 2)


def test_real_cells_of_a_second_sweep_see_a_data_file_that_was_replaced(tmp_path):
    tables = []
    for seed in (0, 1):
        save_data(tmp_path, seed)
        spec = make_spec({"grid": {**ON_FILE, "depth": 1}}, tmp_path)
        tables.append(run_sweep(spec, tmp_path / f"{seed}.sqlite", InProcess()).table)
    inputs = [table[table["layer"] == "input"]["activation_second_moment"].to_numpy(float) for table in tables]
    assert not np.array_equal(*inputs)


@only_on("tensorflow", reason="other backends have other variables")
@pytest.mark.parametrize("command_line", [False, True])
def test_each_operation_has_one_thread_where_tensorflow_has_not_started(monkeypatch, tmp_path, command_line):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "to be restored")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    if command_line:
        assert main(["sweep", str(tmp_path / "no.toml"), "--out", str(tmp_path)]) == 2
    else:
        with pytest.raises(SpecError, match="Nothing to sweep"):
            sweep({}, tmp_path / "cells.sqlite")
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "1"


@pytest.fixture
def interruptible():
    """A worker of xdist ignores SIGINT: then there is nothing to defer."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_real_cells_are_finished_before_an_interrupt_takes_effect(path, interruptible):
    before, reported = signal.getsignal(signal.SIGINT), []

    def interrupt(done, total, what):
        reported.append(done)
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep({"grid": REAL}, path, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert reported == [0, 1, 2]
    assert sweep({"grid": REAL}, path).skipped == 2


def test_real_spec_errors_come_before_the_store_is_touched(path):
    with pytest.raises(SpecError):
        sweep({"grid": {**REAL, "depth": []}}, path)
    assert not path.exists()
