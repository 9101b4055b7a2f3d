"""Dropout and pooling, against drawn values and known order statistics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy.special import erf

from initcheck.theory import layers

Array = NDArray[np.float64]


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def identity(x: Array) -> Array:
    return x


class TestDropout:
    def test_drawn_masks_follow_the_gain_both_ways(self) -> None:
        keep = 0.6
        random = np.random.default_rng(1)
        x = random.normal(size=20)
        masks = (random.uniform(size=(10_000, 20)) < keep) / keep
        gains = np.mean((masks * x) ** 2, axis=1) / np.mean(x**2)
        assert holds(np.mean(masks * x, axis=1), x.mean())
        assert holds(gains, layers.compute_dropout_gain(keep))
        # Negative controls: dropout that is not inverted, and one that kept the second moment.
        assert not holds(gains, keep)
        assert not holds(gains, 1.0)

    def test_the_critical_variance_keeps_the_second_moment_of_drawn_layers(self) -> None:
        keep, width, seeds = 0.6, 20, 10_000
        random = np.random.default_rng(2)
        z = random.normal(size=(seeds, width))
        dropped = relu(z) * (random.uniform(size=z.shape) < keep) / keep
        sigma_w2 = layers.compute_critical_sigma_w2_with_dropout(keep)
        gains = np.einsum("si,si->s", dropped, random.normal(0.0, math.sqrt(sigma_w2 / width), z.shape)) ** 2
        assert holds(gains, 1.0)
        # Negative control: He's 2 in place of 2 p.
        assert not holds(2.0 / sigma_w2 * gains, 1.0)

    def test_without_dropout_relu_has_hes_gain(self) -> None:
        assert layers.compute_dropout_gain(1.0) == 1.0
        assert layers.compute_critical_sigma_w2_with_dropout(1.0) == 2.0


class TestAveragePooling:
    def test_averages_of_drawn_values_follow_the_law(self) -> None:
        windows = relu(np.random.default_rng(3).normal(size=(40_000, 4)))
        averages = windows.mean(axis=1)
        mean, variance = 1.0 / math.sqrt(2.0 * math.pi), 0.5 - 0.5 / math.pi
        law = layers.compute_average_pooling_moments(mean, variance, 4)
        assert holds(averages, law.mean)
        assert holds(averages**2, law.second_moment)
        # Negative controls: no mean; no averaging.
        assert not holds(averages**2, layers.compute_average_pooling_moments(0.0, variance, 4).second_moment)
        assert not holds(averages**2, layers.compute_average_pooling_moments(mean, variance, 1).second_moment)

    def test_a_gradient_spread_over_a_window_loses_its_size(self) -> None:
        gradient = np.asarray([1.0, -2.0])
        back = np.repeat(gradient / 4.0, 4)
        assert layers.compute_average_pooling_gradient_gain(4) == np.sum(back**2) / np.sum(gradient**2)


class TestComputeMaxPoolingMoments:
    @pytest.mark.parametrize(
        ("size", "mean", "second_moment"),
        [
            (1, 0.0, 1.0),
            (2, 1.0 / math.sqrt(math.pi), 1.0),
            (3, 1.5 / math.sqrt(math.pi), 1.0 + math.sqrt(3.0) / (2.0 * math.pi)),
            (4, 6.0 / math.pi**1.5 * math.atan(math.sqrt(2.0)), 1.0 + math.sqrt(3.0) / math.pi),
        ],
    )
    def test_normal_values_have_the_known_order_statistics(self, size: int, mean: float, second_moment: float) -> None:
        moments = layers.compute_max_pooling_moments(identity, size, q=4.0)
        assert moments.mean == pytest.approx(2.0 * mean, rel=1e-12, abs=1e-13)
        assert moments.second_moment == pytest.approx(4.0 * second_moment, rel=1e-12)

    @pytest.mark.parametrize("function", [relu, lambda x: np.tanh(x - 0.37) + 2.0 * np.maximum(x, 0.37), erf])
    @pytest.mark.parametrize("size", [4, 9])
    def test_drawn_windows_follow_the_law(self, function: Callable[[Array], Array], size: int) -> None:
        windows = 1.3 * np.random.default_rng(4).normal(size=(20_000, size))
        pooled = function(windows.ravel()).reshape(windows.shape).max(axis=1)
        moments = layers.compute_max_pooling_moments(function, size, q=1.69)
        assert holds(pooled, moments.mean)
        assert holds(pooled**2, moments.second_moment)
        # Negative controls: one value fewer; unit variance.
        fewer = layers.compute_max_pooling_moments(function, size // 2, q=1.69)
        assert not holds(pooled, fewer.mean) and not holds(pooled**2, fewer.second_moment)
        assert not holds(pooled, layers.compute_max_pooling_moments(function, size, q=1.0).mean)

    def test_relu_of_one_value_has_half_the_second_moment(self) -> None:
        moments = layers.compute_max_pooling_moments(relu, 1)
        assert moments.mean == pytest.approx(1.0 / math.sqrt(2.0 * math.pi), rel=1e-13)
        assert moments.second_moment == pytest.approx(0.5, rel=1e-13)

    def test_very_large_windows_approach_the_extreme_value_law(self) -> None:
        size = 10**6
        location = math.sqrt(2.0 * math.log(size))
        location -= (math.log(math.log(size)) + math.log(4.0 * math.pi)) / (2.0 * location)
        expected = location + np.euler_gamma / math.sqrt(2.0 * math.log(size))
        assert layers.compute_max_pooling_moments(identity, size).mean == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: layers.compute_dropout_gain(0.0), "keep=0.0"),
        (lambda: layers.compute_dropout_gain(1.1), "keep=1.1"),
        (lambda: layers.compute_dropout_gain(math.nan), "keep=nan"),
        (lambda: layers.compute_critical_sigma_w2_with_dropout(0.5, 0.0), "share=0.0"),
        (lambda: layers.compute_critical_sigma_w2_with_dropout(math.nan), "keep=nan"),
        (lambda: layers.compute_average_pooling_moments(0.0, -1.0, 4), "variance=-1.0"),
        (lambda: layers.compute_average_pooling_moments(math.nan, 1.0, 4), "mean=nan"),
        (lambda: layers.compute_average_pooling_moments(0.0, 1.0, 0), "size=0"),
        (lambda: layers.compute_average_pooling_gradient_gain(0), "size=0"),
        (lambda: layers.compute_max_pooling_moments(relu, 0), "size=0"),
        (lambda: layers.compute_max_pooling_moments(relu, 4, q=0.0), "q=0.0"),
        (lambda: layers.compute_max_pooling_moments(relu, 4, q=math.nan), "q=nan"),
        (lambda: layers.compute_max_pooling_moments(lambda x: x / (1.0 + np.exp(-x)), 4), "a function that falls"),
        (lambda: layers.compute_max_pooling_moments(np.cos, 4), "a function that falls"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    with np.errstate(over="ignore"):
        assert_refused(call, received)
