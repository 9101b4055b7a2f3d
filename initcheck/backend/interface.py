"""What initcheck needs of a backend beyond ``keras.ops``, and the one place where the backend in use is chosen.

Each backend is one module: ``tensorflow``, ``jax``, ``torch``. Nothing else in the package knows one.

A function is *traced* where the backend has graphs; without graphs it is run each time, which its caller cannot tell.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.operations import Operation
from initcheck.backend.runtime import import_keras

Signature = Sequence[tuple[tuple[int | None, ...], str]]
"""Shape and dtype of each argument of a function of tensors; None for a length that varies."""


@dataclass(frozen=True)
class Differentiated:
    """What a function gave, and the derivatives of its loss.

    Attributes:
        extra: whatever the function returned beside the loss: a structure of tensors.
        gradients: dloss/dsource for each source; None where no path leads from it to the loss.
    """

    loss: Any
    extra: Any
    gradients: list[Any | None]


class RecordedPass(Protocol):
    """A forward pass that was recorded: its operations, and whatever derivatives are asked for.

    The tensors that the forward function met are names of what it computed: they have shapes and dtypes. Their values
    come from :meth:`evaluate`.
    """

    @property
    def sources(self) -> Sequence[Any]:
        """The sources, as the forward function received them."""
        ...

    @property
    def operations(self) -> Sequence[Operation]:
        """All operations, each after those whose values it takes."""
        ...

    @property
    def structure(self) -> Hashable | None:
        """What this pass has in common with others of the same function; None where each pass stands for itself."""
        ...

    def name_of(self, tensor: Any) -> str:
        """Name the operation that made a tensor: a source, a loss, a copy, or another that the function returned."""
        ...

    def identify(self, tensor: Any) -> Hashable:
        """Give the same for a tensor and its copies (:meth:`Backend.copy_tensor`), and for no other values."""
        ...

    def find_differentiable(self, loss: Any, tensors: Sequence[Any]) -> tuple[bool, ...]:
        """Return for each tensor whether a differentiable path leads from it to a loss."""
        ...

    def result_of(self, operation: Operation) -> Any:
        """Give the first result of an operation, to be read by :meth:`evaluate`.

        What is asked for of later passes of the same structure is asked for of the first one, before they are recorded.
        """
        ...

    def evaluate(
        self, read: Sequence[Any], wanted: Sequence[tuple[Any, Sequence[Any]]] = ()
    ) -> tuple[list[Any], list[list[Any | None]]]:
        """Compute values and derivatives, once for a pass.

        Args:
            read: tensors of the pass.
            wanted: pairs of one of the losses, and the sources and copies that it is differentiated with respect to.

        Returns:
            The values of ``read``, and for each pair the derivatives; None where no path leads to the loss.
        """
        ...


@dataclass(frozen=True)
class Forward:
    """What a forward function returns.

    Attributes:
        losses: scalars that are differentiated.
        tensors: all others that are asked about afterwards; copies among them.
    """

    losses: Sequence[Any]
    tensors: Sequence[Any] = ()


class Rows(Protocol):
    """An array that steps of :meth:`Backend.repeat` fill."""

    def write(self, number: Any, row: Any) -> Rows:
        """Return the array with one more row."""
        ...

    def stack(self) -> Any:
        """Return all rows as a tensor."""
        ...


class Backend(Protocol):
    """Compiling, reading and differentiating."""

    @property
    def parallel_replicates(self) -> int:
        """How many replicates the loop of :meth:`compile_over_replicates` keeps in flight."""
        ...

    @property
    def seed_period(self) -> int:
        """How far apart seeds are that Keras takes for one: it reduces them modulo this number."""
        ...

    def double_precision(self) -> AbstractContextManager[None]:
        """Let float64 be float64 for the length of the context, where a backend has it only when asked."""
        ...

    def outside_trace(self) -> AbstractContextManager[None]:
        """Compute eagerly for the length of the context, even while a function is traced."""
        ...

    def compile_function(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        """Compile a function of tensors that other traced functions call; it is traced once."""
        ...

    def compile_over_replicates(
        self, function: Callable[..., Any], signature: Signature, outputs: Any
    ) -> Callable[..., Any]:
        """Compile a function of one replicate into a loop over any number of replicates.

        The function is traced once, whatever the number of replicates, and the memory of the loop does not grow with
        that number, except for its inputs and outputs.

        Args:
            signature: of the arguments of one replicate.
            outputs: the dtypes of its results, in their structure.

        Returns:
            A compiled function of the arguments stacked along a new first axis; it returns the results stacked in the
            same way.
        """
        ...

    def compile_once(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        """Compile a function of tensors; it is traced once, when it is first called."""
        ...

    def trace(self, function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
        """Trace a function of tensors now."""
        ...

    def describe_graph(self, traced: Callable[..., Any]) -> Hashable | None:
        """Describe all that :meth:`trace` traced: functions of no variables that are alike do the same.

        None where the backend cannot tell.
        """
        ...

    def cond(self, condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
        """Compute one of two branches, decided when the function runs."""
        ...

    def repeat(self, step: Callable[..., Sequence[Any]], times: Any, *state: Any) -> list[Any]:
        """Repeat a step inside a traced function, one after the other.

        Args:
            step: from the number of the step and the state to the next state.
            *state: structures of tensors, and of :class:`Rows`, that keep their shapes.
        """
        ...

    def repeat_on_variables(
        self, step: Callable[..., Rows], times: Any, variables: Sequence[Any], values: Sequence[Any], rows: Rows
    ) -> tuple[list[Any], Rows]:
        """Repeat a step that reads Keras variables and assigns to them, inside a traced function.

        Args:
            step: from the number of the step and the rows to the next rows.
            values: what the variables hold before the first step.

        Returns:
            What they hold after the last one, and the rows.
        """
        ...

    def make_rows(self, count: Any, dtype: str, most: int | None = None) -> Rows:
        """Make an empty array of scalars, which steps fill.

        Args:
            count: how many. Where that is a tensor, the array may be longer.
            most: how many there are at most, where ``count`` is a tensor.
        """
        ...

    def take_rows(self, tensor: Any, places: Any) -> Any:
        """Return some rows of a tensor, by numbers from 0; ``keras.ops.take`` looks for negative ones at each call."""
        ...

    def find_largest(self, tensor: Any) -> Any:
        """Return the place of the largest entry along the last axis, the first of several; 0.0 and -0.0 are equal."""
        ...

    def sum_float64(self, tensor: Any, axis: int | None = None) -> Any:
        """Return the sum as float64, of which no more digits are right than sums in the tensor's own precision have."""
        ...

    def half_sum_of_squares(self, tensor: Any) -> Any:
        """Return sum(tensor^2)/2, where possible in one pass over the memory, without storing the squares."""
        ...

    def sum_segments(self, tensor: Any, owners: NDArray[np.int32], count: int) -> Any:
        """Add up the entries that belong to each of several owners, in the precision of the tensor, of one axis."""
        ...

    def bytes_can_be_summed(self, output: Any) -> bool:
        """Return whether :meth:`sum_bytes` can count over the first axis of a tensor."""
        ...

    def sum_bytes(self, condition: Any) -> Any:
        """Count the true entries of each column: boolean of shape [rows, columns] to float32 of shape [columns]."""
        ...

    def read_variable(self, variable: Any) -> Any:
        """Return the value of a Keras variable as a tensor, without a copy of it."""
        ...

    def as_array(self, values: Any) -> NDArray[Any]:
        """Return the values of a tensor, variable or array as an array that may share their memory: to be read only."""
        ...

    def seed_own_draws(self, state: Any) -> None:
        """Let the random numbers that Keras takes from no seed generator follow from the state of a seed, [2] of int32.

        Keras takes the masks of Dropout without a seed from PyTorch's own generator.
        """
        ...

    def make_seed(self, state: Any) -> Any:
        """Return the state of a seed, [2] of int32, as Keras' random functions take one that is a tensor."""
        ...

    def copy_tensor(self, tensor: Any) -> Any:
        """Return the same values as a new tensor, which has a derivative of its own.

        Layers such as Dropout at inference return the very tensor they received. Without a copy of the handle the
        derivatives with respect to input and output of the layer would be added up. No values are copied.
        """
        ...

    def keep_logits(self, tensor: Any, copy: Any) -> None:
        """Let a copy of probabilities remember the logits that they were made of, as the tensor itself does."""
        ...

    def is_dense(self, tensor: Any) -> bool:
        """Return whether this is a dense tensor of the backend: not ragged, sparse, or an array of NumPy."""
        ...

    def current_place(self) -> Hashable:
        """Give what is being traced at this moment: the bodies of loops are other places than what is around them."""
        ...

    def made_at(self, tensor: Any, place: Hashable) -> bool:
        """Return whether a tensor was made at this place, and not in the body of a loop inside it."""
        ...

    def layer_call(self, number: int) -> AbstractContextManager[None]:
        """Mark the operations that are recorded inside the context, but for those marked further in."""
        ...

    def record_pass(
        self, forward: Callable[[Sequence[Any]], Forward], sources: Sequence[Any], like: Hashable | None = None
    ) -> RecordedPass:
        """Record a forward pass.

        Args:
            forward: the pass: a function of the sources, called once.
            sources: weights and inputs. Those of floating point can be differentiated with respect to.
            like: the structure of an earlier pass of the same function: the operations are not listed again. Where the
                new pass has the same structure, all is known from there that does not depend on values.
        """
        ...

    def differentiate(
        self, function: Callable[[Sequence[Any]], tuple[Any, Any]], sources: Sequence[Any]
    ) -> Differentiated:
        """Compute a loss and its derivatives.

        Args:
            function: from the sources to the loss, a scalar, and anything else that is wanted.
            sources: floating-point tensors.
        """
        ...


@cache
def backend() -> Backend:
    """Give the backend that Keras runs on, imported with it."""
    name = str(import_keras().backend.backend())
    return cast("Backend", importlib.import_module(f"initcheck.backend.{name}").BACKEND)
