"""What caused a change: the facts that differ, grouped, the cause first; and whether the library or the model did it.

A fact of one layer is a cause, and what follows from it is not: a width brings other shapes, fans and variances, the
setting of a layer those of the layers inside, a layer that was removed those inside it. What changed alike in several
layers is one cause.

Weights are matched by the properties that were requested (layer class, role, shape, initializer) and compared by those
that Keras made of them (the fans it counts, the variance that follows, the default initializer of the layer). Where the
first are the same, the second are not, and the versions differ, the library changed. Where the first differ, the model
did.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from initcheck.backend.runtime import BACKEND_LIBRARIES
from initcheck.checking.gate.baseline import LIBRARIES
from initcheck.checking.gate.comparison import Comparison, Difference
from initcheck.checking.gate.structure import (
    CALLS,
    CLASS,
    FACTS,
    INPUTS,
    PLACE,
    FactChange,
    LayerChange,
    StructureChange,
    layer_of_call,
)
from initcheck.core.formatting import count, format_interval, format_names, format_number, name_alike

Origin = Literal["library", "model", "library or model", "data or model", "nothing"]

_APPLICATIONS: Final = "applications:"
_FOLLOWING: Final = ("shape", "fan_in", "fan_out", "variance", "mode")
"""Facts of a weight that follow from others: the shape from a layer, the rest from the shape or the initializer."""

QUANTITIES: Final = {
    "scale": "scale of the weight",
    "forward": "forward change",
    "activation": "change by the activation function",
    "backward": "backward change",
    "total forward": "change of the signal along the path",
    "total backward": "change of the gradient along the path",
}


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
class Cause:
    """What was changed, in one sentence, the words that say most first.

    Attributes:
        layers: the layers, or weights, in which it was.
        is_certain: whether it is a fact that differs, and not what was measured of it.
    """

    sentence: str
    layers: tuple[str, ...]
    origin: Origin
    is_certain: bool = True


def find_version_changes(comparison: Comparison) -> tuple[VersionChange, ...]:
    """List the libraries whose version differs from the baseline's; another backend is one change."""
    then, now = comparison.before.versions, comparison.after.versions
    moved = [name for name in LIBRARIES if then.get(name) != now.get(name)]
    backends = [
        ", ".join(f"{name} {versions[name]}" for name in BACKEND_LIBRARIES if name in versions)
        for versions in (then, now)
    ]
    changes = []
    if all(backends) and any(name in moved and (name in then) != (name in now) for name in BACKEND_LIBRARIES):
        changes.append(VersionChange("backend", *backends))
        moved = [name for name in moved if name not in BACKEND_LIBRARIES]
    changes += [VersionChange(name, then.get(name, "unknown"), now.get(name, "unknown")) for name in moved]
    return tuple(changes)


def find_condition_changes(comparison: Comparison) -> tuple[ConditionChange, ...]:
    """List the conditions that differ from the baseline's: batch, loss, dtype policy, and what was done to weights."""
    then, now = comparison.before, comparison.after
    pairs = [
        ("dtype policy", then.conditions.dtype_policy, now.conditions.dtype_policy),
        ("loss", then.conditions.loss, now.conditions.loss),
        ("weights", then.recipe.weights, now.recipe.weights),
    ]
    found = [ConditionChange(*each) for each in pairs if each[1] != each[2]]
    # Its description names layers, which bear another number in another process: what counts are its values.
    if then.conditions.batch_digest == now.conditions.batch_digest:
        return tuple(found)
    if then.conditions.batch != now.conditions.batch:
        found.append(ConditionChange("batch", then.conditions.batch, now.conditions.batch))
    else:
        digests = (f"{each.conditions.batch_digest[:12]}..." for each in (then, now))
        found.append(ConditionChange("values of the batch (SHA-256)", *digests))
    return tuple(found)


def find_causes(comparison: Comparison) -> tuple[Cause, ...]:
    """Find what was changed, the cause of most first; empty where nothing was."""
    if comparison.verdict != "changed":
        return ()
    finder = _CauseFinder(comparison)
    causes = [*finder.list_structure(), *finder.list_layers(), *finder.list_operations(), *finder.list_weights()]
    if not causes:
        causes = [*finder.list_hints()] or [*finder.list_measured()]
    return tuple(causes)


def find_origin(comparison: Comparison) -> Origin:
    """Find the cause of a change: two names where the data do not distinguish them, ``nothing`` without a change."""
    if comparison.verdict != "changed":
        return "nothing"
    causes = find_causes(comparison)
    origins = {each.origin for each in causes if each.is_certain}
    if origins:
        return origins.pop() if len(origins) == 1 else "library or model"
    return _find_origin_of_metrics(comparison)


