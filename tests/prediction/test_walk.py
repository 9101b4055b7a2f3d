"""The walk in mean-field theory, against what the probe measures of Keras models of many kinds.

What is compared are means over seeds, with a tolerance in their standard errors. Means of second moments are exact at
any width where the maps are linear in them (ReLU, linear); elsewhere the widths are chosen so that what finite width
does to a mean is below the standard error.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras_features import DROPS_ALL
from marked import slow

from initcheck.models.initializers import InitializerSpec
from initcheck.prediction import ModelPredictor, add_site_predictions
from initcheck.prediction.layer_rules import find_function
from initcheck.probe import Probe

SEEDS = range(40)
ERRORS = 4.5
"""Standard errors allowed; Student's t of 39 degrees of freedom is beyond them once in 17,000 comparisons."""

FORWARD = ("preactivation_second_moment", "activation_second_moment")
BACKWARD = ("gradient_second_moment",)


def normal(*shape):
    return np.random.default_rng(11).standard_normal(shape).astype("float32")


def predict(model, x, seeds=SEEDS):
    table = Probe(model, x).measure(seeds)
    prediction = ModelPredictor(model, x).predict(table)
    return add_site_predictions(table, prediction), prediction


def distances(table, quantities):
    """By site and quantity: measured mean over seeds, prediction, and their distance in standard errors."""
    found = {}
    for (layer, call), rows in table.groupby(["layer", "call"], sort=False):
        for name in quantities:
            expected = rows[f"predicted_{name}"].to_numpy(dtype=np.float64, na_value=np.nan)[0]
            values = rows[name].dropna().to_numpy(dtype=np.float64)
            if np.isfinite(expected) and values.size:
                # What does not vary from seed to seed is compared to float32's rounding.
                error = max(values.std(ddof=1) / np.sqrt(values.size), 2e-6 * abs(expected))
                found[layer, call, name] = (values.mean() - expected) / error
    return found


def assert_agree(table, quantities, at_least):
    found = distances(table, quantities)
    assert len(found) >= at_least, found
    far = {site: round(distance, 1) for site, distance in found.items() if not abs(distance) < ERRORS}
    assert not far


def dense(units, activation=None, **settings):
    return keras.layers.Dense(units, activation=activation, **{"kernel_initializer": "he_normal", **settings})


def convolution(filters, size, **settings):
    return keras.layers.Conv2D(filters, size, **{"kernel_initializer": "he_normal", "activation": "relu", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": "same"},
        *slow("thorough", {"padding": "valid"}),
        {"padding": "same", "strides": 2},
        *slow("thorough", {"padding": "same", "dilation_rate": 2}, {"padding": "same", "groups": 4}),
    ],
    ids=["same", "valid", "strides", "dilation", "groups"],
)
def test_convolutions_lose_at_their_padded_borders_what_is_predicted(settings):
    inputs = keras.Input((9, 8, 4))
    x = convolution(16, 3, **settings)(inputs)
    outputs = convolution(16, (3, 2), padding="same")(x)
    table, _ = predict(keras.Model(inputs, keras.layers.Flatten()(outputs)), normal(12, 9, 8, 4))
    assert_agree(table, FORWARD, at_least=4)
    assert_agree(table, BACKWARD, at_least=2)


def test_one_dimensional_convolutions_are_followed():
    inputs = keras.Input((20, 3))
    x = keras.layers.Conv1D(32, 5, padding="same", activation="relu", kernel_initializer="he_uniform")(inputs)
    outputs = keras.layers.Conv1D(8, 3, strides=2)(x)
    table, _ = predict(keras.Model(inputs, outputs), normal(12, 20, 3))
    assert_agree(table, FORWARD, at_least=4)
    assert_agree(table, BACKWARD, at_least=2)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_main_path_of_a_residual_network_grows_as_predicted(activation):
    inputs = keras.Input((256,))
    x = dense(256, kernel_initializer="lecun_normal")(inputs)
    for _ in range(3):
        branch = dense(256)(keras.layers.Activation(activation)(x))
        x = keras.layers.Add()([x, branch])
    table, prediction = predict(keras.Model(inputs, dense(10)(x)), normal(16, 256))
    assert prediction.basis == "mean field"
    assert_agree(table, FORWARD, at_least=12)
    assert_agree(table, BACKWARD, at_least=9)


