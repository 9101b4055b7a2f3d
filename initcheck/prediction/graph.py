"""The layers of a functional Keras model in the order in which they run, with the tensors that join them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from initcheck.backend.keras_private import functional_class
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import TheoryError
from initcheck.probe.paths import PathNamer


@dataclass(frozen=True, eq=False)
class Node:
    """One call of one layer or operation.

    Attributes:
        operation: the layer or operation; None for an input of the model, and for a second output of a layer.
        input: which input of the model it is; None for all others.
    """

    layer: str
    call: int
    operation: Any
    parents: tuple[int, ...]
    input: int | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A functional model."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    namer: PathNamer


def read_graph(model: Any) -> Graph:
    """Read the graph of a functional or sequential model; models nested in it are opened."""
    reader = _Reader(PathNamer(model))
    functional = _as_functional(model)
    if functional is None:
        raise TheoryError(
            f"Theory cannot follow the model {model.name!r}: it has a call method of its own, and no graph of layers. "
            "Only what was measured is known of it."
        )
    places = {
        id(tensor): reader.add(Node("input" if len(functional.inputs) == 1 else f"input_{index}", 0, None, (), index))
        for index, tensor in enumerate(functional.inputs)
    }
    outputs = reader.read(functional, places)
    return Graph(tuple(reader.nodes), outputs, reader.namer)


def _as_functional(model: Any) -> Any:
    """Return the functional model that a model is or holds; None for one with a call method of its own."""
    keras = import_keras()
    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        return model._functional
    functional = functional_class()
    if isinstance(model, functional) and type(model).call is functional.call:
        return model
    return None


class _Reader:
    """Collects the nodes of a model and of the models inside it."""

    def __init__(self, namer: PathNamer) -> None:
        self.namer = namer
        self.nodes: list[Node] = []
        self._calls: Counter[str] = Counter()

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def read(self, functional: Any, places: dict[int, int]) -> tuple[int, ...]:
        """Add the nodes of one functional model."""
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for keras_node in functional._nodes_by_depth[depth]:
                if keras_node.is_input:
                    continue
                parents = tuple(places[id(tensor)] for tensor in keras_node.input_tensors)
                inner = _as_functional(keras_node.operation)
                if inner is not None and len(inner.inputs) == len(parents):
                    inside = {id(tensor): parent for tensor, parent in zip(inner.inputs, parents, strict=True)}
                    results = self.read(inner, inside)
                else:
                    results = self._add_call(keras_node, parents)
                for tensor, result in zip(keras_node.outputs, results, strict=True):
                    places[id(tensor)] = result
        return tuple(places[id(tensor)] for tensor in functional.outputs)

    def _add_call(self, keras_node: Any, parents: tuple[int, ...]) -> tuple[int, ...]:
        path = self.namer.path_of(keras_node.operation)
        call = self._calls[path]
        self._calls[path] += 1
        first = self.add(Node(path, call, keras_node.operation, parents))
        others = range(1, len(keras_node.outputs))
        return first, *(self.add(Node(f"{path}:{index}", call, None, parents)) for index in others)
