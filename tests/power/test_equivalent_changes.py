"""Changes of Keras that break no law turn nothing red; what is pinned to the present implementation has changed."""

from __future__ import annotations

import pytest
from planted_equivalents import EQUIVALENTS
from running import Baseline, judge_planted, pick

QUICK = ("other_stream", "factor_of_transpose")
FEW = (
    "distribution.orthogonal.*",
    "distribution.he_normal.*",
    "determinism.orthogonal.*",
    "determinism.he_normal.*",
    "determinism.one_seed_classes.*",
)


@pytest.fixture(scope="session")
def baseline():
    return Baseline()


@pytest.mark.parametrize("planted", [pytest.param(each, id=each.name) for each in EQUIVALENTS if each.name in QUICK])
def test_an_equivalent_change_turns_nothing_red(planted, baseline):
    judge_equivalent(planted, [claim for claim in pick(FEW, slow=False) if "independence_" not in claim.id], baseline)


@pytest.mark.power
@pytest.mark.parametrize("planted", [pytest.param(each, id=each.name) for each in EQUIVALENTS])
def test_an_equivalent_change_turns_nothing_red_of_all_quick_claims(planted, baseline):
    judge_equivalent(planted, pick(planted.caught_by, slow=False), baseline)


def judge_equivalent(planted, claims, baseline):
    judged = judge_planted(planted, claims, baseline)
    assert {each.claim.id: each.after.reason for each in judged if each.before.green and not each.after.green} == {}
    changed = {each.claim.id for each in judged if each.after.status == "changed"}
    assert changed <= {claim.id for claim in claims if claim.pinned}
