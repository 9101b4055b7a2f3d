"""``initcheck check --prove`` as a user meets it: what is trained, what is said, and Ctrl-C."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from initcheck.training.one_batch import BatchTrainer

MODELS = """
import keras


def build(stddev=0.01):
    model = keras.Sequential([keras.Input((12,))])
    for _ in range(7):
        drawn = keras.initializers.RandomNormal(stddev=stddev)
        model.add(keras.layers.Dense(32, activation="relu", kernel_initializer=drawn))
    model.add(keras.layers.Dense(3, activation="softmax"))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    return model


def healthy():
    return build(stddev=0.25)
"""

SICK = ["check", "models.py:build", "--seeds", "4", "--prove", "--prove-steps"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_the_fix_is_trained_and_what_it_shows_stands_with_the_problem_and_in_the_files(run):
    code, out, err = run(*SICK, 60, "--out", "out")
    text = " ".join(out.split())
    assert code == 1
    shown = re.search(r"train after 60 steps: (\S+) as it is, (\S+) \[.*?\]\S* with the fix\.", text)
    assert shown is not None, text
    assert text.count("Trained by Adam (learning rate 0.001) on a made task: classes (cross-entropy)") == 1
    assert "left of 60 steps" in err
    (proof,) = json.loads(Path("out/check.json").read_text(encoding="utf-8"))["proofs"]
    assert proof["outcome"] == "lower"
    assert np.asarray(proof["with_fix"]["losses"]).shape == (4, 61)


def test_labels_are_learned_by_the_compiled_optimizer(run):
    x = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
    np.savez("batch.npz", x=x, y=(x[:, :3]).argmax(axis=-1))
    code, out, _ = run(*SICK, 5, "--data", "batch.npz")
    assert code == 1
    assert "Trained by SGD (learning rate 0.5) with the compiled loss on the batch and labels given" in " ".join(
        out.split()
    )


def test_without_fixes_the_model_is_trained_as_it_is(run):
    _, out, _ = run(*SICK, 5, "--no-fixes")
    text = " ".join(out.split())
    assert "Without a fix: as it is, the loss goes from " in text and "train after" not in text


def test_a_healthy_model_has_nothing_to_prove(run):
    code, out, _ = run("check", "models.py:healthy", "--prove")
    assert code == 0, out
    assert "Nothing was trained: there is no problem to prove." in out


def test_ctrl_c_ends_the_training_and_keeps_the_check_and_the_steps_that_were_made(run, interrupt_after):
    calls = interrupt_after(BatchTrainer, "train", 2 * 2 * 4 + 1)  # two rounds of both models and four draws
    code, out, _ = run(*SICK, 200)
    assert len(calls) == 17
    assert code == 1
    text = " ".join(out.split())
    assert "train stopped after 2 of 200 steps: " in text
    assert "Training was stopped: what was not trained until then is not proven." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prove-steps", "5"], "--prove-steps goes with --prove"),
        (["--prove", "--prove-steps", "0"], "0 is not in the range x>=1"),
        (["--prove", "--baseline", "b.json"], "With --baseline no fixes are tried, so there is nothing to prove"),
        (["--prove", "--widths", "8,16,32"], "With --widths there is no --prove"),
    ],
)
def test_options_that_do_not_go_together_are_refused(refused, words, message):
    assert message in refused("check", "models.py:build", *words)
