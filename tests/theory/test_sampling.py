"""Differences from seed to seed, against enumeration, numerical integration and networks drawn with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import integrate, stats
from scipy.special import digamma, polygamma

from initcheck.theory import sampling

Array = NDArray[np.float64]


def relu(z: Array) -> Array:
    return np.maximum(z, 0.0)


@cache
def integrate_logarithm(freedom: int, scale: float, power: int) -> float:
    """E ln(scale X)^power for a chi-square X, with the integral taken over ln X."""
    law = stats.chi2(freedom)

    def integrand(t: float) -> float:
        return (math.log(scale) + t) ** power * float(law.pdf(math.exp(t))) * math.exp(t)

    return float(integrate.quad(integrand, -80.0, 5.5, limit=500, epsabs=1e-12)[0])


def draw_ratios(seed: int, seeds: int, width: int, inputs: Array, negative_slope: float = 0.0) -> Array:
    """M_{l+1} / M_l for Gaussian kernels at the critical gain of leaky ReLU, of shape (seeds,) + one axis per input."""
    random = np.random.default_rng(seed)
    fan_in = inputs.shape[-1]
    gain = 2.0 / (1.0 + negative_slope**2)
    kernels = random.normal(0.0, math.sqrt(gain / fan_in), (seeds, width, fan_in))
    z = kernels @ inputs.T
    outputs = np.where(z > 0.0, z, negative_slope * z)
    ratios: Array = np.mean(outputs**2, axis=1) / np.mean(inputs.T**2, axis=0)
    return ratios


class TestComputeReluIncrement:
    @pytest.mark.parametrize("width", [1, 2, 3, 6])
    def test_moments_are_those_of_all_sign_patterns_with_integrated_chi_square_logarithms(self, width: int) -> None:
        firsts, seconds = [], []
        for signs in product((0, 1), repeat=width):
            positive = sum(signs)
            if positive:
                firsts.append(integrate_logarithm(positive, 2.0 / width, 1))
                seconds.append(integrate_logarithm(positive, 2.0 / width, 2))
        mean = np.mean(firsts)
        increment = sampling.compute_relu_increment(width)
        assert increment.mean == pytest.approx(mean, rel=1e-7)
        assert increment.variance == pytest.approx(np.mean(seconds) - mean**2, rel=1e-6)

    @pytest.mark.parametrize("width", [30, 1000, 100_000])
    def test_the_bulk_of_the_binomial_gives_the_whole_sum(self, width: int) -> None:
        alive = np.arange(1, width + 1)
        share = stats.binom.pmf(alive, width, 0.5) / -math.expm1(-width * math.log(2.0))
        given = digamma(alive / 2) + math.log(4 / width)
        mean = math.fsum(share * given)
        increment = sampling.compute_relu_increment(width)
        assert increment.mean == pytest.approx(mean, rel=1e-7)  # of the whole sum: scipy's binomial loses digits
        assert increment.variance == pytest.approx(
            math.fsum(share * (polygamma(1, alive / 2) + (given - mean) ** 2)), rel=1e-9
        )

    def test_wide_layers_approach_the_leading_order(self) -> None:
        width = sampling.LARGEST_WIDTH
        increment = sampling.compute_relu_increment(width)
        assert increment.mean * width == pytest.approx(-2.5, rel=1e-6)
        assert increment.variance * width == pytest.approx(5.0, rel=1e-6)

    def test_drawn_layers_follow_the_law(self) -> None:
        width = 6
        ratios = draw_ratios(1, 40_000, width, np.random.default_rng(2).normal(size=(1, 4)))[:, 0]
        logarithms = np.log(ratios[ratios > 0.0])
        increment = sampling.compute_relu_increment(width)
        assert holds(logarithms, increment.mean)
        assert holds((logarithms - increment.mean) ** 2, increment.variance)
        # Negative controls: the leading order, and the law of a layer without activation function.
        assert not holds(logarithms, -5 / (2 * width))
        assert not holds((logarithms - increment.mean) ** 2, 5 / width)
        assert not holds(logarithms, sampling.compute_linear_increment(width).mean)

    def test_another_gain_shifts_the_mean_by_its_logarithm(self) -> None:
        he = sampling.compute_relu_increment(20)
        glorot = sampling.compute_relu_increment(20, scale=0.5)
        assert glorot.mean == pytest.approx(he.mean - math.log(2.0), rel=1e-14)
        assert glorot.variance == he.variance

    def test_uniform_weights_and_a_one_hot_input_follow_the_corrected_law(self) -> None:
        width = 256
        weights = np.random.default_rng(3).uniform(-math.sqrt(3.0), math.sqrt(3.0), (20_000, width))
        logarithms = np.log(2.0 * np.mean(relu(weights) ** 2, axis=1))
        corrected = sampling.compute_relu_increment(width, kurtosis=1.8, participation=1.0)
        assert holds(logarithms, corrected.mean)
        assert holds((logarithms - corrected.mean) ** 2, corrected.variance)
        # Negative control: Gaussian weights.
        gaussian = sampling.compute_relu_increment(width)
        assert not holds(logarithms, gaussian.mean)
        assert not holds((logarithms - gaussian.mean) ** 2, gaussian.variance)


class TestComputeLinearIncrement:
    def test_drawn_layers_follow_the_law(self) -> None:
        width = 3
        ratios = draw_ratios(4, 40_000, width, np.random.default_rng(5).normal(size=(1, 4)), negative_slope=1.0)
        logarithms = np.log(1.5 * ratios[:, 0])
        increment = sampling.compute_linear_increment(width, scale=1.5)
        assert holds(logarithms, increment.mean)
        assert holds((logarithms - increment.mean) ** 2, increment.variance)
        # Negative control: the leading order.
        assert not holds(logarithms, math.log(1.5) - 1 / width)
        assert not holds((logarithms - increment.mean) ** 2, 2 / width)

    def test_one_unit_is_a_squared_normal_value(self) -> None:
        increment = sampling.compute_linear_increment(1)
        assert increment.mean == pytest.approx(-np.euler_gamma - math.log(2.0), rel=1e-14)
        assert increment.variance == pytest.approx(math.pi**2 / 2.0, rel=1e-14)


class TestComputeParticipation:
    def test_it_is_one_for_a_single_value_and_least_for_equal_values(self) -> None:
        assert sampling.compute_participation([0.0, -3.0, 0.0]) == 1.0
        assert sampling.compute_participation(np.full((4, 5), -0.1)) == pytest.approx(1 / 20, rel=1e-14)

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_it_does_not_depend_on_the_scale(self, scale: float) -> None:
        values = np.asarray([1.0, 2.0, -3.0])
        assert sampling.compute_participation(scale * values) == pytest.approx(98 / 196, rel=1e-14)


def draw_outputs(seed: int, seeds: int, widths: list[int], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Last outputs of ReLU networks without biases, uniform weights; of shape (seeds, samples, width)."""
    random = np.random.default_rng(seed)
    x = np.broadcast_to(inputs, (seeds, *inputs.shape))
    for width in widths:
        x = np.maximum(x @ random.uniform(-1.0, 1.0, (seeds, x.shape[-1], width)), 0.0)
    return x