def test_means_of_branches_that_end_in_an_activation_add_coherently():
    inputs = keras.Input((256,))
    x = dense(256)(inputs)
    for _ in range(3):
        x = keras.layers.Add()([x, dense(256, "relu")(x)])
    table, _ = predict(keras.Model(inputs, dense(10)(x)), normal(16, 256))
    sums = table[table["kind"] == "Add"].groupby("layer", sort=False)["predicted_activation_second_moment"].first()
    # Without coherent means each block would double the second moment; with them it grows faster (2.9041 in the limit).
    assert sums.iloc[2] / sums.iloc[1] > 2.3
    assert_agree(table, FORWARD, at_least=8)


def test_batch_normalization_is_predicted_both_ways():
    inputs = keras.Input((256,))
    x = dense(256)(inputs)
    for _ in range(3):
        x = keras.layers.BatchNormalization()(x)
        x = dense(256)(keras.layers.Activation("tanh")(x))
    table, _ = predict(keras.Model(inputs, dense(10)(x)), normal(64, 256))
    # The batch's variance itself fluctuates, which moves the normalized output by less than 1e-4.
    assert_agree(table[table["kind"] == "Dense"], FORWARD, at_least=8)
    gradients = distances(table, BACKWARD)
    # Samples' gradients are taken as uncorrelated: what the normalization correlates is of order 1/B.
    assert max(abs(distance) for distance in gradients.values()) < 3.0 * ERRORS
    ratio = table.groupby("layer", sort=False)[["gradient_second_moment", "predicted_gradient_second_moment"]].mean()
    assert np.abs(np.log(ratio.iloc[:, 0].astype(float) / ratio.iloc[:, 1].astype(float))).max() < 2.0 * 3 / 64


def test_batch_normalization_at_inference_does_nothing_but_for_its_epsilon():
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.layers.BatchNormalization(epsilon=0.5)(dense(64)(inputs)))
    x = normal(8, 64)
    table = Probe(model, x, training=False).measure(SEEDS)
    table = add_site_predictions(table, ModelPredictor(model, x, training=False).predict(table))
    assert_agree(table, (*FORWARD, *BACKWARD), at_least=4)
    # The same model with the batch's statistics is another matter.
    wrong = add_site_predictions(table, ModelPredictor(model, x, training=True).predict(table))
    assert max(abs(distance) for distance in distances(wrong, FORWARD).values()) > 5.0 * ERRORS


def test_layer_normalization_is_predicted_both_ways():
    inputs = keras.Input((256,))
    x = dense(256)(inputs)
    for _ in range(3):
        x = dense(256, "relu")(keras.layers.LayerNormalization()(x))
    table, _ = predict(keras.Model(inputs, dense(10)(x)), normal(16, 256))
    assert_agree(table[table["kind"] == "Dense"], FORWARD, at_least=8)
    ratio = table.groupby("layer", sort=False)[["gradient_second_moment", "predicted_gradient_second_moment"]].mean()
    ratio = ratio.dropna().astype(float)
    assert len(ratio) >= 7
    assert np.abs(np.log(ratio.iloc[:, 0] / ratio.iloc[:, 1])).max() < 6.0 / 256 + 0.05


def test_dropout_raises_squares_and_gradients_in_training_only():
    inputs = keras.Input((128,))
    x = keras.layers.Dropout(0.4)(dense(128, "relu")(inputs))
    model = keras.Model(inputs, dense(64)(x))
    data = normal(16, 128)
    table, _ = predict(model, data)
    assert_agree(table, (*FORWARD, *BACKWARD), at_least=6)
    quiet = Probe(model, data, training=False).measure(SEEDS)
    quiet = add_site_predictions(quiet, ModelPredictor(model, data, training=False).predict(quiet))
    assert_agree(quiet, (*FORWARD, *BACKWARD), at_least=6)


