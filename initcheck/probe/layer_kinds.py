"""What is known of a layer from its class: the one registry of the kinds of layers.

A :class:`LayerKind` says how many inputs a unit really sums and how many outputs an input really feeds, which is not
always what the initializer assumes from the kernel's shape (depthwise and transposed convolutions differ); along which
axes of its weights the units lie; how many gates lie side by side; and what its weights are called. What theory makes
of a kind is in :mod:`initcheck.prediction.layer_rules`. To add a kind, see CONTRIBUTING.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.probe.paths import own_variables

Array = NDArray[Any]
Arrange = Callable[[Array], Array]
Fans = tuple[float, float]
Shape = tuple[int, ...]
Axes = list[list[int]]
CountFans = Callable[[Any, Shape], Fans]

UNKNOWN: Final[Fans] = (math.nan, math.nan)


@dataclass(frozen=True)
class UnitWeights:
    """The incoming weights of a layer's units.

    Attributes:
        arrange: for each of these a function from its values to an array of shape [blocks, incoming, units]: the units
            of one block see the same inputs, so they can be alike; those of different blocks cannot. It copies no
            values where it need not.
    """

    word: str
    variables: tuple[Any, ...]
    arrange: tuple[Arrange, ...]
    looked_up: bool = False


@dataclass(frozen=True)
class LayerKind:
    """What is known of one or several classes of layers.

    Attributes:
        fans: by the name of a weight that is summed through, from the layer and the weight's shape to its true
            (fan_in, fan_out): inputs that one output unit sums away from the borders, and outputs fed by one input.
        kernel: the one weight that everything the layer sums passes through; None where there are several, or none.
        rows: the attribute that holds the number of rows that inputs may name; empty where inputs are no indices.
        initializer_axes: from the layer and the number of a kernel's axes to those of the inputs and of the outputs,
            where the layer names them to the initializer.
    """

    classes: tuple[str | type, ...]
    fans: Mapping[str, CountFans] = field(default_factory=dict)
    list_units: Callable[[Any, Mapping[str, Any]], tuple[UnitWeights, ...]] | None = None
    kernel: str | None = None
    gates: int = 1
    rows: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    drawn_by: Mapping[str, str] = field(default_factory=dict)
    initializer_axes: Callable[[Any, int], Axes | None] | None = None


KINDS: Final[dict[str | type, LayerKind]] = {}
"""The kind of each class, by the name of a class that Keras ships, or by the class itself."""

ROLES: Final[Mapping[str, str]] = {
    "embeddings": "embedding",
    "reverse_embeddings": "reverse embedding",
    "gamma": "scale",
    "beta": "shift",
    "alpha": "slope",
    "moving_mean": "statistic",
    "moving_variance": "statistic",
}
"""What a weight is to its layer, by its name, where the name itself does not say so."""

_OTHER: Final = LayerKind(())


def register(kind: LayerKind) -> LayerKind:
    """Make a kind known to everything that asks what a layer is."""
    KINDS.update(dict.fromkeys(kind.classes, kind))
    return kind


def find_kind(layer: Any) -> LayerKind:
    """Find the kind of a layer, which may be derived from a class that is registered; an empty one where none is."""
    return next((KINDS[key] for _, key in _registered_classes(layer)), _OTHER)


def main_kernel(operation: Any) -> Any | None:
    """Return the weight whose statistics stand for the layer: its kernel, or its largest matrix, if any."""
    matrices = [variable for variable in own_variables(operation) if len(variable.shape) >= 2]
    for variable in matrices:
        if variable.name in ("kernel", "embeddings"):
            return variable
    return max(matrices, key=lambda variable: math.prod(variable.shape), default=None)


def count_fans(operation: Any, kernel: Any | None) -> Fans:
    """Count the true (fan_in, fan_out) of a layer's :func:`main_kernel`; NaN where that is not known."""
    kind = find_kind(operation)
    if kernel is None or kind.kernel is None or kernel.name != kind.kernel:
        return UNKNOWN
    return kind.fans[kind.kernel](operation, _shape_of(kernel))


def count_weight_fans(layer: Any, variable: Any) -> Fans:
    """Count the true (fan_in, fan_out) of any weight that a layer holds itself; NaN where its sums are not known.

    Strides of plain convolutions are left out, as everywhere else in the literature on fans.
    """
    count = find_kind(layer).fans.get(str(variable.name))
    if count is None or not _computes_as_registered(layer):
        return UNKNOWN
    return count(layer, _shape_of(variable))


def list_unit_weights(layer: Any, variables: Sequence[Any]) -> tuple[UnitWeights, ...]:
    """List the kinds of units of one layer, two for Embedding, with those of the given weights that lead into them."""
    list_units = find_kind(layer).list_units
    if list_units is None or not _computes_as_registered(layer):
        return ()
    return list_units(layer, {str(variable.name): variable for variable in variables})


def find_initializer_axes(layer: Any, axes: int) -> Axes | None:
    """Find which of a kernel's axes the layer names to its initializer as inputs and outputs; None if it names none."""
    initializer_axes = find_kind(layer).initializer_axes
    return None if initializer_axes is None else initializer_axes(layer, axes)