class TestComputeDeadProbability:
    @pytest.mark.parametrize("widths", [[1], [1, 1], [2, 3], [3, 1, 2], [2, 2, 2, 2]])
    def test_it_is_the_share_of_sign_patterns_with_a_layer_without_positive_unit(self, widths: list[int]) -> None:
        patterns = list(product(*(product((0, 1), repeat=width) for width in widths)))
        dead = sum(not all(any(layer) for layer in pattern) for pattern in patterns)
        assert sampling.compute_dead_probability(widths) == pytest.approx(dead / len(patterns), rel=1e-14)

    def test_drawn_rectangular_networks_follow_the_law(self) -> None:
        widths = [2, 4, 3]
        outputs = draw_outputs(1, 20_000, widths, np.asarray([[1.0, -2.0, 0.5]]))
        dead = ~outputs.any(axis=(1, 2))
        assert holds(dead, sampling.compute_dead_probability(widths))
        # Negative controls: one layer fewer; the mean width throughout.
        assert not holds(dead, sampling.compute_dead_probability(widths[1:]))
        assert not holds(dead, sampling.compute_dead_probability([3, 3, 3]))

    def test_small_probabilities_keep_their_digits(self) -> None:
        assert sampling.compute_dead_probability([200] * 10) == pytest.approx(10.0 * 2.0**-200, rel=1e-14)
        assert sampling.compute_dead_probability([5000]) == 0.0


