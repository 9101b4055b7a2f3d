"""Measures weight initialization in Keras, with evidence.

Importing this package imports neither Keras nor pandas: each public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcheck.diagnosis.check import check
    from initcheck.diagnosis.report import Report
    from initcheck.diagnosis.settings import CheckSettings
    from initcheck.errors import (
        BackendError,
        DataError,
        FindingsError,
        InitcheckError,
        InitializerError,
        ModelError,
        OutputError,
        TheoryError,
        UsageError,
    )
    from initcheck.prediction import ModelPredictor, add_gain_predictions, add_site_predictions
    from initcheck.probe import Probe
    from initcheck.study import StudyOptions, run_study
    from initcheck.theory.forecast import forecast

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "CheckSettings",
    "DataError",
    "FindingsError",
    "InitcheckError",
    "InitializerError",
    "ModelError",
    "ModelPredictor",
    "OutputError",
    "Probe",
    "Report",
    "StudyOptions",
    "TheoryError",
    "UsageError",
    "__version__",
    "add_gain_predictions",
    "add_site_predictions",
    "check",
    "forecast",
    "run_study",
]

_MODULE_OF = {
    "BackendError": "initcheck.errors",
    "CheckSettings": "initcheck.diagnosis.settings",
    "DataError": "initcheck.errors",
    "FindingsError": "initcheck.errors",
    "InitcheckError": "initcheck.errors",
    "InitializerError": "initcheck.errors",
    "ModelError": "initcheck.errors",
    "ModelPredictor": "initcheck.prediction",
    "OutputError": "initcheck.errors",
    "Probe": "initcheck.probe",
    "Report": "initcheck.diagnosis.report",
    "StudyOptions": "initcheck.study",
    "TheoryError": "initcheck.errors",
    "UsageError": "initcheck.errors",
    "add_gain_predictions": "initcheck.prediction",
    "add_site_predictions": "initcheck.prediction",
    "check": "initcheck.diagnosis.check",
    "forecast": "initcheck.theory.forecast",
    "run_study": "initcheck.study",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'initcheck' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
