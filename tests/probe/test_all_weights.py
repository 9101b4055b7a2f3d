"""The gradients of all weights: against an eager tape, without underflow, and distinguished from missing paths."""

from __future__ import annotations

import example_models as models
import keras
import numpy as np
import pytest
from marked import only_on, slow
from model_measurement import find_by
from plain_gradients import differentiate_weights
from traced_models import trace

from initcheck.core.columns import WEIGHTS_COLUMNS
from initcheck.probe import Probe
from initcheck.probe.measure import random_loss
from initcheck.probe.reduce import LARGEST_JOINED, reduce_norms


def differentiate_eagerly(model, inputs):
    """The gradients of the default loss as anybody would take them; None without a path."""
    found = differentiate_weights(lambda: random_loss(model(inputs, training=False)), model.weights)
    # On JAX what has no path has the derivative zero.
    without = keras.backend.backend() == "jax"
    return [None if each is None or (without and not each.any()) else each.astype(np.float64) for each in found]


def compile_plainly(function):
    """Compile a function as a user would."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


KINDS = (models.build_subclassed, models.build_operations, models.build_attention)
OTHERS = [each for each in models.BUILDERS if each not in KINDS]


@pytest.mark.parametrize("build", [*KINDS, *slow("thorough", *OTHERS)], ids=lambda build: build.__name__)
def test_the_gradient_of_every_weight_equals_an_eager_tape(build):
    probe = trace(build, training=False)
    model, inputs = probe.model, build()[1]
    rows = probe.measure_current_all().weights
    assert list(rows.columns) == [column.name for column in WEIGHTS_COLUMNS]
    assert list(rows["weight"]) == list(probe.plan.paths)
    assert list(rows["shape"]) == [str(tuple(weight.shape)) for weight in model.weights]
    for row, weight, gradient in zip(
        rows.itertuples(), model.weights, differentiate_eagerly(model, inputs), strict=True
    ):
        assert row.layer == row.weight.rpartition("/")[0]
        assert row.weight_norm == pytest.approx(np.linalg.norm(np.asarray(weight, np.float64)), rel=2e-6)
        assert row.has_gradient == (gradient is not None)
        if gradient is not None:
            # Small sums of large terms (biases before a normalization) keep the rounding of the terms.
            assert row.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=2e-5, abs=1e-6), row.weight
            assert row.gradient_is_zero == (not gradient.any())


def test_the_tables_of_one_measurement_agree_with_each_other_and_with_the_shorter_one():
    both = trace(models.build_convolutional).measure_all([3, 4])
    short = trace(models.build_convolutional).measure([3, 4])
    for column in ("activation_second_moment", "gradient_second_moment", "weight_gradient_norm"):
        np.testing.assert_allclose(both.table[column].to_numpy(float), short[column].to_numpy(float), rtol=1e-6)
    assert list(both.weights["seed"].unique()) == [3, 4]
    kernels = both.weights[both.weights["weight"] == "head/kernel"]["gradient_norm"]
    np.testing.assert_array_equal(
        kernels.to_numpy(float), both.table[both.table["layer"] == "head"]["weight_gradient_norm"].to_numpy(float)
    )
    assert kernels.nunique() == 2


def build_loop_with_idle_weights():
    """One matrix drives the state; one is read for a state that reaches no output; one is cut off."""

    class Cell(keras.layers.Layer):
        state_size = (3, 3)
        output_size = 3

        def build(self, shape):
            names = ("used", "aside", "cut")
            self.used, self.aside, self.cut = (self.add_weight(shape=(shape[-1], 3), name=name) for name in names)

        def call(self, inputs, states):
            signal, side = states
            cut = keras.ops.stop_gradient(keras.ops.matmul(inputs, self.cut))
            signal = keras.ops.tanh(keras.ops.matmul(inputs, self.used) + signal + cut)
            return signal, (signal, side + keras.ops.matmul(inputs, self.aside))

    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, keras.layers.RNN(Cell(name="cell"), name="loop")(inputs))
    return model, np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)


def test_weights_inside_a_recurrent_loop_have_gradients_and_those_without_effect_have_none():
    rows = Probe(*build_loop_with_idle_weights()).measure_all([0]).weights.set_index("weight")
    assert rows["has_gradient"].to_dict() == {"loop/cell/used": True, "loop/cell/aside": False, "loop/cell/cut": False}
    assert rows.loc["loop/cell/used", "gradient_norm"] > 0
    assert rows["gradient_norm"].isna().to_dict()["loop/cell/aside"]


def test_the_tape_alone_would_report_zeros_for_weights_without_effect(monkeypatch):
    """Negative control: without the walk through the loop's body they seem to be connected."""
    name = "initcheck.backend.tensorflow"
    tensorflow = pytest.importorskip(name, reason="it is about its tape", exc_type=ImportError)
    monkeypatch.setattr(
        tensorflow.RecordedGraph, "find_differentiable", lambda self, loss, tensors: (True,) * len(tensors)
    )
    rows = Probe(*build_loop_with_idle_weights()).measure_all([0]).weights.set_index("weight")
    assert rows.loc["loop/cell/aside", "has_gradient"]
    assert rows.loc["loop/cell/aside", "gradient_is_zero"]


