"""Watching a method of a class of Keras: for the length of a context, and for the thread alone that asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class MethodWatch:
    """Replaces a method while at least one thread watches it; all others call it as it was."""

    def __init__(self, find_class: Callable[[], Any], method: str) -> None:
        self._find_class = find_class
        self._method = method
        self._handler: ContextVar[Callable[..., Any] | None] = ContextVar(f"initcheck {method}", default=None)
        self._lock = threading.Lock()
        self._watching = 0
        self._original: Any = None

    @contextmanager
    def watch(self, handle: Callable[..., Any]) -> Iterator[None]:
        """Let a function take the calls that this thread makes inside the context."""
        token = self._handler.set(handle)
        self._install()
        try:
            yield
        finally:
            self._uninstall()
            self._handler.reset(token)

    def _install(self) -> None:
        with self._lock:
            self._watching += 1
            if self._watching > 1:
                return
            owner = self._find_class()
            original = self._original = getattr(owner, self._method)

            def watched(instance: Any, *args: Any, **kwargs: Any) -> Any:
                handle = self._handler.get()
                if handle is None:
                    return original(instance, *args, **kwargs)
                return handle(original, instance, *args, **kwargs)

            setattr(owner, self._method, watched)

    def _uninstall(self) -> None:
        with self._lock:
            self._watching -= 1
            if not self._watching:
                setattr(self._find_class(), self._method, self._original)
