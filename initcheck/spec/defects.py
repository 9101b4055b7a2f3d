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


Change = Callable[[Weights, EntryDistribution, np.random.Generator], Weights]
"""From weights, the documented distribution of an entry, and a source of chance to defective weights."""


@dataclass(frozen=True)
class Defect:
    """A change of drawn weights, and what it does in words."""

    note: str
    apply: Change


def _scale(factor: float) -> Change:
    return lambda weights, entry, _: entry.mean + (weights - entry.mean) * factor


def _shift(share: float) -> Change:
    return lambda weights, entry, _: weights + share * entry.standard_deviation


def _keep_half(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    kept = random.random(weights.shape) < 0.5
    return entry.mean + (weights - entry.mean) * kept * math.sqrt(2.0)


def _redraw(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    if entry.kind == "normal":
        return entry.mean + entry.standard_deviation * random.uniform(-math.sqrt(3.0), math.sqrt(3.0), weights.shape)
    return entry.mean + entry.standard_deviation * random.standard_normal(weights.shape)


def _stretch(weights: Weights, entry: EntryDistribution, random: np.random.Generator) -> Weights:
    """Put one entry in a thousand beyond the support, or for the normal, cut all at three standard deviations."""
    if entry.kind == "normal":
        reach = 3.0 * entry.standard_deviation
        return np.clip(weights, entry.mean - reach, entry.mean + reach)
    return np.where(random.random(weights.shape) < 1e-3, entry.mean + 1.5 * (entry.support[1] - entry.mean), weights)


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


def _smooth(weights: Weights, entry: EntryDistribution, _: np.random.Generator) -> Weights:
    """Give neighbours a correlation of .05."""
    flat = (weights.reshape(len(weights), -1) - entry.mean).copy()
    flat[:, 1:] = 0.05 * flat[:, :-1] + math.sqrt(1.0 - 0.05**2) * flat[:, 1:]
    return entry.mean + flat.reshape(weights.shape)


DEFECTS: Final = {
    "variance": Defect("a variance 5% too large", _scale(math.sqrt(1.05))),
    "mean": Defect("a mean off by .05 standard deviations", _shift(0.05)),
    "positive": Defect(
        "values below the mean mirrored above it", lambda w, entry, _: entry.mean + np.abs(w - entry.mean)
    ),
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
