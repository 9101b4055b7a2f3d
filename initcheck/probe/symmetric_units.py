"""Units of one layer that are initialized alike and are updated alike."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.probe.layer_kinds import UnitWeights, list_unit_weights
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.probe.weights import WeightFacts

Array = NDArray[Any]
GradientSource = Callable[[Sequence[int]], Sequence[Array | None]]
"""From positions in ``model.weights`` to the gradients of these weights; None where no path leads to the loss."""

_LOOKED_AT_FIRST: Final = 8
"""Incoming weights of each unit that are compared at first: units that differ in none of them are compared in full."""
_CHUNK: Final = 256
"""Units that are copied at a time."""
_TOLERANCE: Final = {"float16": 1e-2, "bfloat16": 5e-2}
_SINGLE_TOLERANCE: Final = 1e-4
"""Of gradients of alike units, relative to the largest: sums of the same numbers in another order differ by this."""


@dataclass(frozen=True)
class UnitClass:
    """Units that are alike."""

    block: int
    units: tuple[int, ...]
    gradients: Literal["equal", "zero", "unknown"]


@dataclass(frozen=True)
class SymmetricUnits:
    """One layer with units that are alike.

    Attributes:
        initializer: initializer of the first of them, in words; empty where not known.
    """

    layer: str
    kind: str
    weights: tuple[str, ...]
    initializer: str
    word: str
    units: int
    alike: int
    largest: int
    gradients: Literal["equal", "zero", "unknown"]


def find_symmetric_units(
    model: Any,
    weights: Sequence[WeightFacts],
    values: Callable[[int], Array],
    gradients: GradientSource | None = None,
) -> tuple[SymmetricUnits, ...]:
    """Find the layers with units whose incoming weights are equal, and their gradients as well.

    Layers whose weights are all frozen are left out: training is not meant to make their units differ.
    """
    places = {id(variable): place for place, variable in enumerate(model.weights)}
    pending = []
    for path, layer in PathNamer(model).members():
        for units in list_unit_weights(layer, [each for each in own_variables(layer) if id(each) in places]):
            if any(each.trainable for each in units.variables):
                positions = [places[id(each)] for each in units.variables]
                classes = _find_classes(units, [values(place) for place in positions])
                pending += [(path, layer, units, positions, classes)] if classes else []
    needed = sorted({place for _, _, _, positions, _ in pending for place in positions})
    given = dict(zip(needed, gradients(needed), strict=True)) if gradients is not None and needed else {}
    found = []
    for path, layer, units, positions, classes in pending:
        if gradients is None:
            alike = [UnitClass(block, members, "unknown") for block, members in classes]
        else:
            alike = _keep_equal_gradients(units, classes, [given[place] for place in positions])
        if alike:
            found.append(_summarize(path, type(layer).__name__, units, [weights[place] for place in positions], alike))
    return tuple(found)


def _summarize(
    path: str, kind: str, units: UnitWeights, weights: Sequence[WeightFacts], alike: Sequence[UnitClass]
) -> SymmetricUnits:
    largest = max(alike, key=lambda each: len(each.units))
    blocks, _, in_block = units.arrange[0](np.broadcast_to(np.False_, weights[0].shape)).shape
    return SymmetricUnits(
        layer=path,
        kind=kind,
        weights=tuple(each.path for each in weights),
        initializer=weights[0].initializer,
        word=units.word,
        units=blocks * in_block,
        alike=sum(len(each.units) for each in alike),
        largest=len(largest.units),
        gradients=largest.gradients,
    )


def _find_classes(candidate: UnitWeights, values: Sequence[Array]) -> list[tuple[int, tuple[int, ...]]]:
    """Find the units with equal incoming weights, bit for bit (but for the sign of zero)."""
    arranged = [arrange(_plain(each)) for arrange, each in zip(candidate.arrange, values, strict=True)]
    blocks, _, units = arranged[0].shape
    if units < 2 or not all(each.shape[1] for each in arranged):
        return []
    first = [np.moveaxis(each[:, :_LOOKED_AT_FIRST], 1, 2).reshape(blocks * units, -1) for each in arranged]
    marks = np.repeat(np.arange(blocks, dtype=np.float64), units)[:, None]
    heads = np.ascontiguousarray(np.concatenate([marks, *first], axis=1, dtype=np.float64) + 0.0)
    rows = heads.view(np.dtype((np.void, heads.shape[1] * heads.itemsize))).ravel()
    _, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True)
    found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    doubtful = np.flatnonzero(counts[inverse.ravel()] > 1)
    for block in np.unique(doubtful // units):
        members = doubtful[doubtful // units == block] % units
        for chunk in np.split(members, range(_CHUNK, len(members), _CHUNK)):
            pieces = [np.ascontiguousarray(each[block][:, chunk].T) + 0.0 for each in arranged]
            for row, unit in enumerate(chunk):
                digest = hashlib.blake2b(digest_size=16)
                for piece in pieces:
                    digest.update(piece[row].tobytes())
                found[int(block), digest.digest()].append(int(unit))
    return [(block, tuple(alike)) for (block, _), alike in found.items() if len(alike) > 1]


def _keep_equal_gradients(
    candidate: UnitWeights, classes: Sequence[tuple[int, tuple[int, ...]]], gradients: Sequence[Array | None]
) -> list[UnitClass]:
    """Keep the classes of units with equal incoming weights whose gradients are equal too.

    A class is kept as a whole or not at all: where the gradients of some of its units differ, all can differ, and
    the rest is a matter of the batch (the units of a head of zeros whose classes the batch does not hold).

    Returns:
        The classes whose gradients agree within rounding. No class where a weight has no path to the loss: it is
        unused, which is another finding; no class where a gradient is not finite. Rows of a table that the batch does
        not name have no gradients of their own: they are left out of their class, unless the whole table has none.
    """
    known = [each for each in gradients if each is not None]
    if len(known) < len(gradients):
        return []
    rounding = max(_TOLERANCE.get(each.dtype.name, _SINGLE_TOLERANCE) for each in known)
    arranged = [arrange(_plain(each)) for arrange, each in zip(candidate.arrange, known, strict=True)]
    only_named = candidate.looked_up and any(bool(np.any(each)) for each in arranged)
    found = []
    for block, units in classes:
        members = np.asarray(units)
        if only_named:
            members = members[np.any([np.any(each[block][:, members], axis=0) for each in arranged], axis=0)]
        largest = max((float(np.max(np.abs(each[block][:, members]), initial=0.0)) for each in arranged), default=0.0)
        if len(members) > 1 and _are_equal([each[block] for each in arranged], members, rounding * largest):
            found.append(UnitClass(block, tuple(map(int, members)), "equal" if largest > 0.0 else "zero"))
    return found


def _are_equal(gradients: Sequence[Array], members: Array, slack: float) -> bool:
    """Return whether columns are equal within a slack; by chunks, since all of a layer's units may be members."""
    return all(
        bool(np.all(np.abs(each[:, chunk] - each[:, members[:1]]) <= slack))  # NaN and infinity are not equal
        for each in gradients
        for chunk in np.split(members, range(_CHUNK, len(members), _CHUNK))
    )


def _plain(values: Array) -> Array:
    """Make numbers that NumPy can sort of those of bfloat16 and float16."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
