"""Sentences of the pages with numbers of the program: compared with what the program makes."""

from __future__ import annotations

import re
from pathlib import Path

import keras

from initcheck.checking.gate.baseline import read_baseline
from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.gate import record_baseline

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


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


def test_the_cost_of_a_monitor_is_what_its_benchmark_allows():
    page = " ".join((DOCS / "monitor.md").read_text(encoding="utf-8").split())
    benchmark = (ROOT / "tests" / "benchmarks" / "test_monitor.py").read_text(encoding="utf-8")
    rare, every = re.search(
        r"`every=100` take more than ([\d.]+) times .* `every=1` more than ([\d.]+) times", page
    ).groups()
    assert f'every=100 / without its hooks", ratio, "at most {rare}"' in benchmark
    assert f'limit="at most {every}"' in benchmark


def test_the_parts_of_the_report_are_those_that_its_page_names():
    page = (DOCS / "report.md").read_text(encoding="utf-8").partition("\n## ")[0]
    parts = {re.sub(r"\s+", " ", part) for part in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", page)}
    report = (ROOT / "reports" / "reference" / "report.md").read_text(encoding="utf-8")
    assert len(parts) == 10
    assert parts <= set(re.findall(r"^##+ (.+)$", report, flags=re.MULTILINE))
