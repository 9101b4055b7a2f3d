"""The error rates of gains and verdicts, on moments drawn from the exact law and from real NumPy networks."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from initcheck.audit.gains import DirectionGains, measure_gains
from initcheck.audit.total_change import SignalLevels
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.errors import UsageError


def measure(squares: NDArray[np.float64], direction: Direction, **options: float) -> DirectionGains:
    """Measure gains along layers without names, which are in the direction."""
    return measure_gains(SignalLevels(direction, (), (), squares), **options)


# Error rates do not depend on the direction.
measure_forward = partial(measure, direction="forward")

STANDARD_ERRORS = 3.9
"""Tolerance of the Monte Carlo tests: a correct implementation fails one with probability 1e-4 under a fresh seed."""


def allow(rate: float, runs: int) -> float:
    return STANDARD_ERRORS * math.sqrt(rate * (1 - rate) / runs)


def simulate_he_relu(
    shape: tuple[int, int, int], units: int, rng: np.random.Generator, gain: float = 1.0
) -> NDArray[np.float64]:
    """Draw moments [runs, seeds, layers] of He + ReLU for one input: ratios (2/n) sum B_i g_i^2."""
    runs, seeds, layers = shape
    active = rng.binomial(units, 0.5, (runs, seeds, layers - 1))
    ratios = gain * 2 / units * rng.chisquare(active)
    return np.cumprod(np.concatenate([np.ones((runs, seeds, 1)), ratios], axis=2), axis=2)


def measure_relu_network(
    rng: np.random.Generator, units: int, layers: int, weight_gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure one bias-free ReLU network on one input, written out by hand: q and g by layer."""
    scale = math.sqrt(weight_gain / units)
    weights = [rng.normal(0.0, scale, (units, units)) for _ in range(layers)]
    signal = rng.normal(size=units)
    before = []
    for weight in weights:
        before.append(weight @ signal)
        signal = np.maximum(before[-1], 0.0)
    gradient = rng.normal(size=units)
    backward = []
    for weight, z in zip(weights[::-1], before[::-1], strict=True):
        gradient = gradient * (z > 0)
        backward.append(float(np.mean(gradient**2)))
        gradient = weight.T @ gradient
    return np.array([np.mean(z**2) for z in before]), np.array(backward)


class TestErrorRates:
    @pytest.mark.montecarlo
    def test_interval_of_the_gain_covers_one_at_its_nominal_rate_for_he_and_relu(self) -> None:
        runs = 1500
        moments = simulate_he_relu((runs, 16, 20), 64, np.random.default_rng(11))
        gains = [measure_forward(run) for run in moments]
        coverage = np.mean([t.gain.low <= 1.0 <= t.gain.high for t in gains])
        assert abs(coverage - 0.95) <= allow(0.95, runs)
        # Negative control: the log gain of the same networks is below 0, by Jensen's inequality.
        assert np.mean([t.log_gain.low <= 0.0 <= t.log_gain.high for t in gains]) < 0.5

    @pytest.mark.montecarlo
    def test_interval_of_the_log_gain_covers_its_finite_width_mean(self) -> None:
        runs, units = 1500, 64
        moments = simulate_he_relu((runs, 16, 20), units, np.random.default_rng(12))
        # m_1 by Monte Carlo over another million draws; its own standard error is 3e-4.
        rng = np.random.default_rng(13)
        mean = np.log(2 / units * rng.chisquare(rng.binomial(units, 0.5, 1_000_000))).mean()
        assert mean == pytest.approx(-5 / (2 * units), rel=0.1)
        covered = [t.log_gain.low <= mean <= t.log_gain.high for t in map(measure_forward, moments)]
        assert abs(np.mean(covered) - 0.95) <= allow(0.95, runs)

    def test_a_gain_two_per_cent_off_is_told_from_one_by_enough_seeds(self) -> None:
        moments = simulate_he_relu((200, 256, 20), 256, np.random.default_rng(14), gain=1.02)
        told = np.mean([not (t.gain.low <= 1.0 <= t.gain.high) for t in map(measure_forward, moments)])
        assert told > 0.95

    @pytest.mark.montecarlo
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_a_rate_at_the_margin_is_called_preserved_no_more_often_than_alpha(self, sign: int) -> None:
        runs, alpha = 1500, 0.05
        rng = np.random.default_rng(15 + sign)
        increments = rng.normal(sign * math.log(1.05), 0.1, (runs, 8, 20))
        moments = np.exp(np.cumsum(increments, axis=2))
        verdicts = [measure_forward(run, alpha=alpha).verdict for run in moments]
        assert np.mean([verdict == "preserves" for verdict in verdicts]) <= alpha + allow(alpha, runs)
        # ... nor is a change of that rate claimed more often than alpha.
        claimed = np.mean([verdict in ("vanishes", "explodes") for verdict in verdicts])
        assert claimed <= alpha + allow(alpha, runs)
        # Negative control: the same spread around a rate of 0 is mostly called preserved.
        centred = moments * np.exp(-sign * math.log(1.05) * np.arange(1, 21))
        assert np.mean([measure_forward(run).verdict == "preserves" for run in centred[:300]]) > 0.5

    @pytest.mark.parametrize("direction", [0, 1])
    def test_gain_of_a_real_relu_network_is_one_under_he_in_both_directions(self, direction: int) -> None:
        rng = np.random.default_rng(17)
        # Few units, where a bias of order 1/n would show: the law is exact, not asymptotic.
        measure_there = partial(measure, direction=DIRECTIONS[direction])
        he = np.array([measure_relu_network(rng, 16, 8, 2.0)[direction] for _ in range(1500)])
        found = measure_there(he)
        assert abs(found.gain.value - 1.0) <= STANDARD_ERRORS * found.gain.standard_error
        assert found.gain.standard_error < 0.006
        # The typical rate of so narrow a network is far below: about -5 / (2 n).
        assert found.log_gain.value == pytest.approx(-5 / 32, rel=0.2)
        # Negative control: Glorot's variance halves the signal, and is seen to.
        glorot = np.array([measure_relu_network(rng, 16, 8, 1.0)[direction] for _ in range(500)])
        found = measure_there(glorot)
        assert abs(found.gain.value - 0.5) <= STANDARD_ERRORS * found.gain.standard_error
        assert found.verdict == "vanishes"


