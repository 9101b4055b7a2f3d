"""Cells and an engine without Keras: what a store and a run do does not depend on what is measured."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from initcheck.core.columns import SUMMARY_COLUMNS
from initcheck.probe.measure import tabulate
from initcheck.sweeping.measurement import CellResult
from initcheck.sweeping.run import SweepResult
from initcheck.sweeping.spec import Cell, SweepSpec, order_cells

VERSIONS = {"initcheck": "1", "keras": "2", "tensorflow": "3", "numpy": "4"}
SEEDS = (0, 1)


def make_cells(number):
    """Distinct cells: networks of all depths."""
    return [
        Cell(network="mlp", initializer="HeNormal", activation="relu", depth=depth, width=8, seeds=SEEDS)
        for depth in range(1, number + 1)
    ]


def make_spec(number):
    return SweepSpec(tuple(order_cells(make_cells(number))), "stub", Path())


def make_result(summary: pd.DataFrame) -> SweepResult:
    """Make the result of a sweep from a summary."""
    return SweepResult(
        spec=make_spec(len(summary)),
        store=Path("cells.sqlite"),
        skipped=0,
        stale=0,
        changed="",
        measured=len(summary),
        refused=(),
        failed=(),
        summary=summary,
        versions={"keras": "3"},
        cell_seconds=1.0,
        seconds=1.0,
    )


@cache
def _template():
    return tabulate({"seed": np.asarray(SEEDS, dtype=np.int64)}, len(SEEDS))


def measure(cell, state="measured", reason=""):
    """Two rows that depend on the cell alone."""
    if state != "measured":
        return CellResult(cell, state, reason, 0.5)
    numbers = np.random.default_rng(cell.depth).normal(size=(3, len(SEEDS)))
    table = _template().copy()
    table["activation_mean"] = pd.array(numbers[0], dtype="Float64")
    table["weight_variance"] = pd.array(numbers[1], dtype="Float64")
    table["gradient_norm"] = pd.array(np.where(numbers[2] > 1, np.nan, numbers[2]), dtype="Float64")
    table["depth"] = pd.array([cell.depth] * len(SEEDS), dtype="Int64")
    row = dict.fromkeys(column.name for column in SUMMARY_COLUMNS)
    row |= {"network": cell.network, "initializer": cell.initializer, "activation": cell.activation}
    row |= {"depth": cell.depth, "width": cell.width, "data": cell.data, "batch_size": cell.batch_size}
    row |= {"forward_gain": float(numbers[0, 0]), "forward_layers_until_thousandth": float("inf"), "verdict": "kept"}
    return CellResult(cell, "measured", "", 0.5, table, row)


class StubEngine:
    """Measures cells without Keras; ``ends`` has by depth the state and reason of those that are not measured."""

    def __init__(self, seconds=0.0, log=None, ends=None, fail_after=None):
        self.seconds, self.log, self.ends, self.fail_after = seconds, log, ends or {}, fail_after
        self.measured = []

    @contextmanager
    def open(self, data_folder, versions):
        yield self._measure

    def _measure(self, cells):
        for number, cell in enumerate(cells):
            if self.fail_after is not None and number == self.fail_after[0]:
                raise self.fail_after[1]
            if self.log is not None:
                descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{cell.depth}\n".encode())
                os.close(descriptor)
            time.sleep(self.seconds)
            self.measured.append(cell)
            yield measure(cell, *self.ends.get(cell.depth, ()))
