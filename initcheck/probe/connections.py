"""Which captured tensors feed which, and the longest chain of weights among them, from the operations of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Operations = Mapping[str, tuple[str, ...]]
"""By name and in order of execution, the operations whose values each operation takes."""


@dataclass(frozen=True)
class Connections:
    """How the measured sites of a model hang together.

    Attributes:
        parents: for each site the positions of the sites that feed it without passing another one, in order.
        output_sites: positions of the sites that feed the loss without passing another one, in order.
        trunk: positions of the weighted sites on the longest chain of them from an input to the loss, in order.
    """

    parents: tuple[tuple[int, ...], ...] = ()
    output_sites: tuple[int, ...] = ()
    trunk: tuple[int, ...] = ()


def connect_sites(
    operations: Operations, sites: Sequence[str], weighted: Sequence[bool], inputs: Sequence[str], loss: str
) -> Connections:
    """Find out how sites hang together.

    The degenerate cases: a loss that no site reaches has no output sites and no trunk; a model without weights has an
    empty trunk.

    Args:
        operations: of the graph, up to the loss.
        sites: the operation that made each site's tensor, in order of execution; each makes nothing else.
        weighted: of each site whether it counts in the chain.
        inputs: the operations that the model's inputs come from.
        loss: the operation that made the loss.
    """
    parents, output_sites = find_parents(operations, sites, loss)
    return Connections(parents, output_sites, find_longest_chain(operations, sites, weighted, inputs, loss))


def find_parents(
    operations: Operations, sites: Sequence[str], end: str
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Find for each site, and for the end, the sites that feed it without passing another one.

    Returns:
        The positions for each site, and for the end, in ascending order.
    """
    number = {name: position for position, name in enumerate(sites)}
    above: dict[str, frozenset[int]] = {}
    nothing: frozenset[int] = frozenset()
    for name, sources in operations.items():
        fed = {frozenset((number[source],)) if source in number else above[source] for source in sources}
        # The same set is kept, not a copy: most operations have one source that matters.
        above[name] = next(iter(fed)) if len(fed) == 1 else nothing.union(*fed)
    last = {number[end]} if end in number else above[end]
    return tuple(tuple(sorted(above[name])) for name in sites), tuple(sorted(last))


def find_longest_chain(
    operations: Operations, sites: Sequence[str], weighted: Sequence[bool], inputs: Sequence[str], end: str
) -> tuple[int, ...]:
    """Find the path from an input to the end that passes the most weighted sites.

    Among equally long paths the one that enters each operation by its first argument is taken.

    Returns:
        The positions of the weighted sites on that path, in order of execution; empty without a path.
    """
    number = {name: position for position, name in enumerate(sites) if weighted[position]}
    starts = frozenset(inputs)
    best: dict[str, tuple[int, int]] = {}  # sites passed so far, and the last of them (-1 for none)
    came_from: dict[int, int] = {}
    for name, sources in operations.items():
        reached = [best[source] for source in sources if source in best]
        if name in starts:
            reached.append((0, -1))
        if not reached:
            continue
        count, last = max(reached, key=lambda each: each[0])  # the first of several
        if name in number:
            came_from[number[name]] = last
            count, last = count + 1, number[name]
        best[name] = count, last
    chain = []
    position = best.get(end, (0, -1))[1]
    while position >= 0:
        chain.append(position)
        position = came_from[position]
    return tuple(reversed(chain))
