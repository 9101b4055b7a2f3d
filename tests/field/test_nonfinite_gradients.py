"""Gradients that are inf or NaN on the way back, though all values forward are finite."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from initcheck import check
from initcheck.probe.measure import random_loss

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")

X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


def root_of_units(safe):
    """A functional model with a square root behind a ReLU, whose zeros have an infinite derivative."""
    i = keras.Input((6,))
    hidden = layers.Dense(6, name="hidden")(layers.Dense(6, "tanh", name="first")(i))
    rectified = layers.ReLU(name="rectified")(hidden)
    rooted = layers.Lambda(lambda x: ops.sqrt(x + (1e-3 if safe else 0.0)), name="root")(rectified)
    return keras.Model(i, layers.Dense(2, name="head")(rooted))


class AddLength(layers.Layer):
    """Adds the norm, which is zero where the layer before it starts at zero."""

    def __init__(self, safe, **kw):
        super().__init__(**kw)
        self.safe = safe

    def call(self, x):
        square = ops.sum(x**2, axis=-1, keepdims=True) + (1e-6 if self.safe else 0.0)
        return x + ops.sqrt(square)


def norm_of_nothing(safe):
    """A subclassed layer in a nested model."""
    zero = layers.Dense(6, kernel_initializer="zeros", name="inside")
    inner = keras.Sequential([keras.Input((6,)), zero, AddLength(safe, name="unit")])
    i = keras.Input((6,))
    x = layers.Dense(6, name="first")(i)
    return keras.Model(i, layers.Dense(2, name="head")(layers.Add(name="join")([x, inner(x)])))


class Guarded(keras.Model):
    """A logarithm guarded by a where behind it, which does not guard its derivative, or before it."""

    def __init__(self, safe):
        super().__init__()
        self.safe = safe
        self.first, self.head = layers.Dense(6, "relu", name="first"), layers.Dense(2, name="head")

    def call(self, x):
        x = self.first(x)
        inner = ops.where(x > 0.0, x, 1.0) if self.safe else x
        return self.head(ops.where(x > 0.0, ops.log(inner), 0.0))


def guarded(safe):
    model = Guarded(safe)
    model.build((None, 6))
    return model


class Fused(keras.Model):
    """A dense layer whose own activation function has the infinite derivative."""

    def __init__(self, safe):
        super().__init__()
        self.rooted = layers.Dense(6, lambda z: ops.sqrt(ops.relu(z) + (1e-3 if safe else 0.0)), name="rooted")
        self.head = layers.Dense(2, name="head")

    def call(self, x):
        return self.head(self.rooted(x))


def fused(safe):
    model = Fused(safe)
    model.build((None, 6))
    return model


CASES = [
    (root_of_units, "root", "rectified"),
    (norm_of_nothing, "unit", "inside"),
    (guarded, "first", "first"),
    (fused, "rooted", "rooted"),
]


def has_nan(model):
    with tf.GradientTape() as tape:
        outputs = model(X, training=True)
        loss = random_loss(outputs)
    assert np.isfinite(outputs.numpy()).all()
    return not all(np.isfinite(each.numpy()).all() for each in tape.gradient(loss, model.trainable_variables))


@pytest.mark.parametrize(("build", "named", "before"), CASES, ids=[build.__name__ for build, _, _ in CASES])
def test_the_layer_is_named_and_its_sound_twin_is_not(build, named, before):
    assert has_nan(build(safe=False))
    assert not has_nan(build(safe=True))
    report = check(build(safe=False), X, seeds=3, fixes=False)
    (finding,) = [each for each in report.findings if each.code == "IC503"]
    assert report.exit_code == 1
    assert named in finding.layer.split("/")
    assert any(before in layer.split("/") for layer in finding.layers)
    assert "in 3 of 3 draws [44%, 100%]" in finding.message
    assert "IC501" not in {each.code for each in report.findings}
    sound = check(build(safe=True), X, seeds=3, fixes=False)
    assert "IC503" not in {each.code for each in sound.findings}


class Own(layers.Layer):
    """Weights and an infinite derivative in a layer that takes whole numbers: no tensor before it has a gradient."""

    def build(self, _):
        self.table = self.add_weight(shape=(4, 3), initializer="zeros", name="table")

    def call(self, x):
        return ops.sqrt(ops.take(self.table, ops.cast(x, "int32"), axis=0) ** 2)


def test_weights_are_named_where_no_tensor_before_them_has_a_gradient():
    i = keras.Input((2,), dtype="int32")
    model = keras.Model(i, layers.Dense(2, name="head")(layers.Flatten()(Own(name="own")(i))))
    report = check(model, np.zeros((8, 2), np.int32), seeds=3, fixes=False)
    (finding,) = [each for each in report.findings if each.code == "IC503"]
    assert finding.layers == ("own/table",)
