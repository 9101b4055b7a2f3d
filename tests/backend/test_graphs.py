"""TensorFlow has nothing to complain about on standard error while models are measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STARTED = "TensorFlow has started"
"""What TensorFlow itself says while it starts, of drivers that it does not find say, stands before this line."""

MODEL = f"""
import os
import keras
import numpy as np

def build():
    layers = [keras.layers.Dense(8, activation="relu", kernel_initializer="he_normal") for _ in range(2)]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])

build()
os.write(2, b"{STARTED}\\n")
"""

CALLS = """
import initcheck
from initcheck.callbacks import SignalMonitor

initcheck.check(build())
x = np.ones((8, 4), "float32")
initcheck.check(build(), x)
model = build()
model.compile("sgd", "mse")
model.fit(x, np.ones((8, 2)), verbose=0, callbacks=[SignalMonitor(x, every=1)])
"""

TEST = """
def test_model(initcheck):
    initcheck.check(build())
"""


def complaints(command: list[str], folder: Path, level: str | None) -> list[str]:
    """Run a command; give the warnings and errors that TensorFlow's C++ side writes once it has started."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours = done.stderr.partition(f"{STARTED}\n")[2]
    assert ours or done.stderr.endswith(f"{STARTED}\n"), done.stderr
    return [line for line in ours.splitlines() if re.match(r"[WEF]\d{4} |WARNING", line) or "OP_REQUIRES" in line]


@pytest.mark.parametrize("how", ["python", "pytest", "command"])
def test_standard_error_is_quiet(tmp_path: Path, how: str):
    """The gradient at the outputs is a constant unless labels are given, and so is a batch of few numbers."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "test_model.py").write_text(MODEL + TEST)
    # The command holds back what TensorFlow says while it starts, and warnings too unless they are asked for.
    command, level = {
        "python": (["-c", MODEL + CALLS], None),
        "pytest": (["-m", "pytest", "--capture=no", "-p", "no:cacheprovider", "test_model.py"], None),
        "command": (["-c", "from initcheck.cli.main import main; main(['check', 'model.py:build'])"], "0"),
    }[how]
    assert complaints(command, tmp_path, level) == []
