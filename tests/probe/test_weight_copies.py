"""Copies among weights and units that are alike; what is drawn independently is neither."""

from __future__ import annotations

import example_models as models
import keras
import numpy as np
import pytest
from marked import slow
from traced_models import traced
from zoo_checks import snapshot

from initcheck.backend.interface import backend
from initcheck.probe import RedrawPlan
from initcheck.probe.weight_copies import compare_weights, weight_gradients
from initcheck.probe.weights import describe_weights


def compare(model, *arguments, **named):
    return compare_weights(model, describe_weights(model, RedrawPlan(model)), *arguments, **named)


def build_stack(*layers, inputs=16):
    return keras.Sequential([keras.Input((inputs,)), *layers])


# --- copies


@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_healthy_models_hold_no_copies_and_no_symmetric_units_and_are_left_as_they_were(build):
    model, inputs = traced(build).probe.model, build()[1]
    before = snapshot(model)
    found = compare(model, inputs)
    assert found.copies == ()
    assert found.symmetric == ()
    assert compare(model).symmetric == ()  # by the incoming weights alone
    assert found.compared >= 1
    assert any(each is not None for each in weight_gradients(model, inputs))
    assert snapshot(model) == before


@pytest.mark.parametrize("dtype", ["float32", *slow("thorough", "float16", "bfloat16")])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GlorotUniform", {}),
        pytest.param("HeNormal", {}, marks=pytest.mark.thorough),
        ("RandomNormal", {"mean": 1.0, "stddev": 0.002}),  # nearly parallel, but for their means
        ("RandomUniform", {"minval": 0.0, "maxval": 1.0}),
    ],
)
def test_independent_weights_are_never_copies_whatever_their_precision(dtype, name, settings):
    keras.utils.set_random_seed(11)
    make = getattr(keras.initializers, name)
    layers = [keras.layers.Dense(16, kernel_initializer=make(**settings), dtype=dtype) for _ in range(60)]
    found = compare(build_stack(*layers))
    assert found.copies == ()
    # Near one, half precision has few values: too few to be compared.
    assert found.compared == 60 or dtype != "float32"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_equal_seeds_draw_identical_weights_of_one_shape(dtype):
    layers = [
        keras.layers.Dense(16, kernel_initializer=keras.initializers.HeNormal(seed=3), dtype=dtype, name=name)
        for name in ("a", "b")
    ]
    (group,) = compare(build_stack(*layers)).copies
    assert (group.relation, group.members) == ("identical", ("a/kernel", "b/kernel"))
    assert (group.entries, group.share, group.factors) == (256, 1.0, (1.0, 1.0))
    assert group.cause == "all drawn by HeNormal(seed=3)"


def test_equal_seeds_of_different_classes_draw_multiples():
    initializers = keras.initializers
    layers = [
        keras.layers.Dense(16, kernel_initializer=initializers.HeNormal(seed=3), name="a"),
        keras.layers.Dense(16, kernel_initializer=initializers.RandomUniform(seed=3), name="other"),
        keras.layers.Dense(16, kernel_initializer=initializers.TruncatedNormal(stddev=0.5, seed=3), name="b"),
    ]
    model = build_stack(*layers)
    (group,) = compare(model).copies
    assert (group.relation, group.members) == ("proportional", ("a/kernel", "b/kernel"))
    ratio = float(np.std(np.asarray(layers[2].kernel)) / np.std(np.asarray(layers[0].kernel)))
    assert group.factors == (1.0, pytest.approx(ratio, rel=1e-5))
    assert group.cause == (
        "drawn by HeNormal(seed=3) and TruncatedNormal(stddev=0.5, seed=3), whose equal seeds give the same random "
        "numbers"
    )


def test_equal_seeds_of_different_shapes_draw_a_common_beginning():
    make = keras.initializers.RandomNormal
    layers = [keras.layers.Dense(width, kernel_initializer=make(seed=3)) for width in (24, 5)]
    model = build_stack(*layers)
    (group,) = compare(model).copies
    small, large = np.asarray(layers[1].kernel).ravel(), np.asarray(layers[0].kernel).ravel()
    # PyTorch draws the last sixteen entries of an odd number by themselves.
    common = int(np.argmin([*(large[: small.size] == small), False]))
    assert common in (small.size, small.size - 16)
    assert (group.relation, group.entries, group.share) == ("prefix", common, common / large.size)
    assert group.members == ("dense/kernel", "dense_1/kernel")


