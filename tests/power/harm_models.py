"""The models that ``harm.py`` trains: sound architectures, and each rule's defect planted into three of them.

All classify the 8 × 8 digits of scikit-learn, which each architecture reads in its own form. A sound one has the
variance of kernels that its fans and its activation need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from planted_models import Through, normal

from initcheck.backend.runtime import import_keras
from initcheck.models.data import load_set

keras = import_keras()
layers, ops = keras.layers, keras.ops

CLASSES = 10
WIDTH = 64
HEAD = -1
"""Number of the last layer, whatever the depth."""

Change = Callable[[int, float], Mapping[str, Any]]
"""From a layer's number and the standard deviation that its kernel needs to options that are other than the sound ones.

``behind`` is a function that is applied to what leaves the layer.
"""


# --- the task ---------------------------------------------------------------------------------------------------------


def load_samples(form: str) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Load the digits in the form that an architecture reads, an array for each input, and their labels."""
    images, labels, _ = load_set("digits")
    scaled = (images - images.mean()) / images.std()
    flat = scaled.reshape(len(scaled), -1)
    words = 17 * np.arange(64) + (16 * images).astype(int).reshape(len(images), -1)
    forms: dict[str, tuple[np.ndarray, ...]] = {
        "vector": (flat,),
        "halves": (flat[:, :32], flat[:, 32:]),
        "image": (scaled[..., None],),
        "rows": (scaled,),
        "words": (words,),
        "raw vector": (255 * images.reshape(len(images), -1),),
        "raw image": (255 * images[..., None],),
        "raw rows": (255 * images,),
    }
    made = tuple(each.astype("int32" if form == "words" else "float32") for each in forms[form])
    return made, labels.astype("int32")


# --- architectures ----------------------------------------------------------------------------------------------------


def unchanged(number: int, spread: float) -> Mapping[str, Any]:
    return {}


