"""What becomes of weights without a gradient: a few small steps of gradient descent, and a look for rounding errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras, is_float_dtype
from initcheck.probe.measure import Loss
from initcheck.probe.weight_copies import weight_gradients

_STEP: Final = 1e-3
"""How far a step moves a weight, relative to its size: what Adam moves at its default learning rate."""

_NOISE: Final = 1e-6
"""By how much, at most, weights are changed to see which gradients are rounding errors: some units in the last place
of float32."""

_UNLIKE: Final = 0.5
"""A gradient that such a change alters by more than this share of its norm is made of rounding errors."""


def take_step(model: Any, inputs: Any, loss: Loss | None, values: Sequence[Any], still: frozenset[int]) -> list[Any]:
    """Move one draw of all weights a thousandth of their size against the gradient; return the new values.

    The size is the root mean square of the entries, or 1 / sqrt(inputs) where that is more: a weight of zero, or of
    1e-6 by design, has no size of its own. Only entries that have a gradient are moved, and their root mean square
    counts: the rows of a table that the batch names are few.

    Args:
        still: places of weights that are not moved, though they may have a gradient.
    """
    moved = [place for place in _trainable(model) if place not in still]
    updated = list(values)
    for place, gradient in zip(moved, weight_gradients(model, inputs, loss, values, moved), strict=True):
        direction = np.zeros(0) if gradient is None else np.asarray(gradient, dtype=np.float64)
        entries = np.count_nonzero(direction)
        if entries and np.isfinite(direction).all():
            value = _to_float64(values[place])
            size = max(math.sqrt(float(np.mean(value**2))), 1.0 / math.sqrt(math.prod(value.shape[:-1])))
            largest = float(np.abs(direction).max())  # squares of tiny gradients would be zero
            length = largest * math.sqrt(float(np.sum((direction / largest) ** 2)) / entries)
            changed = value - _STEP * size * direction / length
            updated[place] = import_keras().ops.convert_to_tensor(changed, dtype=model.weights[place].dtype)
    return updated


def find_rounding(
    model: Any, inputs: Any, loss: Loss | None, values: Sequence[Any], suspects: Mapping[int, str]
) -> frozenset[str]:
    """Find, among suspects by place, the weights whose gradient is nothing but rounding errors.

    All weights are changed by about a millionth. A gradient, however small, changes by about as much, rounding errors
    are others altogether. Where most gradients change (a chaotic network), nothing is known.
    """
    generator = np.random.default_rng(0)
    places = _trainable(model)
    changed = list(values)
    for place in places:
        value = _to_float64(values[place])
        noisy = value * (1.0 + generator.uniform(-_NOISE, _NOISE, size=value.shape))
        changed[place] = import_keras().ops.convert_to_tensor(noisy, dtype=model.weights[place].dtype)
    pairs = zip(
        weight_gradients(model, inputs, loss, values, places),
        weight_gradients(model, inputs, loss, changed, places),
        strict=True,
    )
    changes = {place: _relative_change(*pair) for place, pair in zip(places, pairs, strict=True)}
    others = [change for place, change in changes.items() if place not in suspects and not math.isnan(change)]
    if not others or not float(np.median(others)) < _UNLIKE / 10.0:
        return frozenset()
    return frozenset(name for place, name in suspects.items() if changes[place] > _UNLIKE)


def _relative_change(before: NDArray[Any] | None, after: NDArray[Any] | None) -> float:
    """Return by which share of its norm a gradient changes; NaN without one."""
    if before is None or after is None:
        return math.nan
    norm = float(np.linalg.norm(before.astype(np.float64)))
    return float(np.linalg.norm(after.astype(np.float64) - before)) / norm if norm else math.nan


def _trainable(model: Any) -> list[int]:
    return [place for place, weight in enumerate(model.weights) if weight.trainable and is_float_dtype(weight.dtype)]


def _to_float64(value: Any) -> NDArray[np.float64]:
    return np.asarray(import_keras().ops.convert_to_numpy(value)).astype(np.float64)
