"""Which layer did it, and why: sick models with sound twins, of shapes and sizes that published reports have.

Each row gives what is wrong, the layer that did it, and the kind of cause; its twin differs in that one layer and has
no problem. Sizes of local gains are compared with TensorFlow's own forward pass, with sums in float64.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

import initcheck
from initcheck.audit.causes import CauseFinder
from initcheck.audit.findings import Cause, Finding
from initcheck.audit.problems import Problem, group_findings

layers, ops, initializers = keras.layers, keras.ops, keras.initializers


def normal(stddev):
    return initializers.RandomNormal(stddev=stddev)


def check(model, **options):
    return initcheck.check(model, seeds=6, fixes=False, **options)


def stack(activation="relu", initializer="he_normal", count=7, **special):
    """Hidden layers h0, h1, ... and a head; ``h3`` is another initializer of that layer, ``b3`` of its bias."""
    model = keras.Sequential([keras.Input((48,))])
    for number in range(count):
        kernel, bias = special.get(f"h{number}", initializer), special.get(f"b{number}", "zeros")
        model.add(layers.Dense(48, activation, kernel_initializer=kernel, bias_initializer=bias, name=f"h{number}"))
    model.add(layers.Dense(5, kernel_initializer=special.get("head", "glorot_uniform"), name="head"))
    return model


def towers(deviation=0.2):
    """Two towers of another depth whose outputs are multiplied: a recommender."""
    ends, inputs = [], []
    for name, depth in (("user", 2), ("item", 3)):
        inputs.append(keras.Input((24,), name=name))
        x = inputs[-1]
        for number in range(depth):
            kernel = normal(deviation) if name == "item" else normal(0.2)
            x = layers.Dense(24, "relu", kernel_initializer=kernel, name=f"{name}{number}")(x)
        ends.append(x)
    return keras.Model(inputs, layers.Dot(1)(ends))


def two_heads(deviation=0.15):
    """A trunk with two heads of three layers, of which one is drawn otherwise."""
    inputs = keras.Input((24,))
    trunk = layers.Dense(24, "relu", kernel_initializer="he_normal")(inputs)
    outputs = []
    for name in ("price", "demand"):
        x = trunk
        for number in range(3):
            kernel = normal(deviation) if name == "demand" and number == 1 else "he_normal"
            x = layers.Dense(24, "relu", kernel_initializer=kernel, name=f"{name}{number}")(x)
        outputs.append(layers.Dense(1, name=name)(x))
    return keras.Model(inputs, outputs)


def transformer(table=1.0, up="glorot_uniform", down="glorot_uniform", before=True, scaled=True, bend="gelu"):
    """Two blocks over tokens, each normalized before (or behind) its branches."""
    tokens = keras.Input((10,), dtype="int32")
    x = layers.Embedding(40, 32, embeddings_initializer=normal(table), name="table")(tokens)
    for number in range(2):
        special = number == 1
        h = layers.LayerNormalization(epsilon=1e-6)(x) if before else x
        attended = Attention(32, scaled, name=f"attention{number}")(h)
        x = layers.Add(name=f"attended{number}")([x, attended])
        x = x if before else layers.LayerNormalization(epsilon=1e-6)(x)
        h = layers.LayerNormalization(epsilon=1e-6)(x) if before else x
        h = layers.Dense(64, bend, kernel_initializer=up if special else "glorot_uniform", name=f"up{number}")(h)
        h = layers.Dense(32, kernel_initializer=down if special else "glorot_uniform", name=f"down{number}")(h)
        x = layers.Add(name=f"sum{number}")([x, h])
        x = x if before else layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(tokens, layers.Dense(3, name="head")(x))


class Attention(layers.Layer):
    """Attention of one head, written by hand."""

    def __init__(self, units, scaled, **options):
        super().__init__(**options)
        self.query, self.key, self.value = (layers.Dense(units, use_bias=False, name=n) for n in ("q", "k", "v"))
        self.factor = units**-0.5 if scaled else 2.0

    def call(self, inputs):
        scores = ops.matmul(self.query(inputs), ops.swapaxes(self.key(inputs), 1, 2)) * self.factor
        return ops.matmul(ops.softmax(scores), self.value(inputs))


class Encoder(keras.Model):
    """A subclassed model with arithmetic of its own, around a nested model."""

    def __init__(self, deviation):
        super().__init__()
        self.first = layers.Dense(32, "tanh", kernel_initializer="lecun_normal", name="first")
        kernels = ["lecun_normal", normal(deviation), "lecun_normal"]
        self.inner = keras.Sequential(
            [layers.Dense(32, "tanh", kernel_initializer=k, name=f"in{n}") for n, k in enumerate(kernels)], name="inner"
        )
        self.head = layers.Dense(2, name="head")

    def call(self, inputs):
        return self.head(self.inner(self.first(inputs) * 2.0 - 0.5))


def encoder(deviation=0.18):
    model = Encoder(deviation)
    model.build((None, 20))
    return model


def convolutional(groups_fan="fan_in"):
    """Grouped convolutions: with ``fan_out`` the initializer counts all outputs, where a group's are fed."""
    model = keras.Sequential([keras.Input((8, 8, 16))])
    for number in range(5):
        kernel = initializers.VarianceScaling(2.0, groups_fan, "untruncated_normal")
        model.add(
            layers.Conv2D(
                16, 3, padding="same", groups=8, activation="relu", kernel_initializer=kernel, name=f"g{number}"
            )
        )
    return model


