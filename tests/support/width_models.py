"""Factories of networks whose exponents in the width are known."""

from __future__ import annotations

from functools import cache

from initcheck.backend.runtime import import_keras

INPUTS, CLASSES = 16, 10


@cache
def scaled_dense():
    """A Dense layer without bias whose kernel is multiplied: the multiplier scales its learning rate too."""
    keras = import_keras()

    class ScaledDense(keras.layers.Layer):
        def __init__(self, units, multiplier, deviation, activation=None, **settings):
            super().__init__(**settings)
            self.units, self.multiplier = units, multiplier
            self.activation = keras.activations.get(activation)
            self.kernel_initializer = keras.initializers.RandomNormal(0.0, deviation)

        def build(self, shape):
            shape = (shape[-1], self.units)
            self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")

        def call(self, inputs):
            return self.activation(self.multiplier * (inputs @ self.kernel))

    return ScaledDense


def make_maximal_update(width=64):
    """The maximal update parametrization for SGD (Yang and Hu 2021, table 1): W_l = n^-a w_l, w_l ~ N(0, n^-2b).

    a = -1/2, 0, 1/2 for the first, the hidden and the last layer, b = 1/2: the last kernel has the variance 1/width^2
    in effect.
    """
    keras = import_keras()
    deviation = width**-0.5
    inputs = keras.Input((INPUTS,))
    signal = scaled_dense()(width, width**0.5 / 4, deviation, "tanh", name="first")(inputs)
    signal = scaled_dense()(width, 1.0, deviation, "tanh", name="second")(signal)
    return keras.Model(inputs, scaled_dense()(CLASSES, width**-0.5, deviation, name="last")(signal))


def make_standard(width=64, activation="tanh", initializer="lecun_normal", last=None):
    """Dense layers with variance 1/fan_in each, as everybody builds them; ``last`` is the output's activation."""
    keras = import_keras()
    inputs = keras.Input((INPUTS,))
    signal = keras.layers.Dense(width, activation, kernel_initializer=initializer, name="first")(inputs)
    signal = keras.layers.Dense(width, activation, kernel_initializer=initializer, name="second")(signal)
    return keras.Model(
        inputs, keras.layers.Dense(CLASSES, last, kernel_initializer="lecun_normal", name="last")(signal)
    )


def make_fixed_deviation(width=64):
    """The planted mistake: one standard deviation for all widths."""
    keras = import_keras()
    wrong = keras.initializers.RandomNormal(0.0, 0.05)
    inputs = keras.Input((INPUTS,))
    signal = keras.layers.Dense(width, "relu", kernel_initializer="he_normal", name="first")(inputs)
    signal = keras.layers.Dense(width, "relu", kernel_initializer=wrong, name="second")(signal)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, kernel_initializer="lecun_normal", name="last")(signal))


def make_deeper_when_wider(width=64):
    """Layers change with the width, which no check can compare."""
    keras = import_keras()
    inputs = keras.Input((INPUTS,))
    signal = keras.layers.Dense(width, name="first")(inputs)
    if width > 100:
        signal = keras.layers.Dense(width, name="extra")(signal)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="last")(signal))


def make_without_width():
    return make_standard(8)


def make_regardless(width=64, depth=1):
    return make_standard(8)


def make_wider_inputs(width=64):
    keras = import_keras()
    inputs = keras.Input((width,))
    return keras.Model(inputs, keras.layers.Dense(3, name="last")(inputs))


def make_flattened(width=64):
    """A layer without weights in front, and the output's activation function as a layer of its own."""
    keras = import_keras()
    inputs = keras.Input((4, 4))
    signal = keras.layers.Flatten(name="flat")(inputs)
    signal = keras.layers.Dense(width, "relu", kernel_initializer="he_normal", name="hidden")(signal)
    signal = keras.layers.Dense(CLASSES, name="logits")(signal)
    return keras.Model(inputs, keras.layers.Activation("softmax", name="softmax")(signal))


def make_frozen(width=64):
    model = make_standard(width)
    model.trainable = False
    return model


def make_compiled(width=64):
    model = make_standard(width, last="softmax")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def make_unsettled(width=64):
    """Normalization, dropout, one output unit."""
    keras = import_keras()
    inputs = keras.Input((INPUTS,))
    signal = keras.layers.Dense(width, use_bias=False, name="first")(inputs)
    signal = keras.layers.BatchNormalization(name="normalization")(signal)
    signal = keras.layers.Activation("relu", name="relu")(signal)
    signal = keras.layers.Dropout(0.3, seed=1, name="dropout")(signal)
    return keras.Model(inputs, keras.layers.Dense(1, name="last")(signal))