def apply(kind: type, x: Any, number: int, fan_in: int, change: Change, **options: Any) -> Any:
    """Apply a new layer with a kernel, which is sound but for what changes."""
    spread = math.sqrt((2.0 if options.get("activation") == "relu" else 1.0) / fan_in)
    by_channel = kind in (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
    kernel = "depthwise_initializer" if by_channel else "kernel_initializer"
    options |= {kernel: normal(spread), **change(number, spread)}
    behind = options.pop("behind", None)
    x = kind(**options)(x)
    return Through(behind)(x) if behind else x


def head(x: Any, change: Change) -> Any:
    return apply(layers.Dense, x, HEAD, int(x.shape[-1]), change, units=CLASSES, dtype="float32")


def dense(change: Change = unchanged, depth: int = 8, activation: Any = "relu") -> Any:
    inputs = x = keras.Input((64,))
    for number in range(depth):
        x = apply(layers.Dense, x, number, 64, change, units=WIDTH, activation=activation)
    return keras.Model(inputs, head(x, change))


def convolutional(
    change: Change = unchanged, depth: int = 5, activation: Any = "relu", kind: Any = layers.Conv2D
) -> Any:
    """Convolutions: one of the usual kind, then some of a kind of its own."""
    inputs = keras.Input((8, 8, 1))
    options = {"kernel_size": 3, "padding": "same", "activation": activation}
    x = apply(layers.Conv2D, inputs, 0, 9, change, filters=8, **options)
    for number in range(1, depth):
        fan_in = 9 if kind is layers.DepthwiseConv2D else 9 * 8
        own = {} if kind is layers.DepthwiseConv2D else {"filters": 8}
        x = apply(kind, x, number, fan_in, change, **own, **options)
    return keras.Model(inputs, head(layers.Flatten()(x), change))


def upsampling(change: Change = unchanged) -> Any:
    """Transposed convolutions, each of which doubles the side of the image: a stride of 2 leaves 4 of 16 weights."""
    inputs = keras.Input((8, 8, 1))
    options = {"kernel_size": 4, "padding": "same", "activation": "relu"}
    x = apply(layers.Conv2D, inputs, 0, 16, change, filters=16, strides=4, **options)
    for number, filters in enumerate((16, 8), start=1):
        fan_in = 4 * int(x.shape[-1])
        x = apply(layers.Conv2DTranspose, x, number, fan_in, change, filters=filters, strides=2, **options)
    return keras.Model(inputs, head(layers.Flatten()(x), change))


def over_rows(change: Change = unchanged, kind: Any = layers.DepthwiseConv1D) -> Any:
    """Convolutions over the rows of the image: a usual one, then three by channel or in eight groups."""
    inputs = keras.Input((8, 8))
    options = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    x = apply(layers.Conv1D, inputs, 0, 3 * 8, change, filters=32, **options)
    by_channel = kind is layers.DepthwiseConv1D
    for number in range(1, 4):
        own = {} if by_channel else {"filters": 32, "groups": 8}
        x = apply(kind, x, number, 3 if by_channel else 3 * 4, change, **own, **options)
    return keras.Model(inputs, head(layers.Flatten()(x), change))


def towers(change: Change = unchanged, depth: int = 5, activation: Any = "relu") -> Any:
    """A tower of dense layers for each half of the image."""
    inputs, ends = [], []
    for tower in range(2):
        x = keras.Input((32,))
        inputs.append(x)
        for number in range(depth):
            x = apply(layers.Dense, x, 10 * tower + number, 32, change, units=32, activation=activation)
        ends.append(x)
    return keras.Model(inputs, head(layers.Concatenate()(ends), change))


def ensemble(change: Change = unchanged, members: int = 4) -> Any:
    """The mean of the logits of four small networks."""
    inputs = keras.Input((64,))
    outputs = []
    for member in range(members):
        x = apply(layers.Dense, inputs, 10 * member, 64, change, units=16, activation="relu")
        x = apply(layers.Dense, x, 10 * member + 1, 16, change, units=16, activation="relu")
        outputs.append(apply(layers.Dense, x, 10 * member + 2, 16, change, units=CLASSES))
    return keras.Model(inputs, layers.Average()(outputs))


def residual(change: Change = unchanged, before: bool = True, blocks: int = 3) -> Any:
    """A stem (number 0), and branches of two dense layers (1 and 2, 3 and 4, ...) beside a skip connection."""
    inputs = keras.Input((64,))
    x = apply(layers.Dense, inputs, 0, 64, change, units=WIDTH)
    for block in range(blocks):
        branch = layers.LayerNormalization()(x) if before else x
        branch = apply(layers.Dense, branch, 2 * block + 1, WIDTH, change, units=WIDTH, activation="relu")
        branch = apply(layers.Dense, branch, 2 * block + 2, WIDTH, change, units=WIDTH)
        x = layers.Add()([x, branch])
        x = x if before else layers.LayerNormalization()(x)
    return keras.Model(inputs, head(layers.LayerNormalization()(x) if before else x, change))


class Attention(layers.Layer):
    """Attention of one head, written by hand."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor
        self.query, self.key, self.value = (layers.Dense(WIDTH, kernel_initializer="lecun_normal") for _ in range(3))

    def call(self, x):
        scores = self.factor * ops.matmul(self.query(x), ops.swapaxes(self.key(x), 1, 2))
        return ops.matmul(ops.softmax(scores), self.value(x))


def attention(factor: float = WIDTH**-0.5) -> Any:
    """Attention over the rows of the image, with a skip connection around it."""
    inputs = keras.Input((8, 8))
    x = layers.Dense(WIDTH, kernel_initializer="lecun_normal")(inputs)
    x = layers.LayerNormalization()(x)
    x = layers.Add()([x, Attention(factor)(x)])
    return keras.Model(inputs, head(layers.Flatten()(x), unchanged))


class Positions(layers.Layer):
    """Adds a table of positions."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=normal(0.1), name="table")

    def call(self, x):
        return x + self.table


def transformer(change: Change = unchanged, kernels: Callable[[], Any] | None = None, blocks: int = 2) -> Any:
    """A transformer over the rows of the image; its dense layers are numbered as those of :func:`residual`."""
    inputs = keras.Input((8, 8))
    x = Positions()(apply(layers.Dense, inputs, 0, 8, change, units=32))
    for block in range(blocks):
        normed = layers.LayerNormalization()(x)
        made = {"kernel_initializer": kernels()} if kernels else {}
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8, **made)(normed, normed)])
        branch = layers.LayerNormalization()(x)
        branch = apply(layers.Dense, branch, 2 * block + 1, 32, change, units=64, activation="relu")
        x = layers.Add()([x, apply(layers.Dense, branch, 2 * block + 2, 64, change, units=32)])
    return keras.Model(inputs, head(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x)), change))


