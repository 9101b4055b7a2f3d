"""The monitor's numbers against slow ones taken from the model by hand, and what it may be used with."""

from __future__ import annotations

from contextlib import contextmanager

import keras
import numpy as np
import pandas as pd
import pytest
from marked import only_on
from plain_gradients import differentiate

from initcheck.callbacks import SignalMonitor
from initcheck.core.errors import DataError, InitcheckError, ModelError, OutputError, UsageError

SAMPLES, BATCH, CLASSES = 96, 16, 4


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(SAMPLES, 12)).astype(np.float32)
    return x, random.integers(0, CLASSES, SAMPLES)


def watch(model, data, every, *, labelled=True, callbacks=(), **settings):
    """Train a model, and give the monitor that watched it."""
    x, y = data
    monitor = SignalMonitor(x[:BATCH], y[:BATCH] if labelled else None, every=every)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[*callbacks, monitor], **settings)
    return monitor


def build(optimizer="sgd", *, activation="relu", **compiled):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(10, activation=activation, name="first"),
            keras.layers.Dense(8, activation="tanh", name="second"),
            keras.layers.Dense(CLASSES, name="last"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compiled)
    return model


def take_gradients(model, x, y):
    """Activations and gradients of each Dense layer, layer by layer, without Keras' call of the model."""
    kernels = [np.asarray(layer.kernel) for layer in model.layers]
    offsets = [np.zeros((len(x), layer.units), np.float32) for layer in model.layers]

    def follow(*values):
        signal, seen = keras.ops.convert_to_tensor(x), []
        for layer, offset, kernel in zip(model.layers, values, values[len(offsets) :], strict=False):
            signal = layer.activation(keras.ops.matmul(signal, kernel) + layer.bias.value + offset)
            seen.append(signal)
        return seen

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    gradients = differentiate(lambda *values: loss(y, follow(*values)[-1]), [*offsets, *kernels])
    given = map(keras.ops.convert_to_tensor, [*offsets, *kernels])
    seen = [keras.ops.convert_to_numpy(signal) for signal in follow(*given)]
    by_layer = zip(model.layers, seen, gradients, gradients[len(kernels) :], strict=False)
    return {
        layer.name: {
            "activation_second_moment": float(np.mean(np.square(h, dtype=np.float64))),
            "activation_variance": float(np.var(h, dtype=np.float64)),
            "zero_fraction": float(np.mean(np.asarray(h) == 0.0)),
            "gradient_norm": float(np.sqrt(np.sum(np.square(dz, dtype=np.float64)) / len(x))),
            "weight_gradient_norm": float(np.linalg.norm(np.asarray(dw, np.float64))),
            "weight_norm": float(np.linalg.norm(keras.ops.convert_to_numpy(layer.kernel).astype(np.float64))),
        }
        for layer, h, dz, dw in by_layer
    }


def kernels_of(model):
    return [keras.ops.convert_to_numpy(layer.kernel).astype(np.float64) for layer in model.layers]


def test_every_number_is_that_of_an_eager_tape_at_the_same_moment(data):
    x, y = data
    model, expected, norms = build("adam"), {}, {}

    class Slow(keras.callbacks.Callback):
        """Takes the same numbers step by step; it comes before the monitor and changes nothing."""

        def __init__(self):
            super().__init__()
            self.steps = 0

        def on_train_begin(self, logs=None):
            expected[0] = take_gradients(self.model, x[:BATCH], y[:BATCH])

        def on_train_batch_begin(self, batch, logs=None):
            self.before = kernels_of(self.model)

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            expected[self.steps] = take_gradients(self.model, x[:BATCH], y[:BATCH])
            after = kernels_of(self.model)
            pairs = zip(self.model.layers, after, self.before, strict=True)
            norms[self.steps] = {layer.name: np.linalg.norm(new - old) for layer, new, old in pairs}

    monitor = watch(model, data, every=2, callbacks=[Slow()], epochs=2)
    table = monitor.table.set_index(["step", "layer"])
    assert sorted(table.index.get_level_values("step").unique()) == [0, 2, 4, 6, 8, 10, 12]
    for (step, layer), row in table.iterrows():
        for quantity, value in expected[step][layer].items():
            assert row[quantity] == pytest.approx(value, rel=2e-5, abs=1e-9), (step, layer, quantity)
        if step:
            assert row["update_norm"] == pytest.approx(norms[step][layer], rel=1e-5)
            ratio = norms[step][layer] / expected[step][layer]["weight_norm"]
            assert row["update_to_weight_ratio"] == pytest.approx(ratio, rel=1e-5)


