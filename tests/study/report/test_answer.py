"""The answer is computed from the summary, and nothing unknown counts as healthy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from simulated_study import change_summary, make_study

from initcheck.pages.document import Bullets, Paragraph, Section, Table
from initcheck.study.record import NotMeasured, StudyRecord
from initcheck.study.report import build_document
from initcheck.study.report.levels import SummaryRow, read_pairs
from initcheck.study.report.tables import find_twins, format_outcomes

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


def _answer(study: StudyRecord) -> Section:
    section = build_document(study).sections[0]
    assert section.anchor == "found"
    return section


def _bullets(study: StudyRecord) -> list[str]:
    return [
        "".join(span.text for span in item)
        for block in _answer(study).blocks
        if isinstance(block, Bullets)
        for item in block.items
    ]


def test_a_pair_kept_both_ways_is_counted_as_kept(kept_study: StudyRecord):
    assert _pair(kept_study).outcome == "kept"
    assert _bullets(kept_study)[0].startswith("1 of 1 pair keeps the signal")


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


def test_missing_values_become_words_and_never_zeros(kept_study: StudyRecord):
    missing = {
        name: pd.NA
        for name in kept_study.summary.columns
        if name.startswith(("forward_log_gain", "backward_log_gain", "forward_layers", "backward_layers"))
    }
    study = change_summary(kept_study, HE_RELU, **missing, dead_fraction=pd.NA, symmetric=pd.NA)
    section = build_document(study).sections[2].sections[1]
    details = section.blocks[1]
    table = details.blocks[0]  # type: ignore[union-attr]
    assert isinstance(table, Table)
    texts = [cell.text for cell in table.rows[0].cells]
    assert texts[1:5] == ["no rate", "no rate", "not within 6", "not within 6"]
    assert texts[6] == "symmetry not known, dead units not known"


def test_the_textbook_pairs_are_reported_only_if_they_were_measured(small_study: Callable[..., StudyRecord]):
    tables = [block for block in _answer(small_study(("HeNormal",), ("gelu",))).blocks if isinstance(block, Table)]
    assert [table.columns[0] for table in tables] == ["Activation"]
    tables = [block for block in _answer(small_study(("HeNormal",), ("relu",))).blocks if isinstance(block, Table)]
    assert [row.header for row in tables[0].rows] == ["HeNormal with relu"]


def test_the_numbers_of_the_answer_follow_the_summary(kept_study: StudyRecord):
    logs = {"": 123.4, "_low": 122.0, "_high": 124.8}
    study = change_summary(
        kept_study, HE_RELU, **{f"forward_log_gain{end}": math.log(value) for end, value in logs.items()}
    )
    tables = [block for block in _answer(study).blocks if isinstance(block, Table)]
    cell = tables[0].rows[0].cells[0]
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
    tables = [block for block in _answer(study).blocks if isinstance(block, Table)]
    assert tables[0].rows[0].cells[3].text == words


def _maps(study: StudyRecord) -> list[Table]:
    blocks = build_document(study).sections[2].sections[0].blocks
    return [block for block in blocks if isinstance(block, Table)]


def test_the_printed_gain_of_a_layer_gives_what_was_measured_over_all_layers(small_study: Callable[..., StudyRecord]):
    """Seeds that differ much: their arithmetic mean, over all layers, would be off by far more than is printed."""
    study = small_study(("HeNormal", "GlorotUniform"), ("relu", "tanh", "selu"), depth=20)
    table = study.table
    for direction, cells in zip(("forward", "backward"), _maps(study), strict=True):
        column = "preactivation_second_moment" if direction == "forward" else "gradient_norm"
        power = 1.0 if direction == "forward" else -2.0
        for row in cells.rows:
            for activation, cell in zip(cells.columns[1:], row.cells, strict=True):
                own = table[(table["initializer"] == row.header) & (table["activation"] == activation)]
                ends = [np.log(own[own["position"] == place][column].astype(float)).mean() for place in (1, 20)]
                printed = float(cell.text)
                digit = 0.51 * 10.0 ** -len(cell.text.partition(".")[2])
                assert abs(printed - math.exp(power * (ends[1] - ends[0]) / 19)) < digit
    off = study.summary["forward_gain"] / np.exp(study.summary["forward_log_gain"])
    assert (off > 1.02).all()  # 1.02^19 = 1.46


def test_the_counts_add_up_to_the_number_of_pairs(full_study: StudyRecord):
    pairs = [pair for pair in read_pairs(full_study.summary, full_study.table) if pair.network == "mlp"]
    numbers = [int(part.split()[0]) for part in format_outcomes(pairs).split(" · ")]
    assert sum(numbers) == len(pairs) == 204


def test_what_was_not_measured_is_spoken_of_in_the_answer(small_study: Callable[..., StudyRecord]):
    study = small_study(not_measured=(NotMeasured("every network", "STFT", "all", "not in the study"),))
    assert any("1 entry is listed, with the reason, under “What was not measured”" in text for text in _bullets(study))


def test_the_margin_spoken_of_is_the_one_that_holds_at_that_depth(small_study: Callable[..., StudyRecord]):
    assert "less than a factor 2 in all" in _bullets(small_study(("HeNormal",), ("relu",), depth=6))[0]
    assert "less than 5% a layer" in _bullets(small_study(("HeNormal",), ("relu",), depth=20))[0]


def test_pairs_are_reported_in_the_order_in_which_they_were_measured(small_study: Callable[..., StudyRecord]):
    study = small_study(("Zeros", "HeNormal", "GlorotUniform"), ("tanh", "relu"))
    pairs = read_pairs(study.summary, study.table)
    assert [pair.initializer for pair in pairs[::2]] == ["Zeros", "HeNormal", "GlorotUniform"]
    assert [pair.activation for pair in pairs[:2]] == ["tanh", "relu"]


def test_initializers_that_drew_the_same_weights_are_not_passed_off_as_several(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal", "HeUniform", "Zeros"), ("relu", "tanh"))
    assert find_twins(read_pairs(study.summary, study.table)) == ()
    table = study.table[study.table["initializer"] == "HeNormal"]
    both = pd.concat([table, table.assign(initializer=pd.array(["Twin"] * len(table), dtype="string"))])
    twins = make_study(both, {"mlp": 6})
    assert find_twins(read_pairs(twins.summary, twins.table)) == (("HeNormal", "Twin"),)
    gains = build_document(twins).sections[2].sections[0].blocks[-1]
    assert isinstance(gains, Paragraph)
    assert "".join(span.text for span in gains.text).startswith("HeNormal and Twin have the same gains")


def _kept_row(study: StudyRecord) -> dict[str, str]:
    table = [block for block in _answer(study).blocks if isinstance(block, Table)][-1]
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
    gains = build_document(study).sections[2].sections[0].blocks[2]
    assert isinstance(gains, Table)
    assert {cell.text for row in gains.rows for cell in row.cells} == {"one layer only"}


def test_a_record_with_contradictions_is_refused(kept_study: StudyRecord):
    with pytest.raises(ValueError, match="lacks the columns seed"):
        replace(kept_study, table=kept_study.table.drop(columns="seed"))
    with pytest.raises(ValueError, match="two rows"):
        replace(kept_study, summary=pd.concat([kept_study.summary] * 2))
    with pytest.raises(ValueError, match="signal_layers"):
        replace(kept_study, signal_layers={})
    with pytest.raises(ValueError, match=r"provenance\.networks"):
        replace(kept_study, provenance=replace(kept_study.provenance, networks=()))
