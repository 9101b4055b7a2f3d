"""The plugin in a run of pytest of one's own, with and without workers."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from initcheck.spec.catalogue import TOPICS, catalogue, claims_not_there
from initcheck.spec.plugin import claim_test

_SUPPORT = Path(__file__).parents[1] / "support"
_SPECIFICATION = Path(__file__).parents[1] / "specification"


def run(folder, *arguments):
    for topic in ("first", "second"):
        text = f'from initcheck.spec.plugin import claim_test\ntest_claim = claim_test("{topic}")\n'
        (folder / f"test_{topic}.py").write_text(text)
    path = os.pathsep.join(filter(None, (str(_SUPPORT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "INITCHECK_FAKE_SPECIFICATION": "1"}
    plugins = ["-p", "fake_specification", "-p", "initcheck.spec.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-v", "--strict-markers", *plugins, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize(
    "workers", [[], pytest.param(["-n", "2", "--dist", "loadfile"], marks=pytest.mark.cluster)], ids=["alone", "xdist"]
)
def test_the_closing_section(tmp_path, workers):
    done = run(tmp_path, "--initcheck-seed", "11", *workers)
    assert done.returncode == 1
    section = re.split(r"=+ specification =+\n", done.stdout)[1].splitlines()
    assert section[0] == "REFUTED 1 claim: Transposed convolutions count their outputs as inputs."
    assert section[1].startswith("BROKEN second.red.broken: The value is 0.0; the seed was ")
    assert (
        "2 hold, 1 refuted as expected, 2 broken, 1 now hold, 1 not shown, 1 inconclusive, 1 changed, 0 not there"
        in section
    )
    assert "initcheck seed: 11 (repeat this run with --initcheck-seed=11)" in section
    assert "REFUTED" in done.stdout
    assert "INCONCLUSIVE" in done.stdout
    assert "4 passed" in done.stdout
    assert "5 failed" in done.stdout


def test_what_is_pinned_fails_only_where_that_is_asked_for(tmp_path):
    assert run(tmp_path, "-k", "changed").returncode == 0
    assert run(tmp_path, "-k", "changed", "--initcheck-strict-pinned").returncode == 1


def test_slow_claims_can_be_left_out(tmp_path):
    done = run(tmp_path, "-m", "not slow", "-k", "green")
    assert done.returncode == 0
    assert "2 passed, 7 deselected" in done.stdout


def test_all_tests_of_a_session_have_one_run_context_with_its_seed(tmp_path):
    lines = [
        "from initcheck.spec.plugin import run_context_of",
        "SEEN = set()",
        "def test_one(request): SEEN.add(run_context_of(request.config))",
        "def test_other(request): SEEN.add(run_context_of(request.config))",
        "def test_same(): assert [context.base_seed for context in SEEN] == [5]",
    ]
    (tmp_path / "test_context.py").write_text("\n".join(lines))
    done = run(tmp_path, "--initcheck-seed", "5", "test_context.py")
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("seed", ["-1", "many", "1.5"])
def test_a_bad_seed_is_refused(tmp_path, seed):
    done = run(tmp_path, f"--initcheck-seed={seed}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"Received: {seed!r}" in done.stderr


@pytest.mark.cluster
def test_workers_share_a_random_seed(tmp_path):
    done = run(tmp_path, "--initcheck-seed", "random", "-n", "2", "--dist", "loadfile", "-k", "refuted or broken")
    base = re.search(r"initcheck seed: (\d+)", done.stdout)[1]
    seeds = re.findall(
        r"the seed was (\d+)", run(tmp_path, f"--initcheck-seed={base}", "-k", "refuted or broken").stdout
    )
    assert set(re.findall(r"the seed was (\d+)", done.stdout)) == set(seeds)


def test_every_claim_is_a_case_of_the_test_of_its_topic():
    module = runpy.run_path(str(_SPECIFICATION / "test_claims.py"))
    for topic in TOPICS:
        (cases,) = module[f"test_{topic}"].pytestmark
        assert [case.id for case in cases.args[1]] == [
            claim.id for claim in (*catalogue(topic), *claims_not_there(topic))
        ]


def test_an_unknown_topic_is_named():
    with pytest.raises(ValueError, match="distribution"):
        claim_test("distributions")
