"""A folder with the file whose calls the made-up problems lie in."""

from __future__ import annotations

import pytest
from placed_problems import CODE


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "my models.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder
