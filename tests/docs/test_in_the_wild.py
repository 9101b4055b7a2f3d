"""``docs/in-the-wild.md``: each finding in public code is what its command prints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from documentation import ROOT, follow

PAGE = (ROOT / "docs" / "in-the-wild.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
KERAS_HUB = "KerasHub: equal key and value kernels"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.followed
@pytest.mark.parametrize("title", [title for title, text in SECTIONS.items() if "```" in text and title != KERAS_HUB])
def test_what_was_found_is_found_again(title: str, checkout: Path):
    follow(SECTIONS[title], checkout)


@pytest.mark.followed
def test_the_kernels_of_keras_hub_are_found_equal(checkout: Path):
    pytest.importorskip("keras_hub", reason="this is about KerasHub: pip install keras-hub==0.32.0")
    follow(SECTIONS[KERAS_HUB], checkout)


def test_the_published_models_with_a_problem_are_those_of_the_table():
    table = (ROOT / "reports" / "applications.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| \d+ \| (\d) \|", table, re.MULTILINE)
    wrong = [name for name, code in rows if code == "1"]
    assert f"builds {len(rows)} models that were checked" in PAGE
    assert wrong == ["VGG16", "VGG19"] and "in two of them" in PAGE
    factors = set(re.findall(r"drawn up to ([\d.]+) times too small", table))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert factors == set(re.findall(r"drawn up to ([\d.]+) times too small for ReLU", readme))
