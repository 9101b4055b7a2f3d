"""A probe for the middle of training: the weights as they are at this moment, at the price of one compiled call.

:meth:`initcheck.probe.Probe.measure_current` is made for many draws and a table at once; on a small network its loop
and its table cost several training steps. Here the same forward and backward pass, reduced in the same way, reads the
model's own variables and returns one vector, which becomes rows of a table later, many steps at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.gradients import Optimizer, make_slots, update_step
from initcheck.backend.graphs import copy_tensor, current_graph, operation_name
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, import_tensorflow, is_float_dtype
from initcheck.core.errors import ModelError
from initcheck.probe import Probe
from initcheck.probe.capture import Capture, Site
from initcheck.probe.layer_kinds import main_kernel
from initcheck.probe.moments import reduce_norms
from initcheck.probe.random_loss import Loss
from initcheck.probe.reduce import PARTS, finish
from initcheck.probe.sites import make_recording_scope


class StepProbe(Probe):
    """Measures one model on one batch again and again while its weights change.

    The graph is traced when the first measurement is made. The model is never changed: neither weights, statistics of
    normalization layers and seed generators, nor the random state of Python, NumPy and Keras.

    Args:
        model: a built Keras model.
        inputs: the batch, in the structure that the model takes.
        loss: a function from the outputs to a scalar; None for the fixed random functional of
            :class:`initcheck.probe.Probe`.
        seed: seeds the model's random layers (Dropout), in all measurements alike.
    """

    def __init__(self, model: Any, inputs: Any, *, loss: Loss | None = None, seed: int = 0) -> None:
        super().__init__(model, inputs, loss=loss)
        index = {id(weight): place for place, weight in enumerate(model.weights)}
        kernels = (main_kernel(member) for _, member in self._namer.members())
        places = {index[id(kernel)] for kernel in kernels if kernel is not None and id(kernel) in index}
        self._kernels = [place for place in sorted(places) if is_float_dtype(model.weights[place].dtype)]
        self._states = self.plan.derive([seed])[0]
        self._measure_now: Callable[..., Any] | None = None
        self._read_now: Callable[..., Any] | None = None

    def trace(self) -> None:
        """Trace the graph, unless it is traced already.

        Raises:
            ModelError: the model cannot be run on these inputs.
            DataError: the loss cannot be computed.
        """
        if self._measure_now is not None:
            return
        tf = import_tensorflow()
        signature = [tf.TensorSpec(self._kernel(place).shape, self._kernel(place).dtype) for place in self._kernels]
        with preserved_random_state():
            read = tf.function(self._read_values, autograph=False).get_concrete_function()
            measure = tf.function(self._measure_change, input_signature=signature, autograph=False)
            # Kept as traced graphs: tf.function's own call would look for the right one each time.
            self._read_now, self._measure_now = read, measure.get_concrete_function()

    def read_kernels(self) -> list[Any]:
        """Take hold of the kernels as they are, for :meth:`measure_change` after the step.

        Nothing is copied here: TensorFlow gives a variable new memory when it is assigned to while someone else holds
        the old.
        """
        self.trace()
        return list(self._read_now()) if self._read_now is not None and self._kernels else []

    def measure_change(self, before: Sequence[Any]) -> Any:
        """Measure the model as it is, and how far its kernels are from what they were.

        Args:
            before: the kernels of an earlier moment, from :meth:`read_kernels`.

        Returns:
            float64 tensor; :meth:`unpack` tells what is in it.
        """
        self.trace()
        assert self._measure_now is not None
        return self._measure_now(*before)

    def unpack(self, vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn what :meth:`measure_change` returned into quantities.

        Args:
            vectors: shape [steps, ...].

        Returns:
            The quantities of ``schema.QUANTITIES``, shape [steps, sites, quantities]; and the norm of the change of
            each site's kernel, shape [steps, sites]. NaN where a quantity is undefined.
        """
        sites = self.sites
        end = len(sites) * len(PARTS)
        quantities = finish(
            vectors[:, :end].reshape(len(vectors), len(sites), len(PARTS)),
            units=np.asarray([site.elements for site in sites]),
            weights=np.asarray([site.weights for site in sites]),
            batched=np.asarray([site.batched for site in sites]),
            sources=self._sources,
        )
        order = {place: number for number, place in enumerate(self._kernels)}
        changes = np.full((len(vectors), len(sites)), np.nan)
        for position, place in enumerate(self._kernel_places()):
            if place in order:
                changes[:, position] = vectors[:, end + order[place]]
        return quantities, changes

    @property
    def batch_size(self) -> int:
        """Samples in the batch."""
        return self._batch_size

    def _kernel(self, place: int) -> Any:
        return self.model.weights[place]

    def _kernel_places(self) -> list[int | None]:
        """Find for each site the place of its kernel among the model's weights."""
        index = {id(weight): place for place, weight in enumerate(self.model.weights)}
        by_path = dict(self._namer.members())
        places: list[int | None] = []
        for site in self.sites:
            # A second tensor of the same call is a site of its own, with ":1" behind the path.
            member = by_path.get(site.layer, by_path.get(site.layer.rpartition(":")[0]))
            kernel = None if member is None else main_kernel(member)
            places.append(None if kernel is None else index.get(id(kernel)))
        return places

    def _read_values(self) -> list[Any]:
        tf = import_tensorflow()
        return [tf.convert_to_tensor(self._kernel(place).value) for place in self._kernels]

    def _watch_inputs(self, capture: Capture) -> Any:  # noqa: ARG002 - the probe's signature
        """Feed the inputs without a site for them: they are the same at every step."""
        return import_keras().tree.map_structure(copy_tensor, self._inputs)

    def _measure_change(self, *before: Any) -> Any:
        """Measure once and reduce the changes of the kernels. Called while the graph is traced."""
        ops = import_keras().ops
        tf = import_tensorflow()
        values = [tf.convert_to_tensor(weight.value) for weight in self.model.weights]
        measured = self._measure_one(values, tf.constant(self._states), every_weight=False)
        changes = [_difference(values[place], old) for place, old in zip(self._kernels, before, strict=True)]
        return ops.concatenate([measured, reduce_norms(changes)])


