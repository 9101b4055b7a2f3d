"""The pages that are opened, each made by the code as it stands from a small measurement or from a committed one."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from fake_specification import run_fake_specification
from keras import layers
from made_up_trainability import make_record
from sample_checks import (
    write_gate_with_changes,
    write_gate_without_changes,
    write_healthy,
    write_pytest_run,
    write_vanishing,
)
from sweep_stub import make_result

import initcheck
from initcheck.pages.html import render_html
from initcheck.spec.records import PowerTable
from initcheck.spec.report import write_specification
from initcheck.study.report import build_document
from initcheck.sweeping.report import build_sweep_document
from initcheck.training.report import build_training_document
from initcheck.training.run import DEFAULT_INITIALIZERS, TrainingRecord
from initcheck.training.trainability import relate
from initcheck.training.trainability_report import build_trainability_document

REPORTS = Path(__file__).parents[2] / "reports"


def _make_wide(width: int = 64) -> keras.Model:
    narrow = keras.initializers.RandomNormal(stddev=0.2)
    hidden = [layers.Dense(width, "relu", name="first"), layers.Dense(width, "relu", kernel_initializer=narrow)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(1, name="out")])


def write_widths() -> str:
    return initcheck.check_widths(_make_wide, [32, 64, 128, 256], seeds=4, steps=1).to_html()


def write_monitor() -> str:
    """Train with steps that are far too large, so that units die."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(160, 20)).astype("float32"), random.integers(0, 4, 160)
    keras.utils.set_random_seed(1)
    names = ("first", "second", "a_third_layer_with_a_long_name")
    hidden = [layers.Dense(32, "relu", name=name) for name in names]
    model = keras.Sequential([keras.Input((20,)), *hidden, layers.Dense(4, name="out")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.3), loss)
    monitor = initcheck.SignalMonitor(x[:32], y[:32], every=1, verbose=0)
    model.fit(x, y, epochs=3, verbose=0, callbacks=[monitor])
    return monitor.to_html()


def write_training() -> str:
    record = TrainingRecord(
        history=pd.read_parquet(REPORTS / "training" / "history.parquet"),
        initializers=DEFAULT_INITIALIZERS,
        seeds=(0, 1, 2, 3, 4),
        epochs=10,
        network="a network",
        data="digits",
        chance=0.1,
        chance_loss=math.log(10),
        descent="stochastic gradient descent",
        versions={"keras": "3"},
        command_line="initcheck train",
        seconds=1.0,
        resumed=0,
        notebook=True,
    )
    return render_html(build_training_document(record))


def write_fake_specification() -> Path:
    """Judge invented claims, of which some are broken; the pages lead to each other."""
    out = Path(tempfile.mkdtemp())
    write_specification(run_fake_specification(), out, PowerTable(("defect", "caught_by"), (("halved", "first"),)))
    return out / "spec.html"


def find_committed_report() -> Path:
    return REPORTS / "reference" / "report.html"


def find_committed_specification() -> Path:
    return REPORTS / "spec.html"


def find_committed_versions() -> Path:
    return REPORTS / "versions.html"


def write_report() -> str:
    """Measure a narrow network with weights of every fate, some of which are drawn alike."""
    names = ("Zeros", "RandomNormal(stddev=1.0)", "GlorotUniform", "LecunUniform", "HeNormal")
    functions = ("relu", "tanh", "sigmoid")
    options = initcheck.StudyOptions(("mlp",), names, functions, depth=6, widths=(24, 16), seeds=tuple(range(4)))
    return render_html(build_document(initcheck.run_study(options)))


def write_sweep() -> str:
    summary = pd.read_parquet(REPORTS / "sweep" / "summary.parquet")
    names = ["HeNormal", "LecunNormal", "GlorotNormal", "Identity", "Zeros", "RandomNormal(stddev=1.0)"]
    some = summary[summary["initializer"].isin(names)]
    return render_html(build_sweep_document(make_result(some), "initcheck sweep", None, None))


def write_trainability() -> str:
    return render_html(build_trainability_document(relate(make_record(), resamples=20)))


PAGES: dict[str, Callable[[], str | Path]] = {
    "check-healthy": write_healthy,
    "check-vanishing": write_vanishing,
    "gate-changed": write_gate_with_changes,
    "gate-same": write_gate_without_changes,
    "monitor": write_monitor,
    "pytest-run": write_pytest_run,
    "report": write_report,
    "report-reference": find_committed_report,
    "specification": find_committed_specification,
    "specification-broken": write_fake_specification,
    "sweep": write_sweep,
    "trainability": write_trainability,
    "training": write_training,
    "versions": find_committed_versions,
    "widths": write_widths,
}
"""What makes each page: its text, or where it is."""

HEIGHTS: dict[str, float] = {
    "check-healthy": 3_000.0,
    "check-vanishing": 3_000.0,
    "gate-changed": 3_000.0,
    "gate-same": 3_000.0,
    "monitor": 2_500.0,
    "pytest-run": 4_000.0,
    "report": 9_000.0,
    "report-reference": 9_000.0,
    "specification": 12_000.0,
    "specification-broken": 4_000.0,
    "sweep": 4_500.0,
    "trainability": 4_500.0,
    "training": 4_500.0,
    "versions": 6_000.0,
    "widths": 3_000.0,
}
"""How long each page may be at a width of 1,200 pixels, with everything folded."""
