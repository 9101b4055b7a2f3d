"""The whole check on small models: what it finds, what its numbers are, and that nothing is changed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_page import Page
from keras_features import HAS_AXES

import initcheck
from initcheck.backend.runtime import import_keras
from initcheck.checking.check import check
from initcheck.checking.inputs import make_batch
from initcheck.checking.report.text import layer_rows
from initcheck.core.errors import FindingsError, ModelError
from initcheck.probe import Probe

SEEDS = 6


def make_stack(depth=12, width=48, activation="relu", initializer="glorot_uniform", head=True):
    keras = import_keras()
    model = keras.Sequential([keras.Input((width,))])
    for number in range(depth):
        model.add(
            keras.layers.Dense(width, activation=activation, kernel_initializer=initializer, name=f"hidden_{number}")
        )
    if head:
        model.add(keras.layers.Dense(4, name="head"))
    return model


def codes(report):
    return [finding.code for finding in report.findings]


def find(report, code):
    return next(finding for finding in report.findings if finding.code == code)


@pytest.fixture(scope="module")
def vanishing():
    return check(make_stack(), seeds=SEEDS)


def test_a_healthy_network_is_healthy_and_exits_with_0():
    report = check(make_stack(6, initializer="he_normal"), seeds=16)
    assert (codes(report), report.verdict, report.exit_code) == ([], "healthy", 0)
    report.raise_for_findings()


def test_glorot_before_relu_vanishes_in_both_directions(vanishing):
    assert codes(vanishing)[:2] == ["IC101", "IC201"]
    assert (vanishing.verdict, vanishing.exit_code) == ("findings", 1)
    with pytest.raises(FindingsError) as raised:
        vanishing.raise_for_findings()
    lines = str(raised.value).splitlines()
    assert lines[0] == "sequential: 1 problem"
    assert lines[1].startswith("1  the kernels of 12 layers (hidden_0 ...) are drawn up to 1.4")
    assert lines[1].endswith("too small  IC101 IC201")


def test_the_rate_is_that_of_the_levels_in_the_table(vanishing):
    """The geometric mean over seeds of (q of hidden_11 / E x^2)^(1/12), computed once more from the rows."""
    q = vanishing.table.pivot(index="seed", columns="layer", values="preactivation_second_moment").astype(float)
    x = vanishing.table.pivot(index="seed", columns="layer", values="activation_second_moment").astype(float)["input"]
    rate = np.exp(np.log(q["hidden_11"] / x).mean() / 12)
    course = vanishing.result.paths[0]
    assert course.rate[0] == pytest.approx(rate, rel=1e-9)
    g = vanishing.table.pivot(index="seed", columns="layer", values="gradient_norm").astype(float) ** 2
    rate = np.exp(np.log(g["hidden_0"] / g["hidden_11"]).mean() / 11)
    assert vanishing.result.paths[1].rate[0] == pytest.approx(rate, rel=1e-9)


def test_the_figure_after_a_fix_is_that_of_a_model_built_with_it(vanishing):
    fix = vanishing.findings[0].fix
    assert fix is not None and fix.cures and fix.draws == SEEDS
    assert fix.change == 'kernel_initializer="he_normal" in 12 layers (hidden_0 to hidden_11)'
    # Fresh seeds, from which a model that has the initializer from the start draws the same numbers.
    batch = make_batch(make_stack(1), batch_size=32, seed=0)
    table = Probe(make_stack(initializer="he_normal"), batch.inputs).measure(range(SEEDS, 2 * SEEDS))
    q = table.pivot(index="seed", columns="layer", values="preactivation_second_moment").astype(float)
    x = table.pivot(index="seed", columns="layer", values="activation_second_moment").astype(float)["input"]
    assert fix.after.value == pytest.approx(np.exp(np.log(q["hidden_11"] / x).mean() / 12), rel=1e-4)
    assert fix.before.value == pytest.approx(vanishing.result.paths[0].rate[0], rel=1e-9)


def test_nothing_is_proposed_that_does_not_help():
    """No initializer keeps a deep sigmoid network's inputs apart."""
    report = check(make_stack(10, activation="sigmoid"), seeds=SEEDS)
    collapsed = find(report, "IC103")
    assert collapsed.fix is None


def test_without_fixes_none_is_tried():
    assert all(finding.fix is None for finding in check(make_stack(), seeds=4, fixes=False).findings)


