"""Which captured tensors feed which, read off the traced graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def find_parents(outputs: Sequence[Any], ends: Iterable[Any]) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Find, for each captured tensor, the captured tensors that feed it without passing another one.

    Loops and calls of other functions are single operations of the graph: what goes in feeds all that comes out.

    Args:
        outputs: the captured tensors of one traced graph, in the order in which they were made; each is the only output
            of an operation of its own.
        ends: tensors made of them, such as the model's outputs.

    Returns:
        For each captured tensor the indices of those that feed it, in order; and the indices that feed the ends.
    """
    number = {id(output.op): index for index, output in enumerate(outputs)}
    known: dict[int, frozenset[int]] = {}

    def above(operation: Any) -> frozenset[int]:
        """Look up what feeds an operation's output, walking up without recursion: graphs may be thousands deep."""
        stack = [operation]
        while stack:
            current = stack[-1]
            if id(current) in known:
                stack.pop()
                continue
            if id(current) in number and current is not operation:
                known[id(current)] = frozenset((number[id(current)],))
                stack.pop()
                continue
            missing = [tensor.op for tensor in current.inputs if id(tensor.op) not in known and not stop(tensor.op)]
            if missing:
                stack.extend(missing)
                continue
            found: set[int] = set()
            for tensor in current.inputs:
                found |= {number[id(tensor.op)]} if stop(tensor.op) else known[id(tensor.op)]
            if current is operation and stop(current):
                return frozenset(found)
            known[id(current)] = frozenset(found)
            stack.pop()
        return known[id(operation)]

    def stop(operation: Any) -> bool:
        return id(operation) in number

    parents = tuple(tuple(sorted(above(output.op))) for output in outputs)
    last: set[int] = set()
    for end in ends:
        last |= {number[id(end.op)]} if stop(end.op) else above(end.op)
    return parents, tuple(sorted(last))
