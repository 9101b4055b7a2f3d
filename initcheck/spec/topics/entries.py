"""Experiments on the entries of drawn weights: moments, distribution function, extremes, and independence.

For independence every entry is replaced by the normal score of its rank among the N entries that are compared,
g = Phi^-1((rank - 1/2) / N), equal ones in an order left to chance: within a draw those of the draw, so that draws
which are alike or unlike each other do not show, and between draws, and of small draws, those of all together. Entries
that are independent and drawn from one distribution, whatever it is, are then a random order of the same N numbers: a
wrong variance or a wrong distribution does not show here, and has claims of its own. Up to terms of order 1/N the
scores are a random direction in the N - 1 dimensions in which they have the mean 0, which gives the statistics below
their distributions. With a weight as a matrix of p rows (all axes but the last) and q columns, D draws, and R rows
ranked together:

- ``sums``: row sums over sqrt(q (1 - 1/R)) are standard normal (Kolmogorov and Smirnov over all rows);
- ``sizes``: row sums of squares over N are Beta(q/2, (N - q)/2) (the same test);
- ``variance of sums`` and ``variance of sizes``: the same numbers once more as normal scores; their sum of squares is
  chi-square with R - 1 degrees of freedom for each R rows, which sees rows of unequal variance (too large) and rows
  that were made alike (too small);
- ``pairs``: the squared cosine of two rows is Beta(1/2, (q - 1)/2); the largest over all pairs, after Bonferroni;
- ``energy``: the sum of the squared cosines, of mean P/q and variance 2P(q - 1)/(q^2 (q + 2)) for P pairs, since
  squared cosines are pairwise independent; normal in the limit, so that its p-values are raised tenfold;
- ``spectrum``: the largest singular value exceeds sqrt(p) + sqrt(q) + t with probability at most exp(-t^2/2)
  (Davidson & Szarek, 2001, theorem II.13);
- ``order``: correlation with the neighbour at several distances in memory, of the scores and of their squares.

``rows`` tests take the columns as vectors of length p, and the other way round.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from initcheck.spec.claim import EstimateRow, ExactRow, FitRow, Row, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER, adjusted_for_tails, detectable_distance
from initcheck.spec.subjects import EPSILON, Draws

Moment = Literal["mean", "variance", "tails", "sign"]

Scores = NDArray[np.float64]
Between = Literal["columns", "rows", "draws", "order"]

_SMALLEST: Final = 1e-12
_TAIL_FACTOR: Final = 10.0
_TESTS: Final = 128
"""More than the members of any claim, for what a test sees at the strictest level that Holm's correction asks for."""
_STANDARD_ERRORS: Final = float(
    stats.norm.isf(CLAIM_FALSE_ALARM / (2.0 * _TESTS * _TAIL_FACTOR)) + stats.norm.ppf(POWER)
)
"""A deviation by so many standard errors is seen with probability :data:`POWER`."""

_SHORTEST: Final = 5
"""Length of vectors compared pair by pair: scores of ranks lie on a grid, where shorter ones may be parallel."""

_FEWEST_BY_THEMSELVES: Final = 1000
"""Entries of a draw that are ranked by themselves: of fewer, the ranks are too few to be like independent numbers."""

_DISTANCES: Final = (1, 2, 3, 4, 8, 16, 64, 128, 256, 512, 1024)


OneRow = TypeVar("OneRow", bound=Row)


@dataclass(frozen=True)
class _OfMembers(Generic[OneRow]):
    """An experiment whose rows of one member depend on the others by their number alone.

    Each is measured once for all experiments of a kind: a control differs from its claim's experiment in one of them.
    """

    members: tuple[Draws, ...]

    def measure(self, context: RunContext) -> Iterator[OneRow]:
        """Measure the rows of all members."""
        for draws in self.members:
            key = (replace(self, members=(draws,)), len(self.members))
            yield from context.remember(key, partial(self._measure_anew, draws, context))

    def _measure_anew(self, draws: Draws, context: RunContext) -> tuple[OneRow, ...]:
        return tuple(self.measure_member(draws, context))

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[OneRow]:
        """Measure the rows of one member."""
        raise NotImplementedError


