"""What a prediction of a model is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from initcheck.prediction.passage import Laws
from initcheck.probe.fans import main_kernel
from initcheck.theory.weights import WeightLaw

FINITE_WIDTH: Final = "finite width"
MEAN_FIELD: Final = "mean field"

SiteKey = tuple[str, int]
"""Path of the layer, and number of its call, as in the measurement table."""

LawOf = Callable[[Any], Laws]
"""From a layer to the laws of its weights; raises TheoryError where there is none."""


@dataclass
class SitePrediction:
    """What is predicted of one site.

    Attributes:
        values: by column without ``predicted_``, with ``_sd`` for spreads; missing where nothing is known.
        basis: what it rests on, or why nothing is known.
    """

    values: dict[str, float] = field(default_factory=dict)
    basis: str = MEAN_FIELD


@dataclass(frozen=True)
class GainPrediction:
    """What is predicted of the factor from layer to layer in one direction; NaN where nothing is known."""

    mean: float = math.nan
    standard_deviation: float = math.nan
    textbook: float = math.nan


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """What is predicted of a model.

    Attributes:
        sites: by site.
        gains: by direction, along the layers that were asked for.
        basis: what it rests on, or why nothing is known.
        unknown: by layer, why the prediction had to begin anew behind it.
    """

    sites: Mapping[SiteKey, SitePrediction]
    gains: Mapping[str, GainPrediction]
    basis: str
    unknown: Mapping[str, str]


Measured = Mapping[SiteKey, Mapping[str, float]]
"""Means over seeds of measured quantities, by site; what predictions begin anew from."""


def describe_weights(values: dict[str, float], operation: Any, law: WeightLaw | None) -> None:
    """Add what is known of a kernel's entries.

    The variance of N independent entries has the relative standard deviation sqrt((kurtosis - 1) / N), the norm half of
    it. The norm of an orthogonal kernel is the same in every draw.

    Args:
        values: what is predicted of the site; it is added to.
        operation: the layer.
        law: the law of its kernel, or None.
    """
    kernel = main_kernel(operation) if law is not None else None
    if law is None or kernel is None:
        return
    count = math.prod(kernel.shape)
    spread = 0.0 if law.distribution == "orthogonal" else math.sqrt((law.kurtosis - 1.0) / count)
    values["weight_variance"] = law.variance
    values["weight_variance_sd"] = law.variance * spread
    values["weight_norm"] = math.sqrt(law.variance * count)
    values["weight_norm_sd"] = 0.5 * spread * values["weight_norm"]