def router(change: Change = unchanged, experts: int = 4) -> Any:
    """A mixture of experts: a softmax (number 1) weighs what four dense layers make of the same input."""
    inputs = keras.Input((64,))
    x = apply(layers.Dense, inputs, 0, 64, change, units=WIDTH, activation="relu")
    weights = apply(layers.Dense, x, 1, WIDTH, change, units=experts)
    weights = layers.Reshape((experts, 1))(layers.Softmax()(weights))
    made = [apply(layers.Dense, x, 2 + each, WIDTH, change, units=32, activation="relu") for each in range(experts)]
    stacked = layers.Reshape((experts, 32))(layers.Concatenate()(made))
    mixed = Through(lambda x: ops.sum(x, axis=1))(layers.Multiply()([stacked, weights]))
    return keras.Model(inputs, head(mixed, change))


def recurrent(kind: Any = layers.SimpleRNN, bidirectional: bool = False, **options: Any) -> Any:
    """A layer that reads the image row by row, and its last output; unrolled, which trains faster."""
    inputs = keras.Input((8, 8))
    given = {
        key: value() if key.endswith("initializer") and callable(value) else value for key, value in options.items()
    }
    made = kind(32, unroll=True, **given)
    x = (layers.Bidirectional(made) if bidirectional else made)(inputs)
    return keras.Model(inputs, head(x, unchanged))


def words(spread: float = 0.3, kind: str = "pool") -> Any:
    """A table with an entry for each place and brightness; pooled, read by convolutions, or by residual branches."""
    inputs = keras.Input((64,), dtype="int32")
    x = layers.Embedding(17 * 64, 32, embeddings_initializer=normal(spread))(inputs)
    if kind == "convolutions":
        x = layers.Conv1D(32, 8, strides=8, activation="relu", kernel_initializer="he_normal")(x)
        return keras.Model(inputs, head(layers.Flatten()(x), unchanged))
    if kind == "residual":
        branch = layers.Dense(64, activation="relu", kernel_initializer="he_normal")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(32, kernel_initializer="lecun_normal")(branch)])
    return keras.Model(inputs, head(layers.GlobalAveragePooling1D()(x), unchanged))


def in_half(make: Callable[[], Any]) -> Any:
    """Make a model whose layers compute in float16, as a program with that policy does."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


# --- changes ----------------------------------------------------------------------------------------------------------


def times(factor: float, *only: int) -> Change:
    """Multiply kernels, all but the head's or only some."""

    def change(number: int, spread: float) -> Mapping[str, Any]:
        chosen = number in only if only else number != HEAD
        return {"kernel_initializer": normal(factor * spread)} if chosen else {}

    return change


def options_of(*only: int, **options: Callable[[], Any]) -> Change:
    """Give some layers other options, each made anew."""
    return lambda number, _: {key: make() for key, make in options.items()} if number in only else {}


def behind(operation: Callable[[Any], Any], *only: int) -> Change:
    return lambda number, _: {"behind": operation} if number in only else {}


def constant(value: float) -> Callable[[], Any]:
    return lambda: keras.initializers.Constant(value)


def zeros() -> str:
    return "zeros"


def draw_seed() -> int:
    """Draw a seed that several layers will share; it follows from the program's own."""
    return int(np.random.randint(2**31))


def one_seed(*groups: tuple[int, ...]) -> Change:
    """Draw the kernels of each group by one seed."""
    seeds = [draw_seed() for _ in groups]

    def change(number: int, spread: float) -> Mapping[str, Any]:
        for group, seed in zip(groups, seeds, strict=True):
            if number in group:
                return {"kernel_initializer": keras.initializers.RandomNormal(stddev=spread, seed=seed)}
        return {}

    return change


def sqrt_of_relu(x: Any) -> Any:
    return ops.sqrt(ops.relu(x))


def gate(place: int, value: float) -> Callable[[], Any]:
    """Make biases of which one gate has its own: the third or fourth part of the last axis at this place."""

    def biases(gates: int) -> Any:
        def draw(shape: tuple[int, ...], dtype: Any = None) -> Any:
            made = np.zeros(shape, "float32")
            width = shape[-1] // gates
            made[..., place * width : (place + 1) * width] = value
            return ops.convert_to_tensor(made, dtype)

        return draw

    return lambda: biases(3 if place == 0 else 4)


# --- what is trained --------------------------------------------------------------------------------------------------


NOTHING, EVERYTHING = "nothing", "everything"


