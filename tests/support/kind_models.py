"""Small models for each kind of finding: a sick one and its sound twin, and what is right to say of the sick one.

The figure that the finding rests on is computed from runs in float64 (:mod:`float64_copy`), by its definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from float64_copy import Array, Run

from initcheck.probe import random_loss_gradient

layers, ops, initializers = keras.layers, keras.ops, keras.initializers
Figure = Callable[[Run], float]


@dataclass(frozen=True)
class Case:
    """One kind of finding in one model.

    Attributes:
        build: makes the sick model, or with False its sound twin.
        codes: the codes of which the first problem has one.
        layers: what the first problem names, all of it.
        cause: the kind of its cause; None where none is known or needed.
        figure: from one run in float64 to the figure of that draw.
        said: the column and the layer where the table has that figure for each draw; empty where the finding has it.
        mean: how the figures of the draws make that of the finding: "geometric" or "arithmetic".
        exit_code: of the sick model; that of the sound one is 0.
        scale: what the inputs are multiplied by.
        notes: the codes of all findings of the sound twin, which are notes.
        seeds: how many draws are checked.
        others: what further problems name, in their order.
        own: whether the finding is about the weights that the model is made with, not about those of draws.
        step: the rate of a step of gradient descent after which the figure is taken, 0 for none.
        within: how far the two figures may be apart beside rounding, where one of them is nothing but that.
    """

    kind: str
    name: str
    build: Callable[[bool], Any]
    codes: tuple[str, ...]
    layers: tuple[str, ...]
    cause: str | None
    figure: Figure
    said: tuple[str, str] | tuple[()] = ()
    mean: str = "geometric"
    exit_code: int = 1
    scale: float = 1.0
    notes: tuple[str, ...] = ()
    seeds: int = 4
    others: tuple[str, ...] = ()
    own: bool = False
    step: float = 0.0
    within: float = 0.0

    def batch(self, sick: bool = True) -> Any:
        """Make a batch for it: normal numbers, or indices for inputs of whole numbers."""
        random = np.random.default_rng(5)

        def make(given: Any) -> Any:
            shape = (32, *given.shape[1:])
            if "int" in str(given.dtype):
                return random.integers(0, 20, shape).astype("int32")
            return (self.scale * random.normal(size=shape)).astype("float32")

        made = [make(each) for each in _inputs(self.build(sick))]
        return made[0] if len(made) == 1 else made


def _inputs(model: Any) -> Any:
    return model.wanted if isinstance(model, Stack) else model.inputs


CASES: list[Case] = []


def case(kind: str, name: str, codes: str, named: str, cause: str | None, figure: Figure, **more: Any) -> Any:
    """Register a function of ``sick`` as a case; ``codes`` and ``named`` are parted by spaces."""

    def register(build: Callable[[bool], Any]) -> Any:
        CASES.append(Case(kind, name, build, tuple(codes.split()), tuple(named.split()), cause, figure, **more))
        return build

    return register


# --- forms of a model -------------------------------------------------------------------------------------------------


def apply(parts: Sequence[Any], x: Any) -> Any:
    for part in parts:
        x = part(x)
    return x


def functional(shape: tuple[int, ...], *parts: Any, dtype: Any = None) -> Any:
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, apply(parts, inputs))


def sequential(shape: tuple[int, ...], *parts: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *parts])


def nested(shape: tuple[int, ...], *parts: Any, dtype: Any = None) -> Any:
    """All but the last part inside a model in a model: ``outer/inner/...``."""
    inner = keras.Sequential([keras.Input(shape, dtype=dtype), *parts[:-1]], name="inner")
    outer = keras.Sequential([keras.Input(shape, dtype=dtype), inner], name="outer")
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, parts[-1](outer(inputs)))


class Stack(keras.Model):
    """A subclassed model that calls its parts one after the other."""

    def __init__(self, shape: tuple[int, ...], parts: Sequence[Any], dtype: str | None = None) -> None:
        super().__init__()
        self.parts = list(parts)
        self.wanted = [keras.KerasTensor((None, *shape), dtype or keras.config.floatx())]

    def call(self, x: Any) -> Any:
        return apply(self.parts, x)


def subclassed(shape: tuple[int, ...], *parts: Any, dtype: str | None = None) -> Any:
    model = Stack(shape, parts, dtype)
    model(np.zeros((2, *shape), dtype or keras.config.floatx()))
    return model


def normal(deviation: float) -> Any:
    return initializers.RandomNormal(stddev=deviation)


def dense(name: str, units: int = 24, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    return layers.Dense(units, activation, kernel_initializer=kernel, name=name, **more)


def conv(name: str, filters: int = 12, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    options = {"padding": "same", "kernel_size": 3, **more}
    return layers.Conv2D(filters, activation=activation, kernel_initializer=kernel, name=name, **options)


def conv1d(name: str, filters: int = 16, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    options = {"padding": "same", "kernel_size": 3, **more}
    return layers.Conv1D(filters, activation=activation, kernel_initializer=kernel, name=name, **options)


def head(units: int = 3, name: str = "head", **more: Any) -> Any:
    return layers.Dense(units, name=name, **more)


def pooled(*parts: Any, rank: int = 2) -> list[Any]:
    return [*parts, getattr(layers, f"GlobalAveragePooling{rank}D")()]


# --- figures ----------------------------------------------------------------------------------------------------------


def square(values: Array) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def change(first: str, last: str) -> Figure:
    """From what one layer receives to the sums of another."""
    return lambda run: square(run.sums[last]) / square(run.received[first])


def gain(layer: str) -> Figure:
    return change(layer, layer)


def spread_of_outputs(run: Run) -> float:
    """The variance of the outputs across the samples, in the mean over the outputs."""
    return float(np.mean(np.var(run.outputs[0], axis=0)))


def size(layer: str) -> Figure:
    return lambda run: square(run.given[layer])


def dead(layer: str) -> Figure:
    return lambda run: float(np.mean(np.abs(run.given[layer]).max(axis=0) == 0.0))


def at_ends(layer: str, low: float, high: float) -> Figure:
    margin = 0.025 * (high - low)

    def share(run: Run) -> float:
        values = run.given[layer]
        return float(np.mean((values < low + margin) | (values > high - margin)))

    return share


def certainty(weights: Callable[[Run], Array]) -> Figure:
    def find(run: Run) -> float:
        p = weights(run)
        return float((np.mean(np.sum(p**2, axis=-1)) - 1 / p.shape[-1]) / (1 - 1 / p.shape[-1]))

    return find


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def counted(layer: str, variance: float) -> Figure:
    """The variance that an initializer gives, over the one that He's rule gives to the inputs that a sum really has.

    The inputs are counted by running the layer on ones, with kernels of ones.
    """

    def count(run: Run) -> float:
        made = run.layers[layer]
        for weight in made.weights:
            weight.assign(np.full(weight.shape, float(len(weight.shape) > 1)))
        sums = np.asarray(made.call(np.ones_like(run.received[layer][:1])))
        return variance * float(sums.max()) / 2.0

    return count


def ratio(branch: str, beside: str) -> Figure:
    return lambda run: square(run.given[branch]) / square(run.given[beside])


def gain_of(layer: str) -> tuple[str, str]:
    """Where the table has a layer's own gain."""
    return "preactivation_second_moment/input_second_moment", layer


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
