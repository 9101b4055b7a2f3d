"""Estimates with intervals, equivalence, multiplicity and sample sizes: thin over scipy and statsmodels.

Seeds are the replicates. Units and samples of one draw are not independent of each other, so every function
here takes one number per seed, and the interval it gives is about what another seed would have given.

Three outcomes are kept apart. A verdict is ``pass`` where equivalence was shown, ``fail`` where a difference was
shown, and ``inconclusive`` otherwise: a difference test that found nothing shows nothing. NaN never passes.

References:
    Student, "The probable error of a mean", Biometrika 6 (1908): the t interval.
    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", J. Pharmacokinetics and
    Biopharmaceutics 15 (1987): the equivalence test.
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 6 (1979).
    Guenther, "Sample size formulas for normal theory t tests", The American Statistician 35 (1981).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from initcheck.core.errors import UsageError, name_unknown

Decision = Literal["pass", "fail", "inconclusive"]

ADJUSTMENTS: Final = ("bonferroni", "sidak", "holm", "holm-sidak", "fdr_bh", "fdr_by")
"""Adjustments that hold at any sample size. ``fdr_bh`` supposes independent or positively dependent tests."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its two-sided interval.

    Attributes:
        value: the mean; NaN without values or with a NaN among them.
        low: lower end of the interval; NaN where the interval is undefined.
        standard_error: s / sqrt(n) with ddof=1; NaN where it is undefined.
    """

    value: float
    low: float
    high: float
    confidence: float
    count: int
    standard_error: float


@dataclass(frozen=True)
class Equivalence:
    """The outcome of an equivalence test; its p-value is the larger of the two one-sided ones, or NaN."""

    p_value: float
    verdict: Decision
    estimate: Estimate
    bounds: tuple[float, float]
    reason: str


_confidence: ContextVar[float] = ContextVar("confidence", default=0.95)


@contextmanager
def intervals_at(confidence: float) -> Iterator[None]:
    """Give the intervals of a block another confidence, where none is asked for."""
    token = _confidence.set(confidence)
    try:
        yield
    finally:
        _confidence.reset(token)


def estimate_mean(values: ArrayLike, confidence: float | None = None) -> Estimate:
    """Estimate a mean over seeds, with the t interval mean +- t(n - 1) s / sqrt(n).

    The degenerate cases:

    - no value: everything NaN, count 0;
    - one value: the value, with a NaN interval, since one seed says nothing about the next;
    - a NaN among the values: everything NaN; a value is never dropped silently;
    - an infinite value: the value is infinite (NaN with both signs), the interval NaN;
    - all values equal: an interval of width zero. For a deterministic initializer (Zeros, Identity) that is right:
      its seeds are no replicates, and there is nothing that another seed could change.

    Args:
        confidence: nominal coverage, between 0 and 1; None takes 0.95, or that of :func:`intervals_at`.
    """
    confidence = _confidence.get() if confidence is None else confidence
    if not (0.0 < confidence < 1.0):
        raise UsageError(f"confidence must lie between 0 and 1. Received: confidence={confidence!r}")
    sample = _as_sample(values)
    count = sample.size
    if count == 0:
        return Estimate(math.nan, math.nan, math.nan, confidence, 0, math.nan)
    if not np.isfinite(sample).all():
        # The sum of infinities of both signs is NaN, as it should be.
        with np.errstate(invalid="ignore"):
            return Estimate(float(sample.sum()), math.nan, math.nan, confidence, count, math.nan)
    if count == 1:
        return Estimate(float(sample[0]), math.nan, math.nan, confidence, 1, math.nan)
    if sample.max() == sample.min():
        # Not left to the formula: the mean of equal numbers may differ from them in its last digit.
        value = float(sample[0])
        return Estimate(value, value, value, confidence, count, 0.0)
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(count)
    half_width = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    return Estimate(mean, mean - half_width, mean + half_width, confidence, count, error)


def estimate_proportion(hits: int, count: int, confidence: float | None = None) -> Estimate:
    """Estimate a probability from hits among independent draws, with the interval of Wilson (1927).

    One draw says nothing of the next: its interval is NaN.
    """
    confidence = _confidence.get() if confidence is None else confidence
    share = hits / count
    if count < 2:
        return Estimate(share, math.nan, math.nan, confidence, count, math.nan)
    interval = stats.binomtest(hits, count).proportion_ci(confidence, method="wilson")
    error = math.sqrt(share * (1.0 - share) / count)
    return Estimate(share, float(interval.low), float(interval.high), confidence, count, error)


def equivalence_test(values: ArrayLike, low: float, high: float, alpha: float = 0.05) -> Equivalence:
    """Test whether a mean over seeds lies within bounds, by two one-sided t tests (TOST; Schuirmann 1987).

    It passes if both ``mean <= low`` and ``mean >= high`` are rejected at level alpha, which is so exactly if the
    interval at confidence 1 - 2 alpha lies within the bounds; a mean outside them passes with probability at most
    alpha. It fails if that interval lies entirely outside, and is inconclusive otherwise.

    Where all values are equal there is no t statistic: the mean is known, and passes strictly within the bounds. A
    NaN makes the test inconclusive: what was not measured shows neither equivalence nor difference. An infinite value
    makes it fail: where one seed is infinite the mean over seeds is not finite, so it lies within no finite bounds.

    Args:
        alpha: level of each one-sided test, between 0 and 0.5.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"the bounds must be finite and low < high. Received: low={low!r}, high={high!r}")
    if not (0.0 < alpha < 0.5):
        raise UsageError(f"alpha must lie between 0 and 0.5. Received: alpha={alpha!r}")
    sample = _as_sample(values)
    estimate = estimate_mean(sample, 1.0 - 2.0 * alpha)
    p_value = _tost_p_value(sample, estimate, low, high)
    verdict, reason = _decide(sample, estimate, p_value, low, high, alpha)
    return Equivalence(p_value, verdict, estimate, (low, high), reason)


