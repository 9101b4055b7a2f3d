"""What an initializer is held against: the documentation of its class, or what the user expects of it."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.claims.fixed_values import documented_values
from initcheck.claims.laws import EntryLaw, Kind, entry_law
from initcheck.claims.verification_target import Target, fans_of
from initcheck.errors import TheoryError, UsageError
from initcheck.initializers import InitializerSpec

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

    law: EntryLaw | None = None
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
        return Declared(law=EntryLaw(kind, mean or 0.0, math.sqrt(variance)))
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
        return Declared(law=entry_law(spec, shape))
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
