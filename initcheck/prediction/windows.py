"""The windows of a convolution: which places it sums, and the way back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from initcheck.errors import TheoryError
from initcheck.theory.pieces import Array


class Windows:
    """The windows of one convolution.

    Args:
        operation: a convolution of Keras, not transposed.
        shape: the spatial axes of its input.

    Raises:
        TheoryError: its padding is neither "same" nor "valid".
    """

    def __init__(self, operation: Any, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._kernel = tuple(operation.kernel_size)
        self._strides = tuple(operation.strides)
        self._dilation = tuple(operation.dilation_rate)
        if operation.padding not in ("same", "valid"):
            raise TheoryError(f"convolutions with padding {operation.padding!r} are not followed")
        self._before, self._padded, self._outputs = [], [], []
        for size, kernel, stride, dilation in zip(shape, self._kernel, self._strides, self._dilation, strict=True):
            extent = (kernel - 1) * dilation + 1
            if operation.padding == "same":
                outputs = -(-size // stride)
                padding = max((outputs - 1) * stride + extent - size, 0)
            else:
                outputs, padding = (size - extent) // stride + 1, 0
            self._before.append(padding // 2)
            self._padded.append(size + padding)
            self._outputs.append(outputs)

    @property
    def taps(self) -> int:
        """Number of places that a window sums."""
        return math.prod(self._kernel)

    def sum(self, values: Array) -> Array:
        """Sum over every window: shape [B, *inputs] to [B, *outputs]; places beyond the border count as zero."""
        padded = np.zeros((values.shape[0], *self._padded))
        padded[self._inside()] = values
        total = np.zeros((values.shape[0], *self._outputs))
        for offset in np.ndindex(*self._kernel):
            total += padded[self._shifted(offset)]
        return total

    def spread(self, values: Array) -> Array:
        """Sum at every input what the windows that it is in hold: shape [B, *outputs] to [B, *inputs]."""
        padded = np.zeros((values.shape[0], *self._padded))
        for offset in np.ndindex(*self._kernel):
            padded[self._shifted(offset)] += values
        return np.asarray(padded[self._inside()])

    def _inside(self) -> tuple[slice, ...]:
        spans = (slice(before, before + size) for before, size in zip(self._before, self._shape, strict=True))
        return slice(None), *spans

    def _shifted(self, offset: tuple[int, ...]) -> tuple[slice, ...]:
        spans = []
        for step, stride, dilation, outputs in zip(offset, self._strides, self._dilation, self._outputs, strict=True):
            start = step * dilation
            spans.append(slice(start, start + (outputs - 1) * stride + 1, stride))
        return slice(None), *spans
