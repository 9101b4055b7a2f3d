"""Models of what is no fault though it looks like one, and of what must not be silent though it is hard to see."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from kind_cases import (
    apply,
    at_ends,
    case,
    change,
    conv,
    conv1d,
    dead,
    dense,
    functional,
    gain,
    gain_of,
    head,
    initializers,
    layers,
    nested,
    normal,
    ops,
    pooled,
    sequential,
    square,
    subclassed,
)

from initcheck.probe import random_loss_gradient

tf = pytest.importorskip("tensorflow", reason="what it is compared with is computed by TensorFlow")

# --- section 4: scale in front of a normalization is free -------------------------------------------------------------


def in_front(sick, *parts):
    """Leave out the normalizations of a sick twin."""
    return [each for each in parts if not (sick and type(each).__name__.endswith("Normalization"))]


FREE = {"a": 8.0, "b": 1e-2, "c": 3.0, "d": 30.0}


@case("free scale", "batch normalization of convolutions", "IC102", "a c d", "spread", change("a", "d"))
def _(sick):
    parts = []
    for n, deviation in FREE.items():
        parts += [conv(n, 8, normal(deviation), None), layers.BatchNormalization(), layers.ReLU()]
    return functional((6, 6, 3), *in_front(sick, *parts), layers.Flatten(), head())


@case("free scale", "layer normalization, subclassed", "IC101", "a b c", "spread", change("a", "c"))
def _(sick):
    parts = []
    for n in "abc":
        parts += [dense(n, 20, normal(5e-3), None), layers.LayerNormalization(epsilon=1e-9), layers.Activation("gelu")]
    return subclassed((16,), *in_front(sick, *parts), head())


@case(
    "free scale",
    "groups over time, nested",
    "IC102",
    "outer/inner/a outer/inner/b outer/inner/c",
    "spread",
    change("a", "c"),
)
def _(sick):
    parts = []
    for n in "abc":
        parts += [conv1d(n, 8, normal(4.0), None), layers.GroupNormalization(2), layers.ReLU()]
    return nested((10, 8), *in_front(sick, *parts), layers.Flatten(), head())


@case("free scale", "root mean squares of einsum layers", "IC101", "mix0 mix1", "spread", change("mix0", "mix1"))
def _(sick):
    parts = []
    for k in range(2):
        mix = layers.EinsumDense("btc,cd->btd", (4, 24), kernel_initializer=normal(2e-3), name=f"mix{k}")
        parts += [mix, layers.RMSNormalization(epsilon=1e-12), layers.Activation("silu")]
    return functional((4, 24), *in_front(sick, *parts), layers.Flatten(), head())


@case("free scale", "norms of vectors", "IC102", "a b", "spread", change("a", "b"))
def _(sick):
    parts = []
    for n in "ab":
        parts += [dense(n, 16, normal(9.0), "relu"), layers.UnitNormalization()]
    return sequential((16,), *(in_front(sick, *parts)), head())


# --- a small last layer is a choice, a large one is not ---------------------------------------------------------------


def last_layer(sick):
    """A last layer that is far too large, or one that is small on purpose."""
    return normal(30.0 if sick else 1e-4)


@case("head", "of convolutions", "IC102 IC105", "head", "spread", gain("head"), said=gain_of("head"))
def _(sick):
    return functional((6, 6, 3), *pooled(conv("a"), conv("b"), conv("c")), head(kernel_initializer=last_layer(sick)))


@case("head", "of sigmoids, subclassed", "IC102 IC105", "head", "spread", gain("head"), said=gain_of("head"))
def _(sick):
    end = head(4, kernel_initializer=last_layer(sick), activation="sigmoid")
    return subclassed((12,), *(dense(n, 20) for n in "abc"), end)


@case("head", "of each step, nested", "IC102 IC105", "head", "spread", gain("head"), said=gain_of("head"))
def _(sick):
    parts = [layers.GRU(12, return_sequences=True, name="gru"), dense("mix", 16)]
    return nested((6, 5), *parts, head(2, kernel_initializer=last_layer(sick)))


@case("head", "one of two", "IC102 IC105", "demand", "spread", gain("demand"), said=gain_of("demand"))
def _(sick):
    inputs = keras.Input((12,))
    x = apply([dense(n, 20) for n in "abc"], inputs)
    ends = [head(1, "price"), head(1, "demand", kernel_initializer=last_layer(sick))]
    return keras.Model(inputs, [end(x) for end in ends])


@case("head", "of pixels", "IC102 IC105", "pixels", "spread", gain("pixels"), said=gain_of("pixels"))
def _(sick):
    up = [layers.UpSampling2D(2), conv("a"), layers.UpSampling2D(2), conv("b")]
    return sequential((3, 3, 4), *up, conv("pixels", 3, last_layer(sick), None))


# --- zero for one step is not zero for ever ---------------------------------------------------------------------------


def norm_of(weight):
    return lambda run: float(np.linalg.norm(run.weight_gradients[weight]))


ASLEEP: Any = {"notes": ("IC203",), "step": 1e-3, "mean": "arithmetic"}


@case(
    "zero start",
    "a convolution of zeros behind another",
    "IC203",
    "zero1",
    "constant",
    norm_of("zero1/kernel"),
    **ASLEEP,
)
def _(sick):
    inputs = keras.Input((5, 5, 4))
    x = conv("stem", 8)(inputs)
    first = "zeros" if sick else "he_normal"
    branch = [conv(n, 8, k, None, use_bias=False) for n, k in (("zero1", first), ("zero2", "zeros"))]
    return keras.Model(inputs, apply([layers.Flatten(), head()], layers.Add()([x, apply(branch, x)])))


class Modulated(layers.Layer):
    """A branch times a gate that a condition gives, as in diffusion transformers."""

    def __init__(self, gate, up, **options):
        super().__init__(**options)
        self.gate = layers.Dense(16, kernel_initializer=gate, use_bias=False, name="gate")
        self.branch = layers.Dense(16, kernel_initializer=up, use_bias=False, name="branch")

    def call(self, x, condition):
        return x + self.gate(condition) * self.branch(x)


@case(
    "zero start", "a gate from a condition", "IC203", "block/gate", "constant", norm_of("block/branch/kernel"), **ASLEEP
)
def _(sick):
    x, condition = keras.Input((16,)), keras.Input((6,))
    block = Modulated("zeros", "zeros" if sick else "lecun_normal", name="block")
    return keras.Model([x, condition], head()(dense("behind", 16, activation="tanh")(block(x, condition))))


class Adapter(layers.Layer):
    """A low-rank change beside a frozen convolution."""

    def __init__(self, first, second, **options):
        super().__init__(**options)
        self.frozen = conv("frozen", 8, "lecun_normal", None, trainable=False)
        self.down = conv("down", 2, first, None, use_bias=False)
        self.up = conv("up", 8, second, None, use_bias=False)

    def call(self, x):
        return self.frozen(x) + self.up(self.down(x))


@case(
    "zero start",
    "adapters of convolutions, nested",
    "IC203",
    "outer/inner/adapter/down",
    "constant",
    norm_of("outer/inner/adapter/down/kernel"),
    **ASLEEP,
)
def _(sick):
    adapter = Adapter("zeros" if sick else "he_normal", "zeros", name="adapter")
    return nested((5, 5, 3), adapter, layers.ReLU(), layers.GlobalAveragePooling2D(), head())


class Mixer(layers.Layer):
    """A low-rank branch of einsum layers beside what is passed on."""

    def __init__(self, first, second, **options):
        super().__init__(**options)
        self.down = layers.EinsumDense("btc,cd->btd", (None, 3), kernel_initializer=first, name="down")
        self.up = layers.EinsumDense("btd,dc->btc", (None, 12), kernel_initializer=second, name="up")

    def call(self, x):
        return x + self.up(self.down(x))


@case(
    "zero start",
    "a low-rank branch of einsum layers",
    "IC203",
    "mixer/down",
    "constant",
    norm_of("mixer/up/kernel"),
    **ASLEEP,
)
def _(sick):
    """Here the first of the two layers is zero, and the second one sleeps."""
    mixer = Mixer("zeros", "zeros" if sick else "lecun_normal", name="mixer")
    return functional((5, 12), mixer, dense("behind", activation="tanh"), layers.Flatten(), head())


class Scaled(layers.Layer):
    """A branch times a number that starts at zero."""

    def __init__(self, kernel, **options):
        super().__init__(**options)
        self.branch = layers.Dense(16, kernel_initializer=kernel, use_bias=False, name="branch")

    def build(self, shape):
        self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")
        self.branch.build(shape)

    def call(self, x):
        return x + self.alpha * self.branch(x)


@case(
    "zero start",
    "a branch times a number, subclassed",
    "IC203",
    "scaled/branch",
    "constant",
    norm_of("scaled/branch/kernel"),
    **ASLEEP,
)
def _(sick):
    kernel = "zeros" if sick else "lecun_normal"
    return subclassed((16,), Scaled(kernel, name="scaled"), dense("behind", activation="tanh"), head())


# --- as good as zero, and small by nature -----------------------------------------------------------------------------


def share_of_median(weight):
    """The gradient of a weight over the median of the kernels', as root mean squares of the entries."""

    def share(run):
        sizes = {name: square(each) ** 0.5 for name, each in run.weight_gradients.items() if each.ndim > 1}
        return square(run.weight_gradients[weight]) ** 0.5 / float(np.median(list(sizes.values())))

    return share


