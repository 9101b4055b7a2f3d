"""What others run of this repository: the GitHub action, the hook for pre-commit, the examples in ``docs/ci.md``."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documentation import ROOT, check_accepted, check_command, read_blocks
from gate_baselines import make_baseline

from initcheck.checking.gate.baseline import write_baseline
from initcheck.cli import main

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
EXAMPLES = {
    block.file_name: yaml.safe_load(block.text)
    for block in read_blocks((ROOT / "docs" / "ci.md").read_text(encoding="utf-8"))
    if block.language == "yaml"
}

MODELS = """
import keras


def build(stddev=0.3):
    drawn = keras.initializers.RandomNormal(stddev=stddev)
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, kernel_initializer=drawn), keras.layers.Dense(3)])
"""


def run_step(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step as GitHub does, with the variables that the step sets."""
    step = STEPS[name]
    assert set(variables) - {"PATH"} == set(step["env"]) | ({"GITHUB_STEP_SUMMARY"} & set(variables))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = folder / "script.sh"
    script.write_text(step["run"], encoding="utf-8")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_uses_the_inputs_that_it_declares():
    used = re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8"))
    assert set(used) == set(ACTION["inputs"])
    assert [name for name, given in ACTION["inputs"].items() if given.get("required")] == ["model"]
    assert all("default" in given for given in ACTION["inputs"].values() if not given.get("required"))
    assert all(given["description"].endswith(".") for given in ACTION["inputs"].values())


def test_no_input_is_pasted_into_a_script():
    assert all("${{" not in step.get("run", "") for step in STEPS.values())
    assert all(step["shell"] == "bash" for step in STEPS.values() if "run" in step)


@pytest.mark.parametrize(
    ("package", "installed"), [("", "/the action/v1[tensorflow]"), ("initcheck[tensorflow-cpu]>=0.1", None)]
)
def test_the_action_installs_its_own_checkout_unless_another_package_is_given(tmp_path, package, installed):
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    done = run_step("Install initcheck", tmp_path, PATH=path, PACKAGE=package, CHECKOUT="/the action/v1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["-m", "pip", "install", "--disable-pip-version-check", installed or package]


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.followed
def test_the_action_measures_once_and_reports_it_twice(project):
    assert main(["baseline", "models.py:build", "--seeds", "4", "-o", "b c.json", "--quiet"]) == 0
    summary = project / "summary.md"
    summary.write_text("### from another step\n")
    variables = {"MODEL": "models.py:build", "BASELINE": "b c.json", "GITHUB_STEP_SUMMARY": str(summary)}
    done = run_step("Check the model", project, ARGUMENTS="", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::notice file=b c.json,title=initcheck::models.py:build: same: all 10 metrics")
    first, _, own = summary.read_text().partition("\n")
    assert first == "### from another step"
    assert own.startswith("### initcheck: ✅ models.py:build\n\n**Gate: same")

    done = run_step("Check the model", project, ARGUMENTS="--margin 0.2\n  --arg stddev=0.5", **variables)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error file=b c.json,title=initcheck%3A changed::changed (")
    assert len(done.stdout.splitlines()) == 1
    assert "### initcheck: ❌ models.py:build" in summary.read_text().removeprefix(f"{first}\n{own}")


@pytest.mark.followed
def test_the_action_without_a_baseline_looks_for_findings(project):
    summary = project / "summary.md"
    variables = {"MODEL": "models.py:build", "BASELINE": "", "GITHUB_STEP_SUMMARY": str(summary)}
    done = run_step("Check the model", project, ARGUMENTS="--seeds 4 --arg stddev=9.0 --no-fixes", **variables)
    assert done.returncode == 1, done.stderr
    assert "::error file=models.py,line=7,title=initcheck%3A the kernel of dense is drawn " in done.stdout
    assert "IC102: the signal grows " in done.stdout
    assert "the kernel of dense is drawn " in summary.read_text()


@pytest.mark.parametrize("field", ["BASELINE", "ARGUMENTS", pytest.param("MODEL", marks=pytest.mark.thorough)])
def test_nothing_in_an_input_is_executed(project, field):
    variables = {"MODEL": "models.py:build", "BASELINE": "", "ARGUMENTS": "", "GITHUB_STEP_SUMMARY": "s.md"}
    done = run_step(
        "Check the model", project, **{**variables, field: "$(touch pwned) `touch pwned`;touch pwned #.json"}
    )
    assert done.returncode == 2
    assert "initcheck: error: " in done.stderr
    assert sorted(path.name for path in project.iterdir() if path.suffix != ".pyc") == ["models.py", "script.sh"]


def test_a_summary_that_cannot_be_written_is_refused_in_one_line(project, capsys):
    (project / "file").write_text("")
    code = main(["check", "models.py:build", "--quiet", "--summary", "file/s.md"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("initcheck: error: Cannot write to")
    assert len(err.splitlines()) == 1


def test_the_hook_takes_baselines_and_nothing_else():
    taken = re.compile(HOOK["files"])
    assert taken.search("tests/initcheck-baselines/test_models/test_a.json")
    assert taken.search("initcheck-baselines/a.json")
    assert not taken.search("tests/my-initcheck-baselines/a.json")
    assert not taken.search("initcheck-baselines/README.md")


def test_the_hook_is_a_command_that_the_program_accepts():
    program, *words = shlex.split(HOOK["entry"])
    assert program == "initcheck"
    check_accepted([*words, "a.json", "b.json"])


HOOKED = """
import sys
from initcheck.cli import main
code = main(sys.argv[1:])
slow = sorted({"keras", "tensorflow", "pandas", "scipy", "numpy", "matplotlib"} & set(sys.modules))
sys.exit(code if not slow else f"loaded: {slow}")
"""


def run_hook(folder, *files):
    _, *words = shlex.split(HOOK["entry"])
    return subprocess.run(
        [sys.executable, "-c", HOOKED, *words, *files], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_hook_passes_whole_baselines_and_refuses_one_merged_by_hand_and_loads_nothing_slow(tmp_path):
    write_baseline(make_baseline(), tmp_path / "a.json")
    done = run_hook(tmp_path, "a.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "b.json").write_text(text.replace("{", "<<<<<<< ours\n{", 1))
    done = run_hook(tmp_path, "a.json", "b.json")
    assert done.returncode == 2
    assert "'b.json' is damaged" in done.stderr
    assert "a.json" not in done.stderr


def test_the_page_lists_every_input_of_the_action():
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) == set(ACTION["inputs"])


def test_the_examples_of_the_page_use_what_there_is():
    jobs = [job for name, file in EXAMPLES.items() if name.startswith(".github/") for job in file["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"]]
    scripts = [step["run"] for step in steps if "run" in step]
    scripts += EXAMPLES[".gitlab-ci.yml"]["initialization"]["script"]
    assert len(scripts) == 5
    for script in scripts:
        check_command(shlex.split(re.sub(r"\$\{\{.*?\}\}", "X", script)))
    (own,) = [step for step in steps if step.get("uses", "").startswith("OWNER/initcheck@")]
    assert set(own["with"]) <= set(ACTION["inputs"])
    (repository,) = EXAMPLES[".pre-commit-config.yaml"]["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == [HOOK["id"]]


def test_the_workflows_of_this_repository_can_be_read():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"], path
