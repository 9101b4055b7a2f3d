"""What a sweep will take, before it is begun: cells, time and memory; and what is left of it while it runs.

Times are those of one core of a reference machine, times the slowdown of the machine at hand: that of a fixed piece of
work before anything is finished, and from then on that of what is finished.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from initcheck.backend.interface import backend
from initcheck.backend.runtime import versions
from initcheck.core.errors import TheoryError
from initcheck.core.forecast import TimeLeft, measure_slowdown
from initcheck.core.formatting import Progress, count, format_duration, format_number
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import find_network, make_network
from initcheck.probe.measure import MOST_BYTES_DRAWN
from initcheck.study.run import StudyOptions, plan_study
from initcheck.sweeping.measurement import CellResult, Engine, Measure
from initcheck.sweeping.run import plan_sweep
from initcheck.sweeping.spec import Cell, SweepSpec, digest_files
from initcheck.sweeping.store import SweepStore
from initcheck.theory.weights import weight_distribution

# Processor time, read off the sweeps and studies that tests/sweeping/recorded_sweeps.csv and recorded_studies.csv hold.
_START_SECONDS: Final = 4.3
"""Importing Keras and TensorFlow, once a process."""
_GRAPH_SECONDS: Final = (0.65, 0.03)
"""Tracing one activation function's graph: at least this, and this more for each call of a layer."""
_CELL_SECONDS: Final = (0.04, 0.0035)
"""Tables and theory of one cell, likewise."""
_STUDY_GRAPH_SECONDS: Final = (0.3, 0.023)
"""Tracing where all graphs of a network are kept, and the functions that they share are traced once."""
_PAIR_SECONDS: Final = (0.01, 0.0017)
"""Table and theory of a pair of a study, which has no summary of its own."""
_REPEATED_SECONDS: Final = 0.03
"""Those of a pair that was measured under another initializer's name."""
_STUDY_OVERLAP: Final = 1.6
"""How many cores a study occupies on average where it has two or more, before its pages."""
_DRAW_SECONDS: Final = 0.06
"""Tracing the drawing of one initializer."""
_MULTIPLICATIONS_PER_SECOND: Final = 7.0e10
_ELEMENT_SECONDS: Final = 8e-9
"""One entry of a layer's output, with its statistics forward and backward."""
_WEIGHT_SECONDS: Final = 5e-9
"""The statistics of one weight and of its gradient."""
_DRAWN_WEIGHT_SECONDS: Final = 1.2e-8
"""Drawing one weight."""
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
_PAGE_SECONDS: Final = 0.028
"""What each pair of a study adds to the time of its summary, pictures and tables."""


@dataclass(frozen=True)
class SweepForecast:
    """What a sweep will take.

    Attributes:
        seconds: from the command to the last cell, with the start.
        start_seconds: until Keras and TensorFlow are loaded.
    """

    cells: int
    left: int
    stale: int
    changed: str
    graphs: int
    seconds: float
    start_seconds: float
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
            else "from the speed of this machine at this moment; a few finished cells make it better"
        )
        times = f"about {format_duration(self.seconds)}, {format_duration(self.start_seconds)} of it to start"
        lines = [
            f"{count(self.cells, 'cell')}, {self.left:,} to measure, on {count(self.graphs, 'traced graph')}.",
            f"Time: {times}, in {count(self.workers, 'process', 'processes')}, {ground}.",
            f"Memory: about {format_number(self.bytes_each / 2**30, 2)} GiB in each process.",
        ]
        if self.stale:
            lines.insert(1, f"{count(self.stale, 'cell')} to be measured again, because of a change: {self.changed}.")
        return "\n".join(lines)


def forecast_sweep(spec: SweepSpec, store: Path, workers: int) -> SweepForecast:
    """Forecast a sweep; nothing is measured or written."""
    slowdown, observed = measure_slowdown(), 0
    start = _START_SECONDS * slowdown
    installed, digests = versions(), digest_files(spec.cells, spec.data_folder)
    if store.exists():
        with SweepStore(store, readonly=True) as finished:
            plan = plan_sweep(spec, finished, installed, digests)
            finished_cells = finished.read_seconds()
            if len(finished_cells) >= _FEWEST_FINISHED:
                slowdown, observed = _compare_finished(finished_cells), len(finished_cells)
    else:
        plan = plan_sweep(spec, None, installed, digests)
    seconds = sum(estimate_seconds(plan.left, workers, os.cpu_count() or 1).values()) * slowdown
    return SweepForecast(
        cells=len(spec.cells),
        left=len(plan.left),
        stale=plan.stale,
        changed=plan.changed,
        graphs=len({cell.graph for cell in plan.left}),
        seconds=start + seconds / workers if plan.left else 0.0,
        start_seconds=start,
        workers=workers,
        bytes_each=max((estimate_bytes(cell) for cell in plan.left), default=0.0),
        observed=observed,
    )


