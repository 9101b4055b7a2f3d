"""What is captured: every layer call of every kind of model, in order; the model is traced once and left as it was."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import example_models as models
import keras
import numpy as np
import pytest
import unusual_models
from marked import only_on
from traced_models import measured, trace, traced

from initcheck.backend.runtime import backend_name
from initcheck.core.errors import ModelError
from initcheck.probe import Probe
from initcheck.probe.measure import RANDOM_LOSS_SEED


def sites_of(table):
    first = table[table["seed"] == 0]
    return list(zip(first["layer"], first["call"], strict=True))


@pytest.mark.parametrize("build", [*models.BUILDERS, *unusual_models.CASES], ids=lambda build: build.__name__)
def test_every_kind_of_model_is_measured_at_every_weight_and_left_bit_identical(build):
    probe, table, weights, before, after = traced(build)
    assert set(probe.plan.kept) <= {"noisy/count"}  # an integer
    assert table["activation_second_moment"].notna().all()
    assert (table["gradient_second_moment"].dropna() >= 0).all()
    assert table.groupby("seed").size().nunique() == 1
    without = weights[weights["trainable"] & ~weights["has_gradient"]]["weight"]
    assert set(without) <= {"cut/kernel", "cut/bias", "beside/kernel", "beside/bias"}
    assert before == after


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


@pytest.mark.parametrize(
    ("build", "sites"),
    [
        (models.build_sequential, [("dense", 0), ("dropout", 0), ("dense_1", 0)]),
        (models.build_shared, [("shared", 0), ("shared", 1)]),
        (models.build_nested, [("block/inside", 0), ("block/inside", 1)]),
        (models.build_subclassed, [("first", 0), ("stage_0", 0), ("stage_1", 0), ("last", 0)]),
    ],
    ids=["sequential", "shared", "nested", "subclassed"],
)
def test_each_call_of_a_layer_is_a_site_in_the_order_of_the_calls(build, sites):
    probe, table = measured(build)
    assert sites_of(table)[1:] == sites
    assert table["kind"].eq("Input").tolist() == 2 * [True, *(False for _ in sites)]
    weighted = [(site.layer, site.call) for site in probe.sites if site.weighted]
    assert weighted == [site for site in sites if site != ("dropout", 0)]


def test_operations_of_a_functional_graph_are_sites():
    _, table = measured(models.build_operations)
    kinds = list(table[table["seed"] == 0]["kind"])
    assert kinds[:2] == ["Input", "Input"]
    assert {"Sin", "Concatenate", "Dense", "Tanh"} <= set(kinds)


def test_a_fused_activation_is_distinguished_from_its_preactivation():
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
    cells = [entry.reason for entry in probe.unmeasured if "cell" in entry.layer]
    # PyTorch computes the steps of an LSTM without a call of its cell.
    assert any("loop" in reason for reason in cells) or (backend_name() == "torch" and not cells)


def test_the_gradient_of_an_embedding_adds_up_the_look_ups():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 2, name="table")])
    inputs = np.asarray([[0, 0, 1], [0, 4, 4]], np.int32)
    found = Probe(model, inputs).measure_all([0])
    direction = np.asarray(keras.random.normal((2, 3, 2), seed=RANDOM_LOSS_SEED), np.float64)
    direction = direction / np.sqrt(np.mean(direction**2))
    gradient = np.zeros((5, 2))
    np.add.at(gradient, inputs, direction)
    norm = pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert found.table.set_index("layer")["weight_gradient_norm"].to_dict()["table"] == norm
    assert found.weights[["has_gradient", "gradient_norm"]].to_numpy().tolist() == [[True, norm]]


def test_attention_is_measured_inside():
    _, table = measured(models.build_attention)
    layers = [layer for layer, _ in sites_of(table)]
    assert {"attention/query", "attention/key", "attention/value", "attention/attention_output"} <= set(layers)
    assert layers.index("attention/query") < layers.index("attention/attention_output") < layers.index("sum")
    assert "attention" not in layers  # it returns what its last projection returned: one tensor, one site


def test_gradients_of_a_layer_that_returns_its_input_are_not_added_up():
    """Dropout at inference returns its very input, which is used beside it: x + dropout(x) has gradients 2 and 1."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="dense")(inputs)
    dropped = keras.layers.Dropout(0.5, name="drop")(dense)
    model = keras.Model(inputs, keras.layers.Add(name="sum")([dense, dropped]))
    table = Probe(model, np.ones((3, 4), np.float32), training=False).measure([0])
    assert sites_of(table) == [("input_layer", 0), ("dense", 0), ("drop", 0), ("sum", 0)]
    np.testing.assert_allclose(table["gradient_second_moment"].to_numpy(float)[1:], [4.0, 1.0, 1.0], rtol=1e-6)


