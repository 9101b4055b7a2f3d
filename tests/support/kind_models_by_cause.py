"""Models of each kind of cause: kernels, fans, constants, activations, data, tables, sums, attention, normalization."""

from __future__ import annotations

import keras
import numpy as np
from float64_copy import Run
from kind_cases import (
    Figure,
    apply,
    at_ends,
    case,
    certainty,
    change,
    conv,
    conv1d,
    counted,
    dead,
    dense,
    functional,
    gain,
    head,
    initializers,
    layers,
    nested,
    normal,
    ops,
    pooled,
    ratio,
    sequential,
    size,
    softmax,
    spread_of_outputs,
    square,
    subclassed,
)

# --- section 3: a kernel drawn too small or too large -----------------------------------------------------------------


@case("spread", "convolutions, subclassed", "IC101", "b", "spread", change("a", "d"))
def _(sick):
    small = normal(1e-4) if sick else "he_normal"
    return subclassed((6, 6, 3), *pooled(conv("a"), conv("b", kernel=small), conv("c"), conv("d")), head())


@case("spread", "convolutions over time, nested", "IC102", "outer/inner/c", "spread", change("a", "d"))
def _(sick):
    large = normal(6.0) if sick else "he_normal"
    return nested(
        (12, 5), *pooled(*(conv1d(n, kernel=large if n == "c" else "he_normal") for n in "abcd"), rank=1), head()
    )


@case("spread", "elu of several widths", "IC101", "b", "spread", change("a", "d"))
def _(sick):
    kernels = {"b": normal(3e-4)} if sick else {}
    widths = {"a": 40, "b": 12, "c": 60, "d": 24}
    return sequential((9,), *(dense(n, w, kernels.get(n, "he_uniform"), "elu") for n, w in widths.items()), head(5))


@case("spread", "the trunk behind two inputs", "IC102", "trunk1", "spread", change("trunk0", "trunk2"))
def _(sick):
    one, two = keras.Input((10,)), keras.Input((6,))
    joined = layers.Concatenate()([dense("left", 16)(one), dense("right", 16)(two)])
    trunk = [dense(f"trunk{k}", 32, normal(9.0) if sick and k == 1 else "he_normal") for k in range(3)]
    return keras.Model([one, two], apply([*trunk, head()], joined))


@case("spread", "einsum layers, functional", "IC101", "mix1", "spread", change("mix0", "mix2"))
def _(sick):
    def mix(k):
        kernel = normal(1e-4) if sick and k == 1 else "lecun_normal"
        return layers.EinsumDense("btc,cd->btd", (7, 20), activation="tanh", kernel_initializer=kernel, name=f"mix{k}")

    return functional((7, 20), *(mix(k) for k in range(3)), layers.Flatten(), head())


@case("spread", "a head behind tanh does not belong to it", "IC102", "a b c d e", "spread", change("a", "e"))
def _(sick):
    def kernel():
        return initializers.VarianceScaling(12.0) if sick else "he_normal"

    parts = [*(dense(n, 32, kernel()) for n in "abcd"), dense("e", 32, kernel(), "tanh" if sick else "relu")]
    return sequential((32,), *parts, head(3, kernel_initializer=initializers.VarianceScaling(1.8)))


# --- a fan counted wrongly --------------------------------------------------------------------------------------------


def true_normal(fan, gain=2.0):
    return normal((gain / fan) ** 0.5)


@case("fan", "an upsampler", "IC401", "up0 up1 up2", "fan", counted("up1", 2.0 / (16 * 12)), exit_code=0)
def _(sick):
    def up(k):
        kernel = "he_normal" if sick else true_normal(16 * 12 / 4)
        return layers.Conv1DTranspose(
            16, 12, strides=4, padding="same", activation="relu", kernel_initializer=kernel, name=f"up{k}"
        )

    return functional((3, 16), *(up(k) for k in range(3)), conv1d("wave", 1, "lecun_normal", None))


@case("fan", "channels by themselves, subclassed", "IC101 IC401", "d0 d1 d2", "fan", change("d0", "d2"))
def _(sick):
    def by_channel(k):
        kernel = "he_normal" if sick else true_normal(9)
        return layers.DepthwiseConv2D(3, padding="same", activation="relu", depthwise_initializer=kernel, name=f"d{k}")

    return subclassed((6, 6, 10), *pooled(*(by_channel(k) for k in range(3))), head())


