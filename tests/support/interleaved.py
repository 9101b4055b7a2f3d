"""Timings that can be compared: the candidates take turns, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from initcheck.core.statistics import Estimate, estimate_mean


def time_in_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Time each candidate once a round, in an order that turns from round to round.

    Args:
        candidates: what is timed, by name. Each is called once before, untimed.
        rounds: number of rounds.

    Returns:
        Seconds by name, shape [rounds].
    """
    for candidate in candidates.values():
        candidate()
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                start = time.perf_counter()
                candidates[name]()
                seconds[name].append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return {name: np.asarray(values) for name, values in seconds.items()}


def estimate_ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], confidence: float = 0.95
) -> Estimate:
    """Estimate how many times longer one candidate takes than another.

    Args:
        numerator: its seconds, one a round.
        denominator: the other's, of the same rounds.
        confidence: of the interval.

    Returns:
        The geometric mean over rounds of the ratio within a round, with its t interval; rounds are the
        replicates. A tenth of the rounds is cut at either end: interruptions by other processes are no
        property of the code.
    """
    ratios = np.sort(np.log(numerator / denominator))
    cut = len(ratios) // 10
    estimate = estimate_mean(ratios[cut : len(ratios) - cut], confidence)
    factors = {name: float(np.exp(getattr(estimate, name))) for name in ("value", "low", "high")}
    return replace(estimate, **factors)
