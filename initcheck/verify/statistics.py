"""The rules about what an initializer draws: its declared law, and the independence of its entries.

Weights are drawn already. The experiments and decisions are those of the specification
(:mod:`~initcheck.spec.topics.entries`, :mod:`~initcheck.spec.topics.independence` and
:mod:`~initcheck.spec.topics.orthogonality`), on as many entries as were drawn.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import InitializerSpec
from initcheck.spec.claim import Evidence, RunContext, Verdict
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, MISS_RATE, AllWithin, EstimateWithin, NoDifference
from initcheck.spec.distributions import EntryDistribution, Kind, entry_distribution
from initcheck.spec.topics.entries import Extremes, Fit, Moments
from initcheck.spec.topics.fixed_values import documented_values
from initcheck.spec.topics.independence import Between, Independence
from initcheck.spec.topics.orthogonality import Orthonormality
from initcheck.verify.target import Kept, Target, cut, fans_of, keep

DISTRIBUTIONS: Final = ("normal", "truncated_normal", "uniform", "constant", "orthogonal")
FIXED_CLASSES: Final = ("Zeros", "Ones", "Constant", "Identity", "STFT")

_OPERATIONS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate(text: str, shape: tuple[int, ...], option: str) -> float:
    """Evaluate a formula of numbers, fan_in, fan_out and fan_avg, such as ``2/fan_in``.

    Raises:
        UsageError: it is no such formula, or gives no finite number.
    """
    fan_in, fan_out = fans_of(shape)
    names = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}

    def walk(node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            assert isinstance(node.value, int | float)  # for the type checker; bool was refused above
            return float(node.value)
        if isinstance(node, ast.Name) and node.id in names:
            return float(names[node.id])
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return float(_OPERATIONS[type(node.op)](walk(node.left), walk(node.right)))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
            return float(_OPERATIONS[type(node.op)](walk(node.operand)))
        raise ValueError("no formula")

    try:
        value = walk(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(
            f"{option} takes a number or a formula of fan_in, fan_out and fan_avg, such as 2/fan_in. "
            f"Received: {text!r}."
        )
    return value


@dataclass(frozen=True)
class Expected:
    """What the user expects, as written; None where nothing is."""

    variance: str | None = None
    mean: str | None = None
    distribution: str | None = None

    def __post_init__(self) -> None:
        if self.distribution in ("normal", "truncated_normal", "uniform") and self.variance is None:
            raise UsageError(
                f"--expect-distribution {self.distribution} needs a variance too. Add --expect-variance, such as "
                "2/fan_in."
            )

    @property
    def anything(self) -> bool:
        """Whether anything is expected."""
        return any(each is not None for each in (self.variance, self.mean, self.distribution))


@dataclass(frozen=True)
class Declared:
    """What holds of one shape by declaration; None where nothing is declared.

    Attributes:
        law: of each entry.
        mean: of the entries, where there is no law.
        variance: of the entries, where there is no law.
        gain: of an orthogonal matrix; infinite where it may have any.
        values: all of them, where nothing is left to chance.
        constant: whether all entries are equal.
    """

    law: EntryDistribution | None = None
    mean: float | None = None
    variance: float | None = None
    gain: float | None = None
    values: NDArray[np.float64] | None = None
    constant: bool = False

    @property
    def by_chance(self) -> bool:
        """Whether different seeds should give different values."""
        return self.values is None and not self.constant


def declare(target: Target, expected: Expected, shape: tuple[int, ...]) -> Declared:
    """Say what is declared of one shape.

    Raises:
        UsageError: what is expected cannot be.
    """
    if not expected.anything:
        return Declared() if target.spec is None else _documented(target.spec, shape)
    mean = None if expected.mean is None else evaluate(expected.mean, shape, "--expect-mean")
    variance = None if expected.variance is None else evaluate(expected.variance, shape, "--expect-variance")
    if expected.distribution == "constant":
        if variance:
            raise UsageError(f"Constant weights have the variance 0. Received: --expect-variance {expected.variance}.")
        return Declared(constant=True, values=None if mean is None else np.full(shape, mean))
    if variance is not None and variance <= 0.0:
        raise UsageError(
            f"--expect-variance must be above 0. Received: {expected.variance!r}, {variance:g} at {shape}."
        )
    if expected.distribution == "orthogonal":
        longer = max(math.prod(shape[:-1]), shape[-1])
        return Declared(gain=1.0 if variance is None else math.sqrt(variance * longer))
    if expected.distribution is not None and variance is not None:
        kind: Kind = expected.distribution  # type: ignore[assignment]
        return Declared(law=EntryDistribution(kind, mean or 0.0, math.sqrt(variance)))
    return Declared(mean=mean, variance=variance)


def _documented(spec: InitializerSpec, shape: tuple[int, ...]) -> Declared:
    arguments = dict(spec.arguments)
    if spec.class_name in FIXED_CLASSES:
        return Declared(
            values=documented_values(spec, shape), constant=spec.class_name in ("Zeros", "Ones", "Constant")
        )
    if spec.class_name == "Orthogonal":
        return Declared(gain=float(arguments.get("gain", 1.0)))
    spread = {"RandomNormal": "stddev", "TruncatedNormal": "stddev"}.get(spec.class_name)
    if spread and arguments.get(spread, 1.0) == 0.0:
        return Declared(constant=True, values=np.full(shape, float(arguments.get("mean", 0.0))))
    try:
        return Declared(law=entry_distribution(spec, shape))
    except TheoryError:
        return Declared()


def default_shapes(target: Target) -> tuple[tuple[int, ...], ...]:
    """Choose shapes: one to five dimensions, fan_in and fan_out differ; only ranks that the documentation allows."""
    name = target.spec.class_name if target.spec is not None else ""
    if name == "Identity":
        return ((20, 20), (30, 45), (45, 30))
    if name == "STFT":
        return ((64, 1, 33), (32, 1, 33))
    every = ((1500,), (200, 350), (3, 100, 60), (3, 3, 32, 56), (2, 2, 3, 24, 60))
    return every[1:] if name == "Orthogonal" else every


def describe(target: Target, expected: Expected) -> str:
    """Say in words by whom the law is declared; empty where it is not."""
    if expected.anything:
        parts = [("--expect-variance", expected.variance), ("--expect-mean", expected.mean)]
        parts.append(("--expect-distribution", expected.distribution))
        return ", ".join(f"{option} {value}" for option, value in parts if value is not None)
    return "" if target.spec is None else f"keras.initializers.{target.spec.label}"


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
    target: Target, drawn: Drawn, declared: dict[Shape, Declared], dtype: str, context: RunContext
) -> Iterator[Judged]:
    """Judge what was drawn.

    Args:
        target: the initializer.
        drawn: for each shape its weights, [draws, *shape].
        declared: for each shape what is declared of it.
        dtype: that was asked for.
        context: of the run.

    Yields:
        Rule, evidence and reason.
    """
    first = next(iter(declared.values()))
    if not first.by_chance:
        yield from _judge_values(drawn, declared, dtype)
        return
    if first.gain is not None:
        yield from _judge_orthogonal(target, drawn, declared, dtype, context)
        return
    lawful = all(each.law is not None for each in declared.values())
    kept = {shape: keep(target, shape, dtype, drawn[shape], declared[shape].law) for shape in drawn}
    members = tuple(kept.values())
    if lawful:
        fits = True
        for rule, evidence, told in _judge_law(members, context):
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
        evidence = NoDifference("statistic")(context.measure(Independence(parts, between)))
        yield rule, evidence, evidence.reason


def _margin(term: float, entries: int, members: int) -> float:
    """Take the margin that a true law keeps to with these many entries: see ``size_of_equivalence``."""
    reach = float(stats.norm.isf(MISS_RATE / members) + stats.norm.isf(CLAIM_FALSE_ALARM / (2 * members)))
    return min(max(MARGIN, reach * math.sqrt(term / entries)), LARGEST_MARGIN)


def _judge_law(members: tuple[Kept, ...], context: RunContext) -> Iterator[Judged]:
    fewest = min(each.entries for each in members)
    mean, variance = _margin(1.0, fewest, len(members)), _margin(2.0, fewest, len(members))
    evidence = EstimateWithin("mean over the declared one, in standard deviations", -mean, mean)(
        context.measure(Moments(members, "mean"))
    )
    yield "mean", evidence, evidence.reason
    evidence = EstimateWithin("variance over its declared value", 1.0 - variance, 1.0 + variance)(
        context.measure(Moments(members, "variance"))
    )
    yield "variance", evidence, evidence.reason
    evidence = NoDifference("extreme entry, over the end of the support")(context.measure(Extremes(members)))
    yield "support", evidence, evidence.reason
    evidence = NoDifference("largest distance between distribution functions", largest_detectable=0.06)(
        context.measure(Fit(members))
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
    target: Target, drawn: Drawn, declared: dict[Shape, Declared], dtype: str, context: RunContext
) -> Iterator[Judged]:
    if dtype not in ("float32", "float64"):
        told = f"Orthogonality is judged in float32 and float64 only. Asked for: {dtype}."
        yield "orthogonal", Evidence(Verdict.INCONCLUSIVE, told, "entry of Q'Q - I", math.nan), told
        return
    tables = []
    for shape, weights in drawn.items():
        kept = keep(target, shape, dtype, weights, None)
        held = Kept(kept.subject, shape, len(weights), dtype, "", "orthogonal", weights)
        tables.append(context.measure(Orthonormality((held,), float(declared[shape].gain or 1.0))))
    evidence = AllWithin("entry of Q'Q - I", "weights")(pd.concat(tables, ignore_index=True))
    yield "orthogonal", evidence, evidence.reason
