"""The decisions about gains by layer, on synthetic tables, and what the two topics list. Next to none is measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from initcheck.core import statistics
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import RunContext, Verdict
from initcheck.spec.decisions import MISS_RATE, GainByLayer, IncrementsByLayer
from initcheck.spec.topics.deep import SMALL, networks
from initcheck.spec.topics.deep.networks import (
    HOMOGENEOUS,
    DeepNetwork,
    NetworkMoments,
    plan_seeds,
    tabulate_layers,
)
from initcheck.theory.sampling import compute_relu_increment

WIDTH, STEPS, SEEDS = 64, 9, 489
GAIN = GainByLayer("gain", 0.20, 0.04)


def draw_increments(seed=0, seeds=SEEDS):
    """Log increments of a ReLU layer from their exact distribution, without any network."""
    random = np.random.default_rng(seed)
    return np.log(2 / WIDTH * random.chisquare(random.binomial(WIDTH, 0.5, (seeds, STEPS))))


def within(rate, expected, runs):
    return abs(rate - expected) <= 5.0 * math.sqrt(expected * (1.0 - expected) / runs)


def law_table(increments):
    law = compute_relu_increment(WIDTH)
    return tabulate_layers(increments).assign(mean=law.mean, variance=law.variance)


@pytest.mark.parametrize(
    ("factor", "verdicts"),
    [
        (1.0, {Verdict.PASS}),
        *((factor, {Verdict.FAIL}) for factor in (0.5, 1.10, 0.90)),
        *((factor, {Verdict.FAIL, Verdict.INCONCLUSIVE}) for factor in (0.95, 1.05)),
    ],
)
def test_the_gain_is_judged(factor, verdicts):
    assert GAIN(tabulate_layers(factor * np.exp(draw_increments()))).verdict in verdicts


def test_one_layer_far_off_is_named():
    ratios = np.exp(draw_increments())
    ratios[:, 3] *= 1.5
    evidence = GAIN(tabulate_layers(ratios))
    assert evidence.verdict == Verdict.FAIL
    assert evidence.members == STEPS + 1


@pytest.mark.parametrize("decide", [GAIN, IncrementsByLayer()])
def test_a_missing_value_and_an_empty_table_do_not_pass(decide):
    increments = draw_increments()
    increments[0, 0] = math.nan
    table = law_table(increments)
    if decide is GAIN:
        table["value"] = np.exp(table["value"])
    assert decide(table).verdict == Verdict.INCONCLUSIVE
    assert decide(table.iloc[:0]).verdict == Verdict.INCONCLUSIVE


def test_too_few_seeds_are_inconclusive():
    assert GAIN(tabulate_layers(np.exp(draw_increments(seeds=20)))).verdict == Verdict.INCONCLUSIVE
    assert IncrementsByLayer()(law_table(draw_increments(seeds=20))).verdict == Verdict.INCONCLUSIVE


def test_the_law_is_judged():
    increments = draw_increments()
    assert IncrementsByLayer()(law_table(increments)).verdict == Verdict.PASS
    assert IncrementsByLayer()(law_table(increments + math.log(1.05))).verdict == Verdict.FAIL
    one_layer = increments.copy()
    one_layer[:, 4] += math.log(1.25)
    assert IncrementsByLayer()(law_table(one_layer)).verdict == Verdict.FAIL


def test_equal_layers_are_seen_by_the_variance_of_the_sum_alone():
    tied = np.repeat(draw_increments()[:, :1], STEPS, axis=1)
    evidence = IncrementsByLayer()(law_table(tied))
    assert evidence.verdict == Verdict.FAIL
    assert evidence.effect > 5.0
    assert evidence.low > 1.0


@pytest.mark.montecarlo
def test_the_law_rejects_what_was_drawn_from_it_at_its_level():
    level, runs = 0.05, 400
    judged = [IncrementsByLayer(level)(law_table(draw_increments(seed, 32))) for seed in range(runs)]
    # Three tests share the level by Bonferroni, which costs next to nothing where they are nearly independent.
    assert within(sum(each.verdict == Verdict.FAIL for each in judged) / runs, level, runs)


def test_the_correction_for_bounded_weights_is_that_of_a_simulated_layer():
    """Uniform weights in a narrow layer, where the correction is large: the law without it is seen to be wrong."""
    random = np.random.default_rng(0)
    width, runs, limit = 24, 60_000, 0.5
    logs = []
    for x in np.array_split(np.maximum(random.standard_normal((runs, width)), 0.0), 20):
        z = np.einsum("ri,rio->ro", x, random.uniform(-limit, limit, (len(x), width, width)))
        logs.append(np.log(np.sum(np.maximum(z, 0.0) ** 2, axis=1) / np.sum(x**2, axis=1)))
    drawn = np.concatenate(logs)
    corrected = compute_relu_increment(width, kurtosis=1.8, participation=6.0 / (width + 4.0))
    plain = compute_relu_increment(width)
    squares = np.square(drawn - drawn.mean())
    mean_error, variance_error = drawn.std() / math.sqrt(runs), squares.std() / math.sqrt(runs)
    # The correction is of leading order: a share 5 / width of it is left to the next.
    assert abs(drawn.mean() - corrected.mean) <= 5.0 * mean_error + abs(corrected.mean - plain.mean) * 5.0 / width
    allowed = 5.0 * variance_error + abs(corrected.variance - plain.variance) * 5.0 / width
    assert abs(squares.mean() - corrected.variance) <= allowed
    # Negative control: the law of Gaussian weights is not theirs.
    assert abs(squares.mean() - plain.variance) > allowed


def test_a_true_gain_passes_as_often_as_planned():
    """At margins so narrow that false alarms are frequent; the same formula plans the rare ones."""
    sd, margin, seeds, level, runs = 0.14, 0.05, 60, 0.01, 1000
    # From the noncentral t: neither of the two tests may fail to reject, and each does so as often as the other.
    shift = margin * math.sqrt(seeds) / sd
    expected = 2.0 * float(stats.nct.cdf(stats.t.ppf(1.0 - level, seeds - 1), seeds - 1, shift))
    samples = np.random.default_rng(1).normal(1.0, sd, (runs, seeds))
    tests = [statistics.equivalence_test(each, 1.0 - margin, 1.0 + margin, level) for each in samples]
    passed = sum(test.verdict == "pass" for test in tests)
    assert 0.1 < expected < 0.9
    assert within(1.0 - passed / runs, expected, runs)


def test_a_gain_at_its_margin_seldom_passes():
    verdicts = [
        GAIN(tabulate_layers((1.0 + GAIN.average) * np.exp(draw_increments(seed)))).verdict for seed in range(20)
    ]
    # Twice in twenty at a rate of MISS_RATE: 2e-4.
    assert verdicts.count(Verdict.PASS) <= 2
    assert GAIN.level == MISS_RATE <= 1e-3


def test_tanh_takes_next_to_nothing_from_a_small_signal():
    """The bound that ``glorot_uniform.tanh_small_signal_gain`` rests on: 2 q = 2e-4 of the second moment a layer."""
    moments = DeepNetwork(InitializerSpec("GlorotUniform"), "tanh", scale=SMALL).measure(RunContext(), 4)
    assert 0.0 < float(np.mean(1.0 - moments.after[:, 1:] / moments.before)) < 1e-3


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_larger_kernels_change_a_homogeneous_network_as_the_formula_says(activation):
    context = RunContext()
    network = DeepNetwork(InitializerSpec("HeNormal"), activation, depth=4, width=16)
    measured = networks._measure(replace(network, variance_factor=1.5), context, 3)
    followed = replace(network, variance_factor=1.5).measure(context, 3)
    before = network.measure(context, 3)
    for name in ("before", "after", "gradient", "weight_gradient"):
        found, expected = getattr(followed, name), getattr(measured, name)
        # The loss may depend on the size of the outputs: it has one gradient for all layers.
        if name.endswith("gradient"):
            found, expected = found / found[:, -1:], expected / expected[:, -1:]
        assert found == pytest.approx(expected, rel=1e-4)
    assert followed.ratios("forward") == pytest.approx(1.5 * before.ratios("forward"), rel=1e-12)
    assert followed.ratios("backward") == pytest.approx(1.5 * before.ratios("backward"), rel=1e-12)


def test_a_smaller_margin_needs_more_seeds():
    assert plan_seeds(0.28, 0.093, STEPS, left_out=0.02) > 3 * plan_seeds(0.28, 0.093, STEPS)


def test_ratios_go_in_the_direction_of_the_signal():
    z, gradient = np.asarray([[1.0, 2.0, 8.0]]), np.asarray([[12.0, 6.0, 2.0]])
    moments = NetworkMoments(
        before=z, after=np.asarray([[1.0, 1.0, 2.0, 8.0]]), gradient=gradient, weight_gradient=gradient
    )
    assert moments.ratios("forward").tolist() == [[2.0, 4.0]]
    assert moments.ratios("backward").tolist() == [[3.0, 2.0]]
    assert np.exp(moments.increments("forward")).round(12).tolist() == [[1.0, 2.0, 4.0]]


def test_a_dead_signal_is_not_a_gain():
    dead = np.zeros((2, 3))
    assert np.isnan(NetworkMoments(dead, dead, dead, dead).ratios("backward")).all()


def test_theory_asks_for_more_seeds_of_relu_than_of_linear_layers():
    he = InitializerSpec("HeNormal")
    assert DeepNetwork(he, "relu").count_seeds() > 2 * DeepNetwork(he, "linear").count_seeds()