@case(
    "fan",
    "groups over time, nested",
    "IC101 IC401",
    "outer/inner/g0 outer/inner/g1 outer/inner/g2",
    "fan",
    change("g0", "g2"),
)
def _(sick):
    def group(k):
        kernel = initializers.VarianceScaling(2.0, "fan_out" if sick else "fan_in", "untruncated_normal")
        return conv1d(f"g{k}", 16, kernel, groups=8)

    return nested((10, 16), *(group(k) for k in range(3)), layers.Flatten(), head())


@case("fan", "an upsampler of images, strided", "IC101 IC401", "up0 up1", "fan", change("up0", "up1"))
def _(sick):
    def up(k):
        kernel = initializers.HeUniform() if sick else true_normal(8 * 64 / 16)
        return layers.Conv2DTranspose(
            8, 8, strides=4, padding="same", activation="relu", kernel_initializer=kernel, name=f"up{k}"
        )

    return sequential((2, 2, 8), up(0), up(1), conv("pixels", 3, "lecun_normal", None))


@case("fan", "an upsampler of volumes, subclassed", "IC101 IC401", "up0 up1", "fan", change("up0", "up1"))
def _(sick):
    def up(k):
        kernel = "he_normal" if sick else true_normal(8)
        return layers.Conv3DTranspose(
            8, (2, 2, 4), strides=(2, 2, 4), activation="relu", kernel_initializer=kernel, name=f"up{k}"
        )

    return subclassed((2, 2, 1, 8), *pooled(up(0), up(1), rank=3), head())


# --- what does not start at random ------------------------------------------------------------------------------------


def twins(weight: str) -> Figure:
    """The share of units whose incoming weights another unit has too."""

    def share(run: Run) -> float:
        columns = run.values[weight].reshape(-1, run.values[weight].shape[-1]).T
        _, place, count = np.unique(columns, axis=0, return_inverse=True, return_counts=True)
        return float(np.mean(count[place] > 1))

    return share


def same_entries(one: str, other: str) -> Figure:
    return lambda run: float(np.mean(run.values[one] == run.values[other]))


@case("constant", "convolutions of one number", "IC302", "b", "constant", twins("b/kernel"), mean="arithmetic")
def _(sick):
    return sequential(
        (5, 5, 2), *pooled(conv("a", 8), conv("b", 8, initializers.Constant(0.1) if sick else "he_normal")), head()
    )


@case(
    "constant",
    "convolutions over time, nested",
    "IC302",
    "outer/inner/b",
    "constant",
    twins("outer/inner/b/kernel"),
    mean="arithmetic",
)
def _(sick):
    return nested((8, 4), *pooled(conv1d("a", 8), conv1d("b", 8, "ones" if sick else "he_normal"), rank=1), head())


@case(
    "constant",
    "an einsum of one number, subclassed",
    "IC302",
    "mix",
    "constant",
    twins("mix/kernel"),
    mean="arithmetic",
)
def _(sick):
    kernel = initializers.Constant(0.2) if sick else "he_normal"
    mix = layers.EinsumDense("bc,cd->bd", 12, activation="relu", kernel_initializer=kernel, name="mix")
    return subclassed((9,), mix, dense("behind"), head())


@case("constant", "one tower of two", "IC302", "left", "constant", twins("left/kernel"), mean="arithmetic")
def _(sick):
    inputs = [keras.Input((10,)), keras.Input((7,))]
    kernels = {"left": initializers.Constant(0.1) if sick else "he_normal", "right": "he_normal"}
    ends = [dense(n, 14, k)(x) for (n, k), x in zip(kernels.items(), inputs, strict=True)]
    return keras.Model(inputs, head()(dense("mix")(layers.Concatenate()(ends))))


@case("constant", "convolutions of volumes", "IC302", "b", "constant", twins("b/kernel"), mean="arithmetic")
def _(sick):
    kernels = {"a": "he_normal", "b": initializers.Constant(0.05) if sick else "he_normal"}
    parts = [layers.Conv3D(6, 2, activation="relu", kernel_initializer=k, name=n) for n, k in kernels.items()]
    return functional((4, 4, 4, 2), *parts, layers.Flatten(), head())


