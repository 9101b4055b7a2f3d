"""TensorFlow: functions become graphs, derivatives come from a tape, and operations are read off the graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, cached_property
from typing import Any, ClassVar, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from initcheck.backend.interface import Differentiated, Forward, Signature
from initcheck.backend.operations import Operation, OperationKind, Shape, kind_of_power

LARGEST_BYTE_COUNT: Final = 127
"""Up to here a sum of bytes that are 0 or 1 stays within its byte, and that of four within a signed integer."""

_LOGITS: Final = "logits_of_copy"

_KINDS: Final[dict[str, OperationKind]] = {
    **dict.fromkeys(
        """
        Abs AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BroadcastTo Cast CheckNumerics
        Concat ConcatV2 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cumsum DepthToSpace
        DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Einsum ExpandDims Gather GatherNd GatherV2 Identity
        IdentityN LeakyRelu MatMul Max MaxPool MaxPool3D MaxPoolV2 Maximum Mean Min Minimum MirrorPad Neg Pack Pad PadV2
        PreventGradient Relu Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather ReverseV2 Roll
        Select SelectV2 Slice SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze
        StopGradient StridedSlice Sum Tile TopKV2 Transpose Unpack
        """.split(),  # noqa: SIM905 - a list of seventy strings would have seventy lines
        "homogeneous",
    ),
    **dict.fromkeys(("Add", "AddN", "AddV2", "BiasAdd", "Sub"), "add"),
    **dict.fromkeys(("Mul", "MulNoNan"), "multiply"),
    **dict.fromkeys(("Div", "DivNoNan", "RealDiv"), "divide"),
    **dict.fromkeys(
        ("Inv", "Reciprocal", "Rsqrt", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), "normalize"
    ),
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    **dict.fromkeys(("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"), "shape"),
    **dict.fromkeys(("While", "StatelessWhile"), "loop"),
}
"""What operations are to a signal, by TensorFlow's type; all others are "other"."""


