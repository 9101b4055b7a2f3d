"""The documented default of every initializer argument of every Keras layer, written by hand from the documentation.

Sizes are such that every random weight has 3,500 entries or more (biases of the convolutions: 600), and that fan-in and
fan-out differ, so that Glorot's, He's and LeCun's distributions are distinguished.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from initcheck.spec.versions import EVERY, KerasVersions

DefaultName = Literal["glorot_uniform", "uniform", "orthogonal", "zeros", "ones"]
"""Keras' names of the initializers that are defaults; ``uniform`` is U(-.05, .05)."""

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
    """One initializer argument and the weights that it is documented to start."""

    name: str
    default: DefaultName
    weights: tuple[str, ...]
    gates: bool = False
    none_is_default: bool = False
    is_argument: bool = True
    input_axes: tuple[int, ...] = ()
    """How many leading axes of each weight are inputs, all others being outputs; empty: a convolution's kernel."""


@dataclass(frozen=True)
class Layer:
    """A class of ``keras.layers``: settings of its constructor, shapes for ``build``, and its initializer arguments."""

    name: str
    settings: Settings
    shapes: tuple[Any, ...]
    arguments: tuple[Argument, ...]
    keras: KerasVersions = EVERY
    """The versions that have it."""

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


def _kernels(*cells: str) -> tuple[Argument, ...]:
    return (
        Argument("kernel_initializer", "glorot_uniform", tuple(f"{cell}kernel" for cell in cells)),
        Argument("recurrent_initializer", "orthogonal", tuple(f"{cell}recurrent_kernel" for cell in cells)),
    )


def _recurrent(cell: str = "", gates: bool = False) -> tuple[Argument, ...]:
    return (*_kernels(cell), Argument("bias_initializer", "zeros", (f"{cell}bias",), gates=gates))


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
    Layer(
        "TernaryDense",
        (("units", 120),),
        ((None, 40),),
        _kernel_and_bias(),
        KerasVersions(since="3.16.0.dev2026080604"),
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


def _weight(name: str, default: DefaultName, *weights: str) -> tuple[Argument, ...]:
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
        _kernels("forward_inner/lstm_cell/", "backward_inner/lstm_cell/"),
    ),
    Layer(
        "StackedRNNCells",
        (("cells", (Inner("GRUCell", _CELL, "lower"), Inner("GRUCell", _CELL, "upper"))),),
        ((None, 30),),
        _kernels("lower/", "upper/"),
    ),
)
"""Layers made of layers, for whether their weights are different ones; the arguments are those of the inner layers."""


def layer_named(name: str) -> Layer:
    """Find a layer of the tables."""
    return next(layer for layer in (*LAYERS, *WITHOUT_ARGUMENT, *COMPOSED) if layer.name == name)


def argument_named(layer: str, argument: str) -> tuple[Layer, Argument]:
    """Find a layer of the tables and one of its initializer arguments."""
    found = layer_named(layer)
    return found, next(each for each in found.arguments if each.name == argument)


def with_settings(layer: Layer, **settings: Any) -> Layer:
    """Change some settings of a layer of the tables."""
    return replace(layer, settings=tuple({**dict(layer.settings), **settings}.items()))
