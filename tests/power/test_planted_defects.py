"""Each planted defect turns the claims red that it breaks, first one that names it, and leaves the others green.

Here the first is that of the claims that are named with the defect; ``table.py`` takes the first of all that concern
its subject, and ``tests/docs`` reads what that has found.
"""

from __future__ import annotations

from collections import Counter

import pytest
from running import DEFECTS, Baseline, first_listed, judge_planted, names, pick

from initcheck.spec.claim import RunContext
from initcheck.spec.order import listing_key

QUICK = (
    "variance_of_he_normal",
    "seed_of_eight_bits",
    "dtype_ignored",
    "fans_of_rank_3",
    "default_gain",
    "config_without_mode",
    "name_zeros",
    "zeros_not_zero",
    "dense_bias",
    "slightly_leaky_relu",
)
"""One of each kind, which the default run plants too."""


@pytest.fixture(scope="session")
def baseline():
    return Baseline()


def _marks(planted):
    marks = [] if planted.name in QUICK else [pytest.mark.power]
    if any(claim.slow for claim in pick((*planted.caught_by, *planted.spared))):
        marks.append(pytest.mark.slow)
    return marks


@pytest.mark.parametrize("planted", [pytest.param(each, id=each.name, marks=_marks(each)) for each in DEFECTS])
def test_a_planted_defect_turns_the_right_claims_red(planted, baseline):
    expected, spared = pick(planted.caught_by), pick(planted.spared)
    patterns = (*planted.caught_by, *planted.spared, *planted.named_first, *planted.not_shown)
    assert all(pick([pattern]) for pattern in patterns), "a pattern matches no claim"
    judged = judge_planted(planted, [*expected, *spared], baseline)
    red_before = {each.claim.id: each.before.reason for each in judged if not each.before.green}
    assert not red_before
    missed = {each.claim.id: each.after.reason for each in judged if each.claim in expected and not each.caught}
    assert not missed
    accused = {each.claim.id: each.after.reason for each in judged if each.claim in spared and not each.after.green}
    assert not accused
    concerned = [claim for claim in pick(planted.names, slow=False) if claim not in expected]
    first = first_listed([*judged, *judge_planted(planted, concerned, baseline)])
    assert first is not None
    assert names(planted, first.claim), f"{first.claim.id}: {first.after.reason}"


@pytest.mark.parametrize(
    "planted", [pytest.param(each, id=each.name, marks=pytest.mark.power) for each in DEFECTS if each.not_shown]
)
def test_a_claim_whose_control_cannot_fail_is_not_shown_and_listed_after_what_is_red(planted, baseline):
    claims = pick(planted.not_shown)
    before = {claim.id: RunContext().judge(claim).status for claim in claims}
    assert set(before.values()) <= {"holds", "refuted"}
    with planted.plant():
        after = [RunContext().judge(claim) for claim in claims]
    assert {outcome.status for outcome in after} == {"not shown"}
    red = [each for each in judge_planted(planted, pick(planted.caught_by), baseline) if each.red]
    keys = [listing_key(each.claim.id, each.after.status) for each in red]
    assert max(keys) < min(listing_key(outcome.claim.id, outcome.status) for outcome in after)


def test_the_installed_keras_is_as_it_was_after_a_defect(baseline):
    claims = pick(["distribution.he_normal.variance", "determinism.he_normal.defaults"])
    judge_planted(next(each for each in DEFECTS if each.name == "variance_of_he_normal"), claims, baseline)
    assert all(Baseline().outcome(claim).green for claim in claims)


def test_defects_have_names_of_their_own():
    assert [name for name, count in Counter(each.name for each in DEFECTS).items() if count > 1] == []
