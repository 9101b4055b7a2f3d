"""Absolute sizes: of the inputs, the outputs and the first loss; and what the batch that is made holds."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.check import Report, check
from initcheck.checking.inputs import make_batch
from initcheck.probe import Probe

RANDOM = np.random.default_rng(3)


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def stack(*activations: str | None, width: int = 24, features: int = 12, **head: object):
    keras = import_keras()
    inputs = hidden = keras.Input((features,), name="columns")
    for name, activation in enumerate(activations):
        hidden = keras.layers.Dense(width, activation, kernel_initializer="he_normal", name=f"hidden_{name}")(hidden)
    settings = {"units": 5, "name": "classes", "kernel_initializer": "he_normal", **head}
    return keras.Model(inputs, keras.layers.Dense(**settings)(hidden))


# --- units that are zero ----------------------------------------------------------------------------------------------


def test_a_softmax_that_underflows_has_no_dead_units():
    """Logits of some thousands: all but one probability of a sample are rounded to 0 (keras issue 6259)."""
    images = RANDOM.uniform(0, 255, (32, 12)).astype("float32")
    model = stack("relu", units=40, activation="softmax", kernel_initializer="random_normal")
    model.get_layer("classes").kernel_initializer.stddev = 3.0
    report = check(model, images, seeds=4, fixes=False)
    row = report.table[report.table["layer"] == "classes"].iloc[0]
    assert row["dead_fraction"] > 0.5
    assert "IC303" not in codes(report)


@pytest.mark.parametrize("activation", ["relu", "relu6", "hard_sigmoid", "hard_shrink", "own"])
def test_units_that_clip_at_zero_can_be_dead(activation: str):
    keras = import_keras()
    function = (lambda x: keras.ops.maximum(x, 0.0) * 2.0) if activation == "own" else activation
    off = 0.0 if activation == "hard_shrink" else -40.0
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, function, bias_initializer=keras.initializers.Constant(off), name="off")(
        inputs * 0.01
    )
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    dead = next(each for each in check(model, seeds=4, fixes=False).findings if each.code == "IC303")
    assert dead.layers == ("off",)


# --- the gradient of a saturated softmax ------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
def test_the_gradient_of_cross_entropy_is_that_of_the_logits_as_in_training(apart: bool):
    """Keras' losses look behind the softmax: a one-hot softmax keeps its gradient in a training step."""
    import tensorflow as tf

    keras = import_keras()
    model = stack("relu", activation=None if apart else "softmax")
    if apart:
        model = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
    model.compile("sgd", "sparse_categorical_crossentropy")
    batch = RANDOM.uniform(0, 255, (16, 12)).astype("float32")
    labels = RANDOM.integers(0, 5, 16)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, labels, model(batch, training=True))
    slow = [np.linalg.norm(np.asarray(each, np.float64)) for each in tape.gradient(loss, model.trainable_variables)]
    report = check(model, batch, labels, weights="keep", fixes=False)
    assert report.result.weights["gradient_norm"].to_numpy(float) == pytest.approx(slow, rel=1e-4)
    assert min(slow) > 0
    assert report.result.paths[0].levels.layers[-1] == "classes"  # which the loss reaches through the softmax alone


# --- batches that are made --------------------------------------------------------------------------------------------


def build_codebook(form: str):
    """Encode, pick the nearest code by argmax, and embed that again (keras issue 11157)."""
    keras = import_keras()

    class Codes(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.layers.Dense(9, "softmax")
            self.table = keras.layers.Embedding(9, 4)
            self.out = keras.layers.Dense(2)

        def call(self, values):
            return self.out(self.table(keras.ops.argmax(self.encoder(values), axis=-1)))

    if form == "subclassed":
        model = Codes()
        model.build((None, 5, 3))
        return model
    inputs = keras.Input((5, 3))
    if form == "bins":
        hidden = keras.layers.Discretization([-1.0, 0.0, 1.0])(inputs)
    else:
        encoder = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(9, "softmax")])
        hidden = keras.ops.argmax(encoder(inputs), axis=-1)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Embedding(9, 4)(hidden)))


@pytest.mark.parametrize("form", ["functional", "subclassed", "bins"])
def test_an_input_that_is_encoded_before_it_is_looked_up_holds_real_numbers(form: str):
    batch = make_batch(build_codebook(form))
    assert batch.inputs.dtype == np.float32
    assert np.std(batch.inputs) == pytest.approx(1.0, abs=0.2)
    assert "normal with variance 1" in batch.description


def test_tokens_are_indices_of_their_own_table_and_not_of_a_codebook_behind_it():
    keras = import_keras()
    tokens = keras.Input((6,), name="tokens")  # declared as floats, as many are
    hidden = keras.layers.Dense(3)(keras.layers.Embedding(50, 4, name="words")(tokens))
    picked = keras.layers.Embedding(3, 4, name="codes")(keras.ops.argmax(hidden, axis=-1))
    batch = make_batch(keras.Model(tokens, keras.layers.Dense(2)(picked)))
    assert "whole numbers from 0 to 49, the range of words" in batch.description
    assert batch.inputs.max() > 2


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_whole_numbers_that_a_remainder_brings_into_the_table_are_indices(dtype: str):
    keras = import_keras()
    tokens = keras.Input((6,), dtype=dtype)
    row = keras.ops.mod(tokens, 4) if dtype != "uint8" else tokens
    model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.Embedding(300 if dtype == "uint8" else 4, 3)(row)))
    batch = make_batch(model)
    assert batch.inputs.dtype == dtype
    assert "the range of" in batch.description
    assert len(np.unique(batch.inputs)) > 2


def test_the_probe_says_which_activations_clip():
    keras = import_keras()
    inputs = hidden = keras.Input((4,))
    expected = {"relu": True, "relu6": True, "hard_silu": True, "gelu": False, "sigmoid": False, "softmax": False}
    for name in expected:
        hidden = keras.layers.Dense(4, name, name=name)(hidden)
    probe = Probe(keras.Model(inputs, hidden), np.ones((3, 4), np.float32))
    probe.measure([0])
    found = {site.layer: site.clips_at_zero for site in probe.sites if site.layer in expected}
    assert found == expected
