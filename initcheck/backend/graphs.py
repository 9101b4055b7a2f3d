"""Graphs of the backend (TensorFlow): tracing, compiling, loops, reading, and the operations that keras.ops lacks.

With :mod:`initcheck.backend.gradients` all that a second backend would have to bring; the rest is ``keras.ops``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_tensorflow
from initcheck.core.columns import ScaleEffect

PARALLEL_REPLICATES = 2
"""How many replicates the compiled loop keeps in flight.

Two overlap the small kernels of one replicate with the large ones of another (a tenth to a half of the
time on two cores, the more the smaller the layers); more would only hold more activations in memory.
"""

LARGEST_BYTE_COUNT: Final = 127
"""Up to here a sum of bytes that are 0 or 1 stays within its byte, and that of four within a signed integer."""

WITHOUT_VALUES: Final = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations whose results depend on the shape of what goes in and not on its values."""

_LOGITS: Final = "logits_of_copy"

WeightUse = Literal["kernel", "scale", "added"]
"""How a weight meets the signal: in sums over inputs (or in any other way), entry by entry as a factor, or added."""

_ENTRY_BY_ENTRY: Final[dict[str, WeightUse]] = {
    **dict.fromkeys(("Add", "AddV2", "AddN", "BiasAdd", "Sub"), "added"),
    **dict.fromkeys(("Mul", "MulNoNan", "RealDiv", "Div"), "scale"),
}
"""Operations on single entries, and what a weight is to the signal there."""


_NORMALIZING: Final = frozenset({"Rsqrt", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_DIVIDING: Final = frozenset({"Div", "DivNoNan", "RealDiv"})
_HOMOGENEOUS: Final = frozenset(
    """
    Abs Add AddN AddV2 AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BroadcastTo Cast
    CheckNumerics Concat ConcatV2 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cumsum DepthToSpace
    DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput Einsum ExpandDims Gather GatherNd GatherV2 Identity
    IdentityN LeakyRelu MatMul Max MaxPool MaxPool3D MaxPoolV2 Maximum Mean Min Minimum MirrorPad Mul Neg Pack Pad PadV2
    PreventGradient Relu Reshape ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather ReverseV2 Roll Select
    SelectV2 Slice SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient
    StridedSlice Sub Sum Tile TopKV2 Transpose Unpack
    """.split()  # noqa: SIM905 - a list of seventy strings would have seventy lines
)


@contextmanager
def outside_trace() -> Iterator[None]:
    """Compute eagerly for the length of the context, even while a graph is traced."""
    with import_tensorflow().init_scope():
        yield


def compile_function(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]]
) -> Callable[..., Any]:
    """Compile a function of tensors, given by shape and dtype, that other graphs call; it is traced once."""
    # Not inlined: its body is optimised once and not at each of its calls, which takes three quarters off
    # the first run of a deep network and nothing from the speed of later ones.
    compiled = compile_once(function, signature, experimental_attributes={"_noinline": True})
    placeholder = import_tensorflow().compat.v1.placeholder_with_default

    def call(first: Any, *others: Any) -> Any:
        # TensorFlow evaluates a call of constants alone before the graph runs, does not find the function there, and
        # complains on standard error. What could be replaced is no constant to it.
        return compiled(placeholder(first, first.shape), *others)

    return call


def compile_over_replicates(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]], outputs: Any
) -> Callable[..., Any]:
    """Compile a function of one replicate into a loop over any number of replicates.

    The function is traced once, whatever the number of replicates, and the memory of the loop does not
    grow with that number, except for its inputs and outputs.

    Args:
        signature: shape and dtype of each argument, of one replicate.

    Returns:
        A compiled function of the arguments stacked along a new first axis; it returns the results
        stacked in the same way.
    """
    tf = import_tensorflow()

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
            lambda number, *_: number < count, step, [0, *empty], parallel_iterations=PARALLEL_REPLICATES
        )
        return tf.nest.pack_sequence_as(outputs, [row.stack() for row in rows])

    return compile_once(run, [((None, *shape), dtype) for shape, dtype in signature])


def compile_once(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]], **options: Any
) -> Callable[..., Any]:
    """Compile a function of tensors, given by shape and dtype; it is traced once, when it is first called."""
    tf = import_tensorflow()
    specification = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    compiled = tf.function(function, input_signature=specification, autograph=False, **options)
    # The traced graph itself is called: tf.function's own call would look it up, and warn of many traced functions.
    find_traced = cache(compiled.get_concrete_function)

    def call(*tensors: Any) -> Any:
        return find_traced()(*tensors)

    return call