class Routed(layers.Layer):
    """Experts of which a router keeps some; the weights of those that are kept add up to 1."""

    def __init__(self, kept, **options):
        super().__init__(**options)
        self.kept = kept
        self.router = layers.Dense(4, use_bias=False, name="router")
        self.experts = [dense(f"expert{k}", 12, activation="tanh") for k in range(4)]

    def call(self, x):
        p = ops.softmax(self.router(x))
        p = ops.where(p >= ops.top_k(p, self.kept)[0][..., -1:], p, 0.0)
        p = p / ops.sum(p, axis=-1, keepdims=True)
        return x + ops.sum(ops.stack([each(x) for each in self.experts], axis=-1) * p[..., None, :], axis=-1)


ROUNDING: Any = {"within": 1e-4, "mean": "arithmetic"}


@case(
    "rounding",
    "a router by position",
    "IC203",
    "routed/router/kernel",
    None,
    share_of_median("routed/router/kernel"),
    **ROUNDING,
)
def _(sick):
    routed = Routed(1 if sick else 2, name="routed")
    return functional((5, 12), routed, dense("mix", activation="tanh"), layers.GlobalAveragePooling1D(), head())


@case(
    "rounding",
    "a router of a stack, subclassed",
    "IC203",
    "routed/router/kernel",
    None,
    share_of_median("routed/router/kernel"),
    **ROUNDING,
)
def _(sick):
    return subclassed((12,), dense("before", 12, activation="tanh"), Routed(1 if sick else 2, name="routed"), head())


