"""Norms of many tensors of any sizes, without underflow: those of all weights and of their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import choose, compile_function, half_sum_of_squares
from initcheck.probe.moments import SMALLEST_MEAN_SQUARE, count_of

SMALL: Final = 4096
"""Tensors of at most this many entries are reduced together: for each alone the calls would cost more than the sums."""


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
        if tensor.dtype.name != "float64" and tensor.shape.num_elements() <= SMALL
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

    def careful(tensor: Any) -> Any:
        wide = ops.cast(tensor, "float64")
        largest = ops.max(ops.abs(wide))
        scale = ops.where(ops.logical_and(largest > 0, ops.isfinite(largest)), largest, ops.ones_like(largest))
        return scale * ops.sqrt(ops.sum(ops.square(wide / scale)))

    def reduce(tensor: Any) -> Any:
        if dtype == "float64":
            return careful(tensor)
        single = ops.cast(tensor, "float32")
        total = 2 * half_sum_of_squares(single)
        mean_square = ops.cast(total, "float64") / count_of(single)
        trusted = ops.logical_and(mean_square > SMALLEST_MEAN_SQUARE, ops.isfinite(total))
        return choose(trusted, lambda: ops.sqrt(ops.cast(total, "float64")), lambda: careful(single))

    return compile_function(reduce, [((None,), dtype)])
