"""What an initializer is declared to draw, and the rules that compare what it draws with that.

The user's options declare it, or the documentation of the class. The experiments and decisions are those of the
specification, on as many entries as were drawn.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec.claim import EstimateRow, Evidence, ExactRow, RunContext, Verdict, make_table
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, MISS_RATE, AllWithin, EstimateWithin, NoDifference
from initcheck.spec.subjects import (
    EPSILON,
    Draws,
    EntryDistribution,
    Kind,
    Subject,
    documented_values,
    entry_distribution,
)
from initcheck.spec.topics.distribution import BITS, SHAPES
from initcheck.spec.topics.entries import Between, Extremes, Fit, Independence, Moments, Repeats
from initcheck.spec.topics.orthogonality import Haar, Orthonormality
from initcheck.theory.weights import count_fans
from initcheck.verify.target import Shape, VerifyTarget

Drawn = dict[Shape, NDArray[Any]]
"""Weights by shape: [draws, *shape]."""

RuleStatus = Literal["pass", "fail", "inconclusive", "not declared"]

MARGIN: Final = 0.03
"""Of a mean in standard deviations, and of a variance over its declared value, where there are entries enough."""

_FEWEST_FOR_RESOLUTION: Final = 30_000
"""Entries: of fewer, hardly any pair is equal by chance."""

LARGEST_MARGIN: Final = 0.1
"""Of what is passed at most; with fewer entries a rule is inconclusive."""

_STATUS: Final[dict[Verdict, RuleStatus]] = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "inconclusive",
}
_RULES: Final[tuple[tuple[str, Between], ...]] = (
    ("independence_within_rows", "columns"),
    ("independence_within_columns", "rows"),
    ("independence_across_draws", "draws"),
    ("independence_of_neighbours", "order"),
)


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
class Declaration:
    """What holds of one shape by declaration; None where nothing is declared.

    Attributes:
        gain: of an orthogonal matrix; infinite where it may have any.
    """

    distribution: EntryDistribution | None = None
    mean: float | None = None
    variance: float | None = None
    gain: float | None = None
    values: NDArray[np.float64] | None = None
    constant: bool = False

    @property
    def by_chance(self) -> bool:
        """Whether different seeds should give different values."""
        return self.values is None and not self.constant


def declare(target: VerifyTarget, expected: Expected, shape: Shape) -> Declaration:
    """Work out what is declared of one shape; a UsageError where what is expected cannot be."""
    if not expected.anything:
        return Declaration() if target.spec is None else _documented(target.spec, shape)
    mean = None if expected.mean is None else evaluate_formula(expected.mean, shape, "--expect-mean")
    variance = None if expected.variance is None else evaluate_formula(expected.variance, shape, "--expect-variance")
    if expected.distribution == "constant":
        if variance:
            raise UsageError(f"Constant weights have the variance 0. Received: --expect-variance {expected.variance}.")
        return Declaration(constant=True, values=None if mean is None else np.full(shape, mean))
    if variance is not None and variance <= 0.0:
        raise UsageError(
            f"--expect-variance must be above 0. Received: {expected.variance!r}, {variance:g} at {shape}."
        )
    if expected.distribution == "orthogonal":
        longer = max(math.prod(shape[:-1]), shape[-1])
        return Declaration(gain=1.0 if variance is None else math.sqrt(variance * longer))
    if expected.distribution is not None and variance is not None:
        kind: Kind = expected.distribution  # type: ignore[assignment]
        return Declaration(distribution=EntryDistribution(kind, mean or 0.0, math.sqrt(variance)))
    return Declaration(mean=mean, variance=variance)


def _documented(spec: InitializerSpec, shape: Shape) -> Declaration:
    arguments = dict(spec.arguments)
    known = INITIALIZERS.get(spec.class_name)
    if known is not None and known.draw is None:
        return Declaration(values=documented_values(spec, shape), constant=known.equal)
    if spec.class_name == "Orthogonal":
        return Declaration(gain=float(arguments.get("gain", 1.0)))
    if spec.class_name in ("RandomNormal", "TruncatedNormal") and arguments.get("stddev", 1.0) == 0.0:
        return Declaration(constant=True, values=np.full(shape, float(arguments.get("mean", 0.0))))
    try:
        return Declaration(distribution=entry_distribution(spec, shape))
    except TheoryError:
        return Declaration()


def default_shapes(target: VerifyTarget) -> tuple[Shape, ...]:
    """Choose shapes: one to five dimensions, fan_in and fan_out differ; only ranks that the documentation allows."""
    name = target.spec.class_name if target.spec is not None else ""
    if name == "Identity":
        return ((20, 20), (30, 45), (45, 30))
    if name == "STFT":
        return ((64, 1, 33), (32, 1, 33))
    # The matrix first: the usual weight, whose fans differ.
    vector, *others = SHAPES
    return tuple(others) if name == "Orthogonal" else (*others, vector)


def describe_declaration(target: VerifyTarget, expected: Expected) -> str:
    """Say by whom the distribution is declared; empty where it is not."""
    if expected.anything:
        parts = [("--expect-variance", expected.variance), ("--expect-mean", expected.mean)]
        parts.append(("--expect-distribution", expected.distribution))
        return ", ".join(f"{option} {value}" for option, value in parts if value is not None)
    return "" if target.spec is None else f"keras.initializers.{target.spec.label}"


_OPERATIONS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate_formula(text: str, shape: Shape, option: str) -> float:
    """Evaluate a formula of numbers, fan_in, fan_out and fan_avg, such as ``2/fan_in``."""
    fan_in, fan_out = count_fans(shape)
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
class RuleResult:
    """The result of one rule.

    Attributes:
        evidence: the values; None where there are none.
    """

    rule: str
    status: RuleStatus
    reason: str
    evidence: Evidence | None = None


def judge_statistics(
    target: VerifyTarget, drawn: Drawn, declared: dict[Shape, Declaration], dtype: str, context: RunContext
) -> Iterator[RuleResult]:
    """Judge what was drawn by what is declared of each shape."""
    first = next(iter(declared.values()))
    if not first.by_chance:
        yield _judge_values(drawn, declared, dtype)
        return
    if first.gain is not None:
        yield _judge_orthogonal(target, drawn, declared, dtype, context)
        return
    members = tuple(record_draws(target, shape, dtype, drawn[shape], declared[shape].distribution) for shape in drawn)
    if all(each.distribution is not None for each in declared.values()):
        yield from _judge_distribution(members, context)
    else:
        yield from _judge_moments(drawn, declared)
    for rule, between in _RULES:
        # A single entry has no neighbour, and of a single row or column there is no other.
        matrices = between in ("rows", "columns")
        parts = tuple(
            slice_draws(each, between)
            for each in members
            if (min(math.prod(each.shape[:-1]), each.shape[-1]) if matrices else math.prod(each.shape)) > 1
        )
        if parts:
            yield _result(rule, NoDifference("statistic")(context.measure(Independence(parts, between))))


def _result(rule: str, evidence: Evidence) -> RuleResult:
    return RuleResult(rule, _STATUS[evidence.verdict], evidence.reason, evidence)


def _name(shape: Shape) -> str:
    return f"{shape}".replace(" ", "")


def _margin(term: float, entries: int, members: int) -> float:
    """Take the margin that a true distribution keeps to with these many entries: see ``size_of_equivalence``."""
    reach = float(stats.norm.isf(MISS_RATE / members) + stats.norm.isf(CLAIM_FALSE_ALARM / (2 * members)))
    return min(max(MARGIN, reach * math.sqrt(term / entries)), LARGEST_MARGIN)


def _judge_distribution(members: tuple[RecordedDraws, ...], context: RunContext) -> list[RuleResult]:
    fewest = min(each.entries for each in members)
    mean, variance = _margin(1.0, fewest, len(members)), _margin(2.0, fewest, len(members))
    centred = EstimateWithin("mean over the declared one, in standard deviations", -mean, mean)
    scaled = EstimateWithin("variance over its declared value", 1.0 - variance, 1.0 + variance)
    fine = AllWithin(f"equal pairs, over those of numbers with {BITS} bits", "entries")
    bounded = NoDifference("extreme entry, over the end of the support")
    fitting = NoDifference("largest distance between distribution functions", largest_detectable=0.06)
    results = [
        _result("mean", centred(context.measure(Moments(members, "mean")))),
        _result("variance", scaled(context.measure(Moments(members, "variance")))),
        _result("support", bounded(context.measure(Extremes(members)))),
        _result("distribution", fitting(context.measure(Fit(members)))),
    ]
    if members[0].dtype in ("float32", "float64") and fewest >= _FEWEST_FOR_RESOLUTION:
        results.append(_result("resolution", fine(context.measure(Repeats(members, BITS)))))
    return results


def _judge_moments(drawn: Drawn, declared: dict[Shape, Declaration]) -> Iterator[RuleResult]:
    """Judge mean and variance by the entries' own variance where no distribution is declared; else only report them."""
    rows: dict[str, list[EstimateRow]] = {"mean": [], "variance": []}
    values: dict[str, list[str]] = {"mean": [], "variance": []}
    fewest, term = min(weights.size for weights in drawn.values()), 2.0
    for shape, weights in drawn.items():
        flat = weights.astype(np.float64).ravel()
        mean, variance = float(flat.mean()), float(flat.var())
        kurtosis = float(np.mean((flat - mean) ** 4)) / variance**2
        term = max(term, kurtosis - 1.0)
        wanted_mean, wanted = declared[shape].mean, declared[shape].variance
        sd = math.sqrt(variance if wanted is None else wanted)
        deviation, error = (mean - (wanted_mean or 0.0)) / sd, math.sqrt(variance / flat.size) / sd
        rows["mean"].append(EstimateRow(_name(shape), deviation, error, flat.size))
        over = 1.0 if wanted is None else wanted
        error = variance / over * math.sqrt(max(kurtosis - 1.0, 0.0) / flat.size)
        rows["variance"].append(EstimateRow(_name(shape), variance / over, error, flat.size))
        values["mean"].append(f"{mean:.4g} {_name(shape)}")
        values["variance"].append(f"{variance:.4g} {_name(shape)}")
    one = next(iter(declared.values()))
    for rule, expected, dispersion, centre, quantity in (
        ("mean", one.mean, 1.0, 0.0, "mean minus the declared one, in standard deviations"),
        ("variance", one.variance, term, 1.0, "variance over its declared value"),
    ):
        if expected is None:
            yield RuleResult(rule, "not declared", f"{', '.join(values[rule])}.")
            continue
        margin = _margin(dispersion, fewest, len(drawn))
        yield _result(rule, EstimateWithin(quantity, centre - margin, centre + margin)(make_table(rows[rule])))
    advice = "No distribution is declared. Add --expect-variance and --expect-distribution to judge it."
    yield RuleResult("distribution", "not declared", advice)


