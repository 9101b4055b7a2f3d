"""``initcheck fix`` as a user meets it: what is printed, what git takes, what lies on the disk afterwards."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import subprocess
from pathlib import Path

import pytest
from written_models import MODELS

from initcheck.cli import fix as command
from initcheck.cli import main
from initcheck.cli.measuring import Measuring, read_arguments

HEAD = "import keras\nfrom keras import layers\n\nSMALL = keras.initializers.RandomNormal(stddev=1e-4)\n\n\n"

SICK = f"""{HEAD}def build(units=32):
    return keras.Sequential(
        [
            keras.Input((32,)),
            layers.Dense(units, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(units, activation="relu", kernel_initializer=SMALL, name="hidden"),  # ünits
            layers.Dense(3),
        ]
    )


def other():
    raise RuntimeError("nobody has asked for this")
"""

LOOP = f"""{HEAD}def build():
    model = keras.Sequential([keras.Input((32,))])
    for i in range(3):
        model.add(layers.Dense(32, activation="relu", kernel_initializer=SMALL if i == 1 else "glorot_normal"))
    model.add(layers.Dense(3))
    return model
"""

QUICK = ("--seeds", "4", "--quiet")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "sick.py").write_text(SICK, encoding="utf-8")
    (folder / "loop.py").write_text(LOOP, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def check_here(words):
    """Check again, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["check", *words, "--no-fixes", "--json", "--quiet"])
    return command._read_outcome(json.loads(out.getvalue()), code)


@pytest.fixture
def answer_again(monkeypatch):
    """Let the second check answer what is given: an outcome, a text, or an exception that it raises."""

    def install(answer):
        def check_again(words):
            if isinstance(answer, BaseException):
                raise answer
            return answer(words) if callable(answer) else answer

        monkeypatch.setattr(command, "_check_again", check_again)

    return install


def test_the_fix_is_printed_with_its_diff_and_no_file_is_changed(run, here):
    code, out, err = run("fix", "sick.py:build", *QUICK)
    assert (code, err) == (1, "")
    assert out.startswith("sick.py:build: 1 problem\n\n1  the kernel of hidden is drawn ")
    assert '   fix    kernel_initializer="he_normal" in hidden cures it: × ' in out
    assert " a layer (4 fresh draws)" in out
    assert "Not written yet; this is what --write changes in sick.py:\n\n--- a/sick.py\n+++ b/sick.py\n" in out
    changed = [line for line in out.partition("+++ b/sick.py\n")[2].splitlines() if line[:1] in "+-"]
    old = '            layers.Dense(units, activation="relu", kernel_initializer=SMALL, name="hidden"),  # ünits'
    assert changed == [f"-{old}", "+" + old.replace("SMALL", '"he_normal"')]
    assert (here / "sick.py").read_text(encoding="utf-8") == SICK


def test_git_takes_the_diff_and_the_model_is_healthy_then(run, here):
    code, out, err = run("fix", "sick.py:build", "--diff", *QUICK)
    assert code == 1 and out.startswith("--- a/sick.py\n") and err.startswith("sick.py:build: 1 problem\n")
    subprocess.run(["git", "apply", "-"], input=out.encode(), check=True)
    code, out, _ = run("fix", "sick.py:build", *QUICK)
    assert (code, out) == (0, "sick.py:build: healthy: nothing found\n")


def test_write_changes_the_file_and_checks_it_in_a_fresh_process(run, here):
    path = here / "sick.py"
    path.chmod(0o640)
    code, out, err = run("fix", "sick.py:build", "--write", "--arg", "units=24", *QUICK)
    assert code == 0 and out.endswith("\n\nChecked again: nothing left.\n") and "wrote sick.py" in err
    assert path.read_text(encoding="utf-8") == SICK.replace("=SMALL", '="he_normal"')
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in here.iterdir() if each.name != "__pycache__") == ["loop.py", "sick.py"]


def test_a_change_that_is_no_better_is_taken_back(run, here, answer_again):
    answer_again(command._Outcome(1, ("something else",), 1, 0.0))
    code, out, err = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 1 and err.endswith("put back sick.py\n")
    assert "sick.py is as it was: checked again, it is no better." in out and "something else" in out
    assert (here / "sick.py").read_text(encoding="utf-8") == SICK


def test_a_change_with_which_the_model_cannot_be_made_is_taken_back(run, here, answer_again):
    answer_again("no such initializer")
    code, out, _ = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 1
    assert "sick.py is as it was: checked again, the changed model cannot be checked: no such initializer." in out
    assert (here / "sick.py").read_text(encoding="utf-8") == SICK


@pytest.mark.thorough
def test_a_factory_that_fails_after_the_change_is_reported_from_its_own_process(run, here):
    guard = (
        'def build(units=32):\n    if open(__file__).read().count("=SMALL") < 2:\n        raise OSError("changed")\n'
    )
    text = SICK.replace("def build(units=32):\n", guard)
    (here / "sick.py").write_text(text, encoding="utf-8")
    code, out, _ = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 1 and "OSError: changed" in " ".join(out.split())
    assert (here / "sick.py").read_text(encoding="utf-8") == text


def test_an_interruption_takes_the_change_back(run, here, answer_again):
    answer_again(KeyboardInterrupt())
    code, _, err = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 130 and err.endswith("put back sick.py\ninitcheck: error: Interrupted.\n")
    assert (here / "sick.py").read_text(encoding="utf-8") == SICK


