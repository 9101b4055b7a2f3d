"""What is said of weights, against weights that Keras draws."""

from __future__ import annotations

import math
from dataclasses import fields

import example_models as models
import keras
import numpy as np
import pytest
from keras_features import HAS_AXES
from unusual_models import build_unknown_initializer

from initcheck.probe import RedrawPlan, weights
from initcheck.probe.weights import describe_weights, name_initializer


def describe(model):
    return {each.path: each for each in describe_weights(model, RedrawPlan(model))}


def build_one(layer, shape, dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


CASES = {
    "dense": (lambda k, i: k.layers.Dense(300, kernel_initializer=i), (200,)),
    "conv2d in groups": (lambda k, i: k.layers.Conv2D(128, 3, groups=4, kernel_initializer=i), (5, 5, 128)),
    "depthwise": (lambda k, i: k.layers.DepthwiseConv2D(5, depthwise_initializer=i), (7, 7, 1500)),
    "separable": (
        lambda k, i: k.layers.SeparableConv2D(150, 3, depthwise_initializer=i, pointwise_initializer=i),
        (5, 5, 3000),
    ),
    "transposed": (lambda k, i: k.layers.Conv2DTranspose(64, 4, strides=2, kernel_initializer=i), (5, 5, 48)),
    "experts": (lambda k, i: k.layers.EinsumDense("bec,ecd->bed", (8, 96), kernel_initializer=i), (8, 64)),
    "attention": (lambda k, i: k.layers.MultiHeadAttention(8, 32, kernel_initializer=i), (6, 128)),
    "lstm": (lambda k, i: k.layers.LSTM(96, kernel_initializer=i, recurrent_initializer="orthogonal"), (3, 100)),
    "embedding": (lambda k, i: k.layers.Embedding(500, 96, embeddings_initializer=i), (4,)),
}


def build_case(name, initializer):
    make, shape = CASES[name]
    layer = make(keras, initializer)
    if name == "attention":
        inputs = keras.Input(shape)
        return keras.Model(inputs, layer(inputs, inputs))
    return build_one(layer, shape, "int32" if name == "embedding" else "float32")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("initializer", ["glorot_normal", "he_uniform", "orthogonal", "random_uniform"])
def test_the_stated_variance_is_that_of_the_weights_that_keras_draws(name, initializer):
    if name == "separable" and initializer == "orthogonal":
        pytest.skip("a decomposition of 27,000 by 1 and of 3,000 by 150 proves nothing new")
    model = build_case(name, initializer)
    checked = 0
    for fact, weight in zip(describe(model).values(), model.weights, strict=True):
        if "kernel" not in fact.role and fact.role != "embedding":
            continue
        values = np.asarray(weight, dtype=np.float64)
        # Uniform and truncated normal entries have kurtosis below 3: sd of the mean square below sqrt(2/N).
        assert np.mean(values**2) == pytest.approx(fact.variance, rel=6 * math.sqrt(2 / values.size))
        checked += 1
    assert checked


def test_the_ideal_variance_is_what_the_true_fans_give():
    facts = describe(build_case("depthwise", "he_normal"))["depthwise_conv2d/kernel"]
    assert (facts.mode, facts.assumed_fan_in, facts.true_fan_in) == ("fan_in", 25 * 1500, 25)
    assert facts.variance == pytest.approx(2 / (25 * 1500))
    assert facts.ideal_variance == pytest.approx(2 / 25)


def test_roles_name_the_projections_of_attention_layers():
    inputs = keras.Input((6, 16))
    x = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = keras.layers.GroupQueryAttention(4, 4, 2)(x, x)
    facts = describe(keras.Model(inputs, x))
    for layer in ("multi_head_attention", "grouped_query_attention"):
        assert facts[f"{layer}/query/kernel"].role == "query kernel"
        assert facts[f"{layer}/attention_output/kernel"].role == "output kernel"
        assert facts[f"{layer}/key/kernel"].true_fan_in == 16
        assert facts[f"{layer}/key/kernel"].ideal_variance == pytest.approx(2 / (16 + 8))
        # Before Keras 3.15 EinsumDense did not hand its axes to the initializer: 2 heads of 4 were taken for the fans.
        drawn = 2 / (16 + 8) if HAS_AXES else 2 / (16 * (2 + 4))
        assert facts[f"{layer}/key/kernel"].variance == pytest.approx(drawn)


@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_every_weight_of_every_kind_of_model_is_described(build):
    model, inputs = build()
    if not model.built:
        model(inputs)
    plan = RedrawPlan(model)
    facts = describe_weights(model, plan)
    assert [each.path for each in facts] == list(plan.paths)
    assert [each.shape for each in facts] == [tuple(weight.shape) for weight in model.weights]
    for each in facts:
        assert all(not hasattr(getattr(each, field.name), "numpy") for field in fields(each))  # plain data


def test_an_unknown_initializer_and_a_custom_layer_leave_gaps_and_no_guesses():
    facts = describe(build_unknown_initializer()[0])["odd/kernel"]
    assert facts.initializer == ""
    assert facts.kept is not None
    assert math.isnan(facts.true_fan_in) and math.isnan(facts.variance) and math.isnan(facts.ideal_variance)


def test_a_class_derived_from_variance_scaling_is_known_unless_it_draws_for_itself():
    class Halved(keras.initializers.VarianceScaling):
        def __init__(self, seed=None):
            super().__init__(0.5, "fan_in", "uniform", seed=seed)

        def get_config(self):
            return {}

    class Own(keras.initializers.HeNormal):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    halved, own = (
        describe(build_one(keras.layers.Dense(4, kernel_initializer=each(), name="dense"), (8,)))["dense/kernel"]
        for each in (Halved, Own)
    )
    assert halved.variance == pytest.approx(0.5 / 8)
    assert own.mode == ""
    assert math.isnan(own.variance)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda i: i.HeNormal(seed=3), "HeNormal"),
        (lambda i: i.RandomNormal(stddev=0.02), "RandomNormal(stddev=0.02)"),
        (lambda i: i.RandomNormal(), "RandomNormal"),
        (lambda i: i.VarianceScaling(2.0, "fan_out", "uniform"), None),
        (lambda i: i.Constant(0.5), "Constant(value=0.5)"),
        (lambda i: None, ""),
    ],
)
def test_an_initializer_is_named_by_what_is_not_its_default(make, text):
    named = name_initializer(make(keras.initializers))
    assert named == (text if text is not None else "VarianceScaling(scale=2.0, mode='fan_out', distribution='uniform')")


