"""What others run of this repository: the GitHub action, the hook for pre-commit, all that ``docs/ci.md`` says to run.

Scripts run in bash as they stand there. What is not on this machine is stood for: ``pip`` keeps what it was to install
(the package is installed already), and the actions of others are taken as done.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
import yaml
from check_jsonschema import main as check_form
from click.testing import CliRunner
from documentation import ROOT, check_accepted, read_blocks
from gate_baselines import make_baseline
from packaging.requirements import Requirement
from sarif_kit.validate import validation_errors

from initcheck.checking.gate.baseline import write_baseline
from initcheck.cli import main

ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
PAGE = read_blocks((ROOT / "docs" / "ci.md").read_text(encoding="utf-8"))
TEXTS = {block.file_name: block.text for block in PAGE if block.language == "yaml"}
EXAMPLES = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
WORKFLOWS = [name for name in EXAMPLES if name.startswith(".github/")]
OTHERS = ("actions/checkout@v4", "actions/setup-python@v5", "github/codeql-action/upload-sarif@v4")
ADDRESS = ROOT.as_uri()

MODELS = """
import keras


def build(stddev=0.3):
    drawn = keras.initializers.RandomNormal(stddev=stddev)
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, kernel_initializer=drawn), keras.layers.Dense(3)])
"""


def run_script(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub does, with these variables, in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    file = folder.parent / "script.sh"
    file.write_text(script, encoding="utf-8")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def run_step(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step of the action, with the variables that the step sets, and those of GitHub."""
    step = STEPS[name]
    assert {name for name in variables if name != "PATH" and not name.startswith("GITHUB_")} == set(step["env"])
    given = {"GITHUB_OUTPUT": str(folder.parent / "outputs"), "RUNNER_TEMP": str(folder.parent), **variables}
    return run_script(step["run"], folder, **given)


