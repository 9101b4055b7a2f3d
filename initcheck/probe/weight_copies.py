"""Weights that hold the same numbers though they are not one weight, and units of a layer that are alike.

What counts is what the weights hold: an initializer that was given an integer seed, or one instance in several
places, draws the same numbers each time, and a redraw by seed would hide it.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.interface import backend
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import dtype_name, import_keras, is_float_dtype
from initcheck.core.formatting import format_names
from initcheck.probe.layer_kinds import UnitWeights, list_unit_weights
from initcheck.probe.measure import Loss, random_loss
from initcheck.probe.paths import PathNamer, own_variables
from initcheck.probe.weights import WeightFacts

Array = NDArray[Any]

FEWEST: Final = 16
"""Entries that have to agree, and the fewest that a weight must have to be compared."""
FEWEST_VALUES: Final = 8
"""Different values that the first entries of a weight must have: constants and identities are no draws."""
_BLOCK: Final = 1024


@dataclass(frozen=True)
class CopyGroup:
    """Weights that hold the same numbers.

    Attributes:
        relation: "identical" (all entries equal, in the order in which they are drawn), "proportional" (all are
            multiples of the first weight's), "transposed" (a matrix and its transpose, or a multiple), or "prefix"
            (the longest common beginning in the order in which they are drawn, or a multiple of it).
        also: paths of further weights that are whole copies or multiples of one of the members, where those are named
            in a group of their own.
        cause: why, as far as the initializers say; empty where they do not.
        same_shape: for each member whether it has the shape of the first.
    """

    relation: Literal["identical", "proportional", "transposed", "prefix"]
    members: tuple[str, ...]
    also: tuple[str, ...]
    entries: int
    share: float
    factors: tuple[float, ...]
    cause: str
    same_shape: tuple[bool, ...]
    attention: tuple[str, ...]


@dataclass(frozen=True)
class WeightComparison:
    """What a comparison of all weights found."""

    copies: tuple[CopyGroup, ...]
    symmetric: tuple[SymmetricUnits, ...]
    compared: int


def compare_weights(
    model: Any,
    weights: Sequence[WeightFacts],
    inputs: Any = None,
    loss: Loss | None = None,
    values: Sequence[Array] | None = None,
    later: Sequence[Any] | None = None,
) -> WeightComparison:
    """Compare all weights of a model with each other, and the units of each layer. The model is not changed.

    Not compared with others are weights with fewer than 16 entries or fewer than 8 different values among the first 16,
    and those whose initializer is not random (Identity among them): they are alike on purpose. Without inputs units are
    judged by their incoming weights alone, without values the model's own weights are compared.

    Args:
        later: what the weights are after some steps of training: units whose gradients are zero are compared then too.
    """
    read = _Reader(model, values)
    copies, compared = _find_copies(weights, read)

    def differentiate(positions: Sequence[int]) -> list[Array | None]:
        return weight_gradients(model, inputs, loss, values, positions)

    def differentiate_later(positions: Sequence[int]) -> list[Array | None]:
        return weight_gradients(model, inputs, loss, later, positions)

    symmetric = find_symmetric_units(
        model,
        weights,
        read.whole,
        None if inputs is None else differentiate,
        None if inputs is None or later is None else differentiate_later,
    )
    return WeightComparison(copies, symmetric, compared)


def weight_gradients(
    model: Any,
    inputs: Any,
    loss: Loss | None = None,
    values: Sequence[Any] | None = None,
    positions: Sequence[int] | None = None,
) -> list[Array | None]:
    """Differentiate a loss with respect to weights, all or some; None where no path leads to the loss."""
    keras = import_keras()
    wanted = range(len(model.weights)) if positions is None else positions
    with preserved_random_state():
        held = [each.value for each in model.weights] if values is None else values
        tensors = [keras.ops.convert_to_tensor(each) for each in held]
        floating = [place for place in wanted if is_float_dtype(tensors[place].dtype)]
        sources = [tensors[place] for place in floating]

        def compute_loss(given: Sequence[Any]) -> tuple[Any, None]:
            replaced = dict(zip(floating, given, strict=True))
            state = [(each, replaced.get(place, tensors[place])) for place, each in enumerate(model.weights)]
            with keras.StatelessScope(state, initialize_variables=False):
                outputs = model(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs), training=True)
                return (loss or random_loss)(outputs), None

        found = dict(zip(floating, backend().differentiate(compute_loss, sources).gradients, strict=True))
    gradients = [found.get(place) for place in wanted]
    return [None if each is None else backend().as_array(each) for each in gradients]


class _Reader:
    """Reads values of weights, one weight at a time, or only their first entries."""

    def __init__(self, model: Any, values: Sequence[Array] | None) -> None:
        self._variables = model.weights
        self._values = values

    def whole(self, place: int) -> Array:
        held = self._variables[place].value if self._values is None else self._values[place]
        return backend().as_array(held)

    def first(self, place: int, transposed: bool = False) -> Array:
        """Return the first 16 entries in the order of drawing, or of the transpose of a matrix."""
        ops = import_keras().ops
        held = ops.convert_to_tensor(self._variables[place].value if self._values is None else self._values[place])
        if transposed:
            held = ops.transpose(held[:, : -(-FEWEST // held.shape[0])])
        elif len(held.shape) > 1:  # sliced before it is flattened, which may copy it
            held = held[: -(-FEWEST // max(1, math.prod(held.shape[1:])))]
        return backend().as_array(ops.reshape(held, (-1,))[:FEWEST]).astype(np.float64)


def _find_copies(weights: Sequence[WeightFacts], read: _Reader) -> tuple[tuple[CopyGroup, ...], int]:
    places = [place for place, each in enumerate(weights) if _is_comparable(each)]
    heads = {place: read.first(place) for place in places}
    places = [place for place in places if _is_drawn(heads[place])]
    groups: list[CopyGroup] = []
    for cluster in _cluster_heads(weights, places, np.asarray([heads[place] for place in places])):
        groups += _resolve(weights, read, cluster)
    groups += _find_transposed(weights, read, places, heads)
    return tuple(groups), len(places)


def _is_comparable(weight: WeightFacts) -> bool:
    size = math.prod(weight.shape)
    return "float" in weight.dtype and size >= FEWEST and not weight.constant


def _is_drawn(head: Array) -> bool:
    return bool(np.all(np.isfinite(head))) and len(np.unique(head)) >= FEWEST_VALUES


def _rounding(weights: Sequence[WeightFacts], places: Sequence[int]) -> float:
    """The largest error of an entry that is a multiple of another one, relative to the largest entry."""
    by_dtype = {"float64": 2.0**-49, "float32": 2.0**-20, "float16": 2.0**-8, "bfloat16": 2.0**-5}
    return max(by_dtype.get(weights[place].dtype, 2.0**-2) for place in places)


def _match_heads(a: Array, b: Array, rounding: Array) -> Iterator[tuple[int, Array]]:
    """Compare the first entries of weights, shape [n, 16], with those of others, by blocks of one matrix product.

    Yields the first row of a block, and for each row of it and each row of b whether one is a multiple of the other.
    """
    # Without their means: draws around a common mean are nearly parallel, and not copies.
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    for start in range(0, len(a), _BLOCK):
        cosine = np.abs(a[start : start + _BLOCK] @ b.T)
        # Errors of that size in each of 16 entries turn the vector by an angle t of at most four times as much, and
        # 1 - cos t = t^2 / 2. By chance not even one pair in 10^13 of bfloat16 is as near, of float32 in 10^70.
        angle = 4.0 * np.maximum(rounding[start : start + _BLOCK, None], rounding[None, :])
        yield start, cosine >= 1.0 - np.maximum(angle**2 / 2.0, 1e-13)


def _cluster_heads(weights: Sequence[WeightFacts], places: list[int], heads: Array) -> list[list[int]]:
    """Group the weights whose first 16 entries are proportional."""
    if len(places) < 2:
        return []
    rounding = np.asarray([_rounding(weights, [place]) for place in places])
    clusters: dict[int, list[int]] = {}
    for start, match in _match_heads(heads, heads, rounding):
        for row, first in enumerate(np.argmax(match, axis=1)):
            clusters.setdefault(int(first), []).append(places[start + row])
    return [members for members in clusters.values() if len(members) > 1]


def _resolve(weights: Sequence[WeightFacts], read: _Reader, cluster: list[int]) -> list[CopyGroup]:
    """Separate whole copies from common beginnings among weights with proportional first entries."""
    size = {place: math.prod(weights[place].shape) for place in cluster}
    # Nothing is kept but places: two weights at a time are read, compared and let go.
    contents: list[tuple[list[int], list[float]]] = []
    for place in cluster:
        values = read.whole(place).ravel()
        for members, factors in contents:
            if size[members[0]] != size[place]:
                continue
            length, factor = _common_beginning(
                read.whole(members[0]).ravel(), values, _rounding(weights, [members[0], place])
            )
            if length == size[place]:
                members.append(place)
                factors.append(factor)
                break
        else:
            contents.append(([place], [1.0]))
    groups = [
        _group(
            weights, "identical" if set(factors) == {1.0} else "proportional", members, factors, size[members[0]], ()
        )
        for members, factors in contents
        if len(members) > 1
    ]
    if len(contents) > 1:
        longest = max(contents, key=lambda content: size[content[0][0]])[0][0]
        reference = read.whole(longest).ravel()
        shared, kept, further = [], [], []
        for members, _ in contents:
            length, factor = _common_beginning(
                reference, read.whole(members[0]).ravel(), _rounding(weights, [longest, members[0]])
            )
            if length >= FEWEST:
                shared.append((members[0], length, factor))
                kept.append(members[0])
                further += members[1:]
        if len(shared) > 1:
            first = shared[0][2]
            factors = [factor / first for _, _, factor in shared]
            # Of several lengths the longest one that two of them have in common says most.
            entries = max(length for place, length, _ in shared if place != longest)
            groups.append(_group(weights, "prefix", kept, factors, entries, further))
    return groups


def _common_beginning(a: Array, b: Array, rounding: float) -> tuple[int, float]:
    """Measure how many first entries of b are those of a times a factor, and the factor: 1 where they are equal."""
    length = min(len(a), len(b))
    a, b = a[:length], b[:length]
    if np.array_equal(a, b):
        return length, 1.0
    head = a[:FEWEST].astype(np.float64)
    factor = float(head @ b[:FEWEST].astype(np.float64) / (head @ head))
    if np.array_equal(a[:FEWEST], b[:FEWEST]):
        factor = 1.0
    reached = 0
    for start in range(0, length, _BLOCK**2):
        expected = factor * a[start : start + _BLOCK**2].astype(np.float64)
        given = b[start : start + _BLOCK**2].astype(np.float64)
        scale = max(abs(factor) * float(np.max(np.abs(a[:FEWEST]))), 1e-300)
        different = np.flatnonzero(~(np.abs(expected - given) <= rounding * np.maximum(np.abs(expected), scale)))
        if len(different):
            return reached + int(different[0]), factor
        reached += len(given)
    return reached, factor


def _find_transposed(
    weights: Sequence[WeightFacts], read: _Reader, places: list[int], heads: dict[int, Array]
) -> list[CopyGroup]:
    matrices = [place for place in places if len(weights[place].shape) == 2]
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place in matrices:
        by_shape.setdefault(weights[place].shape, []).append(place)
    turned = [place for place in matrices if weights[place].shape[::-1] in by_shape and 1 not in weights[place].shape]
    if len(turned) < 2:
        return []
    flipped = np.asarray([read.first(place, transposed=True) for place in turned])
    drawn = [index for index, head in enumerate(flipped) if _is_drawn(head)]
    turned, flipped = [turned[index] for index in drawn], flipped[drawn]
    if len(turned) < 2:
        return []
    plain = np.asarray([heads[place] for place in turned])
    rounding = np.asarray([_rounding(weights, [place]) for place in turned])
    pairs = {
        (min(turned[start + row], turned[column]), max(turned[start + row], turned[column]))
        for start, match in _match_heads(flipped, plain, rounding)
        for row, column in np.argwhere(match)
    }
    groups = []
    for first, second in sorted(pairs):
        if first == second or weights[first].shape != weights[second].shape[::-1]:
            continue
        values = read.whole(second)
        length, factor = _common_beginning(
            np.ascontiguousarray(read.whole(first).T).ravel(), values.ravel(), _rounding(weights, [first, second])
        )
        if length == values.size:
            groups.append(_group(weights, "transposed", [first, second], [1.0, factor], length, ()))
    return groups


def _group(
    weights: Sequence[WeightFacts],
    relation: Literal["identical", "proportional", "transposed", "prefix"],
    places: Sequence[int],
    factors: Sequence[float],
    entries: int,
    also: Sequence[int],
) -> CopyGroup:
    members = [weights[place] for place in places]
    largest = max(math.prod(each.shape) for each in members)
    parents = {each.layer.rpartition("/")[0] for each in members}
    projections = [each.role.partition(" ")[0] for each in members]
    attention = len(parents) == 1 and all(each in ("query", "key", "value", "output") for each in projections)
    return CopyGroup(
        relation=relation,
        members=tuple(each.path for each in members),
        also=tuple(weights[place].path for place in also),
        entries=entries,
        share=entries / largest,
        factors=tuple(factors),
        cause=_explain([*members, *(weights[place] for place in also)]),
        same_shape=tuple(each.shape == members[0].shape for each in members),
        attention=tuple(projections) if attention else (),
    )


def _explain(members: Sequence[WeightFacts]) -> str:
    """Say why the initializers of some weights draw the same numbers; empty where that is not known."""
    if any(each.seed is None or not each.initializer for each in members):
        return ""
    seeds = [each.seed for each in members if each.seed is not None]
    if len({seed % backend().seed_period for seed in seeds}) > 1:
        return ""
    names = list(dict.fromkeys(_name_with_seed(each) for each in members))
    if not any(each.seed_given for each in members):
        if len({each.instance for each in members}) == 1:
            return f"one instance of {names[0]} draws all of them, and the same numbers each time"
        return (
            f"their instances of {format_names(names)} have equal automatic seeds: the global seed was set again "
            "between them (keras.utils.set_random_seed), or an instance was copied"
        )
    if len(names) == 1:
        return f"all drawn by {names[0]}"
    return f"drawn by {', '.join(names[:-1])} and {names[-1]}, whose equal seeds give the same random numbers"


def _name_with_seed(weight: WeightFacts) -> str:
    if not weight.seed_given:
        return weight.initializer
    seed = f"SeedGenerator({weight.seed})" if weight.seed_given == "generator" else str(weight.seed)
    stem, _, arguments = weight.initializer.partition("(")
    inside = f"{arguments[:-1]}, seed={seed}" if arguments else f"seed={seed}"
    return f"{stem}({inside})"


# --- units of a layer that are alike --------------------------------------------------------------------------------

GradientSource = Callable[[Sequence[int]], Sequence[Array | None]]
"""From positions in ``model.weights`` to the gradients of these weights; None where no path leads to the loss."""

_LOOKED_AT_FIRST: Final = 8
"""Incoming weights of each unit that are compared at first: units that differ in none of them are compared in full."""
_CHUNK: Final = 256
"""Units that are copied at a time."""
_TOLERANCE: Final = {"float16": 1e-2, "bfloat16": 5e-2}
_SINGLE_TOLERANCE: Final = 1e-4
"""Of gradients of alike units, relative to the largest: sums of the same numbers in another order differ by this."""
_NEGLIGIBLE: Final = 1e-6
"""What gradients differ by is rounding errors, too, below this share of the median over the kernels of the model."""

UnitGradients = Literal["equal", "negligible", "zero", "unknown"]


@dataclass(frozen=True)
class UnitClass:
    """Units that are alike."""

    units: tuple[int, ...]
    gradients: UnitGradients


@dataclass(frozen=True)
class SymmetricUnits:
    """One layer with units that are alike; the initializer is that of the first weight, in words.

    Attributes:
        classes: how many different units are among those that are alike.
    """

    layer: str
    kind: str
    weights: tuple[str, ...]
    initializer: str
    word: str
    units: int
    alike: int
    largest: int
    gradients: UnitGradients
    classes: int = 1


def find_symmetric_units(
    model: Any,
    weights: Sequence[WeightFacts],
    values: Callable[[int], Array],
    gradients: GradientSource | None = None,
    later_gradients: GradientSource | None = None,
) -> tuple[SymmetricUnits, ...]:
    """Find the layers, unless they are frozen, with units whose incoming weights and gradients are equal.

    Where the gradients are zero, those after some steps of training decide, if they are given.
    """
    places = {id(variable): place for place, variable in enumerate(model.weights)}
    pending = []
    namer = PathNamer(model)
    for _, layer in namer.members():
        for units in list_unit_weights(layer, [each for each in own_variables(layer) if id(each) in places]):
            # Whole numbers are quantized: two of four bits lie in one entry, so that no two units differ.
            if any(each.trainable for each in units.variables) and all(
                is_float_dtype(v.dtype) for v in units.variables
            ):
                positions = [places[id(each)] for each in units.variables]
                classes = _find_classes(units, [values(place) for place in positions])
                pending += [(namer.name_of(layer), layer, units, positions, classes)] if classes else []
    # Of all weights that learn, not only of those in doubt: rounding errors are small beside the others' gradients.
    learning = [place for place, each in enumerate(model.weights) if each.trainable and pending]
    needed = sorted({*learning, *(place for _, _, _, positions, _ in pending for place in positions)})
    given = dict(zip(needed, gradients(needed), strict=True)) if gradients is not None and needed else {}
    later: dict[int, Array | None] = {}
    found = []
    for name, layer, units, positions, classes in pending:
        if gradients is None:
            alike = [UnitClass(members, "unknown") for _, members in classes]
        else:
            alike = _keep_equal_gradients(units, classes, [given.get(place) for place in positions], _negligible(given))
            if later_gradients is not None and any(each.gradients != "equal" for each in alike):
                later = later or dict(zip(needed, later_gradients(needed), strict=True))
                still = _keep_equal_gradients(
                    units, classes, [later.get(place) for place in positions], _negligible(later)
                )
                alike = [each for each in alike if each.units in {kept.units for kept in still}]
        if alike:
            found.append(_summarize(name, type(layer).__name__, units, [weights[place] for place in positions], alike))
    return tuple(found)


def _summarize(
    name: str, kind: str, units: UnitWeights, weights: Sequence[WeightFacts], alike: Sequence[UnitClass]
) -> SymmetricUnits:
    largest = max(alike, key=lambda each: len(each.units))
    blocks, _, in_block = units.arrange[0](np.broadcast_to(np.False_, weights[0].shape)).shape
    return SymmetricUnits(
        layer=name,
        kind=kind,
        weights=tuple(each.path for each in weights),
        initializer=weights[0].initializer,
        word=units.word,
        units=blocks * in_block,
        alike=sum(len(each.units) for each in alike),
        largest=len(largest.units),
        gradients=largest.gradients,
        classes=len(alike),
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
    candidate: UnitWeights,
    classes: Sequence[tuple[int, tuple[int, ...]]],
    gradients: Sequence[Array | None],
    negligible: float,
) -> list[UnitClass]:
    """Keep the classes of units with equal incoming weights whose gradients are equal too, within rounding.

    A class is kept as a whole or not at all: where the gradients of some of its units differ, all can differ, and the
    rest is a matter of the batch (the units of a head of zeros whose classes the batch does not hold). Rows of a table
    that the batch does not name are left out of their class, unless the whole table has no gradients.
    """
    known = [each for each in gradients if each is not None]
    if len(known) < len(gradients):
        return []
    rounding = max(_TOLERANCE.get(dtype_name(each), _SINGLE_TOLERANCE) for each in known)
    arranged = [arrange(_plain(each)) for arrange, each in zip(candidate.arrange, known, strict=True)]
    only_named = candidate.looked_up and any(bool(np.any(each)) for each in arranged)
    found = []
    for block, units in classes:
        members = np.asarray(units)
        if only_named:
            members = members[np.any([np.any(each[block][:, members], axis=0) for each in arranged], axis=0)]
        largest = max((float(np.max(np.abs(each[block][:, members]), initial=0.0)) for each in arranged), default=0.0)
        slack = max(rounding * largest, negligible)
        if len(members) > 1 and _are_equal([each[block] for each in arranged], members, slack):
            kind: UnitGradients = "zero" if largest == 0.0 else "negligible" if largest <= negligible else "equal"
            found.append(UnitClass(tuple(map(int, members)), kind))
    return found


def _negligible(gradients: Mapping[int, Array | None]) -> float:
    """Return how large rounding errors may be beside the gradients of a model."""
    kernels = [each.astype(np.float64) for each in gradients.values() if each is not None and each.ndim > 1]
    sizes = [size for size in (float(np.sqrt(np.mean(np.square(each)))) for each in kernels) if size > 0.0]
    return _NEGLIGIBLE * float(np.median(sizes)) if sizes else 0.0


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
