"""Probes of models: a new one, or the one that all tests share that only read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
from zoo_checks import snapshot

from initcheck.probe import Probe


def trace(build: Callable[[], tuple[Any, Any]], **options: Any) -> Probe:
    """Build a model and its probe; tracing, in the first measurement, is what takes the time of most tests."""
    model, inputs = build()
    if not model.built:
        model(inputs)
    return Probe(model, inputs, **options)


class Traced(NamedTuple):
    """A measured model: its tables for the seeds 0 and 1, and all that a measurement could change, before and after."""

    probe: Probe
    table: pd.DataFrame
    weights: pd.DataFrame
    before: dict[str, Any]
    after: dict[str, Any]


@cache
def traced(build: Callable[[], tuple[Any, Any]]) -> Traced:
    """Trace and measure a model once for all tests that change nothing of it."""
    model, inputs = build()
    if not model.built:
        model(inputs)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = snapshot(model)
    probe = Probe(model, inputs, every_weight=True, precision_range=True)
    drawn = probe.measure_all([0, 1])
    probe.measure_current_all()
    return Traced(probe, drawn.table, drawn.weights, before, snapshot(model))


def measured(build: Callable[[], tuple[Any, Any]]) -> tuple[Probe, pd.DataFrame]:
    """Give the probe of a measured model and its table."""
    return traced(build)[:2]
