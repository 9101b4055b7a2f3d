"""``initcheck train`` as a user meets it: pages, resumption, interruption, and one line for what cannot be used."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from initcheck.cli import main
from initcheck.training.run import HistoryStore

TWO = ["--initializer", "HeNormal", "--initializer", "Zeros"]


def write_clouds(folder):
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 4, 4))
    y = random.integers(0, 10, 260)
    x = (centres[y] + 0.4 * random.normal(size=(260, 4, 4))).astype("float32")
    np.savez(folder / "clouds.npz", x=x, y=y)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clouds(tmp_path)


def train(*words):
    return main(["train", "--data", "clouds.npz", "--epochs", "2", "--seeds", "3", "--quiet", *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Both initializers trained, once; what was printed is beside it."""
    folder = tmp_path_factory.mktemp("finished")
    write_clouds(folder)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        assert train(*TWO, "--json") == 0
    (folder / "printed.json").write_text(printed.getvalue())
    return folder


@pytest.fixture
def trained(here, finished, tmp_path):
    """A copy of the finished run; gives back what it printed."""
    shutil.copytree(finished / "training", tmp_path / "training")
    return json.loads((finished / "printed.json").read_text())


def test_pages_tables_and_json_tell_one_story(trained):
    history = pd.read_csv("training/history.csv")
    assert len(history) == 2 * 3 * 3
    last = history[(history["initializer"] == "HeNormal") & (history["epoch"] == 2)]
    comparison = {each["initializer"]: each for each in trained["comparison"]}
    assert comparison["HeNormal"]["accuracy"] == pytest.approx(last["validation_accuracy"].mean())
    assert pd.read_csv("training/comparison.csv")["accuracy"].tolist() == pytest.approx(
        [comparison[name]["accuracy"] for name in ("HeNormal", "Zeros")]
    )
    page = Path("training/training.html").read_text(encoding="utf-8")
    assert "HeNormal" in page
    assert "<svg" in page
    assert (Path("training") / "training.md").exists()


def test_a_second_run_trains_nothing_and_a_wider_one_what_is_missing(trained, capsys):
    first = pd.read_parquet("training/history.parquet")
    assert train(*TWO, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["resumed"] == 6
    assert train(*TWO, "--initializer", "GlorotUniform", "--seeds", "4", "--json") == 0
    wider = json.loads(capsys.readouterr().out)
    assert wider["resumed"] == 6
    assert wider["statements"] == []  # Xavier's is one of those compared, and nobody asked about it
    table = pd.read_parquet("training/history.parquet")
    kept = table.merge(first, on=["initializer", "seed", "epoch"], suffixes=("", "_before"))
    assert len(kept) == len(first)
    assert kept["validation_loss"].equals(kept["validation_loss_before"])
    assert len(table) == 3 * 4 * 3


@pytest.mark.thorough
def test_networks_that_are_added_later_are_those_of_one_run(tmp_path):
    assert train(*TWO, "--seeds", "2", "--out", "a") == 0
    assert train(*TWO, "--seeds", "3", "--out", "a") == 0
    assert train(*TWO, "--seeds", "3", "--out", "b") == 0
    order = ["initializer", "seed", "epoch"]
    one, other = (
        pd.read_parquet(f"{folder}/history.parquet").sort_values(order).reset_index(drop=True) for folder in "ab"
    )
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_other_settings_do_not_mix(trained, refused):
    before = Path("training/history.parquet").read_bytes()
    message = refused("train", "--data", "clouds.npz", "--epochs", "3", "--seeds", "3", *TWO)
    assert "epochs 2 -> 3" in message
    assert "--out" in message
    assert Path("training/history.parquet").read_bytes() == before


def test_a_damaged_store_is_refused(trained, refused):
    path = Path("training/history.parquet")
    path.write_bytes(path.read_bytes()[:100])
    assert "cannot be read" in refused("train", "--data", "clouds.npz", "--epochs", "2", "--seeds", "3", *TWO)


def test_an_interruption_keeps_what_is_finished_and_a_rerun_goes_on(interrupt_after, capsys):
    saved = interrupt_after(HistoryStore, "save", 1)
    assert train(*TWO, "--seeds", "2") == 130
    assert capsys.readouterr().err.strip() == "initcheck: error: Interrupted."
    assert len(saved) == 1
    assert set(pd.read_parquet("training/history.parquet")["initializer"]) == {"HeNormal"}
    assert train(*TWO, "--seeds", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["resumed"] == 2


BAD = {
    "unknown initializer": (["--initializer", "HeNorml"], "Did you mean HeNormal"),
    "no seeds": (["--seeds", "0"], "--seeds must be at least 1"),
    "no epochs": (["--epochs", "0"], "epochs must be at least 1"),
    "rate": (["--learning-rate", "nan"], "learning_rate must be finite"),
    "unlabelled": (["--data", "gaussian"], "needs labels"),
    "missing file": (["--data", "none.npz"], "There is no file 'none.npz'"),
    "without labels": (["--data", "bare.npz"], "has no labels"),
    "labels that are no classes": (["--data", "odd.npz"], "one class per sample (40 here)"),
    "eleven classes": (["--data", "eleven.npz"], "10 classes"),
    "all held out": (["--data", "clouds.npz", "--validation", "260"], "can be held out"),
    "out is a file": (["--out", "clouds.npz"], "clouds.npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(refused, name):
    x = np.zeros((40, 4, 4), "float32")
    np.savez("bare.npz", x=x)
    np.savez("odd.npz", x=x, y=np.full((40, 3), 0.5))
    np.savez("eleven.npz", x=x, y=np.arange(40) % 11)
    words, message = BAD[name]
    data = [] if "--data" in words else ["--data", "clouds.npz"]
    assert message in refused("train", *data, *words)
    assert not Path("training").exists()
