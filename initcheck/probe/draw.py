"""How weights are drawn anew: which initializer each of them has, and the compiled loops that draw from it.

A weight is drawn from the state of a seed of its own, which derives from the seed of the network and the path of the
weight. Weights of one shape whose initializers differ in their seeds alone are drawn by one loop, traced once. What
Keras does not ship is called eagerly instead (:mod:`initcheck.probe.eager_draws`).
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.keras_private import MethodWatch, variable_class
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.core.seeds import derive_seeds
from initcheck.probe.eager_draws import draw_eagerly
from initcheck.probe.layer_kinds import find_initializer_axes
from initcheck.probe.paths import PathNamer, own_variables

UNKNOWN_INITIALIZER: Final = "its initializer is not known, so its value was kept"
NOT_FLOATING: Final = "not a floating-point variable, so its value was kept"
LOADED: Final = "its initializer cannot have drawn it: it was loaded or trained, so its value was kept"
QUANTIZED: Final = "its layer is quantized, so its value was kept: check the model before it is quantized"

_SEEDS: Final = ("seed", "_init_seed")
_STATE: Final = ((2,), "int32")
"""Shape and dtype of the state of a seed."""
_MOST_LOOPS: Final = 512
_OF_EVERY_LAYER: Final = ("name", "dtype", "trainable")
_LARGE: Final = 2**22
"""Entries of a weight of which no second copy is made on drawing."""
_FEWEST_VALUES: Final = 8
"""Different values from which on a weight looks like a random one."""

Likeness = tuple[type, str, tuple[int, ...], str]
"""Class and attributes of an initializer, and shape and dtype of what it draws."""


class RedrawPlan:
    """How to draw the weights of one built model anew for any seed; plans may share loops.

    Args:
        initializers: by path of the weight; a text in place of one is the reason why the weight's value is kept.
    """

    def __init__(
        self, model: Any, initializers: Mapping[str, Any] | None = None, loops: DrawingLoops | None = None
    ) -> None:
        namer = PathNamer(model)
        paths, names = namer.variable_paths(), namer.variable_names()
        found = find_initializers(model, namer) if initializers is None else dict(initializers)
        quantized = {id(variable) for _, member in namer.members() for variable in _quantized_variables(member)}
        with preserved_random_state():
            self._seed = _given_seed_class()()
        self.variables: tuple[PlannedVariable, ...] = tuple(
            PlannedVariable(paths[id(variable)], variable, None, QUANTIZED)
            if id(variable) in quantized
            else self._plan(paths[id(variable)], variable, found.get(paths[id(variable)]))
            for variable in model.weights
        )
        self.paths: tuple[str, ...] = tuple(planned.path for planned in self.variables)
        self.names: tuple[str, ...] = tuple(names[id(planned.variable)] for planned in self.variables)
        self.generators: tuple[Any, ...] = tuple(
            variable for variable in model.variables if variable.name == "seed_generator_state"
        )
        self._shared_loops = loops or DrawingLoops()
        self._loops: dict[int, Callable[..., Any]] = {}

    @property
    def has_eager_draws(self) -> bool:
        """Whether some weights have to be drawn outside of a graph."""
        return any(planned.is_eager for planned in self.variables)

    @property
    def repeated(self) -> frozenset[str]:
        """The weights that look random, and for which two seeds give the same numbers."""
        return frozenset(path for path, values in self._repeated.items() if values >= _FEWEST_VALUES)

    @cached_property
    def drawn_by(self) -> tuple[Any, ...] | None:
        """What decides, besides the seeds, on all values: equal for plans that draw alike, bit for bit.

        None where that is not known.
        """
        if not all(planned.initializer is None or planned.likeness for planned in self.variables):
            return None
        with preserved_random_state():
            return self.paths, tuple(
                id(planned.variable) if planned.initializer is None else self._shared_loops.find(planned)
                for planned in self.variables
            )

    @property
    def varies(self) -> bool:
        """Whether any weight differs from seed to seed."""
        return any(planned.varies and planned.path not in self._repeated for planned in self.variables)

    @cached_property
    def _repeated(self) -> dict[str, int]:
        """Number of different values of the eagerly drawn weights to which two seeds give the same numbers, by path."""
        eager = [planned.path for planned in self.variables if planned.is_eager]
        first, second = (self.draw_some(states, eager) for states in self.derive([0, 1])) if eager else ({}, {})
        drawn = {path: (np.asarray(first[path]), np.asarray(second[path])) for path in eager}
        return {path: len(np.unique(one)) for path, (one, other) in drawn.items() if np.array_equal(one, other)}

    @property
    def kept(self) -> dict[str, str]:
        """The reason by path of the variables whose value is not drawn anew."""
        return {planned.path: planned.reason for planned in self.variables if planned.reason is not None}

    @property
    def signature(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of one replicate's seed states; see :meth:`derive`."""
        return (len(self.variables) + len(self.generators), 2), "int32"

    def derive(self, seeds: Sequence[int]) -> NDArray[np.int32]:
        """Derive the seed state of each variable and random layer by seed, shape [seeds, variables + generators, 2].

        A state is [derived seed, 0], which is what Keras makes of that integer seed.
        """
        # The generators are derived apart from the weights, so that a model with Dropout draws the same
        # weights as one without.
        generators = [f"seed_generator_state/{index}" for index in range(len(self.generators))]
        rows = [(*derive_seeds(seed, self.paths), *derive_seeds(seed, generators)) for seed in seeds]
        states = np.zeros((len(rows), *self.signature[0]), dtype=np.int32)
        states[:, :, 0] = np.asarray(rows, dtype=np.int32).reshape(states.shape[:2])
        return states

    def draw(self, states: Any) -> list[Any]:
        """Draw one value for every variable, eagerly, or while a graph is traced if no draw has to be eager."""
        ops = import_keras().ops
        rows = ops.unstack(ops.convert_to_tensor(states), axis=0)
        with self._drawing() as draw_one:
            return [draw_one(planned, state) for planned, state in zip(self.variables, rows, strict=False)]

    def draw_some(self, states: Any, paths: Collection[str]) -> dict[str, Any]:
        """Draw some of the variables, eagerly, with the values that :meth:`draw` gives them."""
        wanted = [index for index, path in enumerate(self.paths) if path in paths]
        part = copy.copy(self)
        part.variables = tuple(self.variables[index] for index in wanted)
        drawn = part.draw(import_keras().ops.take(states, np.asarray(wanted, dtype=np.int32), axis=0))
        return {self.paths[index]: value for index, value in zip(wanted, drawn, strict=True)}

    def sample(self, seeds: Sequence[int]) -> list[Any]:
        """Draw all variables for several seeds, each of shape [len(seeds), ...], in loops that are traced once.

        Variables of one shape whose initializers are alike are drawn by one loop: tracing does not take longer for a
        network that has more of them.
        """
        ops, states = import_keras().ops, self.derive(seeds)
        values: dict[int, Any] = {}
        with preserved_random_state():
            for places in self._groups:
                planned = self.variables[places[0]]
                shape = tuple(planned.variable.shape)
                if planned.is_eager:
                    values[places[0]] = ops.stack([self._draw_one(planned, row) for row in states[:, places[0]]])
                elif planned.varies and len(seeds) == 1 and planned.likeness and planned.is_large:
                    draw = self._shared_loops.find(planned).single
                    values |= {place: draw(ops.convert_to_tensor(states[0, place])) for place in places}
                elif planned.varies:
                    # One variable after the other: a loop makes a second copy of its results.
                    loop = self._loop(places[0])
                    values |= {place: loop(ops.convert_to_tensor(states[:, place])) for place in places}
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
            return self._shared_loops.find(planned).loop
        if place not in self._loops:
            draw = partial(self._draw_one, planned)
            self._loops[place] = backend().compile_over_replicates(draw, [_STATE], planned.variable.dtype)
        return self._loops[place]

    def _draw_one(self, planned: PlannedVariable, state: Any) -> Any:
        with self._drawing() as draw_one:
            return draw_one(planned, state)

    @contextmanager
    def _drawing(self) -> Iterator[Callable[[PlannedVariable, Any], Any]]:
        """Hand out a function that draws a value for a variable from the state of its seed."""
        keras = import_keras()

        def draw_one(planned: PlannedVariable, state: Any) -> Any:
            if planned.initializer is None:
                return backend().read_variable(planned.variable)
            shape, dtype = planned.variable.shape, planned.variable.dtype
            if planned.is_eager:
                return draw_eagerly(planned.initializer, shape, dtype, int(state[0]))
            self._seed.given = state
            with keras.StatelessScope(initialize_variables=False):
                return keras.ops.cast(planned.initializer(shape, dtype=dtype), dtype)

        yield draw_one
        self._seed.given = None

    def generator_states(self, states: Any) -> list[tuple[Any, Any]]:
        """Pair each of the model's seed generators with its state for this replicate."""
        ops = import_keras().ops
        if self.generators:
            backend().seed_own_draws(states[len(self.variables)])
        return [
            (generator, ops.cast(states[len(self.variables) + index], generator.dtype))
            for index, generator in enumerate(self.generators)
        ]

    def _plan(self, path: str, variable: Any, initializer: Any) -> PlannedVariable:
        if not is_float_dtype(variable.dtype):
            return PlannedVariable(path, variable, None, NOT_FLOATING)
        if initializer is None or isinstance(initializer, str):
            return PlannedVariable(path, variable, None, initializer or UNKNOWN_INITIALIZER)
        given = initializer
        if _is_shipped(initializer) and hasattr(initializer, "seed"):
            initializer = copy.copy(initializer)
            initializer.seed = self._seed
        return PlannedVariable(path, variable, initializer, None, given)