def test_a_layer_without_a_path_to_the_loss_has_no_gradient():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="cut")(inputs)
    cut = keras.layers.Lambda(keras.ops.stop_gradient, name="stop")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(cut))
    rows = Probe(model, np.ones((3, 4), np.float32)).measure([0]).set_index("layer")
    assert rows["gradient_second_moment"].isna()["cut"]
    assert rows["weight_gradient_norm"].isna()["cut"]
    assert rows["gradient_second_moment"].notna()["head"]


def test_constant_samples_have_exactly_no_variance_across_the_batch():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64, activation="sigmoid", name="a")])
    rows = Probe(model, np.full((7, 4), 0.3, np.float32)).measure([0, 1]).set_index("layer")
    assert (rows.loc["a", "activation_batch_variance"] == 0.0).all()
    assert (rows.loc["a", "activation_variance"] > 0.0).all()


def test_the_variance_across_one_sample_is_undefined():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="a")])
    assert Probe(model, np.ones((1, 4), np.float32)).measure([0])["activation_batch_variance"].isna().all()


def test_layers_are_called_as_before_when_the_measurement_is_over():
    before = keras.Operation.__call__
    trace(models.build_shared).measure([0, 1])
    assert keras.Operation.__call__ is before
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ModelError, match=r"cannot be run on inputs of shape \[\(2, 9\)\]: .*(shape|compatible)"):
        Probe(model, np.ones((2, 9), np.float32)).measure([0])
    assert keras.Operation.__call__ is before


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ModelError, match="must be built"):
        Probe(keras.Sequential([keras.layers.Dense(3)]), np.ones((2, 4), np.float32))


def test_batch_statistics_are_used_and_moving_statistics_kept():
    model, inputs = models.build_convolutional()
    moving = [np.asarray(weight).copy() for weight in model.non_trainable_variables]
    in_training = Probe(model, inputs).measure([0]).set_index("layer")
    at_inference = Probe(model, inputs, training=False).measure([0]).set_index("layer")
    assert float(in_training.loc["normalization", "activation_variance"]) == pytest.approx(1.0, rel=0.02)
    assert float(at_inference.loc["normalization", "activation_variance"]) != pytest.approx(1.0, rel=0.02)
    for before, after in zip(moving, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after))


@only_on("tensorflow", "jax", reason="there is nothing to trace")
def test_the_model_is_traced_once_whatever_the_number_of_seeds():
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            calls.append(1)
            return inputs

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), Counting()])
    calls.clear()
    probe = Probe(model, np.ones((2, 4), np.float32))
    for seeds in ([0], [1, 2, 3], range(20)):
        probe.measure(list(seeds))
    assert len(calls) == 1


@pytest.mark.thorough
def test_peak_memory_does_not_grow_with_the_number_of_seeds():
    """In a process of its own, since a peak cannot be taken back: 64 seeds after 8 must add next to nothing."""
    program = """
        import resource
        import numpy as np
        from initcheck.backend.runtime import import_keras
        keras = import_keras()
        from initcheck.probe import Probe
        model = keras.Sequential([keras.Input((512,)), *(keras.layers.Dense(512) for _ in range(8))])
        probe = Probe(model, np.ones((256, 512), np.float32))
        peaks = []
        for seeds in (8, 8, 64):
            probe.measure(list(range(seeds)))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(peaks[2] - peaks[1])
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=300
    )
    one_replicate = 2 * 8 * (512 * 512 + 256 * 512) * 4 / 2**20  # weights, activations and their gradients, in MiB
    assert float(result.stdout) < 2 * one_replicate  # 56 more seeds would be 56 of them, if they piled up
