"""What a test is to measure: its settings, where its baseline lies, and the commands that run the same once more.

A setting is what the call says, else the marker, pytest's settings, and [tool.initcheck].
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.checking.settings import (
    CHECK_OPTIONS,
    GATE_OPTIONS,
    PROJECT_KEYS,
    CheckSettings,
    check_option,
    find_project_file,
    leave_to_baseline,
    override,
    read_project_settings,
)
from initcheck.core.errors import UsageError, name_unknown
from initcheck.core.files import relative_path
from initcheck.core.loading import search_first
from initcheck.pytest_plugin import FOLDER, ROOT, read_setting
from initcheck.pytest_plugin.unused import Exemption

if TYPE_CHECKING:
    from initcheck.checking.load_model import LoadedModel

_FLAGS: Final = ("allow_inconclusive",)
_NAMES: Final = (*(each.replace("_", "-") for each in (*CHECK_OPTIONS, *GATE_OPTIONS)), "input-shape", "arg")
_OPTION: Final = re.compile(
    rf"(?<![^\s(])--(?P<name>{'|'.join(sorted(_NAMES, reverse=True))})\b"
    r"(?:[ =](?P<value>[A-Z0-9]\w*(?:,\w+)*|\w+=[A-Z]+))?"
)

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


def list_exemptions(
    node: pytest.Item | pytest.Collector, layers: Layers, unneeded: Collection[tuple[str, str]]
) -> tuple[Exemption, ...]:
    """List what was ignored and waived in a measurement, and who said so.

    Args:
        unneeded: what of it was not found, each with the name of its setting.
    """
    found: list[Exemption] = []
    for setting in ("ignore", "waive"):
        for kind in ("call", "marker", "project"):
            words = getattr(layers, kind).get(setting)
            if words is None:
                continue
            place = _place_of(node, kind, setting) if words else ""
            pairs = [(setting, str(each)) for each in words]
            found += [Exemption(kind, place, *pair, needed=pair not in unneeded) for pair in pairs]
            break
    return tuple(found)


def _place_of(node: pytest.Item | pytest.Collector, kind: str, setting: str) -> str:
    """Name the file of settings, or the test or what else bears the marker, without its case."""
    if kind == "project":
        path = find_project_file(node.path if node.path.is_dir() else node.path.parent)
        assert path is not None
        return relative_path(path, node.config.invocation_params.dir)
    owner: Any = node
    if kind == "marker":
        marks = node.iter_markers_with_node("initcheck")
        owner = next(each for each, marker in marks if marker.kwargs.get(setting) is not None)
    return re.sub(r"\[.*\]$", "", test_id(owner))


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
    found = {name: read_setting(config, f"initcheck_{name}") for name in ("seeds", "margin")}
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
    return item.path.parent / FOLDER / item.path.stem / f"{sanitize(name_in_file(item), name)}.json"


def baseline_of_model(config: pytest.Config, reference: str) -> Path:
    """Name the file of the baseline of a model without test code."""
    return config.rootpath / FOLDER / "models" / f"{sanitize(reference)}.json"


def updates_baseline(config: pytest.Config, model: str = "") -> bool:
    """Find whether a baseline is to be written: of a model without test code, or of a test.

    Whoever names models on the command line means these.
    """
    named = config.getoption("initcheck_model")
    return bool(config.getoption("initcheck_update") and (not named or model in locate_all(config, named)))


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


def test_id(node: pytest.Item | pytest.Collector) -> str:
    """Return the id of a test, or of a model, without the group that pytest-xdist adds to it."""
    parent = node.parent
    return f"{parent.nodeid}::{node.name}" if isinstance(node, pytest.Item) and parent is not None else node.nodeid


def pytest_command(node: pytest.Item | pytest.Collector, *, update: bool = False) -> str:
    """Write the command that runs a test, or those of a model, once more from where pytest was called."""
    config = node.config
    folder = config.invocation_params.dir
    place, options = test_id(node), _options_of_project(config)
    if place.startswith(f"{ROOT}::"):
        # No file is named from which pytest could find the project.
        if not options and config.rootpath not in (folder, *folder.parents):
            found = config.inipath
            options = ["--rootdir", config.rootpath] if found is None else ["-c", found]
    else:
        _, colons, rest = place.partition("::")
        place = f"{relative_path(node.path, folder)}{colons}{rest}"
    words = ["pytest", quote(place)]
    words += [each if isinstance(each, str) else quote(relative_path(each, folder)) for each in options]
    return " ".join([*words, "--initcheck-update"] if update else words)


def _options_of_project(config: pytest.Config) -> list[str | Path]:
    """List the options that said where the project and its settings are."""
    folder = config.invocation_params.dir
    given = (("-c", config.getoption("inifilename")), ("--rootdir", config.getoption("rootdir")))
    return [each for option, value in given if value for each in (option, folder / value)]


def locate_all(config: pytest.Config, references: Iterable[str], *, typed: bool = True) -> list[str]:
    """Name the files among references as seen from the root folder, so that each model has one name.

    Args:
        typed: whether they were typed where pytest was called; else they are settings, which lie in the root folder.
    """
    folders = (config.invocation_params.dir, config.rootpath)
    return [_locate(each.strip(), folders if typed else folders[::-1], config.rootpath) for each in references]


def _locate(reference: str, folders: Iterable[Path], root: Path) -> str:
    found, rest = _find_file(reference, folders)
    return reference if found is None else f"{relative_path(found, root)}{rest}"


def load_reference(config: pytest.Config, reference: str, *folders: Path) -> LoadedModel:
    """Load the model that a text names; files are searched in the root folder, then in others, modules there too."""
    from initcheck.checking.load_model import load_model

    found, rest = _find_file(reference.strip(), (config.rootpath, *folders))
    with search_first(config.rootpath):
        if found is None:
            return load_model(reference)
        # From the working folder, as a user writes it, in what is said of it.
        return replace(load_model(f"{relative_path(found, Path.cwd())}{rest}"), label=reference.strip())


def _find_file(reference: str, folders: Iterable[Path]) -> tuple[Path | None, str]:
    """Find the file that a reference names, None where it names none that is there, and what stands behind it."""
    place, colon, name = reference.rpartition(":")
    path, rest = (place, f":{name}") if colon and place.endswith(".py") else (reference, "")
    if not path.endswith((".py", ".keras")):
        return None, rest
    return next((folder / path for folder in folders if (folder / path).is_file()), None), rest


def spell_options(text: str, *, in_settings: bool = False) -> str:
    """Write options of the command line, which advice names, as a test gives them to the fixture.

    Args:
        in_settings: for a model without test code, whose options stand in ``[tool.initcheck]``.
    """

    def spell(match: re.Match[str]) -> str:
        dashed, value = match["name"], match["value"]
        if dashed == "arg":
            return f"a function that calls it with {value}"
        name = "input_shapes" if dashed == "input-shape" else dashed.replace("-", "_")
        if name in _FLAGS:
            value = "true" if in_settings else "True"
        elif value is not None and not value.isdigit():
            value = f'["{value}"]' if in_settings else f'"{value}"'
        if in_settings and dashed in PROJECT_KEYS:
            return f"{dashed}{'' if value is None else f' = {value}'} in [tool.initcheck]"
        return name if value is None else f"{name}={value}"

    return _OPTION.sub(spell, text)


def quote(text: str) -> str:
    """Quote a word for a shell, always: ids of tests hold what shells read."""
    quoted = shlex.quote(text)
    return f"'{text}'" if quoted == text else quoted


def name_in_file(item: pytest.Item) -> str:
    """Name a test within its file, with its classes: ``TestWide.test_it[relu]``."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    return ".".join([*classes, item.name])