@dataclass(frozen=True)
class Moments(_OfMembers[EstimateRow]):
    """A moment of the entries over its documented value, with its standard error.

    With x = (w - mean) / sd by the documented distribution and N entries:

    - ``mean``: the mean of x; standard error 1 / sqrt(N);
    - ``variance``: the mean of x^2; sqrt((E x^4 - 1) / N);
    - ``tails``: the kurtosis, the mean of x^4 over the squared mean of x^2, over the documented one m4; with m6 and m8
      the documented moments, sqrt((m8/m4^2 - 1 - 4(m6/m4 - 1) + 4(m4 - 1)) / N). A wrong variance leaves it as it is;
    - ``sign``: the share of entries above the mean, minus 1/2; 1 / (2 sqrt(N)).
    """

    moment: Moment

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[EstimateRow]:
        entry = draws.subject.distribution(draws.shape)
        x = entry.standardize(draws.draw(context))
        fourth = entry.moment(4)
        if self.moment == "mean":
            estimate, term = float(x.mean()), 1.0
        elif self.moment == "variance":
            estimate, term = float(np.mean(x**2)), fourth - 1.0
        elif self.moment == "tails":
            x = x - x.mean()
            estimate = float(np.mean(x**4) / np.mean(x**2) ** 2) / fourth
            term = entry.moment(8) / fourth**2 - 1.0 - 4.0 * (entry.moment(6) / fourth - 1.0) + 4.0 * (fourth - 1.0)
        else:
            estimate, term = float(np.mean(x > 0.0) + np.mean(x == 0.0) / 2.0) - 0.5, 0.25
        yield EstimateRow(draws.name, estimate, math.sqrt(term / x.size), x.size)


@dataclass(frozen=True)
class Finite(_OfMembers[ExactRow]):
    """How many entries are NaN or infinite."""

    spoiled: bool = False
    """Whether one entry is made NaN, for a control."""

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[ExactRow]:
        weights = draws.draw(context)
        bad = int(np.count_nonzero(~np.isfinite(weights))) + self.spoiled
        yield ExactRow(draws.name, float(bad), 0.0, weights.size)


@dataclass(frozen=True)
class Beyond(_OfMembers[ExactRow]):
    """How many entries lie beyond the documented support by more than the dtype's rounding."""

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[ExactRow]:
        low, high = draws.subject.distribution(draws.shape).support
        allowed = EPSILON[draws.dtype] * max(abs(low), abs(high))
        weights = draws.draw(context)
        beyond = (weights < low - allowed) | (weights > high + allowed)
        yield ExactRow(draws.name, float(np.count_nonzero(beyond)), 0.0, weights.size)


_DENSEST: Final = 0.5
"""More than the density of any of the distributions, times its standard deviation."""


@dataclass(frozen=True)
class Repeats(_OfMembers[ExactRow]):
    """How many pairs of entries are equal, over what numbers of so many random bits give.

    Of N uniform numbers with b bits, N (N - 1) / 2^(b + 1) pairs are equal on average, by a Poisson distribution.
    Numbers of a density f that are rounded to multiples of u have as many with E(u f) in the place of 2^-b: weights
    around a large mean coincide more often, whatever draws them. Twice that is allowed besides.
    """

    bits: int

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[ExactRow]:
        weights = draws.draw(context)
        counts = np.unique(weights, return_counts=True)[1].astype(np.float64)
        pairs = float(np.sum(counts * (counts - 1.0)) / 2.0)
        rounding = EPSILON[draws.dtype] * float(np.mean(np.abs(weights), dtype=np.float64))
        deviation = draws.subject.distribution(draws.shape).standard_deviation
        chance = 2.0**-self.bits + 2.0 * _DENSEST * rounding / deviation
        expected = draws.entries * (draws.entries - 1.0) / 2.0 * chance
        yield ExactRow(draws.name, pairs / expected, 1.0, draws.entries, f"{pairs:.0f} equal pairs")


@dataclass(frozen=True)
class Fit(_OfMembers[FitRow]):
    """Kolmogorov and Smirnov's test of the shape of the distribution: after the entries' own mean and deviation.

    What they are is claimed elsewhere. Fitted, the distance is smaller by chance than the test's p-values are made for
    (Lilliefors, 1967), which are too large then: there are fewer false alarms than its level says.
    """

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[FitRow]:
        entry = draws.subject.distribution(draws.shape)
        x = entry.standardize(draws.draw(context).ravel())
        fitted = entry.mean + entry.standard_deviation * (x - x.mean()) / x.std()
        found = stats.kstest(entry.cdf(fitted), "uniform", method="asymp")
        distance = detectable_distance(draws.entries, len(self.members))
        yield FitRow(draws.name, float(found.pvalue), float(found.statistic), distance, draws.entries)


