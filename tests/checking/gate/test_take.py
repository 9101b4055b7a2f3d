"""Figures of a baseline are steps of the measured signal: recomputed here from the weights, with NumPy alone."""

from __future__ import annotations

import numpy as np
import pytest

import initcheck
from initcheck.backend.runtime import import_keras
from initcheck.checking.gate.baseline import Baseline, Recipe

SEEDS = 3


@pytest.fixture(scope="module")
def keras():
    return import_keras()


def take(model, **options):
    report = initcheck.check(model, seeds=SEEDS, fixes=False, **options)
    return Baseline.from_result(report.result, Recipe()), report


def rms(values):
    return np.sqrt(np.mean(np.asarray(values, dtype=np.float64) ** 2))


def test_steps_are_ratios_of_amplitudes(keras):
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(12, activation="relu"), keras.layers.Dense(5, activation="tanh")]
    )
    x = np.random.default_rng(3).normal(size=(16, 12)).astype("float32")
    report = initcheck.check(model, x, weights="keep", fixes=False)
    baseline = Baseline.from_result(report.result, Recipe())
    first, second = (layer.kernel.numpy().astype(np.float64) for layer in model.layers)
    z1 = x.astype(np.float64) @ first
    h1 = np.maximum(z1, 0.0)
    z2 = h1 @ second
    h2 = np.tanh(z2)
    expected = {
        ("dense", "forward"): rms(z1) / rms(x),
        ("dense", "activation"): rms(h1) / rms(z1),
        ("dense_1", "forward"): rms(z2) / rms(h1),
        ("dense_1", "activation"): rms(h2) / rms(z2),
    }
    for (path, quantity), ratio in expected.items():
        assert baseline.sites[path].metrics[quantity].logs == pytest.approx([np.log(ratio)], abs=3e-6)
    assert baseline.weights["dense/kernel"].scale.logs == pytest.approx([np.log(rms(first))], abs=3e-6)
    assert baseline.weights["dense/bias"].scale.state == "zero"
    assert baseline.recipe.weights == "keep"
    # Backward, the step at the first layer is what the second layer and its own slope do to the gradient.
    g2 = (1.0 - h2**2) * _functional(h2)
    g1 = (g2 @ second.T) * (z1 > 0)
    assert baseline.sites["dense"].metrics["backward"].logs == pytest.approx(
        [0.5 * np.log((g1**2).sum() / (g2**2).sum())], abs=3e-6
    )


def _functional(outputs):
    """The coefficients of the default loss, taken from its gradient."""
    from plain_gradients import differentiate

    from initcheck.probe.measure import random_loss

    return differentiate(random_loss, [outputs.astype(np.float32)])[0].astype(np.float64)


def test_where_branches_meet_the_mean_square_of_what_goes_in_is_the_reference(keras):
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(8, name="branch")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.Add(name="sum")([inputs, hidden])))
    baseline, report = take(model)
    table = report.table
    moments = {layer: part["activation_second_moment"].to_numpy() for layer, part in table.groupby("layer")}
    inner = next(layer for layer in moments if layer not in ("branch", "sum", "head"))
    expected = 0.5 * np.log(moments["sum"] / ((moments[inner] + moments["branch"]) / 2))
    assert baseline.sites["sum"].metrics["forward"].logs == pytest.approx(expected.tolist(), abs=2e-6)


def test_a_layer_that_is_called_twice_has_two_entries(keras):
    inputs = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    baseline, _ = take(keras.Model(inputs, shared(shared(inputs))))
    assert {"shared", "shared#2"} == set(baseline.sites)


def test_what_draws_a_weight_is_kept_with_the_fans_that_keras_counts(keras):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, kernel_initializer="he_normal")])
    baseline, _ = take(model)
    kernel, bias = baseline.weights["dense/kernel"], baseline.weights["dense/bias"]
    assert (kernel.initializer, kernel.default_initializer) == ("HeNormal", "GlorotUniform")
    assert (kernel.fan_in, kernel.fan_out, kernel.mode) == (6.0, 4.0, "fan_in")
    assert kernel.variance == pytest.approx(2 / 6)
    assert (bias.initializer, bias.default_initializer, bias.fan_in, bias.variance) == ("Zeros", "Zeros", None, 0.0)


