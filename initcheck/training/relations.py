"""From runs to relations: the loss of each configuration, and what initialization and theory say of it.

Nothing here knows Keras; all of it can be tested on tables that are made up.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from initcheck.training.trainability import INITIAL_METRICS, TRAINED_BELOW, TrainabilityRecord

KEYS: Final = ("activation", "initializer", "depth")
THRESHOLDS: Final = (0.25, 0.5, 0.75, 0.9)
"""Shares of the loss at chance level at which the agreement is shown, since the one that is used is a choice."""

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95

PREDICTORS: Final = {
    "depth": "depth alone, the baseline",
    "forward_change": "change of the signal along the layers, |ln q_L / q_1|",
    "backward_change": "change of the gradient along the layers, |ln g_1 / g_L|",
    "distinct_log_share": "loss of what distinguishes samples, |ln of its share in the last layer|",
    "largest_change": "the largest of these three changes",
    "depth_ratio": "theory: depth over the depth predicted to train, without a measurement",
}
"""What is compared with the loss after training; each grows with what is expected to do harm."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of one predictor with the loss after training.

    Attributes:
        value: the correlation over all configurations that have the value; NaN where one side does not vary.
    """

    predictor: str
    value: float
    low: float
    high: float
    configurations: int
    pairs: int


@dataclass(frozen=True)
class Agreement:
    """How often theory's depth agrees with what trained, at one threshold."""

    threshold: float
    both: int
    neither: int
    only_predicted: int
    only_trained: int

    @property
    def count(self) -> int:
        """Configurations that theory says something of."""
        return self.both + self.neither + self.only_predicted + self.only_trained

    @property
    def share(self) -> float:
        """Share of those on which both agree; NaN where there is none."""
        return (self.both + self.neither) / self.count if self.count else math.nan

    @property
    def share_by_one_answer(self) -> float:
        """Share that one answer for all would have got right: what any prediction has to beat."""
        trained = self.both + self.only_trained
        return max(trained, self.count - trained) / self.count if self.count else math.nan


@dataclass(frozen=True, eq=False)
class Relations:
    """A record with all that is made of it, so that every page says the same."""

    record: TrainabilityRecord
    summary: pd.DataFrame = field(repr=False)
    correlations: tuple[RankCorrelation, ...]


def relate(record: TrainabilityRecord, resamples: int = RESAMPLES) -> Relations:
    """Sum up the configurations of a record and correlate every predictor with their loss."""
    summary = summarize_runs(record)
    return Relations(record, summary, tuple(correlate_ranks(summary, each, resamples) for each in PREDICTORS))


def summarize_runs(record: TrainabilityRecord) -> pd.DataFrame:
    """Sum up each configuration.

    The learning rate with the lowest mean loss over the seeds counts; a loss that is no number is infinite. So one seed
    that diverges rules a rate out.

    Returns:
        One row per configuration: its keys; ``sigma_w2``, ``xi_c``, ``xi_gradient``, ``scale``, ``predicted_depth`` and
        ``predicted_trainable`` (null where theory says nothing); the values at initialization, means over seeds;
        ``learning_rate``, ``start_loss``, ``loss`` with the lowest and highest of the seeds; ``relative_loss``, over
        chance; and ``trained``.
    """
    runs = record.runs.copy()
    runs["loss"] = runs["loss"].where(np.isfinite(runs["loss"]), np.inf)
    keys = list(KEYS)
    by_rate = runs.groupby([*keys, "learning_rate"], sort=False)
    losses = by_rate["loss"].agg(loss="mean", loss_low="min", loss_high="max").reset_index()
    losses["start_loss"] = by_rate["start_loss"].mean().to_numpy()
    best = losses.sort_values("loss", kind="stable").drop_duplicates(keys)
    with np.errstate(invalid="ignore"):
        starts = runs.groupby(keys, sort=False)[list(INITIAL_METRICS)].agg(_mean_of_logarithms).reset_index()
    starts["seeds"] = runs.groupby(keys, sort=False)["seed"].nunique().to_numpy()
    table = record.predictions.drop(columns="reason").merge(starts, on=keys, validate="1:1")
    table = table.merge(best, on=keys, validate="1:1")
    covered = table["predicted_depth"].notna()
    table["predicted_trainable"] = (table["depth"] <= table["predicted_depth"]).astype("boolean").where(covered)
    table["relative_loss"] = table["loss"] / record.chance
    table["trained"] = table["relative_loss"] <= TRAINED_BELOW
    order = [
        *keys, "sigma_w2", "xi_c", "xi_gradient", "scale", "predicted_depth", "predicted_trainable", "seeds",
        *INITIAL_METRICS, "learning_rate", "start_loss", "loss", "loss_low", "loss_high", "relative_loss", "trained",
    ]  # fmt: skip
    return table[order]


