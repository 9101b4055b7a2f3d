"""The page of ``--initcheck-report``: all that was measured in a run, the failures open."""

from __future__ import annotations

import pytest
from html_page import Page

from initcheck.pytest_plugin.page import build_run_document
from initcheck.pytest_plugin.summary import Record

MANY = """
from models import build, twins


def test_green(initcheck):
    initcheck.check(build(3), seeds=6)


def test_red(initcheck):
    initcheck.check(twins(), seeds=2)


def test_gate(initcheck):
    initcheck.gate(build, seeds=2)


def test_missing(initcheck):
    initcheck.gate(build)


def test_same(initcheck):
    initcheck.gate("models.py:orthogonal", seeds=2)
"""
OPTIONS = ("--initcheck-report=page", "--initcheck-model=models:twins", "-W", "ignore")


@pytest.fixture
def many(project):
    project.write("test_many.py", MANY)
    project.run("--initcheck-update", "-k", "gate or same").assert_outcomes(passed=2, deselected=3)
    # A baseline that no test compares with, in a name that HTML has to escape.
    project.write("initcheck-baselines/test_many/test_<i>.json", "{}")
    return project


def check_page(project):
    (file,) = (project.path / "page").iterdir()
    assert file.name == "index.html"
    page = Page(file.read_text(encoding="utf-8"))
    page.assert_self_contained()
    assert "4 of 6 measurements failed." in page.text
    assert "not used: initcheck-baselines/test_many/test_<i>.json: no test compares with it, delete it" in page.text

    failures, passed = page.text.rsplit("2 measurements without a failure", 1)
    failures = failures.rsplit("Failures", 1)[1]
    assert all(f"test_many.py::{name}" in failures for name in ("test_red", "test_gate", "test_missing"))
    assert "IC301 hidden_0/kernel and hidden_1/kernel are copies of one another" in failures
    assert "Reproduce: pytest 'test_many.py::test_red'" in failures
    assert "Update: pytest 'test_many.py::test_gate' --initcheck-update" in failures
    assert "There is no baseline 'initcheck-baselines/test_many/test_missing.json'" in failures
    # Of each failure that was measured: a section for each of the sections of its own page.
    assert failures.count("What was measured, and how") == 3
    assert failures.count("Against the baseline") == 1
    assert "test_many.py::test_green: healthy" in passed and "test_many.py::test_same: same" in passed
    assert "Judged: 1 path, 4 layer calls, 8 weights" in passed
    # Of a failure that was measured the answer of its own page is open: a copy's, a gate's and a model's.
    assert not any(tag == "details" and "open" in attributes for tag, attributes in page.tags)
    assert failures.count("The text in the terminal") == 3
    assert "factor, now over then" in failures and "Backward: norm of one sample’s gradient" in failures
    return page


def _take_record(name: str, failed: bool) -> dict[str, object]:
    return Record(name, "check", "findings" if failed else "healthy", failed=failed, message="why").to_plain()


def test_what_failed_stands_first_in_a_table_and_what_did_not_is_folded_with_its_count():
    records = [_take_record(f"test_{place}", failed=place == 7) for place in range(20)]
    answer = build_run_document(records, ()).answer
    assert answer is not None and answer.tone == "failed"
    assert answer.values == (("1", "failed"), ("19", "without a failure"))
    table, folded = answer.blocks
    assert [(row.header, row.link) for row in table.rows] == [("test_7", "failure-1")]
    assert folded.summary[0].text == "19 measurements without a failure" and len(folded.blocks[0].rows) == 19


def test_where_nothing_failed_the_first_twelve_are_shown_and_the_others_folded():
    answer = build_run_document([_take_record(f"test_{place}", failed=False) for place in range(15)], ()).answer
    assert answer is not None and (answer.tone, answer.verdict[0].text) == ("passed", "Nothing failed.")
    table, folded = answer.blocks
    assert len(table.rows) == 12 and all(row.link == "" for row in table.rows)
    assert folded.summary[0].text == "3 more measurements without a failure"


def test_the_page_has_all_that_was_measured_with_the_failures_open(many, monkeypatch):
    monkeypatch.setenv("GAIN", "1.3")
    many.run(*OPTIONS).assert_outcomes(passed=7, failed=4)
    page = check_page(many)
    # Pictures are drawn on the page, and their ids are not those of the picture beside it.
    assert [tag for tag, _ in page.tags].count("svg") >= 3


@pytest.mark.cluster
def test_workers_send_what_the_page_holds(many):
    done = many.run_apart("-n", "2", *OPTIONS, GAIN="1.3")
    assert "4 failed, 7 passed" in done.stdout, done.stdout
    check_page(many)


def test_a_run_that_measures_nothing_has_a_page_that_says_so(project):
    project.write("test_plain.py", "def test_plain():\n    pass\n")
    project.run("--initcheck-report", "some/where").assert_outcomes(passed=1)
    assert "0 measurements in a run of pytest." in Page((project.path / "some/where/index.html").read_text()).text


def test_a_page_that_cannot_be_written_fails_the_run_in_one_line(project):
    project.write("test_plain.py", "def test_plain():\n    pass\n")
    project.write("page", "a file, where a folder should be")
    result = project.run("--initcheck-report=page")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.lines[-1].startswith("initcheck: Cannot write to ")
    assert result.stdout.lines[-1].endswith("choose another output folder.")