def test_a_file_that_is_edited_during_the_second_check_is_left_to_its_owner(run, here, answer_again):
    def edit(words):
        (here / "sick.py").write_text("x = 1\n", encoding="utf-8")
        return "it is gone"

    answer_again(edit)
    code, _, err = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 2 and "'sick.py' has changed meanwhile, and is left as it is." in err
    assert (here / "sick.py").read_text(encoding="utf-8") == "x = 1\n"


def test_what_cannot_be_written_is_described_with_its_place_and_the_reason(run, here):
    code, out, _ = run("fix", "loop.py:build", "--write", *QUICK)
    text = " ".join(out.split())
    assert code == 1 and "+++" not in out
    assert 'not written; by hand: loop.py:10 kernel_initializer="he_normal" for dense_1' in text
    assert "(the same call also makes dense and dense_2, which are not to change)" in text
    assert (here / "loop.py").read_text(encoding="utf-8") == LOOP


def test_a_file_outside_of_the_working_folder_is_left_unless_asked_for(run, here, monkeypatch):
    inside = here / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    words = ("fix", "../sick.py:build", *QUICK)
    assert "(../sick.py lies outside of the working folder)" in " ".join(run(*words)[1].split())
    assert "+++ b/../sick.py\n" in run(*words, "--anywhere", "--diff")[1]


def test_a_problem_is_chosen_by_its_number(run, refused):
    assert "+++ b/sick.py\n" in run("fix", "sick.py:build", "--problem", "1", "--diff", *QUICK)[1]
    assert "There is no problem 7: initcheck check numbers 1 problem. Received: --problem 7." in refused(
        "fix", "sick.py:build", "--problem", "7", *QUICK
    )


def test_a_read_only_file_is_not_written(run, here):
    (here / "sick.py").chmod(0o444)
    code, _, err = run("fix", "sick.py:build", "--write", *QUICK)
    assert code == 2
    assert err == "initcheck: error: Cannot write 'sick.py': it is read-only. Make it writable, or take the diff.\n"
    assert (here / "sick.py").read_text(encoding="utf-8") == SICK


def test_waived_findings_are_not_fixed(run):
    code, out, _ = run("fix", "sick.py:build", "--waive", "*", *QUICK)
    assert code == 0 and out.startswith("sick.py:build: healthy") and "+++" not in out


def test_a_model_without_code_gets_its_fix_in_words(run, here):
    names: dict = {}
    exec(SICK, names)
    names["build"]().save(here / "model.keras")
    code, out, _ = run("fix", "model.keras", *QUICK)
    assert code == 1 and "the line that makes it is not known" in " ".join(out.split())


def test_the_second_check_is_given_the_options_of_the_first():
    measuring = Measuring(
        read_arguments(["units=24", "mode=fan_in", "sizes=[1, 2.5]", "name='a b'", "flag=None"], "--arg"),
        Path("batch of mine.npz"),
        {"weights": "redraw", "seeds": 4, "first_seed": 2, "batch_size": 3, "input_shapes": ("a=3,4", "b=5")},
    )
    words = measuring.to_words()
    given = [words[place + 1] for place, word in enumerate(words) if word == "--arg"]
    assert read_arguments(given, "--arg") == measuring.arguments
    assert " ".join(words[2 * len(given) :]) == (
        "--data batch of mine.npz --weights redraw --seeds 4 --first-seed 2 --batch-size 3 "
        "--input-shape a=3,4 --input-shape b=5"
    )


def test_a_second_check_is_better_with_a_lower_exit_code_or_fewer_problems():
    before = command._Outcome(1, ("a", "b"), 3, 5.0)
    for after, promised, better in (
        (command._Outcome(0, (), 0, 0.0), True, True),
        (command._Outcome(1, ("a",), 3, 9.0), True, True),
        (command._Outcome(2, (), 0, 0.0), True, True),
        (command._Outcome(1, ("a", "b"), 3, 5.0), False, False),
        (command._Outcome(1, ("a", "b"), 3, 1.0), True, False),
        (command._Outcome(1, ("a", "b"), 3, 1.0), False, True),
        (command._Outcome(1, ("a", "b"), 4, 1.0), False, False),
        (command._Outcome(1, ("a", "b", "c"), 3, 1.0), False, False),
        (command._Outcome(2, ("a", "b"), 1, 1.0), False, False),
    ):
        assert after.is_better(before, promised=promised) is better, after


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODELS)
def test_models_of_many_styles_are_fixed_or_it_is_said_what_to_write(name, run, here, answer_again):
    path = here / "models.py"
    path.write_text(MODELS[name].code, encoding="utf-8")
    answer_again(check_here)
    code, out, err = run("fix", "models.py:build", "--write", "--seeds", "8", "--quiet")
    text = path.read_text(encoding="utf-8")
    ast.parse(text)
    if MODELS[name].added:
        assert code == 0 and out.endswith("Checked again: nothing left.\n"), (out, err)
        assert text != MODELS[name].code
    else:
        said = " ".join(out.split())
        assert code == 1 and (MODELS[name].reason in said or "the line that makes it is not known" in said), said
        assert text == MODELS[name].code
