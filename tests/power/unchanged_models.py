"""Models that are gated without a change: those of the sabotages, real ones, and what is hard to leave alone.

Hard are findings at a limit, whose layer moves with the seeds; layers that no configuration makes once more; and
weights that no initializer draws.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import unusual_models
import zoo_models
from sabotaged import convolutional, custom, mlp, recurrent, residual, transformer

layers, ops = keras.layers, keras.ops


class Rescaled(layers.Layer):
    """A convolution whose kernel has the variance 1, and is scaled when it is run; ``note`` fits no configuration."""

    def __init__(self, filters: int, note: Any = None) -> None:
        super().__init__()
        self.filters, self.note = filters, note

    def build(self, shape: Any) -> None:
        normal = keras.initializers.RandomNormal(stddev=1.0)
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], self.filters), initializer=normal, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        scale = (2.0 / (9 * inputs.shape[-1])) ** 0.5
        return ops.relu(ops.conv(inputs, scale * self.kernel, padding="same") + self.bias)


class Positions(layers.Layer):
    """Adds weights that NumPy draws when the layer is made."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        drawn = np.random.default_rng().normal(scale=0.5, size=(length, width))
        self.table = keras.Variable(drawn.astype("float32"), name="table")

    def call(self, inputs: Any) -> Any:
        return inputs + self.table


class Named(layers.Layer):
    """Names its layer after itself, whose name Keras numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = layers.Dense(16, activation="relu", name=f"{self.name}_inner")

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


class Furnished(layers.Layer):
    """Has attributes of which no two builds, or no two processes, have the same text."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"{self.name}/"
        self.marker, self.log = object(), io.StringIO()
        self.words = {"alpha", "beta", "gamma", "delta"}
        self.function = lambda values: values * 0.5
        self.table = np.linspace(0.0, 1.0, 16, dtype="float32")
        self.noise = keras.random.SeedGenerator()

    def call(self, inputs: Any) -> Any:
        if "alpha" in {"beta", "alpha", "omega"} and self.prefix:
            inputs = self.function(inputs)
        return inputs + self.table


def build_furnished() -> Any:
    rate = 0.3
    hidden = [layers.Dense(16, activation=lambda values: ops.sin(values)), Furnished(), layers.Dropout(0.2)]
    last = [layers.Lambda(lambda values: values * rate), layers.GaussianNoise(0.1), layers.Dense(3)]
    return keras.Sequential([keras.Input((16,)), *hidden, *last])


def build_rescaled(note: Any = None) -> Any:
    hidden = (Rescaled(8, note) for _ in range(4))
    return keras.Sequential([keras.Input((8, 8, 4)), *hidden, layers.GlobalAveragePooling2D(), layers.Dense(3)])


def build_positions() -> Any:
    inputs = keras.Input((6, 16))
    hidden = layers.Dense(16, activation="relu")(Positions(6, 16)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(hidden)))


def build_loaded() -> Any:
    """The first layer holds weights from elsewhere."""
    model = keras.Sequential([keras.Input((16,)), layers.Dense(24, activation="relu"), layers.Dense(4)])
    first = model.layers[0]
    first.kernel.assign(np.random.default_rng(7).laplace(scale=0.3, size=first.kernel.shape))
    return model


def build_deep(depth: int, width: int, activation: str = "relu", initializer: str = "glorot_uniform") -> Any:
    hidden = (layers.Dense(width, activation=activation, kernel_initializer=initializer) for _ in range(depth))
    return keras.Sequential([keras.Input((width,)), *hidden, layers.Dense(4)])


def build_growing() -> Any:
    """Each sum adds as much as there is, so that the signal grows past the limit at a layer that moves."""
    inputs = hidden = keras.Input((16,))
    for _ in range(12):
        branch = layers.Dense(16, activation="relu", kernel_initializer="he_normal")(hidden)
        hidden = hidden + layers.Dense(16)(branch)
    return keras.Model(inputs, layers.Dense(4)(hidden))


def build_certain() -> Any:
    """A softmax over scores that are almost large enough for a finding."""
    inputs = keras.Input((8, 16))
    scores = layers.Dense(8, kernel_initializer=keras.initializers.RandomNormal(stddev=1.0))(inputs)
    return keras.Model(inputs, layers.Dense(4)(ops.matmul(layers.Softmax()(scores), inputs)))


UNCHANGED: dict[str, Callable[[], Any]] = {
    "sabotaged: multilayer perceptron": mlp.build,
    "sabotaged: convolutional": convolutional.build,
    "sabotaged: residual": residual.build,
    "sabotaged: transformer": transformer.build,
    "sabotaged: recurrent": recurrent.build,
    "sabotaged: custom": custom.build,
    "zoo: autoencoder": lambda: zoo_models.build_autoencoder()[0],
    "zoo: two towers": lambda: zoo_models.build_two_tower()[0],
    "zoo: subclassed residual": lambda: zoo_models.build_subclassed_residual()[0],
    "zoo: LSTM classifier": lambda: zoo_models.build_lstm_classifier()[0],
    "unusual: tied weights": lambda: unusual_models.build_tied()[0],
    "unusual: noise and counters": lambda: unusual_models.build_custom()[0],
    "unusual: layer that cannot be made again": lambda: unusual_models.build_unknown_initializer()[0],
    "unusual: cut off from the loss": lambda: unusual_models.build_stopped()[0],
    "unusual: layers over time": lambda: unusual_models.build_time_distributed()[0],
    "unusual: recurrent dropout": lambda: unusual_models.build_recurrent_dropout()[0],
    "scaled when run": build_rescaled,
    "scaled when run, cannot be made again": lambda: build_rescaled(object()),
    "names that are made of names": lambda: keras.Sequential([keras.Input((16,)), Named(), Named(), layers.Dense(3)]),
    "attributes that differ in text": build_furnished,
    "weights that NumPy draws": build_positions,
    "weights from elsewhere": build_loaded,
    "at a limit: 8 x 16, ReLU": lambda: build_deep(8, 16),
    "beyond a limit: 12 x 16, ReLU": lambda: build_deep(12, 16),
    "at a limit: 16 x 8, ReLU, HeNormal": lambda: build_deep(16, 8, initializer="he_normal"),
    "at a limit: 2 x 12, sigmoid": lambda: build_deep(2, 12, "sigmoid"),
    "beyond a limit: 10 x 12, sigmoid": lambda: build_deep(10, 12, "sigmoid"),
    "beyond a limit: growing sums": build_growing,
    "at a limit: certain softmax": build_certain,
}
