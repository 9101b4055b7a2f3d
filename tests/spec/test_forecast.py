"""How long a run of the specification is forecast to take, and what was recorded of its claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fake_specification import CLAIMS

from initcheck.core.forecast import TimeLeft
from initcheck.spec import forecast
from initcheck.spec.catalogue import TOPICS, catalogue
from initcheck.spec.forecast import (
    Recorded,
    estimate_seconds,
    follow_claims,
    forecast_specification,
    group_claims,
    read_recorded,
)

RECORDED_ON = 0.75
"""How many times as long as the reference machine the one takes, by its loop, on which the claims were recorded."""
LONGEST_FAST_SECONDS = 3.0
"""Two seconds on a quiet core: the claims were recorded beside other work, which lengthens processor time too."""
FAST_SECONDS, ALL_SECONDS = 60.0, 240.0
"""Of the fast part and of all claims, on two cores of that machine."""
HOLDS, _, SLOW = CLAIMS["first"]


@pytest.fixture
def recorded(monkeypatch):
    """Two subjects, of which one has fast and slow claims."""
    found = {
        ("first.green", "fast"): Recorded(4, 8.0, 3.0),
        ("first.green", "slow"): Recorded(1, 10.0, 10.0),
        ("first.red", "fast"): Recorded(1, 1.0, 1.0),
    }
    monkeypatch.setattr(forecast, "read_recorded", lambda: found)
    forecast._mean_of.cache_clear()
    yield
    forecast._mean_of.cache_clear()


@pytest.mark.usefixtures("recorded")
def test_a_claim_takes_the_mean_of_its_subject_and_mark_and_a_new_one_that_of_its_topic():
    assert estimate_seconds(HOLDS) == 2.0
    assert estimate_seconds(SLOW) == 10.0
    assert estimate_seconds(replace(HOLDS, id="first.new.holds")) == pytest.approx(9.0 / 5.0)
    assert estimate_seconds(replace(HOLDS, id="new.subject.holds")) > 0.0


@pytest.mark.usefixtures("recorded")
def test_groups_that_take_longest_are_first_and_processes_share_them():
    claims = [replace(HOLDS, id=f"first.red.{name}") for name in "abc"] + [HOLDS, SLOW]
    longest, shortest = group_claims(claims)
    assert [claim.id for claim in longest] == ["first.green.holds", "first.green.slow"]
    assert [claim.id for claim in shortest] == ["first.red.a", "first.red.b", "first.red.c"]
    start = forecast._START_SECONDS
    assert forecast_specification(claims, 1, 1.0).seconds == pytest.approx(start + 15.0)
    assert forecast_specification(claims, 2, 1.0).seconds == pytest.approx(start + 12.0)
    slower = forecast_specification(claims, 2, 3.0)
    assert slower.seconds == pytest.approx(3.0 * (start + 12.0))
    assert slower.text == "5 claims in 2 processes: about 1 min 0 s."


@pytest.mark.usefixtures("recorded")
def test_what_is_left_follows_from_what_is_done():
    now = 0.0
    left = TimeLeft(clock=lambda: now)
    shown = []
    follow = follow_claims([HOLDS, SLOW], lambda *given: shown.append(given), left)
    start = forecast._START_SECONDS
    assert left.seconds == pytest.approx(start + 12.0)
    follow(0, 2, HOLDS.id)
    now = start + 2.0
    follow(1, 2, HOLDS.id)
    assert left.seconds == pytest.approx(10.0)
    now += 20.0
    follow(2, 2, SLOW.id)
    assert left.seconds == 0.0
    assert shown == [(0, 2, HOLDS.id), (1, 2, HOLDS.id), (2, 2, SLOW.id)]


def test_no_fast_claim_takes_more_than_two_seconds_on_a_quiet_core():
    longest = {
        subject: RECORDED_ON * each.longest for (subject, mark), each in read_recorded().items() if mark == "fast"
    }
    assert {subject: seconds for subject, seconds in longest.items() if not seconds <= LONGEST_FAST_SECONDS} == {}


def test_the_fast_part_takes_a_minute_on_two_cores_and_all_claims_four():
    fast = [claim for claim in catalogue() if not claim.slow]
    assert forecast_specification(fast, 2, RECORDED_ON).seconds <= FAST_SECONDS
    assert forecast_specification(catalogue(), 2, RECORDED_ON).seconds <= ALL_SECONDS


@pytest.mark.parametrize("topic", TOPICS)
def test_nearly_all_claims_were_recorded(topic):
    claims = catalogue(topic)
    known = read_recorded()
    new = [claim.id for claim in claims if (".".join(claim.id.split(".")[:2]), claim.mark) not in known]
    assert len(new) <= 0.1 * len(claims), f"Run tests/spec/record_seconds.py: new are {new}"
    assert all(math.isfinite(estimate_seconds(claim)) for claim in claims)