def find_parts(members: Mapping[str, Any]) -> dict[int, str]:
    """Find, among the layers of a model by their paths, what those inside others make; by the ``id`` of the layer."""
    found = {}
    for path, layer in members.items():
        parent, _, name = path.rpartition("/")
        part = find_kind(members[parent]).parts.get(name) if parent in members else None
        if part is not None:
            found[id(layer)] = part
    return found


def find_state_activation(cell: Any) -> Any | None:
    """Find the function that bounds what a cell of Keras returns; None where it is not known.

    SimpleRNN returns what it makes, GRU a mean of that and of the state before, LSTM a gate, in [0, 1], times it.
    """
    last = getattr(cell, "cells", [cell])[-1]  # of a stack of cells
    known = find_kind(last).list_units is _list_recurrent_units and _computes_as_registered(last)
    return getattr(last, "activation", None) if known else None


def count_rows(layer: Any) -> int | None:
    """Count the rows that the inputs of a layer may name; None where its inputs are no indices."""
    attribute = find_kind(layer).rows
    rows = getattr(layer, attribute, None) if attribute else None
    return None if rows is None else int(rows)


def _registered_classes(layer: Any) -> Iterator[tuple[type, str | type]]:
    """Yield the classes that a layer is, nearest first, of those that are registered, with their keys."""
    for one in type(layer).__mro__:
        if one in KINDS:
            yield one, one
        elif one.__name__ in KINDS and one.__module__.startswith("keras."):
            yield one, one.__name__


def _computes_as_registered(layer: Any) -> bool:
    """Return whether a layer's computation is that of the class that is registered."""
    one = next((one for one, _ in _registered_classes(layer)), None)
    return one is not None and type(layer).call is one.call  # type: ignore[attr-defined]


def _shape_of(variable: Any) -> Shape:
    return tuple(int(size) for size in variable.shape)


# --- dense layers -----------------------------------------------------------------------------------------------------


def _pair(
    word: str,
    named: Mapping[str, Any],
    by_kernel: Arrange,
    by_bias: Arrange | None = None,
    kernel: str = "kernel",
) -> tuple[UnitWeights, ...]:
    """List units whose incoming weights are a kernel and, where there is one, a bias."""
    if kernel not in named:
        return ()
    if by_bias is None or "bias" not in named:
        return (UnitWeights(word, (named[kernel],), (by_kernel,)),)
    return (UnitWeights(word, (named[kernel], named["bias"]), (by_kernel, by_bias)),)


def _arrange_last(values: Array) -> Array:
    return values.reshape(1, -1, values.shape[-1])


def _count_matrix(_: Any, shape: Shape) -> Fans:
    return float(shape[-2]), float(shape[-1])


register(
    LayerKind(
        classes=("Dense",),
        kernel="kernel",
        fans={"kernel": _count_matrix},
        list_units=lambda _, named: _pair("units", named, _arrange_last, _arrange_last),
    )
)


def _split_equation(equation: str) -> tuple[str, str, str]:
    """Split an einsum equation of an input and a kernel into the labels of both and of the result."""
    operands, result = equation.replace(" ", "").replace(".", "").split("->")
    inputs, weights = operands.split(",")
    return inputs, weights, result


def _count_einsum_fans(layer: Any, shape: Shape) -> Fans:
    inputs, labels, result = _split_equation(str(layer.equation))
    if len(labels) != len(shape):
        return UNKNOWN
    sizes = dict(zip(labels, shape, strict=True))
    fan_in = math.prod(size for label, size in sizes.items() if label in inputs and label not in result)
    fan_out = math.prod(size for label, size in sizes.items() if label in result and label not in inputs)
    return float(fan_in), float(fan_out)


def _find_einsum_axes(layer: Any, axes: int) -> Axes | None:
    """Find which of a kernel's axes EinsumDense calls inputs and outputs, from Keras 3.15 on."""
    if not hasattr(layer, "_update_kernel_initializer"):
        return None
    _, labels, result = _split_equation(str(layer.equation))
    if len(labels) != axes:
        return None
    inside = [label in result for label in labels]
    return [[axis for axis in range(axes) if not inside[axis]], [axis for axis in range(axes) if inside[axis]]]