def normalized(deviation=0.2, epsilon=1e-3):
    """Dense, normalization, ReLU: what starves the first normalization is free, for others follow."""
    model = keras.Sequential([keras.Input((32,))])
    for number in range(3):
        kernel = normal(deviation) if number == 0 else "he_normal"
        model.add(layers.Dense(32, kernel_initializer=kernel, name=f"dense{number}"))
        model.add(layers.BatchNormalization(epsilon=epsilon if number == 0 else 1e-12, name=f"norm{number}"))
        model.add(layers.ReLU())
    model.add(layers.Dense(3, name="head"))
    return model


def cut(end):
    inputs = keras.Input((12,))
    hidden = end(layers.Dense(12, "relu", name="before")(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(12, "relu", name="behind")(hidden)))


SICK = {
    "a kernel too small": (lambda: stack(h3=normal(1e-4)), ("h3",), "spread"),
    "a kernel too large": (lambda: stack(h4=normal(4.0)), ("h4",), "spread"),
    "all kernels too small": (lambda: stack("relu", "glorot_uniform", 16), tuple(f"h{n}" for n in range(16)), "spread"),
    "a kernel that saturates": (lambda: stack("tanh", "glorot_uniform", h2=normal(15.0)), ("h2",), "spread"),
    "a bias that kills": (lambda: stack(b3=initializers.Constant(-8.0)), ("h3",), "bias"),
    "a kernel of ones": (lambda: stack(h3="ones"), ("h3",), "constant"),
    "a large head": (lambda: stack(head=normal(8.0)), ("head",), "spread"),
    "a tower": (lambda: towers(0.005), ("item0", "item1", "item2"), "spread"),
    "a layer of a head": (lambda: two_heads(1e-4), ("demand1",), "spread"),
    "a nested layer": (lambda: encoder(1e-4), ("inner/in1",), "spread"),
    "a wrong fan": (lambda: convolutional("fan_out"), tuple(f"g{n}" for n in range(5)), "fan"),
    "a branch's end": (lambda: transformer(down=normal(6.0)), ("down1",), "spread"),
    "a branch's beginning": (lambda: transformer(up=normal(6.0)), ("up1",), "spread"),
    "a branch's small beginning": (lambda: transformer(up=normal(1e-4), bend="relu"), ("up1",), "spread"),
    "a normalization below its epsilon": (lambda: normalized(1e-4), ("dense0",), "normalization"),
    "a table": (lambda: transformer(table=40.0), ("table",), "embedding"),
    "scores without a scale": (lambda: transformer(scaled=False), ("attention0",), "attention"),
    "no derivative": (lambda: cut(ops.stop_gradient), ("before",), "gradient"),
    "a derivative of zero": (lambda: cut(ops.sign), ("before",), "gradient"),
}

SOUND = {
    "relu": stack,
    "tanh": lambda: stack("tanh", "glorot_uniform"),
    "selu": lambda: stack("selu", "lecun_normal", 9),
    "a small head": lambda: stack(head=normal(1e-4)),
    "towers": towers,
    "heads": two_heads,
    "subclassed and nested": encoder,
    "grouped": convolutional,
    "normalized before": transformer,
    "normalized before, small table": lambda: transformer(table=0.02),
    "normalized behind, small table": lambda: transformer(table=0.02, before=False),
    "a branch that starts at zero": lambda: transformer(down="zeros"),
    "a branch that starts small": lambda: transformer(down=normal(1e-4), bend="relu"),
    "a small kernel before a normalization": lambda: normalized(1e-4, epsilon=1e-12),
    "a normalization near its epsilon": lambda: normalized(0.005),
}


