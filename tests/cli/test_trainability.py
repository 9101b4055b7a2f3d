"""``initcheck trainability`` as a user meets it: files, JSON, and one line for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

FEW = ["--initializer", "HeNormal", "--initializer", "Orthogonal", "--activation", "swish"]
TINY = ["--depths", "2,3", "--width", "8", "--seeds", "2", "--steps", "20", "--learning-rates", "0.1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_files_and_json_hold_every_configuration(run):
    code, out, err = run("trainability", *FEW, *TINY, "--json", "--quiet", "--out", "page")
    assert (code, err) == (0, "")
    found = json.loads(out)
    wanted = {("silu", i, d) for i in ("HeNormal", "Orthogonal") for d in (2, 3)}
    assert {(e["activation"], e["initializer"], e["depth"]) for e in found["configurations"]} == wanted
    table = pd.read_csv("page/trainability.csv")
    assert table["loss"].tolist() == pytest.approx([e["loss"] for e in found["configurations"]], rel=1e-5)
    assert (table["seeds"] == 2).all()
    assert "initcheck trainability --initializer HeNormal" in Path("page/trainability.md").read_text()


BAD = {
    "unknown initializer": (["--initializer", "HeNorml"], "Did you mean HeNormal"),
    "unknown activation": (["--activation", "rellu"], "Did you mean"),
    "words for depths": (["--depths", "4,deep"], "--depths takes whole numbers separated by commas"),
    "half a layer": (["--depths", "2.5"], "--depths takes whole numbers separated by commas"),
    "one layer": (["--depths", "1"], "depths must be at least 2"),
    "no depths": (["--depths", ""], "--depths takes whole numbers"),
    "no seeds": (["--seeds", "0"], "--seeds must be at least 1"),
    "rates": (["--learning-rates", "0.1;0.2"], "--learning-rates takes numbers"),
    "rate": (["--learning-rates", "nan"], "learning_rates must be finite"),
    "steps": (["--steps", "5"], "steps must be at least 20"),
    "width": (["--width", "0"], "width must be at least 1"),
    "unlabelled": (["--data", "gaussian"], "needs labels"),
    "missing file": (["--data", "none.npz"], "There is no file 'none.npz'"),
    "out is a file": (["--out", "taken"], "taken"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(refused, name):
    words, message = BAD[name]
    Path("taken").write_text("")
    assert message in refused("trainability", *words)
    assert not Path("trainability").exists()
