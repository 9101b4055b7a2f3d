"""Each kind of finding in several models: what is said of the sick one, of its sound twin, and by which figure.

The models are in ``tests/support/kind_models_*.py``. The figure that a finding rests on is computed once more from the
same draws in a copy of the model in float64, by its definition (``tests/support/float64_copy.py``).
"""

from __future__ import annotations

import keras
import kind_models_by_judgement  # noqa: F401 - its cases are registered when it is imported
import numpy as np
import pytest
from float64_copy import measure_draws
from kind_cases import CASES, conv, dense, functional, head, nested, subclassed
from kind_models_by_cause import table
from marked import first_only

import initcheck

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")

layers, initializers = keras.layers, keras.initializers


def _first_of_each_kind():
    seen = set()
    for case in CASES:
        marks = [pytest.mark.thorough] if case.kind in seen else []
        seen.add(case.kind)
        yield pytest.param(case, marks=marks, id=f"{case.kind}: {case.name}")


def check(build, x, **options):
    return initcheck.check(build, x, **{"seeds": 4, "fixes": False} | options)


@pytest.mark.parametrize("case", [*_first_of_each_kind()])
def test_what_is_wrong_is_said_in_one_problem_with_its_layers_its_cause_and_a_true_figure(case):
    x = case.batch()
    report = check(lambda: case.build(True), x, seeds=case.seeds)
    level = "wrong" if case.exit_code else "note"
    problems = [each for each in report.result.problems if each.level == level]
    assert report.exit_code == case.exit_code, str(report)
    first, *others = problems
    assert set(first.codes) & set(case.codes), str(report)
    assert (first.cause and first.cause.kind) == case.cause, str(report)
    assert not case.layers or set(first.layers) == set(case.layers), str(report)
    assert [each.layers for each in others] == [(each,) for each in case.others], str(report)
    figures = measure_draws(
        lambda: case.build(True), x, None if case.own else range(case.seeds), case.figure, case.step
    )
    expected = np.mean(figures) if case.mean == "arithmetic" else np.exp(np.mean(np.log(figures)))
    assert _said(case, report) == pytest.approx(expected, rel=1e-4, abs=case.within)


def _said(case, report):
    """The figure that the finding has, else that of the draws in the table."""
    if case.said:
        column, layer = case.said
        values = report.table[report.table["layer"] == layer].eval(column).to_numpy(float)
        return values.mean() if case.mean == "arithmetic" else np.exp(np.log(values).mean())
    found = {each.code: each.measured for each in reversed(report.findings)}
    measured = next((found[code] for code in case.codes if found.get(code) is not None), None)
    if measured is None:  # what has no path to the loss has no figure
        cut = report.result.weights[report.result.weights["layer"].isin(case.layers)]
        assert len(cut) and not cut["has_gradient"].any()
        return 0.0
    return measured.value


NOT_CURABLE = frozenset({"rounding", "broken gradient", "small by nature", "cut", "proportion"})
"""Kinds whose cause is what the model computes or how narrow it is, and no argument that could be another."""


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [*{each.kind: None for each in CASES if each.exit_code}])
def test_what_an_argument_causes_is_cured_by_edits_and_nothing_else_is_claimed(kind):
    case = next(each for each in CASES if each.kind == kind and each.exit_code)
    report = check(lambda: case.build(True), case.batch(), seeds=max(case.seeds, 4), fixes=True)
    fixes = [each.fix for each in report.result.problems if each.level == "wrong"]
    assert fixes and all((each is not None and each.cures) == (kind not in NOT_CURABLE) for each in fixes), str(report)


@pytest.mark.parametrize("case", [*_first_of_each_kind()])
def test_the_sound_twin_has_nothing_but_the_notes_that_it_should_have(case):
    report = check(lambda: case.build(False), case.batch(sick=False), seeds=case.seeds)
    assert report.exit_code == 0, str(report)
    assert {each.code for each in report.findings} == set(case.notes), str(report)
    if case.step:
        figures = measure_draws(lambda: case.build(False), case.batch(False), range(case.seeds), case.figure, case.step)
        assert min(figures) > 0.0  # what sleeps at first is awake


def test_each_kind_has_models_of_several_forms():
    kinds = {case.kind: sum(each.kind == case.kind for each in CASES) for case in CASES}
    assert min(kinds.values()) >= 5
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES)


# --- draws that are one draw ------------------------------------------------------------------------------------------


class Frozen(initializers.Initializer):
    """Draws the same numbers whatever the seed: a generator that begins anew with each call."""

    def __call__(self, shape, dtype=None):
        values = np.random.default_rng(7).normal(0.0, (2.0 / np.prod(shape[:-1])) ** 0.5, shape)
        return keras.ops.convert_to_tensor(values, dtype=dtype)


class Fresh(initializers.Initializer):
    """Takes what NumPy's global generator gives next."""

    def __call__(self, shape, dtype=None):
        values = np.random.normal(0.0, (2.0 / np.prod(shape[:-1])) ** 0.5, shape)
        return keras.ops.convert_to_tensor(values, dtype=dtype)


ONE_DRAW = {
    "convolutions": (lambda k: functional((5, 5, 4), conv("a", 8, k), layers.Flatten(), head()), "a/kernel"),
    "subclassed": (lambda k: subclassed((9,), dense("a", 12, k), head()), "a/kernel"),
    "nested": (lambda k: nested((9,), dense("a", 12), dense("b", 12, k), head()), "outer/inner/b/kernel"),
    "einsum": (
        lambda k: functional(
            (4, 9),
            layers.EinsumDense("btc,cd->btd", (4, 8), kernel_initializer=k, name="mix"),
            layers.Flatten(),
            head(),
        ),
        "mix/kernel",
    ),
    "recurrent": (
        lambda k: functional((4, 6), layers.GRU(8, kernel_initializer=k, name="gru"), head()),
        "gru/gru_cell/kernel",
    ),
}