@dataclass(frozen=True)
class Shift:
    """A difference of two means over seeds, compared with a margin.

    Attributes:
        low: lower end of the 95% interval; NaN where the difference has no standard error.
        standard_error: of the difference; 0 where nothing varies, NaN where it is undefined.
        p_within: p-value against the hypothesis that the difference is at least the margin in size (two one-sided
            tests): small where the two are shown to be the same.
        degrees: degrees of freedom of the standard error; NaN where nothing varies, or it is undefined.
    """

    value: float
    low: float
    high: float
    standard_error: float
    p_within: float
    p_beyond: float
    degrees: float = math.nan

    def interval(self, alpha: float) -> tuple[float, float]:
        """Give the interval that leaves a probability of ``alpha`` out on either side."""
        if math.isnan(self.degrees):
            return self.low, self.high
        half_width = float(stats.t.isf(alpha, self.degrees)) * self.standard_error
        return self.value - half_width, self.value + half_width


def shift_test(before: ArrayLike, after: ArrayLike, margin: float, *, paired: bool) -> Shift:
    """Test whether a mean over seeds has moved by less, or by more, than a margin.

    Paired, the differences of the same seeds are tested by a t test with n - 1 degrees of freedom; else Welch's test is
    made. The p-value beyond the margin is the largest under the hypothesis, which lies at its ends:
    P(T > (|d| - m) / s) + P(T < -(|d| + m) / s).

    The degenerate cases: where nothing varies the difference is known, and both p-values are 0 or 1. One seed on
    either side has no standard deviation to judge by: the standard error and both p-values are NaN, unless the seeds
    are paired and equal to the last digit. Without any seed everything is NaN.

    References:
        Welch, "The generalization of Student's problem when several different population variances are involved",
        Biometrika 34 (1947).
    """
    if not (0.0 < margin < math.inf):
        raise UsageError(f"margin must be finite and above 0. Received: margin={margin!r}")
    first, second = _as_sample(before), _as_sample(after)
    if paired and first.size != second.size:
        raise UsageError(f"paired samples must be of one size. Received: {first.size} and {second.size}")
    value, error, degrees = _paired(second - first) if paired else _welch(first, second)
    if math.isnan(error):
        return Shift(value, math.nan, math.nan, math.nan, math.nan, math.nan)
    size = abs(value)
    if error == 0.0:
        return Shift(value, value, value, 0.0, float(size >= margin), float(size <= margin))
    half_width = float(stats.t.ppf(0.975, degrees)) * error
    within = float(stats.t.sf((margin - size) / error, degrees))
    beyond = float(stats.t.sf((size - margin) / error, degrees) + stats.t.sf((size + margin) / error, degrees))
    return Shift(value, value - half_width, value + half_width, error, within, min(beyond, 1.0), degrees)


