"""Importing and running what a user names on the command line: ``package.module`` or ``path/file.py``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final, TypeVar

from initcheck.core.errors import InitcheckError

_LONGEST: Final = 300

Result = TypeVar("Result")


class RaisedError(Exception):
    """The user's code raised. The message is one line: class, text, and the line of code where it is known."""


class TookTooLongError(BaseException):
    """The user's code took longer than the limit. No Exception, so that the user's own handlers let it pass."""


def import_place(place: str) -> ModuleType:
    """Import ``package.module`` or ``path/file.py``; whatever the user's code raises passes through.

    A file is run each time anew and listed in ``sys.modules`` under its name, or under ``file_<name>`` where another
    module bears that name. One of a package is a module of it, so that its relative imports work. The working
    directory, or the file's folder, is searched first.
    """
    with search_first(folder_of(place)):
        return _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def folder_of(place: str) -> Path:
    """Return the folder that is searched first for what a place imports."""
    return Path(place).parent.resolve() if place.endswith(".py") else Path.cwd()


@contextlib.contextmanager
def search_first(folder: Path) -> Iterator[None]:
    """Let modules be imported from a folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def run_user_code(call: Callable[[], Result], seconds: float | None = None, *, judged: bool = False) -> Result:
    """Run the user's code, within a time, with its prints on standard error and without its warnings.

    Args:
        judged: whether initcheck's own errors are the code's too, and not the answer to the user.
    """
    try:
        with contextlib.nullcontext() if seconds is None else _time_limit(seconds), user_output_on_stderr():
            return call()
    except (KeyboardInterrupt, TookTooLongError):
        raise
    except BaseException as error:  # code of any kind: sys.exit and worse included
        if isinstance(error, InitcheckError) and not judged:
            raise
        raise RaisedError(_describe(error)) from error


@contextlib.contextmanager
def user_output_on_stderr() -> Iterator[None]:
    """Run the user's code with its prints on standard error and without its warnings."""
    with contextlib.redirect_stdout(sys.stderr or io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def _import_file(path: Path) -> ModuleType:
    name = _import_package(path) + path.stem
    former = sys.modules.get(name)
    taken = former is not None and Path(getattr(former, "__file__", None) or "").resolve() != path.resolve()
    name = f"file_{path.stem}" if taken else name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Listed, because dataclasses and pickle look up the module of a class by its name.
    former = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        if former is not None:
            sys.modules[name] = former
        raise
    return module


def _import_package(path: Path) -> str:
    """Import the package of a file; return its name with a dot behind it, or nothing where there is none."""
    own = path.resolve().parent
    names: list[str] = []
    root = own
    while root.name.isidentifier() and (root / "__init__.py").is_file():
        names.insert(0, root.name)
        root = root.parent
    if not names:
        return ""
    name = ".".join(names)
    with search_first(root):
        package = importlib.import_module(name)
    # Another package of that name, such as an installed copy, may have been imported before.
    return f"{name}." if own in (Path(each).resolve() for each in getattr(package, "__path__", ())) else ""


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    text = textwrap.shorten(str(error), width=_LONGEST, placeholder=" ...")
    place = "" if isinstance(error, SyntaxError) else _place_of(error)
    return f"{name}: {text}{place}" if text else f"{name}{place}"


def _place_of(error: BaseException) -> str:
    """Name the last line of the user's own code on the way to the error, `` (net.py, line 3)``."""
    import sysconfig
    import traceback

    elsewhere = (str(Path(__file__).resolve().parents[1]), sysconfig.get_path("stdlib"), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not (file.startswith(elsewhere) or "site-packages" in file):
            return f" ({Path(file).name}, line {frame.lineno})"
    return ""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after some time.

    A timer signal ends Python code and sleeps; a computation inside a C library ends first, and is too long then. Where
    there are no timer signals (Windows, other threads), the time is looked at in the end.
    """
    start = time.perf_counter()
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        if time.perf_counter() - start > seconds:
            raise TookTooLongError
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
