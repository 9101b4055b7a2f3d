"""What is not random of two baselines of one model: which layers belong together, and what differs.

Layers are matched by their structural paths. Where layers were added or removed, Keras' numbering has moved: then the
sequences of layers, in the order of execution, are aligned by class, configuration, shapes and the names that a person
gave, and what is left over was added or removed.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from initcheck.audit.findings import LayerFacts
from initcheck.backend.runtime import BACKEND_LIBRARIES
from initcheck.checking.gate.baseline import Baseline, WeightRecord

CLASS: Final = "class"
CALLS: Final = "calls"
INPUTS: Final = "inputs"
PLACE: Final = "place"
"""Facts of a layer that are not of its configuration."""

_OF_KERAS: Final = ("keras", *BACKEND_LIBRARIES)


@dataclass(frozen=True)
class LayerChange:
    """Something of a layer that is on both sides, and that is not random.

    Attributes:
        path: of the layer now.
        fact: a name of its configuration or of an argument of its call, or one of the facts above.
    """

    path: str
    kind: str
    fact: str
    before: Any
    after: Any


@dataclass(frozen=True)
class StructureChange:
    """A layer, or a weight of a layer that is on both sides, that is there on one side only or has another name.

    Attributes:
        kind: class of the layer, now if it is there.
        before: its path in the baseline; empty where it was added.
        after: its path now; empty where it was removed.
        is_weight: whether it is a weight.
        is_operation: whether it is arithmetic between the layers, and no layer.
    """

    kind: str
    before: str
    after: str
    is_weight: bool = False
    is_operation: bool = False

    @property
    def action(self) -> Literal["added", "removed", "renamed"]:
        """What was done to it."""
        return "added" if not self.before else "removed" if not self.after else "renamed"


class Matching:
    """Which layers of two baselines belong together, by their structural paths.

    Attributes:
        pairs: from the path then to the path now.
    """

    def __init__(self, before: Baseline, after: Baseline) -> None:
        self.before, self.after = before, after
        self.knows_facts = bool(before.layers and after.layers)
        self._then, self._now = (_list_layers(each, with_facts=self.knows_facts) for each in (before, after))
        self._shapes = _list_shapes(before), _list_shapes(after)
        same = self._then.keys() == self._now.keys()
        self.pairs: dict[str, str] = {key: key for key in self._now} if same else dict(self._align())

    @cached_property
    def removed(self) -> frozenset[str]:
        """The layers that are there no more."""
        return frozenset(self._then) - self.pairs.keys()

    @cached_property
    def added(self) -> frozenset[str]:
        """The layers that were not there."""
        return frozenset(self._now) - set(self.pairs.values())

    def is_same(self, key: str) -> bool:
        """Find whether a layer, weight or call bears the same path then and now: then it has the same draws."""
        layer = layer_of_call(key)
        owner = layer if layer in self._now else layer.rpartition("/")[0]
        return self.pairs.get(owner) == owner

    def find_now(self, key: str) -> str | None:
        """Find the path now of a weight, call or layer; None where its layer was removed."""
        layer = layer_of_call(key)
        if layer in self._then:
            found = self.pairs.get(layer)
            return None if found is None else f"{found}{key.removeprefix(layer)}"
        owner, _, name = key.rpartition("/")
        found = self.pairs.get(owner) if owner in self._then else owner
        return None if found is None else "/".join(filter(None, (found, name)))

    def list_structure(self) -> list[StructureChange]:
        """List the layers that were added, removed or renamed, and the weights of others that were."""
        then, now = self._then, self._now
        changes = [
            StructureChange(now[key].kind, "", key, is_operation=self._is_operation(now[key]))
            for key in now
            if key in self.added
        ]
        changes += [
            StructureChange(then[key].kind, key, "", is_operation=self._is_operation(then[key]))
            for key in then
            if key in self.removed
        ]
        changes += [
            StructureChange(now[after].kind, before, after)
            for before, after in self.pairs.items()
            if then[before].kind == now[after].kind and self._generalize(before, then) != self._generalize(after, now)
        ]
        weights = {self.find_now(key): key for key in self.before.weights}
        for key, weight in self.after.weights.items():
            if key not in weights and key.rpartition("/")[0] not in self.added:
                changes.append(StructureChange(weight.kind, "", key, is_weight=True))
        for found, key in weights.items():
            if found is not None and found not in self.after.weights:
                changes.append(StructureChange(self.before.weights[key].kind, key, "", is_weight=True))
        return changes

    def _is_operation(self, facts: LayerFacts) -> bool:
        # Every layer of Keras has a dtype.
        return self.knows_facts and not facts.code and facts.config is not None and "dtype" not in facts.config

    def list_changes(self) -> Iterator[LayerChange]:
        """List what differs of the layers that are on both sides."""
        moved = any(self.before.versions.get(name) != self.after.versions.get(name) for name in _OF_KERAS)
        for before, after in self.pairs.items():
            then, now = self._then[before], self._now[after]
            if then.kind != now.kind:
                yield LayerChange(after, now.kind, CLASS, then.kind, now.kind)
                continue
            # A new version of Keras may give its own layers settings that they had not, and write axes otherwise.
            keras_moved = moved and not now.code
            yield from _compare(after, now.kind, then.config, now.config, keras_moved=keras_moved)
        if self.knows_facts:
            yield from self._list_calls()

    def list_hints(self) -> Iterator[LayerChange]:
        """List what may explain a change that was measured: the user's own code, and attributes of its layers."""
        for before, after in self.pairs.items():
            then, now = self._then[before], self._now[after]
            if then.kind == now.kind:
                yield from _compare(after, now.kind, then.attributes, now.attributes)
                if then.code != now.code:
                    yield LayerChange(after, now.kind, "code", then.code, now.code)

    def _list_calls(self) -> Iterator[LayerChange]:
        before, after = self.before, self.after
        calls_then, calls_now = (
            Counter(layer_of_call(key) for key in side.calls if ":" not in key) for side in (before, after)
        )
        for then, now in self.pairs.items():
            # A layer that only passes on what those inside it return has no call of its own.
            if calls_then[then] != calls_now[now] and calls_then[then] and calls_now[now]:
                yield LayerChange(now, self._now[now].kind, CALLS, calls_then[then], calls_now[now])
        found = {self.find_now(key): key for key in before.calls}
        both = [key for key in after.calls if key in found]
        known = {self.find_now(each) for each in before.sites}
        inputs_then = _resolve_inputs(before, self.find_now, lambda now: now in after.sites)
        inputs_now = _resolve_inputs(after, lambda each: each, lambda each: each in known)
        inputs = [
            LayerChange(key, after.sites[key].kind, INPUTS, *sides)
            for key in both
            for sides in [(inputs_then[found[key]], inputs_now[key])]
            if sides[0] != sides[1] and not self._follows(found[key], key, *sides)
        ]
        yield from (replace(each, before=sorted(each.before), after=sorted(each.after)) for each in inputs)
        common = set(both)
        order = [place for key in before.calls if (place := self.find_now(key)) in common]
        if order != both:
            blocks = SequenceMatcher(None, order, both, autojunk=False).get_matching_blocks()
            stayed = {key for block in blocks for key in both[block.b : block.b + block.size]}
            in_front = [dict(zip(side, ("", *side), strict=False)) for side in (order, both)]
            for key in both:
                if key not in stayed:
                    yield LayerChange(key, after.sites[key].kind, PLACE, *(side[key] for side in in_front))

    def _follows(self, then: str, now: str, before: frozenset[str], after: frozenset[str]) -> bool:
        """Find whether a call is fed otherwise because a layer that joined several was removed in front, or added."""
        gone = any(self.find_now(each) is None for each in self.before.sites[then].inputs)
        new = any(layer_of_call(each) in self.added for each in self.after.sites[now].inputs)
        return (gone and bool(after) and after < before) or (new and bool(before) and before < after)

    # --- alignment ----------------------------------------------------------------------------------------------------

    def _align(self) -> Iterator[tuple[str, str]]:
        then, now = list(self._then), list(self._now)
        first = self._pair(then, now, self._full_signature)
        yield from first
        # What is not alike in all may be the same layer, with another setting: between what is alike on both sides.
        for left, right in _list_gaps(then, now, first):
            rest = list(left), list(right)
            for sign in (self._named_signature, self._kind_signature):
                pairs = self._pair(*rest, sign)
                yield from pairs
                old, new = {one for one, _ in pairs}, {other for _, other in pairs}
                rest = [key for key in rest[0] if key not in old], [key for key in rest[1] if key not in new]
            if len(rest[0]) == len(rest[1]):  # each was replaced by one of another class
                yield from zip(*rest, strict=True)

    def _pair(
        self, left: Sequence[str], right: Sequence[str], sign: Callable[[str, bool], Any]
    ) -> list[tuple[str, str]]:
        """Pair layers of the same signature without crossing: from the front, from the end, and then between."""
        one, other = [sign(key, False) for key in left], [sign(key, True) for key in right]
        shortest = min(len(one), len(other))
        head = next((place for place in range(shortest) if one[place] != other[place]), shortest)
        shortest -= head
        tail = next((place for place in range(shortest) if one[-1 - place] != other[-1 - place]), shortest)
        pairs = list(zip(left[:head], right[:head], strict=True))
        middle = (left[head : len(left) - tail], right[head : len(right) - tail])
        signs = (one[head : len(one) - tail], other[head : len(other) - tail])
        for block in SequenceMatcher(None, *signs, autojunk=False).get_matching_blocks():
            pairs += zip(
                middle[0][block.a : block.a + block.size], middle[1][block.b : block.b + block.size], strict=True
            )
        return [*pairs, *zip(left[len(left) - tail :], right[len(right) - tail :], strict=True)]

    def _full_signature(self, key: str, is_now: bool) -> Any:
        facts = (self._now if is_now else self._then)[key]
        config = json.dumps(facts.config, sort_keys=True, default=str)
        return *self._named_signature(key, is_now), config, tuple(self._shapes[is_now].get(key, ()))

    def _named_signature(self, key: str, is_now: bool) -> tuple[str, str]:
        layers = self._now if is_now else self._then
        return self._generalize(key, layers), layers[key].kind

    def _kind_signature(self, key: str, is_now: bool) -> str:
        return (self._now if is_now else self._then)[key].kind

    @staticmethod
    def _generalize(key: str, layers: Mapping[str, LayerFacts]) -> str:
        """Leave the numbers out that Keras put behind the names of classes."""
        parts = key.split("/")
        paths = ["/".join(parts[: place + 1]) for place in range(len(parts))]
        kinds = [layers[path].kind if path in layers else "" for path in paths]
        return "/".join(
            re.sub(r"_\d+$", "", part) if _is_automatic(part, kind) else part
            for part, kind in zip(parts, kinds, strict=True)
        )


