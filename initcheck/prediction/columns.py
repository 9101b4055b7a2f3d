"""Predictions as columns beside the measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import special, stats

from initcheck.prediction.outcome import GainPrediction, Measured, ModelPrediction, SiteKey
from initcheck.schema import PREDICTED_COLUMNS

RESTART_QUANTITIES = (
    "activation_second_moment",
    "activation_mean",
    "activation_batch_variance",
    "gradient_second_moment",
)
"""What predictions begin anew from, behind layers of which there is no theory."""

SMALLEST_SPREAD = 1e-5
"""Relative spread from seed to seed below which only rounding varies, so that there is no standard error to count in.

Orthogonal weights keep the signal of a linear network exactly; in float32 it varies by about 1e-7 per layer.
"""

Pair = tuple[str, str, str]
"""Network, initializer and activation."""


def average_sites(table: pd.DataFrame) -> Measured:
    """Average what predictions may begin anew from over the seeds.

    Args:
        table: the measurement table of one model.

    Returns:
        By site the means; NaN where a seed has no value.
    """
    columns = {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in RESTART_QUANTITIES}
    rows: dict[SiteKey, list[int]] = {}
    for row, (layer, call) in enumerate(zip(table["layer"].astype(str), table["call"].astype(int), strict=True)):
        rows.setdefault((layer, call), []).append(row)
    return {
        site: {name: float(values[places].mean()) for name, values in columns.items()} for site, places in rows.items()
    }


def add_site_predictions(table: pd.DataFrame, prediction: ModelPrediction) -> pd.DataFrame:
    """Put the predictions beside the measurements of one model.

    Args:
        table: its measurement table.
        prediction: what is predicted of it.

    Returns:
        The table with the columns of ``schema.PREDICTED_COLUMNS`` filled; the other columns are the same objects.
    """
    keys: list[SiteKey] = list(zip(table["layer"].astype(str), table["call"].astype(int), strict=True))
    unique = list(dict.fromkeys(keys))
    place = {key: index for index, key in enumerate(unique)}
    rows = np.asarray([place[key] for key in keys], dtype=np.intp)
    filled = {}
    for column in PREDICTED_COLUMNS:
        if column.name == "prediction":
            words = [_say(prediction, key) for key in unique]
            filled[column.name] = pd.Series(words, dtype="string").array.take(rows)
        else:
            name = column.name.removeprefix("predicted_")
            values = np.asarray(
                [
                    prediction.sites[key].values.get(name, math.nan) if key in prediction.sites else math.nan
                    for key in unique
                ]
            )[rows]
            filled[column.name] = pd.arrays.FloatingArray(values, ~np.isfinite(values))
    return table.assign(**filled)


def _say(prediction: ModelPrediction, key: SiteKey) -> str:
    if key in prediction.sites:
        return prediction.sites[key].basis
    if not prediction.sites:
        return prediction.basis
    return "an input of the model" if key[0].startswith("input") else "not predicted: it is not in the model's graph"


def add_gain_predictions(summary: pd.DataFrame, predictions: Mapping[Pair, ModelPrediction]) -> pd.DataFrame:
    """Put the predicted gains beside the measured ones, and count the difference in standard errors.

    The standard error is that of the measured gain over the seeds, from the half width of its interval. The difference
    in units of it has Student's law of S - 1 degrees of freedom where the prediction holds; it is turned into a normal
    score of the same probability.

    Args:
        summary: the table of ``schema.SUMMARY_COLUMNS``.
        predictions: by pair. Pairs without one are left null, with the reason "no prediction".

    Returns:
        The summary with the columns of theory filled.
    """
    columns: dict[str, list[object]] = {}
    for row in summary.to_dict(orient="records"):
        prediction = predictions.get((str(row["network"]), str(row["initializer"]), str(row["activation"])))
        columns.setdefault("prediction", []).append("no prediction" if prediction is None else prediction.basis)
        for direction in ("forward", "backward"):
            gain = GainPrediction() if prediction is None else prediction.gains[direction]
            measured = [math.nan if pd.isna(row[name]) else float(row[name]) for name in _gain_columns(direction)]
            figures = {
                f"textbook_{direction}_gain": gain.textbook,
                f"predicted_{direction}_gain": gain.mean,
                f"predicted_{direction}_gain_sd": gain.standard_deviation,
                f"{direction}_gain_z": score_difference(measured, int(row["seeds"]), gain),
            }
            for name, value in figures.items():
                columns.setdefault(name, []).append(value if math.isfinite(value) else pd.NA)
    typed = {
        name: pd.Series(values, index=summary.index, dtype=summary[name].dtype) for name, values in columns.items()
    }
    return summary.assign(**typed)


def _gain_columns(direction: str) -> tuple[str, str, str]:
    return f"{direction}_gain", f"{direction}_gain_low", f"{direction}_gain_high"


def score_difference(measured: Sequence[float], seeds: int, predicted: GainPrediction) -> float:
    """Turn the difference between a mean over seeds and its prediction into a standard normal score.

    Args:
        measured: the mean over seeds, and the two ends of its 95 % t interval.
        seeds: number of seeds, S.
        predicted: what theory expects.

    Returns:
        The normal score of t = (mean - expected) / standard error at S - 1 degrees of freedom; NaN where nothing varies
        from seed to seed, or nothing is predicted.
    """
    value, low, high = measured
    expected, spread = predicted.mean, predicted.standard_deviation
    if seeds < 2 or not all(map(math.isfinite, (value, low, high, expected, spread))):
        return math.nan
    error = 0.5 * (high - low) / float(stats.t.ppf(0.975, seeds - 1))
    if not (spread > SMALLEST_SPREAD * abs(expected) and error > 0.0):
        return math.nan
    t = (value - expected) / error
    # By the logarithm of the tail's probability, which does not underflow.
    return math.copysign(-float(special.ndtri_exp(stats.t.logsf(abs(t), seeds - 1))), t)
