"""What float16 cannot hold: counted against NumPy's own float16, on request only."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest

from initcheck.core.columns import RANGE_COLUMNS
from initcheck.probe import Probe, measure
from initcheck.probe.reduce import reduce_range

NAMES = [column.name for column in RANGE_COLUMNS]


def shares_of(values, gradient=None, dtype="float32"):
    ops = keras.ops
    tensors = [None if each is None else ops.convert_to_tensor(each, dtype=dtype) for each in (values, gradient)]
    return dict(zip(NAMES, np.asarray(reduce_range(*tensors)), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_shares_are_those_of_the_conversion_to_float16(dtype):
    generator = np.random.default_rng(0)
    # Away from the two limits themselves, where rounding to nearest differs from a comparison.
    exponents = generator.uniform(-40, 30, size=(64, 32))
    values = generator.choice([-1.0, 1.0], size=exponents.shape) * 2.0 ** (np.floor(exponents) + 0.5)
    values[0, :5] = 0.0
    ops = keras.ops
    held = np.asarray(ops.cast(ops.convert_to_tensor(values, dtype=dtype), "float64"))
    with np.errstate(over="ignore"):
        converted = held.astype(np.float16)
    found = shares_of(values, dtype=dtype)
    assert found["activation_overflow_fraction"] == np.mean(np.isinf(converted)) > 0.1
    assert found["activation_underflow_fraction"] == np.mean((converted == 0) & (held != 0)) > 0.1
    assert np.isnan(found["gradient_overflow_fraction"])


def test_gradients_are_counted_at_the_loss_scale_that_keras_begins_with():
    optimizers = keras.optimizers
    scale = float(optimizers.LossScaleOptimizer(optimizers.SGD()).initial_scale)
    gradient = np.asarray([[2.0**-26 / scale * 1.5, 2.0**-25, 2.0**-25 / scale * 1.5, 0.0, 70000.0]])
    found = shares_of(np.ones((1, 5)), gradient)
    assert found["gradient_underflow_fraction"] == pytest.approx(0.2)
    assert found["gradient_overflow_fraction"] == pytest.approx(0.2)


def test_what_is_not_finite_is_left_out_of_the_share_that_overflows():
    found = shares_of([[np.inf, np.nan, 1e5, 1.0]])
    assert found["activation_overflow_fraction"] == pytest.approx(0.5)
    assert np.isnan(shares_of([[np.inf, np.nan]])["activation_overflow_fraction"])


def test_float16_itself_shows_its_overflow_as_not_finite():
    found = shares_of([[1e5, 1.0, 2.0**-24, 0.0]], dtype="float16")
    assert found["activation_overflow_fraction"] == 0.0
    assert found["activation_underflow_fraction"] == 0.0


def build_growing():
    layers = [
        keras.layers.Dense(32, kernel_initializer=keras.initializers.RandomNormal(stddev=4.0), name=f"layer_{index}")
        for index in range(5)
    ]
    return keras.Sequential([keras.Input((32,)), *layers])


def test_the_columns_are_filled_on_request_and_null_otherwise(monkeypatch):
    model, batch = build_growing(), np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    rows = Probe(model, batch, precision_range=True).measure([0, 1])
    assert rows[NAMES].notna().all(axis=None)
    shares = rows[rows["seed"] == 0]["activation_overflow_fraction"].to_numpy(float)
    assert shares[0] == 0.0
    assert 0.0 < shares[-1] < 1.0
    gradients = rows[rows["seed"] == 0]["gradient_overflow_fraction"].to_numpy(float)
    assert gradients[-1] == 0.0 < gradients[0] < 1.0

    def refuse(*_):
        raise AssertionError("nothing is to be counted where it is not asked for")

    monkeypatch.setattr(measure, "reduce_range", refuse)
    plain = Probe(model, batch).measure([0, 1])
    assert plain[NAMES].isna().all(axis=None)
    with pytest.raises(AssertionError, match="not asked for"):
        Probe(model, batch, precision_range=True).measure([0])


def test_the_share_of_a_model_is_that_of_its_layer_s_output():
    model, batch = build_growing(), np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    rows = Probe(model, batch, precision_range=True).measure_current()
    output = np.abs(keras.ops.convert_to_numpy(keras.Model(model.inputs, model.layers[3].output)(batch)))
    share = float(rows.set_index("layer").loc["layer_3", "activation_overflow_fraction"])
    assert share == pytest.approx(np.mean(output > 65504.0), abs=2 / output.size)
    assert share > 0.0


def test_the_columns_leave_all_others_as_they_are():
    model, batch = build_growing(), np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    with_range = Probe(model, batch, precision_range=True).measure_all([0])
    without = Probe(model, batch).measure_all([0])
    for frame, other in (
        (with_range.table.drop(columns=NAMES), without.table.drop(columns=NAMES)),
        (with_range.weights, without.weights),
    ):
        pd.testing.assert_frame_equal(frame, other, rtol=1e-6, atol=0.0)
