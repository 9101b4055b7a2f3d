"""The contracts about imports notice what breaks them: a copy of the package gets one module against each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OFFENDERS = {
    "core/upwards.py": "from initcheck.study import run\n",
    "training/to_the_right.py": "import initcheck.checking.check\n",
    "models/of_its_own.py": "def f():\n    import tensorflow\n    import jax\n    import torch\n",
    "theory/private.py": "def f():\n    from keras.src.models import functional\n",
}


def needs(module):
    """Skip where a tool is missing, as it is among the oldest versions: it reads the same code in any environment."""
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed here")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "initcheck", folder / "initcheck", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in OFFENDERS.items():
        (folder / "initcheck" / name).write_text(text, encoding="utf-8")
    return folder


def run(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def contracts(copy):
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return run(copy, "-c", code, "--no-cache")


@needs("importlinter")
def test_an_import_up_a_floor_or_to_the_right_breaks_the_contract(contracts):
    code, text = contracts
    assert code == 1
    assert "An import goes down a floor, or to the left on its own BROKEN" in text
    assert "initcheck.core.upwards -> initcheck.study.run" in text
    assert "initcheck.training.to_the_right -> initcheck.checking.check" in text


@needs("importlinter")
def test_an_import_of_a_backend_outside_the_backend_breaks_the_contract(contracts):
    code, text = contracts
    assert code == 1
    assert "Only backend imports TensorFlow, JAX or PyTorch BROKEN" in text
    for library in ("tensorflow", "jax", "torch"):
        assert f"initcheck.models.of_its_own -> {library}" in text
        assert text.count(f"-> {library}") == 1


@needs("ruff")
def test_an_import_of_keras_private_modules_outside_the_backend_is_refused_by_ruff(copy):
    code, text = run(copy, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--output-format", "concise", ".")
    assert code == 1
    found = sorted({line.split(":")[0].replace("\\", "/") for line in text.splitlines() if "TID251" in line})
    assert found == ["initcheck/models/of_its_own.py", "initcheck/theory/private.py"]
