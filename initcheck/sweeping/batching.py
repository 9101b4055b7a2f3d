"""How many cells go into one task: enough to be worth a task, few enough that little is lost with one."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.sweeping.cell import Cell
from initcheck.sweeping.measurement import CellResult

LONGEST_SECONDS: Final = 30.0
"""A task should not last longer, and about twice as long at most: a killed worker loses what it was at."""

SHORTEST_SECONDS: Final = 2.0
"""Towards the end tasks get shorter, so that workers end together, but not shorter than this."""

_SHARES: Final = 2  # tasks for each thread that what is left should still make

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

    def take(self, left: deque[Cell], threads: int) -> tuple[Cell, ...]:
        """Take the next batch off the left: cells that share a bench, as many as do not take too long.

        Tracing takes longer than measuring most cells. A worker traces the graph of an activation function once for all
        initializers: so a batch ends between two of them if it can.

        Args:
            left: the cells that are left, those that share a graph together; at least one.
            threads: how many there are to measure them.
        """
        if self.seconds_per_cell is None:
            size = min(_FIRST_BATCH, math.ceil(len(left) / threads))
        else:
            share = len(left) * self.seconds_per_cell / (_SHARES * threads)
            seconds = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, share))
            size = max(1, min(_LARGEST_BATCH, int(seconds / max(self.seconds_per_cell, 1e-6))))
        batch = [left.popleft()]
        while left and len(batch) < size and left[0].bench == batch[0].bench:
            batch.append(left.popleft())
        self._end_between_graphs(batch, left)
        return tuple(batch)

    def _end_between_graphs(self, batch: list[Cell], left: deque[Cell]) -> None:
        """Where the cut goes through the cells of one graph, which two workers would trace, move it to the nearer end.

        It stays where it is if a batch would become empty or more than twice as long, unless what is left is short.
        """
        graph = batch[-1].graph
        taken = sum(cell.graph == graph for cell in batch)
        rest = sum(1 for _ in itertools.takewhile(lambda cell: cell.graph == graph, left))
        if rest > taken and taken < len(batch):
            for _ in range(taken):
                left.appendleft(batch.pop())
        elif rest <= taken or rest * (self.seconds_per_cell or math.inf) <= SHORTEST_SECONDS:
            batch.extend(left.popleft() for _ in range(rest))

    def learn(self, results: Sequence[CellResult]) -> None:
        """Take note of how long cells took."""
        if not results:
            return
        mean = sum(result.seconds for result in results) / len(results)
        if self.seconds_per_cell is None:
            self.seconds_per_cell = mean
        else:
            self.seconds_per_cell += _MEMORY * (mean - self.seconds_per_cell)