def test_seeds_say_whether_they_were_given_or_made_by_keras():
    initializers = keras.initializers
    layers = [
        keras.layers.Dense(4, kernel_initializer=initializers.HeNormal(seed=7), name="integer"),
        keras.layers.Dense(
            4, kernel_initializer=initializers.HeNormal(keras.random.SeedGenerator(5)), name="generator"
        ),
        keras.layers.Dense(4, kernel_initializer="he_normal", name="none"),
        keras.layers.Dense(4, kernel_initializer="zeros", name="constant"),
    ]
    facts = describe(keras.Sequential([keras.Input((4,)), *layers]))
    assert (facts["integer/kernel"].seed, facts["integer/kernel"].seed_given) == (7, "integer")
    assert (facts["generator/kernel"].seed, facts["generator/kernel"].seed_given) == (5, "generator")
    assert facts["none/kernel"].seed == layers[2].kernel_initializer.seed
    assert facts["none/kernel"].seed_given == ""
    assert facts["constant/kernel"].seed is None
    assert facts["constant/kernel"].constant and not facts["none/kernel"].constant


@pytest.mark.parametrize(
    ("draw", "size"),
    [
        (lambda random, size: random.normal(0.3, 0.7, size), 40),
        (lambda random, size: random.uniform(-2.0, 2.0, size), 400),
        (lambda random, size: random.standard_t(9, size), 2000),
    ],
)
def test_the_error_of_a_kept_weight_is_the_spread_of_its_size_over_as_many_entries_drawn_anew(draw, size):
    random = np.random.default_rng(5)
    model = keras.Sequential([keras.Input((size,)), keras.layers.Dense(1, name="kept"), keras.layers.Dense(1)])
    plan = RedrawPlan(model, {"kept/kernel": "loaded"})
    sizes, errors = [], []
    for _ in range(200):
        model.layers[0].kernel.assign(draw(random, (size, 1)))
        facts = {each.path: each for each in describe_weights(model, plan)}
        sizes.append(math.log(np.sqrt(np.mean(np.square(model.layers[0].kernel.numpy())))))
        errors.append(facts["kept/kernel"].kept_error)
    # A standard deviation over 200 draws has a standard error of 5%.
    assert np.mean(errors) == pytest.approx(np.std(sizes), rel=0.2)
    assert all(math.isnan(facts[path].kept_error) for path in facts if path != "kept/kernel")


def test_a_kept_weight_of_zeros_or_of_one_entry_has_no_error():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="kept")])
    for values in (np.zeros((3, 1)), np.full((3, 1), np.inf)):
        model.layers[0].kernel.assign(values)
        plan = RedrawPlan(model, {"kept/kernel": "loaded", "kept/bias": "loaded"})
        assert all(math.isnan(each.kept_error) for each in describe_weights(model, plan))


def test_a_large_kept_weight_is_read_in_part_and_counted_as_a_whole(monkeypatch):
    model = keras.Sequential([keras.Input((500,)), keras.layers.Dense(100, name="kept")])
    plan = RedrawPlan(model, {"kept/kernel": "loaded"})
    whole = {each.path: each.kept_error for each in describe_weights(model, plan)}["kept/kernel"]
    monkeypatch.setattr(weights, "_MOST_READ", 5000)
    part = {each.path: each.kept_error for each in describe_weights(model, plan)}["kept/kernel"]
    assert part != whole and part == pytest.approx(whole, rel=0.1)