def estimate_seconds(
    cells: Sequence[Cell], workers: int = 1, cores: int = 1, *, in_study: bool = False
) -> Mapping[Cell, float]:
    """Estimate the time of each cell; the first of a graph has to trace it.

    Seeds are measured side by side where each of the workers has several cores; so are the activation functions of a
    study, which draws the weights of an initializer once for all of them, and has one summary. A sweep does both for
    each cell.
    """
    several = cores // workers > 1
    side_by_side = backend().parallel_replicates if several and not in_study else 1
    overlap = _STUDY_OVERLAP if several and in_study else 1.0
    seconds: dict[Cell, float] = {}
    known: set[Any] = set()
    for cell in cells:
        fixed, each = _PAIR_SECONDS if in_study else _CELL_SECONDS
        calls = cell.depth * _count_calls(cell.network)
        seconds_of_cell = fixed + each * calls + len(cell.seeds) * calls * _LAYER_SECONDS
        layer_seconds = _multiplications(cell) / _MULTIPLICATIONS_PER_SECOND
        layer_seconds += cell.batch_size * cell.width * _positions(cell) * _ELEMENT_SECONDS
        layer_seconds += _kernel(cell) * _WEIGHT_SECONDS
        seconds_of_cell += len(cell.seeds) * cell.depth * layer_seconds / side_by_side
        least, layer = _STUDY_GRAPH_SECONDS if in_study else _GRAPH_SECONDS
        once: dict[Any, float] = {
            cell.graph: least + layer * calls,
            (cell.network, cell.width, cell.dtype, cell.initializer): _DRAW_SECONDS,
        }
        drawn = len(cell.seeds) * cell.depth * _kernel(cell) * _DRAWN_WEIGHT_SECONDS / side_by_side
        once[cell.setting, cell.initializer, None if in_study else cell.activation] = drawn
        seconds_of_cell += sum(needed for what, needed in once.items() if what not in known)
        known.update(once)
        seconds[cell] = seconds_of_cell / overlap
    return seconds


def estimate_bytes(cell: Cell) -> float:
    """Estimate the memory of a process that measures a cell."""
    weights = 4.0 * cell.depth * _kernel(cell)
    drawn = max(weights, min(weights * len(cell.seeds), MOST_BYTES_DRAWN))
    signals = 4.0 * _SIGNALS * cell.depth * cell.batch_size * cell.width * _positions(cell)
    return _PROCESS_BYTES + _COPIES * drawn + signals + _GRAPH_BYTES_PER_LAYER * cell.depth


@dataclass(frozen=True)
class TimedEngine:
    """An engine that hands all work to another, and notes how much of it is done."""

    engine: Engine
    left: TimeLeft
    cores: int = 1

    @contextmanager
    def open(self, data_folder: Path, versions: Mapping[str, str]) -> Iterator[Measure]:
        """Get ready as the engine does."""
        with self.engine.open(data_folder, versions) as measure:
            yield lambda cells: self._follow(measure, cells)

    def _follow(self, measure: Measure, cells: Sequence[Cell]) -> Iterator[CellResult]:
        needed = estimate_seconds(cells, self.left.workers, self.cores)
        self.left.begin(math.fsum(needed.values()))
        for result in measure(cells):
            self.left.finish(needed[result.cell])
            yield result


def follow_study(options: StudyOptions, progress: Progress, left: TimeLeft, cores: int = 1) -> Progress:
    """Make the function that passes on a study's progress and notes what is done; last come its pages."""
    needed = estimate_study(options, cores)
    done = 0

    def follow(pairs: int, total: int, what: str) -> None:
        nonlocal done
        if pairs == done == 0 and left.seconds is None:
            left.begin(math.fsum(needed))
        if pairs > done:
            left.finish(math.fsum(needed[done:pairs]))
            done = pairs
        progress(pairs, total, what)

    return follow


def estimate_study(options: StudyOptions, cores: int = 1) -> list[float]:
    """Estimate the time of each pair of a study, in order, and of its pages.

    Initializers that have one distribution between hidden layers are taken to draw alike, and so to be measured once.
    """
    needed: list[float] = []
    for task in plan_study(options):
        spec = task.spec
        cells = {
            (initializer, activation): Cell(
                network=spec.name,
                initializer=initializer.label,
                activation=activation,
                depth=spec.depth,
                width=spec.width,
                data=task.batch.name,
                batch_size=task.batch.size,
                seeds=options.seeds,
            )
            for initializer in task.initializers
            for activation in task.activations
        }
        first: dict[Any, InitializerSpec] = {}
        for initializer in task.initializers:
            first.setdefault(_find_distribution(initializer, spec.width), initializer)
        measured = [cell for (initializer, _), cell in cells.items() if initializer in first.values()]
        seconds = estimate_seconds(measured, cores=cores, in_study=True)
        needed += [seconds.get(cell, _REPEATED_SECONDS) for cell in cells.values()]
    return [*needed, _PAGE_SECONDS * len(needed)]


def _find_distribution(initializer: InitializerSpec, width: int) -> Any:
    """Find what an initializer draws between layers of one width: itself where theory does not know it."""
    try:
        return weight_distribution(initializer, (width, width))
    except TheoryError:
        return initializer


def _compare_finished(observed: Sequence[tuple[Cell, float]]) -> float:
    """Compute how many times longer finished cells took than estimated.

    A graph that two workers traced, or a resumed run, counts twice there and once here: that is part of the ratio.
    """
    estimated = sum(estimate_seconds([cell for cell, _ in observed]).values())
    return math.fsum(seconds for _, seconds in observed) / estimated


@cache
def _count_calls(network: str) -> int:
    """Count the calls of layers in each hidden layer of a network, whatever its initializer and activation function."""
    return make_network(network, initializer=InitializerSpec("GlorotUniform"), activation="relu").calls


def _kernel(cell: Cell) -> float:
    return float(cell.width**2) * find_network(cell.network).WINDOW


def _positions(cell: Cell) -> float:
    return float(find_network(cell.network).POSITIONS)


def _multiplications(cell: Cell) -> float:
    """Count the multiplications of a layer, forward and twice backward."""
    return 3.0 * cell.batch_size * _kernel(cell) * _positions(cell)
