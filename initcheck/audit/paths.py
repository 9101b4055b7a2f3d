"""The paths along which a signal is followed: every chain of layers with weights, in whatever branch it lies.

From the graph of measured sites alone. Between a source over all inputs and a sink over all outputs it is taken apart
into regions with one entry and one exit (Johnson, Pearson and Pingali 1994, *The program structure tree*): a region is
a sequence of sites that all its paths pass, and between two of them lie branches, each a region itself. Two towers are
branches behind the source, two heads branches before the sink, and what skip connections lead around are branches
between two sums. The *main path* is the sequence of the whole. Where branches cannot be parted so (each is tied to the
others), the longest chain among them is followed, and is said to stand for them.

A site's scale is *free* where every way from it to the outputs passes a normalization before anything that is not
homogeneous: a factor there changes nothing that is passed on. In a branch that is added to others, the normalization
has to stand before the sum: behind it, the factor would change how much the branch counts beside the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from initcheck.core.columns import ScaleEffect

AVERAGING_KINDS: Final = frozenset(
    {
        *(f"GlobalAveragePooling{rank}D" for rank in (1, 2, 3)),
        *(f"AveragePooling{rank}D" for rank in (1, 2, 3)),
        "Mean",
    }
)
"""Kinds that average over positions.

Averaging n positions divides the squared norm of the gradient by n, whatever the weights are, while the gradient of a
shared kernel adds those n positions up again: it says nothing about initialization.
"""

STANDARDIZING_KINDS: Final = frozenset(
    {"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"}
)
"""Kinds whose outputs have the second moment 1, but for a scale of their own."""

NORMALIZING_KINDS: Final = STANDARDIZING_KINDS | {"UnitNormalization"}
"""Kinds that divide by the scale of their input."""

PROPORTIONAL: Final = frozenset({"", "relu", "leaky_relu", "prelu"})
"""Activation functions that pass on a factor as it is."""

Freedom = Literal["", "small", "any"]
"""Whether a site's scale is free: not at all, where it is small (a softmax of small numbers is even), or always."""

Origin = Literal["previous", "received", "one", "nothing"]
"""What the size at a site is compared with: the site before on the path, what its layer receives, 1, or nothing."""


_NO_SUMS: Final = frozenset({"Concatenate", "Multiply", "Dot", "Matmul", "Einsum", "Tensordot", "Inner", "Outer"})
"""Layers and operations that bring branches together, and not by adding them."""


@dataclass(frozen=True)
class SiteNode:
    """One site in the graph of measured sites.

    Attributes:
        weighted: whether its layer has a trainable weight of two or more axes.
        scale_effects: what becomes of the scale on the way from each parent; empty where that is not known.
        clips_at_zero: whether its fused activation function is exactly 0 on a whole interval, as ReLU is.
        place: where its layer was made, ``models.py:14``; empty where that is not known.
    """

    layer: str
    kind: str
    weighted: bool
    feeds_output: bool
    parents: tuple[int, ...]
    scale_effects: tuple[ScaleEffect, ...] = ()
    clips_at_zero: bool = True
    activation: str = ""
    place: str = ""

    @property
    def normalizes(self) -> bool:
        """Whether it divides by the scale of what it receives."""
        return self.kind in NORMALIZING_KINDS or (
            bool(self.scale_effects) and set(self.scale_effects) == {"normalization"}
        )

    @property
    def adds(self) -> bool:
        """Whether it takes a sum of branches: not their product, nor one beside the other."""
        ways = {"homogeneous", "division", "normalization"}
        return len(self.parents) > 1 and set(self.scale_effects) <= ways and self.kind not in _NO_SUMS

    @property
    def merges_by_softmax(self) -> bool:
        """Whether a softmax of some of what it receives weighs the rest, as in attention."""
        return "softmax" in self.scale_effects and bool(set(self.scale_effects) & {"homogeneous", "division"})

    @property
    def softmax_layer(self) -> str:
        """The layer that holds a softmax on the way to it: around a layer whose own kernel follows, as in attention."""
        before_own_kernel = self.weighted and "softmax" in self.scale_effects
        return (before_own_kernel and self.layer.rpartition("/")[0]) or self.layer

    @property
    def merges(self) -> bool:
        """Whether several branches meet in it, each in proportion: not the weights of an average, as in attention."""
        return len(self.parents) > 1 and not {"softmax", "other"} & set(self.scale_effects)


