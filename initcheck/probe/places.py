"""Where the layers of a model are made: the call in the user's own code, ``models.py:14``."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Final

from initcheck.backend.keras_private import MethodWatch, variable_class
from initcheck.backend.runtime import BACKEND_LIBRARIES, import_keras
from initcheck.core.loading import run_user_code
from initcheck.probe.paths import PathNamer

NOT_REPEATED: Final = -1
"""The number of what running the factory again does not make again, or that has no number."""

_LIBRARIES: Final = ("keras", *BACKEND_LIBRARIES, "initcheck")

_INITIALIZER: Final = "initializer"

_operations: Final = MethodWatch(lambda: import_keras().Operation, "__init__")
_weights: Final = MethodWatch(lambda: import_keras().layers.Layer, "add_weight")


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
    """How a layer or operation was made, or a weight by a layer of the user's own.

    Attributes:
        made: the layer, operation or weight; it is held so that its ``id`` stays its own.
        site: the call in the user's code; None where it has no file.
        number: how many of exactly this class were made before it, by the same run of the user's code; -1 where
            another run would not make it again.
        given: arguments whose values are not the default ones.
        maker: the layer of Keras that made it for itself, and which the user's call made; None where it is this one.
        is_direct: whether the user's call is that of its class, and not of a function of Keras that made it.
    """

    made: Any
    site: CallSite | None
    number: int
    given: frozenset[str] = frozenset()
    maker: Any = None
    is_direct: bool = True


Recording = dict[int, Construction]
"""How everything was made, by its ``id``."""


@contextmanager
def recorded_places(before: Mapping[int, Construction] = MappingProxyType({})) -> Iterator[Recording]:
    """Record by ``id`` where the user's code, in this thread, makes each layer or operation, and weights of its own.

    It is the first call outside Keras and initcheck. A layer that a layer of Keras makes for itself, such as the
    projections of MultiHeadAttention, is made where that one is.

    Args:
        before: what was recorded before in the same run, such as the factory of a model that is only now built.
    """
    places: Recording = dict(before)
    made = Counter(type(each.made) for each in before.values() if each.number != NOT_REPEATED)
    folder = Path.cwd().resolve()

    def record(original: Callable[..., None], operation: Any, *args: Any, **kwargs: Any) -> None:
        known = places.get(id(operation))
        if known is None or known.made is not operation:  # a constructor may come here twice
            places[id(operation)] = _describe_construction(operation, made[type(operation)], folder)
            made[type(operation)] += 1
        original(operation, *args, **kwargs)

    def record_weight(original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        weight = original(layer, *args, **kwargs)
        frame = _find_caller()
        if not _is_library(frame) and (path := Path(frame.f_code.co_filename)).is_file():
            site = _locate_call(frame, path.resolve(), folder)
            places[id(weight)] = Construction(weight, site, made[type(weight)], frozenset({_INITIALIZER}))
            made[type(weight)] += 1
        return weight

    with _operations.watch(record), _weights.watch(record_weight):
        yield places


def _describe_construction(operation: Any, number: int, folder: Path) -> Construction:
    given: frozenset[str] = frozenset()
    maker: Any = None
    is_direct = True
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not run_user_code.__code__:
        owner = frame.f_locals.get("self")
        if owner is operation:  # the constructors of a class and of those that it derives from; the last is its own
            given = _find_given(type(operation), frame.f_locals)
        elif _is_library(frame):
            # The outermost layer of Keras that is at work.
            maker = owner if isinstance(owner, import_keras().layers.Layer) else maker
            is_direct = is_direct and _is_own(frame)
        elif (path := Path(frame.f_code.co_filename)).is_file():  # code of a notebook or of exec has no file
            site = _locate_call(frame, path.resolve(), folder)
            return Construction(operation, site, number, given, maker, is_direct)
        frame = frame.f_back
    return Construction(operation, None, number, given, maker, is_direct)


def _find_caller() -> FrameType:
    """Find what called a watched method: the first frame that is none of initcheck's own."""
    frame = sys._getframe(2)
    while _is_own(frame) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _is_own(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _LIBRARIES[-1]


def _is_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES


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


@cache
def find_defaults(kind: Any) -> tuple[dict[str, Any], str]:
    """Return the arguments of a class's constructor with their defaults, and the name of its ``**`` argument.

    Of weights these are the arguments of ``add_weight``.
    """
    is_weight = issubclass(kind, variable_class())
    called = import_keras().layers.Layer.add_weight if is_weight else kind.__init__
    try:
        parameters = list(inspect.signature(called).parameters.values())[1:]
    except (TypeError, ValueError):
        return {}, ""
    named = {each.name: each.default for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    return named, next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), "")


