"""A slow, independent twin of the probe: float64 NumPy forward and backward passes of dense networks.

Nothing here is shared with the package. Derivatives are written out by hand, statistics are taken by
their definitions in two passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


def _gelu(z: Array) -> Array:
    return 0.5 * z * (1.0 + erf(z / math.sqrt(2.0)))


def _gelu_derivative(z: Array) -> Array:
    return 0.5 * (1.0 + erf(z / math.sqrt(2.0))) + z * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(np.float64)),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "sigmoid": (expit, lambda z: expit(z) * (1.0 - expit(z))),
    "gelu": (_gelu, _gelu_derivative),
}


@dataclass(frozen=True)
class Layer:
    """Kernel, bias and activation of one dense layer."""

    kernel: Array
    bias: Array
    activation: str


def measure(layers: list[Layer], inputs: Array, output_gradient: Array) -> list[dict[str, float]]:
    """Measure the input and every layer of a dense network.

    Args:
        layers: from input to output.
        inputs: shape [B, features].
        output_gradient: dL/dh of the last layer, shape [B, outputs].

    Returns:
        One dictionary of quantities for the input and each layer, in order.
    """
    preactivations: list[Array] = []
    activations = [inputs]
    for layer in layers:
        preactivations.append(activations[-1] @ layer.kernel + layer.bias)
        activations.append(ACTIVATIONS[layer.activation][0](preactivations[-1]))
    rows: list[dict[str, float]] = []
    gradient = output_gradient
    for index in reversed(range(len(layers))):
        layer = layers[index]
        delta = gradient * ACTIVATIONS[layer.activation][1](preactivations[index])
        kernel_gradient = activations[index].T @ delta
        rows.append(
            reduce_preactivation(preactivations[index])
            | reduce_activation(activations[index + 1], layer.activation)
            | reduce_gradient(delta)
            | reduce_weights(layer.kernel, kernel_gradient)
        )
        gradient = delta @ layer.kernel.T
    rows.append(reduce_activation(inputs, "") | reduce_gradient(gradient))
    return rows[::-1]


def reduce_preactivation(z: Array) -> dict[str, float]:
    return {
        "preactivation_mean": float(z.mean()),
        "preactivation_variance": float(z.var()),
        "preactivation_second_moment": float((z**2).mean()),
    }


def reduce_activation(h: Array, activation: str) -> dict[str, float]:
    values = {
        "activation_mean": float(h.mean()),
        "activation_variance": float(h.var()),
        "activation_second_moment": float((h**2).mean()),
        "activation_batch_variance": float(h.var(axis=0).mean()),
        "zero_fraction": float((h == 0.0).mean()),
        "dead_fraction": float((h == 0.0).all(axis=0).mean()),
        "nonfinite_fraction": float((~np.isfinite(h)).mean()),
        "activation_max_abs": float(np.abs(h).max()),
    }
    if activation == "tanh":
        values["saturated_fraction"] = float((np.abs(h) >= 0.95).mean())
    if activation == "sigmoid":
        values["saturated_fraction"] = float((np.abs(h - 0.5) >= 0.475).mean())
    return values


def reduce_gradient(delta: Array) -> dict[str, float]:
    per_sample = np.linalg.norm(delta, axis=1)
    return {
        "gradient_second_moment": float((delta**2).mean()),
        "gradient_norm": float(np.sqrt((per_sample**2).mean())),
    }


def reduce_weights(kernel: Array, kernel_gradient: Array) -> dict[str, float]:
    norm, gradient_norm = float(np.linalg.norm(kernel)), float(np.linalg.norm(kernel_gradient))
    return {
        "weight_mean": float(kernel.mean()),
        "weight_variance": float(kernel.var()),
        "weight_norm": norm,
        "weight_gradient_norm": gradient_norm,
        "gradient_to_weight_ratio": gradient_norm / norm if norm else math.nan,
    }
