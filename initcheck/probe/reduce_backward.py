"""One site's gradients and kernel as a few sums, in float32 or in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from initcheck.keras_runtime import import_keras
from initcheck.probe.moments import careful_moments, mean, mean_square

BACKWARD_TENSORS: Final = ("gradient", "weight_gradient", "weight")

BACKWARD_PARTS: Final = (
    "gradient_square",
    "weight_gradient_square",
    "weight_shift",
    "weight_mean",
    "weight_square",
)


def reduce_backward_quickly(given: Mapping[str, Any]) -> tuple[Any, list[tuple[Any, Any | None]]]:
    """Take all sums in float32.

    Args:
        given: by name what a site has of ``gradient`` (dL/dz, or dL/dh without a z), ``weight``, ``weight_gradient``.

    Returns:
        float64 tensor of shape [len(BACKWARD_PARTS)], NaN for a part that has no tensor; and what ``moments.trust``
        judges it by.
    """
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    squares: list[tuple[Any, Any | None]] = []
    for name in BACKWARD_TENSORS:
        if name not in given:
            continue
        tensor, square_of_mean = ops.cast(given[name], "float32"), None
        if name == "weight":
            parts["weight_shift"] = np.float64(0.0)
            parts["weight_mean"] = mean(tensor)
            square_of_mean = ops.square(parts["weight_mean"])
        parts[f"{name}_square"] = mean_square(tensor)
        squares.append((parts[f"{name}_square"], square_of_mean))
    return _stack(parts), squares


def reduce_backward_carefully(given: Mapping[str, Any]) -> Any:
    """Take all sums in float64; see :func:`reduce_backward_quickly`."""
    ops = import_keras().ops
    parts: dict[str, Any] = {}
    for name in BACKWARD_TENSORS:
        if name not in given:
            continue
        if name == "weight":
            parts["weight_shift"], parts["weight_mean"], parts["weight_square"] = careful_moments(given[name])
        else:
            parts[f"{name}_square"] = mean_square(ops.cast(given[name], "float64"))
    return _stack(parts)


def _stack(parts: Mapping[str, Any]) -> Any:
    ops = import_keras().ops
    return ops.stack([ops.cast(parts.get(name, np.float64(np.nan)), "float64") for name in BACKWARD_PARTS])
