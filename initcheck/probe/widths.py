"""Networks that are trained for a few steps from drawn weights, and how their signals have changed since.

The weights are values that go through compiled graphs: the model that they belong to is neither trained nor changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.gradients import Optimizer, make_slots, update_step
from initcheck.backend.interface import Forward, backend
from initcheck.backend.operations import find_reached
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import dtype_name, import_keras
from initcheck.core.errors import ModelError
from initcheck.probe.capture import Capture, Site, make_recording_scope
from initcheck.probe.measure import Loss, Probe
from initcheck.probe.reduce import mean_float64

LEARNING_RATES: Final[dict[Optimizer, float]] = {"sgd": 0.01, "adam": 0.001}
"""Those of Keras' optimizers."""

SIZES: Final = ("start_rms", "start_mean_abs", "trained_rms", "trained_mean_abs", "change_rms", "change_mean_abs")


@dataclass(frozen=True)
class MeasuredSite:
    """A layer call of which sizes are taken."""

    site: Site
    output: bool
    trained: bool


class WidthProbe(Probe):
    """Draws and trains networks of one architecture, and measures their signals before and after."""

    def __init__(
        self,
        model: Any,
        inputs: Any,
        *,
        loss: Loss,
        optimizer: Optimizer,
        learning_rate: float,
        initializers: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(model, inputs, loss=loss, initializers=initializers)
        trainable = {id(variable) for variable in model.trainable_variables}
        self._trained = [place for place, weight in enumerate(model.weights) if id(weight) in trainable]
        self._optimizer, self._rate = optimizer, learning_rate
        self._loss_of = loss
        self._captured_sites: tuple[MeasuredSite, ...] = ()
        self._step_graph: Callable[..., Any] | None = None
        self._size_graph: Callable[..., Any] | None = None

    @property
    def captured_sites(self) -> tuple[MeasuredSite, ...]:
        """The layer calls in the order of execution; known after the first measurement."""
        return self._captured_sites

    def measure_sizes(self, seed: int, steps: int) -> NDArray[np.float64]:
        """Draw weights, train them, and compare."""
        states = import_keras().ops.convert_to_tensor(self.plan.derive([seed])[0])
        start = [values[0] for values in self.plan.sample([seed])]
        end = self.train(start, states, steps)
        if self._size_graph is None:
            self._size_graph = self._compile_graph(self._reduce_sizes, [start, start, states])
        with preserved_random_state():
            return np.asarray(self._size_graph(*start, *end, states), dtype=np.float64)

    def train(self, start: Sequence[Any], states: Any, steps: int) -> list[Any]:
        """Train weights for some steps on the one batch; statistics of normalization layers stay as they were."""
        weights = list(start)
        slots = make_slots(self._optimizer, [weights[place] for place in self._trained])
        for number in range(steps):
            count = import_keras().ops.convert_to_tensor(np.float32(number + 1))
            if self._step_graph is None:
                self._step_graph = self._compile_graph(self._make_step, [weights, slots, states, count])
            with preserved_random_state():
                made = self._step_graph(*weights, *slots, states, count)
            weights, slots = list(made[: len(weights)]), list(made[len(weights) :])
        return weights

    def _compile_graph(self, function: Callable[..., Any], example: Sequence[Any]) -> Callable[..., Any]:
        """Trace a function of tensors like those of the example, whose lists are flattened."""
        flat = import_keras().tree.flatten(list(example))
        with preserved_random_state():
            return backend().trace(function, [(tuple(tensor.shape), dtype_name(tensor)) for tensor in flat])

    def _make_step(self, *flat: Any) -> list[Any]:
        """Make one step of training. Called while the graph is traced."""
        count = len(self.model.weights)
        weights, slots, (states, number) = list(flat[:count]), flat[count:-2], flat[-2:]

        def compute_loss(trained: Sequence[Any]) -> tuple[Any, None]:
            current = list(weights)
            for place, value in zip(self._trained, trained, strict=True):
                current[place] = value
            with make_recording_scope(self._state(current, states)):
                return self._loss_of(self._call_model(self._inputs)), None

        trained = [weights[place] for place in self._trained]
        step = update_step(compute_loss, trained, self._rate, self._optimizer, slots, number)
        for place, updated in zip(self._trained, step.weights, strict=True):
            weights[place] = updated
        return [*weights, *step.slots]

    def _reduce_sizes(self, *flat: Any) -> Any:
        """Reduce the passes before and after training to sizes. Called while the graph is traced."""
        ops = import_keras().ops
        count = len(self.model.weights)
        start, end, states = flat[:count], flat[count:-1], flat[-1]
        (before, old), (after, new) = self._capture(start, states), self._capture(end, states)
        if [each.site.layer for each in before] != [each.site.layer for each in after]:
            raise ModelError(f"The model {self.model.name!r} calls other layers from one call to the next.")
        if not before:
            raise ModelError(
                f"The model {self.model.name!r} calls no layers, so there is nothing to measure. "
                "Let it compute by layers of keras.layers."
            )
        self._captured_sites = tuple(before)
        rows = []
        with backend().double_precision():
            for pair in zip(old, new, strict=True):
                drawn, trained = (ops.cast(each, "float64") for each in pair)
                rows.append(
                    ops.stack([size for signal in (drawn, trained, trained - drawn) for size in _sizes(signal)])
                )
            return ops.stack(rows)

    def _capture(self, weights: Sequence[Any], states: Any) -> tuple[list[MeasuredSite], list[Any]]:
        """Record one pass; return the layer calls, and the signal of each."""
        keras = import_keras()
        flat = keras.tree.flatten(self._inputs)
        capture: Capture
        outputs: set[int] = set()

        def forward(given: Sequence[Any]) -> Forward:
            nonlocal capture
            capture = Capture(self._namer)
            inputs = self._watch_inputs(capture, given[len(weights) :])
            with make_recording_scope(self._state(given[: len(weights)], states)), capture.watch():
                outputs.update(id(tensor) for tensor in keras.tree.flatten(self._call_model(inputs)))
            return Forward([], capture.tensors())

        recorded = backend().record_pass(forward, [*weights, *flat])
        sites = [site for site in capture.sites if site.kind != "Input"]
        last = [site for site in sites if id(site.output) in outputs]
        # An activation function that is a layer of its own follows the layer of the logits.
        received = {recorded.identify(site.preactivation) for site in last if site.preactivation is not None}
        trained = [recorded.name_of(recorded.sources[place]) for place in self._trained]
        reached = find_reached(recorded.operations, trained)
        found = [
            MeasuredSite(
                site,
                output=id(site.output) in outputs or recorded.identify(site.output) in received,
                trained=recorded.name_of(site.output) in reached,
            )
            for site in sites
        ]
        return found, recorded.evaluate([_signal(each) for each in found])[0]

    def _state(self, weights: Sequence[Any], states: Any) -> list[tuple[Any, Any]]:
        return [*zip(self.model.weights, weights, strict=True), *self.plan.generator_states(states)]


def _signal(measured: MeasuredSite) -> Any:
    """Return what a layer returned; of an output what went into its activation function: logits, not probabilities."""
    site = measured.site
    return site.preactivation if measured.output and site.preactivation is not None else site.output


def _sizes(signal: Any) -> tuple[Any, Any]:
    ops = import_keras().ops
    return ops.sqrt(mean_float64(ops.square(signal))), mean_float64(ops.abs(signal))
