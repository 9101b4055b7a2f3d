"""Predictions for a simulated study: the law that ``simulated_study`` draws from, worked out and not estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats
from simulated_study import ACTIVATIONS, INITIALIZERS

from initcheck.study.record import StudyRecord

FINITE_WIDTH = "finite width"
MEAN_FIELD = "mean field"
NO_CHANCE = (
    "{0} leaves nothing to chance, and mean field averages over random weights: all its units are alike. "
    "Received: {0}. Use an initializer that draws its weights, such as HeNormal."
)

Law = dict[str, tuple[float, bool]]


def predict_study(
    study: StudyRecord,
    *,
    error: float = 1.0,
    bases: Mapping[str, str] | None = None,
) -> StudyRecord:
    """Fill the predicted columns of a simulated study, each gain times ``error``.

    With a basis other than finite width there are no standard deviations; one that does not begin with "mean field"
    is a reason why there are no predictions.
    """
    laws = dict.fromkeys(study.summary["initializer"], (2.0, False)) | INITIALIZERS
    bases = bases or {}
    table, summary = study.table.copy(), study.summary.copy()
    rows = [_predict_pair(row, laws, error, bases) for row in summary.to_dict("records")]
    summary = summary.assign(**pd.DataFrame(rows, index=summary.index))
    keys = ["network", "initializer", "activation"]
    parts = []
    for key, group in table.groupby(keys, sort=False):
        parts.append(group.assign(**_predict_sites(group, laws[str(key[1])], str(key[2]), error, bases)))
    types = {name: study.table[name].dtype for name in study.table.columns}
    types_of_summary = {name: study.summary[name].dtype for name in study.summary.columns}
    return replace(
        study,
        table=pd.concat(parts)[list(types)].astype(types),
        summary=summary[list(types_of_summary)].astype(types_of_summary),
    )


def drifts(scale: float, activation: str) -> np.ndarray:
    """Give the logarithms of the gains, forward and backward, that the simulation draws with."""
    forward, backward, bounded = ACTIVATIONS.get(activation, (0.5, 0.5, False))
    drift = np.log(scale) + np.log([forward, backward])
    if bounded and scale > 2.0:
        drift[0] = 0.0
    return drift


def _basis(initializer: str, symmetric: bool, activation: str, bases: Mapping[str, str]) -> str:
    return NO_CHANCE.format(initializer) if symmetric else bases.get(activation, FINITE_WIDTH)


def _predict_pair(row: Mapping[str, object], laws: Law, error: float, bases: Mapping[str, str]) -> dict[str, object]:
    initializer, activation = str(row["initializer"]), str(row["activation"])
    scale, symmetric = laws[initializer]
    basis = _basis(initializer, symmetric, activation, bases)
    found: dict[str, object] = {"prediction": basis}
    if not basis.startswith((FINITE_WIDTH, MEAN_FIELD)):
        return found
    variance, steps = 5.0 / float(row["width"]), int(row["depth"]) - 1  # type: ignore[arg-type]
    for direction, drift in zip(("forward", "backward"), drifts(scale, activation), strict=True):
        gain = error * float(np.exp(drift))
        found[f"textbook_{direction}_gain"] = gain
        if basis.startswith(MEAN_FIELD) or steps == 0:
            continue
        spread = gain * float(np.sqrt(np.expm1(variance) / steps))
        found[f"predicted_{direction}_gain"] = gain
        found[f"predicted_{direction}_gain_sd"] = spread
        value, high, seeds = (row[name] for name in (f"{direction}_gain", f"{direction}_gain_high", "seeds"))
        if pd.isna(high):
            continue
        freedom = int(seeds) - 1  # type: ignore[call-overload]
        standard_error = (float(high) - float(value)) / stats.t.ppf(0.975, freedom)  # type: ignore[arg-type]
        t = (float(value) - gain) / standard_error  # type: ignore[arg-type]
        z = float(stats.norm.isf(stats.t.sf(abs(t), freedom)))
        found[f"{direction}_gain_z"] = z if t > 0.0 else -z
    return found


def _predict_sites(
    group: pd.DataFrame, law: tuple[float, bool], activation: str, error: float, bases: Mapping[str, str]
) -> dict[str, object]:
    scale, symmetric = law
    basis = _basis(str(group["initializer"].iloc[0]), symmetric, activation, bases)
    found: dict[str, object] = {"prediction": basis}
    if not basis.startswith((FINITE_WIDTH, MEAN_FIELD)):
        return found
    width, depth = float(group["width"].iloc[0]), int(group["depth"].iloc[0])
    forward, backward = drifts(scale, activation) + np.log(error)
    layer = group["position"].to_numpy(dtype=float)
    steps = {"forward": layer, "backward": depth - layer + 1.0}
    q = scale * np.exp((layer - 1.0) * forward)
    g = np.exp(steps["backward"] * backward)
    variance = {direction: count * 5.0 / width for direction, count in steps.items()}
    # The norm is a square root: half the logarithm, and by Jensen a mean below the root of the mean.
    norm = np.sqrt(width * g) * np.exp(-variance["backward"] / 8.0)
    means = {
        "preactivation_second_moment": (q, variance["forward"]),
        "activation_second_moment": (q / 2.0, variance["forward"]),
        "gradient_second_moment": (g, variance["backward"]),
        "gradient_norm": (norm, variance["backward"] / 4.0),
    }
    for name, (mean, spread) in means.items():
        found[f"predicted_{name}"] = mean
        if basis.startswith(FINITE_WIDTH):
            found[f"predicted_{name}_sd"] = mean * np.sqrt(np.expm1(spread))
    return found
