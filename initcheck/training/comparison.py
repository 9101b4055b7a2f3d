"""From learning curves to a comparison: final values with intervals, paired differences, and a judged sentence.

The sentence is that of the notebook which this project began with: "Xavier trains faster and more accurately than
random or zero".

Networks of one seed see the same batches in the same order whatever their initializer, so two initializers are compared
by the differences of their pairs. All differences of one quantity are adjusted together by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from initcheck.core.columns import COMPARISON_COLUMNS
from initcheck.core.statistics import Estimate, adjust_pvalues, estimate_mean
from initcheck.models.initializers import INITIALIZERS

LEVEL: Final = 0.05
THRESHOLDS: Final = {"90": 0.90, "95": 0.95}

Quantity = Literal["accuracy", "first_loss"]
QUANTITIES: Final[dict[Quantity, str]] = {
    "accuracy": "final validation accuracy",
    "first_loss": "training loss of the first epoch",
}

XAVIER: Final = ("GlorotNormal", "GlorotUniform")
BLIND: Final = tuple(name for name, row in INITIALIZERS.items() if row.ignores_size)
"""Classes that do not depend on the size of the layer: what the notebook calls random or zero."""


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two initializers in one quantity, over the seeds that both have; p is adjusted by Holm."""

    first: str
    second: str
    quantity: Quantity
    estimate: Estimate
    p_value: float

    @property
    def better(self) -> str:
        """The initializer that is shown to be better; empty where neither is."""
        if not self.p_value <= LEVEL:
            return ""
        ahead = self.estimate.value > 0.0
        if self.quantity == "first_loss":
            ahead = not ahead
        return self.first if ahead else self.second


@dataclass(frozen=True)
class Statement:
    """One part of "Xavier trains faster and more accurately than random or zero"."""

    xavier: str
    other: str
    quantity: Quantity
    verdict: Literal["true", "false", "undecided"]
    difference: PairedDifference


def summarize(history: pd.DataFrame, initializers: Sequence[str]) -> pd.DataFrame:
    """Summarize learning curves in the columns of ``COMPARISON_COLUMNS``.

    A network whose loss is not finite has no loss; its accuracy is that of its answers.
    """
    rows = []
    for name in initializers:
        part = history[history["initializer"] == name]
        accuracy = _by_seed(part, "accuracy")
        final, loss = estimate_mean(accuracy), estimate_mean(_by_seed(part, "loss").dropna())
        row: dict[str, object] = {
            "initializer": name,
            "seeds": len(accuracy),
            "accuracy": final.value,
            "accuracy_low": final.low,
            "accuracy_high": final.high,
            "loss": loss.value,
            "loss_low": loss.low,
            "loss_high": loss.high,
            "first_loss": estimate_mean(_by_seed(part, "first_loss").dropna()).value,
        }
        for key, threshold in THRESHOLDS.items():
            reached = _epochs_to(part, threshold)
            row[f"reached_{key}"] = len(reached)
            row[f"epochs_to_{key}"] = float(np.mean(reached)) if reached else math.nan
        rows.append(row)
    frame = pd.DataFrame(rows, columns=[column.name for column in COMPARISON_COLUMNS])
    return frame.astype({column.name: column.dtype for column in COMPARISON_COLUMNS})


def compare_pairs(history: pd.DataFrame, initializers: Sequence[str], quantity: Quantity) -> list[PairedDifference]:
    """Compare each two initializers in one quantity; the p-values are adjusted over all pairs."""
    values = {name: _by_seed(history[history["initializer"] == name], quantity) for name in initializers}
    pairs = list(combinations(initializers, 2))
    estimates, raw = [], []
    for first, second in pairs:
        shared = values[first].index.intersection(values[second].index)
        differences = (values[first][shared] - values[second][shared]).to_numpy(dtype=np.float64)
        estimates.append(estimate_mean(differences))
        raw.append(_p_value(differences))
    adjusted = adjust_pvalues(raw)
    return [
        PairedDifference(first, second, quantity, estimate, float(p))
        for (first, second), estimate, p in zip(pairs, estimates, adjusted, strict=True)
    ]


def judge_notebook(history: pd.DataFrame, initializers: Sequence[str]) -> list[Statement]:
    """Judge "Xavier trains faster and more accurately than random or zero", part by part."""
    found = []
    for quantity in QUANTITIES:
        for each in compare_pairs(history, initializers, quantity):
            first, second = (_class_of(name) for name in (each.first, each.second))
            if (first in XAVIER) == (second in XAVIER) or not {first, second} & set(BLIND):
                continue
            xavier, other = (each.first, each.second) if first in XAVIER else (each.second, each.first)
            verdict: Literal["true", "false", "undecided"] = "undecided"
            if each.better:
                verdict = "true" if each.better == xavier else "false"
            found.append(Statement(xavier, other, quantity, verdict, each))
    return sorted(found, key=lambda each: (each.xavier, each.other, each.quantity))


def count_losses(history: pd.DataFrame, initializer: str) -> int:
    """Count the networks of an initializer whose final loss is finite."""
    return int(_by_seed(history[history["initializer"] == initializer], "loss").count())


def _by_seed(part: pd.DataFrame, quantity: Quantity | Literal["loss"]) -> pd.Series:
    """Take one number of each network: NaN for a loss that is not finite."""
    epoch = 1 if quantity == "first_loss" else part["epoch"].max()
    column = {"accuracy": "validation_accuracy", "loss": "validation_loss", "first_loss": "loss"}[quantity]
    chosen = part[part["epoch"] == epoch].set_index("seed")[column]
    values = chosen.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.Series(np.where(np.isfinite(values), values, np.nan), index=chosen.index)


def _epochs_to(part: pd.DataFrame, threshold: float) -> list[int]:
    reached = part[part["validation_accuracy"] >= threshold].groupby("seed")["epoch"].min()
    return [int(each) for each in reached]


def _p_value(differences: NDArray[np.float64]) -> float:
    """Test whether the mean of differences is zero; equal differences are certain."""
    if differences.size < 2 or not np.isfinite(differences).all():
        return math.nan
    if np.ptp(differences) == 0.0:
        return float(differences[0] == 0.0)
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _class_of(name: str) -> str:
    return name.partition("(")[0]
