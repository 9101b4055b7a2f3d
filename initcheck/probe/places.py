"""Where the layers of a model are made: the call in the user's own code, ``models.py:14``."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final

from initcheck.backend.keras_private import MethodWatch
from initcheck.backend.runtime import import_keras
from initcheck.core.loading import run_user_code
from initcheck.probe.paths import PathNamer

_LIBRARIES: Final = ("keras", "tensorflow", "initcheck")

_operations: Final = MethodWatch(lambda: import_keras().Operation, "__init__")


@dataclass(frozen=True)
class CallSite:
    """A call in the user's code; as text it is ``models.py:14``.

    Attributes:
        file: its absolute path.
        shown: its path from the working folder, or its name where it lies elsewhere.
        line: where the call begins, from 1.
        column: where it begins in its line, in bytes of UTF-8 from 0; -1 where Python keeps no columns.
        end_line: where it ends, likewise.
        end_column: where it ends, likewise.
    """

    file: str
    shown: str
    line: int
    column: int = -1
    end_line: int = -1
    end_column: int = -1

    def __str__(self) -> str:
        return f"{self.shown}:{self.line}"


@dataclass(frozen=True, eq=False)
class Construction:
    """How a layer or operation was made.

    Attributes:
        operation: what was made; it is held so that its ``id`` stays its own.
        site: the call in the user's code; None where it has no file.
        number: how many of exactly this class were made before it, by the same run of the user's code.
        given: arguments whose values are not the default ones.
        maker: the layer of Keras that made it for itself, and which the user's call made; None where it is this one.
    """

    operation: Any
    site: CallSite | None
    number: int
    given: frozenset[str] = frozenset()
    maker: Construction | None = None

    @property
    def called(self) -> Construction:
        """What the user's call made: this operation, or the layer of Keras that made it for itself."""
        return self if self.maker is None else self.maker.called


@contextmanager
def recorded_places() -> Iterator[dict[int, Construction]]:
    """Record by ``id`` where the user's code, run by ``run_user_code`` in this thread, makes each layer or operation.

    It is the first call outside Keras and initcheck. A layer that a layer of Keras makes for itself, such as the
    projections of MultiHeadAttention, is made where that one is.
    """
    places: dict[int, Construction] = {}
    made: Counter[type] = Counter()
    folder = Path.cwd().resolve()

    def record(original: Callable[..., None], operation: Any, *args: Any, **kwargs: Any) -> None:
        kind = type(operation)
        known = places.get(id(operation))
        if known is None or known.operation is not operation:  # a constructor may come here twice
            places[id(operation)] = _describe_construction(operation, made[kind], places, folder)
            made[kind] += 1
        original(operation, *args, **kwargs)

    with _operations.watch(record):
        yield places


def _describe_construction(
    operation: Any, number: int, places: Mapping[int, Construction], folder: Path
) -> Construction:
    given: frozenset[str] = frozenset()
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not run_user_code.__code__:
        owner = frame.f_locals.get("self")
        library = str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES
        if owner is operation:  # the constructors of a class and of those that it derives from; the last is its own
            given = _find_given(type(operation), frame.f_locals)
        elif library:
            maker = places.get(id(owner))
            if isinstance(owner, import_keras().Operation) and maker is not None:
                return Construction(operation, maker.site, number, given, maker)
        elif (path := Path(frame.f_code.co_filename)).is_file():  # code of a notebook or of exec has no file
            return Construction(operation, _locate_call(frame, path.resolve(), folder), number, given)
        frame = frame.f_back
    return Construction(operation, None, number, given)


def _locate_call(frame: FrameType, path: Path, folder: Path) -> CallSite:
    shown = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    position = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    if position is None or None in position:
        return CallSite(str(path), shown, frame.f_lineno)
    line, end_line, column, end_column = position
    assert line is not None and end_line is not None and column is not None and end_column is not None
    return CallSite(str(path), shown, line, column, end_line, end_column)


def _find_given(kind: type, values: Mapping[str, Any]) -> frozenset[str]:
    """Find the arguments of a constructor that are not the default ones, and those that it takes by ``**``."""
    defaults, gathered = find_defaults(kind)
    given = {name for name, default in defaults.items() if name in values and not _is_same(values[name], default)}
    return frozenset(given | set(values.get(gathered, ()) if gathered else ()))


@lru_cache(maxsize=256)
def find_defaults(kind: type) -> tuple[dict[str, Any], str]:
    """Return the arguments of a class's constructor with their defaults, and the name of its ``**`` argument."""
    try:
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    except (TypeError, ValueError):
        return {}, ""
    named = {each.name: each.default for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    return named, next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), "")


def _is_same(value: Any, default: Any) -> bool:
    """Compare an argument with its default; what cannot be compared, such as an array, is another value."""
    return value is default or (isinstance(value, str | int | float | bool | tuple) and value == default)


def name_places(namer: PathNamer, recorded: Mapping[int, Construction]) -> dict[str, Construction]:
    """Find how each layer and operation of a model was made, by its name; those that are not known are missing.

    A layer that was made after the recording, when its parent was built, is made where the parent is.
    """
    found: dict[str, Construction] = {}
    for _, member in namer.members():
        name = namer.name_of(member)
        place = recorded.get(id(member))
        if place is None and (parent := found.get(name.rpartition("/")[0])) is not None:
            place = Construction(member, parent.site, -1, maker=parent)
        if place is not None:
            found[name] = place
    return found
