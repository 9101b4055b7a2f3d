"""Every layer call of a model, in the order of execution, and what is known of each before any number is.

A sub-model of a functional model's outputs fails on subclassed and nested models and sees no
pre-activations. Here ``keras.Operation.__call__``, through which every layer and every ``keras.ops``
node passes, is watched while one forward pass is traced: nothing of the model is rebuilt, and no call
can be missed.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from initcheck.backend.interface import RecordedPass, backend
from initcheck.backend.keras_private import MethodWatch, put_mask, read_mask
from initcheck.backend.operations import count_entries, find_loops, find_reached
from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.core.columns import ScaleEffect
from initcheck.probe.layer_kinds import count_fans, find_state_activation
from initcheck.probe.paths import PathNamer, child_operations, own_variables, snake_case
from initcheck.probe.recurrence import RecurrentCall

INSIDE_LOOP = "runs inside a loop of the graph, whose single steps are not captured"
STEPS_IN_SEQUENCE = (
    "its single steps run inside a loop of the graph; the output of the layer around it is the sequence of them all"
)
LAST_STEP = (
    "its single steps run inside a loop of the graph; only the last is measured, as the output of the layer around it"
)
OWN_LOOP = "its weights take part in a loop of the graph, whose single steps are not captured"
NOT_FLOATING = "its output is not floating-point"
RAGGED_OUTPUT = "its output is not a dense tensor"
NO_OUTPUT = "it returns nothing"


_operations: Final = MethodWatch(lambda: import_keras().Operation, "__call__")


@dataclass
class Site:
    """One tensor that one call of one layer returned, or one input of the model.

    Attributes:
        key: structural path of the layer, where ``layer`` is its name.
        received: the one tensor that the layer was called on; None where it is not one floating-point tensor.
        preactivation: what the layer's fused activation function received; None without one.
        passed_on: whether the call returned a tensor that another site had returned before: its own weights then
            take part in it at most through the layers inside.
    """

    layer: str
    key: str
    call: int
    kind: str
    operation: Any
    output: Any
    received: Any = None
    preactivation: Any = None
    activation: Any = None
    passed_on: bool = False


@dataclass(frozen=True)
class Unmeasured:
    """A layer call without a measurement of its own, and why.

    Attributes:
        covered_by: name of the measured layer whose output holds that of this call; None where nothing of it is known.
    """

    layer: str
    call: int
    kind: str
    reason: str
    covered_by: str | None = None


@dataclass
class _Call:
    """A call in progress."""

    operation: Any
    received: Any = None
    recorded: list[tuple[Any, Any]] = field(default_factory=list)
    children: int = 0


class Capture:
    """Collects the sites of one traced forward pass."""

    def __init__(self, namer: PathNamer) -> None:
        self.sites: list[Site] = []
        self.unmeasured: list[Unmeasured] = []
        self.captured: set[int] = set()
        self.recurrent: list[RecurrentCall] = []
        self.arguments: dict[str, list[dict[str, Any]]] = {}
        self._looping: list[tuple[str, int, Any]] = []
        self._namer = namer
        self._calls: Counter[str] = Counter()
        self._stack: list[_Call] = []
        self._muted = 0
        self._place = backend().current_place()
        self._captured: dict[int, Any] = {}

    def add_input(self, name: str, key: str, tensor: Any) -> Any:
        """Record an input of the model and return the tensor to feed in its place."""
        output = backend().copy_tensor(tensor)
        self._captured[id(output)] = output
        self.sites.append(Site(layer=name, key=key, call=0, kind="Input", operation=None, output=output))
        return output

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Capture the layer calls made inside the context, in this thread."""
        with _operations.watch(self._call):
            yield

    def _call(self, original: Callable[..., Any], operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Make one call of a layer and record its outputs."""
        keras = import_keras()
        if self._stack and not isinstance(operation, keras.layers.Layer) and not self._namer.knows(operation):
            # A layer that does a part of its work by an operation made for this call (padding): no layer inside it.
            return original(operation, *args, **kwargs)
        name = self._namer.name_of(operation)
        if self._muted or backend().current_place() != self._place:
            # Loop bodies are traced once for all steps (and once more to learn their shapes).
            self._note(name, 0, operation, *self._explain_loop(operation))
            return original(operation, *args, **kwargs)
        number = self._calls[name]
        self._calls[name] += 1
        received = args[0] if args and self._reason_against(args[0]) is None else None
        call = _Call(operation, received)
        self.arguments.setdefault(self._namer.path_of(operation), []).append(_find_constants(operation, args, kwargs))
        self._stack.append(call)
        loops = isinstance(operation, keras.layers.RNN)
        sequence = self._copy_sequence(args[0]) if loops and args else None
        if sequence is not None:
            args = (sequence, *args[1:])
        marked: AbstractContextManager[None] = nullcontext()
        if loops or own_variables(operation):
            marked = backend().layer_call(len(self._looping))
            self._looping.append((name, number, operation))
        self._muted += loops
        try:
            with self._watched_activation(operation, call), marked:
                outputs = original(operation, *args, **kwargs)
        finally:
            self._muted -= loops
            self._stack.pop()
        if self._stack:
            self._stack[-1].children += 1
        if sequence is not None:
            output = keras.tree.flatten(outputs)[0]
            mask = kwargs.get("mask")
            mask = read_mask(sequence) if mask is None else mask
            self.recurrent.append(RecurrentCall(name, number, operation, sequence, output, mask))
        return self._record(operation, name, number, call, outputs)

    def note_loops(self, recorded: RecordedPass, find_weights: Callable[[Any], Sequence[Any]]) -> None:
        """Note the layers that run a loop with their own weights; those that Keras knows as layers over time do not.

        Args:
            find_weights: from a layer to the tensors of its own weights that were read.
        """
        for loop, place in find_loops(recorded.operations).items():
            name, number, operation = self._looping[place]
            weights = [] if isinstance(operation, import_keras().layers.RNN) else find_weights(operation)
            if weights and loop in find_reached(recorded.operations, [recorded.name_of(weight) for weight in weights]):
                self._note(name, number, operation, OWN_LOOP)

    def tensors(self) -> list[Any]:
        """List all tensors that the sites and the layers over time refer to."""
        named = [each for site in self.sites for each in (site.output, site.preactivation, site.received)]
        named += [each for call in self.recurrent for each in (call.inputs, call.output, call.mask)]
        return [each for each in named if each is not None]

    def _copy_sequence(self, tensor: Any) -> Any | None:
        """Copy the sequence that a layer over time takes, so that nothing else takes it; None where it is none."""
        if isinstance(tensor, import_keras().KerasTensor) or self._reason_against(tensor) is not None:
            return None
        if len(tensor.shape) < 2 or tensor.shape[1] is None:
            return None
        return _copy_with_mask(tensor)

    def _record(self, operation: Any, name: str, number: int, call: _Call, outputs: Any) -> Any:
        keras = import_keras()
        flat = keras.tree.flatten(outputs)
        if any(isinstance(tensor, keras.KerasTensor) for tensor in flat):
            return outputs
        self.captured.add(id(operation))
        if all(tensor is None for tensor in flat):
            self._note(name, number, operation, NO_OUTPUT)
        if self._is_container(operation, call, flat):
            return outputs
        replaced: list[Any] = []
        index = 0
        for tensor in flat:
            reason = self._reason_against(tensor)
            if reason is not None:
                if tensor is not None:
                    self._note(name, number, operation, reason)
                replaced.append(tensor)
                continue
            output = _copy_with_mask(tensor)
            backend().keep_logits(tensor, output)
            # The tensor is kept as well as its id: ids of collected objects are used again.
            self._captured[id(output)] = output
            suffix = f":{index}" if index else ""
            site = Site(
                layer=name + suffix,
                key=self._namer.path_of(operation) + suffix,
                call=number,
                kind=type(operation).__name__,
                operation=operation,
                output=output,
                received=call.received,
                passed_on=id(tensor) in self._captured,
            )
            if index == 0 and len(call.recorded) == 1:
                site.preactivation, site.activation = call.recorded[0]
            elif index == 0 and isinstance(operation, keras.layers.RNN):
                site.activation = find_state_activation(operation.cell)
            self.sites.append(site)
            replaced.append(output)
            index += 1
        return keras.tree.pack_sequence_as(outputs, replaced)

    def _is_container(self, operation: Any, call: _Call, flat: list[Any]) -> bool:
        """Return whether a layer only passes on what the layers inside it returned."""
        if not call.children or own_variables(operation):
            return False
        return all(id(tensor) in self._captured for tensor in flat)

    def _reason_against(self, tensor: Any) -> str | None:
        if not backend().is_dense(tensor):
            return RAGGED_OUTPUT
        if not is_float_dtype(tensor.dtype):
            return NOT_FLOATING
        return None if backend().made_at(tensor, self._place) else INSIDE_LOOP

    def _explain_loop(self, operation: Any) -> tuple[str, str | None]:
        """Say why a call inside a loop has no measurement, and find the layer that shows what it returned."""
        keras = import_keras()
        around = self._stack[-1].operation if self._stack else None
        if around is None:
            return INSIDE_LOOP, None
        if isinstance(around, keras.layers.RNN) and _returns_output_of(around, operation):
            return STEPS_IN_SEQUENCE if around.return_sequences else LAST_STEP, self._namer.name_of(around)
        if not isinstance(operation, keras.layers.Layer):  # arithmetic of the layer around, as any other is
            return INSIDE_LOOP, self._namer.name_of(around)
        return INSIDE_LOOP, None

    def _note(self, name: str, number: int, operation: Any, reason: str, covered_by: str | None = None) -> None:
        entry = Unmeasured(name, number, type(operation).__name__, reason, covered_by)
        if entry not in self.unmeasured:
            self.unmeasured.append(entry)

    @contextmanager
    def _watched_activation(self, operation: Any, call: _Call) -> Iterator[None]:
        """Record what the layer's fused activation function receives during this call."""
        attributes = getattr(operation, "__dict__", {})
        activation = attributes.get("activation")
        if not callable(activation):
            yield
            return

        def apply(*args: Any, **kwargs: Any) -> Any:
            if self._muted or not args or self._reason_against(args[0]) is not None:
                return activation(*args, **kwargs)
            preactivation = backend().copy_tensor(args[0])
            call.recorded.append((preactivation, activation))
            return activation(preactivation, *args[1:], **kwargs)

        # Through __dict__: assigning the attribute would be noticed by Keras' tracking of state.
        attributes["activation"] = _WatchedActivation(activation, apply)
        try:
            yield
        finally:
            attributes["activation"] = activation


@dataclass(frozen=True)
class _WatchedActivation:
    """Stands in a layer for its activation function during a call that is measured."""

    own: Callable[..., Any]
    apply: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply(*args, **kwargs)


def own_activation(activation: Any) -> Any:
    """Return a layer's activation function as the user gave it, also while another thread measures the layer."""
    while isinstance(activation, _WatchedActivation):
        activation = activation.own
    return activation


_PLAIN: Final = (bool, int, float, str)


def _find_constants(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Find what a call is given besides tensors, by the names of its arguments: a factor, an axis, ``training=False``.

    ``training=True`` is left out: the probe asks for it, and Keras hands it on in one version and not in another.
    """
    if not args[1:] and not kwargs and (not args or hasattr(args[0], "shape")):
        return {}
    try:
        given: Mapping[str, Any] = inspect.signature(operation.call).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        given = kwargs
    plain = {name: value for name, value in given.items() if _is_plain(value)}
    return {name: value for name, value in plain.items() if name != "training" or not value}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_plain, value))
    return isinstance(value, _PLAIN) or (hasattr(value, "tolist") and not value.shape)


def _copy_with_mask(tensor: Any) -> Any:
    """Copy a tensor, and the mask that Keras has put on it."""
    output = backend().copy_tensor(tensor)
    mask = read_mask(tensor)
    if mask is not None:
        put_mask(output, mask)
    return output


def _returns_output_of(recurrent: Any, operation: Any) -> bool:
    """Return whether a recurrent layer's outputs are those of this cell: its own, or the last of a stack."""
    cell = recurrent.cell
    if operation is cell:
        return True
    return isinstance(cell, import_keras().layers.StackedRNNCells) and operation is cell.cells[-1]


@dataclass(frozen=True)
class SiteInfo:
    """What is known of a site before anything runs: the columns of columns.SITE_COLUMNS, and sizes.

    Attributes:
        key: structural path of the layer, where ``layer`` is its name.
        weights: entries of the kernel; NaN without one.
        batched: whether the first axis of the output is the batch, of two or more samples.
        weighted: whether the layer multiplies by a weight of two or more axes, of its own or in a layer inside that
            is not captured by itself.
        clips_at_zero: whether the fused activation function is exactly 0 on a whole interval.
        activation: name of the activation function, fused or the layer itself; empty without one.
    """

    layer: str
    key: str
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
    clips_at_zero: bool
    activation: str


def feature_axis(operation: Any) -> int:
    """Return the axis of a layer's output that holds its units."""
    return 1 if getattr(operation, "data_format", None) == "channels_first" else -1


def describe_site(
    site: Site, position: int, kernel: Any, batch_size: int, weighted: bool, clips_at_zero: bool
) -> SiteInfo:
    """Describe a site by its traced tensors."""
    shape = tuple(site.output.shape)
    target = site.output if site.preactivation is None else site.preactivation
    elements = count_entries(tuple(target.shape))
    fan_in, fan_out = count_fans(site.operation, kernel)
    return SiteInfo(
        layer=site.layer,
        key=site.key,
        call=site.call,
        position=position,
        kind=site.kind,
        units=(1 if len(shape) < 2 else shape[feature_axis(site.operation)]),
        fan_in=fan_in,
        fan_out=fan_out,
        elements=math.nan if elements is None or not shape or not shape[0] else elements / shape[0],
        weights=math.nan if kernel is None else float(math.prod(kernel.shape)),
        batched=bool(shape) and shape[0] == batch_size and batch_size > 1,
        weighted=weighted,
        clips_at_zero=clips_at_zero,
        activation=_name_activation(site),
    )


def _name_activation(site: Site) -> str:
    if site.activation is not None:
        kind = type(site.activation).__name__
        name = str(getattr(site.activation, "__name__", "") or _ACTIVATION_KINDS.get(kind, snake_case(kind)))
        return "" if name == "linear" else name
    return _ACTIVATION_KINDS.get(site.kind, "")


_ACTIVATION_KINDS: Final = {
    **dict.fromkeys(("ReLU", "Relu"), "relu"),
    **dict.fromkeys(("LeakyReLU", "LeakyRelu"), "leaky_relu"),
    **dict.fromkeys(("ELU", "Elu"), "elu"),
    "Relu6": "relu6",
    "PReLU": "prelu",
    "Softmax": "softmax",
}
"""Layers and operations that are an activation function themselves, by the name that the function has in Keras."""


Operations = Mapping[str, tuple[str, ...]]
"""By name and in order of execution, the operations whose values each operation takes."""

_WORST_LAST: Final[tuple[ScaleEffect, ...]] = ("homogeneous", "division", "normalization", "softmax", "other")

Parents = tuple[tuple[tuple[int, ScaleEffect], ...], ...]
"""For each site the positions of the sites that feed it directly, and what becomes of their scale on the way."""


def find_parents(
    operations: Operations, scale_effects: Mapping[str, ScaleEffect], sites: Sequence[str], end: str
) -> tuple[Parents, tuple[int, ...]]:
    """Find for each site, and for the end, the sites that feed it without passing another one."""
    number = {name: position for position, name in enumerate(sites)}
    above: dict[str, Mapping[int, int]] = {}
    rank = {effect: place for place, effect in enumerate(_WORST_LAST)}
    for name, sources in operations.items():
        fed = [{number[source]: 0} if source in number else above[source] for source in sources]
        own = scale_effects.get(name, "homogeneous")
        if own == "division":
            # Dividing by what has the same factor takes it out; dividing by a constant does not.
            own = "normalization" if len(fed) > 1 and fed[1] else "homogeneous"
        found = next(iter(fed)) if len(fed) == 1 else _join(fed)
        # The same mapping is kept, not a copy: most operations change nothing.
        above[name] = found if own == "homogeneous" else {site: max(worst, rank[own]) for site, worst in found.items()}
    last = {number[end]: 0} if end in number else above[end]
    parents = tuple(tuple((site, _WORST_LAST[worst]) for site, worst in sorted(above[name].items())) for name in sites)
    return parents, tuple(sorted(last))


def _join(parts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    joined: dict[int, int] = {}
    for part in parts:
        for site, worst in part.items():
            joined[site] = max(worst, joined.get(site, 0))
    return joined


def find_holders(operations: Operations, sites: Sequence[str], inner: Container[str]) -> tuple[int, ...]:
    """Find the sites that some operations lie in: the first ones that take what these make."""
    number = {name: position for position, name in enumerate(sites)}
    marked: set[str] = set()
    holders = []
    for name, sources in operations.items():
        if name in inner or not marked.isdisjoint(sources):
            if name in number:
                holders.append(number[name])
            else:
                marked.add(name)
    return tuple(holders)


_ELEMENTWISE_NAMES: Final = frozenset({"bias", "gamma", "beta"})
"""Weights that are added to a signal, or scale it element by element, whatever their number of axes."""

_ELEMENTWISE_LAYERS: Final = (
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "PReLU",
    "RMSNormalization",
)
"""Layers of Keras that have no other weights."""


def is_weighted(operation: Any, captured: Container[int], read: Container[int]) -> bool:
    """Return whether a site's layer multiplies by a weight of two or more axes.

    The weight may belong to a layer inside that is not captured by itself, such as the cell of a recurrent layer. A
    frozen weight counts: the signal passes it like any other. State that is declared as not trainable does not count.
    """
    for variable in getattr(operation, "_trainable_variables", ()):
        if len(variable.shape) >= 2 and id(variable) in read and not _is_elementwise(operation, variable):
            return True
    return any(is_weighted(child, captured, read) for child in child_operations(operation) if id(child) not in captured)


def reads_weights(operation: Any, read: Container[int]) -> bool:
    """Return whether the forward pass has read a weight that the layer holds itself."""
    return any(id(variable) in read for variable in own_variables(operation))


def _is_elementwise(operation: Any, variable: Any) -> bool:
    if variable.name in _ELEMENTWISE_NAMES:
        return True
    layers = import_keras().layers
    return isinstance(operation, tuple(getattr(layers, name) for name in _ELEMENTWISE_LAYERS if hasattr(layers, name)))


def make_recording_scope(state: Any) -> Any:
    """Make a scope in which variables have other values, and which notes what is read of them."""
    return _recording_scope_class()(state, initialize_variables=False)


@cache
def _recording_scope_class() -> Any:
    scope: Any = import_keras().StatelessScope

    class RecordingScope(scope):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.read: dict[int, Any] = {}

        def get_current_value(self, variable: Any) -> Any:
            self.read[id(variable)] = variable
            return super().get_current_value(variable)

    return RecordingScope
