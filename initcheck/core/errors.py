"""Exceptions raised to users.

Every message says what is wrong, the value received, and what to do, on one line: the command line
prints it as it is and leaves with the exception's exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_MOST_LISTED: Final = 60
"""Known names in one message: a model may have hundreds of layers."""


class InitcheckError(Exception):
    """Base class of all errors that initcheck raises on purpose.

    Attributes:
        exit_code: what a command exits with when this error ends it (2: cannot judge).
    """

    exit_code = 2


class UsageError(InitcheckError, ValueError):
    """An argument that is unknown or out of range."""


class DataError(InitcheckError, ValueError):
    """A data file or an array that cannot be used as a batch."""


class OutputError(InitcheckError, OSError):
    """A result that cannot be written."""


class BackendError(InitcheckError, ImportError):
    """Keras or its backend is missing, or is one that initcheck cannot measure on."""


class ModelError(InitcheckError, ValueError):
    """A model that cannot be built or run on the given input."""


class InitializerError(InitcheckError, ValueError):
    """An initializer that cannot make the weights it is asked for."""


class BaselineError(InitcheckError, ValueError):
    """A baseline that is missing, damaged, foreign, or of a version that is not known."""


class StoreError(InitcheckError, ValueError):
    """A store of finished work that is damaged, in use, of a version that is not known, or of other settings."""


class SpecError(InitcheckError, ValueError):
    """A description of a sweep in which something is unknown, empty, doubled or out of range."""


class EngineError(InitcheckError, RuntimeError):
    """What was to do the work cannot be had, or was lost; what is finished is kept."""


class TheoryError(InitcheckError, ValueError):
    """A prediction that the theory cannot make: the message says why."""


class FindingsError(InitcheckError, AssertionError):
    """A model that is not proven healthy.

    Args:
        exit_code: 1 for findings, 2 where the model could not be judged.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def name_unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Make the error for a name that is not a known one: it lists up to three near matches, or known names."""
    choices = sorted(set(known))
    near = find_near_names(name, choices)
    if near:
        hint = "Did you mean " + " or ".join(near) + "?"
    elif len(choices) > _MOST_LISTED:
        hint = f"Known: {', '.join(choices[:_MOST_LISTED])}, and {len(choices) - _MOST_LISTED:,} more."
    else:
        hint = "Known: " + ", ".join(choices) + "."
    return UsageError(f"Unknown {kind} {name!r}. {hint}")


def find_near_names(name: str, known: Iterable[str]) -> list[str]:
    """Find up to three known names that are spelled nearly like a name, in capitals or not."""
    by_lower = {choice.lower(): choice for choice in sorted(set(known))}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
