"""A model whose weights Keras 3.12 and Keras 3.15 draw with different variances, though nothing in it says so."""

from __future__ import annotations

import keras


def build() -> keras.Model:
    """Build a block of attention with four heads of eight units."""
    inputs = keras.Input((16, 32))
    hidden = keras.layers.LayerNormalization()(inputs)
    hidden = keras.layers.MultiHeadAttention(num_heads=4, key_dim=8)(hidden, hidden)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Add()([inputs, hidden])))
