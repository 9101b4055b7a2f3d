"""What a sweep is forecast to take, beside what four sweeps took.

``recorded_sweeps.csv`` has the processor time of each of their cells, in the order in which they were measured: the
example of ``docs/sweeps.md``, networks of up to 40 layers, convolutions beside dense layers up to a width of 256, and
residual networks with normalization. ``recorded_studies.csv`` has the processor time after which so many pairs of two
studies were done, and at last the report: that of ``initcheck report`` as it is, and a small one. Processor time, since
the machine had other work.
"""

from __future__ import annotations

import csv
from contextlib import contextmanager
from pathlib import Path

import pytest

from initcheck.core.forecast import TimeLeft, measure_slowdown
from initcheck.study.run import StudyOptions
from initcheck.sweeping.forecast import TimedEngine, estimate_seconds, estimate_study, follow_study
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.spec import Cell

AT_THE_START, FROM_HALF_WAY = 1.5, 1.2


def read_sweeps():
    sweeps = {}
    with (Path(__file__).parent / "recorded_sweeps.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            names = {name: row[name] for name in ("network", "initializer", "activation", "data")}
            sizes = {"depth": int(row["depth"]), "width": int(row["width"]), "seeds": tuple(range(int(row["seeds"])))}
            sweeps.setdefault(row["sweep"], {})[Cell(**names, **sizes)] = float(row["seconds"])
    return sweeps


SWEEPS = read_sweeps()


class Recorded:
    """An engine that lets a clock of its own go on by what each cell took."""

    def __init__(self, seconds, slowdown):
        self.now = 0.0
        self._seconds, self._slowdown = seconds, slowdown

    @contextmanager
    def open(self, data_folder, versions):
        yield self._measure

    def _measure(self, cells):
        for cell in cells:
            self.now += self._seconds[cell] * self._slowdown
            yield CellResult(cell, "measured")


def follow(seconds, slowdown, expected):
    """Return the forecast total after each cell beside the share of the time that is over, and the true total."""
    engine = Recorded(seconds, slowdown)
    left = TimeLeft(slowdown=expected, clock=lambda: engine.now)
    total = sum(seconds.values()) * slowdown
    with TimedEngine(engine, left).open(Path(), {}) as measure:
        return [(engine.now / total, left.seconds, total - engine.now) for _ in measure(list(seconds))]


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_takes_what_was_forecast_within_a_factor_of_one_and_a_half(name):
    took = sum(SWEEPS[name].values())
    assert took / AT_THE_START <= sum(estimate_seconds(list(SWEEPS[name])).values()) <= took * AT_THE_START


@pytest.mark.parametrize("slowdown", [0.5, 1.0, 7.0])
@pytest.mark.parametrize("name", SWEEPS)
def test_from_half_way_the_end_is_forecast_within_a_factor_of_one_and_a_fifth(name, slowdown):
    """Over the whole sweep, with the time that has gone by: when the last cell is begun, a second is a large factor."""
    for over, forecast, true in follow(SWEEPS[name], slowdown, expected=slowdown):
        if over >= 0.5:
            elapsed = true / (1.0 - over) * over if over < 1.0 else 1.0
            assert (elapsed + true) / FROM_HALF_WAY <= elapsed + forecast <= (elapsed + true) * FROM_HALF_WAY, over


STUDIES = {
    "default": StudyOptions(),
    "small": StudyOptions(networks=("mlp",), depth=6, widths=(64,), seeds=tuple(range(8))),
}


def read_study(name):
    with (Path(__file__).parent / "recorded_studies.csv").open(encoding="utf-8", newline="") as file:
        return [(int(row["pairs"]), float(row["seconds"])) for row in csv.DictReader(file) if row["study"] == name]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_takes_what_was_forecast_within_a_factor_of_one_and_a_half(name):
    _, took = read_study(name)[-1]
    assert took / AT_THE_START <= sum(estimate_study(STUDIES[name])) <= took * AT_THE_START


@pytest.mark.parametrize("slowdown", [1.0, 7.0])
@pytest.mark.parametrize("name", STUDIES)
def test_the_end_of_a_study_is_forecast_within_a_factor_of_one_and_a_fifth_from_half_way(name, slowdown):
    *pairs, (_, end) = read_study(name)
    now = 0.0
    left = TimeLeft(slowdown=slowdown, clock=lambda: now)
    shown = []
    follow = follow_study(STUDIES[name], lambda *given: shown.append(given), left)
    for done, seconds in pairs:
        now = seconds * slowdown
        follow(done, len(pairs), "a pair")
        if seconds >= 0.5 * end:
            assert end / FROM_HALF_WAY <= seconds + left.seconds / slowdown <= end * FROM_HALF_WAY, done
    assert [done for done, *_ in shown] == [done for done, _ in pairs]


def test_no_cell_is_left_without_time_while_others_wait():
    for seconds in SWEEPS.values():
        assert all(forecast > 0.0 for over, forecast, _ in follow(seconds, 1.0, 1.0) if over < 0.999)


def test_nothing_is_known_before_the_first_cell_is_begun():
    assert TimeLeft().seconds is None


def test_the_time_left_runs_on_between_cells():
    engine = Recorded(SWEEPS["deep"], 1.0)
    left = TimeLeft(clock=lambda: engine.now)
    with TimedEngine(engine, left).open(Path(), {}) as measure:
        next(measure(list(SWEEPS["deep"])))
        before = left.seconds
        engine.now += 1.0
        assert left.seconds == pytest.approx(before - 1.0)


def test_a_machine_that_takes_twice_as_long_has_a_slowdown_of_two(monkeypatch):
    clock = iter([0.0, 0.52])
    monkeypatch.setattr("initcheck.core.forecast.time.perf_counter", lambda: next(clock))
    assert measure_slowdown() == pytest.approx(2.0)
