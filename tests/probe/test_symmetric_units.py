"""Units of a layer that are alike, in their incoming weights and in their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.probe import RedrawPlan
from initcheck.probe.weight_copies import compare_weights, weight_gradients
from initcheck.probe.weights import describe_weights


def compare(model, *arguments, **named):
    return compare_weights(model, describe_weights(model, RedrawPlan(model)), *arguments, **named)


def build_stack(*layers, inputs=16):
    keras = import_keras()
    return keras.Sequential([keras.Input((inputs,)), *layers])


def relations(comparison):
    return [(group.relation, group.members) for group in comparison.copies]


LAYERS = {
    "dense": (lambda k, i: k.layers.Dense(6, kernel_initializer=i), (5,), "units", 6),
    "conv2d": (lambda k, i: k.layers.Conv2D(6, 3, kernel_initializer=i), (5, 5, 3), "filters", 6),
    "groups": (lambda k, i: k.layers.Conv2D(6, 3, groups=3, kernel_initializer=i), (5, 5, 3), "filters", 2),
    "transposed": (lambda k, i: k.layers.Conv2DTranspose(6, 3, kernel_initializer=i), (5, 5, 3), "filters", 6),
    "multiplied": (
        lambda k, i: k.layers.DepthwiseConv2D(3, depth_multiplier=4, depthwise_initializer=i),
        (5, 5, 3),
        "filters",
        4,
    ),
    "separable": (
        lambda k, i: k.layers.SeparableConv2D(6, 3, pointwise_initializer=i),
        (5, 5, 3),
        "filters",
        6,
    ),
    "lstm": (lambda k, i: k.layers.LSTM(6, kernel_initializer=i, recurrent_initializer=i), (4, 5), "units", 6),
    "gru": (lambda k, i: k.layers.GRU(6, kernel_initializer=i, recurrent_initializer=i), (4, 5), "units", 6),
    "einsum": (
        lambda k, i: k.layers.EinsumDense("abc,cde->abde", (4, 2, 3), bias_axes="de", kernel_initializer=i),
        (4, 5),
        "units",
        6,
    ),
    "experts": (
        lambda k, i: k.layers.EinsumDense("bec,ecd->bed", (4, 3), bias_axes="d", kernel_initializer=i),
        (4, 5),
        "units",
        3,
    ),
}


@pytest.mark.parametrize("constant", ["zeros", "ones"])
@pytest.mark.parametrize("name", LAYERS)
def test_units_of_constant_kernels_are_alike_where_what_follows_treats_them_alike(name, constant):
    keras = import_keras()
    make, shape, word, largest = LAYERS[name]
    inputs = keras.Input(shape)
    hidden = keras.layers.Flatten()(make(keras, constant)(inputs))
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    alike = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, 1))(hidden)))
    (found,) = compare(alike, x).symmetric
    assert (found.word, found.largest, found.alike) == (word, largest, found.units)
    assert found.gradients in ("equal", "zero")
    # Weights drawn at random behind them give each unit a gradient of its own.
    told_apart = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    assert compare(told_apart, x).symmetric == ()
    assert len(compare(told_apart).symmetric) == 1  # the incoming weights alone are equal


@pytest.mark.parametrize("name", LAYERS)
def test_units_of_random_kernels_are_not_alike(name):
    keras = import_keras()
    make, shape, _, _ = LAYERS[name]
    inputs = keras.Input(shape)
    assert compare(keras.Model(inputs, make(keras, "glorot_uniform")(inputs))).symmetric == ()


def test_layers_whose_units_see_different_inputs_or_are_alone_cannot_be_symmetric():
    keras = import_keras()
    inputs = keras.Input((6, 6, 8))
    x = keras.layers.DepthwiseConv2D(3, depthwise_initializer="ones")(inputs)
    x = keras.layers.Conv2D(8, 3, groups=8, kernel_initializer="ones")(x)
    x = keras.layers.Dense(1, kernel_initializer="ones")(x)
    assert compare(keras.Model(inputs, x)).symmetric == ()


def test_one_pair_of_twins_among_random_units_is_counted_exactly():
    keras = import_keras()
    model = build_stack(keras.layers.Dense(32, use_bias=False), keras.layers.Dense(4, use_bias=False))
    first, second = (np.asarray(weight).copy() for weight in model.weights)
    first[:, 20] = first[:, 3]
    x = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    assert compare(model, x, values=[first, second]).symmetric == ()
    second[20] = second[3]
    (found,) = compare(model, x, values=[first, second]).symmetric
    assert (found.units, found.alike, found.largest, found.gradients) == (32, 2, 2, "equal")
    first[15, 20] += 1e-6  # in an entry that is not looked at first
    assert compare(model, x, values=[first, second]).symmetric == ()


def test_different_biases_tell_units_apart():
    keras = import_keras()
    layer = keras.layers.Dense(8, kernel_initializer="ones", bias_initializer="random_normal")
    assert compare(build_stack(layer)).symmetric == ()


def test_a_head_of_zeros_is_told_apart_by_its_gradients():
    keras = import_keras()
    model = build_stack(keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(50, kernel_initializer="zeros"))
    x = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    assert compare(model, x).symmetric == ()
    # With labels all classes that the batch does not hold have equal gradients: that is the batch, not the head.
    labels = keras.ops.convert_to_tensor([0, 1, 2, 0, 1, 2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert compare(model, x, lambda outputs: loss(labels, outputs)).symmetric == ()
    (found,) = compare(model).symmetric
    assert (found.layer, found.alike) == ("dense_1", 50)


def test_rows_of_a_constant_table_are_alike_only_among_tokens_that_appear():
    keras = import_keras()
    inputs = keras.Input((4,), dtype="int32")
    table = keras.layers.Embedding(30, 6, embeddings_initializer="ones")(inputs)
    tokens = np.arange(8, dtype=np.int32).reshape(2, 4)
    by_place = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(table)))
    assert compare(by_place, tokens).symmetric == ()
    words = {each.word for each in compare(by_place).symmetric}
    assert words == {"rows", "columns"}
    pooled = keras.Model(inputs, keras.layers.Lambda(lambda x: keras.ops.mean(x, axis=(1, 2)))(table))
    first_row = [each for each in compare(pooled, tokens[:1]).symmetric if each.word == "rows"]
    assert [each.alike for each in first_row] == [4]  # of 30 rows, those of the four tokens of the only sample


def test_frozen_and_unused_layers_and_layers_of_unknown_kinds_are_left_out():
    keras = import_keras()

    class Custom(keras.layers.Dense):
        def call(self, inputs):
            return super().call(inputs)

    x = np.ones((3, 16), np.float32)
    frozen = build_stack(keras.layers.Dense(8, kernel_initializer="ones", trainable=False), keras.layers.Dense(1))
    assert compare(frozen, x).symmetric == ()
    assert compare(build_stack(Custom(8, kernel_initializer="ones")), x).symmetric == ()

    class Forgetful(keras.Model):
        def __init__(self):
            super().__init__()
            self.used = keras.layers.Dense(4)
            self.unused = keras.layers.Dense(8, kernel_initializer="ones")

        def build(self, shape):
            self.used.build(shape)
            self.unused.build(shape)

        def call(self, inputs):
            return self.used(inputs)

    model = Forgetful()
    model.build((None, 16))
    assert compare(model, x).symmetric == ()
    assert weight_gradients(model, x)[2] is None
