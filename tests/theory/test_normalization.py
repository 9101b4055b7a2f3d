"""Batch and layer normalization, against Jacobians written out and wide networks drawn with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused

from initcheck.theory.layers import (
    compute_layer_normalization_rate,
    compute_linear_batch_normalization_rate,
    compute_normalized_gradient_gain,
    compute_normalized_second_moment,
    compute_relu_batch_normalization_rate,
)

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
    """ln of the factor per layer of the squared gradient norm, in the middle of one network: W, norm, activation."""
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
    assert compute_normalized_second_moment(variance, epsilon) == pytest.approx(np.mean(y**2), rel=1e-10)


@pytest.mark.parametrize(
    ("size", "variance", "epsilon"), [(2, 0.3, 1e-3), (5, 0.01, 1e-2), (8, 2.0, 0.0), (3, 0.0, 0.1)]
)
def test_the_gradient_gain_is_the_mean_square_of_the_jacobian(size: int, variance: float, epsilon: float) -> None:
    x = np.random.default_rng(2).normal(size=size)
    x = math.sqrt(variance) * (x - x.mean()) / x.std()
    step = 1e-6
    columns = [
        (normalize(x + step * row, epsilon, 0)[0] - normalize(x - step * row, epsilon, 0)[0]) / (2.0 * step)
        for row in np.eye(size)
    ]
    gain = compute_normalized_gradient_gain(variance, size, epsilon)
    assert gain == pytest.approx(np.sum(np.square(columns)) / size, rel=1e-7)


def tanh(y: Array) -> tuple[Array, Array]:
    return np.tanh(y), 1.0 - np.tanh(y) ** 2


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
    # What two samples' outputs have more within than between: a - b in the theorem.
    squares, sums = np.sum(np.maximum(u, 0.0) ** 2, axis=1), np.sum(np.maximum(u, 0.0), axis=1)
    spreads = squares - (sums**2 - squares) / (batch_size - 1.0)
    factor = (batch_size - 3.0) * (batch_size - 1.0) / batch_size
    assert holds(traces - compute_relu_batch_normalization_rate(batch_size) * factor * spreads, 0.0)
    # Negative control: the rate in the limit.
    limit = compute_relu_batch_normalization_rate(math.inf)
    assert not holds(traces - limit * factor * spreads, 0.0)


@pytest.mark.parametrize(
    ("activation", "law", "other"),
    [
        (relu, compute_relu_batch_normalization_rate, compute_linear_batch_normalization_rate),
        (linear, compute_linear_batch_normalization_rate, compute_relu_batch_normalization_rate),
    ],
)
def test_gradients_explode_at_the_rate_of_the_law_in_wide_batch_normalized_networks(
    activation: Callable[[Array], tuple[Array, Array]], law: Callable[[float], float], other: Callable[[float], float]
) -> None:
    rates = [measure_rates(seed, 300, 8, 0, activation, 20) for seed in range(40)]
    assert holds(rates, math.log(law(8)))
    # Negative controls: the limit of a large batch; the other activation function.
    assert not holds(rates, math.log(law(math.inf)))
    assert not holds(rates, math.log(other(8)))


def test_gradients_change_at_the_rate_of_the_law_in_wide_layer_normalized_networks() -> None:
    points, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    tanh_rate = compute_layer_normalization_rate(
        float(weights @ np.tanh(points) ** 2), float(weights @ (1.0 - np.tanh(points) ** 2) ** 2)
    )
    relu_rate = compute_layer_normalization_rate(0.5, 0.5)
    assert relu_rate == 1.0
    measured = {
        activation: [measure_rates(seed, 300, 1, 1, activation, 20) for seed in range(40)]
        for activation in (relu, tanh)
    }
    assert holds(measured[relu], math.log(relu_rate))
    assert holds(measured[tanh], math.log(tanh_rate))
    # Negative control: each other's rate.
    assert not holds(measured[relu], math.log(tanh_rate))
    assert not holds(measured[tanh], math.log(relu_rate))


def test_the_rates_of_large_batches_approach_the_limits() -> None:
    assert compute_relu_batch_normalization_rate(10**7) == pytest.approx(math.pi / (math.pi - 1), rel=1e-6)
    assert compute_linear_batch_normalization_rate(10**7) == pytest.approx(1.0, rel=1e-6)
    assert compute_relu_batch_normalization_rate(math.inf) == math.pi / (math.pi - 1)
    assert compute_linear_batch_normalization_rate(math.inf) == 1.0
    assert compute_relu_batch_normalization_rate(8.0) == compute_relu_batch_normalization_rate(8)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: compute_relu_batch_normalization_rate(3), "batch_size=3"),
        (lambda: compute_linear_batch_normalization_rate(3), "batch_size=3"),
        (lambda: compute_relu_batch_normalization_rate(0), "batch_size=0"),
        (lambda: compute_relu_batch_normalization_rate(8.5), "batch_size=8.5"),
        (lambda: compute_relu_batch_normalization_rate(math.nan), "batch_size=nan"),
        (lambda: compute_linear_batch_normalization_rate(-math.inf), "batch_size=-inf"),
        (lambda: compute_normalized_second_moment(-0.1), "variance=-0.1"),
        (lambda: compute_normalized_second_moment(math.nan), "variance=nan"),
        (lambda: compute_normalized_second_moment(0.0, 0.0), "variance=0, epsilon=0"),
        (lambda: compute_normalized_second_moment(1.0, -1.0), "epsilon=-1.0"),
        (lambda: compute_normalized_gradient_gain(1.0, 1), "size=1"),
        (lambda: compute_normalized_gradient_gain(0.0, 4, 0.0), "variance=0, epsilon=0"),
        (lambda: compute_layer_normalization_rate(0.0, 0.5), "second_moment=0.0"),
        (lambda: compute_layer_normalization_rate(0.5, math.nan), "slope_second_moment=nan"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
