"""What a test is to measure: its settings, where its baseline lies, and the commands that run the same once more.

A setting is what the call says, else the marker, pytest's settings, and [tool.initcheck].
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.checking.settings import (
    CHECK_OPTIONS,
    GATE_OPTIONS,
    CheckSettings,
    check_option,
    leave_to_baseline,
    override,
    read_project_settings,
)
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.files import relative_path
from initcheck.pytest_plugin import read_number

if TYPE_CHECKING:
    from initcheck.checking.load_model import LoadedModel

FOLDER: Final = "initcheck-baselines"

_LONGEST: Final = 150
"""Bytes of a file name without its suffix."""


@dataclass(frozen=True)
class Layers:
    """The settings of a test by where they come from, the strongest first."""

    call: Mapping[str, Any]
    marker: Mapping[str, Any]
    ini: Mapping[str, Any]
    project: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """Look one setting up; None where nobody gives it."""
        return next((each[name] for each in (self.call, self.marker, self.ini) if each.get(name) is not None), None)

    def for_checking(self) -> CheckSettings:
        """Put the settings of a check together. Fixes are tried only on request: they take time."""
        return _merge(self.project, self.ini, {"fixes": False}, self.marker, self.call)

    def for_comparing(self) -> CheckSettings:
        """Likewise for the comparison with a baseline, which decides what only the project says of seeds and batch."""
        return _merge(leave_to_baseline(self.project), leave_to_baseline(self.ini), self.marker, self.call)

    def given(self) -> dict[str, Any]:
        """What call, marker and pytest's settings say: what the command line does not know by itself."""
        merged = {**self.ini, **self.marker, **self.call}
        return {name: value for name, value in merged.items() if name in CHECK_OPTIONS and value not in (None, ())}


def read_layers(item: pytest.Item, call: Mapping[str, Any], *, gate: bool) -> Layers:
    """Read the settings of a test."""
    known = (*CHECK_OPTIONS, *GATE_OPTIONS) if gate else CHECK_OPTIONS
    return Layers(
        _check_options(call, "option of this call", known),
        read_marker(item),
        read_ini(item.config),
        read_project_settings(item.path.parent),
    )


def read_marker(item: pytest.Item) -> dict[str, Any]:
    """Read the markers of a test; the closest wins, keyword by keyword."""
    merged: dict[str, Any] = {}
    for marker in item.iter_markers("initcheck"):
        if marker.args:
            given = ", ".join(map(repr, marker.args))
            raise UsageError(
                f"@pytest.mark.initcheck takes keywords only, such as seeds=8. Received: {given}. Name what it is."
            )
        kind = "keyword of @pytest.mark.initcheck"
        merged = {**_check_options(marker.kwargs, kind, (*CHECK_OPTIONS, *GATE_OPTIONS)), **merged}
    return merged


def read_ini(config: pytest.Config) -> dict[str, Any]:
    """Read pytest's own settings; only what is set is there."""
    found = {name: read_number(config, f"initcheck_{name}") for name in ("seeds", "margin")}
    return {name: value for name, value in found.items() if value is not None}


def _check_options(given: Mapping[str, Any], kind: str, known: Sequence[str]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise name_unknown(kind, name, known)
        checked[name] = value if value is None else check_option(name, value, name, one_string=True)
    return checked


def _merge(*layers: Mapping[str, Any]) -> CheckSettings:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name, value in layer.items() if name in CHECK_OPTIONS and value is not None}
    return override({}, **merged)


# --- where baselines lie, and commands --------------------------------------------------------------------------------


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
