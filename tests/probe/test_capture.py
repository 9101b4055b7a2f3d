"""What is captured: every layer call of every kind of model, in order, with its pre-activation."""

from __future__ import annotations

import example_models as models
import numpy as np
import pytest
from traced_models import measured, trace

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import ModelError
from initcheck.probe import Probe


def sites_of(table):
    first = table[table["seed"] == 0]
    return list(zip(first["layer"], first["call"], strict=True))


@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_every_kind_of_model_is_measured_at_every_weight(build):
    probe, table = measured(build)
    assert not probe.plan.kept
    assert table["activation_second_moment"].notna().all()
    assert (table["gradient_second_moment"].dropna() >= 0).all()
    counted = table.groupby("seed").size()
    assert counted.nunique() == 1


@pytest.mark.parametrize("build", models.BUILDERS, ids=lambda build: build.__name__)
def test_two_seeds_differ_and_one_seed_repeats_itself(build):
    probe, table = measured(build)
    again = probe.measure([1])
    second = table[table["seed"] == 1].reset_index(drop=True)
    np.testing.assert_array_equal(
        second["activation_second_moment"].to_numpy(float), again["activation_second_moment"].to_numpy(float)
    )
    first = table[table["seed"] == 0].reset_index(drop=True)
    assert (first["activation_second_moment"] != second["activation_second_moment"]).any()


def test_sequential_layers_come_in_order_with_dropout_between():
    _, table = measured(models.build_sequential)
    assert [layer for layer, _ in sites_of(table)] == ["input", "dense", "dropout", "dense_1"]


def test_a_shared_layer_has_one_site_for_each_call():
    _, table = measured(models.build_shared)
    assert sites_of(table) == [("input", 0), ("shared", 0), ("shared", 1)]


def test_a_nested_model_is_measured_inside_and_not_twice():
    _, table = measured(models.build_nested)
    assert sites_of(table) == [("input", 0), ("block/inside", 0), ("block/inside", 1)]


def test_a_subclassed_model_is_measured_in_the_order_of_its_calls():
    _, table = measured(models.build_subclassed)
    assert [layer for layer, _ in sites_of(table)] == ["input", "first", "stage_0", "stage_1", "last"]


def test_operations_of_a_functional_graph_are_sites():
    _, table = measured(models.build_operations)
    kinds = list(table[table["seed"] == 0]["kind"])
    assert kinds[:2] == ["Input", "Input"]
    assert {"Sin", "Concatenate", "Dense", "Tanh"} <= set(kinds)


def test_a_fused_activation_is_told_apart_from_its_preactivation():
    _, table = measured(models.build_shared)
    row = table.iloc[1]
    assert float(row["preactivation_second_moment"]) > float(row["activation_second_moment"])


def test_an_activation_layer_and_a_layer_without_activation():
    _, table = measured(models.build_convolutional)
    rows = table[table["seed"] == 0].set_index("layer")
    assert rows.loc["normalization"].isna()["preactivation_second_moment"]
    assert float(rows.loc["rectifier", "preactivation_variance"]) == pytest.approx(1.0, rel=0.02)
    assert float(rows.loc["rectifier", "zero_fraction"]) > 0.2


def test_fans_are_those_of_the_layer():
    _, table = measured(models.build_convolutional)
    fans = {row.layer: (row.fan_in, row.fan_out) for row in table[table["seed"] == 0].itertuples()}
    assert fans["convolution"] == (27.0, 36.0)
    assert fans["depthwise"] == (9.0, 9.0)
    assert fans["transposed"] == (36.0, 54.0)
    assert fans["head"] == (6.0, 2.0)


def test_recurrent_steps_are_named_as_not_measured():
    probe, table = measured(models.build_recurrent)
    layers = [layer for layer, _ in sites_of(table)]
    assert layers[0] == "embedding"
    assert "recurrent" in layers
    assert any("cell" in entry.layer and "loop" in entry.reason for entry in probe.unmeasured)


