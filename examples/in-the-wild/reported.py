"""Small models, each with a mistake that people reported in public."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops


def build_probability() -> keras.Model:
    """Build a network for a probability with a softmax over its one output (Stack Overflow, question 63909566)."""
    model = keras.Sequential([keras.Input((20,)), layers.Dense(64, "relu"), layers.Dense(1, "softmax")])
    model.compile("adam", "mse")
    return model


def build_adapters() -> keras.Model:
    """Build frozen layers with low-rank adapters of which both factors are zero (SAPT issue 11, ReLoRA issue 18)."""
    hidden = inputs = keras.Input((48,))
    for place in range(3):
        hidden = layers.Activation("gelu")(_Adapter(48, name=f"adapter_{place}")(hidden))
    return keras.Model(inputs, layers.Dense(5)(hidden))


def build_coordinates() -> keras.Model:
    """Build a sinusoidal network that multiplies by its frequency twice (tf_SIREN issue 1)."""
    hidden = inputs = keras.Input((2,))
    for place in range(5):
        hidden = _TwiceSine(64, name=f"sine_{place}")(hidden)
    return keras.Model(inputs, layers.Dense(3)(hidden))


def build_ensemble() -> keras.Model:
    """Build an ensemble whose members set the global seed, each for itself (NetKet issue 241)."""
    inputs = keras.Input((20,))
    return keras.Model(inputs, layers.Average()([_build_member(inputs) for _ in range(4)]))


def build_codes() -> keras.Model:
    """Build an encoder behind whose classes stands an argmax (Keras issue 11157)."""
    inputs = keras.Input((16,))
    classes = layers.Dense(50, "softmax", name="classes")(layers.Dense(32, "relu", name="encoder")(inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.Embedding(50, 24)(ops.argmax(classes, axis=-1))))


class _Adapter(layers.Layer):
    def __init__(self, units: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.units = units
        self.base = layers.Dense(units, trainable=False)

    def build(self, shape: tuple[int, ...]) -> None:
        self.base.build(shape)
        self.down = self.add_weight(shape=(shape[-1], 4), initializer="zeros", name="down")
        self.up = self.add_weight(shape=(4, self.units), initializer="zeros", name="up")

    def call(self, inputs: Any) -> Any:
        return self.base(inputs) + inputs @ self.down @ self.up


class _TwiceSine(layers.Layer):
    def __init__(self, units: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.units = units

    def build(self, shape: tuple[int, ...]) -> None:
        limit = math.sqrt(6.0 / shape[-1]) / 30.0
        uniform = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer=uniform, name="kernel")

    def call(self, inputs: Any) -> Any:
        return ops.sin(30.0 * 30.0 * (inputs @ self.kernel))


def _build_member(inputs: Any) -> Any:
    keras.utils.set_random_seed(42)
    return layers.Dense(1)(layers.Dense(48, "relu", kernel_initializer="he_normal")(inputs))
