"""New weights: bit-equal to what each initializer draws with its derived integer seed."""

from __future__ import annotations

import gc
import weakref

import example_models as models
import keras
import numpy as np
import pytest
from marked import only_on
from tape import to_array
from traced_models import traced
from unusual_models import build_unknown_initializer

from initcheck.core.seeds import derive_seeds
from initcheck.models.initializers import study_initializers
from initcheck.probe import DrawingLoops, Probe, RedrawPlan

# All that are made from their name alone: Constant is nothing without a value.
INITIALIZERS = sorted({spec.class_name for spec in study_initializers()} - {"Constant"})


def build_two_layers(initializer):
    layers = [keras.layers.Dense(9, kernel_initializer=initializer, name=name) for name in ("first", "second")]
    return keras.Sequential([keras.Input((6,)), *layers])


@pytest.mark.parametrize("name", INITIALIZERS)
def test_a_draw_is_bit_equal_to_the_initializer_with_the_derived_integer_seed(name):
    plan = RedrawPlan(build_two_layers(name))
    assert plan.paths == ("first/kernel", "first/bias", "second/kernel", "second/bias")
    seeds = [0, 3]
    drawn = plan.sample(seeds)
    for row, seed in enumerate(seeds):
        for index, (path, derived) in enumerate(zip(plan.paths, derive_seeds(seed, plan.paths), strict=True)):
            if path.endswith("bias"):
                continue
            initializer = keras.initializers.get(name)
            if hasattr(initializer, "seed"):
                initializer = type(initializer)(seed=derived)
            expected = initializer(plan.variables[index].variable.shape, dtype="float32")
            np.testing.assert_array_equal(np.asarray(drawn[index])[row], np.asarray(expected))


def test_the_weights_of_one_network_are_drawn_independently():
    drawn = RedrawPlan(build_two_layers("he_normal")).sample(range(50))
    first, second = np.asarray(drawn[0])[:, :, :6].ravel(), np.asarray(drawn[2])[:, :6, :6].ravel()
    correlation = np.corrcoef(first[: second.size], second[: first.size])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(
        min(first.size, second.size)
    )  # 5 standard errors: 1 false alarm in 1.7 million


def test_layers_that_share_one_int_seeded_initializer_are_drawn_apart():
    shared = keras.initializers.HeNormal(seed=1)
    model = keras.Sequential(
        [keras.Input((6,)), *(keras.layers.Dense(6, kernel_initializer=shared, name=name) for name in ("a", "b"))]
    )
    np.testing.assert_array_equal(np.asarray(model.weights[0]), np.asarray(model.weights[2]))
    drawn = RedrawPlan(model).sample([0])
    assert not np.array_equal(np.asarray(drawn[0]), np.asarray(drawn[2]))


def test_the_forget_gate_keeps_its_bias_of_one():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    plan = RedrawPlan(model)
    bias = np.asarray(plan.sample([0])[2])[0]
    np.testing.assert_array_equal(bias, [0] * 4 + [1] * 4 + [0] * 8)


def test_weights_of_a_custom_layer_are_drawn_by_the_initializer_it_was_given():
    @keras.saving.register_keras_serializable("initcheck-tests")
    class Scale(keras.layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.RandomUniform(2.0, 3.0))

        def call(self, inputs):
            return inputs * self.gain

    model = keras.Sequential([keras.Input((50,)), Scale()])
    plan = RedrawPlan(model)
    assert not plan.kept
    drawn = np.asarray(plan.sample([0, 1])[0])
    assert drawn.min() >= 2.0
    assert drawn.max() <= 3.0
    assert not np.array_equal(drawn[0], drawn[1])


def test_a_weight_whose_initializer_is_unknown_is_kept_and_named():
    model, _ = build_unknown_initializer()
    plan = RedrawPlan(model)
    assert list(plan.kept) == ["odd/kernel"]
    np.testing.assert_array_equal(np.asarray(plan.sample([4])[0])[0], np.asarray(model.weights[0]))


