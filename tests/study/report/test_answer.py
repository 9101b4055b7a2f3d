"""The answer is computed from the summary, and nothing unknown counts as healthy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated_study import all_blocks, change_summary, make_study

from initcheck.pages.document import Answer, Bullets, Figure, Row, Section, Table, Text
from initcheck.study.record import NotMeasured, StudyRecord
from initcheck.study.report import build_document
from initcheck.study.report.levels import SummaryRow, read_pairs
from initcheck.study.report.maps import gain_map_cell
from initcheck.study.report.tables import VERDICT_COLUMNS, format_outcomes, merge_twins

HE_RELU = ("HeNormal", "relu")


def _pair(study: StudyRecord, name: tuple[str, str] = HE_RELU) -> SummaryRow:
    return next(pair for pair in read_pairs(study.summary, study.table) if (pair.initializer, pair.activation) == name)


@pytest.fixture
def kept_study(small_study: Callable[..., StudyRecord]) -> StudyRecord:
    """He and ReLU with a summary that says: kept, by all means."""
    return change_summary(
        small_study(("HeNormal",), ("relu",)),
        HE_RELU,
        forward_verdict="preserves",
        backward_verdict="preserves",
        symmetric=False,
        batch_variance_share=0.3,
        verdict="preserves in both directions",
    )


def _findings(study: StudyRecord) -> Section:
    section = build_document(study).sections[0]
    assert section.anchor == "found"
    return section


def _tables(study: StudyRecord) -> list[Table]:
    return [block for block in all_blocks(_findings(study).blocks) if isinstance(block, Table)]


def _bullets(study: StudyRecord) -> list[str]:
    blocks = _findings(study).blocks
    return [
        "".join(span.text for span in item) for block in blocks if isinstance(block, Bullets) for item in block.items
    ]


def _answer(study: StudyRecord) -> Answer:
    answer = build_document(study).answer
    assert answer is not None
    return answer


def _words(text: Text) -> str:
    return "".join(span.text for span in text)


def test_a_pair_kept_both_ways_is_counted_as_kept(kept_study: StudyRecord):
    assert _pair(kept_study).outcome == "kept"
    assert _bullets(kept_study)[0].startswith("1 of 1 pair keeps the signal")
    answer = _answer(kept_study)
    assert _words(answer.verdict) == (
        "1 of 1 activation function has an initializer to recommend, which keeps the signal: relu."
    )
    assert answer.tone == "passed"
    assert answer.values[0] == ("1 of 1", "measured pairs keep the signal")


@pytest.mark.parametrize(
    ("column", "value", "outcome"),
    [
        ("forward_verdict", "inconclusive", "undecided"),
        ("backward_verdict", "inconclusive", "undecided"),
        ("forward_verdict", pd.NA, "undecided"),
        ("backward_verdict", "unheard of", "undecided"),
        ("symmetric", pd.NA, "undecided"),
        ("symmetric", True, "symmetric"),
        ("nonfinite_from_position", 3, "undecided"),
        ("batch_variance_share", pd.NA, "uniform"),
        ("batch_variance_share", 0.001, "uniform"),
        ("forward_verdict", "vanishes", "vanishes"),
        ("backward_verdict", "explodes", "explodes"),
        ("backward_verdict", "dead", "dead"),
    ],
)
def test_a_pair_with_anything_wrong_or_unknown_is_not_kept(
    kept_study: StudyRecord, column: str, value: object, outcome: str
):
    study = change_summary(kept_study, HE_RELU, **{column: value})
    assert _pair(study).outcome == outcome
    assert _bullets(study)[0].startswith("0 of 1 pair keep the signal")
    answer = _answer(study)
    assert answer.tone == "failed"
    assert answer.values[0][0] == "0 of 1"
    assert _words(answer.verdict).startswith("With none of 1 activation function is there an initializer to recommend")


def test_missing_values_become_words_and_never_zeros(kept_study: StudyRecord):
    missing = {
        name: pd.NA
        for name in kept_study.summary.columns
        if name.startswith(("forward_log_gain", "backward_log_gain", "forward_layers", "backward_layers"))
    }
    study = change_summary(kept_study, HE_RELU, **missing, dead_fraction=pd.NA, symmetric=pd.NA)
    section = build_document(study).sections[1].sections[1]
    table = next(block for block in all_blocks(section.blocks) if isinstance(block, Table))
    texts = [cell.text for cell in table.rows[0].cells]
    assert texts[-1] == "symmetry not known, dead units not known"
    for cell in table.rows[0].cells[1:3]:
        assert (cell.text, cell.notes) == ("no rate", ("no interval",))


def test_the_textbook_pairs_are_reported_only_if_they_were_measured(small_study: Callable[..., StudyRecord]):
    tables = _tables(small_study(("HeNormal",), ("gelu",)))
    assert [table.columns[0] for table in tables] == ["Network", "Activation"]
    tables = _tables(small_study(("HeNormal",), ("relu",)))
    assert [row.header for row in tables[0].rows] == ["HeNormal with relu"]


def test_the_numbers_of_the_answer_follow_the_summary(kept_study: StudyRecord):
    logs = {"": 123.4, "_low": 122.0, "_high": 124.8}
    study = change_summary(
        kept_study, HE_RELU, **{f"forward_log_gain{end}": math.log(value) for end, value in logs.items()}
    )
    cell = _tables(study)[0].rows[0].cells[0]
    assert (cell.text, cell.notes) == ("123", ("[122, 125]",))


@pytest.mark.parametrize(
    ("layers", "change", "words"),
    [
        (69.0, "explodes", "× 1000 after 69"),
        (282.0, "vanishes", "1/1000 after 282"),
        (math.inf, "keeps", "not within 1,000"),
        (pd.NA, pd.NA, "not within 6"),
    ],
)
def test_layers_until_are_counted_or_only_the_measured_range_is_named(
    kept_study: StudyRecord, layers: object, change: object, words: str
):
    found = {"backward_layers_until_thousandth": layers, "backward_thousandfold_change": change}
    study = change_summary(kept_study, HE_RELU, **found)
    assert _tables(study)[0].rows[0].cells[3].text == words


def _pair_rows(study: StudyRecord) -> dict[tuple[str, str], Row]:
    """Find the rows of the verdict tables, by pair."""
    parts = build_document(study).sections[1].sections[1].blocks
    listed = [block for block in all_blocks(parts) if isinstance(block, Table) and block.columns == VERDICT_COLUMNS]
    activations = dict.fromkeys(study.table["activation"])
    return {
        (row.header, activation): row
        for table, activation in zip(listed, activations, strict=True)
        for row in table.rows
    }


def test_the_printed_gain_of_all_layers_gives_what_was_measured_over_them(small_study: Callable[..., StudyRecord]):
    """Seeds that differ much: their arithmetic mean, over all layers, would be off by far more than is printed."""
    study = small_study(("HeNormal", "GlorotUniform"), ("relu", "tanh", "selu"), depth=20)
    table, rows = study.table, _pair_rows(study)
    assert len(rows) == 6
    for place, (column, power) in enumerate((("preactivation_second_moment", 1.0), ("gradient_norm", -2.0)), start=1):
        for (initializer, activation), row in rows.items():
            own = table[(table["initializer"] == initializer) & (table["activation"] == activation)]
            levels = [np.log(own[own["position"] == place][column].astype(float)).mean() for place in (1, 10, 11, 20)]
            printed = row.cells[place].notes[0].removeprefix("all layers ")
            digit = 0.51 * 10.0 ** -len(printed.partition(".")[2])
            assert abs(float(printed) - math.exp(power * (levels[3] - levels[0]) / 19)) < digit
            # The deeper half: of 19 ratios the last ten, from layer 10 on.
            assert float(row.cells[place].text) == pytest.approx(
                math.exp(power * (levels[3] - levels[1]) / 10), rel=0.006
            )
    off = study.summary["forward_gain"] / np.exp(study.summary["forward_log_gain"])
    assert (off > 1.02).all()  # 1.02^19 = 1.46


def test_the_counts_add_up_to_the_number_of_pairs(full_study: StudyRecord):
    pairs = [pair for pair in read_pairs(full_study.summary, full_study.table) if pair.network == "mlp"]
    numbers = [int(part.split()[0]) for part in format_outcomes(pairs).split(" · ")]
    assert sum(numbers) == len(pairs) == 204


def test_what_was_not_measured_is_spoken_of_in_the_answer(small_study: Callable[..., StudyRecord]):
    study = small_study(not_measured=(NotMeasured("every network", "STFT", "all", "not in the study"),))
    assert any("1 entry is listed, with the reason, under What was not measured" in text for text in _bullets(study))


def test_the_margin_spoken_of_is_the_one_that_holds_at_that_depth(small_study: Callable[..., StudyRecord]):
    assert "less than a factor 2 in all" in _bullets(small_study(("HeNormal",), ("relu",), depth=6))[0]
    assert "less than 5% a layer" in _bullets(small_study(("HeNormal",), ("relu",), depth=20))[0]


def test_pairs_are_reported_in_the_order_in_which_they_were_measured(small_study: Callable[..., StudyRecord]):
    study = small_study(("Zeros", "HeNormal", "GlorotUniform"), ("tanh", "relu"))
    pairs = read_pairs(study.summary, study.table)
    assert [pair.initializer for pair in pairs[::2]] == ["Zeros", "HeNormal", "GlorotUniform"]
    assert [pair.activation for pair in pairs[:2]] == ["tanh", "relu"]


def test_initializers_that_drew_the_same_weights_are_one_measurement(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal", "HeUniform", "Zeros"), ("relu", "tanh"))
    pairs = read_pairs(study.summary, study.table)
    assert merge_twins(pairs) == pairs
    table = study.table[study.table["initializer"] != "Zeros"]
    again = table[table["initializer"] == "HeNormal"]
    twin = again.assign(initializer=pd.array(["A"] * len(again), dtype="string"))
    twins = make_study(pd.concat([twin, table]), {"mlp": 6})
    merged = merge_twins(read_pairs(twins.summary, twins.table))
    # The best known name stands for both, in the place of the first.
    assert [pair.label for pair in merged] == ["HeNormal +1", "HeNormal +1", "HeUniform", "HeUniform"]
    assert merged[0].names == ("HeNormal", "A")
    assert _answer(twins).values[0][0].endswith(" of 4")
    assert "4 measured pairs (6 by name)" in _bullets(twins)[0]
    figure = _answer(twins).blocks[0]
    assert isinstance(figure, Figure)
    assert "HeNormal +1 stands for A too; from one seed they draw the same weights" in _words(figure.caption)
    assert figure.panels[0].svg.count(">HeNormal +1<") == 1


def test_a_notebook_shows_the_answer_of_the_report(kept_study: StudyRecord):
    shown = kept_study._repr_html_()
    assert "1 of 1 activation function has an initializer to recommend" in shown
    assert 'role="img"' in shown and ">HeNormal<" in shown
    assert "<section" not in shown


def _kept_row(study: StudyRecord) -> dict[str, str]:
    table = _tables(study)[-1]
    return dict(zip(table.columns[1:], (cell.text for cell in table.rows[0].cells), strict=True))


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({}, "Kept both ways", "HeNormal"),
        ({"backward_verdict": "vanishes"}, "Size kept forward only", "HeNormal"),
        ({"forward_verdict": "explodes"}, "Size kept backward only", "HeNormal"),
        ({"forward_verdict": "inconclusive"}, "Undecided", "HeNormal (forward)"),
        ({"backward_verdict": "inconclusive"}, "Undecided", "HeNormal (backward)"),
        ({"symmetric": pd.NA}, "Undecided", "HeNormal (not fully measured)"),
        (
            {"backward_verdict": "vanishes", "batch_variance_share": 0.001},
            "Size kept, but information lost",
            "HeNormal (same for all inputs)",
        ),
        ({"batch_variance_share": pd.NA}, "Size kept, but information lost", "HeNormal (not known)"),
        (
            {"backward_verdict": "vanishes", "symmetric": True},
            "Size kept, but information lost",
            "HeNormal (symmetric units)",
        ),
        ({"forward_verdict": "vanishes", "backward_verdict": "vanishes"}, "", ""),
    ],
)
def test_a_pair_is_named_once_and_information_comes_before_size(
    kept_study: StudyRecord, changes: dict[str, object], column: str, words: str
):
    found = _kept_row(change_summary(kept_study, HE_RELU, **changes))
    assert {name: text for name, text in found.items() if text != "none"} == ({column: words} if column else {})


def test_a_network_of_one_layer_has_no_rate_and_says_so(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu", "tanh"), depth=1)
    pairs = read_pairs(study.summary, study.table)
    assert {gain_map_cell(pair, "forward").text for pair in pairs} == {"?"}
    assert {row.cells[1].text for row in _pair_rows(study).values()} == {"no rate"}


def test_a_record_with_contradictions_is_refused(kept_study: StudyRecord):
    with pytest.raises(ValueError, match="lacks the columns seed"):
        replace(kept_study, table=kept_study.table.drop(columns="seed"))
    with pytest.raises(ValueError, match="two rows"):
        replace(kept_study, summary=pd.concat([kept_study.summary] * 2))
    with pytest.raises(ValueError, match="signal_layers"):
        replace(kept_study, signal_layers={})
    with pytest.raises(ValueError, match=r"provenance\.networks"):
        replace(kept_study, provenance=replace(kept_study.provenance, networks=()))