def test_the_update_of_plain_descent_is_rate_times_gradient(data):
    """Trained on the monitor's own batch, the step's gradient is the one that was measured just before it."""
    x, y = data[0][:BATCH], data[1][:BATCH]
    rate = 0.05
    model = build(keras.optimizers.SGD(rate))
    monitor = SignalMonitor(x, y, every=1)
    model.fit(x, y, batch_size=BATCH, epochs=4, shuffle=False, verbose=0, callbacks=[monitor])
    table = monitor.table.set_index(["layer", "step"])
    for layer in ("first", "second", "last"):
        rows = table.loc[layer]
        assert rows["update_norm"].isna().tolist() == [True, False, False, False, False]
        gradients = rows["weight_gradient_norm"].to_numpy(float)
        updates = rows["update_norm"].to_numpy(float, na_value=np.nan)
        np.testing.assert_allclose(updates[1:], rate * gradients[:-1], rtol=1e-4)
        ratios = rows["update_to_weight_ratio"].to_numpy(float, na_value=np.nan)
        np.testing.assert_allclose(ratios[1:], updates[1:] / rows["weight_norm"].to_numpy(float)[1:], rtol=1e-12)


def test_a_frozen_layer_is_not_updated_and_zero_weights_have_no_ratio(data):
    model = build()
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    model.layers[1].kernel.assign(np.zeros((10, 8)))
    model.layers[1].bias.assign(np.full(8, 0.5))
    model.compile("sgd", model.loss)
    monitor = watch(model, data, every=3, labelled=False)
    rows = monitor.table.query("step == 6").set_index("layer")
    assert rows.loc["first", "update_norm"] == 0.0 and rows.loc["first", "update_to_weight_ratio"] == 0.0
    assert rows.loc["second", "update_norm"] == 0.0
    assert rows.loc["second", "update_to_weight_ratio"] is pd.NA
    assert rows.loc["last", "update_norm"] > 0.0


def test_units_that_die_are_seen_dying(data):
    """A step that throws the biases of all hidden units far below zero kills them, and the next rows say so."""

    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                bias = np.zeros(10, np.float32)
                bias[:4] = -1e3
                self.model.layers[0].bias.assign(bias)

    model = build()
    monitor = watch(model, data, every=1, callbacks=[Kill()])
    dead = monitor.table.query("layer == 'first'").set_index("step")["dead_fraction"].to_numpy(float)
    assert (dead[:4] < 0.4).all()
    assert (dead[4:] >= 0.4).all()


def test_saturated_and_nonfinite_activations_are_shares_of_all(data):
    model = build()
    model.layers[1].bias.assign(np.asarray([50.0] * 2 + [0.0] * 6, np.float32))
    model.layers[2].bias.assign(np.asarray([np.inf] + [0.0] * 3, np.float32))
    monitor = watch(model, data, every=1000, labelled=False)
    rows = monitor.table.set_index("layer")
    assert rows["step"].unique().tolist() == [0]
    assert 0.25 <= rows.loc["second", "saturated_fraction"] < 0.6
    assert rows.loc["last", "nonfinite_fraction"] == 0.25
    assert rows.loc["first", "nonfinite_fraction"] == 0.0


# --- the training is left as it is ------------------------------------------------------------------------------------


def build_unsettled():
    """A model whose training moves everything that a training can move."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12,))
    signal = keras.layers.Dense(16, activation="relu")(inputs)
    signal = keras.layers.BatchNormalization()(signal)
    signal = keras.layers.Dropout(0.4)(signal)
    signal = keras.layers.GaussianNoise(0.1)(signal)
    outputs = keras.layers.Dense(CLASSES, activation="softmax")(signal)
    return keras.Model(inputs, outputs)


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(variable).tobytes() for variable in variables]


@pytest.mark.parametrize(
    "compiled",
    [
        {},
        pytest.param({"jit_compile": True}, marks=pytest.mark.thorough),
        pytest.param({"jit_compile": False, "run_eagerly": True}, marks=pytest.mark.thorough),
        pytest.param({"jit_compile": False, "steps_per_execution": 4}, marks=pytest.mark.thorough),
    ],
    ids=["graph", "jit_compile", "run_eagerly", "steps_per_execution"],
)
def test_a_monitored_training_ends_bit_for_bit_as_one_that_is_not(data, compiled):
    x, y = data
    ends = []
    for watched in (False, True):
        model = build_unsettled()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **compiled)
        monitor = SignalMonitor(x[:BATCH], y[:BATCH], every=1)
        callbacks = [monitor] if watched else []
        history = model.fit(
            x, y, batch_size=BATCH, epochs=2, validation_split=0.25, verbose=0, callbacks=callbacks
        ).history
        after = np.random.random(3).tolist()
        history = {name: values for name, values in history.items() if not name.startswith("signal/")}
        ends.append((state_of(model), history, after))
    assert len(ends[0][0]) > 15
    assert ends[0] == ends[1]
    assert monitor.table["step"].nunique() > 1  # it did measure
    updates = monitor.table.query("step > 0 and layer == 'dense'")["update_norm"].to_numpy(float)
    assert (updates > 1e-5).all()


def test_a_training_that_is_meddled_with_ends_otherwise(data):
    """Negative control: the comparison above notices a single extra draw of the model's own noise."""
    x, y = data

    class Meddling(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model(x[:2], training=True)

    ends = []
    for callbacks in ([], [Meddling()]):
        model = build_unsettled()
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)
        ends.append(state_of(model))
    assert ends[0] != ends[1]


