"""Where the layers of a model are made: the line of the user's own code, ``models.py:14``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from initcheck.backend.keras_private import MethodWatch
from initcheck.backend.runtime import import_keras
from initcheck.core.loading import run_user_code
from initcheck.probe.paths import PathNamer

_LIBRARIES: Final = ("keras", "tensorflow", "initcheck")

_operations: Final = MethodWatch(lambda: import_keras().Operation, "__init__")


@contextmanager
def recorded_places() -> Iterator[dict[int, str]]:
    """Record by ``id`` where the user's code, run by ``run_user_code`` in this thread, makes each layer or operation.

    It is the first line outside Keras and initcheck. A layer that a layer of Keras makes for itself, such as the
    projections of MultiHeadAttention, is made where that one is.
    """
    places: dict[int, str] = {}
    folder = Path.cwd().resolve()

    def record(original: Callable[..., None], operation: Any, *args: Any, **kwargs: Any) -> None:
        # Ids of collected objects are used again: each new object overwrites what was recorded.
        places[id(operation)] = _find_place(operation, places, folder)
        original(operation, *args, **kwargs)

    with _operations.watch(record):
        yield places


def _find_place(operation: Any, places: Mapping[int, str], folder: Path) -> str:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not run_user_code.__code__:
        owner = frame.f_locals.get("self")
        library = str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES
        if owner is operation:
            pass  # the constructors of a class and of those it derives from
        elif library:
            if isinstance(owner, import_keras().Operation) and id(owner) in places:
                return places[id(owner)]
        elif (path := Path(frame.f_code.co_filename)).is_file():  # code of a notebook or of exec has no file
            path = path.resolve()
            shown = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
            return f"{shown}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def name_places(namer: PathNamer, recorded: Mapping[int, str]) -> dict[str, str]:
    """Find where each layer and operation of a model was made, by its name; those that are not known are missing.

    A layer that was made after the recording, when its parent was built, is made where the parent is.
    """
    found: dict[str, str] = {}
    for _, member in namer.members():
        name = namer.name_of(member)
        place = recorded.get(id(member)) or found.get(name.rpartition("/")[0], "")
        if place:
            found[name] = place
    return found