def read_outputs(folder: Path) -> dict[str, str]:
    """Read what the steps have put out, and forget it."""
    file = folder.parent / "outputs"
    outputs = dict(line.split("=", 1) for line in file.read_text().splitlines()) if file.exists() else {}
    file.unlink(missing_ok=True)
    return outputs


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
    (tmp_path / "project").mkdir()
    done = run_step("Install initcheck", tmp_path / "project", PATH=path, PACKAGE=package, CHECKOUT="/the action/v1")
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
    variables = {"MODEL": "models.py:build", "BASELINE": "b c.json", "SARIF": "false"}
    variables["GITHUB_STEP_SUMMARY"] = str(summary)
    done = run_step("Check the model", project, ARGUMENTS="", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::notice file=b c.json,title=initcheck::models.py:build: same: all 10 metrics")
    first, _, own = summary.read_text().partition("\n")
    assert first == "### from another step"
    assert own.startswith("### initcheck: ✅ models.py:build\n\n**Gate: same")

    done = run_step("Check the model", project, ARGUMENTS="--margin 0.2\n  --arg stddev=0.5", **variables)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error file=models.py,line=7,endLine=7,col=")
    assert ",title=initcheck%3A RandomNormal stddev 0.3 -> 0.5 in " in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "### initcheck: ❌ models.py:build" in summary.read_text().removeprefix(f"{first}\n{own}")
    assert read_outputs(project) == {}


@pytest.mark.followed
def test_the_action_without_a_baseline_looks_for_findings_and_suggests_a_fix(project):
    summary = project / "summary.md"
    variables = {"MODEL": "models.py:build", "BASELINE": "", "SARIF": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    variables["GITHUB_WORKSPACE"] = str(project.parent)  # the working directory is a folder of the repository
    done = run_step("Check the model", project, ARGUMENTS="--seeds 4 --arg stddev=9.0", **variables)
    assert done.returncode == 1, done.stderr
    assert "::error file=a folder/models.py,line=7,endLine=7,col=" in done.stdout
    assert ",title=initcheck%3A the kernel of dense is drawn " in done.stdout
    assert "IC102: the signal grows " in done.stdout
    assert "the kernel of dense is drawn " in summary.read_text()
    assert "```diff" in summary.read_text() and "initcheck fix models.py:build" in summary.read_text()
    log = json.loads(Path(read_outputs(project)["sarif"]).read_text(encoding="utf-8"))
    assert validation_errors(log) == []
    (result,) = log["runs"][0]["results"]
    assert result["fixes"] and result["locations"][0]["physicalLocation"]["region"]["startLine"] == 7


def test_only_what_was_measured_is_uploaded(project):
    variables = {"MODEL": "models.py:absent", "BASELINE": "", "SARIF": "true", "GITHUB_STEP_SUMMARY": "s.md"}
    assert run_step("Check the model", project, ARGUMENTS="", **variables).returncode == 2
    assert read_outputs(project) == {}
    upload = STEPS["Upload to code scanning"]
    assert upload["if"] == "always() && steps.check.outputs.sarif != ''"
    assert upload["with"] == {"sarif_file": "${{ steps.check.outputs.sarif }}"}
    assert STEPS["Check the model"]["id"] == "check"


@pytest.mark.parametrize("field", ["BASELINE", "ARGUMENTS", pytest.param("MODEL", marks=pytest.mark.thorough)])
def test_nothing_in_an_input_is_executed(project, field):
    variables = {"MODEL": "models.py:build", "BASELINE": "", "ARGUMENTS": "", "SARIF": "false"}
    variables["GITHUB_STEP_SUMMARY"] = "s.md"
    done = run_step(
        "Check the model", project, **{**variables, field: "$(touch pwned) `touch pwned`;touch pwned #.json"}
    )
    assert done.returncode == 2
    assert "initcheck: error: " in done.stderr
    assert sorted(path.name for path in project.iterdir() if path.suffix != ".pyc") == ["models.py"]


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
    assert set(re.findall(r"^\| `(\w[\w-]*)` \|", page, flags=re.MULTILINE)) == set(ACTION["inputs"])


def test_the_examples_of_the_page_use_what_there_is():
    steps = [step for name in WORKFLOWS for job in EXAMPLES[name]["jobs"].values() for step in job["steps"]]
    used = {step["uses"] for step in steps if "uses" in step}
    own = [step for step in steps if step.get("uses", "").startswith("OWNER/initcheck@")]
    assert used - {step["uses"] for step in own} <= set(OTHERS)
    assert len(own) == 2 and all(set(step["with"]) <= set(ACTION["inputs"]) for step in own)
    (repository,) = EXAMPLES[".pre-commit-config.yaml"]["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == [HOOK["id"]]


FORMS = {
    **dict.fromkeys(WORKFLOWS, "vendor.github-workflows"),
    ".gitlab-ci.yml": "vendor.gitlab-ci",
    "action.yml": "vendor.github-actions",
    "CITATION.cff": "vendor.citation-file-format",
    **{f".github/workflows/{path.name}": "vendor.github-workflows" for path in (ROOT / ".github/workflows").glob("*")},
}


@pytest.mark.parametrize("name", FORMS)
def test_each_file_has_the_form_that_its_reader_publishes(name, tmp_path):
    file = ROOT / name
    if name in TEXTS:
        file = tmp_path / Path(name).name
        file.write_text(TEXTS[name], encoding="utf-8")
    words = ["--builtin-schema", FORMS[name], "--default-filetype", "yaml", str(file)]
    done = CliRunner().invoke(check_form, words)
    assert done.exit_code == 0, done.output


# --- the page, followed in an empty project ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A project with the model and the test of ``docs/gate.md``, and the baselines recorded as the page says."""
    folder = tmp_path_factory.mktemp("ci") / "project"
    folder.mkdir()
    blocks = read_blocks((ROOT / "docs" / "gate.md").read_text(encoding="utf-8"))
    for name in ("models.py", "test_models.py"):
        (text,) = (block.text for block in blocks if block.file_name == name)
        (folder / name).write_text(text, encoding="utf-8")
    record = next(block for block in PAGE if block.language == "shell")
    done = run_script(record.text, folder, **make_variables(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def followed(recorded, tmp_path, monkeypatch):
    """A copy of that project, as a repository that GitHub has checked out."""
    folder = shutil.copytree(recorded, tmp_path / "workspace")
    (folder / ".github").mkdir()
    shutil.copy(ROOT / ".github" / "problem-matcher.json", folder / ".github")
    return folder


def make_variables(folder: Path) -> dict[str, str]:
    """Set the variables of a job on GitHub, and let ``pip`` keep what it is to install."""
    fake = folder.parent / "bin" / "pip"
    if not fake.exists():
        fake.parent.mkdir()
        fake.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done >> "$(dirname "$0")/../installed"\n')
        fake.chmod(0o755)
    path = os.pathsep.join([str(fake.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        "PATH": path,
        "INITCHECK": ADDRESS,
        "GITHUB_WORKSPACE": str(folder),
        "GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md"),
    }


def check_installed(folder: Path, *packages: str) -> None:
    """Check that pip was given what it takes: the extra of TensorFlow from a URL, and other packages."""
    words = (folder.parent / "installed").read_text(encoding="utf-8").splitlines()
    assert words[0] == "install"
    first, *others = map(Requirement, words[1:])
    assert (first.name, first.extras, first.url) == ("initcheck", {"tensorflow"}, ADDRESS)
    assert [each.name for each in others] == list(packages)


@pytest.mark.followed
@pytest.mark.parametrize("number", range(1, sum(block.language == "shell" for block in PAGE)))
def test_the_lines_of_shell_run(followed, number):
    block = [block for block in PAGE if block.language == "shell"][number]
    done = run_script(block.text, followed, **make_variables(followed))
    assert done.returncode == 0, done.stdout + done.stderr
    if "pip install" in block.text:
        check_installed(followed)
        assert done.stdout.startswith("Gate: same: all 20 metrics within 0.05 of the baseline\n")
    if "concise" in block.text:  # nothing is wrong, so that the matcher's line is all
        assert done.stdout == "::add-matcher::.github/problem-matcher.json\n"


@pytest.mark.followed
@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_workflow_runs(followed, name):
    variables = make_variables(followed)
    ((_, job),) = EXAMPLES[name]["jobs"].items()
    printed = ""
    for step in job["steps"]:
        if "run" in step:
            done = run_script(step["run"].replace("${{ vars.INITCHECK }}", ADDRESS), followed, **variables)
        elif step["uses"].startswith("OWNER/initcheck@"):
            given = {key: step["with"].get(key, known.get("default", "")) for key, known in ACTION["inputs"].items()}
            own = {"MODEL": given["model"], "BASELINE": given["baseline"], "ARGUMENTS": given["args"]}
            done = run_step("Check the model", followed, SARIF=given["sarif"], **own, **keep_github(variables))
        else:
            continue
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout
    summary = (followed.parent / "summary.md").read_text(encoding="utf-8")
    outputs = read_outputs(followed)
    if name.endswith("tests.yml"):
        check_installed(followed, "pytest")
        assert "2 passed" in printed and "test_the_model_starts_as_recorded" in summary
    elif name.endswith("initialization.yml"):
        assert "::notice file=initcheck-baselines/models.json," in printed and "✅" in summary and outputs == {}
    else:
        log = json.loads(Path(outputs["sarif"]).read_text(encoding="utf-8"))
        assert validation_errors(log) == [] and EXAMPLES[name]["permissions"]["security-events"] == "write"


def keep_github(variables: dict[str, str]) -> dict[str, str]:
    """Keep the variables that GitHub sets, of those of a job."""
    return {name: value for name, value in variables.items() if name == "PATH" or name.startswith("GITHUB_")}


@pytest.mark.followed
def test_the_job_on_gitlab_runs_and_its_report_has_the_form_of_junit(followed):
    job = EXAMPLES[".gitlab-ci.yml"]["initialization"]
    done = run_script("\n".join(job["script"]), followed, **make_variables(followed))
    assert done.returncode == 0, done.stdout + done.stderr
    check_installed(followed)
    assert all((followed / path).exists() for path in (*job["artifacts"]["paths"], "check/check.html"))
    report = ElementTree.parse(followed / job["artifacts"]["reports"]["junit"])
    xmlschema.validate(report, Path(__file__).with_name("junit-10.xsd"))
    kept = {each.get("name"): each.get("value") for each in report.iter("property")}
    assert kept["initcheck_verdict test_models.py::test_the_model_starts_as_recorded"] == "same"
