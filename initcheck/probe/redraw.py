"""New weights by seed, drawn inside a compiled graph by the model's own initializers.

Each variable's initializer is re-seeded by a value derived from the seed and the variable's path
(:func:`initcheck.seeds.derive_seed`), and draws exactly what it would draw had it been created with
that integer seed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import compile_over_replicates
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.random_state import preserved_random_state
from initcheck.seeds import derive_seeds

UNKNOWN_INITIALIZER = "its initializer is not known, so its value was kept"
NOT_FLOATING = "not a floating-point variable, so its value was kept"


@dataclass(frozen=True)
class PlannedVariable:
    """One weight of the model and how a new value for it is drawn.

    Attributes:
        path: structural path of the variable.
        variable: the Keras variable; it is read for shape and dtype only.
        initializer: a copy of the variable's initializer that takes its seed from ``generator``, or
            None where the value is kept.
        reason: why the value is kept; None where it is drawn.
    """

    path: str
    variable: Any
    initializer: Callable[..., Any] | None
    reason: str | None


class RedrawPlan:
    """How to draw the weights of one model anew for any seed.

    Args:
        model: a built Keras model. It is not changed.
        initializers: initializers by variable path, where the caller knows better than the layers'
            own ``<weight>_initializer`` attributes.
    """

    def __init__(self, model: Any, initializers: Mapping[str, Any] | None = None) -> None:
        keras = import_keras()
        namer = PathNamer(model)
        paths = namer.variable_paths()
        found = find_initializers(model, namer) if initializers is None else dict(initializers)
        with preserved_random_state():
            # One generator serves every variable: its state is set anew before each draw.
            self._generator = keras.random.SeedGenerator(seed=0)
        self.variables: tuple[PlannedVariable, ...] = tuple(
            self._plan(paths[id(variable)], variable, found.get(paths[id(variable)])) for variable in model.weights
        )
        self.paths: tuple[str, ...] = tuple(planned.path for planned in self.variables)
        self._sample: Callable[..., Any] | None = None
        self.generators: tuple[Any, ...] = tuple(
            variable for variable in model.variables if variable.name == "seed_generator_state"
        )

    @property
    def kept(self) -> dict[str, str]:
        """The reason by path of the variables whose value is not drawn anew."""
        return {planned.path: planned.reason for planned in self.variables if planned.reason is not None}

    def derive(self, seeds: Sequence[int]) -> NDArray[np.int64]:
        """Derive the integer seed of every variable and random layer for each seed.

        Returns:
            Array of shape [len(seeds), len(variables) + len(generators)]: first the variables, in the
            order of ``model.weights``, then the states of the model's own seed generators (Dropout).
        """
        # Each name is derived apart from the others, so that a model with and one without Dropout draw
        # the same weights.
        states = [f"seed_generator_state/{index}" for index in range(len(self.generators))]
        rows = [(*derive_seeds(seed, self.paths), *derive_seeds(seed, states)) for seed in seeds]
        return np.asarray(rows, dtype=np.int64).reshape(len(rows), len(self.paths) + len(states))

    def draw(self, derived: Any) -> list[Any]:
        """Draw one value for every variable. Called while a graph is traced, or eagerly.

        Args:
            derived: integer tensor, one row of :meth:`derive`.

        Returns:
            One tensor for each variable, in the order of ``model.weights``; a kept variable's own value.
        """
        keras = import_keras()
        values = []
        for index, planned in enumerate(self.variables):
            if planned.initializer is None:
                values.append(keras.ops.convert_to_tensor(planned.variable.value))
                continue
            with keras.StatelessScope(self._seed_states(derived[index])):
                value = planned.initializer(planned.variable.shape, dtype=planned.variable.dtype)
            values.append(keras.ops.cast(value, planned.variable.dtype))
        return values

    def sample(self, seeds: Sequence[int]) -> list[Any]:
        """Draw all variables for several seeds, in one compiled loop that is traced once.

        Args:
            seeds: the replicates.

        Returns:
            One tensor for each of ``model.weights``, of shape [len(seeds), ...].
        """
        keras = import_keras()
        if self._sample is None:
            entries = len(self.variables) + len(self.generators)
            dtypes = [planned.variable.dtype for planned in self.variables]
            self._sample = compile_over_replicates(self.draw, [((entries,), "int64")], dtypes)
        drawn: list[Any] = self._sample(keras.ops.convert_to_tensor(self.derive(seeds)))
        return drawn

    def generator_states(self, derived: Any) -> list[tuple[Any, Any]]:
        """Pair each of the model's seed generators with its state for this replicate."""
        return [
            (state, self._state(derived[len(self.variables) + index])) for index, state in enumerate(self.generators)
        ]

    def _plan(self, path: str, variable: Any, initializer: Any) -> PlannedVariable:
        if not import_keras().backend.is_float_dtype(variable.dtype):
            return PlannedVariable(path, variable, None, NOT_FLOATING)
        if initializer is None:
            return PlannedVariable(path, variable, None, UNKNOWN_INITIALIZER)
        return PlannedVariable(path, variable, self._reseeded(initializer), None)

    def _reseeded(self, initializer: Any) -> Callable[..., Any]:
        """Copy an initializer so that it draws from this plan's generator."""
        reseeded: Callable[..., Any] = initializer
        if hasattr(initializer, "seed"):
            reseeded = copy.copy(initializer)
            reseeded.seed = self._generator  # type: ignore[attr-defined]
        return reseeded

    def _state(self, seed: Any) -> Any:
        ops = import_keras().ops
        return ops.stack([ops.cast(seed, self._generator.state.dtype), ops.zeros((), self._generator.state.dtype)])

    def _seed_states(self, seed: Any) -> list[tuple[Any, Any]]:
        """The state from which an initializer draws what it draws with this integer as its seed.

        An initializer that is a plain function draws from Keras' global generator; where there is one,
        it is set as well.
        """
        from keras.src.backend.common import global_state  # noqa: PLC0415 - only after the quiet import
        from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR  # noqa: PLC0415

        states = [(self._generator.state, self._state(seed))]
        shared = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
        return states if shared is None else [*states, (shared.state, self._state(seed))]


