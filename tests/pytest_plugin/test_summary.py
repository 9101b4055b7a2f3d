"""What is reported at the end: the table, the properties of the JUnit file, the page of the job."""

from __future__ import annotations

import pytest

from initcheck.pytest_plugin.summary import Record, closing_lines, merge_parts, write_job_summary
from initcheck.pytest_plugin.unused import Exemption

MANY = """
import pytest
from models import build, twins


def test_green(initcheck):
    initcheck.check(build(3), seeds=6)


def test_red(initcheck):
    initcheck.check(twins(), seeds=2)


def test_gate(initcheck):
    initcheck.gate(build(), margin=0.1, seeds=2)


def test_missing(initcheck):
    initcheck.gate(build())
"""


@pytest.fixture
def finished(project, monkeypatch):
    """One run with a test of each kind."""
    project.write("test_many.py", MANY)
    project.run("--initcheck-update", "-k", "gate").assert_outcomes(passed=1, deselected=3)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.write("summary.md", "What was there before.\n")
    result = project.run("--junitxml=junit.xml")
    result.assert_outcomes(passed=2, failed=2)
    return project, result


def test_one_run_is_reported_in_the_terminal_in_junit_and_on_the_page_of_the_job(finished):
    project, result = finished
    result.stdout.re_match_lines(
        [
            r"=+ initcheck =+",
            r"test or model +verdict +measured +seeds +same +changed +inconclusive +baseline",
            r"test_many.py::test_gate \(sequential\w*\) +same +3 layer calls, 6 weights +2 +15 +0 +0 +initcheck-base",
            r"test_many.py::test_green \(sequential\w*\) +healthy +4 layer calls, 8 weights +6",
            r"test_many.py::test_missing +missing",
            r"test_many.py::test_red \(sequential\w*\) +findings +2 layer calls, 4 weights +2",
        ],
        consecutive=True,
    )
    properties = {
        each.removeprefix("test_many.py::"): said for each, said in project.read_properties("junit.xml").items()
    }
    assert properties["test_gate"] | {"initcheck_model": "", "initcheck_keras": ""} == {
        "initcheck_model": "",
        "initcheck_verdict": "same",
        "initcheck_margin": "0.1",
        "initcheck_seeds": "2",
        "initcheck_findings": properties["test_gate"]["initcheck_findings"],
        "initcheck_gate": "same",
        "initcheck_baseline": "initcheck-baselines/test_many/test_gate.json",
        "initcheck_keras": "",
    }
    assert properties["test_gate"]["initcheck_keras"].startswith("3.")
    assert properties["test_red"]["initcheck_findings"].startswith("IC301 identical-weights hidden_0/kernel")
    assert properties["test_missing"] == {"initcheck_verdict": "missing"}
    page = (project.path / "summary.md").read_text(encoding="utf-8")
    assert page.startswith("What was there before.\n### initcheck: ❌ sequential")
    failures, passed = page.split("<details><summary>initcheck: 2 measurements without a failure</summary>")
    assert "- **hidden_0/kernel and hidden_1/kernel are copies of one another** (IC301)" in failures.replace("\\", "")
    assert "  - IC301: hidden_0/kernel and hidden_1/kernel hold the same numbers" in failures.replace("\\", "")
    assert "There is no baseline" in failures
    assert "test_green" not in failures and "test_green" in passed


def test_a_page_that_cannot_be_written_is_a_warning(project, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "no such folder" / "summary.md"))
    text = project.fails("initcheck.gate(build())")
    assert "initcheck: the summary was not written to " in text
    assert "Check GITHUB_STEP_SUMMARY." in text


def test_where_nothing_was_measured_nothing_is_reported(project, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.test("pass")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_re_match_line("=+ initcheck =+")
    assert not (project.path / "summary.md").exists()


def test_tests_of_one_model_are_one_row_with_the_worst_verdict():
    parts = [
        Record("m:f", "check", verdict, failed, seeds=4, findings=found, part=part, message=f"of {part}")
        for part, verdict, failed, found in (
            ("forward signal", "healthy", False, ()),
            ("gradients", "findings", True, ("IC201 vanishing-gradients a",)),
            ("coverage", "cannot judge", True, ("IC603 undecided a",)),
            ("fans", "healthy", False, ()),
        )
    ]
    (merged,) = merge_parts(Record.from_plain(each.to_plain()) for each in parts)
    assert (merged.verdict, merged.failed) == ("findings", True)
    assert merged.findings == ("IC201 vanishing-gradients a", "IC603 undecided a")
    assert merged.message == "of gradients\n\nof coverage"


@pytest.mark.parametrize("verdicts", [("healthy", "known"), ("known", "healthy")])
def test_what_a_baseline_knows_is_the_verdict_of_a_model_whichever_test_ran_first(verdicts):
    (merged,) = merge_parts(Record("m:f", "check", each, False, part=f"part {each}") for each in verdicts)
    assert merged.verdict == "known"


def test_a_record_survives_the_way_between_processes():
    exemptions = (Exemption("call", "t", "ignore", "IC1", needed=False),)
    texts = {"findings": ("IC1",), "known": ("IC2",), "fixed": ("fixed: IC3",)}
    record = Record("t", "gate", "same", False, margin=0.05, exemptions=exemptions, page="packed", **texts)
    assert Record.from_plain(record.to_plain()) == record


def test_columns_that_hold_nothing_are_left_out():
    lines = closing_lines([Record("t", "check", "error", True).to_plain()])
    assert lines == ["test or model  verdict", "t              error"]


def test_a_page_is_no_larger_than_github_takes():
    records = [Record(f"t{index}", "check", "findings", True, markdown="x" * 100_000) for index in range(20)]
    page = write_job_summary(records)
    assert len(page.encode()) < 2**20
    assert "12 more failed; the log of the job has them." in page


def test_markdown_in_names_is_escaped():
    page = write_job_summary([Record("test_it[<b>|*x*]", "check", "healthy", False, seeds=2)])
    assert "<b>" not in page and "\\[&lt;b&gt;\\|\\*x\\*\\]" in page
