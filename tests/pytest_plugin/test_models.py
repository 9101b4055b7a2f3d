"""Models without any test code: ``--initcheck-model`` and ``initcheck_models``."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest

from initcheck.audit.rules import FAMILIES
from initcheck.checking.gate.baseline import read_baseline, write_baseline

FILE = "initcheck-baselines/models/models_build-"


def ids(result):
    return [line for line in result.stdout.lines if line.startswith("initcheck::")]


def test_the_tests_bear_names_that_a_person_understands(project):
    result = project.run("--collect-only", "-q", "--initcheck-model=models:build", "--initcheck-model=models:build")
    assert ids(result) == [f"initcheck::models:build::{words}" for words in FAMILIES.values()]
    assert "initcheck::models:build::forward signal" in ids(result)


def test_listing_them_measures_nothing(project):
    project.write("explosive.py", "raise RuntimeError('imported')")
    result = project.run("--collect-only", "-q", "--initcheck-model=explosive:build")
    assert result.ret == 0
    assert len(ids(result)) == len(FAMILIES)


@pytest.mark.parametrize("reference", ["models:build", "models.py:build"])
def test_a_healthy_model_passes_and_is_made_once(project, reference):
    result = project.run(f"--initcheck-model={reference}", "-rP")
    result.assert_outcomes(passed=len(FAMILIES))
    assert result.stdout.str().count("made a model") == 1
    assert "collected 6 items" in result.stdout.str()
    result.stdout.re_match_lines([rf"{reference} +healthy +3 layer calls, 6 weights +4"])


def test_a_sabotaged_model_fails_where_it_is_hit_and_nowhere_else(project, monkeypatch):
    monkeypatch.setenv("GAIN", "0.01")
    text = project.failure("--initcheck-model=models:build", "-v")
    outcomes = dict(re.findall(r"^initcheck::models:build::(.+?) (PASSED|FAILED)", text, flags=re.M))
    assert outcomes["forward signal"] == outcomes["gradients"] == "FAILED"
    assert outcomes["fans"] == outcomes["weights and units"] == "PASSED"
    failures = text.partition("= initcheck =")[0]
    forward, gradients = re.split(r"_+ models:build: (?:forward signal|gradients) _+", failures)[1:]
    assert "IC101" in forward and "IC201" not in forward
    assert "IC201" in gradients and "IC101" not in gradients
    assert "\nReproduce: pytest 'initcheck::models:build::forward signal'\n" in forward


def test_words_select_tests_of_models(project):
    project.write("test_other.py", "def test_gradients_of_something_else():\n    pass\n")
    options = ["--initcheck-model=models:build", "--collect-only", "-q"]
    assert ids(project.run(*options, "-k", "signal")) == ["initcheck::models:build::forward signal"]
    assert len(ids(project.run(*options, "-k", "initcheck"))) == len(FAMILIES)
    assert "1/7 tests collected (6 deselected)" in project.run(*options, "-k", "not initcheck").stdout.str()


def test_models_of_the_settings_are_checked_beside_the_tests(project):
    settings = "[pytest]\npythonpath = .\ninitcheck_models =\n    models:build\n    models:twins\n"
    project.write("pytest.ini", settings)
    project.write("test_other.py", "def test_it():\n    pass\n")
    listed = ids(project.run("--collect-only", "-q"))
    assert listed[0] == "initcheck::models:build::forward signal"
    assert listed[-1] == "initcheck::models:twins::coverage"
    assert len(ids(project.run("--collect-only", "-q", "test_other.py"))) == 2 * len(FAMILIES)
    # Who runs one test by its id wants that one.
    assert ids(project.run("--collect-only", "-q", "test_other.py::test_it")) == []


def test_a_file_is_found_from_a_folder_below_too(project, monkeypatch):
    below = project.path / "below"
    below.mkdir()
    project.write("pytest.ini", "[pytest]\ninitcheck_seeds = 2\n")
    monkeypatch.chdir(below)
    result = project.run("--initcheck-model=models.py:build", "-k", "fans")
    result.assert_outcomes(passed=1, deselected=5)


BAD = {
    "nope:build": "There is no module 'nope' in the working directory or among the installed packages.",
    "models:broken": "'models:broken' raised ValueError: no such luck",
}


@pytest.mark.parametrize("reference", BAD)
def test_a_model_that_cannot_be_had_fails_each_test_with_one_line(project, reference):
    text = project.failure(f"--initcheck-model={reference}")
    lines = [line for line in text.splitlines() if line.startswith(BAD[reference])]
    assert len(lines) == len(FAMILIES)
    assert f"{len(FAMILIES)} failed" in text


def test_no_name_at_all_is_refused(project):
    result = project.run("--initcheck-model=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--initcheck-model needs a model: package.module:factory. Received: ''." in result.stderr.str()


def test_what_the_seeds_do_not_decide_is_no_pass_for_the_signal():
    from examined_model import Stack, make_result

    from initcheck.checking.check import Report
    from initcheck.pytest_plugin.collection import FamilyItem

    checked = make_result(Stack(layers=8, spread=2.5, seeds=3))
    assert {each.code for each in checked.findings} >= {"IC603"}
    undecided = {each.levels.direction for each in checked.paths if each.outcome == "undecided"}
    for family, direction in (("IC1", "forward"), ("IC2", "backward"), ("IC4", "")):
        item = FamilyItem.__new__(FamilyItem)
        item.family = family
        mine = [each for each in Report(checked).findings if item._is_mine(each, checked)]
        assert ("IC603" in {each.code for each in mine}) == (direction in undecided)


def test_a_model_can_be_gated_without_code_too(project, monkeypatch):
    own = "initcheck::models:build::baseline"
    result = project.run(own, "--initcheck-update")
    result.assert_outcomes(passed=1)
    (path,) = (project.path / "initcheck-baselines/models").iterdir()
    assert read_baseline(path).recipe.model == "models:build"
    result.stdout.re_match_lines([rf"written initcheck-baselines/models/{path.name}: commit it"])
    result = project.run("--initcheck-model=models:build", "-rP")
    result.assert_outcomes(passed=7)
    assert result.stdout.str().count("made a model") == 1
    monkeypatch.setenv("GAIN", "1.3")
    text = project.failure("--initcheck-model=models:build", "-k", "baseline")
    assert "the model changed, not the library" in text
    assert f"Reproduce: pytest '{own}'\nUpdate:    pytest '{own}' --initcheck-update\n" in text
    project.run(own, "--initcheck-update").assert_outcomes(passed=1)
    project.run(own).assert_outcomes(passed=1)


def test_the_ids_of_models_are_arguments_like_those_of_tests(project):
    project.write("test_other.py", "def test_one():\n    pass\n\ndef test_two():\n    pass\n")
    options = ["--collect-only", "-q"]
    assert len(ids(project.run(*options, "initcheck::models:build"))) == len(FAMILIES)
    result = project.run(*options, "initcheck::models:build::fans", "test_other.py::test_one")
    assert [line for line in result.stdout.lines if "::" in line] == [
        "test_other.py::test_one",
        "initcheck::models:build::fans",
    ]
    result = project.run("initcheck::models:build::fnas")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    words = "Unknown test of a model 'initcheck::models:build::fnas'. Did you mean initcheck::models:build::fans or "
    assert words in result.stderr.str()


def test_an_update_of_a_named_model_writes_no_other_baseline(project, monkeypatch):
    project.test("initcheck.gate(build, seeds=2)")
    settings = "[pytest]\npythonpath = .\ninitcheck_seeds = 2\ninitcheck_models =\n    models:orthogonal\n"
    project.write("pytest.ini", settings)
    project.run("--initcheck-update")
    monkeypatch.setenv("GAIN", "1.3")
    before = {path: path.read_bytes() for path in (project.path / "initcheck-baselines").rglob("*.json")}
    assert len(before) == 2
    result = project.run("--initcheck-model=models:build", "--initcheck-update")
    result.stdout.re_match_lines([r"models:build +written", r"models:orthogonal +same"])
    result.stdout.re_match_lines([r"test_models.py::test_it \(build\) +changed"])
    after = {path: path.read_bytes() for path in (project.path / "initcheck-baselines").rglob("*.json")}
    assert len(after) == 3 and {path: after[path] for path in before} == before


def test_a_baseline_of_a_slow_model_has_all_draws_and_the_settings_that_it_was_made_with(project):
    project.write("pyproject.toml", "[tool.initcheck]\nbatch-size = 5\n")
    project.run("initcheck::models:build::baseline", "--initcheck-update").assert_outcomes(passed=1)
    (path,) = (project.path / "initcheck-baselines/models").iterdir()
    assert read_baseline(path).recipe.batch_size == 5


SICK = """
import os

