"""The file of the oldest versions, which ``tox run -e oldest`` installs, is what ``pyproject.toml`` declares."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
_OLDEST = Path(__file__).with_name("oldest.txt")


def test_each_lower_bound_is_the_version_that_the_oldest_environment_installs():
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    others = ("tensorflow-cpu", "jax", "torch")  # that environment computes with TensorFlow
    extras = [line for name, lines in project["optional-dependencies"].items() if name not in others for line in lines]
    declared = {each.name: each.specifier for each in map(Requirement, [*project["dependencies"], *extras])}
    lines = [line for line in _OLDEST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = {each.name: each.specifier for each in map(Requirement, lines)}
    for name, bound in declared.items():
        (lower,) = bound
        (exact,) = pinned[name]
        assert (lower.operator, exact.operator) == (">=", "==")
        assert Version(lower.version) == Version(exact.version), name
