"""How many inputs a unit really sums, and how many outputs an input really feeds.

This is what the layer does with its kernel, which is not always what the initializer assumes from the
kernel's shape (depthwise and transposed convolutions differ).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.graphs import outside_trace
from initcheck.backend.runtime import import_keras
from initcheck.probe.paths import own_variables

UNKNOWN: Final = (math.nan, math.nan)

GATES: Final = {"SimpleRNNCell": 1, "GRUCell": 3, "LSTMCell": 4, "ConvLSTMCell": 4}
"""How many gates' weights lie side by side in the kernels of Keras' recurrent cells."""

_ATTENTION_KERNELS: Final = ("query", "key", "value", "attention_output")


def main_kernel(operation: Any) -> Any | None:
    """Return the weight whose statistics stand for the layer: its kernel, or its largest matrix.

    Args:
        operation: a layer, an operation without weights, or None.

    Returns:
        A Keras variable, or None where the layer itself holds no weight with two or more axes.
    """
    matrices = [variable for variable in own_variables(operation) if len(variable.shape) >= 2]
    for variable in matrices:
        if variable.name in ("kernel", "embeddings"):
            return variable
    return max(matrices, key=lambda variable: math.prod(variable.shape), default=None)


def count_fans(operation: Any, kernel: Any | None) -> tuple[float, float]:
    """Count the true fans of a layer's kernel.

    Args:
        operation: the layer.
        kernel: its kernel, from :func:`main_kernel`.

    Returns:
        (fan_in, fan_out): inputs summed by one output unit away from the borders, and outputs fed by
        one input unit. NaN where the layer is of a kind whose sums are not known.
    """
    if kernel is None or kernel.name != "kernel":
        return UNKNOWN
    layers = import_keras().layers
    shape = tuple(int(size) for size in kernel.shape)
    if isinstance(operation, layers.EinsumDense):
        return _count_einsum_fans(str(operation.equation), shape)
    if isinstance(operation, layers.Dense):
        return float(shape[-2]), float(shape[-1])
    area = math.prod(shape[:-2])
    if isinstance(operation, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return float(area), float(area * shape[-1])
    if isinstance(operation, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose):
        # The kernel is stored [..., out, in]; a stride s spreads the inputs over s times the outputs.
        return area * shape[-1] / math.prod(operation.strides), float(area * shape[-2])
    if isinstance(operation, layers.Conv1D | layers.Conv2D | layers.Conv3D):
        return float(area * shape[-2]), area * shape[-1] / operation.groups
    return UNKNOWN


def count_weight_fans(layer: Any, variable: Any) -> tuple[float, float]:
    """Count the true fans of any weight of a layer that Keras ships.

    Beyond :func:`count_fans` these are known: both kernels of a separable convolution, recurrent cells (an input
    feeds the units of *all* gates; a unit sums the inputs and the states in two kernels, which are counted each by
    itself), Embedding (a look-up takes one row: one input, and as many outputs as the row is long), the reverse
    table of ReversibleEmbedding, and the scale of AdditiveAttention. Strides of plain convolutions are left out, as
    everywhere else in the literature on fans.

    Args:
        layer: the layer that holds the weight itself.
        variable: the weight.

    Returns:
        (fan_in, fan_out). NaN for biases, scales and statistics, which nothing is summed through; and for layers of
        other kinds and those whose ``call`` is not Keras' own: their sums are not guessed.
    """
    if not computes_as_keras(layer):
        return UNKNOWN
    layers = import_keras().layers
    name, shape = str(variable.name), tuple(int(size) for size in variable.shape)
    area = math.prod(shape[:-2])
    if type_name(layer) in GATES and name in ("kernel", "recurrent_kernel"):
        return float(area * shape[-2]), float(area * shape[-1])
    if isinstance(layer, layers.Embedding):
        if name == "reverse_embeddings":
            return float(shape[0]), float(shape[1])
        return (1.0, float(shape[1])) if name == "embeddings" else UNKNOWN
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        if name == "depthwise_kernel":
            return float(area), float(area * shape[-1])
        return (float(shape[-2]), float(shape[-1])) if name == "pointwise_kernel" else UNKNOWN
    if isinstance(layer, layers.AdditiveAttention):
        return (float(shape[0]), 1.0) if name == "scale" else UNKNOWN
    return count_fans(layer, variable)


def computes_as_keras(layer: Any) -> bool:
    """Tell whether a layer's computation is the one that Keras ships for its class."""
    return str(getattr(type(layer).call, "__module__", "")).startswith("keras.")


