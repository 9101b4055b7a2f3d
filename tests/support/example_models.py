"""Models of every kind that the probe has to cope with, small."""

from __future__ import annotations

import keras
import numpy as np


def build_sequential():
    return keras.Sequential(
        [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    ), np.ones((4, 6), np.float32)


def build_shared():
    """One layer called twice."""
    inputs = keras.Input((6,))
    shared = keras.layers.Dense(6, activation="tanh", name="shared")
    return keras.Model(inputs, shared(shared(inputs))), np.ones((4, 6), np.float32)


def build_nested():
    """A functional model in a functional model, used twice."""
    inner_inputs = keras.Input((6,))
    inner = keras.Model(
        inner_inputs, keras.layers.Dense(6, activation="relu", name="inside")(inner_inputs), name="block"
    )
    inputs = keras.Input((6,))
    return keras.Model(inputs, inner(inner(inputs))), np.ones((4, 6), np.float32)


def build_subclassed():
    """Declaration order is not call order; layers live in a list and a dict."""

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = keras.layers.Dense(2, name="last")
            self.stages = [keras.layers.Dense(5, activation="relu", name=f"stage_{index}") for index in range(2)]
            self.named = {"first": keras.layers.Dense(5, name="first")}

        def call(self, inputs):
            signal = self.named["first"](inputs)
            for stage in self.stages:
                signal = stage(signal) + signal
            return self.last(signal)

    model = Subclassed()
    inputs = np.ones((4, 6), np.float32)
    model(inputs)
    return model, inputs


def build_operations():
    """keras.ops nodes in a functional graph, two inputs, two outputs."""
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    joined = keras.ops.concatenate([keras.ops.sin(left), right], axis=-1)
    hidden = keras.layers.Dense(4, name="hidden")(joined)
    model = keras.Model([left, right], [keras.layers.Dense(2, name="one")(hidden), keras.ops.tanh(hidden)])
    return model, [np.ones((4, 6), np.float32), np.full((4, 6), 0.5, np.float32)]


def build_convolutional():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="convolution"),
            keras.layers.BatchNormalization(name="normalization"),
            keras.layers.Activation("relu", name="rectifier"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.Conv2DTranspose(6, 3, name="transposed"),
            keras.layers.MaxPooling2D(name="pooling"),
            keras.layers.GlobalAveragePooling2D(name="average"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    return model, np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)


def build_recurrent():
    model = keras.Sequential(
        [
            keras.Input((7,)),
            keras.layers.Embedding(11, 6, name="embedding"),
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="both_ways"),
            keras.layers.GRU(3, name="recurrent"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    return model, np.random.default_rng(0).integers(0, 11, size=(5, 7)).astype(np.int32)


def build_attention():
    inputs = keras.Input((5, 8))
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    normal = keras.layers.LayerNormalization(name="normal")(keras.layers.Add(name="sum")([attended, inputs]))
    hidden = keras.layers.Dense(8, activation="gelu", name="hidden")(normal)
    return keras.Model(inputs, hidden), np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)


BUILDERS = (
    build_sequential,
    build_shared,
    build_nested,
    build_subclassed,
    build_operations,
    build_convolutional,
    build_recurrent,
    build_attention,
)
