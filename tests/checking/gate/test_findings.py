"""Findings beside a baseline: known, new, worse or gone; and whether a change along a path is for the better."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from gate_baselines import SEEDS, change_layer, change_weight, make_baseline, shift
from scipy import stats

from initcheck.checking.gate.baseline import FindingRecord, Metric, PathRecord
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import describe_changes, describe_known, format_verdict

PATH = "inputs -> outputs"
FRESH = range(100, 116)


def found(*layers, code="IC101", value=0.004, width=1.2, limit=0.01, seeds=SEEDS):
    """Make a finding of the change along a path, with an interval of some factor around its value."""
    return FindingRecord(
        code, layers, "factor over the whole path, in squares", value, value / width, value * width, limit, seeds
    )


def with_path(mean, draw=0, **fields):
    """Make a baseline whose signal changes so much along the path."""
    logs = np.random.default_rng(draw).normal(np.log(mean), 0.02, SEEDS)
    metric = Metric(tuple(round(float(each), 6) for each in logs))
    return make_baseline(paths={PATH: PathRecord({"forward": metric}, {"forward": 2.302585})}, draw=draw, **fields)


# --- which findings are known -----------------------------------------------------------------------------------------


def test_a_finding_of_the_same_path_is_known_wherever_on_it_the_limit_was_passed():
    before = make_baseline(findings=[found("dense_2", "dense_0", "dense_1", "dense_2", "dense_3")])
    after = make_baseline(findings=[found("dense_3", "dense_0", "dense_1", "dense_2", "dense_3")])
    comparison = compare(before, after)
    assert comparison.known == {("IC101", "dense_3")}
    assert (comparison.new_findings, comparison.gone_findings, comparison.exit_code()) == ((), (), 0)


@pytest.mark.parametrize("other", [found("dense_2", code="IC303"), found("dense_0")])
def test_a_finding_of_another_code_or_other_layers_is_new(other):
    comparison = compare(make_baseline(findings=[found("dense_2")]), make_baseline(findings=[found("dense_2"), other]))
    assert comparison.new_findings == ((other.code, other.layers[0]),)
    assert comparison.exit_code() == 1
    assert format_verdict(comparison).endswith("; 1 known finding; 1 new finding")


def test_known_findings_are_shown_with_their_values():
    comparison = compare(make_baseline(findings=[found("dense_2")]), make_baseline(findings=[found("dense_2")]))
    assert comparison.exit_code() == 0
    assert format_verdict(comparison).endswith("; 1 known finding")
    (line,) = describe_known(comparison)
    assert line.startswith("IC101 vanishing-activations at dense_2: factor over the whole path, in squares 0.00400 [")


def test_a_known_finding_that_is_gone_is_reported_and_passes():
    comparison = compare(make_baseline(findings=[found("dense_2")]), make_baseline())
    assert [each.layers for each in comparison.gone_findings] == [("dense_2",)]
    assert comparison.exit_code() == 0
    (line,) = [each for each in describe_changes(comparison) if each.startswith("fixed: ")]
    assert "Renew the baseline" in line


def test_a_finding_that_settings_leave_out_now_is_not_gone():
    after = make_baseline(set_aside=(("IC101", "dense_2"),))
    assert not compare(make_baseline(findings=[found("dense_2")]), after).gone_findings


# --- other seeds ------------------------------------------------------------------------------------------------------


def test_a_finding_that_other_seeds_bring_about_is_no_change():
    comparison = compare(make_baseline(), make_baseline(seeds=FRESH, draw=1, findings=[found("dense_2")]))
    assert comparison.verdict == "same"
    assert comparison.unconfirmed == (("IC101", "dense_2"),)
    assert (comparison.new_findings, comparison.exit_code()) == ((), 0)
    assert any(each.startswith("not in the baseline: IC101") for each in describe_changes(comparison))


def test_a_finding_that_other_seeds_do_not_show_is_not_called_fixed():
    assert not compare(make_baseline(findings=[found("dense_2")]), make_baseline(seeds=FRESH, draw=1)).gone_findings


def test_where_something_changed_a_finding_of_other_seeds_is_new():
    after = change_layer(make_baseline(seeds=FRESH, draw=1, findings=[found("dense_2")]), "dense_1", activation="gelu")
    assert compare(make_baseline(), after).new_findings == (("IC101", "dense_2"),)


def test_copies_of_weights_rest_on_no_seed():
    copied = FindingRecord("IC301", ("dense_1/kernel",))
    comparison = compare(make_baseline(), make_baseline(seeds=FRESH, draw=1, findings=[copied]))
    assert comparison.new_findings == (("IC301", "dense_1/kernel"),)


# --- worse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "is_worse"),
    [
        (found("dense_2", value=0.0004), True),
        (found("dense_2", value=0.0039), False),  # within the margin
        (found("dense_2", value=0.009), False),  # better
        (found("dense_2", value=0.0004, width=30.0), False),  # its interval reaches far
        (found("dense_2", value=0.0004, seeds=2, width=1.5), False),  # two draws show little
    ],
)
def test_a_known_finding_that_is_shown_to_be_further_from_its_limit_is_a_change(now, is_worse):
    comparison = compare(make_baseline(findings=[found("dense_2")]), make_baseline(findings=[now]))
    assert bool(comparison.worse_findings) is is_worse
    assert (comparison.verdict, comparison.exit_code()) == (("changed", 1) if is_worse else ("same", 0))
    if is_worse:
        assert format_verdict(comparison).startswith("changed: IC101 at dense_2 got worse: ")


@pytest.mark.montecarlo
def test_an_unchanged_finding_is_hardly_ever_called_worse():
    """1,000 pairs of eight draws of a normal logarithm, at 1 in 10,000: more than 3 come about in 1 of 250,000 runs."""
    rng, called = np.random.default_rng(5), 0
    for _ in range(1000):
        sides = []
        for _ in range(2):
            logs = rng.normal(np.log(0.004), 0.4, 8)
            half = 2.3646 * logs.std(ddof=1) / 8**0.5
            mean = logs.mean()
            sides.append(
                FindingRecord("IC101", ("a",), "x", *map(float, np.exp([mean, mean - half, mean + half])), 0.01, 8)
            )
        comparison = compare(make_baseline(findings=sides[:1]), make_baseline(findings=sides[1:]), margin=1e-9)
        called += bool(comparison.worse_findings)
    assert called <= 3


# --- better or worse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "now", "trend"),
    [(0.5, 0.2, "worse"), (0.2, 0.5, "better"), (2.0, 5.0, "worse"), (5.0, 1.1, "better"), (0.05, 0.01, "worse")],
)
def test_a_change_along_a_path_is_better_away_from_the_limit(then, now, trend):
    comparison = compare(with_path(then), with_path(now))
    assert comparison.verdict == "changed"
    (total,) = comparison.totals
    assert total.trend == trend
    assert any(
        each.startswith(f"{trend}: change of the signal along the path") for each in describe_changes(comparison)
    )


def test_many_small_changes_add_up_along_a_path():
    """No layer changes by more than the margin, and the path by twenty times as much."""
    comparison = compare(with_path(0.5), with_path(0.2))
    assert not comparison.of_verdict("changed")
    assert comparison.exit_code() == 1


def test_a_path_that_varies_with_its_seeds_decides_nothing():
    comparison = compare(with_path(0.5), with_path(0.51, draw=1, seeds=FRESH))
    assert (comparison.verdict, comparison.totals[0].trend) == ("same", "")


def test_the_limit_of_a_path_is_kept_in_the_file(tmp_path):
    from initcheck.checking.gate.baseline import read_baseline, write_baseline

    write_baseline(with_path(0.5, findings=[found("dense_2")]), tmp_path / "b.json")
    again = read_baseline(tmp_path / "b.json")
    assert again.paths == with_path(0.5).paths
    assert again.findings == (found("dense_2"),)
    assert compare(replace(again, findings=()), with_path(0.5)).verdict == "same"


def test_where_the_change_is_certain_the_trend_rests_on_the_95_percent_interval():
    before = replace(with_path(0.5), paths=_first_seeds(with_path(0.5).paths, 3))
    moved = replace(before, paths=_first_seeds(with_path(0.4, draw=3).paths, 3))
    comparison = compare(before, change_layer(moved, "dense_1", activation="gelu"))
    (total,) = comparison.totals
    assert (total.verdict, total.trend) == ("inconclusive", "worse")
    assert total.shift is not None
    assert total.interval == (total.shift.low, total.shift.high)
    unexplained = compare(before, moved)
    assert (unexplained.verdict, unexplained.totals[0].trend) == ("same", "")


def _first_seeds(paths, count):
    return {
        name: replace(each, metrics={key: Metric(metric.logs[:count]) for key, metric in each.metrics.items()})
        for name, each in paths.items()
    }


# --- weights that are kept --------------------------------------------------------------------------------------------


def kept(value):
    """Make a baseline with a weight that no initializer draws, and that holds these values."""
    weight = {"initializer": "", "default_initializer": "", "variance": None, "error": 0.01}
    return change_weight(make_baseline(), "dense_0/kernel", scale=Metric((value,) * SEEDS), **weight)


def test_findings_that_other_values_of_kept_weights_may_bring_about_are_no_change():
    before, after = kept(-1.70), replace(kept(-1.71), findings=(found("dense_2"),))
    comparison = compare(before, after)
    assert comparison.kept == ("dense_0/kernel",)
    assert (comparison.verdict, comparison.exit_code(), comparison.new_findings) == ("same", 0, ())
    assert comparison.unconfirmed == (("IC101", "dense_2"),)
    assert compare(before, replace(before, findings=(found("dense_2"),))).new_findings
    worse = compare(
        replace(before, findings=(found("dense_2"),)), replace(kept(-1.71), findings=(found("dense_2", value=0.0004),))
    )
    assert (worse.verdict, worse.worse_findings) == ("same", ())


def test_kept_weights_of_many_entries_are_compared_by_their_standard_errors():
    assert compare(kept(-1.70), kept(-1.71)).verdict == "same"  # 1% apart, each known to 1%
    changed = compare(kept(-1.70), kept(-1.50))
    (difference,) = changed.of_verdict("changed")
    assert difference.path == "dense_0/kernel"
    error = math.hypot(0.01, 0.01)
    half = stats.norm.isf(difference.alpha) * error
    assert difference.interval == pytest.approx((0.2 - half, 0.2 + half))
    assert difference.interval[0] > math.log(1.05)


def test_the_interval_of_a_change_excludes_the_margin_at_holms_level_and_of_what_is_open_it_does_not():
    before = make_baseline(spread=0.05)
    after = shift(make_baseline(spread=0.05, draw=1), "dense_0/kernel", 0.5)
    after = shift(after, "dense_1/kernel", 0.12)
    comparison = compare(before, after)
    margin = math.log(1.05)
    tested = len(comparison.differences) + len(comparison.totals)
    seen = set()
    for each in comparison.differences:
        if each.shift is None or each.shift.standard_error == 0.0:
            continue
        logs = [
            np.asarray(
                side.weights[each.path].scale.logs
                if each.is_weight
                else side.sites[each.path].metrics[each.quantity].logs
            )
            for side in (before, after)
        ]
        mean, error = (logs[1] - logs[0]).mean(), (logs[1] - logs[0]).std(ddof=1) / SEEDS**0.5
        half = stats.t.isf(each.alpha, SEEDS - 1) * error
        assert each.interval == pytest.approx((mean - half, mean + half), rel=1e-6)
        low, high = each.interval
        beyond = low > margin or high < -margin
        within = -margin < low and high < margin
        assert (each.verdict == "changed") == beyond
        if abs(mean) <= margin:
            assert each.alpha == 0.05 and (each.verdict == "same") == within
        else:
            assert each.alpha in [pytest.approx(1e-4 / (tested - place)) for place in range(tested)]
        seen.add(each.verdict)
    assert seen == {"same", "changed", "inconclusive"}
