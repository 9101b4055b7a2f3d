"""IC401 on facts whose truth is known, and on layers of Keras that must not be found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from model_measurement import find_by

from initcheck.audit.limits import Limits
from initcheck.backend.runtime import import_keras
from initcheck.probe import RedrawPlan
from initcheck.probe.weights import WeightFacts, describe_weights


def find(weights, **limits):
    return find_by("IC401", facts=weights, limits=Limits(**limits))


HEALTHY = WeightFacts(
    path="layer/kernel",
    key="layer/kernel",
    layer="layer",
    kind="DepthwiseConv2D",
    role="kernel",
    shape=(3, 3, 32, 1),
    dtype="float32",
    trainable=True,
    initializer="HeNormal",
    default_initializer="GlorotUniform",
    seed=1,
    seed_given="",
    constant=False,
    kept=None,
    gates=1,
    assumed_fan_in=9.0,
    assumed_fan_out=9.0,
    mode="fan_in",
    true_fan_in=9.0,
    true_fan_out=9.0,
    variance=2 / 9,
    ideal_variance=2 / 9,
)
WRONG = replace(HEALTHY, assumed_fan_in=288.0, variance=2 / 288)


def find_in(*layers, shape):
    keras = import_keras()
    model = keras.Sequential([keras.Input(shape), *layers])
    return find(describe_weights(model, RedrawPlan(model)))


def test_a_mismatch_is_told_with_both_fans_and_the_gain():
    (finding,) = find([HEALTHY, WRONG])
    assert (finding.code, finding.layer, finding.layers) == ("IC401", "layer/kernel", ("layer/kernel",))
    assert finding.message == (
        "HeNormal counts a fan_in of 288 for the kernel of layer (DepthwiseConv2D), which really has a fan_in of 9: "
        "its variance is 0.0312 of what the true fans give"
    )
    assert finding.measured is not None
    assert finding.measured.value == pytest.approx(1 / 32)
    assert (finding.measured.limit, finding.measured.seeds) == (0.5, 0)


@pytest.mark.parametrize(
    ("ratio", "found"), [(2.0, True), (0.5, True), (1.99, False), (0.501, False), (1.0, False), (math.nan, False)]
)
def test_the_limit_holds_in_both_directions_and_nothing_unknown_is_reported(ratio, found):
    weight = replace(HEALTHY, variance=ratio * HEALTHY.ideal_variance)
    assert bool(find([weight])) is found
    assert find([weight], fan_ratio=3.0) == []


def test_one_finding_stands_for_all_layers_of_a_kind_and_names_the_worst_first():
    weights = [
        replace(WRONG, path="first/kernel", layer="first"),
        replace(WRONG, path="wider/kernel", layer="wider", assumed_fan_in=2304.0, variance=2 / 2304),
        replace(WRONG, path="second/kernel", layer="second"),
        replace(WRONG, path="other/kernel", layer="other", kind="SeparableConv2D"),
    ]
    found = find(weights)
    assert [finding.layers for finding in found] == [
        ("wider/kernel", "first/kernel", "second/kernel"),
        ("other/kernel",),
    ]
    assert "and so in 2 more, in the mildest 0.0312" in found[0].message


def test_gains_above_and_below_one_are_not_lumped_together():
    weights = [
        replace(WRONG, path="less/kernel"),
        replace(WRONG, path="more/kernel", variance=4 * WRONG.ideal_variance),
    ]
    assert sorted(finding.layers for finding in find(weights)) == [("less/kernel",), ("more/kernel",)]


def test_initializers_that_scale_with_no_fan_are_not_judged():
    layers = import_keras().layers
    initializers = ("zeros", "ones", "random_normal", "random_uniform", "truncated_normal", "orthogonal")
    stack = [layers.DepthwiseConv2D(3, depthwise_initializer=each, padding="same") for each in initializers[:-1]]
    stack += [layers.Conv2DTranspose(4, 2, strides=2, kernel_initializer="orthogonal")]
    assert find_in(*stack, shape=(8, 8, 64)) == []


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal", "lecun_normal"])
def test_dense_and_plain_convolutions_are_never_found(initializer):
    layers = import_keras().layers
    settings = {"kernel_initializer": initializer}
    stack = [
        layers.Conv2D(200, 5, strides=3, **settings),
        layers.Conv2D(2, 3, dilation_rate=2, **settings),
        layers.Flatten(),
        layers.Dense(500, **settings),
        layers.Dense(1, **settings),
        layers.Reshape((1, 1)),
        layers.Conv1D(64, 1, **settings),
        layers.TimeDistributed(layers.Dense(5, **settings)),
        layers.Bidirectional(layers.LSTM(32, **settings, recurrent_initializer=initializer, return_sequences=True)),
        layers.GRU(64, **settings),
    ]
    assert find_in(*stack, shape=(28, 28, 3)) == []


def test_attention_is_not_found_where_keras_hands_the_axes_to_the_initializer():
    keras = import_keras()
    inputs = keras.Input((6, 128))
    x = keras.layers.MultiHeadAttention(8, 16)(inputs, inputs)
    x = keras.layers.GroupQueryAttention(16, 8, 2)(x, x)
    model = keras.Model(inputs, x)
    found = find(describe_weights(model, RedrawPlan(model)))
    counted = hasattr(keras.layers.EinsumDense, "_update_kernel_initializer")
    assert (found == []) is counted


CASES = {
    # Each gain is that of the catalogue of documented claims, computed by hand.
    "depthwise": (lambda k: k.DepthwiseConv2D(3, depthwise_initializer="he_normal"), (8, 8, 32), 1 / 32),
    "grouped": (lambda k: k.Conv2D(64, 3, groups=8), (8, 8, 64), (72 + 72) / (72 + 576)),
    "separable": (
        lambda k: k.SeparableConv2D(64, 3, depthwise_initializer="lecun_normal"),
        (8, 8, 64),
        1 / 64,
    ),
    "transposed": (lambda k: k.Conv2DTranspose(16, 3, kernel_initializer="lecun_normal"), (8, 8, 64), 4.0),
    "narrowing": (lambda k: k.Conv2DTranspose(64, 3, kernel_initializer="lecun_normal"), (8, 8, 16), 1 / 4),
    "strided": (lambda k: k.Conv2DTranspose(32, 4, strides=2, kernel_initializer="lecun_normal"), (8, 8, 32), 1 / 4),
    "experts": (lambda k: k.EinsumDense("bec,ecd->bed", (32, 64)), (32, 64), 128 / (64 + 32 * 64)),
    "embedding": (lambda k: k.Embedding(500, 16, embeddings_initializer="he_normal"), (4,), 1 / 500),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_that_keras_counts_wrongly_are_found_with_their_gain(name):
    make, shape, gain = CASES[name]
    keras = import_keras()
    if name == "experts" and not hasattr(keras.layers.EinsumDense, "_update_kernel_initializer"):
        pytest.skip("this Keras counts another way")
    (finding,) = find_in(make(keras.layers), shape=shape)
    assert finding.measured is not None
    assert finding.measured.value == pytest.approx(gain)
