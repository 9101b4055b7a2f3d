"""From a model and seeds to the measurement table and the table of all weights: the :class:`Probe`."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.backend.interface import Forward, RecordedPass, backend
from initcheck.backend.operations import (
    Operation,
    WeightUse,
    count_entries,
    find_constant_softmaxes,
    find_softmaxes,
    find_weight_uses,
    read_connections,
    read_scale_effects,
)
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import dtype_name, import_keras, is_float_dtype
from initcheck.core.columns import MEASUREMENT_COLUMNS, QUANTITIES, RANGE_COLUMNS, SITE_COLUMNS, WEIGHTS_COLUMNS, Column
from initcheck.core.errors import ModelError
from initcheck.models.initializers import in_one_line
from initcheck.probe.capture import (
    Capture,
    Parents,
    Site,
    SiteInfo,
    Unmeasured,
    describe_site,
    feature_axis,
    find_holders,
    find_parents,
    is_weighted,
    make_recording_scope,
)
from initcheck.probe.coverage import CapturedCalls, Coverage, count_coverage
from initcheck.probe.draw import RedrawPlan
from initcheck.probe.layer_kinds import main_kernel
from initcheck.probe.paths import PathNamer, input_layers, own_variables
from initcheck.probe.recurrence import OverTime, RecurrentCall, loss_of_last_output, reduce_over_time, split_over_time
from initcheck.probe.reduce import PARTS, SiteTensors, find_sources, finish, reduce_norms, reduce_range, reduce_site

_Source = Literal["drawn", "given", "one given", "current"]
"""Where the weights of a measurement come from: new ones, the caller's (of several replicates or of one, which no loop
need copy), or the model's as they are."""

MOST_BYTES_DRAWN: Final = 2**25
"""Weights of at most this many bytes (but of one seed at least) are held at a time, whatever the number of seeds."""

RANDOM_LOSS_SEED: Final = 20_100_513
"""Seed of the directions of the loss without labels."""

Loss = Callable[[Any], Any]
"""From a model's outputs to a scalar tensor."""

_FAR: Final = 1e6
"""Where a bounded activation has reached its ends (softsign is within 1e-6 of them)."""


@dataclass(frozen=True)
class _MadePass:
    """A pass that was recorded: the layer calls, the variables that were read by ``id``, and the losses."""

    recorded: RecordedPass
    capture: Capture
    read: Mapping[int, Any]
    losses: Sequence[Any]


@dataclass(frozen=True)
class _ReadPass:
    """What the first of several passes says of all that are alike.

    Attributes:
        positions: for each site the place of its kernel among the weights.
        reached: for each weight whether a path leads from it to the loss; empty where only kernels are asked for.
        bounds: for each site the ends of the range of its activation.
    """

    structure: Hashable | None
    softmaxes: Sequence[Operation]
    positions: Sequence[int | None]
    reached: tuple[bool, ...]
    bounds: Sequence[tuple[float, float] | None]