def _resolve_inputs(
    baseline: Baseline, name: Callable[[str], str | None], is_there: Callable[[str | None], bool]
) -> dict[str, frozenset[str]]:
    """Say what feeds each call; a call that is not on the other side stands for what feeds it.

    Args:
        name: gives the path now of a call.
        is_there: whether the call of that path is on the other side too.
    """
    found: dict[str, frozenset[str]] = {}
    for key in baseline.calls:  # in the order of execution: what feeds a call comes before it
        sources: set[str] = set()
        for each in baseline.sites[key].inputs:
            now = name(each)
            if each in baseline.sites and not is_there(now):
                sources |= found.get(each, frozenset())
            else:
                sources.add(now or each)
        found[key] = frozenset(sources)
    return found


@lru_cache(maxsize=4096)
def layer_of_call(key: str) -> str:
    """Leave out of the key of a call which call of its layer it is, and which of its outputs: ``lstm:1#2``."""
    return re.sub(r"(:\d+)?(#\d+)?$", "", key)


def _is_automatic(part: str, kind: str) -> bool:
    """Find whether Keras made a name from that of the class."""
    plain = re.sub(r"_\d+$", "", part).replace("_", "")
    return plain == re.sub(r"\W", "", kind).lower()


def _list_layers(baseline: Baseline, *, with_facts: bool) -> dict[str, LayerFacts]:
    """List the layers in the order in which they are first called; those that are not called follow."""
    called = dict.fromkeys(map(layer_of_call, baseline.calls))
    if with_facts:
        order = [*(key for key in called if key in baseline.layers), *sorted(baseline.layers.keys() - called.keys())]
        return {key: baseline.layers[key] for key in order}
    holders = {key.rpartition("/")[0]: weight.kind for key, weight in baseline.weights.items()}
    kinds = holders | {layer_of_call(key): site.kind for key, site in baseline.sites.items()}
    return {key: LayerFacts(kinds[key], {}) for key in [*called, *sorted(kinds.keys() - called.keys())]}