def test_a_common_beginning_ends_where_the_values_differ():
    model = build_stack(*(keras.layers.Dense(16) for _ in range(2)))
    values = [np.asarray(weight).copy() for weight in model.weights]
    values[2].ravel()[:100] = -0.5 * values[0].ravel()[:100]
    (group,) = compare(model, values=values).copies
    assert (group.relation, group.entries, group.share, group.cause) == ("prefix", 100, 100 / 256, "")
    assert group.factors == (1.0, pytest.approx(-0.5))
    values[2].ravel()[15] *= 1.001
    assert compare(model, values=values).copies == ()  # fifteen entries are not enough


def test_one_instance_without_a_seed_repeats_itself():
    shared = keras.initializers.GlorotNormal()
    layers = [keras.layers.Dense(16, kernel_initializer=shared) for _ in range(12)]
    (group,) = compare(build_stack(*layers)).copies
    assert len(group.members) == 12
    assert group.cause == "one instance of GlorotNormal draws all of them, and the same numbers each time"


def test_a_generator_that_a_layer_clones_gives_query_key_and_value_alike():
    inputs = keras.Input((6, 16))
    for seed, given in ((1, "1"), (keras.random.SeedGenerator(1), "SeedGenerator(1)")):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        model = keras.Model(
            inputs, keras.layers.MultiHeadAttention(2, 8, kernel_initializer=initializer)(inputs, inputs)
        )
        (group,) = compare(model).copies
        assert group.attention == ("query", "key", "value", "output")
        assert group.same_shape == (True, True, True, False)
        assert group.cause == f"all drawn by GlorotUniform(seed={given})"


def test_a_generator_that_layers_share_draws_anew_each_time():
    shared = keras.initializers.HeNormal(seed=keras.random.SeedGenerator(1))
    assert compare(build_stack(*(keras.layers.Dense(16, kernel_initializer=shared) for _ in range(4)))).copies == ()


def test_seeds_that_the_backend_takes_for_one_are_explained():
    make = keras.initializers.HeNormal
    other = 5 + backend().seed_period
    layers = [keras.layers.Dense(16, kernel_initializer=make(seed=seed)) for seed in (5, other)]
    (group,) = compare(build_stack(*layers)).copies
    assert group.relation == "identical"
    assert f"HeNormal(seed=5) and HeNormal(seed={other})" in group.cause


def test_both_directions_of_a_seeded_bidirectional_layer_are_copies():
    cell = keras.layers.LSTM(8, kernel_initializer=keras.initializers.HeNormal(seed=1), name="cell")
    model = keras.Sequential([keras.Input((4, 6)), keras.layers.Bidirectional(cell, name="both")])
    kernels = ("both/forward_cell/lstm_cell/kernel", "both/backward_cell/lstm_cell/kernel")
    (group,) = compare(model).copies  # and not their biases, whose forget gates are one
    assert (group.relation, group.members) == ("identical", kernels)


def test_the_two_tables_of_a_reversible_embedding_hold_the_same_numbers():
    layer = keras.layers.ReversibleEmbedding(20, 8, tie_weights=False)
    (group,) = compare(keras.Sequential([keras.Input((3,)), layer])).copies
    assert (group.relation, group.same_shape) == ("identical", (True, False))
    assert "one instance of RandomUniform" in group.cause


def test_a_transpose_is_a_copy_and_a_symmetric_matrix_is_not_its_own():
    model = build_stack(*(keras.layers.Dense(width, use_bias=False) for width in (24, 16, 16)))
    values = [np.asarray(weight).copy() for weight in model.weights]
    values[1] = 2.0 * values[0].T
    values[2] = values[2] + values[2].T
    (group,) = compare(model, values=values).copies
    assert (group.relation, group.members) == ("transposed", ("dense/kernel", "dense_1/kernel"))
    assert group.factors == (1.0, pytest.approx(2.0))


def test_constants_identities_and_shared_weights_are_no_copies():
    layers = keras.layers
    shared = layers.Dense(32, name="shared")
    stack = [
        layers.Dense(32, kernel_initializer="identity", use_bias=False),
        layers.Dense(32, kernel_initializer="identity"),
        shared,
        layers.BatchNormalization(),
        shared,
        layers.LayerNormalization(),
        layers.Dense(32, kernel_initializer="zeros"),
        layers.Dense(32, kernel_initializer=keras.initializers.Constant(0.3)),
        layers.Dense(32, kernel_initializer=keras.initializers.Constant(0.3)),
    ]
    found = compare(build_stack(*stack, inputs=32))
    assert found.copies == ()
    assert found.compared == 1


