"""``initcheck train`` as a user meets it: pages, resumption, interruption, and one line for what cannot be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from initcheck.cli import main

TWO = ["--initializer", "HeNormal", "--initializer", "Zeros"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 4, 4))
    y = random.integers(0, 10, 260)
    x = (centres[y] + 0.4 * random.normal(size=(260, 4, 4))).astype("float32")
    np.savez("clouds.npz", x=x, y=y)
    return tmp_path


def train(*words):
    return main(["train", "--data", "clouds.npz", "--epochs", "2", "--seeds", "3", "--quiet", *words])


def one_line(capsys, *words):
    code = main(["train", *words])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.strip() and "━" not in line]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert lines[0].startswith("initcheck: error: ")
    return lines[0]


def test_pages_tables_and_json_tell_one_story(capsys):
    assert train(*TWO, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    history = pd.read_csv("training/history.csv")
    assert len(history) == 2 * 3 * 3
    last = history[(history["initializer"] == "HeNormal") & (history["epoch"] == 2)]
    comparison = {each["initializer"]: each for each in told["comparison"]}
    assert comparison["HeNormal"]["accuracy"] == pytest.approx(last["validation_accuracy"].mean())
    assert pd.read_csv("training/comparison.csv")["accuracy"].tolist() == pytest.approx(
        [comparison[name]["accuracy"] for name in ("HeNormal", "Zeros")]
    )
    page = Path("training/training.html").read_text(encoding="utf-8")
    assert "HeNormal" in page
    assert "<svg" in page
    assert (Path("training") / "training.md").exists()


def test_a_second_run_trains_nothing_and_a_wider_one_what_is_missing(capsys):
    assert train(*TWO) == 0
    first = pd.read_parquet("training/history.parquet")
    assert train(*TWO, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["resumed"] == 6
    assert train(*TWO, "--initializer", "GlorotUniform", "--seeds", "4", "--json") == 0
    wider = json.loads(capsys.readouterr().out)
    assert wider["resumed"] == 6
    table = pd.read_parquet("training/history.parquet")
    kept = table.merge(first, on=["initializer", "seed", "epoch"], suffixes=("", "_before"))
    assert len(kept) == len(first)
    assert kept["validation_loss"].equals(kept["validation_loss_before"])
    assert len(table) == 3 * 4 * 3


def test_networks_that_are_added_later_are_those_of_one_run(tmp_path):
    assert train(*TWO, "--seeds", "2", "--out", "a") == 0
    assert train(*TWO, "--seeds", "3", "--out", "a") == 0
    assert train(*TWO, "--seeds", "3", "--out", "b") == 0
    order = ["initializer", "seed", "epoch"]
    one, other = (
        pd.read_parquet(f"{folder}/history.parquet").sort_values(order).reset_index(drop=True) for folder in "ab"
    )
    pd.testing.assert_frame_equal(one, other, rtol=1e-5)


def test_other_settings_do_not_mix(capsys):
    assert train(*TWO) == 0
    before = Path("training/history.parquet").read_bytes()
    message = one_line(capsys, "--data", "clouds.npz", "--epochs", "3", "--seeds", "3", *TWO)
    assert "epochs 2 -> 3" in message
    assert "--out" in message
    assert Path("training/history.parquet").read_bytes() == before


def test_a_damaged_store_is_refused(capsys):
    assert train(*TWO) == 0
    path = Path("training/history.parquet")
    path.write_bytes(path.read_bytes()[:100])
    assert "cannot be read" in one_line(capsys, "--data", "clouds.npz", "--epochs", "2", "--seeds", "3", *TWO)


def test_an_interruption_keeps_what_is_finished_and_a_rerun_goes_on(here):
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from initcheck.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["train", "--data", "clouds.npz", "--epochs", "400", "--seeds", "2", "--quiet", *TWO]
    process = subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)
    store = Path("training/history.parquet")
    deadline = time.monotonic() + 120
    while not store.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the machine trained the second initializer before the signal arrived")
    assert process.returncode == 130, err
    assert err.strip() == "initcheck: error: Interrupted."
    assert set(pd.read_parquet(store)["initializer"]) == {"HeNormal"}
    environment = {**os.environ}
    again = subprocess.run(
        [sys.executable, "-c", program, *words, "--json"], capture_output=True, text=True, env=environment, check=True
    )
    assert json.loads(again.stdout)["resumed"] == 2


BAD = {
    "unknown initializer": (["--initializer", "HeNorml"], "Did you mean HeNormal"),
    "no seeds": (["--seeds", "0"], "--seeds must be at least 1"),
    "no epochs": (["--epochs", "0"], "epochs must be at least 1"),
    "rate": (["--learning-rate", "nan"], "learning_rate must be finite"),
    "unlabelled": (["--data", "gaussian"], "needs labels"),
    "missing file": (["--data", "none.npz"], "There is no file 'none.npz'"),
    "without labels": (["--data", "bare.npz"], "has no labels"),
    "labels that are no classes": (["--data", "odd.npz"], "one class per sample"),
    "eleven classes": (["--data", "eleven.npz"], "10 classes"),
    "all held out": (["--data", "clouds.npz", "--validation", "260"], "can be held out"),
    "out is a file": (["--out", "clouds.npz"], "clouds.npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_told_in_one_line(capsys, name):
    x = np.zeros((40, 4, 4), "float32")
    np.savez("bare.npz", x=x)
    np.savez("odd.npz", x=x, y=np.full((40, 3), 0.5))
    np.savez("eleven.npz", x=x, y=np.arange(40) % 11)
    words, told = BAD[name]
    data = [] if "--data" in words else ["--data", "clouds.npz"]
    assert told in one_line(capsys, *data, *words)
    assert not Path("training").exists()
