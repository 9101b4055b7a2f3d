"""PyTorch: all is computed eagerly, operations are listed as they are dispatched, derivatives come from autograd.

There are no graphs of functions: a "traced" function is the function itself, run without derivatives, and loops are
those of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, wraps
from itertools import count
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.graph import get_gradient_edge
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from initcheck.backend.interface import Differentiated, Forward, Signature
from initcheck.backend.operations import Operation, OperationKind, Shape, kind_of_power
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import ModelError

_TAG: Final = "_initcheck_made_by"
"""Attribute of a tensor: which pass saw it made, and by which of its operations.

An attribute stays as long as the tensor does, and keeps nothing alive.
"""

_CONSTANT: Final = "constant"
"""Stands for all that was there before the pass and is no source of it."""

_KINDS: Final[dict[str, OperationKind]] = {
    **dict.fromkeys(
        """
        _adaptive_avg_pool2d _adaptive_avg_pool3d _reshape_alias _to_copy _unsafe_index _unsafe_view abs
        adaptive_max_pool2d adaptive_max_pool3d alias alias_copy amax amin as_strided avg_pool2d avg_pool3d bmm cat
        clamp clamp_max clamp_min clone col2im constant_pad_nd convert_element_type copy cummax cummin cumsum detach
        diagonal dot embedding expand fill fill_diagonal flip fmax fmin gather im2col index index_add index_put
        index_select leaky_relu linalg_vector_norm masked_fill masked_scatter masked_select max max_pool2d_with_indices
        max_pool3d_with_indices maximum mean median min minimum mm mv nansum native_dropout neg norm permute
        pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d reflection_pad3d relu repeat replication_pad1d
        replication_pad2d replication_pad3d roll scatter scatter_add scatter_reduce select select_scatter slice
        slice_scatter sort split split_with_sizes sqrt squeeze stack std std_mean sum t take topk transpose tril triu
        unbind unfold unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
        upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean view where
        """.split(),  # noqa: SIM905 - a list of a hundred strings would have a hundred lines
        "homogeneous",
    ),
    **dict.fromkeys(("add", "sub", "rsub"), "add"),
    **dict.fromkeys(("mul", "_prelu_kernel"), "multiply"),
    **dict.fromkeys(("div", "true_divide"), "divide"),
    **dict.fromkeys(("reciprocal", "rsqrt"), "normalize"),
    **dict.fromkeys(("_softmax", "_safe_softmax"), "softmax"),
    "_log_softmax": "log_softmax",
    **dict.fromkeys(
        ("empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like"),
        "shape",
    ),
    **dict.fromkeys(("_cudnn_rnn", "mkldnn_rnn_layer"), "loop"),
}
"""What operations are to a signal, by the name of PyTorch's operator; all others are "other"."""

_NORMALIZATION: Final[tuple[tuple[OperationKind, tuple[str, ...]], ...]] = (
    ("normalize", ("input", "running_mean", "running_var")),
    ("multiply", ("weight",)),
    ("add", ("bias",)),
)
_PRODUCT_AND_SUM: Final[tuple[tuple[OperationKind, tuple[str, ...]], ...]] = (
    ("homogeneous", ("mat1", "mat2", "batch1", "batch2", "mat", "vec", "vec1", "vec2", "input", "weight")),
    ("add", ("self", "bias")),
)
_FUSED: Final[dict[str, tuple[tuple[OperationKind, tuple[str, ...]], ...]]] = {
    **dict.fromkeys(
        """
        _batch_norm_no_update _batch_norm_with_update _fused_rms_norm _native_batch_norm_legit
        _native_batch_norm_legit_no_training cudnn_batch_norm miopen_batch_norm native_batch_norm native_group_norm
        native_layer_norm
        """.split(),  # noqa: SIM905 - as above
        _NORMALIZATION,
    ),
    **dict.fromkeys(("addmm", "addmv", "addbmm", "baddbmm", "addr", "convolution", "linear"), _PRODUCT_AND_SUM),
    "addcmul": (("multiply", ("tensor1", "tensor2")), ("add", ("self",))),
    "addcdiv": (("divide", ("tensor1", "tensor2")), ("add", ("self",))),
}
"""Operators that do several things one after the other: what, and with which of their arguments."""


# --- compiling -------------------------------------------------------------------------------------------------------