def test_all_pairs_of_a_large_model_are_found_that_a_slow_search_finds():
    """The slow twin: the correlation of all pairs of kernels, whole and in order."""
    generator = np.random.default_rng(4)
    seeds = [int(seed) for seed in generator.integers(0, 30, size=40)]
    make = keras.initializers.RandomNormal
    model = build_stack(*(keras.layers.Dense(16, kernel_initializer=make(seed=seed)) for seed in seeds))
    kernels = {
        f"dense_{n}/kernel" if n else "dense/kernel": np.asarray(layer.kernel).ravel()
        for n, layer in enumerate(model.layers)
    }
    slow = {
        frozenset((a, b))
        for a in kernels
        for b in kernels
        if a < b and abs(np.corrcoef(kernels[a], kernels[b])[0, 1]) > 0.99
    }
    fast = {frozenset((a, b)) for group in compare(model).copies for a in group.members for b in group.members if a < b}
    assert fast == slow
    assert slow


# --- gradients


def test_gradients_are_those_of_a_network_differentiated_by_hand():
    model = build_stack(keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(3))
    x = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    first, bias, second, last = (np.asarray(weight, dtype=np.float64) for weight in model.weights)
    hidden = np.tanh(x @ first + bias)
    outputs = hidden @ second + last
    upper = 2.0 * outputs  # of the loss sum y^2
    lower = (upper @ second.T) * (1.0 - hidden**2)
    expected = [x.T @ lower, lower.sum(0), hidden.T @ upper, upper.sum(0)]
    found = weight_gradients(model, x, lambda y: keras.ops.sum(y**2))
    for given, known in zip(found, expected, strict=True):
        np.testing.assert_allclose(given, known, rtol=1e-4, atol=1e-5)
    some = weight_gradients(model, x, lambda y: keras.ops.sum(y**2), positions=[2])
    np.testing.assert_array_equal(some[0], found[2])
    doubled = [2.0 * np.asarray(weight) for weight in model.weights]
    assert not np.allclose(weight_gradients(model, x, values=doubled)[0], weight_gradients(model, x)[0])


# --- units that are alike, in their incoming weights and in their gradients


LAYERS = {
    "dense": (lambda k, i: k.layers.Dense(6, kernel_initializer=i), (5,), "units", 6),
    "conv2d": (lambda k, i: k.layers.Conv2D(6, 3, kernel_initializer=i), (5, 5, 3), "filters", 6),
    "groups": (lambda k, i: k.layers.Conv2D(6, 3, groups=3, kernel_initializer=i), (5, 5, 3), "filters", 2),
    "transposed": (lambda k, i: k.layers.Conv2DTranspose(6, 3, kernel_initializer=i), (5, 5, 3), "filters", 6),
    "multiplied": (
        lambda k, i: k.layers.DepthwiseConv2D(3, depth_multiplier=4, depthwise_initializer=i),
        (5, 5, 3),
        "filters",
        4,
    ),
    "separable": (
        lambda k, i: k.layers.SeparableConv2D(6, 3, pointwise_initializer=i),
        (5, 5, 3),
        "filters",
        6,
    ),
    "lstm": (lambda k, i: k.layers.LSTM(6, kernel_initializer=i, recurrent_initializer=i), (4, 5), "units", 6),
    "gru": (lambda k, i: k.layers.GRU(6, kernel_initializer=i, recurrent_initializer=i), (4, 5), "units", 6),
    "einsum": (
        lambda k, i: k.layers.EinsumDense("abc,cde->abde", (4, 2, 3), bias_axes="de", kernel_initializer=i),
        (4, 5),
        "units",
        6,
    ),
    "experts": (
        lambda k, i: k.layers.EinsumDense("bec,ecd->bed", (4, 3), bias_axes="d", kernel_initializer=i),
        (4, 5),
        "units",
        3,
    ),
}


@pytest.mark.parametrize("constant", ["zeros", "ones"])
@pytest.mark.parametrize("name", LAYERS)
def test_units_of_constant_kernels_are_alike_where_what_follows_treats_them_alike(name, constant):
    make, shape, word, largest = LAYERS[name]
    inputs = keras.Input(shape)
    hidden = keras.layers.Flatten()(make(keras, constant)(inputs))
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    alike = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, 1))(hidden)))
    (found,) = compare(alike, x).symmetric
    assert (found.word, found.largest, found.alike) == (word, largest, found.units)
    assert found.gradients in ("equal", "zero")
    # Weights drawn at random behind them give each unit a gradient of its own.
    different = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    assert compare(different, x).symmetric == ()
    assert len(compare(different).symmetric) == 1  # the incoming weights alone are equal