def find_predictor(summary: pd.DataFrame, predictor: str) -> NDArray[np.float64]:
    """Take a predictor of each configuration."""
    if predictor == "depth":
        return summary["depth"].to_numpy(dtype=np.float64)
    if predictor == "depth_ratio":
        return (summary["depth"] / summary["predicted_depth"]).to_numpy(dtype=np.float64)
    if predictor == "largest_change":
        changes = np.abs(summary[list(INITIAL_METRICS)].to_numpy(dtype=np.float64))
        # A maximum with NaN is NaN: what could not be measured is not taken for harmless. Where the signal is lost
        # altogether nothing else matters, and the share of it that differs from sample to sample is 0 / 0.
        return np.asarray(np.where(np.isinf(changes).any(axis=1), np.inf, changes.max(axis=1)))
    return np.asarray(np.abs(summary[predictor].to_numpy(dtype=np.float64)))


def correlate_ranks(summary: pd.DataFrame, predictor: str, resamples: int = RESAMPLES) -> RankCorrelation:
    """Correlate a predictor with the loss after training, by ranks (Spearman 1904).

    The interval is that of a percentile bootstrap (``scipy.stats.bootstrap``). Depths of one pair of initializer and
    activation go together, and no two of them are independent: pairs are resampled, each with all its depths.
    """
    values = find_predictor(summary, predictor)
    loss = summary["relative_loss"].to_numpy(dtype=np.float64)
    known = ~np.isnan(values)
    labels = summary["activation"] + " " + summary["initializer"]
    places = [np.flatnonzero((labels == label).to_numpy() & known) for label in labels[known].unique()]

    def statistic(chosen: NDArray[np.int64]) -> float:
        rows = np.concatenate([places[int(pair)] for pair in chosen])
        return _spearman(values[rows], loss[rows])

    value = _spearman(values[known], loss[known])
    low = high = math.nan
    if len(places) > 1 and not math.isnan(value):
        with warnings.catch_warnings():
            # Of few pairs some samples do not vary and have no correlation: the interval is NaN, which says so.
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            interval = stats.bootstrap(
                (np.arange(len(places)),),
                statistic,
                n_resamples=resamples,
                vectorized=False,
                confidence_level=CONFIDENCE,
                method="percentile",
                rng=np.random.default_rng(0),
            ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return RankCorrelation(predictor, value, low, high, int(known.sum()), len(places))


def count_agreement(summary: pd.DataFrame, threshold: float = TRAINED_BELOW) -> Agreement:
    """Count where theory's depth and the outcome agree."""
    covered = summary[summary["predicted_trainable"].notna()]
    predicted = covered["predicted_trainable"].astype(bool).to_numpy()
    trained = (covered["relative_loss"] <= threshold).to_numpy()
    return Agreement(
        threshold=threshold,
        both=int((predicted & trained).sum()),
        neither=int((~predicted & ~trained).sum()),
        only_predicted=int((predicted & ~trained).sum()),
        only_trained=int((~predicted & trained).sum()),
    )


def find_failures(summary: pd.DataFrame, *, predicted: bool) -> pd.DataFrame:
    """List the configurations on which theory's depth was wrong."""
    covered = summary[summary["predicted_trainable"].notna()]
    wrong = (covered["predicted_trainable"].astype(bool) == predicted) & (covered["trained"] != predicted)
    return covered[wrong]


def find_deepest(part: pd.DataFrame) -> int:
    """Find the greatest depth up to which every depth tried has trained; 0 where the shallowest has not."""
    deepest = 0
    for row in part.sort_values("depth").itertuples():
        if not row.trained:
            break
        deepest = int(row.depth)  # type: ignore[arg-type]
    return deepest


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Correlate ranks; scipy's own function warns where one side does not vary, and bootstraps meet such samples."""
    if one.size < 3 or (one == one[0]).all() or (other == other[0]).all():
        return math.nan
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def _mean_of_logarithms(values: pd.Series) -> float:
    """Average: minus infinite where one is, NaN where one is NaN (``mean`` of pandas would leave it out)."""
    return float(np.mean(values.to_numpy(dtype=np.float64)))
