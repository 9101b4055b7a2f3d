"""Whether the library has changed, or the model.

Weights are matched by the properties that were requested (layer class, role, shape, initializer) and compared by those
that Keras made of them (the fans it counts, the variance that follows, the default initializer of the layer). Where the
first are the same, the second are not, and the versions differ, the library changed. Where the first differ, the model
did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from initcheck.checking.gate.baseline import LIBRARIES, Baseline, WeightRecord
from initcheck.checking.gate.comparison import Comparison, FactChange

Origin = Literal["library", "model", "data", "library or model", "data or model", "nothing"]

_APPLICATIONS: Final = "applications:"
_REQUESTED: Final = ("kind", "role", "shape", "mode", "trainable", "dtype")


@dataclass(frozen=True)
class VersionChange:
    """A library that has another version now."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class ConditionChange:
    """A condition that is another one now."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class WeightChange:
    """Changes of one weight, and whether the library or the model caused them."""

    path: str
    role: str
    kind: str
    facts: tuple[FactChange, ...]
    origin: Origin


def find_version_changes(comparison: Comparison) -> tuple[VersionChange, ...]:
    """List the libraries whose version differs from the baseline's."""
    then, now = comparison.before.versions, comparison.after.versions
    return tuple(
        VersionChange(name, then.get(name, "unknown"), now.get(name, "unknown"))
        for name in LIBRARIES
        if then.get(name) != now.get(name)
    )


def find_condition_changes(comparison: Comparison) -> tuple[ConditionChange, ...]:
    """List the conditions that differ from the baseline's: batch, loss, dtype policy, and what was done to weights."""
    then, now = comparison.before, comparison.after
    pairs = [
        ("dtype policy", then.conditions.dtype_policy, now.conditions.dtype_policy),
        ("loss", then.conditions.loss, now.conditions.loss),
        ("weights", then.recipe.weights, now.recipe.weights),
        ("batch", then.conditions.batch, now.conditions.batch),
    ]
    found = [ConditionChange(*each) for each in pairs if each[1] != each[2]]
    if then.conditions.batch_digest != now.conditions.batch_digest and then.conditions.batch == now.conditions.batch:
        digests = (f"{each.conditions.batch_digest[:12]}..." for each in (then, now))
        found.append(ConditionChange("values of the batch (SHA-256)", *digests))
    return tuple(found)


def group_weight_changes(comparison: Comparison) -> tuple[WeightChange, ...]:
    """Gather what changed of each weight, with its cause."""
    library_moved = any(each.name != "initcheck" for each in find_version_changes(comparison))
    by_path: dict[str, list[FactChange]] = {}
    for change in comparison.facts:
        by_path.setdefault(change.path, []).append(change)
    found = []
    for path, facts in by_path.items():
        then, now = comparison.before.weights[path], comparison.after.weights[path]
        origin: Origin = "library" if library_moved and _requested_alike(then, now) else "model"
        found.append(WeightChange(path, now.role, now.kind, tuple(facts), origin))
    return tuple(found)


def find_origin(comparison: Comparison) -> Origin:
    """Find the cause of a change: two names where the data do not distinguish them, ``nothing`` without a change."""
    if comparison.verdict != "changed":
        return "nothing"
    origins = {each.origin for each in group_weight_changes(comparison)} | set(_origins_of_structure(comparison))
    if origins:
        return origins.pop() if len(origins) == 1 else "library or model"
    # Only measured metrics differ: of weights that were requested alike, or of the signal.
    library_moved, data_moved = bool(find_version_changes(comparison)), bool(find_condition_changes(comparison))
    if any(each.is_weight for each in comparison.of_verdict("changed")):
        data_moved = False  # weights do not know the batch
    if library_moved:
        return "library or model" if data_moved else "library"
    return "data or model" if data_moved else "model"


def _requested_alike(then: WeightRecord, now: WeightRecord) -> bool:
    if any(getattr(then, name) != getattr(now, name) for name in _REQUESTED):
        return False
    defaults = then.initializer == then.default_initializer != "" and now.initializer == now.default_initializer
    return then.initializer == now.initializer or defaults


def _origins_of_structure(comparison: Comparison) -> Iterator[Origin]:
    """Find the cause of layers and weights that are there on one side only.

    Models of ``keras.applications`` are built by the library. Elsewhere it was the model, unless all of it happened
    inside layers that are there on both sides, under another version.
    """
    if not comparison.structure:
        return
    moved = any(each.name == "keras" for each in find_version_changes(comparison))
    if moved and (comparison.after.recipe.model or "").startswith(_APPLICATIONS):
        yield "library"
    elif moved and all(_is_inside(each.after or each.before, comparison) for each in comparison.structure):
        yield "library or model"
    else:
        yield "model"


def _is_inside(path: str, comparison: Comparison) -> bool:
    parents = _parents(path)
    return any(parent in _layers(comparison.before) and parent in _layers(comparison.after) for parent in parents)


def _layers(baseline: Baseline) -> set[str]:
    return {path.partition("#")[0] for path in baseline.sites}


def _parents(path: str) -> Sequence[str]:
    parts = path.partition("#")[0].split("/")
    return ["/".join(parts[:size]) for size in range(1, len(parts))]
