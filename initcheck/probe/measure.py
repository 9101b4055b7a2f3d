"""From a model and seeds to the measurement table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.errors import ModelError, UsageError
from initcheck.initializers import in_one_line
from initcheck.keras_runtime import import_keras
from initcheck.probe.activations import find_bounds
from initcheck.probe.capture import Capture, Site, Unmeasured
from initcheck.probe.connections import Connections, connect_sites
from initcheck.probe.coverage import Coverage, count_coverage
from initcheck.probe.extra import reduce_mean_square, reduce_range
from initcheck.probe.fans import count_fans, main_kernel
from initcheck.probe.gradients import (
    Backpropagation,
    compile_over_replicates,
    current_graph,
    operation_name,
    read_connections,
    separate,
)
from initcheck.probe.paths import PathNamer
from initcheck.probe.redraw import RedrawPlan
from initcheck.probe.reduce import PARTS, SiteTensors, finish, reduce_site
from initcheck.probe.weighted_sites import is_weighted, make_recording_scope
from initcheck.random_state import preserved_random_state
from initcheck.schema import MEASUREMENT_COLUMNS, QUANTITIES, RANGE_COLUMNS, SITE_COLUMNS

FUNCTIONAL_SEED = 20_100_513
"""Seed of the fixed random functional that stands in for a loss."""

Loss = Callable[[Any], Any]


@dataclass(frozen=True)
class SiteInfo:
    """What is known of a site before anything runs: the columns of schema.SITE_COLUMNS, and sizes.

    Attributes:
        elements: entries of one sample's output.
        weights: entries of the kernel; NaN without one.
        batched: whether the first axis of the output is the batch, of two or more samples.
        weighted: whether the layer multiplies by a weight of two or more axes, of its own or in a layer inside that
            is not captured by itself.
    """

    layer: str
    call: int
    position: int
    kind: str
    units: int | None
    fan_in: float
    fan_out: float
    elements: float
    weights: float
    batched: bool
    weighted: bool


@dataclass(frozen=True)
class Measurement:
    """What one call of the probe measured.

    Attributes:
        table: the measurement table.
        weights: one row per seed and weight of the model: ``seed``, ``weight`` (path), ``shape``, ``trainable``,
            ``has_gradient`` (a path leads from it to the loss), ``gradient_norm`` and ``gradient_is_zero`` (exactly).
    """

    table: pd.DataFrame
    weights: pd.DataFrame


class Probe:
    """Measures one model on one batch: all sites, forward and backward, for any weights.

    The model is traced once, on the first measurement. It is never changed: weights, statistics of
    normalization layers, seed generators and the random state of Python, NumPy and Keras stay as they
    were, bit for bit.

    The loss is, unless one is given, a fixed random linear functional of the outputs,
    L = sum_i r_i y_i with r_i normal and scaled to mean r_i^2 = 1: the gradient at the top has second
    moment 1, whatever the task.

    Args:
        model: a built Keras model of any kind.
        inputs: one batch in the structure that the model takes: arrays of shape [B, ...].
        loss: a function from the model's outputs to a scalar tensor, instead of the functional.
        training: the ``training`` argument of the call. True, the default, lets BatchNormalization use
            the statistics of the batch, as it does in the first training step.
        initializers: initializers by variable path, where the caller knows better than the model.
        every_weight: measure the gradient of every weight, and not only of each layer's kernel; ``measure_all`` and its
            kind need it.
        precision_range: fill the columns about float16's range.

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
        self._connections = Connections()
        self._unmeasured: tuple[Unmeasured, ...] = ()
        self._captured: frozenset[int] = frozenset()
        self._every_weight = every_weight
        self._precision_range = precision_range
        self._has_gradient: tuple[bool, ...] = ()
        weights = [(tuple(weight.shape), weight.dtype) for weight in model.weights]
        states = self.plan.signature
        self._measure_drawn = compile_over_replicates(
            lambda seeds: self._measure_one(self.plan.draw(seeds), seeds), [states], "float64"
        )
        self._measure_given = compile_over_replicates(
            lambda seeds, *values: self._measure_one(values, seeds), [states, *weights], "float64"
        )

    @property
    def sites(self) -> tuple[SiteInfo, ...]:
        """The measured sites in order of execution; known after the first measurement."""
        return self._sites

    @property
    def trunk(self) -> tuple[int, ...]:
        """Positions of the sites on the longest chain of weighted sites, in order; known after the first measurement.

        The chain leads from an input of the model to the loss, along what feeds what in the traced graph. Of several
        equally long ones it is always the same.
        """
        return self._connections.trunk

    @property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """For each site the positions of those that feed it directly; known after the first measurement."""
        return self._connections.parents

    @property
    def output_sites(self) -> tuple[int, ...]:
        """Positions of the sites that feed the loss directly; known after the first measurement."""
        return self._connections.output_sites

    @property
    def unmeasured(self) -> tuple[Unmeasured, ...]:
        """The layer calls without a measurement, with reasons; known after the first measurement."""
        return self._unmeasured

    def coverage(self) -> Coverage:
        """Tell what was measured and what was not; known after the first measurement."""
        measured = [site.layer for site in self._sites if site.kind != "Input"]
        return count_coverage(self._namer, measured, self._captured, self._unmeasured, self.plan)

    def measure_all(self, seeds: Sequence[int]) -> Measurement:
        """Measure as :meth:`measure` does, with the gradients of all weights."""
        return self._finish(seeds, self._run(self._measure_drawn, self.plan.derive(seeds)))

    def measure_weights_all(self, seeds: Sequence[int], values: Sequence[Any]) -> Measurement:
        """Measure as :meth:`measure_weights` does, with the gradients of all weights."""
        return self._finish(seeds, self._run(self._measure_given, self.plan.derive(seeds), *values))

    def measure_current_all(self, seed: int = 0) -> Measurement:
        """Measure as :meth:`measure_current` does, with the gradients of all weights."""
        return self.measure_weights_all([seed], self._current_values())

    def measure(self, seeds: Sequence[int]) -> pd.DataFrame:
        """Draw new weights for each seed inside the compiled graph, and measure.

        Args:
            seeds: the replicates.

        Returns:
            The measurement table, one row per seed and site, without the keys that only the caller
            knows (network, initializer, ...).
        """
        return self._tabulate(seeds, self._run(self._measure_drawn, self.plan.derive(seeds)))

    def measure_weights(self, seeds: Sequence[int], values: Sequence[Any]) -> pd.DataFrame:
        """Measure weights that the caller supplies, for example drawn once for several activations.

        Args:
            seeds: the replicates; they seed the model's random layers (Dropout).
            values: for each of ``model.weights`` its values, shape [len(seeds), ...].

        Returns:
            As :meth:`measure`.
        """
        return self._tabulate(seeds, self._run(self._measure_given, self.plan.derive(seeds), *values))

    def measure_current(self, seed: int = 0) -> pd.DataFrame:
        """Measure the weights as they are. One draw is one replicate: there are no intervals over seeds.

        Args:
            seed: seeds the model's random layers (Dropout).

        Returns:
            As :meth:`measure`, for one seed.
        """
        return self.measure_weights([seed], self._current_values())

    def _current_values(self) -> list[Any]:
        ops = import_keras().ops
        return [ops.expand_dims(ops.convert_to_tensor(weight.value), 0) for weight in self.model.weights]

    def _run(self, compiled: Callable[..., Any], states: NDArray[np.int32], *values: Any) -> NDArray[np.float64]:
        keras = import_keras()
        with preserved_random_state():
            return np.asarray(keras.ops.convert_to_numpy(compiled(keras.ops.convert_to_tensor(states), *values)))

    def _measure_one(self, weights: Sequence[Any], states: Any) -> Any:
        """One forward and one backward pass of one replicate. Called while the graph is traced.

        Args:
            weights: a tensor for each of ``model.weights``.
            states: one replicate of ``RedrawPlan.derive``.

        Returns:
            float64 vector: the parts of each site; with ``precision_range`` the shares of each site; with
            ``every_weight`` the mean squared gradient of each weight.
        """
        keras = import_keras()
        index = {id(weight): position for position, weight in enumerate(self.model.weights)}
        floating = [weight for weight in weights if keras.backend.is_float_dtype(weight.dtype.name)]
        capture = Capture(self._namer)
        tape = Backpropagation([*floating, *(x for x in keras.tree.flatten(self._inputs) if _is_floating(x))])
        with tape.record():
            inputs = self._watch_inputs(capture)
            state = [*zip(self.model.weights, weights, strict=True), *self.plan.generator_states(states)]
            with make_recording_scope(state) as scope, capture.watch():
                outputs = self._call_model(inputs)
            loss = separate((self._loss or random_functional)(outputs))
        weighted = [
            not site.passed_on and is_weighted(site.operation, capture.captured, scope.read) for site in capture.sites
        ]
        self._connections = connect_sites(
            read_connections(current_graph()),
            [operation_name(site.output) for site in capture.sites],
            weighted,
            [operation_name(tensor) for tensor in keras.tree.flatten(inputs)],
            operation_name(loss),
        )
        kernels = [main_kernel(site.operation) for site in capture.sites]
        positions = [None if kernel is None else index.get(id(kernel)) for kernel in kernels]
        targets = [site.output if site.preactivation is None else site.preactivation for site in capture.sites]
        used = sorted({position for position in positions if position is not None})
        if self._every_weight:
            used = [place for place, weight in enumerate(weights) if _is_floating(weight)]
        derivatives = tape.derivatives(loss, [*targets, *(weights[position] for position in used)])
        by_weight = dict(zip(used, derivatives[len(targets) :], strict=True))
        parts = [
            reduce_site(
                SiteTensors(
                    output=site.output,
                    preactivation=site.preactivation,
                    gradient=derivative,
                    kernel=None if position is None else weights[position],
                    kernel_gradient=None if position is None else by_weight[position],
                    bounds=find_bounds(site.activation),
                    feature_axis=_feature_axis(site.operation),
                )
            )
            for site, position, derivative in zip(capture.sites, positions, derivatives, strict=False)
        ]
        self._sites = tuple(
            _describe(site, position, kernel, self._batch_size, carries)
            for position, (site, kernel, carries) in enumerate(zip(capture.sites, kernels, weighted, strict=True))
        )
        self._unmeasured = tuple(capture.unmeasured)
        self._captured = frozenset(capture.captured)
        self._has_gradient = tuple(by_weight.get(place) is not None for place in range(len(weights)))
        flat = [keras.ops.reshape(keras.ops.stack(parts), (-1,))]
        if self._precision_range:
            pairs = zip(capture.sites, derivatives, strict=False)
            flat += [reduce_range(site.output, derivative) for site, derivative in pairs]
        if self._every_weight and weights:
            zero = keras.ops.zeros((), "float64")
            squares = [by_weight.get(place) for place in range(len(weights))]
            flat.append(keras.ops.stack([zero if each is None else reduce_mean_square(each) for each in squares]))
        return keras.ops.concatenate(flat)

    def _call_model(self, inputs: Any) -> Any:
        try:
            return self.model(inputs, training=self._training)
        except Exception as error:
            # Whatever a model of any kind raises: the user has to hear it as one line about this model.
            shapes = [tuple(tensor.shape) for tensor in import_keras().tree.flatten(inputs)]
            raise ModelError(
                f"The model {self.model.name!r} cannot be run on inputs of shape {shapes}: {in_one_line(error)}"
            ) from error

    def _watch_inputs(self, capture: Capture) -> Any:
        keras = import_keras()
        flat = keras.tree.flatten(self._inputs)
        names = ["input" if len(flat) == 1 else f"input_{position}" for position in range(len(flat))]
        watched = [
            capture.add_input(name, tensor) if _is_floating(tensor) else separate(tensor)
            for name, tensor in zip(names, flat, strict=True)
        ]
        return keras.tree.pack_sequence_as(self._inputs, watched)

    def _finish(self, seeds: Sequence[int], measured: NDArray[np.float64]) -> Measurement:
        if not self._every_weight:
            raise UsageError("The gradients of all weights need Probe(..., every_weight=True).")
        count = len(self.model.weights)
        squares = measured[:, measured.shape[1] - count :].ravel()
        sizes = np.asarray([math.prod(weight.shape) for weight in self.model.weights], dtype=np.float64)
        reached = np.tile(np.asarray(self._has_gradient, dtype=np.bool_), len(seeds))
        weights = pd.DataFrame(
            {
                "seed": np.repeat(np.asarray(seeds, dtype=np.int64), count),
                "weight": np.tile(np.asarray(self.plan.paths, dtype=object), len(seeds)),
                "shape": np.tile([str(tuple(weight.shape)) for weight in self.model.weights], len(seeds)),
                "trainable": np.tile([bool(weight.trainable) for weight in self.model.weights], len(seeds)),
                "has_gradient": reached,
                "gradient_norm": np.where(reached, np.sqrt(squares * np.tile(sizes, len(seeds))), np.nan),
                "gradient_is_zero": reached & (squares == 0.0),
            }
        )
        return Measurement(self._tabulate(seeds, measured), weights)

    def _tabulate(self, seeds: Sequence[int], measured: NDArray[np.float64]) -> pd.DataFrame:
        sites = self._sites
        end = len(sites) * len(PARTS)
        quantities = finish(
            measured[:, :end].reshape(len(seeds), len(sites), len(PARTS)),
            units=np.asarray([site.elements for site in sites]),
            weights=np.asarray([site.weights for site in sites]),
            batched=np.asarray([site.batched for site in sites]),
        ).reshape(-1, len(QUANTITIES))
        columns: dict[str, Any] = {name: quantities[:, place] for place, name in enumerate(QUANTITIES)}
        if self._precision_range:
            shares = measured[:, end : end + len(sites) * len(RANGE_COLUMNS)].reshape(-1, len(RANGE_COLUMNS))
            columns |= {column.name: shares[:, place].copy() for place, column in enumerate(RANGE_COLUMNS)}
        columns["seed"] = np.repeat(np.asarray(seeds, dtype=np.int64), len(sites))
        columns["batch_size"] = np.full(len(quantities), self._batch_size)
        rows = np.tile(np.arange(len(sites)), len(seeds))
        for column in SITE_COLUMNS:
            dtype: Any = column.dtype
            by_site = pd.Series([getattr(site, column.name) for site in sites], dtype=dtype)
            columns[column.name] = by_site.array.take(rows)
        return tabulate(columns, len(quantities))