def _find_origin_of_metrics(comparison: Comparison) -> Origin:
    """Find the cause where only measured metrics differ: of weights that were requested alike, or of the signal."""
    library_moved, data_moved = bool(find_version_changes(comparison)), bool(find_condition_changes(comparison))
    if any(each.is_weight for each in comparison.of_verdict("changed")):
        data_moved = False  # weights do not know the batch
    if library_moved:
        return "library or model" if data_moved or comparison.hints else "library"
    return "data or model" if data_moved else "model"


class _CauseFinder:
    """Groups what differs."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        now = comparison.after
        moved = {each.name for each in find_version_changes(comparison)}
        self._library_moved = bool(moved - {"initcheck"})
        self._keras_moved = "keras" in moved
        self._names = names = now.names_by_key()
        self._facts = {names.get(key, key): layer for key, layer in now.layers.items()}
        self._kinds = {names.get(key, key): layer.kind for key, layer in now.layers.items()}
        added = {each.after for each in comparison.structure if not each.before}
        layers = [*now.layers, *map(layer_of_call, now.sites)]
        self._both = {names.get(key, key) for key in layers} - added
        feeding = {each for site in now.sites.values() for each in site.inputs}
        self._last = {names.get(key, key) for key in now.sites if key not in feeding}
        self._setting_changed = {each.path for each in comparison.layers if each.fact not in (CALLS, INPUTS, PLACE)}
        self._origin_of_metrics = _find_origin_of_metrics(comparison)
        self._shared: set[str] = set()
        self._operations: list[StructureChange] = []

    # --- layers that came and went ------------------------------------------------------------------------------------

    def list_structure(self) -> Iterator[Cause]:
        """Name what was added, removed or renamed, and what is shared now, or no longer."""
        found = [each for each in self._comparison.structure if not each.is_weight]
        names = {each.before or each.after for each in found}
        outer = [each for each in found if not any(parent in names for parent in _parents(each.before or each.after))]
        for change in self._comparison.layers:
            if change.fact == CALLS:
                action = "added" if change.after < change.before else "removed"
                others = [each for each in outer if each.kind == change.kind and each.action == action]
                if len(others) == abs(change.after - change.before):
                    self._shared.add(change.path)
                    outer = [each for each in outer if each not in others]
                    yield self._describe_sharing(change, others)
        yield from self._describe_structure([each for each in outer if not each.is_operation])
        self._operations = [each for each in outer if each.is_operation]

    def list_operations(self) -> Iterator[Cause]:
        """Name the operations of the graph that came or went, which the setting of a layer may have brought."""
        yield from self._describe_structure(self._operations)

    def _describe_structure(self, outer: Sequence[StructureChange]) -> Iterator[Cause]:
        for action, group in _group(outer, lambda each: each.action):
            origin = self._origin_of_structure(group)
            layers = tuple(each.after or each.before for each in group)
            kinds = _group(group, lambda each: each.kind)
            if action == "renamed":
                sentence = f"renamed: {format_names([f'{each.before} -> {each.after}' for each in group])}"
            elif len(group) == 1:
                sentence = f"{layers[0]} ({group[0].kind}) was {action}"
            elif len(kinds) == 1:
                sentence = f"{len(group)} {kinds[0][0]} layers were {action} ({name_alike(layers)})"
            else:
                kinds.sort(key=lambda each: -len(each[1]))
                listed = ", ".join(f"{len(of_kind)} {kind}" for kind, of_kind in kinds)
                sentence = f"{len(group)} layers were {action} ({name_alike(layers)}): {listed}"
            yield Cause(sentence, layers, origin)

    def _describe_sharing(self, change: LayerChange, others: Sequence[StructureChange]) -> Cause:
        names = [each.after or each.before for each in others]
        where, listed = f"{change.path} ({change.kind})", format_names(names)
        if others[0].action == "added":
            return Cause(
                f"{where} is no longer shared: {listed} was added in its place", (change.path, *names), "model"
            )
        return Cause(f"{where} is now shared: it stands for {listed} too", (change.path, *names), "model")

    def _origin_of_structure(self, group: Sequence[StructureChange]) -> Origin:
        """Find the cause of layers that are there on one side only.

        Models of ``keras.applications`` are built by the library. Elsewhere it was the model, unless all of it happened
        inside layers that are there on both sides, under another version.
        """
        if self._keras_moved and (self._comparison.after.recipe.model or "").startswith(_APPLICATIONS):
            return "library"
        if self._keras_moved and all(self._both & {*_parents(each.after or each.before)} for each in group):
            return "library or model"
        return "model"

    # --- layers that are there on both sides --------------------------------------------------------------------------

    def list_layers(self) -> Iterator[Cause]:
        """Name what differs of layers: other classes, settings, numbers of calls, places, and what feeds them."""
        changes = [
            each
            for each in self._comparison.layers
            if not self._follows(each) and not (each.fact == CALLS and each.path in self._shared)
        ]
        ranks = {CLASS: 0, CALLS: 1, PLACE: 3, INPUTS: 4}
        came_or_went = any(not each.is_weight and each.action != "renamed" for each in self._comparison.structure)
        moved = not came_or_went and any(each.fact == PLACE for each in changes)
        for rank in range(5):
            of_rank = [each for each in changes if ranks.get(each.fact, 2) == rank]
            if rank == ranks[INPUTS] and moved:
                continue  # what moved receives and feeds others
            if rank == ranks[PLACE] and came_or_went:
                continue
            yield from self._describe_rank(of_rank)

    def _describe_rank(self, changes: Sequence[LayerChange]) -> Iterator[Cause]:
        groups = _group(changes, lambda each: (each.fact, *self._group_of(each)))
        for _, group in sorted(groups, key=lambda each: -len(each[1])):
            first = group[0]
            layers = tuple(dict.fromkeys(each.path for each in group))
            where = self._scope(layers, first.kind)
            if first.fact == CLASS:
                sentence = f"{first.before} -> {first.after}: {where}"
            elif first.fact == CALLS:
                sentence = f"{where} {_is(layers)} called {count(first.after, 'time')}, not {first.before}"
            elif first.fact == PLACE:
                place = f"behind {self._name(first.after)}" if first.after else "at the beginning"
                sentence = f"moved: {where}, now {place}" if len(layers) == 1 else f"moved: {where}"
            elif first.fact == INPUTS:
                sentence = self._describe_inputs(first, where, len(layers))
            else:
                sentence = f"{first.fact} {_value(first.before)} -> {_value(first.after)} in {where}"
            yield Cause(sentence, layers, self._origin_of_layers(group))

    def _group_of(self, change: LayerChange) -> tuple[Any, ...]:
        if change.fact in (PLACE, CALLS):
            return (change.kind,)
        if change.fact == INPUTS:
            lost, gained = self._split_inputs(change)
            return change.kind, bool(lost), bool(gained)
        return _value(change.before), _value(change.after)

    def _describe_inputs(self, change: LayerChange, where: str, number: int) -> str:
        lost, gained = self._split_inputs(change)
        parts = []
        if lost:
            parts.append(f"no longer {format_names([self._name(each) for each in lost])}")
        if gained:
            parts.append(f"now {format_names([self._name(each) for each in gained])}")
        return f"what feeds {where} is {' and '.join(parts)}{' (the first)' if number > 1 else ''}"

    def _split_inputs(self, change: LayerChange) -> tuple[list[str], list[str]]:
        return [e for e in change.before if e not in change.after], [e for e in change.after if e not in change.before]

    def _name(self, key: str) -> str:
        return self._names.get(key, key)

    def _follows(self, change: LayerChange) -> bool:
        """Find whether a change is one of a layer inside another that has changed likewise."""
        return change.fact not in (CALLS, INPUTS, PLACE) and any(
            parent in self._setting_changed for parent in (*_parents(change.path), *([""] if change.path else []))
        )

    def _origin_of_layers(self, group: Sequence[LayerChange]) -> Origin:
        of_keras = all(self._facts[each.path].code == "" for each in group if each.path in self._facts)
        if not self._keras_moved or not of_keras or group[0].fact in (CLASS, CALLS):
            return "model"
        if (self._comparison.after.recipe.model or "").startswith(_APPLICATIONS):
            return "library"
        return "library or model"

    # --- weights ------------------------------------------------------------------------------------------------------

    def list_weights(self) -> Iterator[Cause]:
        """Name what differs of what draws the weights, and of their shapes where nothing else explains them."""
        known = bool(self._setting_changed or any(not each.is_weight for each in self._comparison.structure))
        by_path: dict[str, list[FactChange]] = {}
        for change in self._comparison.facts:
            by_path.setdefault(change.path, []).append(change)
        changes: list[tuple[str, str, Origin, tuple[FactChange, ...]]] = []
        for path, facts in by_path.items():
            requested = {each.fact for each in facts} - set(_FOLLOWING)
            reshaped = any(each.fact == "shape" for each in facts)
            kept = [each for each in facts if not self._is_explained(each, requested, known, reshaped)]
            if kept:
                library = self._library_moved and kept[0].is_requested_alike
                changes.append((path, kept[0].role, "library" if library else "model", tuple(kept)))
        groups = _group(changes, lambda each: (each[2], tuple(map(_describe_fact, each[3]))))
        for (origin, facts), group in sorted(groups, key=lambda each: -len(each[1])):
            paths = tuple(each[0] for each in group)
            roles = [role for role, _ in _group(group, lambda each: each[1])]
            changes_of = group[0][3]
            if [each.fact for each in changes_of] == ["same_as"] and changes_of[0].after:
                drawn = (changes_of[0].after, *paths)
                sentence = f"one initializer instance now draws {len(drawn)} weights ({name_alike(drawn)})"
                yield Cause(sentence, drawn, origin)
                continue
            # What says most first: the fact, and where; the facts that go with it stand at the end.
            requests = [each.fact not in _FOLLOWING for each in changes_of]
            first = [fact for fact, is_request in zip(facts, requests, strict=True) if is_request] or facts[:1]
            rest = ", ".join(fact for fact in facts if fact not in first)
            sentence = f"{', '.join(first)} in {self._name_weights(paths, roles)}"
            yield Cause(f"{sentence}; {rest}" if rest else sentence, paths, origin)
        weights = [each for each in self._comparison.structure if each.is_weight]
        if not known:
            for (action, kind), listed in _group(weights, lambda each: (each.action, each.kind)):
                paths = tuple(each.after or each.before for each in listed)
                yield Cause(
                    f"{action}: weights of {kind} ({name_alike(paths)})",
                    paths,
                    "library or model" if self._keras_moved else "model",
                )

    def _name_weights(self, paths: Sequence[str], roles: Sequence[str]) -> str:
        """Say which weights: ``kernel of dense``, ``query and key kernels of attention (MultiHeadAttention)``."""
        owners = list(dict.fromkeys(map(_owner, paths)))
        parents = list(dict.fromkeys(map(_owner, owners)))
        if len(owners) == 1:
            return f"{format_names(roles)} of {owners[0] or 'the model'}"
        if len(roles) * len(parents) == len(paths) and all(each in self._kinds for each in filter(None, parents)):
            kinds = {self._kinds.get(each, "") for each in parents}
            if len(kinds) == 1 and "" not in parents:
                return f"{_name_roles(roles)} of {self._scope(parents, kinds.pop())}"
        if len(roles) == 1:
            return f"{len(paths)} weights ({name_alike(paths)})"
        return f"{len(paths)} weights of {name_alike(owners)}"

    def _is_explained(
        self, change: FactChange, requested: set[str], setting_changed: bool, has_other_shape: bool
    ) -> bool:
        """Find whether a fact of a weight follows from another, or from a setting of a layer."""
        owner = _owner(change.path)
        if change.fact == "shape":
            return setting_changed
        if change.fact in _FOLLOWING:
            return has_other_shape or bool(requested)
        if change.fact == "kind":
            return any(each.fact == CLASS and each.path == owner for each in self._comparison.layers)
        return change.fact == "dtype" and owner in self._setting_changed

    # --- without a fact -----------------------------------------------------------------------------------------------

    def list_hints(self) -> Iterator[Cause]:
        """Name what changed of the user's own code, and of what its layers hold."""
        attributes = [each for each in self._comparison.hints if each.fact != "code"]
        codes = [each for each in self._comparison.hints if each.fact == "code"]
        explained = {each.path for each in attributes}
        for (fact, *_), group in _group(attributes, lambda each: (each.fact, str(each.before), str(each.after))):
            first, layers = group[0], tuple(each.path for each in group)
            where = self._scope(layers, first.kind)
            sentence = f"{fact} {_value(first.before)} -> {_value(first.after)} in {where}"
            yield Cause(sentence, layers, self._origin_of_metrics, is_certain=False)
        # The code of a model differs too where that of its layers is written inside it.
        for kind, group in _group([each for each in codes if each.path not in explained], lambda each: each.kind):
            layers = tuple(each.path for each in group)
            where = "" if layers == ("",) else f" ({name_alike(layers)})"
            yield Cause(f"the code of {kind} has changed{where}", layers, self._origin_of_metrics, is_certain=False)

    def list_measured(self) -> Iterator[Cause]:
        """Name the metrics that changed, the weights first, or the findings that got worse."""
        changed = self._comparison.of_verdict("changed")
        weights = [each for each in changed if each.is_weight]
        totals = [each for each in self._comparison.totals if each.verdict == "changed"]
        shown = weights or changed or totals
        conditions = find_condition_changes(self._comparison)
        if conditions and not weights:
            names = format_names([each.what for each in conditions])
            yield Cause(f"not measured as the baseline was: {names}", (), "data or model", is_certain=False)
            return
        for each in shown[:1]:
            yield Cause(describe_metric(each), (each.path,), self._origin_of_metrics, is_certain=False)
        for then, now in self._comparison.worse_findings:
            if not shown:
                sentence = f"{now.code} at {now.layers[0]} got worse: {_value(then.value)} -> {_value(now.value)}"
                yield Cause(sentence, now.layers, self._origin_of_metrics, is_certain=False)

    def _scope(self, layers: Sequence[str], kind: str) -> str:
        """Say in which layers: ``dense_3 (Dense)``, ``all 6 Dense layers``, ``3 of 4 Dense layers (block*/up)``."""
        if len(layers) == 1:
            return f"{layers[0]} ({kind})" if layers[0] else f"the model ({kind})"
        kinds = {self._kinds.get(each.partition("#")[0], kind) for each in layers}
        if len(kinds) > 1:
            every = {*self._kinds} <= {*layers, *(each for path in layers for each in _parents(path)), ""}
            return f"all {len(layers)} layers" if every else f"{len(layers)} layers ({name_alike(layers)})"
        alike = {each for each, other in self._kinds.items() if other == kind}
        if alike == set(layers):
            return f"both {kind} layers" if len(layers) == 2 else f"all {len(layers)} {kind} layers"
        if alike - self._last == set(layers):
            return f"all hidden {kind} layers"
        return f"{len(layers)} of {len(alike)} {kind} layers ({name_alike(layers)})"


