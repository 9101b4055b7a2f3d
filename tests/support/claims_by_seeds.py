"""How the specification decides: pure functions from one number per seed to pass, fail or inconclusive.

Two kinds of error are kept apart. A *false alarm* is a claim that is true and does not pass; a *miss* is one that is
false and passes. Equivalence tests bound the miss by their level (``MISS_RATE``); the number of seeds bounds the false
alarm. Difference tests (``judge_law``) bound the false alarm by their level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from initcheck.core import statistics

MISS_RATE = 1e-3
"""Level of the equivalence tests, of a whole family: a claim beyond its margin passes at most this often."""

FALSE_ALARM_RATE = 2e-6
"""Of one equivalence claim (a family of layers in one direction), with fresh seeds. The number of seeds follows."""

LAW_LEVEL = 1e-5
"""Level of the test against a finite-width law: its rate of false alarms."""


@dataclass(frozen=True)
class Margins:
    """What still counts as the gain claimed, relative to it: at each step, and on average over the steps."""

    step: float = 0.10
    average: float = 0.025


MARGINS = Margins()


@dataclass(frozen=True)
class Judgement:
    """A verdict, the sentence that explains it, and the figures behind it."""

    verdict: statistics.Decision
    reason: str
    figures: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How many seeds an equivalence claim needs, and what they buy.

    Attributes:
        seeds: the number that the rates ask for.
        step_sd: standard deviation between seeds of one step's ratio, relative to its mean.
        average_sd: that of the average over the steps.
        false_alarm: probability that a true claim does not pass, summed over the family.
    """

    seeds: int
    step_sd: float
    average_sd: float
    false_alarm: float


def plan_seeds(step_variance: float, steps: int, margins: Margins = MARGINS) -> Plan:
    """Choose the number of seeds from the effect (the margins), the spread that theory predicts, and the error rates.

    Every member of the family is planned at the level that Bonferroni's correction would leave it; Holm's, which is
    used, rejects no less.

    Args:
        step_variance: variance between seeds of one step's ratio, relative to its mean squared.
        steps: number of steps; they are independent of each other.
        margins: the equivalence margins.
    """
    members = steps + 1
    step_sd, average_sd = math.sqrt(step_variance), math.sqrt(step_variance / steps)
    level, beta = MISS_RATE / members, FALSE_ALARM_RATE / members
    parts = ((step_sd, margins.step), (average_sd, margins.average))
    seeds = max(statistics.seeds_needed(sd, margin, level, 1 - beta / 2) for sd, margin in parts)
    risk = [false_alarm_of_equivalence(sd, margin, seeds, level) for sd, margin in parts]
    return Plan(seeds, step_sd, average_sd, steps * risk[0] + risk[1])


def false_alarm_of_equivalence(sd: float, margin: float, seeds: int, level: float) -> float:
    """Compute the probability that an equivalence test does not pass although the mean is where it should be.

    One minus the power of two one-sided t tests whose bounds lie at equal distance: at most twice the probability that
    one of them does not reject, from the noncentral t distribution.
    """
    shift = margin * math.sqrt(seeds) / sd
    return 2 * float(stats.nct.cdf(stats.t.ppf(1 - level, seeds - 1), seeds - 1, shift))


def judge_gain(ratios: np.ndarray, expected: float, margins: Margins = MARGINS) -> Judgement:
    """Judge by seeds whether a signal changes by the factor ``expected`` from layer to layer.

    The family: the mean ratio of each step, and the average over all steps. Each member is a TOST over seeds.

    Args:
        ratios: shape [seeds, steps].
        expected: the factor claimed.
        margins: relative to ``expected``.

    Returns:
        ``pass`` where every member, adjusted after Holm, is shown to lie within its margin; ``fail`` where a member is
        shown to lie outside (at the level that Bonferroni leaves it); else ``inconclusive``.
    """
    scaled = ratios / expected
    members = [(f"step {step}", scaled[:, step], margins.step) for step in range(scaled.shape[1])]
    members.append(("average", scaled.mean(axis=1), margins.average))
    level = MISS_RATE / len(members)
    tests = {
        name: statistics.equivalence_test(values, 1 - margin, 1 + margin, level) for name, values, margin in members
    }
    adjusted = statistics.adjust_pvalues([test.p_value for test in tests.values()], "holm")
    average = statistics.estimate_mean(ratios.mean(axis=1))
    by_step = ratios.mean(axis=0)
    figures = {
        "gain": average.value,
        "interval_95": (average.low, average.high),
        "lowest_step": float(by_step.min()),
        "highest_step": float(by_step.max()),
        "largest_adjusted_p": float(np.max(adjusted)),
        "seeds": average.count,
    }
    outside = [f"{name}: {test.reason}" for name, test in tests.items() if test.verdict == "fail"]
    if outside:
        return Judgement("fail", f"{len(outside)} of {len(tests)} outside; {outside[-1]}", figures)
    # Written so that NaN does not pass.
    if not (figures["largest_adjusted_p"] <= MISS_RATE):
        undecided = [f"{name}: {test.reason}" for name, test in tests.items() if test.verdict != "pass"]
        return Judgement("inconclusive", "; ".join(undecided[-2:]), figures)
    return Judgement("pass", f"All {len(tests)} members lie within their margins.", figures)


