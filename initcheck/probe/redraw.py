"""New weights by seed, drawn inside a compiled graph by the model's own initializers.

Each variable's initializer is re-seeded by a value derived from the seed and the variable's path
(:func:`initcheck.seeds.derive_seed`), and draws exactly what it would draw had it been created with
that integer seed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras, is_float_dtype
from initcheck.probe.drawing import STATE, DrawingLoops, PlannedVariable, given_seed_class, is_function
from initcheck.probe.gradients import compile_over_replicates, outside_trace
from initcheck.probe.initializer_search import find_initializers
from initcheck.probe.paths import PathNamer
from initcheck.random_state import preserved_random_state
from initcheck.seeds import derive_seeds

UNKNOWN_INITIALIZER = "its initializer is not known, so its value was kept"
NOT_FLOATING = "not a floating-point variable, so its value was kept"


class RedrawPlan:
    """How to draw the weights of one model anew for any seed.

    Args:
        model: a built Keras model. It is not changed.
        initializers: initializers by variable path, where the caller knows better than the model.
        loops: what :meth:`sample` shares with other plans; None for nothing.
    """

    def __init__(
        self, model: Any, initializers: Mapping[str, Any] | None = None, loops: DrawingLoops | None = None
    ) -> None:
        namer = PathNamer(model)
        paths = namer.variable_paths()
        found = find_initializers(model, namer) if initializers is None else dict(initializers)
        with preserved_random_state():
            self._seed = given_seed_class()()
        self.variables: tuple[PlannedVariable, ...] = tuple(
            self._plan(paths[id(variable)], variable, found.get(paths[id(variable)])) for variable in model.weights
        )
        self.paths: tuple[str, ...] = tuple(planned.path for planned in self.variables)
        self.generators: tuple[Any, ...] = tuple(
            variable for variable in model.variables if variable.name == "seed_generator_state"
        )
        self._shared_loops = loops or DrawingLoops()
        self._loops: dict[int, Callable[..., Any]] = {}

    @property
    def kept(self) -> dict[str, str]:
        """The reason by path of the variables whose value is not drawn anew."""
        return {planned.path: planned.reason for planned in self.variables if planned.reason is not None}

    @property
    def signature(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of one replicate's seed states; see :meth:`derive`."""
        return (len(self.variables) + len(self.generators), 2), "int32"

    def derive(self, seeds: Sequence[int]) -> NDArray[np.int32]:
        """Derive the seed state of every variable and random layer for each seed.

        Returns:
            Array of shape [len(seeds), len(variables) + len(generators), 2]: first the variables, in the
            order of ``model.weights``, then the model's own seed generators (Dropout). A state is
            [derived seed, 0], which is what Keras makes of that integer seed.
        """
        # The generators are derived apart from the weights, so that a model with Dropout draws the same
        # weights as one without.
        generators = [f"seed_generator_state/{index}" for index in range(len(self.generators))]
        rows = [(*derive_seeds(seed, self.paths), *derive_seeds(seed, generators)) for seed in seeds]
        states = np.zeros((len(rows), *self.signature[0]), dtype=np.int32)
        states[:, :, 0] = np.asarray(rows, dtype=np.int32).reshape(states.shape[:2])
        return states

    def draw(self, states: Any) -> list[Any]:
        """Draw one value for every variable. Called while a graph is traced, or eagerly.

        Args:
            states: integer tensor, one replicate of :meth:`derive`.

        Returns:
            One tensor for each variable, in the order of ``model.weights``; a kept variable's own value.
        """
        rows = import_keras().ops.unstack(states, axis=0)
        with self._drawing() as draw_one:
            return [draw_one(planned, state) for planned, state in zip(self.variables, rows, strict=False)]

    def draw_some(self, states: Any, paths: Collection[str]) -> dict[str, Any]:
        """Draw some of the variables, eagerly, with the values that :meth:`draw` gives them.

        Args:
            states: integer tensor, one replicate of :meth:`derive`.
            paths: the variables wanted.

        Returns:
            One tensor for each path.
        """
        wanted = [index for index, path in enumerate(self.paths) if path in paths]
        part = copy.copy(self)
        part.variables = tuple(self.variables[index] for index in wanted)
        drawn = part.draw(import_keras().ops.take(states, np.asarray(wanted, dtype=np.int32), axis=0))
        return {self.paths[index]: value for index, value in zip(wanted, drawn, strict=True)}

    def sample(self, seeds: Sequence[int]) -> list[Any]:
        """Draw all variables for several seeds, in compiled loops that are traced once.

        Variables of one shape whose initializers are alike are drawn in one loop: tracing does not take longer for a
        network that has more of them.

        Args:
            seeds: the replicates.

        Returns:
            One tensor for each of ``model.weights``, of shape [len(seeds), ...].
        """
        ops, states = import_keras().ops, self.derive(seeds)
        values: dict[int, Any] = {}
        with preserved_random_state():
            for places in self._groups:
                planned = self.variables[places[0]]
                shape = tuple(planned.variable.shape)
                if planned.varies:
                    # The states of all replicates of all these variables, one after the other.
                    rows = ops.convert_to_tensor(states[:, places].reshape(-1, states.shape[-1]))
                    drawn = ops.reshape(self._loop(places[0])(rows), (len(seeds), len(places), *shape))
                    values |= zip(places, ops.unstack(drawn, axis=1), strict=True)
                else:
                    same = self._draw_one(planned, ops.convert_to_tensor(states[0, places[0]]))
                    values |= dict.fromkeys(places, ops.broadcast_to(same, (len(seeds), *shape)))
        return [values[place] for place in range(len(self.variables))]

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Positions of the variables, those together which differ in nothing but the state they draw from."""
        groups: dict[Any, list[int]] = {}
        for place, planned in enumerate(self.variables):
            groups.setdefault(planned.likeness or place, []).append(place)
        return list(groups.values())

    def _loop(self, place: int) -> Callable[..., Any]:
        """Return the compiled loop that draws a variable from any number of states."""
        planned = self.variables[place]
        if planned.likeness:
            return self._shared_loops.find(planned)
        if place not in self._loops:
            draw = partial(self._draw_one, planned)
            self._loops[place] = compile_over_replicates(draw, [STATE], planned.variable.dtype)
        return self._loops[place]

    def _draw_one(self, planned: PlannedVariable, state: Any) -> Any:
        with self._drawing() as draw_one:
            return draw_one(planned, state)

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[PlannedVariable, Any], Any]]:
        """Hand out a function that draws a value for a variable from the state of its seed."""
        keras = import_keras()
        # An initializer that is a plain function draws from Keras' global generator, which must not move on.
        functions = [planned for planned in self.variables if is_function(planned.initializer)]
        shared = _global_generator_state() if functions else None
        with keras.StatelessScope(initialize_variables=False) as scope:

            def draw_one(planned: PlannedVariable, state: Any) -> Any:
                if planned.initializer is None:
                    return keras.ops.convert_to_tensor(planned.variable.value)
                self._seed.given = state
                if shared is not None:
                    scope.add_update((shared, keras.ops.cast(state, shared.dtype)))
                value = planned.initializer(planned.variable.shape, dtype=planned.variable.dtype)
                return keras.ops.cast(value, planned.variable.dtype)

            yield draw_one
        self._seed.given = None

    def generator_states(self, states: Any) -> list[tuple[Any, Any]]:
        """Pair each of the model's seed generators with its state for this replicate."""
        ops = import_keras().ops
        return [
            (generator, ops.cast(states[len(self.variables) + index], generator.dtype))
            for index, generator in enumerate(self.generators)
        ]

    def _plan(self, path: str, variable: Any, initializer: Any) -> PlannedVariable:
        if not is_float_dtype(variable.dtype):
            return PlannedVariable(path, variable, None, NOT_FLOATING)
        if initializer is None:
            return PlannedVariable(path, variable, None, UNKNOWN_INITIALIZER)
        if hasattr(initializer, "seed"):
            initializer = copy.copy(initializer)
            initializer.seed = self._seed
        return PlannedVariable(path, variable, initializer, None)


def _global_generator_state() -> Any:
    """Return the state variable of Keras' global seed generator, made if there is none."""
    from keras.src.random.seed_generator import global_seed_generator

    with outside_trace():
        return global_seed_generator().state
