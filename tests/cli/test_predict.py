"""``initcheck predict`` from the outside: the answer, its JSON, errors, and what is imported for it."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import keras
import pytest
from marked import slow

from initcheck.models.initializers import installed_initializers
from initcheck.models.networks import STUDY_ACTIVATIONS
from initcheck.theory.activations import NOT_ELEMENTWISE, TWINS
from initcheck.theory.forecast import forecast

FIELDS = {
    *("initializer", "activation", "depth", "widths", "inputs", "input_second_moment", "sigma_w2", "sigma_b2"),
    *("forward_gain", "backward_gain", "effect", "alpha", "power", "q", "regime", "fixed_point", "chi_forward"),
    *("chi_backward", "xi_q", "xi_c", "xi_gradient", "correlation_fixed_point", "trainable_depth", "power_law"),
    "log_chi_product",
    *("layers_until_1e-3", "log_variance", "seeds_needed", "dead_input_probability", "layers", "reasons"),
}


@pytest.fixture
def predict(run):
    """Predict, and give back what is printed."""

    def predict_here(*arguments):
        code, out, err = run("predict", *arguments)
        assert (code, err) == (0, "")
        return out

    return predict_here


@pytest.fixture
def predict_json(predict):
    return lambda *arguments: read(predict("--json", *arguments))


def read(text: str) -> dict[str, Any]:
    """Read JSON by the letter of its standard, which knows neither NaN nor Infinity."""

    def refuse_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(text, parse_constant=refuse_constant)
    assert isinstance(found, dict)
    return found


def assert_every_null_has_a_reason(found: dict[str, Any]) -> None:
    reasons = found["reasons"]
    for name, value in found.items():
        assert value is not None or name in reasons
    for layer in found["layers"]:
        for name, value in layer.items():
            assert value is not None or f"layers.{name}" in reasons
    for direction, change in (found["layers_until_1e-3"] or {}).items():
        if change is None or change["layers"] is None:
            assert any(name.startswith(f"layers_until_1e-3.{direction}") for name in reasons)
    assert all(value is not None for name in ("q", "sigma_w2", "widths") for value in found[name]) or "q" in reasons
    assert all(isinstance(reason, str) and reason and "\n" not in reason for reason in reasons.values())


STUDIED = (*STUDY_ACTIVATIONS, "softmax", "exponential")


# --- every pair -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initializer", installed_initializers())
@pytest.mark.parametrize("activation", [*STUDIED, *slow("thorough", *sorted({*TWINS, *NOT_ELEMENTWISE} - {*STUDIED}))])
def test_every_pair_is_answered_or_refused_in_one_line(activation, initializer, run, refused):
    words = ["predict", "--initializer", initializer, "--activation", activation, "--depth", "3", "--width", "64"]
    without_chance = initializer in ("Constant", "Identity", "Ones", "STFT", "Zeros")
    without_theory = activation in NOT_ELEMENTWISE or activation == "exponential"
    if without_chance or without_theory:
        line = refused(*words)
        assert initializer in line or activation in line
        return
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    found = read(out)
    assert set(found) == FIELDS
    assert_every_null_has_a_reason(found)
    assert run(*words)[0] == 0


def test_every_activation_of_keras_is_among_them():
    names = {name for name in dir(keras.activations) if not name.startswith("_")}
    assert names - {"get", "serialize", "deserialize"} <= {*TWINS, *NOT_ELEMENTWISE}


# --- the answer -------------------------------------------------------------------------------------------------------


def test_json_has_the_forecast_under_its_own_names(predict_json):
    found = predict_json("--initializer", "LecunNormal", "--activation", "selu", "--depth", "4", "--width", "50")
    expected = forecast("selu", initializer="LecunNormal", depth=4, width=50)
    assert found["fixed_point"] == expected.phase.fixed_point == pytest.approx(1.0)
    assert found["xi_c"] == expected.phase.xi_c
    assert found["q"] == list(expected.q)
    assert found["layers_until_1e-3"]["backward"] == vars(expected.layers_until.backward)
    assert found["seeds_needed"] == expected.seeds_needed
    for layer, twin in zip(found["layers"], expected.layers, strict=True):
        for name, value in vars(twin).items():
            assert layer[name] == value or (layer[name] is None and math.isnan(value))


def test_infinity_in_json_is_a_string(predict_json):
    found = predict_json("--depth", "2")
    assert found["xi_c"] == found["xi_gradient"] == found["trainable_depth"] == "inf"
    assert float(found["xi_c"]) == math.inf
    assert predict_json("--sigma-w", "2", "--depth", "2")["fixed_point"] == "inf"
    assert predict_json("--sigma-w", "1", "--depth", "2")["fixed_point"] == 0.0


def test_what_has_no_value_is_null_with_a_reason(predict_json):
    found = predict_json("--activation", "hard_shrink", "--sigma-w", "0.9", "--sigma-b", "0.5", "--depth", "3")
    assert found["xi_c"] is found["trainable_depth"] is found["correlation_fixed_point"] is None
    assert "jumps" in found["reasons"]["xi_c"]
    assert found["initializer"] is None
    assert found["layers"][-1]["chi"] is None
    assert_every_null_has_a_reason(found)


def test_a_critical_network_that_fades_has_its_power_law(predict_json):
    found = predict_json("--activation", "tanh", "--initializer", "GlorotNormal", "--depth", "3")
    assert found["power_law"]["decay"] == pytest.approx(2.0, rel=1e-3)
    assert found["power_law"]["gradient_exponent"] == pytest.approx(1.0, rel=1e-3)


def test_the_answer_comes_first_in_words(predict):
    lines = predict("--initializer", "GlorotNormal", "--activation", "relu").splitlines()
    assert lines[0] == "GlorotNormal, relu: 20 layers of 256 units, 256 inputs."
    assert lines[1].startswith("Regime:   ordered (chi_1 = 0.5 at q* = 0)")
    assert lines[2] == "Forward:  the signal vanishes: 1/1000 of its mean square is left after 10 layers."
    assert lines[3] == "Backward: the gradient vanishes: 1/1000 of its squared norm is left after 10 layers."
    assert lines[4].startswith("Typical:  Forward and Backward are about the geometric mean over seeds")
    assert lines[6].startswith("Here:     q goes from 1 to 1.907e-06")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "--initializer RandomNormal(stddev=1.0) --depth 2 --width 2100",
            [
                "the signal explodes: its mean square is 1,000 times as large after 1 layer.",
                "no fixed point: q grows without limit, and chi_1 tends to 1050;",
            ],
        ),
        (
            "",
            [
                "Regime:   critical (chi_1 = 1 at q* = 2)",
                "1/1000 of its mean square is left after 708 layers.",
                "1/1000 of its squared norm is left after 708 layers.",
                "varies by 69% from seed to",
            ],
        ),
        (
            "--width 1 --depth 2",
            [
                "2 layers of 1 unit, 1 input.",
                "the signal cannot be followed: so few units vary too much from seed to seed for the theory\n",
                "the gradient cannot be followed: so few units",
            ],
        ),
        ("--sigma-w 1e90", ["no fixed point: q grows without limit, and chi_1 tends to 5e+179.\n"]),
        ("--width 2 --depth 1", ["1 layer of"]),
    ],
    ids=["exploding", "healthy", "one unit", "a product that overflows", "one layer"],
)
def test_a_network_is_described_in_words(arguments, words, predict):
    out = predict(*arguments.split())
    assert [each for each in words if each not in out] == []


def test_the_number_of_seeds_is_in_the_table(predict):
    assert "907" in next(line for line in predict().splitlines() if line.startswith("seeds_needed"))


def test_layers_that_differ_have_no_regime(predict):
    out = predict("--width", "300,100,10", "--inputs", "784", "--initializer", "GlorotNormal")
    assert out.startswith(
        "GlorotNormal, relu: 3 layers of 300-100-10 units, 784 inputs.\nRegime:   none: the layers differ"
    )
    assert "fixed_point" not in out
    assert "grad^2/unit" in out


def test_deep_networks_are_shown_in_part_and_say_so(predict, predict_json):
    out = predict("--depth", "100", "--width", "50")
    shown = [int(line.split()[0]) for line in out.splitlines() if line.split() and line.split()[0].isdigit()]
    assert (shown[0], shown[-1], len(shown)) == (1, 100, 17)
    assert "(17 of 100 layers; --json gives all)" in out
    assert "of 20 layers" not in predict("--depth", "20", "--width", "50")
    assert len(predict_json("--depth", "100", "--width", "50")["layers"]) == 100


def test_a_table_without_spreads_says_why(predict):
    out = predict("--depth", "250", "--width", "50", "--activation", "tanh")
    assert "(no sd: standard deviations are computed for up to 200 layers; the means beside are" in out
    (headings,) = (line for line in out.splitlines() if line.startswith("layer"))
    assert headings.split() == ["layer", "q", "z^2", "phi^2", "chi", "grad^2", "dW^2"]


def test_the_answer_is_plain_text_of_lines_that_fit(predict):
    out = predict("--activation", "hard_shrink", "--width", "300,100,10", "--sigma-w", "0.9", "--sigma-b", "0.5")
    assert out.isascii()
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 120


def test_the_example_in_readme_is_what_is_printed(predict):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (found,) = re.finditer(r"```shell\ninitcheck (predict .*)\n```\n.*?```text\n(.*?)```", readme, re.DOTALL)
    arguments, shown = found.group(1).split()[1:], found.group(2).splitlines()
    printed = predict(*arguments).splitlines()
    assert [line for line in shown if line not in ("...", *printed)] == []


def test_quiet_changes_nothing(predict):
    assert predict("--quiet", "--depth", "2") == predict("--depth", "2")


def test_widths_come_by_comma_or_one_by_one(predict_json):
    both = predict_json("--width", "300,100"), predict_json("--width", "300", "--width", "100")
    assert both[0] == both[1]
    assert (both[0]["widths"], both[0]["depth"], both[0]["inputs"]) == ([300, 100], 2, 300)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "rel"], "Unknown activation 'rel'. Did you mean relu"),
        (["--initializer", "HeNormall"], "Unknown initializer 'HeNormall'. Did you mean HeNormal"),
        (["--initializer", "Zeros"], "Zeros leaves nothing to chance"),
        (["--activation", "softmax"], "no theory of single units for the activation 'softmax'"),
        (["--activation", "exponential"], "grows faster than any power"),
        (["--depth", "0"], "depth has to be a whole number >= 1. Received: depth=0"),
        (["--width", "wide"], "--width takes whole numbers. Received: 'wide'"),
        (["--width", "3,,4"], "--width takes whole numbers. Received: '3,,4'"),
        (["--width", "-5"], "width has to be a whole number >= 1. Received: width=-5"),
        (["--width", "300,100", "--depth", "3"], "depth and the number of widths contradict each other"),
        (["--sigma-w", "1.5", "--initializer", "HeNormal"], "sigma_w stands in place of an initializer"),
        (["--sigma-w", "nan"], "sigma_w has to be a finite number"),
        (["--sigma-b", "-1"], "sigma_b has to be a finite number"),
        (["--input-second-moment", "0"], "input_second_moment has to be a finite number > 0"),
        (["--effect", "1"], "effect must not be 1"),
        (["--alpha", "2"], "alpha has to be a finite number"),
        (["--power", "0.1"], "power has to be a finite number"),
        (["--nonsense"], "Try: initcheck predict --help"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(arguments, message, refused):
    assert message in refused("predict", *arguments)


# --- activation functions of the user's own ---------------------------------------------------------------------------

OWN = """
print("imported")
import keras

