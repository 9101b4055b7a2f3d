"""Importing what a user names on the command line: ``package.module`` or ``path/file.py``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


def import_place(place: str) -> ModuleType:
    """Import a module by its dotted name, or a Python file by its path.

    Whatever the user's code raises passes through.

    Args:
        place: ``package.module``, searched in the working directory first, or ``path/file.py``, whose folder is
            searched first for what it imports.

    Returns:
        The module.

    Raises:
        ImportError: there is no such module, or the path is no Python file.
    """
    if not place.endswith(".py"):
        with search_first(Path.cwd()):
            return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is no Python file")
    module = importlib.util.module_from_spec(spec)
    with search_first(path.parent.resolve()):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def search_first(folder: Path) -> Iterator[None]:
    """Let modules be imported from a folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
