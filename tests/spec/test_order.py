"""What did not come out as specified is listed with what explains the rest first."""

from __future__ import annotations

import dataclasses
import random

import pytest

from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import Evidence, Outcome, Verdict
from initcheck.spec.order import STAGES, list_amiss, stage_of
from initcheck.spec.plugin import closing_lines
from initcheck.spec.records import make_record

IDS = [claim.id for claim in catalogue()]
CAUSES_AND_CONSEQUENCES = (
    ("distribution.he_normal.finite", "determinism.he_normal.seed_repeats"),
    ("determinism.he_normal.seed_repeats", "determinism.he_normal.config_round_trip"),
    ("determinism.he_normal.draws_differ", "distribution.he_normal.mean"),
    ("determinism.random_normal.defaults", "distribution.random_normal.variance"),
    ("fans.computation.rank_2", "distribution.glorot_normal.variance"),
    ("distribution.he_normal.independence_within_rows", "distribution.he_normal.mean"),
    ("distribution.he_normal.variance", "distribution.he_normal.support"),
    ("distribution.truncated_normal.variance", "distribution.variance_scaling.variance"),
    ("distribution.variance_scaling.variance", "distribution.he_normal.variance"),
    ("distribution.he_normal.variance", "fans.dense.he_normal"),
    ("distribution.orthogonal.haar", "determinism.orthogonal.seed_sensitivity"),
    ("determinism.zeros.aliases", "layer_defaults.dense.bias_initializer"),
    ("forward.tanh.values", "layer_defaults.lstm.gate_order"),
    ("forward.relu.values", "forward.he_normal.relu_gain"),
    ("fans.dense.he_normal", "forward.he_normal.linear_gain"),
    ("forward.he_normal.linear_gain", "backward.he_normal.linear_gain"),
)


def record(claim_id, status="broken"):
    claim = next(claim for claim in catalogue() if claim.id == claim_id)
    evidence = Evidence(Verdict.FAIL, "It was seen.", "difference", 1.0)
    return make_record(Outcome(claim, evidence, None, status, "It was seen."))


def test_every_claim_has_a_stage_and_every_stage_claims():
    assert [claim_id for claim_id in IDS if stage_of(claim_id) == len(STAGES)] == []
    used = {stage_of(claim_id) for claim_id in IDS}
    assert used == set(range(len(STAGES)))


@pytest.mark.parametrize(("cause", "consequence"), CAUSES_AND_CONSEQUENCES)
def test_a_cause_is_listed_before_its_consequence_in_whatever_order_they_ran(cause, consequence):
    records = [record(consequence), record(cause)]
    assert [each.id for each in list_amiss(records)] == [cause, consequence]
    assert [each.id for each in list_amiss(reversed(records))] == [cause, consequence]


def test_what_shows_nothing_is_listed_after_what_is_red():
    records = [
        record("distribution.he_normal.finite", "changed"),
        record("distribution.he_normal.mean", "inconclusive"),
        record("distribution.he_uniform.mean", "not shown"),
        record(IDS[-1]),
        record("distribution.truncated_normal.stddev_1_is_the_standard_deviation", "now holds"),
        record("distribution.truncated_normal.variance"),
    ]
    random.Random(1).shuffle(records)
    statuses = [each.status for each in list_amiss(records)]
    assert statuses == ["broken", "now holds", "broken", "not shown", "inconclusive", "changed"]


def test_the_terminal_names_the_cause_first():
    records = [record("forward.he_normal.relu_gain"), record("distribution.he_normal.variance")]
    lines = closing_lines([*records, dataclasses.replace(records[0], id="forward.he_normal.linear_gain")])
    assert lines[0] == "BROKEN distribution.he_normal.variance: It was seen."