def _judge_values(drawn: Drawn, declared: dict[Shape, Declaration], dtype: str) -> RuleResult:
    """Judge weights that leave nothing to chance: the declared values, or all equal."""
    rows = []
    for shape, weights in drawn.items():
        got, wanted = weights[0].astype(np.float64), declared[shape].values
        aim = np.full(shape, got.flat[0]) if wanted is None else wanted
        scale = float(np.abs(aim).max()) or 1.0
        deviation = float(np.abs(got - aim).max()) / scale
        # The phase of a spectrogram's kernels is as large as 2 pi times their length; it is rounded before the cosine.
        terms = 2.0 * math.pi * (shape[0] + 1) if len(shape) == 3 and not declared[shape].constant else 2.0
        rows.append(ExactRow(_name(shape), deviation, terms * EPSILON[dtype], weights.size))
    return _result("values", AllWithin("difference from the declared values", "weights")(make_table(rows)))


def _judge_orthogonal(
    target: VerifyTarget, drawn: Drawn, declared: dict[Shape, Declaration], dtype: str, context: RunContext
) -> RuleResult:
    quantity = "entry of Q'Q - I"
    if dtype not in ("float32", "float64"):
        reason = f"Orthogonality is judged in float32 and float64 only. Asked for: {dtype}."
        return _result("orthogonal", Evidence(Verdict.INCONCLUSIVE, reason, quantity, math.nan))
    rows: list[ExactRow] = []
    for shape, weights in drawn.items():
        member = RecordedDraws(Subject("verified", target), shape, len(weights), dtype, "", "orthogonal", weights)
        rows += Orthonormality((member,), float(declared[shape].gain or 1.0)).measure(context)
    return _result("orthogonal", AllWithin(quantity, "weights")(make_table(rows)))