class Probe:
    """Measures one model on one batch: all sites, forward and backward, for any weights.

    The model is traced once, on the first measurement. It is never changed: weights, statistics of
    normalization layers, seed generators and the random state of Python, NumPy and Keras stay as they
    were, bit for bit.

    The loss is, unless one is given, a fixed random linear functional of the outputs, L = sum_i r_i y_i with r_i normal
    and scaled to mean r_i^2 = 1: the gradient at the top has second moment 1, whatever the task.

    Args:
        model: a built Keras model of any kind.
        inputs: one batch in the structure that the model takes: arrays of shape [B, ...].
        loss: a function from the model's outputs to a scalar tensor, instead of the random one.
        training: the ``training`` argument of the call. True, the default, lets BatchNormalization use
            the statistics of the batch, as it does in the first training step.
        initializers: initializers by variable path, where the caller knows better than the model.
        every_weight: reduce the gradients of all weights in every measurement, so that ``measure`` and ``measure_all``
            share one traced graph; without it each of them traces its own, and ``measure`` costs less.
        precision_range: fill the columns about float16's range (``columns.RANGE_COLUMNS``).
        over_time: with all weights, measure also what layers over time owe to each of their steps.

    Raises:
        ModelError: the model is not built; or, when it is first measured, it cannot be run on these inputs.
    """

    def __init__(
        self,
        model: Any,
        inputs: Any,
        *,
        loss: Loss | None = None,
        training: bool = True,
        initializers: Mapping[str, Any] | None = None,
        every_weight: bool = False,
        precision_range: bool = False,
        over_time: bool = False,
    ) -> None:
        keras = import_keras()
        if not model.built:
            raise ModelError(
                f"The model must be built before it is measured: call it once on a batch. Received: {model!r}"
            )
        self.model = model
        self.plan = RedrawPlan(model, initializers)
        self._namer = PathNamer(model)
        self._inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
        self._batch_size = int(keras.tree.flatten(self._inputs)[0].shape[0])
        self._loss = loss
        self._training = training
        self._sites: tuple[SiteInfo, ...] = ()
        self._parents: Parents = ()
        self._arguments: Mapping[str, Sequence[Mapping[str, Any]]] = {}
        self._received: tuple[int | None, ...] = ()
        self._softmaxes: tuple[int, ...] = ()
        self._output_sites: tuple[int, ...] = ()
        self._connected: frozenset[int] = frozenset()
        self._sources: tuple[int | None, ...] = ()
        self._uses: tuple[WeightUse, ...] = ()
        self._constant_softmaxes: tuple[int, ...] = ()
        self._unmeasured: tuple[Unmeasured, ...] = ()
        self._captured: frozenset[int] = frozenset()
        self._read: frozenset[int] = frozenset()
        self._untracked: tuple[Any, ...] = ()
        self._every_weight = every_weight
        self._precision_range = precision_range
        self._over_time = over_time
        self._recurrent: tuple[RecurrentCall, ...] = ()
        self._reduction = WeightReduction()
        self._loss_value: Any = None
        self._first: dict[bool, _ReadPass] = {}
        self._compiled: dict[tuple[_Source, bool], Callable[..., Any]] = {}

    @property
    def sites(self) -> tuple[SiteInfo, ...]:
        """The measured sites in order of execution; known after the first measurement."""
        return self._sites

    @property
    def parents(self) -> Parents:
        """For each site those that feed it directly; known after the first measurement."""
        return self._parents

    @property
    def arguments(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What each call of a layer was given besides tensors, by path; known after the first measurement."""
        return self._arguments

    @property
    def namer(self) -> PathNamer:
        """The names of the model's layers and weights; those that the model does not list are named when called."""
        return self._namer

    @property
    def output_sites(self) -> tuple[int, ...]:
        """Positions of the sites that feed the loss directly; known after the first measurement."""
        return self._output_sites

    @property
    def uses(self) -> Mapping[str, WeightUse]:
        """How each weight meets the signal, by its name; known after the first measurement of all weights."""
        return dict(zip(self.plan.names, self._uses, strict=False))

    @property
    def constant_softmaxes(self) -> tuple[int, ...]:
        """Positions of the sites that hold a softmax over one entry; known after the first measurement."""
        return self._constant_softmaxes

    @property
    def unmeasured(self) -> tuple[Unmeasured, ...]:
        """The layer calls without a measurement, with reasons; known after the first measurement."""
        return self._unmeasured

    def keys(self) -> dict[str, str]:
        """Map the name of each layer, site and weight to its structural path, which no build of the model changes."""
        return self._namer.keys() | {site.layer: site.key for site in self._sites}

    def coverage(self, *, redrawn: bool = True) -> Coverage:
        """Return what was measured and what was not; known after the first measurement.

        Args:
            redrawn: whether it is the drawn weights that are judged. If not, a weight whose initializer is unknown is
                no gap: it is measured as it is.
        """
        calls = CapturedCalls(
            sites=tuple(site.layer for site in self._sites if site.kind != "Input"),
            captured=self._captured,
            unmeasured=self._unmeasured,
            read=self._read,
            untracked=self._untracked,
            followed={id(call.operation) for call in self._recurrent} if self._over_time else None,
        )
        return count_coverage(self._namer, calls, self.plan, redrawn=redrawn)

    def measure_all(self, seeds: Sequence[int]) -> Measurement:
        """Measure as ``measure`` does, and the gradients of all weights.

        Returns:
            The measurement table and the table of all weights.
        """
        return self._measure_all(seeds, "drawn")

    def measure_weights_all(self, seeds: Sequence[int], values: Sequence[Any]) -> Measurement:
        """Measure as ``measure_weights`` does, and the gradients of all weights; see ``measure_all``."""
        return self._measure_all(seeds, "given", values)

    def measure_current_all(self, seed: int = 0) -> Measurement:
        """Measure as ``measure_current`` does, and the gradients of all weights; see ``measure_all``."""
        return self._measure_all([seed], "current")

    def measure(self, seeds: Sequence[int]) -> pd.DataFrame:
        """Draw new weights for each seed inside the compiled graph, and measure.

        Args:
            seeds: the replicates.

        Returns:
            The measurement table, one row per seed and site, without the keys that only the caller
            knows (network, initializer, ...).
        """
        return self.tabulate(seeds, self._run(seeds, "drawn", self._every_weight))

    def measure_weights(self, seeds: Sequence[int], values: Sequence[Any]) -> pd.DataFrame:
        """Measure weights that the caller supplies, for example drawn once for several activations.

        Args:
            seeds: the replicates; they seed the model's random layers (Dropout).
            values: for each of ``model.weights`` its values, shape [len(seeds), ...].

        Returns:
            As ``measure``.
        """
        return self.tabulate(seeds, self.measure_sums(seeds, values))

    def measure_sums(self, seeds: Sequence[int], values: Sequence[Any]) -> NDArray[np.float64]:
        """Measure as `measure_weights` does, up to the sums of which `tabulate` makes the table.

        Returns:
            One row for each seed.
        """
        return self._run(seeds, "given", self._every_weight, values)

    def measure_current(self, seed: int = 0) -> pd.DataFrame:
        """Measure the weights as they are. One draw is one replicate: there are no intervals over seeds.

        Args:
            seed: seeds the model's random layers (Dropout).

        Returns:
            As ``measure``, for one seed.
        """
        return self.tabulate([seed], self._run([seed], "current", self._every_weight))

    def _measure_all(self, seeds: Sequence[int], source: _Source, values: Sequence[Any] = ()) -> Measurement:
        measured = self._run(seeds, source, True, values)
        table = self.tabulate(seeds, measured)
        norms = self._reduction.collect(measured, table)
        # The loss stands in front of the norms.
        losses = measured[:, measured.shape[1] - self._reduction.size - 1]
        return Measurement(
            table,
            tabulate_weights(seeds, self._reduction.weights, *norms),
            self._collect_over_time(measured),
            tuple(losses.tolist()),
        )

    def _run(
        self, seeds: Sequence[int], source: _Source, every_weight: bool, values: Sequence[Any] = ()
    ) -> NDArray[np.float64]:
        ops = import_keras().ops
        if source == "drawn" and self.plan.has_eager_draws:
            source, values = "given", self.plan.sample(seeds)
        if source == "given" and len(seeds) == 1 and count_bytes(self.model) > MOST_BYTES_DRAWN:
            source = "one given"
        compiled = self._compile(source, every_weight)
        with preserved_random_state():
            states = ops.convert_to_tensor(self.plan.derive(seeds))
            return np.asarray(ops.convert_to_numpy(compiled(states, *values)))

    def _compile(self, source: _Source, every_weight: bool) -> Callable[..., Any]:
        if (source, every_weight) not in self._compiled:
            signature = [self.plan.signature]
            shapes = [(tuple(weight.shape), weight.dtype) for weight in self.model.weights]

            def run(states: Any, *values: Any) -> Any:
                weights = self.plan.draw(states) if source == "drawn" else values
                return self._measure_one(weights, states, every_weight)

            def run_alone(states: Any, *values: Any) -> Any:
                # Without a loop of one, whose copy of all weights would take time and memory.
                ops = import_keras().ops
                weights = [ops.reshape(value, value.shape[1:]) for value in values]
                if source == "current":
                    weights = [backend().read_variable(weight) for weight in self.model.weights]
                return ops.expand_dims(self._measure_one(weights, states[0], every_weight), 0)

            if source in ("current", "one given"):
                signature += shapes if source == "one given" else []
                compiled = backend().compile_once(run_alone, [((1, *shape), dtype) for shape, dtype in signature])
            else:
                signature += shapes if source == "given" else []
                compiled = backend().compile_over_replicates(run, signature, "float64")
            self._compiled[source, every_weight] = compiled
        return self._compiled[source, every_weight]

    def _measure_one(self, weights: Sequence[Any], states: Any, every_weight: bool) -> Any:
        """One forward and one backward pass of one replicate. Called while the function is traced."""
        keras = import_keras()
        first = self._first.get(every_weight)
        made = self._record_pass(weights, states, every_weight, None if first is None else first.structure)
        capture, recorded, loss = made.capture, made.recorded, made.losses[0]
        given = recorded.sources[: len(weights)]
        if first is None or first.structure is None or recorded.structure is not first.structure:
            first = self._first[every_weight] = self._read_pass(made, len(weights), every_weight)
        elif [(site.layer, site.call) for site in capture.sites] != [(site.layer, site.call) for site in self._sites]:
            raise ModelError(f"The model {self.model.name!r} calls other layers from one call to the next.")
        softmaxes = [recorded.result_of(each) for each in first.softmaxes]
        positions, reached = first.positions, first.reached
        targets = [site.output if site.preactivation is None else site.preactivation for site in capture.sites]
        used = sorted({position for position in positions if position is not None})
        if every_weight:
            used = [place for place, weight in enumerate(given) if is_float_dtype(weight.dtype)]
        others = self._find_received(capture.sites, [site.weighted for site in self._sites])
        read = [
            *(site.output for site in capture.sites),
            *(x.preactivation for x, source in zip(capture.sites, self._sources, strict=True) if source is None),
            *others,
            *softmaxes,
            *given,
            *(call.mask for call in capture.recurrent),
            loss,
        ]
        read = [tensor for tensor in read if tensor is not None]
        over_time = zip(made.losses[1:], capture.recurrent, strict=False)
        evaluated, (derivatives, *by_call) = recorded.evaluate(
            read, [(loss, [*targets, *(given[place] for place in used)]), *((x, [y.inputs]) for x, y in over_time)]
        )
        value = {id(tensor): found for tensor, found in zip(read, evaluated, strict=True)}
        values = [value[id(tensor)] for tensor in given]
        self._loss_value = value[id(loss)]
        by_weight: dict[int | None, Any] = dict(zip(used, derivatives[len(targets) :], strict=True))
        self._connected = frozenset(
            place for place, position in enumerate(positions) if by_weight.get(position) is not None
        )
        with backend().double_precision():
            parts = [
                reduce_site(
                    SiteTensors(
                        output=value[id(site.output)],
                        preactivation=value.get(id(site.preactivation)) if source is None else None,
                        gradient=derivative,
                        kernel=None if position is None else values[position],
                        kernel_gradient=None if position is None else by_weight[position],
                        bounds=bounds,
                        feature_axis=feature_axis(site.operation),
                    )
                )
                for site, source, position, bounds, derivative in zip(
                    capture.sites, self._sources, positions, first.bounds, derivatives, strict=False
                )
            ]
            flat = [keras.ops.reshape(keras.ops.stack(parts), (-1,))]
            flat.append(_mean_squares([value[id(tensor)] for tensor in others]))
            flat += [_reduce_softmax(value[id(each)]) for each in softmaxes]
            if self._precision_range:
                pairs = zip(capture.sites, derivatives, strict=False)
                flat += [reduce_range(value[id(site.output)], derivative) for site, derivative in pairs]
            for call, (gradient,) in zip(capture.recurrent, by_call, strict=False):
                mask = None if call.mask is None else value[id(call.mask)]
                flat.append(reduce_over_time(replace(call, mask=mask), gradient))
            if every_weight:
                gradients = [by_weight.get(place) if reached[place] else None for place in range(len(weights))]
                reached = tuple(gradient is not None for gradient in gradients)
                self._reduction = WeightReduction.plan(self._describe_weights(reached), values, gradients, positions)
                flat += [
                    keras.ops.cast(keras.ops.reshape(self._loss_value, (1,)), "float64"),
                    self._reduction.reduce(values, gradients),
                ]
            return keras.ops.concatenate(flat)

    def _read_pass(self, made: _MadePass, weights: int, every_weight: bool) -> _ReadPass:
        """Find out all of a pass that is the same for any weights."""
        capture, recorded = made.capture, made.recorded
        softmaxes = self._read_operations(made)
        kernels = [main_kernel(site.operation) for site in capture.sites]
        index = {id(weight): position for position, weight in enumerate(self.model.weights)}
        # A quantized kernel holds whole numbers: it has no gradient, and its scale is another weight.
        positions = [
            index.get(id(kernel)) if kernel is not None and is_float_dtype(kernel.dtype) else None for kernel in kernels
        ]
        reached: tuple[bool, ...] = ()
        if every_weight:
            names = [recorded.name_of(source) for source in recorded.sources]
            reached = recorded.find_differentiable(made.losses[0], recorded.sources[:weights])
            self._uses = tuple(find_weight_uses(recorded.operations, names[:weights], set(names[weights:])))
        self._sources = find_sources(
            recorded, [x.output for x in capture.sites], [x.preactivation for x in capture.sites]
        )
        weighted = [
            not site.passed_on and is_weighted(site.operation, capture.captured, made.read) for site in capture.sites
        ]
        self._sites = tuple(
            describe_site(site, position, kernel, self._batch_size, carries, _clips_at_zero(site.activation))
            for position, (site, kernel, carries) in enumerate(zip(capture.sites, kernels, weighted, strict=True))
        )
        bounds = [_find_bounds(site.activation) for site in capture.sites]
        return _ReadPass(recorded.structure, softmaxes, positions, reached, bounds)

    def _record_pass(self, weights: Sequence[Any], states: Any, every_weight: bool, like: Hashable | None) -> _MadePass:
        """Call the model once, with every layer call captured, and compute the losses."""
        count = len(weights)
        made: list[tuple[Capture, Mapping[int, Any], list[Any]]] = []

        def forward(given: Sequence[Any]) -> Forward:
            capture = Capture(self._namer)
            inputs = self._watch_inputs(capture, given[count:])
            state = [*zip(self.model.weights, given[:count], strict=True), *self.plan.generator_states(states)]
            with make_recording_scope(state) as scope, capture.watch():
                outputs = self._call_model(inputs)
            losses = [backend().copy_tensor((self._loss or random_loss)(outputs))]
            if every_weight and self._over_time:
                losses += [loss_of_last_output(call, random_loss) for call in capture.recurrent]
            made.append((capture, scope.read, losses))
            return Forward(losses, capture.tensors())

        recorded = backend().record_pass(forward, [*weights, *import_keras().tree.flatten(self._inputs)], like)
        return _MadePass(recorded, *made[-1])

    def _read_operations(self, made: _MadePass) -> list[Operation]:
        """Find out what feeds what, and what was not measured; return the softmaxes."""
        capture, recorded = made.capture, made.recorded
        connections = read_connections(recorded.operations)
        outputs = [recorded.name_of(site.output) for site in capture.sites]
        self._parents, self._output_sites = find_parents(
            connections, read_scale_effects(recorded.operations), outputs, recorded.name_of(made.losses[0])
        )
        self._constant_softmaxes = find_holders(connections, outputs, find_constant_softmaxes(recorded.operations))
        softmaxes = find_softmaxes(recorded.operations)
        holders = [find_holders(connections, outputs, {each.name}) for each in softmaxes]
        self._softmaxes = tuple(found[0] if found else -1 for found in holders)
        taken = {id(weight): source for weight, source in zip(self.model.weights, recorded.sources, strict=False)}
        capture.note_loops(
            recorded,
            lambda layer: [taken[id(x)] for x in own_variables(layer) if id(x) in taken and id(x) in made.read],
        )
        self._arguments = capture.arguments
        self._unmeasured = tuple(capture.unmeasured)
        self._recurrent = tuple(capture.recurrent)
        self._captured, self._read = frozenset(capture.captured), frozenset(made.read)
        listed = {id(variable) for variable in self.model.variables}
        self._untracked = tuple(variable for key, variable in made.read.items() if key not in listed)
        return softmaxes

    def _find_received(self, sites: Sequence[Site], weighted: Sequence[bool]) -> list[Any]:
        """List what layers with weights receive, where it is no other site's output."""
        outputs = {id(site.output): position for position, site in enumerate(sites)}
        others: list[Any] = []
        places: list[int | None] = []
        for site, is_judged in zip(sites, weighted, strict=True):
            known = outputs.get(id(site.received))
            if not is_judged or site.received is None or not count_entries(tuple(site.received.shape)):
                places.append(None)
            elif known is not None:
                places.append(known)
            else:
                places.append(len(sites) + len(others))
                others.append(site.received)
        self._received = tuple(places)
        return others

    def _describe_weights(self, reached: Sequence[bool]) -> list[WeightInfo]:
        return [
            WeightInfo(name, name.rpartition("/")[0], str(tuple(weight.shape)), bool(weight.trainable), has_gradient)
            for name, weight, has_gradient in zip(self.plan.names, self.model.weights, reached, strict=True)
        ]

    def _call_model(self, inputs: Any) -> Any:
        try:
            return self.model(inputs, training=self._training)
        except Exception as error:
            # A model may raise anything: the user gets one line about this model.
            shapes = [tuple(tensor.shape) for tensor in import_keras().tree.flatten(inputs)]
            raise ModelError(
                f"The model {self.model.name!r} cannot be run on inputs of shape {shapes}: {in_one_line(error)}"
            ) from error

    def _watch_inputs(self, capture: Capture, flat: Sequence[Any]) -> Any:
        """Feed the inputs, each of them a site."""
        keras = import_keras()
        listed = input_layers(self.model)
        if isinstance(self._inputs, Mapping) and {layer.name for layer in listed} == set(self._inputs):
            listed.sort(key=lambda layer: layer.name)  # a dict is flattened by its keys
        named = self._namer.name_inputs(listed if len(listed) == len(flat) else [None] * len(flat))
        watched = [
            capture.add_input(name, key, tensor) if is_float_dtype(tensor.dtype) else tensor
            for (name, key), tensor in zip(named, flat, strict=True)
        ]
        return keras.tree.pack_sequence_as(self._inputs, watched)

    def _finish(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn the parts of all sites, shape [seeds, sites * len(PARTS)], into quantities; see :func:`finish`."""
        sites = self._sites
        return finish(
            parts.reshape(len(parts), len(sites), len(PARTS)),
            units=np.asarray([site.elements for site in sites]),
            weights=np.asarray([site.weights for site in sites]),
            batched=np.asarray([site.batched for site in sites]),
            sources=self._sources,
        )

    @property
    def _others(self) -> int:
        """How many numbers stand behind the parts of the sites: mean squares of what layers receive, and softmaxes."""
        return sum(place is not None and place >= len(self._sites) for place in self._received) + len(self._softmaxes)

    def _collect_over_time(self, measured: NDArray[np.float64]) -> tuple[OverTime, ...]:
        if not (self._over_time and self._recurrent):
            return ()
        start = len(self._sites) * (len(PARTS) + self._precision_range * len(RANGE_COLUMNS)) + self._others
        return split_over_time(self._recurrent, measured[:, start:])

    def tabulate(self, seeds: Sequence[int], measured: NDArray[np.float64]) -> pd.DataFrame:
        """Make the measurement table of what `measure_sums` gave."""
        sites = self._sites
        end = len(sites) * len(PARTS)
        quantities = self._finish(measured[:, :end]).reshape(-1, len(QUANTITIES))
        columns: dict[str, Any] = {name: quantities[:, place] for place, name in enumerate(QUANTITIES)}
        outputs = columns["activation_second_moment"].reshape(len(seeds), -1)
        missing = np.full((len(seeds), 1), np.nan)
        squares = np.hstack([outputs, measured[:, end : end + self._others], missing])
        columns["input_second_moment"] = squares[:, [-1 if each is None else each for each in self._received]].ravel()
        end += self._others
        certainty = np.full((len(seeds), len(sites) + 1), np.nan)  # the last is of what no site holds
        for place, values in zip(self._softmaxes, measured[:, end - len(self._softmaxes) : end].T, strict=True):
            certainty[:, place] = np.fmax(certainty[:, place], values)
        columns["softmax_certainty"] = certainty[:, :-1].ravel()
        if self._precision_range:
            shares = measured[:, end : end + len(sites) * len(RANGE_COLUMNS)].reshape(-1, len(RANGE_COLUMNS))
            columns |= {column.name: shares[:, place].copy() for place, column in enumerate(RANGE_COLUMNS)}
        columns["seed"] = np.repeat(np.asarray(seeds, dtype=np.int64), len(sites))
        columns["batch_size"] = np.full(len(quantities), self._batch_size)
        return tabulate(columns | repeat_sites(sites, SITE_COLUMNS, len(seeds)), len(quantities))


def _mean_squares(tensors: Sequence[Any]) -> Any:
    """Take the mean square of each of several tensors."""
    ops = import_keras().ops
    sizes = np.asarray([math.prod(tensor.shape) for tensor in tensors], dtype=np.float64)
    return ops.square(reduce_norms(tensors)) / ops.convert_to_tensor(sizes)


def _reduce_softmax(probabilities: Any) -> Any:
    """Say how far a softmax is from even (0) to one-hot (1), by the sum of the squares of its probabilities."""
    ops = import_keras().ops
    entries = probabilities.shape[-1]
    # Around the even ones: of nearly even probabilities the sum of squares would be a small difference.
    off = ops.cast(probabilities, "float32") - 1.0 / entries
    total = ops.mean(ops.sum(ops.square(off), axis=-1))
    return ops.reshape(ops.cast(total / (1.0 - 1.0 / entries), "float64"), (1,))


def count_bytes(model: Any) -> int:
    """Count the bytes of one draw of all weights of a model."""
    return sum(math.prod(weight.shape) * np.dtype(weight.dtype).itemsize for weight in model.weights)


def random_loss(outputs: Any) -> Any:
    """The loss where no labels are given: L = sum_i r_i y_i, with fixed normal r_i scaled to mean r_i^2 = 1.

    The gradient that enters the network from the top has second moment 1, whatever the task.
    """
    keras = import_keras()
    ops = keras.ops
    total = ops.zeros((), "float32")
    for number, output in enumerate(tensor for tensor in keras.tree.flatten(outputs) if is_float_dtype(tensor.dtype)):
        dtype = "float64" if dtype_name(output) == "float64" else "float32"
        direction = random_loss_gradient(ops.shape(output), dtype, number)
        total = ops.cast(total, dtype) + ops.sum(direction * ops.cast(output, dtype))
    return total


def random_loss_gradient(shape: Any, dtype: str = "float32", number: int = 0) -> Any:
    """Draw the fixed directions r of the default loss, which are also dL/dy: normal, and scaled to mean r^2 = 1."""
    keras = import_keras()
    direction = keras.random.normal(shape, dtype=dtype, seed=RANDOM_LOSS_SEED + number)
    square = keras.ops.sum(keras.ops.square(direction))
    return direction / keras.ops.sqrt(square / math.prod(direction.shape))


def _find_bounds(activation: Callable[..., Any] | None) -> tuple[float, float] | None:
    """Find the (low, high) ends of the range of a bounded activation, by calling it far out on both sides."""
    if activation is None:
        return None
    values = _apply(activation, [[-_FAR, _FAR, 0.0], [-_FAR, _FAR, 2.0 * _FAR]])
    if values is None or not np.array_equal(values[0, :2], values[1, :2]):
        return None
    low, high = sorted(values[0, :2].tolist())
    if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > math.sqrt(_FAR) or low == high:
        return None
    return round(low, 5), round(high, 5)


def _clips_at_zero(activation: Callable[..., Any] | None) -> bool:
    """Find whether an activation is exactly 0 on an interval, as ReLU is; one that cannot be called alone may be."""
    if activation is None:
        return False
    # So near 0 no sigmoid or GELU is rounded to 0. A softmax changes with the last column, which differs.
    inputs = np.linspace(-4.0, 4.0, 33)
    values = _apply(activation, [[*inputs, 0.0], [*inputs, 4.0]])
    if values is None:
        return True
    zero = values[0, :-1] == 0.0
    return bool(np.array_equal(values[0, :-1], values[1, :-1]) and (zero[1:] & zero[:-1]).any())


def _apply(activation: Callable[..., Any], inputs: list[list[float]]) -> NDArray[np.float64] | None:
    """Compute an activation outside the graph; None for one that needs other inputs, or changes their shape."""
    probes = np.asarray(inputs, dtype=np.float32)
    with backend().outside_trace():
        try:
            values = np.asarray(import_keras().ops.convert_to_numpy(activation(probes)), dtype=np.float64)
        except Exception:  # noqa: BLE001 - any function a user wrote
            return None
    return values if values.shape == probes.shape else None


# --- tables ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """What one measurement yields."""

    table: pd.DataFrame = field(repr=False)
    weights: pd.DataFrame = field(repr=False)
    over_time: tuple[OverTime, ...] = ()
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class WeightInfo:
    """What is known of one weight before any number is: columns of ``columns.WEIGHTS_COLUMNS``."""

    weight: str
    layer: str
    shape: str
    trainable: bool
    has_gradient: bool


def tabulate(columns: Mapping[str, Any], length: int) -> pd.DataFrame:
    """Make a measurement table of arrays: all columns in order, with their dtypes, null where not given or NaN."""
    arrays = {}
    for column in MEASUREMENT_COLUMNS:
        values = columns.get(column.name)
        if values is None:
            arrays[column.name] = _make_null(column.dtype).take(np.zeros(length, dtype=np.intp))
        elif isinstance(values, np.ndarray) and values.dtype == np.float64:
            arrays[column.name] = pd.arrays.FloatingArray(np.ascontiguousarray(values), np.isnan(values))
        elif isinstance(values, np.ndarray) and values.dtype == np.int64:
            arrays[column.name] = pd.arrays.IntegerArray(values, np.zeros(length, dtype=bool))
        else:
            arrays[column.name] = values
    return pd.DataFrame(arrays, copy=False)


@cache
def _make_null(dtype: Any) -> Any:
    return pd.Series([pd.NA], dtype=dtype).array


def repeat_sites(sites: Sequence[SiteInfo], columns: Sequence[Column], times: int) -> dict[str, Any]:
    """Make columns about the sites of a table that lists all sites several times, one after the other."""
    rows = np.tile(np.arange(len(sites)), times)
    return {name: values.take(rows) for name, values in _list_sites(tuple(sites), tuple(columns)).items()}


@lru_cache(maxsize=64)
def _list_sites(sites: tuple[SiteInfo, ...], columns: tuple[Column, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        dtype: Any = column.dtype
        found[column.name] = pd.Series([getattr(site, column.name) for site in sites], dtype=dtype).array
    return found


def tabulate_weights(
    seeds: Sequence[int],
    weights: Sequence[WeightInfo],
    weight_norms: NDArray[np.float64],
    gradient_norms: NDArray[np.float64],
) -> pd.DataFrame:
    """Make the table of all weights from norms of shape [len(seeds), len(weights)], NaN where undefined."""
    columns: dict[str, Any] = {
        each.name: np.tile(np.asarray([getattr(weight, each.name) for weight in weights], dtype=object), len(seeds))
        for each in fields(WeightInfo)
    }
    unreached = np.logical_not(columns["has_gradient"].astype(bool))
    norms = gradient_norms.reshape(-1)
    columns["seed"] = np.repeat(np.asarray(seeds, dtype=np.int64), len(weights))
    columns["weight_norm"] = pd.arrays.FloatingArray(weight_norms.reshape(-1), np.isnan(weight_norms.reshape(-1)))
    columns["gradient_norm"] = pd.arrays.FloatingArray(norms, unreached | np.isnan(norms))
    columns["gradient_is_zero"] = pd.arrays.BooleanArray(norms == 0.0, unreached)
    frame = pd.DataFrame({column.name: columns[column.name] for column in WEIGHTS_COLUMNS})
    return frame.astype({column.name: column.dtype for column in WEIGHTS_COLUMNS})


@dataclass(frozen=True)
class WeightReduction:
    """Where the norms of all weights come from: a site's kernel from the measurement table, all others from here."""

    weights: tuple[WeightInfo, ...] = ()
    values: tuple[int, ...] = ()
    gradients: tuple[int, ...] = ()
    kernels: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def plan(
        cls,
        weights: Sequence[WeightInfo],
        values: Sequence[Any],
        gradients: Sequence[Any | None],
        kernels: Sequence[int | None],
    ) -> WeightReduction:
        """Decide what is reduced here."""
        known: dict[int, int] = {}
        for position, index in enumerate(kernels):
            # A site's mean of squares, taken in float64, is 0 for small float64 gradients: those are reduced here.
            if index is not None and dtype_name(values[index]) != "float64":
                known.setdefault(index, position)
        others = [index for index in range(len(weights)) if index not in known]
        return cls(
            tuple(weights),
            tuple(index for index in others if is_float_dtype(values[index].dtype)),
            tuple(index for index in others if gradients[index] is not None),
            known,
        )

    @property
    def size(self) -> int:
        """How many numbers :meth:`reduce` makes."""
        return len(self.values) + len(self.gradients)

    def reduce(self, values: Sequence[Any], gradients: Sequence[Any | None]) -> Any:
        """Reduce the tensors that the plan lists, in a graph that is being traced: first the values' norms."""
        return reduce_norms([values[index] for index in self.values] + [gradients[index] for index in self.gradients])

    def collect(
        self, measured: NDArray[np.float64], table: pd.DataFrame
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bring the norms of all weights and gradients together: shape [seeds, weights], NaN where there is none.

        The last entries of the second axis of ``measured`` are what :meth:`reduce` made.
        """
        seeds = len(measured)
        start = measured.shape[1] - self.size
        own, gradient = (np.full((seeds, len(self.weights)), np.nan) for _ in range(2))
        own[:, list(self.values)] = measured[:, start : start + len(self.values)]
        gradient[:, list(self.gradients)] = measured[:, start + len(self.values) :]
        sites = list(self.kernels.values())
        for norms, column in ((own, "weight_norm"), (gradient, "weight_gradient_norm")):
            by_site = table[column].to_numpy(dtype=np.float64, na_value=np.nan).reshape(seeds, -1)
            norms[:, list(self.kernels)] = by_site[:, sites]
        return own, gradient
