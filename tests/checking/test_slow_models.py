"""Slow models: how long it takes is said, and no more draws are measured than decide."""

from __future__ import annotations

import keras
import pandas as pd
import pytest

import initcheck
from initcheck.checking import session
from initcheck.checking.gate.gate import measure_baseline

NEAR_THE_LIMIT = keras.initializers.VarianceScaling(1.45, "fan_in", "truncated_normal")


@pytest.fixture
def slow(monkeypatch):
    """Let every model count as slow."""
    monkeypatch.setattr(session, "SLOW_START", 0.0)
    monkeypatch.setattr(session, "SLOW", 0.0)


def build(depth=12, initializer="glorot_uniform"):
    options = {"activation": "relu", "kernel_initializer": initializer}
    hidden = [keras.layers.Dense(64, name=f"hidden_{place}", **options) for place in range(depth)]
    return keras.Sequential([keras.Input((64,)), *hidden])


def words(report):
    return " ".join(str(report).split())


def test_where_the_first_draws_decide_the_others_are_left_out(slow, monkeypatch):
    early = initcheck.check(build, fixes=False)
    drawn = len(early.result.seeds)
    assert 3 <= drawn < 16
    assert f"{drawn} draws (seeds 0 to {drawn - 1}; not 16: the first decide, and each takes 0." in words(early)
    monkeypatch.undo()
    whole = initcheck.check(build, fixes=False)
    assert len(whole.result.seeds) == 16
    assert [(each.code, each.layer) for each in early.findings] == [(each.code, each.layer) for each in whole.findings]
    pd.testing.assert_frame_equal(early.table, whole.table[whole.table["seed"] < drawn])


def test_where_they_do_not_decide_all_are_measured(slow):
    report = initcheck.check(lambda: build(16, NEAR_THE_LIMIT), fixes=False)
    assert "IC603" in {each.code for each in report.findings}
    assert len(report.result.seeds) == 16
    assert "not 16" not in words(report)


def test_a_number_of_draws_that_was_asked_for_is_kept(slow):
    assert len(initcheck.check(build, seeds=8, fixes=False).result.seeds) == 8


def test_a_baseline_has_all_draws(slow):
    report, _ = measure_baseline(build)
    assert len(report.result.seeds) == 16


def test_of_a_model_whose_draws_take_too_long_five_are_measured_and_it_is_said(slow, monkeypatch):
    monkeypatch.setattr(session, "LONGEST", 0.0)
    monkeypatch.setattr(session, "FEWEST_DRAWS", 99)
    report = initcheck.check(build, fixes=False)
    assert len(report.result.seeds) == 5
    assert "5 draws (seeds 0 to 4; not 16: each takes 0." in words(report)


def test_the_progress_says_how_long_it_will_take(slow):
    said = []
    initcheck.check(build, seeds=6, fixes=False, progress=lambda done, total, what: said.append((done, total, what)))
    assert said[0] == (0, 6, "tracing the model")
    left = [(done, what) for done, _, what in said if what.startswith("about ") and what.endswith(" s left")]
    assert [done for done, _ in left] == [2, 3, 4, 5]


def test_of_a_quick_model_nothing_is_said():
    said = []
    report = initcheck.check(build, fixes=False, progress=lambda _, __, what: said.append(what))
    assert len(report.result.seeds) == 16
    assert not [what for what in said if "left" in what]
