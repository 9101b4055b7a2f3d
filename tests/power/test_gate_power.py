"""The gate's error rates in small: 60 gates of measured figures; ``tox run -e gate-power`` makes 1,000 of each kind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gate_power
import keras
import pytest
import unchanged_models
from gate_baselines import make_baseline, shift
from unchanged_models import UNCHANGED, build_deep

from initcheck.checking.gate.baseline import Baseline
from initcheck.checking.gate.comparison import compare

pytestmark = pytest.mark.power

GATES, SEEDS = 60, 8


@pytest.fixture(scope="module")
def narrow() -> Baseline:
    return gate_power.measure(gate_power.build_narrow(), GATES * SEEDS)


@pytest.fixture(scope="module")
def deep() -> Baseline:
    """Eight blocks of sixteen seeds."""
    return gate_power.measure(gate_power.build_deep(), 8 * 16)


def pairs(whole: Baseline, size: int, gates: int) -> Iterator[tuple[Baseline, Baseline]]:
    return gate_power.fresh(whole, size, gates)


def test_an_unchanged_model_is_never_called_changed_with_fresh_seeds(narrow):
    """At 1 false alarm in 10,000 gates one of 60 would come about in 1 of 170 such tests; the seeds are fixed."""
    row = gate_power.judge("narrow", "none", pairs(narrow, SEEDS, GATES), lambda _: set())
    assert row.gates == GATES
    assert row.changed == 0
    assert row.pairing == "fresh seeds"


@pytest.mark.parametrize("factor", [1.1, 0.9, 1.3, 0.7])
@pytest.mark.parametrize("layer", [0, 7, 19])
def test_a_kernel_that_is_off_is_called_changed_and_only_what_it_moves(deep, factor, layer):
    planted = ((before, gate_power.off(after, layer, factor)) for before, after in pairs(deep, 16, 8))
    row = gate_power.judge("deep", "planted", planted, lambda _: gate_power.figures_of(layer))
    assert (row.changed, row.right) == (8, 8)


def test_a_change_within_the_margin_is_not_called_changed(deep):
    planted = ((before, gate_power.off(after, 7, 1.04)) for before, after in pairs(deep, 16, 8))
    assert gate_power.judge("deep", "4 %", planted, lambda _: set()).changed == 0


def test_a_gain_that_the_model_itself_has_is_what_the_planted_one_looks_like():
    before = gate_power.measure(gate_power.build_deep(), 4)
    after = gate_power.measure(gate_power.build_deep(1.1, layer=7), 4)
    gate_power.assert_homogeneous(before, after, 7, 1.1)
    with pytest.raises(AssertionError):  # the negative control: another layer, another gain
        gate_power.assert_homogeneous(before, after, 8, 1.1)
    with pytest.raises(AssertionError):
        gate_power.assert_homogeneous(before, after, 7, 1.05)
    assert compare(before, gate_power.named_alike(after, before)).verdict == "changed"


def test_a_layer_that_multiplies_the_signal_is_seen_with_the_same_seeds(deep):
    """No weight tells of it; the steps of the signal do, to the digit, since the same weights were drawn."""
    before = gate_power.block(deep, 0, 16)
    moved = gate_power.move(before, {("dense_11", "forward")}, 0.0953)
    comparison = compare(before, moved)
    assert [each.path for each in comparison.of_verdict("changed")] == ["dense_11"]
    fresh = replace(gate_power.block(deep, 1, 16))
    assert compare(before, gate_power.move(fresh, {("dense_11", "forward")}, 0.0953)).verdict != "same"


@pytest.mark.parametrize(
    "label",
    [
        "attributes that differ in text",
        "names that are made of names",
        "sabotaged: recurrent",
        "scaled when run, cannot be made again",
    ],
)
def test_a_model_that_is_built_anew_is_blamed_for_nothing(label):
    rows = list(gate_power.judge_unchanged(label, UNCHANGED[label], 2))
    assert [(row.gates, row.changed) for row in rows] == [(2, 0)] * len(gate_power.WAYS)
    assert {row.pairing for row in rows} == {"the same seeds", "fresh seeds"}


def test_a_change_between_two_builds_is_counted():
    initializers = iter(("he_normal", "glorot_uniform", "he_normal"))
    rows = list(gate_power.judge_unchanged("changed", lambda: build_deep(4, 16, initializer=next(initializers)), 2))
    assert [(row.changed, row.same + row.inconclusive) for row in rows] == [(1, 1)] * len(gate_power.WAYS)


def test_a_finding_that_comes_about_between_two_builds_is_counted():
    """Two layers of one shape begin with the same numbers, and no metric says so."""

    def build(seeds):
        layers = [keras.layers.Dense(16, kernel_initializer=keras.initializers.HeNormal(seed)) for seed in next(seeds)]
        return keras.Sequential([keras.Input((16,)), *layers, keras.layers.Dense(2)])

    seeds = iter(((1, 2), (1, 1)))
    assert all(row.changed == 1 for row in gate_power.judge_unchanged("twins", lambda: build(seeds), 1))


def test_a_process_that_hashes_otherwise_sees_the_same_model(tmp_path):
    """Sets are in another order there, and objects at other addresses."""
    model, baseline = f"{Path(unchanged_models.__file__)}:build_furnished", str(tmp_path / "baseline.json")

    def run(hashes, *arguments):
        environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", "from initcheck.cli import main; main()", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    recorded = run("1", "baseline", model, "--seeds", "3", "-o", baseline)
    assert recorded.returncode == 0, recorded.stderr
    gated = run("2", "check", model, "--baseline", baseline)
    assert (gated.returncode, "Gate: same" in gated.stdout) == (0, True), gated.stdout + gated.stderr


def test_gates_are_judged_again_with_as_many_seeds_as_they_advise():
    """A difference far beyond the margin is decided by more seeds, one that lies on it by none."""
    whole = make_baseline(layers=1, spread=0.1, seeds=range(2000))
    numbers = {
        percent: gate_power.judge_advice(
            "made up", "", whole, shift(whole, "dense_0/kernel", math.log1p(percent / 100)), 5, 20
        )
        for percent in (20, 5)
    }
    assert all(row.inconclusive == row.advised == 20 for row in numbers.values())
    assert numbers[20].decided_by_lower == 20
    assert numbers[5].decided_by_lower <= 2
