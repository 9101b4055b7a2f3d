"""How sizes change with the width of a network: exponents with intervals, and a verdict for each layer.

A quantity that goes as width^a has the slope a in a plot of its logarithm over that of the width. Each seed gives a
slope for each layer; seeds are the replicates of its interval. Wide networks train alike at all widths only where
activations, and what training changes in them, neither grow nor shrink: the coordinate check of Yang and Hu.

References:
    Yang and Hu, "Tensor Programs IV: Feature Learning in Infinite-Width Neural Networks", ICML 2021: which exponents a
    parametrization has, at the start and after steps of SGD.
    Yang et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer", 2022: the
    coordinate check, appendix D.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.core.statistics import Estimate, equivalence_test, estimate_mean

Quantity = Literal["start", "trained", "change"]
Measure = Literal["rms", "mean_abs"]
Verdict = Literal["stable", "grows", "shrinks", "zero", "untrained", "undecided"]

QUANTITIES: Final[Mapping[Quantity, str]] = {
    "start": "size at the start",
    "trained": "size after training",
    "change": "size of the change",
}

MARGIN: Final = 0.1
"""An exponent between -0.1 and 0.1 counts as none.

In the wide limit the exponents are multiples of 1/2 (Yang and Hu 2021), so that the nearest other one is 0.4 beyond the
margin. At finite width those of sizes at the start are off by a few hundredths, those of changes by a few tenths: a
change may be seen to grow more slowly than it will.
"""

ALPHA: Final = 0.05

WIDTH_KEYS: Final = ("width", "seed", "layer", "call", "position", "kind", "output", "trainable")
"""The columns of the table that are no sizes.

``output``: the layer's tensor is an output of the model, or what its activation function receives. ``trainable``: the
tensor depends on a weight that is trained.
"""


def name_size(quantity: Quantity, measure: Measure) -> str:
    """Name the column of a size: ``start_rms``, ``change_mean_abs``..."""
    return f"{quantity}_{measure}"


@dataclass(frozen=True)
class Exponent:
    """The exponent of one quantity of one layer call.

    Attributes:
        verdict: ``stable`` where it is shown to lie within the margin, ``grows`` and ``shrinks`` where it is shown to
            lie beyond; ``zero`` where an output starts at exactly zero; ``untrained`` where no weight before the layer
            is trained, so that nothing can change; else ``undecided``.
        uneven: whether between two widths next to each other the size is shown to grow or shrink, without a verdict
            that says so: no power of the width describes it.
    """

    layer: str
    call: int
    kind: str
    output: bool
    quantity: Quantity
    estimate: Estimate
    mean_abs: Estimate
    verdict: Verdict
    reason: str
    margin: float
    uneven: bool = False

    @property
    def wanted(self) -> bool | None:
        """Whether the exponent is what a network that trains alike at all widths has; None where that is undecided.

        The size of an output may shrink: under the maximal update parametrization it starts at width^-1/2 and is
        learned (Yang and Hu 2021); or start at zero (Yang et al. 2022, appendix D.2). Its change may not.
        """
        if self.verdict in ("stable", "zero", "untrained"):
            return True
        if self.output and self.quantity != "change" and self.estimate.high <= self.margin and not self.uneven:
            return True
        return None if self.verdict == "undecided" else False


@dataclass(frozen=True, eq=False)
class WidthScaling:
    """What was measured of a model at several widths, and how."""

    model: str
    width_arg: str
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    optimizer: str
    learning_rate: float
    batch: str
    loss: str
    exponents: tuple[Exponent, ...]
    table: pd.DataFrame = field(repr=False)
    versions: Mapping[str, str]

    @property
    def findings(self) -> tuple[Exponent, ...]:
        """The exponents that are shown not to be as wanted."""
        return tuple(each for each in self.exponents if each.wanted is False)

    @property
    def undecided(self) -> tuple[Exponent, ...]:
        """The exponents of which the seeds do not decide whether they are as wanted."""
        return tuple(each for each in self.exponents if each.wanted is None)

    @property
    def verdict(self) -> Literal["stable", "findings", "undecided"]:
        """The verdict on the whole model."""
        return "findings" if self.findings else "undecided" if self.undecided or not self.exponents else "stable"


def fit_exponents(table: pd.DataFrame, quantities: Sequence[Quantity], margin: float = MARGIN) -> list[Exponent]:
    """Fit an exponent for each layer call and quantity."""
    found = []
    for _, rows in table.groupby("position", sort=True):
        first = rows.iloc[0]
        for quantity in quantities:
            slopes = fit_slopes(rows, name_size(quantity, "rms"))
            estimate = estimate_mean(slopes)
            verdict, reason, uneven = _decide(slopes, estimate, rows, quantity, margin)
            found.append(
                Exponent(
                    layer=str(first["layer"]),
                    call=int(first["call"]),
                    kind=str(first["kind"]),
                    output=bool(first["output"]),
                    quantity=quantity,
                    estimate=estimate,
                    mean_abs=estimate_mean(fit_slopes(rows, name_size(quantity, "mean_abs"))),
                    verdict=verdict,
                    reason=reason,
                    margin=margin,
                    uneven=uneven,
                )
            )
    return found


def fit_slopes(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Fit d ln(size) / d ln(width) by least squares, for each seed alone; NaN where a size is zero or not finite."""
    widths, logs = _take_logarithms(rows, column)
    widths -= widths.mean()
    slopes: NDArray[np.float64] = widths @ logs / float(widths @ widths)
    return slopes


