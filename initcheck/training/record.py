"""What a comparison of initializers by training yields, as plain data. Nothing here knows Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """The learning curves of all networks, and how they were made.

    Attributes:
        history: one row per initializer, seed and epoch; the columns of ``schema.HISTORY_COLUMNS``.
        initializers: in the order asked for.
        seeds: of the networks.
        epochs: trained.
        network: the network in words.
        data: the data in words.
        chance: the accuracy of a constant answer.
        descent: how it was trained, in words.
        versions: of what it was made with.
        command_line: the command that was run.
        seconds: time spent on training in this run; what an earlier run finished is not counted.
        resumed: how many networks an earlier run had finished.
    """

    history: DataFrame = field(repr=False)
    initializers: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    network: str
    data: str
    chance: float
    descent: str
    versions: Mapping[str, str]
    command_line: str
    seconds: float
    resumed: int