import keras


def sick():
    deviation = float(os.environ.get("DEVIATION", "0.02"))
    model = keras.Sequential([keras.Input((32,))])
    for layer in range(4):
        drawn = keras.initializers.RandomNormal(0.0, deviation)
        model.add(keras.layers.Dense(32, "relu", kernel_initializer=drawn, name=f"hidden_{layer}"))
    model.add(keras.layers.Dense(4, name="head"))
    return model
"""
GATED = """
from sick_models import sick


def test_it(initcheck):
    initcheck.gate(sick)
"""
SIZE = r"factor over the whole path, in squares \d\.\d+×10⁻\S \[.*\]"
KNOWN = {
    "forward signal": rf"IC101 vanishing-activations at hidden_\d: {SIZE}",
    "gradients": rf"IC201 vanishing-gradients at hidden_\d: {SIZE}",
}


@pytest.fixture
def sick(project, monkeypatch):
    """A project with a model that has two findings, both of which are recorded."""
    monkeypatch.delitem(sys.modules, "sick_models", raising=False)
    project.write("sick_models.py", SICK)
    project.write("test_sick.py", GATED)
    project.write(
        "pytest.ini", "[pytest]\npythonpath = .\ninitcheck_seeds = 4\ninitcheck_models = sick_models.py:sick\n"
    )
    # What is recorded is known from then on, in the tests of the same run too.
    project.run("--initcheck-update").assert_outcomes(passed=8)
    return project


def read_properties(project):
    """Read the properties of the JUnit file by the last part of the id of a test."""
    return {each.rpartition("::")[2]: said for each, said in project.read_properties("junit.xml").items()}


def test_known_findings_are_not_healthy_and_listed_with_their_values(sick, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(sick.path / "summary.md"))
    result = sick.run("--junit-xml=junit.xml")
    result.assert_outcomes(passed=8)
    listed = [rf"  known: {each}" for each in KNOWN.values()]
    result.stdout.re_match_lines(
        [
            r"test or model +verdict .*",
            r"sick_models.py:sick +known ",
            *listed,
            r"sick_models.py:sick +known .* 25 +0 +0 ",
            r"test_sick.py::test_it \(sick\) +known .* 25 +0 +0 ",
            *listed,
        ],
        consecutive=True,
    )
    properties = read_properties(sick)
    for family, words in KNOWN.items():
        assert properties[family]["initcheck_verdict"] == "known"
        assert re.fullmatch(words, properties[family]["initcheck_known"])
    for family in ("fans", "coverage"):
        assert properties[family]["initcheck_verdict"] == "healthy" and "initcheck_known" not in properties[family]
    for name in ("baseline", "test_it"):
        assert properties[name]["initcheck_verdict"] == "known" and properties[name]["initcheck_gate"] == "same"
        assert re.fullmatch("; ".join(KNOWN.values()), properties[name]["initcheck_known"])
    assert "known: IC101 vanishing" in (sick.path / "summary.md").read_text().replace("\\", "")


def test_a_known_finding_that_got_worse_fails_its_family_and_the_gate(sick, monkeypatch):
    monkeypatch.setenv("DEVIATION", "0.005")
    text = sick.failure()
    for code in ("IC101", "IC201"):
        (listed,) = [line for line in text.splitlines() if line.startswith(f"got worse: {code} the kernels of ")]
        assert len(listed) <= 80
    assert text.count("\nchanged: RandomNormal stddev 0.02 -> 0.005 in 4 weights (hidden_*/kernel)\n") == 2
    assert "4 failed, 4 passed" in text
    assert "  known: " not in text


def test_a_known_finding_that_is_gone_is_reported_and_passes(sick):
    (own,) = (sick.path / "initcheck-baselines/models").iterdir()
    theirs = sick.path / "initcheck-baselines/test_sick/test_it.json"
    for path in (own, theirs):
        known = read_baseline(path)
        gone = replace(known.findings[0], code="IC301", layers=("hidden_0/kernel",), value=None)
        write_baseline(replace(known, findings=(*known.findings, gone)), path)
    result = sick.run("--junit-xml=junit.xml")
    result.assert_outcomes(passed=8)
    words = "fixed: IC301 identical-weights at hidden_0/kernel. Renew the baseline"
    assert sum(words in line for line in result.stdout.lines) == 2
    properties = read_properties(sick)
    assert properties["weights and units"]["initcheck_fixed"].startswith(words)
    assert properties["test_it"]["initcheck_fixed"].startswith(words)
    assert "initcheck_fixed" not in properties["gradients"]