class Shares(layers.Layer):
    """A pooling by the weights of a softmax, divided by their sum over the same axis: of one entry, or of all."""

    def __init__(self, single, **options):
        super().__init__(**options)
        self.single = single
        self.score = layers.Dense(1, use_bias=False, name="score")

    def call(self, x):
        weights = ops.exp(self.score(x))
        axis = -1 if self.single else 1
        return ops.sum(x * weights / ops.sum(weights, axis=axis, keepdims=True), axis=1)


@case(
    "rounding",
    "a pooling that divides by itself, nested",
    "IC203",
    "outer/inner/shares/score/kernel",
    None,
    share_of_median("outer/inner/shares/score/kernel"),
    **ROUNDING,
)
def _(sick):
    return nested((6, 10), dense("mix", 12, activation="tanh"), Shares(sick, name="shares"), head())


@case(
    "rounding",
    "a router of the places of an image, nested",
    "IC203",
    "outer/inner/routed/router/kernel",
    None,
    share_of_median("outer/inner/routed/router/kernel"),
    **ROUNDING,
)
def _(sick):
    parts = [conv("before", 12, activation="tanh"), Routed(1 if sick else 2, name="routed"), layers.Flatten()]
    return nested((3, 3, 2), *parts, head())


class Balance(layers.Layer):
    """Gates from a condition, divided by their sum; a single gate is always one."""

    def __init__(self, gates, **options):
        super().__init__(**options)
        self.gate = layers.Dense(gates, "sigmoid", use_bias=False, name="gate")

    def call(self, x, condition):
        gates = self.gate(condition)
        gates = gates / ops.sum(gates, axis=-1, keepdims=True)
        return ops.reshape(x[:, None] * gates[:, :, None], (-1, x.shape[-1] * gates.shape[-1]))


