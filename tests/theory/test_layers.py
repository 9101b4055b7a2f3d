"""Dropout, normalization and the softmax loss, against drawn values, Jacobians and other integrals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import integrate
from scipy.special import logsumexp

from initcheck.theory.layers import (
    compute_dropout_gain,
    compute_expected_cross_entropy,
    compute_normalized_gradient_gain,
)

Array = NDArray[np.float64]


class TestDropout:
    def test_drawn_masks_follow_the_gain_both_ways(self) -> None:
        keep = 0.6
        random = np.random.default_rng(1)
        x = random.normal(size=20)
        masks = (random.uniform(size=(10_000, 20)) < keep) / keep
        gains = np.mean((masks * x) ** 2, axis=1) / np.mean(x**2)
        assert holds(np.mean(masks * x, axis=1), x.mean())
        assert holds(gains, compute_dropout_gain(keep))
        # Negative controls: dropout that is not inverted, and one that kept the second moment.
        assert not holds(gains, keep)
        assert not holds(gains, 1.0)

    def test_to_keep_everything_changes_nothing(self) -> None:
        assert compute_dropout_gain(1.0) == 1.0


class TestNormalization:
    @pytest.mark.parametrize(
        ("size", "variance", "epsilon"), [(2, 0.3, 1e-3), (5, 0.01, 1e-2), (8, 2.0, 0.0), (3, 0.0, 0.1)]
    )
    def test_the_gradient_gain_is_the_mean_square_of_the_jacobian(
        self, size: int, variance: float, epsilon: float
    ) -> None:
        def normalize(x: Array) -> Array:
            centered: Array = x - x.mean()
            normalized: Array = centered / np.sqrt(np.mean(centered**2) + epsilon)
            return normalized

        x = np.random.default_rng(2).normal(size=size)
        x = math.sqrt(variance) * (x - x.mean()) / x.std()
        step = 1e-6
        columns = [(normalize(x + step * row) - normalize(x - step * row)) / (2.0 * step) for row in np.eye(size)]
        gain = compute_normalized_gradient_gain(variance, size, epsilon)
        assert gain == pytest.approx(np.sum(np.square(columns)) / size, rel=1e-7)


def average_over_normal(function: Callable[[float], float], deviation: float) -> float:
    def integrand(z: float) -> float:
        return function(deviation * z) * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    points = [-1.0 / deviation, 0.0, 1.0 / deviation] if deviation > 0.1 else None
    return float(integrate.quad(integrand, -12.0, 12.0, points=points, epsabs=1e-13, epsrel=1e-12, limit=500)[0])


class TestCrossEntropy:
    @pytest.mark.parametrize("deviation", [0.01, 0.5, 0.99, 1.0, 3.0, 20.0])
    def test_two_classes_are_a_softplus_of_the_difference(self, deviation: float) -> None:
        expected = average_over_normal(lambda d: float(np.logaddexp(0.0, d)), math.sqrt(2.0) * deviation)
        assert compute_expected_cross_entropy(2, deviation) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("deviation", [0.3, 1.0])
    def test_three_classes_are_an_integral_over_three_logits(self, deviation: float) -> None:
        points, weights = np.polynomial.hermite_e.hermegauss(60)
        weights = weights / weights.sum()
        logits = deviation * np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1)
        mass = weights[:, np.newaxis, np.newaxis] * weights[:, np.newaxis] * weights
        entropy = np.sum(mass * (logsumexp(logits, axis=-1) - logits[..., 0]))
        assert compute_expected_cross_entropy(3, deviation) == pytest.approx(entropy, rel=1e-9)

    @pytest.mark.parametrize(("classes", "deviation"), [(10, 1.0), (100, 3.0), (5, 30.0)])
    def test_drawn_logits_have_it_on_average(self, classes: int, deviation: float) -> None:
        logits = np.random.default_rng(1).normal(0.0, deviation, (20_000, classes))
        entropies = logsumexp(logits, axis=1) - logits[:, 0]
        assert holds(entropies, compute_expected_cross_entropy(classes, deviation))
        # Negative controls: equal logits; a standard deviation that is off by a tenth.
        assert not holds(entropies, math.log(classes))
        assert not holds(entropies, compute_expected_cross_entropy(classes, 1.1 * deviation))

    @pytest.mark.parametrize("classes", [2, 10, 1000])
    def test_small_standard_deviations_follow_the_series(self, classes: int) -> None:
        deviation = 1e-3
        entropy = math.log(classes) + 0.5 * deviation**2 * (1.0 - 1.0 / classes)
        assert compute_expected_cross_entropy(classes, deviation) == pytest.approx(entropy, rel=1e-12)

    def test_equal_logits_are_the_limit_of_small_standard_deviations(self) -> None:
        assert compute_expected_cross_entropy(7, 0.0) == math.log(7)
        assert compute_expected_cross_entropy(7, 1e-9) == pytest.approx(math.log(7), rel=1e-12)

    def test_at_large_standard_deviations_the_largest_logit_takes_all(self) -> None:
        deviation = 1e4
        largest = 1.5 / math.sqrt(math.pi)  # of three standard normal values
        assert compute_expected_cross_entropy(3, deviation) == pytest.approx(deviation * largest, rel=1e-7)

    @pytest.mark.parametrize("classes", [2, 50])
    def test_the_two_ways_to_sum_meet(self, classes: int) -> None:
        above = compute_expected_cross_entropy(classes, 1.0)
        assert compute_expected_cross_entropy(classes, 1.0 - 1e-9) == pytest.approx(above, rel=3e-9)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: compute_dropout_gain(0.0), "keep=0.0"),
        (lambda: compute_dropout_gain(1.1), "keep=1.1"),
        (lambda: compute_dropout_gain(math.nan), "keep=nan"),
        (lambda: compute_normalized_gradient_gain(-0.1, 4), "variance=-0.1"),
        (lambda: compute_normalized_gradient_gain(math.nan, 4), "variance=nan"),
        (lambda: compute_normalized_gradient_gain(1.0, 1), "size=1"),
        (lambda: compute_normalized_gradient_gain(0.0, 4, 0.0), "variance=0, epsilon=0"),
        (lambda: compute_normalized_gradient_gain(1.0, 4, -1.0), "epsilon=-1.0"),
        (lambda: compute_expected_cross_entropy(1, 1.0), "classes=1"),
        (lambda: compute_expected_cross_entropy(2.5, 1.0), "classes=2.5"),  # type: ignore[arg-type]
        (lambda: compute_expected_cross_entropy(10, -1.0), "standard_deviation=-1.0"),
        (lambda: compute_expected_cross_entropy(10, math.nan), "standard_deviation=nan"),
        (lambda: compute_expected_cross_entropy(10, math.inf), "standard_deviation=inf"),
    ],
)
def test_an_argument_that_is_out_of_range_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
