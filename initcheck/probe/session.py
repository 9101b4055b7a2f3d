"""Measuring networks over seeds: one place for every command, whatever draws the weights.

The order of the measuring loop is what makes it quick, and what keeps its memory small:

1. *Trace once.* A :class:`~initcheck.probe.measure.Probe` traces one forward and one backward pass of a model on one
   batch, on its first measurement. Weights are arguments of that graph, so it serves any initializer, any seed, and any
   other model with the same weights may be measured on the same draws.
2. *Draw inside the graph.* A :class:`~initcheck.probe.draw.RedrawPlan` draws the weights in compiled loops, which are
   traced once for each kind of initializer and shape and not once for each weight. A :class:`Session` draws the weights
   of as many seeds at a time as fit into :data:`MOST_BYTES_DRAWN`, once for all its models.
3. *Reduce on the device.* Within the same graph every signal and gradient becomes a vector of some twenty sums as soon
   as it is there (:mod:`initcheck.probe.reduce`): no activation leaves the device, and none is kept for longer than its
   gradient takes. Sums are taken in float32, and once more in float64 where float32 is not accurate.
4. *Finish on the host.* Sums become the quantities of the measurement table in float64, all seeds and sites at once.

A replicate depends on its own seed alone. So neither the number of seeds, nor how they are split, nor what is measured
beside it changes a single bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import repeat
from operator import call
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.probe.measure import MOST_BYTES_DRAWN, Measurement, Probe, count_bytes
from initcheck.probe.recurrence import join_over_time

Part = TypeVar("Part")

Draw = Callable[[Sequence[int]], Sequence[Any]]
"""From seeds to the values of all weights, each of shape [seeds, ...]: such as :meth:`RedrawPlan.sample`."""

Report = Callable[[float, int], None]
"""Called before each measurement with the number of seeds that are finished, those of the models before counted in
proportion, and with the position of the model to be measured."""


class Session:
    """Measures models that take the same weights: one model, or networks that differ in their activation functions.

    Args:
        threads: where given, they measure models side by side.
    """

    def __init__(self, probes: Sequence[Probe], threads: Executor | None = None) -> None:
        self.probes = tuple(probes)
        self._threads = threads

    def measure(self, draw: Draw, seeds: Sequence[int], report: Report | None = None) -> list[pd.DataFrame]:
        """Draw the weights of each seed once, and measure each model with them."""
        sums = self.measure_sums(draw, seeds, report)
        return [probe.tabulate(seeds, of_probe) for probe, of_probe in zip(self.probes, sums, strict=True)]

    def measure_sums(self, draw: Draw, seeds: Sequence[int], report: Report | None = None) -> list[NDArray[np.float64]]:
        """Measure as :meth:`measure` does, up to the sums of which each probe makes its table."""
        parts = self._measure_parts([probe.measure_sums for probe in self.probes], draw, seeds, report)
        return [np.concatenate(sums) for sums in parts]

    def measure_all(self, draw: Draw, seeds: Sequence[int], report: Report | None = None) -> list[Measurement]:
        """Measure as :meth:`measure` does, and the gradients of all weights."""
        parts = self._measure_parts([probe.measure_weights_all for probe in self.probes], draw, seeds, report)
        return [join_measurements(measured) for measured in parts]

    def _measure_parts(
        self,
        measure: Sequence[Callable[[Sequence[int], Sequence[Any]], Part]],
        draw: Draw,
        seeds: Sequence[int],
        report: Report | None,
    ) -> list[list[Part]]:
        found: list[list[Part]] = [[] for _ in measure]
        size = max(1, MOST_BYTES_DRAWN // max(1, count_bytes(self.probes[0].model)))
        for start in range(0, len(seeds), size):
            chunk = seeds[start : start + size]
            values = draw(chunk)
            parts = (self._threads.map if self._threads else map)(call, measure, repeat(chunk), repeat(values))
            for position, of_model in enumerate(found):
                if report is not None:
                    report(start + len(chunk) * position / len(measure), position)
                of_model.append(next(parts))
            del values, parts  # before the next ones are drawn
        return found


def join_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Join what one model gave for several groups of seeds."""
    return Measurement(
        pd.concat([part.table for part in parts], ignore_index=True),
        pd.concat([part.weights for part in parts], ignore_index=True),
        join_over_time([part.over_time for part in parts]) if parts[0].over_time else (),
        tuple(loss for part in parts for loss in part.losses),
    )
