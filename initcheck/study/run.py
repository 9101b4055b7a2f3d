"""The reference study: every initializer x activation, on reference networks, measured into one record."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.gains import summarize_propagation
from initcheck.backend import runtime
from initcheck.backend.random_state import preserved_random_state
from initcheck.core.errors import InitializerError, UsageError
from initcheck.core.formatting import Progress, no_progress
from initcheck.core.seeds import BATCH_SEED, FEWEST_SEEDS
from initcheck.models.data import Batch, load_data
from initcheck.models.initializers import InitializerSpec, parse_initializer, study_initializers, uncovered_initializers
from initcheck.models.networks import NETWORKS, NetworkSpec, check_activation, find_network, make_network
from initcheck.prediction import ModelPrediction, Pair, add_gain_predictions, add_site_predictions
from initcheck.probe.session import Report
from initcheck.study.measurement import NetworkMeasurement
from initcheck.study.record import NetworkDescription, NotMeasured, Provenance, StudyRecord

_SIDE_BY_SIDE: Final = 2
"""How many activation functions are measured at a time: while one of them occupies Python, the other's graph runs."""

_LEFT_OUT: Final = ("input_second_moment", "softmax_certainty")
"""Measured columns that are for the user's models: a layer of a reference network receives what another puts out."""

EVERY_NETWORK: Final = "every network"


@dataclass(frozen=True)
class StudyOptions:
    """What to measure.

    Attributes:
        networks: names of reference networks.
        initializers: as a person writes them, ``HeNormal`` or ``RandomNormal(stddev=1.0)``; empty for all.
        activations: names of Keras activations; empty for each network's default.
        depth: hidden layers of the networks that take a depth; None for the network's default.
        widths: units of the networks that take a width, each measured at all of them: at the first under its own
            name, at others under one that ends in the width; empty for the network's default.
        batch_size: samples in the batch.
        seeds: one network is drawn for each.
        data: a source for ``load_data``, for every network; None for each network's default.
        command_line: the command, for the record.
    """

    networks: tuple[str, ...] = ("mlp", "notebook")
    initializers: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    depth: int | None = None
    widths: tuple[int, ...] = ()
    batch_size: int = 64
    seeds: tuple[int, ...] = tuple(range(16))
    data: str | None = None
    command_line: str = ""


@dataclass(frozen=True)
class StudyTask:
    """One network with all that is measured on it, under a name of its own in the study."""

    name: str
    spec: NetworkSpec
    batch: Batch
    initializers: tuple[InitializerSpec, ...]
    activations: tuple[str, ...]

    def specify(self, initializer: InitializerSpec, activation: str) -> NetworkSpec:
        """Make the network of one pair."""
        return replace(self.spec, initializer=initializer, activation=activation)


