"""Nothing of a model is missing: every layer and every weight is measured, or listed with the reason."""

from __future__ import annotations

from functools import cache

import example_models as models
import keras
import numpy as np
import pytest
import unusual_models
import zoo_models
from marked import only_on, slow
from traced_models import measured, trace

from initcheck.probe import coverage as coverage_module
from initcheck.probe.paths import PathNamer


@cache
def covered(build):
    """The model and its coverage, for all tests that only read them."""
    probe, _ = measured(build)
    return probe.model, probe.coverage()


def cover(model, inputs, **options):
    probe = trace(lambda: (model, inputs))
    probe.measure_all([0])
    return probe.coverage(**options)


def missing_from(model, coverage):
    """Layers and weights that are in neither list, looked up apart from the coverage."""
    namer = PathNamer(model)
    stated = {*coverage.measured, *(gap.path for gap in coverage.gaps)}
    layers = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]
    missing = [namer.name_of(layer) for layer in layers if layer is not model and namer.name_of(layer) not in stated]
    paths = namer.variable_names()
    weights = [paths.get(id(weight), weight.path) for weight in model.weights]
    return missing + [path for path in weights if path not in stated and path not in coverage.drawn]


def gaps_of(coverage):
    return {gap.path: gap for gap in coverage.gaps}


OWN = slow("zoo", *zoo_models.OWN)  # of the small ones, tests/zoo says it in the default run
KINDS = (*models.BUILDERS, *unusual_models.CASES, *OWN)


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_every_layer_and_every_weight_is_measured_or_listed(build):
    model, coverage = covered(build)
    assert missing_from(model, coverage) == []
    assert coverage.weights == len(model.weights)
    assert all(gap.reason for gap in coverage.gaps)


def test_what_the_capture_has_not_seen_is_noticed(monkeypatch):
    """Negative control: a layer left out of both lists is found by the test above."""
    monkeypatch.setattr(coverage_module, "_explain_layers", lambda *_: ())

    class Beside(keras.Model):
        def __init__(self):
            super().__init__()
            self.inside = keras.layers.Dense(3, name="inside")
            self.beside = keras.layers.Dense(2, name="beside")
            self.beside.build((None, 3))

        def call(self, inputs):
            return self.inside(inputs)

    model, inputs = Beside(), np.ones((3, 4), np.float32)
    model(inputs)
    assert missing_from(model, cover(model, inputs)) == ["beside"]


@pytest.mark.parametrize(
    "build",
    [
        models.build_sequential,
        models.build_nested,
        models.build_subclassed,
        models.build_attention,
        models.build_convolutional,
        unusual_models.build_time_distributed,
        unusual_models.build_grouped_attention,
        *OWN,
    ],
    ids=lambda build: build.__name__,
)
def test_healthy_models_have_no_open_gap(build):
    assert covered(build)[1].open_gaps == ()


def test_a_cell_is_covered_by_the_sequence_of_its_outputs_or_by_the_last_of_them():
    # Not LSTM and GRU, whose cells are not called on every backend.
    cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(3)]
    layers = [
        keras.layers.RNN(cells[0], return_sequences=True, name="all"),
        keras.layers.RNN(cells[1], name="last"),
    ]
    gaps = gaps_of(cover(keras.Sequential([keras.Input((5, 2)), *layers]), np.ones((3, 5, 2), np.float32)))
    assert gaps["all/lstm_cell"].covered_by == "all"
    assert "sequence" in gaps["all/lstm_cell"].reason
    assert gaps["last/gru_cell"].covered_by == "last"
    assert "only the last" in gaps["last/gru_cell"].reason


