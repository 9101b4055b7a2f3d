"""Measuring and predicting one reference network under any initializer and any activation function.

What costs most, the drawing of weights and the tracing of graphs, is shared. A network is traced once for each
activation function and serves all initializers; weights are drawn once for each initializer and seed and serve all
activation functions, so that these are compared on the same weights. Initializers that draw the same weights, bit for
bit, are measured once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.models.data import Batch
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import HEAD, NetworkSpec
from initcheck.prediction import ModelPrediction, ModelPredictor
from initcheck.probe import DrawingLoops, Probe, RedrawPlan
from initcheck.probe.session import Report, Session

Specify = Callable[[InitializerSpec, str], NetworkSpec]
"""From an initializer and the name of an activation function to the network that has them."""


class NetworkMeasurement:
    """Measures one reference network on one batch, under a dtype policy or the process's own.

    Args:
        name: of the network in the tables; its own by default.
        one_graph: keep the graph of one activation function alone, the last that was measured.
        threads: where given, they measure activation functions side by side.
    """

    def __init__(
        self,
        specify: Specify,
        batch: Batch,
        seeds: Sequence[int],
        *,
        name: str = "",
        dtype: str | None = None,
        loops: DrawingLoops | None = None,
        one_graph: bool = False,
        threads: Executor | None = None,
    ) -> None:
        self.batch = batch
        self._specify = specify
        self._seeds = tuple(seeds)
        self._name = name
        self._dtype = dtype
        self._loops = loops or DrawingLoops()
        self._one_graph = one_graph
        self._threads = threads
        self._plans: dict[InitializerSpec, RedrawPlan] = {}
        self._probes: dict[str, Probe] = {}
        self._predictors: dict[str, ModelPredictor] = {}
        self._known: dict[tuple[Any, ...], dict[str, NDArray[np.float64]]] = {}

    @property
    def models(self) -> tuple[Any, ...]:
        """The models that were traced and are kept, one for each activation function."""
        return tuple(probe.model for probe in self._probes.values())

    def measure(
        self, initializer: InitializerSpec, activations: Sequence[str], report: Report | None = None
    ) -> list[pd.DataFrame]:
        """Measure an initializer under some activation functions, on the same weights."""
        sums = self.measure_sums(initializer, activations, report)
        return [self.tabulate(initializer, *of_activation) for of_activation in zip(activations, sums, strict=True)]

    def measure_sums(
        self, initializer: InitializerSpec, activations: Sequence[str], report: Report | None = None
    ) -> list[NDArray[np.float64]]:
        """Measure as :meth:`measure` does, up to the sums of which `tabulate` makes the tables."""
        probes = [self._find_probe(initializer, activation) for activation in activations]
        if initializer not in self._plans:
            model = probes[0].model
            initializers = self._specify(initializer, activations[0]).weight_initializers(model)
            self._plans[initializer] = RedrawPlan(model, initializers, self._loops)
        plan = self._plans[initializer]
        known = {} if plan.drawn_by is None else self._known.setdefault(plan.drawn_by, {})
        if not known.keys() >= set(activations):
            sums = Session(probes, self._threads).measure_sums(plan.sample, self._seeds, report)
            known |= zip(activations, sums, strict=True)
        return [known[activation] for activation in activations]

    def tabulate(self, initializer: InitializerSpec, activation: str, sums: NDArray[np.float64]) -> pd.DataFrame:
        """Make the table of an initializer and an activation function."""
        table = self._probes[activation].tabulate(self._seeds, sums)
        spec = self._specify(initializer, activation)
        labels = {
            "network": self._name or spec.name,
            "initializer": initializer.label,
            "activation": activation,
            "depth": spec.depth,
            "width": spec.width,
            "data": self.batch.name,
        }
        for name, value in labels.items():
            table[name] = pd.Series(value, index=table.index, dtype=table[name].dtype)
        return table

    def predict(self, initializer: InitializerSpec, activation: str, table: pd.DataFrame) -> ModelPrediction:
        """Predict what was measured of an initializer and the activation function, as in ``table``."""
        if activation not in self._predictors:
            self._predictors[activation] = ModelPredictor(self._probes[activation].model, self.batch.x)
        # The model is one for all initializers: its layers know only the first.
        spec = self._specify(initializer, activation)
        return self._predictors[activation].predict(
            table,
            spec.signal_layers(),
            lambda layer: spec.head_initializer if layer.name == HEAD else initializer,
        )

    def _find_probe(self, initializer: InitializerSpec, activation: str) -> Probe:
        if activation not in self._probes:
            if self._one_graph and self._probes:
                self._probes.clear()
                self._predictors.clear()
                self._known.clear()
                gc.collect()  # graphs refer to themselves
            with _dtype_policy(self._dtype):
                spec = self._specify(initializer, activation)
                model = spec.build(self.batch.sample_shape, seed=self._seeds[0])
            self._probes[activation] = Probe(model, self.batch.x)
        return self._probes[activation]


@contextmanager
def _dtype_policy(name: str | None) -> Iterator[None]:
    """Let new layers have a dtype policy; None leaves it as it is."""
    config = import_keras().config
    former = config.dtype_policy()
    if name is not None:
        config.set_dtype_policy(name)
    try:
        yield
    finally:
        config.set_dtype_policy(former)
