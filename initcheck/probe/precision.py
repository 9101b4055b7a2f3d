"""The share of values that are out of float16's range, counted only on request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import choose, compile_function
from initcheck.probe.reduce_forward import count_true

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
    ops = import_keras().ops
    rows = ops.shape(tensor)[0] if len(tensor.shape) > 1 else 1
    return _compile_shares(tensor.dtype.name, vanishes)(ops.reshape(tensor, (rows, -1)))


@lru_cache(maxsize=1024)
def _compile_shares(dtype: str, vanishes: float) -> Callable[..., Any]:
    """Compile the count over a tensor of two axes, of any size: few functions serve all sites."""
    ops = import_keras().ops

    def reduce(tensor: Any) -> Any:
        size = ops.abs(tensor if dtype == "float64" else ops.cast(tensor, "float32"))
        count = ops.cast(ops.size(size), "float64")
        under = count_true(size < vanishes) - count_true(ops.equal(size, 0))
        # Most tensors are finite and within the range: the sum and the largest show it in fewer passes than counting.
        inside = ops.logical_and(ops.isfinite(ops.sum(size)), ops.max(size) <= FLOAT16_LARGEST)
        over = choose(inside, lambda: ops.zeros((), "float64"), lambda: _share_above(size))
        return ops.stack([over, under / count])

    return compile_function(reduce, [((None, None), dtype)])


def _share_above(size: Any) -> Any:
    """Find the share of the finite elements that are too large; undefined, 0 / 0, without one."""
    ops = import_keras().ops
    finite = ops.isfinite(size)
    return count_true(ops.logical_and(size > FLOAT16_LARGEST, finite)) / count_true(finite)