def test_dropout_is_measured_with_the_same_units_each_time(data):
    """With a learning rate of zero nothing changes, so all rows have to agree exactly."""
    model = build_unsettled()
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    monitor = watch(model, data, every=2)
    columns = ["activation_variance", "gradient_norm", "zero_fraction"]
    for _, rows in monitor.table.groupby("layer"):
        assert len(rows) == 4
        assert (rows[columns].nunique() == 1).all()
    assert monitor.table.query("layer == 'dropout'")["zero_fraction"].iloc[0] > 0.2


# --- how steps are counted --------------------------------------------------------------------------------------------


def steps_of(monitor):
    return monitor.table.drop_duplicates("step")[["step", "epoch", "update_steps"]].astype(object).to_numpy().tolist()


def test_several_fits_continue_one_table(data):
    x, y = data
    model = build()
    monitor = SignalMonitor(x[:BATCH], every=4)
    for _ in range(2):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[monitor])  # 6 steps
    model.fit(x, y, batch_size=BATCH, initial_epoch=2, epochs=3, verbose=0, callbacks=[monitor])
    assert steps_of(monitor) == [[0, 0, pd.NA], [4, 0, 1], [8, 0, 1], [12, 0, 1], [16, 2, 1]]


@only_on("tensorflow", "jax", reason="Keras refuses several steps an execution")
@pytest.mark.parametrize("form", ["arrays", "a dataset of unknown length"])
def test_with_several_steps_an_execution_what_falls_due_is_measured_at_its_end(data, form):
    """6 steps an epoch in executions of 4 and 2; every third step falls due in each of the first two executions."""
    x, y = data
    model = build(steps_per_execution=4, jit_compile=False)
    monitor = SignalMonitor(x[:BATCH], every=3)
    given = {"x": x, "y": y, "batch_size": BATCH} if form == "arrays" else {"x": make_dataset_of_unknown_length(data)}
    model.fit(**given, epochs=2, verbose=0, callbacks=[monitor])
    assert [each[::2] for each in steps_of(monitor)][1:] == [[4, 4], [6, 2], [10, 4], [12, 2]]


def make_dataset_of_unknown_length(data):
    tf = pytest.importorskip("tensorflow", reason="a dataset of tf.data")
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH).filter(lambda *_: True)


def test_a_dataset_of_unknown_length_is_counted_too(data):
    dataset = make_dataset_of_unknown_length(data)
    model = build()
    monitor = SignalMonitor(data[0][:BATCH], every=5)
    for epochs, steps in ((2, [0, 5, 10]), (1, [0, 5, 10, 15])):
        model.fit(dataset, epochs=epochs, verbose=0, callbacks=[monitor])
        assert [each[0] for each in steps_of(monitor)] == steps


def test_executions_that_go_beyond_the_steps_of_an_epoch_are_counted_whole(data):
    """Of data without an end Keras makes whole executions: 8 steps where 6 were asked for."""
    x, y = data
    tf = pytest.importorskip("tensorflow", reason="a dataset of tf.data")
    repeated = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).repeat()
    model = build(steps_per_execution=4, jit_compile=False)
    monitor = SignalMonitor(x[:BATCH], every=1)
    model.fit(repeated, steps_per_epoch=6, epochs=2, verbose=0, callbacks=[monitor])
    assert [each[::2] for each in steps_of(monitor)][1:] == [[4, 4], [8, 4], [12, 4], [16, 4]]
    assert int(model.optimizer.iterations) == 16


# --- other models -----------------------------------------------------------------------------------------------------


def test_a_subclassed_model_that_fit_builds_is_measured(data):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(8, activation="relu")
            self.last = keras.layers.Dense(CLASSES)

        def call(self, inputs):
            return self.last(self.first(inputs))

    model = Own()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    monitor = watch(model, data, every=2)
    rows = monitor.table.query("step == 6").set_index("layer")
    assert {"dense", "dense_1"} <= set(rows.index)
    assert (rows.loc[["dense", "dense_1"], "update_to_weight_ratio"] > 0.0).all()


