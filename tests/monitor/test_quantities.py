"""The monitor's values in Keras' logs, and the conditions that stop a training run."""

from __future__ import annotations

import csv
import math

import keras
import numpy as np
import pytest

from initcheck.callbacks import SignalMonitor
from initcheck.core.errors import UsageError

SAMPLES, BATCH = 96, 16


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(SAMPLES, 8)).astype(np.float32), random.integers(0, 3, SAMPLES)


def build(optimizer="sgd"):
    keras.utils.set_random_seed(3)
    encoder = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(6, activation="relu", name="dense_3")], name="encoder"
    )
    model = keras.Sequential(
        [
            keras.Input((8,)),
            encoder,
            keras.layers.Dense(6, activation="tanh", name="second"),
            keras.layers.Dense(3, name="last"),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class Keep(keras.callbacks.Callback):
    """Keeps the logs that a callback behind the monitor is given."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def train(data, *, callbacks=(), epochs=2, verbose=0, model=None, optimizer="sgd", **settings):
    x, y = data
    monitor = SignalMonitor(x[:BATCH], y[:BATCH], verbose=0, **settings)
    model = model or build(optimizer)
    history = model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=verbose, callbacks=[monitor, *callbacks])
    return monitor, history.history


def largest(table, step, column):
    return table[table["step"] == step][column].max()


def test_the_largest_values_over_the_layers_are_in_the_history(data):
    monitor, history = train(data, every=4)
    table = monitor.table
    # Six steps an epoch: the last measurements were made after steps 4 and 12.
    for name, column in {
        "gradient": "weight_gradient_norm",
        "update": "update_to_weight_ratio",
        "dead": "dead_fraction",
        "saturated": "saturated_fraction",
        "nonfinite": "nonfinite_fraction",
    }.items():
        assert history[f"signal/{name}"] == [largest(table, step, column) for step in (4, 12)]
    assert {name for name in history if name.startswith("signal/")} == {
        "signal/dead",
        "signal/saturated",
        "signal/gradient",
        "signal/update",
        "signal/nonfinite",
    }


@pytest.mark.parametrize("bar", [1, "auto"])
def test_each_batch_has_the_last_measurement_but_not_beside_a_progress_bar(data, capsys, bar):
    quiet, shown = Keep(), Keep()
    monitor, _ = train(data, every=2, epochs=1, callbacks=[quiet])
    train(data, every=2, epochs=1, callbacks=[shown], verbose=bar)
    assert "signal/dead" in capsys.readouterr().out  # once, when the epoch has ended
    gradients = [logs["signal/gradient"] for logs in quiet.batches]
    assert gradients == [largest(monitor.table, step, "weight_gradient_norm") for step in (0, 2, 2, 4, 4, 6)]
    assert not any(name.startswith("signal/") for logs in shown.batches for name in logs)
    assert {*shown.epochs[0]} == {*quiet.epochs[0]}


def test_the_names_never_change_so_that_a_csv_has_all_columns(data, tmp_path):
    path = tmp_path / "log.csv"
    # The first epoch ends before the first measured step: nothing was updated yet.
    train(data, every=10, callbacks=[keras.callbacks.CSVLogger(str(path))], logs=("update", "gradient/*"))
    first, second = csv.DictReader(path.read_text().splitlines())
    assert math.isnan(float(first["signal/update"])) and 0.0 < float(second["signal/update"]) < 1.0
    assert {name for name in first if name.startswith("signal/")} == {
        "signal/update",
        "signal/gradient/encoder/dense_3",
        "signal/gradient/second",
        "signal/gradient/last",
    }
    assert all(float(row["signal/gradient/encoder/dense_3"]) > 0.0 for row in (first, second))


def test_a_layer_is_named_as_its_owner_does_and_as_get_layer_finds_it(data):
    monitor, history = train(data, every=6, logs="dead/encoder/*")
    assert {name for name in history if name.startswith("signal/")} == {"signal/dead/encoder/dense_3"}
    path = monitor.table["layer"].iloc[0]
    found = monitor.model
    for name in path.split("/"):
        found = found.get_layer(name)
    assert found is monitor.model.layers[0].layers[0]


def test_logs_can_be_left_alone(data):
    assert [*train(data, every=2, logs=())[1]] == ["loss"]


def test_a_training_run_is_stopped_at_the_measured_step_where_a_condition_is_met(data):
    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                self.model.layers[0].layers[0].bias.assign(np.full(6, -1e3))

    kept = Keep()
    monitor, _ = train(data, every=2, callbacks=[Kill(), kept], stop_on=("nonfinite", "dead>0.9"))
    assert len(kept.batches) == 4  # the biases are set before the third step, and measured after the fourth
    assert monitor.stopped == (
        "Stopped at step 4 by stop_on='dead>0.9': the share of dead units was 100% in `encoder/dense_3`."
    )
    assert monitor.table["step"].max() == 4


def test_values_that_are_not_finite_stop_a_training_run(data):
    monitor, _ = train(data, every=1, stop_on="nonfinite", optimizer=keras.optimizers.SGD(1e38))
    assert monitor.stopped.startswith("Stopped at step 1 by stop_on='nonfinite': ")
    assert "inf or NaN" in monitor.stopped


def test_a_condition_may_be_about_one_layer_and_about_too_little(data):
    model = build()
    model.get_layer("second").trainable = False
    model.compile("sgd", model.loss)
    monitor, _ = train(data, every=3, stop_on=("update/last<1e-9", "update/sec*<1e-9"), model=model)
    expected = "Stopped at step 3 by stop_on='update/sec*<1e-9': the update-to-weight ratio was 0 in `second`."
    assert monitor.stopped == expected


def test_the_next_fit_is_not_stopped_by_the_reason_of_the_last(data):
    x, y = data
    monitor = SignalMonitor(x[:BATCH], y[:BATCH], every=6, stop_on="activation>1e-9", verbose=0)
    model, kept = build(), Keep()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[monitor])
    assert monitor.stopped.startswith("Stopped at step 0")
    model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0, callbacks=[monitor, kept])
    assert monitor.stopped.startswith("Stopped at step 6") and len(kept.batches) == 5


def test_a_branch_that_starts_at_zero_has_no_dead_units_and_an_output_may_be_saturated(data):
    x, y = data
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6, kernel_initializer="zeros"),
            keras.layers.Dense(3, activation="relu", kernel_initializer="zeros"),
            keras.layers.Dense(1, activation="sigmoid", bias_initializer=keras.initializers.Constant(20.0)),
        ]
    )
    model.compile("sgd", "mse")
    monitor = SignalMonitor(x, y, every=1, stop_on=("dead>0", "saturated>0"), verbose=0)
    model.fit(x, y, verbose=0, callbacks=[monitor])
    assert monitor.stopped is None


@pytest.mark.parametrize(
    "condition", ["ded>0.9", "dead", "dead>", "dead>nan", "dead>0.5>0.1", "dead/>1", "", ">1", 3, None, "h1/dead>1"]
)
def test_a_condition_that_cannot_be_read_is_refused_with_what_is_allowed(condition):
    with pytest.raises(UsageError) as caught:
        SignalMonitor(np.ones((4, 8)), stop_on=(condition,))
    message = str(caught.value)
    assert "\n" not in message and f"Received: {condition!r}." in message
    assert '"nonfinite", "dead>0.9"' in message and "activation, dead, gradient" in message


@pytest.mark.parametrize("option", ["logs", "stop_on"])
def test_what_is_no_list_of_names_is_refused_and_none_is_nothing(option):
    with pytest.raises(UsageError, match=rf"Cannot read {option}\. Received: 3\. Give \"(dead|nonfinite)\""):
        SignalMonitor(np.ones((4, 8)), **{option: 3})
    SignalMonitor(np.ones((4, 8)), **{option: None})


def test_a_name_for_the_logs_that_cannot_be_read_is_refused():
    with pytest.raises(UsageError, match=r"Cannot read logs\. Received: 'loss'\. Give \"dead\""):
        SignalMonitor(np.ones((4, 8)), logs=("dead", "loss"))


@pytest.mark.parametrize("settings", [{"logs": ("dead/encoder/dense_2",)}, {"stop_on": "dead/encoder/dense_2>0.5"}])
def test_a_layer_that_the_model_does_not_have_is_refused_before_the_first_step(data, settings):
    with pytest.raises(UsageError, match=r"dead/encoder/dense_2'\. Did you mean dead/encoder/dense_3\?"):
        train(data, **settings)