@contextmanager
def recorded_initializers() -> Iterator[dict[int, Any]]:
    """Record with which initializer each Keras variable is created inside the context.

    Yields:
        A dictionary from ``id(variable)`` to the initializer, filled as variables are created.
    """
    from keras.src.backend.common.variables import Variable as KerasVariable  # noqa: PLC0415

    recorded: dict[int, Any] = {}
    original = KerasVariable.__init__

    def record(self: Any, initializer: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(initializer, str):
            initializer = import_keras().initializers.get(initializer)
        if callable(initializer):
            recorded[id(self)] = initializer
        original(self, initializer, *args, **kwargs)

    KerasVariable.__init__ = record
    try:
        yield recorded
    finally:
        KerasVariable.__init__ = original


def find_initializers(model: Any, namer: PathNamer) -> dict[str, Any]:
    """Find the initializer of every weight of a built model.

    The layers of Keras name the initializer of ``kernel`` ``kernel_initializer``, and so on; that is
    the quick way. Recurrent layers (whose forget-gate bias is not what the attribute says) and layers
    that Keras does not ship are rebuilt once from the model's configuration, while the creation of
    their variables is watched.

    Returns:
        Initializers by variable path; variables whose initializer cannot be found are missing.
    """
    paths = namer.variable_paths()
    found: dict[str, Any] = {}
    doubtful = False
    for _, layer in namer.members():
        trusted = is_keras_layer(layer)
        for variable in own_variables(layer):
            initializer = getattr(layer, f"{variable.name}_initializer", None)
            if initializer is not None:
                found[paths[id(variable)]] = initializer
            if initializer is None or not trusted:
                doubtful = True
    return {**found, **watch_rebuild(model)} if doubtful else found


def is_keras_layer(layer: Any) -> bool:
    """Tell whether Keras ships this layer and its initializer attributes say what they do."""
    module = type(layer).__module__
    return module.startswith("keras.") and ".rnn" not in module and ".applications" not in module


def watch_rebuild(model: Any) -> dict[str, Any]:
    """Build the model a second time from its configuration and watch with what it fills its weights.

    Returns:
        Initializers by variable path; empty where the model cannot be rebuilt from its configuration
        or comes out with other weights.
    """
    with preserved_random_state(), recorded_initializers() as recorded:
        try:
            twin = type(model).from_config(model.get_config())
            if not twin.built:
                twin.build_from_config(model.get_build_config())
        except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError):
            return {}  # a model without a configuration: only the layers' attributes are left
        if [tuple(weight.shape) for weight in twin.weights] != [tuple(weight.shape) for weight in model.weights]:
            return {}
        paths = PathNamer(twin).variable_paths()
        return {paths[id(weight)]: recorded[id(weight)] for weight in twin.weights if id(weight) in recorded}
