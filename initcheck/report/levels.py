"""From the measurement table to the level of the signal at each layer, over seeds.

A level is the base-10 logarithm of what the verdicts follow: the second moment of z going forward, the squared norm of
one sample's dL/dz going backward. Minus infinity (the signal is exactly zero) and plus infinity
(it left the range of floating-point numbers) are levels like others: quantiles over seeds take them as the smallest and
largest value. A level is NaN only where it was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from initcheck.audit.signal_path import trace_signal_paths

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

Direction = Literal["forward", "backward"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("forward", "backward")

_MIDDLE: Final = 0.5
BAND: Final = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class Levels:
    """The level at each hidden layer of one pair, over seeds.

    Attributes:
        network: name of the network.
        initializer: name of the initializer.
        activation: name of the activation function.
        direction: ``forward`` for the pre-activations, ``backward`` for their gradients.
        middle: the median over seeds at each layer, input side first.
        low: the 10 % quantile; like the median, the level of one of the seeds.
        high: the 90 % quantile.
    """

    network: str
    initializer: str
    activation: str
    direction: Direction
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def measure_levels(table: DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> tuple[Levels, ...]:
    """Reduce a measurement table to levels.

    Args:
        table: a measurement table.
        signal_layers: by network, its hidden layers, input side first.

    Returns:
        The levels of each network, initializer, activation and direction.
    """
    found = []
    for path in trace_signal_paths(table, signal_layers):
        moments: dict[Direction, NDArray[np.float64]] = {"forward": path.forward, "backward": path.backward}
        network, initializer, activation = (str(path.keys[key]) for key in ("network", "initializer", "activation"))
        for direction in DIRECTIONS:
            with np.errstate(divide="ignore"):  # the logarithm of an exact zero is a level
                level = np.log10(moments[direction])
            middle, low, high = _quantiles(level)
            found.append(Levels(network, initializer, activation, direction, middle, low, high))
    return tuple(found)


def say_level(level: float) -> str:
    """Say a level in words: a power of ten, or the state that has none."""
    if np.isnan(level):
        return "not measured"
    if np.isinf(level):
        return "not finite" if level > 0 else "exactly 0"
    return f"10^{level:.1f}"


def _quantiles(level: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Give median and band over the seeds; quantiles are observed values, because infinities cannot be interpolated."""
    ordered = np.sort(level, axis=0)  # NaN goes last
    known = np.sum(~np.isnan(level), axis=0)
    results = []
    for share in (_MIDDLE, *BAND):
        position = np.clip(np.ceil(share * known).astype(np.intp) - 1, 0, None)
        results.append(np.where(known > 0, ordered[position, np.arange(level.shape[1])], np.nan))
    return tuple(results)
