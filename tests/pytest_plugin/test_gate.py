"""``initcheck.gate``: the baseline beside the test, from missing over written and changed to renewed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from initcheck.checking.gate.baseline import Metric, read_baseline, write_baseline

FILE = "initcheck-baselines/test_models/test_it.json"


@pytest.fixture(scope="module")
def texts():
    """Baselines that were recorded once: of the built model, and of its factory."""
    return {}


def record(project, texts, model):
    """Put a baseline of a model with four seeds, which the first test records, beside a test of it."""
    project.test(f"initcheck.gate({model})")
    if model in texts:
        project.write(FILE, texts[model])
        return
    project.run("--initcheck-update").assert_outcomes(passed=1)
    texts[model] = (project.path / FILE).read_text()


@pytest.fixture
def recorded(project, texts):
    record(project, texts, "build()")
    return project


def test_a_missing_baseline_fails_with_the_command_that_records_it(project):
    text = project.fails("initcheck.gate(build())")
    line = f"There is no baseline '{FILE}'. Record and commit it: pytest 'test_models.py::test_it' --initcheck-update"
    assert line in text.splitlines()
    assert not (project.path / "initcheck-baselines").exists()


def test_an_update_writes_the_file_and_says_so(recorded):
    baseline = read_baseline(recorded.path / FILE)
    assert baseline.recipe.test == "test_models.py::test_it"
    assert baseline.seeds == (0, 1, 2, 3)
    result = recorded.run("--initcheck-update")
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"=+ initcheck =+", r"test_models.py::test_it .* updated ", rf"updated {FILE}: comm"])


def test_a_gain_that_changed_is_red_and_an_update_makes_it_green(recorded, monkeypatch):
    recorded.run().assert_outcomes(passed=1)
    monkeypatch.setenv("GAIN", "1.3")
    text = recorded.failure()
    assert "the model changed, not the library" in text
    assert "changed: VarianceScaling scale 2 -> " in text
    command = "pytest 'test_models.py::test_it'"
    assert f"Baseline:  {FILE}\nReproduce: {command}\nUpdate:    {command} --initcheck-update\n" in text
    recorded.run("--initcheck-update").assert_outcomes(passed=1)
    recorded.run().assert_outcomes(passed=1)
    monkeypatch.delenv("GAIN")
    recorded.failure()


def test_seeds_of_the_settings_give_way_to_those_of_the_baseline_and_a_call_does_not(recorded):
    (recorded.path / "pytest.ini").write_text("[pytest]\npythonpath = .\ninitcheck_seeds = 7\n")
    result = recorded.run()
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"test_models.py::test_it .* same +3 layer calls, 6 weights +4 +15 +0 +0"])
    text = recorded.fails("initcheck.gate(build, seeds=3)")
    assert "other seeds than the baseline's (4 then, 3 now)" in text


def test_what_is_not_decided_is_no_pass_and_says_how_many_seeds_would_decide(recorded):
    # A metric whose mean is moved by about as much as the margin, with a spread that hides it.
    known = read_baseline(recorded.path / FILE)
    kernel = known.weights["hidden_0/kernel"]
    moved = tuple(each + shift for each, shift in zip(kernel.scale.logs, (-0.05, 0.05, 0.1, 0.02), strict=True))
    weights = {**known.weights, "hidden_0/kernel": replace(kernel, scale=Metric(tuple(round(m, 6) for m in moved)))}
    write_baseline(replace(known, weights=weights), recorded.path / FILE)
    text = recorded.failure()
    assert "inconclusive: 1 of 15 metrics" in text
    assert "in the baseline too: initcheck.gate(model, seeds=" in " ".join(text.split())
    recorded.passes("initcheck.gate(build(), allow_inconclusive=True)")


def test_every_case_class_and_name_has_a_file_of_its_own(project):
    project.write(
        "tests/test_many.py",
        "import pytest\nfrom models import build\n\n"
        "class TestWide:\n"
        "    @pytest.mark.parametrize('how', ['a', 'b/c'])\n"
        "    def test_it(self, initcheck, how):\n"
        "        initcheck.gate(build, seeds=2)\n"
        "        initcheck.gate(build, seeds=2, name='second')\n",
    )
    project.run("--initcheck-update").assert_outcomes(passed=2)
    names = sorted(path.name for path in (project.path / "tests/initcheck-baselines/test_many").iterdir())
    assert names[:2] == ["TestWide.test_it-a.json", "TestWide.test_it-a@second.json"]
    assert len(names) == 4 and all(name.startswith("TestWide.test_it_b_c") for name in names[2:])
    folder = project.path / "tests/initcheck-baselines/test_many"
    documents = [json.loads((folder / name).read_text()) for name in names]
    assert documents[2]["recipe"]["test"] == "tests/test_many.py::TestWide::test_it[b/c]"


REFUSED = {
    "a second gate": (["initcheck.gate(build)"] * 2, "has gated a model already"),
    "an unknown option": (["initcheck.gate(build, sedes=3)"], "option of this call 'sedes'. Did you mean seeds?"),
    "a margin of 0": (["initcheck.gate(build, margin=0)"], "margin must be above 0"),
    "a margin of text": (["initcheck.gate(build, margin='5%')"], "margin must be a number. Received: '5%'."),
    "other weights": (["initcheck.gate(build, weights='keep')"], "was recorded with weights='redraw'"),
    "few auto_seeds": (["initcheck.gate(build, auto_seeds=2)"], "auto_seeds must be at least"),
    "an empty name": (["initcheck.gate(build, name=' ')"], "name must be a text"),
    "no model": (["initcheck.gate(3)"], "A Keras model is needed. Received: int."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(project, texts, name):
    record(project, texts, "build, seeds=4")
    lines, words = REFUSED[name]
    text = project.fails(*lines)
    (line,) = [line for line in text.splitlines() if words in line and not line.startswith("FAILED ")]
    assert "Received" in line or "Did you mean" in line or "Name it" in line or "Fix the" in line


def test_a_damaged_baseline_fails_with_the_command_that_records_it(project):
    project.write(FILE, "{")
    text = project.fails("initcheck.gate(build)")
    assert "is damaged or no JSON" in text
    assert "Record it: pytest 'test_models.py::test_it' --initcheck-update" in text


def test_a_baseline_that_cannot_be_written_fails(project):
    project.write("initcheck-baselines", "a file, where a folder should be")
    project.test("initcheck.gate(build, seeds=2)")
    assert "Cannot write to" in project.failure("--initcheck-update")
