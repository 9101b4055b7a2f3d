"""How claims are decided: pure functions from a table to evidence, each with its error rates.

A table has one row a member (a shape, a layer, a case), or for :class:`SeedMeanWithin` one a member and seed. What
could not be measured is NaN, and NaN never passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core import statistics
from initcheck.core.formatting import format_names
from initcheck.spec.claim import EstimateRow, Evidence, Verdict, make_table

if TYPE_CHECKING:
    from pandas import DataFrame


SPECIFICATION_FALSE_ALARM: Final = 1e-3
"""Of the whole specification, run once with fresh seeds: the sum over its claims stays below this."""

CLAIM_FALSE_ALARM: Final = 1e-6
"""Of one statistical claim, over all its members. Sample sizes and levels follow from it."""

MISS_RATE: Final = 1e-3
"""Level of the equivalence tests: a claim that is off by its margin passes at most this often."""

POWER: Final = 0.999
"""Probability at which the deviation that a claim detects is stated."""

AVERAGE: Final = "average"
VARIANCE_FACTOR: Final = 2.5
"""Within this factor the variance of the whole logarithm has to be shown; kernels that are equal give ten."""

INCREMENTS_LEVEL: Final = CLAIM_FALSE_ALARM / 4.0
"""A quarter of what a claim may have: log chi-squares are skew, which raises the far tail of a mean by half or so."""


@dataclass(frozen=True)
class EstimateWithin:
    """Equivalence of estimates with known standard errors: two one-sided tests a member (Schuirmann 1987), Holm.

    It reads the columns of :class:`~initcheck.spec.claim.EstimateRow`. Pass: every member is shown to lie within the
    bounds. Fail: the interval of a member lies outside.
    """

    quantity: str
    low: float
    high: float
    unit: str = "entries"
    level: float = MISS_RATE
    false_alarm: ClassVar = CLAIM_FALSE_ALARM

    def __call__(self, table: DataFrame) -> Evidence:
        if table.empty:
            return _nothing(self.quantity, self.unit)
        members = [str(member) for member in table["member"]]
        estimate, error = (table[name].to_numpy(dtype=np.float64) for name in ("estimate", "standard_error"))
        student = stats.t(table["freedom"].to_numpy(dtype=np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            p_values = np.maximum(
                student.sf((estimate - self.low) / error), student.cdf((estimate - self.high) / error)
            )
        known = error == 0.0
        p_values[known] = np.where((estimate[known] > self.low) & (estimate[known] < self.high), 0.0, 1.0)
        share = self.level / len(members)
        half = np.where(known, 0.0, student.ppf(1.0 - share) * error)
        adjusted = statistics.adjust_pvalues(p_values, "holm")
        distance = np.minimum(estimate - self.low, self.high - estimate) - half
        worst = int(np.nanargmin(distance)) if np.isfinite(distance).any() else 0
        lows, highs = estimate - half, estimate + half
        outside = (lows > self.high) | (highs < self.low) | np.isinf(estimate)
        reason = (
            f"{self.quantity} {_number(estimate[worst])}, interval [{_number(lows[worst])}, {_number(highs[worst])}], "
            f"bounds [{_number(self.low)}, {_number(self.high)}] ({members[worst]})."
        )
        verdict = Verdict.INCONCLUSIVE
        if outside.any():
            verdict = Verdict.FAIL
            reason = f"{int(outside.sum())} of {len(members)} outside: {reason}"
        elif bool((adjusted <= self.level).all()):
            verdict = Verdict.PASS
        elif np.isnan(estimate).any() or np.isnan(error).any():
            reason = f"{int((np.isnan(estimate) | np.isnan(error)).sum())} of {len(members)} have no value (NaN)."
        finite = adjusted[np.isfinite(adjusted)]
        return Evidence(
            verdict=verdict,
            reason=reason,
            quantity=self.quantity,
            effect=float(estimate[worst]),
            low=float(lows[worst]),
            high=float(highs[worst]),
            confidence=1.0 - 2.0 * share,
            bounds=(self.low, self.high),
            count=int(table["count"].sum()),
            unit=self.unit,
            p_value=float(finite.max()) if finite.size == adjusted.size else math.nan,
            detectable=max(self.high, -self.low) if self.low < 0 < self.high else self.high - 1.0,
            power=1.0 - self.level,
            members=len(members),
            worst=members[worst],
        )


@dataclass(frozen=True)
class SeedMeanWithin:
    """Equivalence of means over seeds: one t interval a member, from the columns of ``SeedRow``."""

    quantity: str
    low: float
    high: float
    level: float = MISS_RATE
    false_alarm: ClassVar = CLAIM_FALSE_ALARM

    def __call__(self, table: DataFrame) -> Evidence:
        if table.empty:
            return _nothing(self.quantity, "seeds")
        rows = []
        for member, values in table.groupby("member", sort=False)["value"]:
            found = statistics.estimate_mean(values.to_numpy(dtype=np.float64))
            freedom = max(found.count - 1, 1)
            rows.append(EstimateRow(str(member), found.value, found.standard_error, found.count, freedom))
        return EstimateWithin(self.quantity, self.low, self.high, "seeds", self.level)(make_table(rows))


@dataclass(frozen=True)
class NoDifference:
    """Tests of fit: none of the members' p-values, after Holm, is below the level.

    It reads the columns of :class:`~initcheck.spec.claim.FitRow`. A test that finds nothing shows nothing by itself:
    pass also needs every ``detectable`` at or below ``largest_detectable``.
    """

    quantity: str
    unit: str = "entries"
    level: float = CLAIM_FALSE_ALARM
    largest_detectable: float = math.inf
    false_alarm: ClassVar = CLAIM_FALSE_ALARM

    def __call__(self, table: DataFrame) -> Evidence:
        if table.empty:
            return _nothing(self.quantity, self.unit)
        members = [str(member) for member in table["member"]]
        p_values, effect, detectable = (
            table[name].to_numpy(dtype=np.float64) for name in ("p_value", "effect", "detectable")
        )
        adjusted = statistics.adjust_pvalues(p_values, "holm")
        worst = int(np.nanargmin(adjusted)) if np.isfinite(adjusted).any() else 0
        reason = f"{self.quantity} {_number(effect[worst])}, p {adjusted[worst]:.2g} after Holm ({members[worst]})."
        verdict = Verdict.PASS
        if (adjusted <= self.level).any():
            verdict = Verdict.FAIL
            reason = f"{int((adjusted <= self.level).sum())} of {len(members)} do not fit: {reason}"
        elif np.isnan(adjusted).any():
            verdict = Verdict.INCONCLUSIVE
            reason = f"{int(np.isnan(adjusted).sum())} of {len(members)} have no value (NaN)."
        elif not (detectable <= self.largest_detectable).all():
            verdict = Verdict.INCONCLUSIVE
            reason = f"Too few {self.unit} to decide: sees {_number(float(np.nanmax(detectable)))} and more. {reason}"
        return Evidence(
            verdict=verdict,
            reason=reason,
            quantity=self.quantity,
            effect=float(effect[worst]),
            count=int(table["count"].sum()),
            unit=self.unit,
            p_value=float(adjusted[worst]),
            detectable=float(detectable[worst]),
            power=POWER,
            members=len(members),
            worst=members[worst],
        )


@dataclass(frozen=True)
class AllWithin:
    """Exact statements, without chance: every member's deviation is at most its limit.

    It reads the columns of :class:`~initcheck.spec.claim.ExactRow`, of which ``seen`` may be missing.
    """

    quantity: str
    unit: str = "cases"
    false_alarm: float = 0.0
    """Other than 0 where what is measured is drawn, and the limit leaves next to nothing to chance."""

    def __call__(self, table: DataFrame) -> Evidence:
        if table.empty:
            return _nothing(self.quantity, self.unit)
        members = [str(member) for member in table["member"]]
        deviation, limit = (table[name].to_numpy(dtype=np.float64) for name in ("deviation", "limit"))
        broken = deviation > limit
        unknown = np.isnan(deviation)
        excess = np.where(unknown, -math.inf, deviation - limit)
        worst = int(np.argmax(excess))
        seen = table["seen"].iloc[worst] if "seen" in table else ""
        value = f"{self.quantity} {_number(float(deviation[worst]))}, at most {_number(float(limit[worst]))}"
        reason = f"{value} ({members[worst]}{f': {seen}' if seen else ''})."
        verdict = Verdict.PASS
        if broken.any():
            verdict = Verdict.FAIL
            names = format_names([name for name, bad in zip(members, broken, strict=True) if bad])
            reason = f"{int(broken.sum())} of {len(members)} differ ({names}): {reason}"
        elif unknown.any():
            verdict = Verdict.INCONCLUSIVE
            reason = f"{int(unknown.sum())} of {len(members)} have no value (NaN)."
        return Evidence(
            verdict=verdict,
            reason=reason,
            quantity=self.quantity,
            effect=float(deviation[worst]),
            bounds=(-math.inf, float(limit[worst])),
            count=int(table["count"].sum()),
            unit=self.unit,
            detectable=float(limit[worst]),
            power=1.0,
            members=len(members),
            worst=members[worst],
        )


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
    false_alarm: ClassVar = CLAIM_FALSE_ALARM

    def __call__(self, table: DataFrame) -> Evidence:
        if table.empty:
            return _nothing(self.quantity, "seeds")
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
class IncrementsByLayer:
    """Fit of log increments to their distribution: independent by layer, with a given mean and variance.

    It reads ``member`` (the layer), ``seed``, ``value`` (the log increment), and ``mean`` and ``variance``, which are
    expected and the same for all seeds. Three tests share the level: z of each layer's mean, the largest after Sidak; z
    of the sum over the layers, which sees a small deviation of all; and one chi-square for the sum around its mean. The
    sum has the variance that independent layers give it: it is what notices kernels that depend on each other, which no
    layer shows by itself.

    Pass also needs the variance of the sum to be shown within :data:`VARIANCE_FACTOR` of the expected one.
    """

    level: float = INCREMENTS_LEVEL
    false_alarm: ClassVar = CLAIM_FALSE_ALARM

    def __call__(self, table: DataFrame) -> Evidence:
        quantity = "variance of the summed log increments over its expectation"
        if table.empty:
            return _nothing(quantity, "seeds")
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
            f"the sum {squares / seeds:.3g} times its expectation."
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


def read_values(table: DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    """Read the values of a table of members and seeds: the members, and an array of shape [seeds, members]."""
    wide = table.pivot(index="seed", columns="member", values="value")[list(dict.fromkeys(table["member"]))]
    return [str(name) for name in wide.columns], wide.to_numpy(dtype=np.float64)


def size_of_equivalence(kurtosis_term: float, margin: float, members: int = 1) -> int:
    """Count the replicates that an equivalence test with a known standard error needs for ``CLAIM_FALSE_ALARM``."""
    # N = K ((z(1 - miss / m) + z(1 - alarm / 2m)) / margin)^2, with K = N times the squared standard error.
    reach = stats.norm.isf(MISS_RATE / members) + stats.norm.isf(CLAIM_FALSE_ALARM / (2 * members))
    return math.ceil(kurtosis_term * (reach / margin) ** 2)


def detectable_distance(entries: int, members: int) -> float:
    """Give the distance between distribution functions that Kolmogorov and Smirnov's test surely sees."""
    # At a place where the distance is d, the empirical one falls short of d by more than z / (2 sqrt(N)) with
    # probability 1 - power at most. The critical value is sqrt(ln(2 / level) / 2N), of the family's strictest test.
    critical = math.sqrt(math.log(2.0 * members / CLAIM_FALSE_ALARM) / 2.0)
    return float(critical + stats.norm.ppf(POWER) / 2.0) / math.sqrt(entries)


def adjusted_for_tails(p_value: float | NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Raise p-values of approximate distributions by what the approximation may be off by in the far tail."""
    return np.minimum(np.asarray(p_value, dtype=np.float64) * factor, 1.0)


def _nothing(quantity: str, unit: str) -> Evidence:
    return Evidence(Verdict.INCONCLUSIVE, "Nothing was measured.", quantity, math.nan, unit=unit, members=0)


def _number(value: float) -> str:
    return f"{value:.4g}"