class TestSeedsForRatio:
    def test_so_many_seeds_see_the_ratio_with_the_stated_power(self) -> None:
        ratio, seeds, alpha, power = 1.5, 10, 0.01, 0.8
        variance = seeds / sampling.compute_seeds_for_ratio(ratio, 1.0, alpha, power)
        assert sampling.compute_seeds_for_ratio(ratio, variance, alpha, power) == pytest.approx(seeds, rel=1e-12)
        random = np.random.default_rng(1)
        means = random.normal(math.log(ratio), math.sqrt(variance), (20_000, seeds)).mean(axis=1)
        seen = np.abs(means) > stats.norm.ppf(1 - alpha / 2) * math.sqrt(variance / seeds)
        assert holds(seen, power)
        # Negative control: the one-sided quantile in place of the two-sided.
        assert not holds(np.abs(means) > stats.norm.ppf(1 - alpha) * math.sqrt(variance / seeds), power)

    def test_a_ratio_and_its_inverse_need_equally_many(self) -> None:
        assert sampling.compute_seeds_for_ratio(0.5, 0.3) == pytest.approx(
            sampling.compute_seeds_for_ratio(2.0, 0.3), rel=1e-14
        )

    @pytest.mark.parametrize("variance", [0.0, 0.01, 0.4, 7.0])
    def test_the_count_is_rounded_up(self, variance: float) -> None:
        fraction = sampling.compute_seeds_for_ratio(1.7, variance)
        count = sampling.count_seeds_for_ratio(1.7, variance)
        assert count >= 1 and count - 1 < max(fraction, 0.5) <= count


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: sampling.compute_relu_increment(0), "width=0"),
        (lambda: sampling.compute_relu_increment(2.5), "width=2.5"),  # type: ignore[arg-type]
        (lambda: sampling.compute_relu_increment(True), "width=True"),
        (lambda: sampling.compute_relu_increment(10**7 + 1), "width=10000001"),
        (lambda: sampling.compute_relu_increment(5, scale=math.nan), "scale=nan"),
        (lambda: sampling.compute_relu_increment(5, scale=0.0), "scale=0.0"),
        (lambda: sampling.compute_relu_increment(5, kurtosis=0.5), "kurtosis=0.5"),
        (lambda: sampling.compute_relu_increment(5, kurtosis=math.nan), "kurtosis=nan"),
        (lambda: sampling.compute_relu_increment(5, participation=1.5), "participation=1.5"),
        (lambda: sampling.compute_linear_increment(-3), "width=-3"),
        (lambda: sampling.compute_linear_increment(3, scale=-1.0), "scale=-1.0"),
        (lambda: sampling.compute_participation([0.0, 0.0]), "inputs=0"),
        (lambda: sampling.compute_participation([]), "inputs=[]"),
        (lambda: sampling.compute_participation([1.0, math.inf]), "inputs=inf"),
        (lambda: sampling.compute_dead_probability([]), "widths=[]"),
        (lambda: sampling.compute_dead_probability([3, 0]), "widths=0"),
        (lambda: sampling.compute_dead_probability([math.nan]), "widths=nan"),  # type: ignore[list-item]
        (lambda: sampling.compute_dead_probability(4), "widths=4"),  # type: ignore[arg-type]
        (lambda: sampling.compute_seeds_for_ratio(1.0, 0.1), "ratio=1"),
        (lambda: sampling.compute_seeds_for_ratio(0.0, 0.1), "ratio=0.0"),
        (lambda: sampling.compute_seeds_for_ratio(math.nan, 0.1), "ratio=nan"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, -0.1), "log_variance=-0.1"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, math.nan), "log_variance=nan"),
        (lambda: sampling.count_seeds_for_ratio(2.0, 1e7), "log_variance=10000000.0"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, 0.1, alpha=0.0), "alpha=0.0"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, 0.1, power=1.0), "power=1.0"),
        (lambda: sampling.count_seeds_for_ratio(2.0, 0.1, power=math.nan), "power=nan"),
    ],
)
def test_an_argument_that_is_out_of_range_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
