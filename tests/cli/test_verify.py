"""``initcheck verify`` from the outside: forms of initializers, exit codes, one line for what cannot be judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MATRIX = ("--shape", "60,90")

CODE = """
import time
import keras

number = 3
print("loaded")


class Half(keras.initializers.HeNormal):
    def __call__(self, shape, dtype=None):
        print("called")
        return super().__call__(shape, dtype) / 2


class Needs(keras.initializers.RandomNormal):
    def __init__(self, stddev, seed=None):
        super().__init__(0.0, stddev, seed)

    def get_config(self):
        return {"stddev": self.stddev, "seed": self.seed}


one = keras.initializers.GlorotUniform(seed=3)


def draw(shape, dtype=None):
    return keras.random.uniform(shape, -1.0, 1.0, dtype=dtype)


def slow(shape, dtype=None):
    time.sleep(60)


def nothing():
    return 5
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "syntax.py").write_text("def f(:\n")
    (tmp_path / "lacking.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "sleepy.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("HeNormal", *MATRIX), 0, "All rules pass."),
        (("random_normal", "--arg", "stddev=0.2", *MATRIX), 0, "RandomNormal(stddev=0.2)"),
        (("mine.py:one", *MATRIX), 0, "declared by keras.initializers.GlorotUniform"),
        (("mine:Needs", "--arg", "stddev=0.3", *MATRIX), 0, "RandomNormal(stddev=0.3)"),
        (("mine.py:draw", *MATRIX), 0, "not declared and not judged"),
        (("mine.py:draw", "--expect-variance", "1/3", "--expect-distribution", "uniform", *MATRIX), 0, "pass."),
        (("mine.py:draw", "--expect-variance", "2/fan_in", *MATRIX), 1, "1 finding: variance."),
        (("mine.py:Half", *MATRIX), 1, "findings: variance, support."),
        (("mine.py:slow", "--timeout", "0.2"), 1, "took more than 0.2 s"),
        pytest.param(("HeNormal", "--shape", "2"), 2, "Cannot judge", marks=pytest.mark.thorough),
        (("Orthogonal", "--shape", "30"), 1, "ValueError"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_the_answer(arguments: tuple[str, ...], code: int, words: str, run):
    exit_code, out, _ = run("verify", *arguments)
    assert exit_code == code
    assert words in out
    assert "loaded" not in out  # what the user's code prints goes to standard error
    assert "called" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("HeNorml",), "Did you mean HeNormal"),
        (("RandomNormal(stddev=",), "Cannot read"),
        (("syntax.py:f",), "SyntaxError"),
        (("lacking.py:f",), "No module named 'no_such_module_at_all'"),
        (("missing.py:f",), "FileNotFoundError"),
        (("no_such_module_at_all:f",), "ModuleNotFoundError"),
        (("mine.py:absent",), "no attribute 'absent'"),
        (("mine.py:number",), "not callable"),
        (("mine.py:nothing",), "type int"),
        (("mine.py:Needs",), "missing 1 required positional argument: 'stddev'"),
        (("mine.py:one", "--arg", "gain=2"), "takes no --arg"),
        (("sleepy.py:f", "--timeout", "0.2"), "took more than 0.2 s"),
        (("HeNormal", "--shape", "3,x"), "--shape"),
        (("HeNormal", "--shape", "0"), "--shape"),
        (("HeNormal", "--shape", "99999,99999"), "entries at most"),
        (("HeNormal", "--arg", "scale"), "--arg"),
        (("HeNormal", "--arg", "scale=2"), "no argument 'scale'"),
        (("HeNormal", "--timeout", "nan"), "--timeout"),
        (("HeNormal", "--dtype", "int8"), "int8"),
        (("HeNormal", "--expect-variance", "2/fan"), "2/fan"),
        (("HeNormal", "--expect-variance", "-1"), "above 0"),
        (("HeNormal", "--expect-distribution", "normal"), "needs a variance"),
        ((), "INITIALIZER"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_one_line_for_what_cannot_be_judged(arguments: tuple[str, ...], words: str, run):
    code, out, err = run("verify", *arguments)
    (line,) = [each for each in err.splitlines() if each != "loaded"]
    assert (code, out) == (2, "")
    assert line.startswith("initcheck: error: ") and words in line


def test_json_holds_every_rule_with_its_figures(run):
    code, out, _ = run("verify", "HeNormal", *MATRIX, "--json", "--quiet", "--seed", "3")
    found = json.loads(out)
    assert code == 0
    assert (found["verdict"], found["shapes"], found["seed"]) == ("pass", [[60, 90]], 3)
    rules = {rule["rule"]: rule for rule in found["rules"]}
    assert rules["variance"]["figures"]["bound_low"] < rules["variance"]["figures"]["effect"]
    assert {"shape", "dtype", "finite", "determinism", "independence_across_draws"} <= set(rules)


def test_quiet_prints_nothing(run):
    assert run("verify", "Zeros", *MATRIX, "--quiet")[:2] == (0, "")