def leaky(x):
    return keras.ops.maximum(x, 0.1 * x)

def failing(x):
    raise RuntimeError("not\\ntoday")

def mixing(x):
    return x - keras.ops.mean(x)

class Group:
    leaky = staticmethod(leaky)

number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_activations.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_activations", raising=False)
    return tmp_path


@pytest.mark.parametrize("place", ["own_activations.py:leaky", "own_activations:leaky", "own_activations:Group.leaky"])
def test_a_function_of_the_users_own_is_predicted(place, own_module, run):
    before = list(sys.path)
    words = ["--json", "--activation", place, "--sigma-w", "1", "--depth", "3", "--width", "40"]
    code, out, err = run("predict", *words)
    assert (code, err) == (0, "imported\n")  # not among the results
    found = read(out)
    assert found["activation"] == "leaky"
    assert found["chi_backward"] == pytest.approx((1 + 0.1**2) / 2)
    assert sys.path == before
    assert_every_null_has_a_reason(found)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("own_activations.py:failing", "RuntimeError: not today"),
        ("own_activations.py:number", "TypeError: number is not callable"),
        ("own_activations.py:nothing", "AttributeError: "),
        ("own_activations.py:mixing", "does not work element by element"),
        ("missing.py:f", "FileNotFoundError: "),
        ("no_such_package.module:f", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("broken.py:f", "SyntaxError: "),
        ("leaving.py:f", "SystemExit: 3"),
        (":f", "ValueError: "),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line(place, message, own_module, run):
    code, out, err = run("predict", "--activation", place)
    assert (code, out) == (2, "")
    *printed, line = err.splitlines()
    assert printed in ([], ["imported"])
    assert line.startswith("initcheck: error: ") and message in line
