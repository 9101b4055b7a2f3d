"""The decisions themselves, without any network: their error rates are what they say.

False alarms of this file with fresh seeds: two law tests at 1e-5 and eight comparisons at 5 standard errors, together
below 5e-5.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from claims_by_seeds import (
    MISS_RATE,
    ROUNDING,
    false_alarm_of_equivalence,
    judge_equality,
    judge_gain,
    judge_law,
    judge_zero,
    plan_seeds,
)
from relu_law import KURTOSIS, hidden_peakedness, log_law, log_moments, simulate_increments

from initcheck.core import statistics

STANDARD_ERRORS = 5
RUNS = 1000
WIDTH, LAYERS = 256, 20


def law(width=WIDTH, layers=LAYERS):
    return tuple(np.full(layers, moment) for moment in log_moments(width))


def within(rate, expected, runs):
    return abs(rate - expected) <= STANDARD_ERRORS * math.sqrt(expected * (1 - expected) / runs)


@pytest.fixture(scope="module")
def random(base_seed):
    return np.random.default_rng(base_seed)


def test_the_law_has_the_moments_of_its_simulation(random):
    for width in (32, 256):
        mean, variance = log_moments(width)
        drawn = simulate_increments(random, width, (200_000,))
        assert abs(drawn.mean() - mean) <= STANDARD_ERRORS * drawn.std() / math.sqrt(drawn.size)
        squares = np.square(drawn - mean)
        assert abs(squares.mean() - variance) <= STANDARD_ERRORS * squares.std() / math.sqrt(drawn.size)


def test_the_correction_for_bounded_weights_is_that_of_a_simulated_layer(random):
    """Uniform weights in a narrow layer, where the correction is large: the law without it is seen to be wrong."""
    width, runs, limit = 24, 60_000, math.sqrt(6 / 24)
    logs = []
    for x in np.array_split(np.maximum(random.standard_normal((runs, width)), 0.0), 20):
        z = np.einsum("ri,rio->ro", x, random.uniform(-limit, limit, (len(x), width, width)))
        logs.append(np.log(np.sum(np.maximum(z, 0.0) ** 2, axis=1) / np.sum(x**2, axis=1)))
    drawn = np.concatenate(logs)
    mean, variance = log_law(width, KURTOSIS["HeUniform"], np.asarray([hidden_peakedness(width)]))
    plain_mean, plain_variance = log_moments(width)
    squares = np.square(drawn - drawn.mean())
    mean_error, variance_error = drawn.std() / math.sqrt(runs), squares.std() / math.sqrt(runs)
    # The correction is of leading order: a share 5 / width of it is left to the next.
    assert abs(drawn.mean() - mean[0]) <= STANDARD_ERRORS * mean_error + abs(mean[0] - plain_mean) * 5 / width
    allowed = STANDARD_ERRORS * variance_error + abs(variance[0] - plain_variance) * 5 / width
    assert abs(squares.mean() - variance[0]) <= allowed
    # Negative control: the law of Gaussian weights is not theirs.
    assert not (abs(squares.mean() - plain_variance) <= allowed)


def test_the_law_test_rejects_its_own_law_at_its_level(random):
    level, runs = 0.05, 2 * RUNS
    verdicts = [judge_law(simulate_increments(random, WIDTH, (32, LAYERS)), *law(), level).verdict for _ in range(runs)]
    # Sidak is exact for independent layers; adding up the two halves costs 6e-4, and skewness less than that.
    assert within(verdicts.count("fail") / runs, level, runs)


def test_the_law_test_is_inconclusive_with_few_seeds_and_passes_with_many(random):
    assert judge_law(simulate_increments(random, WIDTH, (8, LAYERS)), *law()).verdict == "inconclusive"
    assert judge_law(simulate_increments(random, WIDTH, (1000, LAYERS)), *law()).verdict == "pass"


def test_layers_that_vary_together_fail_the_law_though_each_is_right(random):
    shared = np.repeat(simulate_increments(random, WIDTH, (64, 1)), LAYERS, axis=1)
    judged = judge_law(shared, *law())
    assert judged.verdict == "fail"
    assert judged.figures["spread"] > 10


def test_a_true_gain_passes_as_often_as_planned(random):
    """At margins so narrow that false alarms are frequent; the same formula plans the rare ones."""
    sd, margin, seeds, level = 0.14, 0.05, 60, 0.01
    expected = false_alarm_of_equivalence(sd, margin, seeds, level)
    samples = random.normal(1.0, sd, (RUNS, seeds))
    verdicts = [statistics.equivalence_test(x, 1 - margin, 1 + margin, level).verdict for x in samples]
    assert 0.1 < expected < 0.9
    assert within(1 - verdicts.count("pass") / RUNS, expected, RUNS)


def test_a_gain_at_its_margin_seldom_passes(random):
    plan = plan_seeds(5 / WIDTH, LAYERS - 1)
    shape = (plan.seeds, LAYERS - 1)
    verdicts = [judge_gain(np.exp(simulate_increments(random, WIDTH, shape)) * 1.025, 1.0).verdict for _ in range(20)]
    assert plan.false_alarm < 1e-5
    # Twice in twenty at a rate of MISS_RATE: 2e-4.
    assert verdicts.count("pass") <= 2
    assert MISS_RATE <= 1e-3


def test_nothing_that_was_not_measured_passes():
    ratios = np.random.default_rng(0).normal(1.0, 0.01, (50, 3))
    ratios[7, 1] = np.nan
    assert judge_gain(ratios, 1.0).verdict == "inconclusive"
    assert judge_law(ratios, np.zeros(3), np.ones(3)).verdict == "inconclusive"
    assert judge_zero(ratios * 0).verdict == "inconclusive"
    assert judge_equality(ratios[:, 1]).verdict == "inconclusive"


def test_zero_means_zero_and_equal_means_equal_but_for_rounding():
    assert judge_zero(np.zeros((5, 2))).verdict == "pass"
    assert judge_zero(np.full((5, 2), 1e-300)).verdict == "fail"
    assert judge_equality(np.zeros(5)).verdict == "pass"
    assert judge_equality(np.asarray([0.0, 1.0, 2.0, 0.0, 1.0]) * ROUNDING / 100).verdict == "pass"
    assert judge_equality(np.full(5, 1e-4)).verdict == "fail"
