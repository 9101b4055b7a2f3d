"""The reference study: every initializer x activation, on reference networks, measured into one record.

What costs most, the drawing of weights and the tracing of graphs, is shared. A network is traced once for
each activation and serves all initializers; weights are drawn once for each initializer and seed and serve
all activations, so that activations are compared on the same weights.
"""

from __future__ import annotations

import datetime
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from initcheck.audit.gains import summarize_propagation
from initcheck.backend import runtime
from initcheck.core.columns import KEY_COLUMNS, PREDICTED_COLUMNS, QUANTITIES, SITE_COLUMNS
from initcheck.core.errors import InitializerError, UsageError
from initcheck.core.progress import Progress
from initcheck.models.data import Batch, load_data
from initcheck.models.initializers import STUDY_INITIALIZERS, InitializerSpec, parse_initializer, uncovered_initializers
from initcheck.models.layers import HEAD
from initcheck.models.networks import NETWORKS, STUDY_ACTIVATIONS, NetworkSpec, check_activation, make_network
from initcheck.prediction import ModelPrediction, ModelPredictor, add_gain_predictions, add_site_predictions
from initcheck.probe import DrawingLoops, Probe, RedrawPlan, tabulate
from initcheck.study.record import NetworkDescription, NotMeasured, Provenance, StudyRecord

FEWEST_SEEDS: Final = 2
DATA_SEED: Final = 0
"""Seed of the batch: the same for all networks and seeds, so that only the weights differ."""

MOST_BYTES_DRAWN: Final = 2**26
"""Weights of at most this many bytes (but of one seed at least) are held at a time, whatever the number of seeds."""

DEFAULT_DATA: Final = {"notebook": "digits"}
"""The data of a network when none is asked for; all others get ``gaussian``."""

DEFAULT_ACTIVATIONS: Final = {"notebook": ("relu",)}
"""The activations of a network when none is asked for; all others get ``STUDY_ACTIVATIONS``."""

_LABELS: Final[dict[str, Any]] = {
    column.name: column.dtype
    for column in (*KEY_COLUMNS, *SITE_COLUMNS, *PREDICTED_COLUMNS)
    if column in SITE_COLUMNS or column.dtype != "Float64"
}
_NUMBERS: Final = (*QUANTITIES, *(column.name for column in PREDICTED_COLUMNS if column.dtype == "Float64"))

EVERY_NETWORK: Final = "every network"

DESCRIPTIONS: Final = {
    "mlp": "Fully connected: {depth} hidden layers of {width} units each and a linear head.",
    "notebook": "The founding notebook's network: Flatten, 300 and 100 hidden units, 10 outputs with softmax.",
    "conv": "A plain stack of {depth} 3 x 3 convolutions of {width} channels, global average pooling, a linear head.",
    "residual": "{depth} residual blocks x + Dense(activation(x)) of {width} units after a dense stem; a linear head.",
    "residual_normalized": (
        "{depth} residual blocks x + Dense(activation(BatchNormalization(x))) of {width} units after a dense stem; "
        "a linear head."
    ),
}


@dataclass(frozen=True)
class StudyOptions:
    """What to measure.

    Attributes:
        networks: names of reference networks.
        initializers: as a person writes them, ``HeNormal`` or ``RandomNormal(stddev=1.0)``; empty for all.
        activations: names of Keras activations; empty for each network's default.
        depth: hidden layers of the networks that take a depth; None for the network's default.
        width: units of the networks that take a width; None for the network's default.
        batch_size: samples in the batch.
        seeds: one network is drawn for each.
        data: a source for ``load_data``, for every network; None for each network's default.
        command_line: the command, for the record.
    """

    networks: tuple[str, ...] = ("mlp", "notebook")
    initializers: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    depth: int | None = None
    width: int | None = None
    batch_size: int = 64
    seeds: tuple[int, ...] = tuple(range(16))
    data: str | None = None
    command_line: str = ""


@dataclass(frozen=True)
class _Task:
    """One network with all that is measured on it."""

    name: str
    batch: Batch
    initializers: tuple[InitializerSpec, ...]
    activations: tuple[str, ...]
    depth: int | None
    width: int | None

    def specify(self, initializer: InitializerSpec, activation: str) -> NetworkSpec:
        return make_network(
            self.name, initializer=initializer, activation=activation, depth=self.depth, width=self.width
        )


