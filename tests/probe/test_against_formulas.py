"""The probe against models that are written out as formulas and differentiated as anybody would.

A formula takes the model's weights and inputs, and shares no layer with the model: convolutions are sums of matrix
products, an LSTM is a loop over its steps. What is added to a value, zero, has the derivative of that value.
"""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops
from plain_gradients import differentiate

from initcheck.probe import Probe

TOLERANCE = 1e-5
BATCH = 6

WITHOUT_GRADIENT = ("first/bias", "normal/moving_mean", "normal/moving_variance", "heads/key/bias")
"""What the loss does not depend on: what is added in front of a normalization, or to all keys of an attention."""


class Sites:
    """What the layers of a formula give, by name and call, and the derivatives of the loss where something is added."""

    def __init__(self, added=None):
        self.values = {}
        self._added = added

    def __call__(self, name, value, activation=None, call=0):
        if self._added is not None:
            value = value + self._added[len(self.values)]
        output = value if activation is None else activation(value)
        self.values[name, call] = (value, output)
        return output


def convolve(x, kernel, bias):
    rows, columns = (x.shape[axis] - kernel.shape[axis - 1] + 1 for axis in (1, 2))
    return bias + sum(
        ops.matmul(x[:, i : i + rows, j : j + columns], kernel[i, j])
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def run_lstm(x, steps, kernel, recurrent, bias):
    """Return the outputs of all steps; where a step does not count, state and output stay."""
    units = recurrent.shape[0]
    hidden = cell = ops.zeros((x.shape[0], units))
    outputs = []
    for number in range(x.shape[1]):
        z = ops.matmul(x[:, number], kernel) + ops.matmul(hidden, recurrent) + bias
        gates = [z[:, place * units : (place + 1) * units] for place in range(4)]
        into, forget, out = (ops.sigmoid(gates[place]) for place in (0, 1, 3))
        new = forget * cell + into * ops.tanh(gates[2])
        counts = steps[:, number, None]
        hidden, cell = counts * out * ops.tanh(new) + (1 - counts) * hidden, counts * new + (1 - counts) * cell
        outputs.append(hidden)
    return ops.stack(outputs, axis=1)


def dense_model():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(7, activation="tanh", name="a"),
            layers.Dense(6, activation="relu", name="b"),
            layers.Dense(3, name="c"),
        ]
    )


def dense(site, weights, x):
    x = site("a", ops.matmul(x, weights[0]) + weights[1], ops.tanh)
    x = site("b", ops.matmul(x, weights[2]) + weights[3], lambda z: ops.maximum(z, 0.0))
    return site("c", ops.matmul(x, weights[4]) + weights[5])


def convolutional_model():
    return keras.Sequential(
        [
            keras.Input((8, 7, 3)),
            layers.Conv2D(4, 3, activation="relu", name="a"),
            layers.Conv2D(5, (2, 3), name="b"),
            layers.GlobalAveragePooling2D(name="pool"),
        ]
    )


def convolutional(site, weights, x):
    x = site("a", convolve(x, weights[0], weights[1]), lambda z: ops.maximum(z, 0.0))
    x = site("b", convolve(x, weights[2], weights[3]))
    return site("pool", ops.sum(x, axis=(1, 2)) / (x.shape[1] * x.shape[2]))


def recurrent_model():
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Masking(name="mask"),
            layers.LSTM(6, return_sequences=True, name="a"),
            layers.LSTM(4, name="b"),
            layers.Dense(2, name="c"),
        ]
    )


def recurrent(site, weights, x):
    steps = ops.cast(ops.any(ops.not_equal(x, 0.0), axis=-1), "float32")
    x = site("mask", x * steps[..., None])
    x = site("a", run_lstm(x, steps, *weights[:3]))
    x = site("b", run_lstm(x, steps, *weights[3:6])[:, -1])
    return site("c", ops.matmul(x, weights[6]) + weights[7])


def attention_model():
    inputs = keras.Input((5, 4), name="input")
    x = layers.Add(name="add")([inputs, layers.MultiHeadAttention(2, 3, name="heads")(inputs, inputs)])
    return keras.Model(inputs, layers.Dense(3, name="c")(x))


def attention(site, weights, x):
    query, key, value = (
        site(f"heads/{name}", ops.einsum("btf,fhd->bthd", x, weights[2 * place]) + weights[2 * place + 1])
        for place, name in enumerate(("query", "key", "value"))
    )
    scores = ops.exp(ops.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(3.0).astype("float32"))
    heads = ops.einsum("bhqk,bkhd->bqhd", scores / ops.sum(scores, axis=-1, keepdims=True), value)
    projected = site("heads/attention_output", ops.einsum("bqhd,hdf->bqf", heads, weights[6]) + weights[7])
    return site("c", ops.matmul(site("add", x + projected), weights[8]) + weights[9])


