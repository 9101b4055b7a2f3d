"""Pairs are sorted by how theory and measurement compare, counted and shown; gaps never read as agreement."""

from __future__ import annotations

import html
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import WrittenReport, all_blocks, change_summary, split_names, words_of
from simulated_theory import predict_study

from initcheck.core.columns import DIRECTIONS, Direction
from initcheck.core.formatting import format_number
from initcheck.pages import palette
from initcheck.pages.document import Document, Figure, Section, Table, prose
from initcheck.pages.html import render_markdown
from initcheck.study.record import StudyRecord
from initcheck.study.report import build_document
from initcheck.study.report.levels import SummaryRow, read_pairs, shorten_reason
from initcheck.study.report.theory import (
    GAIN_COLUMNS,
    TableMarks,
    compare,
    count_scores,
    describe_deviations,
    describe_scores,
    difference_cell,
    explain_gaps,
    find_wrong_deviations,
    format_score,
    is_predicted,
    list_gaps,
    make_gain_table,
    normal_share,
    number_gaps,
    score_map_cell,
)

HE_RELU = ("HeNormal", "relu")


@pytest.fixture
def study(small_study: Callable[..., StudyRecord]) -> StudyRecord:
    return predict_study(small_study(("HeNormal",), ("relu",)))


def _pair(study: StudyRecord, **changes: object) -> SummaryRow:
    return read_pairs(change_summary(study, HE_RELU, **changes).summary, study.table)[0]


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
    text = "".join(span.text for span in describe_scores(count_scores(pairs, direction), len(pairs)))
    assert f"{len(z)} of {len(rows)} pairs have a score" in text
    assert f": {(z.abs() > 2).sum()} of them beyond ±2, {(z.abs() > 3).sum()} beyond ±3." in text
    chance = re.search(r"chance would put at most ([\d.]+) \(4\.6%\) beyond ±2 and ([\d.]+) \(0\.27%\) beyond ±3", text)
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
    texts = ["".join(span.text for span in item) for item in list_gaps(pairs).items]
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
    (row,) = make_gain_table([pair], prose(""), TableMarks(number_gaps([pair]), {"forward": (), "backward": ()})).rows
    assert [(cell.text, cell.notes) for cell in row.cells] == [
        ("0.9877", ("textbook 1.000", "sd 0.032")),
        ("1.01", ("[0.99, 1.03]",)),
        ("+1.3", ()),
        ("none", ("textbook 0.5000",)),
        ("0.49", ("[0.48, 0.50]",)),
        ("mean field only", ("0.98 × textbook",)),
    ]


def test_a_cell_names_the_note_that_says_what_its_prediction_rests_on(study: StudyRecord):
    pair = _pair(study, prediction="half a theory", predicted_backward_gain=pd.NA)
    (row,) = make_gain_table([pair], prose(""), TableMarks(number_gaps([pair]), {"forward": (), "backward": ()})).rows
    assert row.cells[2].notes == ("note 1",)
    assert row.cells[5].notes[-1] == "note 1"


def test_a_study_without_predictions_is_not_predicted(small_study: Callable[..., StudyRecord]):
    study = small_study()
    pairs = read_pairs(study.summary, study.table)
    assert not is_predicted(pairs)
    assert list(explain_gaps(pairs)) == ["no prediction was made"]
    assert is_predicted(read_pairs(predict_study(study).summary, study.table))


# --- the predicted standard deviation


def _with_deviations(study: StudyRecord, factor: float) -> list[SummaryRow]:
    """The pairs of a study, of which HeNormal with relu varies over the seeds by a multiple of what is predicted."""
    (row,) = study.summary[
        (study.summary["initializer"] == "HeNormal") & (study.summary["activation"] == "relu")
    ].to_dict("records")
    seeds, gain, sd = int(row["seeds"]), float(row["forward_gain"]), float(row["predicted_forward_gain_sd"])
    margin = float(stats.t.ppf(0.975, seeds - 1)) * factor * sd / math.sqrt(seeds)
    changed = change_summary(study, HE_RELU, forward_gain_low=gain - margin, forward_gain_high=gain + margin)
    return [pair for pair in read_pairs(changed.summary, changed.table) if pair.network == "mlp"]