class TestArrays:
    @pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
    def test_moments_without_seeds_or_layers_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match=r"\[seeds, layers\]"):
            measure_forward(np.ones(shape))

    def test_overflow_in_one_seed_outweighs_a_gap_and_a_zero_in_others(self) -> None:
        moments = np.ones((4, 6))
        moments[0, 3:] = 0.0
        assert measure_forward(moments).verdict == "dead"
        moments[1, 4] = np.nan
        assert measure_forward(moments).verdict == "inconclusive"
        moments[2, 5] = np.inf
        assert measure_forward(moments).verdict == "explodes"
        assert measure_forward(moments).steps == 2

    def test_moments_too_far_apart_for_a_float_have_an_infinite_gain_and_a_finite_rate(self) -> None:
        found = measure_forward(np.array([[1e-300, 1e300], [1e-300, 1e299]]))
        assert found.gain.value == math.inf and math.isnan(found.gain.high)
        assert found.log_gain.value == pytest.approx(math.log(1e300) * 2 - math.log(10) / 2)
        assert found.verdict == "explodes"


def squares_through(*rates: float) -> NDArray[np.float64]:
    """Moments of three seeds that agree: 1, then one step at each rate, in the direction."""
    return np.tile(np.cumprod([1.0, *rates]), (3, 1))


class TestHalves:
    @pytest.mark.parametrize(("direction", "deep_first"), [("backward", True), ("forward", False)])
    @pytest.mark.parametrize(
        ("deep", "shallow", "verdict"), [(1.1, 1.0, "explodes"), (1.0, 1.1, "preserves"), (0.9, 1.1, "vanishes")]
    )
    def test_the_half_at_the_deep_end_decides_and_the_other_does_not(
        self, direction: Direction, deep_first: bool, deep: float, shallow: float, verdict: str
    ) -> None:
        ends = [[deep] * 10, [shallow] * 10]
        rates = ends[0] + ends[1] if deep_first else ends[1] + ends[0]
        found = measure(squares_through(*rates), direction)
        assert found.verdict == verdict
        assert found.deep_half.value == pytest.approx(math.log(deep))
        assert found.shallow_half.value == pytest.approx(math.log(shallow))
        # Negative control: the same moments, told to be deep at their other end, get the other half's verdict.
        wrong = measure(squares_through(*rates), "forward" if deep_first else "backward")
        assert wrong.verdict == ("preserves" if shallow == 1.0 else "explodes")
        assert wrong.log_gain == found.log_gain and wrong.gain == found.gain

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_of_an_odd_number_of_steps_the_deep_half_has_one_more(self, direction: Direction) -> None:
        rates = [2.0, 2.0, 2.0, 0.5, 0.5] if direction == "backward" else [0.5, 0.5, 2.0, 2.0, 2.0]
        found = measure(squares_through(*rates), direction)
        assert found.deep_half.value == pytest.approx(math.log(2.0))
        assert found.shallow_half.value == pytest.approx(-math.log(2.0))

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_of_one_step_both_halves_are_that_step(self, direction: Direction) -> None:
        found = measure(squares_through(3.0), direction)
        assert found.shallow_half == found.deep_half == found.log_gain

    @pytest.mark.parametrize("end", [0.0, np.inf, np.nan])
    def test_of_a_run_cut_short_the_halves_are_those_of_the_run(self, end: float) -> None:
        # Backward: eight steps from the output on, then nothing to measure in the layers next to the input.
        moments = np.hstack([squares_through(*[0.5] * 4, *[0.25] * 4), np.full((3, 9), end)])
        found = measure(moments, "backward")
        assert found.steps == 8
        assert found.deep_half.value == pytest.approx(math.log(0.5))
        assert found.shallow_half.value == pytest.approx(math.log(0.25))
