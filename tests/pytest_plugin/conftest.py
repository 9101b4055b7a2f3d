"""A project of its own for each test, with small models, and runs of pytest in it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import xmlschema
from documentation import ROOT

from initcheck.backend.runtime import import_keras

MODELS = """
import os

import keras

MADE = []


def build(depth=2):
    MADE.append(depth)
    print("made a model")
    scale = 2.0 * float(os.environ.get("GAIN", "1")) ** 2
    model = keras.Sequential([keras.Input((16,))])
    for layer in range(depth):
        drawn = keras.initializers.VarianceScaling(scale, "fan_in")
        model.add(keras.layers.Dense(16, activation="relu", kernel_initializer=drawn, name=f"hidden_{layer}"))
    model.add(keras.layers.Dense(4, name="head"))
    return model


def twins():
    drawn = keras.initializers.HeNormal(seed=1)
    hidden = [keras.layers.Dense(16, "relu", kernel_initializer=drawn, name=f"hidden_{i}") for i in range(2)]
    return keras.Sequential([keras.Input((16,)), *hidden])


def orthogonal(gain=1.0):
    model = keras.Sequential([keras.Input((16,))])
    for layer in range(4):
        drawn = keras.initializers.Orthogonal(gain)
        model.add(keras.layers.Dense(16, kernel_initializer=drawn, name=f"hidden_{layer}"))
    return model


def counted():
    with open("made", "a") as file:
        file.write("x")
    return build()


def broken():
    raise ValueError("no such luck")
"""


@pytest.fixture(scope="session", autouse=True)
def _loaded():
    """Import here what runs inside this process need: what they import themselves is forgotten behind them."""
    import_keras()
    for name in (
        "spec.catalogue",
        "checking.gate.gate",
        "checking.report.text",
        "pytest_plugin.collection",
        "pytest_plugin.fixture",
        "pytest_plugin.summary",
    ):
        importlib.import_module(f"initcheck.{name}")


class Project:
    """A folder with models, and pytest in it."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def test(self, *lines, name="test_models.py", marker=""):
        """Write a file with one test of these lines, which has the fixture."""
        body = "\n".join(f"    {line}" for line in lines)
        head = "import keras\nimport pytest\nfrom models import *\n\n\n"
        return self.write(name, f"{head}{marker}\ndef test_it(initcheck):\n{body}\n")

    def run(self, *arguments):
        """Run pytest in this process, where Keras is loaded."""
        return self.pytester.runpytest_inprocess(*PLAIN, *arguments)

    def failure(self, *arguments):
        """Run what must fail, and give back what is printed of it."""
        result = self.run(*arguments)
        assert result.ret == pytest.ExitCode.TESTS_FAILED, result.stdout.str()
        text = result.stdout.str()
        assert "Traceback" not in text and "During handling" not in text
        assert "initcheck/pytest_plugin" not in text
        return text

    def read_properties(self, name):
        """Read the properties in a JUnit file, by the id of a test; the file has the published form."""
        file = ElementTree.parse(self.path / name)
        xmlschema.validate(file, ROOT / "tests/docs/junit-10.xsd")
        found = {}
        for each in file.iter("property"):
            key, _, test = each.get("name").partition(" ")
            found.setdefault(test, {})[key] = each.get("value")
        return found

    def passes(self, *lines, marker=""):
        """Run one test of these lines, which must pass."""
        self.test(*lines, marker=marker)
        self.run().assert_outcomes(passed=1)

    def fails(self, *lines):
        """Run one test of these lines, which must fail, and give back what is printed of it."""
        self.test(*lines)
        return self.failure()

    def run_apart(self, *arguments, **environment):
        """Run pytest in a process of its own, with all plugins that are installed."""
        # Not as a worker of the run that this is a part of: pytest-benchmark would measure nothing.
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.path,
            env={**own, **ONE_THREAD, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


ONE_THREAD = {"TF_NUM_INTEROP_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
PLAIN = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:benchmark", "--strict-markers", "-W", "ignore")


@pytest.fixture
def project(pytester, monkeypatch):
    # In CI pytest prints each failure twice as long as elsewhere: its short summary has the whole message.
    for name in ("CI", "BUILD_NUMBER", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("GAIN", raising=False)
    # Other tests of this process load files of these names too, and what is loaded is not looked for in the project.
    for name in ("models", "test_claims", "test_models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # What is compiled is kept by size and second: a file as long, written in the same second, would not be read.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(pytester)
    made.write("models.py", MODELS)
    made.write("pytest.ini", "[pytest]\npythonpath = .\ninitcheck_seeds = 4\n")
    assert Path.cwd() == made.path
    return made
