"""The paths along which a signal is followed: the main path of a model, and long chains inside its branches.

From the graph of measured sites alone:

- the *main path* are the sites that lie on every path from the input of the deepest chain to the outputs (its
  dominators). In a plain network these are all layers; in a residual one the sums of the skip connections and what lies
  between the blocks. A signal may be small in a branch by design (a scale of 1e-6, an average over a thousand
  positions) and whole beside it, so that only the main path says what reaches the end;
- a *chain* is the longest run of layers with weights between two neighbouring sites of the main path.

A site dominates if the number of paths through it is the number of all paths; the numbers are exact integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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

NORMALIZING_KINDS: Final = frozenset(
    {"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization"}
)
"""Kinds that divide by the scale of their input."""

SHORTEST_CHAIN: Final = 4
"""A chain inside a branch is followed on its own from this many layers with weights."""


@dataclass(frozen=True)
class SiteNode:
    """One site in the graph of measured sites.

    Attributes:
        weighted: whether it has a trainable weight of two or more axes.
        clips_at_zero: whether its fused activation function is exactly 0 on a whole interval, as ReLU is.
        place: where its layer was made, ``models.py:14``; empty where that is not known.
    """

    layer: str
    kind: str
    weighted: bool
    feeds_output: bool
    parents: tuple[int, ...]
    clips_at_zero: bool = True
    place: str = ""


@dataclass(frozen=True)
class SignalPath:
    """Sites that a signal passes one after the other; ``inside`` names the layers around the branch of a chain."""

    positions: tuple[int, ...]
    averaged: tuple[bool, ...]
    inside: tuple[str, str] | tuple[()] = ()

    @property
    def is_main(self) -> bool:
        """Whether this is the main path, not a chain in a branch."""
        return not self.inside


def find_paths(nodes: Sequence[SiteNode]) -> tuple[SignalPath, ...]:
    """Find the main path, and the chains of at least SHORTEST_CHAIN layers beside it."""
    useful = _reaching(nodes)
    chain = _longest_chain(nodes, useful)
    if not chain:
        return ()
    dominators = _dominators(nodes, useful, chain[0])
    followed = [p for p in dominators if nodes[p].weighted or len(_useful_parents(nodes, p, useful)) > 1]
    paths = [_make_path(nodes, followed, dominators)]
    for before, after in itertools.pairwise(dominators):
        inner = [p for p in chain if before < p < after and nodes[p].weighted]
        if len(inner) < SHORTEST_CHAIN:
            continue
        # Only what every path through the chain passes: not a gate beside it (squeeze and excite).
        whole = [p for p in _dominators(nodes, useful, inner[0], inner[-1]) if inner[0] <= p <= inner[-1]]
        passed = [p for p in whole if nodes[p].weighted]
        if len(passed) >= SHORTEST_CHAIN:
            paths.append(_make_path(nodes, passed, whole, (nodes[before].layer, nodes[after].layer)))
    return tuple(paths)


def _make_path(
    nodes: Sequence[SiteNode],
    followed: Sequence[int],
    passed: Sequence[int],
    inside: tuple[str, str] | tuple[()] = (),
) -> SignalPath:
    averaging = [p for p in passed if nodes[p].kind in AVERAGING_KINDS]
    followed = [_after_normalization(nodes, position) for position in followed]
    averaged = tuple(any(before < p <= after for p in averaging) for before, after in itertools.pairwise(followed))
    return SignalPath(tuple(followed), averaged, inside)


def _after_normalization(nodes: Sequence[SiteNode], position: int) -> int:
    """Follow a layer's output into a normalization, where it goes nowhere else: the scale before it is divided out."""
    children = [child for child, node in enumerate(nodes) if position in node.parents]
    alone = len(children) == 1 and not nodes[position].feeds_output
    return children[0] if alone and nodes[children[0]].kind in NORMALIZING_KINDS else position


def _reaching(nodes: Sequence[SiteNode]) -> list[bool]:
    """Say of each site whether it reaches an output."""
    useful = [node.feeds_output for node in nodes]
    for position in range(len(nodes) - 1, -1, -1):
        if useful[position]:
            for parent in nodes[position].parents:
                useful[parent] = True
    return useful


def _useful_parents(nodes: Sequence[SiteNode], position: int, useful: Sequence[bool]) -> list[int]:
    return [parent for parent in nodes[position].parents if useful[parent]]


def _longest_chain(nodes: Sequence[SiteNode], useful: Sequence[bool]) -> list[int]:
    """Find the path with the most weighted sites; of equally long ones the one through the earliest sites."""
    best: list[tuple[int, int]] = []  # length, and the parent it came from
    for node in nodes:
        came_from = max(node.parents, key=lambda parent: (best[parent][0], -parent), default=-1)
        length = best[came_from][0] if came_from >= 0 else 0
        best.append((length + node.weighted, came_from))
    ends = [position for position, node in enumerate(nodes) if node.feeds_output and useful[position]]
    if not ends:
        return []
    end = max(ends, key=lambda position: (best[position][0], position))
    chain = [end]
    while best[chain[-1]][1] >= 0:
        chain.append(best[chain[-1]][1])
    return chain[::-1]


def _dominators(nodes: Sequence[SiteNode], useful: Sequence[bool], source: int, sink: int | None = None) -> list[int]:
    """List the sites that are on every path from the source to any output, or to the sink if one is given."""
    from_source = [0] * len(nodes)
    from_source[source] = 1
    for position, node in enumerate(nodes):
        if position != source:
            from_source[position] = sum(from_source[parent] for parent in node.parents)
    to_end = [int(node.feeds_output if sink is None else place == sink) for place, node in enumerate(nodes)]
    for position in range(len(nodes) - 1, -1, -1):
        for parent in nodes[position].parents:
            to_end[parent] += to_end[position]
    total = to_end[source]
    return [
        position
        for position in range(len(nodes))
        if useful[position] and from_source[position] * to_end[position] == total
    ]
