"""The documented default of every initializer argument of every Keras layer, written by hand from the documentation.

Sizes are such that every random weight has 3,500 entries or more (biases of the convolutions: 600), and that fan-in and
fan-out differ, so that Glorot's, He's and LeCun's laws are told apart.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER
from initcheck.spec.table import ExactRow, FitRow

if TYPE_CHECKING:
    from initcheck.spec.claim import RunContext


Law = Literal["glorot_uniform", "uniform", "orthogonal", "zeros", "ones"]
"""The laws that layers start from; ``uniform`` is Keras' name for U(-.05, .05)."""

RANDOM: Final = ("glorot_uniform", "uniform", "orthogonal")

Settings = tuple[tuple[str, Any], ...]
"""Arguments of a constructor, hashable."""

_CONVOLUTION: Final = 600
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z]{2})|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Inner:
    """A layer that is handed to the constructor of another."""

    layer: str
    settings: Settings
    name: str


@dataclass(frozen=True)
class Argument:
    """One initializer argument and the weights that it is documented to start.

    Attributes:
        name: of the argument; of the weight where the layer has no argument for it.
        default: the documented default.
        weights: paths of the weights below the layer.
        gates: whether the weight is a bias of four gates, whose second quarter ``unit_forget_bias`` sets.
        none_is_default: whether the documentation says that None stands for the default.
        is_argument: whether it is an argument; else the layer chooses by itself.
        input_axes: how many leading axes of each weight are inputs, all others being outputs; empty: a kernel as that
            of a convolution, whose last two axes are input and output channels.
    """

    name: str
    default: Law
    weights: tuple[str, ...]
    gates: bool = False
    none_is_default: bool = False
    is_argument: bool = True
    input_axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A layer, how to make one, and its initializer arguments.

    Attributes:
        name: the class in ``keras.layers``.
        settings: arguments of the constructor.
        shapes: arguments of ``build``.
        arguments: see there.
    """

    name: str
    settings: Settings
    shapes: tuple[Any, ...]
    arguments: tuple[Argument, ...]

    @property
    def subject(self) -> str:
        """The name as it stands in ids: ``conv2d_transpose``."""
        return "prelu" if self.name == "PReLU" else _WORDS.sub("_", self.name).lower()

    @property
    def source(self) -> str:
        """Where its defaults are documented."""
        return f"Keras, keras.layers.{self.name}"


def _kernel_and_bias(weights: str = "", none: bool = False) -> tuple[Argument, ...]:
    return (
        Argument("kernel_initializer", "glorot_uniform", (f"{weights}kernel",), none_is_default=none),
        Argument("bias_initializer", "zeros", (f"{weights}bias",), none_is_default=none),
    )


def _recurrent(cell: str = "", gates: bool = False) -> tuple[Argument, ...]:
    return (
        Argument("kernel_initializer", "glorot_uniform", (f"{cell}kernel",)),
        Argument("recurrent_initializer", "orthogonal", (f"{cell}recurrent_kernel",)),
        Argument("bias_initializer", "zeros", (f"{cell}bias",), gates=gates),
    )


def _attention() -> tuple[Argument, ...]:
    parts = ("query", "key", "value", "attention_output")
    return (
        Argument(
            "kernel_initializer", "glorot_uniform", tuple(f"{part}/kernel" for part in parts), input_axes=(1, 1, 1, 2)
        ),
        Argument("bias_initializer", "zeros", tuple(f"{part}/bias" for part in parts)),
    )


def _separable(axes: int) -> Layer:
    sizes = (("filters", _CONVOLUTION), ("kernel_size", 25 if axes == 1 else 5))
    return Layer(
        f"SeparableConv{axes}D",
        sizes,
        ((None, *(30,) * axes, 160),),
        (
            Argument("depthwise_initializer", "glorot_uniform", ("depthwise_kernel",), none_is_default=True),
            Argument("pointwise_initializer", "glorot_uniform", ("pointwise_kernel",), none_is_default=True),
            Argument("bias_initializer", "zeros", ("bias",), none_is_default=True),
        ),
    )


def _depthwise(axes: int) -> Layer:
    depthwise = Argument("depthwise_initializer", "glorot_uniform", ("kernel",), none_is_default=True)
    bias = _kernel_and_bias(none=True)[1]
    size = (("kernel_size", 7 if axes == 1 else 3),)
    return Layer(f"DepthwiseConv{axes}D", size, ((None, *(9,) * axes, _CONVOLUTION),), (depthwise, bias))


def _convolution(axes: int, suffix: str) -> Layer:
    sizes = (("filters", _CONVOLUTION), ("kernel_size", 3))
    return Layer(f"Conv{axes}D{suffix}", sizes, ((None, *(5,) * axes, 2),), _kernel_and_bias(none=True))


def _recurrent_convolution(axes: int) -> Layer:
    sizes = (("filters", 16), ("kernel_size", 5 if axes == 1 else 3))
    arguments = _recurrent("conv_lstm_cell/", gates=True)
    return Layer(f"ConvLSTM{axes}D", sizes, ((None, 3, *(6,) * axes, 16 // axes),), arguments)


def _recurrent_layers() -> tuple[Layer, ...]:
    layers = []
    for name, inputs, units in (("SimpleRNN", 50, 80), ("LSTM", 40, 30), ("GRU", 40, 30)):
        settings, gates = (("units", units),), name == "LSTM"
        cell = "simple_rnn_cell/" if name == "SimpleRNN" else f"{name.lower()}_cell/"
        layers.append(Layer(name, settings, ((None, 3, inputs),), _recurrent(cell, gates)))
        layers.append(Layer(f"{name}Cell", settings, ((None, inputs),), _recurrent(gates=gates)))
    return tuple(layers)


_SCALE_AND_OFFSET: Final = (
    Argument("gamma_initializer", "ones", ("gamma",)),
    Argument("beta_initializer", "zeros", ("beta",)),
)
_EMBEDDING: Final = (("input_dim", 700), ("output_dim", 8))
_SEQUENCES: Final = (None, 3, 40)

LAYERS: Final[tuple[Layer, ...]] = (
    Layer("Dense", (("units", 120),), ((None, 40),), _kernel_and_bias()),
    Layer(
        "EinsumDense",
        (("equation", "ab,bc->ac"), ("output_shape", 120), ("bias_axes", "c")),
        ((None, 40),),
        _kernel_and_bias(),
    ),
    Layer("Embedding", _EMBEDDING, ((None,),), (Argument("embeddings_initializer", "uniform", ("embeddings",)),)),
    Layer(
        "ReversibleEmbedding",
        (*_EMBEDDING, ("tie_weights", False)),
        ((None,),),
        (Argument("embeddings_initializer", "uniform", ("embeddings", "reverse_embeddings")),),
    ),
    *(_convolution(axes, suffix) for suffix in ("", "Transpose") for axes in (1, 2, 3)),
    *(_depthwise(axes) for axes in (1, 2)),
    *(_separable(axes) for axes in (1, 2)),
    *_recurrent_layers(),
    *(_recurrent_convolution(axes) for axes in (1, 2, 3)),
    Layer(
        "BatchNormalization",
        (),
        ((None, 32),),
        (
            *_SCALE_AND_OFFSET,
            Argument("moving_mean_initializer", "zeros", ("moving_mean",)),
            Argument("moving_variance_initializer", "ones", ("moving_variance",)),
        ),
    ),
    Layer("LayerNormalization", (), ((None, 32),), _SCALE_AND_OFFSET),
    Layer("GroupNormalization", (), ((None, 64),), _SCALE_AND_OFFSET),
    Layer("PReLU", (), ((None, 32),), (Argument("alpha_initializer", "zeros", ("alpha",)),)),
    Layer("MultiHeadAttention", (("num_heads", 5), ("key_dim", 24)), (_SEQUENCES, _SEQUENCES), _attention()),
    Layer(
        "GroupQueryAttention",
        (("head_dim", 24), ("num_query_heads", 8), ("num_key_value_heads", 4)),
        (_SEQUENCES, _SEQUENCES),
        _attention(),
    ),
)
"""Every layer with an initializer argument."""


def _weight(name: str, default: Law, *weights: str) -> tuple[Argument, ...]:
    return (Argument(name, default, weights, is_argument=False),)


WITHOUT_ARGUMENT: Final[tuple[Layer, ...]] = (
    Layer("RMSNormalization", (), ((None, 32),), _weight("scale", "ones", "scale")),
    Layer(
        "Attention",
        (("use_scale", True), ("score_mode", "concat")),
        ((_SEQUENCES, _SEQUENCES),),
        _weight("scale", "ones", "scale", "concat_score_weight"),
    ),
    Layer("AdditiveAttention", (), (((None, 3, 5000), (None, 3, 5000)),), _weight("scale", "glorot_uniform", "scale")),
    Layer(
        "SpectralNormalization",
        (("layer", Inner("Dense", (("units", 120),), "inner")),),
        ((None, 40),),
        _weight("kernel", "glorot_uniform", "inner/kernel"),
    ),
)
"""Layers that choose by themselves how a weight starts."""

_CELL: Final = (("units", 30),)

COMPOSED: Final[tuple[Layer, ...]] = (
    Layer(
        "Bidirectional",
        (("layer", Inner("LSTM", _CELL, "inner")),),
        ((None, 3, 40),),
        (
            Argument(
                "kernel_initializer",
                "glorot_uniform",
                tuple(f"{way}_inner/lstm_cell/kernel" for way in ("forward", "backward")),
            ),
            Argument(
                "recurrent_initializer",
                "orthogonal",
                tuple(f"{way}_inner/lstm_cell/recurrent_kernel" for way in ("forward", "backward")),
            ),
        ),
    ),
    Layer(
        "StackedRNNCells",
        (("cells", (Inner("GRUCell", _CELL, "lower"), Inner("GRUCell", _CELL, "upper"))),),
        ((None, 30),),
        (
            Argument("kernel_initializer", "glorot_uniform", ("lower/kernel", "upper/kernel")),
            Argument("recurrent_initializer", "orthogonal", ("lower/recurrent_kernel", "upper/recurrent_kernel")),
        ),
    ),
)
"""Layers made of layers, for whether their weights are different ones; the arguments are those of the inner layers."""


def layer_named(name: str) -> Layer:
    """Find a layer of the tables."""
    return next(layer for layer in (*LAYERS, *WITHOUT_ARGUMENT, *COMPOSED) if layer.name == name)


Given = tuple[tuple[str, InitializerSpec | None], ...]
"""The initializer arguments that a layer is given; those that are not named keep their defaults."""


@dataclass(frozen=True)
class Declared:
    """What a layer says of one of its initializer arguments.

    Attributes:
        where: the signature, the configuration or the object.
        name: class of the initializer.
        settings: of the initializer; None for a signature, which has only the name.
    """

    where: str
    name: str
    settings: dict[str, Any] | None


@dataclass(frozen=True)
class Built:
    """A layer as it is built, or two of the same settings, built one after the other.

    Attributes:
        weights: of the first, by their paths below the layer.
        other_weights: of the second; none where there is only one.
        declared: what the first says of its initializer arguments.
    """

    weights: dict[str, NDArray[np.float64]]
    other_weights: dict[str, NDArray[np.float64]]
    declared: dict[str, tuple[Declared, ...]]


def built(
    context: RunContext, layer: Layer, given: Given = (), *, seed: int | None = None, twice: bool = False
) -> Built:
    """Build a layer, once for all claims, and keep nothing of Keras.

    Args:
        seed: of every initializer that is given; without one they draw from Keras' global state, as defaults do.
        twice: whether to build a second one; layers with their defaults always have one.
    """
    count = 2 if twice or not given else 1
    key = ("layer_defaults", layer, given, seed, count)
    return context.remember(key, lambda: _build(context, layer, given, seed, count))


def signature_default(kind: type[Any], argument: str) -> Any:
    """Find the default of a constructor's argument, which a base class may hold; ``inspect.Parameter.empty``: none."""
    for each in kind.__mro__:
        constructor = vars(each).get("__init__")
        parameters = {} if constructor is None else inspect.signature(constructor).parameters
        if argument in parameters:
            return parameters[argument].default
    return inspect.Parameter.empty


