"""The tables of a study as records: the rows of the summary, and the levels of the signal, measured and predicted.

A level is the decimal logarithm of the size of a signal at one layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas
from scipy import stats

from initcheck.audit.gains import NetworkLevels, average_ratios, measure_gains
from initcheck.audit.limits import INDISTINGUISHABLE_SHARE
from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import exponential
from initcheck.core.statistics import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

_MIDDLE: Final = 0.5
BAND: Final = (0.1, 0.9)
UNJUDGED: Final = "not judged"
FINITE_WIDTH: Final = "finite width"
"""The words of the column ``prediction`` that need no remark."""
UNEXPLAINED: Final = "no prediction was made"
"""The reason where the column ``prediction`` is empty."""
_ADVICE = re.compile(r"(?<=\.) (Received:|Choose|Give|Pass|Take|Use) .*", re.DOTALL)
Outcome = Literal["kept", "uniform", "vanishes", "explodes", "symmetric", "dead", "undecided"]
_PAIR: Final = ["network", "initializer", "activation"]
_PREACTIVATION: Final = "preactivation_second_moment"
_ACTIVATION: Final = "activation_second_moment"
_GRADIENT: Final = "gradient_norm"
_PREDICTED: Final = tuple(
    f"predicted_{name}{end}" for name in (_PREACTIVATION, _ACTIVATION, _GRADIENT) for end in ("", "_sd")
)


@dataclass(frozen=True, eq=False)
class LevelSummary:
    """The level at each hidden layer of one pair over seeds, input side first: median, 10% and 90% quantile."""

    network: str
    initializer: str
    activation: str
    direction: Direction
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def is_known(self) -> bool:
        """Whether there is any level."""
        return not np.isnan(self.middle).all()

    @property
    def ends(self) -> tuple[float, float]:
        """The median where the signal enters and where it leaves."""
        first, last = float(self.middle[0]), float(self.middle[-1])
        return (first, last) if self.direction == "forward" else (last, first)


@dataclass(frozen=True)
class DirectionSummary:
    """What happens to the signal in one direction. Numbers are NaN where the summary has none.

    Attributes:
        gain: arithmetic mean of the layers' factors, as textbooks speak of it.
        geometric: geometric mean of them, which over all layers gives what was measured.
        settled: geometric mean over the deeper half of the network, which the verdict is about.
    """

    gain: float
    low: float
    high: float
    geometric: float
    geometric_low: float
    geometric_high: float
    settled: float
    steps: int
    layers_until_thousandth: float
    thousandfold_change: str
    verdict: str
    textbook: float
    predicted: float
    predicted_sd: float
    z: float


@dataclass(frozen=True)
class SummaryRow:
    """One row of the summary.

    Attributes:
        symmetric: all units of a layer are alike, or None where that is not known.
        prediction: what the predictions rest on, or why there are none; empty where the summary says nothing.
        twins: other initializers that were measured on the same weights.
    """

    network: str
    initializer: str
    activation: str
    seeds: int
    by_direction: Mapping[Direction, DirectionSummary]
    batch_variance_share: float
    dead_fraction: float
    saturated_fraction: float
    nonfinite_from: int | None
    symmetric: bool | None
    verdict: str
    prediction: str
    twins: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All initializers that this was measured of."""
        return (self.initializer, *self.twins)

    @property
    def label(self) -> str:
        """The name of the initializer, and of how many more this is the measurement."""
        return f"{self.initializer} +{len(self.twins)}" if self.twins else self.initializer

    @property
    def keeps_size(self) -> bool:
        """Whether the size of the signal is shown to be kept in both directions."""
        return all(summary.verdict == "preserves" for summary in self.by_direction.values())

    @property
    def is_finite(self) -> bool:
        """Whether every measured value was a finite number."""
        return self.nonfinite_from is None

    @property
    def distinguishes_inputs(self) -> bool:
        """Whether the last hidden layer is known to differ between inputs."""
        return self.batch_variance_share >= INDISTINGUISHABLE_SHARE

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word. What is unknown or undecided never counts as kept."""
        words = {summary.verdict for summary in self.by_direction.values()}
        if self.symmetric:
            return "symmetric"
        if "dead" in words:
            return "dead"
        if "explodes" in words:
            return "explodes"
        if "vanishes" in words:
            return "vanishes"
        if not self.keeps_size or self.symmetric is None or not self.is_finite:
            return "undecided"
        return "kept" if self.distinguishes_inputs else "uniform"


@dataclass(frozen=True, eq=False)
class SeedGains:
    """What single seeds add to the gains of one pair in one direction.

    Attributes:
        by_seed: the arithmetic mean of the layers' factors, which theory's score is about.
        settled: the mean logarithm of the factors over the deeper half, which the verdict is about.
    """

    network: str
    initializer: str
    activation: str
    direction: Direction
    by_seed: NDArray[np.float64]
    settled: Estimate


@dataclass(frozen=True, eq=False)
class PredictedLevels(LevelSummary):
    """The levels of one pair over seeds as theory gives them: quantiles are NaN where it does not know them."""

    basis: tuple[str, ...]

    @property
    def has_band(self) -> bool:
        """Whether the standard deviation is predicted anywhere."""
        return not np.isnan(self.low).all()


def read_pairs(summary: DataFrame, table: DataFrame) -> tuple[SummaryRow, ...]:
    """Read the summary's rows in the order of the measurements: initializers of one family are side by side."""
    pairs = [read_row(row) for row in summary.to_dict("records")]
    ranks = {
        field: {str(name): rank for rank, name in enumerate(table[field].unique())}
        for field in ("network", "initializer", "activation")
    }
    last = len(table)
    return tuple(
        sorted(pairs, key=lambda pair: tuple(rank.get(getattr(pair, field), last) for field, rank in ranks.items()))
    )


