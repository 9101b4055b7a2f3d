"""What is measured only on request: the gradient of every weight, and the share of values out of float16's range."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import choose, compile_function, half_sum_of_squares
from initcheck.probe.reduce import SMALLEST_MEAN_SQUARE

FLOAT16_LARGEST: Final = 65504.0
FLOAT16_VANISHES: Final = 2.0**-25
"""Half of float16's smallest number, 2^-24: what is smaller rounds to zero."""


def reduce_mean_square(tensor: Any) -> Any:
    """Reduce a tensor to the mean of its squares, without underflow; 0 only for zeros.

    Returns:
        float64 scalar tensor.
    """
    return _compile_mean_square(tuple(tensor.shape), tensor.dtype.name)(tensor)


@lru_cache(maxsize=1024)
def _compile_mean_square(shape: tuple[int | None, ...], dtype: str) -> Callable[..., Any]:
    ops = import_keras().ops

    def careful(tensor: Any) -> Any:
        return ops.mean(ops.square(ops.cast(tensor, "float64")))

    def reduce(tensor: Any) -> Any:
        if dtype == "float64":
            return careful(tensor)
        single = ops.cast(tensor, "float32")
        quick = ops.cast(2 * half_sum_of_squares(single), "float64") / ops.cast(ops.size(single), "float64")
        trusted = ops.logical_and(quick > SMALLEST_MEAN_SQUARE, ops.isfinite(quick))
        return choose(trusted, lambda: quick, lambda: careful(tensor))

    return compile_function(reduce, [(shape, dtype)])


def reduce_range(output: Any, gradient: Any | None) -> Any:
    """Count what float16 cannot hold: shares above its largest number, and below what it rounds to zero.

    Returns:
        float64 tensor: overflow and underflow of the output, then of the gradient; NaN without a gradient.
    """
    ops = import_keras().ops
    missing = ops.full((2,), float("nan"), dtype="float64")
    return ops.concatenate([_shares(output), missing if gradient is None else _shares(gradient)])


def _shares(tensor: Any) -> Any:
    return _compile_shares(tuple(tensor.shape), tensor.dtype.name)(tensor)


@lru_cache(maxsize=1024)
def _compile_shares(shape: tuple[int | None, ...], dtype: str) -> Callable[..., Any]:
    ops = import_keras().ops

    def reduce(tensor: Any) -> Any:
        size = ops.abs(tensor if dtype == "float64" else ops.cast(tensor, "float32"))
        over = ops.logical_and(size > FLOAT16_LARGEST, ops.isfinite(size))
        under = ops.logical_and(size > 0, size < FLOAT16_VANISHES)
        count = ops.cast(ops.size(size), "float64")
        counts = [ops.cast(ops.count_nonzero(each), "float64") for each in (over, under)]
        return ops.stack(counts) / count

    return compile_function(reduce, [(shape, dtype)])
