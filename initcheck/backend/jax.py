"""JAX: functions are compiled by ``jax.jit``, and a pass is recorded as a jaxpr, which is read and evaluated.

JAX has float64 only where it is switched on. Whatever is compiled here is lowered with float64 switched on, and the
functions themselves run as the user's do, so that a model computes as in training; what is to be float64 says so by
:meth:`JaxBackend.double_precision`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Final

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from numpy.typing import NDArray

from initcheck.backend.interface import Differentiated, Forward, Signature
from initcheck.backend.operations import Operation, OperationKind, Shape, kind_of_power
from initcheck.core.errors import ModelError

_COPY: Final = "initcheck"
_SHORT: Final = 1024
_LAYER: Final = "initcheck.layer."
_MARK: Final = re.compile(re.escape(_LAYER) + r"(\d+)")

_KINDS: Final[dict[str, OperationKind]] = {
    **dict.fromkeys(
        """
        abs broadcast broadcast_in_dim concatenate conv_general_dilated convert_element_type copy copy_p cummax cummin
        cumsum dot_general dynamic_slice dynamic_update_slice expand_dims gather max min name neg optimization_barrier
        pad reduce_max reduce_min reduce_precision reduce_sum reduce_window_max reduce_window_min reduce_window_sum
        reshape rev scatter scatter-add scatter-max scatter-min scatter_add select_n sharding_constraint slice sort
        split sqrt square squeeze stop_gradient top_k transpose
        """.split(),  # noqa: SIM905 - a list of fifty strings would have fifty lines
        "homogeneous",
    ),
    **dict.fromkeys(("add", "add_any", "sub"), "add"),
    "mul": "multiply",
    "div": "divide",
    "rsqrt": "normalize",
    **dict.fromkeys(("scan", "while"), "loop"),
}
"""What equations are to a signal, by JAX's primitive; all others are "other"."""

_NAMED: Final[dict[str, OperationKind]] = {
    **dict.fromkeys(("softmax", "_softmax"), "softmax"),
    **dict.fromkeys(("log_softmax", "_log_softmax"), "log_softmax"),
    "relu6": "other",
}
"""Functions of ``jax.nn`` that are one operation, whatever equations they are made of."""

_INLINED: Final = frozenset({"jit", "pjit", "closed_call", "core_call"})
"""Calls whose bodies are part of what is around them."""

_WITH_OWN_DERIVATIVE: Final = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
_READ_INTO: Final = _WITH_OWN_DERIVATIVE | {"checkpoint", "remat", "remat2"}
"""Calls whose bodies say what becomes of a signal, and which are evaluated as a whole."""

_WITHOUT_DERIVATIVE: Final = frozenset({"stop_gradient", "sign", "floor", "ceil", "round", "nextafter"})

_PASSED_ON: Final = frozenset({"name", "copy", "copy_p"})
"""Equations whose result is what they take."""


def _identity(tensor: Any, sink: Any) -> Any:  # noqa: ARG001
    return tensor


# The derivative with respect to the sink is that of the tensor: nothing is added to the tensor for it.
_tap: Final = jax.custom_vjp(_identity)
_tap.defvjp(lambda tensor, sink: (tensor, None), lambda _, derivative: (derivative, derivative))  # noqa: ARG005


# --- compiling -------------------------------------------------------------------------------------------------------

_users_x64: ContextVar[bool | None] = ContextVar("initcheck: whether the user has float64", default=None)


@contextmanager
def _compiling() -> Iterator[bool]:
    """Switch float64 on, and hand out whether the user has it."""
    users = _users_x64.get()
    token = _users_x64.set(bool(jax.config.jax_enable_x64) if users is None else users)
    try:
        with jax.enable_x64(True):
            yield bool(_users_x64.get())
    finally:
        _users_x64.reset(token)