@dataclass(frozen=True)
class Extremes(_OfMembers[FitRow]):
    """The smallest and the largest entry: none beyond the support, and both as extreme as N entries should be.

    With F the documented distribution function, F(max)^N is uniform on (0, 1), and so is (1 - F(min))^N. Two p-values a
    member, each two-sided: a largest value that is too small shows shorter tails, one too large longer ones. An
    entry beyond the support by more than the dtype's rounding has p = 0. The effect is the larger of |max| and |min|
    over the bound of the support (over one standard deviation where there is none).
    """

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[FitRow]:
        entry = draws.subject.distribution(draws.shape)
        weights = draws.draw(context)
        low, high = entry.support
        reach = (high - entry.mean) if math.isfinite(high) else entry.standard_deviation
        allowed = EPSILON[draws.dtype] * max(abs(low), abs(high), abs(entry.mean))
        # Tails that are cut or shrunk by this much are seen: the largest entry, which stays below the first value
        # with the stated power, is then below the second, which is too small at the family's strictest level.
        strictest = CLAIM_FALSE_ALARM / (4.0 * len(self.members))
        detectable = entry.largest(POWER, weights.size) - entry.largest(strictest, weights.size)
        detectable *= entry.standard_deviation / reach
        for side, value in (("smallest", float(weights.min())), ("largest", float(weights.max()))):
            outward = (entry.mean - value) if side == "smallest" else (value - entry.mean)
            # By symmetry the distribution of the smallest is that of the largest.
            survival = float(1.0 - entry.cdf(np.asarray([entry.mean + outward]))[0])
            log_below = weights.size * math.log1p(-min(survival, 1.0 - 1e-16))
            share = 2.0 * min(math.exp(log_below), -math.expm1(log_below))
            beyond = math.isfinite(high) and outward > reach + allowed
            if math.isfinite(high) and not beyond and survival <= 4.0 * allowed / reach:
                # A value that rounding brought to the very end of the support is no evidence of long tails.
                share = 1.0
            p_value = 0.0 if beyond else min(share, 1.0)
            yield FitRow(f"{side} of {draws.name}", p_value, outward / reach, detectable, weights.size)


@dataclass(frozen=True)
class Independence(_OfMembers[FitRow]):
    """Tests of independence by ranks: of columns (the entries of a row), rows, draws, and neighbours in memory."""

    between: Between

    def measure_member(self, draws: Draws, context: RunContext) -> Iterator[FitRow]:
        together = self.between == "draws" or draws.entries < _FEWEST_BY_THEMSELVES * draws.count
        scores = _score(draws, context, together=together)
        samples = 1 if together else len(scores)
        if self.between == "order":
            tests = _test_order(scores, samples)
        elif self.between == "draws":
            tests = _test_vectors(scores.reshape(1, len(scores), -1), samples)
        else:
            matrices = scores.reshape(len(scores), -1, scores.shape[-1])
            tests = _test_vectors(matrices.swapaxes(1, 2) if self.between == "columns" else matrices, samples)
        for test, p_value, effect, detectable in tests:
            yield FitRow(f"{test} of {draws.name}", p_value, effect, detectable, draws.entries)


Test = tuple[str, float, float, float]
"""Name, p-value, effect and what it detects."""


def _score(draws: Draws, context: RunContext, *, together: bool) -> Scores:
    """Give the scores of the entries of all draws together, or of each by itself."""

    def make() -> Scores:
        weights = draws.draw(context)
        samples = weights.reshape(1 if together else len(weights), -1)
        length = samples.shape[1]
        # What is equal is put in order by chance: half the entries at one value are no sign of dependence. Where
        # entries are shuffled before, any sorting does that, and the fastest is ten times as fast as by two keys.
        random = np.random.default_rng(context.seed(f"order/{draws.name}"))
        scores = np.empty(samples.shape)
        for sample, scored in zip(samples, scores, strict=True):
            shuffled = random.permutation(length)
            scored[shuffled[np.argsort(sample[shuffled])]] = _normal_scores(length)
        return scores.reshape(weights.shape)

    return context.remember(("scores", draws, together), make)


@lru_cache(maxsize=16)
def _normal_scores(count: int) -> Scores:
    """Give the normal scores of so many numbers in order: the same few sizes are asked for again and again."""
    scores: Scores = special.ndtri((np.arange(count) + 0.5) / count)
    scores.flags.writeable = False
    return scores


