"""What the last output of a layer over time still owes to its input at each step: the gradient by the steps back.

The loss of a model may read the output of every step, and then the gradient at the first inputs says nothing of memory.
So each layer over time has a loss of its own here, on its last output alone, which no other layer takes part in. Steps
are counted back from the last one that the layer makes and that no mask leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.probe.reduce import mean_float64


@dataclass(frozen=True)
class RecurrentCall:
    """One call of a layer over time.

    Attributes:
        inputs: its sequence, shape [B, T, ...]: a tensor that nothing else takes.
        output: its first output: the last step's, shape [B, ...], or where it returns sequences all, [B, T, ...].
        mask: which steps count, shape [B, T]; None for all.
    """

    layer: str
    call: int
    operation: Any
    inputs: Any
    output: Any
    mask: Any | None

    @property
    def steps(self) -> int:
        """The length of the sequence."""
        return int(self.inputs.shape[1])


@dataclass(frozen=True)
class OverTime:
    """What was measured of one call of a layer over time.

    Attributes:
        squares: mean squared norm of one sample's gradient of a loss on the last output with respect to the input so
            many steps back, shape [seeds, steps]; NaN where no sample has so many steps.
    """

    layer: str
    call: int
    squares: NDArray[np.float64] = field(repr=False)


def loss_of_last_output(call: RecurrentCall, loss: Callable[[Any], Any]) -> Any:
    """Return a loss on the last output alone. Called while the pass is recorded."""
    last = _take_last(call.output, _read_mask(call)) if call.operation.return_sequences else call.output
    return loss(last)


def reduce_over_time(call: RecurrentCall, gradient: Any) -> Any:
    """Return the mean squared norm of the gradient of the loss on the last output, by steps back: float64, shape [T].

    It is NaN where no sample of the batch has so many steps.

    Args:
        gradient: of :func:`loss_of_last_output`, with respect to the inputs of the call.
    """
    ops = import_keras().ops
    backwards = bool(call.operation.go_backwards)
    in_order = _read_mask(call)
    squares = ops.square(ops.cast(ops.reshape(gradient, (-1, call.steps, *_sizes(call.inputs))), "float64"))
    squares = ops.sum(squares, axis=tuple(range(2, len(squares.shape))))
    back = squares if backwards else ops.flip(squares, axis=1)
    if in_order is None:
        return mean_float64(back, axis=0)
    counted = ops.flip(in_order, axis=1)
    places = ops.arange(call.steps)
    order = ops.argsort(ops.where(counted, places, places + call.steps), axis=1)  # steps that count come first
    counted = ops.take_along_axis(counted, order, axis=1)
    back = ops.where(counted, ops.take_along_axis(back, order, axis=1), ops.zeros_like(back))
    return ops.sum(back, axis=0) / ops.sum(ops.cast(counted, "float64"), axis=0)


def _read_mask(call: RecurrentCall) -> Any | None:
    """Return which steps count, in the order in which the layer makes them."""
    ops = import_keras().ops
    mask = None if call.mask is None else ops.reshape(ops.cast(call.mask, "bool"), (-1, call.steps))
    return ops.flip(mask, axis=1) if mask is not None and call.operation.go_backwards else mask


def split_over_time(calls: Sequence[RecurrentCall], values: NDArray[np.float64]) -> tuple[OverTime, ...]:
    """Split what was measured, shape [seeds, steps of all calls], into the calls."""
    ends = np.cumsum([0, *(call.steps for call in calls)])
    return tuple(
        OverTime(call.layer, call.call, values[:, start:end])
        for call, start, end in zip(calls, ends[:-1], ends[1:], strict=True)
    )


def join_over_time(parts: Sequence[Sequence[OverTime]]) -> tuple[OverTime, ...]:
    """Bring together what was measured of the same calls for some seeds and for others."""
    return tuple(
        replace(same[0], squares=np.concatenate([each.squares for each in same])) for same in zip(*parts, strict=True)
    )


def _sizes(tensor: Any) -> tuple[int, ...]:
    """Return the sizes behind the axis of time: at least one, so that there is something to sum over."""
    return tuple(tensor.shape[2:]) or (1,)


def _take_last(outputs: Any, mask: Any | None) -> Any:
    """Take of each sample the output of the last step that counts."""
    ops = import_keras().ops
    if mask is None:
        return outputs[:, -1]
    places = ops.max(ops.where(mask, ops.arange(mask.shape[1]), 0), axis=1)
    index = ops.reshape(places, (-1,) + (1,) * (len(outputs.shape) - 1))
    return ops.take_along_axis(outputs, index, axis=1)