def test_mixed_precision_is_measured_in_its_own_precision(data):
    x = data[0]
    inputs = keras.Input((12,))
    signal = keras.layers.Dense(16, activation="relu", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float32")(signal))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    monitor = watch(model, data, every=3)
    row = monitor.table.query("step == 3 and layer == 'dense'").iloc[0]
    hidden = np.maximum(x[:BATCH] @ np.asarray(model.layers[1].kernel), 0.0)
    assert row["activation_second_moment"] == pytest.approx(float(np.mean(hidden**2)), rel=0.05)
    assert 0.0 < row["update_to_weight_ratio"] < 0.1


def test_inputs_by_name_and_a_shared_layer_have_a_row_for_each_call(data):
    x, y = data
    left, right = keras.Input((12,), name="left"), keras.Input((12,), name="right")
    shared = keras.layers.Dense(6, activation="relu", name="shared")
    joined = keras.layers.Concatenate()([shared(left), shared(right)])
    model = keras.Model({"left": left, "right": right}, keras.layers.Dense(CLASSES, activation="softmax")(joined))
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = SignalMonitor({"left": x[:8], "right": x[8:16]}, y[:8], every=6)
    model.fit({"left": x, "right": x}, y, batch_size=BATCH, verbose=0, callbacks=[monitor])
    rows = monitor.table.query("step == 6 and layer == 'shared'")
    assert rows["call"].tolist() == [0, 1]
    assert rows["update_norm"].nunique() == 1 and rows["activation_variance"].nunique() == 2


# --- bad input --------------------------------------------------------------------------------------------------------


@contextmanager
def refused(error, message=""):
    with pytest.raises(error, match=message) as caught:
        yield
    assert isinstance(caught.value, InitcheckError) and "\n" not in str(caught.value)


@pytest.mark.parametrize("every", [0, -1, 1.5, True, None, "2"])
def test_an_interval_that_is_no_whole_number_of_steps_is_refused(data, every):
    with refused(UsageError, "every must be a whole number of steps"):
        SignalMonitor(data[0], every=every)


def test_a_monitor_without_a_batch_is_refused():
    with refused(UsageError, r"needs a batch to measure on\. Received: x=None"):
        SignalMonitor(None)


def test_a_batch_of_the_wrong_shape_is_refused_before_the_first_step(data):
    x, y = data
    model = build()
    start = state_of(model)
    with refused(DataError, r"samples of shape \(12,\).*Received: an array of shape \(16, 5\)"):
        model.fit(x, y, verbose=0, callbacks=[SignalMonitor(x[:BATCH, :5])])
    assert state_of(model)[: len(start)] == start


def test_a_dataset_in_place_of_a_batch_is_refused(data):
    x, y = data
    tf = pytest.importorskip("tensorflow", reason="a dataset of tf.data")
    monitor = SignalMonitor(tf.data.Dataset.from_tensor_slices(x))
    with refused(DataError, r"x must be an array\. Received: .*Dataset\. Give one batch"):
        build().fit(x, y, verbose=0, callbacks=[monitor])


@pytest.mark.parametrize("wrong", [np.full(BATCH, CLASSES), np.zeros(BATCH - 1, int), np.zeros((BATCH, 7))])
def test_labels_that_do_not_fit_the_loss_are_refused_before_the_first_step(data, wrong):
    x, y = data
    with refused(DataError):
        build().fit(x, y, verbose=0, callbacks=[SignalMonitor(x[:BATCH], wrong)])


def test_labels_for_a_model_without_a_loss_are_refused(data):
    x, y = data

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs):
            outputs = self.dense(inputs)
            self.add_loss(keras.ops.mean(outputs**2))
            return outputs

    model = Own()
    model.compile("sgd")
    with refused(ModelError, "compiled without a loss"):
        model.fit(x, verbose=0, callbacks=[SignalMonitor(x[:BATCH], y[:BATCH])])
    monitor = SignalMonitor(x[:BATCH], every=3)
    model.fit(x, verbose=0, callbacks=[monitor])
    assert monitor.table.query("step == 3 and layer == 'dense'")["gradient_norm"].notna().all()


def test_a_folder_that_cannot_be_written_is_refused_at_once(data, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with refused(OutputError, "Cannot write to"):
        SignalMonitor(data[0], log_dir=blocked / "logs")


def test_a_second_model_is_refused(data):
    x, y = data
    monitor = SignalMonitor(x[:BATCH])
    build().fit(x, y, verbose=0, callbacks=[monitor])
    with refused(ModelError, "Make a monitor for each model"):
        build().fit(x, y, verbose=0, callbacks=[monitor])
