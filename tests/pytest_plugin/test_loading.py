"""What every run of pytest pays for the plugin, and that it keeps to its names."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from initcheck.checking import settings
from initcheck.checking.settings import CheckSettings
from initcheck.core.errors import UsageError

HEAVY = {"keras", "tensorflow", "pandas", "scipy", "jsonschema", "numpy", "statsmodels"}
MOST_MILLISECONDS = 20

TIMED = """
import json, sys, time
import pytest, _pytest.config, _pytest.terminal, importlib, contextlib, dataclasses, typing
before = set(sys.modules)
start = time.perf_counter()
import initcheck.pytest_plugin
print(json.dumps([1000 * (time.perf_counter() - start), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_loading_takes_less_than_twenty_milliseconds_and_imports_nothing_heavy():
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(milliseconds for milliseconds, _ in runs) < MOST_MILLISECONDS
    assert not HEAVY & set(runs[0][1])


def test_a_run_without_any_model_imports_nothing_heavy(project):
    names = sorted(HEAVY)
    project.write(
        "test_it.py",
        "import sys\nimport pytest\n\n@pytest.mark.initcheck(seeds=3, margin=0.1)\ndef test_it():\n"
        f"    assert sys.modules['initcheck.pytest_plugin']\n    assert not set({names}) & set(sys.modules)\n",
    )
    done = project.run_apart("-q", "--strict-markers", GITHUB_STEP_SUMMARY="summary.md")
    assert done.returncode == 0, done.stdout
    assert not (project.path / "summary.md").exists()


def test_every_option_has_a_type_and_a_default_of_that_type():
    for field in dataclasses.fields(CheckSettings):
        default = getattr(CheckSettings(), field.name)
        assert default is None or settings.check_option(field.name, default, field.name) == default
        if field.name != "weights":
            with pytest.raises(UsageError, match=f"{field.name} must be .*Received"):
                settings.check_option(field.name, object(), field.name)


def test_the_marker_and_the_options_are_listed(project):
    markers = project.run("--markers").stdout.str()
    (line,) = [line for line in markers.splitlines() if line.startswith("@pytest.mark.initcheck(")]
    assert all(name in line for name in (*settings.CHECK_OPTIONS, *settings.GATE_OPTIONS))
    listed = project.run("--help").stdout.str()
    for option in ("--initcheck-model=MODEL", "--initcheck-update", "--initcheck-strict", "--initcheck-report=DIR"):
        assert option in listed
    number = pytest.version_tuple >= (8, 4)
    whole, decimal = ("int", "float") if number else ("string", "string")
    for setting in (
        "initcheck_models (linelist)",
        "initcheck_strict (bool)",
        f"initcheck_seeds ({whole})",
        f"initcheck_margin ({decimal})",
    ):
        assert setting in listed