def test_concatenation_and_several_inputs_are_followed():
    first, second = keras.Input((96,)), keras.Input((32,))
    joined = keras.layers.Concatenate()([dense(64, "relu")(first), dense(192, "tanh")(second)])
    model = keras.Model([first, second], dense(64)(joined))
    table, _ = predict(model, [normal(16, 96), 3.0 * normal(16, 32)])
    assert_agree(table, (*FORWARD, *BACKWARD), at_least=8)


def test_models_inside_models_are_opened():
    inner_inputs = keras.Input((64,))
    inner = keras.Model(inner_inputs, dense(64, "relu")(dense(64, "relu")(inner_inputs)))
    inputs = keras.Input((64,))
    model = keras.Model(inputs, dense(8)(inner(dense(64, "relu")(inputs))))
    table, prediction = predict(model, normal(8, 64))
    assert prediction.basis == "finite width"
    assert {layer for layer, _ in prediction.sites} == set(table["layer"]) - {model.layers[0].name}
    assert_agree(table, (*FORWARD, *BACKWARD), at_least=8)


def test_activation_layers_of_every_kind_are_followed():
    layers = keras.layers
    inputs = keras.Input((128,))
    x = inputs
    for activation in (layers.ReLU(max_value=2.0), layers.LeakyReLU(0.1), layers.ELU(0.5), layers.PReLU()):
        x = activation(keras.layers.BatchNormalization()(dense(256)(x)))
    x = keras.ops.tanh(dense(256)(x))
    table, prediction = predict(keras.Model(inputs, dense(4)(x)), normal(64, 128))
    assert not prediction.unknown
    assert_agree(table[table["kind"].isin(["Dense", "Tanh"])], FORWARD, at_least=8)


def test_a_composition_of_activations_is_integrated_as_one_function():
    inputs = keras.Input((256,))
    x = keras.layers.Activation("tanh")(dense(256, "relu")(inputs))
    table, prediction = predict(keras.Model(inputs, keras.layers.Dropout(0.0)(x)), normal(16, 256))
    assert not prediction.unknown
    assert_agree(table, ("activation_second_moment",), at_least=2)


def test_random_biases_are_counted():
    inputs = keras.Input((128,))
    bias = keras.initializers.RandomNormal(stddev=0.7)
    x = keras.layers.Dropout(0.1)(dense(256, "relu", bias_initializer=bias)(inputs))
    table, _ = predict(keras.Model(inputs, dense(256, bias_initializer=bias)(x)), normal(16, 128))
    assert_agree(table, FORWARD, at_least=4)


def test_the_weights_themselves_are_predicted_with_their_spread():
    inputs = keras.Input((100,))
    outputs = dense(50, kernel_initializer="glorot_uniform")(keras.layers.Dropout(0.5)(dense(200)(inputs)))
    table, _ = predict(keras.Model(inputs, outputs), normal(4, 100))
    kernels = table[table["weight_norm"].notna()]
    assert_agree(kernels, ("weight_variance", "weight_norm"), at_least=4)
    for _, rows in kernels.groupby("layer"):
        for name in ("weight_variance", "weight_norm"):
            ratio = rows[name].std() / rows[f"predicted_{name}_sd"].iloc[0]
            assert 0.6 < ratio < 1.5  # chi-square of 39 degrees of freedom: both ends beyond 1 in 10,000


def test_behind_a_layer_without_theory_the_prediction_begins_anew_from_the_measurement():
    inputs = keras.Input((8, 8, 3))
    x = convolution(16, 3, padding="same", name="before")(inputs)
    x = keras.layers.GlobalMaxPooling2D(name="pooling")(x)
    table, prediction = predict(keras.Model(inputs, dense(32, "relu", name="after")(x)), normal(8, 8, 8, 3))
    assert list(prediction.unknown) == ["pooling"]
    assert "pooling needs the joint distribution" in prediction.unknown["pooling"]
    rows = table.groupby("layer", sort=False).first()
    assert table[table["layer"] == "pooling"]["predicted_activation_second_moment"].isna().all()
    assert rows["prediction"]["pooling"].startswith("not predicted: pooling needs")
    assert rows["prediction"]["after"] == "mean field, restarted from the measured value at pooling"
    assert rows["prediction"]["before"].endswith("gradients restarted from the measured value here")
    assert_agree(table, FORWARD, at_least=4)
    assert ("pooling", 0, "gradient_second_moment") in distances(table, BACKWARD)


