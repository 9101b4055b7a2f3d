"""``initcheck check MODEL --widths``: options, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from initcheck.cli import main

MODELS = str(Path(__file__).parents[1] / "support" / "width_models.py")
FEW = ["--widths", "16,32,64", "--seeds", "4", "--quiet"]


def run(*arguments):
    return main(["check", *map(str, arguments)])


@pytest.mark.parametrize(
    ("factory", "options", "code"),
    [
        ("make_standard", ["--widths", "64,128,256,512", "--steps", "0"], 0),
        pytest.param(
            "make_maximal_update",
            ["--widths", "64,128,256,512", "--learning-rate", "0.05"],
            0,
            marks=pytest.mark.thorough,
        ),
        pytest.param("make_standard", ["--widths", "64,128,256"], 1, marks=pytest.mark.thorough),
        ("make_fixed_deviation", ["--widths", "64,128,256", "--steps", "0"], 1),
        ("make_standard", ["--widths", "2,3,4", "--steps", "0", "--seeds", "2"], 2),
    ],
)
def test_the_exit_code_tells_the_verdict(factory, options, code, capsys):
    assert run(f"{MODELS}:{factory}", *options, "--quiet") == code
    assert capsys.readouterr().out == ""


def test_the_result_is_printed_with_a_line_for_each_layer(capsys):
    assert run(f"{MODELS}:make_fixed_deviation", "--widths", "64,128,256", "--steps", "0") == 1
    out = capsys.readouterr().out
    assert "make_fixed_deviation: grows with the width, in 2 layer calls" in out
    assert "width = 64, 128, 256; 16 networks each (seeds 0 to 15); no training." in out
    (line,) = [each for each in out.splitlines() if each.strip().startswith("second")]
    assert line.endswith("grows") and "[+0." in line


def test_json_is_one_object_on_standard_output(capsys):
    run(f"{MODELS}:make_standard", *FEW, "--json", "--optimizer", "adam", "--learning-rate", "0.002", "--steps", "2")
    told = json.loads(capsys.readouterr().out)
    assert (told["optimizer"], told["learning_rate"], told["steps"]) == ("adam", 0.002, 2)
    assert told["widths"] == [16, 32, 64] and told["seeds"] == [0, 1, 2, 3]
    assert len(told["sizes"]) == 3 * 4 * 3


def test_the_folder_holds_page_picture_and_tables(tmp_path, capsys):
    run(f"{MODELS}:make_standard", *FEW, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figure-widths.svg",
        "widths.csv",
        "widths.html",
        "widths.json",
        "widths.md",
    ]
    assert len(pd.read_csv(tmp_path / "out" / "widths.csv")) == 3 * 4 * 3
    assert "figure-widths.svg" in (tmp_path / "out" / "widths.md").read_text(encoding="utf-8")


def test_another_argument_can_be_the_width_and_others_be_given(tmp_path, capsys):
    path = tmp_path / "net.py"
    path.write_text(
        "import keras\n"
        "def build(units, classes=3):\n"
        "    hidden = keras.layers.Dense(units, 'relu', name='hidden')\n"
        "    return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(classes, name='last')])\n"
    )
    assert run(f"{path}:build", *FEW, "--width-arg", "units", "--arg", "classes=5", "--json") in (0, 1, 2)
    assert json.loads(capsys.readouterr().out)["width_arg"] == "units"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--widths", "8,16"], "at least 3 whole numbers from 1, increasing. Received: (8, 16)"),
        (["--widths", "8,16,x"], "--widths takes whole numbers with commas between. Received: '8,16,x'"),
        (["--widths", "32,16,64"], "increasing"),
        (["--widths", "8,16,32", "--width-arg", "units"], "has no argument 'units'"),
        (["--widths", "8,16,32", "--steps", "-1"], "steps must be a whole number of at least 0"),
        (["--widths", "8,16,32", "--learning-rate", "-1"], "learning rate must be a number above 0"),
        (["--widths", "8,16,32", "--weights", "keep"], "there is no --weights"),
        (["--widths", "8,16,32", "--waive", "a", "--full"], "there is no --waive and no --full"),
        (["--widths", "8,16,32", "--format", "github"], "there is no --format github"),
        (["--steps", "3", "--width-arg", "n"], "--width-arg and --steps go with --widths"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(options, told, capsys):
    assert run(f"{MODELS}:make_standard", *options) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_a_saved_model_has_no_width(tmp_path, capsys):
    from width_models import make_standard

    make_standard(8).save(tmp_path / "m.keras")
    assert run(tmp_path / "m.keras", *FEW) == 2
    assert "takes no arguments" in capsys.readouterr().err
