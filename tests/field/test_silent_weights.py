"""Weights without a gradient: asleep, dead, lost in rounding errors, or small by nature."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from initcheck import check
from initcheck.probe.measure import random_loss

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")


def judge(build, **options):
    keras.utils.set_random_seed(1)
    report = check(build, **{"seeds": 4, "fixes": False, "allow_inconclusive": True} | options)
    found = [each for each in report.findings if each.code == "IC203"]
    return report, {"note" if each.note else "wrong": each for each in found}


def gradients(model, x, step=0.0):
    """The norm of each gradient by plain TensorFlow, by the weight's name, after a step if its rate is given."""
    x = tf.constant(x)
    for last in (False, True) if step else (True,):
        with tf.GradientTape() as tape:
            loss = random_loss(model(x, training=True))
        found = tape.gradient(loss, model.trainable_variables)
        if last:
            pairs = zip(model.trainable_weights, found, strict=True)
            return {weight.name: float(np.linalg.norm(np.asarray(each, np.float64))) for weight, each in pairs}
        for weight, gradient in zip(model.trainable_weights, found, strict=True):
            weight.assign_sub(step * gradient)
    raise AssertionError


class Factors(layers.Layer):
    """x + x A B, with either factor drawn or zero."""

    def __init__(self, first, second, **kw):
        super().__init__(**kw)
        self.first, self.second = first, second

    def build(self, shape):
        self.down = self.add_weight(shape=(shape[-1], 3), initializer=self.first, name="down")
        self.up = self.add_weight(shape=(3, shape[-1]), initializer=self.second, name="up")

    def call(self, x):
        return x + (x @ self.down) @ self.up


def two_factors(first, second):
    def build():
        middle = Factors(first, second, name="low_rank")
        return keras.Sequential([keras.Input((6,)), middle, layers.Dense(3, name="head")])

    return build


def test_a_factor_behind_a_zero_sleeps_and_two_zeros_never_wake():
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    for first, second in (("he_normal", "zeros"), ("zeros", "he_normal")):
        build = two_factors(first, second)
        report, found = judge(build, x=x)
        asleep, zero = ("down", "up") if second == "zeros" else ("up", "down")
        assert (report.exit_code, list(found)) == (0, ["note"])
        assert found["note"].layers == (f"low_rank/{asleep}",)
        assert "wakes after a small step" in found["note"].message
        assert found["note"].cause.layers == (f"low_rank/{zero}",)
        assert gradients(build(), x)[asleep] == 0.0 < gradients(build(), x, 1e-3)[asleep]
    report, found = judge(two_factors("zeros", "zeros"), x=x)
    assert report.exit_code == 1
    assert found["wrong"].layers == ("low_rank/down", "low_rank/up")
    assert "exactly zero in all 4 draws; all stay so after a small step" in found["wrong"].message
    after = gradients(two_factors("zeros", "zeros")(), x, 1e-3)
    assert after["down"] == after["up"] == 0.0 < after["kernel"]


class Scaled(layers.Layer):
    """A residual branch times a scale that is learned."""

    def __init__(self, start, **kw):
        super().__init__(**kw)
        self.start = start
        self.inner = layers.Dense(8, "tanh", name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(self.start), name="scale")

    def call(self, x):
        return x + self.scale * self.inner(x)


@pytest.mark.parametrize("start", [0.0, 1e-9])
def test_a_branch_that_starts_at_zero_or_nearly_so_is_a_note(start):
    def build():
        i = keras.Input((8,))
        x = Scaled(start, name="block")(layers.Dense(8, "tanh")(i))
        return keras.Model(i, layers.Dense(2)(layers.Dense(8, "tanh")(x)))

    report, found = judge(build)
    assert (report.exit_code, list(found)) == (0, ["note"])
    assert {name.rpartition("/")[2] for name in found["note"].layers} == {"kernel", "bias"}


