"""Networks of Dense layers drawn with NumPy, many seeds at once: what the law of finite width has to predict.

Nothing here is shared with the package: weights are drawn by their definitions, slopes are written out by hand.
Arithmetic is in float32, whose rounding is far below what the seeds resolve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

Array = NDArray[np.float64]
Single = NDArray[np.float32]

SELU_SCALE, SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)


def _gelu_slope(z: Single) -> Single:
    return np.asarray(ndtr(z) + z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), dtype=np.float32)


FUNCTIONS: dict[str, tuple[Callable[[Single], Single], Callable[[Single], Single]]] = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float32)),
    "leaky_relu": (lambda z: np.where(z > 0, z, np.float32(0.2) * z), lambda z: np.where(z > 0, 1, 0.2)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "gelu": (lambda z: z * ndtr(z), _gelu_slope),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
    "hard_tanh": (lambda z: np.clip(z, -1, 1), lambda z: (np.abs(z) < 1).astype(np.float32)),
}


def draw_weights(random: np.random.Generator, kind: str, shape: tuple[int, int, int]) -> Single:
    """Draw kernels of unit variance (seeds, inputs, outputs): Gaussian, uniform, truncated or orthogonal.

    Orthogonal ones have orthonormal rows or columns times the root of the longer side.
    """
    if kind == "normal":
        return random.standard_normal(shape, dtype=np.float32)
    if kind == "uniform":
        return (2.0 * random.random(shape, dtype=np.float32) - 1.0) * np.float32(math.sqrt(3.0))
    if kind == "truncated_normal":
        low = float(ndtr(-2.0))
        values = ndtri(low + (1.0 - 2.0 * low) * random.random(shape, dtype=np.float32))
        return np.asarray(values / 0.8796256610342398, dtype=np.float32)
    seeds, inputs, outputs = shape
    longer, shorter = max(inputs, outputs), min(inputs, outputs)
    q, r = np.linalg.qr(random.standard_normal((seeds, longer, shorter)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, np.newaxis, :]
    q = q if inputs >= outputs else q.transpose(0, 2, 1)
    return np.asarray(q * math.sqrt(longer), dtype=np.float32)


@dataclass(frozen=True)
class Kernel:
    """How the kernels of hidden layers are drawn; "fan_max" is the longer side, which orthogonal ones divide by."""

    kind: str
    scale: float
    mode: str = "fan_in"

    def variance(self, inputs: int, outputs: int) -> float:
        return self.scale / (inputs if self.mode == "fan_in" else max(inputs, outputs))


@dataclass(frozen=True)
class Networks:
    """What was measured in each network; of shape [seeds, layers], the head included.

    Attributes:
        preactivation: mean of z^2 over batch and units.
        activation: mean of phi(z)^2.
        gradient: mean over the batch of |dL/dz|^2.
        weight_gradient: |dL/dW|^2 of the summed batch.
        activation_mean: mean of phi(z).
        activation_batch_variance: variance of phi(z) across the samples by unit.
        activation_by_sample: mean over units of phi(z)^2, shape [seeds, layers, samples].
    """

    preactivation: Array
    activation: Array
    gradient: Array
    weight_gradient: Array
    activation_mean: Array
    activation_batch_variance: Array
    activation_by_sample: Array


def simulate(
    activation: str,
    kernel: Kernel,
    widths: Sequence[int],
    x: Array,
    seeds: int,
    seed: int,
    bias_variance: float = 0.0,
    outputs: int = 10,
) -> Networks:
    """Draw networks with hidden layers of these widths and a linear head, with Gaussian weights of variance 1 / n.

    The gradients at the outputs are drawn for each network and sample, in all directions alike, of mean square 1.
    """
    random = np.random.default_rng(seed)
    units = [x.shape[1], *widths, outputs]
    weights = sum(n * m for n, m in pairwise(units))
    chunk = max(1, min(seeds, 8_000_000 // weights))
    parts = []
    for begin in range(0, seeds, chunk):
        size = min(chunk, seeds - begin)
        parts.append(_simulate(random, activation, kernel, units, x, size, bias_variance))
    return Networks(*(np.concatenate([part[index] for part in parts]) for index in range(len(parts[0]))))


def _simulate(
    random: np.random.Generator,
    activation: str,
    kernel: Kernel,
    units: list[int],
    x: Array,
    seeds: int,
    bias_variance: float,
) -> tuple[Array, ...]:
    phi, slope = FUNCTIONS[activation]
    last = len(units) - 2
    h = np.broadcast_to(x.astype(np.float32), (seeds, *x.shape))
    inputs, kernels, slopes = [], [], []
    forward: list[tuple[Array, ...]] = []
    for place, (n, m) in enumerate(pairwise(units)):
        variance = 1.0 / n if place == last else kernel.variance(n, m)
        w = draw_weights(random, "normal" if place == last else kernel.kind, (seeds, n, m))
        scale = np.float32(math.sqrt(variance))
        z = (h @ w) * scale
        if bias_variance and place < last:
            z += random.standard_normal((seeds, 1, m), dtype=np.float32) * np.float32(math.sqrt(bias_variance))
        inputs.append(h)
        kernels.append((w, scale))
        slopes.append(np.ones_like(z) if place == last else slope(z))
        h = z if place == last else np.asarray(phi(z), dtype=np.float32)
        square = np.mean(np.square(h), axis=2, dtype=np.float64)
        forward.append(
            (
                np.mean(np.square(z), axis=(1, 2), dtype=np.float64),
                square.mean(axis=1),
                np.mean(h, axis=(1, 2), dtype=np.float64),
                np.mean(np.var(h, axis=1, dtype=np.float64), axis=1),
                square,
            )
        )
    delta = random.standard_normal((seeds, x.shape[0], units[-1]), dtype=np.float32)
    delta /= np.sqrt(np.mean(np.square(delta), axis=2, keepdims=True))
    gradients, weight_gradients = [], []
    for place in reversed(range(last + 1)):
        delta = delta * slopes[place]
        gradients.append(np.mean(np.sum(np.square(delta), axis=2, dtype=np.float64), axis=1))
        # |sum_b x_b delta_b'|^2 = sum_ab (x_a . x_b) (delta_a . delta_b).
        products = (inputs[place] @ inputs[place].transpose(0, 2, 1)) * (delta @ delta.transpose(0, 2, 1))
        weight_gradients.append(np.sum(products, axis=(1, 2), dtype=np.float64))
        w, scale = kernels[place]
        delta = (delta @ w.transpose(0, 2, 1)) * scale
    preactivation, square, mean, variance, by_sample = (
        np.stack([layer[index] for layer in forward], axis=1) for index in range(5)
    )
    return (
        preactivation,
        square,
        np.stack(gradients[::-1], axis=1),
        np.stack(weight_gradients[::-1], axis=1),
        mean,
        variance,
        by_sample,
    )
