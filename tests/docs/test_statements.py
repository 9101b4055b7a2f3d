"""Sentences of the pages with numbers of the program: compared with what the program makes."""

from __future__ import annotations

import re
from pathlib import Path

import keras

from initcheck.checking.gate.baseline import read_baseline
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.gate import record_baseline

DOCS = Path(__file__).parents[2] / "docs"


def test_a_model_of_so_many_layers_has_so_many_metrics(tmp_path):
    page = (DOCS / "statistics.md").read_text(encoding="utf-8")
    layers, metrics = map(int, re.search(r"A model of (\d+) Dense layers has (\d+) metrics\.", page).groups())

    def build():
        hidden = [keras.layers.Dense(8, activation="relu") for _ in range(layers)]
        return keras.Sequential([keras.Input((8,)), *hidden])

    record_baseline(build, tmp_path / "baseline.json", seeds=2)
    baseline = read_baseline(tmp_path / "baseline.json")
    assert len(compare(baseline, baseline).differences) == metrics
    assert f"0.95**{metrics}" in page
    assert f"that all {metrics} pass by chance" in " ".join(page.split())