def test_a_branch_times_a_constant_of_nearly_zero_never_learns():
    i = keras.Input((8,))
    x = layers.Dense(8, "tanh", name="first")(i)
    gate = layers.Dense(8, name="gate", activation=lambda z: ops.sigmoid(z - 40.0))(x)
    report, found = judge(keras.Model(i, layers.Dense(2)(x + gate)))
    named = {name for each in report.findings if each.code in ("IC203", "IC201") for name in each.layers}
    assert report.exit_code == 1
    assert any(name.startswith("gate") for name in named)
    assert not any(name.startswith("first") for name in found["wrong"].layers) if "wrong" in found else True


def test_a_normalization_whose_last_scale_is_zero_is_a_note():
    i = x = keras.Input((8,))
    for k in range(2):
        h = layers.Dense(8, use_bias=False, name=f"dense{k}")(x)
        h = layers.BatchNormalization(gamma_initializer="zeros", name=f"norm{k}")(h)
        x = layers.Add()([x, h])
    report, found = judge(keras.Model(i, layers.Dense(2)(x)))
    assert (report.exit_code, found["note"].layers) == (0, ("dense0/kernel", "dense1/kernel"))
    assert set(found["note"].cause.layers) == {"norm0/gamma", "norm1/gamma"}


def test_a_head_of_zeros_wakes_the_whole_model_and_zeros_behind_zeros_take_two_steps():
    body = keras.Sequential([keras.Input((6,)), layers.Dense(6, "tanh"), layers.Dense(6, "tanh")], name="body")
    i = keras.Input((6,))
    head = layers.Dense(2, kernel_initializer="zeros", name="head")
    report, found = judge(keras.Model(i, head(body(i))))
    assert len(found["note"].layers) == 4
    assert found["note"].cause.layers == ("head/kernel",)
    assert not [each for each in report.findings if each.code == "IC201"]
    between = layers.Dense(6, "tanh", kernel_initializer="zeros", name="between")
    x = body(i)
    report, found = judge(keras.Model(i, head(x + between(layers.Dense(6, "tanh", name="inner")(x)))))
    assert "all are awake after 2 small steps" in found["note"].message
    assert len(found["note"].layers) == 8


def test_units_that_a_bias_keeps_at_zero_are_dead():
    dead = layers.Dense(8, "relu", bias_initializer=keras.initializers.Constant(-80.0), name="dead")
    report, found = judge(keras.Sequential([keras.Input((8,)), dead, layers.Dense(2)]))
    assert report.exit_code == 1
    assert found["wrong"].layers[:2] == ("dead/kernel", "dead/bias")
    assert found["wrong"].cause is None


def test_dead_in_some_draws_is_reported_with_their_share():
    x = np.linspace(-1.0, 5.0, 7, dtype=np.float32)[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "relu", name="one"), layers.Dense(1, "relu")])
    report, found = judge(model, x=x, seeds=16)
    table = report.result.weights
    dead = table[table["weight"] == "one/kernel"]["gradient_is_zero"].sum()
    assert 2 < dead < 16
    assert f"of 16 draws [{round(100 * found['wrong'].measured.low)}%" in found["wrong"].message
    assert report.exit_code == 1


# --- as good as zero --------------------------------------------------------------------------------------------------


class Experts(layers.Layer):
    """Experts behind a gate whose kept weights are made to add up to one; all weights are the layer's own."""

    def __init__(self, kept, **kw):
        super().__init__(**kw)
        self.kept = kept

    def build(self, shape):
        self.gate = self.add_weight(shape=(shape[-1], 3), initializer="glorot_uniform", name="gate")
        self.experts = self.add_weight(shape=(3, shape[-1], shape[-1]), initializer="glorot_uniform", name="experts")

    def call(self, x):
        p = ops.softmax(x @ self.gate)
        kept = ops.where(p >= ops.top_k(p, self.kept)[0][..., -1:], p, 0.0)
        kept = kept / ops.sum(kept, axis=-1, keepdims=True)
        return x + ops.einsum("bi,eij,be->bj", x, self.experts, kept)


