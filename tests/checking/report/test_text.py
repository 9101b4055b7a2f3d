"""The terminal's text and its table of layers: the verdict first, and no more rows than matter."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import unescape

import keras
import numpy as np
import pytest
from examined_model import HOSTILE, make_fix, make_result
from gate_baselines import make_baseline

import initcheck
from initcheck.audit.findings import Cause, CheckResult, Finding, Measured, format_interval, format_limit, format_value
from initcheck.checking.gate.comparison import compare
from initcheck.checking.report.annotations import format_annotations
from initcheck.checking.report.text import (
    describe_coverage,
    describe_verdict,
    exit_code_of,
    format_summary,
    format_text,
    layer_rows,
    rows_that_matter,
)
from initcheck.probe.coverage import Gap

GAP = Finding("IC601", "layer_1", "layer_1 was not measured")
NOTE = Finding("IC303", "layer_1", "a few units are dead", note=True)

# --- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "healthy: nothing found"),
        ({"forward": 0.2}, "1 problem"),
        ({"forward": 0.2, "backward": 0.2}, "2 problems"),
        ({"forward": 0.3162, "spread": 0.3}, "cannot judge: 1 point not judged"),
        ({"forward": 0.2, "extra": [GAP]}, "1 problem and 1 point not judged"),
        ({"extra": [NOTE]}, "healthy: nothing found, 1 note"),
        ({"forward": 0.2, "extra": [NOTE, replace(NOTE, layer="layer_2")]}, "1 problem, 2 notes"),
    ],
)
def test_the_verdict_counts_problems_notes_and_what_was_not_judged(changes, words):
    checked = make_result(**changes)
    assert describe_verdict(checked) == f"package.module:factory: {words}"
    assert format_text(checked).splitlines()[0] == describe_verdict(checked)


def test_what_follows_from_a_problem_is_listed_and_not_counted_beside_it():
    checked = make_result(nonfinite_from=3)
    assert describe_verdict(checked) == "package.module:factory: 1 problem"
    assert checked.problems[0].codes == tuple(dict.fromkeys(each.code for each in checked.findings))
    text = " ".join(format_text(checked).split())
    assert len(checked.findings) > 1 and all(finding.message in text for finding in checked.findings)


def test_the_coverage_says_what_is_open_and_what_is_covered():
    gaps = [Gap("a", "Lambda", "why"), Gap("b", "LSTMCell", "loop", "lstm"), Gap("c", "LSTMCell", "loop", "lstm")]
    words = "1 path, 6 layer calls, 12 weights; 1 not (2 inner parts measured through others"
    assert words in describe_coverage(make_result(gaps=gaps))
    assert "nothing left out" in describe_coverage(make_result())


def _with_cause(checked: CheckResult, cause: Cause) -> CheckResult:
    return replace(checked, findings=tuple(replace(each, cause=cause) for each in checked.findings))


def test_a_problem_has_its_place_codes_cause_effects_and_what_was_tried():
    cause = Cause("spread", ("layer_2",), "RandomNormal: standard deviation 0.01; 64 inputs need 0.125", 0.08)
    checked = _with_cause(make_result(forward=0.2, backward=0.2, fix=make_fix()), cause)
    lines = format_text(replace(checked, places={"layer_2": "models.py:14", "layer_3": "models.py:15"})).splitlines()
    text = "\n".join(lines)
    assert lines[1] == "1  the kernel of layer_2 is drawn 12.5 times too small  models.py:14  IC101 IC201"
    assert lines[2] == f"   cause  {cause.message}."
    assert [line.split()[0] for line in lines if re.match(r"   \S", line)] == ["cause", "so", "fix"]
    words = " ".join(text.split())
    for finding in checked.findings:
        assert words.count(f"{finding.code} {finding.message}.") == 1
    fix = 'fix kernel_initializer="he_normal" in layer_1 cures it: × 1.00 [0.985, 1.01] a layer (8 fresh draws).'
    assert words.count(fix) == 1


def test_a_fix_names_its_lines_of_code_unless_the_problem_has():
    checked = make_result(forward=0.2, fix=make_fix())
    assert "in layer_1 at models.py:14 cures it" in format_text(checked)
    assert "in layer_1 cures it" in format_text(replace(checked, places={"layer_3": "models.py:14"}))
    assert "in layer_1 at models.py:14 cures it" in format_text(replace(checked, places={"layer_3": "models.py:9"}))


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        ("square a layer", "× 0.894 -> 0.949 [0.922, 0.975] a layer"),
        ("share of the outputs that are zero", "80% -> 90% [85%, 95%] of the outputs that are zero"),
        ("branch over the stream", "branch over the stream 0.800 -> 0.900 [0.850, 0.950]"),
    ],
)
def test_what_only_helps_has_its_value_before_and_after_and_what_is_left(quantity, words):
    before, after = Measured(quantity, 0.8), Measured(quantity, 0.9, 0.85, 0.95)
    fix = replace(make_fix(), before=before, after=after, cures=False, left=("the signal falls to 1/3",))
    text = " ".join(format_text(make_result(forward=0.2, fix=fix)).split())
    assert f"helps, and does not cure it: {words} (8 fresh draws); left: the signal falls to 1/3." in text


def test_the_verdict_ends_with_the_command_that_writes_the_fixes():
    command = "initcheck fix models.py:build --write"
    checked = make_result(forward=0.2, fix=make_fix())
    assert "initcheck fix" not in format_text(checked)
    checked = replace(checked, fix_command=command)
    assert format_text(checked).splitlines()[0] == f"package.module:factory: 1 problem; {command} writes the fix"
    without = replace(checked, findings=tuple(replace(each, fix=None) for each in checked.findings))
    assert "initcheck fix" not in format_text(without) + format_summary(without) + format_annotations(without)


def test_of_several_fixes_the_command_is_printed_once_and_at_each_annotation():
    checked = make_result(forward=0.2, backward=0.2)
    both = tuple(replace(each, fix=make_fix(), tried=1) for each in checked.findings)
    checked = replace(checked, findings=both, fix_command="initcheck fix models.py:build --write")
    text = format_text(checked)
    assert len(checked.problems) == 2 and text.count("initcheck fix") == 1
    assert text.splitlines()[0].endswith("2 problems; initcheck fix models.py:build --write writes the fixes")
    summary = format_summary(checked).partition("<details>")[0]
    assert "`initcheck fix models.py:build --write` writes the fixes into the code." in summary
    assert format_annotations(checked).count("%0Awrite: initcheck fix models.py:build --write") == 2


@pytest.mark.parametrize(("tried", "words"), [(1, "(1 change)"), (7, "(7 changes)"), (0, "")])
def test_where_nothing_that_was_tried_helps_the_rule_says_what_to_look_at(tried, words):
    checked = make_result(forward=0.2, extra=[NOTE, GAP])
    checked = replace(checked, findings=tuple(replace(each, tried=tried) for each in checked.findings))
    text = " ".join(format_text(checked).split())
    said = f"fix nothing that was tried helps {words}. {checked.problems[0].main.rule.fix}"
    assert checked.problems[0].level == "wrong"
    # What is not judged, and a note, need no fix.
    assert text.count(said) == text.count("fix nothing that was tried") == (1 if tried else 0)


def test_without_a_cause_the_rule_and_the_first_layer_are_the_title():
    lines = format_text(make_result(forward=0.2)).splitlines()
    assert lines[1] == "1  vanishing activations: layer_3 and layer_4  IC101"
    assert "cause" not in {line.split()[0] for line in lines if line.strip()}


def test_notes_come_after_the_problems_without_a_number():
    text = format_text(make_result(forward=0.2, backward=0.2, extra=[NOTE, GAP]))
    starts = [line.split("  ")[:2] for line in text.splitlines() if re.match(r"(\d+|-)  ", line)]
    assert [number for number, _ in starts] == ["1", "2", "3", "-"]
    assert starts[2][1].endswith("(not judged)") and starts[3][1].endswith("(note)")
    assert f"{NOTE.code}  {NOTE.message}." in text


def test_several_findings_of_one_rule_are_one_line_that_names_the_others():
    equal = [Finding("IC301", f"layer_{place}/kernel", f"layer_{place} is a copy") for place in (1, 2, 4)]
    checked = _with_cause(make_result(extra=equal), Cause("copied", ("layer_1",), "one seed for all"))
    text = format_text(checked)
    assert "IC301  layer_1 is a copy; and so 2 times more, in layer_2/kernel and layer_4/kernel." in text
    assert "layer_2 is a copy" not in text


def test_a_real_model_with_one_bad_layer_takes_15_lines_and_a_sound_one_10():
    sick, sound = (initcheck.check(lambda std=std: _dense(std), seeds=4) for std in (1e-4, None))
    lines = sick.to_text().splitlines()
    assert lines[1].startswith("1  the kernel of bad is drawn 17") and lines[1].endswith("IC101 IC201")
    assert "RandomNormal(stddev=0.0001)" in lines[2]
    assert sum(line.startswith("! bad ") for line in lines) == 1
    assert len(lines) <= 15, lines
    (fix,) = (each.fix for each in sick.findings if each.fix is not None)
    for levels, rows in zip(fix.levels, [layer_rows(sick.result)] * 2, strict=True):
        assert levels.sites == tuple(row.name for row in rows)
        # As it is, the level at one end is a millionth of that at the other.
        assert abs(levels.middle[-1] - levels.middle[0]) < 1.0
    assert sound.exit_code == 0
    assert len(sound.to_text().splitlines()) <= 10


def test_of_a_real_model_that_no_edit_helps_it_is_said_how_many_were_tried():
    report = initcheck.check(_cut, seeds=4)
    (problem,) = report.result.problems
    assert problem.fix is None and problem.tried > 0
    assert f"nothing that was tried helps ({problem.tried} change" in " ".join(report.to_text().split())
    untried = initcheck.check(_cut, seeds=4, fixes=False)
    assert untried.result.problems[0].tried == 0 and "tried" not in untried.to_text()


def _cut() -> keras.Model:
    hidden = keras.layers.Dense(16, activation="relu"), keras.layers.Lambda(lambda x: 0.0 * x)
    return keras.Sequential(
        [keras.Input((16,)), *hidden, keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4)]
    )


def _dense(std: float | None) -> keras.Model:
    model = keras.Sequential([keras.Input((64,))])
    for place in range(7):
        bad = std is not None and place == 3
        model.add(
            keras.layers.Dense(
                8 if place == 6 else 64,
                activation=None if place == 6 else "relu",
                kernel_initializer=keras.initializers.RandomNormal(stddev=std) if bad else "he_normal",
                name="bad" if place == 3 else f"layer_{place}",
            )
        )
    return model


def test_what_was_left_out_on_request_ends_the_text():
    text = format_text(make_result(waived=[Finding("IC303", "a", "b")]))
    assert text.endswith("Left out on request: IC303 dead-units.")


def test_a_deep_model_is_thinned_out_unless_all_is_asked_for():
    checked = make_result(layers=400, forward=0.9)
    short, full = format_text(checked), format_text(checked, full=True)
    assert len(short.splitlines()) < 30
    assert all(f"layer_{place} " in full for place in range(400))
    # What is left out is counted: in all, and between the rows shown.
    table = short[short.index("  layer ") :].splitlines()
    rows = table[1 : next(place for place, line in enumerate(table) if line.startswith("z, h:"))]
    shown = [line for line in rows if not line.startswith("  ... ")]
    skipped = sum(int(line.split()[1]) for line in rows if line.startswith("  ... "))
    assert f"  {len(shown)} of 401 rows" in table[0] and " rows" not in full
    orders = {row.name: row.order for row in layer_rows(checked)}
    first, last = (orders[shown[end][2:].split()[0]] for end in (0, -1))
    assert skipped + len(shown) == last - first + 1
    assert any(line.startswith("! ") for line in shown)


@pytest.mark.parametrize(("changes", "shown"), [({}, True), ({"forward": 0.2}, False), ({"blocks": True}, True)])
def test_the_main_path_is_told_where_nothing_else_is_and_in_full(changes, shown):
    checked = make_result(**changes)
    words = "Along the main path (layers that every path passes), in squares:"
    assert (words in format_text(checked)) is shown
    text = format_text(checked, full=True)
    assert text[text.index(words) :].splitlines()[1].startswith("  forward ")
    assert text[text.index(words) :].splitlines()[2].startswith("  backward  ")


def test_without_a_main_path_the_longest_one_is_told():
    model = initcheck.check(_towers, seeds=4)
    lines = model.to_text(full=True).splitlines()
    begin = lines.index("Along the longest path (right_0 to right_2, between inputs and score), in squares:")
    assert [line.split()[0] for line in lines[begin + 1 : begin + 3]] == ["forward", "backward"]
    assert lines[begin + 3] == ""


def _towers() -> keras.Model:
    ends, inputs = [], [keras.Input((16,), name=f"given_{name}") for name in ("left", "right")]
    for name, depth, end in (("left", 2, inputs[0]), ("right", 3, inputs[1])):
        for place in range(depth):
            end = keras.layers.Dense(16, "relu", kernel_initializer="he_normal", name=f"{name}_{place}")(end)
        ends.append(end)
    return keras.Model(inputs, keras.layers.Dot(axes=1, name="score")(ends))


def test_a_share_is_in_per_cent():
    share, gain = Measured("share of x", 0.5, 0.4, 0.6, 0.25), Measured("gain", 0.5)
    assert (format_value(share, 0.5), format_interval(share), format_limit(share)) == ("50%", " [40%, 60%]", "25%")
    assert (format_value(gain, 0.5), format_interval(gain)) == ("0.500", "")


# --- on a pull request ------------------------------------------------------------------------------------------------


def _sick(places: dict[str, str]) -> CheckResult:
    cause = Cause("spread", ("layer_2",), "RandomNormal: standard deviation 0.01; 64 inputs need 0.125", 0.08)
    checked = _with_cause(make_result(forward=0.2, backward=0.2, fix=make_fix()), cause)
    return replace(checked, findings=(*checked.findings, GAP, NOTE), places=places)


def test_the_summary_has_one_entry_a_problem_with_place_cause_effects_and_what_was_tried():
    checked = _sick({"layer_2": "models.py:14"})
    summary = unescape(format_summary(checked)).replace("\\", "").partition("<details>")[0]
    first, second = checked.findings[:2]
    assert [line for line in summary.splitlines() if line.startswith(("- ", "  - "))] == [
        "- **the kernel of layer_2 is drawn 12.5 times too small** (models.py:14, IC101 IC201)",
        f"  - cause: {first.cause.message}.",
        f"  - IC101: {first.message}.",
        f"  - IC201: {second.message}.",
        f"  - fix: {make_fix().change} cures it: × 1.00 [0.985, 1.01] a layer (8 fresh draws).",
        "- **unmeasured: layer_1 (not judged)** (IC601)",
        "  - IC601: layer_1 was not measured.",
        "- **dead units: layer_1 (note)** (IC303)",
        "  - IC303: a few units are dead.",
    ]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, (0, 0, 0)),
        ({"extra": [NOTE]}, (0, 1, 0)),
        ({"extra": [GAP]}, (2, 2, 0)),
        ({"extra": [GAP, NOTE]}, (2, 1, 0)),
        ({"forward": 0.2, "extra": [NOTE]}, (1, 1, 0)),
    ],
)
def test_what_fails_is_a_problem_or_a_note_or_nothing(changes, codes):
    checked = make_result(**changes)
    assert codes == tuple(
        exit_code_of(replace(checked, fail_on=level), None) for level in ("problem", "note", "nothing")
    )


def test_a_note_fails_beside_a_baseline_too_since_no_baseline_holds_notes():
    same = compare(make_baseline(), make_baseline())
    checked = make_result(extra=[NOTE])
    assert exit_code_of(checked, same) == 0
    assert exit_code_of(replace(checked, fail_on="note"), same) == 1


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


def test_what_matters_are_the_layers_of_each_problem_with_their_neighbours():
    extra = [Finding("IC401", "layer_3/kernel", "fans")]
    checked = make_result(layers=12, extra=extra)
    rows = layer_rows(checked)
    assert [row.name for row in rows_that_matter(checked, rows)] == ["layer_2", "layer_3", "layer_4"]
    ends = replace(checked, findings=(Finding("IC401", "inputs", "fans"), Finding("IC401", "layer_11", "fans")))
    assert [row.name for row in rows_that_matter(ends, rows)] == ["inputs", "layer_0", "layer_10", "layer_11"]


def test_of_a_problem_in_many_layers_the_ends_are_shown():
    checked = make_result(layers=30, forward=0.8)
    (problem,) = checked.problems
    rows = layer_rows(checked)
    shown = [row.name for row in rows_that_matter(checked, rows)]
    first, last = (next(row.order for row in rows if row.name == problem.layers[end]) for end in (0, -1))
    assert last - first == len(problem.layers) - 1 > 3
    assert shown == [rows[place + offset].name for place in (first, last) for offset in (-1, 0, 1)]


@pytest.mark.parametrize("layers", [3, 29, 60, 400])
def test_at_most_12_rows_matter(layers):
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in range(layers)]
    checked = make_result(layers=layers, extra=extra)
    rows = layer_rows(checked)
    shown = rows_that_matter(checked, rows)
    assert len(shown) == min(layers + 1, 12)
    assert {row.order for row in shown} == set(range(len(shown)))


@pytest.mark.parametrize("changes", [{}, {"routed": False}, {"extra": [NOTE]}])
def test_what_is_no_problem_of_a_layer_takes_no_rows(changes):
    checked = make_result(**changes)
    rows = layer_rows(checked)
    assert rows_that_matter(checked, rows) == []
    assert "  layer " not in format_text(checked)
    assert all(f" {row.name} " in format_text(checked, full=True) for row in rows)


def test_a_strange_name_does_not_break_the_lines_of_the_table():
    text = format_text(make_result(layers=3, names=(HOSTILE,)), full=True)
    lines = [line for line in text.splitlines() if HOSTILE in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {HOSTILE}  Dense ")
