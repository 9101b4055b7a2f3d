"""The compiled loss: Keras' own figure, under a tape and a trace, with nothing changed and mismatches reported."""

from __future__ import annotations

import numpy as np
import pytest
from input_models import expect_message, own_model
from tape import to_array

from initcheck.backend.runtime import import_keras
from initcheck.checking.labels import compiled_loss
from initcheck.core.errors import DataError, ModelError
from initcheck.probe import Probe

random = np.random.default_rng(0)
X = random.normal(size=(6, 4)).astype(np.float32)


def build(units=3, activation="softmax", loss="sparse_categorical_crossentropy", **options):
    keras = import_keras()
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(units, activation, kernel_regularizer="l2", name="head")]
    )
    model.compile("adam", loss=loss, metrics=["accuracy"], **options)
    return model


def build_two_outputs(loss, **options):
    keras = import_keras()
    inputs = keras.Input((4,))
    outputs = {"a": keras.layers.Dense(2, name="a")(inputs), "b": keras.layers.Dense(3, name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss=loss, **options)
    return model


CASES = {
    "sparse": ({}, random.integers(0, 3, 6)),
    "sparse, a column": ({}, random.integers(0, 3, (6, 1))),
    "one-hot": ({"loss": "categorical_crossentropy"}, np.eye(3)[random.integers(0, 3, 6)]),
    "crossentropy": ({"loss": "crossentropy"}, random.integers(0, 3, 6)),
    "squares": ({"loss": "mse", "activation": None}, random.normal(size=(6, 3))),
    "one unit": ({"loss": "mse", "units": 1, "activation": None}, random.normal(size=6)),
    "binary": ({"loss": "binary_crossentropy", "units": 1, "activation": "sigmoid"}, random.integers(0, 2, 6)),
    "weighted": ({"loss": "mse", "loss_weights": [0.3]}, random.normal(size=(6, 3))),
    "function": ({"loss": lambda y, p: import_keras().ops.mean(import_keras().ops.abs(y - p), -1)}, np.ones((6, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_what_keras_computes_without_regularization(name):
    options, labels = CASES[name]
    model = build(**options)
    outputs = model(X)
    ours = float(compiled_loss(model, labels)(outputs))
    whole = float(model.compute_loss(None, labels, outputs))
    regularization = float(sum(model.losses))
    assert regularization > 0
    assert ours == pytest.approx(whole - regularization, rel=1e-5)


def test_the_loss_equals_an_independent_computation():
    model = build()
    labels = np.asarray([0, 1, 2, 0, 1, 2])
    probabilities = to_array(model(X)).astype(np.float64)
    expected = -np.mean(np.log(probabilities[np.arange(6), labels]))
    assert float(compiled_loss(model, labels)(model(X))) == pytest.approx(expected, rel=1e-5)
    weights = np.asarray([1.0, 0, 0, 0, 0, 2.0])
    weighted = -np.mean(weights * np.log(probabilities[np.arange(6), labels]))
    assert float(compiled_loss(model, labels, weights)(model(X))) == pytest.approx(weighted, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("mse", {}),
        ({"a": "mse", "b": "mae"}, {}),
        ({"a": "mse", "b": "mae"}, {"loss_weights": {"a": 0.25, "b": 3.0}}),
        ({"a": "mse", "b": None}, {}),
    ],
)
def test_several_outputs_add_up_as_in_keras(loss, options):
    model = build_two_outputs(loss, **options)
    labels = {"a": random.normal(size=(6, 2)), "b": random.normal(size=(6, 3))}
    outputs = model(X)
    ours = float(compiled_loss(model, labels)(outputs))
    assert ours == pytest.approx(float(model.compute_loss(None, labels, outputs)), rel=1e-6)


def test_a_list_of_outputs_takes_a_dict_of_losses():
    keras = import_keras()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(2, name="a")(inputs), keras.layers.Dense(3, name="b")(inputs)])
    model.compile("sgd", loss={"a": "mse", "b": "mae"})
    labels = [random.normal(size=(6, 2)), random.normal(size=(6, 3))]
    outputs = model(X)
    a, b = (to_array(output).astype(np.float64) for output in outputs)
    expected = np.mean((a - labels[0]) ** 2) + np.mean(np.abs(b - labels[1]))
    assert float(compiled_loss(model, labels)(outputs)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_it_is_traced_inside_the_probe_and_has_the_gradient_of_an_eager_tape(several):
    from plain_gradients import differentiate_weights

    keras = import_keras()
    if several:
        model = build_two_outputs({"a": "mse", "b": "mae"})
        labels = {"a": random.normal(size=(6, 2)), "b": random.normal(size=(6, 3))}
    else:
        model, labels = build(activation=None, loss="mse"), random.normal(size=(6, 3))
    probe = Probe(model, X, loss=compiled_loss(model, labels))
    table = probe.measure_current().set_index("layer")
    mean, subtract = keras.ops.mean, keras.ops.subtract

    def compute_loss():
        outputs = model(X)
        # Without Keras' loss: by hand.
        if several:
            return mean(subtract(outputs["a"], labels["a"]) ** 2) + mean(abs(subtract(outputs["b"], labels["b"])))
        return mean(subtract(outputs, labels) ** 2)

    layer = "a" if several else "head"
    (gradient,) = differentiate_weights(compute_loss, [model.get_layer(layer).kernel])
    expected = np.linalg.norm(gradient)
    assert float(table.loc[layer, "weight_gradient_norm"]) == pytest.approx(expected, rel=1e-5)


def test_nothing_of_the_model_is_changed():
    keras = import_keras()

    class Counting(keras.losses.Loss):
        def __init__(self):
            super().__init__()
            self.calls = keras.Variable(0.0)

        def call(self, y_true, y_pred):
            self.calls.assign_add(1.0)
            return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    counting = Counting()
    model = build(activation=None, loss=counting)
    labels = random.normal(size=(6, 3))
    model.train_on_batch(X, labels)
    # The negative control: Keras itself does change it, though not in the compiled step of JAX, which drops the change.
    counting(labels, model(X))
    assert float(counting.calls.numpy()) > 0
    before = [np.asarray(value).copy() for value in [*model.variables, *model.optimizer.variables, counting.calls]]
    metrics = [metric.result() for metric in model.metrics[:1]]
    built = model._compile_loss.built, model._compile_loss._flat_losses
    loss = compiled_loss(model, labels)
    loss(model(X))
    Probe(model, X, loss=loss).measure([0])
    after = [np.asarray(value).copy() for value in [*model.variables, *model.optimizer.variables, counting.calls]]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert [float(metric) for metric in metrics] == [float(metric.result()) for metric in model.metrics[:1]]
    assert (model._compile_loss.built, model._compile_loss._flat_losses) == built


def test_a_loss_that_was_never_called_stays_unbuilt():
    model = build()
    compiled_loss(model, np.zeros(6, int))(model(X))
    assert not model._compile_loss.built
    names = {variable.path for variable in model.metrics_variables}
    compiled_loss(model, np.zeros(6, int))(model(X))
    assert {variable.path for variable in model.metrics_variables} == names


def test_a_subclassed_model_needs_no_known_outputs():
    model = own_model(lambda parts, x: parts[0](x), import_keras().layers.Dense(2))
    model.compile("sgd", "mse")
    outputs = model(X)
    expected = float(np.mean((to_array(outputs) - 1) ** 2))
    assert float(compiled_loss(model, np.ones((6, 2)))(outputs)) == pytest.approx(expected, rel=1e-5)


def test_a_compute_loss_of_the_models_own_is_asked():
    keras = import_keras()

    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return 7.0 * keras.ops.mean(y_pred * y)

    class Needy(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(x[0] * y_pred)

    model = Own([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd")
    outputs = model(X)
    assert float(compiled_loss(model, np.ones((6, 2), np.float32))(outputs)) == pytest.approx(
        7 * float(np.mean(to_array(outputs))), rel=1e-5
    )
    needy = Needy([keras.Input((4,)), keras.layers.Dense(2)])
    needy.compile("sgd")
    message = expect_message(ModelError, lambda: compiled_loss(needy, np.ones((6, 2)))(outputs))
    assert "TypeError" in message and "x=None" in message


def test_a_model_without_a_loss_is_refused():
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert "not compiled" in expect_message(ModelError, lambda: compiled_loss(model, np.ones((6, 2))))
    model.compile("sgd")
    assert "compiled without a loss" in expect_message(ModelError, lambda: compiled_loss(model, np.ones((6, 2))))


BAD_LABELS = {
    "count": ({}, np.zeros(5, int), "6 samples. Received: 5 labels"),
    "one-hot for sparse": ({}, np.eye(3)[[0, 1, 2, 0, 1, 2]], "argmax"),
    "class too large": ({}, [0, 1, 2, 3, 0, 0], "0 to 2. Received: 3"),
    "class below 0": ({}, [0, 1, 2, -1, 0, 0], "Received: -1"),
    "class in halves": ({}, [0, 1, 2, 0.5, 0, 0], "no whole numbers"),
    "one unit for two classes": ({"units": 1, "activation": "sigmoid"}, [0, 1, 0, 1, 0, 1], "binary_crossentropy"),
    "indices for one-hot": ({"loss": "categorical_crossentropy"}, [0, 1, 2, 0, 1, 2], "to_categorical"),
    "shape": ({"loss": "mse"}, np.zeros((6, 2)), r"labels of shape (6, 2)"),
    "a column that would be broadcast": ({"loss": "mse"}, np.zeros((6, 1)), r"labels of shape (6, 1)"),
    "rank": ({"loss": "mse"}, np.zeros((6, 3, 2)), r"labels of shape (6, 3, 2)"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_labels_that_do_not_match_are_refused_in_one_line(name):
    options, labels, words = BAD_LABELS[name]
    model = build(**options)
    loss = compiled_loss(model, np.asarray(labels))
    assert words in expect_message(DataError, lambda: loss(model(X)))
    # While a graph is traced, the same.
    probe = Probe(model, X, loss=compiled_loss(model, np.asarray(labels)))
    assert words in expect_message(DataError, lambda: probe.measure([0]))


def test_an_ignored_class_may_lie_outside_the_range():
    keras = import_keras()
    labels = np.asarray([0, 1, 2, -1, 0, 0])
    model = build(loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    assert np.isfinite(float(compiled_loss(model, labels)(model(X))))
    control = build(loss=keras.losses.SparseCategoricalCrossentropy())
    expect_message(DataError, lambda: compiled_loss(control, labels)(control(X)))


def test_the_structure_of_the_labels_must_be_that_of_the_outputs():
    model = build_two_outputs({"a": "mse", "b": "mae"})
    loss = compiled_loss(model, {"a": np.zeros((6, 2)), "c": np.zeros((6, 3))})
    assert "cannot be computed on these labels" in expect_message(DataError, lambda: loss(model(X)))
    loss = compiled_loss(model, {"a": np.zeros((6, 2)), "b": np.zeros((6, 4))})
    message = expect_message(DataError, lambda: loss(model(X)))
    assert "Output 'b'" in message and "(6, 4)" in message


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((0, 3)), "empty"),
        ([0.0, np.nan, 1, 0, 0, 0], "index (1,)"),
        (["cat", "dog", "cat", "dog", "cat", "dog"], "numbers"),
        (iter([1, 2]), "list_iterator"),
        (3, "single value"),
        ({"a": np.zeros(6), "b": np.zeros(5)}, "5, 6"),
    ],
)
def test_labels_that_are_none_are_refused_at_once(labels, words):
    model = build()
    assert words in expect_message(DataError, lambda: compiled_loss(model, labels))


def test_sample_weights_must_be_as_many_as_labels():
    model = build()
    assert "equal in number" in expect_message(DataError, lambda: compiled_loss(model, np.zeros(6), np.ones(5)))


def test_a_loss_that_is_no_scalar_is_refused():
    keras = import_keras()
    model = build(activation=None, loss=keras.losses.MeanSquaredError(reduction=None))
    message = expect_message(ModelError, lambda: compiled_loss(model, np.zeros((6, 3)))(model(X)))
    assert "shape (6,)" in message


def test_a_loss_of_the_users_own_that_raises_is_quoted_and_its_prints_leave_standard_output_alone(capsys):
    def shout(y_true, y_pred):
        print("loud")  # noqa: T201
        raise RuntimeError("not\ntoday")

    model = build(loss=shout)
    message = expect_message(DataError, lambda: compiled_loss(model, np.zeros((6, 3)))(model(X)))
    assert "RuntimeError: not today" in message and "test_losses.py, line" in message
    captured = capsys.readouterr()
    assert captured.out == "" and "loud" in captured.err
