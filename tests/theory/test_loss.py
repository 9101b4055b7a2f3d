"""The softmax cross-entropy at random logits, against other integrals, series, limits and drawn logits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import integrate
from scipy.special import expit, logsumexp, softmax

from initcheck.theory import layers

Array = NDArray[np.float64]


def draw(seed: int, seeds: int, classes: int, spread: float) -> tuple[Array, Array]:
    """Cross-entropy and |p - y|^2 for drawn logits."""
    logits = np.random.default_rng(seed).normal(0.0, spread, (seeds, classes))
    residuals = softmax(logits, axis=1)
    residuals[:, 0] -= 1.0
    return logsumexp(logits, axis=1) - logits[:, 0], np.sum(residuals**2, axis=1)


def average_over_normal(function: Callable[[float], float], spread: float) -> float:
    def integrand(z: float) -> float:
        return function(spread * z) * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    points = [-1.0 / spread, 0.0, 1.0 / spread] if spread > 0.1 else None
    return float(integrate.quad(integrand, -12.0, 12.0, points=points, epsabs=1e-13, epsrel=1e-12, limit=500)[0])


@pytest.mark.parametrize("spread", [0.01, 0.5, 0.99, 1.0, 3.0, 20.0])
def test_two_classes_are_a_logistic_function_of_the_difference(spread: float) -> None:
    def softplus(d: float) -> float:
        return float(np.logaddexp(0.0, d))

    difference = math.sqrt(2.0) * spread
    expected = average_over_normal(softplus, difference)
    assert layers.compute_expected_cross_entropy(2, spread) == pytest.approx(expected, rel=1e-10)
    gradient = average_over_normal(lambda d: 2.0 * float(expit(d)) ** 2, difference)
    assert layers.compute_expected_gradient(2, spread) == pytest.approx(gradient, rel=1e-10)


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_three_classes_are_an_integral_over_three_logits(spread: float) -> None:
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    logits = spread * np.stack(np.meshgrid(points, points, points, indexing="ij"), axis=-1)
    mass = weights[:, np.newaxis, np.newaxis] * weights[:, np.newaxis] * weights
    residuals = softmax(logits, axis=-1)
    residuals[..., 0] -= 1.0
    entropy = np.sum(mass * (logsumexp(logits, axis=-1) - logits[..., 0]))
    assert layers.compute_expected_cross_entropy(3, spread) == pytest.approx(entropy, rel=1e-9)
    gradient = np.sum(mass * np.sum(residuals**2, axis=-1))
    assert layers.compute_expected_gradient(3, spread) == pytest.approx(gradient, rel=1e-9)


@pytest.mark.parametrize(("classes", "spread"), [(10, 1.0), (100, 3.0), (5, 30.0)])
def test_drawn_logits_follow_both_laws(classes: int, spread: float) -> None:
    entropies, gradients = draw(1, 20_000, classes, spread)
    assert holds(entropies, layers.compute_expected_cross_entropy(classes, spread))
    assert holds(gradients, layers.compute_expected_gradient(classes, spread))
    # Negative controls: equal logits; a spread that is off by a tenth.
    assert not holds(entropies, layers.compute_zero_logits_cross_entropy(classes))
    assert not holds(gradients, layers.compute_zero_logits_gradient(classes))
    assert not holds(entropies, layers.compute_expected_cross_entropy(classes, 1.1 * spread))


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_small_spreads_follow_the_series(classes: int) -> None:
    spread = 1e-3
    entropy = math.log(classes) + 0.5 * spread**2 * (1.0 - 1.0 / classes)
    assert layers.compute_expected_cross_entropy(classes, spread) == pytest.approx(entropy, rel=1e-12)
    gradient = 1.0 - 1.0 / classes + spread**2 * (1.0 / classes - 1.0 / classes**2)
    assert layers.compute_expected_gradient(classes, spread) == pytest.approx(gradient, rel=1e-11)


def test_equal_logits_are_the_limit_of_small_spreads() -> None:
    assert layers.compute_expected_cross_entropy(7, 0.0) == layers.compute_zero_logits_cross_entropy(7) == math.log(7)
    assert layers.compute_expected_gradient(7, 0.0) == layers.compute_zero_logits_gradient(7) == 1.0 - 1.0 / 7
    assert layers.compute_expected_cross_entropy(7, 1e-9) == pytest.approx(math.log(7), rel=1e-12)
    assert layers.compute_expected_gradient(7, 1e-9) == pytest.approx(6 / 7, rel=1e-12)


def test_at_large_spreads_the_largest_logit_takes_all() -> None:
    spread = 1e4
    largest = 1.5 / math.sqrt(math.pi)  # of three standard normal values
    assert layers.compute_expected_cross_entropy(3, spread) == pytest.approx(spread * largest, rel=1e-7)
    assert layers.compute_expected_gradient(3, spread) == pytest.approx(2.0 * (1.0 - 1.0 / 3.0), rel=1e-3)


@pytest.mark.parametrize("classes", [2, 50])
def test_the_two_ways_to_sum_meet(classes: int) -> None:
    below, above = 1.0 - 1e-9, 1.0
    for law in (layers.compute_expected_cross_entropy, layers.compute_expected_gradient):
        assert law(classes, below) == pytest.approx(law(classes, above), rel=3e-9)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: layers.compute_zero_logits_cross_entropy(1), "classes=1"),
        (lambda: layers.compute_zero_logits_gradient(0), "classes=0"),
        (lambda: layers.compute_expected_cross_entropy(1, 1.0), "classes=1"),
        (lambda: layers.compute_expected_cross_entropy(10, -1.0), "standard_deviation=-1.0"),
        (lambda: layers.compute_expected_cross_entropy(10, math.nan), "standard_deviation=nan"),
        (lambda: layers.compute_expected_gradient(10, math.inf), "standard_deviation=inf"),
        (lambda: layers.compute_expected_gradient(2.5, 1.0), "classes=2.5"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
