"""Batches of the user's own, compared with what the model takes."""

from __future__ import annotations

import numpy as np
import pytest
from input_models import build_dense, build_tokens, build_towers, expect_message, own_model

from initcheck.backend.runtime import import_keras
from initcheck.checking.inputs import make_batch
from initcheck.core.errors import DataError, InitcheckError, UsageError


def test_a_batch_that_is_given_is_used_whole():
    x, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50)
    batch = make_batch(build_dense(), x, y, batch_size=8)
    np.testing.assert_array_equal(batch.inputs, x.astype(np.float32))
    np.testing.assert_array_equal(batch.labels, y)
    assert not batch.made and batch.description == "given, 50 samples of shape (4,)"


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        lambda x: import_keras().ops.convert_to_tensor(x),
        lambda x: [x],
        lambda x: {"any": x},
        lambda x: __import__("pandas").DataFrame(x),
    ],
    ids=["lists of numbers", "tensor", "list of one", "dict of one", "data frame"],
)
def test_a_single_input_may_come_in_many_forms(convert):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(make_batch(build_dense(), convert(x)).inputs, x)


def test_arrays_come_out_in_the_structure_of_the_model():
    tokens, numbers = np.ones((3, 7), np.int64), np.ones((3, 3))
    batch = make_batch(build_towers(), {"numbers": numbers, "tokens": tokens.astype(float)})
    assert batch.inputs["tokens"].dtype == np.int64 and batch.inputs["numbers"].dtype == np.float32
    keras = import_keras()
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    pair = keras.Model([left, right], keras.layers.Concatenate()([left, right]))
    by_name = make_batch(pair, {"right": np.ones((4, 3)), "left": np.ones((4, 2))}).inputs
    assert [part.shape for part in by_name] == [(4, 2), (4, 3)]
    column = make_batch(build_dense((1,)), np.ones(5)).inputs
    assert column.shape == (5, 1)


BAD = {
    "features": (build_dense, np.ones((3, 5)), "shape (4,). Received: an array of shape (3, 5)"),
    "rank": (build_dense, np.ones((3, 2, 4)), "shape (4,)"),
    "no batch axis": (build_dense, np.ones(4), "array[None]"),
    "single value": (build_dense, 3.0, "single value"),
    "no samples": (build_dense, np.ones((0, 4)), "empty"),
    "nothing": (build_dense, [], "empty"),
    "NaN": (build_dense, [[1, 2, np.nan, 4]], "1 value that is NaN or infinite, the first at index (0, 2)"),
    "infinite": (build_dense, [[np.inf, 2, np.inf, 4]], "2 values that are NaN"),
    "too large": (build_dense, np.full((2, 4), 1e300), "too large for float32"),
    "text": (build_dense, [["a", "b", "c", "d"]], "takes numbers"),
    "complex": (build_dense, np.ones((2, 4), complex), "complex128"),
    "unequal lengths": (build_dense, [[1, 2, 3, 4], [1, 2]], "padded"),
    "generator": (build_dense, iter([1]), "list_iterator"),
    "two arrays": (build_dense, [np.ones((3, 4)), np.ones((3, 4))], "a list of 2"),
    "halves for tokens": (build_tokens, np.full((2, 7), 0.5), "whole numbers (int32)"),
    "too long": (build_tokens, np.ones((2, 9), int), "shape (7,)"),
    "token out of range": (build_tokens, np.full((2, 7), 11), "rows 0 to 10, to the row 11"),
    "token below 0": (build_tokens, np.full((2, 7), -1), "to the row -1"),
    "too large for int32": (build_tokens, np.full((2, 7), 2**40), "whole numbers (int32)"),
    "array for a dict": (build_towers, np.ones((3, 3)), "dict with the keys 'tokens', 'numbers'"),
    "missing key": (build_towers, {"tokens": np.ones((3, 4), int)}, "lacks 'numbers'"),
    "unknown key": (
        build_towers,
        {"tokens": np.ones((3, 4), int), "numbers": np.ones((3, 3)), "more": np.ones(3)},
        "unknown inputs: 'more'",
    ),
    "unequal numbers": (build_towers, {"tokens": np.ones((3, 4), int), "numbers": np.ones((2, 3))}, "same number"),
    "NaN in one": (
        build_towers,
        {"tokens": np.ones((1, 4), int), "numbers": [[1, np.nan, 2]]},
        "Input 'numbers' has 1 value",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_batch_that_does_not_fit_is_refused_in_one_line(name):
    build, x, words = BAD[name]
    assert words in expect_message(DataError, lambda: make_batch(build(), x))


@pytest.mark.parametrize(
    "name", ["no samples", "NaN", "complex", "unequal lengths", "generator", "nothing", "too large"]
)
def test_an_unbuilt_model_gets_no_bad_data_either(name):
    model = own_model(lambda parts, x: parts[0](x), import_keras().layers.Dense(3))
    expect_message(DataError, lambda: make_batch(model, BAD[name][1]))
    assert not model.built


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.ones((3, 4)), np.ones(2), "Received: 3 samples, 2 labels"),
        (np.ones((3, 4)), [0, 1, np.nan], "NaN"),
        (np.ones((3, 4)), ["a", "b", "c"], "numbers"),
        (np.ones((3, 4)), {"a": np.ones(3), "b": np.ones(4)}, "y, labels 1, must"),
        (None, np.ones(3), "without x"),
    ],
)
def test_labels_that_do_not_belong_to_the_inputs_are_refused(x, y, words):
    assert words in expect_message(InitcheckError, lambda: make_batch(build_dense(), x, y))


def test_shapes_beside_a_batch_are_refused():
    assert "x is given" in expect_message(
        UsageError, lambda: make_batch(build_dense(), np.ones((3, 4)), input_shapes=["4"])
    )


def test_a_subclassed_model_takes_other_lengths_than_it_was_built_with_but_no_other_rank():
    keras = import_keras()
    model = own_model(lambda parts, x: parts[0](x), keras.layers.Conv1D(2, 3))
    model(np.ones((2, 9, 4), np.float32))
    assert make_batch(model, np.ones((3, 20, 4))).inputs.shape == (3, 20, 4)
    assert make_batch(model, input_shapes=["12,4"]).inputs.shape == (32, 12, 4)
    assert "(any, any)" in expect_message(DataError, lambda: make_batch(model, np.ones((3, 20))))