@case(
    "rounding",
    "a gate from a condition, divided by itself",
    "IC203",
    "balance/gate/kernel",
    None,
    share_of_median("balance/gate/kernel"),
    **ROUNDING,
)
def _(sick):
    x, condition = keras.Input((12,)), keras.Input((7,))
    balance = Balance(1 if sick else 3, name="balance")
    return keras.Model([x, condition], apply([dense("mix", activation="tanh"), head()], balance(x, condition)))


NATURE: Any = {"mean": "arithmetic"}


@case(
    "small by nature",
    "biases before layer normalization",
    "IC101 IC203",
    "norm",
    "single value",
    norm_of("a/kernel"),
    said=("activation_second_moment", "norm"),
    **NATURE,
)
def _(sick):
    few = dense("few", 1 if sick else 16, activation=None)
    return functional((10,), dense("a", 16), few, layers.LayerNormalization(name="norm"), dense("b", 16), head())


@case(
    "small by nature",
    "biases before normalization by channel, subclassed",
    "IC101 IC203",
    "norm",
    "single value",
    norm_of("a/kernel"),
    said=("activation_second_moment", "norm"),
    **NATURE,
)
def _(sick):
    a = conv("a", 8, activation=None, strides=4 if sick else 1)
    norm = layers.GroupNormalization(8, name="norm")
    return subclassed((4, 4, 3), a, norm, layers.Activation("gelu"), layers.Flatten(), dense("b"), head())


@case(
    "small by nature",
    "keys of grouped attention",
    "IC203",
    "attend",
    "constant softmax",
    norm_of("attend/key/kernel"),
    **NATURE,
)
def _(sick):
    inputs = keras.Input((1 if sick else 5, 12))
    attend = layers.GroupQueryAttention(4, 4, 2, name="attend")
    x = layers.Add()([inputs, attend(inputs, inputs)])
    return keras.Model(inputs, head()(layers.Flatten()(x)))


@case(
    "small by nature",
    "keys of attention, nested",
    "IC203",
    "outer/inner/attend/inner_attention",
    "constant softmax",
    norm_of("outer/inner/attend/inner_attention/key/kernel"),
    **NATURE,
)
def _(sick):
    attend = SelfAttention(name="attend")
    return nested((6, 12), layers.Reshape((1, 72) if sick else (6, 12)), attend, layers.Flatten(), head())


@case(
    "small by nature",
    "the bias of the scores of a pooling",
    "IC203",
    "weights",
    "constant softmax",
    norm_of("score/kernel"),
    **NATURE,
)
def _(sick):
    """The softmax is over the places, or over the single score of each of them."""
    inputs = keras.Input((6, 10))
    x = dense("mix", 16, activation="tanh")(inputs)
    weights = layers.Softmax(axis=-1 if sick else 1, name="weights")(dense("score", 1, activation=None)(x))
    x = layers.GlobalAveragePooling1D()(layers.Multiply()([x, weights]))
    return keras.Model(inputs, head()(x))


