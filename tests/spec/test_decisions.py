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


def estimates(*values, error=0.004):
    rows = [(f"member {place}", value, error, math.inf, 1000) for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["member", "estimate", "standard_error", "freedom", "count"])


def fits(*p_values, detectable=0.01):
    rows = [(f"member {place}", p_value, 0.005, detectable, 1000) for place, p_value in enumerate(p_values)]
    return pd.DataFrame(rows, columns=["member", "p_value", "effect", "detectable", "count"])


def deviations(*values):
    rows = [(f"member {place}", value, 0.1, 1) for place, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


def test_equivalence_passes_inside_fails_outside_and_is_inconclusive_on_the_border():
    assert WITHIN(estimates(1.0, 1.001)).verdict == Verdict.PASS
    assert WITHIN(estimates(1.0, 1.06)).verdict == Verdict.FAIL
    assert WITHIN(estimates(1.0, 1.029)).verdict == Verdict.INCONCLUSIVE


def test_the_figures_are_those_of_the_member_nearest_to_breaking_the_claim():
    evidence = WITHIN(estimates(1.0, 0.985, 1.001))
    assert evidence.worst == "member 1"
    assert evidence.effect == 0.985
    assert evidence.low < 0.985 < evidence.high
    assert evidence.count == 3000


def test_what_was_not_measured_never_passes():
    assert WITHIN(estimates(1.0, math.nan)).verdict == Verdict.INCONCLUSIVE
    assert WITHIN(estimates()).verdict == Verdict.INCONCLUSIVE
    assert NoDifference("distance")(fits(0.5, math.nan)).verdict == Verdict.INCONCLUSIVE
    assert NoDifference("distance")(fits()).verdict == Verdict.INCONCLUSIVE
    assert AllWithin("difference")(deviations(0.0, math.nan)).verdict == Verdict.INCONCLUSIVE
    assert AllWithin("difference")(deviations()).verdict == Verdict.INCONCLUSIVE


def test_an_infinite_estimate_fails():
    assert WITHIN(estimates(1.0, math.inf)).verdict == Verdict.FAIL
    assert AllWithin("difference")(deviations(0.0, math.inf)).verdict == Verdict.FAIL


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


def test_a_test_that_is_too_coarse_is_no_evidence():
    assert NoDifference("distance", largest_detectable=0.02)(fits(0.5)).verdict == Verdict.PASS
    assert NoDifference("distance", largest_detectable=0.005)(fits(0.5)).verdict == Verdict.INCONCLUSIVE


def test_exact_statements_allow_for_their_limit_and_no_more():
    assert AllWithin("difference")(deviations(0.1, 0.0)).verdict == Verdict.PASS
    assert AllWithin("difference")(deviations(0.1, np.nextafter(0.1, 1.0))).verdict == Verdict.FAIL


def test_means_over_seeds_have_the_interval_of_student():
    values = np.random.default_rng(4).normal(1.0, 0.1, 12)
    table = pd.DataFrame({"member": "only", "seed": range(12), "value": values})
    evidence = SeedMeanWithin("gain", 0.5, 1.5, level=0.025)(table)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert evidence.verdict == Verdict.PASS
    assert evidence.low == pytest.approx(low) and evidence.high == pytest.approx(high)
    assert evidence.unit == "seeds" and evidence.count == 12