@pytest.mark.parametrize("name", LAYERS)
def test_units_of_random_kernels_are_not_alike(name):
    make, shape, _, _ = LAYERS[name]
    inputs = keras.Input(shape)
    assert compare(keras.Model(inputs, make(keras, "glorot_uniform")(inputs))).symmetric == ()


def test_layers_whose_units_see_different_inputs_or_are_alone_cannot_be_symmetric():
    inputs = keras.Input((6, 6, 8))
    x = keras.layers.DepthwiseConv2D(3, depthwise_initializer="ones")(inputs)
    x = keras.layers.Conv2D(8, 3, groups=8, kernel_initializer="ones")(x)
    x = keras.layers.Dense(1, kernel_initializer="ones")(x)
    assert compare(keras.Model(inputs, x)).symmetric == ()


def test_one_pair_of_twins_among_random_units_is_counted_exactly():
    model = build_stack(keras.layers.Dense(32, use_bias=False), keras.layers.Dense(4, use_bias=False))
    first, second = (np.asarray(weight).copy() for weight in model.weights)
    first[:, 20] = first[:, 3]
    x = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    assert compare(model, x, values=[first, second]).symmetric == ()
    second[20] = second[3]
    (found,) = compare(model, x, values=[first, second]).symmetric
    assert (found.units, found.alike, found.largest, found.gradients) == (32, 2, 2, "equal")
    first[15, 20] += 1e-6  # in an entry that is not looked at first
    assert compare(model, x, values=[first, second]).symmetric == ()


def test_units_with_different_biases_are_not_alike():
    layer = keras.layers.Dense(8, kernel_initializer="ones", bias_initializer="random_normal")
    assert compare(build_stack(layer)).symmetric == ()


def test_the_units_of_a_head_of_zeros_differ_by_their_gradients():
    model = build_stack(keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(50, kernel_initializer="zeros"))
    x = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    assert compare(model, x).symmetric == ()
    # With labels all classes that the batch does not hold have equal gradients: that is the batch, not the head.
    labels = keras.ops.convert_to_tensor([0, 1, 2, 0, 1, 2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert compare(model, x, lambda outputs: loss(labels, outputs)).symmetric == ()
    (found,) = compare(model).symmetric
    assert (found.layer, found.alike) == ("dense_1", 50)


def test_rows_of_a_constant_table_are_alike_only_among_tokens_that_appear():
    inputs = keras.Input((4,), dtype="int32")
    table = keras.layers.Embedding(30, 6, embeddings_initializer="ones")(inputs)
    tokens = np.arange(8, dtype=np.int32).reshape(2, 4)
    by_place = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(table)))
    assert compare(by_place, tokens).symmetric == ()
    words = {each.word for each in compare(by_place).symmetric}
    assert words == {"rows", "columns"}
    pooled = keras.Model(inputs, keras.layers.Lambda(lambda x: keras.ops.mean(x, axis=(1, 2)))(table))
    first_row = [each for each in compare(pooled, tokens[:1]).symmetric if each.word == "rows"]
    assert [each.alike for each in first_row] == [4]  # of 30 rows, those of the four tokens of the only sample


def test_frozen_and_unused_layers_and_layers_of_unknown_kinds_are_left_out():
    class Custom(keras.layers.Dense):
        def call(self, inputs):
            return super().call(inputs)

    x = np.ones((3, 16), np.float32)
    frozen = build_stack(keras.layers.Dense(8, kernel_initializer="ones", trainable=False), keras.layers.Dense(1))
    assert compare(frozen, x).symmetric == ()
    assert compare(build_stack(Custom(8, kernel_initializer="ones")), x).symmetric == ()

    class Forgetful(keras.Model):
        def __init__(self):
            super().__init__()
            self.used = keras.layers.Dense(4)
            self.unused = keras.layers.Dense(8, kernel_initializer="ones")

        def build(self, shape):
            self.used.build(shape)
            self.unused.build(shape)

        def call(self, inputs):
            return self.used(inputs)

    model = Forgetful()
    model.build((None, 16))
    assert compare(model, x).symmetric == ()
    assert weight_gradients(model, x)[2] is None