def describe_metric(difference: Difference) -> str:
    """Write the change of one metric with the interval that its verdict rests on."""
    head = f"{QUANTITIES[difference.quantity]} {difference.path}"
    shift = difference.shift
    if shift is None:
        return f"{head}: {difference.states[0]} -> {difference.states[1]}"
    low, high = (math.exp(min(each, 700.0)) for each in difference.interval)
    interval = "" if math.isnan(low) else f" {format_interval(low, high)}"
    return f"{head} x {format_number(math.exp(min(shift.value, 700.0)))}{interval}"


# --- helpers ----------------------------------------------------------------------------------------------------------


_Item = TypeVar("_Item")


def _group(items: Iterable[_Item], key: Callable[[_Item], Any]) -> list[tuple[Any, list[_Item]]]:
    groups: dict[Any, list[_Item]] = {}
    for each in items:
        groups.setdefault(key(each), []).append(each)
    return list(groups.items())


def _name_roles(roles: Sequence[str]) -> str:
    """Name roles with the word that all of them end with once: ``query, key and value kernels``."""
    ends = {each.rpartition(" ")[2] for each in roles}
    if len(roles) > 1 and len(ends) == 1 and all(" " in each for each in roles):
        return f"{format_names([each.rpartition(' ')[0] for each in roles])} {ends.pop()}s"
    return format_names(list(roles))


