"""Batch and layer normalization, against Jacobians written out and wide networks drawn with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused

from initcheck.theory import normalization

Array = NDArray[np.float64]


def normalize(x: Array, epsilon: float, axis: int) -> tuple[Array, Array]:
    """Normalized values and the divisor."""
    centered = x - x.mean(axis=axis, keepdims=True)
    divisor = np.sqrt(np.mean(centered**2, axis=axis, keepdims=True) + epsilon)
    return centered / divisor, divisor


def send_back(gradient: Array, y: Array, divisor: Array, axis: int) -> Array:
    """The gradient through a normalization."""
    along = np.mean(gradient * y, axis=axis, keepdims=True)
    back: Array = (gradient - gradient.mean(axis=axis, keepdims=True) - y * along) / divisor
    return back


def measure_rates(
    seed: int, width: int, batch_size: int, axis: int, activation: Callable[[Array], tuple[Array, Array]], layers: int
) -> float:
    """Log of the factor per layer of the squared gradient norm in the middle of one network, W -> norm -> activation."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch_size, width))
    tape = []
    for _ in range(layers):
        kernel = random.normal(0.0, math.sqrt(3.0 / width), (width, width))
        y, divisor = normalize(x @ kernel, 0.0, axis)
        x, slope = activation(y)
        tape.append((kernel, y, divisor, slope))
    gradient = random.normal(size=x.shape)
    norms = []
    for kernel, y, divisor, slope in reversed(tape):
        gradient = send_back(gradient * slope, y, divisor, axis) @ kernel.T
        norms.append(np.sum(gradient**2))
    settled = 4
    return math.log(norms[-settled] / norms[settled]) / (layers - 2 * settled)


def relu(y: Array) -> tuple[Array, Array]:
    return np.maximum(y, 0.0), (y > 0.0).astype(np.float64)


def linear(y: Array) -> tuple[Array, Array]:
    return y, np.ones_like(y)


@pytest.mark.parametrize(("variance", "epsilon"), [(2.0, 1e-3), (1e-4, 1e-3), (0.7, 0.0), (0.0, 1e-3)])
def test_the_output_has_the_second_moment_of_the_law(variance: float, epsilon: float) -> None:
    x = np.random.default_rng(1).normal(size=50)
    x = 3.0 + math.sqrt(variance) * (x - x.mean()) / x.std()
    y, _ = normalize(x, epsilon, 0)
    assert normalization.compute_normalized_second_moment(variance, epsilon) == pytest.approx(np.mean(y**2), rel=1e-10)


@pytest.mark.parametrize(("size", "variance", "epsilon"), [(2, 0.3, 1e-3), (5, 0.01, 1e-2), (8, 2.0, 0.0), (3, 0.0, 0.1)])
def test_the_gradient_gain_is_the_mean_square_of_the_jacobian(size: int, variance: float, epsilon: float) -> None:
    x = np.random.default_rng(2).normal(size=size)
    x = math.sqrt(variance) * (x - x.mean()) / x.std()
    step = 1e-6
    columns = [
        (normalize(x + step * row, epsilon, 0)[0] - normalize(x - step * row, epsilon, 0)[0]) / (2.0 * step)
        for row in np.eye(size)
    ]
    gain = normalization.compute_normalized_gradient_gain(variance, size, epsilon)
    assert gain == pytest.approx(np.sum(np.square(columns)) / size, rel=1e-7)


@pytest.mark.parametrize("batch_size", [4, 5, 8, 32])
def test_the_trace_behind_the_relu_rate_is_that_of_drawn_batches(batch_size: int) -> None:
    u = np.random.default_rng(3).normal(size=(40_000, batch_size))
    u -= u.mean(axis=1, keepdims=True)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    d = (u > 0.0).astype(np.float64)
    centering = np.eye(batch_size) - 1.0 / batch_size
    projections = centering - u[:, :, np.newaxis] * u[:, np.newaxis, :]
    middle = d[:, :, np.newaxis] * centering * d[:, np.newaxis, :]
    traces = np.einsum("sij,sji->s", projections, middle)
    # The spread of the outputs about the batch's mean, by its definition: a - b.
    outputs = np.maximum(math.sqrt(batch_size) * u, 0.0)
    spread = np.mean(outputs[:, 0] ** 2 - outputs[:, 0] * outputs[:, 1])
    factor = batch_size / (spread * (batch_size - 3.0) * (batch_size - 1.0))
    rate = normalization.compute_relu_batch_normalization_rate(batch_size)
    assert np.mean(factor * traces) == pytest.approx(rate, rel=0.02)
    assert holds(traces - rate / factor * (outputs[:, 0] ** 2 - outputs[:, 0] * outputs[:, 1]) / spread, 0.0)
    # Negative control: the rate in the limit.
    limit = normalization.compute_relu_batch_normalization_rate(math.inf)
    assert not holds(traces - limit / factor * (outputs[:, 0] ** 2 - outputs[:, 0] * outputs[:, 1]) / spread, 0.0)


@pytest.mark.parametrize(
    ("activation", "law", "other"),
    [
        (relu, normalization.compute_relu_batch_normalization_rate, normalization.compute_linear_batch_normalization_rate),
        (linear, normalization.compute_linear_batch_normalization_rate, normalization.compute_relu_batch_normalization_rate),
    ],
)
def test_gradients_explode_at_the_rate_of_the_law_in_wide_batch_normalized_networks(
    activation: Callable[[Array], tuple[Array, Array]], law: Callable[[float], float], other: Callable[[float], float]
) -> None:
    rates = [measure_rates(seed, 300, 8, 0, activation, 20) for seed in range(30)]
    assert holds(rates, math.log(law(8)))
    # Negative controls: the limit of large batches; the other activation function.
    assert not holds(rates, math.log(law(math.inf)))
    assert not holds(rates, math.log(other(8)))
