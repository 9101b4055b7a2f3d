"""The table of ratios that a benchmark run ends with."""

from __future__ import annotations

import pytest
from interleaved import estimate_ratio, time_in_turns

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def report_ratio(request, benchmark):
    """Record a ratio in the benchmark's ``extra_info`` and print it at the end of the run."""

    def report(name, estimate, limit=""):
        benchmark.extra_info[name] = {
            "ratio": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "limit": limit,
        }
        figure = f"{estimate.value:6.2f}  [{estimate.low:.2f}, {estimate.high:.2f}]"
        request.config.stash[ROWS].append((name, figure, limit))

    return report


@pytest.fixture
def compare(report_ratio):
    """Time two candidates in turns, and report how many times longer the first one takes."""

    def compare(name, numerator, denominator, rounds, limit=""):
        seconds = time_in_turns({"numerator": numerator, "denominator": denominator}, rounds)
        ratio = estimate_ratio(seconds["numerator"], seconds["denominator"])
        report_ratio(name, ratio, limit)
        return ratio

    return compare


def pytest_benchmark_update_machine_info(config, machine_info):
    """Keep the name of the machine out of the results: they are committed."""
    machine_info.pop("node", None)


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("ratios, with 95 % intervals over rounds")
    width = max(len(name) for name, _, _ in rows)
    for name, figure, limit in rows:
        terminalreporter.line(f"{name:{width}}  {figure}  {limit}")
