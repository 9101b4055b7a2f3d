"""How work reports its progress, whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the number of steps done, the number of all steps, and what is being done now."""


def no_progress(done: int, total: int, what: str) -> None:
    """Show no progress."""