@dataclass(frozen=True)
class SignalPath:
    """Sites that a signal passes one after the other.

    Attributes:
        origins: what the size at each of them is compared with.
        freedoms: whether the scale of each is free.
        inside: the layers around the branch of a path that is not the main one, ``inputs`` and ``outputs`` at the ends.
        ends: their positions; -1 for the inputs, and the number of all sites for the outputs.
        small_end_is_chosen: whether a small last layer is a choice: a head's, or that of a branch beside others.
        stands_for: sites in whose place this path is followed, where branches could not be parted.
    """

    positions: tuple[int, ...]
    origins: tuple[Origin, ...]
    freedoms: tuple[Freedom, ...]
    averaged: tuple[bool, ...]
    inside: tuple[str, str] | tuple[()] = ()
    ends: tuple[int, int] = (-1, -1)
    ends_in_outputs: bool = False
    small_end_is_chosen: bool = False
    stands_for: tuple[int, ...] = ()

    @property
    def is_main(self) -> bool:
        """Whether this is the main path, not a chain in a branch."""
        return not self.inside


def find_paths(nodes: Sequence[SiteNode]) -> tuple[SignalPath, ...]:
    """Find every chain with a layer that has weights: the main path first, then each branch where it begins."""
    useful = _reaching(nodes)
    members = [position for position in range(len(nodes)) if useful[position]]
    if not members:
        return ()
    graph = _Graph(nodes, members)
    return tuple(graph.walk(_SOURCE, len(nodes), members))


def find_freedoms(nodes: Sequence[SiteNode], sums: Collection[int] = ()) -> list[Freedom]:
    """Say of each site whether its scale is free; in front of the sums given it is not, whatever follows them."""
    useful = _reaching(nodes)
    children: list[list[int]] = [[] for _ in nodes]
    small = [not node.feeds_output for node in nodes]
    always = list(small)
    for child in range(len(nodes) - 1, -1, -1):
        node = nodes[child]
        if not useful[child]:
            continue
        scale_effects = node.scale_effects or ("other",) * len(node.parents)
        for parent, effect in zip(node.parents, scale_effects, strict=True):
            children[parent].append(child)
            if child in sums:
                small[parent] = always[parent] = False
                continue
            if node.kind in NORMALIZING_KINDS or effect == "normalization":
                continue
            proportional = effect in ("homogeneous", "division")
            weighs = effect == "softmax" and _weighs(nodes, children, child)
            small[parent] &= weighs or (proportional and small[child])
            always[parent] &= proportional and always[child]
    # What is followed of a layer with a fused activation function is what that receives.
    bent = [node.weighted and node.activation not in PROPORTIONAL for node in nodes]
    return [
        "" if bent[each] or not children[each] else "any" if always[each] else "small" if small[each] else ""
        for each in range(len(nodes))
    ]


def _weighs(nodes: Sequence[SiteNode], children: Sequence[Sequence[int]], site: int) -> bool:
    """Find whether a softmax in or before a site weighs other signals, as in attention: it is no classifier's."""
    scale_effects = nodes[site].scale_effects
    if any(effect in ("homogeneous", "division") for effect in scale_effects) and len(scale_effects) > 1:
        return True
    while len(children[site]) == 1 and not nodes[site].feeds_output and not nodes[site].weighted:
        before, site = site, children[site][0]
        if any(parent != before for parent in nodes[site].parents):
            return True
    return False


