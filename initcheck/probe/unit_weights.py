"""Which entries of a layer's weights lead into which of its units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras
from initcheck.probe.fans import GATES, computes_as_keras, split_equation, type_name

Array = NDArray[Any]
Arrange = Callable[[Array], Array]


@dataclass(frozen=True)
class UnitWeights:
    """The incoming weights of a layer's units.

    Attributes:
        word: what the units are called, in plural.
        variables: the weights that lead into them.
        arrange: for each of these a function from its values to an array of shape [blocks, incoming, units]: the units
            of one block see the same inputs, so they can be alike; those of different blocks cannot. It copies no
            values where it need not.
        looked_up: whether a unit takes part only where an input names it (rows of an Embedding).
    """

    word: str
    variables: tuple[Any, ...]
    arrange: tuple[Arrange, ...]
    looked_up: bool = False


def list_unit_weights(layer: Any, variables: Sequence[Any]) -> tuple[UnitWeights, ...]:
    """List the kinds of units of one layer.

    Args:
        layer: a layer.
        variables: the weights that it holds itself.

    Returns:
        One entry for most layers; two for Embedding (rows, and columns); none where Keras does not ship the layer or
        its ``call``, since then it is not known what the axes of its weights mean, and none for layers without sums.
    """
    if not computes_as_keras(layer):
        return ()
    named = {str(variable.name): variable for variable in variables}
    layers = import_keras().layers
    if type_name(layer) in GATES:
        return _list_recurrent(named, GATES[type_name(layer)])
    if isinstance(layer, layers.Embedding):
        return _list_embedding(named)
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        multiplied = _pair("units", named, "depthwise_kernel", None, _arrange_depthwise, _arrange_last)
        pointwise = _pair("filters", named, "pointwise_kernel", "bias", _arrange_last, _arrange_last)
        return (*multiplied, *pointwise)
    if isinstance(layer, layers.EinsumDense):
        return _list_einsum(layer, named)
    if isinstance(layer, layers.Dense):
        return _pair("units", named, "kernel", "bias", _arrange_last, _arrange_last)
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        multiplier = int(layer.depth_multiplier)
        return _pair(
            "filters", named, "kernel", "bias", _arrange_depthwise, lambda bias: bias.reshape(-1, 1, multiplier)
        )
    if isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose):
        return _pair("filters", named, "kernel", "bias", _arrange_transposed, _arrange_last)
    if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D):
        grouped = _arrange_grouped(int(layer.groups))
        return _pair("filters", named, "kernel", "bias", grouped, grouped)
    return ()


def _pair(
    word: str, named: dict[str, Any], kernel: str, bias: str | None, by_kernel: Arrange, by_bias: Arrange
) -> tuple[UnitWeights, ...]:
    if kernel not in named:
        return ()
    if bias is None or bias not in named:
        return (UnitWeights(word, (named[kernel],), (by_kernel,)),)
    return (UnitWeights(word, (named[kernel], named[bias]), (by_kernel, by_bias)),)


def _list_recurrent(named: dict[str, Any], gates: int) -> tuple[UnitWeights, ...]:
    found = tuple(named[name] for name in ("kernel", "recurrent_kernel", "bias") if name in named)

    def by_unit(values: Array) -> Array:
        units = values.shape[-1] // gates
        return values.reshape(1, -1, units)  # the gates of one unit follow each other among its incoming weights

    return (UnitWeights("units", found, (by_unit,) * len(found)),) if found else ()


def _list_embedding(named: dict[str, Any]) -> tuple[UnitWeights, ...]:
    columns = [named[name] for name in ("embeddings", "reverse_embeddings") if name in named]
    listed = [UnitWeights("columns", (table,), (_arrange_last,)) for table in columns]
    if "embeddings" in named:
        rows = UnitWeights("rows", (named["embeddings"],), (lambda table: table.T[None],), looked_up=True)
        listed.insert(0, rows)
    return tuple(listed)


def _list_einsum(layer: Any, named: dict[str, Any]) -> tuple[UnitWeights, ...]:
    inputs, labels, result = split_equation(str(layer.equation))
    kernel, bias = named.get("kernel"), named.get("bias")
    if kernel is None or len(labels) != len(kernel.shape):
        return ()
    blocks = [label for label in labels if label in inputs and label in result]
    units = [label for label in labels if label in result and label not in inputs]
    incoming = [label for label in labels if label not in result]
    sizes = dict(zip(labels, (int(size) for size in kernel.shape), strict=True))
    shape = [math.prod(sizes[label] for label in part) for part in (blocks, incoming, units)]
    order = [labels.index(label) for label in (*blocks, *incoming, *units)]

    def by_kernel(values: Array) -> Array:
        return values.transpose(order).reshape(shape)

    if bias is None:
        return (UnitWeights("units", (kernel,), (by_kernel,)),)
    first = min(result.index(label) for label in str(layer.bias_axes))
    carried = result[first:]
    if any(label not in sizes for label in layer.bias_axes):
        return ()  # a bias along an axis that the kernel does not have: no unit owns it

    def by_bias(values: Array) -> Array:
        own = values.reshape(values.shape[: len(carried)])  # ones that stand for elided axes fall away
        kept = [label for label in carried if label in sizes]
        own = own.reshape([own.shape[carried.index(label)] for label in kept])
        place = [kept.index(label) for label in (*blocks, *units) if label in kept]
        wide = own.transpose(place)
        full = [slice(None) if label in kept else None for label in (*blocks, *units)]
        target = [sizes[label] for label in (*blocks, *units)]
        return np.broadcast_to(wide[tuple(full)], target).reshape(shape[0], 1, shape[2])

    return (UnitWeights("units", (kernel, bias), (by_kernel, by_bias)),)


def _arrange_last(values: Array) -> Array:
    return values.reshape(1, -1, values.shape[-1])


def _arrange_transposed(values: Array) -> Array:
    return _arrange_last(np.moveaxis(values, -2, -1))


def _arrange_depthwise(values: Array) -> Array:
    channels, multiplier = values.shape[-2:]
    return values.reshape(-1, channels, multiplier).transpose(1, 0, 2)


def _arrange_grouped(groups: int) -> Arrange:
    def arrange(values: Array) -> Array:
        return values.reshape(-1, groups, values.shape[-1] // groups).transpose(1, 0, 2)

    return arrange
