"""From the measurement table to levels: second moments or squared gradient norms along layers, by seed.

``check`` takes them along a path of the model's graph (:func:`levels_along`), ``report`` and ``sweep`` along the hidden
layers of a reference network (:func:`trace_networks`). There all gaps are found: a layer that one seed lacks, a column
or a key that is missing, a layer called twice is an error that names it, since a gap that is skipped would read as
health.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.paths import SignalPath, SiteNode
from initcheck.core import columns
from initcheck.core.columns import Direction
from initcheck.core.errors import UsageError, name_unknown

GROUP_KEYS: Final = tuple(column.name for column in columns.KEY_COLUMNS if column.name != "seed")

NULLABLE_KEYS: Final = ("depth", "width")
"""Keys that need not apply: a network whose layers differ in width has no one width."""

_QUANTITIES: Final = (
    "preactivation_second_moment",
    "activation_second_moment",
    "activation_batch_variance",
    "gradient_norm",
    "weight_gradient_norm",
    "weight_variance",
    "nonfinite_fraction",
    "dead_fraction",
    "saturated_fraction",
)
_SITE: Final = ("layer", "call", "position")

_OVERFLOW_TRACES: Final = (
    "preactivation_second_moment",
    "activation_second_moment",
    "gradient_norm",
    "weight_gradient_norm",
)

_FEWEST_WITH_HEAD: Final = 3

_Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SignalLevels:
    """What is followed along layers in one direction.

    Attributes:
        squares: shape [seeds, layers], in that direction. Forward q, the second moment of the pre-activation where the
            layer has one, else of its output; backward g, the squared norm of one sample's dL/dz (or dL/dh).
        counted: shape [layers - 1]: whether the change from this layer to the next says something of initialization.
    """

    direction: Direction
    layers: tuple[str, ...]
    positions: tuple[int, ...]
    squares: NDArray[np.float64]
    counted: NDArray[np.bool_]

    @cached_property
    def logs(self) -> NDArray[np.float64]:
        """The logarithm of the squares: -inf for 0, NaN for what is undefined."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.squares), dtype=np.float64)

    @cached_property
    def total_logs(self) -> NDArray[np.float64]:
        """The change over all layers that count, in nats, shape [seeds]."""
        with np.errstate(invalid="ignore"):  # -inf minus -inf: between two layers of no signal there is no change
            return np.asarray(np.diff(self.logs, axis=1)[:, self.counted].sum(axis=1), dtype=np.float64)

    @property
    def last_counted(self) -> int:
        """Index of the last layer that counts."""
        counted = np.flatnonzero(self.counted)
        return int(counted[-1]) + 1 if counted.size else len(self.layers) - 1

    @property
    def share_of_dead_seeds(self) -> float:
        """Share of seeds in which the signal is exactly zero somewhere."""
        return float(np.isneginf(self.logs).any(axis=1).mean())


def levels_along(
    table: pd.DataFrame, nodes: Sequence[SiteNode], path: SignalPath, direction: Direction
) -> SignalLevels:
    """Take the levels along a path of a model.

    Changes across an average over positions do not count, nor does the last layer with weights, the head: what stands
    before it often averages, and its scale is a choice of its own. Backward it is left out.
    """
    kept, counted = list(path.positions), [not each for each in path.averaged]
    has_head = path.is_main and len(kept) >= _FEWEST_WITH_HEAD
    if has_head and direction == "forward":
        counted[-1] = False
    elif has_head:
        kept, counted = kept[:-1], counted[:-1]
    squares = second_moments(table) if direction == "forward" else table["gradient_norm"].astype(float) ** 2
    by_site = pd.Series(squares.to_numpy(dtype=float, na_value=np.nan), index=[table["seed"], table["position"]])
    matrix = by_site.unstack("position").reindex(columns=kept).to_numpy(dtype=np.float64)
    if direction == "backward":
        matrix, kept, counted = matrix[:, ::-1], kept[::-1], counted[::-1]
    layers = tuple(nodes[position].layer for position in kept)
    return SignalLevels(direction, layers, tuple(kept), matrix, np.asarray(counted, dtype=np.bool_))