def run_study(options: StudyOptions, progress: Progress | None = None) -> StudyRecord:
    """Measure all pairs of initializer and activation on each network.

    Args:
        options: what to measure.
        progress: called when the input is found good, before each pair, and at the end.

    Returns:
        The record: table, summary, what was not measured, and how it was done.

    Raises:
        UsageError: an unknown name or a number out of range.
        DataError: the data cannot be had.
        InitializerError: none of the initializers can make the weights of a network.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    tasks = _plan(options)
    total = sum(len(task.initializers) * len(task.activations) for task in tasks)
    if progress is not None:
        progress(0, total, "starting")
    done = 0
    collected = _Collection()
    not_measured: list[NotMeasured] = []
    descriptions: list[NetworkDescription] = []
    signal_layers: dict[str, tuple[str, ...]] = {}
    predictions: dict[tuple[str, str, str], ModelPrediction] = {}
    for task in tasks:
        network = _Measurement(task, options.seeds)
        for initializer in task.initializers:
            report = partial(
                _report_pair, progress, done, total, f"{task.name}: {initializer.label}", len(task.activations)
            )
            results = network.measure(initializer, report)
            done += len(results)
            for activation, result in results.items():
                if isinstance(result, InitializerError):
                    not_measured.append(NotMeasured(task.name, initializer.label, activation, str(result)))
                else:
                    prediction = network.predict(initializer, activation, result)
                    predictions[task.name, initializer.label, activation] = prediction
                    collected.add(add_site_predictions(result, prediction))
        descriptions.append(network.describe())
        signal_layers[task.name] = network.signal_layers
        # The graphs refer to themselves: without this their memory would still be held when the table is made.
        del network, report, results
        gc.collect()
    if progress is not None:
        progress(done, total, "summary")
    not_measured.extend(_uncovered(options))
    table = collected.make_table()
    return StudyRecord(
        table=table,
        summary=add_gain_predictions(summarize_propagation(table, signal_layers), predictions),
        signal_layers=signal_layers,
        not_measured=tuple(not_measured),
        provenance=Provenance(
            versions=runtime.versions(),
            command_line=options.command_line,
            started=started.isoformat(timespec="seconds"),
            duration_seconds=time.perf_counter() - clock,
            seeds=options.seeds,
            networks=tuple(descriptions),
            loss=(
                "a fixed random linear functional of the outputs, L = sum of r·y with normal r scaled to mean r² = 1, "
                "so that the gradient that enters the network from the top has second moment 1"
            ),
            training_mode="training=True: normalization by the statistics of the batch, as in the first training step",
            precision="float32 weights, signals and gradients; sums that float32 cannot hold are taken in float64",
        ),
    )


class _Collection:
    """Holds measurement tables in little memory until all are there: numbers as they are, labels as categories."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _NUMBERS}
        self._labels: list[pd.DataFrame] = []

    def add(self, table: pd.DataFrame) -> None:
        for name, parts in self._numbers.items():
            parts.append(table[name].to_numpy(dtype=np.float64, na_value=np.nan))
        self._labels.append(table[list(_LABELS)].astype("category"))

    def make_table(self) -> pd.DataFrame:
        """Put all tables into one, and hold them no longer."""
        length = sum(map(len, self._labels))
        columns: dict[str, Any] = {}
        for name, parts in self._numbers.items():
            columns[name] = np.concatenate(parts)
            parts.clear()
        for name, dtype in _LABELS.items():
            united = union_categoricals([labels[name] for labels in self._labels])
            columns[name] = pd.Series(united).astype(dtype).array
        self._labels.clear()
        return tabulate(columns, length)