@dataclass(frozen=True)
class Network:
    """A model, the form in which it reads the digits, and the first of the seeds that it is trained with."""

    form: str
    make: Callable[[], Any]
    first_seed: int = 0


@dataclass(frozen=True)
class Case:
    """A rule's defect in one architecture; ``sound`` is the name of the same model without it.

    Controls have the rule :data:`NOTHING`, where nothing is wrong, or :data:`EVERYTHING`, where nothing can be learned.
    """

    rule: str
    sound: str
    defect: str
    sick: Network

    @property
    def name(self) -> str:
        """The rule, the architecture and the defect."""
        return f"{self.rule} {self.sound}: {self.defect}"


SOUND: dict[str, Network] = {
    "dense": Network("vector", dense),
    "dense, tanh": Network("vector", lambda: dense(activation="tanh")),
    "convolutional": Network("image", convolutional),
    "convolutional, tanh": Network("image", lambda: convolutional(activation="tanh")),
    "depthwise": Network("image", lambda: convolutional(kind=layers.DepthwiseConv2D)),
    "transposed": Network("image", upsampling),
    "depthwise over rows": Network("rows", over_rows),
    "grouped over rows": Network("rows", lambda: over_rows(kind=layers.Conv1D)),
    "two towers": Network("halves", towers),
    "two towers, tanh": Network("halves", lambda: towers(activation="tanh")),
    "ensemble": Network("vector", ensemble),
    "residual": Network("vector", residual),
    "residual, post-norm": Network("vector", lambda: residual(before=False)),
    "attention": Network("rows", attention),
    "transformer": Network("rows", transformer),
    "router": Network("vector", router),
    "SimpleRNN": Network("rows", recurrent),
    "SimpleRNN, linear": Network("rows", lambda: recurrent(activation="linear")),
    "SimpleRNN, relu": Network("rows", lambda: recurrent(activation="relu")),
    "LSTM": Network("rows", lambda: recurrent(layers.LSTM)),
    "GRU": Network("rows", lambda: recurrent(layers.GRU)),
    "GRU, both directions": Network("rows", lambda: recurrent(layers.GRU, bidirectional=True)),
    "words": Network("words", words),
    "words, convolution": Network("words", lambda: words(kind="convolutions")),
    "words, residual": Network("words", lambda: words(kind="residual")),
    "dense, float16": Network("vector", lambda: in_half(dense)),
    "SimpleRNN, float16": Network("rows", lambda: in_half(recurrent)),
    "two towers, float16": Network("halves", lambda: in_half(towers)),
}

KERNEL = "kernel_initializer"
FIRST_BRANCHES, BRANCH_ENDS = (1, 3, 5), (2, 4, 6)


