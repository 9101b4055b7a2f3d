"""What no test needs: baselines, waivers and ignores are listed, and fail the run with ``--initcheck-strict``."""

from __future__ import annotations

import re

import pytest

GATES = """
import pytest
from models import build


@pytest.mark.parametrize("depth", [1, 2])
def test_gate(initcheck, depth):
    initcheck.gate(build(depth), seeds=2)


@pytest.mark.skipif("config.getoption('verbose') < 1")
def test_skipped(initcheck):
    initcheck.gate(build, seeds=2)
    initcheck.gate(build, seeds=2, name="second")


def test_plain():
    pass
"""

LAST = re.compile(r"initcheck: the run fails \(--initcheck-strict\): no test needs \d+ of the above\.")


def unused(result):
    """Read what a run lists."""
    return [line for line in result.stdout.lines if line.startswith("not ")]


@pytest.fixture
def gated(project):
    """A project with baselines that all its tests compare with."""
    project.write("tests/test_gates.py", GATES)
    project.write("tests/test_other.py", "def test_other():\n    pass\n")
    project.run("-v", "--initcheck-update").assert_outcomes(passed=5)
    assert len(list((project.path / "tests/initcheck-baselines/test_gates").iterdir())) == 4
    return project


def test_a_project_that_needs_all_of_it_passes(gated):
    for options in ([], ["-v"], ["-k", "plain"], ["tests/test_other.py"]):
        result = gated.run("--initcheck-strict", *options)
        assert result.ret == 0 and unused(result) == []


@pytest.fixture
def left_over(gated):
    """The same with baselines of a case, a second gate, a test and a file that are gone."""
    folder = gated.path / "tests/initcheck-baselines"
    for name in ("test_gates/test_gate-3", "test_gates/test_gate-2@second", "test_gates/test_gone", "test_old/test_it"):
        gated.write(f"tests/initcheck-baselines/{name}.json", (folder / "test_gates/test_gate-1.json").read_text())
    gated.write("initcheck-baselines/of_the_command_line.json", "{}")
    return gated


GONE = ["test_gates/test_gate-2@second", "test_gates/test_gate-3", "test_gates/test_gone", "test_old/test_it"]


def lines_of(names, folder="tests/"):
    return [f"not used: {folder}initcheck-baselines/{name}.json: no test compares with it, delete it" for name in names]


def test_baselines_that_no_test_compares_with_are_listed_and_fail_the_strict_run(left_over, monkeypatch):
    result = left_over.run()
    assert result.ret == 0 and unused(result) == lines_of(GONE)
    result = left_over.run("--initcheck-strict")
    assert result.ret == 1 and unused(result) == lines_of(GONE)
    result.assert_outcomes(passed=4, skipped=1)
    assert LAST.fullmatch(result.stdout.lines[-1])
    settings = (left_over.path / "pytest.ini").read_text()
    left_over.write("pytest.ini", f"{settings}initcheck_strict = true\n")
    monkeypatch.chdir(left_over.path / "tests")
    result = left_over.run("test_gates.py")
    assert result.ret == 1 and unused(result) == lines_of(GONE, "")


@pytest.mark.parametrize(
    "options",
    [
        ["-k", "not plain"],
        ["-m", "not parametrize"],
        ["tests/test_gates.py::test_gate"],
        ["--deselect", "tests/test_gates.py::test_plain"],
        ["tests/test_other.py"],
    ],
    ids=" ".join,
)
def test_a_file_of_which_a_part_runs_is_not_judged(left_over, options):
    result = left_over.run("--initcheck-strict", *options)
    gone_file = [] if any("::" in each and "tests" in each for each in options[:1]) else GONE[3:]
    assert unused(result) == lines_of(gone_file), result.stdout.str()


def test_what_a_test_that_failed_would_have_compared_with_is_not_known(left_over, monkeypatch):
    monkeypatch.setenv("GAIN", "1.3")
    # Each name that begins as that of the test might be a second gate of it.
    assert unused(left_over.run("--initcheck-strict")) == lines_of(GONE[2:])