def test_one_layer_that_is_too_large_is_named_alone():
    keras = import_keras()
    model = make_stack(6, activation="tanh", head=False)
    model.add(keras.layers.Dense(48, kernel_initializer=keras.initializers.RandomNormal(stddev=20.0), name="loud"))
    model.add(keras.layers.Dense(4, name="head"))
    report = check(model, seeds=SEEDS)
    finding = find(report, "IC102")
    assert finding.layer == "loud"


def make_attention(initializer):
    keras = import_keras()
    inputs = keras.Input((10, 32))
    attention = keras.layers.MultiHeadAttention(4, 8, kernel_initializer=initializer)
    return keras.Model(inputs, keras.layers.Dense(4)(attention(inputs, inputs)))


def test_attention_with_one_seed_is_reported_as_query_equals_key_equals_value():
    report = check(make_attention(import_keras().initializers.GlorotUniform(seed=1)), seeds=4)
    finding = find(report, "IC301")
    assert finding.message.startswith("query = key = value")
    assert finding.fix is not None and finding.fix.cures
    (edit,) = finding.fix.edits  # of the layer that makes the projections for itself, written once
    assert (edit.layer, edit.written) == (
        "multi_head_attention",
        "kernel_initializer=keras.initializers.GlorotUniform()",
    )
    assert edit.old == "keras.initializers.GlorotUniform(seed=1)"


def test_attention_without_a_seed_is_healthy():
    # Before Keras 3.15 the initializer took the heads for fans: the kernels are too small by factors of 2.5 and 6.
    expected = [] if HAS_AXES else ["IC401"] * 4
    assert codes(check(make_attention("glorot_uniform"), seeds=8)) == expected


def test_equal_units_are_found_and_fixed():
    model = make_stack(3, activation="tanh", initializer="ones")
    finding = find(check(model, seeds=4, select=("IC302",)), "IC302")
    assert finding.fix is not None and finding.fix.cures
    assert {each.written for each in finding.fix.edits} == {'kernel_initializer="glorot_uniform"'}
    # Where the same kernels bring more, one fix serves all findings of the problem.
    (problem,) = check(model, seeds=4).result.problems
    assert {"IC102", "IC302"} <= set(problem.codes)
    assert problem.fix is not None and problem.fix.cures


def test_weights_as_they_are_have_no_intervals_and_it_is_said():
    model = make_stack()
    report = check(model, weights="keep")
    assert codes(report)[:1] == ["IC101"]
    assert np.isnan(report.findings[0].measured.low) and report.findings[0].fix is None
    assert "no intervals over seeds" in " ".join(str(report).split())
    rows = report.table.set_index("layer")
    kernel = np.asarray(model.layers[0].kernel)
    assert float(rows.loc["hidden_0", "weight_norm"]) == pytest.approx(np.linalg.norm(kernel), rel=1e-6)


def test_labels_bring_the_compiled_loss():
    keras = import_keras()
    model = make_stack(3, initializer="he_normal")
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).standard_normal((16, 48)).astype("float32")
    report = check(model, x, np.arange(16) % 4, seeds=4)
    assert "compiled loss" in report.result.conditions.loss
    # Of cross-entropy, the gradient at the logits of one sample is (p - y) / B: below sqrt(2) / 16.
    at_top = report.table[report.table["layer"] == "head"]["gradient_norm"].astype(float)
    assert (at_top < 2**0.5 / 16).all()