def judge_haar(target: VerifyTarget, drawn: Drawn, gain: float, dtype: str, context: RunContext) -> RuleResult:
    """Judge whether orthogonal matrices, many of each shape, are uniformly distributed."""
    members = tuple(
        RecordedDraws(Subject("verified", target), shape, len(weights), dtype, "", "haar", weights)
        for shape, weights in drawn.items()
    )
    decide = NoDifference("distance from the distribution on the sphere", "weights")
    return _result("haar", decide(context.measure(Haar(members, gain))))


# --- weights that were drawn already, as the specification's experiments take them ------------------------------------

_MOST_VECTORS: Final = 128
_MOST_LENGTH: Final = 512
_MOST_ENTRIES: Final = 2**19
_FEWEST_ENTRIES: Final = 2**14
"""Of rows and columns, in as many draws as that takes: what is tested of a handful has other distributions."""


@dataclass(frozen=True)
class RecordedDraws(Draws):
    """Weights that were drawn already.

    Attributes:
        weights: shape [count, ...].
    """

    part: str = "all"
    weights: NDArray[Any] = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    @property
    def entries(self) -> int:
        """Entries of all that is held."""
        return int(self.weights.size)

    def draw(self, context: RunContext) -> NDArray[Any]:  # noqa: ARG002 - drawn already
        """Give what is held."""
        return self.weights


