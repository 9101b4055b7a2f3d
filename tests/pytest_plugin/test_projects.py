"""In projects of all kinds: warnings as errors, files of settings, source folders, and where pytest is called."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from initcheck.checking.gate.baseline import read_baseline

STRICT_ABOUT_WARNINGS = """
import warnings

import pytest
from models import build


@pytest.mark.parametrize("form", [build, build(), "models.py:build"], ids=["factory", "model", "text"])
def test_gate(initcheck, form):
    initcheck.gate(form, seeds=2)


def test_all_else(initcheck):
    initcheck.check(build, ignore="IC")
    initcheck.assert_preserves(build, within=0.9)
    initcheck.assert_independent_weights(build)
    # It reads weights as arrays in a way that NumPy deprecates.
    initcheck.assert_claim("layer_defaults.dense.kernel_initializer")


def test_the_test_warns(initcheck):
    warnings.warn("the user's own", DeprecationWarning)
    initcheck.check(build)
"""


@pytest.mark.parametrize(
    "how", ["setting", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("-W", "interpreter"))]
)
def test_warnings_of_libraries_are_no_errors_of_tests_and_the_users_own_are(project, how):
    project.write("test_many.py", STRICT_ABOUT_WARNINGS)
    settings = "[pytest]\npythonpath = .\ninitcheck_models = models.py:build\n"
    project.write("pytest.ini", f"{settings}filterwarnings = error\n" if how == "setting" else settings)
    environment = {"PYTHONWARNINGS": "error"} if how == "interpreter" else {}
    options = ["-W", "error"] if how == "-W" else []
    done = project.run_apart(*options, "--initcheck-update", "-p", "no:benchmark", **environment)
    assert re.search(r"1 failed, 11 passed in", done.stdout), done.stdout
    assert "FAILED test_many.py::test_the_test_warns - DeprecationWarning: the user's own" in done.stdout


FILES = {
    "pytest.ini": "[pytest]\n{}",
    "tox.ini": "[pytest]\n{}",
    "setup.cfg": "[tool:pytest]\n{}",
    "pyproject.toml": "[tool.pytest.ini_options]\n{}",
}
PLAIN = "initcheck_seeds = 3\ninitcheck_margin = 0.2\npythonpath = {quote}.{quote}\n"
MODELS = {
    "pyproject.toml": 'initcheck_models = ["models.py:build"]\n',
    "pytest.ini": "initcheck_models = models.py:build\n",
}
NINE = pytest.version_tuple >= (9, 0)


@pytest.mark.parametrize(
    "name", [*FILES, pytest.param("native", marks=pytest.mark.skipif(not NINE, reason="pytest 9"))]
)
def test_settings_are_read_from_every_file_that_pytest_reads(project, name):
    (project.path / "pytest.ini").unlink()
    file = "pyproject.toml" if name == "native" else name
    toml = file.endswith(".toml")
    body = PLAIN.format(quote='"' if toml else "") + MODELS["pyproject.toml" if toml else "pytest.ini"]
    if name == "native":
        body = body.replace('pythonpath = "."', 'pythonpath = ["."]')
    project.write(file, (FILES[file] if name != "native" else "[tool.pytest]\n{}").format(body))
    project.test(
        "report = initcheck.gate(build)", "assert report.comparison is None or report.comparison.margin == 0.2"
    )
    project.run("--initcheck-update").assert_outcomes(passed=8)
    result = project.run()
    result.assert_outcomes(passed=8)
    result.stdout.re_match_lines([r"models.py:build +same .* 3 ", r"test_models.py::test_it \(build\) +same .* 3 "])


REFUSED = {
    "initcheck_seeds = many": "The setting initcheck_seeds must be a whole number. Received: 'many'.",
    "initcheck_seeds = 1": "The setting initcheck_seeds must be at least 2: an interval needs two draws or more.",
    "initcheck_strict = maybe": "The setting initcheck_strict must be true or false. Received: 'maybe'.",
    "initcheck_margin = 5%": "The setting initcheck_margin must be a number. Received: '5%'.",
    "initcheck_margin = -1": "The setting initcheck_margin must be above 0 and at most 1: 0.05 allows 5%. Received: -1",
}
if NINE:
    REFUSED |= {
        "initcheck_seeds = 4.5": "The setting initcheck_seeds must be a whole number. Received: 4.5.",
        "initcheck_models = 'a:b'": "The setting initcheck_models must be a list of models. Received: 'a:b'.",
    }


@pytest.mark.parametrize("line", REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_in_one_line_before_anything_runs(project, line):
    (project.path / "pytest.ini").unlink()
    native = line.endswith((".5", "'"))
    name, text = ("pyproject.toml", f"[tool.pytest]\n{line}\n") if native else ("tox.ini", f"[pytest]\n{line}\n")
    project.write(name, text)
    project.test("pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = [each for each in result.stderr.lines if each]
    assert error.startswith(f"ERROR: {REFUSED[line]}")


def test_without_the_plugin_nothing_is_left_of_it(project):
    project.write("test_plain.py", "def test_plain():\n    pass\n")
    project.test("initcheck.check(build)")
    done = project.run_apart("-p", "no:initcheck", "-W", "ignore", "-c", "/dev/null", "--rootdir", ".")
    assert "fixture 'initcheck' not found" in done.stdout
    assert "1 passed, 1 error" in done.stdout
    assert "= initcheck =" not in done.stdout
    assert (
        "unrecognized arguments: --initcheck-update"
        in project.run_apart("-p", "no:initcheck", "--initcheck-update").stderr
    )


@pytest.fixture
def source_folder(project, monkeypatch):
    """A project with its package in src/, whose modules import from one another, and a test in tests/."""
    for name in ("pytest.ini", "models.py"):
        (project.path / name).unlink()
    project.write("proj/src/pkg/__init__.py", "")
    project.write("proj/src/pkg/sizes.py", "SIZE = 16\n")
    models = "import keras\nfrom .sizes import SIZE\n\n\ndef build():\n"
    models += "    hidden = keras.layers.Dense(SIZE, 'relu', kernel_initializer='he_normal')\n"
    models += "    return keras.Sequential([keras.Input((SIZE,)), hidden, keras.layers.Dense(4)])\n"
    project.write("proj/src/pkg/models.py", models)
    settings = "initcheck_seeds = 2\npythonpath = ['src']\n"
    project.write("proj/pyproject.toml", f"[tool.pytest.ini_options]\n{settings}")
    test = "import pytest\n\n@pytest.mark.parametrize('form', ['src/pkg/models.py:build', 'pkg.models:build'])\n"
    test += "def test_it(initcheck, form):\n    initcheck.gate(form)\n"
    project.write("proj/tests/test_x.py", test)
    yield project
    for name in [each for each in sys.modules if each.partition(".")[0] == "pkg"]:
        monkeypatch.delitem(sys.modules, name)


PLACES = {
    "in the project": ("proj", []),
    "in its tests": ("proj/tests", []),
    "beside it": ("beside", ["../proj/tests"]),
    "above it": (".", ["proj"]),
    "with its settings": ("beside", ["-c", "../proj/pyproject.toml", "../proj/tests"]),
    "with its root folder": ("beside", ["--rootdir", "../proj", "-c", "../proj/pyproject.toml", "../proj/tests"]),
}


@pytest.mark.parametrize(
    "place", ["beside it", *(pytest.param(each, marks=pytest.mark.thorough) for each in PLACES if each != "beside it")]
)
def test_a_source_folder_is_measured_from_anywhere_and_what_is_printed_can_be_pasted_there(
    source_folder, monkeypatch, place
):
    folder, arguments = PLACES[place]
    own = source_folder.path / folder
    own.mkdir(exist_ok=True)
    monkeypatch.chdir(own)
    root = source_folder.path / "proj"
    relative = "src/pkg/models.py" if own in (root, root / "tests") else "../proj/src/pkg/models.py"
    typed = "proj/src/pkg/models.py" if folder == "." else relative
    models = [f"--initcheck-model={typed}:build", "--initcheck-model=pkg.models:build"]

    result = source_folder.run(*arguments, "tests" if own == root else "-q")
    result.assert_outcomes(failed=2)
    updates = re.findall(r"Record and commit it: pytest (.*)", result.stdout.str())
    assert len(updates) == 2 and not list(root.rglob("*.json"))
    for update in updates:
        source_folder.run(*shlex.split(update)).assert_outcomes(passed=1)
    source_folder.run(*arguments, *models, "--initcheck-update")
    assert sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("*.json")) == [
        "initcheck-baselines/models",
        "initcheck-baselines/models",
        "tests/initcheck-baselines/test_x",
        "tests/initcheck-baselines/test_x",
    ]
    source_folder.run(*arguments, *models).assert_outcomes(passed=16)

    size = root / "src/pkg/sizes.py"
    size.write_text(size.read_text().replace("16", "24"))
    for name in [each for each in sys.modules if each.partition(".")[0] == "pkg"]:
        monkeypatch.delitem(sys.modules, name)
    text = source_folder.failure(*arguments, *models, "-k", "baseline or test_it")
    reproduced = re.findall(r"Reproduce: pytest (.*)", text)
    assert len(reproduced) == 4
    for command in reproduced:
        source_folder.run(*shlex.split(command)).assert_outcomes(failed=1)
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    for command in re.findall(r"Update:    pytest (.*)", text):
        source_folder.run(*shlex.split(command)).assert_outcomes(passed=1)
        changed = [path for path in root.rglob("*.json") if path.read_bytes() != before[path]]
        assert len(changed) == 1 and read_baseline(changed[0])
        before[changed[0]] = changed[0].read_bytes()
    source_folder.run(*arguments, *models).assert_outcomes(passed=16)
