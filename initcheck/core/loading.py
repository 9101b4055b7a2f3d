"""Importing and running what a user names on the command line: ``package.module`` or ``path/file.py``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
import warnings
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
        The module. A file is run each time anew and listed in ``sys.modules`` under its name, or under
        ``file_<name>`` where another module bears that name.
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


@contextlib.contextmanager
def user_output_on_stderr() -> Iterator[None]:
    """Run the user's code with its prints on standard error and without its warnings."""
    with contextlib.redirect_stdout(sys.stderr or io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def _import_file(path: Path) -> ModuleType:
    former = sys.modules.get(path.stem)
    taken = former is not None and Path(getattr(former, "__file__", None) or "").resolve() != path.resolve()
    name = f"file_{path.stem}" if taken else path.stem
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
