"""Probes of models: a new one, or the one that all tests share that only read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd

from initcheck.probe import Probe


def trace(build: Callable[[], tuple[Any, Any]], **options: Any) -> Probe:
    """Build a model and its probe; tracing, in the first measurement, is what takes the time of most tests."""
    model, inputs = build()
    if not model.built:
        model(inputs)
    return Probe(model, inputs, **options)


@cache
def measured(build: Callable[[], tuple[Any, Any]]) -> tuple[Probe, pd.DataFrame]:
    """One probe of a model and its measurement of the seeds 0 and 1; whoever reads them changes nothing."""
    probe = trace(build, every_weight=True)
    return probe, probe.measure([0, 1])