def summarize_levels(networks: Sequence[NetworkLevels]) -> tuple[LevelSummary, ...]:
    """Reduce what was traced of each pair to levels."""
    found = []
    for traced in networks:
        # The layers of both, input side first.
        moments = {"forward": traced.forward.squares, "backward": traced.backward.squares[:, ::-1]}
        for direction in DIRECTIONS:
            with np.errstate(divide="ignore"):  # the logarithm of an exact zero is a level
                level = np.log10(moments[direction])
            found.append(LevelSummary(*_name_pair(traced), direction, *_quantiles(level)))
    return tuple(found)


def measure_seeds(networks: Sequence[NetworkLevels]) -> tuple[SeedGains, ...]:
    """Take from what was traced of each pair the gains of its seeds."""
    return tuple(
        SeedGains(*_name_pair(traced), levels.direction, average_ratios(levels), measure_gains(levels).deep_half)
        for traced in networks
        for levels in (traced.forward, traced.backward)
    )


def _name_pair(traced: NetworkLevels) -> tuple[str, str, str]:
    network, initializer, activation = (str(traced.keys[key]) for key in _PAIR)
    return network, initializer, activation


def predict_levels(table: DataFrame, signal_layers: Mapping[str, Sequence[str]]) -> tuple[PredictedLevels, ...]:
    """Read the predicted levels of every network, initializer, activation and direction of a measurement table.

    A prediction is the same for all seeds; where it begins with a measured value, the mean over the seeds is taken.
    """
    layers = {(network, layer): place for network, path in signal_layers.items() for place, layer in enumerate(path)}
    place = [layers.get(key, -1) for key in zip(table["network"], table["layer"], strict=True)]
    rows = table[[*_PAIR, "call", "prediction", *_PREDICTED]].assign(
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
            middle, low, high = (_place(part, at, depth) for part in _read_prediction(group, direction))
            found.append(PredictedLevels(network, initializer, activation, direction, middle, low, high, basis))
    return tuple(found)


def quantile_levels(
    mean: NDArray[np.float64], sd: NDArray[np.float64], power: float
) -> tuple[NDArray[np.float64], ...]:
    """Give the levels of a power of something log-normal: median, 10% and 90% quantile.

    Where the standard deviation is NaN the mean is taken for the median, and there are no quantiles.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mean > 0.0, sd / mean, 0.0 * sd)
        variance = np.log1p(np.square(ratio))
        middle = power * (np.log(mean) - 0.5 * np.nan_to_num(variance)) / np.log(10.0)
        width = power * np.sqrt(variance) / np.log(10.0)
        return middle, *(middle + stats.norm.ppf(share) * width for share in BAND)


def shorten_reason(text: str) -> str:
    """Take from an error's message what is wrong; what was received, and what to do, are for the command line."""
    return _ADVICE.sub("", text).removesuffix(".")


def read_row(row: Mapping[Any, Any]) -> SummaryRow:
    """Read a row of the summary."""
    symmetric = row["symmetric"]
    return SummaryRow(
        network=str(row["network"]),
        initializer=str(row["initializer"]),
        activation=str(row["activation"]),
        seeds=_whole(row["seeds"]) or 0,
        by_direction={direction: _read_direction(row, direction) for direction in DIRECTIONS},
        batch_variance_share=_number(row["batch_variance_share"]),
        dead_fraction=_number(row["dead_fraction"]),
        saturated_fraction=_number(row["saturated_fraction"]),
        nonfinite_from=_whole(row["nonfinite_from_position"]),
        symmetric=None if pandas.isna(symmetric) else bool(symmetric),
        verdict=_word(row["verdict"]),
        prediction="" if pandas.isna(row["prediction"]) else shorten_reason(str(row["prediction"])),
    )


def _number(value: Any) -> float:
    return math.nan if pandas.isna(value) else float(value)


def _whole(value: Any) -> int | None:
    return None if pandas.isna(value) else int(value)


def _word(value: Any) -> str:
    return UNJUDGED if pandas.isna(value) else str(value)


def _read_direction(row: Mapping[Any, Any], direction: Direction) -> DirectionSummary:
    return DirectionSummary(
        gain=_number(row[f"{direction}_gain"]),
        low=_number(row[f"{direction}_gain_low"]),
        high=_number(row[f"{direction}_gain_high"]),
        geometric=exponential(_number(row[f"{direction}_log_gain"])),
        geometric_low=exponential(_number(row[f"{direction}_log_gain_low"])),
        geometric_high=exponential(_number(row[f"{direction}_log_gain_high"])),
        settled=exponential(_number(row[f"{direction}_log_gain_deep_half"])),
        steps=_whole(row[f"{direction}_steps"]) or 0,
        layers_until_thousandth=_number(row[f"{direction}_layers_until_thousandth"]),
        thousandfold_change=_word(row[f"{direction}_thousandfold_change"]),
        verdict=_word(row[f"{direction}_verdict"]),
        textbook=_number(row[f"textbook_{direction}_gain"]),
        predicted=_number(row[f"predicted_{direction}_gain"]),
        predicted_sd=_number(row[f"predicted_{direction}_gain_sd"]),
        z=_number(row[f"{direction}_gain_z"]),
    )


def _quantiles(level: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Give median and band over the seeds; quantiles are observed values, because infinities cannot be interpolated."""
    ordered = np.sort(level, axis=0)  # NaN goes last
    known = np.sum(~np.isnan(level), axis=0)
    results = []
    for share in (_MIDDLE, *BAND):
        position = np.clip(np.ceil(share * known).astype(np.intp) - 1, 0, None)
        results.append(np.where(known > 0, ordered[position, np.arange(level.shape[1])], np.nan))
    return tuple(results)


def _place(values: NDArray[np.float64], at: NDArray[np.intp], depth: int) -> NDArray[np.float64]:
    """Put values at their layers; the others are NaN."""
    whole = np.full(depth, np.nan)
    whole[at] = values
    return whole


def _read_prediction(group: DataFrame, direction: Direction) -> tuple[NDArray[np.float64], ...]:
    """Give median and band by layer, as levels."""
    if direction == "backward":
        mean, sd = (group[f"predicted_{_GRADIENT}{end}"].to_numpy(dtype=np.float64) for end in ("", "_sd"))
        return quantile_levels(mean, sd, power=2.0)
    after = group["takes_activation"].to_numpy(dtype=np.bool_)
    mean, sd = (
        np.where(after, group[f"predicted_{_ACTIVATION}{end}"], group[f"predicted_{_PREACTIVATION}{end}"])
        for end in ("", "_sd")
    )
    return quantile_levels(mean.astype(np.float64), sd.astype(np.float64), power=1.0)