def _list_einsum_units(layer: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    inputs, labels, result = _split_equation(str(layer.equation))
    kernel, bias = named.get("kernel"), named.get("bias")
    if kernel is None or len(labels) != len(kernel.shape):
        return ()
    blocks = [label for label in labels if label in inputs and label in result]
    units = [label for label in labels if label in result and label not in inputs]
    incoming = [label for label in labels if label not in result]
    sizes = dict(zip(labels, _shape_of(kernel), strict=True))
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


register(
    LayerKind(
        classes=("EinsumDense",),
        kernel="kernel",
        fans={"kernel": _count_einsum_fans},
        list_units=_list_einsum_units,
        initializer_axes=_find_einsum_axes,
    )
)


# --- convolutions -----------------------------------------------------------------------------------------------------


def _arrange_depthwise(values: Array) -> Array:
    channels, multiplier = values.shape[-2:]
    return values.reshape(-1, channels, multiplier).transpose(1, 0, 2)


def _count_depthwise(_: Any, shape: Shape) -> Fans:
    area = math.prod(shape[:-2])
    return float(area), float(area * shape[-1])


def _list_depthwise_units(layer: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    multiplier = int(layer.depth_multiplier)
    return _pair("filters", named, _arrange_depthwise, lambda bias: bias.reshape(-1, 1, multiplier))


def _list_separable_units(_: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    multiplied = _pair("units", named, _arrange_depthwise, kernel="depthwise_kernel")
    return *multiplied, *_pair("filters", named, _arrange_last, _arrange_last, kernel="pointwise_kernel")


def _list_convolution_units(layer: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    groups = int(layer.groups)

    def grouped(values: Array) -> Array:
        return values.reshape(-1, groups, values.shape[-1] // groups).transpose(1, 0, 2)

    return _pair("filters", named, grouped, grouped)


register(
    LayerKind(
        classes=("Conv1D", "Conv2D", "Conv3D"),
        kernel="kernel",
        fans={
            "kernel": lambda layer, shape: (
                float(math.prod(shape[:-1])),
                math.prod(shape[:-2]) * shape[-1] / layer.groups,
            )
        },
        list_units=_list_convolution_units,
    )
)
register(
    LayerKind(
        classes=("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        kernel="kernel",
        # The kernel is stored [..., out, in]; a stride s spreads the inputs over s times the outputs.
        fans={
            "kernel": lambda layer, shape: (
                math.prod(shape[:-2]) * shape[-1] / math.prod(layer.strides),
                float(math.prod(shape[:-1])),
            )
        },
        list_units=lambda _, named: _pair(
            "filters", named, lambda values: _arrange_last(np.moveaxis(values, -2, -1)), _arrange_last
        ),
    )
)
register(
    LayerKind(
        classes=("DepthwiseConv1D", "DepthwiseConv2D"),
        kernel="kernel",
        fans={"kernel": _count_depthwise},
        list_units=_list_depthwise_units,
    )
)
register(
    LayerKind(
        classes=("SeparableConv1D", "SeparableConv2D"),
        fans={"depthwise_kernel": _count_depthwise, "pointwise_kernel": _count_matrix},
        list_units=_list_separable_units,
    )
)


# --- recurrent cells, look-ups and attention --------------------------------------------------------------------------


def _count_recurrent(_: Any, shape: Shape) -> Fans:
    """Count each of both kernels by itself; an input feeds the units of all gates."""
    return float(math.prod(shape[:-1])), float(math.prod(shape[:-2]) * shape[-1])


def _list_recurrent_units(layer: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    found = tuple(named[name] for name in ("kernel", "recurrent_kernel", "bias") if name in named)
    gates = find_kind(layer).gates

    def by_unit(values: Array) -> Array:
        units = values.shape[-1] // gates
        return values.reshape(1, -1, units)  # the gates of one unit follow each other among its incoming weights

    return (UnitWeights("units", found, (by_unit,) * len(found)),) if found else ()


def _recurrent(gates: int, *classes: str) -> LayerKind:
    fans = {"kernel": _count_recurrent, "recurrent_kernel": _count_recurrent}
    return LayerKind(classes, fans=fans, list_units=_list_recurrent_units, gates=gates)


register(_recurrent(1, "SimpleRNNCell"))
register(_recurrent(3, "GRUCell"))
register(_recurrent(4, "LSTMCell", "ConvLSTMCell"))


def _list_embedding_units(_: Any, named: Mapping[str, Any]) -> tuple[UnitWeights, ...]:
    columns = [named[name] for name in ("embeddings", "reverse_embeddings") if name in named]
    listed = [UnitWeights("columns", (table,), (_arrange_last,)) for table in columns]
    if "embeddings" in named:
        rows = UnitWeights("rows", (named["embeddings"],), (lambda table: table.T[None],), looked_up=True)
        listed.insert(0, rows)
    return tuple(listed)


register(
    LayerKind(
        classes=("Embedding", "ReversibleEmbedding"),
        # A look-up takes one row: one input. The reverse table is multiplied by.
        fans={"embeddings": lambda _, shape: (1.0, float(shape[1])), "reverse_embeddings": _count_matrix},
        list_units=_list_embedding_units,
        rows="input_dim",
        drawn_by={"reverse_embeddings": "embeddings_initializer"},
    )
)
register(LayerKind(classes=("CategoryEncoding",), rows="num_tokens"))
register(LayerKind(classes=("AdditiveAttention",), fans={"scale": lambda _, shape: (float(shape[0]), 1.0)}))
register(
    LayerKind(
        classes=("MultiHeadAttention", "GroupedQueryAttention"),
        parts={"query": "query", "key": "key", "value": "value", "attention_output": "output"},
    )
)
