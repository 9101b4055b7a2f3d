"""Functional models with one defect for each kind of cause, as a user would write them, and what is wrong in figures.

The figure is computed from the model that the code makes, by plain Keras and a tape, with sums in float64: nothing of
initcheck is used, so that it can judge what initcheck wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")

CODE = '''"""Models with a defect each."""

import keras
from keras import layers, ops



def small_layer():
    x = inputs = keras.Input((48,))
    for k in range(6):
        x = layers.Dense(48, activation="relu", kernel_initializer="he_normal", name=f"dense{k}")(x)
    x = layers.Dense(
        48,
        activation="relu",
        kernel_initializer=keras.initializers.RandomNormal(stddev=1e-4),  # a slip
        name="small",
    )(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def large_head():
    x = inputs = keras.Input((48,))
    x = layers.Dense(48, activation="tanh")(x)
    head = keras.initializers.RandomNormal(stddev=4.0)
    return keras.Model(inputs, layers.Dense(4, kernel_initializer=head, name="head")(x))


def einsum_layers():
    x = inputs = keras.Input((6, 8, 4))
    for k in range(5):
        x = layers.EinsumDense(
            "abcd,cdef->abef",
            (None, 8, 4),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            name=f"mix{k}",
        )(x)
    return keras.Model(inputs, x)


def wrong_fan():
    x = inputs = keras.Input((16, 16, 32))
    for k in range(4):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu", depthwise_initializer="he_normal")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))


def table():
    words = keras.Input((12,), dtype="int32")
    large = keras.initializers.RandomNormal(stddev=30.0)
    x = layers.Embedding(50, 16, embeddings_initializer=large, name="table")(words)
    x = layers.Dense(16, activation="tanh", name="hidden")(layers.GlobalAveragePooling1D()(x))
    return keras.Model(words, layers.Dense(3, name="head")(x))


def constant_kernel():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, activation="tanh", kernel_initializer="ones", name="equal")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def copied_kernels():
    x = inputs = keras.Input((24,))
    for name in ("one", "two", "three"):
        x = layers.Dense(24, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=7), name=name)(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def shut_by_a_bias():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, activation="relu", kernel_initializer="he_normal", name="one")(x)
    shut = keras.initializers.Constant(-9.0)
    x = layers.Dense(24, "relu", True, "he_normal", shut, name="shut")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def residual_sums():
    x = inputs = keras.Input((32,))
    x = layers.Dense(32, name="stem")(x)
    for k in range(14):
        h = layers.Dense(32, activation="relu", kernel_initializer="he_normal", name=f"up{k}")(x)
        h = layers.Dense(32, kernel_initializer=keras.initializers.VarianceScaling(2.0), name=f"down{k}")(h)
        x = layers.Add(name=f"sum{k}")([x, h])
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def unscaled_scores():
    x = inputs = keras.Input((10, 48))
    x = layers.LayerNormalization()(x)
    q = layers.Dense(48, name="query")(x)
    k = layers.Dense(48, name="key")(x)
    scores = layers.Softmax(name="weights")(ops.matmul(q, ops.swapaxes(k, 1, 2)))
    x = ops.matmul(scores, layers.Dense(48, name="value")(x))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def raw_inputs():
    x = inputs = keras.Input((20,), name="columns")
    for k in range(3):
        x = layers.Dense(32, activation="tanh", name=f"dense{k}")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def small_scale():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, name="one")(x)
    x = layers.BatchNormalization(gamma_initializer=keras.initializers.Constant(1e-4), name="norm")(x)
    x = layers.Dense(24, activation="relu", kernel_initializer="he_normal", name="two")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def large_epsilon():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, name="one")(x)
    x = layers.LayerNormalization(epsilon=1e4, name="norm")(x)
    x = layers.Dense(24, activation="relu", kernel_initializer="he_normal", name="two")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def short_memory():
    x = inputs = keras.Input((60, 8))
    small = keras.initializers.RandomNormal(stddev=0.02)
    x = layers.SimpleRNN(32, recurrent_initializer=small, name="rnn")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


class LowRank(layers.Layer):
    def build(self, shape):
        self.a = self.add_weight(shape=(shape[-1], 4), initializer="zeros", name="a")
        self.b = self.add_weight(shape=(4, shape[-1]), initializer="zeros", name="b")

    def call(self, x):
        return x + ops.matmul(ops.matmul(x, self.a), self.b)


def zero_factors():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, activation="tanh", name="one")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(LowRank(name="adapter")(x)))


def one_class():
    x = inputs = keras.Input((24,))
    x = layers.Dense(24, activation="relu", name="one")(x)
    return keras.Model(inputs, layers.Dense(1, activation="softmax", name="head")(x))
'''


def give(model: Any, x: Any, name: str) -> Any:
    """Compute the outputs of a layer."""
    return np.asarray(keras.Model(model.inputs, model.get_layer(name).output)(x, training=True), dtype=np.float64)


def between_depthwise(model: Any, x: Any) -> float:
    """Measure the factor between the outputs of the first and the last depthwise convolution."""
    found = [each.name for each in model.layers if isinstance(each, keras.layers.DepthwiseConv2D)]
    return change(found[0], found[-1])(model, x)


def square(values: Any) -> float:
    """Take the mean of the squares."""
    return float(np.mean(np.square(np.asarray(values, dtype=np.float64))))


def change(first: str, last: str) -> Callable[[Any, Any], float]:
    """Measure the factor by which the root mean square changes between two layers' outputs."""
    return lambda model, x: float(np.sqrt(square(give(model, x, last)) / square(give(model, x, first))))


