"""Means and mean squares of a tensor: quickly in float32, carefully in float64, and when the quick ones can be trusted.

Quick sums cost little and hide behind the matrix products. Where a sum of squares leaves the range in which float32
squares are exact enough, or a variance would be a small difference of large numbers, they are taken once more from
float64 values.

A variance travels as (shift, m, s) with m = mean(x - shift), s = mean((x - shift)^2), so that
var x = s - m^2 holds for any shift: 0 on the quick way, mean(x) on the careful one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import half_sum_of_squares

SMALLEST_MEAN_SQUARE: Final = 1e-30
"""Below this mean square of float32 values, squares of single values may have been flushed to zero.

TensorFlow flushes float32 denormals (below 1.2e-38), in eager mode as in compiled graphs.
"""

LARGEST_CANCELLATION: Final = 0.9
"""Above this share m^2 / s, the difference s - m^2 has lost a digit and is taken again in float64."""


SMALL: Final = 2**17
"""Tensors of at most this many elements are no matter for memory: what costs is the number of operations on them."""


def mean_square(tensor: Any) -> Any:
    """Return the mean of squares as float64, summed in the tensor's own precision and without storing the squares."""
    return import_keras().ops.cast(half_sum_of_squares(tensor), "float64") / (0.5 * count_of(tensor))


def mean(tensor: Any) -> Any:
    """Return the mean as float64, summed in the tensor's own precision."""
    ops = import_keras().ops
    return ops.cast(ops.sum(tensor), "float64") / count_of(tensor)


def careful_moments(tensor: Any) -> tuple[Any, Any, Any]:
    """Return shift, mean around it and mean square around it, of float64 values."""
    ops = import_keras().ops
    tensor = ops.cast(tensor, "float64")
    # mean(x) first minus one entry, so that a constant tensor has exactly its value as mean.
    anchor = ops.reshape(tensor, (-1,))[0]
    shift = anchor + ops.mean(tensor - anchor)
    centered = tensor - shift
    return shift, ops.mean(centered), mean_square(centered)


def trust(squares: Sequence[tuple[Any, Any | None]]) -> Any:
    """Tell whether mean squares of float32 values are all exact enough, and the variances that are made of them.

    Args:
        squares: each mean square, with the square of the mean that is subtracted from it, or None.
    """
    ops = import_keras().ops
    total = ops.stack([square for square, _ in squares])
    nothing = ops.zeros((), "float64")
    subtracted = ops.stack([nothing if mean is None else mean for _, mean in squares])
    in_range = ops.logical_and(total > SMALLEST_MEAN_SQUARE, total < float("inf"))
    return ops.all(ops.logical_and(in_range, subtracted <= LARGEST_CANCELLATION * total))


def count_of(tensor: Any, axis: int | None = None) -> Any:
    """Return the number of elements of a tensor or the length of an axis, as float64 where it is not known yet."""
    ops = import_keras().ops
    static = tensor.shape.num_elements() if axis is None else tensor.shape[axis]
    if static is not None:
        return float(static)
    return ops.cast(ops.size(tensor) if axis is None else ops.shape(tensor)[axis], "float64")
