"""The terminal's text and its table of layers: the verdict first, and no more rows than matter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from examined_model import HOSTILE, make_fix, make_result

from initcheck.audit.findings import Finding, Measured
from initcheck.checking.report.text import (
    describe_coverage,
    describe_measured,
    describe_verdict,
    format_text,
    layer_rows,
    rows_that_matter,
)
from initcheck.probe.coverage import Gap

# --- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "healthy: nothing found"),
        ({"forward": 0.2}, "1 finding"),
        ({"forward": 0.2, "backward": 0.2}, "2 findings"),
        ({"forward": 0.3162, "spread": 0.3}, "cannot judge: 1 point not judged"),
        ({"nonfinite_from": 3}, "1 finding and 1 point not judged"),
    ],
)
def test_the_verdict_counts_findings_and_what_was_not_judged(changes, words):
    checked = make_result(**changes)
    assert describe_verdict(checked) == f"package.module:factory: {words}"
    assert format_text(checked).splitlines()[0] == describe_verdict(checked)


def test_the_coverage_says_what_is_open_and_what_is_covered():
    gaps = [Gap("a", "Lambda", "why"), Gap("b", "LSTMCell", "loop", "lstm"), Gap("c", "LSTMCell", "loop", "lstm")]
    words = "6 layer calls, 12 weights; 1 not (2 inner parts measured through others"
    assert words in describe_coverage(make_result(gaps=gaps))
    assert "nothing left out" in describe_coverage(make_result())


def test_a_finding_stands_with_its_fix_before_and_after():
    text = " ".join(format_text(make_result(forward=0.2, fix=make_fix())).split())
    assert "IC101 vanishing-activations: the signal falls to 1/" in text
    assert (
        "tried: HeNormal in 5 layers: factor a layer, in squares 0.300 -> 1.00 [0.970, 1.03] (the finding is gone)"
        in text
    )


def test_what_was_left_out_on_request_ends_the_text():
    text = format_text(make_result(waived=[Finding("IC303", "a", "b")]))
    assert text.endswith("Left out on request: IC303 dead-units.")


def test_a_deep_model_is_thinned_out_unless_all_is_asked_for():
    checked = make_result(layers=400, forward=0.9)
    short, full = format_text(checked), format_text(checked, full=True)
    assert len(short.splitlines()) < 80
    assert all(f"layer_{place} " in full for place in range(400))
    # What is left out is counted: shown and skipped rows make all 401.
    skipped = sum(int(line.split()[1]) for line in short.splitlines() if line.startswith("  ... "))
    table = short[short.index("  layer ") :].splitlines()[1:]
    shown = [line for line in table if not line.startswith("  ... ")]
    assert skipped + len(shown) == 401
    assert any(line.startswith("! ") for line in shown)


def test_a_share_is_in_per_cent():
    assert describe_measured(Measured("share of x", 0.5, 0.4, 0.6, 0.25)) == "share of x: 50% [40%, 60%], limit 25%"
    assert describe_measured(Measured("gain", 0.5)) == "gain: 0.500"


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_rows_hold_geometric_means_over_seeds():
    checked = make_result(layers=4, forward=0.3, backward=0.5)
    own = checked.table[checked.table["layer"] == "layer_2"]
    row = next(each for each in layer_rows(checked) if each.layer == "layer_2")
    moments = own["preactivation_second_moment"].to_numpy(float)
    norms = own["gradient_norm"].to_numpy(float)
    assert row.second_moment == pytest.approx(np.exp(np.log(moments).mean()))
    assert row.second_moment < moments.mean()  # the arithmetic mean is another number
    assert row.gradient == pytest.approx(np.exp(2.0 * np.log(norms).mean()))
    assert row.varies == pytest.approx(0.5) and row.zero == pytest.approx(0.5)
    assert (row.order, row.kind, row.on_main_path, row.name) == (3, "Dense", True, "layer_2")


def test_zero_in_one_draw_leaves_the_mean_of_the_others_and_a_missing_value_is_missing():
    checked = make_result(layers=4)
    table = checked.table
    one = (table["seed"] == 2) & (table["layer"] == "layer_1")
    zero = replace(checked, table=table.assign(activation_variance=table["activation_variance"].mask(one, 0.0)))
    missing = replace(checked, table=table.assign(activation_variance=table["activation_variance"].mask(one)))
    others = table[~one & (table["position"] == 2)]["activation_variance"].astype(float)
    assert layer_rows(zero)[2].variance == pytest.approx(float(np.exp(np.log(others).mean())))
    nothing = replace(checked, table=table.assign(activation_variance=0.0))
    assert layer_rows(nothing)[2].variance == 0.0
    assert math.isnan(layer_rows(missing)[2].variance)
    assert layer_rows(missing)[1].variance > 0.0


def test_a_second_call_has_a_name_of_its_own():
    checked = make_result(layers=3)
    table = checked.table.copy()
    table.loc[table["position"] == 3, ["layer", "call"]] = ["layer_0", 1]
    assert [row.name for row in layer_rows(replace(checked, table=table))] == [
        "inputs",
        "layer_0",
        "layer_1",
        "layer_0#2",
    ]


def test_findings_of_a_weight_name_its_layer_and_not_one_whose_name_begins_alike():
    finding = Finding("IC301", "layer_1/kernel", "equal", None, ("layer_1/kernel", "layer_11/kernel"))
    rows = layer_rows(make_result(layers=13, extra=[finding]))
    assert [row.name for row in rows if row.codes] == ["layer_1", "layer_11"]


def test_what_matters_are_the_main_path_and_each_findings_first_layer():
    extra = [Finding("IC401", "layer_3/kernel", "fans")]
    checked = make_result(blocks=True, layers=12, extra=extra)
    shown = rows_that_matter(layer_rows(checked))
    assert {row.name for row in shown if not row.on_main_path} == {"inputs", "layer_3"}
    assert sum(row.on_main_path for row in shown) == 7


@pytest.mark.parametrize("layers", [3, 29, 60, 400])
def test_at_most_30_rows_and_the_ends_matter(layers):
    shown = rows_that_matter(layer_rows(make_result(layers=layers)))
    assert len(shown) == min(layers + 1, 30)
    assert (shown[0].name, shown[-1].name) == ("inputs", f"layer_{layers - 1}")


def test_without_a_main_path_the_first_rows_are_shown():
    assert len(rows_that_matter(layer_rows(make_result(routed=False)))) > 0


def test_a_strange_name_does_not_break_the_lines_of_the_table():
    text = format_text(make_result(layers=3, names=(HOSTILE,)))
    lines = [line for line in text.splitlines() if HOSTILE in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {HOSTILE}  Dense ")
