import numpy as np
import pytest

from initcheck.backend.runtime import import_keras
from initcheck.checking.inputs import make_batch, undo_preprocessing


def model_with(*preprocessing):
    keras = import_keras()
    return keras.Sequential([keras.Input((6,)), *preprocessing, keras.layers.Dense(2)])


def what_reaches_the_first_weight(model, batch):
    for layer in model.layers[:-1]:
        batch = layer(batch)
    return np.asarray(batch)


@pytest.mark.parametrize(
    "make",
    [
        lambda layers: [layers.Rescaling(1 / 127.5, offset=-1.0)],
        lambda layers: [layers.Rescaling(1 / 255), layers.Normalization(mean=[0.4] * 6, variance=[0.05] * 6)],
        lambda layers: [layers.Normalization(mean=[3.0] * 6, variance=[4.0] * 6, invert=True)],
    ],
    ids=["rescaling", "rescaling and normalization", "inverted normalization"],
)
def test_what_leaves_the_preprocessing_is_normal_with_variance_one(make):
    model = model_with(*make(import_keras().layers))
    batch = make_batch(model, batch_size=2000, seed=1)
    reached = what_reaches_the_first_weight(model, batch.inputs)
    # 12,000 values: the standard error of the mean is .009, of the variance .013.
    assert abs(reached.mean()) < 0.05
    assert abs(reached.var() - 1) < 0.07
    assert "behind the model's own preprocessing" in batch.description


def test_a_model_without_preprocessing_gets_the_numbers_as_they_are():
    values = np.ones((2, 6), dtype=np.float32)
    undone, found = undo_preprocessing(model_with(), 0, values)
    assert not found and undone is values


def test_an_input_that_another_layer_takes_too_is_left_alone():
    keras = import_keras()
    inputs = keras.Input((6,))
    raw = keras.layers.Dense(2)(inputs)
    scaled = keras.layers.Dense(2)(keras.layers.Rescaling(0.1)(inputs))
    model = keras.Model(inputs, keras.layers.Add()([raw, scaled]))
    values = np.ones((2, 6), dtype=np.float32)
    assert not undo_preprocessing(model, 0, values)[1]
