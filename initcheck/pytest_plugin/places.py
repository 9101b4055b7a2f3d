"""Where baselines of tests lie, and how a test is called again."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import pytest

from initcheck.pytest_plugin.settings import quote

FOLDER: Final = "initcheck-baselines"

_LONGEST: Final = 150


def baseline_of_test(item: pytest.Item, name: str | None = None) -> Path:
    """Name the file of a test's baseline.

    Args:
        item: the test.
        name: what tells several baselines of one test apart.
    """
    return item.path.parent / FOLDER / item.path.stem / f"{sanitize(_name_in_file(item), name)}.json"


def baseline_of_model(config: pytest.Config, reference: str) -> Path:
    """Name the file of the baseline of a model without test code."""
    return config.rootpath / FOLDER / "models" / f"{sanitize(reference)}.json"


def sanitize(text: str, name: str | None = None) -> str:
    """Make a file name that every file system takes, readable, and another for each text.

    ``test_it[relu-8]`` becomes ``test_it-relu-8``. Where letters are lost, the end of a digest tells texts apart.

    Args:
        text: the name of a test within its file, or of a model.
        name: what is added behind an @.
    """
    plain = re.fullmatch(r"(?P<test>[\w.]+)(?:\[(?P<case>[\w.-]+)\])?", text)
    named = name is None or re.fullmatch(r"[\w.-]+", name)
    whole = text if name is None else f"{text}@{name}"
    if plain and named:
        readable = plain["test"] + (f"-{plain['case']}" if plain["case"] else "")
        readable += "" if name is None else f"@{name}"
        if len(readable.encode()) <= _LONGEST:
            return readable
    shortened = re.sub(r"[^A-Za-z0-9_.@-]+", "_", whole).strip("_")[: _LONGEST - 9]
    return f"{shortened}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def test_id(item: pytest.Item) -> str:
    """Return the id of a test without the group that pytest-xdist adds to it."""
    parent = item.parent
    return item.nodeid if parent is None else f"{parent.nodeid}::{item.name}"


def pytest_command(item: pytest.Item, *, update: bool = False) -> str:
    """Write the command that runs a test once more from where pytest was called."""
    path, colons, rest = test_id(item).partition("::")
    shown = relative(item.config.rootpath / path, item.config.invocation_params.dir)
    return f"pytest {quote(f'{shown}{colons}{rest}')}{' --initcheck-update' if update else ''}"


def relative(path: Path, folder: Path) -> str:
    """Write a path as seen from a folder, with slashes; another drive's stays whole."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return str(path)


def _name_in_file(item: pytest.Item) -> str:
    """Name a test within its file, with its classes: ``TestWide.test_it[relu]``."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    return ".".join([*classes, item.name])
