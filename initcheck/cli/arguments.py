"""Reading options of the form NAME=VALUE."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from typing import Any

from initcheck.errors import UsageError


def read_arguments(texts: Sequence[str], option: str, forbidden: Collection[str] = ()) -> dict[str, Any]:
    """Read keyword arguments.

    Args:
        texts: such as ``gain=2.0`` or ``mode=fan_in``; a value is a Python literal or a bare word.
        option: name of the option, for messages.
        forbidden: names that may not be given.

    Returns:
        The values by name.

    Raises:
        UsageError: a text is not of this form, or a name comes twice or is forbidden.
    """
    found: dict[str, Any] = {}
    without = f", and no {' or '.join(forbidden)}" if forbidden else ""
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or name in found or name in forbidden:
            raise UsageError(f"{option} takes name=value, each name once{without}. Received: {text!r}.")
        try:
            found[name] = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            if not value.strip().isidentifier():
                message = f"{option} takes a literal value. Received: {text!r}. Write {option} gain=2.0."
                raise UsageError(message) from None
            found[name] = value.strip()  # a bare word
    return found
