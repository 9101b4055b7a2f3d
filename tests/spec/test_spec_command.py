"""``initcheck spec`` from the outside: what it prints and writes, its exit codes, and that it keeps to itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fake_specification import replace_specification

from initcheck.cli import main
from initcheck.spec import catalogue

_FAKE = Path(__file__).parents[1] / "support" / "fake_specification.py"
_COUNTS = "2 hold, 1 refuted as expected, 2 broken, 1 now hold, 1 not shown, 1 inconclusive, 1 changed, 0 not there"


def run_apart(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(_FAKE), "spec", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in this process, on the fake specification."""
    monkeypatch.chdir(tmp_path)
    replace_specification(monkeypatch)

    def run_here(*arguments):
        return subprocess.CompletedProcess(
            arguments, main(["spec", "--workers", "1", *arguments]), *capsys.readouterr()
        )

    yield run_here
    monkeypatch.undo()
    catalogue.catalogue.cache_clear()


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One run of all fake claims that writes all it can, in a folder that tries to interfere."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (folder / "conftest.py").write_text("raise SystemExit('the conftest was read')\n")
    (folder / "test_own.py").write_text("def test_own(): raise SystemExit('the test was run')\n")
    (folder / "power.csv").write_text("defect,planted_in,caught_by\nhalved,HeNormal,first.green.holds\n")
    arguments = ["--json", "--report", "out", "--power", "power.csv", "--junit-xml", "junit.xml", "--seed", "7"]
    arguments += ["--workers", "2"]
    done = run_apart(folder, *arguments, PYTEST_ADDOPTS="-n 2 --no-such-option", PYTEST_PLUGINS="no_such_plugin")
    return folder, done


def test_json_alone_is_on_standard_output(everything):
    _, done = everything
    facts = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert facts["counts"] == {
        "holds": 2,
        "refuted": 1,
        "broken": 2,
        "now holds": 1,
        "not shown": 1,
        "inconclusive": 1,
        "changed": 1,
        "not there": 0,
    }
    assert facts["seed"] == 7
    by_id = {claim["id"]: claim for claim in facts["claims"]}
    assert by_id["first.green.holds"]["evidence"]["bounds"] == [0.25, "inf"]
    assert by_id["second.unclear.inconclusive"]["evidence"]["effect"] is None
    assert "Keras says no" in by_id["second.red.raises"]["reason"]
    assert by_id["second.red.control"]["status"] == "not shown"


def test_the_pages_are_written_and_nothing_else_is_left_behind(everything):
    folder, _ = everything
    assert {path.name for path in (folder / "out").iterdir()} == {"spec", "spec.html", "spec.md", "spec.json"}
    left = {"pytest.ini", "conftest.py", "test_own.py", "power.csv", "junit.xml", "out"}
    assert {path.name for path in folder.iterdir()} == left
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "out" / "spec").glob("*.html")}
    assert 'id="first.green.holds"' in pages["first"]
    assert "halved" in pages["defects"]


def test_the_junit_file_has_the_evidence(everything):
    folder, _ = everything
    cases = {case.get("name"): case for case in ElementTree.parse(folder / "junit.xml").iter("testcase")}
    assert len(cases) == 9
    holds = cases["test_claim[first.green.holds]"]
    properties = {each.get("name"): each.get("value") for each in holds.iter("property")}
    assert properties["status"] == "holds"
    assert properties["verdict"] == "pass"
    assert properties["effect"] == "1.0"
    assert properties["interval"] == "[0.5, 1.5]"
    assert properties["n"] == "1 cases"
    assert properties["control"] == "fail"
    assert holds.find("failure") is None
    assert "broken" in cases["test_claim[second.red.broken]"].find("failure").get("message")


def test_what_is_not_as_specified_is_reported_with_its_reason(run, tmp_path):
    done = run()
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-2] == _COUNTS
    assert lines[-1] == "initcheck seed: 0 (repeat this run with --seed 0)"
    assert [line.partition(":")[0] for line in lines[:-2]] == [
        "REFUTED 1 claim",
        "BROKEN second.red.broken",
        "BROKEN second.red.raises",
        "NOW HOLDS second.red.now_holds",
        "NOT SHOWN second.red.control",
        "INCONCLUSIVE second.unclear.inconclusive",
        "CHANGED second.pinned.changed",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-k", "green"], 0),
        (["-k", "first and not slow"], 0),
        (["-m", "not slow", "-k", "green"], 0),
        (["-m", "fast", "-k", "green"], 0),
        (["-k", "broken"], 1),
        (["-k", "now_holds or inconclusive"], 1),
        (["-k", "inconclusive or green"], 2),
        (["-k", "changed or green"], 0),
        (["-k", "changed", "--strict-pinned"], 1),
        (["-k", "control or green"], 2),
    ],
)
def test_exit_codes(run, arguments, code):
    done = run("--quiet", *arguments)
    assert done.returncode == code
    assert done.stdout == done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["-k", "he_normal and ("], "-k"),
        (["-m", "not"], "-m"),
        (["-k", "nothing_has_this_name"], "No claim is selected by -k nothing_has_this_name"),
        (["--list", "-m", "no_such_mark"], "no_such_mark. Give words"),
        (["-m", "not sloow"], "Unknown in -m: sloow. Give words"),
        (["--seed", "minus one"], "--seed takes"),
        (["--power", "pytest.toml"], "pytest.toml"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(run, arguments, part):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("initcheck: error: ")
    assert part in line


def test_the_list_runs_nothing(run):
    assert run("--list", "-m", "fast").stdout == run("--list", "-m", "not slow").stdout
    assert len(run("--list", "-m", "fast").stdout.splitlines()) == 8
    done = run("--list", "-k", "green", "-m", "slow")
    assert (done.returncode, done.stdout) == (0, "first.green.slow: The statement of first.green.slow & <others>.\n")
    listed = json.loads(run("--list", "--json").stdout)
    assert [claim["expected"] for claim in listed].count("refuted") == 2


def test_how_many_claims_there_are_and_how_long_they_take_is_said_before(run):
    first, *_, last = [line.strip() for line in run("-k", "green").stderr.splitlines()]
    assert re.fullmatch(r"3 claims in 1 process: about [\d.]+ (s|min.*)\.", first)
    assert re.fullmatch(r"Took [\d.]+ s\.", last)


def test_a_random_seed_is_reported_and_repeats_the_run(run):
    first = json.loads(run("--json", "--seed", "random", "-k", "green").stdout)
    again = json.loads(run("--json", "--seed", str(first["seed"]), "-k", "green").stdout)
    assert [claim["reason"] for claim in first["claims"]] == [claim["reason"] for claim in again["claims"]]


def test_a_real_claim_is_run_against_keras(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main(["spec", "--json", "-k", "distribution.zeros"])
    out, err = capsys.readouterr()
    assert code == 0, err
    facts = json.loads(out)
    assert facts["versions"]["keras"]
    assert facts["left_out"] > 0
    assert list(tmp_path.iterdir()) == []
