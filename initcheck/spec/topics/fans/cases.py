"""The layers that claims on fans are made of, and what each really does with its kernel.

In all of them the channels in differ from the channels out, so that no fan can be taken for the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from initcheck.spec import causes
from initcheck.spec.causes import KnownCause
from initcheck.spec.topics.fans.measurement import Case, Fans
from initcheck.spec.versions import BEFORE_AXES, EVERY, INITIALIZER_AXES, KerasVersions

SIDE: Final = 3
"""Of the convolution kernels."""

RECURRENT: Final = (("SimpleRNN", "simple_rnn", 1), ("LSTM", "lstm", 4), ("GRU", "gru", 3))
"""The recurrent layers, each with its part of the ids and its number of gates."""


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer, and where its fans agree with those that Keras assumes."""

    slug: str
    words: str
    cases: tuple[Case, ...]
    rows: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    outcome: str = ""
    cause: KnownCause | None = None
    keras: KerasVersions = EVERY
    """The versions that count so."""


def _dense(inputs: int, units: int) -> Case:
    fans, name = Fans(inputs, units), f"{inputs} to {units}"
    return Case(name, "Dense", (("units", units),), ((None, inputs),), fans, fans, position=(), units=units)


def _convolution(rank: int, name: str, channels: int, filters: int, side: int = SIDE, **settings: Any) -> Case:
    dilation = settings.get("dilation_rate", 1)
    groups = settings.get("groups", 1)
    reach = dilation * (side - 1) + 1
    same = settings.get("padding") == "same"
    # With "same" padding the middle of three kernels' width; with "valid" a single output, or the first of two.
    size = 3 * reach if same else reach + settings.get("strides", 1)
    position = (size // settings.get("strides", 1) // 2 if same else 0,) * rank
    area = side**rank
    return Case(
        name,
        f"Conv{rank}D",
        (("filters", filters), ("kernel_size", side), *settings.items()),
        ((None, *(size,) * rank, channels),),
        Fans(area * channels / groups, area * filters / groups),
        Fans(area * channels / groups, area * filters),
        position=position,
        units=filters,
    )


def _convolutions(rank: int, channels: int, filters: int) -> tuple[Case, ...]:
    return (
        _convolution(rank, "valid", channels, filters),
        _convolution(rank, "same", channels, filters, padding="same"),
        _convolution(rank, "strides 2", channels, filters, strides=2),
        _convolution(rank, "dilation 2", channels, filters, dilation_rate=2),
    )


def _border(name: str, area: int, position: tuple[int, int], channels: int = 48, filters: int = 96) -> Case:
    inside = _convolution(2, name, channels, filters, padding="same")
    # The kernel hangs over the border, and sums only an area of the input.
    return replace(inside, fans=Fans(area * channels, inside.fans.fan_out), position=position)


def _depthwise(rank: int, channels: int, multiplier: int) -> Case:
    area = SIDE**rank
    return Case(
        f"{channels} channels, multiplier {multiplier}",
        f"DepthwiseConv{rank}D",
        (("kernel_size", SIDE), ("depth_multiplier", multiplier)),
        ((None, *(SIDE,) * rank, channels),),
        Fans(area, area * multiplier),
        Fans(area * channels, area * multiplier),
        argument="depthwise_initializer",
        position=(0,) * rank,
        units=channels * multiplier,
    )


def _separable(rank: int, part: str, channels: int = 512, filters: int = 128) -> Case:
    area = SIDE**rank
    depthwise = part == "depthwise"
    return Case(
        f"{part}, {channels} to {filters}",
        f"SeparableConv{rank}D",
        (("filters", filters), ("kernel_size", SIDE)),
        ((None, *(SIDE,) * rank, channels),),
        Fans(area, area) if depthwise else Fans(channels, filters),
        Fans(area * channels, area) if depthwise else Fans(channels, filters),
        weight=f"{part}_kernel",
        argument=f"{part}_initializer",
    )


def _transposed(rank: int, channels: int, filters: int, stride: int, side: int) -> Case:
    area = side**rank
    # Kernel [..., out, in]. A stride that divides the side spreads the inputs evenly over its outputs; the one at
    # side - 1 is the first that as many inputs reach as any.
    return Case(
        f"{channels} to {filters}, strides {stride}",
        f"Conv{rank}DTranspose",
        (("filters", filters), ("kernel_size", side), ("strides", stride)),
        ((None, *(side,) * rank, channels),),
        Fans(area * channels / stride**rank, area * filters),
        Fans(area * filters, area * channels),
        position=(side - 1,) * rank,
        units=filters,
    )


def _einsum(
    keras: KerasVersions,
    name: str,
    equation: str,
    inputs: tuple[int, ...],
    output: tuple[int | None, ...],
    **sizes: int,
) -> Case:
    # The labels of the sizes are the kernel's, in its order.
    _, rest = equation.split(",")
    weights, result = rest.split("->")
    entering = equation.split(",")[0]
    shape = [sizes[label] for label in weights]

    def product(kept: Iterable[bool]) -> float:
        return float(math.prod(size for size, keep in zip(shape, kept, strict=True) if keep))

    fans = Fans(product(label not in result for label in weights), product(label not in entering for label in weights))
    by_axes = Fans(fans.fan_in, product(label in result for label in weights))
    assumed = by_axes if keras == INITIALIZER_AXES else fans_of_shape(tuple(shape))
    return Case(
        name,
        "EinsumDense",
        (("equation", equation), ("output_shape", output)),
        ((None, *inputs),),
        fans,
        assumed,
        position=(),
        units=math.prod(sizes[label] for label in weights if label in result),
    )


def fans_of_shape(shape: tuple[int, ...]) -> Fans:
    """Count fans as documented: a vector's length; a kernel's last two axes, each times the area of all others."""
    if len(shape) < 2:
        return Fans(math.prod(shape), math.prod(shape))
    area = math.prod(shape[:-2])
    return Fans(area * shape[-2], area * shape[-1])


def _attention(
    keras: KerasVersions, layer: str, settings: tuple[tuple[str, Any], ...], weight: str, shape: tuple[int, int, int]
) -> Case:
    merges = weight == "attention_output"
    fans = Fans(shape[0] * shape[1], shape[2]) if merges else Fans(shape[0], shape[1] * shape[2])
    sequence = (None, 4, shape[2] if merges else shape[0])
    assumed = fans if keras == INITIALIZER_AXES else fans_of_shape(shape)
    return Case(weight, layer, settings, (sequence, sequence), fans, assumed, weight=f"{weight}/kernel")


_HEADS: Final = (("num_heads", 4), ("key_dim", 16), ("value_dim", 24))
_GROUPED: Final = (("head_dim", 16), ("num_query_heads", 8), ("num_key_value_heads", 2))
_ATTENTION: Final = (
    ("MultiHeadAttention", "multi_head_attention", _HEADS, "query", (192, 4, 16)),
    ("MultiHeadAttention", "multi_head_attention", _HEADS, "key", (192, 4, 16)),
    ("MultiHeadAttention", "multi_head_attention", _HEADS, "value", (192, 4, 24)),
    ("MultiHeadAttention", "multi_head_attention", _HEADS, "attention_output", (4, 24, 192)),
    ("GroupQueryAttention", "group_query_attention", _GROUPED, "query", (192, 8, 16)),
    ("GroupQueryAttention", "group_query_attention", _GROUPED, "key", (192, 2, 16)),
    ("GroupQueryAttention", "group_query_attention", _GROUPED, "value", (192, 2, 16)),
    ("GroupQueryAttention", "group_query_attention", _GROUPED, "attention_output", (8, 16, 192)),
)


def _recurrent(layer: str, gates: int, by_gate: bool, inputs: int = 96, units: int = 64) -> Case:
    assumed = Fans(inputs, gates * units)
    return Case(
        f"{inputs} inputs, {units} units" + (", each gate" if by_gate else ""),
        layer,
        (("units", units),),
        ((None, 4, inputs),),
        Fans(inputs, units) if by_gate else assumed,
        assumed,
        weight=f"{layer.lower() if layer != 'SimpleRNN' else 'simple_rnn'}_cell/kernel",
    )


def layer_kinds() -> Iterator[LayerKind]:
    """List the layers whose kernels take the initializers that scale with the fans."""
    both = ("fan_in", "fan_avg")
    yield LayerKind("dense", "Dense", (_dense(256, 1024), _dense(768, 128)), ("B1",))
    for rank, channels, filters in ((1, 32, 256), (2, 16, 256), (3, 4, 256)):
        yield LayerKind(
            f"conv{rank}d",
            f"Conv{rank}D away from the borders, whatever its strides, dilation and padding",
            _convolutions(rank, channels, filters),
            ("B2",),
        )
    yield LayerKind(
        "conv2d_border",
        "Conv2D with padding, at the borders",
        (_border("edge", 6, (0, 1)), _border("corner", 4, (0, 0))),
        ("B2",),
        both,
        "inputs are counted that the padding has replaced by zeros",
        causes.BORDERS,
    )
    for rank in (1, 2):
        yield LayerKind(
            f"grouped_conv{rank}d",
            f"Conv{rank}D with groups, whose inputs feed the outputs of their own group",
            tuple(_convolution(rank, f"{groups} groups", 64, 256, groups=groups) for groups in (4, 16)),
            ("B3",),
            ("fan_avg",),
            "the outputs of all groups are counted",
            causes.GROUPS,
        )
    for rank in (1, 2):
        yield LayerKind(
            f"depthwise_conv{rank}d",
            f"DepthwiseConv{rank}D, each of whose outputs sums one channel",
            (_depthwise(rank, 1024, 1), _depthwise(rank, 256, 4)),
            ("B4",),
            both,
            "all channels are counted as inputs of each output",
            causes.DEPTHWISE,
        )
    for rank in (1, 2):
        yield LayerKind(
            f"separable_conv{rank}d_depthwise",
            f"the depthwise kernel of SeparableConv{rank}D",
            (_separable(rank, "depthwise", 4096),),
            ("B5",),
            both,
            "all channels are counted as inputs of each output",
            causes.DEPTHWISE,
        )
    for rank in (1, 2):
        yield LayerKind(
            f"separable_conv{rank}d_pointwise",
            f"the pointwise kernel of SeparableConv{rank}D",
            (_separable(rank, "pointwise"),),
            ("B5",),
        )
    for rank in (1, 2, 3):
        yield LayerKind(
            f"conv{rank}d_transpose",
            f"Conv{rank}DTranspose without strides",
            (_transposed(rank, 32, 256, 1, SIDE), _transposed(rank, 256, 128, 1, SIDE)),
            ("B6",),
            ("fan_in",),
            "channels in and channels out are exchanged",
            causes.TRANSPOSED,
        )
    for rank in (1, 2):
        yield LayerKind(
            f"conv{rank}d_transpose_with_strides",
            f"Conv{rank}DTranspose with strides of two",
            (_transposed(rank, 32, 256, 2, 4), _transposed(rank, 128, 128, 2, 4)),
            ("B6",),
            both,
            "channels in and out are exchanged, and the strides left out",
            causes.TRANSPOSED,
        )
    for keras in (BEFORE_AXES, INITIALIZER_AXES):
        yield from _with_axes(keras)
    yield LayerKind(
        "dense_bias",
        "the bias of Dense, where it is drawn",
        (
            Case(
                "64 to 4096",
                "Dense",
                (("units", 4096),),
                ((None, 64),),
                Fans(64, 4096),
                Fans(4096, 4096),
                weight="bias",
                argument="bias_initializer",
            ),
        ),
        ("A16",),
        ("fan_in", "fan_avg"),
        "the length of the bias is counted as its inputs and as its outputs",
        causes.BIAS,
    )
    yield LayerKind(
        "embedding",
        "Embedding, which takes one row of its matrix",
        (
            Case(
                "512 rows of 192",
                "Embedding",
                (("input_dim", 512), ("output_dim", 192)),
                ((None, 1),),
                Fans(1, 192),
                Fans(512, 192),
                weight="embeddings",
                argument="embeddings_initializer",
            ),
        ),
        ("L2",),
        both,
        "all rows are counted as inputs of each output",
        causes.EMBEDDING,
    )
    for layer, slug, gates in RECURRENT:
        words = f"{layer}, with the units of all gates as outputs"
        yield LayerKind(slug, words, (_recurrent(layer, gates, by_gate=False),), ("B9",))
        if gates > 1:
            words = f"each gate of {layer}"
            case = _recurrent(layer, gates, by_gate=True)
            outcome = "the units of all gates are counted"
            yield LayerKind(f"{slug}_gate", words, (case,), ("B9",), ("fan_avg",), outcome, causes.GATES)


def _with_axes(keras: KerasVersions) -> Iterator[LayerKind]:
    """List the layers that tell initializers the axes of their kernels, in the versions before they did or since."""
    both, as_convolution = ("fan_in", "fan_avg"), "the fans are those of a convolution kernel"
    before = keras == BEFORE_AXES
    yield LayerKind(
        "einsum_dense",
        "EinsumDense",
        (
            _einsum(keras, "splits into heads", "abc,cde->abde", (1, 256), (1, 4, 128), c=256, d=4, e=128),
            _einsum(keras, "merges heads", "abcd,cde->abe", (1, 4, 32), (1, 512), c=4, d=32, e=512),
            _einsum(keras, "output axes first", "abc,dc->abd", (1, 96), (1, 512), d=512, c=96),
        ),
        ("B7",),
        both if before else (),
        as_convolution,
        causes.HEADS,
        keras,
    )
    yield LayerKind(
        "einsum_dense_with_shared_axis",
        "EinsumDense with an axis of experts in input, kernel and output",
        (
            _einsum(keras, "8 experts", "bec,ecd->bed", (8, 96), (8, 64), e=8, c=96, d=64),
            _einsum(keras, "32 experts", "bec,ecd->bed", (32, 64), (32, 64), e=32, c=64, d=64),
        ),
        ("B8",),
        both if before else ("fan_avg",),
        as_convolution if before else "the experts are counted as outputs that each input feeds",
        causes.HEADS if before else causes.SHARED_AXIS,
        keras,
    )
    for layer, slug, settings, weight, shape in _ATTENTION:
        kernel = weight.removeprefix("attention_")
        # Heads and their sizes are what the output kernel sums: taken for an area and its channels, they are right.
        wrong = () if not before else ("fan_avg",) if kernel == "output" else both
        yield LayerKind(
            f"{slug}.{kernel}_kernel",
            f"the {kernel} kernel of {layer}",
            (_attention(keras, layer, settings, weight, shape),),
            ("B7", "S3"),
            wrong,
            as_convolution,
            causes.HEADS,
            keras,
        )