def adjust_pvalues(pvalues: ArrayLike, method: str = "holm") -> NDArray[np.float64]:
    """Adjust p-values for their number, so that each can be compared with the level of the whole family.

    A NaN stays NaN and still counts as a member of the family: a test that could not be made does not make the
    others easier to pass. Holm's is computed here, since statsmodels collects garbage in every call of it, which takes
    40 ms and more, and the specification has hundreds of families; the tests compare the two.

    Args:
        pvalues: one p-value per test, each in [0, 1] or NaN.
    """
    if method not in ADJUSTMENTS:
        raise name_unknown("adjustment", method, ADJUSTMENTS)
    given = _as_sample(pvalues)
    defined = ~np.isnan(given)
    outside = defined & ~((given >= 0.0) & (given <= 1.0))
    if outside.any():
        raise UsageError(f"p-values must lie in [0, 1]. Received: {float(given[outside][0])!r}")
    if given.size == 0:
        return given
    filled = np.where(defined, given, 1.0)
    adjusted = _adjust_holm(filled) if method == "holm" else multipletests(filled, method=method)[1]
    return np.where(defined, np.asarray(adjusted, dtype=np.float64), np.nan)


MOST_ADVISED: Final = 1000
"""More seeds than that nobody draws: a mean that they would be needed for lies at the bound."""

_RANGE_CONFIDENCE: Final = 0.8


@dataclass(frozen=True)
class SeedRange:
    """Between how many seeds would show, in nine of ten cases, on which side of a bound a mean lies.

    Mean and standard deviation are known as far as the seeds so far show them: each lies beyond the end of its
    one-sided 80% interval in one of five cases.

    Attributes:
        low: the number if both lie at the ends that make it small.
        high: the number if both lie at the other ends; None where the mean then lies at the bound, or more than
            `MOST_ADVISED` would be needed.
    """

    low: int
    high: int | None

    def more_than(self, seeds: int) -> SeedRange:
        """Raise the ends above the number of seeds that have not decided."""
        low = max(self.low, seeds + 1)
        return SeedRange(low, None if self.high is None else max(self.high, low))

    @property
    def advised(self) -> int:
        """The number to draw: the higher end, where there is one."""
        return self.low if self.high is None else self.high

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"about {self.low} to {self.high}" if self.high > self.low else f"about {self.low}"


def seeds_to_decide(
    deviation: float,
    distance: float,
    error: float,
    degrees: float,
    alpha: float,
    *,
    furthest: float = math.inf,
) -> SeedRange | None:
    """Count the seeds that would show on which side of a bound a mean lies.

    None where the mean lies at the bound, or its standard error is unknown.

    Args:
        deviation: standard deviation of one seed.
        distance: between the mean and the nearer bound.
        error: standard error of the mean.
        degrees: degrees of freedom of that error.
        alpha: level of the one-sided test that decides.
        furthest: the largest distance that there is: between two bounds, half of what separates them.
    """
    if not (error > 0.0 and 0.0 < degrees < math.inf):
        return None
    reach = float(stats.t.ppf(_RANGE_CONFIDENCE, degrees)) * error
    smaller, larger = (
        deviation * math.sqrt(degrees / float(stats.chi2.ppf(each, degrees)))
        for each in (_RANGE_CONFIDENCE, 1.0 - _RANGE_CONFIDENCE)
    )
    low = count_seeds(smaller, min(distance + reach, furthest), alpha)
    return None if low is None else SeedRange(low, count_seeds(larger, distance - reach, alpha))


def count_seeds(
    deviation: float, distance: float, alpha: float, power: float = 0.9, samples: Literal[1, 2] = 1
) -> int | None:
    """Count the seeds with which a t test sees a distance; None where more than `MOST_ADVISED` are needed.

    Args:
        deviation: standard deviation of one seed.
        distance: between the mean and the bound, or between the two means.
        alpha: level of the one-sided test.
        samples: whether one sample is drawn, or two of one size, with as many seeds each.
    """
    counts = np.arange(2, MOST_ADVISED + 1)
    degrees = samples * (counts - 1)
    quantiles = stats.t.isf(alpha, degrees) + stats.t.ppf(power, degrees)
    enough = np.flatnonzero(quantiles * deviation * np.sqrt(samples / counts) <= distance)
    return int(counts[enough[0]]) if enough.size else None


