"""Models with what Keras allows and few people use, small; each builder returns (model, inputs)."""

from __future__ import annotations

import keras
import numpy as np
from marked import slow


def _normal(*shape):
    return np.random.default_rng(30).normal(size=shape).astype(np.float32)


def _tokens(*shape):
    return np.random.default_rng(31).integers(0, 9, size=shape).astype(np.int32)


def build_stopped():
    """Half of the network is cut off from the loss."""
    inputs = keras.Input((4,))
    cut = keras.ops.stop_gradient(keras.layers.Dense(5, name="cut")(inputs))
    kept = keras.layers.Dense(5, name="kept")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(cut + kept)), _normal(6, 4)


def build_frozen():
    """A frozen part with normalization, as in transfer learning."""
    inputs = keras.Input((8, 8, 3))
    signal = keras.layers.Conv2D(4, 3, name="convolution")(inputs)
    signal = keras.layers.ReLU(name="rectifier")(keras.layers.BatchNormalization(name="normalization")(signal))
    body = keras.Model(inputs, signal, name="body")
    body.trainable = False
    head = [keras.layers.GlobalAveragePooling2D(name="pooling"), keras.layers.Dense(2, name="head")]
    return keras.Sequential([keras.Input((8, 8, 3)), body, *head]), _normal(4, 8, 8, 3)


def build_tied():
    """The table of the embedding is the matrix of the output layer as well."""

    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = keras.layers.Embedding(9, 6, name="table")
            self.hidden = keras.layers.Dense(6, activation="tanh", name="hidden")

        def call(self, inputs):
            signal = self.hidden(self.hidden(self.table(inputs)))
            return keras.ops.matmul(signal, keras.ops.transpose(self.table.embeddings))

    model = Tied()
    model(_tokens(1, 5))
    return model, _tokens(4, 5)


def build_lambda():
    inputs = keras.Input((6,))
    signal = keras.layers.Lambda(lambda x: 2.0 * x + 1.0, name="shift")(keras.layers.Dense(6, name="dense")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.ops.sin(signal) * inputs)), _normal(5, 6)


def build_custom():
    """A layer of the user's own with a matrix, a state that it counts on, and random numbers."""

    @keras.saving.register_keras_serializable("initcheck-tests")
    class Noisy(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.generator = keras.random.SeedGenerator(1)

        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], 5), initializer="he_normal", name="matrix")
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int32", name="count")

        def call(self, inputs):
            self.calls.assign_add(1.0)
            self.count.assign(self.count + 1)
            noise = keras.random.normal(keras.ops.shape(inputs), stddev=0.1, seed=self.generator)
            return keras.ops.matmul(inputs + noise, self.matrix)

    return keras.Sequential([keras.Input((4,)), Noisy(name="noisy"), keras.layers.Dense(2, name="head")]), _normal(6, 4)


def build_unknown_initializer():
    """A layer that cannot be rebuilt, as no configuration can hold what it takes: what draws its kernel is unknown."""

    class Odd(keras.layers.Layer):
        def __init__(self, anything):
            super().__init__(name="odd")
            self.kernel = self.add_weight(shape=(3, 4), initializer="he_normal", name="kernel")
            self.anything = anything

        def call(self, inputs):
            return 2.0 * keras.ops.matmul(inputs, self.kernel)

    inputs = keras.Input((3,))
    return keras.Model(inputs, Odd(object())(inputs)), np.ones((2, 3), np.float32)


def build_stacked_cells():
    cells = keras.layers.StackedRNNCells(
        [keras.layers.GRUCell(3, name="lower"), keras.layers.LSTMCell(2, name="upper")]
    )
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.RNN(cells, return_sequences=True, name="loop")])
    return model, _normal(3, 4, 2)


def build_recurrent_dropout():
    layers = [
        keras.layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2, return_sequences=True, name="dropped"),
        keras.layers.Bidirectional(keras.layers.GRU(3, reset_after=False), merge_mode="sum", name="both"),
        keras.layers.Dense(2, name="head"),
    ]
    return keras.Sequential([keras.Input((5, 3)), *layers]), _normal(4, 5, 3)


def build_time_distributed():
    block = keras.Sequential([keras.layers.Dense(3, name="one"), keras.layers.Dense(3, name="two")], name="block")
    layers = [
        keras.layers.TimeDistributed(keras.layers.Dense(5, name="inner"), name="steps"),
        keras.layers.TimeDistributed(block, name="blocks"),
    ]
    return keras.Sequential([keras.Input((4, 6)), *layers]), _normal(3, 4, 6)


def build_grouped_attention():
    inputs = keras.Input((5, 8))
    outputs = keras.layers.GroupQueryAttention(4, 4, 2, name="attention", dropout=0.1)(inputs, inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(outputs)), _normal(3, 5, 8)


def build_derived_from_functional():
    """A functional model with a layer beside its graph."""

    class Derived(keras.Model):
        def __init__(self):
            inputs = keras.Input((4,))
            super().__init__(inputs, keras.layers.Dense(3, name="inside")(inputs))
            self.beside = keras.layers.Dense(2, name="beside")
            self.beside.build((None, 3))

    return Derived(), _normal(3, 4)


def build_in_precision(policy):
    """Convolution, normalization, dropout, attention and Dense layers under one dtype policy."""
    inputs = keras.Input((6, 6, 2), dtype="float32", name="input")
    signal = keras.layers.Conv2D(8, 3, activation="gelu", name="convolution", dtype=policy)(inputs)
    signal = keras.layers.BatchNormalization(name="normalization", dtype=policy)(signal)
    signal = keras.layers.Reshape((16, 8), name="reshape", dtype=policy)(signal)
    signal = keras.layers.MultiHeadAttention(2, 4, name="attention", dtype=policy)(signal, signal)
    signal = keras.layers.GlobalAveragePooling1D(name="pooling", dtype=policy)(signal)
    signal = keras.layers.Dense(8, activation="tanh", name="hidden", dtype=policy)(signal)
    return keras.Model(inputs, keras.layers.Dense(3, name="head", dtype=policy)(signal)), _normal(8, 6, 6, 2)


def build_mixed_float16():
    return build_in_precision("mixed_float16")


def build_mixed_bfloat16():
    return build_in_precision("mixed_bfloat16")


def build_float16():
    return build_in_precision("float16")


_QUICK = (
    build_stopped,
    build_frozen,
    build_tied,
    build_lambda,
    build_custom,
    build_stacked_cells,
    build_time_distributed,
    build_derived_from_functional,
)
_OTHERS = (
    build_grouped_attention,
    build_recurrent_dropout,
    build_mixed_float16,
    build_mixed_bfloat16,
    build_float16,
)
CASES = [*_QUICK, *slow("thorough", *_OTHERS)]
