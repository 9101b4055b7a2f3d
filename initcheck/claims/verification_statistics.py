"""The rules about what an initializer draws: its declared law, and the independence of its entries.

Weights are drawn already. The experiments and decisions are those of the specification
(:mod:`~initcheck.claims.entries`, :mod:`~initcheck.claims.independence`, :mod:`~initcheck.claims.orthogonality`), on
as many entries as were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from initcheck.claims.base import Evidence, Verdict
from initcheck.claims.decisions import AllWithin, EstimateWithin, NoDifference
from initcheck.claims.entries import Extremes, Fit, Moments
from initcheck.claims.independence import Between, Independence
from initcheck.claims.laboratory import Laboratory
from initcheck.claims.orthogonality import Orthonormality
from initcheck.claims.rates import CLAIM_FALSE_ALARM, MISS_RATE
from initcheck.claims.verification_calls import Kept, cut, keep
from initcheck.claims.verification_declared import Declared
from initcheck.claims.verification_target import Target

Shape = tuple[int, ...]
Drawn = dict[Shape, NDArray[Any]]
Judged = tuple[str, Evidence | None, str]
"""Rule, evidence, and what is told; no evidence where nothing is declared."""

MARGIN: Final = 0.03
"""Of a mean in standard deviations, and of a variance over its declared value, where there are entries enough."""

LARGEST_MARGIN: Final = 0.1
"""Of what is passed at most; with fewer entries a rule is inconclusive."""

_EPSILON: Final = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_RULES: Final[tuple[tuple[str, Between], ...]] = (
    ("independence_within_rows", "columns"),
    ("independence_within_columns", "rows"),
    ("independence_across_draws", "draws"),
    ("independence_of_neighbours", "order"),
)


def judge_statistics(
    target: Target, drawn: Drawn, declared: dict[Shape, Declared], dtype: str, laboratory: Laboratory
) -> Iterator[Judged]:
    """Judge what was drawn.

    Args:
        target: the initializer.
        drawn: for each shape its weights, [draws, *shape].
        declared: for each shape what is declared of it.
        dtype: that was asked for.
        laboratory: of the run.

    Yields:
        Rule, evidence and reason.
    """
    first = next(iter(declared.values()))
    if not first.by_chance:
        yield from _judge_values(drawn, declared, dtype)
        return
    if first.gain is not None:
        yield from _judge_orthogonal(target, drawn, declared, dtype, laboratory)
        return
    lawful = all(each.law is not None for each in declared.values())
    kept = {shape: keep(target, shape, dtype, drawn[shape], declared[shape].law) for shape in drawn}
    members = tuple(kept.values())
    if lawful:
        fits = True
        for rule, evidence, told in _judge_law(members, laboratory):
            fits &= evidence is not None and evidence.verdict != Verdict.FAIL
            yield rule, evidence, told
        if not fits:
            # Scores by a law that does not hold would not be normal: dependence is then judged by ranks.
            members = tuple(keep(target, shape, dtype, drawn[shape], None) for shape in drawn)
    else:
        yield from _judge_moments(drawn, declared)
    for rule, between in _RULES:
        parts = tuple(cut(each, between) for each in members if between in ("draws", "order") or len(each.shape) > 1)
        parts = tuple(each for each in parts if each.weights[0].size > 1 or between == "draws")
        if not parts:
            continue
        evidence = NoDifference("statistic")(laboratory.measure(Independence(parts, between)))
        yield rule, evidence, evidence.reason


def _margin(term: float, entries: int, members: int) -> float:
    """Take the margin that a true law keeps to with these many entries: see ``size_of_equivalence``."""
    reach = float(stats.norm.isf(MISS_RATE / members) + stats.norm.isf(CLAIM_FALSE_ALARM / (2 * members)))
    return min(max(MARGIN, reach * math.sqrt(term / entries)), LARGEST_MARGIN)


def _judge_law(members: tuple[Kept, ...], laboratory: Laboratory) -> Iterator[Judged]:
    fewest = min(each.entries for each in members)
    mean, variance = _margin(1.0, fewest, len(members)), _margin(2.0, fewest, len(members))
    evidence = EstimateWithin("mean over the declared one, in standard deviations", -mean, mean)(
        laboratory.measure(Moments(members, "mean"))
    )
    yield "mean", evidence, evidence.reason
    evidence = EstimateWithin("variance over its declared value", 1.0 - variance, 1.0 + variance)(
        laboratory.measure(Moments(members, "variance"))
    )
    yield "variance", evidence, evidence.reason
    evidence = NoDifference("extreme entry, over the end of the support")(laboratory.measure(Extremes(members)))
    yield "support", evidence, evidence.reason
    evidence = NoDifference("largest distance between distribution functions", largest_detectable=0.06)(
        laboratory.measure(Fit(members))
    )
    yield "distribution", evidence, evidence.reason


def _judge_moments(drawn: Drawn, declared: dict[Shape, Declared]) -> Iterator[Judged]:
    """Judge mean and variance by the entries' own spread, where no distribution is declared; else only report them."""
    means, variances = [], []
    fewest, term = min(weights.size for weights in drawn.values()), 2.0
    for shape, weights in drawn.items():
        flat = weights.astype(np.float64).ravel()
        mean, variance = float(flat.mean()), float(flat.var())
        kurtosis = float(np.mean((flat - mean) ** 4)) / variance**2
        term = max(term, kurtosis - 1.0)
        name = f"{shape}".replace(" ", "")
        wanted_mean, wanted = declared[shape].mean, declared[shape].variance
        sd = math.sqrt(variance if wanted is None else wanted)
        error = math.sqrt(variance / flat.size) / sd
        means.append((name, (mean - (wanted_mean or 0.0)) / sd, error, math.inf, flat.size, mean))
        over = 1.0 if wanted is None else wanted
        error = variance / over * math.sqrt(max(kurtosis - 1.0, 0.0) / flat.size)
        variances.append((name, variance / over, error, math.inf, flat.size, variance))
    columns = ["member", "estimate", "standard_error", "freedom", "count", "value"]
    one = next(iter(declared.values()))
    for rule, rows, wanted, centre, kind in (
        ("mean", means, one.mean, 0.0, "mean minus the declared one, in standard deviations"),
        ("variance", variances, one.variance, 1.0, "variance over its declared value"),
    ):
        if wanted is None:
            figures = ", ".join(f"{row[5]:.4g} {row[0]}" for row in rows)
            yield rule, None, f"{figures}."
            continue
        margin = _margin(1.0 if rule == "mean" else term, fewest, len(rows))
        evidence = EstimateWithin(kind, centre - margin, centre + margin)(pd.DataFrame(rows, columns=columns))
        yield rule, evidence, evidence.reason
    yield "distribution", None, "No law is declared. Add --expect-variance and --expect-distribution to judge it."