class DrawingLoops:
    """Compiled loops that draw, for plans that are to share them: each kind of variable is traced once.

    What was traced stays as it was, whatever becomes of Keras afterwards.
    """

    def __init__(self) -> None:
        self._found: dict[Likeness, CompiledDraw] = {}
        self._by_graph: dict[Hashable, CompiledDraw] = {}

    def find(self, planned: PlannedVariable) -> CompiledDraw:
        """Return what draws a variable, which has a likeness: one and the same where the graphs are, bit for bit."""
        likeness = planned.likeness
        if likeness is None:
            raise ValueError("Only variables with a likeness have a loop in common.")
        if likeness not in self._found:
            if len(self._found) >= _MOST_LOOPS:
                self._found.clear()
                self._by_graph.clear()
            draw = _trace_draw(planned.initializer, *likeness[2:])
            graph = backend().describe_graph(draw)
            self._found[likeness] = self._by_graph.setdefault(
                likeness if graph is None else graph, CompiledDraw(draw, str(planned.variable.dtype))
            )
        return self._found[likeness]


class CompiledDraw:
    """What draws values from the states of seeds: a traced function of one state."""

    def __init__(self, draw: Callable[[Any], Any], dtype: str) -> None:
        self._draw = draw
        self._dtype = dtype

    @cached_property
    def loop(self) -> Callable[..., Any]:
        """Draws from any number of states."""
        return backend().compile_over_replicates(self._draw, [_STATE], self._dtype)

    @cached_property
    def single(self) -> Callable[..., Any]:
        """Draws from one state, without the second copy that a loop makes of its results."""
        ops = import_keras().ops
        return backend().compile_once(lambda state: ops.expand_dims(self._draw(state), 0), [_STATE])


