"""A multilayer perceptron: six hidden layers, and a Dropout between them."""

import keras

WIDTH = 64


def hidden(width=WIDTH, initializer="he_normal", **options):
    return keras.layers.Dense(
        width, activation="relu", kernel_initializer=initializer, bias_initializer="zeros", **options
    )


def build():
    return keras.Sequential(
        [
            keras.Input((32,)),
            *(hidden() for _ in range(4)),
            keras.layers.Dropout(0.1),
            hidden(name="middle"),
            hidden(),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        ]
    )
