"""``docs/architecture.md``: the files that it names exist, and ``check`` passes through those that it lists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import initcheck

_PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
_MODEL = """
import keras


def build():
    hidden = [keras.layers.Dense(24, "relu", kernel_initializer="glorot_uniform") for _ in range(12)]
    return keras.Sequential([keras.Input((24,)), *hidden, keras.layers.Dense(10)])
"""
_TRACE = """
import sys
from pathlib import Path

import initcheck
from initcheck.cli import main

package, entered = Path(initcheck.__file__).parent, {}


def is_import(frame):
    while frame := frame.f_back:
        if frame.f_code.co_name == "<module>" and Path(frame.f_code.co_filename).is_relative_to(package):
            return True
    return False


def note(frame, event, argument):
    code = frame.f_code
    # Functions alone: class bodies, comprehensions, constructors and what runs on import lead nowhere.
    if event == "call" and code.co_filename.startswith(str(package)) and code.co_flags & 2:
        if code.co_filename not in entered and code.co_name != "__init__" and code.co_name[0] != "<":
            if not is_import(frame):
                entered[code.co_filename] = code.co_name


sys.setprofile(note)
code = main(["check", "models.py:build", "--seeds", "4"])
sys.setprofile(None)
assert code == 1, code
print(*(Path(name).relative_to(package).as_posix() for name in entered), sep="\\n", file=sys.stderr)
"""


def _ways() -> dict[str, list[str]]:
    sections = re.split(r"^### ", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {each.partition("\n")[0]: re.findall(r"`([\w/]+\.py)`", each) for each in sections}


def test_every_file_of_the_ways_is_there():
    package = Path(initcheck.__file__).parent
    ways = _ways()
    assert len(ways) == 4
    assert [name for files in ways.values() for name in files if not (package / name).is_file()] == []


@pytest.mark.followed
def test_a_check_passes_through_the_files_that_are_listed_and_they_are_few(tmp_path):
    (tmp_path / "models.py").write_text(_MODEL, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", _TRACE], cwd=tmp_path, capture_output=True, text=True, check=True)
    entered = [line for line in done.stderr.splitlines() if re.fullmatch(r"[\w/]+\.py", line)]
    listed = _ways()["`initcheck check MODEL`"]
    assert sorted(entered) == sorted(listed)
    assert len(listed) <= 52
