"""Beside other plugins: pytest-xdist, pytest-benchmark, pytest-regressions, and the specification's own."""

from __future__ import annotations

import pytest

from initcheck.audit.rules import FAMILIES
from initcheck.pytest_plugin.settings import sanitize

MANY = """
import pytest
from models import build, twins


@pytest.mark.parametrize("depth", [1, 2])
def test_gate(initcheck, depth):
    initcheck.gate(build(depth), seeds=2)


def test_regression(initcheck, data_regression):
    report = initcheck.check(build(3), seeds=6)
    data_regression.check({"layers": report.coverage.calls})


def test_speed(initcheck, benchmark):
    model = build(1)
    benchmark.pedantic(lambda: model.count_params(), rounds=2)
    initcheck.assert_independent_weights(model)


def test_plain():
    pass
"""
SPECIFICATION = ("-p", "initcheck.spec.plugin", "--initcheck-seed", "7")


@pytest.mark.cluster
def test_with_workers_each_test_writes_its_own_file_and_the_controller_reports(project):
    project.write("test_many.py", MANY)
    settings = (project.path / "pytest.ini").read_text()
    project.write("pytest.ini", f"{settings}initcheck_models = models:counted\n")
    options = ["-n", "2", "--junitxml=junit.xml", "-W", "ignore", *SPECIFICATION]
    options += ["-k", "gate or plain or initcheck"]
    done = project.run_apart(*options, "--initcheck-update", GITHUB_STEP_SUMMARY="summary.md")
    assert "10 passed" in done.stdout, done.stdout
    assert done.stdout.count("= initcheck =") == 1
    assert done.stdout.count(": commit it") == 3
    folder = project.path / "initcheck-baselines"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    gates = [f"test_many/test_gate-{depth}.json" for depth in (1, 2)]
    assert files == [f"models/{sanitize('models:counted')}.json", *gates]

    for name in ("summary.md", "made"):
        project.write(name, "")
    done = project.run_apart(*options, "--dist", "loadfile", GITHUB_STEP_SUMMARY="summary.md", GAIN="1.3")
    assert "3 failed, 7 passed" in done.stdout, done.stdout
    # All tests of a model ran in one worker, which has measured it once.
    assert (project.path / "made").read_text() == "x"
    page = (project.path / "summary.md").read_text(encoding="utf-8")
    assert page.count("**Gate: changed") == 3
    assert page.count("without a failure") == 1
    assert "Update:    pytest 'test_many.py::test_gate[1]' --initcheck-update" in done.stdout
    verdicts = {test: said["initcheck_verdict"] for test, said in project.read_properties("junit.xml").items()}
    tests_of_model = [*FAMILIES.values(), "baseline"]
    assert verdicts.keys() == {
        *(f"initcheck::models:counted::{each}" for each in tests_of_model),
        *(f"test_many.py::test_gate[{depth}]" for depth in (1, 2)),
    }
    assert list(verdicts.values()).count("changed") == 3


def test_the_tests_of_a_model_are_a_group_for_workers(project):
    items, _ = project.pytester.inline_genitems("--initcheck-model=models:build", "-p", "no:cacheprovider")
    groups = [item.get_closest_marker("xdist_group").args for item in items]
    assert groups == [("initcheck models:build",)] * 6


@pytest.mark.thorough
def test_beside_other_plugins_that_write_files_and_measure(project):
    project.write("test_many.py", MANY)
    done = project.run_apart("-k", "speed or regression", "-W", "ignore", "--force-regen", *SPECIFICATION)
    # The data file of pytest-regressions is new, which fails that test once; initcheck has no part in it.
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert (project.path / "test_many/test_regression.yml").read_text() == "layers: 4\n"
    section = done.stdout.partition("= initcheck =")[2]
    assert "independent" in section and "healthy" in section
    assert "benchmark: 1 tests" in done.stdout
    assert "initcheck seed: 7" in done.stdout
