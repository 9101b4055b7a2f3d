"""The report of a comparison by training, on made-up learning curves."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from initcheck.core.columns import HISTORY_COLUMNS
from initcheck.pages import forest, html, svg
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


@pytest.fixture
def drawn(monkeypatch):
    """The axes of what is drawn."""
    found = []

    def begin_drawing(*size, **margins):
        drawing, axes = svg.begin_drawing(*size, **margins)
        found.append(axes)
        return drawing, axes

    for module in (report, forest):
        monkeypatch.setattr(module, "begin_drawing", begin_drawing)
    return found


def make_ranked(accuracies, **settings):
    """Make a record of initializers with the accuracies of their seeds."""
    names = tuple(accuracies)
    record = make_record()
    rows = [
        (name, seed, epoch, 0.6 + place, 0.5, 0.4, value)
        for place, name in enumerate(names)
        for seed, value in enumerate(accuracies[name])
        for epoch in range(3)
    ]
    frame = pd.DataFrame(rows, columns=record.history.columns).astype(record.history.dtypes)
    return dataclasses.replace(record, history=frame, initializers=names, **settings)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_losses_are_drawn_up_to_ten_times_the_chance_level_of_the_data(drawn, classes):
    """A network that has blown up does not set the scale, and one at chance level is always seen."""
    report.draw_curves(make_record(chance=1.0 / classes, losses=(1e6, 0.1, 0.2)))
    assert drawn[1].get_ylim()[1] == pytest.approx(math.log10(10.0 * math.log(classes)))  # of the validation loss
    assert [10.0 ** float(axes.lines[-1].get_ydata()[0]) for axes in drawn] == pytest.approx(
        [1.0 - 1.0 / classes, math.log(classes), math.log(classes)]
    )
    drawn.clear()
    report.draw_curves(make_record(chance=1.0 / classes, losses=(0.01, 0.01, 0.01)))
    assert drawn[1].get_ylim()[1] == pytest.approx(math.log10(max(1.2 * math.log(classes), 0.7 * 1.05)))


def test_data_of_one_class_can_be_drawn():
    document = report.build_training_document(make_record(chance=1.0))
    assert len(report.draw_curves(make_record(chance=1.0)).panels) == 3
    assert document.answer is not None and len(document.answer.blocks) == 1


def test_of_many_initializers_six_are_drawn_from_the_best_to_the_worst(drawn):
    record = make_ranked({f"Constant({place})": [0.1 * place, 0.1 * place] for place in range(9)})
    figure = report.draw_curves(record)
    assert "3 more initializers are in history.csv." in "".join(span.text for span in figure.caption)
    labels = [text.get_text() for text in drawn[0].texts]
    assert len(labels) == 6 and {"Constant(8)", "Constant(0)"} < set(labels)


def test_errors_are_drawn_with_their_intervals_the_lowest_first(drawn):
    values = {"Zeros": [0.1, 0.1, 0.1], "HeNormal": [0.96, 0.97, 0.98]}
    report.draw_errors(make_ranked(values))
    for axes in drawn:  # on a wide page and on a phone
        chance, interval, dot = (np.exp(np.asarray(line.get_xdata(), dtype=float)) for line in axes.lines[:3])
        assert chance == pytest.approx([0.5, 0.5])
        half = 4.302653 * 0.01 / math.sqrt(3)  # Student's t of two degrees of freedom
        assert dot == pytest.approx([0.03])
        assert sorted(interval) == pytest.approx([0.03 - half, 0.03 + half], abs=1e-6)
        assert [text.get_text() for text in axes.texts] == ["HeNormal", "3.0%", "Zeros", "90.0%"]
    assert [axes.bbox.width < 340 for axes in drawn] == [False, True]


def test_where_an_error_is_zero_losses_over_chance_are_drawn(drawn):
    report.draw_errors(make_ranked({"HeNormal": [1.0, 1.0], "Zeros": [0.5, 0.5]}))
    assert drawn[0].get_xlabel() == "loss at the end over chance level"
    assert math.exp(drawn[0].lines[2].get_xdata()[0]) == pytest.approx(0.4 / math.log(2.0))


GOOD, LESS, NOISY = [0.97, 0.971, 0.969], [0.5, 0.501, 0.499], [0.99, 0.90, 0.96]
RANKINGS = {
    "worse and others": (
        {"Zeros": LESS, "HeNormal": GOOD, "Ones": NOISY},
        "HeNormal has the highest accuracy, 97.0%; of the other 2, 1 is shown to be less accurate: Zeros.",
        "passed",
        "2 of 3",
    ),
    "worse alone": (
        {"Zeros": LESS, "HeNormal": GOOD},
        "HeNormal is shown to be more accurate (97.0%) than Zeros.",
        "passed",
        "1 of 1",
    ),
    "nothing shown": (
        {"Ones": NOISY, "HeNormal": GOOD},
        "HeNormal has the highest accuracy, 97.0%, and is not shown to be more accurate than any other.",
        "undecided",
        "0 of 1",
    ),
    "one seed": (
        {"Zeros": [0.1], "HeNormal": [0.9]},
        "HeNormal has the highest accuracy, 90.0%, and is not shown to be more accurate than any other.",
        "undecided",
        "0 of 1",
    ),
    "alone": (
        {"HeNormal": GOOD},
        "HeNormal reaches an accuracy of 97.0%; there is nothing to compare it with.",
        "undecided",
        "0 of 0",
    ),
}


@pytest.mark.parametrize("name", RANKINGS)
def test_the_verdict_says_what_is_shown_and_no_more(name):
    accuracies, sentence, tone, shown = RANKINGS[name]
    record = make_ranked(accuracies)
    answer = report.build_training_document(record).answer
    assert answer is not None
    assert ("".join(span.text for span in answer.verdict), answer.tone) == (sentence, tone)
    assert answer.values[1][0] == shown
    assert " ".join(report.training_text(record).split()).startswith(sentence)


def test_pairs_stand_by_their_effect_with_positive_differences_and_what_is_not_shown_is_folded():
    record = make_ranked({"Zeros": LESS, "HeNormal": GOOD, "Ones": NOISY, "Identity": [0.7, 0.701, 0.699]})
    section = next(each for each in report.build_training_document(record).sections if each.anchor == "differences")
    shown, others = section.blocks[:2]
    assert [shown.unfolded, others.unfolded] == [True, False]
    assert "".join(span.text for span in shown.summary) == "Final validation accuracy: 5 pairs shown to differ"
    rows = shown.blocks[0].rows
    assert [row.header for row in rows[:2]] == ["HeNormal less Zeros", "Ones less Zeros"]
    effects = [float(row.cells[0].text) for row in rows]
    assert effects == sorted(effects, reverse=True) and min(effects) > 0.0
    assert all(row.cells[2].text == row.header.partition(" less ")[0] for row in rows)
    assert all(re.fullmatch(r"\[\+[\d.]+, \+[\d.]+\]", row.cells[0].notes[0]) for row in rows)
    assert {row.cells[2].text for row in others.blocks[0].rows} == {"not shown"}


def test_xavier_is_judged_where_the_notebook_is_repeated_and_not_where_others_are_compared():
    for notebook in (False, True):
        record = dataclasses.replace(make_record(), notebook=notebook)
        written = [report.training_text(record), html.render_html(report.build_training_document(record))]
        assert [("Xavier" in text) for text in written] == [notebook] * 2
        assert bool(json.loads(report.training_json(record))["statements"]) == notebook


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
    sections = report.build_training_document(record).sections
    return next(section for section in sections if section.anchor == "initializers").blocks[0]
