"""What is estimated at single sites over seeds: levels, and shares of dead units, of values that are not finite, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.paths import SiteNode
from initcheck.audit.total_change import second_moments
from initcheck.core.columns import Direction
from initcheck.core.statistics import Estimate, estimate_mean

_CLIPPING_KINDS: Final = frozenset(
    {"ReLU", "Relu", "Relu6", "HardSigmoid", "HardSilu", "HardShrink", "SoftShrink", "SparsePlus", "SparseSigmoid"}
)
"""Layers and operations that are activation functions themselves, and exactly 0 on a whole interval."""


class SiteTable:
    """The measurement table of one model as one matrix [seeds, sites] a quantity."""

    def __init__(self, table: pd.DataFrame, nodes: Sequence[SiteNode]) -> None:
        self.nodes = nodes
        self._table = table
        self.samples = int(table["batch_size"].iloc[0]) if len(table) else 0

    def __getitem__(self, quantity: str) -> NDArray[np.float64]:
        wide = self._table.pivot(index="seed", columns="position", values=quantity)
        return wide.reindex(columns=range(len(self.nodes))).to_numpy(dtype=np.float64, na_value=np.nan)

    def has(self, quantity: str) -> bool:
        """Whether the quantity was measured at any site."""
        return quantity in self._table and bool(self._table[quantity].notna().any())

    def layers_only(self, quantity: str) -> NDArray[np.float64]:
        """Take a quantity with the model's own inputs left undefined: they are no layers."""
        return np.where([node.kind == "Input" for node in self.nodes], np.nan, self[quantity])


def _nonfinite_shares(sites: SiteTable) -> NDArray[np.float64]:
    """Share of values that are inf or NaN."""
    return sites["nonfinite_fraction"]


def _varying_shares(sites: SiteTable) -> NDArray[np.float64]:
    """Share of the second moment that varies across samples; NaN where there is no signal at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sites["activation_batch_variance"] / sites["activation_second_moment"])


def dead_shares(sites: SiteTable) -> NDArray[np.float64]:
    """Share of units that are zero on the whole batch; NaN where no activation function clips at zero."""
    # Zeros behind a weight of zero are no dead units: what the activation function received must not be all zero.
    alive = _received_by_activations(sites)
    shares = np.where(np.isnan(alive) | (alive > 0.0), sites["dead_fraction"], np.nan)
    fused = ~np.isnan(sites["preactivation_second_moment"]).all(axis=0) & np.asarray(
        [node.clips_at_zero for node in sites.nodes], dtype=bool
    )
    clipping = fused | np.asarray([node.kind in _CLIPPING_KINDS for node in sites.nodes], dtype=bool)
    return np.where(clipping, shares, np.nan)


def _received_by_activations(sites: SiteTable) -> NDArray[np.float64]:
    """Take the second moment of what activation functions receive: fused ones, and those that are layers themselves."""
    received, given = sites["preactivation_second_moment"], sites["activation_second_moment"]
    for position, node in enumerate(sites.nodes):
        if node.kind in _CLIPPING_KINDS and len(node.parents) == 1:
            received[:, position] = given[:, node.parents[0]]
    return received


def saturated_shares(sites: SiteTable) -> NDArray[np.float64]:
    """Share of outputs at the ends of a bounded activation function's range."""
    # An activation cut off at zero (ReLU6) is not saturated where it is zero: that is its other half.
    return np.asarray(sites["saturated_fraction"] - sites["zero_fraction"])


_SHARES: Final[Mapping[str, Callable[[SiteTable], NDArray[np.float64]]]] = {
    "nonfinite": _nonfinite_shares,
    "varying": _varying_shares,
    "dead": dead_shares,
    "saturated": saturated_shares,
}


def estimate_share(share: str, table: pd.DataFrame, nodes: Sequence[SiteNode], layer: str) -> Estimate | None:
    """Estimate a share at one layer, whatever its limit: to compare before and after a change."""
    positions = [position for position, node in enumerate(nodes) if node.layer == layer]
    if not positions:
        return None
    values = _SHARES[share](SiteTable(table, nodes))[:, positions[0]]
    return None if np.isnan(values).any() else estimate_mean(values)


def find_above(shares: NDArray[np.float64], limit: float) -> list[tuple[int, Estimate]]:
    """Find the sites whose share, shape [seeds, sites], has its 95% interval over seeds wholly above a limit."""
    found = []
    for position in range(shares.shape[1]):
        values = shares[:, position]
        if np.isnan(values).any():
            continue
        estimate = estimate_mean(values)
        if (estimate.value if estimate.count == 1 else estimate.low) > limit:
            found.append((position, estimate))
    return found


def find_collapse(sites: SiteTable, positions: Sequence[int], limit: float) -> tuple[int, Estimate] | None:
    """Find from where to the end of a path the varying share is shown to lie below a limit, and the share at the end.

    Nothing is found where that is so from the first site on: then it is the batch that does not vary.
    """
    along = _varying_shares(sites)[:, list(positions)]
    estimates = [estimate_geometric(along[:, place]) for place in range(along.shape[1])]
    first = len(positions)
    while first > 0:
        estimate = estimates[first - 1]
        if not ((estimate.value if estimate.count == 1 else estimate.high) < limit):
            break
        first -= 1
    return None if first in (0, len(positions)) else (first, estimates[-1])


def estimate_geometric(values: NDArray[np.float64]) -> Estimate:
    """Estimate the geometric mean, of what varies by factors; the mean where something is not above 0."""
    if not (values > 0.0).all():
        return estimate_mean(values)
    logs = estimate_mean(np.log(values))
    value = math.exp(logs.value)
    return replace(
        logs,
        value=value,
        low=math.exp(logs.low),
        high=math.exp(logs.high),
        standard_error=logs.standard_error * value,
    )


@dataclass(frozen=True, eq=False)
class LevelEstimates:
    """The mean level of all sites over draws in one direction, with its 95% interval.

    A level is the decimal logarithm of a root mean square, or of the norm of one sample's gradient.

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
    # Of the norm itself: one of 1e-200 has a level, though its square is zero.
    quantity, power = (second_moments(table), 0.5) if direction == "forward" else (table["gradient_norm"], 1.0)
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