def test_a_sum_of_signals_that_share_weights_is_not_predicted():
    inputs = keras.Input((32,))
    x = dense(32, "relu")(inputs)
    table, prediction = predict(keras.Model(inputs, dense(4)(keras.layers.Add()([x, x]))), normal(4, 32), range(4))
    assert "share weights or data" in prediction.unknown["add"]
    assert table["prediction"].str.contains("restarted from the measured value at add").any()


UNKNOWN = {
    "normalization": (
        lambda x: keras.layers.BatchNormalization(name="normalization")(dense(16)(x)),
        "fewer than four samples",
    ),
    "dropout": (lambda x: keras.layers.Dropout(1.0, name="dropout")(dense(16)(x)), "keep=0"),
    "shared": (lambda x: dense(4)(apply_twice(dense(32, "relu", name="shared"), x)), "used before"),
}


def apply_twice(layer, x):
    return layer(layer(x))


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name == "dropout" and not DROPS_ALL, reason="this Keras refuses to drop everything (3.14 does not)"
            ),
        )
        for name in UNKNOWN
    ],
)
def test_normalization_of_few_samples_dropout_of_everything_and_weights_used_twice_are_not_predicted(layer):
    build, reason = UNKNOWN[layer]
    inputs = keras.Input((32,))
    _, prediction = predict(keras.Model(inputs, build(inputs)), normal(3, 32), range(3))
    assert reason in prediction.unknown[layer]


def test_an_activation_function_is_read_as_it_is_while_its_layer_is_measured():
    """A study predicts from a model in one thread while another one measures it."""
    seen = []

    class Looking(keras.layers.Dense):
        def call(self, inputs):
            seen.append(find_function(self.activation).name)
            return super().call(inputs)

    inputs = keras.Input((16,))
    model = keras.Model(inputs, Looking(8, "tanh")(inputs))
    before = len(seen)
    Probe(model, normal(4, 16)).measure(range(2))
    assert len(seen) > before and set(seen) == {"tanh"}


def test_a_layer_of_the_users_own_is_not_predicted_even_if_it_derives_from_dense():
    @keras.saving.register_keras_serializable("test_walk")
    class Doubled(keras.layers.Dense):
        def call(self, inputs):
            return 2.0 * super().call(inputs)

    inputs = keras.Input((32,))
    _, prediction = predict(keras.Model(inputs, Doubled(32, name="doubled")(inputs)), normal(4, 32), range(4))
    assert prediction.unknown["doubled"] == "there is no theory of Doubled"


def test_an_initializer_of_the_users_own_has_no_known_distribution():
    @keras.saving.register_keras_serializable("test_walk")
    class Tiny(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None, **_):
            return keras.ops.zeros(shape, dtype)

    inputs = keras.Input((16,))
    model = keras.Model(inputs, dense(4, kernel_initializer=Tiny())(inputs))
    table, prediction = predict(model, normal(4, 16), range(3))
    assert "Tiny is not one of Keras' own" in prediction.basis
    assert table["predicted_activation_second_moment"].isna().all()


def test_a_model_with_a_call_of_its_own_is_not_predicted():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = dense(8)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(normal(4, 16))
    table, prediction = predict(model, normal(4, 16), range(3))
    assert "has a call method of its own" in prediction.basis
    assert table["prediction"].eq(prediction.basis).all()
    assert table.filter(like="predicted_").isna().all(axis=None)


def test_wrong_initializers_are_seen():
    """Negative control: the same comparison with predictions for another initializer fails."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.layers.Dropout(0.2)(dense(64, "relu")(inputs)))
    x = normal(8, 64)
    table = Probe(model, x).measure(SEEDS)
    prediction = ModelPredictor(model, x).predict(table, kernels=lambda _: InitializerSpec("GlorotUniform"))
    wrong = add_site_predictions(table, prediction)
    assert min(abs(distance) for distance in distances(wrong, FORWARD).values()) > ERRORS