def tabulate(columns: Mapping[str, Any], length: int) -> pd.DataFrame:
    """Make a measurement table of arrays.

    Args:
        columns: some of the columns of ``schema.MEASUREMENT_COLUMNS``.
        length: number of rows.

    Returns:
        All of the columns, in order, with their dtypes; null where a column is not given, or NaN.
    """
    arrays = {}
    for column in MEASUREMENT_COLUMNS:
        values = columns.get(column.name)
        if values is None:
            arrays[column.name] = pd.Series([pd.NA], dtype=column.dtype).array.take(np.zeros(length, dtype=np.intp))
        elif isinstance(values, np.ndarray) and values.dtype == np.float64:
            arrays[column.name] = pd.arrays.FloatingArray(np.ascontiguousarray(values), np.isnan(values))
        elif isinstance(values, np.ndarray) and values.dtype == np.int64:
            arrays[column.name] = pd.arrays.IntegerArray(values, np.zeros(length, dtype=bool))
        else:
            arrays[column.name] = values
    return pd.DataFrame(arrays, copy=False)


def random_functional(outputs: Any) -> Any:
    """The default loss: L = sum_i r_i y_i, with fixed normal r_i scaled to mean r_i^2 = 1.

    Args:
        outputs: the model's outputs, in any structure; those that are not floating-point are left out.

    Returns:
        Scalar tensor, at least of float32.
    """
    keras = import_keras()
    ops = keras.ops
    total = ops.zeros((), "float32")
    for number, output in enumerate(tensor for tensor in keras.tree.flatten(outputs) if _is_floating(tensor)):
        dtype = "float64" if output.dtype.name == "float64" else "float32"
        direction = draw_functional(ops.shape(output), dtype, number)
        total = ops.cast(total, dtype) + ops.sum(direction * ops.cast(output, dtype))
    return total


