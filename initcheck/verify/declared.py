"""What an initializer is declared to draw: by the user's options, or by the documentation of its class."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec.distributions import EntryDistribution, Kind, entry_distribution
from initcheck.spec.topics.fixed_values import documented_values
from initcheck.theory.weights import count_fans
from initcheck.verify.target import Shape, VerifyTarget


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
        return Declaration(law=EntryDistribution(kind, mean or 0.0, math.sqrt(variance)))
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
        return Declaration(law=entry_distribution(spec, shape))
    except TheoryError:
        return Declaration()


def default_shapes(target: VerifyTarget) -> tuple[Shape, ...]:
    """Choose shapes: one to five dimensions, fan_in and fan_out differ; only ranks that the documentation allows."""
    name = target.spec.class_name if target.spec is not None else ""
    if name == "Identity":
        return ((20, 20), (30, 45), (45, 30))
    if name == "STFT":
        return ((64, 1, 33), (32, 1, 33))
    every = ((1500,), (200, 350), (3, 100, 60), (3, 3, 32, 56), (2, 2, 3, 24, 60))
    return every[1:] if name == "Orthogonal" else every


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
