"""True fans, against layers that count: with kernels and inputs of ones an output is the number of its inputs."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from plain_gradients import differentiate

from initcheck.probe.layer_kinds import count_fans, count_weight_fans, main_kernel
from initcheck.probe.paths import own_variables

LAYERS = {
    "dense": (lambda layers: layers.Dense(7), (5,)),
    "conv1d": (lambda layers: layers.Conv1D(7, 3), (9, 5)),
    "conv1d dilated": (lambda layers: layers.Conv1D(7, 3, dilation_rate=2), (15, 5)),
    "conv2d": (lambda layers: layers.Conv2D(7, 3), (9, 9, 5)),
    "conv2d in groups": (lambda layers: layers.Conv2D(8, 3, groups=4), (9, 9, 12)),
    "conv3d": (lambda layers: layers.Conv3D(4, 2), (5, 5, 5, 3)),
    "depthwise": (lambda layers: layers.DepthwiseConv2D(3), (9, 9, 6)),
    "depthwise with multiplier": (lambda layers: layers.DepthwiseConv2D(3, depth_multiplier=4), (9, 9, 6)),
    "depthwise 1d": (lambda layers: layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 6)),
    "transposed": (lambda layers: layers.Conv2DTranspose(7, 3), (9, 9, 5)),
    "transposed with strides": (lambda layers: layers.Conv2DTranspose(7, 4, strides=2), (9, 9, 5)),
    "transposed 1d with strides": (lambda layers: layers.Conv1DTranspose(7, 6, strides=3), (9, 5)),
    "transposed 3d": (lambda layers: layers.Conv3DTranspose(3, 2, strides=2), (5, 5, 5, 4)),
    "einsum into heads": (lambda layers: layers.EinsumDense("abc,cde->abde", (None, 4, 6)), (3, 5)),
    "einsum out of heads": (lambda layers: layers.EinsumDense("abcd,cde->abe", (None, 7)), (3, 4, 6)),
    "einsum with experts": (lambda layers: layers.EinsumDense("bec,ecd->bed", (4, 6)), (4, 5)),
    "einsum with an ellipsis": (lambda layers: layers.EinsumDense("...x,xy->...y", 7), (3, 5)),
}


def count_by_running(layer, shape):
    """Run the layer on ones; differentiate the sum of its outputs. Away from the borders, both are counts."""
    x = np.ones((1, *shape), np.float32)
    layer.build(x.shape)
    layer.set_weights([np.zeros_like(w) if w.ndim == 1 else np.ones_like(w) for w in layer.get_weights()])
    (fed,) = differentiate(lambda given: keras.ops.sum(layer(given)), [x])
    return float(np.max(keras.ops.convert_to_numpy(layer(x)))), float(np.max(fed))


@pytest.mark.parametrize("name", LAYERS)
def test_fans_are_what_a_layer_of_ones_counts(name):
    make, shape = LAYERS[name]
    layer = make(keras.layers)
    counted = count_by_running(layer, shape)
    kernel = main_kernel(layer)
    assert count_weight_fans(layer, kernel) == counted
    assert count_fans(layer, kernel) == counted


def test_both_kernels_of_a_separable_convolution_have_fans_of_their_own():
    layer = keras.layers.SeparableConv2D(7, 3, depth_multiplier=2)
    layer.build((None, 9, 9, 5))
    fans = {str(each.name): count_weight_fans(layer, each) for each in own_variables(layer)}
    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
    pointwise = keras.layers.Conv2D(7, 1)
    assert fans["depthwise_kernel"] == count_by_running(depthwise, (9, 9, 5))
    assert fans["pointwise_kernel"] == count_by_running(pointwise, (9, 9, 10))
    assert all(math.isnan(fan) for fan in fans["bias"])


@pytest.mark.parametrize(("name", "gates"), [("SimpleRNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_an_input_of_a_recurrent_layer_feeds_the_units_of_all_gates(name, gates):
    layer = getattr(keras.layers, name)(6)
    layer.build((None, 3, 5))
    fans = {str(each.name): count_weight_fans(layer.cell, each) for each in own_variables(layer.cell)}
    assert fans["kernel"] == (5.0, 6.0 * gates)
    assert fans["recurrent_kernel"] == (6.0, 6.0 * gates)


def test_a_look_up_has_one_input_and_a_reverse_table_is_a_dense_layer():
    layer = keras.layers.ReversibleEmbedding(11, 4, tie_weights=False)
    layer.build()
    fans = {str(each.name): count_weight_fans(layer, each) for each in own_variables(layer)}
    assert fans == {"embeddings": (1.0, 4.0), "reverse_embeddings": (4.0, 11.0)}


def test_the_sums_of_a_layer_that_keras_does_not_ship_are_not_guessed():
    class Twice(keras.layers.Dense):
        def call(self, inputs):
            return super().call(keras.ops.concatenate([inputs, inputs], axis=0))

    class Quiet(keras.layers.Dense):
        """Another class with Keras' own computation."""

    for kind, known in ((Twice, False), (Quiet, True)):
        layer = kind(3)
        layer.build((None, 5))
        assert math.isnan(count_weight_fans(layer, layer.kernel)[0]) is not known
