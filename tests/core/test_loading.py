"""Importing a module or file that a user names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from initcheck.core.loading import import_place


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "loading_beside.py").write_text("value = 7\n")
    (tmp_path / "loading_own.py").write_text("from loading_beside import value\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("loading_") or name == "file_json"]:
        del sys.modules[name]


def test_a_file_finds_the_modules_beside_it_and_the_search_path_is_restored(folder):
    before = list(sys.path)
    assert import_place(str(folder / "loading_own.py")).value == 7
    assert sys.path == before


def test_a_module_of_the_working_directory_is_found(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert import_place("loading_own").value == 7


def test_a_dataclass_with_postponed_annotations_can_be_made_in_a_file(folder):
    code = "from __future__ import annotations\nimport dataclasses\n"
    code += "@dataclasses.dataclass\nclass Some:\n    size: int = 3\n"
    (folder / "loading_data.py").write_text(code)
    assert import_place(str(folder / "loading_data.py")).Some().size == 3


def test_a_file_is_run_anew_each_time(folder):
    path = folder / "loading_own.py"
    first = import_place(str(path))
    path.write_text("value = 'changed'\n")
    assert import_place(str(path)).value == "changed" and first.value == 7


def test_a_file_does_not_take_the_place_of_a_module_of_its_name(folder):
    import json

    (folder / "json.py").write_text("value = 3\n")
    module = import_place(str(folder / "json.py"))
    assert module.value == 3 and module.__name__ == "file_json"
    assert sys.modules["json"] is json


def test_a_file_that_fails_leaves_no_module_behind(folder):
    (folder / "loading_failing.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        import_place(str(folder / "loading_failing.py"))
    assert "loading_failing" not in sys.modules


def test_a_file_of_a_package_imports_from_its_package(folder):
    package = folder / "src" / "loading_package" / "inner"
    package.mkdir(parents=True)
    for name in ("__init__.py", "../__init__.py"):
        (package / name).write_text("")
    (package / "../sizes.py").write_text("size = 3\n")
    code = "from loading_package.sizes import size\nfrom ..sizes import size as same\n"
    (package / "models.py").write_text(code)
    before = list(sys.path)
    module = import_place(str(package / "models.py"))
    assert module.size == module.same == 3
    assert module.__name__ == "loading_package.inner.models"
    assert sys.path == before


def test_a_file_in_a_folder_whose_name_no_import_could_name_stands_alone(folder):
    own = folder / "2.0-models"
    own.mkdir()
    (own / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (own / "loading_models.py").write_text("value = 5\n")
    module = import_place(str(own / "loading_models.py"))
    assert (module.value, module.__name__) == (5, "loading_models")


def test_a_file_of_another_package_of_the_same_name_stands_alone(folder):
    for place in ("installed", "own"):
        package = folder / place / "loading_twice"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "loading_models.py").write_text(f"value = {place!r}\n")
    assert import_place(str(folder / "installed/loading_twice/loading_models.py")).value == "installed"
    module = import_place(str(folder / "own/loading_twice/loading_models.py"))
    assert (module.value, module.__name__) == ("own", "loading_models")
