"""Findings about single sites: collapsed samples, dead and saturated units, non-finite values, float16's range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.findings import Finding, Measured
from initcheck.audit.limits import Limits
from initcheck.audit.site_graph import SignalRoute, SiteNode
from initcheck.core.formatting import format_share
from initcheck.core.statistics import Estimate, estimate_mean

_FEWEST_SAMPLES: Final = 8
"""Below this many samples a variance across them says little about the next batch."""

_PRECISION: Final = {
    "activation_overflow_fraction": ("outputs", "exceed float16's largest number, 65504"),
    "activation_underflow_fraction": ("outputs", "are too small for float16 and become zero"),
    "gradient_overflow_fraction": ("gradients", "exceed float16's largest number, 65504"),
    "gradient_underflow_fraction": ("gradients", "are too small for float16 even at a loss scale of 2^15"),
}


def find_site_findings(
    table: pd.DataFrame, nodes: Sequence[SiteNode], routes: Sequence[SignalRoute], limits: Limits
) -> list[Finding]:
    """Judge what is judged site by site.

    A share counts as wrong where its 95% interval over seeds lies wholly above the limit (from one draw: the share
    itself); what is not shown to exceed it is no finding, since a share below the limit needs no proof of health.

    Args:
        table: the measurement table of one model.
        nodes: its sites, by position.
        routes: its routes, the trunk first.
        limits: the limits.
    """
    sites = _Sites(table, nodes)
    findings = [*_nonfinite(sites), *_dead(sites, limits), *_saturated(sites, limits), *_float16(sites, limits)]
    if routes:
        findings += _collapsed(sites, routes[0], limits)
    return findings


class _Sites:
    """The table as one matrix [seeds, sites] a quantity."""

    def __init__(self, table: pd.DataFrame, nodes: Sequence[SiteNode]) -> None:
        self.nodes = nodes
        self._table = table
        self._index = [table["seed"], table["position"]]
        self.samples = int(table["batch_size"].iloc[0]) if len(table) else 0

    def __getitem__(self, quantity: str) -> NDArray[np.float64]:
        values = self._table[quantity].to_numpy(dtype=np.float64, na_value=np.nan)
        wide = pd.Series(values, index=self._index).unstack("position").reindex(columns=range(len(self.nodes)))
        return wide.to_numpy(dtype=np.float64)

    def layers_only(self, quantity: str) -> NDArray[np.float64]:
        """Take a quantity with the model's own inputs left undefined: they are no layers."""
        return np.where([node.kind == "Input" for node in self.nodes], np.nan, self[quantity])

    def has(self, quantity: str) -> bool:
        return quantity in self._table and bool(self._table[quantity].notna().any())


def _nonfinite(sites: _Sites) -> list[Finding]:
    found = _nonfinite_shares(sites)
    bad = np.flatnonzero((found > 0.0).any(axis=0))
    if not bad.size:
        return []
    first = int(bad[0])
    seeds = int((found[:, first] > 0.0).sum())
    layer = sites.nodes[first].layer
    worst = float(found[:, first].max())
    message = (
        f"{layer} is the first of {bad.size} layer calls with inf or NaN: up to {format_share(worst)} of its "
        f"values, in {seeds} of {len(found)} seeds"
    )
    measured = Measured("share of non-finite values, worst seed", worst, limit=0.0, seeds=len(found))
    return [Finding("IC501", layer, message, measured, tuple(sites.nodes[int(p)].layer for p in bad))]


def measure_at(code: str, table: pd.DataFrame, nodes: Sequence[SiteNode], layer: str) -> Estimate | None:
    """Estimate the figure behind a finding at one layer, whatever the limit: to compare before and after a change.

    Args:
        code: IC103, IC303, IC304 or IC501.
        table: the measurement table.
        nodes: its sites.
        layer: path of the layer; of several calls the first is taken.

    Returns:
        The estimate; None for a layer that has no such figure.
    """
    sites = _Sites(table, nodes)
    shares = {"IC103": _varying_shares, "IC303": _dead_shares, "IC304": _saturated_shares, "IC501": _nonfinite_shares}
    positions = [position for position, node in enumerate(nodes) if node.layer == layer]
    if code not in shares or not positions:
        return None
    values = shares[code](sites)[:, positions[0]]
    return None if np.isnan(values).any() else estimate_mean(values)


def _nonfinite_shares(sites: _Sites) -> NDArray[np.float64]:
    return sites["nonfinite_fraction"]


