"""Initializers that Keras does not ship, called as Keras calls them: eagerly, once for each seed.

Where such an initializer takes its random numbers from cannot be seen: NumPy, Python's ``random``, Keras' global
generator, another initializer inside. Within a compiled graph it would be called once, and all seeds would get the same
numbers. So it is called by itself under global generators that are set from the seed, and what it holds (seeds,
generators, other initializers) is replaced in a copy of it. What is out of reach, such as a seed written into its code,
shows: two seeds give the same numbers.
"""

from __future__ import annotations

import copy
import functools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from initcheck.backend.keras_private import global_seed_state
from initcheck.backend.random_state import preserved_random_state
from initcheck.backend.runtime import import_keras
from initcheck.core.seeds import derive_seed


def draw_eagerly(initializer: Callable[..., Any], shape: Any, dtype: Any, seed: int) -> Any:
    """Call an initializer with all random numbers derived from a seed; no random state is changed."""
    keras = import_keras()
    with preserved_random_state():
        random.seed(seed)
        np.random.seed(seed)
        global_seed_state().assign([seed, 0])
        return keras.ops.cast(_Reseeding(seed).renew(initializer)(shape, dtype=dtype), dtype)


class _Reseeding:
    """Copies what holds seeds or generators, with others derived from one seed; the rest is taken as it is."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._seeds: dict[int, int] = {}
        self._renewed: dict[int, tuple[Any, Any]] = {}

    def renew(self, value: Any) -> Any:
        """Return a value with other seeds: itself where it holds none."""
        if id(value) not in self._renewed:
            self._renewed[id(value)] = (value, value)  # for what holds itself; and its id is not used again
            self._renewed[id(value)] = (value, self._renew(value))
        return self._renewed[id(value)][1]

    def _renew(self, value: Any) -> Any:
        keras = import_keras()
        if isinstance(value, keras.random.SeedGenerator):
            return keras.random.SeedGenerator(self._renew_seed(id(value)))
        if isinstance(value, np.random.Generator):
            return np.random.default_rng(self._renew_seed(id(value)))
        if isinstance(value, np.random.RandomState | random.Random):
            return type(value)(self._renew_seed(id(value)))
        if type(value) in (list, tuple):
            return self._renew_parts(value, value, lambda parts: type(value)(parts))
        if type(value) is dict:
            return self._renew_parts(value, value.values(), lambda parts: dict(zip(value, parts, strict=True)))
        if isinstance(value, functools.partial):
            held = (value.func, value.args, value.keywords)
            return self._renew_parts(value, held, lambda parts: functools.partial(parts[0], *parts[1], **parts[2]))
        if isinstance(value, types.MethodType):
            return self._renew_parts(value, [value.__self__], lambda parts: types.MethodType(value.__func__, *parts))
        if isinstance(value, types.FunctionType):
            return self._renew_function(value)
        if isinstance(value, keras.initializers.Initializer) or (callable(value) and len(self._renewed) == 1):
            return self._renew_object(value)
        return value

    def _renew_parts(self, value: Any, parts: Any, make: Callable[[list[Any]], Any]) -> Any:
        renewed = [self.renew(part) for part in parts]
        return value if all(new is old for new, old in zip(renewed, parts, strict=True)) else make(renewed)

    def _renew_function(self, function: types.FunctionType) -> Any:
        """Renew what a function has by its closure, its defaults and, but for other functions, its module."""
        cells = function.__closure__ or ()
        if types.CellType() in cells:  # a variable that is not set yet
            return function
        around = {
            name: function.__globals__[name]
            for name in function.__code__.co_names
            if name in function.__globals__ and _may_hold_seeds(function.__globals__[name])
        }
        held = ([cell.cell_contents for cell in cells], function.__defaults__, function.__kwdefaults__, around)

        def make(parts: list[Any]) -> Any:
            closure = tuple(types.CellType(part) for part in parts[0])
            made = types.FunctionType(
                function.__code__, {**function.__globals__, **parts[3]}, function.__name__, parts[1], closure
            )
            made.__kwdefaults__ = parts[2]
            return made

        return self._renew_parts(function, held, make)

    def _renew_object(self, value: Any) -> Any:
        attributes = getattr(value, "__dict__", {})
        if isinstance(value, import_keras().Operation):
            return value
        made = copy.copy(value)
        # Its own seed first: it becomes the seed itself, as where Keras ships the class.
        for name in sorted(attributes, key=lambda name: name != "seed"):
            held = attributes[name]
            is_seed = name.endswith("seed") and type(held) is int
            made.__dict__[name] = self._renew_seed(held) if is_seed else self.renew(held)
        return made

    def _renew_seed(self, old: int) -> int:
        """Give equal seeds equal ones: what drew the same numbers still does."""
        number = len(self._seeds)
        return self._seeds.setdefault(old, derive_seed(self._seed, str(number)) if number else self._seed)


def _may_hold_seeds(value: Any) -> bool:
    """Return whether a global of a module is an initializer or data, and no function and no class."""
    return not callable(value) or isinstance(value, import_keras().initializers.Initializer)