def _list_shapes(baseline: Baseline) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    shapes: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for key, weight in sorted(baseline.weights.items()):
        owner, _, name = key.rpartition("/")
        shapes.setdefault(owner, []).append((name, weight.shape))
    return shapes


def _list_gaps(
    left: Sequence[str], right: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """List what lies between pairs on either side, where both sides have something."""
    where, there = ({key: place for place, key in enumerate(side)} for side in (left, right))
    ends = [(-1, -1), *((where[one], there[other]) for one, other in pairs), (len(left), len(right))]
    for (one, other), (next_one, next_other) in itertools.pairwise(ends):
        if next_one > one + 1 and next_other > other + 1:
            yield left[one + 1 : next_one], right[other + 1 : next_other]


def _compare(
    path: str, kind: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None, *, keras_moved: bool = False
) -> Iterator[LayerChange]:
    """Compare settings by name; one that is not there is None, unless Keras may have given it or written it."""
    if then is None or now is None:
        return
    for name in [*now, *(name for name in then if name not in now)]:
        if keras_moved and not (name in then and name in now and not _are_same_axes(then[name], now[name])):
            continue
        if then.get(name) != now.get(name):
            yield LayerChange(path, kind, name, then.get(name), now.get(name))


def _are_same_axes(then: Any, now: Any) -> bool:
    """Find whether axes that were counted from the end are counted from the front: -1 and 2 of three."""
    sides = [each if isinstance(each, (list, tuple)) else [each] for each in (then, now)]
    if len(sides[0]) != len(sides[1]) or not all(type(axis) is int for axis in (*sides[0], *sides[1])):
        return False
    pairs = [(min(pair), max(pair)) for pair in zip(*sides, strict=True)]
    # The distance is the number of axes, the same for each.
    return len({front - end for end, front in pairs}) == 1 and all(end < 0 <= front for end, front in pairs)


FACTS: Final = {
    "kind": "layer class",
    "role": "role",
    "shape": "shape",
    "dtype": "dtype",
    "trainable": "trainable",
    "initializer": "initializer",
    "seed": "seed",
    "same_as": "shared initializer",
    "mode": "fan mode",
    "fan_in": "fan_in",
    "fan_out": "fan_out",
    "variance": "expected variance",
}
"""What is compared of each weight apart from its metric, in words."""


@dataclass(frozen=True)
class FactChange:
    """A property of a weight that is not random, and has changed.

    Attributes:
        fact: a key of :data:`FACTS`.
        is_requested_alike: whether the model asks for the same as it did.
    """

    path: str
    role: str
    fact: str
    before: Any
    after: Any
    is_requested_alike: bool


def compare_weights(matching: Matching) -> Iterator[FactChange]:
    """List what differs of the weights that are on both sides."""
    found = {matching.find_now(key): then for key, then in matching.before.weights.items()}
    for place, now in matching.after.weights.items():
        then = found.get(place)
        if then is None:
            continue
        for fact in FACTS:
            if matching.knows_facts or fact not in ("seed", "same_as"):
                before, after = _read_fact(then, fact, matching), getattr(now, fact)
                if not _agree(before, after):
                    yield FactChange(place, now.role, fact, before, after, _is_requested_alike(then, now))


def _read_fact(weight: WeightRecord, fact: str, matching: Matching) -> Any:
    value = getattr(weight, fact)
    return matching.find_now(value) or value if fact == "same_as" and value else value


def _agree(then: Any, now: Any) -> bool:
    numbers = (int, float)
    if isinstance(then, numbers) and isinstance(now, numbers):
        return abs(then - now) <= 1e-9 * max(abs(then), abs(now))
    return bool(then == now)


_REQUESTED: Final = ("kind", "role", "shape", "mode", "trainable", "dtype")


def _is_requested_alike(then: WeightRecord, now: WeightRecord) -> bool:
    if any(getattr(then, name) != getattr(now, name) for name in _REQUESTED):
        return False
    defaults = then.initializer == then.default_initializer != "" and now.initializer == now.default_initializer
    return then.initializer == now.initializer or defaults
