"""What can be learned of an activation function by calling it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import outside_trace

FAR = 1e6
"""Where a bounded activation has reached its ends (softsign is within 1e-6 of them)."""


def find_bounds(activation: Callable[..., Any] | None) -> tuple[float, float] | None:
    """Find the two ends of the range of a bounded activation, by calling it far out on both sides.

    Args:
        activation: a function of a tensor.

    Returns:
        (low, high), or None for a function that is unbounded, has one limit on both sides, mixes its
        inputs (softmax), or cannot be called on a small matrix.
    """
    if activation is None:
        return None
    probes = np.asarray([[-FAR, FAR, 0.0], [-FAR, FAR, 2.0 * FAR]], dtype=np.float32)
    with outside_trace():
        try:
            values = np.asarray(import_keras().ops.convert_to_numpy(activation(probes)), dtype=np.float64)
        except Exception:  # noqa: BLE001 - any function a user wrote: one that needs other inputs has no known range
            return None
    if values.shape != probes.shape or not np.array_equal(values[0, :2], values[1, :2]):
        return None
    low, high = sorted(values[0, :2].tolist())
    if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > math.sqrt(FAR) or low == high:
        return None
    return round(low, 5), round(high, 5)
