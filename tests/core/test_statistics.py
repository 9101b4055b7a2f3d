"""Intervals, equivalence, multiplicity and sample sizes, against their definitions and their error rates."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from initcheck.core import statistics
from initcheck.core.errors import UsageError

STANDARD_ERRORS = 3.9
"""Tolerance of the Monte Carlo tests: a correct implementation fails one with probability 1e-4 under a fresh seed."""


def allow(rate: float, runs: int) -> float:
    return STANDARD_ERRORS * math.sqrt(rate * (1 - rate) / runs)


REFUSED = [
    *(
        (partial(statistics.estimate_mean, [1.0, 2.0], each), "Received: confidence=")
        for each in (0.0, 1.0, 95.0, math.nan)
    ),
    (partial(statistics.estimate_mean, np.ones((3, 2))), "one number per seed"),  # layers are no replicates
    *(
        (partial(statistics.equivalence_test, [1.0, 2.0], *bounds), "low < high")
        for bounds in ((0.5, -0.5), (0.0, 0.0), (math.nan, 1.0), (-math.inf, 1.0))
    ),
    *(
        (partial(statistics.equivalence_test, [1.0, 2.0], -1.0, 1.0, alpha), "alpha must lie")
        for alpha in (0.0, 0.5, math.nan)
    ),
    (partial(statistics.adjust_pvalues, [0.1], method="hollm"), "Did you mean holm"),
    *((partial(statistics.adjust_pvalues, [0.5, pvalue]), "[0, 1]") for pvalue in (-0.1, 1.1, math.inf)),
    (partial(statistics.seeds_needed, math.nan, 1.0, 0.05, 0.9, 1), "Received"),
    (partial(statistics.seeds_needed, 1.0, 0.0, 0.05, 0.9, 1), "Received"),
    (partial(statistics.seeds_needed, 1.0, 1.0, 0.0, 0.9, 1), "Received"),
    (partial(statistics.seeds_needed, 1.0, 1.0, 0.05, 1.0, 1), "Received"),
    (partial(statistics.seeds_needed, 1.0, 1.0, 0.05, 0.9, 3), "Received"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_arguments_that_make_no_sense_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        call()


class TestEstimateMean:
    def test_interval_is_the_one_that_scipy_computes_from_the_t_distribution(self) -> None:
        values = np.random.default_rng(1).normal(size=12)
        estimate = statistics.estimate_mean(values, 0.9)
        reference = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
        assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), rel=1e-12)
        assert estimate.value == pytest.approx(values.mean(), rel=1e-12)
        assert estimate.standard_error == pytest.approx(stats.sem(values), rel=1e-12)
        assert (estimate.count, estimate.confidence) == (12, 0.9)

    def test_interval_covers_the_true_mean_at_its_nominal_rate(self) -> None:
        runs = 2000
        samples = np.random.default_rng(2).normal(3.0, 2.0, (runs, 5))
        estimates = [statistics.estimate_mean(sample, 0.9) for sample in samples]
        coverage = np.mean([estimate.low <= 3.0 <= estimate.high for estimate in estimates])
        assert abs(coverage - 0.9) <= allow(0.9, runs)
        # Negative control: the normal quantile in place of Student's is seen to cover too little.
        quantile = stats.norm.ppf(0.95)
        normal = np.mean([abs(e.value - 3.0) <= quantile * e.standard_error for e in estimates])
        assert not (abs(normal - 0.9) <= allow(0.9, runs))

    @pytest.mark.parametrize(
        ("values", "mean"),
        [
            ([2.5], 2.5),
            ([], math.nan),
            ([1.0, math.nan, 3.0], math.nan),
            ([1.0, math.inf, 2.0], math.inf),
            ([math.inf, -math.inf, 2.0], math.nan),
        ],
    )
    def test_one_seed_and_values_that_are_not_finite_have_no_interval(self, values: list[float], mean: float) -> None:
        estimate = statistics.estimate_mean(values)
        assert estimate.value == pytest.approx(mean, nan_ok=True)
        assert math.isnan(estimate.low) and math.isnan(estimate.high) and math.isnan(estimate.standard_error)
        assert estimate.count == len(values)

    @pytest.mark.parametrize("value", [0.1, 1 / 3, 0.0, -7e-300])
    def test_seeds_without_spread_have_an_interval_of_exactly_zero_width(self, value: float) -> None:
        estimate = statistics.estimate_mean([value] * 7)
        assert estimate.low == estimate.value == estimate.high == value
        assert estimate.standard_error == 0.0


class TestSeedsThatDecide:
    @pytest.mark.parametrize("samples", [1, 2])
    def test_of_a_known_mean_and_deviation_it_is_the_number_with_which_a_t_test_decides(self, samples) -> None:
        found = statistics.count_seeds(0.3, 0.2, 0.05, samples=samples)
        draws = np.random.default_rng(1).normal(0.0, 0.3, (4000, samples, found))
        draws[:, 0] += 0.2
        tested = stats.ttest_1samp(draws[:, 0], 0.0, axis=1, alternative="greater")
        if samples == 2:
            tested = stats.ttest_ind(draws[:, 0], draws[:, 1], axis=1, alternative="greater")
        assert np.mean(tested.pvalue <= 0.05) == pytest.approx(0.9, abs=0.03)

    @pytest.mark.parametrize("samples", [1, 2])
    @pytest.mark.parametrize("distance", [0.1, 0.2, 0.45, 1.0])
    def test_it_is_the_smallest_number_of_that_power_by_the_noncentral_t(self, samples, distance) -> None:
        def power(seeds: int) -> float:
            degrees, shift = samples * (seeds - 1), distance / 0.3 * math.sqrt(seeds / samples)
            return float(stats.nct.sf(stats.t.isf(0.05, degrees), degrees, shift))

        found = statistics.count_seeds(0.3, distance, 0.05, samples=samples)
        assert power(found) >= 0.9 and (found == 2 or power(found - 1) < 0.9)

    def test_between_two_bounds_no_mean_lies_further_from_the_nearer_one_than_the_middle(self) -> None:
        # Of so few seeds the mean may lie anywhere: the least number is that in the middle, half a width from either.
        estimate = statistics.estimate_mean([-2.0, 2.0, -1.0, 1.0])
        found = statistics.seeds_of_equivalence(estimate, -0.5, 0.5, 0.05)
        deviation = estimate.standard_error * 2.0 * math.sqrt(3.0 / stats.chi2.ppf(0.8, 3))
        assert found is not None and found.low == statistics.count_seeds(deviation, 0.5, 0.05) > 5

    @pytest.mark.parametrize("seeds", [5, 16])
    def test_the_range_has_the_number_that_is_needed_where_a_single_number_is_far_off(self, seeds) -> None:
        """Each end is that of two one-sided 80% intervals; one number is within 1.5 times in half as many."""
        distance, deviation = 0.25, 0.3
        needed = statistics.seeds_needed(deviation, distance, 0.05)
        draws = np.random.default_rng(2).normal(distance, deviation, (500, seeds))
        means, deviations = np.abs(draws.mean(axis=1)), draws.std(axis=1, ddof=1)
        found = [
            statistics.seeds_to_decide(deviation, mean, deviation / math.sqrt(seeds), seeds - 1.0, 0.05)
            for mean, deviation in zip(means, deviations, strict=True)
        ]
        inside = [each.low <= needed and (each.high is None or needed <= each.high) for each in found]
        assert np.mean(inside) > 0.7
        single = [statistics.seeds_needed(sd, mean, 0.05) for sd, mean in zip(deviations, means, strict=True)]
        assert np.mean([needed / 1.5 <= each <= needed * 1.5 for each in single]) < 0.6

    def test_nothing_is_said_without_a_standard_error(self) -> None:
        for error, degrees in ((0.0, 4.0), (math.nan, 4.0), (0.1, math.nan), (0.1, math.inf), (0.1, 0.0)):
            assert statistics.seeds_to_decide(0.3, 0.2, error, degrees, 0.05) is None

    def test_of_an_equivalence_test_more_are_advised_than_did_not_decide(self) -> None:
        estimate = statistics.estimate_mean([-1.0, 0.0, 1.0])
        assert statistics.equivalence_test([-1.0, 0.0, 1.0], -10.0, 1.6).verdict == "inconclusive"
        assert statistics.seeds_of_equivalence(estimate, -10.0, 1.6, 0.05).low == 4

    def test_it_is_written_as_a_range_that_exceeds_what_was_drawn(self) -> None:
        found = statistics.SeedRange(8, 40)
        assert (str(found), found.advised) == ("about 8 to 40", 40)
        assert str(found.more_than(16)) == "about 17 to 40"
        assert str(found.more_than(64)) == "about 65"
        assert (str(statistics.SeedRange(8, None)), statistics.SeedRange(8, None).advised) == ("at least 8", 8)


class TestEquivalenceOfAMean:
    def test_a_mean_well_within_the_bounds_passes(self) -> None:
        test = statistics.equivalence_test([0.01, -0.02, 0.0, 0.02], -0.5, 0.5)
        assert test.verdict == "pass" and test.p_value < 0.001
        assert test.bounds == (-0.5, 0.5) and test.estimate.confidence == pytest.approx(0.9)

    @pytest.mark.parametrize("shift", [-3.0, 3.0])
    def test_a_mean_well_outside_the_bounds_fails_on_either_side(self, shift: float) -> None:
        test = statistics.equivalence_test(np.array([0.01, -0.02, 0.0, 0.02]) + shift, -0.5, 0.5)
        assert test.verdict == "fail" and test.p_value > 0.999

    def test_a_mean_of_zero_with_a_wide_interval_is_inconclusive_and_says_how_many_seeds_would_decide(self) -> None:
        test = statistics.equivalence_test([-2.0, 2.0, -1.0, 1.1], -0.5, 0.5)
        assert test.verdict == "inconclusive"
        assert "seeds would decide" in test.reason

    @pytest.mark.parametrize("distance", [0.0, 1e-9, 0.05])
    def test_where_more_than_a_thousand_seeds_would_be_needed_it_says_that_none_will_decide(self, distance) -> None:
        sample = 0.5 - distance + np.tile([-2.0, 2.0, -1.0, 1.0], 100)
        assert "at the bound: more seeds will not decide it" in statistics.equivalence_test(sample, -0.5, 0.5).reason

    def test_few_seeds_at_the_bound_show_no_upper_end_and_are_not_said_to_lie_there(self) -> None:
        reason = statistics.equivalence_test(np.array([-2.0, 2.0, -1.0, 1.0]) + 0.5, -0.5, 0.5).reason
        assert re.search(r"\. At least \d+ seeds would decide\.$", reason)

    def test_it_passes_exactly_when_its_interval_lies_within_the_bounds(self) -> None:
        rng = np.random.default_rng(4)
        for _ in range(300):
            test = statistics.equivalence_test(rng.normal(rng.normal(0, 0.4), 0.5, 6), -0.6, 0.6)
            within = test.estimate.low >= -0.6 and test.estimate.high <= 0.6
            outside = test.estimate.high < -0.6 or test.estimate.low > 0.6
            assert (test.verdict == "pass") == within
            assert (test.verdict == "fail") == outside

    def test_a_mean_on_the_bound_passes_no_more_often_than_alpha(self) -> None:
        runs, alpha = 2000, 0.05
        samples = np.random.default_rng(5).normal(0.5, 0.2, (runs, 8))
        passed = np.mean([statistics.equivalence_test(s, -0.5, 0.5, alpha).verdict == "pass" for s in samples])
        assert passed <= alpha + allow(alpha, runs)
        # Negative control: the same test does pass a mean within, so the rate above is not that of a test asleep.
        inside = np.mean([statistics.equivalence_test(s - 0.5, -0.5, 0.5).verdict == "pass" for s in samples[:300]])
        assert inside > 0.95
        # Negative control: reading a point estimate within the bounds as a pass would exceed alpha by far.
        assert np.mean(samples.mean(axis=1) < 0.5) > alpha + allow(alpha, runs)

    def test_a_mean_on_the_bound_fails_no_more_often_than_alpha(self) -> None:
        runs, alpha = 2000, 0.05
        samples = np.random.default_rng(6).normal(-0.5, 0.2, (runs, 8))
        failed = np.mean([statistics.equivalence_test(s, -0.5, 0.5, alpha).verdict == "fail" for s in samples])
        assert failed <= alpha + allow(alpha, runs)

    @pytest.mark.parametrize(
        ("value", "verdict"), [(0.1, "pass"), (0.5, "inconclusive"), (-0.5, "inconclusive"), (0.6, "fail")]
    )
    def test_without_spread_the_value_alone_decides_and_the_bound_itself_does_not_pass(
        self, value: float, verdict: str
    ) -> None:
        test = statistics.equivalence_test([value] * 3, -0.5, 0.5)
        assert test.verdict == verdict
        assert test.p_value == (0.0 if verdict == "pass" else 1.0)

    def test_one_nan_among_values_that_would_pass_is_inconclusive_with_a_reason(self) -> None:
        test = statistics.equivalence_test([0.0, 0.01, math.nan, 0.0], -0.5, 0.5)
        assert test.verdict == "inconclusive" and math.isnan(test.p_value)
        assert "1 of 4 seeds have no value" in test.reason
        assert statistics.equivalence_test([0.0, 0.01, 0.0], -0.5, 0.5).verdict == "pass"

    @pytest.mark.parametrize("values", [[], [0.0]])
    def test_fewer_than_two_seeds_are_inconclusive(self, values: list[float]) -> None:
        assert statistics.equivalence_test(values, -0.5, 0.5).verdict == "inconclusive"

    def test_an_infinite_value_fails_since_no_finite_bound_holds_its_mean(self) -> None:
        test = statistics.equivalence_test([0.0, -math.inf, 0.0], -0.5, 0.5)
        assert test.verdict == "fail" and "infinite" in test.reason


class TestAdjustPvalues:
    def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_stays_monotone(self) -> None:
        adjusted = statistics.adjust_pvalues([0.03, 0.01, 0.02, 0.9])
        assert adjusted == pytest.approx([0.06, 0.04, 0.06, 0.9])

    def test_a_nan_stays_nan_and_still_counts_as_a_test_of_the_family(self) -> None:
        adjusted = statistics.adjust_pvalues([0.01, math.nan, 0.02])
        assert math.isnan(adjusted[1])
        assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])

    def test_no_tests_need_no_adjustment(self) -> None:
        assert statistics.adjust_pvalues([]).size == 0

    def test_family_wise_false_alarms_stay_at_alpha(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # statsmodels collects garbage in every call of Holm's method: 40 ms, which 1500 calls need not wait for.
        monkeypatch.setattr("gc.collect", lambda: 0)
        runs, alpha = 1500, 0.05
        pvalues = np.random.default_rng(7).uniform(size=(runs, 20))
        alarms = np.mean([(statistics.adjust_pvalues(row) <= alpha).any() for row in pvalues])
        assert alarms <= alpha + allow(alpha, runs)
        # Negative control: unadjusted, some test alarms in most runs.
        assert np.mean((pvalues <= alpha).any(axis=1)) > 0.5


class TestSeedsNeeded:
    @pytest.mark.parametrize("effect", [0.2, 0.3, 0.5, 1.0])
    @pytest.mark.parametrize(("sides", "alternative"), [(1, "larger"), (2, "two-sided")])
    def test_it_agrees_with_the_exact_power_of_the_t_test_within_one_seed(
        self, effect: float, sides: int, alternative: str
    ) -> None:
        exact = TTestPower().solve_power(effect, alpha=0.05, power=0.9, alternative=alternative)
        needed = statistics.seeds_needed(1.0, effect, alpha=0.05, power=0.9, sides=1 if sides == 1 else 2)
        assert abs(needed - math.ceil(exact)) <= 1

    def test_half_the_effect_needs_four_times_the_seeds(self) -> None:
        ratio = statistics.seeds_needed(1.0, 0.01) / statistics.seeds_needed(1.0, 0.02)
        assert ratio == pytest.approx(4.0, rel=1e-3)

    def test_two_seeds_are_needed_even_without_spread(self) -> None:
        assert statistics.seeds_needed(0.0, 1.0) == 2


class TestShift:
    @pytest.mark.parametrize("paired", [True, False])
    def test_no_seed_on_either_side_shows_nothing(self, paired: bool) -> None:
        shift = statistics.shift_test([], [], 0.05, paired=paired)
        assert all(math.isnan(number) for number in dataclasses.astuple(shift))

    @pytest.mark.parametrize("paired", [True, False])
    def test_an_interval_of_any_level_is_student_s_and_leaves_out_its_level_on_either_side(self, paired: bool) -> None:
        before, after = np.random.default_rng(3).normal([[0.0], [0.4]], 1.0, (2, 9))
        shift = statistics.shift_test(before, after, 0.05, paired=paired)
        assert shift.interval(0.025) == pytest.approx((shift.low, shift.high), rel=1e-12)
        test = stats.ttest_rel(after, before) if paired else stats.ttest_ind(after, before, equal_var=False)
        reference = test.confidence_interval(0.999)
        assert shift.interval(0.0005) == pytest.approx((reference.low, reference.high), rel=1e-9)
        constant = statistics.shift_test([1.0, 1.0], [2.0, 2.0], 0.05, paired=paired)
        assert constant.interval(0.0005) == (1.0, 1.0)

    def test_paired_seeds_that_are_equal_to_the_last_digit_are_the_same(self) -> None:
        shift = statistics.shift_test([1.5], [1.5], 0.05, paired=True)
        assert (shift.value, shift.standard_error, shift.p_within, shift.p_beyond) == (0.0, 0.0, 0.0, 1.0)


def test_the_interval_of_a_proportion_is_wilsons():
    estimate = statistics.estimate_proportion(12, 16)
    # Wilson 1927: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    n, p, z = 16, 0.75, 1.959963984540054
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = [(p + z**2 / (2 * n) + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert [estimate.value, estimate.low, estimate.high] == pytest.approx([0.75, *ends])
    assert math.isnan(statistics.estimate_proportion(1, 1).low)