def _judge_values(drawn: Drawn, declared: dict[Shape, Declared], dtype: str) -> Iterator[Judged]:
    """Judge weights that leave nothing to chance: the declared values, or all equal."""
    rows = []
    for shape, weights in drawn.items():
        got, wanted = weights[0].astype(np.float64), declared[shape].values
        aim = np.full(shape, got.flat[0]) if wanted is None else wanted
        scale = float(np.abs(aim).max()) or 1.0
        deviation = float(np.abs(got - aim).max()) / scale
        # The phase of a spectrogram's kernels is as large as 2 pi times their length; it is rounded before the cosine.
        terms = 2.0 * math.pi * (shape[0] + 1) if len(shape) == 3 and not declared[shape].constant else 2.0
        rows.append((f"{shape}".replace(" ", ""), deviation, terms * _EPSILON.get(dtype, 2.0**-23), weights.size))
    table = pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])
    evidence = AllWithin("difference from the declared values", "weights")(table)
    yield "values", evidence, evidence.reason


def _judge_orthogonal(
    target: Target, drawn: Drawn, declared: dict[Shape, Declared], dtype: str, laboratory: Laboratory
) -> Iterator[Judged]:
    if dtype not in ("float32", "float64"):
        told = f"Orthogonality is judged in float32 and float64 only. Asked for: {dtype}."
        yield "orthogonal", Evidence(Verdict.INCONCLUSIVE, told, "entry of Q'Q - I", math.nan), told
        return
    tables = []
    for shape, weights in drawn.items():
        kept = keep(target, shape, dtype, weights, None)
        held = Kept(kept.subject, shape, len(weights), dtype, "", "orthogonal", weights)
        tables.append(laboratory.measure(Orthonormality((held,), float(declared[shape].gain or 1.0))))
    evidence = AllWithin("entry of Q'Q - I", "weights")(pd.concat(tables, ignore_index=True))
    yield "orthogonal", evidence, evidence.reason
