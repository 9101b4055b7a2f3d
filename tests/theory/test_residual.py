"""Residual trunks, against networks drawn with NumPy and iterated recursions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused

from initcheck.theory import residual

Array = NDArray[np.float64]


def draw_kernels(random: np.random.Generator, seeds: int, width: int, sigma_w2: float) -> Array:
    return random.normal(0.0, math.sqrt(sigma_w2 / width), (seeds, width, width))


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def half(q: float) -> float:
    return q / 2.0


def relu_mean(q: float) -> float:
    return math.sqrt(q / (2.0 * math.pi))


def tanh_second_moment(q: float) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    return float(weights @ np.tanh(math.sqrt(q) * points) ** 2 / weights.sum())


class TestComputePreactivationTrunk:
    def test_drawn_relu_trunks_double_with_every_block(self) -> None:
        width, blocks, seeds = 24, 4, 3000
        random = np.random.default_rng(1)
        # Signs and not normal values: with them E x^2 is 1 for every seed, and half of relu(x) is zero.
        x = random.permuted(np.tile(np.repeat([1.0, -1.0], width // 2), (seeds, 1)), axis=1)[:, np.newaxis]
        for _ in range(blocks):
            x = x + relu(x) @ draw_kernels(random, seeds, width, 2.0)
        moments = np.mean(x[:, 0] ** 2, axis=1)
        law = residual.compute_preactivation_trunk(1.0, blocks, 2.0, half)
        np.testing.assert_allclose(law, 2.0 ** np.arange(blocks + 1), rtol=1e-15)
        assert holds(moments, law[-1])
        # Negative control: blocks that end in the activation function.
        assert not holds(moments, residual.compute_postactivation_trunk(1.0, 0.0, blocks, 2.0, half, relu_mean)[0][-1])

    def test_drawn_tanh_trunks_grow_linearly(self) -> None:
        width, blocks, seeds = 100, 6, 400
        random = np.random.default_rng(2)
        x = random.normal(size=(seeds, 1, width))
        for _ in range(blocks):
            x = x + np.tanh(x) @ draw_kernels(random, seeds, width, 1.0)
        moments = np.mean(x[:, 0] ** 2, axis=1)
        assert holds(moments, residual.compute_preactivation_trunk(1.0, blocks, 1.0, tanh_second_moment)[-1])
        # Negative control: linear blocks.
        assert not holds(moments, residual.compute_preactivation_trunk(1.0, blocks, 1.0, lambda p: p)[-1])


class TestComputePostactivationTrunk:
    def test_means_of_drawn_relu_trunks_add_coherently(self) -> None:
        width, blocks, seeds = 200, 5, 200
        random = np.random.default_rng(3)
        x = random.normal(size=(seeds, 1, width))
        for _ in range(blocks):
            x = x + relu(x @ draw_kernels(random, seeds, width, 2.0))
        moments, means = np.mean(x[:, 0] ** 2, axis=1), np.mean(x[:, 0], axis=1)
        law = residual.compute_postactivation_trunk(1.0, 0.0, blocks, 2.0, half, relu_mean)
        assert holds(moments, law.second_moment[-1])
        assert holds(means, law.mean[-1])
        # Negative controls: second moments alone; a trunk that starts with a mean.
        assert not holds(moments, 2.0**blocks)
        other = residual.compute_postactivation_trunk(1.0, 1.0, blocks, 2.0, half, relu_mean)
        assert not holds(moments, other.second_moment[-1]) and not holds(means, other.mean[-1])

    @pytest.mark.parametrize("sigma_w2", [0.3, 1.0, 2.0, 30.0])
    def test_relu_trunks_settle_at_the_growth_of_the_closed_equation(self, sigma_w2: float) -> None:
        law = residual.compute_postactivation_trunk(1.0, 0.0, 150, sigma_w2, half, relu_mean).second_moment
        growth = residual.compute_postactivation_relu_growth(sigma_w2)
        assert law[-1] / law[-2] == pytest.approx(growth, rel=1e-8)

    def test_a_trunk_beyond_floating_point_is_infinite(self) -> None:
        trunk = residual.compute_postactivation_trunk(1.0, 0.0, 1000, 2.0, half, relu_mean)
        assert trunk.second_moment[-1] == math.inf and math.isnan(trunk.mean[-1])
        assert residual.compute_preactivation_trunk(1.0, 1100, 2.0, half)[-1] == math.inf
        assert residual.compute_scaled_growth(1100, 1.0) == math.inf

    def test_without_weights_nothing_grows(self) -> None:
        assert residual.compute_postactivation_relu_growth(0.0) == 1.0


class TestComputeGradientGain:
    @pytest.mark.parametrize("activation_last", [False, True])
    def test_drawn_relu_blocks_double_the_squared_gradient(self, activation_last: bool) -> None:
        width, seeds = 100, 400
        random = np.random.default_rng(4)
        x, gradient = random.normal(size=(2, seeds, width))
        kernels = draw_kernels(random, seeds, width, 2.0)
        if activation_last:
            slope = np.einsum("si,sio->so", x, kernels) > 0.0
            back = gradient + np.einsum("so,sio->si", slope * gradient, kernels)
        else:
            back = gradient + (x > 0.0) * np.einsum("so,sio->si", gradient, kernels)
        gains = np.sum(back**2, axis=1) / np.sum(gradient**2, axis=1)
        assert holds(gains, residual.compute_gradient_gain(2.0, 0.5))
        # Negative control: linear blocks.
        assert not holds(gains, residual.compute_gradient_gain(2.0, 1.0))


class TestScaledAndNormalizedBranches:
    def test_a_share_per_block_is_a_smaller_sigma_w2(self) -> None:
        trunk = residual.compute_preactivation_trunk(1.0, 12, 2.0 / 12, half)
        assert residual.compute_scaled_growth(12) == pytest.approx(trunk[-1], rel=1e-14)
        assert residual.compute_scaled_growth(5, 1.0) == pytest.approx(2.0**5, rel=1e-14)
        assert residual.compute_scaled_growth(10**6) == pytest.approx(math.e, rel=1e-6)

    def test_drawn_normalized_branches_make_the_trunk_grow_linearly(self) -> None:
        width, blocks, seeds, alpha = 50, 8, 400, 0.6
        random = np.random.default_rng(5)
        x = random.normal(size=(seeds, 1, width))
        x /= np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
        for _ in range(blocks):
            normalized = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
            x = x + alpha * normalized @ draw_kernels(random, seeds, width, 1.0)
        moments = np.mean(x[:, 0] ** 2, axis=1)
        assert holds(moments, residual.compute_normalized_trunk(blocks, alpha))
        # Negative control: branches that are not normalized.
        assert not holds(moments, residual.compute_scaled_growth(blocks, alpha**2))

    def test_a_trunk_without_blocks_is_as_it_was(self) -> None:
        assert residual.compute_normalized_trunk(0) == 1.0
        np.testing.assert_array_equal(residual.compute_preactivation_trunk(3.0, 0, 2.0, half), [3.0])


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: residual.compute_preactivation_trunk(-1.0, 3, 2.0, half), "start=-1.0"),
        (lambda: residual.compute_preactivation_trunk(1.0, -1, 2.0, half), "blocks=-1"),
        (lambda: residual.compute_preactivation_trunk(1.0, 3, math.nan, half), "sigma_w2=nan"),
        (lambda: residual.compute_preactivation_trunk(1.0, 3, 2.0, lambda p: math.nan), "second_moment(p)=nan"),
        (lambda: residual.compute_preactivation_trunk(1.0, 3, 2.0, lambda p: -p), "second_moment(p)=-1.0"),
        (lambda: residual.compute_postactivation_trunk(1.0, 1.1, 3, 2.0, half, relu_mean), "start_mean=1.1"),
        (lambda: residual.compute_postactivation_trunk(1.0, 0.0, 3, 2.0, half, lambda q: math.inf), "mean(q)=inf"),
        (lambda: residual.compute_postactivation_relu_growth(-0.1), "sigma_w2=-0.1"),
        (lambda: residual.compute_postactivation_relu_growth(math.nan), "sigma_w2=nan"),
        (lambda: residual.compute_gradient_gain(-1.0, 0.5), "sigma_w2=-1.0"),
        (lambda: residual.compute_gradient_gain(1.0, math.nan), "slope_second_moment=nan"),
        (lambda: residual.compute_scaled_growth(0), "blocks=0"),
        (lambda: residual.compute_scaled_growth(3, -0.5), "branch_share=-0.5"),
        (lambda: residual.compute_normalized_trunk(-1), "blocks=-1"),
        (lambda: residual.compute_normalized_trunk(3, math.nan), "alpha=nan"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
