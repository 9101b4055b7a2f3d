"""Defects of drawn weights, for negative controls: each must turn the claims red that it breaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.spec.distributions import EntryDistribution

Weights = NDArray[Any]
"""Shape [draws, *shape of the weight]."""


@dataclass(frozen=True)
class Defect:
    """A change of drawn weights.

    Attributes:
        note: what it does, in words.
        apply: from the weights, the law of their entries and a source of chance to the defective weights.
    """

    note: str
    apply: Callable[[Weights, EntryDistribution, np.random.Generator], Weights]


def _spread(factor: float) -> Callable[[Weights, EntryDistribution, np.random.Generator], Weights]:
    return lambda weights, law, _: law.mean + (weights - law.mean) * factor


def _shift(share: float) -> Callable[[Weights, EntryDistribution, np.random.Generator], Weights]:
    return lambda weights, law, _: weights + share * law.standard_deviation


def _keep_half(weights: Weights, law: EntryDistribution, random: np.random.Generator) -> Weights:
    kept = random.random(weights.shape) < 0.5
    return law.mean + (weights - law.mean) * kept * math.sqrt(2.0)


def _redraw(weights: Weights, law: EntryDistribution, random: np.random.Generator) -> Weights:
    if law.kind == "normal":
        return law.mean + law.standard_deviation * random.uniform(-math.sqrt(3.0), math.sqrt(3.0), weights.shape)
    return law.mean + law.standard_deviation * random.standard_normal(weights.shape)


def _stretch(weights: Weights, law: EntryDistribution, random: np.random.Generator) -> Weights:
    """Put one entry in a thousand beyond the support, or for the normal, cut all at three standard deviations."""
    if law.kind == "normal":
        reach = 3.0 * law.standard_deviation
        return np.clip(weights, law.mean - reach, law.mean + reach)
    return np.where(random.random(weights.shape) < 1e-3, law.mean + 1.5 * (law.support[1] - law.mean), weights)


def _repeat_rows(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    flat = weights.reshape(len(weights), -1, weights.shape[-1]).copy()
    flat[:, 1::7] = flat[:, :-1:7][:, : flat[:, 1::7].shape[1]]
    return flat.reshape(weights.shape)


def _repeat_columns(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    copy = weights.copy()
    copy[..., 1::7] = copy[..., :-1:7][..., : copy[..., 1::7].shape[-1]]
    return copy


def _repeat_draws(weights: Weights, _: EntryDistribution, __: np.random.Generator) -> Weights:
    copy = weights.copy()
    copy[1] = copy[0]
    return copy


def _smooth(weights: Weights, law: EntryDistribution, _: np.random.Generator) -> Weights:
    """Give neighbours a correlation of .05."""
    flat = (weights.reshape(len(weights), -1) - law.mean).copy()
    flat[:, 1:] = 0.05 * flat[:, :-1] + math.sqrt(1.0 - 0.05**2) * flat[:, 1:]
    return law.mean + flat.reshape(weights.shape)


DEFECTS: Final = {
    "variance": Defect("a variance 5% too large", _spread(math.sqrt(1.05))),
    "mean": Defect("a mean off by .05 standard deviations", _shift(0.05)),
    "positive": Defect("values below the mean mirrored above it", lambda w, law, _: law.mean + np.abs(w - law.mean)),
    "half": Defect("half the weights at the mean, with the variance kept", _keep_half),
    "distribution": Defect("another distribution of the same mean and variance", _redraw),
    "support": Defect("values beyond the support, or tails cut off", _stretch),
    "rows": Defect("every seventh row a copy of the one before", _repeat_rows),
    "columns": Defect("every seventh column a copy of the one before", _repeat_columns),
    "draws": Defect("the second seed gives the values of the first", _repeat_draws),
    "order": Defect("a correlation of .05 between neighbours", _smooth),
    "float16": Defect("values rounded through float16", lambda w, _, __: w.astype(np.float16).astype(np.float64)),
}
"""The defects by name."""
