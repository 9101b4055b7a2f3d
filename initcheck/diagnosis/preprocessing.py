"""What a model does to its inputs before its first weight: Rescaling and Normalization, and how to undo it.

A batch that is made should reach the first weight with variance 1. A model that divides pixels by 127.5 gets numbers
that become normal by that division.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras


def undo_preprocessing(model: Any, number: int, values: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Undo the preprocessing layers that stand at one input of a functional or sequential model.

    Args:
        model: a Keras model.
        number: which of its inputs, in flat order.
        values: what should come out of the preprocessing, shape [B, ...].

    Returns:
        What has to go in, and whether there is preprocessing at all.
    """
    chain = _leading_layers(model, number)
    for layer in reversed(chain):
        scale, offset = _read_affine(layer)
        values = ((values - offset) / scale).astype(values.dtype)
    return values, bool(chain)


def _leading_layers(model: Any, number: int) -> list[Any]:
    """List the preprocessing layers between an input and the first other layer."""
    keras = import_keras()
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if number >= len(inputs):
        return []
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    tensor = inputs[number]
    found: list[Any] = []
    while True:
        takers = [layer for layer in getattr(model, "layers", ()) if _takes(layer, tensor)]
        if len(takers) != 1 or not isinstance(takers[0], kinds):
            return found
        found.append(takers[0])
        tensor = takers[0].output


def _takes(layer: Any, tensor: Any) -> bool:
    nodes = getattr(layer, "_inbound_nodes", ())
    return any(any(each is tensor for each in node.input_tensors) for node in nodes)


def _read_affine(layer: Any) -> tuple[Any, Any]:
    """Read the scale and the offset of y = scale * x + offset."""
    keras = import_keras()
    if isinstance(layer, keras.layers.Rescaling):
        return np.asarray(layer.scale, dtype=np.float64), np.asarray(layer.offset, dtype=np.float64)
    mean = np.asarray(keras.ops.convert_to_numpy(layer.mean), dtype=np.float64)
    deviation = np.sqrt(np.asarray(keras.ops.convert_to_numpy(layer.variance), dtype=np.float64))
    deviation = np.maximum(deviation, keras.config.epsilon())
    if layer.invert:
        return deviation, mean
    return 1.0 / deviation, -mean / deviation
