"""How a test is to measure: what its call says, else its marker, pytest's settings, and [tool.initcheck]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from initcheck.pytest_plugin import read_number


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
