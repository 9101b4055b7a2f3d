"""Batches made from what a model takes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from input_models import build_dense, build_tokens, build_towers, expect_message, own_model

from initcheck.backend.random_state import set_random_seed
from initcheck.backend.runtime import import_keras
from initcheck.checking.inputs import make_batch
from initcheck.core.errors import DataError, ModelError, UsageError
from initcheck.probe import Probe, RedrawPlan

# --- batches that are made --------------------------------------------------------------------------------------------


def test_float_inputs_are_normal_with_variance_one():
    batch = make_batch(build_dense((50,)), batch_size=200, seed=3)
    assert batch.inputs.shape == (200, 50) and batch.inputs.dtype == np.float32
    assert batch.made and batch.labels is None and batch.initializers == {}
    assert batch.description == "normal with variance 1, 200 samples of shape (50,)"
    count = batch.inputs.size
    assert abs(batch.inputs.mean()) < 5 / np.sqrt(count)
    assert abs(batch.inputs.var() - 1) < 5 * np.sqrt(2 / count)


@pytest.mark.parametrize("build", [build_dense, build_tokens, build_towers])
def test_the_same_seed_gives_the_same_batch_and_another_seed_another(build):
    tree = import_keras().tree
    one, same, other = (tree.flatten(make_batch(build(), seed=seed).inputs) for seed in (5, 5, 6))
    for mine, again, different in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(mine, again)
        assert not np.array_equal(mine, different)


def test_global_random_states_do_not_move_on():
    keras = import_keras()
    random.seed(1)
    np.random.seed(1)
    set_random_seed(1)
    expected = random.random(), np.random.random(), np.asarray(keras.random.normal((3,))).tolist()
    set_random_seed(1)
    for model in (build_dense(), build_tokens()):
        set_random_seed(1)
        make_batch(model)
        own = own_model(lambda parts, x: parts[1](parts[0](x)), keras.layers.Dense(3), keras.layers.Dropout(0.5))
        set_random_seed(1)
        make_batch(own, input_shapes=["4"])
        assert (random.random(), np.random.random(), np.asarray(keras.random.normal((3,))).tolist()) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float16", "float16"), ("float64", "float64"), ("bfloat16", "float32")]
)
def test_floats_come_in_the_dtype_of_the_input(dtype, expected):
    assert make_batch(build_dense(dtype=dtype)).inputs.dtype == expected


def index_model(call, length=7):
    keras = import_keras()
    inputs = keras.Input((length,), dtype="int32")
    return keras.Model(inputs, call(keras.layers, inputs))


def look_up_tokens_and_positions(layers, inputs):
    class TokensAndPositions(layers.Layer):
        def __init__(self):
            super().__init__()
            self.tokens = layers.Embedding(9, 4, name="words")
            self.positions = layers.Embedding(6, 4)

        def call(self, inputs):
            return self.tokens(inputs) + self.positions(import_keras().ops.arange(6))

    return TokensAndPositions()(inputs)


RANGES = {
    "the rows of a table": (build_tokens, range(11), "whole numbers from 0 to 10, the range of table"),
    "declared as floats": (lambda: build_tokens(dtype="float32"), range(11), ""),
    "without padding": (lambda: build_tokens(mask_zero=True), range(1, 11), "padding"),
    "the smallest of several tables": (
        lambda: index_model(lambda layers, x: layers.Add()([layers.Embedding(rows, 4)(x) for rows in (30, 6, 20)])),
        range(6),
        "",
    ),
    "an offset above": (lambda: index_model(lambda layers, x: layers.Embedding(10, 4)(x + 2)), range(8), ""),
    "an offset below": (lambda: index_model(lambda layers, x: layers.Embedding(10, 4)(x - 1)), range(1, 10), ""),
    "tokens beside positions": (
        lambda: index_model(look_up_tokens_and_positions, 6),
        range(9),
        "the range of tokens_and_positions/words, 64",
    ),
    "a category encoding": (
        lambda: index_model(lambda layers, x: layers.CategoryEncoding(5, output_mode="multi_hot")(x), 3),
        range(5),
        "",
    ),
}


@pytest.mark.parametrize(("build", "values", "words"), RANGES.values(), ids=RANGES)
def test_whole_numbers_cover_what_the_model_can_look_up_and_no_more(build, values, words):
    batch = make_batch(build(), batch_size=64)
    assert sorted(np.unique(batch.inputs)) == list(values)
    assert words in batch.description


def test_whole_numbers_have_the_dtype_of_the_input():
    assert make_batch(build_tokens()).inputs.dtype == np.int32


def test_each_input_has_the_range_of_its_own_table():
    keras = import_keras()
    left, right, free = (keras.Input((5,), dtype="int32", name=name) for name in ("left", "right", "free"))
    joined = keras.layers.Add()([keras.layers.Embedding(4, 3)(left), keras.layers.Embedding(9, 3)(right)])
    model = keras.Model([left, right, free], [joined, keras.ops.cast(free, "float32")])
    batch = make_batch(model, batch_size=64)
    assert [int(part.max()) for part in batch.inputs] == [3, 8, 1]
    assert "'free': whole numbers 0 and 1, because no Embedding tells their range" in batch.description


def test_dicts_and_nested_models_and_open_lengths():
    batch = make_batch(build_towers(), batch_size=64)
    assert set(batch.inputs) == {"tokens", "numbers"}
    assert batch.inputs["tokens"].shape == (64, 16) and batch.inputs["tokens"].dtype == np.int64
    assert sorted(np.unique(batch.inputs["tokens"])) == list(range(5))
    assert batch.inputs["numbers"].dtype == np.float32
    assert "'tokens': whole numbers from 0 to 4" in batch.description
    assert "16 chosen for the axis that the model leaves open" in batch.description


def test_a_layer_that_looks_up_positions_beside_floats_leaves_the_floats_alone():
    keras = import_keras()

    class Patches(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.project, self.positions = keras.layers.Dense(4), keras.layers.Embedding(6, 4)

        def call(self, inputs):
            return self.project(inputs) + self.positions(keras.ops.arange(6))

    inputs = keras.Input((6, 3))
    batch = make_batch(keras.Model(inputs, Patches()(inputs)))
    assert "normal with variance 1" in batch.description
    assert len(np.unique(batch.inputs)) > 100


def test_booleans_have_equal_chance():
    keras = import_keras()
    inputs = keras.Input((100,), dtype="bool")
    batch = make_batch(keras.Model(inputs, keras.ops.cast(inputs, "float32")), batch_size=100)
    assert batch.inputs.dtype == np.bool_
    assert abs(batch.inputs.mean() - 0.5) < 5 * 0.5 / 100
    assert "True and False" in batch.description


def test_images_of_bytes_have_the_range_of_bytes():
    keras = import_keras()
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    batch = make_batch(keras.Model(inputs, keras.layers.Rescaling(1 / 255)(inputs)))
    assert batch.inputs.dtype == np.uint8 and (batch.inputs.min(), batch.inputs.max()) == (0, 255)


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((None, None, 3), (64, 64, 3)),
        ((3, None, None), (3, 64, 64)),
        ((None, None, None), (64, 64, 3)),
        ((None, 8, 3), (16, 8, 3)),
        ((None, 5), (16, 5)),
        ((None,), (16,)),
        ((None, None, None, 2), (16, 16, 16, 2)),
        ((), ()),
    ],
)
def test_open_axes_get_a_length_and_the_description_says_so(shape, made):
    keras = import_keras()
    inputs = keras.Input(shape)
    batch = make_batch(keras.Model(inputs, keras.ops.tanh(inputs)), batch_size=2)
    assert batch.inputs.shape == (2, *made)
    assert ("chosen for the" in batch.description) == (None in shape)


def test_input_shapes_take_precedence_by_name_and_by_order():
    model = build_towers()
    assert make_batch(model, input_shapes=["tokens=128"]).inputs["tokens"].shape == (32, 128)
    keras = import_keras()
    inputs = keras.Input((None, None, 3))
    image = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    batch = make_batch(image, input_shapes=["(20,30,3)"], batch_size=2)
    assert batch.inputs.shape == (2, 20, 30, 3) and "chosen" not in batch.description
    left, right = keras.Input((None,)), keras.Input((None,))
    pair = keras.Model([left, right], [keras.ops.tanh(left), keras.ops.tanh(right)])
    assert [part.shape[1] for part in make_batch(pair, input_shapes=["3", "5"]).inputs] == [3, 5]
    assert [part.shape[1] for part in make_batch(pair, input_shapes=["input_1=5"]).inputs] == [16, 5]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (["4,x"], "'4,x'"),
        (["0"], "at least 1"),
        (["-1"], "at least 1"),
        ([""], "at least 1"),
        (["=4"], "'=4'"),
        (["tokns=4"], "Did you mean tokens"),
        (["4"], "1 shapes without names"),
        (["4", "5", "6"], "3 shapes without names"),
        (["tokens=4", "tokens=5"], "twice"),
        (["tokens=4", "5"], "for all inputs or for none"),
        (["numbers=4"], "takes samples of shape (3,). Received: --input-shape 4"),
        (["tokens=32,4"], "Leave out the batch axis"),
        (["tokens=99999999999"], "are made"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_in_one_line(shapes, words):
    model = build_towers()
    assert words in expect_message(UsageError, lambda: make_batch(model, input_shapes=shapes))


@pytest.mark.parametrize("size", [0, -3, True, 2.5, None])
def test_a_batch_size_must_be_a_whole_number_of_at_least_one(size):
    assert "batch size" in expect_message(UsageError, lambda: make_batch(build_dense(), batch_size=size))


def test_a_batch_size_that_the_model_fixes_is_kept():
    keras = import_keras()
    inputs = keras.Input(batch_shape=(5, 4))
    model = keras.Model(inputs, keras.ops.reshape(inputs, (5, 2, 2)))
    assert make_batch(model).inputs.shape == (5, 4)
    assert "5 samples" in expect_message(DataError, lambda: make_batch(model, np.zeros((4, 4))))
    called = keras.Sequential([keras.layers.Dense(3)])
    called(np.zeros((2, 4), np.float32))
    assert make_batch(called).inputs.shape == (32, 4)  # built by a call, it takes any number


def test_text_is_not_made():
    pytest.importorskip("tensorflow", reason="layers of Keras that read text need it")
    keras = import_keras()
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, keras.layers.StringLookup(vocabulary=["a", "b"])(inputs))
    assert "text" in expect_message(ModelError, lambda: make_batch(model))
    assert make_batch(model, np.asarray([["a"], ["b"]])).inputs.shape == (2, 1)


def test_a_built_model_is_left_as_it_was():
    keras = import_keras()
    inputs = keras.Input(batch_shape=(4, 7), dtype="int32")
    hidden = keras.layers.Embedding(11, 4, name="table")(inputs)
    hidden = keras.layers.BatchNormalization()(keras.layers.Dropout(0.5)(hidden))
    model = keras.Model(inputs, keras.layers.LSTM(3, stateful=True)(hidden))
    variables = [*model.variables, *model.layers[-1].states]
    before = [np.asarray(variable).copy() for variable in variables]
    make_batch(model)
    for old, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(old, np.asarray(variable))
    assert "call" not in vars(model.get_layer("table"))
    model(np.ones((4, 7), np.int32))  # the negative control: a plain call moves the states on
    assert any(not np.array_equal(old, np.asarray(new)) for old, new in zip(before, variables, strict=True))


# --- models that are not built ----------------------------------------------------------------------------------------


def test_an_unbuilt_model_needs_a_shape_or_a_batch():
    keras = import_keras()
    for model in (keras.Sequential([keras.layers.Dense(3)]), own_model(lambda parts, x: x)):
        assert "Give --input-shape" in expect_message(ModelError, lambda model=model: make_batch(model))


@pytest.mark.parametrize("given", [False, True])
def test_an_unbuilt_model_is_built_and_its_initializers_recorded(given):
    keras = import_keras()
    model = own_model(
        lambda parts, x: parts[1](parts[0](x)),
        keras.layers.Dense(5, kernel_initializer="he_normal", name="first"),
        keras.layers.Dense(2, name="second"),
    )
    batch = make_batch(model, np.ones((3, 4), np.float32)) if given else make_batch(model, input_shapes=["4"])
    assert model.built and batch.made is not given
    assert type(batch.initializers["first/kernel"]).__name__ == "HeNormal"
    assert RedrawPlan(model, batch.initializers).kept == {}
    table = Probe(model, batch.inputs, initializers=batch.initializers).measure([0])
    assert {"first", "second"} <= set(table["layer"])
    # Built now, it remembers its shape.
    assert make_batch(model).inputs.shape == (32, 4)


def test_an_unbuilt_sequential_of_tokens_gets_whole_numbers():
    keras = import_keras()
    model = keras.Sequential([keras.layers.Embedding(6, 3), keras.layers.LSTM(2)])
    batch = make_batch(model, input_shapes=["8"], batch_size=64)
    assert sorted(np.unique(batch.inputs)) == list(range(6))
    assert np.isfinite(Probe(model, batch.inputs).measure([0])["activation_variance"].dropna()).all()


def test_an_unbuilt_model_of_named_or_several_inputs():
    keras = import_keras()
    named = own_model(
        lambda parts, x: parts[0](x["a"]) + parts[1](x["b"]), keras.layers.Dense(2), keras.layers.Dense(2)
    )
    batch = make_batch(named, input_shapes=["a=4", "b=5"])
    assert {name: part.shape for name, part in batch.inputs.items()} == {"a": (32, 4), "b": (32, 5)}
    again = make_batch(named)
    assert {name: part.shape for name, part in again.inputs.items()} == {"a": (32, 4), "b": (32, 5)}
    listed = own_model(lambda parts, x: parts[0](x[0]) + parts[1](x[1]), keras.layers.Dense(2), keras.layers.Dense(2))
    assert [part.shape for part in make_batch(listed, input_shapes=["4", "5"]).inputs] == [(32, 4), (32, 5)]
    assert [part.shape for part in make_batch(listed).inputs] == [(32, 4), (32, 5)]


def test_a_model_that_takes_no_floats_is_built_on_whole_numbers():
    keras = import_keras()
    model = own_model(
        lambda parts, x: parts[0](keras.ops.one_hot(keras.ops.bitwise_and(x, 3), 4)), keras.layers.Dense(2)
    )
    batch = make_batch(model, input_shapes=["5"])
    assert batch.inputs.dtype == np.int32 and "0 and 1" in batch.description


def test_a_model_that_build_marked_but_did_not_build_is_built():
    keras = import_keras()
    model = own_model(lambda parts, x: parts[0](x), keras.layers.Dense(3))
    model.built = True
    assert not model.weights
    batch = make_batch(model, np.ones((2, 4), np.float32))
    assert len(model.weights) == 2 and len(batch.initializers) == 2


def test_a_call_that_raises_is_quoted_and_its_prints_leave_standard_output_alone(capsys):
    def call(parts, inputs):
        print("loud")  # noqa: T201
        raise RuntimeError("no\nway")

    message = expect_message(ModelError, lambda: make_batch(own_model(call), input_shapes=["4"]))
    assert "RuntimeError" in message and "no way" in message and "(2, 4)" in message
    captured = capsys.readouterr()
    assert captured.out == "" and "loud" in captured.err