def _without_derivatives(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    dtypes = [dtype for _, dtype in signature]

    @wraps(function)
    def call(*tensors: Any) -> Any:
        with torch.no_grad():
            return _detach(function(*(_to_tensor(each, dtype) for each, dtype in zip(tensors, dtypes, strict=True))))

    return call


def _to_tensor(value: Any, dtype: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    return import_keras().ops.convert_to_tensor(value, dtype=dtype)


def _detach(structure: Any) -> Any:
    if isinstance(structure, torch.Tensor):  # the most frequent one, for which a walk would cost more than the rest
        return structure.detach()
    return import_keras().tree.map_structure(
        lambda each: each.detach() if isinstance(each, torch.Tensor) else each, structure
    )


class _Rows:
    """See :class:`initcheck.backend.interface.Rows`."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def write(self, number: Any, row: Any) -> _Rows:
        self._rows[int(number)] = row.detach()
        return self

    def stack(self) -> Any:
        return torch.stack(self._rows)


class TorchBackend:
    """See :class:`initcheck.backend.interface.Backend`."""

    parallel_replicates: ClassVar = 1

    seed_period: ClassVar = 2**32

    def double_precision(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def outside_trace(self) -> Iterator[None]:
        with _recording(None), torch.no_grad():
            yield

    def compile_function(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        return _without_derivatives(function, signature)

    def compile_over_replicates(
        self, function: Callable[..., Any], signature: Signature, outputs: Any
    ) -> Callable[..., Any]:
        tree = import_keras().tree
        dtypes = tree.flatten(outputs)
        one = _without_derivatives(function, signature)

        def run(*stacked: Any) -> Any:
            given = [_to_tensor(values, dtype) for values, (_, dtype) in zip(stacked, signature, strict=True)]
            rows: list[Any] = []
            length = len(given[0])
            for number in range(length):
                found = tree.flatten(one(*(values[number] for values in given)))
                if not rows:
                    rows = [each.new_empty((length, *each.shape)) for each in found]
                for row, each in zip(rows, found, strict=True):
                    row[number] = each
            _check_dtypes(rows, dtypes)
            return tree.pack_sequence_as(outputs, rows)

        return run

    def compile_once(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        return _without_derivatives(function, signature)

    def trace(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        return _without_derivatives(function, signature)

    def describe_graph(self, traced: Callable[..., Any]) -> Hashable | None:  # noqa: ARG002 - there are no graphs
        return None

    def cond(self, condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
        return if_true() if bool(condition) else if_false()

    def repeat(self, step: Callable[..., Sequence[Any]], times: Any, *state: Any) -> list[Any]:
        current: Sequence[Any] = state
        for number in range(int(times)):
            current = step(number, *current)
        return list(current)

    def repeat_on_variables(
        self, step: Callable[..., Any], times: Any, variables: Sequence[Any], values: Sequence[Any], rows: Any
    ) -> tuple[list[Any], Any]:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        for number in range(int(times)):
            rows = step(number, rows)
        # Copies: the next assignment writes to the memory of the variables.
        return [self.read_variable(variable).clone() for variable in variables], rows

    def make_rows(self, count: Any, dtype: str, most: int | None = None) -> _Rows:  # noqa: ARG002
        return _Rows([None] * int(count))

    def take_rows(self, tensor: Any, places: Any) -> Any:
        return tensor[places]

    def find_largest(self, tensor: Any) -> Any:
        return torch.argmax(tensor, dim=-1).to(torch.int32)

    def sum_float64(self, tensor: Any, axis: int | None = None) -> Any:
        return torch.sum(tensor, axis).to(torch.float64)

    def half_sum_of_squares(self, tensor: Any) -> Any:
        # Not a dot product, which adds up in few lanes: sums here go pairwise.
        return 0.5 * torch.sum(torch.square(tensor))

    def sum_segments(self, tensor: Any, owners: NDArray[np.int32], count: int) -> Any:
        # keras.ops.segment_sum adds up in float32.
        places = torch.as_tensor(owners, dtype=torch.int64, device=tensor.device)
        return tensor.new_zeros(count).index_add_(0, places, tensor)

    def bytes_can_be_summed(self, output: Any) -> bool:  # noqa: ARG002 - any can
        return True

    def sum_bytes(self, condition: Any) -> Any:
        return condition.sum(dim=0, dtype=torch.float32)

    def read_variable(self, variable: Any) -> Any:
        return variable.value.detach()

    def as_array(self, values: Any) -> NDArray[Any]:
        values = getattr(values, "value", values)
        if isinstance(values, torch.Tensor):
            values = values.detach()
            if values.dtype == torch.bfloat16:  # of which NumPy has none of its own
                return np.asarray(import_keras().ops.convert_to_numpy(values))
            return np.asarray(values.cpu().numpy())
        return np.asarray(values)

    def seed_own_draws(self, state: Any) -> None:
        torch.manual_seed(int(state[0]))

    def make_seed(self, state: Any) -> Any:
        return state

    def copy_tensor(self, tensor: Any) -> Any:
        recorder = _recorder.get()
        copied = tensor.view_as(tensor)
        if recorder is not None:
            recorder.note_copy(tensor, copied)
        return copied

    def keep_logits(self, tensor: Any, copy: Any) -> None:
        """Do nothing: Keras looks for logits on TensorFlow alone."""

    def is_dense(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided

    def current_place(self) -> Hashable:
        interpreter = torch._C._functorch.peek_interpreter_stack()
        return -1 if interpreter is None else int(interpreter.level())

    def made_at(self, tensor: Any, place: Hashable) -> bool:
        return bool(torch._C._functorch.maybe_get_level(tensor) == place)

    def layer_call(self, number: int) -> AbstractContextManager[None]:
        recorder = _recorder.get()
        return nullcontext() if recorder is None else recorder.layer_call(number)

    def record_pass(
        self,
        forward: Callable[[Sequence[Any]], Forward],
        sources: Sequence[Any],
        like: Hashable | None = None,
    ) -> RecordedOperations:
        given = [_make_source(source) for source in sources]
        recorder = _Recorder(given)
        structure = like if isinstance(like, _Structure) else None
        listed = structure is None or structure.needs_list
        with ExitStack() as stack:
            stack.enter_context(_recording(recorder))
            stack.enter_context(_own_draws_preserved())
            stack.enter_context(torch.enable_grad())
            # A fused attention has no operation for its softmax.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if listed:
                stack.enter_context(_Listing(recorder))
            forward(given)
        if structure is None:
            structure = _Structure(recorder.operations, recorder.overwritten)
        elif listed and recorder.operations != structure.operations:
            raise ModelError(
                "The model computes something else from one call to the next. "
                "Let it make the same operations in each call."
            )
        return RecordedOperations(recorder, structure)

    def differentiate(
        self, function: Callable[[Sequence[Any]], tuple[Any, Any]], sources: Sequence[Any]
    ) -> Differentiated:
        given = [_make_source(source) for source in sources]
        with torch.enable_grad():
            loss, extra = function(given)
        gradients = _differentiate(loss, given, keep=False)
        return Differentiated(loss.detach(), _detach(extra), gradients)


BACKEND: Final = TorchBackend()


def _check_dtypes(rows: Sequence[Any], dtypes: Sequence[str]) -> None:
    standard = import_keras().backend.standardize_dtype
    found, wanted = [standard(row.dtype) for row in rows], [standard(dtype) for dtype in dtypes]
    if rows and found != wanted:
        raise TypeError(f"A replicate gives other dtypes than it should: {found} instead of {wanted}.")


def _make_source(source: Any) -> Any:
    """Make a leaf of the same memory, which can be differentiated with respect to if it is of floating point."""
    tensor = import_keras().ops.convert_to_tensor(source).detach()
    return tensor.requires_grad_() if tensor.is_floating_point() else tensor


def _differentiate(loss: Any, targets: Sequence[Any], *, keep: bool) -> list[Any | None]:
    gradients: list[Any | None] = [None] * len(targets)
    places = [place for place, target in enumerate(targets) if _has_edge(target)]
    if loss.requires_grad and places:
        found = torch.autograd.grad(loss, [targets[place] for place in places], allow_unused=True, retain_graph=keep)
        for place, gradient in zip(places, found, strict=True):
            gradients[place] = gradient
    return gradients


def _has_edge(target: Any) -> bool:
    return not isinstance(target, torch.Tensor) or target.requires_grad


# --- recording -------------------------------------------------------------------------------------------------------

_recorder: ContextVar[_Recorder | None] = ContextVar("initcheck: the pass that is being recorded", default=None)


@contextmanager
def _recording(recorder: _Recorder | None) -> Iterator[None]:
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def _own_draws_preserved() -> AbstractContextManager[None]:
    """Leave PyTorch's own generators as they were: :meth:`TorchBackend.seed_own_draws` seeds them for a pass."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    context: AbstractContextManager[None] = torch.random.fork_rng(devices)
    return context


@dataclass(slots=True)
class _Copy:
    """A copy that was handed out; where it was written to later, its value before, and where its derivative is found.

    Attributes:
        original: what it is a copy of, and no copy itself.
        name: the operation that made it.
    """

    tensor: Any
    original: Any
    name: str
    value: Any = None
    edge: Any = None


@dataclass(slots=True, eq=False)
class _Structure:
    """What passes of one function have in common.

    Attributes:
        needs_list: whether the operations of later passes have to be seen too: results of theirs are asked for, or
            copies are written to.
    """

    operations: list[Operation]
    needs_list: bool


class _Recorder:
    """What is known of a pass while it is made."""

    _passes: ClassVar = count()

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = sources
        self.operations: list[Operation] = []
        self.softmaxes: dict[str, tuple[Any, int]] = {}
        self.copies: dict[int, _Copy] = {}
        self.overwritten = False
        self._pass = next(self._passes)
        self._layers: list[int] = []
        self._written: dict[int, tuple[int, Any]] = {}
        self._add(_CONSTANT, "other", (), (), ())
        for source in sources:
            self._add("source", "other", (), (), tuple(source.shape), _carries_signal([source]))
            setattr(source, _TAG, (self._pass, len(self.operations) - 1))

    @contextmanager
    def layer_call(self, number: int) -> Iterator[None]:
        self._layers.append(number)
        try:
            yield
        finally:
            self._layers.pop()

    def note_copy(self, tensor: Any, copied: Any) -> None:
        known = self.copies.get(id(tensor))
        self.copies[id(copied)] = _Copy(copied, tensor if known is None else known.original, self.name_of(copied))

    def name_of(self, tensor: Any) -> str:
        copied = self.copies.get(id(tensor))
        return self._find(tensor) if copied is None else copied.name

    def before_writing(self, tensor: Any) -> None:
        """Keep what copies hold that share the memory which is about to be written to."""
        memory = tensor.untyped_storage()._cdata
        for copied in self.copies.values():
            if copied.value is None and copied.tensor.untyped_storage()._cdata == memory:
                self.overwritten = True
                copied.value = copied.tensor.detach().clone()
                # What is computed later of memory that a view was written through leads back to the tensor viewed.
                base = copied.tensor._base
                target = copied.tensor if base is None or base.shape != copied.tensor.shape else base
                copied.edge = get_gradient_edge(target) if target.requires_grad else None

    def note(self, operator: _Operator, args: Sequence[Any], kwargs: dict[str, Any], results: Any) -> None:
        """List an operation that was made."""
        made = list(_find_tensors(results))
        if not made:
            return
        shape = tuple(made[0].shape)
        signal = _carries_signal(made)
        if operator.label in _FUSED:
            given = operator.name_arguments(args, kwargs)
            previous: list[str] = []
            for kind, names in _FUSED[operator.label]:
                tensors = [given[each] for each in names if isinstance(given.get(each), torch.Tensor)]
                if tensors:
                    inputs = (*previous, *map(self._find, tensors))
                    shapes = (*(shape for _ in previous), *(tuple(each.shape) for each in tensors))
                    previous = [self._add(operator.label, kind, inputs, shapes, shape, signal)]
        else:
            kind = operator.find_kind(args, kwargs)
            tensors = [*_find_tensors(args), *_find_tensors(list(kwargs.values()))]
            inputs, shapes = tuple(map(self._find, tensors)), tuple(tuple(each.shape) for each in tensors)
            axis = int(args[1]) if kind in ("softmax", "log_softmax") else -1
            name = self._add(
                operator.label, kind, inputs, tuple(_move(each, axis) for each in shapes), _move(shape, axis), signal
            )
            if kind == "softmax":
                self.softmaxes[name] = made[0], axis
        number = len(self.operations) - 1
        written = list(operator.find_written(args, kwargs))
        for each in written:
            memory = each.untyped_storage()
            self._written[memory._cdata] = number, memory  # kept, lest another takes its place
        if not written:
            for each in made:
                setattr(each, _TAG, (self._pass, number))

    def _add(
        self,
        label: str,
        kind: OperationKind,
        inputs: tuple[str, ...],
        input_shapes: tuple[Shape, ...],
        shape: Shape,
        carries_signal: bool = True,
    ) -> str:
        name = f"{label}/{len(self.operations)}" if self.operations else _CONSTANT
        layer = self._layers[-1] if self._layers else None
        self.operations.append(Operation(name, kind, inputs, input_shapes, shape, carries_signal, layer))
        return name

    def _find(self, tensor: Any) -> str:
        """Name the operation that made a tensor, or that wrote to its memory last."""
        seen_by, number = getattr(tensor, _TAG, (None, 0))
        if seen_by != self._pass:
            number = 0
        if self._written:
            number = max(number, self._written.get(tensor.untyped_storage()._cdata, (0, None))[0])
        return self.operations[number].name


class _Listing(TorchDispatchMode):  # type: ignore[misc]
    """Lists the operations of a pass, below autograd: also those that no derivative passes."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _recorder.get() is not self._recorder:
            return func(*args, **kwargs)
        operator = _read_operator(func)
        for tensor in operator.find_written(args, kwargs):
            self._recorder.before_writing(tensor)
        results = func(*args, **kwargs)
        self._recorder.note(operator, args, kwargs, results)
        return results


@dataclass(frozen=True, slots=True)
class _Operator:
    """An operator of PyTorch.

    Attributes:
        label: its name; without the underscore at its end where it writes to what it takes.
        arguments: their names.
        written: the arguments that it writes to.
    """

    label: str
    arguments: tuple[str, ...]
    written: tuple[str, ...]
    kind: OperationKind

    def name_arguments(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**dict(zip(self.arguments, args, strict=False)), **kwargs}

    def find_written(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Any]:
        if self.written:
            given = self.name_arguments(args, kwargs)
            yield from _find_tensors([given.get(name) for name in self.written])

    def find_kind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> OperationKind:
        if self.label == "pow":
            exponent = args[1]
            if isinstance(exponent, torch.Tensor):
                exponent = float(exponent) if exponent.numel() == 1 and not exponent.requires_grad else None
            return kind_of_power(exponent)
        if self.kind == "divide" and self.name_arguments(args, kwargs).get("rounding_mode") is not None:
            return "other"
        return self.kind


@cache
def _read_operator(func: Any) -> _Operator:
    schema = func._schema
    written = tuple(each.name for each in schema.arguments if each.alias_info is not None and each.alias_info.is_write)
    label = schema.name.rpartition("::")[2]
    if written and label.endswith("_") and not label.endswith("__"):
        label = label.removesuffix("_")
    return _Operator(label, tuple(each.name for each in schema.arguments), written, _KINDS.get(label, "other"))


def _find_tensors(values: Any) -> Iterator[Any]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _find_tensors(each)


def _carries_signal(tensors: Sequence[Any]) -> bool:
    return any(each.is_floating_point() or each.is_complex() for each in tensors)


def _move(shape: Any, axis: int) -> Shape:
    """Bring an axis to the end of a shape."""
    if axis == -1 or not shape or axis % len(shape) == len(shape) - 1:
        return tuple(shape)
    axis %= len(shape)
    return (*shape[:axis], *shape[axis + 1 :], shape[axis])


class RecordedOperations:
    """A forward pass that was computed; see :class:`initcheck.backend.interface.RecordedPass`."""

    def __init__(self, recorder: _Recorder, structure: _Structure) -> None:
        self.structure = structure
        self._recorder = recorder

    @property
    def sources(self) -> Sequence[Any]:
        return self._recorder.sources

    @property
    def operations(self) -> Sequence[Operation]:
        return self.structure.operations

    def name_of(self, tensor: Any) -> str:
        return self._recorder.name_of(tensor)

    def identify(self, tensor: Any) -> Hashable:
        copied = self._recorder.copies.get(id(tensor))
        return id(tensor if copied is None else copied.original)

    def find_differentiable(self, loss: Any, tensors: Sequence[Any]) -> tuple[bool, ...]:
        edges = [self._find_edge(tensor) for tensor in tensors]
        found: set[tuple[Any, int]] = set()
        start = self._find_edge(loss)
        stack = [] if start is None else [start]
        while stack:
            edge = stack.pop()
            if edge[0] is None or edge in found:
                continue
            found.add(edge)
            stack.extend(edge[0].next_functions)
        return tuple(edge is not None and edge in found for edge in edges)

    def result_of(self, operation: Operation) -> Any:
        self.structure.needs_list = True
        found, axis = self._recorder.softmaxes[operation.name]
        return found.movedim(axis, -1)

    def evaluate(
        self, read: Sequence[Any], wanted: Sequence[tuple[Any, Sequence[Any]]] = ()
    ) -> tuple[list[Any], list[list[Any | None]]]:
        gradients = [
            _differentiate(loss, [self._find_target(target) for target in targets], keep=number < len(wanted) - 1)
            for number, (loss, targets) in enumerate(wanted)
        ]
        values = [self._read(tensor) for tensor in read]
        return values, gradients

    def _read(self, tensor: Any) -> Any:
        copied = self._recorder.copies.get(id(tensor))
        return tensor.detach() if copied is None or copied.value is None else copied.value

    def _find_target(self, tensor: Any) -> Any:
        copied = self._recorder.copies.get(id(tensor))
        return tensor if copied is None or copied.edge is None else copied.edge

    def _find_edge(self, tensor: Any) -> tuple[Any, int] | None:
        target = self._find_target(tensor)
        if isinstance(target, torch.Tensor):
            if not target.requires_grad:
                return None
            target = get_gradient_edge(target)
        return target.node, target.output_nr
