"""The decision behind ``assert_preserves``, on levels of known rates."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from examined_model import Stack, make_examination
from scipy import stats

from initcheck.core.errors import UsageError
from initcheck.pytest_plugin.fixture import check_request, judge_preservation


def judge(direction="both", within=0.05, **fields):
    return judge_preservation(make_examination(Stack(**fields)).courses, direction, within)


def test_a_steady_signal_is_preserved_in_both_directions():
    assert [each.verdict for each in judge(seeds=16)] == ["preserved", "preserved"]


def test_each_direction_is_judged_by_itself():
    assert [each.verdict for each in judge(backward=0.5)] == ["preserved", "not preserved"]
    assert [each.verdict for each in judge("forward", backward=0.5)] == ["preserved"]
    (found,) = judge("backward", backward=2.5)
    assert found.told.startswith("does not preserve the gradient backward: a factor of 2.4")


@pytest.mark.parametrize("forward", [1.1, 1 / 1.1])
def test_a_factor_within_one_margin_is_beyond_a_narrower_one(forward):
    assert judge("forward", 0.2, forward=forward)[0].verdict == "preserved"
    assert judge("forward", 0.05, forward=forward)[0].verdict == "not preserved"


def test_the_interval_is_the_t_interval_at_90_per_cent_of_the_logarithms():
    course = make_examination(Stack(forward=1.02, spread=0.05)).courses[0]
    (found,) = judge_preservation([course], "forward", 0.5)
    rates = (course.levels.logs[:, -2] - course.levels.logs[:, 0]) / course.steps
    low, high = stats.t.interval(0.9, len(rates) - 1, rates.mean(), stats.sem(rates))
    told = re.search(r"a factor of (\S+) \[(\S+), (\S+)\] a step in squares, over 4 steps between layer", found.told)
    assert told is not None, found.told
    expected = np.exp([rates.mean(), low, high])
    assert [float(each) for each in told.groups()] == pytest.approx(expected, abs=0.006)


def test_a_wide_interval_is_undecided_and_says_how_many_seeds_would_decide():
    (found,) = judge("forward", 0.05, spread=0.5, seeds=4)
    assert found.verdict == "undecided"
    needed = int(re.search(r"About (\d+) seeds would decide", found.told)[1])
    assert needed > 4
    assert judge("forward", 0.05, spread=0.5, seeds=4 * needed)[0].verdict == "preserved"


def test_the_undecided_are_rarely_called_preserved_on_the_bound():
    """At the end of the margin, the equivalence test passes in at most 5% of cases."""
    rng, passed, trials = np.random.default_rng(0), 0, 400
    course = make_examination(Stack(seeds=8)).courses[0]
    steps = course.levels.logs.shape[1] - 1
    for _ in range(trials):
        walk = rng.normal(math.log1p(0.05), 0.02, (8, steps))
        course.levels.logs[:] = np.concatenate([np.zeros((8, 1)), walk.cumsum(axis=1)], axis=1)
        passed += judge_preservation([course], "forward", 0.05)[0].verdict == "preserved"
    assert passed / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert passed > 0


def test_a_dead_or_infinite_signal_is_not_preserved():
    assert "exactly zero" in judge("forward", dead_from=3)[0].told
    assert judge("forward", dead_from=3)[0].verdict == "not preserved"
    course = make_examination(Stack()).courses[0]
    course.levels.logs[2, 3] = np.inf
    (found,) = judge_preservation([replace(course, outcome="nonfinite", beyond=("layer_3",))], "forward", 0.05)
    assert (found.verdict, "it is not finite at layer_3" in found.told) == ("not preserved", True)


def test_what_cannot_be_followed_cannot_be_judged():
    assert [each.verdict for each in judge(routed=False)] == ["cannot judge", "cannot judge"]
    assert judge("forward", nonfinite_from=3)[0].verdict == "cannot judge"  # no figure in any seed
    assert judge("backward", layers=1)[0].verdict == "cannot judge"  # one layer has no step


@pytest.mark.parametrize("direction", ["", "up", "forwards"])
def test_an_unknown_direction_is_refused(direction):
    with pytest.raises(UsageError, match="Unknown direction"):
        check_request(direction, 0.05)


@pytest.mark.parametrize("within", [0.0, -0.1, math.nan, 1.5])
def test_a_share_out_of_range_is_refused(within):
    with pytest.raises(UsageError, match="within must be above 0 and at most 1"):
        check_request("both", within)