def list_cases() -> tuple[Case, ...]:
    """List the defects: at least three architectures a rule."""
    cases: list[Case] = []

    def plant(rule: str, sound: str, defect: str, make: Callable[[], Any], form: str = "") -> None:
        cases.append(Case(rule, sound, defect, Network(form or SOUND[sound].form, make)))

    plant("IC101", "dense", "all kernels × 0.4", lambda: dense(times(0.4)))
    plant("IC101", "convolutional", "all kernels × 0.3", lambda: convolutional(times(0.3)))
    plant("IC101", "two towers", "all kernels × 0.2", lambda: towers(times(0.2)))

    plant("IC102", "dense", "all kernels × 3", lambda: dense(times(3.0)))
    plant("IC102", "convolutional", "all kernels × 4", lambda: convolutional(times(4.0)))
    plant("IC102", "two towers", "all kernels × 4", lambda: towers(times(4.0)))

    biased = options_of(1, bias_initializer=constant(20.0))
    plant("IC103", "dense", "biases of 20 in layer 2", lambda: dense(biased))
    plant("IC103", "convolutional", "biases of 20 in layer 2", lambda: convolutional(biased))
    plant("IC103", "transposed", "biases of 20 in layer 2", lambda: upsampling(biased))

    plant("IC104", "dense", "pixels from 0 to 255", dense, "raw vector")
    plant("IC104", "convolutional", "pixels from 0 to 255", convolutional, "raw image")
    plant("IC104", "SimpleRNN", "pixels from 0 to 255", recurrent, "raw rows")

    plant("IC105", "words", "table × 400", lambda: words(120.0))
    plant("IC105", "words, convolution", "table × 100", lambda: words(30.0, "convolutions"))
    plant("IC105", "words, residual", "table × 400", lambda: words(120.0, "residual"))

    def outlying(large: int, small: int) -> Change:
        return lambda number, spread: {**times(12.0, large)(number, spread), **times(1 / 12, small)(number, spread)}

    plant("IC106", "dense", "layer 3 × 12, layer 6 × 1/12", lambda: dense(outlying(2, 5)))
    plant("IC106", "convolutional", "layer 2 × 12, layer 4 × 1/12", lambda: convolutional(outlying(1, 3)))
    plant("IC106", "two towers", "layer 2 × 12, layer 4 × 1/12 of one", lambda: towers(outlying(1, 3)))

    plant("IC107", "residual", "end of one branch × 30", lambda: residual(times(30.0, 4)))
    plant("IC107", "residual, post-norm", "end of one branch × 30", lambda: residual(times(30.0, 4), before=False))
    plant("IC107", "transformer", "end of one branch × 30", lambda: transformer(times(30.0, 2)))

    plant("IC201", "dense, tanh", "sigmoid", lambda: dense(activation="sigmoid"))
    plant("IC201", "convolutional, tanh", "sigmoid", lambda: convolutional(activation="sigmoid"))
    plant("IC201", "two towers, tanh", "sigmoid", lambda: towers(activation="sigmoid"))

    plant("IC202", "dense, tanh", "all kernels × 4", lambda: dense(times(4.0), activation="tanh"))
    plant("IC202", "convolutional, tanh", "all kernels × 12", lambda: convolutional(times(12.0), activation="tanh"))
    plant("IC202", "two towers, tanh", "all kernels × 6", lambda: towers(times(6.0), activation="tanh"))

    plant("IC203", "dense", "kernel of zeros in layer 4", lambda: dense(options_of(3, kernel_initializer=zeros)))
    plant(
        "IC203",
        "convolutional",
        "kernel of zeros in layer 3",
        lambda: convolutional(options_of(2, kernel_initializer=zeros)),
    )
    never = options_of(*FIRST_BRANCHES, *BRANCH_ENDS, kernel_initializer=zeros)
    plant("IC203", "residual", "both kernels of all branches zero", lambda: residual(never))

    plant(
        "IC204",
        "SimpleRNN",
        "recurrent kernel of 0.05",
        lambda: recurrent(recurrent_initializer=lambda: normal(0.05)),
    )
    plant(
        "IC204",
        "LSTM",
        "forget biases of -3",
        lambda: recurrent(layers.LSTM, unit_forget_bias=False, bias_initializer=gate(1, -3.0)),
    )
    plant("IC204", "GRU", "update biases of -3", lambda: recurrent(layers.GRU, bias_initializer=gate(0, -3.0)))

    plant(
        "IC205",
        "SimpleRNN, linear",
        "recurrent kernel of norm 3",
        lambda: recurrent(activation="linear", recurrent_initializer=lambda: keras.initializers.Orthogonal(3.0)),
    )
    plant(
        "IC205",
        "SimpleRNN, relu",
        "recurrent kernel of norm 4",
        lambda: recurrent(activation="relu", recurrent_initializer=lambda: keras.initializers.Orthogonal(4.0)),
    )
    plant(
        "IC205",
        "SimpleRNN",
        "recurrent kernel of norm 6",
        lambda: recurrent(recurrent_initializer=lambda: keras.initializers.Orthogonal(6.0)),
    )

    plant("IC301", "dense", "one seed for all layers", lambda: dense(one_seed(tuple(range(8)))))
    members = tuple(tuple(10 * member + place for member in range(4)) for place in range(3))
    plant("IC301", "ensemble", "one seed for all members", lambda: ensemble(one_seed(*members)))
    plant(
        "IC301",
        "GRU, both directions",
        "one seed for both directions",
        lambda: recurrent(layers.GRU, bidirectional=True, kernel_initializer=seeded_glorot),
    )
    plant("IC301", "transformer", "one seed for queries, keys, values", lambda: transformer(kernels=seeded_glorot))

    plant(
        "IC302",
        "dense",
        "kernel of one value in layer 4",
        lambda: dense(options_of(3, kernel_initializer=constant(0.02))),
    )
    plant(
        "IC302",
        "convolutional",
        "kernel of one value in layer 3",
        lambda: convolutional(options_of(2, kernel_initializer=constant(0.02))),
    )
    plant(
        "IC302",
        "residual",
        "kernels of one value in all branches",
        lambda: residual(options_of(*FIRST_BRANCHES, kernel_initializer=constant(0.1))),
    )

    plant("IC303", "dense", "biases of -4 in layer 4", lambda: dense(options_of(3, bias_initializer=constant(-4.0))))
    plant(
        "IC303",
        "convolutional",
        "biases of -4 in layer 3",
        lambda: convolutional(options_of(2, bias_initializer=constant(-4.0))),
    )
    plant(
        "IC303",
        "residual",
        "biases of -6 in all branches",
        lambda: residual(options_of(*FIRST_BRANCHES, bias_initializer=constant(-6.0))),
    )

    plant("IC304", "dense, tanh", "all kernels × 8", lambda: dense(times(8.0), activation="tanh"))
    plant("IC304", "convolutional, tanh", "all kernels × 8", lambda: convolutional(times(8.0), activation="tanh"))
    plant("IC304", "SimpleRNN", "kernel × 8", lambda: recurrent(kernel_initializer=lambda: normal(8 / math.sqrt(20))))

    plant("IC305", "attention", "scores not scaled", lambda: attention(2.0))
    plant("IC305", "transformer", "kernels of attention × 5", lambda: transformer(kernels=lambda: normal(5 / 32**0.5)))
    plant("IC305", "router", "kernel of the router × 30", lambda: router(times(30.0, 1)))

    wrong = options_of(1, 2, 3, 4, depthwise_initializer=keras.initializers.HeNormal)
    plant("IC401", "depthwise", "HeNormal", lambda: convolutional(wrong, kind=layers.DepthwiseConv2D))
    plant("IC401", "depthwise over rows", "HeNormal", lambda: over_rows(wrong))
    wide = options_of(1, 2, 3, kernel_initializer=scaled_by_fan_out)
    plant("IC401", "grouped over rows", "VarianceScaling(2, fan_out)", lambda: over_rows(wide, kind=layers.Conv1D))

    plant("IC501", "dense", "all kernels × 1e6", lambda: dense(times(1e6)))
    plant("IC501", "convolutional", "all kernels × 1e9", lambda: convolutional(times(1e9)))
    plant("IC501", "two towers", "all kernels × 1e9", lambda: towers(times(1e9)))

    plant("IC502", "dense, float16", "all kernels × 0.1", lambda: in_half(lambda: dense(times(0.1))))
    plant(
        "IC502",
        "SimpleRNN, float16",
        "kernel of 1e-7",
        lambda: in_half(lambda: recurrent(kernel_initializer=lambda: normal(1e-7))),
    )
    plant("IC502", "two towers, float16", "all kernels × 0.05", lambda: in_half(lambda: towers(times(0.05))))

    plant("IC503", "dense", "root of a ReLU in layer 4", lambda: dense(behind(sqrt_of_relu, 3)))
    plant("IC503", "convolutional", "root of a ReLU in layer 3", lambda: convolutional(behind(sqrt_of_relu, 2)))
    plant("IC503", "residual", "root of a ReLU in a branch", lambda: residual(behind(sqrt_of_relu, 3)))

    plant("IC602", "dense", "stop_gradient behind layer 6", lambda: dense(behind(ops.stop_gradient, 5)))
    plant("IC602", "convolutional", "stop_gradient behind layer 4", lambda: convolutional(behind(ops.stop_gradient, 3)))
    plant("IC602", "residual", "stop_gradient behind one branch", lambda: residual(behind(ops.stop_gradient, 4)))

    for sound in ("dense", "convolutional", "residual"):
        network = SOUND[sound]
        cases.append(Case(NOTHING, sound, "other seeds", Network(network.form, network.make, first_seed=1000)))
    plant(EVERYTHING, "dense", "every kernel zero", lambda: dense(lambda *_: {KERNEL: "zeros"}))
    plant(EVERYTHING, "convolutional", "every kernel zero", lambda: convolutional(lambda *_: {KERNEL: "zeros"}))
    plant(EVERYTHING, "residual", "every kernel zero", lambda: residual(lambda *_: {KERNEL: "zeros"}))
    return tuple(cases)


def seeded_glorot() -> Any:
    return keras.initializers.GlorotUniform(seed=draw_seed())


def scaled_by_fan_out() -> Any:
    return keras.initializers.VarianceScaling(2.0, "fan_out")


CASES = list_cases()