def draw_functional(shape: Any, dtype: str = "float32", number: int = 0) -> Any:
    """Draw the fixed directions r of the default loss, which are also dL/dy.

    Args:
        shape: of the output.
        dtype: float32 or float64.
        number: which output of the model, from 0.

    Returns:
        Tensor of this shape, normal and scaled to mean r^2 = 1; the same for the same arguments.
    """
    keras = import_keras()
    direction = keras.random.normal(shape, dtype=dtype, seed=FUNCTIONAL_SEED + number)
    return direction / keras.ops.sqrt(keras.ops.mean(keras.ops.square(direction)))


def _is_floating(tensor: Any) -> bool:
    keras = import_keras()
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)))


def _feature_axis(operation: Any) -> int:
    return 1 if getattr(operation, "data_format", None) == "channels_first" else -1


def _describe(site: Site, position: int, kernel: Any, batch_size: int, weighted: bool) -> SiteInfo:
    """Collect what a site's tensors say of themselves when traced."""
    shape = tuple(site.output.shape)
    target = site.output if site.preactivation is None else site.preactivation
    elements = target.shape.num_elements()
    fan_in, fan_out = count_fans(site.operation, kernel)
    return SiteInfo(
        layer=site.layer,
        call=site.call,
        position=position,
        kind=site.kind,
        units=(1 if len(shape) < 2 else shape[_feature_axis(site.operation)]),
        fan_in=fan_in,
        fan_out=fan_out,
        elements=math.nan if elements is None or not shape or not shape[0] else elements / shape[0],
        weights=math.nan if kernel is None else float(math.prod(kernel.shape)),
        batched=bool(shape) and shape[0] == batch_size and batch_size > 1,
        weighted=weighted,
    )
