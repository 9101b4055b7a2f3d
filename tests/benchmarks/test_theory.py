"""What theory costs: integrals, diagrams, and the command that answers from them.

The figures in seconds are in the results; asserted are ratios within one process, or between processes that take turns.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from initcheck.theory.gaussian import compute_moments, find_activation
from initcheck.theory.mean_field import map_phases

MANY = 100


def test_moments_at_many_variances_cost_less_than_one_by_one(benchmark, compare):
    """A moment of tanh at one q takes .3 ms on a slow core; the target is 1 ms."""
    variances = np.geomspace(1e-3, 1e3, MANY)
    ratio = compare(
        f"moments at {MANY} variances: together / one by one",
        lambda: compute_moments("tanh", variances),
        lambda: [compute_moments("tanh", q) for q in variances],
        rounds=15,
        limit="<= 1",
    )
    benchmark(compute_moments, "tanh", 1.3)
    assert ratio.value <= 1.0


def test_quadrature_costs_no_more_than_a_few_evaluations_of_the_function(benchmark, compare):
    """All eight moments together, in units of evaluating tanh at as many points as there are nodes."""
    points = np.linspace(-10.0, 10.0, 2000)
    function = find_activation("tanh").function
    ratio = compare(
        "eight moments of tanh / ten times tanh at 2,000 points",
        lambda: compute_moments("tanh", 1.3),
        lambda: [function(points) for _ in range(10)],
        rounds=40,
        limit="<= 5",
    )
    benchmark(lambda: function(points))
    assert ratio.value <= 5.0


def test_a_phase_diagram_costs_less_than_its_points_one_by_one(benchmark, compare):
    """100 x 100 points; 50 to 100 ms on a slow core, the target is 1 s."""
    weights, biases = np.linspace(0.1, 4.0, 100), np.linspace(0.0, 2.0, 100)
    map_phases("tanh", weights, biases)  # the table over q is made once
    ratio = compare(
        "phase diagram of 10,000 points / moments at one point",
        lambda: map_phases("tanh", weights, biases),
        lambda: compute_moments("tanh", 1.3),
        rounds=10,
        limit="<= 2000",
    )
    benchmark(map_phases, "tanh", weights, biases)
    assert ratio.value <= 2000.0


def test_predict_answers_in_a_small_part_of_the_time_that_importing_keras_takes(benchmark, compare):
    """The target is 1.5 s, where importing Keras with TensorFlow takes 4 to 5."""

    def run(*command):
        return lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)

    predict = run("-c", "import sys; from initcheck.cli import main; sys.exit(main(['predict', '--json']))")
    ratio = compare("initcheck predict / import keras", predict, run("-c", "import keras"), rounds=5, limit="<= 0.4")
    benchmark.pedantic(predict, rounds=3)
    assert ratio.value <= 0.4
