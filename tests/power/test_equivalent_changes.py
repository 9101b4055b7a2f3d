"""Changes of Keras that break no law turn nothing red; what is pinned to the present implementation has changed."""

from __future__ import annotations

import pytest
from planted_equivalents import EQUIVALENTS
from running import Baseline, judge_planted, pick

QUICK = ("other_stream", "factor_of_transpose")
SUBJECTS = ("orthogonal", "he_normal", "random_normal", "random_uniform", "truncated_normal")
FEW = ("distribution.{}.*", "determinism.{}.*")
MORE = (*FEW, "dtype.{}.*", "fans.computation.*", "determinism.one_seed_classes.*")


@pytest.fixture(scope="session")
def baseline():
    return Baseline()


def pick_of(subjects, patterns):
    found = pick([pattern.format(subject) for subject in subjects for pattern in patterns], slow=False)
    return [claim for claim in found if "independence_" not in claim.id]


@pytest.mark.parametrize("planted", [pytest.param(each, id=each.name) for each in EQUIVALENTS if each.name in QUICK])
def test_an_equivalent_change_turns_nothing_red(planted, baseline):
    judge_equivalent(planted, pick_of(SUBJECTS[:2], FEW), baseline)


@pytest.mark.power
@pytest.mark.parametrize("planted", [pytest.param(each, id=each.name) for each in EQUIVALENTS])
def test_an_equivalent_change_turns_nothing_red_of_any_kind(planted, baseline):
    judge_equivalent(planted, pick_of(SUBJECTS, MORE), baseline)


def judge_equivalent(planted, claims, baseline):
    judged = judge_planted(planted, claims, baseline)
    assert {each.claim.id: each.after.reason for each in judged if each.before.green and not each.after.green} == {}
    changed = {each.claim.id for each in judged if each.after.status == "changed"}
    assert changed <= {claim.id for claim in claims if claim.pinned}
