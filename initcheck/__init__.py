"""Measures weight initialization in Keras, with evidence.

Importing this package imports neither Keras nor pandas: each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcheck.callbacks import SignalMonitor
    from initcheck.diagnosis.check import check
    from initcheck.diagnosis.gate import gate as gate_model
    from initcheck.diagnosis.gate import record_baseline
    from initcheck.diagnosis.report import Report
    from initcheck.diagnosis.settings import CheckSettings
    from initcheck.diagnosis.width_scaling import WidthReport, check_widths
    from initcheck.errors import (
        BackendError,
        BaselineError,
        DataError,
        EngineError,
        FindingsError,
        InitcheckError,
        InitializerError,
        ModelError,
        OutputError,
        SpecError,
        StoreError,
        TheoryError,
        UsageError,
    )
    from initcheck.gate.baseline import Baseline
    from initcheck.gate.comparison import Comparison
    from initcheck.prediction import ModelPredictor, add_gain_predictions, add_site_predictions
    from initcheck.probe import Probe
    from initcheck.pytest_plugin.fixture import Initcheck
    from initcheck.study import StudyOptions, run_study
    from initcheck.sweeping.dask_engine import DaskEngine, LocalEngine
    from initcheck.sweeping.run import SweepResult, sweep
    from initcheck.theory.forecast import forecast

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Baseline",
    "BaselineError",
    "CheckSettings",
    "Comparison",
    "DaskEngine",
    "DataError",
    "EngineError",
    "FindingsError",
    "Initcheck",
    "InitcheckError",
    "InitializerError",
    "LocalEngine",
    "ModelError",
    "ModelPredictor",
    "OutputError",
    "Probe",
    "Report",
    "SignalMonitor",
    "SpecError",
    "StoreError",
    "StudyOptions",
    "SweepResult",
    "TheoryError",
    "UsageError",
    "WidthReport",
    "__version__",
    "add_gain_predictions",
    "add_site_predictions",
    "check",
    "check_widths",
    "forecast",
    "gate_model",
    "record_baseline",
    "run_study",
    "sweep",
]

_MODULE_OF = {
    "BackendError": "initcheck.errors",
    "Baseline": "initcheck.gate.baseline",
    "BaselineError": "initcheck.errors",
    "CheckSettings": "initcheck.diagnosis.settings",
    "Comparison": "initcheck.gate.comparison",
    "DaskEngine": "initcheck.sweeping.dask_engine",
    "DataError": "initcheck.errors",
    "EngineError": "initcheck.errors",
    "FindingsError": "initcheck.errors",
    "Initcheck": "initcheck.pytest_plugin.fixture",
    "InitcheckError": "initcheck.errors",
    "InitializerError": "initcheck.errors",
    "LocalEngine": "initcheck.sweeping.dask_engine",
    "ModelError": "initcheck.errors",
    "ModelPredictor": "initcheck.prediction",
    "OutputError": "initcheck.errors",
    "Probe": "initcheck.probe",
    "Report": "initcheck.diagnosis.report",
    "SignalMonitor": "initcheck.callbacks",
    "SpecError": "initcheck.errors",
    "StoreError": "initcheck.errors",
    "StudyOptions": "initcheck.study",
    "SweepResult": "initcheck.sweeping.run",
    "TheoryError": "initcheck.errors",
    "UsageError": "initcheck.errors",
    "WidthReport": "initcheck.diagnosis.width_scaling",
    "add_gain_predictions": "initcheck.prediction",
    "add_site_predictions": "initcheck.prediction",
    "check": "initcheck.diagnosis.check",
    "check_widths": "initcheck.diagnosis.width_scaling",
    "forecast": "initcheck.theory.forecast",
    "gate_model": "initcheck.diagnosis.gate",
    "record_baseline": "initcheck.diagnosis.gate",
    "run_study": "initcheck.study",
    "sweep": "initcheck.sweeping.run",
}


_NAME_THERE = {"gate_model": "gate"}
"""Names that differ from those in the module: ``initcheck.gate`` is the package of the gate."""


def __getattr__(name: str) -> Any:
    if name == "callbacks":  # where Keras keeps its own: a submodule, which imports Keras
        return importlib.import_module("initcheck.callbacks")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'initcheck' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), _NAME_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