class SelfAttention(layers.Layer):
    """Attention of Keras whose queries, keys and values are one and the same."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.MultiHeadAttention(2, 8, name="inner_attention")

    def call(self, x):
        return x + self.inner(x, x)


# --- by design: the bias of an output ---------------------------------------------------------------------------------


PRIOR = -7.0


def prior(on):
    return initializers.Constant(PRIOR if on else 0.0)


@case("by design", "rare events", "IC304", "gate", "bias", at_ends("gate", 0.0, 1.0), mean="arithmetic")
def _(sick):
    gate = dense("gate", 16, "glorot_uniform", "sigmoid", bias_initializer=prior(sick))
    return functional((12,), dense("a", 16), gate, head(1, activation="sigmoid", bias_initializer=prior(not sick)))


@case("by design", "rare objects in an image", "IC304", "gate", "bias", at_ends("gate", 0.0, 1.0), mean="arithmetic")
def _(sick):
    gate = conv("gate", 8, "glorot_uniform", "sigmoid", bias_initializer=prior(sick))
    score = conv("score", 1, "glorot_uniform", "sigmoid", bias_initializer=prior(not sick))
    return subclassed((6, 6, 3), conv("a"), gate, score)


@case(
    "by design",
    "one of two heads, nested",
    "IC304",
    "outer/inner/gate",
    "bias",
    at_ends("gate", -1.0, 1.0),
    mean="arithmetic",
)
def _(sick):
    gate = dense("gate", 16, "lecun_normal", "tanh", bias_initializer=prior(sick))
    end = head(4, activation="tanh", bias_initializer=prior(not sick))
    return nested((12,), dense("a", 16, "lecun_normal", "tanh"), gate, end)


@case("by design", "a class that is seldom", "IC303 IC201", "gate", "bias", dead("gate"), mean="arithmetic")
def _(sick):
    gate = dense("gate", 16, "glorot_uniform", "hard_sigmoid", bias_initializer=prior(sick))
    end = head(3, activation="softmax", bias_initializer=initializers.Constant(0.0 if sick else 5.0))
    return sequential((12,), dense("a", 16), gate, end)


@case("by design", "a gate that starts open", "IC304", "gate", "bias", at_ends("gate", 0.0, 1.0), mean="arithmetic")
def _(sick):
    inputs = keras.Input((12,))
    gate = dense("gate", 12, "glorot_uniform", "sigmoid", bias_initializer=initializers.Constant(6.0 if sick else 1.0))
    x = layers.Multiply()([inputs, gate(inputs)])
    return keras.Model(inputs, head()(dense("b", 16)(x)))


# --- section 5: time --------------------------------------------------------------------------------------------------


def each_step(layer):
    """The factor by which the squared gradient of the last output changes with each step back."""

    def rate(run):
        made, x = run.layers[layer], tf.constant(run.received[layer])
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = made(x)
            last = outputs[:, -1] if made.return_sequences else outputs
            loss = tf.reduce_sum(last * tf.cast(random_loss_gradient(tuple(last.shape)), "float64"))
        gradient = np.square(np.asarray(tape.gradient(loss, x)))
        along = gradient.sum(axis=tuple(range(2, gradient.ndim))).mean(axis=0)
        first, last = (along[0], along[-1]) if not made.go_backwards else (along[-1], along[0])
        return float((first / last) ** (1.0 / (len(along) - 1)))

    return rate


@case("time", "gates that forget", "IC204 IC101", "lstm", "bias", each_step("lstm"))
def _(sick):
    bias = {"unit_forget_bias": not sick, "bias_initializer": initializers.Constant(-2.5) if sick else "zeros"}
    return sequential((5, 6), layers.LSTM(16, name="lstm", **bias), head())


@case(
    "time",
    "a small kernel of a stack, subclassed",
    "IC204",
    "second/simple_rnn_cell/recurrent_kernel",
    "spread",
    each_step("second"),
)
def _(sick):
    def rnn(name, kernel, **more):
        return layers.SimpleRNN(20, recurrent_initializer=kernel, name=name, **more)

    second = rnn("second", normal(0.05) if sick else "orthogonal")
    return subclassed((8, 5), rnn("first", "orthogonal", return_sequences=True), second, head())


@case(
    "time",
    "both directions, nested",
    "IC204",
    "outer/inner/both/forward_rnn/simple_rnn_cell/recurrent_kernel",
    "spread",
    each_step("forward_rnn"),
    others=("outer/inner/both/backward_rnn/simple_rnn_cell/recurrent_kernel",),
)
def _(sick):
    rnn = layers.SimpleRNN(16, recurrent_initializer=normal(0.04) if sick else "orthogonal", name="rnn")
    return nested((7, 5), layers.Bidirectional(rnn, name="both"), head())


@case("time", "a gradient that grows", "IC205", "rnn/simple_rnn_cell/recurrent_kernel", "spread", each_step("rnn"))
def _(sick):
    kernel = normal(0.45) if sick else "orthogonal"
    rnn = layers.SimpleRNN(20, "linear", recurrent_initializer=kernel, name="rnn")
    return functional((8, 5), rnn, layers.LayerNormalization(), head())


@case("time", "convolutions over time", "IC204 IC101", "film", "bias", each_step("film"))
def _(sick):
    bias = {"unit_forget_bias": not sick, "bias_initializer": initializers.Constant(-2.5) if sick else "zeros"}
    return functional((5, 5, 3), layers.ConvLSTM1D(4, 3, padding="same", name="film", **bias), layers.Flatten(), head())


# --- gradients that are not finite ------------------------------------------------------------------------------------


def broken(run):
    """Whether any weight gets a gradient that is not finite, though all outputs are."""
    assert all(np.isfinite(each).all() for each in run.outputs)
    return float(not all(np.isfinite(each).all() for each in run.weight_gradients.values()))


class Distances(layers.Layer):
    """The distance of each position from each other; that from itself is the root of zero."""

    def __init__(self, epsilon, **options):
        super().__init__(**options)
        self.epsilon = epsilon

    def call(self, x):
        squares = ops.sum((x[:, :, None] - x[:, None]) ** 2, axis=-1)
        return ops.sqrt(squares + self.epsilon)


@case("broken gradient", "distances of positions", "IC503", "a distances", None, broken, mean="arithmetic")
def _(sick):
    return functional(
        (4, 6), dense("a", 8), Distances(0.0 if sick else 1e-3, name="distances"), layers.Flatten(), head()
    )


class Powers(layers.Layer):
    """A generalized mean of positions, whose exponent is below one."""

    def __init__(self, least, **options):
        super().__init__(**options)
        self.least = least

    def call(self, x):
        return ops.mean(ops.maximum(x, self.least) ** 0.5, axis=1)


@case(
    "broken gradient",
    "a mean of roots, nested",
    "IC503",
    "outer/inner/b outer/inner/powers",
    None,
    broken,
    mean="arithmetic",
)
def _(sick):
    return nested((5, 6), dense("a", 8), dense("b", 8), Powers(0.0 if sick else 1e-3, name="powers"), head())


class Spread(layers.Layer):
    """The standard deviation over the positions."""

    def __init__(self, epsilon, **options):
        super().__init__(**options)
        self.epsilon = epsilon

    def call(self, x):
        return ops.sqrt(ops.var(x, axis=(1, 2)) + self.epsilon)


@case(
    "broken gradient", "statistics of dead channels, subclassed", "IC503", "off spread", None, broken, mean="arithmetic"
)
def _(sick):
    off = conv("off", 6, bias_initializer=initializers.RandomNormal(stddev=3.0))
    return subclassed((3, 3, 2), off, Spread(0.0 if sick else 1e-3, name="spread"), head())


class Logs(layers.Layer):
    """The logarithm where there is one, and zero elsewhere."""

    def __init__(self, least, **options):
        super().__init__(**options)
        self.least = least

    def call(self, x):
        return ops.where(x > 0.0, ops.log(ops.maximum(x, self.least)), 0.0)


@case("broken gradient", "logarithms of a series, sequential", "IC503", "a logs", None, broken, mean="arithmetic")
def _(sick):
    return sequential((7, 3), conv1d("a", 8), Logs(0.0 if sick else 1e-2, name="logs"), layers.Flatten(), head())


class Angles(layers.Layer):
    """The angle of each pair of channels; that of two zeros has no gradient."""

    def __init__(self, least, **options):
        super().__init__(**options)
        self.least = least

    def call(self, x):
        y, x = ops.split(x, 2, axis=-1)
        return ops.arctan2(y, x + self.least)


@case("broken gradient", "angles in one tower of two", "IC503", "left angles", None, broken, mean="arithmetic")
def _(sick):
    inputs = [keras.Input((9,)), keras.Input((5,))]
    left, right = (dense(n, 12)(x) for n, x in zip(("left", "right"), inputs, strict=True))
    angles = Angles(0.0 if sick else 0.1, name="angles")(left)
    return keras.Model(inputs, head()(layers.Concatenate()([angles, right])))


# --- proportions ------------------------------------------------------------------------------------------------------


def silent(weight):
    """Whether a weight gets no gradient at all."""
    return lambda run: float(not np.abs(run.weight_gradients[weight]).any())


SHARE: Any = {"mean": "arithmetic", "seeds": 16}


@case("proportion", "narrow layers", "IC201 IC101 IC203", "", None, silent("a/kernel"), **SHARE)
def _(sick):
    return sequential((3,), *(dense(n, 1 if sick else 32) for n in "abc"), head(1))


@case("proportion", "one channel", "IC201 IC101 IC203", "", None, silent("a/kernel"), **SHARE)
def _(sick):
    whole = {n: {"kernel_size": 1} for n in "bc"} | {"a": {"kernel_size": 4, "padding": "valid"}}
    return functional((4, 4, 2), *(conv(n, 1 if sick else 32, **whole[n]) for n in "abc"), layers.Flatten(), head(1))


@case(
    "proportion", "a narrow bottleneck, nested", "IC201 IC101 IC203", "", None, silent("outer/inner/a/kernel"), **SHARE
)
def _(sick):
    narrow = [dense(n, 1 if sick else 24) for n in ("few", "fewer")]
    return nested((6,), dense("a"), *narrow, dense("b"), head())


@case("proportion", "one unit at a time, subclassed", "IC201 IC101 IC203", "", None, silent("a/kernel"), **SHARE)
def _(sick):
    return subclassed(
        (5, 4), *(dense(n, 1 if sick else 32) for n in "ab"), layers.Flatten(), dense("c", 1 if sick else 24), head()
    )


@case("proportion", "narrow einsum layers of two inputs", "IC201 IC101 IC203", "", None, silent("a/kernel"), **SHARE)
def _(sick):
    def mix(name):
        return layers.EinsumDense(
            "bc,cd->bd", 1 if sick else 32, activation="relu", kernel_initializer="he_normal", name=name
        )

    inputs = [keras.Input((4,)), keras.Input((3,))]
    return keras.Model(inputs, apply([*(mix(n) for n in "abc"), head(2)], layers.Concatenate()(inputs)))


# --- what has no gradient ---------------------------------------------------------------------------------------------


class Through(layers.Layer):
    """An operation as a layer of its own."""

    def __init__(self, operation, **options):
        super().__init__(**options)
        self.operation = operation

    def call(self, x):
        return self.operation(x)


@case(
    "cut", "rounded features of an image", "IC203 IC602", "conv1 conv2", "gradient", norm_of("conv1/kernel"), **NATURE
)
def _(sick):
    rounded = Through(ops.round if sick else ops.tanh, name="coarse")
    return functional((5, 5, 2), conv("conv1"), conv("conv2"), rounded, layers.Flatten(), head())


@case("cut", "the nearest class once more, subclassed", "IC203 IC602", "a b", "gradient", norm_of("a/kernel"), **NATURE)
def _(sick):
    def pick(x):
        return ops.one_hot(ops.argmax(x, axis=-1), 12, dtype=x.dtype) if sick else ops.tanh(x)

    return subclassed((6,), dense("a"), dense("b", 12), Through(pick, name="pick"), dense("c"), head())


@case("cut", "one tower of two", "IC602", "left", "gradient", norm_of("left/kernel"), **NATURE)
def _(sick):
    inputs = [keras.Input((8,)), keras.Input((8,))]
    left, right = (dense(n, 16)(x) for n, x in zip(("left", "right"), inputs, strict=True))
    left = Through(ops.stop_gradient if sick else ops.tanh, name="held")(left)
    return keras.Model(inputs, head()(layers.Concatenate()([left, right])))


@case(
    "cut",
    "signs of a series, nested",
    "IC203 IC602",
    "outer/inner/c0 outer/inner/c1",
    "gradient",
    norm_of("outer/inner/c0/kernel"),
    **NATURE,
)
def _(sick):
    signs = Through(ops.sign if sick else ops.tanh, name="signs")
    return nested((8, 3), conv1d("c0"), conv1d("c1", activation=None), signs, layers.Flatten(), head())


@case("cut", "whole numbers of einsum layers", "IC203 IC602", "mix0 mix1", "gradient", norm_of("mix0/kernel"), **NATURE)
def _(sick):
    def whole(x):
        return ops.cast(ops.cast(4.0 * x, "int32"), x.dtype) if sick else ops.tanh(x)

    def mix(k):
        return layers.EinsumDense(
            "btc,cd->btd", (4, 12), activation="relu", kernel_initializer="he_normal", name=f"mix{k}"
        )

    return sequential((4, 9), mix(0), mix(1), Through(whole, name="whole"), layers.Flatten(), head())


# --- every path -------------------------------------------------------------------------------------------------------


@case("paths", "a branch of a branch", "IC101", "inner1", "spread", gain("inner1"), said=gain_of("inner1"))
def _(sick):
    inputs = keras.Input((16,))
    x = dense("stem", 16)(inputs)
    outer = dense("outer0", 16)(x)
    inner = apply([dense(f"inner{k}", 16, normal(1e-4) if sick and k == 1 else "he_normal") for k in range(3)], outer)
    joined = layers.Concatenate()([outer, inner])
    return keras.Model(inputs, head()(layers.Concatenate()([x, dense("outer1", 16)(joined)])))


@case("paths", "one of three towers, nested", "IC102", "third/t1", "spread", change("t0", "t2"))
def _(sick):
    inputs, ends = [keras.Input((10,)) for _ in range(3)], []
    for name, x in zip(("first", "second", "third"), inputs, strict=True):
        odd = sick and name == "third"
        prefix = "t" if name == "third" else name
        tower = [dense(f"{prefix}{k}", 16, normal(7.0) if odd and k == 1 else "he_normal") for k in range(3)]
        ends.append(keras.Sequential([keras.Input((10,)), *tower], name=name)(x))
    return keras.Model(inputs, head()(layers.Concatenate()(ends)))


@case("paths", "tied branches", "IC101", "b1", "spread", gain("b1"), said=gain_of("b1"))
def _(sick):
    """Two branches with a bridge from one to the other: no series of parallel parts."""
    inputs = keras.Input((16,))
    x = dense("stem", 16)(inputs)
    a = dense("a0", 16)(x)
    b = dense("b0", 16)(x)
    bridge = layers.Concatenate()([a, b])
    a = dense("a1", 16)(a)
    b = apply([dense("b1", 16, normal(1e-4) if sick else "he_normal"), dense("b2", 16)], bridge)
    return keras.Model(inputs, head()(layers.Concatenate()([a, b])))


@case("paths", "the way to one of two heads", "IC101", "price1", "spread", gain("price1"), said=gain_of("price1"))
def _(sick):
    inputs = keras.Input((12,))
    x = dense("stem", 20, "he_uniform")(inputs)
    price = [dense(f"price{k}", 20, normal(1e-4) if sick and k == 1 else "he_normal") for k in range(3)]
    demand = [dense(f"demand{k}", 20, activation="elu") for k in range(2)]
    return keras.Model(inputs, [head(1, "price")(apply(price, x)), head(2, "demand")(apply(demand, x))])


class Inception(layers.Layer):
    """Convolutions of several depths beside one another."""

    def __init__(self, kernel, **options):
        super().__init__(**options)
        self.one = [conv("one0", 8, kernel_size=1)]
        self.three = [conv("three0", 8, kernel_size=1), conv("three1", 8, kernel), conv("three2", 8)]

    def call(self, x):
        return ops.concatenate([apply(self.one, x), apply(self.three, x)], axis=-1)


@case(
    "paths",
    "a branch of convolutions, subclassed",
    "IC101",
    "inception/three1",
    "spread",
    gain("three1"),
    said=gain_of("inception/three1"),
)
def _(sick):
    inception = Inception(normal(1e-4) if sick else "he_normal", name="inception")
    return subclassed((6, 6, 3), *pooled(conv("stem", 8), inception, conv("behind")), head())