@pytest.mark.parametrize("case", SICK)
def test_the_layer_that_did_it_and_the_cause_are_named_in_one_problem(case):
    make, where, kind = SICK[case]
    report = check(make)
    problems = [each for each in report.result.problems if each.level == "wrong"]
    first = problems[0]
    assert report.exit_code == 1 and len(problems) == 1, [each.title for each in problems]
    assert first.cause is not None and first.cause.kind == kind, first.cause
    assert set(first.cause.layers) == set(where), first.cause


@pytest.mark.parametrize("case", SOUND)
def test_sound_twins_have_no_problem(case):
    report = check(SOUND[case])
    assert report.exit_code == 0, str(report)


def test_the_gains_of_a_path_multiply_to_its_change_and_are_those_of_tensorflow():
    keras.utils.set_random_seed(4)
    model = stack(h3=normal(1e-3))
    report = check(model, x=np.random.default_rng(0).normal(size=(64, 48)).astype("float32"), weights="keep")
    forward = report.result.paths[0]
    x = np.random.default_rng(0).normal(size=(64, 48))
    gains = []
    for layer in model.layers[:-1]:
        kernel, _ = (each.astype(np.float64) for each in layer.get_weights())
        z = x @ kernel
        gains.append(np.mean(z**2) / np.mean(x**2))
        x = np.maximum(z, 0.0)
    rows = {row["layer"]: row for row in report.table.to_dict("records")}
    measured = [rows[f"h{n}"]["preactivation_second_moment"] / rows[f"h{n}"]["input_second_moment"] for n in range(7)]
    assert measured == pytest.approx(gains, rel=1e-4)
    halves = [
        rows[f"h{n}"]["activation_second_moment"] / rows[f"h{n}"]["preactivation_second_moment"] for n in range(6)
    ]
    assert forward.total.value == pytest.approx(np.sum(np.log(gains)) + np.sum(np.log(halves)), rel=1e-4)
    assert [forward.levels.layers[place] for place in forward.doers] == ["h3"]


def test_what_a_layer_receives_is_measured_where_no_other_layer_gives_it():
    """Between the first layer and the nested model stands arithmetic of the subclassed model."""
    model, x = encoder(), np.random.default_rng(1).normal(size=(32, 20)).astype("float32")
    report = check(model, x=x, weights="keep")
    kernel, bias = (each.astype(np.float64) for each in model.first.get_weights())
    received = np.tanh(x.astype(np.float64) @ kernel + bias) * 2.0 - 0.5
    row = report.table[report.table["layer"] == "inner/in0"].iloc[0]
    assert row["input_second_moment"] == pytest.approx(np.mean(received**2), rel=1e-5)


@pytest.mark.parametrize("factor", [0.2, 2.0])
def test_the_certainty_of_a_softmax_is_that_of_numpy(factor):
    """Softmax written out in float64; even scores give 0, one-hot ones 1."""
    inputs = keras.Input((7, 16))
    attention = Attention(16, True, name="attention")
    outputs = attention(inputs)
    attention.factor = factor
    model = keras.Model(inputs, layers.Dense(2)(outputs))
    x = np.random.default_rng(2).normal(size=(8, 7, 16)).astype("float32")
    report = check(model, x=x, weights="keep")
    query, key, _ = (each.astype(np.float64) for each in attention.get_weights())
    scores = factor * np.einsum("btu,bsu->bts", x @ query, x @ key)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    expected = (np.mean(np.sum(weights**2, axis=-1)) - 1 / 7) / (1 - 1 / 7)
    row = report.table[report.table["layer"] == "attention"].iloc[0]
    assert row["softmax_certainty"] == pytest.approx(expected, rel=1e-5)
    assert report.table["softmax_certainty"].count() == 1


def test_the_ratio_of_a_sum_is_that_of_tensorflow():
    keras.utils.set_random_seed(4)
    model = transformer(down=normal(6.0))
    x = np.random.default_rng(3).integers(0, 40, (16, 10)).astype("int32")
    finding = next(each for each in check(model, x=x, weights="keep").findings if each.code == "IC107")
    parts = keras.Model(model.inputs, [model.get_layer("down1").output, model.get_layer("attended1").output])
    branch, signal = (np.mean(np.square(np.asarray(each, dtype=np.float64))) for each in parts(x))
    assert finding.measured.value == pytest.approx(branch / signal, rel=1e-4)