def test_a_weight_that_a_compiled_function_leaves_out_has_no_gradient():
    class Compiled(keras.layers.Layer):
        def build(self, shape):
            self.used = self.add_weight(shape=(shape[-1], 3), name="used")
            self.idle = self.add_weight(shape=(shape[-1], 3), name="idle")

        def call(self, inputs):
            return compile_plainly(lambda x, used, idle: (x @ used, x @ idle))(
                inputs, self.used.value, self.idle.value
            )[0]

    model = keras.Sequential([keras.Input((4,)), Compiled(name="compiled")])
    rows = Probe(model, np.ones((3, 4), np.float32)).measure_all([0]).weights
    assert list(rows["has_gradient"]) == [True, False]


@only_on("tensorflow", "jax", reason="without graphs one branch is computed, and the other is not there")
def test_a_branch_that_is_chosen_at_run_time_connects_both_its_sides():
    class Choice(keras.layers.Layer):
        def build(self, shape):
            names = ("left", "right", "condition")
            self.left, self.right, self.condition = (self.add_weight(shape=(4, 4), name=name) for name in names)

        def call(self, inputs):
            return keras.ops.cond(
                keras.ops.sum(self.condition) > -1e9, lambda: inputs @ self.left, lambda: inputs @ self.right
            )

    model = keras.Sequential([keras.Input((4,)), Choice(name="choice")])
    rows = Probe(model, np.ones((3, 4), np.float32)).measure_all([0]).weights.set_index("weight")
    assert rows["has_gradient"].to_dict() == {"choice/left": True, "choice/right": True, "choice/condition": False}
    assert rows["gradient_is_zero"].to_dict()["choice/right"]


def test_frozen_weights_are_reported_with_their_gradients_and_as_not_trainable():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, name="frozen", trainable=False),
            keras.layers.BatchNormalization(name="normal"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    rows = Probe(model, np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)).measure_all([0]).weights
    rows = rows.set_index("weight")
    assert not rows.loc["frozen/kernel", "trainable"]
    assert rows.loc["frozen/kernel", "has_gradient"]
    assert rows.loc["head/kernel", "trainable"]
    assert not rows.loc["normal/moving_mean", "trainable"]
    assert not rows.loc["normal/moving_mean", "has_gradient"]


def test_missing_paths_and_exact_zeros_become_their_findings():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="cut")(inputs)
    stopped = keras.layers.Lambda(keras.ops.stop_gradient, name="stop")(hidden)
    hidden = keras.layers.Dense(4, name="silent")(stopped)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="zeros", name="head")(hidden))
    measured = Probe(model, np.ones((3, 4), np.float32)).measure_all([0, 1])
    findings = {finding.code: finding for finding in find_by("IC602", "IC203", gradients=measured.weights)}
    assert findings["IC602"].layers == ("cut/kernel", "cut/bias")
    assert findings["IC203"].layers == ("silent/kernel", "silent/bias")


@pytest.mark.parametrize("gain", [0.3, 1e-3])
def test_gradients_whose_squares_underflow_are_small_and_not_zero(gain):
    depth = {0.3: 40, 1e-3: 11}[gain]
    initializer = keras.initializers.Orthogonal(gain=gain)
    layers = [
        keras.layers.Dense(8, kernel_initializer=initializer, bias_initializer="random_uniform", name=f"l{index}")
        for index in range(depth)
    ]
    model = keras.Sequential([keras.Input((8,)), *layers])
    rows = Probe(model, np.ones((4, 8), np.float32)).measure_all([0]).weights.set_index("weight")
    first, last = (float(rows.loc[f"l{index}/bias", "gradient_norm"]) for index in (0, depth - 1))
    assert np.float32(first) ** 2 < np.finfo(np.float32).tiny
    # Orthogonal layers divide the norm of every sample's gradient, and of their sum, by the same factor.
    assert first / last == pytest.approx(gain ** (depth - 1), rel=1e-4)
    assert not rows["gradient_is_zero"].any()


@pytest.mark.float64
@pytest.mark.parametrize("size", [LARGEST_JOINED, LARGEST_JOINED + 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e-200, 1e30, 0.0])
def test_norms_are_right_at_any_size_and_zero_only_for_zeros(size, dtype, scale):
    ops = keras.ops
    values = np.random.default_rng(1).normal(size=size) * scale
    tensor = ops.cast(ops.convert_to_tensor(values, dtype="float64"), dtype)
    exact = np.asarray(ops.cast(tensor, "float64"))
    largest = np.abs(exact).max() or 1.0
    expected = largest * np.linalg.norm(exact / largest) if np.isfinite(largest) else np.inf
    other = ops.ones((3,), dtype=dtype)
    found = np.asarray(reduce_norms([tensor, other]))
    assert found[0] == pytest.approx(expected, rel=1e-6)
    assert (found[0] == 0.0) == (not exact.any())
    assert found[1] == pytest.approx(np.sqrt(3.0))
