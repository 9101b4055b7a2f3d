"""The page of trainability: one story in all its forms, and a border that stands where theory puts it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pandas as pd
import pytest
from made_up_trainability import CASES, DEPTHS, make_record

from initcheck.training.trainability import relate, summarize_runs
from initcheck.training.trainability_report import (
    build_trainability_document,
    find_border,
    format_loss,
    trainability_json,
    trainability_text,
    write_trainability,
)


@pytest.fixture(scope="module")
def relations():
    return relate(make_record(), resamples=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, relations):
    path = tmp_path_factory.mktemp("page")
    write_trainability(relations, path)
    return path


def test_all_forms_are_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "figure-correlations.svg",
        "figure-predictors.svg",
        "figure-trainability.svg",
        "runs.csv",
        "trainability.csv",
        "trainability.html",
        "trainability.md",
    ]


def answer_of(relations):
    answer = build_trainability_document(relations).answer
    assert answer is not None
    return answer, "".join(span.text for span in answer.verdict)


@pytest.mark.parametrize(("low", "high", "tone"), [(0.7, 0.9, "passed"), (0.1, 0.3, "failed"), (0.5, 0.9, "undecided")])
def test_the_verdict_compares_theory_with_one_answer_for_all(relations, low, high, tone):
    agreement = replace(relations.agreement, low=low, high=high, both=1, neither=1, only_predicted=1, only_trained=1)
    answer, verdict = answer_of(replace(relations, agreements=(agreement,)))
    assert answer.tone == tone
    assert "is right for 2 of 4 (50%" in verdict and "one answer for all would be right for 50%" in verdict
    assert [value for value, _ in answer.values[:2]] == ["1", "1"]


def test_without_a_prediction_nothing_is_decided(relations):
    agreement = replace(relations.agreement, both=0, neither=0, only_predicted=0, only_trained=0)
    answer, verdict = answer_of(replace(relations, agreements=(agreement,)))
    assert (answer.tone, verdict) == ("undecided", "Theory says nothing of these configurations.")


def test_the_predictors_stand_by_their_correlation_and_each_number_is_that_of_the_table(relations):
    (figure,) = answer_of(relations)[0].blocks
    numbers = re.findall(r"[+−]\d\.\d\d", figure.panels[0].description)
    values = [float(each.replace("−", "-")) for each in numbers]
    assert values == sorted(values, reverse=True)
    expected = sorted((each.value for each in relations.correlations if not math.isnan(each.value)), reverse=True)
    assert values == pytest.approx(expected, abs=0.006)
    assert figure.panels[0].phone


@pytest.mark.parametrize("name", ["trainability.html", "trainability.md"])
def test_the_page_says_counts_and_failures(folder, name):
    page = (folder / name).read_text(encoding="utf-8").replace("<wbr>", "")
    assert "12 configurations (4 pairs of initializer and activation function): 7 trained" in page
    assert "right for 5 of 9" in page
    assert "1 were expected to train and did not, 3 trained against expectation" in page
    assert "Theory says nothing of 3 configurations" in page
    assert "relu, bad, 8 layers" in page
    assert "relu, good, 8 layers" not in page


def test_the_table_holds_every_configuration_and_reads_back(folder):
    table = pd.read_csv(folder / "trainability.csv")
    assert set(zip(table["initializer"], table["depth"], strict=True)) == {(n, d) for n in CASES for d in DEPTHS}
    assert table.set_index(["initializer", "depth"]).loc[("bad", 8), "relative_loss"] == math.inf
    assert len(pd.read_csv(folder / "runs.csv")) == 4 * 3 * 2 * 2


def test_pictures_are_well_formed_and_say_what_they_show(folder):
    for name in ("figure-predictors.svg", "figure-trainability.svg"):
        root = ElementTree.fromstring((folder / name).read_text(encoding="utf-8"))
        assert root.get("aria-label")
        assert "mathdefault" not in "".join(root.itertext())
    words = "".join(ElementTree.fromstring((folder / "figure-trainability.svg").read_text()).itertext())
    for shown in ("good", "bad", "odd", "silent", "0.10", "∞"):
        assert shown in words


def test_json_is_strict_and_says_what_the_table_says(relations):
    found = json.loads(trainability_json(relations), parse_constant=pytest.fail)
    summary = summarize_runs(make_record())
    assert [each["relative_loss"] for each in found["configurations"]] == [
        "inf" if math.isinf(loss) else pytest.approx(loss) for loss in summary["relative_loss"]
    ]
    half = next(each for each in found["agreement"] if each["threshold"] == 0.5)
    assert (half["both"], half["neither"], half["only_predicted"], half["only_trained"]) == (4, 1, 1, 3)
    assert {each["predictor"] for each in found["correlations"]} >= {"depth", "depth_ratio", "largest_change"}


def test_the_terminal_gets_the_same_values(relations):
    text = trainability_text(relations)
    assert "right for 5 of 9" in text
    assert "Spearman" in text
    assert "nan" not in text


def test_no_interval_is_printed_for_four_pairs(folder, relations):
    page = (folder / "trainability.md").read_text(encoding="utf-8").replace("[intervals](#term-interval)", "intervals")
    assert "No intervals: they take 10 pairs of initializer and activation function." in page
    assert "bootstrap" not in page
    assert "[" not in trainability_text(relations)


def test_the_lead_is_named_and_whether_it_is_shown(folder, relations, tmp_path):
    page = (folder / "trainability.md").read_text(encoding="utf-8")
    lead = relations.lead
    assert lead is not None and not lead.low > 0.0
    assert f"it is not shown to be lower (difference {lead.value:+.3f})" in page.replace("−", "-")
    shown = replace(relations, lead=replace(lead, low=0.01, high=0.2))
    write_trainability(shown, tmp_path)
    assert "it is shown to be lower (difference" in (tmp_path / "trainability.md").read_text(encoding="utf-8")


def test_names_are_escaped(tmp_path):
    record = make_record()
    runs, predictions = (table.replace("good", "<b>|x") for table in (record.runs, record.predictions))
    write_trainability(relate(replace(record, runs=runs, predictions=predictions), resamples=5), tmp_path)
    assert "<b>" not in (tmp_path / "trainability.html").read_text()
    assert "<b>|x" not in (tmp_path / "trainability.md").read_text()


@pytest.mark.parametrize(
    ("predicted", "border"), [(3.9, -0.5), (4.0, 0.5), (15.0, 1.5), (16.0, 2.5), (math.inf, 2.5), (math.nan, math.nan)]
)
def test_the_border_stands_right_of_the_depths_that_are_expected_to_train(predicted, border):
    assert find_border(DEPTHS, predicted) == pytest.approx(border, nan_ok=True)


@pytest.mark.parametrize(
    ("loss", "text"), [(0.123, "0.12"), (1.0, "1.00"), (12.0, ">10"), (math.inf, "∞"), (math.nan, "?")]
)
def test_a_loss_is_written_for_a_cell(loss, text):
    assert format_loss(loss) == text
