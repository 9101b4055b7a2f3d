"""Sixty sabotages of six models: each is called changed, and the first line of the answer names its cause.

``-m thorough -s`` shows the table of all sixty.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import pytest
from marked import slow
from sabotages import HARMLESS, SABOTAGES, Edit, read_source

from initcheck.checking.gate.gate import gate_model, record_baseline
from initcheck.checking.gate.report import format_verdict
from initcheck.checking.settings import CheckSettings

BY_NAME = {each.name: each for each in (*SABOTAGES, *HARMLESS)}
MODELS = tuple(dict.fromkeys(each.model for each in SABOTAGES))
ONE_OF_EACH_MODEL = (
    "relu to leaky_relu in all layers",
    "stride of one convolution",
    "LayerNormalization removed",
    "heads at equal width",
    "bias of the forget gate",
    "argument of a layer with a configuration",
)
HARD_TO_LEAVE_ALONE = ("another comment", "layers made in another order")
FEWEST_NAMED = 57


@dataclass(frozen=True)
class Answer:
    """What the gate says, and to which sabotage."""

    sabotage: Edit
    verdict: str
    exit_code: int
    line: str

    @property
    def is_named(self) -> bool:
        return self.sabotage.is_named(self.line)

    @property
    def row(self) -> str:
        cause = "named" if self.is_named else "not named"
        return " | ".join(
            (self.sabotage.model, self.sabotage.name, self.verdict, str(self.exit_code), cause, self.line)
        )


class Gate:
    """Records the baseline of each model once, and compares what it is after a change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def judge(self, model: str, source: str) -> tuple[str, int, str]:
        """Give the verdict, the exit code and the first line for a model that has another source now."""
        baseline = self._folder / f"{model}.json"
        if not baseline.exists():
            record_baseline(self._write(model, read_source(model)), baseline, settings=CheckSettings(seeds=4))
        reference = self._write(model, source)
        try:
            report = gate_model(reference, baseline)
        finally:
            keras.config.set_dtype_policy("float32")
        return report.comparison.verdict, report.exit_code, format_verdict(report.comparison)

    def answer(self, sabotage: Edit) -> Answer:
        return Answer(sabotage, *self.judge(sabotage.model, sabotage.source()))

    def _write(self, model: str, source: str) -> str:
        """Write the file of a model, and name its factory as in a process that has loaded and built nothing yet."""
        # A folder of its own: bytecode is kept for a file that has the same size in the same second.
        folder = self._folder / str(len(list(self._folder.iterdir())))
        folder.mkdir()
        path = folder / f"{model}.py"
        path.write_text(source, encoding="utf-8")
        sys.modules.pop(model, None)
        keras.utils.clear_session()
        return f"{path}:build"


@pytest.fixture(scope="module")
def gate(tmp_path_factory) -> Gate:
    return Gate(tmp_path_factory.mktemp("sabotages"))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_was_not_changed_is_the_same(gate, model):
    verdict, exit_code, line = gate.judge(model, read_source(model))
    assert (verdict, exit_code) == ("same", 0), line


@pytest.mark.parametrize(
    "name",
    [
        *HARD_TO_LEAVE_ALONE,
        *slow("thorough", *(each.name for each in HARMLESS if each.name not in HARD_TO_LEAVE_ALONE)),
    ],
)
def test_an_edit_that_changes_nothing_is_the_same(gate, name):
    edit = BY_NAME[name]
    verdict, exit_code, line = gate.judge(edit.model, edit.source())
    assert (verdict, exit_code) == ("same", 0), line


@pytest.mark.parametrize("name", ONE_OF_EACH_MODEL)
def test_a_sabotage_is_called_changed(gate, name):
    answer = gate.answer(BY_NAME[name])
    assert (answer.verdict, answer.exit_code) == ("changed", 1), answer.row
    assert answer.is_named, answer.row


@pytest.mark.thorough
def test_all_sixty_are_called_changed_and_the_first_line_names_the_cause(gate):
    answers = [gate.answer(each) for each in SABOTAGES]
    missed = [each.row for each in answers if (each.verdict, each.exit_code) != ("changed", 1)]
    named = sum(each.is_named for each in answers)
    structural = sum(each.sabotage.structural for each in answers)
    rows = [each.row for each in answers]
    totals = f"{len(rows)} sabotages, {structural} structural: {len(rows) - len(missed)} changed, {named} named"
    print("", *rows, totals, sep="\n")  # noqa: T201 - the table is what the test is for
    assert len(rows) == 60 and 2 * structural >= 60
    assert not missed, "\n".join(missed)
    assert named >= FEWEST_NAMED, "\n".join(each.row for each in answers if not each.is_named)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("relu to leaky_relu in all layers", "changed: activation relu -> leaky_relu in 6 Dense layers"),
        ("width of one layer", "changed: middle: units 64 -> 80"),
        ("momentum", "changed: momentum 0.99 -> 0.9 in all 3 BatchNormalization layers"),
        ("axis, on equal sizes", "changed: axis -1 -> 1 in 3 BatchNormalization layers"),
        ("stride of one convolution", "changed: middle: strides (1, 1) -> (2, 2)"),
    ],
)
def test_a_line_with_the_cause_names_it(name, line):
    assert BY_NAME[name].is_named(line)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("relu to leaky_relu in all layers", "changed: activation leaky_relu -> relu in 6 Dense layers"),  # reversed
        ("relu to leaky_relu in all layers", "changed: activation elu -> leaky_relu in 6 Dense layers"),
        ("width of one layer", "changed: middle_2: units 64 -> 80"),  # another layer
        ("width of one layer", "changed: middle: fan_out 64 -> 80"),  # a consequence
        ("momentum", "changed: momentum 0.99 -> 0.95 in all 3 BatchNormalization layers"),  # another value
        ("axis, on equal sizes", "changed: axis -1 -> -1 in 3 BatchNormalization layers"),
        ("stride of one convolution", "changed: " + "x" * 200 + "middle: strides (1, 1) -> (2, 2)"),  # too late
    ],
)
def test_a_line_with_another_cause_does_not(name, line):
    assert not BY_NAME[name].is_named(line)
