"""The report of a comparison by training, on made-up learning curves."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from initcheck.core.columns import HISTORY_COLUMNS
from initcheck.pages import svg
from initcheck.training import report
from initcheck.training.run import TrainingRecord


def make_record(chance=0.5, losses=(0.3, 0.4, 0.5)):
    rows = [
        (name, seed, epoch, 0.6, 0.5, loss if epoch else 0.7, 0.9)
        for name in ("GlorotNormal", "Zeros")
        for seed, loss in enumerate(losses)
        for epoch in range(3)
    ]
    frame = pd.DataFrame(rows, columns=["initializer", "seed", "epoch", "loss", "accuracy", *_VALIDATION])
    frame = frame.astype({column.name: column.dtype for column in HISTORY_COLUMNS})
    return TrainingRecord(
        history=frame,
        initializers=("GlorotNormal", "Zeros"),
        seeds=tuple(range(len(losses))),
        epochs=2,
        network="a network",
        data="coins: 80 samples of 2 to train on, 20 to validate on",
        chance=chance,
        chance_loss=-math.log(chance),
        descent="stochastic gradient descent",
        versions={"keras": "3.15.1"},
        command_line="initcheck train --data coins.npz",
        seconds=1.0,
        resumed=0,
    )


_VALIDATION = ("validation_loss", "validation_accuracy")


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_losses_are_drawn_up_to_ten_times_the_chance_level_of_the_data(monkeypatch, classes):
    """A network that has blown up does not set the scale, and one at chance level is always seen."""
    drawn = []

    def begin_drawing(*size, **margins):
        drawing, axes = svg.begin_drawing(*size, **margins)
        drawn.append(axes)
        return drawing, axes

    monkeypatch.setattr(report, "begin_drawing", begin_drawing)
    tuple(report.draw_curves(make_record(chance=1.0 / classes, losses=(1e6, 0.1, 0.2))))
    assert drawn[1].get_ylim() == pytest.approx((0.0, 10.0 * math.log(classes)))  # of the validation loss
    assert [float(axes.lines[-1].get_ydata()[0]) for axes in drawn] == pytest.approx(
        [1.0 / classes, math.log(classes), math.log(classes)]
    )
    drawn.clear()
    tuple(report.draw_curves(make_record(chance=1.0 / classes, losses=(0.01, 0.01, 0.01))))
    assert drawn[1].get_ylim() == pytest.approx((0.0, max(1.2 * math.log(classes), 0.7 * 1.05)))


def test_data_of_one_class_can_be_drawn():
    assert len(next(report.draw_curves(make_record(chance=1.0))).panels) == 3


def test_networks_whose_loss_is_not_finite_are_counted_out_in_text_page_and_json():
    record = make_record(losses=(math.inf, 0.4, 0.5))
    assert "loss 0.450 (2 of 3) [" in report.training_text(record)
    written = json.loads(report.training_json(record))["comparison"][0]
    assert written["loss"] == pytest.approx(0.45) and written["accuracy"] == 0.9
    text = json.dumps([row.cells[1].text for row in _answer(record).rows])
    assert text == json.dumps(["0.450 (2 of 3)"] * 2)
    without = make_record(losses=(math.nan,) * 3)
    assert "  loss none  " in report.training_text(without)
    assert json.loads(report.training_json(without))["comparison"][0]["loss"] is None


def test_an_infinite_loss_is_text_in_json_and_no_error(monkeypatch):
    monkeypatch.setattr(report, "summarize", lambda *_: pd.DataFrame({"loss": [np.inf, np.nan, 0.5]}))
    assert [row["loss"] for row in json.loads(report.training_json(make_record()))["comparison"]] == ["inf", None, 0.5]


def _answer(record):
    return report.build_training_document(record).sections[0].blocks[-1]
