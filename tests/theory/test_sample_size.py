"""Numbers of seeds and weights, against the error rates of the tests that they are for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from refusals import assert_refused
from scipy import stats

from initcheck.theory import sampling


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


class TestComputeSeparation:
    def test_he_and_glorot_are_so_far_apart_in_drawn_increments(self) -> None:
        width, depth = 32, 5
        random = np.random.default_rng(2)
        positive = random.binomial(width, 0.5, (4000, depth))
        he = np.log(2.0 / width * random.chisquare(positive)).sum(axis=1)
        glorot = np.log(1.0 / width * random.chisquare(positive[::-1])).sum(axis=1)
        variance = depth * sampling.compute_relu_increment(width).variance
        standardized = (he - glorot) / math.sqrt(variance)
        assert holds(standardized, sampling.compute_separation(2.0, depth, variance))
        # Negative control: one layer fewer.
        assert not holds(standardized, sampling.compute_separation(2.0, depth - 1, variance))


class TestCountSeedsForArithmeticMean:
    def test_the_mean_over_so_many_seeds_has_the_stated_error(self) -> None:
        beta, error = 0.4, 0.05
        seeds = sampling.count_seeds_for_arithmetic_mean(error, beta)
        draws = np.random.default_rng(3).lognormal(-beta / 2, math.sqrt(beta), (4000, seeds))
        squares = (draws.mean(axis=1) - 1.0) ** 2
        assert holds(squares, (math.exp(beta) - 1.0) / seeds)
        assert (math.exp(beta) - 1.0) / seeds <= error**2 < (math.exp(beta) - 1.0) / (seeds - 1)
        # Negative control: the spread of the logarithm.
        assert not holds(squares, beta / seeds)


class TestComputeSampleVarianceError:
    def test_drawn_uniform_weights_follow_the_law(self) -> None:
        count = 30
        weights = np.random.default_rng(4).uniform(-math.sqrt(3.0), math.sqrt(3.0), (20_000, count))
        squares = (np.mean(weights**2, axis=1) - 1.0) ** 2
        assert holds(squares, sampling.compute_sample_variance_error(1.8, count) ** 2)
        # Negative control: Gaussian weights.
        assert not holds(squares, sampling.compute_sample_variance_error(3.0, count) ** 2)


class TestComputeUniformNormalDistance:
    def test_it_is_the_largest_difference_of_the_distribution_functions(self) -> None:
        x = np.linspace(-4.0, 4.0, 200_001)
        uniform = stats.uniform(-math.sqrt(3.0), 2.0 * math.sqrt(3.0))
        largest = np.abs(uniform.cdf(x) - stats.norm.cdf(x)).max()
        assert sampling.compute_uniform_normal_distance() == pytest.approx(largest, rel=1e-7)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: sampling.compute_seeds_for_ratio(1.0, 0.1), "ratio=1"),
        (lambda: sampling.compute_seeds_for_ratio(0.0, 0.1), "ratio=0.0"),
        (lambda: sampling.compute_seeds_for_ratio(math.nan, 0.1), "ratio=nan"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, -0.1), "log_variance=-0.1"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, math.nan), "log_variance=nan"),
        (lambda: sampling.count_seeds_for_ratio(2.0, 1e7), "log_variance=10000000.0"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, 0.1, alpha=0.0), "alpha=0.0"),
        (lambda: sampling.compute_seeds_for_ratio(2.0, 0.1, power=1.0), "power=1.0"),
        (lambda: sampling.count_seeds_for_ratio(2.0, 0.1, power=math.nan), "power=nan"),
        (lambda: sampling.compute_separation(2.0, 0, 0.1), "depth=0"),
        (lambda: sampling.compute_separation(2.0, 5, 0.0), "log_variance=0.0"),
        (lambda: sampling.count_seeds_for_arithmetic_mean(0.0, 0.1), "relative_error=0.0"),
        (lambda: sampling.count_seeds_for_arithmetic_mean(0.1, math.nan), "log_spread=nan"),
        (lambda: sampling.count_seeds_for_arithmetic_mean(0.1, 0.51), "log_spread=0.51"),
        (lambda: sampling.compute_sample_variance_error(0.9, 10), "kurtosis=0.9"),
        (lambda: sampling.compute_sample_variance_error(3.0, 0), "count=0"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
