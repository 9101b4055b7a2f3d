"""Four residual blocks with LayerNormalization, and a connection around all of them."""

import keras


def add_block(hidden, name):
    branch = keras.layers.LayerNormalization(epsilon=1e-3, name=f"{name}_norm")(hidden)
    branch = keras.layers.Dense(64, activation="gelu", name=f"{name}_up")(branch)
    branch = keras.layers.Dense(32, name=f"{name}_down")(branch)
    return keras.layers.Add(name=f"{name}_add")([hidden, branch])


def build():
    inputs = keras.Input((32,))
    hidden = inputs
    for place in range(4):
        hidden = add_block(hidden, f"block{place}")
    hidden = keras.layers.Add(name="join")([inputs, hidden])
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(hidden))