def second_moments(table: pd.DataFrame) -> pd.Series:
    """Take the second moment of each site's pre-activation, or of its output where it has none."""
    return table["preactivation_second_moment"].fillna(table["activation_second_moment"])


@dataclass(frozen=True, eq=False)
class NetworkLevels:
    """One network x initializer x activation, along its hidden layers.

    Attributes:
        forward: q; ``inf`` marks overflow, NaN no measurement.
        symmetric: whether all hidden kernels are constant; None without kernels, or where one was not measured.
    """

    keys: Mapping[str, object]
    seeds: int
    forward: SignalLevels
    backward: SignalLevels
    batch_variance_share: NDArray[np.float64]
    dead_fraction: NDArray[np.float64]
    saturated_fraction: NDArray[np.float64]
    nonfinite_from_position: int | None
    symmetric: bool | None


def trace_networks(table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> Iterator[NetworkLevels]:
    """Follow the signal through every network x initializer x activation of a measurement table."""
    _check_columns(table)
    if len(table) == 0:
        return
    sites = _Sites(table, signal_layers)
    groups = table.groupby(list(GROUP_KEYS), sort=True, dropna=False).ngroup().to_numpy(dtype=np.intp)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    keys = table[list(GROUP_KEYS)].iloc[order[starts]].to_dict("records")
    for group_keys, rows in zip(keys, np.split(order, starts[1:]), strict=True):
        yield sites.trace(rows, {str(name): value for name, value in group_keys.items()})


def _check_columns(table: pd.DataFrame) -> None:
    needed = (*GROUP_KEYS, "seed", *_SITE, *_QUANTITIES)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise UsageError(f"the measurement table lacks the columns {', '.join(missing)}. Measure it again.")
    for name in (*GROUP_KEYS, "seed", *_SITE):
        if name not in NULLABLE_KEYS and bool(table[name].isna().any()):
            count = int(table[name].isna().sum())
            raise UsageError(f"the measurement table has {count} rows without {name!r}: every row needs its key.")


class _Sites:
    """The table's columns as arrays, and the hidden layers among its rows."""

    def __init__(self, table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> None:
        self._quantity: dict[str, NDArray[np.float64]] = {
            name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _QUANTITIES
        }
        self._seed = table["seed"].to_numpy(dtype=np.int64)
        self._call = table["call"].to_numpy(dtype=np.int64)
        self._position = table["position"].to_numpy(dtype=np.int64)
        self._signal_layers = signal_layers
        self._place = _place_on_path(table, signal_layers)
        infinite = np.logical_or.reduce([np.isinf(self._quantity[name]) for name in _OVERFLOW_TRACES])
        self._nonfinite = self._quantity["nonfinite_fraction"] > 0.0
        self._overflowed = self._nonfinite | infinite

    def trace(self, rows: _Rows, keys: Mapping[str, object]) -> NetworkLevels:
        seeds, seed_index = np.unique(self._seed[rows], return_inverse=True)
        path = self._arrange(rows, seed_index, seeds, keys)
        overflowed = np.zeros(len(seeds), dtype=np.bool_)
        np.logical_or.at(overflowed, seed_index, self._overflowed[rows])
        last = path[:, -1]
        nonfinite = self._position[rows[self._nonfinite[rows]]]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self._quantity["activation_batch_variance"][last] / self._quantity["activation_second_moment"][last]
        layers = tuple(self._signal_layers[str(keys["network"])])
        positions = tuple(int(each) for each in self._position[path[0]])
        counted = np.ones(len(layers) - 1, dtype=np.bool_)
        forward = _mark_overflow(self._follow_signal(path), overflowed)
        backward = _mark_overflow(np.square(self._quantity["gradient_norm"][path]), overflowed)
        return NetworkLevels(
            keys=keys,
            seeds=len(seeds),
            forward=SignalLevels("forward", layers, positions, forward, counted),
            backward=SignalLevels("backward", layers[::-1], positions[::-1], backward[:, ::-1], counted),
            batch_variance_share=share,
            dead_fraction=self._quantity["dead_fraction"][last],
            saturated_fraction=self._quantity["saturated_fraction"][last],
            nonfinite_from_position=int(nonfinite.min()) if nonfinite.size else None,
            symmetric=self._find_symmetry(rows, path),
        )

    def _arrange(
        self, rows: _Rows, seed_index: NDArray[np.intp], seeds: NDArray[np.int64], keys: Mapping[str, object]
    ) -> _Rows:
        """Arrange the path's rows as [seeds, layers]."""
        layers = self._signal_layers[str(keys["network"])]
        where = ", ".join(f"{name}={keys[name]}" for name in ("network", "initializer", "activation"))
        place = self._place[rows]
        on_path = place >= 0
        repeated = on_path & (self._call[rows] > 0)
        if repeated.any():
            layer = layers[place[repeated][0]]
            raise UsageError(
                f"signal layer {layer!r} is called more than once ({where}): a path needs layers called once."
            )
        path = np.full((len(seeds), len(layers)), -1, dtype=np.intp)
        path[seed_index[on_path], place[on_path]] = rows[on_path]
        if int(on_path.sum()) != int((path >= 0).sum()):
            raise UsageError(f"a layer has two rows for one seed ({where}): join tables without repeating seeds.")
        for seed, layer in np.argwhere(path < 0)[:1]:
            raise UsageError(
                f"signal layer {layers[layer]!r} is not measured for seed {seeds[seed]} ({where}): "
                "measure all seeds, or leave the incomplete seed out."
            )
        if not (np.diff(self._position[path], axis=1) > 0).all():
            raise UsageError(f"signal_layers are not in the order of execution ({where}). Received: {list(layers)}")
        return path

    def _follow_signal(self, path: _Rows) -> NDArray[np.float64]:
        """Take q: of the pre-activation in layers that have one, else of the output.

        An overflowing layer has null moments. Its output may be finite all the same (tanh of inf is 1), so it must
        not stand in for the pre-activation there.
        """
        before = self._quantity["preactivation_second_moment"][path]
        after = self._quantity["activation_second_moment"][path]
        without = np.isnan(before).all(axis=0) & ~self._nonfinite[path]
        return np.where(without, after, before)

    def _find_symmetry(self, rows: _Rows, path: _Rows) -> bool | None:
        """Find whether all hidden kernels are constant.

        The hidden kernels are those of the signal layers. Where no signal layer has one, as with the Add layers of
        a residual network, they are all kernels of the network but those at the last position that has one: the
        head's initializer is not under test.
        """
        variances = self._quantity["weight_variance"][path]
        variances = variances[:, ~np.isnan(variances).all(axis=0)].ravel()
        if variances.size == 0:
            kernels = rows[~np.isnan(self._quantity["weight_variance"][rows])]
            if kernels.size == 0:
                return None
            positions = self._position[kernels]
            variances = self._quantity["weight_variance"][kernels[positions < positions.max()]]
        if variances.size == 0:
            return None
        if (variances > 0.0).any():
            return False
        return None if np.isnan(variances).any() else True


def _place_on_path(table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> NDArray[np.intp]:
    """Give each row its layer's place among the signal layers of its network; -1 for the others."""
    networks = table["network"].astype(str).to_numpy(dtype=object)
    layers = table["layer"].astype(str).to_numpy(dtype=object)
    place = np.full(len(table), -1, dtype=np.intp)
    for network in sorted(set(networks)):
        if network not in signal_layers:
            raise name_unknown("network in signal_layers", network, signal_layers)
        path = signal_layers[network]
        if isinstance(path, str) or len(path) == 0 or len(set(path)) != len(path):
            raise UsageError(
                f"signal_layers[{network!r}] needs the names of one or more layers, each once. Received: {path!r}"
            )
        rows = np.flatnonzero(networks == network)
        measured = set(layers[rows])
        for layer in path:
            if layer not in measured:
                raise name_unknown(f"signal layer of network {network!r}", layer, measured)
        index = {layer: number for number, layer in enumerate(path)}
        place[rows] = [index.get(layer, -1) for layer in layers[rows]]
    return place


def _mark_overflow(moments: NDArray[np.float64], overflowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mark a null moment that is an overflow as inf; one that was not measured stays NaN.

    The probe leaves the moments of a tensor with inf or NaN null, forward and then backward. Of a seed that shows a
    non-finite value anywhere, a null moment is taken to be one too; else nothing is known of it.
    """
    return np.where(np.isnan(moments) & overflowed[:, np.newaxis], np.inf, moments)
