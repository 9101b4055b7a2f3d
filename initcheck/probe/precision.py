"""The share of values that are out of float16's range, counted only on request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import compile_function

FLOAT16_LARGEST: Final = 65504.0
FLOAT16_VANISHES: Final = 2.0**-25
"""Half of float16's smallest number, 2^-24: what is smaller rounds to zero."""
LOSS_SCALE: Final = 2.0**15
"""What Keras' LossScaleOptimizer multiplies the loss by at first: gradients in float16 are always scaled."""


def reduce_range(output: Any, gradient: Any | None) -> Any:
    """Count what float16 cannot hold: shares above its largest number, and below what it rounds to zero.

    Tensors that are float16 themselves have neither: what they cannot hold is infinite or zero already.

    Returns:
        float64 tensor: overflow and underflow of the output, then of the gradient; NaN without a gradient.
    """
    ops = import_keras().ops
    missing = ops.full((2,), float("nan"), dtype="float64")
    vanishes = FLOAT16_VANISHES / LOSS_SCALE
    shares = missing if gradient is None else _shares(gradient, vanishes)
    return ops.concatenate([_shares(output, FLOAT16_VANISHES), shares])


def _shares(tensor: Any, vanishes: float) -> Any:
    return _compile_shares(tuple(tensor.shape), tensor.dtype.name, vanishes)(tensor)


@lru_cache(maxsize=1024)
def _compile_shares(shape: tuple[int | None, ...], dtype: str, vanishes: float) -> Callable[..., Any]:
    ops = import_keras().ops

    def reduce(tensor: Any) -> Any:
        size = ops.abs(tensor if dtype == "float64" else ops.cast(tensor, "float32"))
        over = ops.logical_and(size > FLOAT16_LARGEST, ops.isfinite(size))
        under = ops.logical_and(size > 0, size < vanishes)
        over, under, finite = (_count(each) for each in (over, under, ops.isfinite(size)))
        # Without a finite element the share of what overflows is undefined: 0 / 0.
        return ops.stack([over / finite, under / ops.cast(ops.size(size), "float64")])

    return compile_function(reduce, [(shape, dtype)])


def _count(condition: Any) -> Any:
    ops = import_keras().ops
    return ops.cast(ops.count_nonzero(condition), "float64")
