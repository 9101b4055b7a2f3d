"""Decisions about gains by layer: equivalence of ratios, and the fit of log increments to their exact distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core import statistics
from initcheck.spec.claim import Evidence, Verdict
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, MISS_RATE, POWER

if TYPE_CHECKING:
    from pandas import DataFrame


AVERAGE: Final = "average"
VARIANCE_FACTOR: Final = 2.5
"""Within this factor the variance of the whole logarithm has to be shown; kernels that are equal give ten."""

LAW_LEVEL: Final = CLAIM_FALSE_ALARM / 4.0
"""A quarter of what a claim may have: log chi-squares are skew, which raises the far tail of a mean by half or so."""


def read_values(table: DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    """Read the values of a table of members and seeds: the members, and an array of shape [seeds, members]."""
    wide = table.pivot(index="seed", columns="member", values="value")[list(dict.fromkeys(table["member"]))]
    return [str(name) for name in wide.columns], wide.to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class GainByLayer:
    """Equivalence of ratios with what is expected of them: each layer's mean, and the average over all layers.

    It reads ``member`` (the layer), ``seed`` and ``value`` (the ratio over its expectation). Each member is a pair of
    one-sided t tests over seeds, Holm over the family. Fail: the interval of a member lies outside its margin.
    """

    quantity: str
    layer: float
    average: float
    level: float = MISS_RATE

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
        if table.empty:
            return Evidence(Verdict.INCONCLUSIVE, "Nothing was measured.", self.quantity, math.nan, members=0)
        layers, values = read_values(table)
        families = [(name, values[:, place], self.layer) for place, name in enumerate(layers)]
        families.append((AVERAGE, values.mean(axis=1), self.average))
        share = self.level / len(families)
        tests = [
            (name, margin, statistics.equivalence_test(each, 1.0 - margin, 1.0 + margin, share))
            for name, each, margin in families
        ]
        adjusted = statistics.adjust_pvalues([test.p_value for _, _, test in tests], "holm")
        outside = [(name, margin, test) for name, margin, test in tests if test.verdict == "fail"]
        # Written so that NaN does not pass.
        if outside:
            verdict, (worst, margin, test) = Verdict.FAIL, outside[-1]
            prefix = f"{len(outside)} of {len(tests)} outside: "
        elif bool((adjusted <= self.level).all()):
            verdict, (worst, margin, test), prefix = Verdict.PASS, tests[-1], ""
        else:
            place = int(np.argmax(np.where(np.isnan(adjusted), 2.0, adjusted)))
            verdict, (worst, margin, test), prefix = Verdict.INCONCLUSIVE, tests[place], "Not shown: "
        found = test.estimate
        return Evidence(
            verdict=verdict,
            reason=(
                f"{prefix}{self.quantity} {found.value:.4g}, interval [{found.low:.4g}, {found.high:.4g}], "
                f"bounds [{1.0 - margin:.4g}, {1.0 + margin:.4g}] ({worst})."
            ),
            quantity=self.quantity,
            effect=found.value,
            low=found.low,
            high=found.high,
            confidence=1.0 - 2.0 * share,
            bounds=(1.0 - margin, 1.0 + margin),
            count=found.count,
            unit="seeds",
            p_value=float(adjusted.max()),
            detectable=margin,
            power=1.0 - self.level,
            members=len(tests),
            worst=worst,
        )


@dataclass(frozen=True)
class LawByLayer:
    """Fit of log increments to a law: independent by layer, with a given mean and variance.

    It reads ``member`` (the layer), ``seed``, ``value`` (the log increment), ``mean`` and ``variance`` (of the law; the
    same for all seeds). Three tests share the level: z of each layer's mean, the largest after Sidak; z of the sum over
    the layers, which sees a small deviation of all; and one chi-square for the sum around its mean. The sum has the
    variance that independent layers give it: it is what notices kernels that depend on each other, which no layer shows
    by itself.

    Pass also needs the variance of the sum to be shown within :data:`VARIANCE_FACTOR` of the law's.
    """

    level: float = LAW_LEVEL

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
        quantity = "variance of the summed log increments over the law's"
        if table.empty:
            return Evidence(Verdict.INCONCLUSIVE, "Nothing was measured.", quantity, math.nan, members=0)
        layers, values = read_values(table)
        first = table.groupby("member", sort=False).first()
        mean, variance = first["mean"].to_numpy(np.float64), first["variance"].to_numpy(np.float64)
        seeds = len(values)
        z = math.sqrt(seeds) * (values.mean(axis=0) - mean) / np.sqrt(variance)
        smallest = 2.0 * float(stats.norm.sf(np.abs(z).max()))
        by_layer = -math.expm1(len(layers) * math.log1p(-smallest)) if smallest < 1.0 else 1.0
        squares = float(np.sum((values.sum(axis=1) - mean.sum()) ** 2) / variance.sum())
        by_sum = 2.0 * min(float(stats.chi2.cdf(squares, seeds)), float(stats.chi2.sf(squares, seeds)))
        z_sum = math.sqrt(seeds / float(variance.sum())) * float(values.sum(axis=1).mean() - mean.sum())
        by_mean = 2.0 * float(stats.norm.sf(abs(z_sum)))
        p_value = min(1.0, 3.0 * min(by_layer, by_mean, by_sum)) if math.isfinite(squares) else math.nan
        low, high = (squares / float(stats.chi2.ppf(share, seeds)) for share in (1.0 - MISS_RATE, MISS_RATE))
        worst = layers[int(np.argmax(np.where(np.isnan(z), -1.0, np.abs(z))))]
        reason = (
            f"p {p_value:.2g}: largest z {float(np.abs(z).max()):.2f} ({worst}), of the sum {z_sum:.2f}; variance of "
            f"the sum {squares / seeds:.3g} times the law's."
        )
        verdict = Verdict.INCONCLUSIVE
        if p_value <= self.level:
            verdict = Verdict.FAIL
        elif p_value > self.level and low >= 1.0 / VARIANCE_FACTOR and high <= VARIANCE_FACTOR:
            verdict = Verdict.PASS
        reach = float(stats.norm.isf(self.level / 6.0) + stats.norm.ppf(POWER))
        return Evidence(
            verdict=verdict,
            reason=reason,
            quantity=quantity,
            effect=squares / seeds,
            low=low,
            high=high,
            confidence=1.0 - 2.0 * MISS_RATE,
            bounds=(1.0 / VARIANCE_FACTOR, VARIANCE_FACTOR),
            count=seeds,
            unit="seeds",
            p_value=p_value,
            # The variance that the chi-square sees: ln of a variance over S seeds has the variance 2 / S.
            detectable=math.expm1(reach * math.sqrt(2.0 / seeds)),
            power=POWER,
            members=len(layers),
            worst="the sum over all layers",
        )
