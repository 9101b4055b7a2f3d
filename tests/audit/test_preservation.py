"""The decision behind ``assert_preserves``, on levels of known rates."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from examined_model import Stack, make_result
from scipy import stats

from initcheck.audit.preservation import check_request, judge_preservation
from initcheck.core.errors import UsageError


def judge(direction="both", within=0.05, **fields):
    return judge_preservation(make_result(Stack(**fields)).paths, direction, within)


def test_a_steady_signal_is_preserved_in_both_directions():
    assert [each.verdict for each in judge(seeds=16)] == ["preserved", "preserved"]


def test_each_direction_is_judged_by_itself():
    assert [each.verdict for each in judge(backward=0.5)] == ["preserved", "not preserved"]
    assert [each.verdict for each in judge("forward", backward=0.5)] == ["preserved"]
    (found,) = judge("backward", backward=2.5)
    assert found.sentence.startswith("does not preserve the gradient backward: a factor of 2.4")


@pytest.mark.parametrize("forward", [1.1, 1 / 1.1])
def test_a_factor_within_one_margin_is_beyond_a_narrower_one(forward):
    assert judge("forward", 0.2, forward=forward)[0].verdict == "preserved"
    assert judge("forward", 0.05, forward=forward)[0].verdict == "not preserved"


def test_the_interval_is_the_t_interval_at_90_per_cent_of_the_logarithms():
    judged_path = make_result(Stack(forward=1.02, spread=0.05)).paths[0]
    (found,) = judge_preservation([judged_path], "forward", 0.5)
    rates = (judged_path.levels.logs[:, -2] - judged_path.levels.logs[:, 0]) / judged_path.steps
    low, high = stats.t.interval(0.9, len(rates) - 1, rates.mean(), stats.sem(rates))
    pattern = r"a factor of (\S+) \[(\S+), (\S+)\] a layer in squares, over 4 layers between layer"
    match = re.search(pattern, found.sentence)
    assert match is not None, found.sentence
    expected = np.exp([rates.mean(), low, high])
    assert [float(each) for each in match.groups()] == pytest.approx(expected, abs=0.006)


def test_a_wide_interval_is_undecided_and_says_how_many_seeds_would_decide():
    (found,) = judge("forward", 0.05, spread=0.5, seeds=4)
    assert found.verdict == "undecided"
    match = re.search(r"At least (\d+) seeds would decide: seeds=(\d+)\.", found.sentence)
    assert match is not None and match[1] == match[2]
    assert int(match[1]) > 4
    assert judge("forward", 0.05, spread=0.5, seeds=40 * int(match[1]))[0].verdict == "preserved"


def test_the_undecided_are_rarely_called_preserved_on_the_bound():
    """At the end of the margin, the equivalence test passes in at most 5% of cases."""
    rng, passed, trials = np.random.default_rng(0), 0, 400
    judged_path = make_result(Stack(seeds=8)).paths[0]
    levels = judged_path.levels
    for _ in range(trials):
        steps = rng.normal(math.log1p(0.05), 0.02, levels.steps.shape)
        walked = replace(judged_path, levels=replace(levels, steps=steps))
        passed += judge_preservation([walked], "forward", 0.05)[0].verdict == "preserved"
    assert passed / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert passed > 0


def test_a_dead_or_infinite_signal_is_not_preserved():
    assert "exactly zero" in judge("forward", dead_from=3)[0].sentence
    assert judge("forward", dead_from=3)[0].verdict == "not preserved"
    judged_path = make_result(Stack()).paths[0]
    squares = judged_path.levels.squares.copy()
    squares[2, 3] = np.inf
    infinite = replace(judged_path.levels, squares=squares)
    wrong = replace(judged_path, levels=infinite, outcome="nonfinite", beyond=("layer_3",))
    (found,) = judge_preservation([wrong], "forward", 0.05)
    assert (found.verdict, "it is not finite at layer_3" in found.sentence) == ("not preserved", True)


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