def _test_vectors(stacks: Scores, samples: int) -> list[Test]:
    """Test whether vectors of shape [draws, vectors, length] depend on each other, pair by pair within a draw.

    They were ranked in so many samples: each draw by itself, or all together.
    """
    draws, vectors, length = stacks.shape
    ranked = draws * vectors // samples
    squares = np.einsum("dvl,dvl->dv", stacks, stacks)
    tests: list[Test] = []
    if ranked > 1 and length > 1:
        # Of the vectors of a sample the sum is 0 and the sum of squares is fixed.
        sums = stacks.sum(axis=2).ravel() / math.sqrt(length)
        by_sample = squares.reshape(samples, ranked)
        shares = (by_sample / by_sample.sum(axis=1, keepdims=True)).ravel()
        sizes = stats.beta.cdf(shares, length / 2.0, length * (ranked - 1) / 2.0)
        freedom = samples * (ranked - 1)
        tests.append(_test_sample("sums", special.ndtr(sums / math.sqrt(1.0 - 1.0 / ranked))))
        tests.append(_test_sample("sizes", sizes))
        tests.append(_test_variance("variance of sums", sums, freedom))
        by_size = special.ndtri(np.clip(sizes, _SMALLEST, 1.0 - _SMALLEST))
        tests.append(_test_variance("variance of sizes", by_size * math.sqrt(1.0 - 1.0 / ranked), freedom))
    if vectors < 2 or length < _SHORTEST:
        return tests
    gram = stacks @ stacks.swapaxes(1, 2)
    cosines2 = gram**2 / (squares[:, :, None] * squares[:, None, :])
    above = np.triu_indices(vectors, 1)
    pairs2 = cosines2[:, above[0], above[1]].ravel()
    distribution = stats.beta(0.5, (length - 1) / 2.0)
    largest = float(pairs2.max())
    p_value = min(float(distribution.sf(min(largest, 1.0))) * pairs2.size, 1.0)
    tests.append(("pairs", p_value, math.sqrt(largest), _detectable_cosine(length, pairs2.size)))
    expected = pairs2.size / length
    deviation = math.sqrt(2.0 * pairs2.size * (length - 1) / (length**2 * (length + 2)))
    z = (float(pairs2.sum()) - expected) / deviation
    if pairs2.size >= 1000:
        p_value = float(adjusted_for_tails(2.0 * stats.norm.sf(abs(z)), _TAIL_FACTOR))
        tests.append(("energy", p_value, float(pairs2.sum()) / expected, 1.0 + _STANDARD_ERRORS * deviation / expected))
        # X X' and X' X have the same largest eigenvalue: that of the smaller one takes less time to find.
        smaller = gram if vectors <= length else stacks.swapaxes(1, 2) @ stacks
        top = float(np.sqrt(np.linalg.eigvalsh(smaller)[:, -1].max()))
        beyond = max(top - math.sqrt(vectors) - math.sqrt(length), 0.0)
        edge = math.sqrt(vectors) + math.sqrt(length)
        p_value = min(draws * math.exp(-(beyond**2) / 2.0), 1.0)
        tests.append(("spectrum", p_value, top / edge, 1.0 + _STANDARD_ERRORS / edge))
    return tests


def _test_sample(name: str, cdf: NDArray[Any]) -> Test:
    """Test whether numbers that should be uniform are."""
    count = cdf.size
    found = stats.kstest(cdf, "uniform")
    return name, float(found.pvalue), float(found.statistic), detectable_distance(count, _TESTS)


def _test_variance(name: str, scores: NDArray[Any], freedom: int) -> Test:
    """Test whether numbers that should be standard normal, but for their sums of 0, have the variance 1, two-sided."""
    total = float(np.sum(scores**2))
    p_value = 2.0 * float(min(stats.chi2.sf(total, freedom), stats.chi2.cdf(total, freedom)))
    return name, min(p_value, 1.0), total / freedom, 1.0 + _STANDARD_ERRORS * math.sqrt(2.0 / freedom)


def _test_order(scores: Scores, samples: int) -> list[Test]:
    """Test neighbours in memory, ranked in so many samples: their correlation, and that of their squares."""
    flat = scores.reshape(len(scores), -1)
    ranked = flat.size // samples
    tests: list[Test] = []
    # Two numbers of a sample, whose sum and sum of squares are fixed, are a little unlike by that.
    kinds = [
        (name, values, variance, _mean_product(values.ravel()[:ranked]))
        for name, values, variance in (("values", flat, 1.0), ("squares", flat**2 - 1.0, 4.0))
    ]
    for distance, (name, values, variance, expected) in itertools.product(_DISTANCES, kinds):
        if flat.shape[1] <= distance:
            continue
        products = values[:, :-distance] * values[:, distance:] - expected
        correlation = float(products.mean()) / math.sqrt(variance)
        z = correlation * math.sqrt(products.size)
        p_value = float(adjusted_for_tails(2.0 * stats.norm.sf(abs(z)), _TAIL_FACTOR))
        tests.append((f"{name} {distance} apart", p_value, correlation, _STANDARD_ERRORS / math.sqrt(products.size)))
    return tests


def _mean_product(sample: NDArray[Any]) -> float:
    """Give the mean product of two different numbers of a sample."""
    return float(sample.sum() ** 2 - np.sum(sample**2)) / (sample.size * (sample.size - 1.0))


def _detectable_cosine(length: int, pairs: int) -> float:
    """Give the correlation of one pair among many that is seen with probability :data:`POWER`, by Fisher's z."""
    critical = float(stats.norm.isf(CLAIM_FALSE_ALARM / (20.0 * pairs)))
    return math.tanh((critical + float(stats.norm.ppf(POWER))) / math.sqrt(max(length - 3, 1)))
