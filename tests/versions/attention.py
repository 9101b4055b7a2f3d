"""A model whose weights Keras 3.14 and Keras 3.15 draw with different variances, though nothing in it says so."""

from __future__ import annotations

import keras


def build() -> keras.Model:
    """Build a block of attention with eight heads of eight units."""
    inputs = keras.Input((16, 64))
    hidden = keras.layers.LayerNormalization()(inputs)
    hidden = keras.layers.MultiHeadAttention(num_heads=8, key_dim=8)(hidden, hidden)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Add()([inputs, hidden])))