def cond(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """Compute one of two branches, decided when the graph runs."""
    return import_tensorflow().cond(condition, if_true, if_false)


def trace(function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]]) -> Callable[..., Any]:
    """Trace a function of tensors, given by shape and dtype; its graph is called without a look-up."""
    tf = import_tensorflow()
    specification = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    traced: Callable[..., Any] = tf.function(
        function, input_signature=specification, autograph=False
    ).get_concrete_function()
    return traced


def describe_graph(traced: Any) -> bytes:
    """Describe all operations of what :func:`trace` traced: functions of no variables that are alike do the same."""
    description: bytes = traced.graph.as_graph_def().SerializeToString(deterministic=True)
    return description


def repeat(step: Callable[..., Sequence[Any]], times: int, *state: Any) -> list[Any]:
    """Repeat a step inside a graph, one after the other.

    Args:
        *state: structures of tensors that keep their shapes.
    """
    tf = import_tensorflow()
    return list(
        tf.while_loop(
            lambda number, *_: number < times,
            lambda number, *current: (number + 1, *step(number, *current)),
            [tf.constant(0), *state],
            parallel_iterations=1,
        )[1:]
    )


def make_rows(count: int, dtype: str) -> Any:
    """Make an empty array that steps of :func:`repeat` fill: ``write(number, row)``, at the end ``stack()``."""
    return import_tensorflow().TensorArray(dtype, count)


def take_rows(tensor: Any, places: Any) -> Any:
    """Return some rows of a tensor, by numbers from 0; ``keras.ops.take`` looks for negative ones at each call."""
    return import_tensorflow().gather(tensor, places)


def find_largest(tensor: Any) -> Any:
    """Return the place of the largest entry along the last axis; ``keras.ops.argmax`` would order 0.0 and -0.0."""
    return import_tensorflow().argmax(tensor, axis=-1, output_type="int32")


def half_sum_of_squares(tensor: Any) -> Any:
    """Return sum(tensor^2)/2 in one pass over the memory, without storing the squares."""
    return import_tensorflow().nn.l2_loss(tensor)


def bytes_can_be_summed(output: Any) -> bool:
    """Return whether :func:`sum_bytes` can count over the first axis of a tensor."""
    rows, elements = output.shape[:1].num_elements(), output.shape[1:].num_elements()
    return bool(rows is not None and elements is not None and rows <= LARGEST_BYTE_COUNT and elements % 4 == 0)


def sum_bytes(condition: Any) -> Any:
    """Count the true entries of each column, four columns at a time: a quarter of the memory of a cast to float32.

    Args:
        condition: boolean, shape [rows, columns]; see :func:`bytes_can_be_summed`.

    Returns:
        float32 tensor of shape [columns].
    """
    tf = import_tensorflow()
    packed = tf.bitcast(tf.reshape(tf.cast(condition, "uint8"), (tf.shape(condition)[0], -1, 4)), "int32")
    return tf.cast(tf.reshape(tf.bitcast(tf.reduce_sum(packed, axis=0), "uint8"), (-1,)), "float32")


def copy_tensor(tensor: Any) -> Any:
    """Return the same values as a new tensor, which has a derivative of its own.

    Layers such as Dropout at inference return the very tensor they received. Without a copy of the handle the
    derivatives with respect to input and output of the layer would be added up. No values are copied.
    """
    return import_tensorflow().identity(tensor)


def keep_logits(tensor: Any, copy: Any) -> None:
    """Let a copy of probabilities remember the logits that they were made of, as the tensor itself does.

    Keras' cross-entropies take these logits where they find them, so that a softmax that has run into 0 and 1 keeps
    its gradient.
    """
    logits = getattr(tensor, "_keras_logits", None)
    if logits is not None:
        tf = import_tensorflow()
        # What is added is zero and has no gradient; in read_connections the sum stands for the copy alone.
        copy._keras_logits = tf.add(logits, tf.stop_gradient(0.0 * copy), name=_LOGITS)


def current_graph() -> Any:
    """Return the graph that is being traced at this moment."""
    return import_tensorflow().compat.v1.get_default_graph()


def in_graph(tensor: Any, graph: Any) -> bool:
    """Return whether a tensor was made in this graph, and not in the body of a loop inside it."""
    return getattr(tensor, "graph", None) is graph


def operation_name(tensor: Any) -> str:
    """Name the operation of the graph that made a tensor; names are unique in a graph."""
    return str(tensor.op.name)


