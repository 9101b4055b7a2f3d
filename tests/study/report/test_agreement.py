"""Pairs are sorted by how theory and measurement compare, counted and described; gaps never read as agreement."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pandas as pd
import pytest
from simulated_study import change_summary
from simulated_theory import predict_study

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.pages import palette
from initcheck.pages.document import Text, prose
from initcheck.study.record import StudyRecord
from initcheck.study.report.levels import SummaryRow, read_pairs, shorten_reason
from initcheck.study.report.theory import (
    compare,
    count_scores,
    describe_scores,
    difference_cell,
    explain_gaps,
    format_score,
    is_predicted,
    list_gaps,
    make_gain_table,
    normal_share,
    number_gaps,
)

HE_RELU = ("HeNormal", "relu")


@pytest.fixture
def study(small_study: Callable[..., StudyRecord]) -> StudyRecord:
    return predict_study(small_study(("HeNormal",), ("relu",)))


def _pair(study: StudyRecord, **changes: object) -> SummaryRow:
    return read_pairs(change_summary(study, HE_RELU, **changes).summary, study.table)[0]


def _words(text: Text) -> str:
    return "".join(span.text for span in text)


@pytest.mark.parametrize(
    ("changes", "category", "word"),
    [
        ({}, "scored", ""),
        ({"forward_gain_z": -2.34}, "scored", "−2.3"),
        ({"forward_gain_z": pd.NA}, "unscored", "no score"),
        ({"predicted_forward_gain_sd": 0.0, "predicted_forward_gain": 1.0, "forward_gain": 1.0}, "exact", "exact"),
        ({"predicted_forward_gain_sd": 0.0, "predicted_forward_gain": 1.0, "forward_gain": 1.02}, "off", "off"),
        ({"predicted_forward_gain": pd.NA, "forward_gain_z": pd.NA}, "mean field", "mean field only"),
        (
            {"predicted_forward_gain": pd.NA, "textbook_forward_gain": pd.NA, "forward_gain_z": pd.NA},
            "no theory",
            "no theory",
        ),
        ({"forward_gain": pd.NA, "forward_gain_z": pd.NA}, "no gain", "no gain"),
    ],
)
def test_every_pair_has_one_category_and_says_it(
    study: StudyRecord, changes: dict[str, object], category: str, word: str
):
    item = compare(_pair(study, **changes), "forward")
    assert item.category == category
    assert difference_cell(item).text == (word or format_score(item.summary.z))


def test_the_categories_of_the_two_directions_are_independent(study: StudyRecord):
    pair = _pair(study, predicted_forward_gain=pd.NA, textbook_forward_gain=pd.NA)
    assert (compare(pair, "forward").category, compare(pair, "backward").category) == ("no theory", "scored")


@pytest.mark.parametrize(
    ("gain", "note"),
    [
        (1.0, "no difference"),
        (1.0 + 3e-7, "+3×10⁻⁷"),
        (1.0 - 2e-5, "−2×10⁻⁵"),
        (1.0 + 1e-3, "differs by +0.10%"),
        (0.5, "differs by −50%"),
    ],
)
def test_an_exact_prediction_says_the_relative_difference(study: StudyRecord, gain: float, note: str):
    pair = _pair(study, predicted_forward_gain=1.0, predicted_forward_gain_sd=0.0, forward_gain=gain)
    cell = difference_cell(compare(pair, "forward"))
    assert cell.notes == (note,)
    assert (cell.text, cell.emphasis) == (("exact", False) if abs(gain - 1.0) < 1e-4 else ("off", True))


def test_a_pair_without_a_score_says_why(study: StudyRecord):
    pair = _pair(study, forward_gain_z=pd.NA, seeds=1)
    assert difference_cell(compare(pair, "forward")).notes[0] == "one seed"
    pair = _pair(study, forward_gain_z=pd.NA)
    assert difference_cell(compare(pair, "forward")).notes[0] == "no variation"


@pytest.mark.parametrize(
    ("z", "text"),
    [
        (0.04, "0.0"),
        (-0.04, "0.0"),
        (0.05, "+0.1"),
        (-1.96, "−2.0"),
        (12.34, "+12.3"),
        (2e6, "+2.0×10⁶"),
        (math.inf, "+∞"),
        (-math.inf, "−∞"),
    ],
)
def test_scores_have_a_sign_and_one_decimal(z: float, text: str):
    assert format_score(z) == text


def test_the_shares_of_chance_are_those_of_the_normal_distribution():
    assert normal_share(1.959963984540054) == pytest.approx(0.05)
    assert normal_share(2.575829303548901) == pytest.approx(0.01)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_sentence_counts_what_the_summary_holds(full_study: StudyRecord, direction: Direction):
    rows = full_study.summary[full_study.summary["network"] == "mlp"]
    z = rows[f"{direction}_gain_z"].dropna().astype(float)
    pairs = [pair for pair in read_pairs(rows, full_study.table) if pair.network == "mlp"]
    text = _words(describe_scores(count_scores(pairs, direction), len(pairs)))
    assert f"{len(z)} of {len(rows)} pairs have a score" in text
    assert f": {(z.abs() > 2).sum()} of them beyond ±2, {(z.abs() > 3).sum()} beyond ±3." in text
    chance = re.search(r"chance would put ([\d.]+) \(4\.6%\) beyond ±2 and ([\d.]+) \(0\.27%\) beyond ±3", text)
    assert chance is not None
    assert float(chance[1]) == pytest.approx(0.0455 * len(z), rel=0.05)
    assert float(chance[2]) == pytest.approx(0.0027 * len(z), rel=0.05)
    largest = rows.loc[z.abs().idxmax()]
    assert (
        f"{format_score(largest[f'{direction}_gain_z'])} ({largest['initializer']} with {largest['activation']})"
        in text
    )
    only_wide = rows[f"predicted_{direction}_gain"].isna() & rows[f"textbook_{direction}_gain"].notna()
    nothing = rows[f"textbook_{direction}_gain"].isna()
    assert f"{only_wide.sum()} of which only the infinite width is known" in text
    assert f"{nothing.sum()} without a theory" in text


def test_right_predictions_have_scores_like_chance_and_wrong_ones_do_not(full_study: StudyRecord):
    counts = {}
    for error in (1.0, 1.1):
        study = predict_study(full_study, error=error)
        pairs = read_pairs(study.summary, study.table)
        counts[error] = [
            (len(found.of("scored")), found.beyond(2.0)) for found in (count_scores(pairs, d) for d in DIRECTIONS)
        ]
    for scored, beyond in counts[1.0]:
        expected = normal_share(2.0) * scored
        # Simulated cells are independent: five standard errors of a binomial count.
        assert abs(beyond - expected) < 5.0 * math.sqrt(expected)
    for scored, beyond in counts[1.1]:
        assert beyond > 0.9 * scored > 100


def test_a_wrong_prediction_is_coloured_and_stressed(study: StudyRecord):
    wrong = predict_study(study, error=1.5)
    cell = difference_cell(compare(read_pairs(wrong.summary, wrong.table)[0], "forward"))
    assert cell.text.startswith("−")
    assert cell.emphasis
    assert cell.tone in {"fading-3", "fading-4", "fading-5"}


@pytest.mark.parametrize(
    ("z", "tone"),
    [
        (0.0, "expected"),
        (2.0, "expected"),
        (2.01, "growing-2"),
        (-2.01, "fading-2"),
        (-4.0, "fading-3"),
        (7.0, "growing-4"),
        (-math.inf, "fading-5"),
        (math.nan, "unknown"),
    ],
)
def test_a_score_has_the_tone_of_its_size(z: float, tone: str):
    assert palette.tone_of_score(z) == tone


def test_the_scale_of_the_scores_names_every_tone_with_its_range():
    steps = palette.score_steps()
    assert [text for _, text in steps] == [
        *("below −10", "−5 to −10", "−3 to −5", "−2 to −3", "−2 to +2"),
        *("+2 to +3", "+3 to +5", "+5 to +10", "above +10"),
    ]
    middles = (-11.0, -7.0, -4.0, -2.5, 0.0, 2.5, 4.0, 7.0, 11.0)
    assert [tone for tone, _ in steps] == [palette.tone_of_score(z) for z in middles]
    assert {tone for tone, _ in steps} <= set(palette.TONES)


def test_reasons_are_listed_once_with_all_that_they_concern(full_study: StudyRecord):
    pairs = [pair for pair in read_pairs(full_study.summary, full_study.table) if pair.network == "mlp"]
    gaps = explain_gaps(pairs)
    assert sum(len(members) for members in gaps.values()) == sum(pair.prediction != "finite width" for pair in pairs)
    texts = [_words(item) for item in list_gaps(pairs).items]
    assert [text.partition(",")[0] for text in texts] == [f"Note {number}" for number in number_gaps(pairs).values()]
    zeros = next(text for text in texts if "Zeros" in text)
    assert "Zeros with every activation function: Zeros leaves nothing to chance" in zeros
    assert "Received" not in zeros
    mish = next(text for text in texts if "oddly" in text)
    assert "Orthogonal with mish: it bends <twice> | oddly." in mish


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("It has no mean. Received: Ones. Use another.", "It has no mean"),
        ("It grows. Choose an activation that does not.", "It grows"),
        ("finite width", "finite width"),
        ("Use is made of chance.", "Use is made of chance"),
    ],
)
def test_a_reason_is_reported_without_the_advice_for_the_command_line(message: str, reason: str):
    assert shorten_reason(message) == reason


def test_textbook_predicted_and_measured_gain_stand_side_by_side(study: StudyRecord):
    changes = {
        "textbook_forward_gain": 1.0,
        "predicted_forward_gain": 0.98765,
        "predicted_forward_gain_sd": 0.0321,
        "forward_gain": 1.01,
        "forward_gain_low": 0.99,
        "forward_gain_high": 1.03,
        "forward_gain_z": 1.26,
        "predicted_backward_gain": pd.NA,
        "textbook_backward_gain": 0.5,
        "backward_gain": 0.49,
        "backward_gain_low": 0.48,
        "backward_gain_high": 0.50,
    }
    pair = _pair(study, **changes)
    (row,) = make_gain_table([pair], prose(""), number_gaps([pair])).rows
    assert [(cell.text, cell.notes) for cell in row.cells] == [
        ("1.000", ()),
        ("0.9877", ("sd 0.032",)),
        ("1.01", ("[0.99, 1.03]",)),
        ("+1.3", ()),
        ("0.5000", ()),
        ("none", ()),
        ("0.49", ("[0.48, 0.50]",)),
        ("mean field only", ("0.98 of the textbook",)),
    ]


def test_a_cell_names_the_note_that_says_what_its_prediction_rests_on(study: StudyRecord):
    pair = _pair(study, prediction="half a theory", predicted_backward_gain=pd.NA)
    (row,) = make_gain_table([pair], prose(""), number_gaps([pair])).rows
    assert row.cells[3].notes == ("note 1",)
    assert row.cells[7].notes[-1] == "note 1"


def test_a_study_without_predictions_is_not_predicted(small_study: Callable[..., StudyRecord]):
    study = small_study()
    pairs = read_pairs(study.summary, study.table)
    assert not is_predicted(pairs)
    assert list(explain_gaps(pairs)) == ["no prediction was made"]
    assert is_predicted(read_pairs(predict_study(study).summary, study.table))
