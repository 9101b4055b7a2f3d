"""How many cells go into one task: enough to be worth a task, few enough that little is lost with one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.sweeping.cell import Cell
from initcheck.sweeping.measurement import CellResult

LONGEST_SECONDS: Final = 30.0
"""A task should not last longer: a killed worker loses what it was at."""

_FIRST_BATCH: Final = 16
_LARGEST_BATCH: Final = 200
_MEMORY: Final = 0.5  # weight of the newest task in the running mean


@dataclass
class Batching:
    """Cuts a sequence of cells into batches, by what cells took so far.

    Attributes:
        seconds_per_cell: running mean; None before the first task is back.
    """

    seconds_per_cell: float | None = None

    def take(self, left: deque[Cell]) -> tuple[Cell, ...]:
        """Take the next batch off the left: all cells that share a traced graph, if they do not take too long.

        Tracing takes longer than measuring most cells, so that a graph is best traced by one worker only. Where it
        serves a few cells only, it makes a task of more than half a second by itself.
        """
        size = _FIRST_BATCH
        if self.seconds_per_cell is not None:
            size = max(1, min(_LARGEST_BATCH, int(LONGEST_SECONDS / max(self.seconds_per_cell, 1e-6))))
        batch = [left.popleft()]
        while left and len(batch) < size and _alike(left[0], batch[0]):
            batch.append(left.popleft())
        return tuple(batch)

    def learn(self, results: Sequence[CellResult]) -> None:
        """Take note of how long cells took."""
        mean = sum(result.seconds for result in results) / len(results)
        if self.seconds_per_cell is None:
            self.seconds_per_cell = mean
        else:
            self.seconds_per_cell += _MEMORY * (mean - self.seconds_per_cell)


def _alike(one: Cell, other: Cell) -> bool:
    return (one.bench, one.activation) == (other.bench, other.activation)