def _is(layers: Sequence[str]) -> str:
    return "is" if len(layers) == 1 else "are"


def _owner(path: str) -> str:
    return path.rpartition("/")[0]


def _parents(path: str) -> Sequence[str]:
    parts = path.partition("#")[0].split("/")
    return ["/".join(parts[:size]) for size in range(1, len(parts))]


def _describe_fact(fact: FactChange) -> str:
    if fact.fact == "same_as":
        return (
            f"now drawn by the initializer of {fact.after}" if fact.after else "no longer drawn by a shared initializer"
        )
    if fact.fact == "initializer":
        then, now = (re.fullmatch(r"(\w+)\((.*)\)", _value(each)) for each in (fact.before, fact.after))
        if then is not None and now is not None and then[1] == now[1]:
            # The same class with other arguments: those that differ say it all.
            one, other = (dict(each.partition("=")[::2] for each in found[2].split(", ")) for found in (then, now))
            differing = [name for name in other if one.get(name) != other[name]]
            if one.keys() == other.keys():
                return ", ".join(f"{then[1]} {name} {_round(one[name])} -> {_round(other[name])}" for name in differing)
    return f"{FACTS[fact.fact]} {_value(fact.before)} -> {_value(fact.after)}"


def _round(text: str) -> str:
    """Write the number in a text to six digits; other texts as they are."""
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.6g}"
    if isinstance(value, list):  # a tuple, to whoever wrote it
        return f"({', '.join(map(str, value))})"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
