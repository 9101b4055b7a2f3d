"""The loss that is differentiated where no labels are given: a fixed random linear function of the outputs.

It needs no labels, and the gradient that enters the network from the top has second moment 1, whatever the task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from initcheck.backend.runtime import import_keras, is_float_dtype

RANDOM_LOSS_SEED: Final = 20_100_513
"""Seed of the directions."""

Loss = Callable[[Any], Any]
"""From a model's outputs to a scalar tensor."""


def random_loss(outputs: Any) -> Any:
    """The default loss: L = sum_i r_i y_i, with fixed normal r_i scaled to mean r_i^2 = 1."""
    keras = import_keras()
    ops = keras.ops
    total = ops.zeros((), "float32")
    for number, output in enumerate(tensor for tensor in keras.tree.flatten(outputs) if is_float_dtype(tensor.dtype)):
        dtype = "float64" if output.dtype.name == "float64" else "float32"
        direction = random_loss_gradient(ops.shape(output), dtype, number)
        total = ops.cast(total, dtype) + ops.sum(direction * ops.cast(output, dtype))
    return total


def random_loss_gradient(shape: Any, dtype: str = "float32", number: int = 0) -> Any:
    """Draw the fixed directions r of the default loss, which are also dL/dy.

    Returns:
        Tensor of this shape, normal and scaled to mean r^2 = 1; the same for the same arguments.
    """
    keras = import_keras()
    direction = keras.random.normal(shape, dtype=dtype, seed=RANDOM_LOSS_SEED + number)
    return direction / keras.ops.sqrt(keras.ops.mean(keras.ops.square(direction)))
