"""Running what a user wrote: its prints off standard output, whatever it raises worded in one line."""

from __future__ import annotations

import contextlib
import io
import sys
import sysconfig
import textwrap
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from initcheck.errors import InitcheckError
from initcheck.probe.initializer_search import find_initializers
from initcheck.probe.paths import PathNamer

_LONGEST: Final = 300
_ELSEWHERE: Final = (str(Path(__file__).resolve().parents[1]), sysconfig.get_path("stdlib"), "<")

Result = TypeVar("Result")


class RaisedError(Exception):
    """The user's code raised. The message is one line: class, text, and the line of code where it is known."""


def run_user_code(call: Callable[[], Result]) -> Result:
    """Run the user's code with its prints on standard error and without its warnings.

    Args:
        call: what to run.

    Returns:
        What it returns.

    Raises:
        RaisedError: it raised; SystemExit and all others that are no Exception included.
        KeyboardInterrupt: the user stopped it.
        InitcheckError: it raised one of initcheck's own errors, which are worded already.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr or io.StringIO()), warnings.catch_warnings(action="ignore"):
            return call()
    except (KeyboardInterrupt, InitcheckError):
        raise
    except BaseException as error:  # code of any kind: sys.exit and worse included
        raise RaisedError(_word(error)) from error


def initializers_by_path(model: Any, recorded: Mapping[int, Any]) -> dict[str, Any]:
    """Name the initializers that were recorded while a model's variables were made.

    Args:
        model: a Keras model.
        recorded: from ``id(variable)`` to the initializer; see
            ``initcheck.probe.initializer_search.recorded_initializers``.

    Returns:
        Initializers by structural path of the variable. Variables that were not recorded have the initializer that
        their layer names; those where it names none are missing.
    """
    namer = PathNamer(model)
    paths = namer.variable_paths()
    known = {paths[id(weight)]: recorded[id(weight)] for weight in model.weights if id(weight) in recorded}
    if len(known) == len(model.weights):
        return known
    with contextlib.suppress(RaisedError):  # the model may be rebuilt for this, by constructors of the user's own
        return {**run_user_code(lambda: find_initializers(model, namer)), **known}
    return known


def _word(error: BaseException) -> str:
    name = type(error).__name__
    text = textwrap.shorten(str(error), width=_LONGEST, placeholder=" ...")
    place = "" if isinstance(error, SyntaxError) else _place_of(error)
    return f"{name}: {text}{place}" if text else f"{name}{place}"


def _place_of(error: BaseException) -> str:
    """Name the last line of the user's own code on the way to the error, `` (net.py, line 3)``."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not (file.startswith(_ELSEWHERE) or "site-packages" in file):
            return f" ({Path(file).name}, line {frame.lineno})"
    return ""
