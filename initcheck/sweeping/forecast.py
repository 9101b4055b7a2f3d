"""What a sweep will take, before it is begun: cells, time and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from initcheck.backend.runtime import versions
from initcheck.core.formatting import count, format_duration, format_number
from initcheck.models.networks import find_network
from initcheck.probe.measure import MOST_BYTES_DRAWN
from initcheck.sweeping.run import plan_sweep
from initcheck.sweeping.spec import Cell, SweepSpec, digest_files
from initcheck.sweeping.store import SweepStore

# Read off a sweep of 1,140 cells on a server; finished cells correct them for the machine at hand.
_GRAPH_SECONDS: Final = (0.75, 0.06)
"""Tracing one activation function's graph: at least this, and this more for each layer."""
_CELL_SECONDS: Final = (0.05, 0.0055)
"""Tables and theory of one cell, likewise."""
_DRAW_SECONDS: Final = 0.15
"""Tracing the drawing of one initializer."""
_MULTIPLICATIONS_PER_SECOND: Final = 1.0e10
_LAYER_SECONDS: Final = 6e-5
"""One layer of one seed, forward and backward with statistics, however small."""

_PROCESS_BYTES: Final = 800 * 2**20
"""A process with Keras and TensorFlow, before it measures."""
_GRAPH_BYTES_PER_LAYER: Final = 3.0 * 2**20
"""Also what is not given back of the graphs before."""
_COPIES: Final = 3
"""Weights as drawn, as taken from the stack, and their gradients."""
_SIGNALS: Final = 6
"""Tensors of a layer's output that are alive together: two replicates with pre-activation, output and gradient."""

_FEWEST_FINISHED: Final = 5


@dataclass(frozen=True)
class SweepForecast:
    """What a sweep will take."""

    cells: int
    left: int
    stale: int
    changed: str
    graphs: int
    seconds: float
    workers: int
    bytes_each: float
    observed: int

    @property
    def text(self) -> str:
        """The forecast for a terminal."""
        if not self.left:
            return f"{count(self.cells, 'cell')}, all finished: nothing to measure."
        ground = (
            f"from {count(self.observed, 'finished cell')} on this store"
            if self.observed
            else "from another machine's speed; a few finished cells make it better"
        )
        lines = [
            f"{count(self.cells, 'cell')}, {self.left:,} to measure, on {count(self.graphs, 'traced graph')}.",
            f"Time: about {format_duration(self.seconds)} in {count(self.workers, 'process', 'processes')}, {ground}.",
            f"Memory: about {format_number(self.bytes_each / 2**30, 2)} GiB in each process.",
        ]
        if self.stale:
            lines.insert(1, f"{count(self.stale, 'cell')} to be measured again, because of a change: {self.changed}.")
        return "\n".join(lines)


def forecast_sweep(spec: SweepSpec, store: Path, workers: int) -> SweepForecast:
    """Forecast a sweep; nothing is measured or written."""
    speed, observed = 1.0, 0
    installed, digests = versions(), digest_files(spec.cells, spec.data_folder)
    if store.exists():
        with SweepStore(store, readonly=True) as finished:
            plan = plan_sweep(spec, finished, installed, digests)
            speed, observed = _measure_slowdown(finished.read_seconds())
    else:
        plan = plan_sweep(spec, None, installed, digests)
    seconds = sum(estimate_seconds(plan.left).values()) * speed
    return SweepForecast(
        cells=len(spec.cells),
        left=len(plan.left),
        stale=plan.stale,
        changed=plan.changed,
        graphs=len({cell.graph for cell in plan.left}),
        seconds=seconds / workers,
        workers=workers,
        bytes_each=max((estimate_bytes(cell) for cell in plan.left), default=0.0),
        observed=observed,
    )


def estimate_seconds(cells: Sequence[Cell]) -> Mapping[Cell, float]:
    """Estimate the time of each cell on one core; the first of a graph has to trace it."""
    seconds: dict[Cell, float] = {}
    known: set[Any] = set()
    for cell in cells:
        fixed, each = _CELL_SECONDS
        time = fixed + each * cell.depth + len(cell.seeds) * cell.depth * _LAYER_SECONDS
        time += len(cell.seeds) * cell.depth * _multiplications(cell) / _MULTIPLICATIONS_PER_SECOND
        least, layer = _GRAPH_SECONDS
        traced = {
            cell.graph: least + layer * cell.depth,
            (cell.network, cell.width, cell.dtype, cell.initializer): _DRAW_SECONDS,
        }
        time += sum(needed for what, needed in traced.items() if what not in known)
        known.update(traced)
        seconds[cell] = time
    return seconds


def estimate_bytes(cell: Cell) -> float:
    """Estimate the memory of a process that measures a cell."""
    weights = 4.0 * cell.depth * _kernel(cell)
    drawn = max(weights, min(weights * len(cell.seeds), MOST_BYTES_DRAWN))
    signals = 4.0 * _SIGNALS * cell.depth * cell.batch_size * cell.width * _positions(cell)
    return _PROCESS_BYTES + _COPIES * drawn + signals + _GRAPH_BYTES_PER_LAYER * cell.depth


def _measure_slowdown(observed: Sequence[tuple[Cell, float]]) -> tuple[float, int]:
    """Compute how many times longer finished cells took than estimated, and count them.

    A graph that two workers traced, or a resumed run, counts twice there and once here: that is part of the ratio.
    """
    if len(observed) < _FEWEST_FINISHED:
        return 1.0, 0
    estimated = sum(estimate_seconds([cell for cell, _ in observed]).values())
    return math.fsum(seconds for _, seconds in observed) / estimated, len(observed)


def _kernel(cell: Cell) -> float:
    return float(cell.width**2) * find_network(cell.network).WINDOW


def _positions(cell: Cell) -> float:
    return float(find_network(cell.network).POSITIONS)


def _multiplications(cell: Cell) -> float:
    """Count the multiplications of a layer, forward and twice backward."""
    return 3.0 * cell.batch_size * _kernel(cell) * _positions(cell)