def original(tensor: Any) -> Any:
    """Return the tensor that another handle stands for: what :func:`copy_tensor` was given."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def read_variable(variable: Any) -> Any:
    """Return the value of a Keras variable as a tensor, without a copy of it."""
    return import_tensorflow().convert_to_tensor(variable.value)


def as_array(values: Any) -> NDArray[Any]:
    """Return the values of a tensor, variable or array as an array that may share their memory: to be read only."""
    return np.asarray(values if isinstance(values, np.ndarray) else import_tensorflow().convert_to_tensor(values))


def count_operations(graph: Any) -> int:
    """Count the operations of a graph so far."""
    return len(graph.get_operations())


def find_loops(graph: Any, start: int) -> set[str]:
    """Name the loops among the operations of a graph, from one number of them on."""
    kinds = ("While", "StatelessWhile")
    return {str(operation.name) for operation in graph.get_operations()[start:] if operation.type in kinds}


def find_reached(sources: Sequence[Any]) -> set[str]:
    """Name the operations of the graph being traced that depend on one of these tensors."""
    reached = {operation_name(source) for source in sources}
    for operation in current_graph().get_operations():  # each comes after those that it takes results of
        if any(operation_name(tensor) in reached for tensor in operation.inputs):
            reached.add(str(operation.name))
    return reached


def read_connections(graph: Any) -> dict[str, tuple[str, ...]]:
    """Read off a graph that is being traced which operations take what other operations made.

    Logits that a copy remembers (:func:`keep_logits`) are taken to be made of the copy. A loop, a branch and a call of
    another function are one operation each. What has only whole numbers or truth values for a result (argmax, a
    comparison) passes on no signal, and takes none.

    Returns:
        For each operation so far, by name and in the order in which they were made, the operations whose values it
        takes, in the order of its arguments. Every operation comes after those.
    """

    def sources(operation: Any) -> tuple[str, ...]:
        if operation.type in WITHOUT_VALUES or not _may_carry_signal(operation):
            return ()
        inputs = list(operation.inputs)
        if str(operation.name).rpartition("/")[2].startswith(_LOGITS):
            inputs = inputs[1:]
        return tuple(str(tensor.op.name) for tensor in inputs)

    return {str(operation.name): sources(operation) for operation in graph.get_operations()}


def find_weight_uses(weights: Sequence[Any], inputs: Sequence[Any]) -> list[WeightUse]:
    """Find how each weight first meets what depends on the inputs, in the graph that is being traced.

    What is computed of weights alone before (a cast, a constant of equalized learning rates, a norm) does not count.
    Something multiplied by a larger weight entry by entry grows: that is a sum over inputs that follows later.
    """
    signal = find_reached(inputs)
    carried = {operation_name(weight): {place} for place, weight in enumerate(weights)}
    uses: list[set[WeightUse]] = [set() for _ in weights]
    for operation in current_graph().get_operations():
        if operation.type in WITHOUT_VALUES:
            continue
        held = set().union(*(carried.get(operation_name(tensor), ()) for tensor in operation.inputs))
        if not held:
            continue
        if str(operation.name) not in signal:
            carried[str(operation.name)] = held | carried.get(str(operation.name), set())
            continue
        sizes = [tensor.shape.num_elements() for tensor in operation.inputs if operation_name(tensor) in signal]
        same_size = bool(operation.outputs) and operation.outputs[0].shape.num_elements() in sizes
        for place in held:
            uses[place].add(_ENTRY_BY_ENTRY.get(str(operation.type), "kernel") if same_size else "kernel")
    return ["kernel" if not each or "kernel" in each else "scale" if "scale" in each else "added" for each in uses]


def find_softmaxes() -> list[Any]:
    """List what the softmaxes over a known number of entries, two or more, give in the graph that is being traced."""
    softmaxes = [each.outputs[0] for each in current_graph().get_operations() if each.type == "Softmax"]
    return [each for each in softmaxes if (each.shape[-1] or 0) > 1]


def find_constant_softmaxes() -> set[str]:
    """Name the operations of the graph being traced that are a softmax over an axis with one entry, which gives 1."""
    return {
        str(operation.name)
        for operation in current_graph().get_operations()
        if operation.type in ("Softmax", "LogSoftmax") and operation.inputs[0].shape[-1:].as_list() == [1]
    }


def _may_carry_signal(operation: Any) -> bool:
    kinds = [tensor.dtype for tensor in operation.outputs]
    return not kinds or not all(kind.is_integer or kind.is_bool for kind in kinds)


def read_scale_effects(graph: Any) -> dict[str, ScaleEffect]:
    """Read off a graph that is being traced how each operation treats the scale of what it takes; see `ScaleEffect`."""
    return {str(operation.name): _find_scale_effect(str(operation.type)) for operation in graph.get_operations()}


def _find_scale_effect(kind: str) -> ScaleEffect:
    if kind in _NORMALIZING:
        return "normalization"
    if kind in _DIVIDING:
        return "division"
    if kind in ("Softmax", "LogSoftmax"):
        return "softmax"
    return "homogeneous" if kind in _HOMOGENEOUS else "other"
