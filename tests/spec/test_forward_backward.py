"""The decisions about gains by layer, on synthetic tables, and what the two topics list. No network is measured."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Verdict
from initcheck.spec.topics import backward
from initcheck.spec.topics.deep.networks import DeepNetwork, Moments, plan_seeds, tabulate_steps
from initcheck.spec.topics.forward import claims
from initcheck.spec.topics.gains import GainByLayer, LawByLayer
from initcheck.theory.sampling import compute_relu_increment

WIDTH, STEPS, SEEDS = 64, 9, 489
GAIN = GainByLayer("gain", 0.20, 0.04)
CLAIMS = (*claims.claims(), *backward.claims())


def draw_increments(seed=0, seeds=SEEDS):
    """Draw log increments of ReLU layers from the exact law, without any network."""
    random = np.random.default_rng(seed)
    return np.log(2.0 / WIDTH * random.chisquare(random.binomial(WIDTH, 0.5, (seeds, STEPS))))


def law_table(increments):
    law = compute_relu_increment(WIDTH)
    return tabulate_steps(increments).assign(mean=law.mean, variance=law.variance)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (0.5, "fail"), (1.10, "fail"), (0.90, "fail")])
def test_the_gain_is_judged(factor, verdict):
    assert GAIN(tabulate_steps(factor * np.exp(draw_increments()))).verdict == verdict


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_gain_five_per_cent_off_does_not_pass(factor):
    assert GAIN(tabulate_steps(factor * np.exp(draw_increments()))).verdict != Verdict.PASS


def test_one_step_far_off_is_named():
    ratios = np.exp(draw_increments())
    ratios[:, 3] *= 1.5
    evidence = GAIN(tabulate_steps(ratios))
    assert evidence.verdict == Verdict.FAIL
    assert evidence.members == STEPS + 1


@pytest.mark.parametrize("decide", [GAIN, LawByLayer()])
def test_a_missing_value_and_an_empty_table_do_not_pass(decide):
    increments = draw_increments()
    increments[0, 0] = math.nan
    table = law_table(increments)
    if decide is GAIN:
        table["value"] = np.exp(table["value"])
    assert decide(table).verdict == Verdict.INCONCLUSIVE
    assert decide(table.iloc[:0]).verdict == Verdict.INCONCLUSIVE


def test_too_few_seeds_are_inconclusive():
    assert GAIN(tabulate_steps(np.exp(draw_increments(seeds=20)))).verdict == Verdict.INCONCLUSIVE
    assert LawByLayer()(law_table(draw_increments(seeds=20))).verdict == Verdict.INCONCLUSIVE


def test_the_law_is_judged():
    increments = draw_increments()
    assert LawByLayer()(law_table(increments)).verdict == Verdict.PASS
    assert LawByLayer()(law_table(increments + math.log(1.05))).verdict == Verdict.FAIL
    one_layer = increments.copy()
    one_layer[:, 4] += math.log(1.25)
    assert LawByLayer()(law_table(one_layer)).verdict == Verdict.FAIL


def test_equal_layers_are_seen_by_the_spread_alone():
    tied = np.repeat(draw_increments()[:, :1], STEPS, axis=1)
    evidence = LawByLayer()(law_table(tied))
    assert evidence.verdict == Verdict.FAIL
    assert evidence.effect > 5.0


def test_p_values_of_the_law_are_not_too_small():
    p_values = [LawByLayer()(law_table(draw_increments(seed, 100))).p_value for seed in range(200)]
    assert np.mean(np.asarray(p_values) < 0.05) < 0.1


def test_a_smaller_margin_needs_more_seeds():
    assert plan_seeds(0.28, 0.093, STEPS, left_out=0.02) > 3 * plan_seeds(0.28, 0.093, STEPS)


def test_ratios_go_in_the_direction_of_travel():
    z, gradient = np.asarray([[1.0, 2.0, 8.0]]), np.asarray([[12.0, 6.0, 2.0]])
    moments = Moments(before=z, after=np.asarray([[1.0, 1.0, 2.0, 8.0]]), gradient=gradient, weight_gradient=gradient)
    assert moments.ratios("forward").tolist() == [[2.0, 4.0]]
    assert moments.ratios("backward").tolist() == [[3.0, 2.0]]
    assert np.exp(moments.increments("forward")).round(12).tolist() == [[1.0, 2.0, 4.0]]


def test_a_dead_signal_is_not_a_gain():
    dead = np.zeros((2, 3))
    assert np.isnan(Moments(dead, dead, dead, dead).ratios("backward")).all()


def test_theory_asks_for_more_seeds_of_relu_than_of_linear_layers():
    he = InitializerSpec("HeNormal")
    assert DeepNetwork(he, "relu").count_seeds() > 2 * DeepNetwork(he, "linear").count_seeds()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claims_are_plain_values_in_their_topic(claim):
    assert claim.topic in ("forward", "backward")
    assert pickle.loads(pickle.dumps(claim.experiment)) == claim.experiment
    assert claim.experiment != claim.control


def test_the_rows_of_the_catalogue_are_covered():
    rows = {row for claim in CLAIMS for row in claim.rows}
    assert {f"E{number}" for number in range(1, 12)} | {f"F{number}" for number in range(1, 7)} <= rows
    assert {"S2", "S7", "S8", "S9"} <= rows