def run_study(options: StudyOptions, progress: Progress = no_progress) -> StudyRecord:
    """Measure all pairs of initializer and activation on each network.

    Args:
        options: what to measure.
        progress: called when the options are checked, before each pair, and at the end.

    Returns:
        The record: table, summary, what was not measured, and how it was done.

    Raises:
        UsageError: an unknown name or a number out of range.
        DataError: the data cannot be had.
        InitializerError: none of the initializers can make the weights of a network.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    tasks = plan_study(options)
    total = sum(len(task.initializers) * len(task.activations) for task in tasks)
    progress(0, total, "starting")
    done = 0
    tables: list[pd.DataFrame] = []
    not_measured: list[NotMeasured] = []
    descriptions: list[NetworkDescription] = []
    signal_layers: dict[str, tuple[str, ...]] = {}
    summaries: list[Future[pd.DataFrame]] = []
    with (
        preserved_random_state(),
        ThreadPoolExecutor(_SIDE_BY_SIDE) as measuring,
        ThreadPoolExecutor(1) as theory,
    ):
        for task in tasks:
            network = NetworkMeasurement(task.specify, task.batch, options.seeds, name=task.name, threads=measuring)
            signal_layers[task.name] = task.spec.signal_layers()
            predicting: dict[Pair, Future[_Predicted]] = {}
            for initializer in task.initializers:
                report = _make_report(progress, done, total, task, initializer, len(options.seeds))
                try:
                    measured = network.measure_sums(initializer, task.activations, report)
                except InitializerError as error:
                    not_measured += [
                        NotMeasured(task.name, initializer.label, activation, str(error))
                        for activation in task.activations
                    ]
                else:
                    for activation, sums in zip(task.activations, measured, strict=True):
                        pair = (task.name, initializer.label, activation)
                        predicting[pair] = theory.submit(_predict, network, initializer, activation, sums)
                done += len(task.activations)
            descriptions.append(_describe(network, task))
            found = {pair: predicted.result() for pair, predicted in predicting.items()}
            # Without this the memory of the graphs would still be held when the table is made.
            del network, report, predicting
            runtime.release_memory()
            tables.append(pd.concat([table for table, _ in found.values()], ignore_index=True))
            predictions = {pair: prediction for pair, (_, prediction) in found.items()}
            summaries.append(theory.submit(_summarize, tables[-1], {task.name: signal_layers[task.name]}, predictions))
            del found
        progress(done, total, "summary")
        summary = pd.concat([each.result() for each in summaries], ignore_index=True)
    not_measured.extend(_uncovered(options))
    table = pd.concat(tables, ignore_index=True)
    tables.clear()
    runtime.release_memory()
    table = table.assign(**dict.fromkeys(_LEFT_OUT, pd.array([pd.NA] * len(table), dtype="Float64")))
    return StudyRecord(
        table=table,
        summary=summary,
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


_Predicted = tuple[pd.DataFrame, ModelPrediction]


def _predict(
    network: NetworkMeasurement, initializer: InitializerSpec, activation: str, sums: NDArray[np.float64]
) -> _Predicted:
    """Make the table of a pair, and put beside it what theory predicts."""
    table = network.tabulate(initializer, activation, sums)
    prediction = network.predict(initializer, activation, table)
    return add_site_predictions(table, prediction), prediction


def _summarize(
    table: pd.DataFrame, signal_layers: Mapping[str, Sequence[str]], predictions: Mapping[Pair, ModelPrediction]
) -> pd.DataFrame:
    """Summarize the pairs of a network, with what theory predicts of them."""
    return add_gain_predictions(summarize_propagation(table, signal_layers), predictions)


def _describe(network: NetworkMeasurement, task: StudyTask) -> NetworkDescription:
    """Describe a network after it was measured."""
    if not network.models:
        raise InitializerError(
            f"No initializer can make the weights of the {task.name} network. "
            f"Received: {', '.join(spec.label for spec in task.initializers)}. Choose another."
        )
    model = network.models[0]
    return NetworkDescription(
        name=task.name,
        description=task.spec.description,
        layers=sum(1 for layer in model.layers if layer.weights),
        parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        data=task.batch.name,
        batch_size=task.batch.size,
        input_second_moment=task.batch.second_moment,
    )


def plan_study(options: StudyOptions) -> list[StudyTask]:
    """Check all names and numbers, and load the data, before anything is measured."""
    if len(options.seeds) < FEWEST_SEEDS:
        raise UsageError(
            f"An interval needs at least {FEWEST_SEEDS} seeds: networks are the replicates. "
            f"Received: {len(options.seeds)}."
        )
    initializers = tuple(dict.fromkeys(map(parse_initializer, options.initializers))) or study_initializers()
    activations = tuple(dict.fromkeys(map(check_activation, options.activations)))
    tasks = []
    for name in options.networks:
        kind = find_network(name)
        chosen = activations or kind.ACTIVATIONS
        depth = options.depth if "depth" in kind.ADJUSTABLE else None
        given = tuple(dict.fromkeys(options.widths)) if "width" in kind.ADJUSTABLE else ()
        widths: tuple[int | None, ...] = given or (None,)
        for place, width in enumerate(widths):
            network = make_network(name, initializer=initializers[0], activation=chosen[0], depth=depth, width=width)
            source = options.data or kind.DATA
            shape = network.sample_shape if source == "gaussian" else None
            batch = load_data(source, batch_size=options.batch_size, seed=BATCH_SEED, sample_shape=shape)
            own_name = f"{network.name}_{width}" if place else network.name
            tasks.append(StudyTask(own_name, network, batch, initializers, chosen))
    if not tasks:
        raise UsageError(f"Name at least one network. Known: {', '.join(NETWORKS)}. Received: none.")
    return tasks


def _uncovered(options: StudyOptions) -> list[NotMeasured]:
    """Name the installed initializers that a study of all of them leaves out."""
    if options.initializers:
        return []
    return [NotMeasured(EVERY_NETWORK, name, "all", reason) for name, reason in uncovered_initializers().items()]


def _make_report(
    progress: Progress, done: int, total: int, task: StudyTask, initializer: InitializerSpec, seeds: int
) -> Report:
    """Make the function that shows which pair is being measured."""

    def report(finished: float, place: int) -> None:
        pairs = done + int(finished / seeds * len(task.activations))
        progress(pairs, total, f"{task.name}: {initializer.label} × {task.activations[place]}")

    return report
