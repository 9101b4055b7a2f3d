"""Experiments on the entries of drawn weights: their moments, their distribution function, and their extremes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import stats

from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER, detectable_distance
from initcheck.spec.subjects import Draws
from initcheck.spec.table import EstimateRow, FitRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from initcheck.spec.claim import RunContext

Moment = Literal["mean", "variance", "tails", "sign"]

_ROUNDING: Final = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Moments:
    """A moment of the entries over its documented value, with its standard error.

    With x = (w - mean) / sd by the documented distribution and N entries:

    - ``mean``: the mean of x; standard error 1 / sqrt(N);
    - ``variance``: the mean of x^2; sqrt((E x^4 - 1) / N);
    - ``tails``: the mean of x^4 over E x^4; sqrt((E x^8 / (E x^4)^2 - 1) / N);
    - ``sign``: the share of entries above the mean, minus 1/2; 1 / (2 sqrt(N)).
    """

    members: tuple[Draws, ...]
    moment: Moment

    def measure(self, context: RunContext) -> Iterator[EstimateRow]:
        """Measure."""
        for draws in self.members:
            entry = draws.subject.distribution(draws.shape)
            x = entry.standardize(draws.draw(context))
            fourth = entry.moment(4)
            if self.moment == "mean":
                estimate, term = float(x.mean()), 1.0
            elif self.moment == "variance":
                estimate, term = float(np.mean(x**2)), fourth - 1.0
            elif self.moment == "tails":
                estimate, term = float(np.mean(x**4)) / fourth, entry.moment(8) / fourth**2 - 1.0
            else:
                estimate, term = float(np.mean(x > 0.0) + np.mean(x == 0.0) / 2.0) - 0.5, 0.25
            yield EstimateRow(draws.name, estimate, math.sqrt(term / x.size), x.size)


@dataclass(frozen=True)
class Fit:
    """Kolmogorov and Smirnov's test of the entries against the exact distribution function.

    The effect is the largest distance between the empirical and the documented distribution function.
    """

    members: tuple[Draws, ...]

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        """Measure."""
        for draws in self.members:
            entry = draws.subject.distribution(draws.shape)
            found = stats.kstest(entry.cdf(draws.draw(context).ravel()), "uniform", method="asymp")
            distance = detectable_distance(draws.entries, len(self.members))
            yield FitRow(draws.name, float(found.pvalue), float(found.statistic), distance, draws.entries)


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest entry: none beyond the support, and both as extreme as N entries should be.

    With F the documented distribution function, F(max)^N is uniform on (0, 1), and so is (1 - F(min))^N. Two p-values a
    member, each two-sided: a largest value that is too small shows shorter tails, one too large longer ones. An
    entry beyond the support by more than the dtype's rounding has p = 0. The effect is the larger of |max| and |min|
    over the bound of the support (over one standard deviation where there is none).
    """

    members: tuple[Draws, ...]

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        """Measure."""
        for draws in self.members:
            entry = draws.subject.distribution(draws.shape)
            weights = draws.draw(context)
            low, high = entry.support
            reach = (high - entry.mean) if math.isfinite(high) else entry.standard_deviation
            allowed = _ROUNDING.get(draws.dtype, 2.0**-23) * max(abs(low), abs(high), abs(entry.mean))
            # Tails that are cut or shrunk by this much are seen: the largest entry, which stays below the first value
            # with the stated power, is then below the second, which is too small at the family's strictest level.
            strictest = CLAIM_FALSE_ALARM / (4.0 * len(self.members))
            detectable = entry.largest(POWER, weights.size) - entry.largest(strictest, weights.size)
            detectable *= entry.standard_deviation / reach
            for side, value in (("smallest", float(weights.min())), ("largest", float(weights.max()))):
                outward = (entry.mean - value) if side == "smallest" else (value - entry.mean)
                # By symmetry the distribution of the smallest is that of the largest.
                survival = float(1.0 - entry.cdf(np.asarray([entry.mean + outward]))[0])
                share = 2.0 * min(
                    math.exp(weights.size * math.log1p(-min(survival, 1.0 - 1e-16))),
                    -math.expm1(weights.size * math.log1p(-min(survival, 1.0 - 1e-16))),
                )
                beyond = math.isfinite(high) and outward > reach + allowed
                if math.isfinite(high) and not beyond:
                    # A value that rounding brought to the very end of the support is no evidence of long tails.
                    share = max(share, 1.0) if survival <= 4.0 * allowed / reach else share
                p_value = 0.0 if beyond else min(share, 1.0)
                yield FitRow(f"{side} of {draws.name}", p_value, outward / reach, detectable, weights.size)
