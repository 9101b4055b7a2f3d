"""How long work will take: the speed of the machine at this moment, and what is left of work that has begun."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LOOP_STEPS: Final = 7_000_000
_LOOP_SECONDS: Final = 0.26
"""What so many steps of :func:`measure_slowdown` take on the reference machine."""
_TRUSTED_SECONDS: Final = 1.0
"""Estimated work after which what was measured of it counts as much as the slowdown before it."""


def measure_slowdown() -> float:
    """Measure how many times longer this machine takes at this moment for a fixed piece of work than the reference."""
    started, total = time.perf_counter(), 0
    for step in range(_LOOP_STEPS):
        total += step
    return (time.perf_counter() - started) / _LOOP_SECONDS


class TimeLeft:
    """Knows how long the rest of some work will take, by what its parts need and what those that are done took.

    Args:
        workers: processes that share the work.
        slowdown: of this machine, before anything is done.
        clock: seconds from any origin.
    """

    def __init__(self, workers: int = 1, slowdown: float = 1.0, clock: Callable[[], float] = time.perf_counter) -> None:
        self.workers = workers
        self._slowdown = slowdown
        self._clock = clock
        self._left = self._done = 0.0
        self._started = self._noted = clock()

    def begin(self, needed: float) -> None:
        """Begin work that is estimated to need these seconds of one process."""
        self._left = needed
        self._started = self._noted = self._clock()

    def finish(self, needed: float) -> None:
        """Note that a part is done that was estimated to need these seconds."""
        self._left -= needed
        self._done += needed
        self._noted = self._clock()

    @property
    def seconds(self) -> float | None:
        """How long the rest will take by what is known at this moment; None before the work is begun."""
        if not self._left and not self._done:
            return None
        now = self._clock()
        measured = (self._noted - self._started) * self.workers
        slowdown = (self._slowdown * _TRUSTED_SECONDS + measured) / (_TRUSTED_SECONDS + self._done)
        return max(0.0, self._left * slowdown / self.workers - (now - self._noted))
