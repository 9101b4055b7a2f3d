"""Cases of a test that the default run leaves out, where it keeps others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from initcheck.backend.runtime import backend_name


def slow(mark: str, *values: Any) -> list[Any]:
    """Give the cases a mark that ``tox run -e full`` runs."""
    return [pytest.param(value, marks=getattr(pytest.mark, mark)) for value in values]


def first_only(mark: str, values: Iterable[Any]) -> list[Any]:
    """Keep the first case in the default run, and mark the others."""
    first, *others = values
    return [first, *slow(mark, *others)]


def only_on(*backends: str, reason: str) -> Any:
    """Leave a test out on all backends but these."""
    return pytest.mark.skipif(backend_name() not in backends, reason=reason)