def takes_argument(kind: Any, argument: str) -> bool:
    """Find whether the call of a class takes an argument by name, itself or by handing ``**`` on to what it is from."""
    named, gathered = find_defaults(kind)
    if argument in named or not gathered or issubclass(kind, variable_class()):
        return argument in named
    makers = [each for each in kind.__mro__ if "__init__" in vars(each)]
    return any(argument in find_defaults(each)[0] for each in makers[1:])


def _is_same(value: Any, default: Any) -> bool:
    """Compare an argument with its default; what cannot be compared, such as an array, is another value."""
    return value is default or (isinstance(value, str | int | float | bool | tuple) and value == default)


def name_places(namer: PathNamer, recorded: Mapping[int, Construction]) -> dict[str, Construction]:
    """Find which call made each layer and operation of a model, by its name; those that are not known are missing.

    A layer that a layer of Keras made for itself, or that was made after the recording when its parent was built, is
    made where that one is.
    """
    found: dict[str, Construction] = {}
    for _, member in namer.members():
        name = namer.name_of(member)
        construction = recorded.get(id(member))
        if construction is not None and construction.maker is not None:
            construction = recorded.get(id(construction.maker), construction)
        parent = name.rpartition("/")[0]  # a layer of the model itself was made before the recording
        construction = construction or (found.get(parent) if parent else None)
        if construction is not None:
            found[name] = construction
    return found


# --- other arguments --------------------------------------------------------------------------------------------------


@contextmanager
def changed_arguments(
    changes: Mapping[tuple[type, int], Mapping[str, Callable[[], Any]]],
) -> Iterator[set[tuple[type, int]]]:
    """Let the user's code make some layers, or weights of its own, with other arguments, as if written so.

    Args:
        changes: by class and number of the construction, what makes the new value of each argument.

    Yields:
        Those that were made so far.
    """
    made: Counter[type] = Counter()
    changed: set[tuple[type, int]] = set()

    def watch(kind: type) -> AbstractContextManager[None]:
        if issubclass(kind, variable_class()):
            return MethodWatch(lambda: import_keras().layers.Layer, "add_weight").watch(partial(add, kind))

        def make(original: Callable[..., None], operation: Any, *args: Any, **kwargs: Any) -> None:
            if type(operation) is kind:
                number, made[kind] = made[kind], made[kind] + 1
                if (kind, number) in changes:
                    changed.add((kind, number))
                    args, kwargs = _replace_arguments(kind, args, kwargs, changes[kind, number])
                    # What Keras has kept of the arguments, for classes without a configuration of their own.
                    if (config := getattr(operation, "_auto_config", None)) is not None:
                        config.config.update(kwargs)
            original(operation, *args, **kwargs)

        return MethodWatch(lambda: kind, "__init__").watch(make)

    def add(kind: type, original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_library(_find_caller()):
            number, made[kind] = made[kind], made[kind] + 1
            if (kind, number) in changes:
                changed.add((kind, number))
                args, kwargs = _replace_arguments(kind, args, kwargs, changes[kind, number])
        return original(layer, *args, **kwargs)

    with ExitStack() as watched:
        for kind in {kind for kind, _ in changes}:
            watched.enter_context(watch(kind))
        yield changed


def _replace_arguments(
    kind: type, args: tuple[Any, ...], kwargs: Mapping[str, Any], changes: Mapping[str, Callable[[], Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    positional = list(args)
    named = dict(kwargs)
    order = list(find_defaults(kind)[0])
    for argument, make in changes.items():
        place = order.index(argument) if argument in order else len(positional)
        if argument not in named and place < len(positional):
            positional[place] = make()
        else:
            named[argument] = make()
    return tuple(positional), named
