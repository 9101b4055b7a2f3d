"""Absolute sizes: of the inputs, the outputs and the first loss; and what the batch that is made holds."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.check import Report, check
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import find_chance_level
from initcheck.core.formatting import format_number
from initcheck.probe import Probe

RANDOM = np.random.default_rng(3)
_BEGINNING = RANDOM.bit_generator.state


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order():
    RANDOM.bit_generator.state = _BEGINNING


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
    large = import_keras().initializers.RandomNormal(stddev=3.0)
    model = stack("relu", units=40, activation="softmax", kernel_initializer=large)
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


# --- inputs that are off-scale ----------------------------------------------------------------------------------------


def find(report: Report, code: str):
    return next(each for each in report.findings if each.code == code)


def pixels(samples: int = 32, features: int = 12):
    return RANDOM.integers(0, 256, (samples, features)).astype("float32")


@pytest.mark.parametrize("activation", ["softmax", None])
def test_raw_pixels_are_the_cause_of_a_loss_far_above_chance(activation: str | None):
    """Images 0..255 into He layers (keras issues 6259 and 12096); figures by plain Keras under the same labels."""
    keras = import_keras()
    model = stack("relu", "relu", activation=activation)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None))
    images, labels = pixels(), RANDOM.integers(0, 5, 32)
    report = check(model, images, labels, weights="keep", fixes=False)
    assert report.exit_code == 1
    large, unscaled = find(report, "IC105"), find(report, "IC104")
    loss = float(model.compute_loss(images, labels, model(images)))
    assert large.measured.value == pytest.approx(loss / np.log(5), rel=1e-4)
    assert large.layer == "classes"
    assert unscaled.severity == "wrong"
    size = np.sqrt(np.mean(np.square(images, dtype=np.float64)))
    assert unscaled.measured.value == pytest.approx(size, rel=1e-6)
    assert large.cause.kind == unscaled.cause.kind == "inputs"
    assert large.cause.layers == (unscaled.layer,)
    assert ("from even to one-hot" in large.message) == (activation == "softmax")


def test_the_same_images_scaled_are_sound():
    keras = import_keras()
    model = stack("relu", "relu")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert check(model, pixels() / 255, RANDOM.integers(0, 5, 32), seeds=4, fixes=False).exit_code == 0


@pytest.mark.parametrize("form", ["rescaling", "adapted", "batch normalization", "division in a call"])
def test_inputs_that_the_model_scales_itself_are_sound(form: str):
    keras = import_keras()

    class Scaled(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = keras.layers.Dense(16, "tanh"), keras.layers.Dense(3)

        def call(self, images):
            return self.out(self.hidden(images / 127.5 - 1.0))

    images = pixels()
    if form == "division in a call":
        model = Scaled()
        model(images)
    else:
        first = keras.layers.Normalization() if form == "adapted" else keras.layers.BatchNormalization()
        if form == "adapted":
            first.adapt(images)
        first = keras.layers.Rescaling(1 / 127.5, -1.0) if form == "rescaling" else first
        model = keras.Sequential([keras.Input((12,)), first, keras.layers.Dense(16, "tanh"), keras.layers.Dense(3)])
    assert codes(check(model, images, seeds=4, fixes=False)) == []


def test_inputs_off_scale_without_an_effect_are_a_note():
    for size in (1 / 10, 1e-5):
        report = check(stack("relu", kernel_initializer="lecun_normal"), pixels() * size, seeds=4, fixes=False)
        assert [(each.code, each.severity, each.cause) for each in report.findings] == [("IC104", "note", None)]
        assert report.exit_code == 0


def build_table(adapted: bool, nested: bool):
    """Numbers of a table beside a category; the incomes pass a Normalization (keras issue 16296)."""
    keras = import_keras()
    category, income = keras.Input((1,), dtype="int32", name="city"), keras.Input((1,), name="income")
    row = keras.layers.Flatten()(keras.layers.Embedding(5, 6)(category))
    statistics = {"mean": 50_000.0, "variance": 2.25e8} if adapted else {"mean": 0.0, "variance": 1.0}
    number = keras.layers.Normalization(axis=None, **statistics, name="scale")(income)
    hidden = keras.layers.Concatenate()([row, number])
    layers = [keras.layers.Dense(16, "tanh", name=f"tanh_{place}") for place in range(2)]
    if nested:
        layers = [keras.Sequential([keras.Input((7,)), *layers], name="inner")]
    for layer in layers:
        hidden = layer(hidden)
    return keras.Model([category, income], keras.layers.Dense(1, name="churn")(hidden))


@pytest.mark.parametrize("nested", [False, True])
def test_a_normalization_that_was_never_adapted_is_named_with_the_input(nested: bool):
    data = [RANDOM.integers(0, 5, (32, 1)), RANDOM.normal(50_000, 15_000, (32, 1)).astype("float32")]
    report = check(build_table(adapted=False, nested=nested), data, seeds=4, fixes=False)
    saturated = find(report, "IC304")
    assert report.exit_code == 1
    size = format_number(np.sqrt(np.mean(np.square(data[1], dtype=np.float64))))
    assert saturated.cause.message.startswith(f"the input income has a root mean square of {size} (")
    assert "scale passes it on to" in saturated.cause.message
    assert "scale" in saturated.cause.layers
    sound = check(build_table(adapted=True, nested=nested), data, seeds=4, fixes=False)
    assert not {"IC104", "IC304"} & set(codes(sound))


def test_one_column_in_units_of_its_own_is_named():
    table = RANDOM.normal(size=(32, 12)).astype("float32")
    table[:, 7] *= 5e4
    report = check(stack("tanh"), table, seeds=4, fixes=False)
    unscaled = find(report, "IC104")
    assert unscaled.message.startswith("column 7 of ")
    assert unscaled.severity == "wrong"
    assert find(report, "IC304").cause.kind == "inputs"


def test_a_fault_that_stays_with_scaled_inputs_is_not_laid_upon_them():
    report = check(stack("relu", kernel_initializer="zeros"), pixels(), seeds=4, fixes=False)
    assert "IC203" in codes(report)
    assert find(report, "IC104").severity == "note"
    assert all(each.cause is None or each.cause.kind != "inputs" for each in report.findings)


def test_tokens_declared_as_floats_have_no_scale():
    keras = import_keras()
    tokens = keras.Input((6,))
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5000, 8)(tokens))
    model = keras.Model(tokens, keras.layers.Dense(2)(hidden))
    assert "IC104" not in codes(check(model, RANDOM.integers(0, 5000, (32, 6)), seeds=4, fixes=False))


def test_an_overflow_that_raw_pixels_cause_is_explained_by_them():
    """exp(log variance) of a variational autoencoder on pixels 0..255 (keras issue 12371)."""
    keras = import_keras()
    inputs = keras.Input((12,))
    hidden = keras.layers.Dense(16, "relu", kernel_initializer="he_normal")(inputs)
    mean, deviation = keras.layers.Dense(4)(hidden), keras.ops.exp(keras.layers.Dense(4)(hidden))
    model = keras.Model(inputs, keras.layers.Dense(12)(mean + deviation))
    assert find(check(model, pixels(), seeds=4, fixes=False), "IC501").cause.kind == "inputs"


# --- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [1.0, 0.05])
@pytest.mark.parametrize("form", ["logits", "softmax", "softmax apart", "two heads"])
def test_logits_of_absurd_size_are_a_finding_and_usual_ones_are_not(form: str, spread: float):
    """A head drawn with standard deviation 1 on 256 units (transformers issue 26441)."""
    keras = import_keras()
    inputs = keras.Input((10,))
    hidden = keras.layers.LayerNormalization()(keras.layers.Dense(256)(inputs))
    head = keras.layers.Dense(
        20,
        "softmax" if form == "softmax" else None,
        kernel_initializer=keras.initializers.RandomNormal(stddev=spread),
        name="head",
    )(hidden)
    outputs = keras.layers.Softmax()(head) if form == "softmax apart" else head
    if form == "two heads":
        outputs = [outputs, keras.layers.Dense(2, name="small")(hidden)]
    report = check(keras.Model(inputs, outputs), seeds=4, fixes=False)
    assert report.exit_code == int(spread == 1.0)
    if spread == 1.0:
        assert {"IC102", "IC105"} & set(codes(report))


@pytest.mark.parametrize("stddev", [30.0, 1.0])
def test_a_table_of_embeddings_drawn_too_large_makes_large_outputs(stddev: float):
    keras = import_keras()
    tokens = keras.Input((4,), dtype="int32")
    table = keras.initializers.RandomNormal(stddev=stddev)
    hidden = keras.layers.Flatten()(keras.layers.Embedding(50, 8, embeddings_initializer=table)(tokens))
    report = check(keras.Model(tokens, keras.layers.Dense(3, name="out")(hidden)), seeds=4, fixes=False)
    assert ("IC105" in codes(report)) == (stddev == 30.0)


def test_outputs_in_units_of_their_own_are_no_fault():
    """Targets in pixels or prices: a rescaling behind the last layer, or a bias that is set on purpose."""
    keras = import_keras()
    inner = stack("relu", activation="sigmoid")
    rescaled = keras.Model(inner.inputs, keras.layers.Rescaling(255.0)(inner.outputs[0]))
    biased = stack("relu", bias_initializer=keras.initializers.Constant(1000.0))
    for model in (rescaled, biased):
        assert "IC105" not in codes(check(model, seeds=4, fixes=False))


def compiled(loss: str, units: int = 1, **head: object):
    model = stack("relu", units=units, **head)
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize(
    ("loss", "units", "activation", "labels", "slow"),
    [
        ("binary_crossentropy", 1, "sigmoid", RANDOM.integers(0, 2, (32, 1)), np.log(2)),
        ("categorical_crossentropy", 5, "softmax", np.eye(5)[RANDOM.integers(0, 5, 32)], np.log(5)),
        ("mse", 1, None, (numbers := RANDOM.normal(3, 2, 32)), np.var(numbers)),
        ("mae", 1, None, numbers, np.mean(np.abs(numbers - np.median(numbers)))),
    ],
)
def test_chance_level_is_the_loss_of_an_even_choice_or_of_the_best_constant(loss, units, activation, labels, slow):
    model = compiled(loss, units, activation=activation)
    data = RANDOM.normal(size=(32, 12)).astype("float32")
    level = find_chance_level(model, labels, model(data))
    assert level.value == pytest.approx(slow, rel=1e-5)
    assert "IC105" not in codes(check(model, data, labels, seeds=4, fixes=False))


def test_there_is_no_chance_level_of_other_losses():
    data = RANDOM.normal(size=(32, 12)).astype("float32")
    model = compiled("cosine_similarity", 3)
    assert find_chance_level(model, np.ones((32, 3)), model(data)) is None


def test_labels_far_from_zero_are_a_note():
    model = compiled("mse")
    data = RANDOM.normal(size=(32, 12)).astype("float32")
    report = check(model, data, RANDOM.normal(1998, 11, 32), seeds=4, fixes=False)
    assert find(report, "IC105").severity == "note"
    assert "far from 0" in find(report, "IC105").message
    assert report.exit_code == 0


# --- the gradient of a saturated softmax ------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
def test_the_gradient_of_cross_entropy_is_that_of_the_logits_as_in_training(apart: bool):
    """Keras' losses look behind the softmax: a one-hot softmax keeps its gradient in a training step."""
    tf = pytest.importorskip("tensorflow", reason="the gradients are compared with those of its tape")

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
