"""Claim: He initialization preserves the second moment of ReLU's pre-activation, and of the gradient, layer by layer.

Network: 20 layers of 256 units, square, zero biases. One sample (see the fixture ``sample``), since then the law is
exact. Replicates are seeds.

Why the gain is 1 at any width, not only in the limit: q_{l+1} / q_l has expectation 2 E[sum relu(z)^2 / sum z^2], and
as z and -z are equally likely, given their sizes, relu keeps half of the sum of squares on average. This needs a
symmetric distribution and no more: truncated and uniform weights serve. Backward the level is exact in the same way,
and the ratio up to O(1 / n^2).

Two decisions:

- equivalence (:func:`judge_gain`): the gain of each of the 19 steps lies within 1 +- 10 %, and their average within
  1 +- 2.5 %; TOST over seeds, Holm over the 20 members, level .001. The standard deviation of one ratio is
  sqrt(5 / n) = .14, of the average .032: the number of seeds makes a true claim fail at most twice in a million.
- the finite-width law (:func:`judge_law`): the log increments have the mean and variance that the law of relu_law.py
  says, layer by layer and summed. Level 1e-5.

False alarms of this file with fresh seeds: 2 initializers x 2 directions x (2e-6 + 1e-5) = 4.8e-5, and at
most 6e-5 with what skewness adds in the far tail (less than a factor 3 to the first, 1.4 to the second); the controls
add less than 1e-6. Stated: 1e-4.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from claims_by_seeds import LAW_LEVEL, MARGINS, MISS_RATE, judge_gain, judge_law, plan_seeds
from deep_network import DEPTH, RELU_VARIANCE, STEPS, WIDTH, Measured, probe_deep
from relu_law import KURTOSIS, hidden_peakedness, log_law, log_moments, peakedness_of
from scipy import stats

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import InitializerSpec

pytestmark = pytest.mark.slow


TIED_SEEDS = 64
PLAN = plan_seeds(RELU_VARIANCE, STEPS)

HE = pytest.mark.parametrize("name", ["HeNormal", "HeUniform"])
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "backward"])
WEAK = InitializerSpec("VarianceScaling", (("scale", 1.9), ("distribution", "uniform")))


@pytest.fixture
def measure_he(measure):
    return lambda name: measure(InitializerSpec(name), "relu", PLAN.seeds)


def law_of(kurtosis, direction, sample):
    hidden = np.full(STEPS, hidden_peakedness(WIDTH))
    peakedness = hidden if direction == "backward" else np.concatenate([[peakedness_of(sample)], hidden])
    return log_law(WIDTH, kurtosis, peakedness)


def detectable():
    """The deviations that the law test sees with probability .999: of one layer's variance, and of the spread."""
    power = stats.norm.ppf(0.999)
    of_layer = stats.norm.isf(LAW_LEVEL / 4 / DEPTH) + power
    of_spread = stats.norm.isf(LAW_LEVEL / 4) + power
    return {
        "sees_layer_off_by": math.expm1(of_layer * math.sqrt(log_moments(WIDTH)[1] / PLAN.seeds)),
        "sees_spread_factor": math.exp(of_spread * math.sqrt(2 / PLAN.seeds)),
    }


@HE
@DIRECTIONS
def test_he_keeps_the_second_moment_from_layer_to_layer(name, direction, measure_he, record):
    judged = judge_gain(getattr(measure_he(name), f"{direction}_ratios"), expected=1.0)
    record(judged, planned_sd=PLAN.average_sd, margin=MARGINS.average, level=MISS_RATE, false_alarm=PLAN.false_alarm)
    assert judged.verdict == "pass", judged.reason


@HE
@DIRECTIONS
def test_he_obeys_the_finite_width_law(name, direction, measure_he, sample, record):
    mean, variance = law_of(KURTOSIS[name], direction, sample)
    judged = judge_law(getattr(measure_he(name), f"{direction}_increments"), mean, variance)
    record(judged, false_alarm=LAW_LEVEL, **detectable())
    assert judged.verdict == "pass", judged.reason


@DIRECTIONS
def test_glorot_does_not_keep_it(direction, measure, sample, record):
    """Negative control: half the variance."""
    measured = measure(InitializerSpec("GlorotUniform"), "relu", PLAN.seeds)
    gain = judge_gain(getattr(measured, f"{direction}_ratios"), expected=1.0)
    law = judge_law(getattr(measured, f"{direction}_increments"), *law_of(KURTOSIS["HeUniform"], direction, sample))
    assert record(gain, "gain").verdict == record(law, "law").verdict == "fail"


@DIRECTIONS
def test_a_variance_five_per_cent_short_is_noticed(direction, measure, sample, record):
    """Negative control: a defect as small as the claim's margins are meant for, in both decisions."""
    measured = measure(WEAK, "relu", PLAN.seeds)
    gain = judge_gain(getattr(measured, f"{direction}_ratios"), expected=1.0)
    law = judge_law(getattr(measured, f"{direction}_increments"), *law_of(KURTOSIS["HeUniform"], direction, sample))
    assert record(gain, "gain").verdict == record(law, "law").verdict == "fail"


@DIRECTIONS
def test_one_integer_seed_for_all_layers_is_noticed_by_the_spread(direction, measure_tied, sample, record):
    """Negative control: ``HeNormal(seed=s)`` in every layer makes all kernels equal.

    Each layer by itself is what it should be; only the sum over the layers tells.
    """
    increments = getattr(measure_tied, f"{direction}_increments")
    law = judge_law(increments, *law_of(KURTOSIS["HeNormal"], direction, sample))
    assert record(law).verdict == "fail"
    assert law.figures["spread_interval"][0] > 1


@pytest.fixture(scope="module")
def measure_tied(take_seeds, sample):
    keras = import_keras()
    seeds = take_seeds(TIED_SEEDS)
    probe = probe_deep(InitializerSpec("HeNormal"), "relu", sample)
    kernels = []
    for seed in seeds:
        shared = keras.initializers.HeNormal(seed=seed % (2**31 - 2))
        kernels.append(shared((WIDTH, WIDTH)))
        assert np.array_equal(kernels[-1], shared((WIDTH, WIDTH)))
    stacked = keras.ops.stack(kernels)
    drawn = probe.plan.sample(seeds)
    values = [stacked if tuple(value.shape) == tuple(stacked.shape) else value for value in drawn]
    return Measured(probe.measure_weights(seeds, values))