def _build(context: RunContext, layer: Layer, given: Given, seed: int | None, count: int) -> Built:
    import_keras().utils.set_random_seed(context.seed(f"layer_defaults.{layer.subject}"))
    first, *others = (_make(layer, given, seed) for _ in range(count))
    arguments = [argument.name for argument in layer.arguments if argument.is_argument]
    declared = {name: _declared(first, name) for name in arguments if name in first.get_config()}
    return Built(_weights(first), _weights(others[0]) if others else {}, declared)


def _make(layer: Layer, given: Given, seed: int | None) -> Any:
    # Without a name of its own a layer takes the next free one, which other measurements would see.
    settings = dict(layer.settings)
    inner = [value for value in settings.values() if isinstance(value, (Inner, tuple)) and _is_inner(value)]
    initializers = {name: None if spec is None else spec.create(seed) for name, spec in given}
    kind = getattr(import_keras().layers, layer.name)
    if not inner:
        made = kind(name=layer.subject, **settings, **initializers)
    else:
        made = kind(name=layer.subject, **{name: _with_inner(value, initializers) for name, value in settings.items()})
    made.build(*(list(shape) if _is_list_of_shapes(shape) else shape for shape in layer.shapes))
    return made


def _is_inner(value: Any) -> bool:
    return isinstance(value, Inner) or (isinstance(value, tuple) and all(isinstance(each, Inner) for each in value))