SPREAD_FACTOR = 2.5
"""Within this factor the variance of the whole logarithm has to be shown; kernels that are shared give ten."""


def judge_law(increments: np.ndarray, mean: np.ndarray, variance: np.ndarray, level: float = LAW_LEVEL) -> Judgement:
    """Judge by seeds whether log increments follow a law: independent by layer, with this mean and this variance.

    Two tests share the level: z of each layer's mean, the largest after Sidak, and one chi-square for the sum over the
    layers around its mean. The sum has the variance that independent layers give it: it is what notices kernels that
    are not independent, which no layer shows by itself.

    Args:
        increments: shape [seeds, layers].
        mean: expected mean by layer.
        variance: expected variance by layer.
        level: rate of false alarms.

    Returns:
        ``fail`` where a test rejects; ``pass`` where none does and the variance of the sum is shown to lie within
        SPREAD_FACTOR of the law's (an interval at the equivalence tests' level); else ``inconclusive``.
    """
    seeds, layers = increments.shape
    z = math.sqrt(seeds) * (increments.mean(axis=0) - mean) / np.sqrt(variance)
    smallest = 2 * stats.norm.sf(np.abs(z).max())
    by_layer = -math.expm1(layers * math.log1p(-smallest)) if smallest < 1 else 1.0
    squares = float(np.sum((increments.sum(axis=1) - mean.sum()) ** 2) / variance.sum())
    by_sum = 2 * min(stats.chi2.cdf(squares, seeds), stats.chi2.sf(squares, seeds))
    p_value = min(1.0, 2 * min(by_layer, by_sum)) if math.isfinite(squares) else math.nan
    low, high = (squares / float(stats.chi2.ppf(share, seeds)) for share in (1 - MISS_RATE, MISS_RATE))
    figures = {
        "p_value": p_value,
        "largest_z": float(z[np.abs(z).argmax()]),
        "spread": squares / seeds,
        "spread_interval": (low, high),
        "seeds": seeds,
    }
    told = (
        f"p = {p_value:.2g}: largest z {figures['largest_z']:.2f}, Sidak p {by_layer:.2g}; "
        f"variance of the sum {squares / seeds:.3g} times the law's, p {by_sum:.2g}."
    )
    if math.isnan(p_value):
        return Judgement("inconclusive", told, figures)
    if p_value <= level:
        return Judgement("fail", told, figures)
    shown = low >= 1 / SPREAD_FACTOR and high <= SPREAD_FACTOR
    return Judgement("pass" if shown else "inconclusive", told, figures)


ROUNDING = 64 * float(np.finfo(np.float32).eps)
"""Relative difference that two sums of the same float32 numbers, taken in different orders, may have after training."""


def judge_equality(differences: np.ndarray, rounding: float = ROUNDING) -> Judgement:
    """Judge by seeds whether what should be equal is equal, but for rounding.

    Args:
        differences: one relative difference per seed; 0 is exactly equal, 1 as large as the numbers themselves.
        rounding: what rounding may amount to.
    """
    test = statistics.equivalence_test(differences, -rounding, rounding, MISS_RATE)
    estimate = test.estimate
    figures = {
        "difference": estimate.value,
        "interval": (estimate.low, estimate.high),
        "largest": float(np.max(differences)),
        "exact": bool((np.asarray(differences) == 0.0).all()),
        "seeds": estimate.count,
    }
    return Judgement(test.verdict, test.reason, figures)


def judge_zero(values: np.ndarray) -> Judgement:
    """Judge by seeds whether something is exactly zero: 0.0 and not nearly so, in every seed.

    Args:
        values: shape [seeds, ...].
    """
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    figures = {"largest": float(largest.max()), "interval": (float(largest.min()), float(largest.max()))}
    figures["seeds"] = len(largest)
    if np.isnan(largest).any():
        return Judgement("inconclusive", "Not measured in some seeds.", figures)
    nonzero = int(np.count_nonzero(largest))
    return Judgement("fail" if nonzero else "pass", f"{nonzero} of {len(largest)} seeds are not zero.", figures)