@dataclass(frozen=True)
class PlannedVariable:
    """One weight of the model, with the initializer that draws a new value, or the reason why it is kept.

    Attributes:
        given: the initializer that was found, of which ``initializer`` may be a copy with another seed.
    """

    path: str
    variable: Any
    initializer: Callable[..., Any] | None
    reason: str | None
    given: Any = None

    @property
    def is_eager(self) -> bool:
        """Whether it is drawn outside of any graph, since its random numbers may come from anywhere."""
        return self.initializer is not None and not _is_shipped(self.initializer)

    @property
    def varies(self) -> bool:
        """Whether the value may differ from seed to seed: not where it is kept, nor drawn by such as Zeros."""
        return self.initializer is not None and (hasattr(self.initializer, "seed") or self.is_eager)

    @property
    def is_large(self) -> bool:
        """Whether a copy of it is worth avoiding."""
        return bool(math.prod(self.variable.shape) >= _LARGE)

    @cached_property
    def likeness(self) -> Likeness | None:
        """What it shares with all variables that would draw the same from one state; None where that is not known."""
        if self.initializer is None or not _is_shipped(self.initializer):
            return None
        attributes = {name: value for name, value in vars(self.initializer).items() if name not in _SEEDS}
        if not all(isinstance(value, bool | int | float | str | tuple | None) for value in attributes.values()):
            return None
        drawn_by = (type(self.initializer), repr(sorted(attributes.items())))
        return (*drawn_by, tuple(self.variable.shape), str(self.variable.dtype))


def find_initializers(model: Any, namer: PathNamer) -> dict[str, Any]:
    """Find the initializer of every weight of a built model.

    The layers of Keras name the initializer of ``kernel`` ``kernel_initializer``, and so on. Recurrent layers (whose
    forget-gate bias is not what the attribute says) and layers that Keras does not ship are rebuilt once from the
    model's configuration, or each from its own where that fails, while the creation of their variables is watched.
    """
    paths = namer.variable_paths()
    found: dict[str, Any] = {}
    doubtful = False
    for _, layer in namer.members():
        trusted = _is_keras_layer(layer)
        for variable in own_variables(layer):
            initializer = getattr(layer, f"{variable.name}_initializer", None)
            if initializer is not None:
                found[paths[id(variable)]] = _as_called(layer, variable, initializer)
            if initializer is None or not trusted:
                doubtful = True
    if not doubtful:
        return found
    return {**found, **(_rebuild(model) or _rebuild_layers(model, namer))}


_variables: Final = MethodWatch(variable_class, "__init__")


