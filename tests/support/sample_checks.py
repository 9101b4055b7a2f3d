"""Pages of checks, of the gate and of a run of pytest, each of a small model that is measured for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
from keras import layers

import initcheck
from initcheck.checking.check import Report
from initcheck.checking.gate.gate import gate_model, record_baseline
from initcheck.pages.html import render_html
from initcheck.pytest_plugin.page import build_run_document, pack_page
from initcheck.pytest_plugin.summary import Record, describe_report


def _make_deep(initializer: str | keras.initializers.Initializer) -> keras.Model:
    model = keras.Sequential([keras.Input((32,))])
    for number in range(1, 11):
        model.add(layers.Dense(64, "relu", kernel_initializer=initializer, name=f"block{number}"))
    model.add(layers.Dense(10, name="head"))
    return model


def make_healthy() -> keras.Model:
    return _make_deep("he_normal")


def make_vanishing() -> keras.Model:
    """Let the signal vanish by its initializers, and copy one weight."""
    model = keras.Sequential([keras.Input((32,))])
    for number in range(1, 11):
        model.add(layers.Dense(64, "relu", kernel_initializer="glorot_uniform", name=f"block{number}"))
    seeded = keras.initializers.HeNormal(seed=1)
    for name in ("a_twin_with_a_long_name", "its_twin_with_a_long_name"):
        model.add(layers.Dense(64, "relu", kernel_initializer=seeded, name=name))
    model.add(layers.Dense(10, name="head"))
    return model


def make_changed() -> keras.Model:
    return _make_deep("glorot_normal")


@cache
def check_vanishing() -> Report:
    return initcheck.check(make_vanishing, seeds=8)


@cache
def gate(make: Callable[[], keras.Model]) -> Report:
    """Gate a model against the baseline of the healthy one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "baseline.json"
        record_baseline(make_healthy, path, seeds=4)
        return gate_model(make, path)


def write_healthy() -> str:
    return initcheck.check(make_healthy, seeds=8).to_html()


def write_vanishing() -> str:
    return check_vanishing().to_html()


def write_gate_with_changes() -> str:
    return gate(make_changed).to_html()


def write_gate_without_changes() -> str:
    return gate(make_healthy).to_html()


def write_pytest_run() -> str:
    runs = {"check": check_vanishing(), "gate": gate(make_changed), "same": gate(make_healthy)}
    records = [
        Record(
            f"tests/test_models.py::test_{name}",
            "check" if report.comparison is None else "gate",
            report.verdict if report.comparison is None else report.comparison.verdict,
            failed=bool(report.exit_code),
            message=report.to_text(),
            page=pack_page(report) if report.exit_code else "",
            **describe_report(report),
        )
        for name, report in runs.items()
    ]
    return render_html(build_run_document([each.to_plain() for each in records], ()))
