"""A small transformer that predicts the next token."""

import keras

TOKENS, WIDTH = 40, 32


def add_block(hidden, name):
    normal = keras.layers.LayerNormalization(name=f"{name}_attention_norm")(hidden)
    attention = keras.layers.MultiHeadAttention(num_heads=4, key_dim=8, name=f"{name}_attention")
    hidden = hidden + attention(normal, normal, use_causal_mask=True)
    normal = keras.layers.LayerNormalization(name=f"{name}_norm")(hidden)
    branch = keras.layers.Dense(64, activation="gelu", kernel_initializer="he_normal", name=f"{name}_up")(normal)
    return hidden + keras.layers.Dense(WIDTH, name=f"{name}_down")(branch)


def build():
    inputs = keras.Input((12,), dtype="int32")
    drawn = keras.initializers.RandomNormal(stddev=0.02)
    hidden = keras.layers.Embedding(TOKENS, WIDTH, embeddings_initializer=drawn, name="tokens")(inputs)
    for place in range(2):
        hidden = add_block(hidden, f"block{place}")
    hidden = keras.layers.LayerNormalization(name="final_norm")(hidden)
    return keras.Model(inputs, keras.layers.Dense(TOKENS, name="head")(hidden))
