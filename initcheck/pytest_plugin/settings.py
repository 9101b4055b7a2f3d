"""How a test is to measure: what its call says, else its marker, pytest's settings, and [tool.initcheck]."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from initcheck.core.errors import UsageError, name_unknown

if TYPE_CHECKING:
    from initcheck.checking.load_model import LoadedModel
    from initcheck.checking.settings import CheckSettings


OF_CHECKING: Final = (
    "seeds",
    "first_seed",
    "weights",
    "batch_size",
    "input_shapes",
    "select",
    "ignore",
    "waive",
    "allow_inconclusive",
    "remedies",
    "limits",
)
"""Fields of ``CheckSettings``; listed, because reading them there would import pandas."""

OF_THE_GATE: Final = ("margin", "auto_seeds")

_OF_THE_BASELINE: Final = ("seeds", "batch_size")
"""Settings of a project that give way to the baseline's: it is compared draw by draw."""

_TEXTS: Final = ("input_shapes", "select", "ignore", "waive")
_NUMBERS: Final = ("seeds", "first_seed", "batch_size", "auto_seeds")
_SWITCHES: Final = ("allow_inconclusive", "remedies")


@dataclass(frozen=True)
class Layers:
    """The settings of a test by where they come from, the strongest first.

    Attributes:
        call: of the call.
        marker: of the test's markers.
        ini: of pytest's settings.
        project: of ``[tool.initcheck]``.
    """

    call: Mapping[str, Any]
    marker: Mapping[str, Any]
    ini: Mapping[str, Any]
    project: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """Look one setting up; None where nobody gives it."""
        return next((each[name] for each in (self.call, self.marker, self.ini) if each.get(name) is not None), None)

    def for_checking(self) -> CheckSettings:
        """Put the settings of a check together. Remedies are off unless they are asked for: they take time."""
        return _make(self.project, self.ini, {"remedies": False}, self.marker, self.call)

    def for_comparing(self) -> CheckSettings:
        """Likewise for the comparison with a baseline, which decides what only the project says of seeds and batch."""
        project, ini = (
            {name: value for name, value in each.items() if name not in _OF_THE_BASELINE}
            for each in (self.project, self.ini)
        )
        return _make(project, ini, self.marker, self.call)

    def given(self) -> dict[str, Any]:
        """What call, marker and pytest's settings say: what the command line does not know by itself."""
        merged = {**self.ini, **self.marker, **self.call}
        return {name: value for name, value in merged.items() if name in OF_CHECKING and value not in (None, ())}


def read_layers(item: pytest.Item, call: Mapping[str, Any]) -> Layers:
    """Read the settings of a test.

    Args:
        item: the test.
        call: the options of the call.

    Raises:
        UsageError: one is unknown or of the wrong type.
    """
    return Layers(
        check_options(call, "option of this call", (*OF_CHECKING, *OF_THE_GATE)),
        read_marker(item),
        read_ini(item.config),
        read_project(item.path.parent),
    )


def read_marker(item: pytest.Item) -> dict[str, Any]:
    """Read the markers of a test; the closest wins, keyword by keyword.

    Raises:
        UsageError: a keyword is unknown or of the wrong type, or something is given without a keyword.
    """
    merged: dict[str, Any] = {}
    for marker in item.iter_markers("initcheck"):
        if marker.args:
            given = ", ".join(map(repr, marker.args))
            raise UsageError(
                f"@pytest.mark.initcheck takes keywords only, such as seeds=8. Received: {given}. Name what it is."
            )
        kind = "keyword of @pytest.mark.initcheck"
        merged = {**check_options(marker.kwargs, kind, (*OF_CHECKING, *OF_THE_GATE)), **merged}
    return merged


def read_ini(config: pytest.Config) -> dict[str, Any]:
    """Read pytest's own settings; only what is set is there."""
    found = {"seeds": config.getini("initcheck_seeds"), "margin": config.getini("initcheck_margin")}
    return {name: value for name, value in found.items() if value is not None}


def read_project(folder: Path) -> dict[str, Any]:
    """Read ``[tool.initcheck]`` of the nearest pyproject.toml.

    Raises:
        UsageError: a key is unknown or of the wrong type.
    """
    from initcheck.checking.settings import read_project_settings

    return read_project_settings(folder)


def check_options(given: Mapping[str, Any], kind: str, known: Iterable[str]) -> dict[str, Any]:
    """Check names and types of options, and make tuples of texts.

    Args:
        given: the options.
        kind: what they are, in singular.
        known: the names that are accepted.

    Raises:
        UsageError: a name is unknown, or a value is of the wrong type.
    """
    names = tuple(known)
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in names:
            raise name_unknown(kind, name, names)
        checked[name] = value if value is None else _typed(name, value)
    return checked


def _typed(name: str, value: Any) -> Any:
    if name in _TEXTS:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, tuple | list) or not all(isinstance(each, str) for each in texts):
            raise UsageError(f"{name} must be a text or a list of texts. Received: {value!r}.")
        return tuple(texts)
    wanted: tuple[type, ...] | None = None
    if name in _NUMBERS:
        wanted, told = (int,), "a whole number"
    elif name == "margin":
        wanted, told = (int, float), "a number"
    elif name in _SWITCHES:
        wanted, told = (bool,), "True or False"
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        raise UsageError(f"{name} must be {told}. Received: {value!r}.")
    if name == "limits" and isinstance(value, Mapping):
        from initcheck.audit.limits import Limits

        return Limits().replaced(value)
    return value


def _make(*layers: Mapping[str, Any]) -> CheckSettings:
    from initcheck.checking.settings import override

    merged: dict[str, Any] = {}
    for layer in layers:
        given = {name: value for name, value in layer.items() if value is not None}
        merged |= {name: value for name, value in given.items() if name in OF_CHECKING}
    return override({}, **merged)


def load_reference(config: pytest.Config, reference: str) -> LoadedModel:
    """Load the model that a text names; files are searched where pytest was called, then in its root folder.

    Raises:
        UsageError: the text names nothing that exists.
        ModelError: there is no model to be had.
    """
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
