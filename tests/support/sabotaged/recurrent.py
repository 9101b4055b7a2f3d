"""An LSTM that reads both ways, and a GRU behind it."""

import keras


def build():
    return keras.Sequential(
        [
            keras.Input((10, 8)),
            keras.layers.Bidirectional(
                keras.layers.LSTM(16, return_sequences=True, unit_forget_bias=True), merge_mode="sum"
            ),
            keras.layers.GRU(16, recurrent_activation="sigmoid", recurrent_initializer="orthogonal"),
            keras.layers.Dense(3, name="head"),
        ]
    )