def _difference(after: Any, before: Any) -> Any:
    """Subtract in at least float32, in which the difference of two half-precision numbers is exact."""
    ops = import_keras().ops
    dtype = "float64" if after.dtype.name == "float64" else "float32"
    return ops.cast(after, dtype) - ops.cast(before, dtype)


LEARNING_RATES: Final[dict[Optimizer, float]] = {"sgd": 0.01, "adam": 0.001}
"""Those of Keras' optimizers."""

SIZES: Final = ("start_rms", "start_mean_abs", "trained_rms", "trained_mean_abs", "change_rms", "change_mean_abs")


@dataclass(frozen=True)
class MeasuredSite:
    """A layer call of which sizes are taken.

    Attributes:
        site: the call and what it returned.
        output: whether that is an output of the model, or what the activation function of one receives.
        trained: whether it depends on a weight that is trained.
    """

    site: Site
    output: bool
    trained: bool


class WidthProbe(Probe):
    """Measures and trains networks of one architecture, from weights that the caller supplies.

    The model itself is neither trained nor changed: weights are values that go through compiled graphs.

    Args:
        model: a built Keras model.
        inputs: the batch, in the structure that the model takes.
        loss: a function from the outputs to a scalar; it is what is trained on.
        optimizer: ``sgd``, plain gradient descent, or ``adam`` (Kingma and Ba 2015) with Keras' constants.
        learning_rate: of each step.
        initializers: by path of the weight, where the caller knows better than the model.
    """

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
        """Draw weights, train them, and compare.

        Args:
            seed: of the weights and of the model's random layers.
            steps: of training, on the one batch.

        Returns:
            Shape [layer calls, len(SIZES)].
        """
        tf = import_tensorflow()
        states = tf.constant(self.plan.derive([seed])[0])
        start = [values[0] for values in self.plan.sample([seed])]
        end = self.train(start, states, steps)
        if self._size_graph is None:
            self._size_graph = self._compile_graph(self._reduce_sizes, [start, start, states])
        with preserved_random_state():
            return np.asarray(self._size_graph(*start, *end, states), dtype=np.float64)

    def train(self, start: Sequence[Any], states: Any, steps: int) -> list[Any]:
        """Train weights for some steps on the one batch; statistics of normalization layers stay as they were.

        Args:
            start: a tensor for each of ``model.weights``.
            states: one replicate of ``RedrawPlan.derive``; it seeds the random layers, in each step alike.
            steps: how many.
        """
        tf = import_tensorflow()
        weights = list(start)
        slots = make_slots(self._optimizer, [weights[place] for place in self._trained])
        for number in range(steps):
            count = tf.constant(float(number + 1))
            if self._step_graph is None:
                self._step_graph = self._compile_graph(self._make_step, [weights, slots, states, count])
            with preserved_random_state():
                made = self._step_graph(*weights, *slots, states, count)
            weights, slots = list(made[: len(weights)]), list(made[len(weights) :])
        return weights

    def _compile_graph(self, function: Callable[..., Any], example: Sequence[Any]) -> Callable[..., Any]:
        """Trace a function of tensors like those of the example, whose lists are spread out."""
        tf = import_tensorflow()
        flat = tf.nest.flatten(list(example))
        signature = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in flat]
        with preserved_random_state():
            compiled = tf.function(function, input_signature=signature, autograph=False)
            traced: Callable[..., Any] = compiled.get_concrete_function()
        return traced

    def _make_step(self, *flat: Any) -> list[Any]:
        """Make one step of training. Called while the graph is traced."""
        count = len(self.model.weights)
        weights, slots, (states, number) = list(flat[:count]), flat[count:-2], flat[-2:]

        def compute_loss() -> tuple[Any, None]:
            with make_recording_scope(self._state(weights, states)):
                return self._loss_of(self._call_model(self._inputs)), None

        trained = [weights[place] for place in self._trained]
        step = update_step(compute_loss, trained, self._rate, self._optimizer, slots, number)
        for place, updated in zip(self._trained, step.weights, strict=True):
            weights[place] = updated
        return [*weights, *step.slots]

    def _reduce_sizes(self, *flat: Any) -> Any:
        """Reduce two passes to sizes. Called while the graph is traced."""
        tf = import_tensorflow()
        count = len(self.model.weights)
        start, end, states = flat[:count], flat[count:-1], flat[-1]
        before, after = self._capture(start, states), self._capture(end, states)
        if [each.site.layer for each in before] != [each.site.layer for each in after]:
            raise ModelError(f"The model {self.model.name!r} calls other layers from one call to the next.")
        if not before:
            raise ModelError(
                f"The model {self.model.name!r} calls no layers, so there is nothing to measure. "
                "Let it compute by layers of keras.layers."
            )
        self._captured_sites = tuple(before)
        rows = []
        for pair in zip(before, after, strict=True):
            old, new = (tf.cast(_signal(each), "float64") for each in pair)
            rows.append(tf.stack([size for signal in (old, new, new - old) for size in _sizes(signal)]))
        return tf.stack(rows)

    def _capture(self, weights: Sequence[Any], states: Any) -> list[MeasuredSite]:
        keras = import_keras()
        capture = Capture(self._namer)
        inputs = self._watch_inputs(capture)
        with make_recording_scope(self._state(weights, states)), capture.watch():
            outputs = {id(tensor) for tensor in keras.tree.flatten(self._call_model(inputs))}
        sites = [site for site in capture.sites if site.kind != "Input"]
        last = [site for site in sites if id(site.output) in outputs]
        # An activation function that is a layer of its own stands behind the layer of the logits.
        received = {site.preactivation.op.inputs[0].name for site in last if site.preactivation is not None}
        reached = _find_reached([weights[place] for place in self._trained])
        return [
            MeasuredSite(
                site,
                output=id(site.output) in outputs or site.output.name in received,
                trained=operation_name(site.output) in reached,
            )
            for site in sites
        ]

    def _state(self, weights: Sequence[Any], states: Any) -> list[tuple[Any, Any]]:
        return [*zip(self.model.weights, weights, strict=True), *self.plan.generator_states(states)]


def _signal(measured: MeasuredSite) -> Any:
    """Take what a layer returned; of an output what went into its activation function: logits, not probabilities."""
    site = measured.site
    return site.preactivation if measured.output and site.preactivation is not None else site.output


def _find_reached(sources: Sequence[Any]) -> set[str]:
    """Name the operations of the graph being traced that depend on one of these tensors."""
    reached = {operation_name(source) for source in sources}
    for operation in current_graph().get_operations():  # each stands behind those whose results it takes
        if any(operation_name(tensor) in reached for tensor in operation.inputs):
            reached.add(str(operation.name))
    return reached


def _sizes(signal: Any) -> tuple[Any, Any]:
    tf = import_tensorflow()
    return tf.sqrt(tf.reduce_mean(tf.square(signal))), tf.reduce_mean(tf.abs(signal))