def test_the_gradient_of_an_embedding_adds_up_the_look_ups():
    keras = import_keras()
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 2, name="table")])
    inputs = np.asarray([[0, 0, 1], [0, 4, 4]], np.int32)
    row = Probe(model, inputs).measure([0]).set_index("layer").loc["table"]
    from initcheck.probe.measure import RANDOM_LOSS_SEED

    direction = np.asarray(keras.random.normal((2, 3, 2), seed=RANDOM_LOSS_SEED), np.float64)
    direction = direction / np.sqrt(np.mean(direction**2))
    gradient = np.zeros((5, 2))
    np.add.at(gradient, inputs, direction)
    assert float(row["weight_gradient_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-6)


def test_attention_is_measured_inside():
    _, table = measured(models.build_attention)
    layers = [layer for layer, _ in sites_of(table)]
    assert {"attention/query", "attention/key", "attention/value", "attention/attention_output"} <= set(layers)
    assert layers.index("attention/query") < layers.index("attention/attention_output") < layers.index("sum")
    assert "attention" not in layers  # it returns what its last projection returned: one tensor, one site


def test_gradients_of_a_layer_that_returns_its_input_are_not_added_up():
    """Dropout at inference returns its very input, which is used beside it: x + dropout(x) has gradients 2 and 1."""
    keras = import_keras()
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="dense")(inputs)
    dropped = keras.layers.Dropout(0.5, name="drop")(dense)
    model = keras.Model(inputs, keras.layers.Add(name="sum")([dense, dropped]))
    table = Probe(model, np.ones((3, 4), np.float32), training=False).measure([0])
    assert sites_of(table) == [("input", 0), ("dense", 0), ("drop", 0), ("sum", 0)]
    np.testing.assert_allclose(table["gradient_second_moment"].to_numpy(float)[1:], [4.0, 1.0, 1.0], rtol=1e-6)


def test_a_layer_without_a_path_to_the_loss_has_no_gradient():
    keras = import_keras()
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="cut")(inputs)
    cut = keras.layers.Lambda(keras.ops.stop_gradient, name="stop")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(cut))
    rows = Probe(model, np.ones((3, 4), np.float32)).measure([0]).set_index("layer")
    assert rows["gradient_second_moment"].isna()["cut"]
    assert rows["weight_gradient_norm"].isna()["cut"]
    assert rows["gradient_second_moment"].notna()["head"]


def test_float16_overflow_is_a_state_to_report():
    keras = import_keras()
    large = keras.initializers.Constant(300.0)
    layers = [
        keras.layers.Dense(4, kernel_initializer=large, dtype="mixed_float16", name=name)
        for name in ("first", "second")
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    rows = Probe(model, np.ones((3, 4), np.float32)).measure([0]).set_index("layer")
    assert float(rows.loc["first", "nonfinite_fraction"]) == 0.0
    assert float(rows.loc["second", "nonfinite_fraction"]) == 1.0
    assert rows["activation_second_moment"].isna()["second"]


def test_constant_samples_have_exactly_no_variance_across_the_batch():
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64, activation="sigmoid", name="a")])
    rows = Probe(model, np.full((7, 4), 0.3, np.float32)).measure([0, 1]).set_index("layer")
    assert (rows.loc["a", "activation_batch_variance"] == 0.0).all()
    assert (rows.loc["a", "activation_variance"] > 0.0).all()


def test_the_variance_across_one_sample_is_undefined():
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="a")])
    assert Probe(model, np.ones((1, 4), np.float32)).measure([0])["activation_batch_variance"].isna().all()


def test_layers_are_called_as_before_when_the_measurement_is_over():
    keras = import_keras()
    before = keras.Operation.__call__
    trace(models.build_shared).measure([0, 1])
    assert keras.Operation.__call__ is before
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match=r"cannot be run on inputs of shape \[\(2, 9\)\]: .*(shape|compatible)"):
        Probe(model, np.ones((2, 9), np.float32)).measure([0])
    assert keras.Operation.__call__ is before


def test_a_model_that_is_not_built_is_refused():
    keras = import_keras()
    with pytest.raises(ModelError, match="must be built"):
        Probe(keras.Sequential([keras.layers.Dense(3)]), np.ones((2, 4), np.float32))
