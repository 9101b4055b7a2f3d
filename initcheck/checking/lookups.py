"""Which inputs are indices into the tables of a model, and how far they may go.

Neither the dtype of an input (``keras.Input((7,))`` is a float even before an Embedding) nor the graph says (a
subclassed model has none, and a layer may hold an Embedding of tokens beside one of positions). So the model is run, on
two batches that differ in one input alone: an input that changes what an Embedding looks up is an input of indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.checking.load_model import RaisedError, run_user_code
from initcheck.probe.layer_kinds import count_rows
from initcheck.probe.paths import PathNamer


@dataclass(frozen=True, eq=False)
class Lookup:
    """One call of a layer that looks up rows.

    Attributes:
        indices: what was looked up; None where it cannot be read.
    """

    path: str
    rows: int
    padding: bool
    indices: NDArray[Any] | None


@dataclass(frozen=True)
class IndexRange:
    """The whole numbers that an input of indices may take."""

    low: int
    high: int
    layers: tuple[str, ...]
    padding: bool


def looks_up(model: Any) -> bool:
    """Tell whether any layer of a model looks up rows by index."""
    return bool(_tables(model))


def record_lookups(model: Any, inputs: Any) -> list[Lookup]:
    """Run a built model once, eagerly and without changing it, and record what it looks up."""
    keras = import_keras()
    lookups: list[Lookup] = []
    with (
        # An index out of range, as a rule; whoever measures the model will hear of anything else.
        suppress(RaisedError),
        _watched(model, lookups),
        preserved_random_state(),
        keras.StatelessScope(initialize_variables=False),
    ):
        run_user_code(lambda: model(inputs, training=False))
    return lookups


def find_ranges(model: Any, count: int, build: Callable[[int | None], Any]) -> dict[int, IndexRange]:
    """Find the inputs that are indices.

    Returns:
        For the position of each input that changes what is looked up: the numbers for which every look-up is in range,
        by all the tables that it reaches. An offset between input and index, as one table for several features needs
        it, is allowed for.
    """
    if not looks_up(model):
        return {}
    plain = _by_layer(record_lookups(model, build(None)))
    ranges: dict[int, IndexRange] = {}
    for position in range(count):
        changed = _by_layer(record_lookups(model, build(position)))
        reached = {path: calls for path, calls in changed.items() if not _are_equal(calls, plain.get(path, []))}
        if reached:
            ranges[position] = _range_of([call for path in reached for call in plain.get(path) or reached[path]])
    return ranges


def _range_of(calls: list[Lookup]) -> IndexRange:
    low, high = 0, min(call.rows for call in calls) - 1
    for call in calls:
        if call.indices is not None and call.indices.size:
            low = max(low, -int(call.indices.min()))
            high = min(high, call.rows - 1 - int(call.indices.max()))
    padding = any(call.padding for call in calls) and low == 0 and high > 0
    return IndexRange(low + padding, max(high, low), tuple(dict.fromkeys(call.path for call in calls)), padding)


def _by_layer(lookups: list[Lookup]) -> dict[str, list[Lookup]]:
    found: dict[str, list[Lookup]] = {}
    for lookup in lookups:
        found.setdefault(lookup.path, []).append(lookup)
    return found


def _are_equal(left: list[Lookup], right: list[Lookup]) -> bool:
    if len(left) != len(right):
        return False
    return all(
        mine.indices is not None and other.indices is not None and np.array_equal(mine.indices, other.indices)
        for mine, other in zip(left, right, strict=True)
    )


def _tables(model: Any) -> list[tuple[str, Any, int]]:
    """List path, layer and number of rows of the layers that look up rows."""
    counted = ((path, member, count_rows(member)) for path, member in PathNamer(model).members())
    return [(path, member, rows) for path, member, rows in counted if rows is not None]


@contextmanager
def _watched(model: Any, lookups: list[Lookup]) -> Iterator[None]:
    """Record the calls of the layers that look up rows; the layers are restored afterwards."""
    with ExitStack() as undo:
        for path, layer, rows in _tables(model):
            # Past Keras' __setattr__, which tracks what is assigned.
            own = vars(layer)
            if "call" in own:  # put there by the user
                undo.callback(own.__setitem__, "call", own["call"])
            else:
                undo.callback(own.pop, "call", None)
            own["call"] = _recording(layer, path, rows, lookups)
        yield


def _recording(layer: Any, path: str, rows: int, lookups: list[Lookup]) -> Callable[..., Any]:
    original = layer.call
    padding = bool(getattr(layer, "mask_zero", False))

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # ReversibleEmbedding(reverse=True) multiplies by the table and looks nothing up.
        if not (kwargs.get("reverse") or (args and args[0] is True)):
            lookups.append(Lookup(path, rows, padding, _read_indices(inputs)))
        return original(inputs, *args, **kwargs)

    return call


def _read_indices(inputs: Any) -> NDArray[Any] | None:
    try:
        return np.asarray(import_keras().ops.convert_to_numpy(inputs))
    except Exception:  # noqa: BLE001 - symbolic tensors inside a loop, and all that a user may pass
        return None