@pytest.mark.parametrize("mode", ["int8", slow("thorough", "int4")[0]])
def test_the_kernel_of_a_quantized_layer_is_kept_with_its_scale_and_listed(mode):
    layers = [keras.layers.Dense(8, name="first"), keras.layers.EinsumDense("ab,bc->ac", 6, name="second")]
    model = keras.Sequential([keras.Input((16,)), *layers])
    assert cover(model, np.ones((3, 16), np.float32)).open_gaps == ()
    model.quantize(mode)
    gaps = {path: gap.reason for path, gap in gaps_of(cover(model, np.ones((3, 16), np.float32))).items()}
    assert {"first/kernel", "first/kernel_scale", "second/kernel", "second/kernel_scale"} <= {*gaps}
    assert "first/bias" not in gaps
    assert "check the model before it is quantized" in gaps["first/kernel_scale"]


def test_the_lower_cells_of_a_stack_are_open_gaps_and_the_last_one_is_covered():
    gaps = gaps_of(covered(unusual_models.build_stacked_cells)[1])
    by_name = {path.rpartition("/")[2]: gap.covered_by for path, gap in gaps.items()}
    assert by_name["lower"] == ""
    assert by_name["upper"] == "loop"


def test_a_layer_inside_time_distributed_is_covered_by_it():
    gaps = gaps_of(covered(unusual_models.build_time_distributed)[1])
    assert gaps["steps/inner"].covered_by == "steps"
    assert gaps["blocks/block"].covered_by == "blocks"
    assert "blocks/block/one" not in gaps


@only_on("tensorflow", "jax", reason="each step of a loop in Python is a call that is measured")
def test_a_layer_inside_a_users_own_loop_is_an_open_gap():
    class Loop(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.step = keras.layers.Dense(4, name="step")

        def build(self, shape):
            self.step.build(shape)

        def call(self, inputs):
            def advance(index, state):
                return index + 1, self.step(state)

            return keras.ops.while_loop(lambda index, state: index < 3, advance, (0, inputs))[1]

    gaps = gaps_of(cover(keras.Sequential([keras.Input((4,)), Loop(name="loop")]), np.ones((3, 4), np.float32)))
    assert gaps["loop/step"].covered_by == ""
    assert "loop" in gaps["loop/step"].reason


def test_layers_that_are_not_called_are_listed_by_what_becomes_of_their_weights():
    class Odd(keras.Model):
        def __init__(self):
            super().__init__()
            self.main = keras.layers.Dense(4, name="main")
            self.idle = keras.layers.Dense(4, name="idle")
            self.direct = keras.layers.Dense(4, name="direct")
            self.drop = keras.layers.Dropout(0.5, name="drop")

        def build(self, shape):
            for layer in (self.main, self.idle, self.direct):
                layer.build(shape)

        def call(self, inputs):
            return self.main(inputs) + self.direct.call(inputs)

    model = Odd()
    model.build((None, 4))
    coverage = cover(model, np.ones((3, 4), np.float32))
    gaps = gaps_of(coverage)
    assert "main" in coverage.measured
    assert "not used" in gaps["idle"].reason
    assert "without calling" in gaps["direct"].reason
    assert {gap.path for gap in coverage.open_gaps} == {"idle", "direct"}
    assert gaps["drop"].covered_by


def test_a_weight_of_unknown_initializer_is_a_gap_only_where_weights_are_drawn():
    model, batch = unusual_models.build_unknown_initializer()
    assert [gap.path for gap in cover(model, batch).open_gaps] == ["odd/kernel"]
    assert cover(model, batch, redrawn=False).gaps == ()


def test_integers_are_listed_and_are_no_open_gap():
    inputs = keras.Input((3,), dtype="int32", name="tokens")
    doubled = keras.layers.Lambda(lambda x: 2 * x, name="doubled")(inputs)
    model = keras.Model(inputs, keras.layers.Embedding(9, 2, name="table")(doubled))
    coverage = cover(model, np.ones((2, 3), np.int32))
    gaps = gaps_of(coverage)
    assert {"tokens", "doubled"} <= set(gaps)
    assert coverage.open_gaps == ()
    assert coverage.measured == ("table",)
