"""How long layers over time remember: the change of the squared gradient with each step back, over the seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.statistics import Estimate, estimate_mean
from initcheck.probe.recurrence import OverTime

_FOLLOWED: Final = 1e12
"""The gradient is followed until its square has changed by this: float32, or float16, holds it without loss so far."""


@dataclass(frozen=True)
class Memory:
    """What one call of a layer over time keeps of its inputs.

    Attributes:
        steps: how many steps back the first input lies.
        rate: logarithm of the factor by which the squared gradient changes with each step back, over the seeds.
        zero_from: from how many steps back on the gradient is exactly zero in every draw; None where it is not.
    """

    layer: str
    call: int
    steps: int
    rate: Estimate
    zero_from: int | None

    @property
    def name(self) -> str:
        """The layer, and which of its calls if it is not the first."""
        return f"{self.layer} (call {self.call + 1})" if self.call else self.layer

    @property
    def horizon(self) -> float:
        """In how many steps the squared gradient changes by a factor of 100 at this rate."""
        return math.log(100.0) / abs(self.rate.value) if self.rate.value else math.inf


def judge_memories(measured: Iterable[OverTime]) -> Iterator[Memory]:
    """Judge each call that makes several steps and whose last output depends on its inputs at all."""
    for call in measured:
        squares = call.squares[:, ~np.isnan(call.squares).all(axis=0)]
        rates = [rate for rate in map(_find_rate, squares) if not math.isnan(rate)]
        if rates:
            alive = np.flatnonzero((squares != 0.0).any(axis=0))
            zero_from = int(alive[-1]) + 1
            end = zero_from if zero_from < squares.shape[1] else None
            yield Memory(call.layer, call.call, squares.shape[1] - 1, estimate_mean(rates), end)


def _find_rate(squares: NDArray[np.float64]) -> float:
    """Find the mean change a step in nats, from the last input that counts back to where it has changed too much.

    A gradient that is zero before is taken as the smallest that is followed: it falls at least so fast.
    """
    beginnings = np.flatnonzero(squares > 0.0)
    if not beginnings.size or beginnings[0] == squares.size - 1 or not np.isfinite(squares[beginnings[0]]):
        return math.nan
    along = squares[beginnings[0] :]
    with np.errstate(over="ignore"):
        changes = np.nan_to_num(along / along[0], nan=math.inf, posinf=math.inf)
    followed = (changes >= 1.0 / _FOLLOWED) & (changes <= _FOLLOWED)
    end = len(followed) - 1 if followed.all() else max(1, int(np.argmin(followed)) - 1)
    return float(np.log(np.clip(changes[end], 1.0 / _FOLLOWED, _FOLLOWED))) / end
