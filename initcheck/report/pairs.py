"""The summary's rows as typed records: one pair of an initializer and an activation on one network each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas

from initcheck.audit.verdicts import INDISTINGUISHABLE_SHARE
from initcheck.report.levels import DIRECTIONS, Direction

if TYPE_CHECKING:
    from pandas import DataFrame

UNJUDGED = "not judged"

_ADVICE = re.compile(r"(?<=\.) (Received:|Choose|Give|Pass|Take|Use) .*", re.DOTALL)

Outcome = Literal["kept", "uniform", "vanishes", "explodes", "symmetric", "dead", "undecided"]


@dataclass(frozen=True)
class Flow:
    """What happens to the signal in one direction. Numbers are NaN where the summary has none.

    Attributes:
        gain: factor by which the second moment changes from layer to layer.
        low: lower end of its interval.
        high: upper end of its interval.
        steps: steps between layers that were measured.
        deep_half: mean log gain over the half of the steps nearer to the output.
        layers_until_thousandth: layers until the signal has changed by a factor of 1000.
        verdict: the word of the summary, or ``not judged``.
        textbook: the gain as theory gives it for an infinitely wide network.
        predicted: the gain as theory expects it at this width and batch.
        predicted_spread: its standard deviation from seed to seed.
        z: the difference of measured and predicted gain in standard errors, as a normal score.
    """

    gain: float
    low: float
    high: float
    steps: int
    deep_half: float
    layers_until_thousandth: float
    verdict: str
    textbook: float
    predicted: float
    predicted_spread: float
    z: float


@dataclass(frozen=True)
class Pair:
    """One row of the summary.

    Attributes:
        network: name of the network.
        initializer: name of the initializer.
        activation: name of the activation function.
        seeds: number of seeds.
        flows: the two directions.
        batch_variance_share: share of the last hidden layer's signal that differs between inputs.
        dead_fraction: share of its units that are zero on the whole batch.
        saturated_fraction: share of its elements at an end of a bounded activation.
        nonfinite_from: first position with a non-finite value, or None.
        symmetric: all units of a layer are alike, or None where that is not known.
        verdict: both directions in words.
        prediction: what the predictions rest on, or why there are none; empty where the summary says nothing.
    """

    network: str
    initializer: str
    activation: str
    seeds: int
    flows: Mapping[Direction, Flow]
    batch_variance_share: float
    dead_fraction: float
    saturated_fraction: float
    nonfinite_from: int | None
    symmetric: bool | None
    verdict: str
    prediction: str

    @property
    def keeps_size(self) -> bool:
        """Whether the size of the signal is shown to be kept in both directions."""
        return all(flow.verdict == "preserves" for flow in self.flows.values())

    @property
    def is_finite(self) -> bool:
        """Whether every measured value was a finite number."""
        return self.nonfinite_from is None

    @property
    def tells_inputs_apart(self) -> bool:
        """Whether the last hidden layer is known to differ between inputs."""
        return self.batch_variance_share >= INDISTINGUISHABLE_SHARE

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word. What is unknown or undecided never counts as kept."""
        words = {flow.verdict for flow in self.flows.values()}
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
        return "kept" if self.tells_inputs_apart else "uniform"


def read_pairs(summary: DataFrame, table: DataFrame) -> tuple[Pair, ...]:
    """Read the summary's rows, in the order in which they were measured.

    The summary is sorted by name. The order of the measurements is the one that the study's author chose: it puts
    initializers of one family side by side.

    Args:
        summary: a table with the columns of ``schema.SUMMARY_COLUMNS``.
        table: the measurement table behind it.

    Returns:
        One record a row.
    """
    pairs = [_read_pair(row) for row in summary.to_dict("records")]
    ranks = {
        field: {str(name): rank for rank, name in enumerate(table[field].unique())}
        for field in ("network", "initializer", "activation")
    }
    last = len(table)
    return tuple(
        sorted(pairs, key=lambda pair: tuple(rank.get(getattr(pair, field), last) for field, rank in ranks.items()))
    )


def _read_pair(row: Mapping[Any, Any]) -> Pair:
    symmetric = row["symmetric"]
    return Pair(
        network=str(row["network"]),
        initializer=str(row["initializer"]),
        activation=str(row["activation"]),
        seeds=_whole(row["seeds"]) or 0,
        flows={direction: _read_flow(row, direction) for direction in DIRECTIONS},
        batch_variance_share=_number(row["batch_variance_share"]),
        dead_fraction=_number(row["dead_fraction"]),
        saturated_fraction=_number(row["saturated_fraction"]),
        nonfinite_from=_whole(row["nonfinite_from_position"]),
        symmetric=None if pandas.isna(symmetric) else bool(symmetric),
        verdict=_word(row["verdict"]),
        prediction="" if pandas.isna(row["prediction"]) else shorten_reason(str(row["prediction"])),
    )


def _read_flow(row: Mapping[Any, Any], direction: Direction) -> Flow:
    return Flow(
        gain=_number(row[f"{direction}_gain"]),
        low=_number(row[f"{direction}_gain_low"]),
        high=_number(row[f"{direction}_gain_high"]),
        steps=_whole(row[f"{direction}_steps"]) or 0,
        deep_half=_number(row[f"{direction}_log_gain_deep_half"]),
        layers_until_thousandth=_number(row[f"{direction}_layers_until_thousandth"]),
        verdict=_word(row[f"{direction}_verdict"]),
        textbook=_number(row[f"textbook_{direction}_gain"]),
        predicted=_number(row[f"predicted_{direction}_gain"]),
        predicted_spread=_number(row[f"predicted_{direction}_gain_sd"]),
        z=_number(row[f"{direction}_gain_z"]),
    )


def shorten_reason(text: str) -> str:
    """Take from an error's message what is wrong; what was received, and what to do, are for the command line."""
    return _ADVICE.sub("", text).removesuffix(".")


def _number(value: Any) -> float:
    return math.nan if pandas.isna(value) else float(value)


def _whole(value: Any) -> int | None:
    return None if pandas.isna(value) else int(value)


def _word(value: Any) -> str:
    return UNJUDGED if pandas.isna(value) else str(value)