def shared_model():
    inputs = keras.Input((5,), name="input")
    twice = layers.Dense(5, activation="tanh", name="twice")
    return keras.Model(inputs, layers.Dense(3, name="c")(twice(twice(inputs))))


def shared(site, weights, x):
    for call in range(2):
        x = site("twice", ops.matmul(x, weights[0]) + weights[1], ops.tanh, call)
    return site("c", ops.matmul(x, weights[2]) + weights[3])


def normalized_model():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(7, name="first"),
            layers.BatchNormalization(name="normal"),
            layers.Activation("relu", name="relu"),
            layers.Dense(3, name="c"),
        ]
    )


def normalized(site, weights, x):
    x = site("first", ops.matmul(x, weights[0]) + weights[1])
    centred = x - ops.mean(x, axis=0)
    scaled = centred / ops.sqrt(ops.mean(centred * centred, axis=0) + 1e-3)
    x = site("normal", scaled * weights[2] + weights[3])
    x = site("relu", x, lambda z: ops.maximum(z, 0.0))
    return site("c", ops.matmul(x, weights[6]) + weights[7])


MODELS = {
    "dense": (dense_model, dense),
    "convolutional": (convolutional_model, convolutional),
    "LSTM with a mask": (recurrent_model, recurrent),
    "attention": (attention_model, attention),
    "shared layer": (shared_model, shared),
    "BatchNormalization": (normalized_model, normalized),
}


def measure_formula(formula, weights, inputs, direction):
    """Return the mean squares of z, h and their derivative for each site, and the gradients of inputs and weights."""
    values = Sites()
    formula(values, weights, site_input(values, inputs))
    zeros = [np.zeros(tuple(value.shape), "float32") for value, _ in values.values.values()]

    def loss(*given):
        sites = Sites(given[len(weights) :])
        return ops.sum(direction * formula(sites, given[: len(weights)], site_input(sites, inputs)))

    gradients = differentiate(loss, [*weights, *zeros])
    sites = {
        key: [mean_square(ops.convert_to_numpy(each)) for each in pair] + [mean_square(gradient)]
        for (key, pair), gradient in zip(values.values.items(), gradients[len(weights) :], strict=True)
    }
    return sites, gradients[: len(weights)]


def site_input(sites, inputs):
    return sites("input", ops.convert_to_tensor(inputs))


def mean_square(array):
    return float(np.mean(np.square(array, dtype=np.float64)))


@cache
def measure_by_probe(name):
    """Measure a model; return also its weights, its inputs and the directions of its loss."""
    model, random = MODELS[name][0](), np.random.default_rng(5)
    inputs = random.normal(size=(BATCH, *model.inputs[0].shape[1:])).astype("float32")
    if "mask" in name:
        inputs[0, 3:] = inputs[1, :2] = inputs[2, 2] = 0.0
    direction = ops.convert_to_tensor(random.normal(size=(BATCH, *model.outputs[0].shape[1:])).astype("float32"))
    weights = [(0.4 * random.normal(size=weight.shape)).astype("float32") for weight in model.weights]
    probe = Probe(model, inputs, loss=lambda outputs: ops.sum(direction * outputs))
    measured = probe.measure_weights_all([0], [ops.convert_to_tensor(each[None]) for each in weights])
    return measured, weights, inputs, direction


def compare(name, factor=1.0):
    """Return the largest relative difference of the probe from the formula, whose first weight has this factor."""
    measured, weights, inputs, direction = measure_by_probe(name)
    weights = [weights[0] * np.float32(factor), *weights[1:]]
    found = measure_formula(MODELS[name][1], list(map(ops.convert_to_tensor, weights)), inputs, direction)
    return max(list_differences(measured, *found))


def list_differences(measured, sites, gradients):
    """List how far all numbers are apart, relative to those of the formula."""
    rows = measured.table.set_index(["layer", "call"])
    assert list(rows.index) == list(sites)
    names = ["preactivation_second_moment", "activation_second_moment", "gradient_second_moment"]
    pairs = []
    for key, expected in sites.items():
        found = rows.loc[key, names]
        pairs += [(a, b) for a, b in zip(found, expected, strict=True) if not pd.isna(a)]
    for row, gradient in zip(measured.weights.itertuples(), gradients, strict=True):
        if row.weight not in WITHOUT_GRADIENT:
            pairs.append((row.gradient_norm, np.linalg.norm(gradient.astype(np.float64))))
    return [abs(a - b) / b for a, b in pairs]


@pytest.mark.parametrize("name", MODELS)
def test_moments_and_gradients_are_those_of_the_formula(name):
    assert compare(name) < TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_a_kernel_that_is_off_by_one_in_a_thousand_is_noticed(name):
    assert compare(name, factor=1.001) > 10 * TOLERANCE