def record_draws(
    target: VerifyTarget, shape: Shape, dtype: str, weights: NDArray[Any], distribution: EntryDistribution | None
) -> RecordedDraws:
    """Hold drawn weights."""
    return RecordedDraws(Subject("verified", target, distribution), shape, len(weights), dtype, "", "all", weights)


def slice_draws(draws: RecordedDraws, between: Between) -> RecordedDraws:
    """Leave out what would make the tests of independence slow: of large weights, the middle."""
    weights: NDArray[Any] = draws.weights.reshape(len(draws.weights), -1, draws.shape[-1])
    if between == "order":
        weights = weights[: max(1, _MOST_ENTRIES // weights[0].size)]
    elif between == "draws":
        weights = weights[:_MOST_VECTORS].reshape(min(len(weights), _MOST_VECTORS), -1)
        weights = weights[:, : max(2, 2 * _MOST_ENTRIES // len(weights))]
    else:
        # ``rows`` pairs rows, which are as long as there are columns; ``columns`` the other way round.
        rows, columns = (_MOST_VECTORS, _MOST_LENGTH) if between == "rows" else (_MOST_LENGTH, _MOST_VECTORS)
        few = max(4, _FEWEST_ENTRIES // weights[0].size)
        weights = weights[:few][:, _ends(weights.shape[1], rows)][:, :, _ends(weights.shape[2], columns)]
    return RecordedDraws(draws.subject, draws.shape, len(weights), draws.dtype, "", between, weights)


def _ends(size: int, most: int) -> NDArray[np.int64]:
    """Choose the first and the last of many indices."""
    if size <= most:
        return np.arange(size)
    return np.concatenate([np.arange(most // 2), np.arange(size - most // 2, size)])