@contextmanager
def recorded_initializers() -> Iterator[dict[int, Any]]:
    """Record with which initializer this thread creates each Keras variable inside the context."""
    recorded: dict[int, Any] = {}

    def record(original: Callable[..., None], variable: Any, initializer: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(initializer, str):
            initializer = import_keras().initializers.get(initializer)
        if callable(initializer):
            recorded[id(variable)] = initializer
        original(variable, initializer, *args, **kwargs)

    with _variables.watch(record):
        yield recorded


def _rebuild(model: Any) -> dict[str, Any]:
    """Build a model or layer a second time from its configuration; return what draws its weights, by their paths in it.

    Empty where that cannot be done.
    """
    with preserved_random_state(), recorded_initializers() as recorded:
        try:
            twin = type(model).from_config(_taken_by(type(model), model.get_config()))
            if not twin.built:
                twin.build_from_config(model.get_build_config())
        except (NotImplementedError, TypeError, ValueError, AttributeError, KeyError):
            return {}  # a model without a configuration: only the layers' attributes are left
        if [tuple(weight.shape) for weight in twin.weights] != [tuple(weight.shape) for weight in model.weights]:
            return {}
        paths = PathNamer(twin).variable_paths()
        return {paths[id(weight)]: recorded[id(weight)] for weight in twin.weights if id(weight) in recorded}


def _taken_by(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the name, dtype and trainable of a layer whose class takes none, though Keras gives them."""
    parameters = inspect.signature(kind).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return config
    return {name: value for name, value in config.items() if name in parameters or name not in _OF_EVERY_LAYER}


def _rebuild_layers(model: Any, namer: PathNamer) -> dict[str, Any]:
    """Build the layers that Keras does not ship a second time, each by itself: those around first."""
    found: dict[str, Any] = {}
    rebuilt: list[str] = []
    for path, layer in namer.members():
        if layer is model or _is_keras_layer(layer) or any(path.startswith(f"{outer}/") for outer in rebuilt):
            continue
        if getattr(layer, "weights", ()) and (inside := _rebuild(layer)):
            rebuilt.append(path)
            found |= {f"{path}/{name}": initializer for name, initializer in inside.items()}
    return found


def find_called_initializer(layer: Any, variable: Any) -> Any:
    """Find what a layer that Keras ships draws a weight with; None where its attributes do not say."""
    initializer = getattr(layer, f"{variable.name}_initializer", None) if _is_keras_layer(layer) else None
    return None if initializer is None else _as_called(layer, variable, initializer)


def _as_called(layer: Any, variable: Any, initializer: Any) -> Any:
    """Return the initializer as the layer calls it.

    From Keras 3.15 on, EinsumDense calls a copy that knows which axes of the kernel are inputs: the variance of every
    projection of MultiHeadAttention depends on it.
    """
    unknown = [getattr(initializer, name, ()) is None for name in ("input_axes", "output_axes")]
    if variable.name != "kernel" or not any(unknown):
        return initializer
    axes = find_initializer_axes(layer, len(variable.shape))
    return initializer if axes is None else layer._update_kernel_initializer(*axes)


def _is_keras_layer(layer: Any) -> bool:
    """Return whether Keras ships this layer, and its attributes name the initializers that it calls."""
    module = type(layer).__module__
    return module.startswith("keras.") and ".rnn" not in module and ".applications" not in module


def _trace_draw(initializer: Any, shape: tuple[int, ...], dtype: str) -> Callable[..., Any]:
    """Trace the draw of one value from one state."""
    keras = import_keras()
    seed = _given_seed_class()()
    # A copy: the graph outlives the plan, and must not keep its model.
    own = copy.copy(initializer)
    own.seed = seed

    def draw(state: Any) -> Any:
        with keras.StatelessScope(initialize_variables=False):
            seed.given = state
            value = keras.ops.cast(own(shape, dtype=dtype), dtype)
            seed.given = None
            return value

    return backend().trace(draw, [_STATE])


@cache
def _given_seed_class() -> Any:
    """Make the class of a seed generator that hands out the state it was given, as an integer seed does."""
    generator: Any = import_keras().random.SeedGenerator

    class GivenSeed(generator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(seed=0)
            self.given: Any = None

        def next(self, ordered: bool = True) -> Any:  # noqa: ARG002 - Keras' signature
            return None if self.given is None else backend().make_seed(self.given)

    return GivenSeed


def _is_shipped(initializer: Any) -> bool:
    return type(initializer).__module__.startswith("keras.") and not _is_function(initializer)


def _quantized_variables(layer: Any) -> list[Any]:
    """List the whole numbers of a quantized layer, and what they are scaled by: one without the other means nothing."""
    variables = own_variables(layer)
    integers = any(not is_float_dtype(variable.dtype) for variable in variables)
    quantized = bool(getattr(layer, "quantization_mode", None)) and integers
    return [variable for variable in variables if not variable.trainable] if quantized else []


def _is_function(initializer: Any) -> bool:
    """Return whether an initializer is a plain function, and not one of Keras' objects."""
    return initializer is not None and not isinstance(initializer, import_keras().initializers.Initializer)
