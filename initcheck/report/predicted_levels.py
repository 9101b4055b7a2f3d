"""From the predicted columns of the measurement table to levels: the law that theory gives for each layer.

A level is a base-10 logarithm of the quantity that ``levels.py`` measures. The table holds mean and standard deviation
over seeds, of a log-normal law: with v = ln(1 + (sd / mean)^2) its logarithm has the variance v and its median is
mean / sqrt(1 + (sd / mean)^2). The squared norm of the gradient is the square of ``gradient_norm``, so its logarithm
has twice the spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from initcheck.report.levels import BAND, DIRECTIONS, Direction
from initcheck.report.pairs import shorten_reason

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

_PAIR: Final = ["network", "initializer", "activation"]
_PREACTIVATION: Final = "preactivation_second_moment"
_ACTIVATION: Final = "activation_second_moment"
_GRADIENT: Final = "gradient_norm"
_PREDICTED: Final = tuple(
    f"predicted_{name}{end}" for name in (_PREACTIVATION, _ACTIVATION, _GRADIENT) for end in ("", "_sd")
)


@dataclass(frozen=True, eq=False)
class PredictedLevels:
    """The law of the level at each hidden layer of one pair, as theory gives it.

    Attributes:
        network: name of the network.
        initializer: name of the initializer.
        activation: name of the activation function.
        direction: ``forward`` or ``backward``.
        middle: the median at each layer, input side first; NaN where nothing is predicted.
        low: the 10 % quantile; NaN where the spread is not known.
        high: the 90 % quantile.
        basis: what the predictions rest on, or why there are none; each wording once.
    """

    network: str
    initializer: str
    activation: str
    direction: Direction
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    basis: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether anything is predicted."""
        return not np.isnan(self.middle).all()

    @property
    def has_band(self) -> bool:
        """Whether the spread is predicted anywhere."""
        return not np.isnan(self.low).all()


def predict_levels(table: DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> tuple[PredictedLevels, ...]:
    """Read the predicted levels of every network, initializer, activation and direction of a measurement table.

    Args:
        table: a measurement table. A prediction is the same for all seeds; where it is not, because it begins with a
            measured value, the mean over the seeds is taken.
        signal_layers: by network, its hidden layers, input side first.

    Returns:
        One law each, also where nothing is predicted.
    """
    layers = {(network, layer): place for network, path in signal_layers.items() for place, layer in enumerate(path)}
    place = [layers.get(key, -1) for key in zip(table["network"], table["layer"], strict=True)]
    rows = table.assign(
        place=place,
        without_preactivation=table[_PREACTIVATION].isna(),
        overflow=(table["nonfinite_fraction"] > 0.0).fillna(False),
    )
    rows = rows[(rows["place"] >= 0) & (rows["call"] == 0)]
    columns = {name: rows[name].astype("float64") for name in _PREDICTED}
    grouped = rows.assign(**columns).groupby([*_PAIR, "place"], sort=False, dropna=False)
    means = grouped[list(_PREDICTED)].mean()
    means["takes_activation"] = grouped["without_preactivation"].all() & ~grouped["overflow"].all()
    said = grouped["prediction"].unique()
    found = []
    for key, group in means.groupby(level=_PAIR, sort=False):
        network, initializer, activation = (str(name) for name in key)
        depth = len(signal_layers[network])
        at = group.index.get_level_values("place").to_numpy(dtype=np.intp)
        words = [word for list_ in said.loc[group.index] for word in list_ if isinstance(word, str) and word]
        basis = tuple(dict.fromkeys(shorten_reason(word) for word in words))
        for direction in DIRECTIONS:
            middle, low, high = (_place(part, at, depth) for part in _read_law(group, direction))
            found.append(PredictedLevels(network, initializer, activation, direction, middle, low, high, basis))
    return tuple(found)


def _place(values: NDArray[np.float64], at: NDArray[np.intp], depth: int) -> NDArray[np.float64]:
    """Put values at their layers; the others are NaN."""
    whole = np.full(depth, np.nan)
    whole[at] = values
    return whole


def _read_law(group: DataFrame, direction: Direction) -> tuple[NDArray[np.float64], ...]:
    """Give median and band by layer, as levels."""
    if direction == "backward":
        mean, spread = (group[f"predicted_{_GRADIENT}{end}"].to_numpy(dtype=np.float64) for end in ("", "_sd"))
        return quantile_levels(mean, spread, power=2.0)
    after = group["takes_activation"].to_numpy(dtype=np.bool_)
    mean, spread = (
        np.where(after, group[f"predicted_{_ACTIVATION}{end}"], group[f"predicted_{_PREACTIVATION}{end}"]).astype(
            np.float64
        )
        for end in ("", "_sd")
    )
    return quantile_levels(mean, spread, power=1.0)


def quantile_levels(
    mean: NDArray[np.float64], spread: NDArray[np.float64], power: float
) -> tuple[NDArray[np.float64], ...]:
    """Give the levels of a power of something log-normal: median, 10 % and 90 % quantile.

    Args:
        mean: of the quantity itself.
        spread: its standard deviation; NaN where it is not known, and then the mean stands for the median.
        power: which power of the quantity the levels are of.

    Returns:
        The levels; the band is NaN where the spread is not known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mean > 0.0, spread / mean, 0.0 * spread)
        variance = np.log1p(np.square(ratio))
        middle = power * (np.log(mean) - 0.5 * np.nan_to_num(variance)) / np.log(10.0)
        width = power * np.sqrt(variance) / np.log(10.0)
        return middle, *(middle + stats.norm.ppf(share) * width for share in BAND)
