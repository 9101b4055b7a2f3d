"""The decisions on synthetic tables, without Keras: their error rates are what they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from initcheck.spec.claim import Verdict
from initcheck.spec.decisions import AllWithin, EstimateWithin, NoDifference, SeedMeanWithin, size_of_equivalence

WITHIN = EstimateWithin("variance over its documented value", 0.97, 1.03, level=0.01)
DIFFERENCE = AllWithin("difference")


def tabulate(values, columns, *others):
    """Make a table of one row a member: its value, and the same others for all."""
    rows = [(f"member {place}", value, *others) for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["member", *columns])


def estimates(*values, error=0.004):
    return tabulate(values, ["estimate", "standard_error", "freedom", "count"], error, math.inf, 1000)


def fits(*p_values, detectable=0.01):
    return tabulate(p_values, ["p_value", "effect", "detectable", "count"], 0.005, detectable, 1000)


def deviations(*values):
    return tabulate(values, ["deviation", "limit", "count"], 0.1, 1)


@pytest.mark.parametrize(
    ("decide", "table", "verdict"),
    [
        (WITHIN, estimates(1.0, 1.001), Verdict.PASS),
        (WITHIN, estimates(1.0, 1.06), Verdict.FAIL),
        (WITHIN, estimates(1.0, 1.029), Verdict.INCONCLUSIVE),  # on the border
        (WITHIN, estimates(1.0, math.inf), Verdict.FAIL),
        (DIFFERENCE, deviations(0.0, math.inf), Verdict.FAIL),
        # Exact statements allow for their limit and no more.
        (DIFFERENCE, deviations(0.1, 0.0), Verdict.PASS),
        (DIFFERENCE, deviations(0.1, np.nextafter(0.1, 1.0)), Verdict.FAIL),
        # What was not measured never passes.
        (WITHIN, estimates(1.0, math.nan), Verdict.INCONCLUSIVE),
        (WITHIN, estimates(), Verdict.INCONCLUSIVE),
        (NoDifference("distance"), fits(0.5, math.nan), Verdict.INCONCLUSIVE),
        (NoDifference("distance"), fits(), Verdict.INCONCLUSIVE),
        (DIFFERENCE, deviations(0.0, math.nan), Verdict.INCONCLUSIVE),
        (DIFFERENCE, deviations(), Verdict.INCONCLUSIVE),
        # A test that is too coarse is no evidence.
        (NoDifference("distance", largest_detectable=0.02), fits(0.5), Verdict.PASS),
        (NoDifference("distance", largest_detectable=0.005), fits(0.5), Verdict.INCONCLUSIVE),
    ],
)
def test_a_table_has_its_verdict(decide, table, verdict):
    assert decide(table).verdict == verdict


def test_the_figures_are_those_of_the_member_nearest_to_breaking_the_claim():
    evidence = WITHIN(estimates(1.0, 0.985, 1.001))
    assert evidence.worst == "member 1"
    assert evidence.effect == 0.985
    assert evidence.low < 0.985 < evidence.high
    assert evidence.count == 3000


@pytest.mark.montecarlo
def test_a_planned_size_makes_a_true_claim_pass_as_often_as_planned(monkeypatch):
    """At a rate of false alarms that can be counted; the same formula plans the rare ones."""
    monkeypatch.setattr("initcheck.spec.decisions.CLAIM_FALSE_ALARM", 0.1)
    margin, members, runs = 0.03, 3, 4000
    error = 1.0 / math.sqrt(size_of_equivalence(1.0, margin, members))
    decide = EstimateWithin("mean", -margin, margin)
    drawn = np.random.default_rng(1).normal(0.0, error, (runs, members))
    passed = sum(decide(estimates(*row, error=error)).verdict == Verdict.PASS for row in drawn)
    # Holm needs no more than Bonferroni's plan, so the rate is at most the planned one, and not far below it.
    share = 1.0 - passed / runs
    assert share <= 0.1 + 5.0 * math.sqrt(0.09 / runs)
    assert share > 0.01


@pytest.mark.montecarlo
def test_a_claim_on_its_margin_passes_no_more_often_than_the_level():
    level, runs, error = 0.05, 4000, 0.01
    decide = EstimateWithin("mean", -0.03, 0.03, level=level)
    drawn = np.random.default_rng(2).normal(0.03, error, runs)
    passed = sum(decide(estimates(value, error=error)).verdict == Verdict.PASS for value in drawn)
    assert passed / runs <= level + 5.0 * math.sqrt(level / runs)


@pytest.mark.montecarlo
def test_fits_fail_at_the_level_of_their_family():
    decide = NoDifference("distance", level=0.05)
    drawn = np.random.default_rng(3).uniform(size=(4000, 5))
    failed = sum(decide(fits(*row)).verdict == Verdict.FAIL for row in drawn)
    assert abs(failed / 4000 - 0.05) <= 5.0 * math.sqrt(0.05 * 0.95 / 4000)


def test_means_over_seeds_have_the_interval_of_student():
    values = np.random.default_rng(4).normal(1.0, 0.1, 12)
    table = pd.DataFrame({"member": "only", "seed": range(12), "value": values})
    evidence = SeedMeanWithin("gain", 0.5, 1.5, level=0.025)(table)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert evidence.verdict == Verdict.PASS
    assert evidence.low == pytest.approx(low) and evidence.high == pytest.approx(high)
    assert evidence.unit == "seeds" and evidence.count == 12