def test_paths_do_not_depend_on_how_many_layers_keras_has_named_before():
    first, _ = models.build_attention()
    second, _ = models.build_attention()
    assert RedrawPlan(first).paths == RedrawPlan(second).paths
    sequential = [models.build_sequential() for _ in range(2)]
    for model, inputs in sequential:
        model(inputs)
    expected = ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias")
    assert [RedrawPlan(model).paths for model, _ in sequential] == [expected] * 2


def test_dropout_masks_differ_by_seed_and_repeat_by_seed():
    model = keras.Sequential([keras.Input((400,)), keras.layers.Dropout(0.5, name="drop")])
    rows = Probe(model, np.ones((2, 400), np.float32)).measure([0, 1, 0])
    zeros = rows[rows["layer"] == "drop"]["zero_fraction"].to_numpy(float)
    assert zeros[0] == zeros[2]
    assert zeros[0] != zeros[1]


def test_given_weights_are_measured_like_drawn_ones():
    """Drawing inside the measuring graph and drawing first are the same measurement."""
    probe, table, weights, *_ = traced(models.build_attention)
    given = probe.measure_weights_all([0, 1], probe.plan.sample([0, 1]))
    for drawn, other, column in (
        (table, given.table, "gradient_second_moment"),
        (weights, given.weights, "gradient_norm"),
        (weights, given.weights, "weight_norm"),
    ):
        np.testing.assert_allclose(drawn[column].to_numpy(float), other[column].to_numpy(float), rtol=1e-6)


def test_the_current_weights_are_measured_as_they_are():
    model = build_two_layers("he_normal")
    probe = Probe(model, np.ones((3, 6), np.float32))
    for _ in range(2):
        rows = probe.measure_current().set_index("layer")
        norm = float(np.linalg.norm(model.weights[0]))
        assert float(rows.loc["first", "weight_norm"]) == pytest.approx(norm, rel=1e-6)
        model.set_weights([3.0 * np.asarray(weight) for weight in model.weights])  # the traced graph has to see it


def test_an_initializer_that_is_a_plain_function_is_drawn_by_seed_as_well():
    def draw_wide(shape, dtype=None):
        return keras.random.normal(shape, stddev=3.0, dtype=dtype)

    plan = RedrawPlan(keras.Sequential([keras.Input((30,)), keras.layers.Dense(30, kernel_initializer=draw_wide)]))
    drawn = np.asarray(plan.sample([0, 1])[0])
    assert 2.5 < drawn.std() < 3.5
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(np.asarray(plan.sample([1])[0])[0], drawn[1])


def test_a_projection_of_attention_is_drawn_with_the_variance_that_its_layer_draws():
    """EinsumDense hands its axes to a copy of the initializer; without them the query's variance is off by 36."""
    inputs = keras.Input((10, 512))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(8, 64)(inputs, inputs))
    plan = RedrawPlan(model)
    for planned, drawn in zip(plan.variables, plan.sample([1]), strict=True):
        if len(planned.variable.shape) > 2:  # kernels of 262,144 entries each
            ratio = float(np.std(to_array(drawn[0]))) / float(np.std(to_array(planned.variable.value)))
            assert abs(ratio - 1) < 0.02, planned.path


def build_equal_layers(initializers):
    layers = [
        keras.layers.Dense(5, kernel_initializer=each, name=f"n{place}") for place, each in enumerate(initializers)
    ]
    return keras.Sequential([keras.Input((5,)), *layers])


def assert_sample_is_draw(plan, seeds):
    drawn = plan.sample(seeds)
    for row, states in enumerate(plan.derive(seeds)):
        for value, together in zip(plan.draw(keras.ops.convert_to_tensor(states)), drawn, strict=True):
            np.testing.assert_array_equal(np.asarray(together)[row], np.asarray(value))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_variables_drawn_in_one_loop_get_what_each_gets_by_itself(name):
    assert_sample_is_draw(RedrawPlan(build_equal_layers([name] * 3)), [0, 3, 4])


