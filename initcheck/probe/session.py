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
from typing import Any, TypeVar

import pandas as pd

from initcheck.backend.graphs import as_array
from initcheck.core.files import digest_arrays
from initcheck.probe.measure import MOST_BYTES_DRAWN, Measurement, Probe, count_bytes
from initcheck.probe.recurrence import join_over_time

Part = TypeVar("Part")

Draw = Callable[[Sequence[int]], Sequence[Any]]
"""From seeds to the values of all weights, each of shape [seeds, ...]: such as :meth:`RedrawPlan.sample`."""

KnownTables = dict[tuple[Any, ...], pd.DataFrame]
"""Measurement tables by the probe that measured, the seeds, and the digest of the weights that were drawn."""

Report = Callable[[float, int], None]
"""Called before each measurement with the number of seeds that are finished, those of the models before counted in
proportion, and with the position of the model to be measured."""


class Session:
    """Measures models that take the same weights: one model, or networks that differ in their activation functions.

    Args:
        known: where given, what :meth:`measure` finds is kept there, and weights that are drawn once more (by an
            initializer of another name, say) are not measured again.
    """

    def __init__(self, probes: Sequence[Probe], known: KnownTables | None = None) -> None:
        self.probes = tuple(probes)
        self._known = known

    def measure(self, draw: Draw, seeds: Sequence[int], report: Report | None = None) -> list[pd.DataFrame]:
        """Draw the weights of each seed once, and measure each model with them."""
        parts = self._measure_parts([probe.measure_weights for probe in self.probes], draw, seeds, report, self._known)
        return [pd.concat(tables, ignore_index=True) for tables in parts]

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
        known: dict[tuple[Any, ...], Part] | None = None,
    ) -> list[list[Part]]:
        found: list[list[Part]] = [[] for _ in measure]
        size = max(1, MOST_BYTES_DRAWN // max(1, count_bytes(self.probes[0].model)))
        for start in range(0, len(seeds), size):
            chunk = seeds[start : start + size]
            values: Sequence[Any] | None = None
            digest = ""
            for position, measure_one in enumerate(measure):
                if report is not None:
                    report(start + len(chunk) * position / len(measure), position)
                if values is None:
                    values = draw(chunk)
                    digest = "" if known is None else digest_arrays(map(as_array, values))
                key = (self.probes[position], tuple(chunk), digest)
                part = measure_one(chunk, values) if known is None or key not in known else known[key]
                if known is not None:
                    known[key] = part
                found[position].append(part)
        return found


def join_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Join what one model gave for several groups of seeds."""
    return Measurement(
        pd.concat([part.table for part in parts], ignore_index=True),
        pd.concat([part.weights for part in parts], ignore_index=True),
        join_over_time([part.over_time for part in parts]) if parts[0].over_time else (),
        tuple(loss for part in parts for loss in part.losses),
    )
