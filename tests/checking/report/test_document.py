"""The page of an examined model: the verdict first, everything that is known, and names that stay names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
from examined_model import HOSTILE, KINDS, make_fix, make_result
from gate_baselines import make_baseline
from html_page import Page
from markdown_it import MarkdownIt

from initcheck.audit.findings import Cause, CheckResult, Finding, Measured
from initcheck.audit.limits import Limits
from initcheck.audit.rules import RULES
from initcheck.checking.gate.comparison import compare
from initcheck.checking.report.document import build_check_document
from initcheck.checking.report.text import describe_verdict, format_text
from initcheck.pages.document import Answer, Block, Definitions, Details, Document, Figure, Section, Table
from initcheck.pages.html import render_html, render_markdown, render_pictures
from initcheck.probe.coverage import Gap

NOTE = Finding("IC303", "layer_1", "a few units are dead", note=True)


def _html(checked: CheckResult) -> Page:
    return Page(render_html(build_check_document(checked)))


def _hostile() -> CheckResult:
    """Let a name that tries everything stand everywhere that a name can stand."""
    extra = [
        Finding("IC301", f"{HOSTILE}/kernel", f"{HOSTILE} is a copy", None, (f"{HOSTILE}/kernel", "layer_2/kernel")),
        Finding("IC301", "layer_2/kernel", "one more"),
        Finding("IC601", HOSTILE, f"{HOSTILE} not measured: {HOSTILE}"),
    ]
    gaps = [Gap(HOSTILE, HOSTILE, HOSTILE), Gap(HOSTILE, "LSTMCell", "inner", HOSTILE)]
    return make_result(forward=0.2, names=(HOSTILE,), extra=extra, gaps=gaps, fix=make_fix(HOSTILE), model=HOSTILE)


def _section(document: Document, anchor: str) -> Section:
    return next(section for section in document.sections if section.anchor == anchor)


def _answer(checked: CheckResult) -> Answer:
    answer = build_check_document(checked).answer
    assert answer is not None
    return answer


def _folded(blocks: Sequence[Block]) -> list[Details]:
    return [block for block in blocks if isinstance(block, Details)]


def _tables(blocks: Sequence[Block]) -> list[Table]:
    """List the tables, those that are folded included."""
    tables = []
    for block in blocks:
        if isinstance(block, Details):
            tables += _tables(block.blocks)
        elif isinstance(block, Table):
            tables.append(block)
    return tables


def _method_tables(checked: CheckResult) -> dict[str, Table]:
    """Take the tables of what was measured, and how, by the first word of their caption."""
    tables = _tables(_section(build_check_document(checked), "method").blocks)
    return {table.caption[0].text.split()[0]: table for table in tables}


def _facts(section: Section) -> dict[str, str]:
    """Take the terms of a problem with their texts."""
    items = [item for block in section.blocks if isinstance(block, Definitions) for item in block.items]
    return {term: "".join(span.text for span in text) for term, text in items}


def _caused(checked: CheckResult) -> CheckResult:
    """Let all findings have one cause, in a layer that was made at a known place."""
    cause = Cause("spread", ("layer_2",), "in layer_2: too small", 0.08)
    findings = tuple(replace(each, cause=cause) for each in checked.findings)
    return replace(checked, findings=findings, places={"layer_2": "models.py:14"})


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_result_makes_a_page_whose_links_lead_somewhere(name):
    checked = make_result(**KINDS[name])
    page = _html(checked)
    page.assert_self_contained()
    assert describe_verdict(checked) in page.text
    assert f"{checked.exit_code}: {checked.verdict}" in page.text
    assert "nan" not in re.findall(r"[A-Za-z]+", page.text)


def test_the_cases_above_have_the_verdicts_that_they_stand_for():
    verdicts = {name: make_result(**changes).verdict for name, changes in KINDS.items()}
    assert verdicts["undecided"] == "cannot judge"
    assert {verdicts[name] for name in ("vanishing", "one draw", "dead", "not finite", "deep")} == {"findings"}
    assert {verdicts[name] for name in ("healthy", "branches", "one layer")} == {"healthy"}


def test_the_answer_comes_first_then_problems_notes_and_what_was_measured():
    document = build_check_document(make_result(forward=0.2, extra=[NOTE]))
    assert [section.anchor for section in document.sections] == ["problems", "notes", "method"]
    assert document.answer is not None
    assert [type(block) for block in document.answer.blocks] == [Figure, Table]


@pytest.mark.parametrize(
    ("changes", "tone"), [({}, "passed"), ({"forward": 0.2}, "failed"), ({"gaps": 1}, "undecided")]
)
def test_the_colour_of_the_answer_is_that_of_its_verdict(changes, tone):
    if changes.pop("gaps", 0):
        changes = {"extra": [Finding("IC601", "layer_1", "not measured")]}
    checked = make_result(**changes)
    assert _answer(checked).tone == tone
    assert "".join(span.text for span in _answer(checked).verdict).startswith(describe_verdict(checked))


def test_the_values_of_the_answer_are_changes_of_the_amplitude():
    checked = make_result(forward=0.2, backward=0.2)
    (forward, _), (backward, _), (calls, _) = _answer(checked).values
    assert calls == "6 layer calls"
    for text, direction in ((forward, "forward"), (backward, "backward")):
        judged = next(each for each in checked.paths if each.path.is_main and each.levels.direction == direction)
        square = math.exp(abs(judged.total.value))
        assert float(text.removeprefix("to 1/")) == pytest.approx(math.sqrt(square), rel=5e-3)
    assert _answer(checked).values[0][1] == "signal over 4 layers, limit 1/10"


def test_the_answer_names_the_worst_problem_and_lists_each_with_its_fix():
    checked = make_result(forward=0.2, backward=0.2, fix=make_fix())
    answer = _answer(checked)
    assert "".join(span.text for span in answer.verdict).endswith(f": {checked.problems[0].title}.")
    (table,) = _tables(answer.blocks)
    assert table.columns == ("Problem", "Made at", "What fixes it")
    assert [row.header for row in table.rows] == [
        "Vanishing activations: layer_3 and layer_4",
        "Vanishing gradients: layer_1 and layer_0",
    ]
    assert [row.link for row in table.rows] == ["problem-1", "problem-2"]
    assert table.rows[0].cells[0].text == "not known"
    assert table.rows[0].cells[1].text == 'kernel_initializer="he_normal" in layer_1'
    assert table.rows[0].cells[1].notes == ("cures it on 8 fresh draws",)
    assert "nothing" in table.rows[1].cells[1].text
    assert "8 draws (seeds 0 to 7)" in _html(checked).text


def test_findings_of_one_cause_are_one_problem_with_cause_place_and_what_follows_folded():
    document = build_check_document(_caused(make_result(forward=0.2, backward=0.2)))
    assert document.answer is not None
    (row,) = _tables(document.answer.blocks)[0].rows
    assert row.header == "The kernel of layer_2 is drawn 12.5 times too small"
    assert row.cells[0].text == "models.py:14"
    (part,) = _section(document, "problems").sections
    assert part.title == row.header and part.anchor == row.link
    facts = _facts(part)
    assert facts["Where"] == "made at models.py:14"
    assert facts["IC101 vanishing-activations"].startswith("The signal falls to 1/24.9")
    (folded,) = _folded(part.blocks)
    assert not folded.unfolded
    (effects,) = _tables([folded])
    assert [each.header for each in effects.rows] == ["IC201 vanishing-gradients"]
    assert effects.rows[0].cells[0].text.startswith("The gradient falls to 1/25.3 from layer_4 to layer_0")
    page = Page(render_html(Document("", (), (part,))))
    for words in ("In layer_2: too small.", "models.py:14", "over 8 seeds"):
        assert words in page.text


def test_only_the_first_problem_cannot_be_folded():
    document = build_check_document(make_result(forward=0.2, backward=0.2))
    first, second = _section(document, "problems").sections
    assert [each.unfolded for each in _folded(first.blocks)] == [False]
    assert [each.unfolded for each in _folded(second.blocks)] == [True]


def test_notes_stand_apart_folded_and_need_no_fix():
    document = build_check_document(make_result(forward=0.2, extra=[NOTE]))
    assert document.answer is not None
    (problems,) = _tables(document.answer.blocks)
    assert len(problems.rows) == 1
    (note,) = _folded(_section(document, "notes").blocks)
    assert note.summary[0].text == "Dead units: layer_1 (note)" and not note.unfolded
    page = Page(render_html(Document("", (), (Section("note", "", (note,)),))))
    assert "a few units are dead." in page.text and "What usually helps" not in page.text


def test_with_a_baseline_the_gate_comes_first_and_known_problems_are_folded():
    checked = make_result(forward=0.2)
    found = tuple((each.code, each.layer) for each in checked.findings)
    document = build_check_document(checked, compare(make_baseline(findings=found), make_baseline(findings=found)))
    assert [section.anchor for section in document.sections] == ["gate", "model", "notes", "method"]
    assert document.answer is not None and document.answer.verdict[0].text.startswith("Same: ")
    (known,) = _folded(_section(document, "notes").blocks)
    assert known.summary[0].text == "Vanishing activations: layer_3 and layer_4 (known)"
    changed = build_check_document(checked, compare(make_baseline(), make_baseline(findings=found)))
    assert [section.anchor for section in changed.sections] == ["gate", "model", "problems", "method"]


def test_a_problem_has_its_value_interval_limit_reason_and_the_fix():
    checked = make_result(forward=0.2, fix=make_fix())
    part = _section(build_check_document(checked), "problems").sections[0]
    page = Page(render_html(Document("", (), (part,))))
    rule = RULES[checked.findings[0].code]
    for words in (rule.why, rule.what, "The signal falls to 1/", 'kernel_initializer="he_normal" in layer_1'):
        assert words in page.text
    assert "cures it: × 1.00 [0.985, 1.01] a layer (8 fresh draws)" in page.text
    assert 'kernel_initializer="he_normal" # was: keras.initializers.RandomNormal(stddev=0.0001)' in page.text
    assert part.title == "Vanishing activations: layer_3 and layer_4"
    assert _facts(part)["IC101 vanishing-activations"] == (
        "0.00162 [0.00156, 0.00168]: factor over the whole path, in squares, over 8 seeds; limit 0.01. "
        "Factors are those of squares."
    )


def test_the_texts_of_the_rules_are_folded_and_each_is_there_once():
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in (1, 2)]
    (part,) = _section(build_check_document(_caused(make_result(extra=extra))), "problems").sections
    (folded,) = _folded(part.blocks)
    assert not folded.unfolded
    assert [term for term, _ in folded.blocks[-1].items] == ["IC301 identical-weights"]


def test_without_a_fix_the_rules_advice_stands_and_nothing_is_said_to_have_been_measured():
    page = _html(make_result(forward=0.2))
    assert RULES["IC101"].fix in page.text
    assert "fresh draw" not in page.text


def test_all_layers_of_a_problem_are_there_folded():
    part = _section(build_check_document(make_result(layers=40, forward=0.5)), "problems").sections[0]
    (folded,) = _folded(part.blocks)
    terms = dict(folded.blocks[0].items)
    assert set(terms) == {"IC101, 32 in all"}
    named = {span.text for span in terms["IC101, 32 in all"]}
    assert {"layer_7", "layer_38"} <= named and "layer_1" not in named


def test_all_layers_of_a_cause_are_there_folded_and_one_pattern_names_them():
    layers = tuple(f"layer_{place}" for place in range(7))
    checked = make_result(layers=12, extra=[Finding("IC401", "layer_0", "fans", cause=Cause("fan", layers, "wide"))])
    checked = replace(checked, places={"layer_0": "models.py:14"})
    (part,) = _section(build_check_document(checked), "problems").sections
    assert _facts(part)["Where"] == "layer_* (7), made at models.py:14"
    (folded,) = _folded(part.blocks)
    (term,) = folded.blocks[0].items
    assert term[0] == "Cause, 7 in all" and {span.text for span in term[1]} >= set(layers)


def test_the_findings_that_follow_are_folded_and_complete():
    extra = [Finding("IC301", f"layer_{place}/kernel", f"layer_{place} is a copy") for place in range(11)]
    (part,) = _section(build_check_document(_caused(make_result(layers=12, extra=extra))), "problems").sections
    (folded,) = _folded(part.blocks)
    assert folded.summary[0].text.startswith("10 findings that follow")
    assert [row.cells[1].text for row in _tables([folded])[0].rows] == [each.layer for each in extra[1:]]


def test_problems_of_one_rule_are_distinguished_by_their_layers():
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in (1, 2)]
    document = build_check_document(make_result(extra=extra))
    titles = [part.title for part in _section(document, "problems").sections]
    assert titles == ["Identical weights: layer_1/kernel", "Identical weights: layer_2/kernel"]


def test_a_share_is_in_per_cent_and_a_missing_limit_is_left_out():
    extra = [
        Finding("IC303", "layer_1", "half are dead", Measured("share of dead units", 0.55, 0.5, 0.6, 0.25, 8)),
        Finding("IC301", "layer_1", "equal", Measured("numbers in common", 4096.0)),
    ]
    parts = _section(build_check_document(make_result(extra=extra)), "problems").sections
    blocks = [block for part in parts for block in (*part.blocks, *(b for d in _folded(part.blocks) for b in d.blocks))]
    items = [text for block in blocks if isinstance(block, Definitions) for _, text in block.items]
    texts = ["".join(span.text for span in text) for text in items]
    assert "55% [50%, 60%]: share of dead units, over 8 seeds; limit 25%." in texts
    assert "4096: numbers in common." in texts


def test_no_findings_means_no_section_of_problems():
    checked = make_result()
    document = build_check_document(checked)
    assert [section.anchor for section in document.sections] == ["method"]
    assert _tables(_answer(checked).blocks) == []
    assert "healthy: nothing found" in _html(checked).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routed": False}, "measured layer reaches the outputs, so that propagation"),
        ({"seeds": 1, "forward": 0.2}, "no intervals over seeds"),
        ({"waived": [Finding("IC303", "layer_1", "dead")]}, "Left out on request: IC303 dead-units."),
    ],
)
def test_page_and_text_say_what_a_result_lacks(changes, words):
    checked = make_result(**changes)
    assert words in _html(checked).text
    assert words in " ".join(format_text(checked).split())


def test_one_draw_has_no_intervals():
    checked = make_result(seeds=1, forward=0.2)
    part = _section(build_check_document(checked), "problems").sections[0]
    text = _facts(part)["IC101 vanishing-activations"]
    assert "factor over the whole path, in squares, from one draw" in text and "[" not in text
    assert "[" not in format_text(checked)


@pytest.mark.parametrize("layers", [1, 400])
def test_the_table_of_layers_is_folded_and_complete(layers):
    checked = make_result(layers=layers)
    assert not any(each.unfolded for each in _folded(_section(build_check_document(checked), "method").blocks))
    table = _method_tables(checked)[str(layers + 1)]
    assert [row.header for row in table.rows] == ["inputs", *(f"layer_{place}" for place in range(layers))]
    assert [row.cells[0].text for row in table.rows] == [str(place) for place in range(layers + 1)]


def test_a_page_of_400_layers_stays_below_half_a_megabyte():
    assert len(render_html(build_check_document(make_result(layers=400, forward=0.9)))) < 500_000


def test_paths_have_the_change_of_the_amplitude_and_its_limit_in_the_direction_of_travel():
    checked = make_result(forward=0.2, backward=5.0)
    forward, backward = _method_tables(checked)["How"].rows
    assert (forward.header, backward.header) == ("forward, main path", "backward, main path")
    assert forward.cells[0].text == "falls" and backward.cells[0].text == "grows"
    assert forward.cells[3].text == "1/10" and backward.cells[3].text == "10-fold"
    assert forward.cells[1].notes == ("4 layers, layer_0 to layer_4",)
    assert backward.cells[1].notes == ("4 layers, layer_4 to layer_0",)
    assert forward.cells[4].text == "layer_3"
    judged = checked.paths[0]
    assert float(forward.cells[1].text.removeprefix("to 1/")) == pytest.approx(math.exp(-judged.total.value / 2), 5e-3)
    assert float(forward.cells[2].text.partition(" ")[0]) == pytest.approx(math.sqrt(judged.rate[0]), rel=5e-3)


def test_paths_beyond_the_limit_come_first_and_are_counted():
    checked = make_result(blocks=True, layers=16, backward=4.0)
    outcomes = [row.cells[0].text for row in _method_tables(checked)["How"].rows]
    assert len(outcomes) == len(checked.paths)
    right = [each in ("within the limit", "too few layers to follow") for each in outcomes]
    assert right == sorted(right) and not all(right) and any(right)
    inside = sum(each.outcome == "within" for each in checked.paths)
    folded = _folded(_section(build_check_document(checked), "method").blocks)[0]
    assert folded.summary[0].text.endswith(f"{inside} of {len(checked.paths)} within the limit")


def test_a_path_beyond_the_limit_names_the_layers_that_made_it():
    first, *others = make_result(forward=0.2).paths
    checked = replace(make_result(forward=0.2), paths=(replace(first, doers=(1,)), *others))
    assert _method_tables(checked)["How"].rows[0].cells[4].notes == ("and 1 more layer", "made by layer_1")


def test_layers_have_their_gain():
    checked = make_result()
    moments = checked.table["preactivation_second_moment"]
    received = replace(checked, table=checked.table.assign(input_second_moment=moments / 2.0))
    layers = _method_tables(received)["7"]
    assert layers.columns[4] == "Gain"
    assert [row.cells[3].text for row in layers.rows] == ["no value", *["2.00"] * 6]


def test_gaps_are_open_with_their_reasons_and_what_stands_for_them_is_folded():
    gaps = [Gap("stack", "Lambda", "it has no floats"), Gap("cell", "LSTMCell", "inside a loop", "lstm")]
    checked = make_result(gaps=gaps)
    blocks = _section(build_check_document(checked), "method").blocks
    (open_gaps,) = [block for block in blocks if isinstance(block, Table)]
    covered = _method_tables(checked)["Parts"]
    assert [row.header for row in open_gaps.rows] == ["stack"] and [row.header for row in covered.rows] == ["cell"]
    assert [cell.text for cell in open_gaps.rows[0].cells] == ["Lambda", "it has no floats", "nothing"]
    assert covered.rows[0].cells[2].text == "lstm"
    assert "nothing left out" not in _html(checked).text
    assert "nothing left out" in _html(make_result()).text


def test_every_limit_has_a_meaning_and_a_source_and_a_changed_one_names_its_default():
    assert all(field.metadata["what"] and field.metadata["source"] for field in fields(Limits))
    table = _method_tables(make_result(limits=Limits(total_factor=1e4)))["The"]
    cells = {row.header: row.cells[0] for row in table.rows}
    assert set(cells) >= {field.name for field in fields(Limits)}
    assert (cells["total_factor"].text, cells["total_factor"].notes) == ("10000", ("default: 100",))
    assert cells["fan_ratio"].notes == ()


def test_a_name_is_text_in_html_and_nothing_else():
    checked = _hostile()
    source = render_html(build_check_document(checked))
    page = Page(source)
    assert "script" not in page.tag_names and "<script" not in source
    # Headers of rows may break within a name, so that the parts of their text stand apart.
    assert "".join(HOSTILE.split()) in "".join("".join(page.texts).split())
    for text in render_pictures(build_check_document(checked)).values():
        assert "<script" not in text


def test_a_name_is_text_in_markdown_and_nothing_else():
    source = render_markdown(build_check_document(_hostile()))
    # What a reader of GitHub-flavoured Markdown makes of it, raw HTML included.
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(source)
    page = Page(rendered)
    assert "script" not in page.tag_names
    assert {"h1", "h2", "table", "details"} <= page.tag_names
    shown = "".join("".join(page.texts).split())
    assert "".join(HOSTILE.split()) in shown.replace("\\|", "|")
    assert "strong" in page.tag_names and "<strong>b</strong>" not in rendered


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head():
    lines = render_markdown(build_check_document(_hostile())).splitlines()
    counts: list[int] = []
    for line in lines:
        if line.startswith("| "):
            counts.append(len(re.findall(r"(?<!\\)\|", line)))
        elif counts:
            assert len(set(counts)) == 1, counts
            counts = []


def test_markdown_and_html_tell_the_same():
    checked = make_result(forward=0.2, fix=make_fix())
    text = render_markdown(build_check_document(checked))
    assert "![Size of the signal" in text and "(figure-check-levels.svg)" in text
    assert list(render_pictures(build_check_document(checked))) == ["figure-check-levels.svg"]
    page = _html(checked)
    for words in (
        "vanishing-activations",
        'kernel_initializer="he_normal" in layer_1',
        "1.00 [0.985, 1.01]",
        "standard normal",
    ):
        assert words in page.text and words.replace("[", "\\[").replace("]", "\\]") in text


def test_a_figure_that_is_missing_is_never_zero():
    checked = make_result()
    table = checked.table.assign(activation_batch_variance=math.nan)
    layers = _method_tables(replace(checked, table=table))["7"]
    assert {row.cells[5].text for row in layers.rows} == {"no value"}