@case(
    "copied",
    "convolutions with one seeded initializer",
    "IC301",
    "a/kernel b/kernel",
    "copied",
    same_entries("a/kernel", "b/kernel"),
    own=True,
)
def _(sick):
    seeded = initializers.HeNormal(seed=3)
    return functional((5, 5, 8), *pooled(*(conv(n, 8, seeded if sick else "he_normal") for n in "ab")), head())


@case(
    "copied",
    "towers that set the same seed",
    "IC301",
    "user/kernel item/kernel",
    "copied",
    same_entries("user/kernel", "item/kernel"),
    own=True,
)
def _(sick):
    inputs = [keras.Input((14,), name=f"{n}_in") for n in ("user", "item")]
    ends = [
        dense(n, 16, initializers.HeNormal(seed=1 if sick else k))(x)
        for k, (n, x) in enumerate(zip(("user", "item"), inputs, strict=True))
    ]
    return keras.Model(inputs, head(1)(layers.Concatenate()(ends)))


@case(
    "copied",
    "two tables, subclassed in part",
    "IC301",
    "one/embeddings two/embeddings",
    "copied",
    same_entries("one/embeddings", "two/embeddings"),
    own=True,
)
def _(sick):
    inputs = [keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")]
    tables = [
        layers.Embedding(
            20, 8, embeddings_initializer=initializers.RandomNormal(stddev=1.0, seed=5 if sick else k), name=n
        )
        for k, n in enumerate(("one", "two"))
    ]
    ends = [layers.Flatten()(table(x)) for table, x in zip(tables, inputs, strict=True)]
    return keras.Model(inputs, head(2)(dense("mix", 16)(layers.Concatenate()(ends))))


@case(
    "copied",
    "recurrent layers with one seeded initializer, nested",
    "IC301",
    "outer/inner/first/gru_cell/kernel outer/inner/second/gru_cell/kernel",
    "copied",
    same_entries("outer/inner/first/gru_cell/kernel", "outer/inner/second/gru_cell/kernel"),
    own=True,
)
def _(sick):
    kernel = initializers.GlorotUniform(seed=4) if sick else "glorot_uniform"
    first = layers.GRU(8, kernel_initializer=kernel, return_sequences=True, name="first")
    return nested((5, 8), first, layers.GRU(8, kernel_initializer=kernel, name="second"), head())


@case(
    "copied",
    "einsum layers that set the same seed, subclassed",
    "IC301",
    "mix0/kernel mix1/kernel",
    "copied",
    same_entries("mix0/kernel", "mix1/kernel"),
    own=True,
)
def _(sick):
    def mix(k):
        kernel = initializers.HeUniform(seed=2 if sick else k)
        return layers.EinsumDense("btc,cd->btd", (4, 10), activation="relu", kernel_initializer=kernel, name=f"mix{k}")

    return subclassed((4, 10), mix(0), mix(1), layers.Flatten(), head())


# --- activation functions that saturate or die ------------------------------------------------------------------------


@case("dead", "convolutions with a bias, subclassed", "IC303", "b", "bias", dead("b"), mean="arithmetic")
def _(sick):
    bias = initializers.Constant(-9.0 if sick else 0.0)
    return subclassed((6, 6, 3), *pooled(conv("a"), conv("b", bias_initializer=bias), conv("c")), head())


@case("dead", "a clipped activation, nested", "IC303", "outer/inner/b", "bias", dead("b"), mean="arithmetic")
def _(sick):
    bias = initializers.RandomNormal(mean=-7.0, stddev=0.5) if sick else "zeros"
    return nested((12,), dense("a"), dense("b", activation="relu6", bias_initializer=bias), dense("c"), head())


@case("dead", "one tower of two", "IC303", "left", "bias", dead("left"), mean="arithmetic")
def _(sick):
    inputs = [keras.Input((10,)), keras.Input((8,))]
    biases = {"left": initializers.Constant(-12.0 if sick else 0.0), "right": "zeros"}
    ends = [dense(n, 16, bias_initializer=b)(x) for (n, b), x in zip(biases.items(), inputs, strict=True)]
    return keras.Model(inputs, head()(dense("mix")(layers.Concatenate()(ends))))


@case("dead", "an activation function as a layer of its own", "IC303", "b", "bias", dead("off"), mean="arithmetic")
def _(sick):
    bias = initializers.Constant(-8.0 if sick else 0.0)
    before = conv1d("b", activation=None, bias_initializer=bias)
    return sequential((8, 4), conv1d("a"), before, layers.ReLU(name="off"), layers.Flatten(), head())


@case("dead", "einsum layers, functional", "IC303", "mix", "bias", dead("mix"), mean="arithmetic")
def _(sick):
    bias = initializers.RandomUniform(-12.0, -8.0) if sick else "zeros"
    mix = layers.EinsumDense(
        "btc,cd->btd",
        (5, 18),
        activation="relu",
        bias_axes="d",
        bias_initializer=bias,
        kernel_initializer="he_normal",
        name="mix",
    )
    return functional((5, 9), mix, dense("behind"), layers.Flatten(), head())


@case("saturated", "sigmoids, nested", "IC304", "outer/inner/b", "spread", at_ends("b", 0.0, 1.0), mean="arithmetic")
def _(sick):
    kernel = normal(6.0) if sick else "glorot_uniform"
    return nested(
        (12,),
        dense("a", activation="tanh", kernel="lecun_normal"),
        dense("b", kernel=kernel, activation="sigmoid"),
        head(),
    )


@case("saturated", "tanh pushed by its bias", "IC304", "b", "bias", at_ends("b", -1.0, 1.0), mean="arithmetic")
def _(sick):
    bias = initializers.Constant(5.0 if sick else 0.0)
    names = {"a": "zeros", "b": bias, "c": "zeros"}
    return functional(
        (16,), *(dense(n, 20, "lecun_normal", "tanh", bias_initializer=b) for n, b in names.items()), head()
    )


@case("saturated", "convolutions with tanh", "IC304", "a", "spread", at_ends("a", -1.0, 1.0), mean="arithmetic")
def _(sick):
    kernel = normal(4.0) if sick else "lecun_normal"
    return sequential((8, 8, 2), *pooled(conv("a", 8, kernel, "tanh"), conv("b", 8, "lecun_normal", "tanh")), head())


@case(
    "saturated",
    "an activation function as a layer of its own, subclassed",
    "IC304",
    "b",
    "spread",
    at_ends("act", -1.0, 1.0),
    mean="arithmetic",
)
def _(sick):
    b = dense("b", 20, normal(5.0) if sick else "lecun_normal", None)
    parts = [dense("a", 20, "lecun_normal", "tanh"), b, layers.Activation("tanh", name="act")]
    return subclassed((14,), *parts, head())


@case(
    "saturated",
    "a series with sigmoids pushed by their bias",
    "IC304",
    "b",
    "bias",
    at_ends("b", 0.0, 1.0),
    mean="arithmetic",
)
def _(sick):
    bias = initializers.RandomNormal(mean=-8.0, stddev=0.5) if sick else "zeros"
    b = conv1d("b", 8, "glorot_uniform", "sigmoid", bias_initializer=bias)
    return functional((9, 4), conv1d("a", 12), b, layers.Flatten(), head())


# --- the data ---------------------------------------------------------------------------------------------------------


@case(
    "inputs",
    "images of large numbers",
    "IC104",
    "picture",
    "inputs",
    lambda run: square(run.inputs[0].numpy()) ** 0.5,
    scale=150.0,
)
def _(sick):
    inputs = keras.Input((6, 6, 3), name="picture")
    scaled = layers.Rescaling(1.0 if sick else 1 / 150.0)(inputs)
    return keras.Model(inputs, apply([*pooled(conv("a"), conv("b")), head()], scaled))


@case(
    "inputs",
    "a sequence in large units",
    "IC104",
    "series",
    "inputs",
    lambda run: square(run.inputs[0].numpy()) ** 0.5,
    scale=400.0,
)
def _(sick):
    inputs = keras.Input((9, 4), name="series")
    first = layers.Rescaling(1.0 if sick else 1 / 400.0)
    return keras.Model(inputs, apply([first, layers.SimpleRNN(12, name="rnn"), dense("mix"), head()], inputs))


@case(
    "inputs",
    "columns beside a category",
    "IC104",
    "columns",
    "inputs",
    lambda run: square(run.inputs[0].numpy()) ** 0.5,
    scale=250.0,
)
def _(sick):
    columns, category = keras.Input((12,), name="columns"), keras.Input((1,), dtype="int32", name="category")
    scaled = layers.Rescaling(1.0 if sick else 1 / 250.0)(columns)
    joined = layers.Concatenate()([scaled, layers.Flatten()(table(1.0, width=6)(category))])
    return keras.Model([columns, category], apply([dense("a"), dense("b"), head()], joined))


@case(
    "inputs",
    "volumes of large numbers, sequential",
    "IC104",
    "input",
    "inputs",
    lambda run: square(run.inputs[0].numpy()) ** 0.5,
    scale=1000.0,
)
def _(sick):
    first = layers.Rescaling(1.0 if sick else 1 / 1000.0)
    parts = [layers.Conv3D(6, 2, activation="relu", kernel_initializer="he_normal", name=n) for n in "ab"]
    return keras.Sequential([keras.Input((4, 4, 4, 2), name="scan"), first, *parts, layers.Flatten(), head()])


@case(
    "inputs",
    "a series in front of a nested model with tanh",
    "IC104",
    "series",
    "inputs",
    lambda run: square(run.inputs[0].numpy()) ** 0.5,
    scale=120.0,
)
def _(sick):
    inputs = keras.Input((10, 3), name="series")
    inner = keras.Sequential([keras.Input((10, 3)), conv1d("a", 12, "lecun_normal", "tanh"), conv1d("b")], name="inner")
    x = inner(layers.Rescaling(1.0 if sick else 1 / 120.0)(inputs))
    return keras.Model(inputs, head()(layers.Flatten()(x)))


class Places(layers.Layer):
    """The place of each word in its text."""

    def call(self, tokens):
        return ops.zeros_like(tokens) + ops.arange(tokens.shape[1], dtype=tokens.dtype)


# --- tables of embeddings ---------------------------------------------------------------------------------------------


def table(deviation, name="table", width=16):
    return layers.Embedding(20, width, embeddings_initializer=normal(deviation), name=name)


@case("embedding", "a bag of words", "IC105", "table", "embedding", spread_of_outputs)
def _(sick):
    bag = layers.GlobalAveragePooling1D()
    return functional((8,), table(60.0 if sick else 1.0), bag, dense("mix", 32), head(), dtype="int32")


@case(
    "embedding", "a text in front of tanh", "IC304", "table", "embedding", at_ends("mix", -1.0, 1.0), mean="arithmetic"
)
def _(sick):
    first = table(20.0 if sick else 0.5)
    return functional((6,), first, layers.Flatten(), dense("mix", 32, "lecun_normal", "tanh"), head(), dtype="int32")


@case("embedding", "a convolution over words, nested", "IC105", "outer/inner/table", "embedding", spread_of_outputs)
def _(sick):
    parts = [table(50.0 if sick else 1.0), conv1d("c"), layers.GlobalMaxPooling1D()]
    return nested((8,), *parts, head(), dtype="int32")


@case("embedding", "positions that drown the words", "IC107", "positions", "embedding", ratio("positions", "words"))
def _(sick):
    tokens = keras.Input((8,), dtype="int32")
    places = table(30.0 if sick else 1.0, "positions")(Places()(tokens))
    x = layers.Add(name="sum")([table(1.0, "words")(tokens), places])
    x = layers.LayerNormalization()(x)
    return keras.Model(tokens, head()(layers.GlobalAveragePooling1D()(dense("mix", 32)(x))))


@case(
    "embedding",
    "gates of an LSTM, subclassed",
    "IC101",
    "table",
    "embedding",
    size("table"),
    said=("activation_second_moment", "table"),
)
def _(sick):
    return subclassed((10,), table(60.0 if sick else 1.0), layers.LSTM(16, name="lstm"), head(), dtype="int32")


# --- residual sums that add without scaling ---------------------------------------------------------------------------


def grown(first, last):
    """From what one layer receives to the output of a sum."""
    return lambda run: square(run.given[last]) / square(run.received[first])


def residual(x, k, branch, sick):
    y = layers.Add(name=f"sum{k}")([x, apply(branch, x)])
    return y if sick else layers.Rescaling(0.5**0.5)(y)


@case("residual", "dense branches", "IC102", " ".join(f"sum{k}" for k in range(12)), "residual", grown("stem", "sum11"))
def _(sick):
    inputs = keras.Input((16,))
    x = dense("stem", 24, "lecun_normal", None)(inputs)
    for k in range(12):
        branch = [dense(f"up{k}"), dense(f"down{k}", 24, "lecun_normal", None)]
        x = residual(x, k, branch, sick)
    return keras.Model(inputs, head()(x))


@case(
    "residual",
    "branches of convolutions",
    "IC102",
    " ".join(f"sum{k}" for k in range(11)),
    "residual",
    grown("stem", "sum10"),
)
def _(sick):
    inputs = keras.Input((5, 5, 3))
    x = conv("stem", 8, "lecun_normal", None)(inputs)
    for k in range(11):
        x = residual(x, k, [layers.ReLU(), conv(f"c{k}", 8, activation=None)], sick)
    return keras.Model(inputs, apply([layers.Flatten(), head()], x))


@case(
    "residual",
    "three branches a sum",
    "IC102",
    " ".join(f"sum{k}" for k in range(9)),
    "residual",
    grown("stem", "sum8"),
)
def _(sick):
    inputs = keras.Input((16,))
    x = dense("stem", 24, "lecun_normal", None)(inputs)
    for k in range(9):
        ends = [dense(f"{n}{k}", 24, "lecun_normal", None)(x) for n in "ab"]
        x = layers.Add(name=f"sum{k}")([x, *ends])
        x = x if sick else layers.Rescaling(3.0**-0.5)(x)
    return keras.Model(inputs, head()(x))


class Block(layers.Layer):
    """A residual block as a layer of its own."""

    def __init__(self, scale, **options):
        super().__init__(**options)
        self.scale = scale
        self.branch = dense("inner", 20, "lecun_normal", None)
        self.sum = layers.Add(name=f"{self.name}_sum")

    def call(self, x):
        return self.sum([x, self.branch(x)]) * self.scale


def block_sums(prefix=""):
    return " ".join(f"{prefix}block{k}/block{k}_sum" for k in range(1, 10))


@case(
    "residual",
    "blocks, subclassed",
    "IC102",
    block_sums(),
    "residual",
    lambda run: square(run.given["block9_sum"]) / square(run.given["block0_sum"]),
)
def _(sick):
    scale = 1.0 if sick else 0.5**0.5
    return subclassed((20,), *(Block(scale, name=f"block{k}") for k in range(10)), head())


@case(
    "residual",
    "blocks, nested",
    "IC102",
    block_sums("outer/inner/"),
    "residual",
    lambda run: square(run.given["block9_sum"]) / square(run.given["block0_sum"]),
)
def _(sick):
    scale = 1.0 if sick else 0.5**0.5
    return nested((6, 20), *(Block(scale, name=f"block{k}") for k in range(10)), head())


# --- attention, and other softmaxes inside a model --------------------------------------------------------------------


def heads_softmax(run):
    q, k = run.sums["query"], run.sums["key"]
    return softmax(np.einsum("btnh,bsnh->bnts", q, k) / q.shape[-1] ** 0.5)


def scores_softmax(q, k, factor=1.0):
    return lambda run: softmax(factor * np.einsum("bth,bsh->bts", run.given[q], run.given[k]))


@case(
    "attention",
    "attention of Keras with large kernels",
    "IC305",
    "attend/query attend/key attend/value attend/attention_output",
    "spread",
    certainty(heads_softmax),
    mean="arithmetic",
)
def _(sick):
    attend = layers.MultiHeadAttention(
        2, 8, kernel_initializer=normal(1.5) if sick else "glorot_uniform", name="attend"
    )
    inputs = keras.Input((7, 16))
    x = layers.LayerNormalization()(layers.Add()([inputs, attend(inputs, inputs)]))
    return keras.Model(inputs, head()(layers.Flatten()(x)))


@case(
    "attention",
    "products that nothing divides",
    "IC305",
    "attend",
    "attention",
    certainty(scores_softmax("q", "k")),
    mean="arithmetic",
)
def _(sick):
    inputs = keras.Input((6, 32))
    q, k, v = (dense(n, 64, "lecun_normal", None)(inputs) for n in "qkv")
    q = q if sick else layers.Rescaling(1 / 8.0)(q)
    x = layers.Attention(name="attend")([q, v, k])
    return keras.Model(inputs, head()(layers.Flatten()(x)))


class CrossAttention(layers.Layer):
    """Texts that look at pictures; the products are divided, or not."""

    def __init__(self, scaled, **options):
        super().__init__(**options)
        self.q, self.k, self.v = (dense(f"cross_{n}", 48, "lecun_normal", None) for n in "qkv")
        self.factor = 48**-0.5 if scaled else 1.0

    def call(self, text, picture):
        scores = self.factor * ops.einsum("bth,bsh->bts", self.q(text), self.k(picture))
        return ops.einsum("bts,bsh->bth", ops.softmax(scores), self.v(picture))


@case(
    "attention",
    "two inputs that look at one another",
    "IC305",
    "cross",
    "attention",
    certainty(scores_softmax("cross_q", "cross_k")),
    mean="arithmetic",
)
def _(sick):
    text, picture = keras.Input((5, 24)), keras.Input((9, 20))
    x = CrossAttention(not sick, name="cross")(text, picture)
    return keras.Model([text, picture], head()(layers.Flatten()(x)))


class Mixture(layers.Layer):
    """Experts that a router weighs."""

    def __init__(self, router, **options):
        super().__init__(**options)
        self.router = layers.Dense(4, kernel_initializer=router, name="router")
        self.experts = [dense(f"expert{k}", 20) for k in range(4)]

    def call(self, x):
        weights = ops.softmax(self.router(x))
        outputs = ops.stack([expert(x) for expert in self.experts], axis=1)
        return ops.sum(outputs * weights[:, :, None], axis=1)


@case(
    "attention",
    "a router of experts, subclassed",
    "IC305",
    "mixture/router",
    "spread",
    certainty(lambda run: softmax(run.sums["router"])),
    mean="arithmetic",
)
def _(sick):
    return subclassed((20,), Mixture(normal(3.0) if sick else "lecun_normal", name="mixture"), dense("behind"), head())


@case(
    "attention",
    "a router of experts, nested",
    "IC305",
    "outer/inner/mixture/router",
    "spread",
    certainty(lambda run: softmax(run.sums["router"])),
    mean="arithmetic",
)
def _(sick):
    router = normal(4.0) if sick else "glorot_uniform"
    return nested((20,), dense("before", 20), Mixture(router, name="mixture"), head())


# --- normalizations starved by their epsilon, or with a small scale ---------------------------------------------------


@case(
    "normalization",
    "batch normalization of convolutions",
    "IC101",
    "b",
    "normalization",
    size("norm_b"),
    said=("activation_second_moment", "norm_b"),
)
def _(sick):
    parts = []
    for n in "abc":
        kernel = normal(2e-4) if sick and n == "b" else "he_normal"
        parts += [conv(n, 8, kernel, None), layers.BatchNormalization(name=f"norm_{n}"), layers.Activation("tanh")]
    return functional((6, 6, 3), *parts, layers.Flatten(), head())


@case(
    "normalization",
    "groups, nested",
    "IC101",
    "outer/inner/b",
    "normalization",
    size("norm_b"),
    said=("activation_second_moment", "outer/inner/norm_b"),
)
def _(sick):
    parts = []
    for n in "abc":
        kernel = normal(2e-4) if sick and n == "b" else "lecun_normal"
        norm = layers.GroupNormalization(4, name=f"norm_{n}")
        parts += [dense(n, 16, kernel, None), norm, layers.Activation("tanh")]
    return nested((12,), *parts, head())


@case(
    "normalization",
    "root mean squares, subclassed",
    "IC101",
    "b",
    "normalization",
    size("norm_b"),
    said=("activation_second_moment", "norm_b"),
)
def _(sick):
    parts = []
    for n in "abc":
        kernel = normal(2e-5) if sick and n == "b" else "lecun_normal"
        parts += [
            dense(n, 16, kernel, None, use_bias=False),
            layers.RMSNormalization(name=f"norm_{n}"),
            layers.Activation("gelu"),
        ]
    return subclassed((12,), *parts, head())


@case(
    "normalization",
    "a large epsilon",
    "IC101",
    "b",
    "normalization",
    size("norm_b"),
    said=("activation_second_moment", "norm_b"),
)
def _(sick):
    parts = []
    for n in "abc":
        norm = layers.LayerNormalization(epsilon=300.0 if sick and n == "b" else 1e-6, name=f"norm_{n}")
        parts += [dense(n, 16, "lecun_normal", None), norm, layers.Activation("tanh")]
    return sequential((12,), *parts, head())


@case(
    "normalization",
    "a small scale of images",
    "IC101",
    "norm_b",
    "scale",
    size("norm_b"),
    said=("activation_second_moment", "norm_b"),
)
def _(sick):
    parts = []
    for n in "abc":
        gamma = initializers.Constant(0.01 if sick and n == "b" else 1.0)
        parts += [
            conv(n, 8, "he_normal", None),
            layers.BatchNormalization(gamma_initializer=gamma, name=f"norm_{n}"),
            layers.Activation("tanh"),
        ]
    return functional((6, 6, 3), *parts, layers.Flatten(), head())


# --- one layer that stands out ----------------------------------------------------------------------------------------


def stands_out(layer, *others):
    """The gain of a layer, over the median of the others' on its path."""
    return lambda run: gain(layer)(run) / float(np.exp(np.median([np.log(gain(each)(run)) for each in others])))


def outlying(deviation):
    """One layer multiplies by what the next one divides by: the whole path keeps its size."""
    return {"c": normal(deviation), "d": normal(2.0 / 24 / deviation)}


@case("outlier", "dense, made up for", "IC106", "d", "spread", stands_out("d", *"abcef"), others=("c",))
def _(sick):
    kernels = outlying(6.0) if sick else {}
    return sequential((24,), *(dense(n, 24, kernels.get(n, "he_normal")) for n in "abcdef"), head())


@case(
    "outlier",
    "dense, made up for, nested",
    "IC106",
    "outer/inner/d",
    "spread",
    stands_out("d", *"abcef"),
    others=("outer/inner/c",),
)
def _(sick):
    kernels = outlying(5.0) if sick else {}
    return nested(
        (5, 24), *(dense(n, 24, kernels.get(n, "he_normal")) for n in "abcdef"), head(kernel_initializer=normal(1e-2))
    )


@case("outlier", "a note, subclassed", "IC106", "c", "spread", stands_out("c", *"abdef"), exit_code=0)
def _(sick):
    kernels = {"c": normal(1.5)} if sick else {}
    return subclassed(
        (24,), *(dense(n, 24, kernels.get(n, "he_normal")) for n in "abcdef"), head(kernel_initializer=normal(1e-2))
    )


@case("outlier", "a note, convolutions", "IC106", "b", "spread", stands_out("b", *"acde"), exit_code=0)
def _(sick):
    kernels = {"b": normal(0.03)} if sick else {}
    return functional(
        (6, 6, 12),
        *(conv(n, 12, kernels.get(n, "he_normal")) for n in "abcde"),
        layers.Flatten(),
        head(kernel_initializer=normal(1e-2)),
    )


@case(
    "outlier",
    "a note, einsum layers",
    "IC106",
    "mix2",
    "spread",
    stands_out("mix2", "mix0", "mix1", "mix3", "mix4"),
    exit_code=0,
)
def _(sick):
    def mix(k):
        kernel = normal(1.1) if sick and k == 2 else "lecun_normal"
        return layers.EinsumDense("btc,cd->btd", (4, 24), activation=None, kernel_initializer=kernel, name=f"mix{k}")

    return functional((4, 24), *(mix(k) for k in range(5)), layers.Flatten(), head(kernel_initializer=normal(1e-2)))
