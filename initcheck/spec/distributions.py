"""The documented distribution of one entry of a drawn weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from initcheck.core.errors import UsageError, name_unknown
from initcheck.models.initializers import InitializerSpec
from initcheck.theory.weights import weight_distribution

Kind = Literal["normal", "truncated_normal", "uniform"]

KINDS: Final[tuple[Kind, ...]] = ("normal", "truncated_normal", "uniform")
CUT: Final = 2.0
"""Keras redraws a truncated normal's values beyond two standard deviations of the normal."""


_SCALE: Final = 1.0 / float(stats.truncnorm(-CUT, CUT).std())
"""Standard deviation of the normal that is cut, over that of what is left."""


@cache
def _standard(kind: Kind) -> Any:
    """Give the frozen distribution of (w - mean) / sd."""
    if kind == "normal":
        return stats.norm()
    if kind == "uniform":
        return stats.uniform(-math.sqrt(3.0), 2.0 * math.sqrt(3.0))
    if kind == "truncated_normal":
        return stats.truncnorm(-CUT, CUT, scale=_SCALE)
    raise name_unknown("distribution", kind, KINDS)


@dataclass(frozen=True)
class EntryDistribution:
    """The distribution of one entry."""

    kind: Kind
    mean: float
    standard_deviation: float

    @property
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value possible; infinite for the normal."""
        low, high = _standard(self.kind).support()
        return self.mean + self.standard_deviation * float(low), self.mean + self.standard_deviation * float(high)

    def moment(self, order: int) -> float:
        """Give E((w - mean) / sd)^order."""
        return _moment(self.kind, order)

    def largest(self, probability: float, count: int) -> float:
        """Give the value that the largest of so many entries stays below with a probability, in standard deviations."""
        # F(x)^count = probability; the survival function keeps the digits that F close to 1 has not.
        return float(_standard(self.kind).isf(-math.expm1(math.log(probability) / count)))

    def standardize(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Give (w - mean) / sd in float64."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.standard_deviation

    def cdf(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Give P(W <= w) for each value."""
        x = self.standardize(values)
        if self.kind == "uniform":
            return np.clip(0.5 + x / (2.0 * math.sqrt(3.0)), 0.0, 1.0)
        found: NDArray[np.float64]
        if self.kind == "normal":
            found = special.ndtr(x)
            return found
        # As scipy's truncnorm, and many times as fast.
        below = float(special.ndtr(-CUT))
        found = special.ndtr(np.clip(x / _SCALE, -CUT, CUT)) - below
        return found / (1.0 - 2.0 * below)


@cache
def _moment(kind: Kind, order: int) -> float:
    return float(_standard(kind).moment(order))


def entry_distribution(spec: InitializerSpec, shape: tuple[int, ...]) -> EntryDistribution:
    """Look up what Keras documents of the entries of a weight.

    Fans as in :func:`initcheck.theory.weights.weight_distribution`. A mean other than zero, which
    mean-field theory refuses, is taken from the arguments.
    """
    arguments = dict(spec.arguments)
    mean = 0.0
    if spec.class_name == "RandomUniform":
        low, high = float(arguments.get("minval", -0.05)), float(arguments.get("maxval", 0.05))
        mean, half = (low + high) / 2.0, (high - low) / 2.0
        arguments |= {"minval": -half, "maxval": half}
    elif spec.class_name in ("RandomNormal", "TruncatedNormal"):
        mean = float(arguments.pop("mean", 0.0))
    weights = weight_distribution(InitializerSpec(spec.class_name, tuple(arguments.items())), shape)
    if weights.distribution == "orthogonal":
        raise UsageError(f"The entries of an orthogonal matrix have no distribution of their own: {spec.label}.")
    return EntryDistribution(weights.distribution, mean, math.sqrt(weights.variance))
