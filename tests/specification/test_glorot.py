"""Claim: Glorot initialization is stable on linear and near-linear tanh networks, and halves the signal under ReLU.

Network: 20 layers of 256 units, square, zero biases, one sample; replicates are seeds. In a square layer n Var(W) = 1:

- linear: E q_{l+1} / q_l = 1 exactly, forward and backward, with variance 2 / n;
- tanh on a sample of rms .01: tanh(z)^2 = z^2 (1 - 2 z^2 / 3 ...), so a layer loses 2 q = 2e-4 of the moment; the
  mean loss over layers and seeds is asserted to be below 1e-3, a fortieth of the margin;
- ReLU: half of the sum of squares passes (test_he_relu.py), so the gain is 1/2 exactly, with relative variance 5 / n.

The linear network is measured with both of Keras' Glorots, which differ in their distribution alone; the others with
the default, GlorotUniform. (For the same seed GlorotNormal's kernels are HeNormal's by a factor: under ReLU there would
be nothing new.)

Decision (:func:`judge_gain`): each of 19 steps within +- 10 % of the gain claimed, their average within +- 2.5 %; TOST
over seeds, Holm over the 20 members, level .001, and as many seeds as let a true claim fail twice in a million.

False alarms of this file with fresh seeds: 9 families x 2e-6 = 1.8e-5, at most 6e-5 with the skewness of the ratios;
the controls are further than 7 standard errors from their limits. Stated: 1e-4.
"""

from __future__ import annotations

import numpy as np
import pytest
from claims_by_seeds import MARGINS, MISS_RATE, judge_gain, plan_seeds
from deep_network import LINEAR_VARIANCE, RELU_VARIANCE, STEPS, WIDTH

from initcheck.models.initializers import InitializerSpec

pytestmark = pytest.mark.slow


SMALL = 0.01
LINEAR = plan_seeds(LINEAR_VARIANCE, STEPS)
RELU = plan_seeds(RELU_VARIANCE, STEPS)

BOTH = pytest.mark.parametrize("name", ["GlorotNormal", "GlorotUniform"])
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "backward"])
GLOROT = InitializerSpec("GlorotUniform")  # Keras' default
WIDE = InitializerSpec("RandomNormal", (("stddev", 1.0),))


def judge(measured, direction, expected):
    return judge_gain(getattr(measured, f"{direction}_ratios"), expected)


def planned(plan):
    return {
        "planned_sd": plan.average_sd,
        "margin": MARGINS.average,
        "level": MISS_RATE,
        "false_alarm": plan.false_alarm,
    }


@BOTH
@DIRECTIONS
def test_glorot_is_stable_on_a_linear_network(name, direction, measure, record):
    judged = judge(measure(InitializerSpec(name), "linear", LINEAR.seeds), direction, 1.0)
    record(judged, **planned(LINEAR))
    assert judged.verdict == "pass", judged.reason


@DIRECTIONS
def test_glorot_is_stable_on_a_tanh_network_while_its_signal_is_small(direction, measure, record):
    measured = measure(GLOROT, "tanh", LINEAR.seeds, SMALL)
    loss = float(np.mean(1 - measured.after[:, 1:] / measured.before))
    judged = judge(measured, direction, 1.0)
    record(judged, nonlinearity=loss, **planned(LINEAR))
    assert judged.verdict == "pass", judged.reason
    assert 0 < loss < 1e-3


@DIRECTIONS
def test_glorot_halves_the_signal_under_relu(direction, measure, record):
    judged = judge(measure(GLOROT, "relu", RELU.seeds), direction, 0.5)
    record(judged, **planned(RELU))
    assert judged.verdict == "pass", judged.reason


@DIRECTIONS
def test_glorot_is_not_stable_under_relu(direction, measure, record):
    """Negative control of stability."""
    measured = measure(GLOROT, "relu", RELU.seeds)
    assert record(judge(measured, direction, 1.0)).verdict == "fail"


@DIRECTIONS
def test_glorot_does_not_halve_the_signal_of_a_linear_network(direction, measure, record):
    """Negative control of halving."""
    measured = measure(GLOROT, "linear", LINEAR.seeds)
    assert record(judge(measured, direction, 0.5)).verdict == "fail"


@DIRECTIONS
def test_glorot_is_not_stable_on_a_tanh_network_of_unit_inputs(direction, measure, record):
    """Negative control: beyond the near-linear range the signal decays, like 1 / (2 l)."""
    measured = measure(GLOROT, "tanh", LINEAR.seeds)
    assert record(judge(measured, direction, 1.0)).verdict == "fail"


@DIRECTIONS
def test_a_standard_deviation_of_one_is_not_stable(direction, measure, record):
    """Negative control in the other direction: the signal explodes, by half the width at each ReLU layer."""
    measured = measure(WIDE, "relu", RELU.seeds)
    judged = record(judge(measured, direction, 1.0), "stable")
    assert judged.verdict == "fail"
    assert judged.figures["lowest_step"] > 1


def test_a_standard_deviation_of_one_multiplies_the_signal_by_half_the_width_under_relu(measure, record):
    judged = judge(measure(WIDE, "relu", RELU.seeds), "forward", WIDTH / 2)
    record(judged, **planned(RELU))
    assert judged.verdict == "pass", judged.reason