def find_judged_weights(nodes: Sequence[SiteNode], paths: Sequence[SignalPath]) -> set[int]:
    """List the sites with weights that lie on a path."""
    judged = {position for path in paths for position in (*path.positions, *path.stands_for)}
    # A layer in front of a normalization is followed by what comes out of that.
    ahead = [parent for position in judged if nodes[position].normalizes for parent in nodes[position].parents]
    while ahead:
        position = ahead.pop()
        if nodes[position].weighted:
            judged.add(position)
        else:
            ahead += nodes[position].parents
    return {position for position in judged if nodes[position].weighted}


_SOURCE: Final = -1


class _Graph:
    """The sites that reach the outputs, between one source and one sink."""

    def __init__(self, nodes: Sequence[SiteNode], members: Sequence[int]) -> None:
        self.nodes = nodes
        self.freedoms = find_freedoms(nodes)
        self.sink = len(nodes)
        self.parents = {each: list(nodes[each].parents) for each in members}
        self.children: dict[int, list[int]] = {each: [] for each in (_SOURCE, *members)}
        for each in members:
            for parent in self.parents[each]:
                self.children[parent].append(each)
            if nodes[each].feeds_output:
                self.children[each].append(self.sink)
        for each in members:
            if not nodes[each].parents:
                place = self._find_place(each)
                self.parents[each].append(place)
                self.children[place].append(each)

    def _find_place(self, table: int) -> int:
        """Find the site behind which something begins that nothing feeds: the source, as for an input.

        A table that is added on the way (positions, as often as there are blocks) begins where it is called.
        """
        below, each = {table}, table
        while self.nodes[table].kind != "Input":
            child = min(self.children[each])
            if child == self.sink or (each != table and self.nodes[each].weighted):
                break
            others = [parent for parent in self.parents[child] if parent not in below]
            if others:
                return max(self._ancestors(others, before=table), default=_SOURCE)
            below.add(child)
            each = child
        return _SOURCE

    def _ancestors(self, sites: Sequence[int], before: int) -> set[int]:
        found: set[int] = set()
        ahead = list(sites)
        while ahead:
            each = ahead.pop()
            if each not in found and each != _SOURCE:
                found.add(each)
                ahead += self.parents[each]
        return {each for each in found if each < before}

    def walk(self, entry: int, exit_: int, members: Sequence[int]) -> Iterator[SignalPath]:
        """Yield the chain of a region, whose sites lie between its entry and its exit, and those of its branches."""
        spine = self._spine(entry, exit_, members)
        yield from self._make_path(entry, exit_, spine, members)
        passed = set(spine)
        for before, after in itertools.pairwise([entry, *spine, exit_]):
            for branch in self._components([each for each in members if before < each < after and each not in passed]):
                if len(branch) == len(members):  # nothing was parted
                    weighted = tuple(each for each in branch if self.nodes[each].weighted)
                    for path in self._make_path(before, after, self._longest(branch), branch):
                        yield replace(path, stands_for=weighted)
                else:
                    yield from self.walk(before, after, branch)

    def _spine(self, entry: int, exit_: int, members: Sequence[int]) -> list[int]:
        """List the sites that every path from the entry to the exit passes: those that no edge leads around."""
        inside = set(members)
        reach = max(each for each in self.children[entry] if each in inside)
        spine = []
        for each in members:
            if reach <= each:
                spine.append(each)
            reach = max([reach, *(child for child in self.children[each] if child in inside or child == exit_)])
        return spine

    def _components(self, members: Sequence[int]) -> list[list[int]]:
        """Part sites into groups that no edge joins."""
        group = {each: each for each in members}

        def find(each: int) -> int:
            while group[each] != each:
                group[each] = group[group[each]]
                each = group[each]
            return each

        for each in members:
            for parent in self.parents[each]:
                if parent in group:
                    group[find(each)] = find(parent)
        found: dict[int, list[int]] = {}
        for each in members:
            found.setdefault(find(each), []).append(each)
        return list(found.values())

    def _longest(self, members: Sequence[int]) -> list[int]:
        """Find the chain with the most weights through branches that are tied to one another."""
        best: dict[int, tuple[int, int]] = {}  # length, and the parent it came from
        for each in members:
            before = [parent for parent in self.parents[each] if parent in best]
            came_from = max(before, key=lambda parent: (best[parent][0], -parent), default=_SOURCE)
            length = best[came_from][0] if before else 0
            best[each] = (length + self.nodes[each].weighted, came_from)
        chain = [max(members, key=lambda place: (best[place][0], -place))]
        while best[chain[-1]][1] != _SOURCE:
            chain.append(best[chain[-1]][1])
        return chain[::-1]

    def _is_followed(self, each: int) -> bool:
        if each == self.sink:
            return True
        return self.nodes[each].weighted or self.nodes[each].merges or self.nodes[each].normalizes

    def _make_path(self, entry: int, exit_: int, passed: Sequence[int], members: Sequence[int]) -> Iterator[SignalPath]:
        """Make the path of a chain; nothing where no layer with weights is on it."""
        nodes = self.nodes
        chain = [each for each in passed if self._is_followed(each)]
        if not any(nodes[each].weighted for each in chain):
            return
        # What goes into a normalization and nowhere else is followed by what comes out.
        pairs = itertools.zip_longest(chain, chain[1:])
        followed = [each for each, after in pairs if not self._is_taken_on(each, after)]
        averaging = [each for each in passed if nodes[each].kind in AVERAGING_KINDS]
        averaged = [any(before < each < after for each in averaging) for before, after in itertools.pairwise(followed)]
        origins: list[Origin] = []
        for place, each in enumerate(followed):
            if nodes[each].normalizes:
                origins.append("one" if nodes[each].kind in STANDARDIZING_KINDS else "nothing")
            elif place == 0 or averaged[place - 1]:
                origins.append("received" if nodes[each].weighted else "nothing")
            else:
                origins.append("previous")
        is_main = entry == _SOURCE and exit_ == self.sink
        is_added = entry != _SOURCE and exit_ != self.sink and nodes[exit_].adds
        inner = find_freedoms(nodes, {exit_}) if is_added else self.freedoms
        yield SignalPath(
            positions=tuple(followed),
            origins=tuple(origins),
            # How large the end of a branch is beside what it is added to is another rule's to judge.
            freedoms=(*(inner[each] for each in followed[:-1]), self.freedoms[followed[-1]]),
            averaged=tuple(averaged),
            inside=() if is_main else (self._name(entry, "inputs"), self._name(exit_, "outputs")),
            ends=(entry, exit_),
            ends_in_outputs=exit_ == self.sink,
            # Behind the source stand towers, and none of them is there to be small; nor is what heads begin with.
            small_end_is_chosen=(exit_ == self.sink or entry != _SOURCE)
            and not any(nodes[each].weighted for each in members if each > followed[-1]),
        )

    def _name(self, site: int, end: str) -> str:
        return end if site in (_SOURCE, self.sink) else self.nodes[site].layer

    def _is_taken_on(self, each: int, after: int | None) -> bool:
        """Find whether all that a site feeds leads into one normalization, which divides its scale out."""
        if after is None or not self.nodes[after].normalizes or self.freedoms[each] != "any":
            return False
        children = self.children[each]
        while len(children) == 1 and children[0] != after and not self._is_followed(children[0]):
            children = self.children[children[0]]
        return children == [after]


def _reaching(nodes: Sequence[SiteNode]) -> list[bool]:
    """Say of each site whether it reaches an output."""
    useful = [node.feeds_output for node in nodes]
    for position in range(len(nodes) - 1, -1, -1):
        if useful[position]:
            for parent in nodes[position].parents:
                useful[parent] = True
    return useful