def _take_logarithms(rows: pd.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the logarithms of the widths, and those of a size by width and seed; NaN where there is none."""
    sizes = rows.pivot(index="width", columns="seed", values=column).sort_index()
    values = sizes.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((values > 0.0) & np.isfinite(values), np.log(values), np.nan)
    return np.log(sizes.index.to_numpy(dtype=np.float64)), logs


def _decide(
    slopes: NDArray[np.float64], estimate: Estimate, rows: pd.DataFrame, quantity: Quantity, margin: float
) -> tuple[Verdict, str, bool]:
    column = name_size(quantity, "rms")
    if not np.isfinite(slopes).all():
        if (rows[column] == 0.0).all():
            if quantity == "change" and not rows["trainable"].any():
                return "untrained", "", False
            if quantity == "start" and rows["output"].all():
                return "zero", "", False
        return "undecided", _explain_undefined(rows, quantity), False
    if slopes.size < 2:
        return "undecided", "one seed has no standard deviation: give two or more", False
    if estimate.low > margin:
        return "grows", "", False
    if estimate.high < -margin:
        return "shrinks", "", False
    uneven = _explain_uneven(rows, column, margin)
    if uneven:
        return "undecided", uneven, True
    if equivalence_test(slopes, -margin, margin, ALPHA).verdict == "pass":
        return "stable", "", False
    return "undecided", "the interval reaches across the margin: more seeds or more widths decide", False


def _explain_uneven(rows: pd.DataFrame, column: str, margin: float) -> str:
    """Say where a size that is level on the whole is shown to be not; empty where it is not shown.

    A line through sizes that rise and fall again is level. The intervals of the slopes between neighbours hold together
    (Bonferroni).
    """
    places, logs = _take_logarithms(rows, column)
    slopes = np.diff(logs, axis=0) / np.diff(places)[:, np.newaxis]
    found = [estimate_mean(own, 1.0 - ALPHA / len(slopes)) for own in slopes]
    beyond = [place for place, each in enumerate(found) if each.low > margin or each.high < -margin]
    if not beyond:
        return ""
    worst = max(beyond, key=lambda place: abs(found[place].value))
    low, high = (round(math.exp(places[worst + end])) for end in (0, 1))
    slope = f"{found[worst].value:+.2f}".replace("-", "−")
    return f"no power of the width, its slope from width {low} to {high} is {slope}: look there, or give wider widths"


def _explain_undefined(rows: pd.DataFrame, quantity: Quantity) -> str:
    values, start = (
        rows[name_size(each, "rms")].to_numpy(dtype=np.float64, na_value=np.nan) for each in (quantity, "start")
    )
    if not np.isfinite(values).all():
        width = int(rows.loc[~np.isfinite(values), "width"].min())
        if not np.isfinite(start).all():
            return f"not finite at width {width}, before any training: look at the batch and at the initializers"
        return f"not finite at width {width}: the training diverged, lower the learning rate"
    width = int(rows.loc[values == 0.0, "width"].min())
    why = ": no gradient arrives, or all units are dead" if quantity == "change" else ""
    return f"exactly zero at width {width}, where a logarithm has no slope{why}"


def measured_at(table: pd.DataFrame, position: int, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the widths, and for each the geometric mean of a size over the seeds; NaN where it is undefined."""
    rows = table[table["position"] == position]
    values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((values > 0.0) & np.isfinite(values), np.log(values), math.nan)
    means = pd.Series(logs).groupby(rows["width"].to_numpy()).apply(lambda each: float(np.exp(each.mean(skipna=False))))
    sizes: NDArray[np.float64] = np.asarray(means, dtype=np.float64)
    return np.asarray(means.index, dtype=np.float64), sizes
