"""What the page of a sweep answers, on made-up cells whose verdicts are known."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from sweep_stub import make_result

from initcheck.pages.document import Row, Table
from initcheck.study.report.levels import DirectionSummary, SummaryRow
from initcheck.sweeping.answer import (
    MeasuredCell,
    Question,
    choose_question,
    describe_keepers,
    describe_sweep,
    drop_alike,
    find_alike,
    find_tone,
    format_cell,
    format_gain,
    write_answer,
)
from initcheck.sweeping.run import SweepResult
from initcheck.sweeping.spec import AXES

REPORTS = Path(__file__).parents[2] / "reports"
BY_DEPTH = Question(("activation",), "depth")


def make_direction(verdict="preserves", settled=1.0):
    nan = math.nan
    return DirectionSummary(
        gain=settled,
        low=nan,
        high=nan,
        geometric=settled,
        geometric_low=nan,
        geometric_high=nan,
        settled=settled,
        steps=9,
        layers_until_thousandth=nan,
        thousandfold_change="",
        verdict=verdict,
        textbook=nan,
        predicted=nan,
        predicted_sd=nan,
        z=nan,
    )


def make_cell(
    initializer="HeNormal", activation="relu", depth=5, forward=("preserves", 1.0), backward=("preserves", 1.0), **axes
):
    row = SummaryRow(
        network="mlp",
        initializer=initializer,
        activation=activation,
        seeds=4,
        by_direction={"forward": make_direction(*forward), "backward": make_direction(*backward)},
        batch_variance_share=0.5,
        dead_fraction=0.0,
        saturated_fraction=0.0,
        nonfinite_from=axes.pop("nonfinite_from", None),
        symmetric=axes.pop("symmetric", False),
        verdict="",
        prediction="",
    )
    places = dict.fromkeys(AXES, "one") | {"initializer": initializer, "activation": activation, "depth": depth}
    return MeasuredCell(places | axes, row)


VERDICTS = {"k": ("preserves", 1.0), "u": ("inconclusive", 1.1), "l": ("vanishes", 0.5)}


def make_cells(pattern):
    """Make cells of a pattern: by initializer and activation function, a letter a depth (kept, undecided, lost, -)."""
    return [
        make_cell(initializer, activation, 5 * (place + 1), backward=VERDICTS[letter])
        for (initializer, activation), letters in pattern.items()
        for place, letter in enumerate(letters)
        if letter != "-"
    ]


SENTENCES = {
    "the model of the page": (
        {("HeNormal", "relu"): "kkk", ("HeNormal", "gelu"): "kkl", ("Zeros", "relu"): "lll", ("Zeros", "gelu"): "kll"},
        "HeNormal keeps relu at every depth; nothing keeps gelu beyond depth 10.",
        "failed",
    ),
    "one for all": (
        {("HeNormal", "relu"): "kkk", ("HeNormal", "gelu"): "kkk", ("LecunNormal", "gelu"): "kkk"},
        "HeNormal keeps relu and gelu at every depth.",
        "passed",
    ),
    "each its own": (
        {("HeNormal", "relu"): "kk", ("LecunNormal", "selu"): "kk"},
        "HeNormal keeps relu at every depth; LecunNormal keeps selu at every depth.",
        "passed",
    ),
    "undecided": (
        {("HeNormal", "relu"): "kuk", ("Zeros", "relu"): "lll"},
        "Undecided for relu.",
        "undecided",
    ),
    "not shown beyond": (
        {("HeNormal", "relu"): "kul", ("Zeros", "relu"): "lll"},
        "Nothing is shown to keep relu beyond depth 5.",
        "failed",
    ),
    "never": (
        {("HeNormal", "relu"): "ll", ("HeNormal", "silu"): "ll", ("HeNormal", "gelu"): "ll"},
        "Nothing keeps relu, silu or gelu at any depth.",
        "failed",
    ),
    "kept by one here and another there": (
        {("HeNormal", "relu"): "kl", ("LecunNormal", "relu"): "lk"},
        "Nothing keeps relu at every depth.",
        "failed",
    ),
    "not measured at one depth": (
        {("HeNormal", "relu"): "k-", ("Zeros", "relu"): "ll"},
        "Nothing is shown to keep relu beyond depth 5.",
        "failed",
    ),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_says_what_the_verdicts_say(name):
    pattern, sentence, tone = SENTENCES[name]
    assert describe_keepers(make_cells(pattern), BY_DEPTH) == (sentence, tone)


def test_without_an_axis_nothing_is_said_of_depths():
    cells = [make_cell(), make_cell("Zeros", "gelu", backward=("vanishes", 0.1))]
    assert describe_keepers(cells, Question(("activation",), ""))[0] == "HeNormal keeps relu; nothing keeps gelu."


def test_a_further_axis_that_varies_must_be_kept_everywhere():
    cells = [make_cell(batch_size=size, backward=VERDICTS[letter]) for size, letter in ((8, "k"), (16, "l"))]
    assert describe_keepers(cells, BY_DEPTH)[0] == "Nothing keeps relu at any depth."


def test_networks_are_named_and_one_without_a_depth_has_no_depths():
    question = Question(("activation", "network"), "depth")
    cells = [make_cell(network="mlp", depth=depth) for depth in (5, 10)] + [make_cell(network="notebook", depth=None)]
    assert describe_keepers(cells[:2], question)[0] == "HeNormal keeps relu on mlp at every depth."
    assert describe_keepers(cells[2:], question)[0] == "HeNormal keeps relu on notebook."
    assert describe_keepers(cells, question)[0] == "HeNormal keeps relu on mlp and relu on notebook at every depth."


def test_one_number_decides_colour_and_text():
    lost = make_cell(forward=("inconclusive", 3.0), backward=("vanishes", 0.5))
    assert (format_cell(lost), find_tone(lost)) == ("0.50", "fading-3")
    grown = make_cell(forward=("explodes", 30.0))
    assert (format_cell(grown), find_tone(grown)) == ("30", "growing-4")
    kept = make_cell(forward=("preserves", 0.97), backward=("preserves", 1.01))
    assert (format_cell(kept), find_tone(kept)) == ("0.97", "neutral")
    undecided = make_cell(backward=("inconclusive", 1.5))
    assert (format_cell(undecided), find_tone(undecided)) == ("1.50", "unknown")
    dead = make_cell(forward=("dead", math.nan), backward=("dead", math.nan))
    assert (format_cell(dead), find_tone(dead)) == ("dead", "dead")
    alike = make_cell(symmetric=True, backward=("explodes", 8.0))
    assert (format_cell(alike), find_tone(alike)) == ("8.00", "symmetric")
    overflown = make_cell(forward=("explodes", math.nan), backward=("explodes", math.nan), nonfinite_from=1)
    assert (format_cell(overflown), find_tone(overflown)) == ("∞", "non-finite")


@pytest.mark.parametrize(
    ("gain", "text"), [(1.0, "1.00"), (0.012, "0.01"), (64.2, "64"), (3e-5, "3e-5"), (2e11, "2e11"), (math.nan, "none")]
)
def test_a_gain_is_written_in_few_characters(gain, text):
    assert format_gain(gain) == text


# --- summaries ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def summary():
    return pd.read_parquet(REPORTS / "sweep" / "summary.parquet")


def test_initializers_that_draw_the_same_weights_are_one_measurement(summary):
    alike = find_alike(summary)
    assert alike == {
        "LecunNormal": ("GlorotNormal", "VarianceScaling", "VarianceScaling(mode='fan_out')"),
        "GlorotUniform": ("LecunUniform", "VarianceScaling(mode='fan_out', distribution='uniform')"),
    }
    once, _ = drop_alike(summary)
    assert len(once) == len(summary) - 5 * 60
    for name, others in alike.items():
        gains = [summary[summary["initializer"] == each]["forward_gain"].to_numpy() for each in (name, *others)]
        assert all((gains[0] == each).all() for each in gains)


def test_rows_that_do_not_vary_are_never_called_alike(summary):
    constant = summary[summary["initializer"] == "Zeros"]
    assert find_alike(pd.concat([constant, constant.assign(initializer="Constant(value=0)")])) == {}


def test_the_matrix_has_a_row_an_initializer_by_gain_and_says_up_to_where_it_is_kept(summary):
    some = summary[summary["initializer"].isin(["HeNormal", "LecunNormal", "GlorotNormal", "RandomNormal"])]
    some = some[some["activation"].isin(["relu", "tanh", "linear"])]
    assert choose_question(some) == BY_DEPTH
    answer = write_answer(make_result(some))
    table = next(block for block in answer.blocks if isinstance(block, Table))
    assert [row.header for row in table.rows] == ["RandomNormal", "LecunNormal +1", "HeNormal"]
    assert answer.values[0][0].endswith(f" of {len(some) - 15}")
    kept = some[some["verdict"] == "preserves in both directions"].groupby(["initializer", "activation"])["depth"]
    depths = sorted(some["depth"].unique())
    expected = {}
    for pair, found in kept:
        values = sorted(found)
        first = values == depths[: len(values)]
        expected[pair] = (
            "all" if values == depths else f"to {values[-1]}" if first else f"{len(values)} of {len(depths)}"
        )
    shown = {
        (row.header.partition(" ")[0], column): cell.notes[0]
        for row in table.rows
        for column, cell in zip(table.columns[1:], row.cells, strict=True)
        if cell.notes
    }
    assert shown == {pair: note for pair, note in expected.items() if pair[0] != "GlorotNormal"}


def test_one_activation_function_has_a_column_a_depth(summary):
    some = summary[summary["initializer"].isin(["HeNormal", "Zeros"]) & (summary["activation"] == "relu")]
    table = next(block for block in write_answer(make_result(some)).blocks if isinstance(block, Table))
    assert table.columns == ("Initializer", *(f"depth {depth}" for depth in (5, 10, 20, 50, 100)))
    zeros = next(row for row in table.rows if row.header == "Zeros")
    assert isinstance(zeros, Row) and {cell.text for cell in zeros.cells} == {"dead"}


def test_an_empty_sweep_has_an_answer_and_a_notebook_shows_it(summary):
    empty = make_result(summary.iloc[:0])
    assert describe_sweep(empty.summary) == ("No cell was measured.", "failed")
    assert isinstance(empty, SweepResult) and "No cell was measured." in empty._repr_html_()
    some = make_result(summary[summary["activation"] == "relu"])
    fragment = some._repr_html_()
    assert "Identity keeps relu at every depth." in fragment and "<table" in fragment
    assert not fragment.lower().startswith("<!doctype")
