"""``tests/benchmarks/page.py``: the committed page is that of the committed results, and bad input is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "page.py"
RESULTS = sorted((ROOT / "reports" / "benchmarks").glob("*.json"))


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("benchmarks_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_there_are_committed_results():
    assert [path.name for path in RESULTS] == ["benchmarks.json", "sweeps.json"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_the_committed_page_is_that_of_the_committed_results_which_hold_no_name_of_a_machine(page, path):
    results = json.loads(path.read_text(encoding="utf-8"))
    written = path.with_suffix(".md").read_text(encoding="utf-8")
    assert written == page.write_page(results, path.relative_to(ROOT).as_posix())
    assert "node" not in results["machine_info"]


def test_ratios_stand_by_file_with_interval_and_limit(page):
    ratio = {"ratio": 6.18, "low": 5.0, "high": 123.4, "limit": "at least 2"}
    free = {"ratio": 1.0, "low": 0.9, "high": 1.1, "limit": ""}
    bare = {"ratio": 0.0321, "low": 0.03, "high": 0.034}
    text = page.write_page(
        {
            "datetime": "2026-01-02T03:04:05",
            "machine_info": {"cpu": {"brand_raw": "Some CPU", "count": 2}, "python_version": "3.11"},
            "benchmarks": [
                {"fullname": "tests/benchmarks/test_real_models.py::one", "extra_info": {"a | b": ratio, "seconds": 3}},
                {"fullname": "tests/benchmarks/test_theory.py::two[x]", "extra_info": {"c": bare, "d": free}},
                {"fullname": "tests/benchmarks/test_empty.py::three", "extra_info": {}},
            ],
        },
        "some.json",
    )
    assert "page.py some.json -->" in text
    assert "Run on 2026-01-02: Some CPU, 2 cores, 3.11." in text
    assert "| a \\| b | 6.18 | 5.00 to 123 | at least 2: shown |\n" in text
    assert "| c | 0.0321 | 0.03 to 0.034 | not recorded |\n" in text
    assert "| d | 1.00 | 0.90 to 1.10 |  |\n" in text
    assert text.index("## Real models") < text.index("## Theory")
    assert "seconds" not in text
    assert "## Empty" not in text


@pytest.mark.parametrize(
    ("limit", "low", "high", "shown"),
    [
        ("at least 0.85", 0.73, 1.40, False),
        ("at least 0.85", 0.85, 1.40, True),
        ("above 1", 0.99, 3.0, False),
        ("at most 1.1", 0.9, 1.11, False),
        ("at most 1.1", 0.9, 1.1, True),
        ("within 0.9 to 1.1", 0.89, 1.0, False),
        ("within 0.9 to 1.1", 1.0, 1.11, False),
        ("within 0.9 to 1.1", 0.9, 1.1, True),
        ("at most 1.1", float("nan"), float("nan"), False),
    ],
)
def test_a_limit_is_shown_only_where_the_whole_interval_lies_within(page, limit, low, high, shown):
    found = {"ratio": 1.0, "low": low, "high": high, "limit": limit}
    benchmark = {"fullname": "tests/benchmarks/test_a.py::b", "extra_info": {"c": found}}
    text = page.write_page({"benchmarks": [benchmark]}, "some.json")
    assert f"| {limit}: {'shown' if shown else 'not shown'} |\n" in text


@pytest.mark.parametrize("content", ["", "[]", '{"benchmarks": [{}]}', "{}"])
def test_results_that_cannot_be_read_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "benchmarks.json"
    path.write_text(content)
    done = run(path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "tox run -e bench" in done.stderr
    assert not (tmp_path / "benchmarks.md").exists()


def test_a_missing_file_and_a_missing_argument_are_refused(tmp_path):
    assert "cannot be read" in run(tmp_path / "none.json").stderr
    done = run()
    assert done.returncode == 2
    assert "Give the path" in done.stderr