@pytest.mark.parametrize(("epsilon", "scale", "kind"), [(1e-3, 1.0, "normalization"), (1e-6, 0.003, "scale")])
def test_a_normalization_that_gives_little_has_a_large_epsilon_or_a_small_scale(epsilon, scale, kind):
    def build():
        model = keras.Sequential([keras.Input((32,))])
        for number in range(5):
            small = normal(1e-4) if number == 2 and kind == "normalization" else "he_normal"
            gamma = initializers.Constant(scale if number == 2 else 1.0)
            model.add(layers.Dense(32, use_bias=False, kernel_initializer=small, name=f"dense{number}"))
            model.add(layers.LayerNormalization(epsilon=epsilon, gamma_initializer=gamma, name=f"norm{number}"))
            model.add(layers.Activation("tanh", name=f"tanh{number}"))
        model.add(layers.Dense(3, name="head"))
        return model

    first = check(build).result.problems[0]
    assert (first.cause.kind, first.cause.layers) == (kind, ("dense2" if kind == "normalization" else "norm2",))


def test_what_grows_is_not_put_down_to_an_activation():
    """Slopes of at most 1 make nothing larger, whatever else does."""

    def build():
        inputs = keras.Input((32,))
        x = inputs
        for _ in range(6):
            x = layers.Dense(32, "tanh", kernel_initializer="lecun_normal")(x * 0.01) * 100.0
            x = layers.Dense(32, kernel_initializer="lecun_normal")(x) * 10.0
        return keras.Model(inputs, layers.Dense(2)(x))

    report = check(build)
    grown = [each for each in report.findings if each.code in ("IC102", "IC202")]
    assert grown and all(each.cause is None or each.cause.kind != "activation" for each in grown)


def test_no_finding_is_lost_where_one_consequence_has_taken_up_another():
    """The second finding goes to the third, and that to the first: all three are in the problem."""
    cause = Cause("spread", ("a",), "too small")
    first = Finding("IC101", "a", "falls", layers=("a",), cause=cause)
    second = Finding("IC201", "b", "dead", layers=("b",))
    third = Finding("IC203", "b/kernel", "zero", layers=("b/kernel",))
    (problem,) = group_findings([first, second, third], [])
    assert set(problem.findings) == {first, second, third}


def test_the_factor_of_a_cause_is_that_of_the_kernel():
    problem = check(lambda: stack(h3=normal(1e-3))).result.problems[0]
    assert problem.cause.factor == pytest.approx(1e-3 / np.sqrt(2.0 / 48.0), rel=0.02)
    assert "times too small" in problem.title and problem.codes == ("IC101", "IC201")


def test_without_what_it_is_about_no_cause_is_made_up():
    """Sine layers whose frequency multiplies twice: the kernels are as they should be."""

    class Sine(layers.Layer):
        def __init__(self, factor, **options):
            super().__init__(**options)
            self.inner = layers.Dense(64, kernel_initializer=initializers.RandomUniform(-0.3, 0.3))
            self.factor = factor

        def call(self, inputs):
            return ops.sin(self.factor * self.inner(inputs))

    inputs = keras.Input((64,))
    x = inputs
    for _ in range(5):
        x = Sine(30.0)(x)
    report = check(lambda: keras.Model(inputs, layers.Dense(2)(x)))
    first = report.result.problems[0]
    assert "IC202" in first.codes and (first.cause is None or first.cause.kind == "activation")


def test_what_follows_from_a_problem_hangs_below_it_and_nothing_is_in_two():
    report = check(lambda: stack(b3=initializers.Constant(-8.0)))
    (problem,) = [each for each in report.result.problems if each.level == "wrong"]
    assert {"IC303", "IC203", "IC201"} <= set(problem.codes)
    grouped = [finding for each in report.result.problems for finding in each.findings]
    assert sorted(map(id, grouped)) == sorted(map(id, report.findings))
    weights = [each.path for each in report.result.facts]
    assert group_findings(report.findings, report.result.nodes, weights) == report.result.problems
    assert isinstance(problem, Problem)


def test_one_odd_layer_is_a_note_and_the_answer_of_a_healthy_model_is_short():
    report = check(lambda: stack(h3=normal(1.0)))
    assert report.exit_code == 0
    assert [(each.code, each.layer, each.severity) for each in report.findings] == [("IC106", "h3", "note")]
    healthy = str(check(stack))
    assert len(healthy.splitlines()) <= 10, healthy
    ill = str(check(lambda: stack(h3=normal(1e-4))))
    assert len(ill.splitlines()) <= 15, ill


