"""Result of a study, as plain data.

Nothing here knows Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initcheck.core.columns import MEASUREMENT_COLUMNS, SUMMARY_COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

_PAIR = ["network", "initializer", "activation"]


@dataclass(frozen=True)
class NotMeasured:
    """A combination that was asked for and could not be measured."""

    network: str
    initializer: str
    activation: str
    reason: str


@dataclass(frozen=True)
class NetworkDescription:
    """A measured network in words and numbers.

    Attributes:
        description: what the network is, in one sentence.
        layers: layers with weights.
        parameters: trainable parameters.
        batch_size: samples in the batch.
        input_second_moment: mean of x^2 over the batch.
    """

    name: str
    description: str
    layers: int
    parameters: int
    data: str
    batch_size: int
    input_second_moment: float


@dataclass(frozen=True)
class Provenance:
    """How a study was made: what another person needs to make it again.

    Attributes:
        versions: version by name (Python, Keras, the backend, initcheck, ...).
        started: start time in ISO 8601.
        duration_seconds: wall time of the measurement.
        seeds: the seeds, one network each.
        networks: the networks; the first is the main one.
        loss: what was differentiated, in one sentence.
        training_mode: which mode the layers were called in, in words.
        precision: the numeric precision of weights, signals and statistics, in words.
    """

    versions: Mapping[str, str]
    command_line: str
    started: str
    duration_seconds: float
    seeds: tuple[int, ...]
    networks: tuple[NetworkDescription, ...]
    loss: str
    training_mode: str
    precision: str


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """All that a report is made of.

    Attributes:
        table: one row per seed x site; the columns ``MEASUREMENT_COLUMNS``.
        summary: one row per network x initializer x activation; the columns ``SUMMARY_COLUMNS``.
        signal_layers: by network, its hidden layers in order from the input to the output.
        not_measured: what was asked for and could not be measured.
        provenance: how it was measured.

    Raises:
        ValueError: a column is missing, a pair has two rows in the summary, or a network is not described.
    """

    table: DataFrame
    summary: DataFrame
    signal_layers: Mapping[str, tuple[str, ...]]
    not_measured: tuple[NotMeasured, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        for frame, columns, argument in (
            (self.table, MEASUREMENT_COLUMNS, "table"),
            (self.summary, SUMMARY_COLUMNS, "summary"),
        ):
            missing = [column.name for column in columns if column.name not in frame.columns]
            if missing:
                raise ValueError(f"{argument} lacks the columns {', '.join(missing)}.")
        repeated = self.summary[self.summary.duplicated(_PAIR)]
        if len(repeated):
            raise ValueError(f"summary has two rows for {tuple(repeated[_PAIR].iloc[0])}.")
        described = {network.name for network in self.provenance.networks}
        measured = {str(name) for name in self.summary["network"].unique()}
        for name in sorted(measured - described):
            raise ValueError(f"network {name!r} is in the summary but not in provenance.networks.")
        for name in sorted(measured - set(self.signal_layers)):
            raise ValueError(f"network {name!r} is in the summary but not in signal_layers.")
