"""Derivatives of the backend (TensorFlow): of a recorded pass, in a training step, and whether there is one at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from initcheck.backend.runtime import import_tensorflow


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


def derivative_between(end: Any, start: Any) -> Any:
    """Return dend/dstart of two tensors of the graph that is being traced; zero where no path leads between them.

    Nothing need have been recorded: it follows the graph, and no further than from the one to the other.
    """
    tf = import_tensorflow()
    (gradient,) = tf.gradients(end, start, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return tf.convert_to_tensor(gradient)


Optimizer = Literal["sgd", "adam"]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # those of keras.optimizers.Adam


class Step(NamedTuple):
    """One step of training."""

    weights: list[Any]
    slots: list[Any]
    loss: Any
    extra: Any


def make_slots(optimizer: Optimizer, weights: Sequence[Any]) -> list[Any]:
    """Make the state of an optimizer before the first step: two moments for each weight of Adam, of SGD nothing."""
    tf = import_tensorflow()
    return [tf.zeros_like(weight) for weight in weights for _ in range(2)] if optimizer == "adam" else []


def update_step(
    compute_loss: Callable[[], tuple[Any, Any]],
    weights: Sequence[Any],
    learning_rate: Any,
    optimizer: Optimizer = "sgd",
    slots: Sequence[Any] = (),
    number: Any = None,
) -> Step:
    """Make one step of gradient descent, or of Adam (Kingma and Ba 2015), with the arithmetic of Keras' optimizers.

    It works on values instead of variables, so that many networks are trained in one compiled loop.
    """
    tf = import_tensorflow()
    pass_ = Backpropagation(weights)
    with pass_.record():
        loss, extra = compute_loss()
    updated, state = list(weights), list(slots)
    for place, gradient in enumerate(pass_.derivatives(loss, weights)):
        if gradient is None:
            continue
        rate = tf.cast(learning_rate, gradient.dtype) if tf.is_tensor(learning_rate) else learning_rate
        if optimizer == "adam":
            first, second = state[2 * place : 2 * place + 2]
            first = _BETA_1 * first + (1.0 - _BETA_1) * gradient
            second = _BETA_2 * second + (1.0 - _BETA_2) * tf.square(gradient)
            count = tf.cast(number, gradient.dtype)
            rate = rate * tf.sqrt(1.0 - _BETA_2**count) / (1.0 - _BETA_1**count)
            state[2 * place : 2 * place + 2] = [first, second]
            updated[place] = weights[place] - rate * first / (tf.sqrt(second) + _EPSILON)
        else:
            updated[place] = weights[place] - rate * gradient
    return Step(updated, state, loss, extra)


def find_differentiable(end: Any, starts: Sequence[Any]) -> tuple[bool, ...]:
    """Return for each tensor whether a differentiable path leads from it to a tensor of the same graph.

    The tape does not know: the derivative of a loop, or of a function that was compiled by itself, is zero and not
    missing for what goes in and has no path out. Here such bodies are walked through; one that cannot be read is taken
    to connect all that goes in with all that comes out.
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
