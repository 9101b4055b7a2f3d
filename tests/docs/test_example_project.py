"""``examples/gated-model``: green, red for what was changed in it, and green again once that is recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from documentation import ROOT, check_command, check_printed, read_blocks, run_pytest

from initcheck.checking.gate.baseline import read_baseline

EXAMPLE = ROOT / "examples" / "gated-model"
BASELINE = Path("tests", "initcheck-baselines", "test_models", "test_the_classifier_starts_as_recorded.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a copy"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    return folder


def replace_once(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.mark.followed
def test_the_example_is_green_then_red_for_a_sabotaged_initializer_then_green_once_it_is_recorded(folder):
    code, printed = run_pytest([], folder)
    assert code == 0, printed
    assert "2 passed" in printed

    replace_once(folder / "models.py", "RandomNormal(stddev=0.2)", "RandomNormal(stddev=0.26)")
    code, printed = run_pytest([], folder)
    assert code == 1, printed
    assert "1 failed, 1 passed" in printed
    (promised,) = [each for each in read_blocks((EXAMPLE / "README.md").read_text("utf-8")) if each.language == "text"]
    check_printed(promised, printed)
    assert "second/kernel" in promised.text
    assert "the model changed, not the library" in promised.text

    before = (folder / BASELINE).read_text(encoding="utf-8")
    code, printed = run_pytest(["--initcheck-update"], folder)
    assert code == 0, printed
    after = (folder / BASELINE).read_text(encoding="utf-8")
    assert "RandomNormal(stddev=0.2)" in before
    assert "RandomNormal(stddev=0.26)" in after
    assert "RandomNormal(stddev=0.2)" not in after

    code, printed = run_pytest([], folder)
    assert code == 0, printed


@pytest.mark.followed
def test_the_example_without_its_baseline_fails_and_says_how_to_record_it(folder):
    (folder / BASELINE).unlink()
    code, printed = run_pytest(["-k", "recorded"], folder)
    assert code == 1, printed
    assert f"There is no baseline '{BASELINE.as_posix()}'" in printed
    assert "pytest 'tests/test_models.py::test_the_classifier_starts_as_recorded' --initcheck-update" in printed
    assert not (folder / BASELINE).exists()


def test_the_baseline_of_the_example_was_recorded_with_its_settings():
    known = read_baseline(EXAMPLE / BASELINE)
    settings = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert f"initcheck_seeds = {len(known.seeds)}\n" in settings
    assert known.findings == ()
    assert set(known.weights) == {
        f"{layer}/{name}" for layer in ("first", "second", "classes") for name in ("kernel", "bias")
    }
    assert json.loads((EXAMPLE / BASELINE).read_text("utf-8"))["recipe"]["test"].startswith("tests/test_models.py::")


def test_the_gate_is_three_lines_in_the_example_as_in_the_documentation():
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/gate.md")}
    lines = "def test_the_model_starts_as_recorded(initcheck):\n    model = build()\n    initcheck.gate(model)\n"
    assert all(lines in page for page in pages.values())
    test = (EXAMPLE / "tests" / "test_models.py").read_text(encoding="utf-8")
    assert "    model = build_classifier()\n    initcheck.gate(model)\n" in test


def test_the_workflow_of_the_example_can_be_read():
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert scripts[-1] == "pytest"
    assert "initcheck[tensorflow]" in scripts[0]
    for script in scripts:
        check_command(script.replace('"', "").split())
