"""The page about scale is what the simulation makes of the measured tasks, and it can be seen to be right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import sweep_simulation as simulation


def test_the_page_is_current():
    assert simulation.PAGE.read_text(encoding="utf-8") == simulation.write_page(*simulation.read_csv())


@pytest.mark.parametrize(
    ("seconds", "workers", "overhead", "expected"),
    [
        ([1.0, 2.0, 3.0], 1, 0.0, 6.0),
        ([3.0, 2.0, 1.0], 2, 0.0, 3.0),
        ([2.0, 2.0, 2.0], 2, 0.0, 4.0),
        ([1.0], 1000, 0.5, 1.5),
        ([1.0] * 10, 1000, 0.5, 6.0),  # the scheduler is what is slow: the last task begins after 5 s
        ([1.0, 1.0], 1, 0.25, 2.25),  # the second is handed out while the first runs
    ],
)
def test_a_simulated_sweep_takes_what_can_be_counted_by_hand(seconds, workers, overhead, expected):
    assert simulation.simulate(seconds, workers, overhead) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "recording", "workers", "expected"),
    [
        ([3.0, 1.0], [0.5, 0.5], 2, 3.5),  # the short task is recorded while the long one runs
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], 3, 7.0),  # recording is what is slow
        ([2.0, 2.0], [0.5, 0.5], 1, 4.5),
    ],
)
def test_recording_is_one_queue_behind_all_workers(seconds, recording, workers, expected):
    assert simulation.simulate(seconds, workers, 0.0, recording) == pytest.approx(expected)


def test_more_workers_are_never_slower_and_never_more_than_perfect():
    tasks, overhead, _ = simulation.read_csv()
    seconds = sorted(tasks["seconds"], reverse=True)
    times = [simulation.simulate(seconds, workers, overhead) for workers in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert all(times[0] / time <= workers * 1.001 for time, workers in zip(times, (1, 2, 4, 8), strict=True))