def test_a_gradient_that_grows_through_time_is_put_down_to_the_recurrent_kernel_in_one_problem():
    """On the way back through ten steps it acts ten times: once does not account for the growth."""

    def build():
        model = keras.Sequential([keras.Input((10, 8)), layers.SimpleRNN(24, return_sequences=True, name="before")])
        model.add(layers.SimpleRNN(24, recurrent_initializer=normal(3.0), name="grown"))
        model.add(layers.Dense(24, "relu", kernel_initializer="he_normal", name="behind"))
        model.add(layers.Dense(3, name="head"))
        return model

    (problem,) = [each for each in check(build).result.problems if each.level == "wrong"]
    assert {"IC202", "IC205"} <= set(problem.codes)
    assert problem.cause.kind == "spread" and all("grown" in layer for layer in problem.cause.layers)


@pytest.mark.parametrize("tied", [True, False])
def test_where_branches_are_tied_to_one_another_the_answer_says_that_one_chain_stands_for_all(tied):
    inputs = keras.Input((16,))
    stem = layers.Dense(16, name="stem")(inputs)
    left, right = (layers.Dense(16, name=name)(stem) for name in ("left", "right"))
    middle = layers.Dense(16, name="middle")(layers.Add()([left, right]) if tied else left)
    sums = layers.Add(name="sum")([layers.Dense(16, name="upper")(middle), right])
    model = keras.Model(inputs, layers.Dense(2)(layers.Add(name="end")([sums, left]) if tied else sums))
    answer = " ".join(str(check(model)).split())
    said = "From stem to end the branches are tied to one another: their longest chain is judged for all, 1 more layer"
    assert (said in answer) == tied
    assert ("tied" in answer) == tied


def at_the_limit(beside):
    """Fourteen layers that lose a hundredth together: in a branch, or with nothing beside them."""
    inputs = keras.Input((32,))
    stem = layers.Dense(32, kernel_initializer="lecun_normal")(inputs)
    x = stem
    for _ in range(14):
        kernel = initializers.VarianceScaling(1.42, "fan_in", "truncated_normal")
        x = layers.Dense(32, "relu", kernel_initializer=kernel)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Add()([stem, x]) if beside else x))


def test_what_is_undecided_is_a_note_in_a_branch_beside_others_and_no_pass_elsewhere():
    branch, plain = (check(lambda beside=beside: at_the_limit(beside)) for beside in (True, False))
    assert {(each.code, each.severity) for each in branch.findings} == {("IC603", "note")}
    assert {(each.code, each.severity) for each in plain.findings} == {("IC603", "unjudged")}
    assert (branch.exit_code, plain.exit_code) == (0, 2)


@pytest.mark.parametrize(
    ("channels", "behind", "severity"),
    [(32, "normalization", "note"), (256, "normalization", "note"), (32, "relu", "note"), (256, "relu", "wrong")],
)
def test_a_wrong_fan_is_a_problem_only_where_a_path_leaves_its_limit(channels, behind, severity):
    """Depthwise kernels, whose fans Keras takes from all channels: as in the MobileNets, and without normalization."""

    def build():
        model = keras.Sequential([keras.Input((8, 8, channels))])
        model.add(layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="depthwise"))
        if behind == "normalization":
            model.add(layers.BatchNormalization(epsilon=1e-6))
        model.add(layers.Activation("relu"))
        model.add(layers.Conv2D(8, 1, name="head"))
        return model

    report = check(build)
    assert [each.severity for each in report.findings if each.code == "IC401"] == [severity]
    assert [(each.level, each.cause.kind) for each in report.result.problems] == [(severity, "fan")]


def test_kernels_are_compared_with_what_their_inputs_and_activation_need(monkeypatch):
    found = []
    original = CauseFinder.explain_path
    monkeypatch.setattr(CauseFinder, "explain_path", lambda self, judged: found.append(self) or original(self, judged))
    check(lambda: stack(h3=normal(1e-4)))
    kernels = {kernel.facts.layer: kernel for kernel in found[0].kernels.values()}
    assert kernels["h2"].forward == pytest.approx(0.0, abs=0.05)  # He's rule is what ReLU needs
    assert kernels["h3"].forward == pytest.approx(np.log(1e-8 * 48 / 2.0), abs=0.1)
    # Behind a ReLU, with none of its own: what keeps the square of its inputs is right, and so is He's rule.
    assert kernels["head"].forward == 0.0 and kernels["head"].activation == ""
    assert kernels["head"].needed == pytest.approx(48 * 2 / (48 + 5), rel=0.2)
