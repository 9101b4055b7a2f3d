"""Units that start alike: what their gradients make of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from initcheck import check

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")


def symmetric(build, **options):
    report = check(build, seeds=2, fixes=False, **options)
    return {each.layer: each.message for each in report.findings if each.code == "IC302"}


class Routed(layers.Layer):
    """Tokens shared out by a gate whose weights are divided by the largest of them, which is the only one kept."""

    def build(self, shape):
        self.experts = self.add_weight(shape=(3, shape[-1], shape[-1]), initializer="he_normal", name="experts")
        self.gate = layers.Dense(3, kernel_initializer=keras.initializers.Constant(0.1), name="gate")
        self.gate.build(shape)

    def call(self, x):
        p = ops.softmax(self.gate(x) + ops.sum(x, axis=-1, keepdims=True) * ops.convert_to_tensor([0.0, 1.0, -1.0]))
        kept = ops.where(p >= ops.max(p, axis=-1, keepdims=True), p, 0.0)
        return ops.einsum("bi,eij,be->bj", x, self.experts, kept / ops.sum(kept, axis=-1, keepdims=True))


def test_gradients_that_differ_by_rounding_errors_only_are_alike():
    def build():
        i = keras.Input((8,))
        return keras.Model(i, layers.Dense(2)(Routed(name="routed")(i)))

    model = build()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)) ** 2)
    gate = model.layers[1].gate.kernel
    gradient, other = (np.asarray(each, np.float64) for each in tape.gradient(loss, [gate, model.layers[1].experts]))
    assert 0.0 < np.abs(gradient).max() < 1e-5 * np.abs(other).max()
    assert np.ptp(gradient, axis=1).max() > 1e-3 * np.abs(gradient).max()
    found = symmetric(build)
    assert list(found) == ["routed/gate"]
    assert "All 3 units" in found["routed/gate"]
    assert "no more than rounding errors: a step of gradient descent leaves 1 different unit" in found["routed/gate"]


def test_zeros_behind_zeros_become_different_and_constant_kernels_do_not():
    def build(kernel, branch):
        i = keras.Input((6,))
        x = layers.Dense(6, "tanh", kernel_initializer=kernel, name="start")(i)
        if branch:
            y = layers.Dense(6, "tanh", name="inner")(x)
            x = x + layers.Dense(6, "tanh", kernel_initializer="zeros", name="between")(y)
        return keras.Model(i, layers.Dense(2, kernel_initializer="zeros", name="head")(x))

    assert symmetric(lambda: build("glorot_uniform", branch=True)) == {}
    found = symmetric(lambda: build(keras.initializers.Constant(0.3), branch=False))
    assert list(found) == ["start"]
    assert "leaves 1 different unit" in found["start"]
