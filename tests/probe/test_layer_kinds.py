"""The recipe of CONTRIBUTING.md for a new kind of layer, followed: one entry, and every module knows the layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from initcheck.prediction import ModelPredictor, add_site_predictions
from initcheck.prediction.layer_rules import RULES
from initcheck.prediction.signal import LayerEffect, make_gaussian, require_kernel
from initcheck.probe import Probe
from initcheck.probe.draw import RedrawPlan
from initcheck.probe.layer_kinds import KINDS, LayerKind, UnitWeights, count_fans, count_weight_fans, list_unit_weights
from initcheck.probe.weights import describe_weights

SEEDS = range(60)


class HalfDense(keras.layers.Layer):
    """A dense layer that sums the first half of its inputs alone."""

    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel_initializer = keras.initializers.HeNormal(seed=1)
        self.kernel = self.add_weight(
            name="kernel", shape=(shape[-1] // 2, self.units), initializer=self.kernel_initializer
        )

    def call(self, inputs):
        return keras.ops.matmul(inputs[:, : self.kernel.shape[0]], self.kernel)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


HALF_DENSE = LayerKind(
    classes=(HalfDense,),
    kernel="kernel",
    fans={"kernel": lambda _, shape: (float(shape[0]), float(shape[1]))},
    list_units=lambda _, named: (
        UnitWeights("units", (named["kernel"],), (lambda values: values.reshape(1, *values.shape),)),
    ),
)


def pass_half_dense(call):
    (signal,) = call.inputs
    weights = require_kernel(call.weights)
    before = make_gaussian(
        weights.forward_gain * signal.second, None, call.operation.units, call.place, signal.restarted
    )
    return LayerEffect(before, lambda gradient: (0.5 * weights.backward_gain * gradient,))


@pytest.fixture
def model():
    inputs = keras.Input((64,))
    x = HalfDense(48, name="half")(inputs)
    x = keras.layers.ReLU(name="relu")(x)
    outputs = keras.layers.Dense(8, kernel_initializer="lecun_normal", name="output")(x)
    return keras.Model(inputs, outputs)


@pytest.fixture
def batch():
    # Of both halves of the inputs the second moments are equal, as the rule takes them to be.
    x = np.random.default_rng(2).normal(size=(6, 32)).astype("float32")
    return np.concatenate([x, -x], axis=1)


def test_without_an_entry_nothing_is_guessed(model, batch):
    layer = model.get_layer("half")
    assert np.isnan(count_fans(layer, layer.kernel)).all()
    assert np.isnan(count_weight_fans(layer, layer.kernel)).all()
    assert list_unit_weights(layer, [layer.kernel]) == ()
    table = Probe(model, batch).measure(SEEDS)
    assert table.loc[table["layer"] == "half", "fan_in"].isna().all()
    prediction = ModelPredictor(model, batch).predict(table)
    assert prediction.unknown["half"] == "there is no theory of HalfDense"


def test_with_one_entry_fans_and_units_are_known_and_with_a_rule_the_prediction_is(model, batch, monkeypatch):
    monkeypatch.setitem(KINDS, HalfDense, HALF_DENSE)
    monkeypatch.setitem(RULES, HalfDense, pass_half_dense)
    layer = model.get_layer("half")
    table = Probe(model, batch).measure(SEEDS)
    half = table[table["layer"] == "half"]
    assert set(half["fan_in"]) == {32.0} and set(half["fan_out"]) == {48.0}
    facts = {each.path: each for each in describe_weights(model, RedrawPlan(model))}["half/kernel"]
    assert (facts.true_fan_in, facts.true_fan_out) == (32.0, 48.0)
    assert facts.variance == pytest.approx(facts.ideal_variance) == pytest.approx(2.0 / 32.0)
    (units,) = list_unit_weights(layer, [layer.kernel])
    assert units.arrange[0](np.zeros((32, 48))).shape == (1, 32, 48)

    prediction = ModelPredictor(model, batch).predict(table)
    assert not prediction.unknown
    predicted = add_site_predictions(table, prediction)
    for site in ("half", "relu"):
        rows = predicted[predicted["layer"] == site]
        for quantity in ("activation_second_moment", "gradient_second_moment"):
            measured = rows[quantity].dropna().to_numpy(dtype=np.float64)
            error = measured.std(ddof=1) / np.sqrt(measured.size)
            assert abs(measured.mean() - float(rows[f"predicted_{quantity}"].iloc[0])) < 4.5 * error, (site, quantity)


def test_a_class_derived_from_it_that_computes_something_else_is_not_guessed(monkeypatch):
    monkeypatch.setitem(KINDS, HalfDense, HALF_DENSE)

    class Other(HalfDense):
        def call(self, inputs):
            return super().call(inputs) + keras.ops.sum(inputs)

    layer = Other(3)
    layer.build((None, 10))
    assert np.isnan(count_weight_fans(layer, layer.kernel)).all() and not list_unit_weights(layer, [layer.kernel])
