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
    """Time candidates, after one call each, in an order that turns: seconds by name, shape [rounds]."""
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


def estimate_ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Estimate:
    """Estimate the geometric mean over rounds of the ratio within a round: rounds are the replicates.

    A tenth of the rounds is cut at either end: interruptions by other processes are no property of the code.
    """
    ratios = np.sort(np.log(numerator / denominator))
    cut = len(ratios) // 10
    estimate = estimate_mean(ratios[cut : len(ratios) - cut])
    factors = {name: float(np.exp(getattr(estimate, name))) for name in ("value", "low", "high")}
    return replace(estimate, **factors)
