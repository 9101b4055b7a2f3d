"""How many inputs a unit really sums, and how many outputs an input really feeds.

This is what the layer does with its kernel, which is not always what the initializer assumes from the
kernel's shape (depthwise and transposed convolutions differ).
"""

from __future__ import annotations

import math
from typing import Any, Final

from initcheck.keras_runtime import import_keras
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
