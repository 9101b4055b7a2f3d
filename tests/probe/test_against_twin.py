"""Every statistic of the probe against the independent float64 twin."""

from __future__ import annotations

import math

import keras
import numpy as np
import numpy_twin
import pandas as pd
import pytest

from initcheck.probe import Probe
from initcheck.probe.measure import RANDOM_LOSS_SEED

pytestmark = pytest.mark.optimized

BATCH = 64
OUTPUTS = 10
MEANS = {  # a mean of signed numbers is judged on the scale of the numbers, not of their near-cancelling sum
    "preactivation_mean": "preactivation_second_moment",
    "activation_mean": "activation_second_moment",
    "weight_mean": "weight_variance",
}


def build_dense(depth, width, activation, initializer, dtype="float32", bias="zeros"):
    inputs = keras.Input((width,), dtype=dtype)
    signal = inputs
    for index in range(depth):
        signal = keras.layers.Dense(
            width,
            activation=activation,
            kernel_initializer=initializer,
            bias_initializer=bias,
            name=f"hidden_{index + 1:02d}",
            dtype=dtype,
        )(signal)
    return keras.Model(inputs, keras.layers.Dense(OUTPUTS, name="output", dtype=dtype)(signal))


def measure_both(model, activation, dtype="float32", scale=1.0, seed=5):
    """The probe's rows and the twin's for one seed."""
    width = model.inputs[0].shape[-1]
    inputs = (scale * np.random.default_rng(0).normal(size=(BATCH, width))).astype(dtype)
    probe = Probe(model, keras.ops.convert_to_tensor(inputs, dtype=dtype))
    measured = probe.measure([seed])
    weights = [np.asarray(value, dtype=np.float64) for value in probe.plan.draw(probe.plan.derive([seed])[0])]
    direction = np.asarray(keras.random.normal((BATCH, OUTPUTS), dtype=dtype, seed=RANDOM_LOSS_SEED), dtype=np.float64)
    direction = direction / np.sqrt(np.mean(direction**2))
    depth = len(weights) // 2 - 1
    layers = [
        numpy_twin.Layer(weights[2 * index], weights[2 * index + 1], activation if index < depth else "linear")
        for index in range(depth + 1)
    ]
    return measured, numpy_twin.measure(layers, inputs.astype(np.float64), direction)


def assert_equal_to_twin(measured, twin, tolerance, skip=()):
    assert len(measured) == len(twin)
    for (_, row), expected in zip(measured.iterrows(), twin, strict=True):
        for quantity, value in expected.items():
            if quantity in skip:
                continue
            got = row[quantity]
            if math.isnan(value):
                assert pd.isna(got), (row["layer"], quantity, got)
                continue
            scale = math.sqrt(expected[MEANS[quantity]]) if quantity in MEANS else abs(value)
            error = abs(float(got) - value)
            assert error <= tolerance * scale, (row["layer"], quantity, float(got), value)


@pytest.mark.parametrize(
    ("activation", "initializer"),
    [
        ("relu", "he_normal"),
        ("tanh", "glorot_uniform"),
        ("gelu", "he_uniform"),
        ("relu", "zeros"),
        pytest.param("linear", "orthogonal", marks=pytest.mark.thorough),
        pytest.param("relu", "random_normal", marks=pytest.mark.thorough),
        pytest.param("relu", "ones", marks=pytest.mark.thorough),
        pytest.param("tanh", "identity", marks=pytest.mark.thorough),
    ],
)
def test_every_statistic_equals_the_float64_twin(activation, initializer):
    measured, twin = measure_both(build_dense(6, 48, activation, initializer), activation)
    # The largest |h| and the count of exact zeros belong to single elements: one element carries the float32
    # rounding of its own dot products, which no reduction averages out.
    assert_equal_to_twin(measured, twin, 1e-6, skip={"activation_max_abs", "zero_fraction"})
    assert_equal_to_twin(measured, [{"activation_max_abs": row["activation_max_abs"]} for row in twin], 5e-6)


def test_zero_and_dead_fractions_equal_the_twin_under_relu():
    measured, twin = measure_both(build_dense(12, 32, "relu", "he_normal"), "relu")
    counts = [{name: row[name] for name in ("zero_fraction", "dead_fraction")} for row in twin]
    assert sum(row["dead_fraction"] for row in twin) > 0
    assert_equal_to_twin(measured, counts, 0.0)


@pytest.mark.float64
@pytest.mark.parametrize(("activation", "initializer"), [("sigmoid", "glorot_normal"), ("tanh", "he_normal")])
def test_a_float64_model_equals_the_twin_to_rounding(activation, initializer):
    model = build_dense(5, 32, activation, initializer, dtype="float64", bias="random_uniform")
    measured, twin = measure_both(model, activation, dtype="float64", scale=3.0)
    assert any(row.get("saturated_fraction", 0.0) > 0 for row in twin)
    assert_equal_to_twin(measured, twin, 1e-11)


def test_signals_whose_squares_underflow_float32_are_measured():
    """45 orthogonal layers of gain .3: the squares end at 1e-47, below the smallest float32."""
    initializer = keras.initializers.Orthogonal(gain=0.3)
    measured, twin = measure_both(build_dense(45, 32, "linear", initializer), "linear")
    assert np.float32(twin[45]["activation_second_moment"]) == 0.0
    assert np.float32(twin[0]["gradient_second_moment"]) == 0.0
    # 45 float32 products in a row: each entry has a relative error of about eps * sqrt(45).
    assert_equal_to_twin(measured, twin, 3e-6, skip={"activation_max_abs"})


@pytest.mark.thorough
def test_a_vanishing_relu_network_keeps_its_slope_over_150_layers():
    measured, twin = measure_both(build_dense(150, 64, "relu", "glorot_uniform"), "relu")
    got = np.log(measured["activation_second_moment"].to_numpy(dtype=float)[1:151])
    expected = np.log([row["activation_second_moment"] for row in twin[1:151]])
    assert expected[-1] < -90
    np.testing.assert_allclose(got, expected, atol=1e-4)  # float32 rounding flips single units of the signal


def test_the_twin_notices_a_wrong_derivative(monkeypatch):
    """Negative control: a backward pass that forgets the activation's derivative is noticed."""
    model = build_dense(3, 32, "relu", "he_normal")
    monkeypatch.setitem(numpy_twin.ACTIVATIONS, "relu", (numpy_twin.ACTIVATIONS["relu"][0], np.ones_like))
    measured, twin = measure_both(model, "relu")
    with pytest.raises(AssertionError, match="gradient_second_moment"):
        assert_equal_to_twin(measured, twin, 1e-2, skip={"activation_max_abs", "zero_fraction"})
