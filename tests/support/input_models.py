"""Models whose inputs the tests of batches are about, and the shape of a message to a user."""

from __future__ import annotations

import re

import pytest

from initcheck.backend.runtime import import_keras


def build_dense(shape=(4,), dtype="float32", **options):
    keras = import_keras()
    return keras.Sequential([keras.Input(shape, dtype=dtype, **options), keras.layers.Dense(3, name="head")])


def build_tokens(dtype="int32", rows=11, length=7, **options):
    keras = import_keras()
    inputs = keras.Input((length,), dtype=dtype, name="tokens")
    return keras.Model(inputs, keras.layers.Embedding(rows, 4, name="table", **options)(inputs))


def build_towers():
    """Two inputs by name, one of them of indices, in a nested model."""
    keras = import_keras()
    inside = keras.Input((None,), dtype="int64")
    tower = keras.Model(inside, keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 4)(inside)))
    tokens, numbers = keras.Input((None,), dtype="int64", name="tokens"), keras.Input((3,), name="numbers")
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([tower(tokens), numbers]))
    return keras.Model({"tokens": tokens, "numbers": numbers}, outputs)


def own_model(call, *layers):
    """A subclassed model, unbuilt."""
    keras = import_keras()

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = list(layers)

        def call(self, inputs):
            return call(self.parts, inputs)

    return Own()


def expect_message(error_class, call):
    with pytest.raises(error_class) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(r"[.?)]$", message), message
    return message