def weight_gradients(model: Any, x: Any, *names: str) -> list[float]:
    """Compute the root mean squares of the gradients of weights, by a fixed direction of the outputs."""
    with tf.GradientTape() as tape:
        y = model(x, training=True)
        loss = tf.reduce_sum(y * tf.random.stateless_normal(tf.shape(y), (1, 2)))
    weights = [each for each in model.trainable_weights if each.path.split("/", 1)[-1] in names or each.path in names]
    assert len(weights) == len(names), [each.path for each in model.trainable_weights]
    return [float(np.sqrt(square(each))) for each in tape.gradient(loss, [each.value for each in weights])]


def memory(model: Any, x: Any) -> float:
    """Compare the gradient with respect to the first of 60 steps with that of the last, root of squares a step."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
        loss = tf.reduce_sum(y * tf.random.stateless_normal(tf.shape(y), (1, 2)))
    steps = np.mean(np.square(np.asarray(tape.gradient(loss, x), dtype=np.float64)), axis=(0, 2))
    # Ten steps back: further away a short memory is below the smallest float32.
    return float((max(steps[-11], 1e-300) / steps[-1]) ** (0.5 / 10))


def twins(model: Any, x: Any, *names: str) -> float:
    """Measure the largest correlation between two of the kernels."""
    kernels = [np.asarray(model.get_layer(name).kernel, dtype=np.float64).ravel() for name in names]
    return float(np.max(np.abs(np.corrcoef(kernels)[np.triu_indices(len(kernels), 1)])))


def equal_units(model: Any, x: Any) -> float:
    """Measure which share of the units is a copy of another one."""
    h = give(model, x, "equal")
    return 1.0 - (len(np.unique(h.round(5), axis=1).T) - 1) / (h.shape[1] - 1)


def largest_share(model: Any, x: Any) -> float:
    """Measure the mean of the largest weight of each row of attention."""
    return float(np.mean(np.max(give(model, x, "weights"), axis=-1)))


@dataclass(frozen=True)
class Curable:
    """A model, its figure, and within which bounds it is right.

    Attributes:
        figure: from the model and its batch.
        low: at least so much of it is right.
        high: at most so much of it is right.
        scale: what normal inputs are multiplied by.
    """

    figure: Callable[[Any, Any], float]
    low: float
    high: float
    scale: float = 1.0

    def is_right(self, value: float) -> bool:
        """Find whether a figure lies within its bounds."""
        return self.low <= value <= self.high


CURABLE = {
    "small_layer": Curable(change("dense5", "small"), 0.3, 3.0),
    "large_head": Curable(lambda model, x: float(np.sqrt(square(model(x, training=True)))), 0.1, 3.0),
    "einsum_layers": Curable(change("mix0", "mix4"), 0.2, 5.0),
    "wrong_fan": Curable(between_depthwise, 0.2, 5.0),
    "table": Curable(lambda model, x: float(np.mean(np.abs(give(model, x, "hidden")) > 0.99)), 0.0, 0.3),
    "constant_kernel": Curable(equal_units, 0.0, 0.01),
    "copied_kernels": Curable(lambda model, x: twins(model, x, "one", "two", "three"), 0.0, 0.3),
    "shut_by_a_bias": Curable(lambda model, x: float(np.mean(give(model, x, "shut") > 0.0)), 0.2, 0.8),
    "residual_sums": Curable(change("stem", "sum13"), 0.3, 10.0),
    "unscaled_scores": Curable(largest_share, 0.0, 0.7),
    "raw_inputs": Curable(lambda model, x: float(np.mean(np.abs(give(model, x, "dense0")) > 0.99)), 0.0, 0.3, 300.0),
    "small_scale": Curable(change("one", "norm"), 0.3, 3.0),
    "large_epsilon": Curable(change("one", "norm"), 0.3, 3.0),
    "short_memory": Curable(memory, 0.3, 1.2),
    "zero_factors": Curable(lambda model, x: sum(weight_gradients(model, x, "adapter/a", "adapter/b")), 1e-3, 1e3),
    "one_class": Curable(lambda model, x: float(np.std(np.asarray(model(x, training=True)))), 1e-3, 1.0),
}
