"""How one variable is drawn from the state of a seed, and the compiled loops that draw many that are alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from initcheck.keras_runtime import import_keras
from initcheck.probe.gradients import compile_over_replicates

Likeness = tuple[type, str, tuple[int, ...], str]
"""Class and attributes of an initializer, and shape and dtype of what it draws."""

_SEEDS: Final = ("seed", "_init_seed")
STATE: Final = ((2,), "int32")
"""Shape and dtype of the state of a seed."""
_MOST_LOOPS: Final = 512


@dataclass(frozen=True)
class PlannedVariable:
    """One weight of the model and how a new value for it is drawn.

    Attributes:
        path: structural path of the variable.
        variable: the Keras variable; it is read for shape, dtype and, if it is kept, its value.
        initializer: the variable's initializer, made to take the seed it is given; None where the value
            is kept.
        reason: why the value is kept; None where it is drawn.
    """

    path: str
    variable: Any
    initializer: Callable[..., Any] | None
    reason: str | None

    @property
    def varies(self) -> bool:
        """Whether the value may differ from seed to seed: not where it is kept, nor drawn by such as Zeros."""
        return self.initializer is not None and (hasattr(self.initializer, "seed") or not _is_shipped(self.initializer))

    @cached_property
    def likeness(self) -> Likeness | None:
        """What it shares with all variables that would draw the same from the same state.

        None where that cannot be told: of an initializer that Keras does not ship, of one with an attribute that is no
        plain value, and where the value is kept.
        """
        if self.initializer is None or not _is_shipped(self.initializer):
            return None
        attributes = {name: value for name, value in vars(self.initializer).items() if name not in _SEEDS}
        if not all(isinstance(value, bool | int | float | str | tuple | None) for value in attributes.values()):
            return None
        drawn_by = (type(self.initializer), repr(sorted(attributes.items())))
        return (*drawn_by, tuple(self.variable.shape), str(self.variable.dtype))


class DrawingLoops:
    """Compiled loops that draw, for plans that are to share them: each kind of variable is traced once.

    What was traced stays as it was, whatever becomes of Keras afterwards.
    """

    def __init__(self) -> None:
        self._loops: dict[Likeness, Callable[..., Any]] = {}

    def find(self, planned: PlannedVariable) -> Callable[..., Any]:
        """Return the loop that draws a variable from any number of states, compiled if it was not.

        Args:
            planned: a variable with a likeness.
        """
        likeness = planned.likeness
        if likeness is None:
            raise ValueError("Only variables with a likeness have a loop in common.")
        if likeness not in self._loops:
            if len(self._loops) >= _MOST_LOOPS:
                self._loops.clear()
            self._loops[likeness] = _compile_loop(planned.initializer, *likeness[2:])
        return self._loops[likeness]


def _compile_loop(initializer: Any, shape: tuple[int, ...], dtype: str) -> Callable[..., Any]:
    keras = import_keras()
    seed = given_seed_class()()
    # A copy: the loop outlives the plan, and must not keep its model.
    own = copy.copy(initializer)
    own.seed = seed

    def draw(state: Any) -> Any:
        with keras.StatelessScope(initialize_variables=False):
            seed.given = state
            value = keras.ops.cast(own(shape, dtype=dtype), dtype)
            seed.given = None
            return value

    return compile_over_replicates(draw, [STATE], dtype)


@cache
def given_seed_class() -> Any:
    """Make the class of a seed generator that hands out the state it was given, as an integer seed does."""
    generator: Any = import_keras().random.SeedGenerator

    class GivenSeed(generator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(seed=0)
            self.given: Any = None

        def next(self, ordered: bool = True) -> Any:  # noqa: ARG002 - Keras' signature
            return self.given

    return GivenSeed


def _is_shipped(initializer: Any) -> bool:
    return type(initializer).__module__.startswith("keras.") and not is_function(initializer)


def is_function(initializer: Any) -> bool:
    """Tell whether an initializer is a plain function, and not one of Keras' objects."""
    return initializer is not None and not isinstance(initializer, import_keras().initializers.Initializer)
