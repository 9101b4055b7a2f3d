"""``initcheck check MODEL --widths``: options, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

MODELS = str(Path(__file__).parents[1] / "support" / "width_models.py")
FEW = ["--widths", "16,32,64", "--seeds", "4", "--quiet"]


@pytest.mark.parametrize(
    ("factory", "options", "code"),
    [
        ("make_standard", ["--widths", "64,128,256,512", "--steps", "0"], 0),
        ("make_fixed_deviation", ["--widths", "64,128,256", "--steps", "0"], 1),
        ("make_standard", ["--widths", "2,3,4", "--steps", "0", "--seeds", "2"], 2),
    ],
)
def test_the_exit_code_gives_the_verdict(factory, options, code, run):
    assert run("check", f"{MODELS}:{factory}", *options, "--quiet")[:2] == (code, "")


def test_the_result_is_printed_with_a_line_for_each_layer(run):
    code, out, _ = run("check", f"{MODELS}:make_fixed_deviation", "--widths", "64,128,256", "--steps", "0")
    assert code == 1
    assert "make_fixed_deviation: grows with the width, in 2 layer calls" in out
    assert "width = 64, 128, 256; 16 networks each (seeds 0 to 15); no training." in out
    (line,) = [each for each in out.splitlines() if each.strip().startswith("second")]
    assert line.endswith("grows") and "[+0." in line


def test_json_is_one_object_on_standard_output(run):
    options = ["--json", "--optimizer", "adam", "--learning-rate", "0.002", "--steps", "2"]
    found = json.loads(run("check", f"{MODELS}:make_standard", *FEW, *options)[1])
    assert (found["optimizer"], found["learning_rate"], found["steps"]) == ("adam", 0.002, 2)
    assert found["widths"] == [16, 32, 64] and found["seeds"] == [0, 1, 2, 3]
    assert len(found["sizes"]) == 3 * 4 * 3


def test_the_folder_holds_page_picture_and_tables(tmp_path, run):
    run("check", f"{MODELS}:make_standard", *FEW, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figure-widths.svg",
        "widths.csv",
        "widths.html",
        "widths.json",
        "widths.md",
    ]
    assert len(pd.read_csv(tmp_path / "out" / "widths.csv")) == 3 * 4 * 3
    assert "figure-widths.svg" in (tmp_path / "out" / "widths.md").read_text(encoding="utf-8")


def test_another_argument_can_be_the_width_and_others_be_given(tmp_path, run):
    path = tmp_path / "net.py"
    path.write_text(
        "import keras\n"
        "def build(units, classes=3):\n"
        "    hidden = keras.layers.Dense(units, 'relu', name='hidden')\n"
        "    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(classes, name='last')])\n"
    )
    out = run("check", f"{path}:build", *FEW, "--width-arg", "units", "--arg", "classes=5", "--json")[1]
    assert json.loads(out)["width_arg"] == "units"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--widths", "8,16"], "at least 3 whole numbers from 1, increasing. Received: (8, 16)"),
        (["--widths", "8,16,x"], "--widths takes whole numbers with commas between. Received: '8,16,x'"),
        (["--widths", "8,16,32", "--weights", "keep"], "there is no --weights"),
        (["--widths", "8,16,32", "--waive", "a", "--full"], "there is no --waive and no --full"),
        (["--widths", "8,16,32", "--format", "github"], "there is no --format github"),
        (["--steps", "3", "--width-arg", "n"], "--width-arg and --steps go with --widths"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(options, words, refused):
    assert words in refused("check", f"{MODELS}:make_standard", *options)


def test_a_saved_model_has_no_width(tmp_path, refused):
    from width_models import make_standard

    make_standard(8).save(tmp_path / "m.keras")
    assert "takes no arguments" in refused("check", tmp_path / "m.keras", *FEW)