def test_files_that_cannot_be_collected_are_not_judged(left_over):
    left_over.write("tests/test_old.py", "import nonsense\n")
    result = left_over.run("--initcheck-strict", "--continue-on-collection-errors")
    assert unused(result) == lines_of(GONE[:3])
    assert left_over.run("--initcheck-strict").ret == pytest.ExitCode.INTERRUPTED


def test_models_of_the_settings_are_judged_and_those_of_one_command_are_not(project):
    project.run("--initcheck-model=models.py:build", "--initcheck-update").assert_outcomes(passed=7)
    (path,) = (project.path / "initcheck-baselines/models").iterdir()
    project.write("test_other.py", "def test_other():\n    pass\n")
    settings = (project.path / "pytest.ini").read_text()
    project.write("pytest.ini", f"{settings}initcheck_models = models.py:orthogonal\n")
    result = project.run("--initcheck-strict")
    assert unused(result) == lines_of([f"models/{path.stem}"], "")
    assert unused(project.run("--initcheck-strict", "--initcheck-model=models.py:orthogonal")) == []


EXEMPT = """
import pytest
from models import build, twins

pytestmark = pytest.mark.initcheck(waive=["hidden_*"])


def test_needed_here(initcheck):
    initcheck.check(twins, seeds=2)


def test_not_needed_there(initcheck):
    initcheck.check(build(3), seeds=6)


@pytest.mark.parametrize("model", [build, twins])
@pytest.mark.initcheck(waive=["head", "hidden_0"], ignore=["IC301", "IC2"])
def test_of_two(initcheck, model):
    initcheck.gate(model, seeds=2)


def test_of_a_call(initcheck):
    initcheck.assert_preserves(build, within=0.9, ignore="IC4")
    initcheck.check(build(3), seeds=6, ignore=["IC502", "IC301"])
    initcheck.assert_independent_weights(build, waive="hidden_1")
"""


def test_what_is_ignored_or_waived_without_need_is_listed_by_who_says_so(project):
    project.write("test_many.py", EXEMPT.replace('"head", ', ""))
    project.write("pyproject.toml", "[tool.initcheck]\nignore = ['IC301', 'IC503']\nwaive = ['nothing']\n")
    result = project.run("--initcheck-update", "--initcheck-strict")
    result.assert_outcomes(passed=5)
    assert result.ret == 1
    assert unused(result) == [
        f"not needed: {each}: no finding fits it, leave it out"
        for each in (
            "ignore 'IC503' in [tool.initcheck] of pyproject.toml",
            "ignore 'IC2' in the marker of test_many.py::test_of_two",
            "ignore 'IC502' in the call of test_many.py::test_of_a_call",
            "ignore 'IC301' in the call of test_many.py::test_of_a_call",
            "waive 'hidden_1' in the call of test_many.py::test_of_a_call",
        )
    ]
    # A part of the project says nothing of the settings for all of it.
    project.write("test_other.py", "def test_other():\n    pass\n")
    assert "[tool.initcheck]" not in "".join(unused(project.run("test_many.py")))
    assert "of_two" not in "".join(unused(project.run("-k", "not needed")))


@pytest.mark.cluster
def test_workers_report_to_the_controller_what_they_collected(left_over):
    done = left_over.run_apart("-n", "2", "--dist", "loadgroup", "--initcheck-strict", "-W", "ignore")
    assert done.returncode == 1, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("not ")] == lines_of(GONE)
    assert LAST.fullmatch(done.stdout.splitlines()[-1])
    done = left_over.run_apart("-n", "2", "--initcheck-strict", "-W", "ignore", "-k", "not plain")
    assert [line for line in done.stdout.splitlines() if line.startswith("not ")] == lines_of(GONE[3:])


def test_a_run_without_the_fixture_lists_what_is_left_behind(project):
    project.write("test_plain.py", "def test_plain():\n    pass\n")
    project.write("initcheck-baselines/test_plain/test_gone.json", "{}")
    result = project.run("--initcheck-strict")
    assert result.ret == 1
    assert unused(result) == lines_of(["test_plain/test_gone"], "")