def seeds_needed(
    standard_deviation: float, effect: float, alpha: float = 0.05, power: float = 0.9, sides: Literal[1, 2] = 1
) -> int:
    """Count the seeds that a t test needs to see an effect.

    n = ((z(1 - alpha / sides) + z(power)) * standard_deviation / effect)^2 + z(1 - alpha / sides)^2 / 2, rounded up;
    the last term stands for not knowing the standard deviation (Guenther 1981).

    For an equivalence test the effect is the distance from the mean to the nearer bound, with one side. With the mean
    in the middle of the bounds both tests must succeed: give 1 - (1 - power) / 2 as the power.

    Args:
        effect: the smallest difference to be seen, above 0.
        alpha: level of the test, between 0 and 1.
        power: probability of seeing the effect, between 0 and 1.

    Returns:
        The number of seeds, at least 2: fewer have no standard deviation.
    """
    if not (0.0 <= standard_deviation < math.inf):
        raise UsageError(f"standard_deviation must be finite, at least 0. Received: {standard_deviation!r}")
    if not (0.0 < effect < math.inf):
        raise UsageError(f"effect must be finite and above 0. Received: effect={effect!r}")
    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0):
        raise UsageError(f"alpha and power must lie between 0 and 1. Received: alpha={alpha!r}, power={power!r}")
    if sides not in (1, 2):
        raise UsageError(f"sides must be 1 or 2. Received: sides={sides!r}")
    quantile = float(stats.norm.ppf(1.0 - alpha / sides))
    # Below power = alpha / sides the sum is negative and any sample will do.
    reach = max(quantile + float(stats.norm.ppf(power)), 0.0)
    return max(2, math.ceil((reach * standard_deviation / effect) ** 2 + quantile**2 / 2.0))


def _adjust_holm(pvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values after Holm (1979): the i-th smallest of m times m - i + 1, made to rise, and at most 1."""
    order = np.argsort(pvalues)
    adjusted = np.empty_like(pvalues)
    adjusted[order] = np.minimum(np.maximum.accumulate(pvalues[order] * np.arange(pvalues.size, 0, -1)), 1.0)
    return adjusted


def _as_sample(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise UsageError(f"one number per seed is needed. Received: an array of shape {sample.shape}")
    return sample


def _paired(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    estimate = estimate_mean(differences)
    if differences.size and not differences.any():
        return 0.0, 0.0, math.nan
    return estimate.value, estimate.standard_error, estimate.count - 1.0


def _welch(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second = estimate_mean(before), estimate_mean(after)
    value = second.value - first.value
    parts = (first.standard_error**2, second.standard_error**2)
    total = sum(parts)
    if math.isnan(total) or total == 0.0:
        return value, math.sqrt(total), math.nan
    shares = sum(
        (part / total) ** 2 / (size - 1) for part, size in zip(parts, (first.count, second.count), strict=True)
    )
    return value, math.sqrt(total), 1.0 / shares


def _tost_p_value(sample: NDArray[np.float64], estimate: Estimate, low: float, high: float) -> float:
    if math.isnan(estimate.standard_error):
        return math.nan
    if estimate.standard_error == 0.0:
        return 0.0 if low < estimate.value < high else 1.0
    return float(DescrStatsW(sample).ttost_mean(low, high)[0])


def _decide(
    sample: NDArray[np.float64], estimate: Estimate, p_value: float, low: float, high: float, alpha: float
) -> tuple[Decision, str]:
    where = f"[{low:.4g}, {high:.4g}]"
    if np.isnan(sample).any():
        return "inconclusive", f"{np.isnan(sample).sum()} of {sample.size} seeds have no value (NaN)."
    if np.isinf(sample).any():
        return "fail", f"{np.isinf(sample).sum()} of {sample.size} seeds are infinite, so the mean is not in {where}."
    if sample.size < 2:
        return "inconclusive", f"{sample.size} seed has no standard deviation: measure at least 2."
    interval = f"{1.0 - 2.0 * alpha:.0%} interval [{estimate.low:.4g}, {estimate.high:.4g}]"
    if p_value <= alpha:
        return "pass", f"The {interval} lies within {where} (p = {p_value:.2g})."
    if estimate.high < low or estimate.low > high:
        return "fail", f"The {interval} lies outside {where}."
    return "inconclusive", f"The {interval} reaches across an end of {where}.{_advise(estimate, low, high, alpha)}"


def _advise(estimate: Estimate, low: float, high: float, alpha: float) -> str:
    seeds = seeds_of_equivalence(estimate, low, high, alpha)
    if seeds is None:
        return " The mean lies at the bound: more seeds will not decide it."
    return f" {str(seeds).capitalize()} seeds would decide."


def seeds_of_equivalence(estimate: Estimate, low: float, high: float, alpha: float) -> SeedRange | None:
    """Count the seeds that would decide an equivalence test that was inconclusive, more than there are."""
    distance = min(abs(estimate.value - low), abs(estimate.value - high))
    furthest = (high - low) / 2.0 if low < estimate.value < high else math.inf
    deviation = estimate.standard_error * math.sqrt(estimate.count)
    seeds = seeds_to_decide(
        deviation, distance, estimate.standard_error, estimate.count - 1.0, alpha, furthest=furthest
    )
    return None if seeds is None else seeds.more_than(estimate.count)
