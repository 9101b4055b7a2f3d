"""Where the baselines of tests lie, and the commands that run a test or a check once more."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.core.files import relative_path

if TYPE_CHECKING:
    from initcheck.checking.load_model import LoadedModel

FOLDER: Final = "initcheck-baselines"

_LONGEST: Final = 150
"""Bytes of a file name without its suffix."""


def baseline_of_test(item: pytest.Item, name: str | None = None) -> Path:
    """Name the file of a test's baseline."""
    return item.path.parent / FOLDER / item.path.stem / f"{sanitize(_name_in_file(item), name)}.json"


def baseline_of_model(config: pytest.Config, reference: str) -> Path:
    """Name the file of the baseline of a model without test code."""
    return config.rootpath / FOLDER / "models" / f"{sanitize(reference)}.json"


def sanitize(text: str, name: str | None = None) -> str:
    """Make a file name that every file system takes, readable, and another for each text.

    ``test_it[relu-8]`` becomes ``test_it-relu-8``. Where letters are lost, the end of a digest distinguishes texts.
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
    shown = relative_path(item.config.rootpath / path, item.config.invocation_params.dir)
    return f"pytest {quote(f'{shown}{colons}{rest}')}{' --initcheck-update' if update else ''}"


def load_reference(config: pytest.Config, reference: str) -> LoadedModel:
    """Load the model that a text names; files are searched where pytest was called, then in its root folder."""
    from dataclasses import replace

    from initcheck.checking.load_model import load_model

    place, colon, name = reference.strip().rpartition(":")
    path = place if colon and place.endswith(".py") else reference.strip() if reference.endswith(".keras") else ""
    folders = (config.invocation_params.dir, config.rootpath)
    found = next((folder / path for folder in folders if path and (folder / path).is_file()), None)
    if found is None:
        return load_model(reference)
    return replace(load_model(f"{found}{colon}{name}" if colon else str(found)), label=reference.strip())


def quote(text: str) -> str:
    """Quote a word for a shell, always: ids of tests hold what shells read."""
    quoted = shlex.quote(text)
    return f"'{text}'" if quoted == text else quoted


def check_command(reference: str, given: Mapping[str, Any]) -> str | None:
    """Write the command that checks the same model; None where the command line has no words for a setting."""
    if "limits" in given:
        return None
    words = ["initcheck", "check", reference]
    for name in ("seeds", "first_seed", "weights", "batch_size"):
        if name in given:
            words += [f"--{name.replace('_', '-')}", str(given[name])]
    for name, option in (
        ("input_shapes", "--input-shape"),
        ("select", "--select"),
        ("ignore", "--ignore"),
        ("waive", "--waive"),
    ):
        words += [word for each in given.get(name, ()) for word in (option, each)]
    if given.get("allow_inconclusive"):
        words.append("--allow-inconclusive")
    return shlex.join(words)


def _name_in_file(item: pytest.Item) -> str:
    """Name a test within its file, with its classes: ``TestWide.test_it[relu]``."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    return ".".join([*classes, item.name])