def test_initializers_that_differ_in_any_argument_are_drawn_apart():
    initializers = keras.initializers
    made = [
        *(initializers.RandomNormal(stddev=stddev) for stddev in (1.0, 2.0, 1.0)),
        *(initializers.VarianceScaling(mode=mode) for mode in ("fan_in", "fan_out")),
        *(initializers.Constant(value) for value in (1.0, 2.0, np.arange(5.0), np.ones(5))),
    ]
    plan = RedrawPlan(build_equal_layers(made))
    assert_sample_is_draw(plan, [1, 2])
    kernels = [np.asarray(value)[1] for value in plan.sample([1, 2])[::2]]
    assert kernels[1].std() > 1.2 * kernels[0].std()
    assert all((kernels[place] == value).all() for place, value in ((5, 1.0), (6, 2.0), (7, np.arange(5.0)), (8, 1.0)))


def test_initializers_that_keras_does_not_ship_are_each_drawn_by_themselves():
    class Numbered(keras.initializers.Initializer):
        """Equal in all that can be seen, and different in what it draws."""

        made = 0

        def __init__(self):
            type(self).made += 1
            self.__class__ = type("Numbered", (Numbered,), {"number": float(self.made)})

        def __call__(self, shape, dtype=None):
            return keras.ops.full(shape, self.number, dtype)

    plan = RedrawPlan(build_equal_layers([Numbered() for _ in range(3)]))
    assert_sample_is_draw(plan, [0])
    assert len({float(np.asarray(value).max()) for value in plan.sample([0])[::2]}) == 3


@only_on("tensorflow", "jax", reason="there are no graphs to share")
def test_plans_that_share_loops_trace_once_and_keep_no_model(monkeypatch):
    kind, calls = keras.initializers.HeNormal, []
    draw = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda self, *args, **kwargs: calls.append(1) or draw(self, *args, **kwargs))
    loops = DrawingLoops()
    first, second = (RedrawPlan(build_equal_layers(["he_normal"] * depth), loops=loops) for depth in (2, 3))
    alone = RedrawPlan(build_equal_layers(["he_normal"]))
    calls.clear()
    drawn = first.sample([0, 1])
    assert len(calls) == 1
    again = second.sample([0, 1, 2])
    assert len(calls) == 1
    np.testing.assert_array_equal(np.asarray(drawn[0]), np.asarray(again[0])[:2])
    assert len({np.asarray(value)[0].tobytes() for value in again[::2]}) == 3
    alone.sample([0])
    assert len(calls) == 2

    kernel = weakref.ref(first.variables[0].variable)
    del first
    gc.collect()
    assert kernel() is None


@only_on("tensorflow", "jax", reason="there are no graphs to share")
def test_plans_draw_by_the_same_graphs_only_where_they_draw_the_same():
    loops = DrawingLoops()

    def plan(initializer):
        return RedrawPlan(build_equal_layers([initializer, initializer]), loops=loops)

    def draw(initializer):
        return [np.asarray(value).tobytes() for value in plan(initializer).sample([0, 1])]

    # On a square kernel, Glorot's fans are LeCun's.
    lecun, glorot, he, zeros = (plan(name) for name in ("lecun_normal", "glorot_normal", "he_normal", "zeros"))
    assert lecun.drawn_by == glorot.drawn_by
    assert draw("lecun_normal") == draw("glorot_normal") != draw("he_normal")
    assert len({lecun.drawn_by, he.drawn_by, zeros.drawn_by}) == 3


def test_it_is_not_known_what_initializers_draw_that_keras_does_not_ship():
    assert RedrawPlan(build_equal_layers([lambda shape, dtype=None: keras.ops.ones(shape, dtype)])).drawn_by is None