class TensorFlowBackend:
    """See :class:`initcheck.backend.interface.Backend`."""

    parallel_replicates: ClassVar = 2
    """Two overlap the small kernels of one replicate with the large ones of another (a tenth to a half of the time on
    two cores, the more the smaller the layers); more would only hold more activations in memory."""

    seed_period: ClassVar = 2**31 - 2

    def double_precision(self) -> AbstractContextManager[None]:
        return nullcontext()

    def outside_trace(self) -> Any:
        return tf.init_scope()

    def compile_function(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        # Not inlined: its body is optimised once and not at each of its calls, which takes three quarters off
        # the first run of a deep network and nothing from the speed of later ones.
        compiled = _compile(function, signature, experimental_attributes={"_noinline": True})
        placeholder = tf.compat.v1.placeholder_with_default

        def call(first: Any, *others: Any) -> Any:
            # TensorFlow evaluates a call of constants alone before the graph runs, does not find the function there,
            # and complains on standard error. What could be replaced is no constant to it.
            return compiled(placeholder(first, first.shape), *others)

        return call

    def compile_over_replicates(
        self, function: Callable[..., Any], signature: Signature, outputs: Any
    ) -> Callable[..., Any]:
        def run(*stacked: Any) -> Any:
            # Not by map_fn, which copies all that is stacked before its first step.
            count = tf.shape(stacked[0])[0]

            def step(number: Any, *rows: Any) -> Any:
                # One operation for each argument; `values[number]` would make five.
                begin, end, by_one = tf.stack([number]), tf.stack([number + 1]), tf.constant([1])
                replicate = [tf.strided_slice(values, begin, end, by_one, shrink_axis_mask=1) for values in stacked]
                results = tf.nest.flatten(function(*replicate))
                return number + 1, *(row.write(number, result) for row, result in zip(rows, results, strict=True))

            empty = [tf.TensorArray(dtype, count) for dtype in tf.nest.flatten(outputs)]
            _, *rows = tf.while_loop(
                lambda number, *_: number < count, step, [0, *empty], parallel_iterations=self.parallel_replicates
            )
            return tf.nest.pack_sequence_as(outputs, [row.stack() for row in rows])

        return _compile(run, [((None, *shape), dtype) for shape, dtype in signature])

    def compile_once(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        return _compile(function, signature)

    def trace(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        specification = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
        traced: Callable[..., Any] = tf.function(
            function, input_signature=specification, autograph=False
        ).get_concrete_function()
        return traced

    def describe_graph(self, traced: Any) -> Hashable:
        description: bytes = traced.graph.as_graph_def().SerializeToString(deterministic=True)
        return description

    def cond(self, condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
        return tf.cond(condition, if_true, if_false)

    def repeat(self, step: Callable[..., Sequence[Any]], times: Any, *state: Any) -> list[Any]:
        return list(
            tf.while_loop(
                lambda number, *_: number < times,
                lambda number, *current: (number + 1, *step(number, *current)),
                [tf.constant(0), *state],
                parallel_iterations=1,
            )[1:]
        )

    def repeat_on_variables(
        self, step: Callable[..., Any], times: Any, variables: Sequence[Any], values: Sequence[Any], rows: Any
    ) -> tuple[list[Any], Any]:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        (rows,) = self.repeat(lambda number, current: [step(number, current)], times, rows)
        return [self.read_variable(variable) for variable in variables], rows

    def make_rows(self, count: Any, dtype: str, most: int | None = None) -> Any:  # noqa: ARG002
        return tf.TensorArray(dtype, count)

    def take_rows(self, tensor: Any, places: Any) -> Any:
        return tf.gather(tensor, places)

    def find_largest(self, tensor: Any) -> Any:
        # keras.ops.argmax would order 0.0 and -0.0.
        return tf.argmax(tensor, axis=-1, output_type="int32")

    def sum_float64(self, tensor: Any, axis: int | None = None) -> Any:
        return tf.cast(tf.reduce_sum(tensor, axis), "float64")

    def half_sum_of_squares(self, tensor: Any) -> Any:
        return tf.nn.l2_loss(tensor)

    def sum_segments(self, tensor: Any, owners: NDArray[np.int32], count: int) -> Any:
        return tf.math.unsorted_segment_sum(tensor, owners, count)

    def bytes_can_be_summed(self, output: Any) -> bool:
        rows, elements = output.shape[:1].num_elements(), output.shape[1:].num_elements()
        return bool(rows is not None and elements is not None and rows <= LARGEST_BYTE_COUNT and elements % 4 == 0)

    def sum_bytes(self, condition: Any) -> Any:
        # Four columns at a time: a quarter of the memory of a cast to float32.
        packed = tf.bitcast(tf.reshape(tf.cast(condition, "uint8"), (tf.shape(condition)[0], -1, 4)), "int32")
        return tf.cast(tf.reshape(tf.bitcast(tf.reduce_sum(packed, axis=0), "uint8"), (-1,)), "float32")

    def read_variable(self, variable: Any) -> Any:
        return tf.convert_to_tensor(variable.value)

    def as_array(self, values: Any) -> NDArray[Any]:
        return np.asarray(values if isinstance(values, np.ndarray) else tf.convert_to_tensor(values))

    def seed_own_draws(self, state: Any) -> None:
        """Do nothing: Keras takes all from seed generators."""

    def make_seed(self, state: Any) -> Any:
        return state

    def copy_tensor(self, tensor: Any) -> Any:
        return tf.identity(tensor)

    def keep_logits(self, tensor: Any, copy: Any) -> None:
        # Keras' cross-entropies take these logits where they find them, so that a softmax that has run into 0 and 1
        # keeps its gradient.
        logits = getattr(tensor, "_keras_logits", None)
        if logits is not None:
            # What is added is zero and has no gradient; in the list of operations the sum stands for the copy alone.
            copy._keras_logits = tf.add(logits, tf.stop_gradient(0.0 * copy), name=_LOGITS)

    def is_dense(self, tensor: Any) -> bool:
        return bool(tf.is_tensor(tensor) and hasattr(tensor, "op"))

    def current_place(self) -> Hashable:
        graph: Hashable = tf.compat.v1.get_default_graph()
        return graph

    def made_at(self, tensor: Any, place: Hashable) -> bool:
        return getattr(tensor, "graph", None) is place

    @contextmanager
    def layer_call(self, number: int) -> Iterator[None]:
        spans = _spans.get()
        graph = tf.compat.v1.get_default_graph()
        start = len(graph.get_operations())
        yield
        if spans is not None:
            spans.append((number, start, len(graph.get_operations())))

    def record_pass(
        self,
        forward: Callable[[Sequence[Any]], Forward],
        sources: Sequence[Any],
        like: Hashable | None = None,  # noqa: ARG002 - a graph is traced once
    ) -> RecordedGraph:
        # A kept weight comes as the variable itself, which is no tensor of the graph.
        given = [tf.identity(source) for source in sources]
        tape = tf.GradientTape(watch_accessed_variables=False)
        spans: list[tuple[int, int, int]] = []
        token = _spans.set(spans)
        try:
            with tape:
                tape.watch([source for source in given if source.dtype.is_floating])
                forward(given)
        finally:
            _spans.reset(token)
        return RecordedGraph(given, tape, tf.compat.v1.get_default_graph(), spans)

    def differentiate(
        self, function: Callable[[Sequence[Any]], tuple[Any, Any]], sources: Sequence[Any]
    ) -> Differentiated:
        given = [tf.convert_to_tensor(source) for source in sources]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(given)
            loss, extra = function(given)
        return Differentiated(loss, extra, _densify(tape.gradient(loss, given)))


BACKEND: Final = TensorFlowBackend()

_spans: ContextVar[list[tuple[int, int, int]] | None] = ContextVar("initcheck spans of layer calls", default=None)


class RecordedGraph:
    """A forward pass in the graph that is being traced; see :class:`initcheck.backend.interface.RecordedPass`.

    Its tensors are those of the graph, so that there is nothing to compute but derivatives.
    """

    def __init__(self, sources: Sequence[Any], tape: Any, graph: Any, spans: Sequence[tuple[int, int, int]]) -> None:
        self.sources = sources
        self._tape = tape
        self._listed = list(graph.get_operations())
        self._spans = spans

    @cached_property
    def operations(self) -> Sequence[Operation]:
        layers: dict[int, int] = {}
        for number, start, end in self._spans:  # the innermost calls end first
            for place in range(start, end):
                layers.setdefault(place, number)
        return [_describe(operation, layers.get(place)) for place, operation in enumerate(self._listed)]

    @property
    def structure(self) -> None:
        return None

    def name_of(self, tensor: Any) -> str:
        return str(tensor.op.name)

    def identify(self, tensor: Any) -> Hashable:
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        return _key(tensor)

    def find_differentiable(self, loss: Any, tensors: Sequence[Any]) -> tuple[bool, ...]:
        # The tape does not know: the derivative of a loop, or of a function that was compiled by itself, is zero and
        # not missing for what goes in and has no path out. Here such bodies are walked through; one that cannot be read
        # is taken to connect all that goes in with all that comes out.
        found = _walk_up([loss])
        return tuple(_key(tensor) in found for tensor in tensors)

    def result_of(self, operation: Operation) -> Any:
        return self._listed[0].graph.get_operation_by_name(operation.name).outputs[0]

    def evaluate(
        self, read: Sequence[Any], wanted: Sequence[tuple[Any, Sequence[Any]]] = ()
    ) -> tuple[list[Any], list[list[Any | None]]]:
        gradients: list[list[Any | None]] = []
        for number, (loss, targets) in enumerate(wanted):
            if number == 0:
                gradients.append(_densify(self._tape.gradient(loss, list(targets))))
            else:
                # The graph is followed, and no further than from the one to the other.
                zero = tf.UnconnectedGradients.ZERO
                gradients.append(_densify(tf.gradients(loss, list(targets), unconnected_gradients=zero)))
        return list(read), gradients


def _compile(function: Callable[..., Any], signature: Signature, **options: Any) -> Callable[..., Any]:
    specification = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    compiled = tf.function(function, input_signature=specification, autograph=False, **options)
    # The traced graph itself is called: tf.function's own call would look it up, and warn of many traced functions.
    find_traced = cache(compiled.get_concrete_function)

    def call(*tensors: Any) -> Any:
        return find_traced()(*tensors)

    return call


def _densify(gradients: Sequence[Any | None]) -> list[Any | None]:
    # The gradient of a table that was looked up comes as its rows, one for each look-up: added up here.
    return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]


# --- what the graph says ---------------------------------------------------------------------------------------------


def _describe(operation: Any, layer: int | None) -> Operation:
    inputs = list(operation.inputs)
    if str(operation.name).rpartition("/")[2].startswith(_LOGITS):
        inputs = inputs[1:]  # logits that a copy remembers are taken to be made of the copy
    kinds = [tensor.dtype for tensor in operation.outputs]
    return Operation(
        name=str(operation.name),
        kind=_kind(operation),
        inputs=tuple(str(tensor.op.name) for tensor in inputs),
        input_shapes=tuple(_shape(tensor) for tensor in inputs),
        shape=_shape(operation.outputs[0]) if kinds else None,
        carries_signal=not kinds or not all(kind.is_integer or kind.is_bool for kind in kinds),
        layer=layer,
    )


def _kind(operation: Any) -> OperationKind:
    if operation.type == "Pow":
        exponent = tf.get_static_value(operation.inputs[1])
        return kind_of_power(float(exponent) if exponent is not None and exponent.size == 1 else None)
    return _KINDS.get(str(operation.type), "other")


def _shape(tensor: Any) -> Shape:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _walk_up(ends: Sequence[Any]) -> set[tuple[str, int]]:
    """Collect the tensors of one graph from which a differentiable path leads to one of the ends."""
    found: set[tuple[str, int]] = set()
    stack = list(ends)
    while stack:
        tensor = stack.pop()
        if _key(tensor) in found or not _carries_derivative(tensor):
            continue
        found.add(_key(tensor))
        inputs = list(tensor.op.inputs)
        stack.extend(inputs[place] for place in _differentiable_inputs(tensor.op, tensor.value_index))
    return found


def _key(tensor: Any) -> tuple[str, int]:
    return str(tensor.op.name), int(tensor.value_index)


def _carries_derivative(tensor: Any) -> bool:
    # Lists of tensors, in which loops stack what they compute, are variants.
    return bool(tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == tf.variant)


def _differentiable_inputs(operation: Any, output: int) -> Sequence[int]:
    """List the inputs of an operation that one of its outputs has derivatives with respect to."""
    kind = str(operation.type)
    if kind in ("While", "StatelessWhile"):
        return _through_loop(operation, output)
    if kind in ("If", "StatelessIf"):
        branches = [_through_function(operation, name, output, skipped=1) for name in ("then_branch", "else_branch")]
        return sorted({place for branch in branches for place in branch})
    if kind in ("PartitionedCall", "StatefulPartitionedCall"):
        return _through_function(operation, "f", output)
    return range(len(operation.inputs)) if _has_derivative(operation) else ()


def _has_derivative(operation: Any) -> bool:
    from tensorflow.python.framework import ops

    try:
        return ops.get_gradient_function(operation) is not None
    except LookupError:  # of no known derivative: then the tape itself fails, with its own message
        return True


def _through_function(operation: Any, attribute: str, output: int, skipped: int = 0) -> Sequence[int]:
    body = _called_graph(operation, attribute)
    if body is None or len(body.inputs) != len(operation.inputs) - skipped:
        return range(len(operation.inputs))
    found = _walk_up([body.outputs[output]])
    return [place + skipped for place, tensor in enumerate(body.inputs) if _key(tensor) in found]


def _through_loop(operation: Any, output: int) -> Sequence[int]:
    body = _called_graph(operation, "body")
    if body is None or len(body.inputs) != len(operation.inputs) or len(body.outputs) != len(body.inputs):
        return range(len(operation.inputs))
    # What a step makes is what the next step takes; and what goes in comes out if there is no step at all.
    reaching, fresh = {output}, [output]
    while fresh:
        found = _walk_up([body.outputs[fresh.pop()]])
        new = [place for place, tensor in enumerate(body.inputs) if _key(tensor) in found and place not in reaching]
        reaching.update(new)
        fresh.extend(new)
    return sorted(reaching)


def _called_graph(operation: Any, attribute: str) -> Any | None:
    """Return the graph of a function that an operation calls; None where TensorFlow has not kept it."""
    name = operation.get_attr(attribute).name
    graph = operation.graph
    while graph is not None:
        function = graph._get_function(name)
        if function is not None:
            return getattr(function, "graph", None)
        graph = getattr(graph, "outer_graph", None)
    return None
