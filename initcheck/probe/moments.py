"""Means, mean squares and norms of a tensor: in float32, in float64, and when those of float32 are accurate.

Sums in float32 cost little and hide behind the matrix products. Where a sum of squares leaves the range in which
float32 squares are accurate, or a variance would be a small difference of large numbers, they are taken once more from
float64 values.

A variance is handed on as (shift, m, s) with m = mean(x - shift), s = mean((x - shift)^2), so that var x = s - m^2
holds for any shift: 0 in float32, mean(x) in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from initcheck.backend.graphs import compile_function, cond, half_sum_of_squares
from initcheck.backend.runtime import import_keras

SMALLEST_MEAN_SQUARE: Final = 1e-30
"""Below this mean square of float32 values, squares of single values may have been flushed to zero.

TensorFlow flushes float32 denormals (below 1.2e-38), in eager mode as in compiled graphs.
"""

LARGEST_CANCELLATION: Final = 0.9
"""Above this share m^2 / s, the difference s - m^2 has lost a digit and is taken again in float64."""

LARGEST_COPIED: Final = 2**17
"""Of tensors of at most this many elements copies are made freely: what costs is the number of operations on them."""

LARGEST_JOINED: Final = 4096
"""Tensors of at most this many entries are reduced together: for each alone the calls would cost more than the sums."""


def mean_square(tensor: Any) -> Any:
    """Return the mean of squares as float64, summed in the tensor's own precision and without storing the squares."""
    return import_keras().ops.cast(half_sum_of_squares(tensor), "float64") / (0.5 * count_of(tensor))


def mean(tensor: Any) -> Any:
    """Return the mean as float64, summed in the tensor's own precision."""
    ops = import_keras().ops
    return ops.cast(ops.sum(tensor), "float64") / count_of(tensor)


def moments_float64(tensor: Any) -> tuple[Any, Any, Any]:
    """Return shift, mean around it and mean square around it, of float64 values."""
    ops = import_keras().ops
    tensor = ops.cast(tensor, "float64")
    # mean(x) first minus one entry, so that a constant tensor has exactly its value as mean.
    anchor = ops.reshape(tensor, (-1,))[0]
    shift = anchor + ops.mean(tensor - anchor)
    centered = tensor - shift
    return shift, ops.mean(centered), mean_square(centered)


def is_accurate(squares: Sequence[tuple[Any, Any | None]]) -> Any:
    """Return whether mean squares of float32 values are all accurate, and the variances that are made of them."""
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


def reduce_norms(tensors: Sequence[Any]) -> Any:
    """Compute the Frobenius norm of each tensor, in a graph that is being traced.

    Args:
        tensors: floating-point, of known shapes.

    Returns:
        float64 tensor of shape [len(tensors)]. A norm is 0 only where every entry is 0.
    """
    ops = import_keras().ops
    norms: list[Any] = [None] * len(tensors)
    together = [
        place
        for place, tensor in enumerate(tensors)
        if tensor.dtype.name != "float64" and tensor.shape.num_elements() <= LARGEST_JOINED
    ]
    if together:
        squares = _sum_squares_together([tensors[place] for place in together])
        for place, norm in zip(together, ops.unstack(ops.sqrt(squares), num=len(together)), strict=True):
            norms[place] = norm
    for place, tensor in enumerate(tensors):
        if norms[place] is None:
            norms[place] = _compile_norm(tensor.dtype.name)(ops.reshape(tensor, (-1,)))
    return ops.stack(norms) if norms else ops.zeros((0,), "float64")


def _sum_squares_together(tensors: Sequence[Any]) -> Any:
    """Sum the squares of each of several small tensors in float64, in which squares of float32 do not underflow."""
    ops = import_keras().ops
    sizes = [tensor.shape.num_elements() for tensor in tensors]
    entries = ops.concatenate([ops.reshape(ops.cast(tensor, "float32"), (-1,)) for tensor in tensors])
    owners = np.repeat(np.arange(len(tensors), dtype=np.int32), sizes)
    return ops.segment_sum(ops.square(ops.cast(entries, "float64")), owners, num_segments=len(tensors))


@lru_cache(maxsize=1024)
def _compile_norm(dtype: str) -> Callable[..., Any]:
    """Compile the norm of a tensor of one axis, of any length."""
    ops = import_keras().ops

    def norm_float64(tensor: Any) -> Any:
        wide = ops.cast(tensor, "float64")
        largest = ops.max(ops.abs(wide))
        scale = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, ops.ones_like(largest))
        return scale * ops.sqrt(ops.sum(ops.square(wide / scale)))

    def reduce(tensor: Any) -> Any:
        if dtype == "float64":
            return norm_float64(tensor)
        single = ops.cast(tensor, "float32")
        total = 2 * half_sum_of_squares(single)
        mean_square = ops.cast(total, "float64") / count_of(single)
        accurate = ops.logical_and(mean_square > SMALLEST_MEAN_SQUARE, ops.isfinite(total))
        return cond(accurate, lambda: ops.sqrt(ops.cast(total, "float64")), lambda: norm_float64(single))

    return compile_function(reduce, [((None,), dtype)])