@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (0.1, True), (3.0, True)])
def test_a_predicted_deviation_that_does_not_hold_is_flagged_in_its_cell_and_named(
    small_study: Callable[..., StudyRecord], factor: float, wrong: bool
):
    study = predict_study(small_study(("HeNormal", "GlorotUniform"), ("relu", "tanh")))
    pairs = _with_deviations(study, factor)
    found = find_wrong_deviations(pairs, "forward")
    assert [(pair.initializer, pair.activation) for pair in found] == ([HE_RELU] if wrong else [])
    marks = TableMarks({}, {"forward": found, "backward": ()})
    own = next(pair for pair in pairs if (pair.initializer, pair.activation) == HE_RELU)
    (row,) = make_gain_table([own], prose(""), marks).rows
    sd = own.by_direction["forward"].predicted_sd
    measured = (f"seeds: {format_number(factor * sd, 2)}",) if wrong else ()
    assert row.cells[0].notes[1:] == (f"sd {format_number(sd, 2)}", *measured)
    text = "".join(span.text for span in describe_deviations(found, count_scores(pairs, "forward")))
    assert (" in 1 of 4 pairs (χ² in each pair, at 5% in all" in text) == wrong
    assert text.endswith("correction): HeNormal with relu.") == wrong
    assert (" in none of 4 pairs " in text) == (not wrong)


def test_deviations_are_tested_two_sided_after_holm(small_study: Callable[..., StudyRecord]):
    """The variance over 6 seeds lies on either side of what chi-square allows for the smallest of 4 p-values."""
    study = predict_study(small_study(("HeNormal", "GlorotUniform"), ("relu", "tanh")))
    for tail, just_inside, just_outside in ((stats.chi2.isf, 0.99, 1.01), (stats.chi2.ppf, 1.01, 0.99)):
        limit = math.sqrt(tail(0.05 / 4 / 2, 5) / 5)
        assert not find_wrong_deviations(_with_deviations(study, just_inside * limit), "forward")
        assert find_wrong_deviations(_with_deviations(study, just_outside * limit), "forward")


# --- what is said of He and ReLU


def test_the_gain_of_he_and_relu_is_what_the_report_says_of_it(study: StudyRecord):
    """Forward exact for a batch as well, backward for one sample; a mean over a batch lies below 1."""
    text = words_of(next(section for section in build_document(study).sections if section.anchor == "method"))
    assert "exact at every width forward; backward it is so for one sample, and a little below 1" in text
    random = np.random.default_rng(12)
    width, seeds, depth = 24, 6000, 8
    gains: dict[str, list[float]] = {"forward": [], "one sample": [], "batch": []}
    for _ in range(seeds):
        signal = random.standard_normal((24, width))
        kernels = random.standard_normal((depth, width, width)) * math.sqrt(2.0 / width)
        before = []
        for kernel in kernels:
            before.append(signal @ kernel)
            signal = np.maximum(before[-1], 0.0)
        gradient = random.standard_normal(signal.shape) * (before[-1] > 0.0)
        norms = [np.square(gradient).sum(axis=1)]
        for kernel, z in zip(kernels[:0:-1], before[-2::-1], strict=True):
            gradient = gradient @ kernel.T * (z > 0.0)
            norms.append(np.square(gradient).sum(axis=1))
        sizes = [np.square(z).sum() for z in before]
        gains["forward"].append(np.mean(np.divide(sizes[1:], sizes[:-1])))
        gains["batch"].append(np.mean([after.sum() / norm.sum() for norm, after in itertools.pairwise(norms)]))
        gains["one sample"].append(np.mean([after[0] / norm[0] for norm, after in itertools.pairwise(norms)]))
    z = {name: (np.mean(values) - 1.0) / (np.std(values) / math.sqrt(seeds)) for name, values in gains.items()}
    assert abs(z["forward"]) < 4.0 and abs(z["one sample"]) < 4.0
    assert z["batch"] < -4.0


