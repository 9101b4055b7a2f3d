"""How a defect is planted in the installed Keras, and taken out again.

Patches go where every user of Keras finds them: on the classes, on the module that the initializers draw from, in the
dictionaries that names are looked up in. Whatever was changed is restored when the context ends, also by an exception.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.models.initializers import INITIALIZERS, InitializerSpec
from initcheck.spec.subjects import EntryDistribution, entry_distribution

Plant = Callable[[], AbstractContextManager[Any]]
"""Makes the context in which the installed Keras has a defect."""


@dataclass(frozen=True)
class Planted:
    """A defect, or a repair of something that is documented and false.

    Attributes:
        name: one word, in lower case.
        note: what is planted, in words.
        plant: see :data:`Plant`.
        caught_by: patterns of claims' ids (as in ``fnmatch``): each names claims that hold without the defect, and all
            of them have to turn red with it.
        spared: patterns of claims that have to stay green: the defect is not theirs.
        named_first: patterns of claims that say what was planted: of all that turn red, one of these has to be listed
            first. Empty where each of ``caught_by`` says it, and does not merely notice it.
        not_shown: patterns of claims whose control cannot fail any more, so that they show nothing.
    """

    name: str
    note: str
    plant: Plant
    caught_by: tuple[str, ...]
    spared: tuple[str, ...] = ()
    named_first: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The patterns of the claims that may be listed first."""
        return self.named_first or self.caught_by


def slug(class_name: str) -> str:
    """Spell a class's name as the claims' ids do."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in class_name).lstrip("_")


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
def stacked(contexts: Iterable[AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter several contexts."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def together(*plants: Plant) -> Plant:
    """Plant several things at once."""
    return lambda: stacked(plant() for plant in plants)


def default(function: Callable[..., Any], **changed: Any) -> AbstractContextManager[Any]:
    """Change the defaults of a function's arguments, its signature included."""
    parameters = [each for each in inspect.signature(function).parameters.values() if each.default is not each.empty]
    missing = set(changed) - {parameter.name for parameter in parameters}
    if missing:
        raise LookupError(f"{function.__qualname__} has no default for {missing}")
    keywords = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    positional = {each.name: each.default for each in parameters if each.name not in keywords}
    return mock.patch.multiple(
        function,
        __defaults__=tuple(changed.get(name, value) for name, value in positional.items()),
        __kwdefaults__={name: changed.get(name, value) for name, value in keywords.items()} or None,
    )


def class_default(class_name: str, **changed: Any) -> Plant:
    """Plant other defaults of an initializer's arguments."""
    return lambda: default(initializer_class(class_name).__init__, **changed)


def layer_default(*names: str, **changed: Any) -> Plant:
    """Plant other defaults of layers' arguments."""
    return lambda: stacked(default(layer_class(name).__init__, **changed) for name in names)


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From drawn weights in float64 and a source of chance that depends on them alone to other weights."""


def values(classes: str, change: Change) -> Plant:
    """Plant a change of what initializers return.

    The source of chance is seeded by the weights themselves: what was reproducible stays so.

    Args:
        classes: of ``keras.initializers``, by name, separated by spaces.
        change: see :data:`Change`.
    """

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None, **arguments: Any) -> Any:
            return rewritten(call(self, shape, dtype=dtype, **arguments), change)

        return changed

    return call_wrapped(classes, wrap)


def standard_values(classes: str, change: Change) -> Plant:
    """Plant a change of what initializers return, less the documented mean and in units of the standard deviation.

    A change that took the standard deviation of each draw would make its entries depend on each other.
    """

    def wrap(call: Any) -> Any:
        @functools.wraps(call)
        def changed(self: Any, shape: Any, dtype: Any = None, **arguments: Any) -> Any:
            entry = documented_entry(self, tuple(shape))

            def in_units(w: np.ndarray, random: np.random.Generator) -> np.ndarray:
                return entry.mean + entry.standard_deviation * change(entry.standardize(w), random)

            return rewritten(call(self, shape, dtype=dtype, **arguments), in_units)

        return changed

    return call_wrapped(classes, wrap)


def documented_entry(initializer: Any, shape: tuple[int, ...]) -> EntryDistribution:
    """Give the distribution of an entry that Keras documents, by the shape alone."""
    name = next(kind.__name__ for kind in type(initializer).__mro__ if kind.__name__ in INITIALIZERS)
    known = INITIALIZERS[name].arguments
    arguments = tuple((key, value) for key, value in initializer.get_config().items() if key in known)
    return entry_distribution(InitializerSpec(name, arguments), shape)


def rewritten(drawn: Any, change: Change) -> Any:
    """Apply a change to a tensor; what is only symbolic (in a compiled function) stays as it is."""
    if not hasattr(drawn, "numpy"):
        return drawn
    array = drawn.numpy()
    random = np.random.default_rng(zlib.crc32(array.tobytes()))
    ops = import_keras().ops
    return ops.cast(ops.convert_to_tensor(change(array.astype(np.float64), random)), drawn.dtype)


def call_wrapped(classes: str, wrap: Callable[[Any], Any], method: str = "__call__") -> Plant:
    """Plant a wrapper around a method of initializers' classes, each by itself: relatives do not notice."""

    def planted() -> AbstractContextManager[None]:
        owners = [initializer_class(name) for name in classes.split()]
        # All methods are read before the first is replaced: one class may inherit that of another.
        return stacked([mock.patch.object(owner, method, wrap(getattr(owner, method))) for owner in owners])

    return planted


def replaced(path: str, make: Callable[[Any], Any]) -> Plant:
    """Plant another function in place of one of ``keras.src``: ``make`` gets the original.

    Args:
        path: module (or class) and name, such as ``initializers.random_initializers.compute_fans``.
        make: from the original to its replacement.
    """

    def planted() -> AbstractContextManager[Any]:
        owner_path, _, name = path.rpartition(".")
        owner = source(owner_path)
        return mock.patch.object(owner, name, make(getattr(owner, name)))

    return planted


def before_build(path: str, change: Callable[[Any], None]) -> Plant:
    """Plant a change of a layer just before it makes its weights."""

    def make(build: Any) -> Any:
        @functools.wraps(build)
        def changed(self: Any, input_shape: Any) -> None:  # Keras looks at the names of the arguments
            change(self)
            build(self, input_shape)

        return changed

    return replaced(f"{path}.build", make)


def weight(layer: str, name: str, make: Callable[[Any, Any], Any]) -> Plant:
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
