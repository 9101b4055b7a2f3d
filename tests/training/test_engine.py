"""Networks trained together are the networks that ``model.fit`` trains one by one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tape import to_array

from initcheck.models.initializers import parse_initializer
from initcheck.models.networks import NotebookSpec
from initcheck.probe import RedrawPlan
from initcheck.training.data import LabelledData
from initcheck.training.engine import Descent, Trainer, orders_of, train

SEEDS = (3, 4, 9)
DESCENT = Descent(learning_rate=0.05, batch_size=16)


def make_data(samples=100):
    kept, classes, size = 30, 10, 12
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, size))
    y = random.integers(0, classes, samples + kept).astype(np.int32)
    x = (centres[y] + 0.5 * random.normal(size=(samples + kept, size))).astype(np.float32)
    return LabelledData("clouds", x[kept:], y[kept:], x[:kept], y[:kept], classes)


def build(seed, initializer="HeNormal"):
    return NotebookSpec(initializer=parse_initializer(initializer)).build((12,), seed)


@pytest.fixture
def data():
    return make_data()


@pytest.fixture
def model():
    return build(SEEDS[0])


def fit(model, data, order):
    model.compile(keras.optimizers.SGD(DESCENT.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        data.x[order],
        data.y[order],
        batch_size=DESCENT.batch_size,
        shuffle=False,
        verbose=0,
        validation_data=(data.x_valid, data.y_valid),
    )
    return [history.history[name][-1] for name in ("loss", "accuracy", "val_loss", "val_accuracy")]


def test_an_epoch_is_that_of_fit_the_small_last_batch_included(data, model):
    assert len(data.x) % DESCENT.batch_size
    orders = orders_of(SEEDS, len(data.x), epoch=1)
    weights, metrics = Trainer(model, data, DESCENT).train_epoch(RedrawPlan(model).sample(SEEDS), orders)
    for place, seed in enumerate(SEEDS):
        alone = build(seed)
        expected = fit(alone, data, orders[place])
        assert metrics[place] == pytest.approx(expected, rel=2e-6)
        for together, single in zip(weights, alone.get_weights(), strict=True):
            np.testing.assert_allclose(np.asarray(together[place]), single, atol=1e-6)


def test_another_learning_rate_is_noticed(data, model):
    """The negative control: 2% more is far beyond the tolerance above."""
    orders = orders_of(SEEDS[:1], len(data.x), epoch=1)
    trainer = Trainer(model, data, Descent(0.051, 16))
    weights, _ = trainer.train_epoch(RedrawPlan(model).sample(SEEDS[:1]), orders)
    alone = build(SEEDS[0])
    fit(alone, data, orders[0])
    assert np.abs(np.asarray(weights[0][0]) - alone.get_weights()[0]).max() > 1e-5


def test_statistics_of_normalization_are_carried_on(data):
    def normalized():
        keras.utils.set_random_seed(7)
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(10, "softmax")]
        return keras.Sequential([keras.Input((12,)), *layers])

    order = np.arange(100, dtype=np.int32)
    model = normalized()
    before = [to_array(weight).copy() for weight in model.weights]
    weights = [np.stack([each, each]) for each in before]
    tf_weights = [keras.ops.convert_to_tensor(each) for each in weights]
    trained, metrics = Trainer(model, data, DESCENT).train_epoch(tf_weights, np.stack([order, order]))
    assert all(np.array_equal(to_array(w), kept) for w, kept in zip(model.weights, before, strict=True))
    expected = fit(model, data, order)
    assert metrics[1] == pytest.approx(expected, rel=1e-5)
    for together, weight in zip(trained, model.weights, strict=True):
        np.testing.assert_allclose(to_array(together[1]), to_array(weight), atol=1e-6)


def test_single_steps_are_those_of_the_epoch(model):
    data = make_data(samples=64)
    plan, orders = RedrawPlan(model), orders_of(SEEDS, 64, epoch=1)
    trainer = Trainer(model, data, DESCENT)
    whole, metrics = trainer.train_epoch(plan.sample(SEEDS), orders)
    first, early = trainer.train_steps(plan.sample(SEEDS), orders[:, :16])
    rest, late = trainer.train_steps(first, orders[:, 16:])
    np.testing.assert_allclose(np.concatenate([early, late], axis=1).mean(axis=1), metrics[:, 0], rtol=1e-5)
    for one, other in zip(whole, rest, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-6)


def test_the_initialization_is_reported_before_the_first_epoch(data, model):
    curves = list(train(Trainer(model, data, DESCENT), RedrawPlan(model).sample(SEEDS), SEEDS, len(data.x), 3))
    assert len(curves) == 4
    assert np.isnan(curves[0][:, :2]).all()
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    assert curves[0][0, 2:] == pytest.approx(model.evaluate(data.x_valid, data.y_valid, verbose=0), rel=1e-5)
    assert curves[3][:, 2].mean() < curves[0][:, 2].mean()


def test_a_loss_that_leaves_the_numbers_is_no_error(data):
    model = build(SEEDS[0], "RandomNormal(stddev=1000.0)")
    trainer = Trainer(model, data, Descent(learning_rate=1e30, batch_size=16))
    curves = list(train(trainer, RedrawPlan(model).sample(SEEDS), SEEDS, len(data.x), 1))
    assert not np.isfinite(curves[-1][:, 2]).all() or (curves[-1][:, 3] < 0.5).all()


def test_orders_are_permutations_that_depend_on_seed_and_epoch_alone():
    one, other = orders_of((1, 2), 50, 1), orders_of((2, 1), 50, 1)
    assert np.array_equal(np.sort(one, axis=1), np.tile(np.arange(50), (2, 1)))
    assert np.array_equal(one[::-1], other)
    assert not np.array_equal(one, orders_of((1, 2), 50, 2))