def type_name(layer: Any) -> str:
    """Return the name of the class in Keras that a layer is, or is derived from."""
    return next((kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("keras.")), "")


def find_attention_kernels(members: dict[str, Any]) -> dict[int, str]:
    """Find the projections of attention layers.

    Args:
        members: the layers of a model by their paths.

    Returns:
        By the ``id`` of the projecting layer what it makes: query, key, value or output.
    """
    layers = import_keras().layers
    found = {}
    for path, layer in members.items():
        parent = members.get(path.rpartition("/")[0])
        if isinstance(parent, layers.MultiHeadAttention | layers.GroupQueryAttention):
            name = path.rpartition("/")[2]
            if name in _ATTENTION_KERNELS:
                found[id(layer)] = name.removeprefix("attention_")
    return found


def split_equation(equation: str) -> tuple[str, str, str]:
    """Split an einsum equation of an input and a kernel into the labels of both and of the result."""
    operands, result = equation.replace(" ", "").replace(".", "").split("->")
    inputs, weights = operands.split(",")
    return inputs, weights, result


def _count_einsum_fans(equation: str, shape: tuple[int, ...]) -> tuple[float, float]:
    inputs, labels, result = split_equation(equation)
    if len(labels) != len(shape):
        return UNKNOWN
    sizes = dict(zip(labels, shape, strict=True))
    fan_in = math.prod(size for label, size in sizes.items() if label in inputs and label not in result)
    fan_out = math.prod(size for label, size in sizes.items() if label in result and label not in inputs)
    return float(fan_in), float(fan_out)


def einsum_axes(equation: str, axes: int) -> list[Any] | None:
    """Tell which of a kernel's axes EinsumDense calls inputs and outputs, from Keras 3.15 on."""
    operands, result = equation.replace(" ", "").split("->")
    labels = operands.split(",")[1].replace(".", "")
    if len(labels) != axes:
        return None
    inside = [label in result for label in labels]
    return [[axis for axis in range(axes) if not inside[axis]], [axis for axis in range(axes) if inside[axis]]]


FAR = 1e6
"""Where a bounded activation has reached its ends (softsign is within 1e-6 of them)."""


def find_bounds(activation: Callable[..., Any] | None) -> tuple[float, float] | None:
    """Find the two ends of the range of a bounded activation, by calling it far out on both sides.

    Args:
        activation: a function of a tensor.

    Returns:
        (low, high), or None for a function that is unbounded, has one limit on both sides, mixes its
        inputs (softmax), or cannot be called on a small matrix.
    """
    if activation is None:
        return None
    probes = np.asarray([[-FAR, FAR, 0.0], [-FAR, FAR, 2.0 * FAR]], dtype=np.float32)
    with outside_trace():
        try:
            values = np.asarray(import_keras().ops.convert_to_numpy(activation(probes)), dtype=np.float64)
        except Exception:  # noqa: BLE001 - any function a user wrote: one that needs other inputs has no known range
            return None
    if values.shape != probes.shape or not np.array_equal(values[0, :2], values[1, :2]):
        return None
    low, high = sorted(values[0, :2].tolist())
    if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > math.sqrt(FAR) or low == high:
        return None
    return round(low, 5), round(high, 5)


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
