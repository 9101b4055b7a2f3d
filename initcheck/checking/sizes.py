"""How large what the user gave is: the inputs, and the first loss compared with chance level; inputs as a cause."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.audit.findings import GivenInput, InitialLoss
from initcheck.audit.limits import Limits
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.input_specs import find_specs, flatten
from initcheck.checking.labels import find_chance_level

STANDING_OUT: Final = 10.0
"""A column this many times larger than the median column is in units of its own."""

_FEWEST_LABELS: Final = 8
"""Below this many samples the mean of the labels says little of what the best constant is."""


def measure_inputs(model: Any, inputs: Any, limits: Limits) -> tuple[GivenInput, ...]:
    """Describe the floating-point inputs, which are the first sites of a model, in order."""
    leaves = import_keras().tree.flatten(inputs)
    specs = find_specs(model)
    names = [f"input_{place}" for place in range(len(leaves))]
    if specs is not None or len(leaves) == 1:
        names = ["input"] if specs is None else [spec.name for spec in flatten(specs)]
    floating = [(name, leaf) for name, leaf in zip(names, leaves, strict=True) if leaf.dtype.kind == "f"]
    return tuple(_describe(position, name, leaf, limits) for position, (name, leaf) in enumerate(floating))


def scale_inputs(inputs: Any, given: Sequence[GivenInput]) -> Any:
    """Divide some of the inputs by their root mean square; columns that stand out each by its own, and no others."""
    keras = import_keras()
    scaled = {each.position: each for each in given}
    positions = itertools.count()

    def scale(leaf: NDArray[Any]) -> NDArray[Any]:
        found = scaled.get(next(positions)) if leaf.dtype.kind == "f" else None
        if found is None:
            return leaf
        sizes = np.full(leaf.shape[-1:] if leaf.ndim > 1 else (), 1.0 if found.columns else found.size)
        for column, size in found.columns:
            sizes[column] = size
        return np.asarray(leaf / sizes, dtype=leaf.dtype)

    return keras.tree.map_structure(scale, inputs)


def _describe(position: int, name: str, values: NDArray[Any], limits: Limits) -> GivenInput:
    rows = np.asarray(values, dtype=np.float64).reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
    sizes = np.sqrt(np.mean(np.square(rows), axis=0))
    typical = float(np.median(sizes))
    order = [int(each) for each in np.argsort(-sizes)]
    columns = tuple(
        (column, float(sizes[column]))
        for column in order
        if sizes[column] > STANDING_OUT * typical and sizes[column] ** 2 > limits.input_size
    )
    whole = math.sqrt(float(np.mean(np.square(sizes))))
    return GivenInput(position, name, whole, float(rows.min()), float(rows.max()), columns, typical)


def compare_loss(model: Any, inputs: Any, labels: Any, losses: Sequence[float], limits: Limits) -> InitialLoss | None:
    """Compare the loss of each draw with chance level; None where that cannot be known."""
    keras = import_keras()
    with preserved_random_state(), keras.StatelessScope(initialize_variables=False):
        outputs = model(inputs, training=False)
    level = find_chance_level(model, labels, outputs)
    if level is None or not (level.value > 0.0):
        return None
    if not level.of_classes and len(keras.tree.flatten(labels)[0]) < _FEWEST_LABELS:
        return None
    limit = limits.chance_ratio if level.of_classes else limits.output_size
    return InitialLoss(tuple(losses), level.value, level.at_zero, limit, level.of_classes)
