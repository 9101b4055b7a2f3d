"""Names for layers and weights that do not change from one build of a model to the next.

Keras numbers the layers it names itself by a counter of the process (``dense_7`` today, ``dense_12``
tomorrow). A path here is made from the model's structure instead: the names a person gave are kept,
the automatic ones are renumbered by order within their parent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from initcheck.backend.runtime import import_keras


def snake_case(name: str) -> str:
    """Spell a class name as Keras does when it names a layer: ``Conv2DTranspose`` becomes ``conv2d_transpose``."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def plain_name(name: str, base: str) -> str:
    """Strip the number from a name that Keras made from ``base``; leave a name that a person gave."""
    return base if re.fullmatch(rf"{re.escape(base)}(_\d+)?", name) else name


class PathNamer:
    """Gives every layer and operation of a model one structural path.

    The path of a layer is the path of its parent, a slash, and its own name; the model itself has the empty path. A
    layer that several parents share has the path below the first parent that lists it. Layers that no parent lists are
    named when they are first met, under ``untracked``.
    """

    def __init__(self, model: Any) -> None:
        self._paths: dict[int, str] = {id(model): ""}
        self._members: list[Any] = [model]  # keeps the ids alive for as long as this object lives
        self._taken: Counter[str] = Counter()
        self._walk(model, "")

    def path_of(self, operation: Any) -> str:
        """Return the path of a layer or operation, naming it first if it is unknown."""
        path = self._paths.get(id(operation))
        return self._name(operation, "untracked") if path is None else path

    def knows(self, operation: Any) -> bool:
        """Return whether a layer or operation has a path already."""
        return id(operation) in self._paths

    def members(self) -> Iterator[tuple[str, Any]]:
        """Yield (path, layer or operation) in the order of the model's structure."""
        for member in self._members:
            yield self._paths[id(member)], member

    def variable_paths(self) -> dict[int, str]:
        """Map the ``id`` of each weight of the model to its path, ``layer/path/weight_name``."""
        paths: dict[int, str] = {}
        taken: Counter[str] = Counter()
        for layer_path, member in self.members():
            for variable in own_variables(member):
                if id(variable) in paths:
                    continue
                name = plain_name(str(variable.name), "variable")
                base = f"{layer_path}/{name}" if layer_path else name
                paths[id(variable)] = f"{base}_{taken[base]}" if taken[base] else base
                taken[base] += 1
        return paths

    def _walk(self, parent: Any, parent_path: str) -> None:
        fresh = [child for child in child_operations(parent) if id(child) not in self._paths]
        # All children are named before any grandchild: the first parent in order of structure wins.
        for child in fresh:
            if id(child) not in self._paths:
                self._name(child, parent_path)
        for child in fresh:
            self._walk(child, self._paths[id(child)])

    def _name(self, operation: Any, parent_path: str) -> str:
        name = plain_name(str(operation.name), snake_case(type(operation).__name__))
        full = f"{parent_path}/{name}" if parent_path else name
        count = self._taken[full]
        self._taken[full] += 1
        path = f"{full}_{count}" if count else full
        self._paths[id(operation)] = path
        self._members.append(operation)
        return path


def child_operations(parent: Any) -> list[Any]:
    """List the layers and graph operations directly inside a layer, in the order of its structure."""
    operations = getattr(parent, "operations", None)  # functional models: layers and keras.ops nodes
    layers = import_keras().layers
    if isinstance(parent, import_keras().Sequential):
        return list(parent.layers)
    tracked = []
    if isinstance(parent, layers.Layer):
        tracked = list(parent._flatten_layers(include_self=False, recursive=False))
    if isinstance(operations, list | tuple):
        # A class derived from a functional model may hold layers beside its graph.
        known = {id(operation) for operation in operations}
        return [*operations, *(layer for layer in tracked if id(layer) not in known)]
    return tracked


def own_variables(layer: Any) -> list[Any]:
    """List the weights that a layer holds itself, without those of the layers inside it."""
    trainable = getattr(layer, "_trainable_variables", ())
    return [*trainable, *getattr(layer, "_non_trainable_variables", ())]
