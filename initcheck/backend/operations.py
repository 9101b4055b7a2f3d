"""The operations of one forward pass, whatever backend recorded them, and what can be read off them.

A backend says for each operation what it is to a signal; everything here is a pure function of that list, in which each
operation comes after those whose values it takes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from initcheck.core.columns import ScaleEffect

OperationKind = Literal[
    "add", "multiply", "divide", "normalize", "softmax", "log_softmax", "homogeneous", "shape", "loop", "other"
]
"""What an operation is to a signal.

``add``, ``multiply`` and ``divide`` work entry by entry; ``normalize`` takes the scale out, as the reciprocal of a root
does of what it is multiplied with; ``homogeneous`` passes a factor on, or a power of it (sums, products with weights,
ReLU, reshaping, squares); the result of ``shape`` depends on the shape of what it takes and not on the values.
"""

WeightUse = Literal["kernel", "scale", "added"]
"""How a weight meets the signal: in sums over inputs (or in any other way), entry by entry as a factor, or added."""

_WEIGHT_USES: Final[dict[OperationKind, WeightUse]] = {"add": "added", "multiply": "scale", "divide": "scale"}
_SCALE_EFFECTS: Final[dict[OperationKind, ScaleEffect]] = {
    "add": "homogeneous",
    "multiply": "homogeneous",
    "divide": "division",
    "normalize": "normalization",
    "softmax": "softmax",
    "log_softmax": "softmax",
    "homogeneous": "homogeneous",
}
_POWERS: Final[dict[float, OperationKind]] = {
    **dict.fromkeys((0.5, 1.0, 2.0), "homogeneous"),
    **dict.fromkeys((-0.5, -1.0), "normalize"),
}

Shape = tuple[int | None, ...] | None
"""Lengths of the axes, None for one that is not known; None where the number of axes is not known."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a pass.

    Attributes:
        name: its own in the pass.
        kind: see :data:`OperationKind`.
        inputs: the operations whose values it takes, in the order of its arguments.
        input_shapes: the shapes of its arguments.
        shape: the shape of its first result.
        carries_signal: whether it has a result that is neither whole numbers nor truth values.
        layer: the number of the layer call that it belongs to, the innermost one; None outside of all that have one.
    """

    name: str
    kind: OperationKind
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    carries_signal: bool = True
    layer: int | None = None


def kind_of_power(exponent: float | None) -> OperationKind:
    """Say what a power is to a signal; ``exponent`` is None where it is not known."""
    return "other" if exponent is None else _POWERS.get(exponent, "other")


def count_entries(shape: Shape) -> int | None:
    """Count the entries of a tensor of this shape; None where that is not known."""
    if shape is None or any(length is None for length in shape):
        return None
    return math.prod(length for length in shape if length is not None)


def find_reached(operations: Sequence[Operation], sources: Collection[str]) -> set[str]:
    """Name the operations that depend on one of these."""
    reached = set(sources)
    for operation in operations:
        if not reached.isdisjoint(operation.inputs):
            reached.add(operation.name)
    return reached


def read_connections(operations: Sequence[Operation]) -> dict[str, tuple[str, ...]]:
    """Find which operations take what other operations made.

    A loop, a branch and a call of another function are one operation each. What has only whole numbers or truth values
    for a result (argmax, a comparison) passes on no signal, and takes none.

    Returns:
        For each operation, by name and in the order in which they were made, the operations whose values it takes, in
        the order of its arguments.
    """
    return {each.name: each.inputs if each.kind != "shape" and each.carries_signal else () for each in operations}


def read_scale_effects(operations: Sequence[Operation]) -> dict[str, ScaleEffect]:
    """Find how each operation treats the scale of what it takes; see `ScaleEffect`."""
    return {each.name: _SCALE_EFFECTS.get(each.kind, "other") for each in operations}


def find_loops(operations: Sequence[Operation]) -> dict[str, int]:
    """Find the loops that run in a layer's call, and the number of the call."""
    return {each.name: each.layer for each in operations if each.kind == "loop" and each.layer is not None}


def find_softmaxes(operations: Sequence[Operation]) -> list[Operation]:
    """List the softmaxes over a known number of entries, two or more."""
    return [each for each in operations if each.kind == "softmax" and (_last_axis(each.shape) or 0) > 1]


def find_constant_softmaxes(operations: Sequence[Operation]) -> set[str]:
    """Name the operations that are a softmax over an axis with one entry, which gives 1."""
    return {
        each.name
        for each in operations
        if each.kind in ("softmax", "log_softmax") and _last_axis(each.input_shapes[0]) == 1
    }


def find_weight_uses(
    operations: Sequence[Operation], weights: Sequence[str], inputs: Collection[str]
) -> list[WeightUse]:
    """Find how each weight first meets what depends on the inputs.

    What is computed of weights alone before (a cast, a constant of equalized learning rates, a norm) does not count.
    Something multiplied by a larger weight entry by entry grows: that is a sum over inputs that follows later.
    """
    signal = find_reached(operations, inputs)
    carried = {weight: {place} for place, weight in enumerate(weights)}
    uses: list[set[WeightUse]] = [set() for _ in weights]
    for operation in operations:
        if operation.kind == "shape":
            continue
        held = set().union(*(carried.get(name, ()) for name in operation.inputs))
        if not held:
            continue
        if operation.name not in signal:
            carried[operation.name] = held | carried.get(operation.name, set())
            continue
        sizes = [
            count_entries(shape)
            for name, shape in zip(operation.inputs, operation.input_shapes, strict=True)
            if name in signal
        ]
        use: WeightUse = "kernel"
        if count_entries(operation.shape) in sizes:
            use = _WEIGHT_USES.get(operation.kind, "kernel")
        for place in held:
            uses[place].add(use)
    return ["kernel" if not each or "kernel" in each else "scale" if "scale" in each else "added" for each in uses]


def _last_axis(shape: Shape) -> int | None:
    return shape[-1] if shape else None