def _is_list_of_shapes(shape: Any) -> bool:
    return bool(shape) and all(isinstance(each, tuple) for each in shape)


def _with_inner(value: Any, initializers: dict[str, Any]) -> Any:
    if isinstance(value, tuple):
        return [_with_inner(each, initializers) for each in value]
    if isinstance(value, Inner):
        return getattr(import_keras().layers, value.layer)(name=value.name, **dict(value.settings), **initializers)
    return value


def _weights(made: Any) -> dict[str, NDArray[np.float64]]:
    convert = import_keras().ops.convert_to_numpy
    return {
        weight.path.removeprefix(f"{made.name}/"): convert(weight.value).astype(np.float64) for weight in made.weights
    }


def _declared(made: Any, argument: str) -> tuple[Declared, ...]:
    default = signature_default(type(made), argument)
    configured = made.get_config()[argument]
    held = getattr(made, argument, None) or getattr(made, f"_{argument}", None)
    named: dict[str, Any] = configured if isinstance(configured, dict) else {"class_name": configured, "config": {}}
    return (
        Declared("signature", default if isinstance(default, str) else type(default).__name__, None),
        Declared("get_config", str(named["class_name"]), named["config"]),
        Declared("initializer", type(held).__name__, {} if held is None else held.get_config()),
    )