@pytest.mark.parametrize("form", first_only("thorough", ONE_DRAW))
def test_a_kernel_that_no_seed_changes_is_noted_and_one_that_each_seed_changes_varies(form):
    build, kernel = ONE_DRAW[form]
    norms = {}
    for name, initializer in (("frozen", Frozen), ("fresh", Fresh)):
        shape = next(w.shape for w in build(initializer()).weights if w.path.endswith(kernel.rpartition("inner/")[2]))
        report = check(lambda initializer=initializer: build(initializer()), None)
        assert report.exit_code == 0, str(report)
        assert [each.layers for each in report.findings if each.code == "IC604"] == [(kernel,)] * (name == "frozen")
        weights = report.result.weights
        norms[name] = weights[weights["weight"] == kernel]["weight_norm"].to_numpy(float)
    same = np.random.default_rng(7).normal(0.0, (2.0 / np.prod(shape[:-1])) ** 0.5, shape)
    assert norms["frozen"] == pytest.approx(np.full(4, np.linalg.norm(same)), rel=1e-6)
    assert len(set(norms["fresh"])) == 4


# --- weights that nobody lists ----------------------------------------------------------------------------------------


class Plain:
    """No class of Keras: what it holds is not found."""

    def __init__(self, part):
        self.part = part


class Holder(layers.Layer):
    """Keeps its part where Keras finds it, or where it does not."""

    def __init__(self, part, found, **options):
        super().__init__(**options)
        self.held = part if found else Plain(part)

    def call(self, x):
        return (self.held.part if isinstance(self.held, Plain) else self.held)(x)


UNLISTED = {
    "convolution": lambda found: functional((5, 5, 2), Holder(conv("a", 8), found), layers.Flatten(), head()),
    "table, nested": lambda found: nested((4,), Holder(table(1.0), found), layers.Flatten(), head(), dtype="int32"),
    "subclassed": lambda found: subclassed((9,), Holder(dense("a", 12), found), dense("b"), head()),
}


@pytest.mark.parametrize("form", first_only("thorough", UNLISTED))
def test_weights_that_the_model_uses_and_keras_does_not_list_are_listed(form):
    for found in (True, False):
        model = UNLISTED[form](found)
        shape = (model.wanted if form == "subclassed" else model.inputs)[0].shape[1:]
        known = {id(each.value) for each in model.weights}
        with tf.GradientTape() as tape:
            model(np.ones((2, *shape), "float32"))
        unlisted = [each for each in tape.watched_variables() if id(each) not in known]
        report = check(model, None)
        gaps = [layer for each in report.findings if each.code == "IC601" for layer in each.layers]
        assert len(gaps) == len(unlisted)
        assert (len(unlisted) == 0) == found
        assert report.exit_code == (0 if found else 2)


# --- quantized kernels ------------------------------------------------------------------------------------------------

QUANTIZED = {
    "dense": (lambda: functional((16,), dense("a", 16), head()), "int8", {"a", "head"}),
    "of four bits": (lambda: functional((16,), dense("a", 16), head()), "int4", {"a", "head"}),
    "nested": (lambda: nested((16,), dense("a", 16), head()), "int8", {"outer/inner/a", "head"}),
    "subclassed": (lambda: subclassed((16,), dense("a", 16), head()), "int8", {"a", "head"}),
    "table": (lambda: functional((4,), table(1.0), layers.Flatten(), head(), dtype="int32"), "int8", {"table", "head"}),
}


@pytest.mark.parametrize("form", first_only("thorough", QUANTIZED))
def test_quantized_kernels_are_listed_and_what_is_behind_them_is_measured(form):
    build, mode, quantized = QUANTIZED[form]
    model = build()
    assert check(model, None).exit_code == 0
    model.quantize(mode)
    x = np.random.default_rng(0).normal(size=(16, 16)).astype("float32")
    x = np.random.default_rng(0).integers(0, 20, (16, 4)).astype("int32") if form == "table" else x
    report = check(model, x)
    unmeasured = [each for each in report.findings if each.code == "IC601"]
    assert (report.exit_code, {path.rpartition("/")[0] for each in unmeasured for path in each.layers}) == (
        2,
        quantized,
    )
    outputs = np.asarray(model(x, training=True), np.float64)
    rows = report.table[report.table["layer"] == "head"]
    assert rows["activation_second_moment"].to_numpy(float) == pytest.approx(np.mean(outputs**2), rel=1e-5)


# --- what is said beside the figure -----------------------------------------------------------------------------------


def find_case(name):
    return next(each for each in CASES if each.name == name)


def test_a_table_that_is_too_large_is_not_called_small_for_a_signal_that_falls_behind_it():
    case = find_case("gates of an LSTM, subclassed")
    (problem,) = (
        each for each in check(lambda: case.build(True), case.batch()).result.problems if each.level == "wrong"
    )
    assert problem.title == "the table of table is drawn too large"


def test_inputs_of_size_one_are_not_called_off_scale_where_a_residual_sum_has_grown():
    case = find_case("blocks, nested")
    report = check(lambda: case.build(True), case.batch())
    assert "IC104" not in {each.code for each in report.findings}


def test_a_relu_layer_that_receives_zeros_has_no_dead_units():
    build = lambda: functional((8,), dense("a", 8, "zeros", None), layers.ReLU(name="relu"), dense("b", 8), head())  # noqa: E731
    assert "IC303" not in {each.code for each in check(build, None).findings}
