"""The one file that knows the backend's autodiff, graphs and loops (TensorFlow).

Everything else in the probe is written in ``keras.ops``; a second backend would bring a second version
of the few functions here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from initcheck.backend.runtime import import_tensorflow

PARALLEL_REPLICATES = 2
"""How many replicates the compiled loop keeps in flight.

Two overlap the small kernels of one replicate with the large ones of another (a tenth to a half of the
time on two cores, the more the smaller the layers); more would only hold more activations in memory.
"""

LARGEST_BYTE_COUNT: Final = 127
"""Up to here a sum of bytes that are 0 or 1 stays within its byte, and that of four within a signed integer."""

WITHOUT_VALUES: Final = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations whose results depend on the shape of what goes in and not on its values."""


class Backpropagation:
    """Records a forward pass, then yields the derivatives of a loss.

    Args:
        sources: tensors that are differentiated with respect to but are made before the forward pass
            (weights, inputs). Tensors made during the pass need not be announced.
    """

    def __init__(self, sources: Sequence[Any]) -> None:
        self._tape = import_tensorflow().GradientTape(watch_accessed_variables=False)
        self._sources = sources

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record what is computed inside the context."""
        with self._tape:
            for source in self._sources:
                self._tape.watch(source)
            yield

    def derivatives(self, loss: Any, targets: Sequence[Any]) -> list[Any | None]:
        """Return dloss/dtarget for each target; None where no path leads from it to the loss."""
        gradients = self._tape.gradient(loss, list(targets))
        # The gradient of a table that was looked up comes as its rows, one for each look-up: added up here.
        return [None if gradient is None else import_tensorflow().convert_to_tensor(gradient) for gradient in gradients]


def separate(tensor: Any) -> Any:
    """Return the same values as a new tensor, so that its derivative is told from the original's.

    Layers such as Dropout at inference return the very tensor they received. Without a copy of the
    handle the derivatives with respect to input and output of the layer would be added up. No values
    are copied.
    """
    return import_tensorflow().identity(tensor)


def current_graph() -> Any:
    """Return the graph that is being traced at this moment."""
    return import_tensorflow().compat.v1.get_default_graph()


def in_graph(tensor: Any, graph: Any) -> bool:
    """Tell whether a tensor was made in this graph, and not in the body of a loop inside it."""
    return getattr(tensor, "graph", None) is graph


def operation_name(tensor: Any) -> str:
    """Name the operation of the graph that made a tensor; names are unique in a graph."""
    return str(tensor.op.name)


def original(tensor: Any) -> Any:
    """Return the tensor that another handle stands for: what :func:`separate` was given."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def read_connections(graph: Any) -> dict[str, tuple[str, ...]]:
    """Read off a graph which operations take what other operations made.

    A loop, a branch and a call of another function are one operation each.

    Args:
        graph: a graph that is being traced.

    Returns:
        For each operation so far, by name and in the order in which they were made, the operations whose values it
        takes, in the order of its arguments. Every operation comes after those.
    """
    return {
        str(operation.name): ()
        if operation.type in WITHOUT_VALUES
        else tuple(str(tensor.op.name) for tensor in operation.inputs)
        for operation in graph.get_operations()
    }


def find_differentiable(end: Any, starts: Sequence[Any]) -> tuple[bool, ...]:
    """Tell for each tensor whether a differentiable path leads from it to a tensor of the same graph.

    The tape cannot tell: the derivative of a loop, or of a function that was compiled by itself, is zero and not
    missing for what goes in and has no path out. Here such bodies are walked through; one that cannot be read is taken
    to connect all that goes in with all that comes out.

    Args:
        end: the loss.
        starts: tensors that it may depend on.
    """
    found = _walk_up([end])
    return tuple(_key(start) in found for start in starts)


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
    return bool(tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == import_tensorflow().variant)


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
    except LookupError:  # of no known derivative: then the tape fails, and it is not for this function to say so
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


@contextmanager
def outside_trace() -> Iterator[None]:
    """Compute eagerly for the length of the context, even while a graph is traced."""
    with import_tensorflow().init_scope():
        yield


def compile_function(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]]
) -> Callable[..., Any]:
    """Compile a function of tensors of the given shapes and dtypes; it is traced once.

    Args:
        function: takes and returns tensors.
        signature: shape and dtype of each argument.

    Returns:
        The compiled function, which can be called from within other graphs.
    """
    # Not inlined: its body is optimised once and not at each of its calls, which takes three quarters off
    # the first run of a deep network and nothing from the speed of later ones.
    return compile_once(function, signature, experimental_attributes={"_noinline": True})


def compile_over_replicates(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int, ...], str]], outputs: Any
) -> Callable[..., Any]:
    """Compile a function of one replicate into a loop over any number of replicates.

    The function is traced once, whatever the number of replicates, and the memory of the loop does not
    grow with that number, but for its inputs and outputs.

    Args:
        function: takes one replicate's tensors, returns a structure of tensors.
        signature: shape and dtype of each argument, of one replicate.
        outputs: dtype of each tensor of the result, in the result's structure.

    Returns:
        A compiled function of the arguments stacked along a new first axis; it returns the results
        stacked in the same way.
    """
    tf = import_tensorflow()

    def run(*stacked: Any) -> Any:
        return tf.map_fn(
            lambda replicate: function(*replicate),
            stacked,
            fn_output_signature=outputs,
            parallel_iterations=PARALLEL_REPLICATES,
        )

    return compile_once(run, [((None, *shape), dtype) for shape, dtype in signature])


def compile_once(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]], **options: Any
) -> Callable[..., Any]:
    """Compile a function of tensors of the given shapes and dtypes; it is traced once, when it is first called.

    Args:
        function: takes and returns tensors.
        signature: shape and dtype of each argument.
        **options: of ``tf.function``.
    """
    tf = import_tensorflow()
    specification = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    compiled = tf.function(function, input_signature=specification, autograph=False, **options)

    def call(*tensors: Any) -> Any:
        # The traced graph itself is called: tf.function's own call would warn of many traced functions.
        return compiled.get_concrete_function()(*tensors)

    return call


def choose(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """Compute one of two branches, decided when the graph runs."""
    return import_tensorflow().cond(condition, if_true, if_false)


def half_sum_of_squares(tensor: Any) -> Any:
    """Return sum(tensor^2)/2 in one pass over the memory, without storing the squares."""
    return import_tensorflow().nn.l2_loss(tensor)


def bytes_can_be_summed(output: Any) -> bool:
    """Tell whether :func:`sum_bytes` can count over the first axis of a tensor."""
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