# --- the section of the report


def _part(study: StudyRecord | Document, name: str, network: int = 1) -> Section:
    document = study if isinstance(study, Document) else build_document(study)
    section = next(item for item in document.sections if item.anchor == f"network-{network}")
    return next(part for part in section.sections if part.anchor == f"network-{network}-{name}")


def _tables(section: Section) -> list[Table]:
    return [block for block in all_blocks(section.blocks) if isinstance(block, Table)]


def _figures(section: Section) -> list[Figure]:
    return [block for block in all_blocks(section.blocks) if isinstance(block, Figure)]


def test_every_cell_of_the_score_maps_is_the_score_of_the_summary(full_study: StudyRecord, full_document: Document):
    figure = next(figure for figure in _figures(_part(full_document, "theory")) if figure.name == "network-1-scores")
    written = Counter(re.findall(r">([^<>]*)</text>", figure.panels[0].svg))
    rows = full_study.summary[full_study.summary["network"] == "mlp"]
    scores = pd.concat([rows["forward_gain_z"], rows["backward_gain_z"]]).dropna().astype(float)
    assert len(scores) == 280
    expected = Counter(map(format_score, scores))
    # Names stand there too, and signs where there is no score.
    assert {text: written[text] for text in expected} == expected
    for pair in read_pairs(rows, full_study.table):
        for direction in DIRECTIONS:
            cell = score_map_cell(pair, direction)
            z = pair.by_direction[direction].z
            if not math.isnan(z):
                assert cell.sign == ("" if abs(z) <= 2.0 else "+" if z > 0.0 else "−")
                assert cell.tone == palette.tone_of_score(z)
            else:
                assert cell.text == ("∞" if pair.activation == "gelu" and not pair.symmetric else "")


def test_the_headline_pairs_have_a_table(full_document: Document):
    table = _tables(_part(full_document, "theory"))[0]
    assert [row.header for row in table.rows][:2] == ["HeNormal with relu", "GlorotUniform with relu"]
    assert table.columns[1:4] == ("Forward: predicted", "Forward: measured", "Forward: difference")
    assert (table.rows[0].cells[0].text, table.rows[0].cells[0].notes[0]) == ("1.000", "textbook 1.000")
    zeros = next(row for row in table.rows if row.header == "Zeros with relu")
    assert [cell.text for cell in zeros.cells][:3] == ["none", "dead", "no theory"]


def test_every_pair_is_in_a_table_of_gains(full_study: StudyRecord, full_document: Document):
    tables = [table for table in _tables(_part(full_document, "verdicts")) if table.columns[1:] == GAIN_COLUMNS]
    found = sorted(name for table in tables for row in table.rows for name in split_names(row.header))
    mlp = full_study.summary[full_study.summary["network"] == "mlp"]
    assert found == sorted(mlp["initializer"].astype(str))