def test_the_model_is_left_as_it_was_bit_for_bit():
    keras = import_keras()
    inputs = keras.Input((16,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(16, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(hidden)))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [np.array(variable) for variable in variables]
    python, numpy = __import__("random").getstate(), np.random.get_state()[1].copy()
    check(model, seeds=3)
    assert all(np.array_equal(old, np.array(new)) for old, new in zip(before, variables, strict=True))
    assert python == __import__("random").getstate() and np.array_equal(numpy, np.random.get_state()[1])


def test_the_same_seeds_give_the_same_table():
    tables = [check(make_stack(3), seeds=3, fixes=False).table for _ in range(2)]
    assert tables[0].equals(tables[1])


def make_unmeasured():
    keras = import_keras()

    class Scaled(keras.layers.Layer):
        def build(self, shape):
            self.scale = keras.Variable(keras.random.uniform((shape[-1],)))

        def call(self, inputs):
            return inputs * self.scale

    return keras.Sequential([keras.Input((8,)), Scaled(name="scaled"), keras.layers.Dense(2)])


def test_what_was_not_measured_is_never_healthy_and_can_be_waived_by_name():
    report = check(make_unmeasured(), seeds=3)
    assert (codes(report), report.verdict, report.exit_code) == (["IC601"], "cannot judge", 2)
    waived = check(make_unmeasured(), seeds=3, waive=("scaled",))
    assert waived.exit_code == 0
    assert "but what was waived" in str(waived) and "IC601 unmeasured" in str(waived)


def test_kept_weights_need_no_initializer():
    assert check(make_unmeasured(), weights="keep").exit_code == 0


def test_a_layer_that_raises_is_one_line_about_the_model():
    keras = import_keras()

    class Broken(keras.layers.Layer):
        def call(self, inputs, training=False):
            if training:
                raise RuntimeError("first line\nsecond line")
            return inputs

    model = keras.Sequential([keras.Input((4,)), Broken(), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="first line") as caught:
        check(model, seeds=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frozen", [False, True], ids=["no weights", "all frozen"])
def test_a_model_with_nothing_to_train_is_one_line(frozen):
    keras = import_keras()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2) if frozen else keras.layers.ReLU()])
    model.trainable = False
    with pytest.raises(ModelError, match="no trainable weights"):
        check(model, seeds=2)


def test_single_options_and_settings_are_not_mixed():
    with pytest.raises(TypeError, match="not both"):
        initcheck.check(make_stack(1), settings=initcheck.CheckSettings(), seeds=3)


def test_the_page_the_markdown_and_the_json_hold_the_finding(vanishing):
    for text in (vanishing.to_html(), vanishing.to_markdown(), vanishing.to_json(), str(vanishing)):
        assert "IC101" in text
    assert "findings" in repr(vanishing)


def test_a_notebook_shows_the_answer_and_no_link_that_leads_out_of_it(vanishing):
    shown = Page(vanishing._repr_html_())
    assert {"svg", "table"} <= shown.tag_names and "html" not in shown.tag_names
    assert vanishing.result.problems[0].title in shown.text and "a" not in shown.tag_names


def test_depthwise_convolutions_get_what_their_true_fan_needs():
    keras = import_keras()
    layers = [
        keras.layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name=f"depthwise_{n}") for n in (16, 128)
    ]
    model = keras.Sequential([keras.Input((12, 12, 16)), layers[0], keras.layers.Conv2D(128, 1), layers[1]])
    report = check(model, seeds=4)
    finding = find(report, "IC401")
    assert finding.layers == ("depthwise_128/kernel", "depthwise_16/kernel")
    assert finding.fix is not None and finding.fix.cures
    # Nine entries a filter, and no activation function behind: a variance of 1/9, whatever Keras counts.
    fixed = {"depthwise_initializer=keras.initializers.RandomNormal(stddev=0.333)"}
    assert {each.written for each in finding.fix.edits} == fixed


def narrow(activation, units=2):
    keras = import_keras()
    layers = [keras.layers.Dense(units, activation, kernel_initializer="he_normal", name=name) for name in ("a", "b")]
    model = keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1, activation, name="out")])
    return initcheck.check(model, np.arange(1.0, 9.0, dtype=np.float32)[:, None], fixes=False)


def test_draws_without_a_signal_are_counted_and_leave_the_means_of_the_others():
    """Where a unit of the only input is dead with probability 1/2, some draws are dead and others are not."""
    report = narrow("relu")
    (finding,) = [each for each in report.findings if each.code == "IC101"]
    (dead,) = re.findall(r"exactly zero in (\d+) of 16 draws \[\d+%, \d+%\], first at", finding.message)
    signals = report.table.pivot(index="seed", columns="layer", values="preactivation_second_moment")
    outputs = report.table[report.table["layer"] == "out"]
    assert 0 < int(dead) < 16
    assert int(dead) == int((signals == 0.0).any(axis=1).sum())
    assert finding.measured.value == int(dead) / 16
    assert finding.measured.low < finding.measured.value < finding.measured.high
    (row,) = [each for each in layer_rows(report.result) if each.layer == "out"]
    alive = outputs["preactivation_second_moment"].to_numpy(float)
    assert row.second_moment == pytest.approx(np.exp(np.log(alive[alive > 0.0]).mean()))


def test_a_signal_that_every_draw_has_is_not_called_dead():
    assert not any("exactly zero" in each.message for each in narrow("tanh").findings)
