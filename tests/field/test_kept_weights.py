"""Weights that no seed draws: of layers that Keras does not find, and of initializers that are not known."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

import initcheck
from initcheck.checking.gate.gate import gate_model, measure_baseline
from initcheck.checking.gate.report import format_gate
from initcheck.checking.settings import CheckSettings

SEEDS = {"seeds": 4, "fixes": False}
BATCH = np.random.default_rng(0).normal(size=(8, 12)).astype("float32")

# --- layers in plain Python objects -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Parts:
    """No class of Keras: what it holds is not found."""

    layers: dict


class Stacked(keras.Model):
    """Two layers, in an object that Keras looks into, or in one that it does not."""

    def __init__(self, found):
        super().__init__()
        hidden = {
            "hidden": [keras.layers.Dense(12, "relu", kernel_initializer="he_normal", name=name) for name in "ab"]
        }
        self.parts = hidden if found else Parts(hidden)
        self.head = keras.layers.Dense(3)

    def call(self, inputs):
        for layer in (self.parts if isinstance(self.parts, dict) else self.parts.layers)["hidden"]:
            inputs = layer(inputs)
        return self.head(inputs)


class Shift(keras.layers.Layer):
    """Holds a variable in a tuple inside an object."""

    def __init__(self):
        super().__init__()
        self.held = Parts({"shift": (keras.Variable(np.ones(12, "float32"), name="shift"),)})

    def call(self, inputs):
        return inputs + self.held.layers["shift"][0]


def build_stacked(found):
    model = Stacked(found)
    model(BATCH)
    return model


def build_nested():
    inputs = keras.Input((12,))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.Sequential([Shift()], name="inner")(inputs)))


def test_layers_that_keras_does_not_find_are_not_passed_over_in_silence():
    report = initcheck.check(lambda: build_stacked(False), BATCH, **SEEDS)
    (finding,) = report.findings
    assert (report.exit_code, finding.code) == (2, "IC601")
    assert finding.layers == tuple(f"untracked/{layer}/{weight}" for layer in "ab" for weight in ("kernel", "bias"))
    assert "Keras does not find what is kept in a plain Python object" in finding.message


def test_layers_that_keras_finds_are_measured():
    assert initcheck.check(lambda: build_stacked(True), BATCH, **SEEDS).exit_code == 0


def test_a_variable_that_keras_does_not_find_is_listed():
    (finding,) = initcheck.check(build_nested, **SEEDS).findings
    assert (finding.code, finding.layers) == ("IC601", ("untracked/shift",))


def test_what_is_said_of_them_is_true_fit_does_not_train_them():
    model = build_stacked(False)
    hidden = model.parts.layers["hidden"][0]
    before = hidden.kernel.numpy()
    model.compile("sgd", "mse")
    model.fit(BATCH, BATCH[:, :3], epochs=2, verbose=0)
    np.testing.assert_array_equal(hidden.kernel.numpy(), before)


# --- the gate: pggan-pytorch issue 32 ---------------------------------------------------------------------------------


class Equalized(keras.layers.Layer):
    """Scales weights of variance 1 at run time."""

    def __init__(self, units, wrap=None, name=None):
        super().__init__(name=name)
        self.units, self.wrap = units, wrap

    def build(self, shape):
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer=normal, name="kernel")

    def call(self, inputs):
        return keras.ops.relu(keras.ops.matmul(inputs, self.kernel) * (2.0 / inputs.shape[-1]) ** 0.5)


def build_equalized(wrap=None):
    layers = [Equalized(12, wrap, name=f"equalized{place}") for place in range(2)]
    return keras.Sequential([keras.Input((12,)), *layers, keras.layers.Dense(2)])


def build_unknown():
    return build_equalized(wrap=object())  # a configuration cannot hold it: the layer cannot be made once more


def build_assigned():
    model = build_equalized()
    kernel = model.layers[0].kernel
    kernel.assign(3.0 * keras.random.normal(kernel.shape))
    return model


def _gate(first, second):
    _, baseline = measure_baseline(first, settings=CheckSettings(seeds=4))
    return baseline, gate_model(second, baseline)


def test_an_unchanged_model_of_layers_of_its_own_is_the_same():
    _, report = _gate(build_equalized(), build_equalized())
    assert report.comparison.verdict == "same"


@pytest.mark.parametrize("build", [build_unknown, build_assigned])
def test_one_draw_is_not_compared_with_another(build):
    model = build()
    baseline, report = _gate(model, build())
    comparison = report.comparison
    assert (comparison.verdict, report.exit_code) == ("same", 0)
    assert "equalized0/kernel" in comparison.kept
    assert comparison.not_compared
    assert not {each.quantity for each in comparison.differences} & {"forward", "backward"}
    text = " ".join(format_gate(comparison).split())
    assert "kept as found in the model, since no known initializer drew them" in text
    assert f"; {comparison.not_compared} not compared" in text
    assert gate_model(model, baseline).comparison.verdict == "same"


def test_the_function_that_makes_the_model_knows_its_initializers():
    _, report = _gate(build_unknown, build_unknown)
    assert report.comparison.verdict == "same"


def test_a_layer_that_was_added_is_a_change_all_the_same():
    larger = keras.Sequential([*build_unknown().layers, keras.layers.Dense(2)])
    larger.build((None, 12))
    _, report = _gate(build_unknown(), larger)
    assert (report.comparison.verdict, report.exit_code) == ("changed", 1)
