"""How a defect is planted in the installed Keras, and taken out again.

Patches go where every user of Keras finds them: on the classes, on the module that the initializers draw from, in the
dictionaries that names are looked up in. Whatever was changed is restored when the context ends, also by an exception.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from initcheck.backend.runtime import import_keras

ABSENT = object()


@dataclass(frozen=True)
class Planted:
    """A defect, or a repair of something that is documented and false.

    Attributes:
        name: one word, in lower case.
        note: what is planted, in words.
        plant: makes the context in which the installed Keras has the defect.
        caught_by: patterns of claims' ids (as in ``fnmatch``): each names claims that hold without the defect, and all
            of them have to turn red with it.
        spared: patterns of claims that have to stay green: the defect is not theirs.
    """

    name: str
    note: str
    plant: Callable[[], AbstractContextManager[None]]
    caught_by: tuple[str, ...]
    spared: tuple[str, ...] = ()


def source(path: str) -> Any:
    """Find something of ``keras.src`` by its dotted path: a module, or what a module holds."""
    import_keras()
    module, _, name = f"keras.src.{path}".rpartition(".")
    try:
        return importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), name)


def initializer_class(name: str) -> Any:
    return getattr(import_keras().initializers, name)


def layer_class(name: str) -> Any:
    return getattr(import_keras().layers, name)


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute on the owner itself; afterwards what was inherited is inherited again."""
    before = vars(owner).get(name, ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def default(function: Callable[..., Any], **changed: Any) -> Iterator[None]:
    """Change the defaults of a function's arguments, its signature included."""
    parameters = inspect.signature(function).parameters.values()
    defaults = [parameter for parameter in parameters if parameter.default is not inspect.Parameter.empty]
    positional = [each for each in defaults if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    missing = set(changed) - {parameter.name for parameter in defaults}
    if missing:
        raise LookupError(f"{function.__qualname__} has no default for {missing}")
    values = tuple(changed.get(parameter.name, parameter.default) for parameter in positional)
    keywords = {
        each.name: changed.get(each.name, each.default)
        for each in defaults
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    before = function.__defaults__, function.__kwdefaults__
    function.__defaults__, function.__kwdefaults__ = values, keywords or None
    try:
        yield
    finally:
        function.__defaults__, function.__kwdefaults__ = before


def class_default(class_name: str, **changed: Any) -> Callable[[], AbstractContextManager[None]]:
    """Plant other defaults of an initializer's arguments."""
    return lambda: default(initializer_class(class_name).__init__, **changed)


def layer_default(*names: str, **changed: Any) -> Callable[[], AbstractContextManager[None]]:
    """Plant other defaults of layers' arguments."""

    @contextmanager
    def planted() -> Iterator[None]:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(default(layer_class(name).__init__, **changed))
            yield

    return planted


def entry(path: str, **changed: Any) -> Callable[[], AbstractContextManager[None]]:
    """Plant other entries of a dictionary of ``keras.src``, such as the one that initializers' names are found in."""
    return lambda: mock.patch.dict(source(path), changed)


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From drawn weights in float64 and a source of chance that depends on them alone to other weights."""


def values(classes: str | Sequence[str], change: Change) -> Callable[[], AbstractContextManager[None]]:
    """Plant a change of what initializers return.

    The source of chance is seeded by the weights themselves: what was reproducible stays so.

    Args:
        classes: of ``keras.initializers``, by name, separated by spaces.
        change: see :data:`Change`.
    """

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None, **arguments: Any) -> Any:
            drawn = call(self, shape, dtype=dtype, **arguments)
            return rewritten(drawn, change)

        return changed

    return call_wrapped(classes, wrap)


def rewritten(drawn: Any, change: Change) -> Any:
    """Apply a change to a tensor; what is only symbolic (in a compiled function) stays as it is."""
    if not hasattr(drawn, "numpy"):
        return drawn
    array = drawn.numpy()
    random = np.random.default_rng(zlib.crc32(array.tobytes()))
    ops = import_keras().ops
    return ops.cast(ops.convert_to_tensor(change(array.astype(np.float64), random)), drawn.dtype)


def call_wrapped(
    classes: str | Sequence[str], wrap: Callable[[Any], Any], method: str = "__call__"
) -> Callable[[], AbstractContextManager[None]]:
    """Plant a wrapper around a method of initializers' classes, each by itself: relatives do not notice."""
    names = classes.split() if isinstance(classes, str) else list(classes)

    @contextmanager
    def planted() -> Iterator[None]:
        with ExitStack() as stack:
            found = [(owner, getattr(owner, method)) for owner in map(initializer_class, names)]
            for owner, call in found:
                stack.enter_context(attribute(owner, method, wrap(call)))
            yield

    return planted


def replaced(path: str, make: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[None]]:
    """Plant another function in place of one of ``keras.src``: ``make`` gets the original.

    Args:
        path: module (or class) and name, such as ``initializers.random_initializers.compute_fans``.
        make: from the original to its replacement.
    """

    @contextmanager
    def planted() -> Iterator[None]:
        owner_path, _, name = path.rpartition(".")
        owner = source(owner_path)
        original = getattr(owner, name)
        with attribute(owner, name, make(original)):
            yield

    return planted


def method(class_path: str, name: str, make: Callable[[Any], Any]) -> Callable[[], AbstractContextManager[None]]:
    """Plant another method of a class: ``make`` gets the original function."""
    return replaced(f"{class_path}.{name}", make)


def weight(layer: str, name: str, make: Callable[[Any, Any], Any]) -> Callable[[], AbstractContextManager[None]]:
    """Plant another initializer for one weight of a layer's class.

    Args:
        layer: name of the layer's class.
        name: name of the weight.
        make: from the layer and the initializer that it would have used to another.
    """

    def wrap(add_weight: Any) -> Any:
        @functools.wraps(add_weight)
        def changed(self: Any, *arguments: Any, **keywords: Any) -> Any:
            if type(self).__name__ == layer and keywords.get("name") == name:
                keywords["initializer"] = make(self, keywords.get("initializer"))
            return add_weight(self, *arguments, **keywords)

        return changed

    return replaced("layers.layer.Layer.add_weight", wrap)


def together(*plants: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Plant several things at once."""

    @contextmanager
    def planted() -> Iterator[None]:
        with ExitStack() as stack:
            for plant in plants:
                stack.enter_context(plant())
            yield

    return planted
