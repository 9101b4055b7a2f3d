"""What is printed is written by git, the changed code makes the model, and other code than initcheck's measures it."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from curable_models import CODE, CURABLE

from initcheck import check
from initcheck.checking import fixes
from initcheck.cli import main

BUILDS = 4


def measure(name, x):
    """Build the model of the file as it is now, several times, and compute the figure of each."""
    spec = importlib.util.spec_from_file_location("written", "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = []
    for seed in range(BUILDS):
        keras.utils.set_random_seed(seed)
        figures.append(CURABLE[name].figure(getattr(module, name)(), x))
    return figures


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_batch(name):
    random = np.random.default_rng(11)
    namespace = {}
    exec(CODE, namespace)
    given = namespace[name]().inputs[0]
    if "int" in str(given.dtype):
        return random.integers(0, 50, (32, *given.shape[1:])).astype("int32")
    return (CURABLE[name].scale * random.standard_normal((32, *given.shape[1:]))).astype("float32")


@pytest.mark.parametrize("name", list(CURABLE))
def test_the_printed_change_cures_the_model_that_the_changed_code_makes(name, here, capfdbinary):
    x = make_batch(name)
    np.savez(here / "batch.npz", x=x)
    before = measure(name, x)
    assert not any(CURABLE[name].is_right(each) for each in before), before
    words = ["fix", f"models.py:{name}", "--data", "batch.npz", "--seeds", "6", "--diff", "--quiet"]
    assert main(words) == 1
    printed = capfdbinary.readouterr()
    assert printed.out, printed.err.decode()
    done = subprocess.run(["git", "apply", "-"], input=printed.out, capture_output=True, cwd=here, check=False)
    assert done.returncode == 0, done.stderr
    changed = [line for line in printed.out.splitlines() if line[:1] in b"+-" and line[:3] not in (b"+++", b"---")]
    assert len(changed) <= 4, changed
    after = measure(name, x)
    assert all(CURABLE[name].is_right(each) for each in after), (before, after, printed.out.decode())
    assert Path("models.py").read_text(encoding="utf-8").count("\n") >= CODE.count("\n")


def test_the_figures_of_a_change_that_does_not_help_are_wrong(here):
    """The negative control: a kernel ten times too small is no cure of one that is far too small."""
    text = CODE.replace("RandomNormal(stddev=1e-4)", "RandomNormal(stddev=0.02)")
    (here / "models.py").write_text(text, encoding="utf-8")
    figures = measure("small_layer", make_batch("small_layer"))
    assert not any(CURABLE["small_layer"].is_right(each) for each in figures)


def test_the_same_check_gives_the_same_edits_and_so_do_other_draws(here):
    found = []
    for first_seed in (0, 0, 900):
        report = check("models.py:small_layer", seeds=6, first_seed=first_seed)
        (problem,) = report.result.problems
        edits = tuple((each.argument, each.new, str(each.site)) for each in problem.fix.edits)
        found.append((problem.codes, edits, problem.fix.after))
    assert found[0] == found[1]  # to the last digit
    assert found[0][:2] == found[2][:2] and found[0][2] != found[2][2]


def test_a_search_that_takes_too_long_begins_no_further_candidate(here, monkeypatch):
    """Nothing cures here, so that all candidates are tried."""
    monkeypatch.setattr(fixes.FixSearch, "_find_left", lambda self, problem, trial: list(problem.findings))
    whole = check("models.py:small_layer", seeds=4)
    monkeypatch.setattr(fixes, "LONGEST_SEARCH", 0.0)
    short = check("models.py:small_layer", seeds=4)
    assert whole.result.problems[0].main.tried > short.result.problems[0].main.tried == 1
