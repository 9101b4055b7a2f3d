"""How claims are decided: pure functions from a table to evidence, each with its error rates.

A table has one row a member (a shape, a layer, a case), or for :class:`SeedMeanWithin` one a member and seed. What
could not be measured is NaN, and NaN never passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core import statistics
from initcheck.spec.claim import Evidence, Verdict
from initcheck.spec.table import EstimateRow, make_table

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


_LARGEST_SHOWN: Final = 3


@dataclass(frozen=True)
class EstimateWithin:
    """Equivalence of estimates with known standard errors: two one-sided tests a member (Schuirmann 1987), Holm.

    It reads the columns of :class:`~initcheck.spec.table.EstimateRow`. Pass: every member is shown to lie within the
    bounds. Fail: the interval of a member lies outside.
    """

    quantity: str
    low: float
    high: float
    unit: str = "entries"
    level: float = MISS_RATE

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
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

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
        if table.empty:
            return _nothing(self.quantity, "seeds")
        rows = []
        for member, values in table.groupby("member", sort=False)["value"]:
            found = statistics.estimate_mean(values.to_numpy(dtype=np.float64))
            rows.append(
                EstimateRow(
                    str(member), found.value, found.standard_error, found.count, freedom=max(found.count - 1, 1)
                )
            )
        return EstimateWithin(self.quantity, self.low, self.high, "seeds", self.level)(make_table(rows))


@dataclass(frozen=True)
class NoDifference:
    """Tests of fit: none of the members' p-values, after Holm, is below the level.

    It reads the columns of :class:`~initcheck.spec.table.FitRow`. A test that finds nothing shows nothing by itself:
    pass also needs every ``detectable`` at or below ``largest_detectable``.
    """

    quantity: str
    unit: str = "entries"
    level: float = CLAIM_FALSE_ALARM
    largest_detectable: float = math.inf

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
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
            reason = f"Too few {self.unit} to tell: sees {_number(float(np.nanmax(detectable)))} and more. {reason}"
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

    It reads the columns of :class:`~initcheck.spec.table.ExactRow`, of which ``seen`` may be missing.
    """

    quantity: str
    unit: str = "cases"

    def __call__(self, table: DataFrame) -> Evidence:
        """Judge."""
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
            names = ", ".join(name for name, bad in zip(members, broken, strict=True) if bad)
            reason = f"{int(broken.sum())} of {len(members)} differ ({_cut(names)}): {reason}"
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


def size_of_equivalence(kurtosis_term: float, margin: float, members: int = 1) -> int:
    """Count the replicates that an equivalence test with a known standard error needs.

    N = K ((z(1 - miss / m) + z(1 - alarm / 2m)) / margin)^2, with K = N times the squared standard error. With these, a
    true claim of m members does not pass with probability at most ``CLAIM_FALSE_ALARM``.
    """
    reach = stats.norm.isf(MISS_RATE / members) + stats.norm.isf(CLAIM_FALSE_ALARM / (2 * members))
    return math.ceil(kurtosis_term * (reach / margin) ** 2)


def detectable_distance(entries: int, members: int) -> float:
    """Give the distance between distribution functions that Kolmogorov and Smirnov's test surely sees.

    With (D) the critical value sqrt(ln(2 / level) / 2N) of the family's strictest test, and a distance d at some place,
    the empirical distance falls short of d by more than z / (2 sqrt(N)) with probability 1 - power at most.
    """
    critical = math.sqrt(math.log(2.0 * members / CLAIM_FALSE_ALARM) / 2.0)
    return float(critical + stats.norm.ppf(POWER) / 2.0) / math.sqrt(entries)


def adjusted_for_tails(p_value: float | NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Raise p-values of approximate distributions by what the approximation may be off by in the far tail."""
    return np.minimum(np.asarray(p_value, dtype=np.float64) * factor, 1.0)


def _nothing(quantity: str, unit: str) -> Evidence:
    return Evidence(Verdict.INCONCLUSIVE, "Nothing was measured.", quantity, math.nan, unit=unit, members=0)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _cut(names: str) -> str:
    parts = names.split(", ")
    rest = len(parts) - _LARGEST_SHOWN
    return names if rest <= 0 else f"{', '.join(parts[:_LARGEST_SHOWN])} and {rest} more"