def _varying_shares(sites: _Sites) -> NDArray[np.float64]:
    """Share of the second moment that varies across samples; NaN where there is no signal at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sites["activation_batch_variance"] / sites["activation_second_moment"])


def _dead_shares(sites: _Sites) -> NDArray[np.float64]:
    # Zeros behind a weight of zero are no dead units: what the activation function received must not be all zero.
    alive = sites["preactivation_second_moment"]
    fractions = np.where(np.isnan(alive) | (alive > 0.0), sites["dead_fraction"], np.nan)
    kinds = [node.kind for node in sites.nodes]
    activated = ~np.isnan(alive).all(axis=0) | np.asarray([kind in ACTIVATION_KINDS for kind in kinds], dtype=bool)
    return np.where(activated, fractions, np.nan)


def _saturated_shares(sites: _Sites) -> NDArray[np.float64]:
    # An activation cut off at zero (ReLU6) is not saturated where it is zero: that is its other half.
    return np.asarray(sites["saturated_fraction"] - sites["zero_fraction"])


def _dead(sites: _Sites, limits: Limits) -> list[Finding]:
    chance = 2.0 * 0.5**sites.samples  # of a unit with a symmetric input and independent samples, doubled
    limit = max(limits.dead_fraction, chance)
    told = "units are zero on the whole batch"
    return _share_findings("IC303", _dead_shares(sites), limit, told, sites)


def _saturated(sites: _Sites, limits: Limits) -> list[Finding]:
    told = "outputs lie at the ends of the activation function's range"
    return _share_findings("IC304", _saturated_shares(sites), limits.saturated_fraction, told, sites)


def _float16(sites: _Sites, limits: Limits) -> list[Finding]:
    findings = []
    for quantity, (what, told) in _PRECISION.items():
        if sites.has(quantity):
            findings += _share_findings(
                "IC502", sites.layers_only(quantity), limits.float16_fraction, f"{what} {told}", sites
            )
    return findings


def _share_findings(code: str, fractions: NDArray[np.float64], limit: float, told: str, sites: _Sites) -> list[Finding]:
    """Make one finding of all sites whose share is shown to exceed the limit."""
    offending: list[tuple[int, Estimate]] = []
    for position in range(fractions.shape[1]):
        values = fractions[:, position]
        if np.isnan(values).any():
            continue
        estimate = estimate_mean(values)
        bound = estimate.value if estimate.count == 1 else estimate.low
        if bound > limit:
            offending.append((position, estimate))
    if not offending:
        return []
    position, estimate = offending[0]
    worst_position, worst = max(offending, key=lambda each: each[1].value)
    layers = tuple(dict.fromkeys(sites.nodes[each].layer for each, _ in offending))
    others = f", and so in {len(layers) - 1} more layers" if len(layers) > 1 else ""
    at_worst = (
        f" (at worst {format_share(worst.value)}, in {sites.nodes[worst_position].layer})"
        if worst_position != position
        else ""
    )
    message = f"{format_share(estimate.value)} of the {told} in {layers[0]}{others}{at_worst}"
    measured = Measured(
        f"share of {told}", estimate.value, estimate.low, estimate.high, limit=limit, seeds=estimate.count
    )
    return [Finding(code, layers[0], message, measured, layers)]


def _collapsed(sites: _Sites, trunk: SignalRoute, limits: Limits) -> list[Finding]:
    """Find the layer from which on, to the end of the trunk, the samples of the batch cannot be told apart."""
    positions = list(trunk.positions)
    if len(positions) > 2 and sites.nodes[positions[-1]].weighted:
        positions = positions[:-1]  # the head
    if sites.samples < _FEWEST_SAMPLES or not positions:
        return []
    along = _varying_shares(sites)[:, positions]
    estimates = [_estimate_geometric(along[:, place]) for place in range(along.shape[1])]
    first = len(positions)
    while first > 0 and _upper(estimates[first - 1]) < limits.sample_share:
        first -= 1
    if first in (0, len(positions)):
        return []  # nowhere; or from the very start, where it is the batch that does not vary
    layers = tuple(sites.nodes[position].layer for position in positions[first:])
    last = estimates[-1]
    message = (
        f"from {layers[0]} on, less than {format_share(limits.sample_share)} of the second moment varies across the "
        f"samples; at {layers[-1]} it is {format_share(last.value)}: the network hardly tells its inputs apart"
    )
    measured = Measured(
        f"share that varies across samples, at {layers[-1]}",
        last.value,
        last.low,
        last.high,
        limits.sample_share,
        last.count,
    )
    return [Finding("IC103", layers[0], message, measured, layers)]


def _estimate_geometric(values: NDArray[np.float64]) -> Estimate:
    """Estimate the geometric mean: shares that fall by a factor a layer have a spread by factors."""
    if not (values > 0.0).all():
        return estimate_mean(values)
    logs = estimate_mean(np.log(values))
    return Estimate(
        math.exp(logs.value),
        math.exp(logs.low),
        math.exp(logs.high),
        logs.confidence,
        logs.count,
        logs.standard_error * math.exp(logs.value),
    )


def _upper(estimate: Estimate) -> float:
    return estimate.value if estimate.count == 1 else estimate.high


ACTIVATION_KINDS: Final = frozenset(
    {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu"}
)
"""Kinds of layers and operations that are activation functions."""
