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
    """A measured network in words and numbers."""

    name: str
    description: str
    layers: int
    parameters: int
    data: str
    batch_size: int
    input_second_moment: float


@dataclass(frozen=True)
class Provenance:
    """How a study was made: what another person needs to make it again."""

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
    """All that a report is made of."""

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

    def _repr_html_(self) -> str:
        """Show the answer of the report in a notebook."""
        from initcheck.pages.html import render_fragment
        from initcheck.study.report import build_summary

        return render_fragment(build_summary(self))
