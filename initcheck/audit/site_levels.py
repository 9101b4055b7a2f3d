"""The level of each measured site: the decimal logarithm of its second moment, or of its squared gradient norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.total_change import second_moments
from initcheck.core.columns import Direction
from initcheck.core.statistics import estimate_mean


@dataclass(frozen=True, eq=False)
class LevelEstimates:
    """The mean level of all sites over draws in one direction, with its 95% interval.

    Attributes:
        sites: their names, in the order of execution; a later call of a layer ends in its number, ``dense#2``.
        middle: -inf where a draw's level is exactly zero, inf where one is not finite, NaN where none was measured.
        low: lower end of the interval.
        high: upper end.
    """

    direction: Direction
    sites: tuple[str, ...]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def name_site(layer: str, call: int) -> str:
    """Name a site by its layer, and by the number of the call unless it is the first."""
    return f"{layer}#{call + 1}" if call else layer


def estimate_levels(table: pd.DataFrame, direction: Direction) -> LevelEstimates:
    """Estimate the levels of all sites of a measurement table."""
    # A norm of 1e-200 has a level, though its square is zero.
    quantity, power = (second_moments(table), 1.0) if direction == "forward" else (table["gradient_norm"], 2.0)
    with np.errstate(divide="ignore"):
        levels = power * np.log10(quantity.to_numpy(dtype=np.float64, na_value=np.nan))
    wide = pd.Series(levels, index=[table["seed"], table["position"]]).unstack("position")
    matrix = wide.sort_index(axis="columns").to_numpy(dtype=np.float64)
    estimates = [estimate_mean(column) for column in matrix.T]
    middle, low, high = (
        np.asarray([getattr(each, name) for each in estimates], dtype=np.float64) for name in ("value", "low", "high")
    )
    if direction == "forward":
        worst = table.groupby("position")["nonfinite_fraction"].max().to_numpy(dtype=np.float64, na_value=0.0)
        middle = np.where(np.isnan(middle) & (worst > 0.0), np.inf, middle)
    first = table.drop_duplicates("position").sort_values("position")
    sites = tuple(name_site(str(layer), call) for layer, call in zip(first["layer"], first["call"], strict=True))
    return LevelEstimates(direction, sites, middle, low, high)