@pytest.mark.parametrize("kept", [1, 2])
def test_a_gate_whose_effect_cancels_out_is_named_and_one_of_two_experts_is_not(kept):
    def build():
        i = keras.Input((8,))
        x = layers.Dense(8, "tanh")(Experts(kept, name="routed")(i))
        return keras.Model(i, layers.Dense(2, name="head")(x))

    report, found = judge(build)
    norms = gradients(build(), np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    if kept == 1:
        assert norms["gate"] < 1e-5 * norms["experts"]
        assert (report.exit_code, found["wrong"].layers) == (1, ("routed/gate",))
        assert "nothing but rounding errors" in found["wrong"].message
    else:
        assert norms["gate"] > 1e-2 * norms["experts"]
        assert (report.exit_code, found) == (0, {})


class Attention(layers.Layer):
    """Attention with biases of two axes, all its own."""

    def build(self, shape):
        def add(name, *shape):
            return self.add_weight(shape=shape, initializer="glorot_uniform", name=name)

        self.q, self.k, self.v = (add(name, shape[-1], 2, 4) for name in ("wq", "wk", "wv"))
        self.shift = add("shift", 2, 4)

    def call(self, x):
        q, v = (ops.einsum("bti,ihd->bhtd", x, w) for w in (self.q, self.v))
        k = ops.einsum("bti,ihd->bthd", x, self.k) + self.shift
        y = ops.softmax(ops.einsum("bhtd,bshd->bhts", q, k)) @ v
        return x + ops.reshape(ops.transpose(y, (0, 2, 1, 3)), ops.shape(x))


def attention_of_its_own(i):
    return Attention(name="attend")(i)


def attention_of_keras(i):
    return i + layers.MultiHeadAttention(2, 4, name="attend")(i, i)


def normalized(i):
    x = layers.BatchNormalization()(layers.Dense(8, name="biased")(i))
    return layers.UnitNormalization()(layers.Rescaling(1.0)(layers.Activation("tanh")(x)))


@pytest.mark.parametrize("make", [attention_of_keras, attention_of_its_own, normalized])
def test_what_is_small_by_nature_is_no_finding(make):
    def build():
        i = keras.Input((5, 8))
        return keras.Model(i, layers.Dense(2)(make(i)))

    report, found = judge(build)
    norms = report.result.weights.groupby("weight")["gradient_norm"].max()
    assert norms.min() < 1e-5 * norms.median()  # of a key's bias, or a bias before a normalization
    assert (report.exit_code, found) == (0, {})


@pytest.mark.parametrize("depth", [12, 24])
def test_a_gradient_that_falls_layer_by_layer_is_reported_once(depth):
    model = keras.Sequential([keras.Input((16,)), *(layers.Dense(16, "sigmoid") for _ in range(depth))])
    report, found = judge(model)
    assert not found
    assert "IC201" in {each.code for each in report.findings}


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
@pytest.mark.parametrize("form", ["fused", "layer", "operation"])
def test_a_softmax_over_one_entry_is_the_cause(form):
    i = keras.Input((4,))
    hidden = layers.Dense(8, "relu", name="hidden")(i)
    one = layers.Dense(1, "softmax" if form == "fused" else None, name="one")(hidden)
    if form != "fused":
        one = layers.Softmax(name="certain")(one) if form == "layer" else ops.softmax(one, axis=-1)
    report, found = judge(keras.Model(i, one))
    assert report.exit_code == 1
    assert len(found["wrong"].layers) == 4
    assert found["wrong"].cause.kind == "constant softmax"
    report, found = judge(keras.Model(i, layers.Dense(2, "softmax")(hidden)))
    assert not found


def test_a_path_that_is_zero_until_the_first_step_is_no_fall_after_it():
    """The size of a layer that starts at zero is that of our own steps: no figure of it is printed."""

    def build():
        return keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(8, kernel_initializer="zeros", name="late"), keras.layers.Dense(3)]
        )

    report = check(build, seeds=4, fixes=False)
    assert report.exit_code == 0
    assert [(each.code, each.severity) for each in report.findings] == [("IC203", "note")]
    assert "exactly zero until the first step of gradient descent" in report.to_text()