def with_settings(layer: Layer, **settings: Any) -> Layer:
    """Change some settings of a layer of the tables."""
    return replace(layer, settings=tuple({**dict(layer.settings), **settings}.items()))


_EMBEDDING_LIMIT: Final = 0.05
_ROUNDING: Final = 2.0**-22
"""Relative; single precision rounds the limit, and the product of the limit with a number below one."""

_DECLARED: Final[dict[Law, tuple[str, dict[str, object]]]] = {
    "glorot_uniform": ("GlorotUniform", {"seed": None}),
    "uniform": ("RandomUniform", {"seed": None, "minval": -_EMBEDDING_LIMIT, "maxval": _EMBEDDING_LIMIT}),
    "orthogonal": ("Orthogonal", {"seed": None, "gain": 1.0}),
    "zeros": ("Zeros", {}),
    "ones": ("Ones", {}),
}


def limit_of(law: Law, shape: Sequence[int], input_axes: int = 0) -> float:
    """Give the limit of a uniform law for a weight of that shape.

    Glorot and Bengio's is sqrt(6 / (fan_in + fan_out)). The fans of a kernel whose axes are inputs and outputs are the
    products of their sizes; Keras takes those of other kernels from the last two axes, and multiplies both by the sizes
    of all others. A single axis is both. Whether these are the fans of the layer is another claim's matter.
    """
    if law == "uniform":
        return _EMBEDDING_LIMIT
    if input_axes:
        return math.sqrt(6.0 / (math.prod(shape[:input_axes]) + math.prod(shape[input_axes:])))
    fans = (shape[0], shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
    return math.sqrt(6.0 / (sum(fans) * math.prod(shape[:-2])))


def declared_rows(argument: Argument, declared: Sequence[Declared]) -> list[ExactRow]:
    """Compare what a layer says of an argument with its documented default: one row a place, 1 where it differs."""
    name, settings = _DECLARED[argument.default]
    rows: list[ExactRow] = []
    for found in declared:
        if found.settings is None:
            equal = _letters(found.name) == _letters(argument.default)
        else:
            equal = found.name == name and all(found.settings.get(key, 0) == value for key, value in settings.items())
        rows.append(ExactRow(found.where, float(not equal), seen=f"{found.name} {found.settings or ''}".strip()))
    return rows


def exact_rows(weight: str, values: NDArray[np.float64], law: Law) -> list[ExactRow]:
    """Hold a weight against a law without chance: zeros, ones, or orthonormal rows or columns."""
    if law != "orthogonal":
        wanted = {"zeros": 0.0, "ones": 1.0}[law]
        return [constant_row(weight, values, wanted)]
    matrix = values.reshape(-1, values.shape[-1])
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    size = matrix.shape[0]
    error = float(np.abs(matrix @ matrix.T - np.eye(size)).max())
    # Householder's QR in single precision: a few roundings a reflection. The identity and its permutations are
    # orthogonal too, and nearly all zeros, which a matrix that is uniform on the orthogonal ones never is.
    return [
        ExactRow(f"{weight}: distance of Q Q' from the identity", error, 16.0 * size * 2.0**-24, values.size),
        ExactRow(f"{weight}: share of entries that are zero", float(np.mean(matrix == 0.0)), 0.01, values.size),
    ]


def constant_row(weight: str, values: NDArray[np.float64], wanted: float) -> ExactRow:
    """Hold a weight against a constant."""
    seen = f"from {values.min():.4g} to {values.max():.4g}, not {wanted:g}" if values.size else "no entries"
    deviation = float(np.abs(values - wanted).max()) if values.size else math.nan
    return ExactRow(weight, deviation, 0.0, int(values.size), seen)


def fit_rows(weight: str, values: NDArray[np.float64], limit: float, members: int) -> list[FitRow]:
    """Test a weight for a uniform law; effects are distances between distribution functions.

    Args:
        weight: name of the weight.
        values: its entries.
        limit: of the uniform law.
        members: members of the claim, over which its level is shared.

    Returns:
        One row for the shape and one for the support. A limit that is off by the share c is a distance of c / 2.
    """
    scaled = values.ravel() / limit
    count = scaled.size
    level = CLAIM_FALSE_ALARM / members
    shape = stats.kstest(scaled, stats.uniform(-1.0, 2.0).cdf)
    # Massart's bound of the distance under the law, and of how far the sample's is from the true one.
    seen = (math.sqrt(math.log(2.0 / level) / 2.0) + math.sqrt(math.log(2.0 / (1.0 - POWER)) / 2.0)) / math.sqrt(count)
    largest = float(np.abs(scaled).max())
    inside = largest <= 1.0 + _ROUNDING
    p_support = min(largest, 1.0) ** count if inside else 0.0
    return [
        FitRow(f"{weight}: shape", float(shape.pvalue), float(shape.statistic), seen, count),
        FitRow(f"{weight}: support", p_support, abs(1.0 - largest) / 2.0, (1.0 - level ** (1.0 / count)) / 2.0, count),
    ]


def as_fit_rows(rows: Sequence[ExactRow]) -> list[FitRow]:
    """Take exact rows into a table of tests: a deviation cannot happen by chance."""
    return [
        FitRow(f"{row.member}: {row.seen}", float(row.deviation <= row.limit), row.deviation, 0.0, row.count)
        for row in rows
    ]


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
