"""Two names for every layer and weight of a model: the one that people see, and a path that no build changes.

Keras numbers the layers it names itself by a counter of the process (``dense_7`` today, ``dense_12`` tomorrow). People
see these names as they are, joined by slashes from the model down (``encoder/dense_7``), so that ``get_layer`` finds
what is reported. What has to be the same in every process (the seed that a weight is drawn from, the entry of a
baseline) goes by a path that is made from the model's structure instead: the names a person gave are kept, the
automatic ones are renumbered by order within their parent. ``dense_3`` may be the path of one layer and the name of
another.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from initcheck.backend.runtime import import_keras

_UNTRACKED: Final = "untracked"
_DIRECTIONS: Final = ("forward_", "backward_")


def snake_case(name: str) -> str:
    """Spell a class name as Keras does when it names a layer: ``Conv2DTranspose`` becomes ``conv2d_transpose``."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def plain_name(name: str, base: str) -> str:
    """Strip the number from a name that Keras made from ``base``; leave a name that a person gave."""
    return base if re.fullmatch(rf"{re.escape(base)}(_\d+)?", name) else name


class PathNamer:
    """Gives every layer and operation of a model one structural path, and one name for people.

    Both are those of its parent, a slash, and its own; the model itself has the empty one. A layer that several parents
    share is named below the first parent that lists it. Layers that no parent lists are named when they are first met,
    under ``untracked``. Of layers with one name in one parent, which a subclassed model may have, ``get_layer`` finds
    the first; the others bear the attribute that holds them, or their number, behind an ``@``.
    """

    def __init__(self, model: Any) -> None:
        self._paths: dict[int, str] = {id(model): ""}
        self._names: dict[int, str] = {id(model): ""}
        self._members: list[Any] = [model]  # keeps the ids alive for as long as this object lives
        self._taken: set[str] = set()
        self._taken_names: set[str] = set()
        self._walk(model)

    def path_of(self, operation: Any) -> str:
        """Return the path of a layer or operation, naming it first if it is unknown."""
        path = self._paths.get(id(operation))
        return self._name(operation, None) if path is None else path

    def name_of(self, operation: Any) -> str:
        """Return the name of a layer or operation for people, naming it first if it is unknown."""
        self.path_of(operation)
        return self._names[id(operation)]

    def knows(self, operation: Any) -> bool:
        """Return whether a layer or operation has a path already."""
        return id(operation) in self._paths

    def members(self) -> Iterator[tuple[str, Any]]:
        """Yield (path, layer or operation) in the order of the model's structure."""
        for member in self._members:
            yield self._paths[id(member)], member

    def name_inputs(self, layers: Sequence[Any]) -> list[tuple[str, str]]:
        """Name the inputs of a model, and give their structural paths.

        Args:
            layers: the InputLayer of each, see :func:`input_layers`; None for an input without one.

        Returns:
            Those of its InputLayer where ``get_layer`` finds it, in a functional model; else ``input``, or ``input_0``
            and so on.
        """
        found = []
        for number, layer in enumerate(layers):
            plain = "input" if len(layers) == 1 else f"input_{number}"
            plain = _distinguish(plain, set(self._names.values()))  # a layer may be named so
            found.append((self.name_of(layer), self.path_of(layer)) if self.knows(layer) else (plain, plain))
        return found

    def keys(self) -> dict[str, str]:
        """Map the name of each layer, operation and weight to its structural path."""
        weights, paths = self.variable_names(), self.variable_paths()
        layers = {self._names[id(member)]: path for path, member in self.members() if path}
        return {weights[variable]: path for variable, path in paths.items()} | layers

    def variable_names(self) -> dict[int, str]:
        """Map the ``id`` of each weight of the model to its name for people, ``layer/name/weight_name``."""
        names: dict[int, str] = {}
        taken: set[str] = set()
        for member in self._members:
            for variable in own_variables(member):
                if id(variable) not in names:
                    base = _join(self._names[id(member)], str(variable.name))
                    names[id(variable)] = _distinguish(base, taken)
        return names

    def variable_paths(self) -> dict[int, str]:
        """Map the ``id`` of each weight of the model to its path, ``layer/path/weight_name``."""
        paths: dict[int, str] = {}
        taken: set[str] = set()
        for layer_path, member in self.members():
            for variable in own_variables(member):
                if id(variable) in paths:
                    continue
                name = plain_name(_take_owner_number(str(variable.name), member), "variable")
                paths[id(variable)] = _number(_join(layer_path, name), taken)
        return paths

    def _walk(self, parent: Any) -> None:
        fresh = [child for child in child_operations(parent) if id(child) not in self._paths]
        # All children are named before any grandchild: the first parent in order of structure wins.
        for child in fresh:
            if id(child) not in self._paths:
                self._name(child, parent)
        for child in fresh:
            self._walk(child)

    def _name(self, operation: Any, parent: Any) -> str:
        name = plain_name(_take_owner_number(str(operation.name), parent), _automatic_base(operation, parent))
        # A person may give a name that a number makes of another: dense_1, to a layer that is no Dense.
        path = _number(_join(self._paths.get(id(parent), _UNTRACKED), name), self._taken)
        self._paths[id(operation)] = path
        shown = _join(self._names.get(id(parent), _UNTRACKED), str(operation.name))
        attributes = (key for key, value in getattr(parent, "__dict__", {}).items() if value is operation)
        self._names[id(operation)] = _distinguish(shown, self._taken_names, next(attributes, None))
        self._members.append(operation)
        return path


def _take_owner_number(name: str, owner: Any) -> str:
    """Take the number out that Keras gave an owner, from a name that its code made of its own: ``block_3_kernel``."""
    own = "" if owner is None else str(owner.name)
    if not name.startswith(f"{own}_"):
        return name
    return plain_name(own, snake_case(type(owner).__name__)) + name.removeprefix(own)


def _automatic_base(operation: Any, parent: Any) -> str:
    """Return what Keras numbers an automatic name from; Bidirectional puts a word before those of its two layers."""
    base = snake_case(type(operation).__name__)
    if isinstance(parent, import_keras().layers.Bidirectional):
        words = (word for word in _DIRECTIONS if str(operation.name).startswith(word))
        return next(words, "") + base
    return base


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _number(path: str, taken: set[str]) -> str:
    """Put a number behind a path that is taken."""
    return _take_free(path, (f"{path}_{number}" for number in itertools.count(1)), taken)


def _distinguish(name: str, taken: set[str], mark: str | None = None) -> str:
    """Put a mark, or else a number, behind a name that is taken."""
    marks = itertools.chain([mark] if mark else [], itertools.count(2))
    return _take_free(name, (f"{name}@{each}" for each in marks), taken)


def _take_free(name: str, others: Iterator[str], taken: set[str]) -> str:
    """Take a name, or the first of others, that is not taken."""
    free = next(each for each in itertools.chain([name], others) if each not in taken)
    taken.add(free)
    return free


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


def input_layers(model: Any) -> list[Any]:
    """List the InputLayers of a model that says what it takes, in the order of its inputs."""
    return [tensor._keras_history.operation for tensor in getattr(model, "inputs", None) or ()]


def own_variables(layer: Any) -> list[Any]:
    """List the weights that a layer holds itself, without those of the layers inside it."""
    trainable = getattr(layer, "_trainable_variables", ())
    return [*trainable, *getattr(layer, "_non_trainable_variables", ())]
