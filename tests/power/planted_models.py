"""Random architectures that are sound by construction, and defects to plant into them.

One draw is of random depth, widths, activations and names. Each kernel has the variance that its true fan and its
activation need, and networks without skips are not deep. A defect is planted at a random layer where it is one: a small
kernel right in front of a normalization, for instance, changes nothing, and a branch of a residual network may end near
zero. What is right to say of each defect (which layers, which causes) stands with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from initcheck.backend.runtime import import_keras

keras = import_keras()
layers, ops = keras.layers, keras.ops


# --- what an architecture is made of ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """One layer with weights.

    Attributes:
        shape: of its kernel; layers of one class and one shape can be copies of each other.
        tags: where it is: ``hidden`` (its size reaches the output), ``free`` (a normalization follows), ``branch end``
            (a residual sum follows), ``stem`` (the stream of a residual network begins), ``head``, ``first`` (it reads
            the inputs), ``chain`` (all paths pass it), ``last step`` (only its last step is passed on).
    """

    number: int
    kind: str
    fan_in: int
    shape: tuple[int, ...]
    activation: str
    tags: frozenset[str]
    name: str = ""


Change = Callable[[Site, dict[str, Any]], None]


@dataclass(frozen=True)
class Plan:
    """A defect at its place.

    Attributes:
        changes: what becomes of the options of some layers, by the number of the site.
        inserted: layers without weights that follow some sites.
        right: the numbers of the sites that are right to name; ``inserted`` are always right.
        in_front: whether the normalizations in front of these sites are right to name as well.
        inputs: what the samples are multiplied by.
    """

    changes: dict[int, Change] = field(default_factory=dict)
    inserted: dict[int, Callable[[], Any]] = field(default_factory=dict)
    right: frozenset[int] = frozenset()
    in_front: bool = False
    inputs: float = 1.0


class Through(layers.Layer):
    """An operation as a layer of its own."""

    def __init__(self, operation, **options):
        super().__init__(**options)
        self.operation = operation

    def call(self, x):
        return self.operation(x)


class Stack(keras.Model):
    """A subclassed model that calls its parts one after the other."""

    def __init__(self, parts, **options):
        super().__init__(**options)
        self.parts = parts

    def call(self, x):
        return apply(self.parts, x)


class Residual(layers.Layer):
    """A residual block as a layer of its own; the normalization stands before the branch or behind the sum."""

    def __init__(self, branch, normalization, before, **options):
        super().__init__(**options)
        self.branch, self.normalization, self.before = branch, normalization, before

    def call(self, x):
        return residual(x, self.branch, self.normalization, self.before)


class SelfAttention(layers.Layer):
    """Attention of one head, written by hand."""

    def __init__(self, units, keys, scaled=True, **options):
        super().__init__(**options)
        self.factor = keys**-0.5 if scaled else 1.0
        self.query, self.key = (layers.Dense(keys, kernel_initializer="lecun_normal") for _ in range(2))
        self.value, self.out = layers.Dense(keys), layers.Dense(units)

    def call(self, x):
        scores = self.factor * ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        return self.out(ops.matmul(ops.softmax(scores), self.value(x)))


def apply(parts, x):
    for part in parts:
        x = part(x)
    return x


def residual(x, branch, normalization, before):
    if before:
        return x + apply(branch, normalization(x))
    return normalization(x + apply(branch, x))


CLASSES = {
    "dense": layers.Dense,
    "conv": layers.Conv2D,
    "grouped": layers.Conv2D,
    "conv1d": layers.Conv1D,
    "depthwise": layers.DepthwiseConv2D,
    "embedding": layers.Embedding,
    "rnn": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
    "attention": SelfAttention,
    "mha": layers.MultiHeadAttention,
}
WITH_KERNEL = ("dense", "conv", "grouped", "conv1d")
INITIALIZERS = {
    "relu": ("he_normal", "he_uniform"),
    "leaky_relu": ("he_normal", "he_uniform"),
    "gelu": ("he_normal", "he_uniform"),
    "silu": ("he_normal",),
    "elu": ("he_normal", "he_uniform"),
    "selu": ("lecun_normal",),
    "tanh": ("lecun_normal", "lecun_uniform"),
    "linear": ("lecun_normal", "lecun_uniform"),
}
HIDDEN = tuple(INITIALIZERS)[:-1]
WORDS = ("encoder", "mixer", "proj", "stage", "reader", "squash", "body", "lift", "fold", "north", "tower_a", "score")


class Builder:
    """Makes the layers of one architecture, counts its sites and plants what is planned."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.random = np.random.default_rng(seed)
        self.plan = plan
        self.sites: list[Site] = []
        self.named: set[str] = set()
        self.inserted: list[str] = []
        self.normalizations: list[tuple[int, str]] = []  # the number of sites in front of each, and its name
        self.naming = self.pick("default", "words", "misleading")

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def between(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def name(self) -> str | None:
        """Make a name: Keras' own, one that an author gives, or one that Keras would give to another layer."""
        if self.naming == "default":
            return None
        stem = "dense_" if self.naming == "misleading" else self.pick(*WORDS)
        name = f"{stem}{self.between(0, 99)}"
        return name if name not in self.named and not self.named.add(name) else self.name()

    def make(self, kind: str, fan_in: int, shape: tuple[int, ...], *tags: str, **options: Any) -> list[Any]:
        """Make a layer, and what is planted behind it."""
        activation = options.get("activation", "linear")
        site = Site(len(self.sites), kind, fan_in, shape, activation, frozenset(tags))
        if kind in WITH_KERNEL:
            options["kernel_initializer"] = self.pick(*INITIALIZERS[activation])
        options["name"] = self.name()
        self.plan.changes.get(site.number, lambda *_: None)(site, options)
        made = [CLASSES[kind](**options)]
        self.sites.append(replace(site, name=made[0].name))
        if site.number in self.plan.inserted:
            made.append(self.plan.inserted[site.number]())
            self.inserted.append(made[-1].name)
        return made

    def dense(self, fan_in: int, units: int, activation: str, *tags: str) -> list[Any]:
        return self.make("dense", fan_in, (fan_in, units), *tags, units=units, activation=activation)

    def head(self, fan_in: int) -> list[Any]:
        return self.dense(fan_in, self.between(2, 10), "linear", "head")

    def chain(self, fan_in: int, depth: int, *tags: str) -> tuple[list[Any], int]:
        """Make some dense layers with the activations between them; return them and the last width."""
        activation, width = self.pick(*HIDDEN), self.pick(16, 24, 32, 48, 64)
        mixed = self.pick(True, False, False)
        parts: list[Any] = []
        for place in range(depth):
            units = self.pick(16, 32, 64) if mixed else width
            own = ("first",) if place == 0 and "first" in tags else ()
            parts += self.dense(fan_in, units, activation, "hidden", *own, *(tag for tag in tags if tag != "first"))
            if self.pick(True, *4 * (False,)):
                parts.append(layers.Dropout(0.1))
            fan_in = units
        return parts, fan_in

    def normalization(self, *kinds: str) -> Any:
        made = getattr(layers, self.pick(*(kinds or ("LayerNormalization", "BatchNormalization"))))(name=self.name())
        self.normalizations.append((len(self.sites), made.name))
        return made

    def list_right(self) -> list[str]:
        """Name the layers that are right to name for what is planted."""
        last = max(self.plan.right, default=-1)
        before = [name for sites, name in self.normalizations if self.plan.in_front and sites <= last]
        return [*(self.sites[number].name for number in sorted(self.plan.right)), *before, *self.inserted]


# --- architectures ----------------------------------------------------------------------------------------------------


def plain(b: Builder) -> Any:
    size = b.between(8, 40)
    parts, width = b.chain(size, b.between(2, 8), "first", "chain")
    parts += b.head(width)
    if b.pick(True, False):
        return keras.Sequential([keras.Input((size,)), *parts])
    inputs = keras.Input((size,))
    return keras.Model(inputs, apply(parts, inputs))


def normalized(b: Builder) -> Any:
    """Dense, normalization, activation: few layers, for many without skips are not sound."""
    size, width = b.between(8, 40), b.pick(16, 32, 64)
    inputs = hidden = keras.Input((size,))
    activation, kind = b.pick("relu", "tanh", "gelu"), b.pick("LayerNormalization", "BatchNormalization")
    for place in range(b.between(2, 4)):
        parts = b.dense(width if place else size, width, "linear", "free", "chain")
        hidden = layers.Activation(activation)(b.normalization(kind)(apply(parts, hidden)))
    return keras.Model(inputs, apply(b.head(width), hidden))


def convolutional(b: Builder) -> Any:
    """Convolutions with ReLU, some in groups or by channel, without normalization."""
    activation, channels = b.pick("relu", "leaky_relu", "gelu"), b.pick(16, 32)
    inputs = keras.Input((8, 8, 3))
    options = {"kernel_size": 3, "padding": "same", "activation": activation}
    parts = b.make("conv", 27, (3, 3, 3, channels), "hidden", "first", "chain", filters=channels, **options)
    for _ in range(b.between(1, 4)):
        kind = b.pick("conv", "grouped", "depthwise")
        if kind == "depthwise":
            right = keras.initializers.RandomNormal(stddev=math.sqrt(2 / 9))
            parts += b.make(kind, 9, (channels,), "hidden", "chain", depthwise_initializer=right, **options)
        else:
            groups = 8 if kind == "grouped" else 1
            shape = (3, 3, channels // groups, channels)
            parts += b.make(
                kind, math.prod(shape[:3]), shape, "hidden", "chain", filters=channels, groups=groups, **options
            )
    parts.append(b.pick(layers.MaxPooling2D, layers.AveragePooling2D)(2))
    flat = b.pick(True, False)
    parts.append(layers.Flatten() if flat else layers.GlobalAveragePooling2D())
    return keras.Model(inputs, apply([*parts, *b.head(channels * (16 if flat else 1))], inputs))


def convolutional_residual(b: Builder) -> Any:
    """Blocks of two convolutions with BatchNormalization, as in a ResNet."""
    channels = b.pick(8, 16)
    inputs = keras.Input((8, 8, 3))

    def convolve(x: Any, size: int, *tags: str) -> Any:
        made = b.make("conv", 9 * size, (3, 3, size, channels), *tags, filters=channels, kernel_size=3, padding="same")
        return b.normalization("BatchNormalization")(apply(made, x))

    hidden = layers.ReLU()(convolve(inputs, 3, "free", "chain"))
    for _ in range(b.between(1, 3)):
        branch = layers.ReLU()(convolve(hidden, channels, "free"))
        hidden = layers.ReLU()(layers.Add()([hidden, convolve(branch, channels, "free")]))
    return keras.Model(inputs, apply(b.head(channels), layers.GlobalAveragePooling2D()(hidden)))


def residual_network(b: Builder, before: bool) -> Any:
    size, width = b.between(8, 40), b.pick(16, 32, 48)
    inputs = keras.Input((size,))
    hidden = apply(b.dense(size, width, "linear", "stem"), inputs)
    for _ in range(b.between(2, 5)):
        activation, inner = b.pick("relu", "gelu", "tanh"), b.pick(32, 64)
        branch = b.dense(width, inner, activation, "hidden", "branch")
        branch += b.dense(inner, width, "linear", "branch end")
        normalization = b.normalization("LayerNormalization")
        if b.pick(True, False):
            hidden = Residual(branch, normalization, before, name=b.name())(hidden)
        else:
            hidden = residual(hidden, branch, normalization, before)
    if before:
        hidden = b.normalization("LayerNormalization")(hidden)
    return keras.Model(inputs, apply(b.head(width), hidden))


def residual_before(b: Builder) -> Any:
    """A residual network with the normalizations before its branches."""
    return residual_network(b, before=True)


def residual_behind(b: Builder) -> Any:
    """A residual network with the normalizations behind its sums."""
    return residual_network(b, before=False)


def towers(b: Builder) -> Any:
    inputs, ends, widths = [], [], []
    for _ in range(b.between(2, 3)):
        size = b.between(8, 32)
        inputs.append(keras.Input((size,)))
        parts, width = b.chain(size, b.between(1, 4), "first")
        ends.append(apply(parts, inputs[-1]))
        widths.append(width)
    parts, width = b.chain(sum(widths), b.between(1, 2))
    return keras.Model(inputs, apply([*parts, *b.head(width)], layers.Concatenate()(ends)))


def heads(b: Builder) -> Any:
    size = b.between(8, 40)
    inputs = keras.Input((size,))
    parts, trunk = b.chain(size, b.between(1, 3), "first", "chain")
    hidden = apply(parts, inputs)
    outputs = []
    for _ in range(b.between(2, 3)):
        parts, width = b.chain(trunk, b.between(1, 3))
        outputs.append(apply([*parts, *b.head(width)], hidden))
    return keras.Model(inputs, outputs)


def recurrent(b: Builder) -> Any:
    features, count = b.between(4, 12), b.between(1, 2)
    inputs = hidden = keras.Input((b.between(8, 12), features))
    for place in range(count):
        kind, units, last = b.pick("rnn", "lstm", "gru"), b.pick(16, 24, 32), place == count - 1
        tags = ("hidden", "chain", *(("last step",) if last else ()), *(() if place else ("first",)))
        made = b.make(kind, features, (features, units), *tags, units=units, return_sequences=not last)
        hidden, features = apply(made, hidden), units
    parts, width = b.chain(features, b.between(1, 2), "chain")
    return keras.Model(inputs, apply([*parts, *b.head(width)], hidden))


def table(b: Builder, width: int, *tags: str) -> list[Any]:
    spread = 1.0 if "hidden" in tags else b.pick(0.05, 0.3, 1.0)
    options = {"input_dim": 100, "output_dim": width, "embeddings_initializer": normal(spread)}
    return b.make("embedding", 1, (100, width), *tags, **options)


def text(b: Builder) -> Any:
    """A table, a convolution or a pooling over the words, dense layers."""
    width = b.pick(16, 32)
    inputs = keras.Input((10,), dtype="int32")
    parts = table(b, width, "hidden", "chain")
    if b.pick(True, False):
        options = {"filters": 32, "kernel_size": 3, "activation": "relu"}
        parts += b.make("conv1d", 3 * width, (3, width, 32), "hidden", "chain", **options)
        width = 32
    parts.append(b.pick(layers.GlobalMaxPooling1D, layers.Flatten)())
    hidden = apply(parts, inputs)
    more, last = b.chain(int(hidden.shape[-1]), b.between(1, 3), "chain")
    return keras.Model(inputs, apply([*more, *b.head(last)], hidden))


def transformer(b: Builder) -> Any:
    width = b.pick(16, 32)
    inputs = keras.Input((8,), dtype="int32")
    hidden = apply(table(b, width, "stem"), inputs)
    for _ in range(b.between(1, 2)):
        if b.pick(True, False):
            attention = b.make("attention", width, (width, 256), "branch", units=width, keys=256)
            normal = b.normalization("LayerNormalization")(hidden)
            hidden = layers.Add()([hidden, apply(attention, normal)])
        else:
            attention = b.make("mha", width, (width, 8), "branch", num_heads=2, key_dim=8)
            normal = b.normalization("LayerNormalization")(hidden)
            hidden = layers.Add()([hidden, apply(attention[1:], attention[0](normal, normal))])
        branch = b.dense(width, 2 * width, b.pick("relu", "gelu"), "hidden", "branch")
        branch += b.dense(2 * width, width, "linear", "branch end")
        hidden = residual(hidden, branch, b.normalization("LayerNormalization"), before=True)
    hidden = layers.GlobalAveragePooling1D()(b.normalization("LayerNormalization")(hidden))
    return keras.Model(inputs, apply(b.head(width), hidden))


def nested(b: Builder) -> Any:
    """Models inside a model, one of them inside another."""
    size = b.between(8, 40)
    inputs = hidden = keras.Input((size,))
    for place in range(b.between(1, 2)):
        parts, width = b.chain(size, b.between(1, 3), *(() if place else ("first",)), "chain")
        inner = keras.Sequential([keras.Input((size,)), *parts], name=b.name())
        more, size = b.chain(width, b.between(1, 2), "chain")
        hidden = keras.Sequential([inner, *more], name=b.name())(hidden)
    return keras.Model(inputs, apply(b.head(size), hidden))


def subclassed(b: Builder) -> Any:
    size = b.between(8, 40)
    parts, width = b.chain(size, b.between(2, 5), "first", "chain")
    if b.pick(True, False):
        cut = len(parts) // 2
        parts = [Stack(parts[:cut], name=b.name()), *parts[cut:]]
    model = Stack([*parts, *b.head(width)])
    model(np.zeros((1, size), "float32"))
    return model


ARCHITECTURES: dict[str, Callable[[Builder], Any]] = {
    each.__name__.replace("_", " "): each
    for each in (
        plain,
        normalized,
        convolutional,
        convolutional_residual,
        residual_before,
        residual_behind,
        towers,
        heads,
        recurrent,
        text,
        transformer,
        nested,
        subclassed,
    )
}


# --- defects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Defect:
    """One kind of defect.

    Attributes:
        causes: the kinds of cause that are right to name; empty where none is expected.
        plant: from a sound architecture to the plan of the defect; None where the architecture has no place for it.
        within: the architectures that may have a place for it.
    """

    causes: frozenset[str]
    plant: Callable[[Builder, np.random.Generator], Plan | None]
    within: tuple[str, ...]


DEFECTS: dict[str, Defect] = {}


def defect(name: str, *causes: str, within: Sequence[str] = tuple(ARCHITECTURES)) -> Callable[..., Any]:
    def register(plant: Callable[[Builder, np.random.Generator], Plan | None]) -> Any:
        DEFECTS[name] = Defect(frozenset(causes), plant, tuple(within))
        return plant

    return register


def one_site(
    b: Builder, random: np.random.Generator, fits: Callable[[Site], bool], change: Change | None, insert: Any = None
) -> Plan | None:
    """Plan a change at one random site among those that fit."""
    found = [site for site in b.sites if fits(site)]
    if not found:
        return None
    number = found[int(random.integers(len(found)))].number
    return Plan({number: change} if change else {}, {number: insert} if insert else {}, frozenset({number}))


def tags_of(*tags: str, kinds: Sequence[str] = WITH_KERNEL) -> Callable[[Site], bool]:
    return lambda site: site.kind in kinds and site.tags >= set(tags)


def kernel_times(factor: float) -> Change:
    """Draw a kernel that is some times too large for its fan and its activation."""

    def change(site: Site, options: dict[str, Any]) -> None:
        gain = 1.0 if site.activation in ("tanh", "selu", "linear") else 2.0
        spread = factor * math.sqrt(gain / site.fan_in)
        options["kernel_initializer"] = keras.initializers.RandomNormal(stddev=spread)

    return change


def options_of(**changed: Any) -> Change:
    return lambda _, options: options.update(changed)


def normal(spread: float) -> Any:
    return keras.initializers.RandomNormal(stddev=spread)


@defect("kernel 1,000 times too small", "spread")
def _(b, random):
    return one_site(b, random, tags_of("hidden"), kernel_times(1e-3))


@defect("kernel 30 times too large", "spread")
def _(b, random):
    return one_site(b, random, lambda s: tags_of("hidden")(s) and s.activation != "tanh", kernel_times(30.0))


@defect("kernel that saturates tanh", "spread", "activation", "saturation")
def _(b, random):
    return one_site(b, random, lambda s: tags_of("hidden")(s) and s.activation == "tanh", kernel_times(30.0))


@defect("all kernels 5 times too small", "spread", within=("plain", "nested", "subclassed"))
def _(b, random):
    found = {site.number for site in b.sites if tags_of("hidden", "chain")(site)}
    return Plan(dict.fromkeys(found, kernel_times(0.2)), {}, frozenset(found)) if len(found) >= 5 else None


@defect("head 100 times too large", "spread")
def _(b, random):
    return one_site(b, random, tags_of("head"), kernel_times(100.0))


@defect("bias of -8 before a ReLU", "bias", "activation")
def _(b, random):
    change = options_of(bias_initializer=keras.initializers.Constant(-8.0))
    return one_site(b, random, lambda s: tags_of("hidden")(s) and s.activation == "relu", change)


@defect("kernel of zeros before a ReLU", "constant")
def _(b, random):
    change = options_of(kernel_initializer="zeros")
    return one_site(b, random, lambda s: tags_of("hidden")(s) and s.activation == "relu", change)


@defect("kernel of one value", "constant")
def _(b, random):
    kernel = ("ones", keras.initializers.Constant(0.1))[int(random.integers(2))]
    return one_site(b, random, tags_of("hidden"), options_of(kernel_initializer=kernel))


@defect("one seed for two layers", "copied")
def _(b, random):
    pairs = [
        (one, other)
        for one in b.sites
        for other in b.sites[: one.number]
        if one.kind in WITH_KERNEL and (one.kind, one.shape) == (other.kind, other.shape)
    ]
    if not pairs:
        return None
    chosen, shared = pairs[int(random.integers(len(pairs)))], bool(random.integers(2))
    seed, gain = int(random.integers(1000)), 2.0 if chosen[0].activation == "relu" else 1.0
    instance = keras.initializers.VarianceScaling(gain, seed=seed)

    def change(_: Site, options: dict[str, Any]) -> None:
        options["kernel_initializer"] = instance if shared else keras.initializers.VarianceScaling(gain, seed=seed)

    numbers = frozenset(site.number for site in chosen)
    return Plan(dict.fromkeys(numbers, change), {}, numbers)


@defect("inputs from 0 to 255", "inputs")
def _(b, random):
    first = frozenset(site.number for site in b.sites if "first" in site.tags)
    return Plan(right=first, inputs=255.0) if first and not b.normalizations else None


@defect("fans counted wrongly", "fan", "spread", within=["convolutional"])
def _(b, random):
    # In all layers where it can be: a single one of eight groups loses less than a path may.
    def change(site: Site, options: dict[str, Any]) -> None:
        if site.kind == "grouped":
            options["kernel_initializer"] = keras.initializers.VarianceScaling(2.0, "fan_out")
        else:
            options["depthwise_initializer"] = "he_normal"

    found = [site for site in b.sites if tags_of("hidden", kinds=("grouped", "depthwise"))(site)]
    lost = math.prod(8 if site.kind == "grouped" else site.shape[0] for site in found)
    numbers = frozenset(site.number for site in found)
    return Plan(dict.fromkeys(numbers, change), {}, numbers) if lost > 250 else None


@defect("attention without its scale", "attention", within=["transformer"])
def _(b, random):
    return one_site(b, random, tags_of(kinds=("attention",)), options_of(scaled=False))


@defect("kernels of attention too large", "attention", "spread", within=["transformer"])
def _(b, random):
    return one_site(b, random, tags_of(kinds=("mha",)), kernel_times(30.0))


@defect("recurrent kernel too small", "time", "spread", within=["recurrent"])
def _(b, random):
    change = options_of(recurrent_initializer=normal(1e-3))
    return one_site(b, random, tags_of("last step", kinds=("rnn",)), change)


@defect("recurrent kernel too large", "time", "spread", "activation", "saturation", within=["recurrent"])
def _(b, random):
    change = options_of(recurrent_initializer=normal(3.0))
    return one_site(b, random, tags_of("hidden", kinds=("rnn", "lstm", "gru")), change)


@defect("table of embeddings too large", "embedding", "spread", within=["text"])
def _(b, random):
    return one_site(b, random, tags_of("hidden", kinds=("embedding",)), options_of(embeddings_initializer=normal(30.0)))


@defect("a layer that passes no gradient", "gradient")
def _(b, random):
    operation = (ops.stop_gradient, ops.sign, ops.round)[int(random.integers(3))]
    plan = one_site(b, random, tags_of("chain", kinds=(*WITH_KERNEL, "depthwise")), None, lambda: Through(operation))
    return plan and replace(plan, right=frozenset(range(max(plan.right) + 1)), in_front=True)


@defect("softmax over one unit", "activation", "constant softmax")
def _(b, random):
    return one_site(b, random, tags_of("head"), options_of(units=1, activation="softmax"))


RESIDUAL = ("residual before", "residual behind", "transformer")


@defect("residual branch 30 times too large", "residual", "spread", within=RESIDUAL)
def _(b, random):
    return one_site(b, random, tags_of("branch end"), kernel_times(30.0))


@defect("normalization starved by its epsilon", "normalization", "spread", within=["normalized"])
def _(b, random):
    return one_site(b, random, tags_of("free", "chain", kinds=("dense",)), kernel_times(1e-5))


@defect("NaN on the way forward")
def _(b, random):
    plan = one_site(b, random, tags_of("hidden"), None, lambda: Through(ops.log))
    return plan and replace(plan, right=frozenset())


@defect("NaN on the way back")
def _(b, random):
    return one_site(b, random, tags_of("hidden"), None, lambda: Through(lambda x: ops.sqrt(ops.relu(x))))


def build(name: str, seed: int, plan: Plan = Plan()) -> tuple[Any, Builder]:
    """Build one architecture; the same seed gives the same one, whatever is planted."""
    keras.utils.clear_session(free_memory=False)
    builder = Builder(seed, plan)
    return ARCHITECTURES[name](builder), builder


def find_place(kind: str, random: np.random.Generator) -> tuple[str, int, Plan]:
    """Draw an architecture, and a place in it for a defect."""
    while True:
        within = DEFECTS[kind].within if kind else tuple(ARCHITECTURES)
        name = within[int(random.integers(len(within)))]
        seed = int(random.integers(2**31))
        if not kind:
            return name, seed, Plan()
        plan = DEFECTS[kind].plant(build(name, seed)[1], random)
        if plan is not None:
            return name, seed, plan