def test_a_signal_that_is_zero_or_not_finite_has_a_state(keras):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, kernel_initializer="zeros"), keras.layers.Dense(2)]
    )
    baseline, _ = take(model)
    assert baseline.sites["dense"].metrics["forward"].state == "zero"
    assert baseline.sites["dense_1"].metrics["forward"].state == "zero"
    assert baseline.weights["dense/kernel"].scale.state == "zero"
    huge = keras.initializers.RandomNormal(stddev=1e30)
    exploding = keras.Sequential(
        [keras.Input((6,)), *(keras.layers.Dense(4, kernel_initializer=huge) for _ in range(2)), keras.layers.Dense(2)]
    )
    assert take(exploding)[0].sites["dense_1"].metrics["forward"].state == "not finite"


def test_the_batch_does_not_follow_the_seeds_of_the_weights(keras):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    first, other = take(model)[0], take(model, first_seed=50)[0]
    assert first.conditions == other.conditions
    assert first.sites["dense"].metrics["forward"] != other.sites["dense"].metrics["forward"]


def test_a_baseline_is_recorded_with_options_as_a_check_is(keras, tmp_path):
    def build():
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])

    path = tmp_path / "b.json"
    report = initcheck.record_baseline(build, path, seeds=4)
    assert len(report.result.seeds) == 4
    gated = initcheck.gate_model(build, path)
    assert (gated.result.seeds, gated.comparison.verdict) == (report.result.seeds, "same")
    assert initcheck.gate_model(build, path, seeds=3).result.seeds == (0, 1, 2)
    with pytest.raises(TypeError, match="Give settings or single options, not both"):
        initcheck.record_baseline(build, path, settings=initcheck.checking.settings.CheckSettings(), seeds=4)


def test_facts_of_layers_are_taken_from_the_model_itself(keras):
    """Class, settings, arguments of calls and wiring; names, initializers and seeds are no settings."""
    inputs = keras.Input((4, 8))
    hidden = keras.layers.Dense(8, activation="gelu", kernel_constraint="unit_norm", name="up")(inputs)
    hidden = keras.layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden, use_causal_mask=True)
    hidden = keras.layers.BatchNormalization(epsilon=1e-5)(hidden, training=False)
    summed = keras.layers.Add(name="sum")([hidden * 0.5, inputs])
    baseline, _ = take(keras.Model(inputs, keras.layers.Dropout(0.25, seed=7)(summed)))
    layers = baseline.layers
    assert layers["up"].config["activation"] == "gelu"
    assert layers["up"].config["kernel_constraint"] == "UnitNorm(axis=0)"
    assert "kernel_initializer" not in layers["up"].config and "name" not in layers["up"].config
    assert layers["attention"].config["use_causal_mask"] is True
    assert layers["attention/query"].kind == "EinsumDense"
    assert (
        layers["batch_normalization"].config | {"epsilon": 1e-5, "training": False}
        == layers["batch_normalization"].config
    )
    assert layers["multiply"].config == {"x2": 0.5}
    assert layers["dropout"].config["rate"] == 0.25 and "seed" not in layers["dropout"].config
    assert baseline.sites["sum"].inputs == ("input_layer", "multiply")
    assert baseline.calls[-2:] == ("sum", "dropout")
    assert not any(each.code for each in layers.values())


TWICE = """import keras

class Twice(keras.layers.Layer):
    'Doubles.'

    def call(self, x):
        for _ in range(3):
            x = x - 1.0
            x = x + 1.0
        return 2.0 * x

def build():
    return keras.Sequential([keras.Input((8,)), Twice(), keras.layers.Dense(2), keras.layers.Lambda(lambda x: x + 1)])
"""


@pytest.mark.parametrize(
    ("old", "new", "layer"),
    [
        ("return 2.0 * x", "return 2.0*x  # doubled\n", None),
        ("'Doubles.'", '"Doubles what it is given."', None),
        ("            x = x + 1.0", "        x = x + 1.0", "twice"),
        ("return 2.0 * x", "return 3.0 * x", "twice"),
        ("lambda x: x + 1", "lambda x: x + 2", "lambda"),
    ],
)
def test_code_is_compared_without_comments_docstrings_and_blanks(keras, tmp_path, old, new, layer):
    digests = []
    for place, source in enumerate((TWICE, TWICE.replace(old, new))):
        file = tmp_path / f"model_{place}.py"
        file.write_text(source)
        baseline, _ = take(f"{file}:build")
        digests.append({name: facts.code for name, facts in baseline.layers.items()})
    first, second = digests
    assert {name for name in first if first[name] != second[name]} == ({layer} if layer else set())
    assert first["twice"] and first["lambda"] and not first["dense"]
