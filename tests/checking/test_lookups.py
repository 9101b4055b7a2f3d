"""Looking for inputs of indices leaves the model as it was."""

from __future__ import annotations

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.checking.input_specs import record_lookups
from initcheck.checking.inputs import make_batch


def test_a_call_that_a_user_put_on_a_layer_is_used_and_stays():
    keras = import_keras()
    tokens, positions = (keras.layers.Embedding(5, 4, name=name) for name in ("tokens", "positions"))
    inputs = keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Add()([tokens(inputs), positions(inputs)]))
    seen = []

    def own(values):
        seen.append(values.shape)
        return type(tokens).call(tokens, values)

    object.__setattr__(tokens, "call", own)
    before = [dict(vars(layer)) for layer in (tokens, positions)]
    lookups = record_lookups(model, np.ones((2, 3), "int32"))
    assert [(each.path, each.rows) for each in lookups] == [("tokens", 5), ("positions", 5)]
    assert seen == [(2, 3)]
    make_batch(model)
    assert vars(tokens)["call"] is own
    assert [vars(layer) for layer in (tokens, positions)] == before
    assert [list(vars(layer)) for layer in (tokens, positions)] == [list(each) for each in before]