class _Measurement:
    """Measures one network: a probe for each activation, weights for each initializer."""

    def __init__(self, task: _Task, seeds: tuple[int, ...]) -> None:
        self._task = task
        self._seeds = seeds
        self._probes: dict[str, Probe] = {}
        self._predictors: dict[str, ModelPredictor] = {}
        self._loops = DrawingLoops()
        self.signal_layers: tuple[str, ...] = ()

    def measure(
        self, initializer: InitializerSpec, report: Callable[[float, str], None]
    ) -> dict[str, pd.DataFrame | InitializerError]:
        """Measure an initializer under all activations.

        Args:
            initializer: the initializer.
            report: called as report(share of the work finished, activation) before each measurement.

        Returns:
            By activation the measurement table, or the reason why there is none. The weights of some seeds
            at a time are drawn once for all activations.
        """
        activations = self._task.activations
        try:
            model = self._probe(initializer, activations[0]).model
            spec = self._task.specify(initializer, activations[0])
            plan = RedrawPlan(model, spec.weight_initializers(model), self._loops)
        except InitializerError as error:
            return dict.fromkeys(activations, error)
        parts: dict[str, list[pd.DataFrame]] = {activation: [] for activation in activations}
        chunks = list(_chunk(self._seeds, sum(weight.numpy().nbytes for weight in model.weights)))
        for finished, chunk in enumerate(chunks):
            report(finished / len(chunks), activations[0])
            values = plan.sample(chunk)
            for position, activation in enumerate(activations):
                report((finished + position / len(activations)) / len(chunks), activation)
                parts[activation].append(self._probe(initializer, activation).measure_weights(chunk, values))
        return {
            activation: self._label(pd.concat(tables, ignore_index=True), initializer, activation)
            for activation, tables in parts.items()
        }

    def predict(self, initializer: InitializerSpec, activation: str, table: pd.DataFrame) -> ModelPrediction:
        """Predict what was measured of one pair.

        Args:
            initializer: the initializer.
            activation: the activation.
            table: the pair's measurement table.
        """
        model = self._probes[activation].model
        if activation not in self._predictors:
            self._predictors[activation] = ModelPredictor(model, self._task.batch.x)
        # The model is one for all initializers: its layers know only the first.
        head = self._spec.head_initializer
        return self._predictors[activation].predict(
            table, self.signal_layers, lambda layer: head if layer.name == HEAD else initializer
        )

    def describe(self) -> NetworkDescription:
        """Describe the network; known after something was measured.

        Raises:
            InitializerError: nothing could be measured.
        """
        task = self._task
        if not self._probes:
            raise InitializerError(
                f"No initializer can make the weights of the {task.name} network. "
                f"Received: {', '.join(spec.label for spec in task.initializers)}. Choose another."
            )
        spec = self._spec
        model = next(iter(self._probes.values())).model
        return NetworkDescription(
            name=task.name,
            description=DESCRIPTIONS[task.name].format(depth=spec.depth, width=spec.width),
            layers=sum(1 for layer in model.layers if layer.weights),
            parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
            data=task.batch.name,
            batch_size=task.batch.size,
            input_second_moment=task.batch.second_moment,
        )

    def _build(self, initializer: InitializerSpec, activation: str) -> Any:
        self._spec = self._task.specify(initializer, activation)
        self.signal_layers = self._spec.signal_layers()
        return self._spec.build(self._task.batch.sample_shape, seed=self._seeds[0])

    def _probe(self, initializer: InitializerSpec, activation: str) -> Probe:
        if activation not in self._probes:
            self._probes[activation] = Probe(self._build(initializer, activation), self._task.batch.x)
        return self._probes[activation]

    def _label(self, table: pd.DataFrame, initializer: InitializerSpec, activation: str) -> pd.DataFrame:
        keys = {
            "network": self._task.name,
            "initializer": initializer.label,
            "activation": activation,
            "depth": self._spec.depth,
            "width": self._spec.width,
            "data": self._task.batch.name,
        }
        for name, value in keys.items():
            table[name] = pd.Series(value, index=table.index, dtype=table[name].dtype)
        return table


def _plan(options: StudyOptions) -> list[_Task]:
    """Check all names and numbers, and load the data, before anything is measured."""
    if len(options.seeds) < FEWEST_SEEDS:
        raise UsageError(
            f"An interval needs at least {FEWEST_SEEDS} seeds: networks are the replicates. "
            f"Received: {len(options.seeds)}."
        )
    initializers = tuple(dict.fromkeys(map(parse_initializer, options.initializers))) or STUDY_INITIALIZERS
    activations = tuple(dict.fromkeys(map(check_activation, options.activations)))
    tasks = []
    for name in options.networks:
        chosen = activations or DEFAULT_ACTIVATIONS.get(name, STUDY_ACTIVATIONS)
        network = make_network(name, initializer=initializers[0], activation=chosen[0])
        depth = options.depth if "depth" in network.ADJUSTABLE else None
        width = options.width if "width" in network.ADJUSTABLE else None
        network = make_network(name, initializer=initializers[0], activation=chosen[0], depth=depth, width=width)
        source = options.data or DEFAULT_DATA.get(name, "gaussian")
        shape = network.sample_shape if source == "gaussian" else None
        batch = load_data(source, batch_size=options.batch_size, seed=DATA_SEED, sample_shape=shape)
        tasks.append(_Task(name, batch, initializers, chosen, depth, width))
    if not tasks:
        raise UsageError(f"Name at least one network. Known: {', '.join(NETWORKS)}. Received: none.")
    return tasks


def _uncovered(options: StudyOptions) -> list[NotMeasured]:
    """Name the installed initializers that a study of all of them leaves out."""
    if options.initializers:
        return []
    return [NotMeasured(EVERY_NETWORK, name, "all", reason) for name, reason in uncovered_initializers().items()]


def _chunk(seeds: Sequence[int], bytes_each: int) -> Iterator[Sequence[int]]:
    size = max(1, MOST_BYTES_DRAWN // max(bytes_each, 1))
    for start in range(0, len(seeds), size):
        yield seeds[start : start + size]


def _report_pair(
    progress: Progress | None, done: int, total: int, name: str, pairs: int, share: float, activation: str
) -> None:
    if progress is not None:
        progress(done + int(share * pairs), total, f"{name} × {activation}")