class _Compiled:
    """A function that is compiled for each shape that it is called with, and runs in the user's mode of float64.

    The variables that it reads by :meth:`JaxBackend.read_variable` and the sources of its passes are arguments of what
    is compiled: it finds variables as they are when it is called.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        def run(users_x64: bool, held: Sequence[Any], *tensors: Any) -> Any:
            token = _reading.set(_Reading(self._variables, held))
            try:
                with jax.enable_x64(users_x64):
                    return function(*tensors)
            finally:
                _reading.reset(token)

        self._function = function
        self._run = jax.jit(run, static_argnums=0)
        self._variables: list[Any] = []
        self._known: dict[Hashable, Any] = {}

    def __call__(self, *tensors: Any) -> Any:
        with _compiling() as users_x64:
            if _is_tracing():
                with jax.enable_x64(users_x64):
                    return self._function(*tensors)
            self._trace(users_x64, tensors)
            try:
                return self._run(users_x64, self._read(), *tensors)
            except ValueError as error:
                if "is not supported by" not in str(error):  # as float16 in attention is not on a processor
                    raise
                reason = " ".join(str(error).split())
                raise ModelError(f"JAX cannot compile the model for this device: {reason}") from error

    def trace(self, signature: Signature) -> None:
        """Trace the function now; a call with such tensors finds it traced."""
        with _compiling() as users_x64:
            self._trace(users_x64, [jax.ShapeDtypeStruct(*each) for each in signature])

    def describe(self) -> str | None:
        """Write what was traced as StableHLO, which holds all constants; None where it reads variables."""
        with _compiling():
            (traced,) = self._known.values()
            return None if self._variables else str(traced.lower().as_text())

    def _trace(self, users_x64: bool, tensors: Sequence[Any]) -> None:
        """Trace the function for such tensors, unless that was done, and find the variables that it reads."""
        # A constant of a jaxpr may be a number of JAX's own, which has neither shape nor dtype.
        form = (users_x64, *map(jax.typeof, jax.tree.leaves(tensors)))
        while form not in self._known:
            count = len(self._variables)
            traced = self._run.trace(users_x64, self._read(), *tensors)
            if len(self._variables) == count:
                self._known[form] = traced

    def _read(self) -> list[Any]:
        return [_value(each) for each in self._variables]


def _value(held: Any) -> Any:
    return held if isinstance(held, jax.Array) else held.value


def _lift(array: Any) -> Any:
    """Make an array an argument of what is compiled: XLA would compute with a constant while it compiles."""
    reading = _reading.get()
    return array if reading is None or isinstance(array, jax.core.Tracer) else reading.give(array)


class _Reading:
    """The variables and arrays that a function reads while it is traced, and what stands for those that are known."""

    def __init__(self, variables: list[Any], held: Sequence[Any]) -> None:
        self._variables = variables
        self._held = held

    def give(self, variable: Any) -> Any:
        for each, value in zip(self._variables, self._held, strict=False):
            if each is variable:
                return value
        if all(each is not variable for each in self._variables):
            self._variables.append(variable)
        return _value(variable)


_reading: ContextVar[_Reading | None] = ContextVar("initcheck: variables that are read", default=None)


def _is_tracing() -> bool:
    return isinstance(jnp.zeros(()), jax.core.Tracer)


_take_row: Final = jax.jit(lambda stacked, number: jax.tree.map(lambda values: values[number], stacked))
_write_row: Final = jax.jit(
    lambda rows, number, row: jax.tree.map(lambda values, new: values.at[number].set(new), rows, row), donate_argnums=0
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Rows:
    """See :class:`initcheck.backend.interface.Rows`."""

    values: Any

    def write(self, number: Any, row: Any) -> _Rows:
        return _Rows(self.values.at[number].set(row))

    def stack(self) -> Any:
        return self.values


class JaxBackend:
    """See :class:`initcheck.backend.interface.Backend`."""

    parallel_replicates: ClassVar = 1

    seed_period: ClassVar = 2**32

    def double_precision(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = jax.enable_x64(True)
        return context

    @contextmanager
    def outside_trace(self) -> Iterator[None]:
        users_x64 = _users_x64.get()
        with (
            jax.ensure_compile_time_eval(),
            jax.enable_x64(jax.config.jax_enable_x64 if users_x64 is None else users_x64),
        ):
            yield

    def compile_function(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:  # noqa: ARG002
        compiled: Callable[..., Any] = jax.jit(function)
        return compiled

    def compile_over_replicates(
        self,
        function: Callable[..., Any],
        signature: Signature,  # noqa: ARG002 - JAX reads it off the arguments
        outputs: Any,
    ) -> Callable[..., Any]:
        # Not one loop that is compiled: that would have to be compiled again for each number of replicates.
        compiled = _Compiled(function)

        def run(*stacked: Any) -> Any:
            count = int(stacked[0].shape[0])
            with _compiling():
                given = [jnp.asarray(each) for each in stacked]
                rows: Any = None
                waiting: deque[Any] = deque()
                for number in range(count):
                    row = compiled(*_take_row(given, number))
                    if rows is None:
                        _check_dtypes(row, outputs)
                        rows = jax.tree.map(lambda new: jnp.zeros((count, *new.shape), new.dtype), row)
                    rows = _write_row(rows, number, row)
                    # Those that are on the way hold memory.
                    waiting.append(row)
                    if len(waiting) > self.parallel_replicates:
                        jax.block_until_ready(waiting.popleft())
                return rows

        return run

    def compile_once(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:  # noqa: ARG002
        return _Compiled(function)

    def trace(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        compiled = _Compiled(function)
        compiled.trace(signature)
        return compiled

    def describe_graph(self, traced: Callable[..., Any]) -> Hashable | None:
        assert isinstance(traced, _Compiled)
        return traced.describe()

    def cond(self, condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
        return lax.cond(condition, if_true, if_false)

    def repeat(self, step: Callable[..., Sequence[Any]], times: Any, *state: Any) -> list[Any]:
        return list(lax.fori_loop(np.int32(0), jnp.int32(times), lambda number, now: tuple(step(number, *now)), state))

    def repeat_on_variables(
        self, step: Callable[..., Any], times: Any, variables: Sequence[Any], values: Sequence[Any], rows: Any
    ) -> tuple[list[Any], Any]:
        from keras import StatelessScope

        def update(number: Any, current: Sequence[Any], filled: Any) -> tuple[list[Any], Any]:
            with StatelessScope(list(zip(variables, current, strict=True)), initialize_variables=False) as scope:
                filled = step(number, filled)
            return [scope.get_current_value(variable) for variable in variables], filled

        held, filled = self.repeat(update, times, list(values), rows)
        return held, filled

    def make_rows(self, count: Any, dtype: str, most: int | None = None) -> _Rows:
        return _Rows(jnp.zeros((count if most is None else most,), dtype))

    def take_rows(self, tensor: Any, places: Any) -> Any:
        return jnp.take(tensor, places, axis=0, mode="clip")

    def find_largest(self, tensor: Any) -> Any:
        return lax.argmax(tensor, tensor.ndim - 1, np.int32)

    def sum_float64(self, tensor: Any, axis: int | None = None) -> Any:
        return _sum_all(tensor) if axis is None else jnp.sum(tensor, axis, dtype="float64")

    def half_sum_of_squares(self, tensor: Any) -> Any:
        squares = jnp.square(tensor)
        return 0.5 * (_sum_all(squares) if jax.config.jax_enable_x64 else jnp.sum(squares))

    def sum_segments(self, tensor: Any, owners: NDArray[np.int32], count: int) -> Any:
        return jax.ops.segment_sum(tensor, owners, count)

    def bytes_can_be_summed(self, output: Any) -> bool:  # noqa: ARG002
        return False  # nor need they: XLA stores no copy of what it sums

    def sum_bytes(self, condition: Any) -> Any:
        return jnp.sum(condition, axis=0, dtype="float32")

    def read_variable(self, variable: Any) -> Any:
        value, reading = variable.value, _reading.get()
        # What is not in a scope would be a constant of what is being traced.
        return value if reading is None or isinstance(value, jax.core.Tracer) else reading.give(variable)

    def as_array(self, values: Any) -> NDArray[Any]:
        return np.asarray(getattr(values, "value", values))

    def seed_own_draws(self, state: Any) -> None:
        """Do nothing: there are no others."""

    def make_seed(self, state: Any) -> Any:
        return jnp.asarray(state).astype("uint32")

    def copy_tensor(self, tensor: Any) -> Any:
        return checkpoint_name(tensor, _COPY)

    def keep_logits(self, tensor: Any, copy: Any) -> None:
        """Do nothing: Keras looks for logits on TensorFlow alone."""

    def is_dense(self, tensor: Any) -> bool:
        return isinstance(tensor, jax.Array)

    def current_place(self) -> Hashable:
        place: Hashable = core.find_top_trace(())
        return place

    def made_at(self, tensor: Any, place: Hashable) -> bool:
        return not isinstance(tensor, jax.core.Tracer) or tensor._trace is place

    def layer_call(self, number: int) -> AbstractContextManager[None]:
        scope: AbstractContextManager[None] = jax.named_scope(f"{_LAYER}{number}")
        return scope

    def record_pass(
        self,
        forward: Callable[[Sequence[Any]], Forward],
        sources: Sequence[Any],
        like: Hashable | None = None,  # noqa: ARG002 - a jaxpr is traced once
    ) -> RecordedJaxpr:
        made: list[tuple[Sequence[Any], list[Any]]] = []

        def run(*given: Any) -> list[Any]:
            found = forward(given)
            made.append((given, [*found.losses, *found.tensors]))
            return made[-1][1]

        values = [_lift(jnp.asarray(source)) for source in sources]
        closed = jax.make_jaxpr(run)(*values)
        return RecordedJaxpr(closed, values, *made[-1])

    def differentiate(
        self, function: Callable[[Sequence[Any]], tuple[Any, Any]], sources: Sequence[Any]
    ) -> Differentiated:
        kept: list[tuple[Any, Any, list[Any]]] = []

        def forward(given: Sequence[Any]) -> Forward:
            loss, extra = function(given)
            leaves, structure = jax.tree.flatten(extra)
            kept.append((loss, structure, leaves))
            return Forward([loss], [each for each in leaves if isinstance(each, jax.Array)])

        recorded = self.record_pass(forward, sources)
        loss, structure, leaves = kept[-1]
        places = [place for place, each in enumerate(leaves) if isinstance(each, jax.Array)]
        (value, *found), (gradients,) = recorded.evaluate(
            [loss, *(leaves[place] for place in places)], [(loss, recorded.sources)]
        )
        for place, each in zip(places, found, strict=True):
            leaves[place] = each
        return Differentiated(value, jax.tree.unflatten(structure, leaves), gradients)


BACKEND: Final = JaxBackend()


def _sum_all(tensor: Any) -> Any:
    """Sum all entries in float64, or short rows in float32 and these in float64, which costs a third.

    XLA adds up one after the other where it does not vectorize: over many entries that costs float32 two digits.
    """
    rows = tensor.ndim > 1 and tensor.shape[-1] <= _SHORT and tensor.dtype == np.float32
    return jnp.sum(jnp.sum(tensor, axis=-1) if rows else tensor, dtype="float64")


def _check_dtypes(row: Any, outputs: Any) -> None:
    found = [str(each.dtype) for each in jax.tree.leaves(row)]
    wanted = [str(np.dtype(each)) if each != "bfloat16" else each for each in jax.tree.leaves(outputs)]
    if found != wanted:
        raise TypeError(f"A replicate gives other dtypes than it should: {found} instead of {wanted}.")


# --- what a jaxpr says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class _Step:
    """One equation, with the numbers of the values that it takes and makes; a literal has a number of its own."""

    equation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layer: int | None


@dataclass(frozen=True)
class _Result:
    """The result of an operation that has no tensor in the forward function.

    Attributes:
        axis: the axis that is brought to the end; None where all stay.
    """

    number: int
    axis: int | None = None


@dataclass
class _Values:
    """All values of a pass by number: what is known of them, and what makes them."""

    avals: list[Any] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)

    def add(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def add_constant(self, aval: Any, value: Any) -> int:
        number = self.add(aval)
        self.constants[number] = value
        return number

    def inline(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[int], layer: int | None = None) -> list[int]:
        """List the equations of a jaxpr, with those of the functions it calls in place of the calls.

        Returns:
            The numbers of its results.
        """
        numbers: dict[Any, int] = dict(zip(jaxpr.invars, given, strict=True))
        for variable, constant in zip(jaxpr.constvars, consts, strict=True):
            numbers[variable] = self.add_constant(variable.aval, constant)

        def number_of(atom: Any) -> int:
            return self.add_constant(atom.aval, atom.val) if isinstance(atom, core.Literal) else numbers[atom]

        for equation in jaxpr.eqns:
            taken = tuple(number_of(atom) for atom in equation.invars)
            inside = _read_layer(equation, layer)
            if equation.primitive.name in _INLINED and _function_name(equation) not in _NAMED:
                body, constants = _body(equation)
                made = self.inline(body, constants, taken, inside)
            else:
                made = [self.add(variable.aval) for variable in equation.outvars]
                self.steps.append(_Step(equation, taken, tuple(made), inside))
            numbers.update(zip(equation.outvars, made, strict=True))
        return [number_of(atom) for atom in jaxpr.outvars]


class RecordedJaxpr:
    """A pass as a jaxpr; see :class:`initcheck.backend.interface.RecordedPass`.

    The tensors of the forward function stand for its results, so that each of them has a number.
    """

    def __init__(self, closed: Any, values: Sequence[Any], sources: Sequence[Any], tensors: Sequence[Any]) -> None:
        self.sources = sources
        self._given = values
        self._values = _Values()
        self._places = [self._values.add(variable.aval) for variable in closed.jaxpr.invars]
        results = self._values.inline(closed.jaxpr, closed.consts, self._places)
        self._tensors = [*sources, *tensors]  # kept, so that no other object has their id
        self._numbers = {id(each): number for each, number in zip(tensors, results, strict=True)}
        self._numbers |= {id(each): number for each, number in zip(sources, self._places, strict=True)}

    @cached_property
    def operations(self) -> Sequence[Operation]:
        return self._description.operations

    @property
    def structure(self) -> None:
        return None

    def name_of(self, tensor: Any) -> str:
        return self._description.names[self._number_of(tensor)]

    def identify(self, tensor: Any) -> Hashable:
        makers, number = self._makers, self._number_of(tensor)
        while number in makers and makers[number].equation.primitive.name in _PASSED_ON:
            number = makers[number].inputs[0]
        return number

    def find_differentiable(self, loss: Any, tensors: Sequence[Any]) -> tuple[bool, ...]:
        found = self._find_sources_of(self._number_of(loss))
        return tuple(self._number_of(tensor) in found for tensor in tensors)

    def result_of(self, operation: Operation) -> _Result:
        return self._description.results[operation.name]

    def evaluate(
        self, read: Sequence[Any], wanted: Sequence[tuple[Any, Sequence[Any]]] = ()
    ) -> tuple[list[Any], list[list[Any | None]]]:
        results = [each if isinstance(each, _Result) else _Result(self._number_of(each)) for each in read]
        pairs = [(self._number_of(loss), [self._number_of(each) for each in targets]) for loss, targets in wanted]
        compute: Callable[..., Any] = partial(self._compute, results, pairs)
        if not _is_tracing():
            compute = _Compiled(compute)
        try:
            values, derivatives = compute(self._given, self._values.constants)
            return values, derivatives
        except ValueError as error:
            if "Reverse-mode differentiation does not work" not in str(error):
                raise
            reason = " ".join(str(error).split())
            raise ModelError(f"The loss cannot be differentiated: {reason}") from error

    def _compute(
        self,
        read: Sequence[_Result],
        wanted: Sequence[tuple[int, Sequence[int]]],
        given: Sequence[Any],
        constants: Mapping[int, Any],
    ) -> tuple[list[Any], list[list[Any | None]]]:
        known = {**constants, **dict(zip(self._places, given, strict=True))}
        paths = [self._find_path(loss, targets) for loss, targets in wanted]
        needed = {each.number for each in read} | {loss for loss, _ in wanted}
        # What the derivatives of further losses begin with is read off the first pass.
        begins = {number for path, (_, targets) in zip(paths[1:], wanted[1:], strict=True) for number in path.begins}
        needed |= begins
        first = paths[0].targets if paths else ()
        steps = self._find_needed(needed)

        def run(sinks: Mapping[int, Any]) -> tuple[Any, dict[int, Any]]:
            values = self._follow(steps, known, sinks)
            return (values[wanted[0][0]] if wanted else None), {number: values[number] for number in needed}

        derivatives: list[list[Any | None]] = []
        if first:
            loss, pull, values = jax.vjp(run, self._make_sinks(first), has_aux=True)
            (found,) = pull(jnp.ones_like(loss))
            derivatives.append([found.get(number) for number in wanted[0][1]])
        else:
            _, values = run({})
            derivatives += [[None] * len(targets) for _, targets in wanted[:1]]
        for path, (number, targets) in zip(paths[1:], wanted[1:], strict=True):
            if not path.targets:
                derivatives.append([None] * len(targets))
                continue

            def follow(sinks: Mapping[int, Any], path: _Path = path, number: int = number) -> Any:
                return self._follow(path.steps, {place: values[place] for place in path.begins}, sinks)[number]

            loss, pull = jax.vjp(follow, self._make_sinks(path.targets))
            (found,) = pull(jnp.ones_like(loss))
            derivatives.append([found.get(place) for place in targets])
        moved = [
            values[each.number] if each.axis is None else jnp.moveaxis(values[each.number], each.axis, -1)
            for each in read
        ]
        return moved, derivatives

    def _make_sinks(self, numbers: Iterable[int]) -> dict[int, Any]:
        avals = self._values.avals
        return {number: jnp.zeros(avals[number].shape, avals[number].dtype) for number in numbers}

    def _follow(self, steps: Sequence[_Step], known: Mapping[int, Any], sinks: Mapping[int, Any]) -> dict[int, Any]:
        """Evaluate some equations; the derivative with respect to a value comes to its sink."""
        values = {number: _tap(value, sinks[number]) if number in sinks else value for number, value in known.items()}
        for step in steps:
            made = _evaluate(step.equation, [values[number] for number in step.inputs])
            for number, value in zip(step.outputs, made, strict=True):
                values[number] = _tap(value, sinks[number]) if number in sinks else value
        return values

    def _find_needed(self, numbers: Iterable[int]) -> list[_Step]:
        """List the equations that these values need, and those that do something else."""
        wanted, found = set(numbers), []
        for step in reversed(self._values.steps):
            if step.equation.effects or not wanted.isdisjoint(step.outputs):
                wanted.update(step.inputs)
                found.append(step)
        return found[::-1]

    def _find_path(self, loss: int, targets: Sequence[int]) -> _Path:
        """Find what leads from some values to a loss."""
        above = self._find_sources_of(loss)
        connected = [number for number in dict.fromkeys(targets) if number in above]
        reached, steps = set(connected), []
        for step in self._values.steps:
            if not reached.isdisjoint(step.inputs) and not above.isdisjoint(step.outputs):
                reached.update(step.outputs)
                steps.append(step)
        made = {number for step in steps for number in step.outputs}
        begins = {number for step in steps for number in step.inputs} | {loss}
        return _Path(connected, steps, frozenset(begins - made))

    def _find_sources_of(self, loss: int) -> set[int]:
        """Find the values that a differentiable path leads from to a loss."""
        avals = self._values.avals
        found = {loss} if _is_float(avals[loss]) else set()
        for step in reversed(self._values.steps):
            if found.isdisjoint(step.outputs):
                continue
            places = {place for place, number in enumerate(step.outputs) if number in found}
            inputs = (step.inputs[place] for place in _differentiable_inputs(step.equation, places))
            found.update(number for number in inputs if _is_float(avals[number]))
        return found

    @cached_property
    def _makers(self) -> dict[int, _Step]:
        return {number: step for step in self._values.steps for number in step.outputs}

    @cached_property
    def _description(self) -> _Description:
        return _Description(self._values, self._places)

    def _number_of(self, tensor: Any) -> int:
        return self._numbers[id(tensor)]


@dataclass(frozen=True)
class _Path:
    """What leads from some values to a loss.

    Attributes:
        targets: those of the values from which a differentiable path does.
        steps: the equations between.
        begins: the values that these take and do not make.
    """

    targets: Sequence[int]
    steps: Sequence[_Step]
    begins: frozenset[int]


class _Description:
    """The operations of a pass, the name of the one that makes each value, and what each gives."""

    def __init__(self, values: _Values, places: Sequence[int]) -> None:
        self.operations: list[Operation] = []
        self.names: dict[int, str] = {}
        self.results: dict[str, _Result] = {}
        for place, number in enumerate(places):
            self._begin(values, number, f"source/{place}")
        for number in values.constants:
            self._begin(values, number, f"constant/{number}")
        self._read(values, readable=True)

    def _begin(self, values: _Values, number: int, name: str) -> None:
        aval = values.avals[number]
        self.operations.append(Operation(name, "homogeneous", (), (), _shape(aval), _carries_signal([aval])))
        self.names[number] = name
        self.results[name] = _Result(number)

    def _read(self, values: _Values, *, readable: bool) -> None:
        makers = {number: step for step in values.steps for number in step.outputs}
        for step in values.steps:
            equation = step.equation
            if equation.primitive.name in _READ_INTO and _function_name(equation) not in _NAMED:
                self._read_into(values, step)
                continue
            kind = _kind(values, step)
            inputs, axis = step.inputs, None
            softmax = _find_softmax(values, makers, step)
            if softmax is not None:
                kind, (inputs, axis) = "softmax", softmax
            elif kind == "softmax":
                axis = _summed_axis(equation)
            if kind == "softmax" and not readable:
                kind = "log_softmax"  # which is one as well, and is not read
            self._add(values, step, kind, inputs, axis)

    def _add(self, values: _Values, step: _Step, kind: OperationKind, inputs: Sequence[int], axis: int | None) -> None:
        name = f"{step.equation.primitive.name}/{len(self.operations)}"
        avals = [values.avals[number] for number in step.outputs]
        operation = Operation(
            name=name,
            kind=kind,
            inputs=tuple(self.names[number] for number in inputs),
            input_shapes=tuple(_move(_shape(values.avals[number]), axis) for number in inputs),
            shape=_move(_shape(avals[0]), axis) if avals else None,
            carries_signal=_carries_signal(avals),
            layer=step.layer,
        )
        self.operations.append(operation)
        self.names.update(dict.fromkeys(step.outputs, name))
        if step.outputs:
            self.results[name] = _Result(step.outputs[0], axis)

    def _read_into(self, values: _Values, step: _Step) -> None:
        """List the operations of a call that is evaluated as a whole, so that none inside it can be read."""
        inner = _Values(avals=list(values.avals))
        body, constants = _body(step.equation)
        made = inner.inline(body, constants, step.inputs, step.layer)
        for number in inner.constants:
            self._begin(inner, number, f"constant/{len(self.operations)}")
        outside = {number: self.names[number] for number in self.names if number < len(values.avals)}
        self._read(inner, readable=False)
        ends = [self.names[number] for number in made]
        self.names = outside | dict(zip(step.outputs, ends, strict=True))
        for number in step.outputs:
            self.results[self.names[number]] = _Result(number)


def _evaluate(equation: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    """Evaluate one equation."""
    primitive = equation.primitive
    found = primitive.get_bind_params(equation.params)
    functions, params = ((), found) if isinstance(found, dict) else found  # two of them until JAX 0.9
    with equation.ctx.manager:
        made = primitive.bind(*functions, *inputs, **params)
    return list(made) if primitive.multiple_results else [made]


def _body(equation: Any) -> tuple[Any, Sequence[Any]]:
    """Return the jaxpr that an equation calls, and its constants."""
    params = equation.params
    called = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
    return (called.jaxpr, called.consts) if isinstance(called, core.ClosedJaxpr) else (called, ())


def _function_name(equation: Any) -> str:
    """Return the name of the function that an equation calls; empty for one that calls none."""
    params = equation.params
    if equation.primitive.name in _INLINED:
        return str(params.get("name", ""))
    if equation.primitive.name in _WITH_OWN_DERIVATIVE:
        return str(getattr(_body(equation)[0].debug_info, "func_name", ""))
    return ""


def _kind(values: _Values, step: _Step) -> OperationKind:
    equation = step.equation
    name = str(equation.primitive.name)
    if name == "integer_pow":
        return kind_of_power(equation.params["y"])
    if name == "pow":
        exponent = values.constants.get(step.inputs[1])
        if exponent is None or isinstance(exponent, jax.core.Tracer) or np.size(exponent) != 1:
            return "other"
        return kind_of_power(float(exponent))
    return _NAMED.get(_function_name(equation), _KINDS.get(name, "other"))


def _find_softmax(
    values: _Values, makers: Mapping[int, _Step], step: _Step
) -> tuple[tuple[int, ...], int | None] | None:
    """Recognise exp(x - max) / sum(exp(x - max)): return the x, and the axis where that is not the last."""
    if step.equation.primitive.name != "div":
        return None
    numerator = makers.get(step.inputs[0])
    denominator = makers.get(step.inputs[1])
    while denominator is not None and denominator.equation.primitive.name in ("broadcast_in_dim", "reshape"):
        denominator = makers.get(denominator.inputs[0])
    if numerator is None or denominator is None or denominator.equation.primitive.name != "reduce_sum":
        return None
    axes = denominator.equation.params["axes"]
    if numerator.equation.primitive.name != "exp" or denominator.inputs != step.inputs[:1] or len(axes) != 1:
        return None
    (taken,) = numerator.inputs
    shifted = makers.get(taken)
    if shifted is not None and shifted.equation.primitive.name == "sub":
        taken = shifted.inputs[0]
    last = len(values.avals[step.inputs[0]].shape) - 1
    return (taken,), None if axes[0] == last else axes[0]


def _summed_axis(equation: Any) -> int | None:
    """Find over which axis a function called softmax sums; None for the last one, and where its body does not say."""
    inside = _Values()
    body, constants = _body(equation)
    inside.inline(body, constants, [inside.add(variable.aval) for variable in body.invars])
    for step in inside.steps:
        if step.equation.primitive.name == "reduce_sum" and len(step.equation.params["axes"]) == 1:
            (axis,) = step.equation.params["axes"]
            return None if axis == len(inside.avals[step.inputs[0]].shape) - 1 else int(axis)
    return None


def _read_layer(equation: Any, around: int | None) -> int | None:
    marks = _MARK.findall(str(equation.source_info.name_stack))
    return int(marks[-1]) if marks else around


def _shape(aval: Any) -> Shape:
    return tuple(aval.shape) if hasattr(aval, "shape") else None


def _move(shape: Shape, axis: int | None) -> Shape:
    return shape if shape is None or axis is None else (*shape[:axis], *shape[axis + 1 :], shape[axis])


def _is_float(aval: Any) -> bool:
    return hasattr(aval, "dtype") and bool(jnp.issubdtype(aval.dtype, np.inexact))


def _carries_signal(avals: Sequence[Any]) -> bool:
    return not avals or any(map(_is_float, avals))


# --- where derivatives exist -----------------------------------------------------------------------------------------


def _differentiable_inputs(equation: Any, outputs: set[int]) -> Iterable[int]:
    """List the inputs of an equation that some of its outputs have derivatives with respect to."""
    name, params = equation.primitive.name, equation.params
    everything = range(len(equation.invars))
    if name in _WITHOUT_DERIVATIVE:
        return ()
    if name in _WITH_OWN_DERIVATIVE:
        return everything  # whatever its body computes
    if name in _INLINED or name in _READ_INTO:
        return _walk_up(_body(equation)[0], outputs)
    if name == "cond":
        branches = (_walk_up(branch.jaxpr, outputs) for branch in params["branches"])
        return {place + 1 for branch in branches for place in branch}
    if name == "scan":
        return _through_loop(params["jaxpr"].jaxpr, params["num_consts"], params["num_carry"], outputs)
    if name == "while":
        skipped, consts = params["cond_nconsts"], params["body_nconsts"]
        body = params["body_jaxpr"].jaxpr
        return {place + skipped for place in _through_loop(body, consts, len(body.outvars), outputs)}
    return everything


def _through_loop(body: Any, consts: int, carried: int, outputs: set[int]) -> set[int]:
    # What a step makes is what the next step takes; and what goes in comes out if there is no step at all.
    reaching = set(outputs)
    while True:
        found = _walk_up(body, reaching)
        new = {place - consts for place in found if consts <= place < consts + carried} - reaching
        if not new:
            return found | {place + consts for place in reaching if place < carried}
        reaching |= new


def _walk_up(jaxpr: Any, outputs: set[int]) -> set[int]:
    """List the inputs of a jaxpr from which a differentiable path leads to some of its results."""
    found = {jaxpr.outvars[place] for place in outputs if not isinstance(jaxpr.outvars[place], core.Literal)}
    found = {variable for variable in found if _is_float(variable.aval)}
    for equation in reversed(jaxpr.eqns):
        places = {place for place, variable in enumerate(equation.outvars) if variable in found}
        if places:
            inputs = (equation.invars[place] for place in _differentiable_inputs(equation, places))
            found.update(each for each in inputs if not isinstance(each, core.Literal) and _is_float(each.aval))
    return {place for place, variable in enumerate(jaxpr.invars) if variable in found}
