"""Each planted defect turns the claims red that it breaks, and leaves those green that it does not concern."""

from __future__ import annotations

from collections import Counter

import pytest
from running import DEFECTS, Baseline, judge_planted, pick

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
    assert all(pick([pattern]) for pattern in (*planted.caught_by, *planted.spared)), "a pattern matches no claim"
    judged = judge_planted(planted, [*expected, *spared], baseline)
    red_before = {each.claim.id: each.before.reason for each in judged if not each.before.green}
    assert not red_before
    missed = {each.claim.id: each.after.reason for each in judged[: len(expected)] if not each.caught}
    assert not missed
    accused = {each.claim.id: each.after.reason for each in judged[len(expected) :] if not each.after.green}
    assert not accused


def test_the_installed_keras_is_as_it_was_after_a_defect(baseline):
    claims = pick(["distribution.he_normal.variance", "determinism.he_normal.defaults"])
    judge_planted(next(each for each in DEFECTS if each.name == "variance_of_he_normal"), claims, baseline)
    assert all(Baseline().outcome(claim).green for claim in claims)


def test_defects_have_names_of_their_own():
    assert [name for name, count in Counter(each.name for each in DEFECTS).items() if count > 1] == []