def test_the_counts_are_in_the_answer_too_and_follow_the_summary(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal", "LecunNormal"), ("relu",)))
    study = change_summary(study, ("HeNormal", "relu"), forward_gain_z=-3.5, backward_gain_z=2.5)
    study = change_summary(study, ("LecunNormal", "relu"), forward_gain_z=2.2, backward_gain_z=0.1)
    answer = words_of(build_document(study).sections[0])
    assert "the gain, with its standard deviation, of 2 pairs forward and 2 backward" in answer
    assert "beyond ±2 in 2 and 1 of them, and beyond ±3 in 1 and 0" in answer
    text = words_of(_part(study, "theory"))
    assert "2 of 2 pairs have a score: 2 of them beyond ±2, 1 beyond ±3." in text
    assert "The largest is −3.5 (HeNormal with relu)." in text


def test_both_editions_have_all_of_it(full_report: WrittenReport):
    markdown = full_report.read("report.md")
    page = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", full_report.read("report.html"))))
    for text in (
        "Theory against measurement",
        "Textbook against measured: the pairs that textbooks discuss.",
        "The scores are not independent: all cells of an initializer share their weights",
        "restarted from the measured value at hidden_03",
        "Order and chaos: where the initializers lie",
        "The same in words: the phase at each of these points",
        "Pale band: what theory expects",
        "Hollow marks: the median that theory expects",
        "leading order in 1/width",
    ):
        assert text in page
        assert text in markdown
    for term in ("Textbook", "Predicted", "Score", "Ordered, critical, chaotic"):
        assert f"**{term}.**" in markdown
    for column in ("predicted_gradient_norm_sd", "textbook_forward_gain", "forward_gain_z", "prediction"):
        assert f"`{column}`" in markdown
    assert "theory: the median, and from the 10th" in page
    for name in ("distance", "phases", "forward", "backward"):
        assert (full_report.folder / f"figure-network-1-{name}.svg").is_file()


def test_the_legend_of_theory_is_in_the_picture_files(full_report: WrittenReport):
    for name in ("forward", "backward", "distance"):
        assert "theory: the median, and from the 10th" in full_report.read(f"figure-network-1-{name}.svg")
    assert "theory, in the shape of the layer" in full_report.read("figure-network-2-levels.svg")


def test_the_close_up_shows_the_headline_pairs_against_their_law(full_document: Document):
    figure = next(figure for figure in _figures(_part(full_document, "theory")) if "distance" in figure.name)
    titles = [panel.title for panel in figure.panels]
    assert titles[:2] == ["HeNormal with relu, forward", "HeNormal with relu, backward"]
    assert not [title for title in titles if title.startswith("Zeros")]
    assert all("measured / theory" in panel.description for panel in figure.panels)
    assert "Theory: HeNormal from 10^0.0 to 10^0.0." in figure.panels[0].description


def test_a_shallow_network_has_no_close_up(full_document: Document):
    assert not _figures(_part(full_document, "theory", network=2))


def test_without_predictions_the_report_says_that_there_are_none_and_why(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu", "tanh"))
    text = words_of(_part(study, "theory"))
    assert "No gain was predicted on the network mlp" in text
    assert "HeNormal with every activation function: no prediction was made." in text
    assert "no predicted signal to compare with: no prediction was made." in words_of(_part(study, "layers"))
    assert not _tables(_part(study, "theory"))
    assert "Theory’s gains could not be compared" in words_of(build_document(study).sections[0])
    assert "no gain was predicted in this study" in render_markdown(build_document(study))


def test_reasons_given_for_missing_predictions_are_shown(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal",), ("relu",)), bases={"relu": "the moon was full"})
    text = words_of(_part(study, "theory"))
    assert "HeNormal with relu: the moon was full." in text
    assert "the moon was full" in words_of(_part(study, "layers"))


def test_wrong_predictions_show_in_the_sentence_and_in_the_map(small_study: Callable[..., StudyRecord]):
    names = ("HeNormal", "LecunNormal", "GlorotUniform")
    wrong = predict_study(small_study(names, ("relu", "tanh"), depth=20), error=1.5)
    section = _part(wrong, "theory")
    found = re.findall(r"6 of 6 pairs have a score: (\d) of them beyond ±2, (\d) beyond ±3", words_of(section))
    assert found == [("6", "6")] * 2
    tones = {score_map_cell(pair, way).tone for pair in read_pairs(wrong.summary, wrong.table) for way in DIRECTIONS}
    assert tones <= {"fading-3", "fading-4", "fading-5"}
    figure = next(figure for figure in _figures(section) if "distance" in figure.name)
    ends = [float(match) for match in re.findall(r"to 10\^(-?[\d.]+)\. Theory", figure.panels[0].description)]
    # 1.5 a layer too much: the last of 20 layers lies 19 factors below theory, and no more than the standard
    # deviation above that.
    assert ends[0] == pytest.approx(-19.0 * 0.176, abs=1.5)
