"""The page of an examined model: the verdict first, everything that is known, and names that stay names."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import pytest
from examined_model import HOSTILE, KINDS, make_fix, make_result
from html_page import Page
from markdown_it import MarkdownIt

from initcheck.audit.findings import Cause, CheckResult, Finding, Measured
from initcheck.audit.limits import Limits
from initcheck.audit.rules import RULES
from initcheck.checking.report.document import build_check_document
from initcheck.checking.report.text import describe_verdict, format_text
from initcheck.pages.document import Definitions, Details, Document, Section, Table
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


def _tables(section: Section) -> list[Table]:
    tables = []
    for block in section.blocks:
        inner = block.blocks if isinstance(block, Details) else (block,)
        tables += [each for each in inner if isinstance(each, Table)]
    return tables


def _plain_tables(section: Section) -> list[Table]:
    """List the tables that are not folded."""
    return [block for block in section.blocks if isinstance(block, Table)]


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
    assert f"{describe_verdict(checked)}." in page.text
    assert f"{checked.exit_code}: {checked.verdict}" in page.text
    assert "nan" not in re.findall(r"[A-Za-z]+", page.text)


def test_the_cases_above_have_the_verdicts_that_they_stand_for():
    verdicts = {name: make_result(**changes).verdict for name, changes in KINDS.items()}
    assert verdicts["undecided"] == "cannot judge"
    assert {verdicts[name] for name in ("vanishing", "one draw", "dead", "not finite", "deep")} == {"findings"}
    assert {verdicts[name] for name in ("healthy", "branches", "one layer")} == {"healthy"}


def test_the_verdict_comes_first_then_problems_notes_picture_figures_gaps_and_method():
    document = build_check_document(make_result(forward=0.2, extra=[NOTE]))
    order = [section.anchor for section in document.sections]
    assert order == ["answer", "problems", "notes", "levels", "paths", "layers", "coverage", "method"]


def test_the_first_screen_has_the_verdict_the_coverage_and_every_problem_with_its_fix():
    checked = make_result(forward=0.2, backward=0.2, fix=make_fix())
    answer = build_check_document(checked).sections[0]
    (table,) = _tables(answer)
    assert table.columns == ("Problem", "Cause, else what was found", "Made at", "What fixes it", "Findings")
    assert [row.header for row in table.rows] == [
        "Vanishing activations: layer_3 and layer_4",
        "Vanishing gradients: layer_1 and layer_0",
    ]
    assert [row.link for row in table.rows] == ["problem-1", "problem-2"]
    assert [row.cells[3].text for row in table.rows] == ["IC101", "IC201"]
    assert table.rows[0].cells[0].text.startswith("The signal falls to 1/618 from layer_0 to layer_4")
    assert table.rows[0].cells[1].text == "not known"
    assert table.rows[0].cells[2].text == 'kernel_initializer="he_normal" in layer_1'
    assert table.rows[0].cells[2].notes == ("cures it on 8 fresh draws",)
    assert "nothing" in table.rows[1].cells[2].text
    words = _html(checked).text
    assert "8 draws (seeds 0 to 7)" in words


def test_findings_of_one_cause_are_one_problem_with_cause_place_and_effects():
    document = build_check_document(_caused(make_result(forward=0.2, backward=0.2)))
    (row,) = _tables(document.sections[0])[0].rows
    assert row.header == "The kernel of layer_2 is drawn 12.5 times too small"
    assert [cell.text for cell in row.cells[:2]] == ["In layer_2: too small.", "models.py:14"]
    assert row.cells[3].text == "IC101 IC201"
    (part,) = _section(document, "problems").sections
    assert part.title == row.header and part.anchor == row.link
    (effects,) = _plain_tables(part)
    assert [each.header for each in effects.rows] == ["IC101 vanishing-activations", "IC201 vanishing-gradients"]
    assert effects.rows[1].cells[0].text.startswith("The gradient falls to 1/640 from layer_4 to layer_0")
    page = Page(render_html(Document("", (), (part,))))
    for words in ("In layer_2: too small.", "models.py:14", "The signal falls to 1/618", "over 8 seeds"):
        assert words in page.text


def test_notes_stand_apart_and_need_no_fix():
    document = build_check_document(make_result(forward=0.2, extra=[NOTE]))
    problems, notes = _tables(document.sections[0])
    assert len(problems.rows) == len(notes.rows) == 1
    assert notes.rows[0].header == "Dead units: layer_1 (note)" and notes.rows[0].link == "note-1"
    assert notes.rows[0].cells[2].text == "none needed"
    (part,) = _section(document, "notes").sections
    page = Page(render_html(Document("", (), (part,))))
    assert "a few units are dead." in page.text and "What usually helps" not in page.text


def test_a_problem_has_its_figure_interval_limit_reason_and_the_fix_before_and_after():
    checked = make_result(forward=0.2, fix=make_fix())
    finding = checked.findings[0]
    part = _section(build_check_document(checked), "problems").sections[0]
    page = Page(render_html(Document("", (), (replace(part, sections=()),))))
    rule = RULES[finding.code]
    for words in (
        rule.why,
        rule.what,
        "The signal falls to 1/",
        'kernel_initializer="he_normal" in layer_1',
        "over 8 seeds",
    ):
        assert words in page.text
    assert "cures it: × 1.00 [0.970, 1.03] a layer (8 fresh draws)" in page.text
    assert 'kernel_initializer="he_normal" # was: keras.initializers.RandomNormal(stddev=0.0001)' in page.text
    assert part.title == "Vanishing activations: layer_3 and layer_4"
    (effects,) = _plain_tables(part)
    (row,) = effects.rows
    assert row.header == "IC101 vanishing-activations"
    assert [cell.text for cell in row.cells[1:]] == ["layer_3", "0.00162", "0.01"]
    assert row.cells[2].notes == ("[0.00156, 0.00168]", "factor over the whole path, in squares, over 8 seeds")


def test_the_texts_of_the_rules_are_folded_and_each_is_there_once():
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in (1, 2)]
    document = build_check_document(_caused(make_result(extra=extra)))
    (part,) = _section(document, "problems").sections
    folded = [block for block in part.blocks if isinstance(block, Details)][-1]
    assert not folded.unfolded
    assert [term for term, _ in folded.blocks[0].items] == ["IC301 identical-weights"]


def test_without_a_fix_the_rules_advice_stands_and_nothing_is_said_to_have_been_measured():
    page = _html(make_result(forward=0.2))
    assert RULES["IC101"].fix in page.text
    assert "→" not in page.text


def test_all_layers_of_a_problem_are_there_folded():
    document = build_check_document(make_result(layers=40, forward=0.5))
    part = _section(document, "problems").sections[0]
    folded = next(block for block in part.blocks if isinstance(block, Details))
    assert not folded.unfolded
    terms = dict(folded.blocks[0].items)
    assert set(terms) == {"IC101, 32 in all"}
    named = {span.text for span in terms["IC101, 32 in all"]}
    assert {"layer_7", "layer_38"} <= named and "layer_1" not in named


def test_all_layers_of_a_cause_are_there_folded():
    layers = tuple(f"layer_{place}" for place in range(7))
    checked = make_result(layers=12, extra=[Finding("IC401", "layer_0", "fans", cause=Cause("fan", layers, "wide"))])
    (part,) = _section(build_check_document(checked), "problems").sections
    facts = next(block for block in part.blocks if isinstance(block, Definitions))
    assert dict(facts.items)["Layers"][0].text == "layer_0, layer_1, layer_2, layer_3, layer_4, layer_5 and 1 more"
    folded = next(block for block in part.blocks if isinstance(block, Details))
    (term,) = folded.blocks[0].items
    assert term[0] == "Cause, 7 in all" and {span.text for span in term[1]} >= set(layers)


def test_many_findings_of_one_problem_are_folded_and_complete():
    extra = [Finding("IC301", f"layer_{place}/kernel", f"layer_{place} is a copy") for place in range(11)]
    checked = _caused(make_result(layers=12, extra=extra))
    (part,) = _section(build_check_document(checked), "problems").sections
    folded = next(block for block in part.blocks if isinstance(block, Details))
    assert _plain_tables(part) == [] and not folded.unfolded
    assert [row.cells[1].text for row in folded.blocks[0].rows] == [each.layer for each in extra]


def test_problems_of_one_rule_are_distinguished_by_their_layers():
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in (1, 2)]
    document = build_check_document(make_result(extra=extra))
    titles = [part.title for part in _section(document, "problems").sections]
    assert titles == ["Identical weights: layer_1/kernel", "Identical weights: layer_2/kernel"]


def test_a_share_is_in_per_cent_and_a_missing_limit_as_none():
    extra = [
        Finding("IC303", "layer_1", "half are dead", Measured("share of dead units", 0.55, 0.5, 0.6, 0.25, 8)),
        Finding("IC301", "layer_1", "equal", Measured("numbers in common", 4096.0)),
    ]
    parts = _section(build_check_document(make_result(extra=extra)), "problems").sections
    by_code = {row.header[:5]: row.cells for part in parts for row in _plain_tables(part)[0].rows}
    assert by_code["IC303"][2].text == "55%"
    assert by_code["IC303"][2].notes == ("[50%, 60%]", "share of dead units, over 8 seeds")
    assert by_code["IC303"][3].text == "25%"
    assert (by_code["IC301"][2].text, by_code["IC301"][2].notes) == ("4096", ("numbers in common",))
    assert by_code["IC301"][3].text == "none"


def test_no_findings_means_no_section_of_problems():
    checked = make_result()
    document = build_check_document(checked)
    assert not {"problems", "notes"} & {section.anchor for section in document.sections}
    assert _tables(document.sections[0]) == []
    assert "no rule found anything" in _html(checked).text


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
    (table,) = _plain_tables(_section(build_check_document(checked), "problems").sections[0])
    assert table.rows[0].cells[2].notes == ("factor over the whole path, in squares, from one draw",)
    assert "[" not in format_text(checked)


@pytest.mark.parametrize(("layers", "folded"), [(29, 0), (30, 1), (400, 1)])
def test_a_long_table_of_layers_is_folded_and_complete(layers, folded):
    section = _section(build_check_document(make_result(layers=layers)), "layers")
    assert sum(isinstance(block, Details) for block in section.blocks) == folded
    (table,) = _tables(section)
    assert [row.header for row in table.rows] == ["inputs", *(f"layer_{place}" for place in range(layers))]
    assert [row.cells[0].text for row in table.rows] == [str(place) for place in range(layers + 1)]


def test_a_page_of_400_layers_stays_below_half_a_megabyte():
    assert len(render_html(build_check_document(make_result(layers=400, forward=0.9)))) < 500_000


def test_routes_tell_change_rate_and_limit_in_the_direction_of_travel():
    checked = make_result(forward=0.2, backward=5.0)
    (table,) = _tables(_section(build_check_document(checked), "paths"))
    forward, backward = table.rows
    assert (forward.header, backward.header) == ("forward, main path", "backward, main path")
    assert forward.cells[0].text == "falls" and backward.cells[0].text == "grows"
    assert forward.cells[3].text == "to 1/100" and backward.cells[3].text == "100-fold"
    assert forward.cells[1].notes == ("4 layers, layer_0 to layer_4",)
    assert backward.cells[1].notes == ("4 layers, layer_4 to layer_0",)
    assert forward.cells[4].text == "layer_3"


@pytest.mark.parametrize(("layers", "folded"), [(16, 0), (18, 16)])
def test_many_paths_are_folded_but_for_the_main_one_and_those_beyond_the_limit(layers, folded):
    checked = make_result(blocks=True, layers=layers, backward=4.0)
    table, *more = _tables(_section(build_check_document(checked), "paths"))
    paths = len(checked.paths)
    assert len(table.rows) == paths - folded if not folded else 2
    assert sum(len(each.rows) for each in (table, *more)) == paths
    assert [row.header for row in table.rows[:2]] == ["forward, main path", "backward, main path"]
    assert table.rows[1].cells[0].text == "grows"
    if folded:
        outcomes = {row.cells[0].text for row in more[0].rows}
        assert outcomes <= {"within the limit", "too few layers to follow"}


def test_a_path_beyond_the_limit_names_the_layers_that_made_it():
    first, *others = make_result(forward=0.2).paths
    checked = replace(make_result(forward=0.2), paths=(replace(first, doers=(1,)), *others))
    (table,) = _tables(_section(build_check_document(checked), "paths"))
    assert table.rows[0].cells[4].notes == ("and 1 more layer", "made by layer_1")


def test_layers_have_their_gain():
    checked = make_result()
    moments = checked.table["preactivation_second_moment"]
    received = replace(checked, table=checked.table.assign(input_second_moment=moments / 2.0))
    (layers,) = _tables(_section(build_check_document(received), "layers"))
    assert layers.columns[4] == "Gain"
    assert [row.cells[3].text for row in layers.rows] == ["no value", *["2.00"] * 6]


def test_gaps_are_listed_with_their_reasons_and_what_stands_for_them():
    gaps = [Gap("stack", "Lambda", "it has no floats"), Gap("cell", "LSTMCell", "inside a loop", "lstm")]
    checked = make_result(gaps=gaps)
    document = build_check_document(checked)
    open_gaps, covered = _tables(_section(document, "coverage"))
    assert [row.header for row in open_gaps.rows] == ["stack"] and [row.header for row in covered.rows] == ["cell"]
    assert [cell.text for cell in open_gaps.rows[0].cells] == ["Lambda", "it has no floats", "nothing"]
    assert covered.rows[0].cells[2].text == "lstm"
    assert "Nothing was left out." not in _html(checked).text
    assert "Nothing was left out." in _html(make_result()).text


def test_every_limit_has_a_meaning_and_a_source_and_a_changed_one_names_its_default():
    assert all(field.metadata["what"] and field.metadata["source"] for field in fields(Limits))
    checked = make_result(limits=Limits(total_factor=1e4))
    table = _tables(_section(build_check_document(checked), "method"))[1]
    cells = {row.header: row.cells[0] for row in table.rows}
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
    assert "![Level of the signal" in text and "(figure-check-levels.svg)" in text
    assert list(render_pictures(build_check_document(checked))) == ["figure-check-levels.svg"]
    page = _html(checked)
    for words in (
        "vanishing-activations",
        'kernel_initializer="he_normal" in layer_1',
        "1.00 [0.970, 1.03]",
        "standard normal",
    ):
        assert words in page.text and words.replace("[", "\\[").replace("]", "\\]") in text


def test_a_figure_that_is_missing_is_never_zero():
    checked = make_result()
    table = checked.table.assign(activation_batch_variance=math.nan)
    (layers,) = _tables(_section(build_check_document(replace(checked, table=table)), "layers"))
    assert {row.cells[5].text for row in layers.rows} == {"no value"}
