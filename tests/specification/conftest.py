"""The specification's seeds, its networks (each measured once a session) and the evidence shown at the end."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from deep_network import WIDTH, Measured, probe_deep

from initcheck.models.data import load_data
from initcheck.spec.plugin import base_seed_of

SPACING = 2**20
"""Distance between the first seeds of two runs: more than any claim takes."""

EVIDENCE = "evidence"


def pytest_terminal_summary(terminalreporter):
    # From the reports and not from memory: with pytest-xdist the tests ran in other processes.
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    rows = [
        (report.nodeid.rpartition("::")[2], text)
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == EVIDENCE
    ]
    if rows:
        terminalreporter.section("evidence")
        for test, text in rows:
            terminalreporter.line(f"{test}: {text}")


@pytest.fixture(scope="session")
def base_seed(request):
    """The number that all seeds of the run derive from."""
    return base_seed_of(request.config)


@pytest.fixture(scope="session")
def take_seeds(base_seed):
    """The one source of seeds: 0, 1, 2, ... by default."""

    def take(count):
        assert count < SPACING
        return range(base_seed * SPACING, base_seed * SPACING + count)

    return take


@pytest.fixture
def record(record_property):
    """Record a judgement, and what was planned, in the report and in the list at the end of the run."""

    def record(judgement, subject="", **facts):
        figures = judgement.figures | facts
        for name, value in figures.items():
            # As text: pytest-xdist cannot send NumPy's numbers from its workers.
            record_property(f"{subject} {name}".strip(), str(value))
        told = ", ".join(f"{name} {_format(value)}" for name, value in figures.items())
        record_property(EVIDENCE, f"{subject + ': ' if subject else ''}{judgement.verdict}; {told}")
        return judgement

    return record


@pytest.fixture(scope="session")
def sample(base_seed):
    """The one sample that goes through every deep network, of unit second moment.

    One sample and not a batch: its law is exact at any width, whatever the sample, while the samples of a batch
    grow alike with depth and so add next to no information.
    """
    x = load_data("gaussian", batch_size=1, seed=base_seed, sample_shape=(WIDTH,)).x
    return (x / np.sqrt(np.mean(np.square(x, dtype=np.float64)))).astype(np.float32)


@pytest.fixture(scope="session")
def measure(take_seeds, sample):
    """Measure a deep plain network, 20 layers of 256 units, over seeds. The same request is measured once."""

    @cache
    def measure(initializer, activation, seeds, scale=1.0):
        return Measured(probe_deep(initializer, activation, sample * np.float32(scale)).measure(take_seeds(seeds)))

    return measure


def _format(value):
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_format, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
