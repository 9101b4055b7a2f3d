"""Measures weight initialization in Keras, with evidence.

Importing this package imports neither Keras nor pandas: each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcheck.callbacks import SignalMonitor
    from initcheck.checking.check import Report, check
    from initcheck.checking.gate.baseline import Baseline
    from initcheck.checking.gate.comparison import Comparison
    from initcheck.checking.gate.gate import gate_model, record_baseline
    from initcheck.checking.settings import CheckSettings
    from initcheck.checking.widths.run import WidthReport, check_widths
    from initcheck.core.errors import (
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
    from initcheck.prediction import ModelPredictor, add_gain_predictions, add_site_predictions
    from initcheck.probe import Probe
    from initcheck.pytest_plugin.fixture import Initcheck
    from initcheck.study.run import StudyOptions, run_study
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
    "BackendError": "initcheck.core.errors",
    "Baseline": "initcheck.checking.gate.baseline",
    "BaselineError": "initcheck.core.errors",
    "CheckSettings": "initcheck.checking.settings",
    "Comparison": "initcheck.checking.gate.comparison",
    "DaskEngine": "initcheck.sweeping.dask_engine",
    "DataError": "initcheck.core.errors",
    "EngineError": "initcheck.core.errors",
    "FindingsError": "initcheck.core.errors",
    "Initcheck": "initcheck.pytest_plugin.fixture",
    "InitcheckError": "initcheck.core.errors",
    "InitializerError": "initcheck.core.errors",
    "LocalEngine": "initcheck.sweeping.dask_engine",
    "ModelError": "initcheck.core.errors",
    "ModelPredictor": "initcheck.prediction",
    "OutputError": "initcheck.core.errors",
    "Probe": "initcheck.probe",
    "Report": "initcheck.checking.check",
    "SignalMonitor": "initcheck.callbacks",
    "SpecError": "initcheck.core.errors",
    "StoreError": "initcheck.core.errors",
    "StudyOptions": "initcheck.study.run",
    "SweepResult": "initcheck.sweeping.run",
    "TheoryError": "initcheck.core.errors",
    "UsageError": "initcheck.core.errors",
    "WidthReport": "initcheck.checking.widths.run",
    "add_gain_predictions": "initcheck.prediction",
    "add_site_predictions": "initcheck.prediction",
    "check": "initcheck.checking.check",
    "check_widths": "initcheck.checking.widths.run",
    "forecast": "initcheck.theory.forecast",
    "gate_model": "initcheck.checking.gate.gate",
    "record_baseline": "initcheck.checking.gate.gate",
    "run_study": "initcheck.study.run",
    "sweep": "initcheck.sweeping.run",
}


def __getattr__(name: str) -> Any:
    if name == "callbacks":  # where Keras keeps its own: a submodule, which imports Keras
        return importlib.import_module("initcheck.callbacks")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'initcheck' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
