"""Dead inputs and underflow, against enumeration, drawn networks and exact rational numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from monte_carlo import STANDARD_ERRORS, holds
from numpy.typing import NDArray
from refusals import assert_refused

from initcheck.theory import sampling


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


class TestComputeDeadNetworkBound:
    def test_no_more_drawn_networks_are_constant_than_the_bound_says(self) -> None:
        width, depth = 3, 6
        # Without biases, a network of one input is constant where it is dead on both sides of zero.
        hidden = draw_outputs(2, 20_000, [width] * (depth - 1), np.asarray([[1.0], [-1.0]]))
        dead = (~hidden.any(axis=(1, 2))).astype(float)
        error = dead.std(ddof=1) / math.sqrt(dead.size)
        bound = sampling.compute_dead_network_bound(width, depth)
        assert dead.mean() <= bound + STANDARD_ERRORS * error
        # Negative control: two more units in every layer are no bound.
        assert not (dead.mean() <= sampling.compute_dead_network_bound(width + 2, depth) + STANDARD_ERRORS * error)

    def test_it_is_the_law_of_one_input_over_the_hidden_layers(self) -> None:
        assert sampling.compute_dead_network_bound(4, 8) == pytest.approx(
            sampling.compute_dead_probability([4] * 7), rel=1e-14
        )


class TestCountLayersUntilUnderflow:
    @pytest.mark.parametrize("gain", [0.5, 0.25, 0.125, 1 / 3, 0.0557, 0.9, 1e-38, 1e-50])
    @pytest.mark.parametrize("start", [1.0, 0.3, 700.0])
    def test_it_is_the_first_layer_below_the_smallest_number(self, gain: float, start: float) -> None:
        layers, norm = 0, Fraction(start)
        while norm >= Fraction(1, 2**126):
            norm *= Fraction(gain)
            layers += 1
        assert sampling.count_layers_until_underflow(gain, start) == layers

    def test_the_smallest_number_is_that_of_float32(self) -> None:
        assert float(np.finfo(np.float32).smallest_normal) == sampling.SMALLEST_FLOAT32

    def test_signals_that_do_not_shrink_never_underflow_and_others_at_once(self) -> None:
        assert sampling.count_layers_until_underflow(1.0) == math.inf
        assert sampling.count_layers_until_underflow(0.0) == 1.0
        assert sampling.count_layers_until_underflow(0.5, start=1e-40) == 0.0


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: sampling.compute_dead_probability([]), "widths=[]"),
        (lambda: sampling.compute_dead_probability([3, 0]), "widths=0"),
        (lambda: sampling.compute_dead_probability([math.nan]), "widths=nan"),  # type: ignore[list-item]
        (lambda: sampling.compute_dead_network_bound(0, 3), "width=0"),
        (lambda: sampling.compute_dead_network_bound(3, 1), "depth=1"),
        (lambda: sampling.count_layers_until_underflow(-0.5), "gain=-0.5"),
        (lambda: sampling.count_layers_until_underflow(math.nan), "gain=nan"),
        (lambda: sampling.count_layers_until_underflow(0.5, start=0.0), "start=0.0"),
        (lambda: sampling.count_layers_until_underflow(0.5, smallest=math.nan), "smallest=nan"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
