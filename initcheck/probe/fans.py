"""How many inputs a unit really sums, and how many outputs an input really feeds.

This is what the layer does with its kernel, which is not always what the initializer assumes from the
kernel's shape (depthwise and transposed convolutions differ).
"""

from __future__ import annotations

import math
from typing import Any

from initcheck.keras_runtime import import_keras
from initcheck.probe.paths import own_variables

UNKNOWN = (math.nan, math.nan)


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


def _count_einsum_fans(equation: str, shape: tuple[int, ...]) -> tuple[float, float]:
    operands, result = equation.replace(" ", "").split("->")
    inputs, weights = operands.split(",")
    labels = [label for label in weights if label != "."]
    if len(labels) != len(shape):
        return UNKNOWN
    sizes = dict(zip(labels, shape, strict=True))
    fan_in = math.prod(size for label, size in sizes.items() if label in inputs and label not in result)
    fan_out = math.prod(size for label, size in sizes.items() if label in result and label not in inputs)
    return float(fan_in), float(fan_out)
