"""The gate in words: what comes first, what is left out, and names that are not to be trusted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from examined_model import make_result
from gate_baselines import CONDITIONS, VERSIONS, change_weight, make_baseline, rename, shift
from json_schema import find_violations
from markdown_it import MarkdownIt

from initcheck.checking.gate.comparison import compare
from initcheck.checking.gate.report import advise, format_gate, format_verdict
from initcheck.checking.report import json_document
from initcheck.checking.report.annotations import format_annotations
from initcheck.checking.report.document import build_check_document
from initcheck.checking.report.json_document import format_json
from initcheck.checking.report.sarif import format_sarif
from initcheck.checking.report.text import format_summary, format_text
from initcheck.pages.document import Figure
from initcheck.pages.html import render_html, render_markdown
from initcheck.pages.markdown import escape_text

HOSTILE = "<script>alert(1)</script>::error::\n*x* | [y](z) %0A"
PLAIN = make_baseline()
CHANGED = compare(replace(PLAIN, versions={**VERSIONS, "keras": "3.14.1"}), shift(PLAIN, "dense_2/kernel", 0.2))
OPEN = compare(make_baseline(spread=0.2), make_baseline(spread=0.2, seeds=range(100, 116), draw=1))
SCHEMA = json.loads(Path(json_document.__file__).with_name("check_schema.json").read_text(encoding="utf-8"))
RESULTS = {"same": compare(PLAIN, PLAIN), "changed": CHANGED, "inconclusive": OPEN}


def _sarif(checked, comparison):
    (run,) = json.loads(format_sarif(checked, comparison, "b.json"))["runs"]
    return run


@pytest.mark.parametrize("name", RESULTS)
def test_all_forms_tell_the_same_verdict(name):
    comparison, checked = RESULTS[name], make_result()
    line = format_verdict(comparison)
    assert line.startswith(name)
    assert format_text(checked, comparison).startswith(f"Gate: {name}")
    document = build_check_document(checked, comparison)
    assert [each.anchor for each in document.sections[:2]] == ["gate", "model"]
    assert document.answer.tone == {"same": "passed", "changed": "failed", "inconclusive": "undecided"}[name]
    assert line.split(":")[0] in render_html(document)
    assert line.split(":")[0] in render_markdown(document).replace("\\", "")
    result = json.loads(format_json(checked, comparison))
    assert result["gate"]["verdict"] == name
    assert result["exit_code"] == {"same": 0, "changed": 1, "inconclusive": 2}[name]
    assert find_violations(result, SCHEMA) == []
    assert line in format_summary(checked, comparison).replace("\\", "")
    (invocation,) = _sarif(checked, comparison)["invocations"]
    level = {"same": "note", "changed": "error", "inconclusive": "warning"}[name]
    assert invocation["toolExecutionNotifications"] == [{"level": level, "message": {"text": line}}]
    assert invocation["exitCode"] == result["exit_code"]
    level = {"same": "notice", "changed": "error", "inconclusive": "warning"}[name]
    assert format_annotations(checked, comparison, "b.json").startswith(f"::{level} file=b.json,")


def test_the_cause_comes_first_then_versions_and_all_that_changed():
    lines = format_gate(CHANGED).splitlines()
    assert lines[0] == "Gate: changed: scale of the weight dense_2/kernel x 1.22 [1.22, 1.22]"
    assert lines[1:3] == ["  the library changed, not the model", "  keras 3.14.1 -> 3.15.1"]
    assert lines[3:] == ["  1 of 20 metrics changed"]


def test_a_single_cause_is_said_once_unless_the_first_line_cuts_it_off():
    text = format_gate(compare(PLAIN, change_weight(PLAIN, "dense_2/kernel", initializer="RandomNormal")))
    assert text.count("RandomNormal") == 1
    long = "RandomNormal" + "x" * 80
    text = format_gate(compare(PLAIN, change_weight(PLAIN, "dense_2/kernel", initializer=long)))
    assert long in "".join(text.split()) and text.splitlines()[0].endswith("…")
    two = change_weight(change_weight(PLAIN, "dense_2/kernel", initializer="A"), "dense_1/kernel", initializer="B")
    assert format_gate(compare(PLAIN, two)).count("; cause: model") == 2


def test_the_factor_is_that_of_the_amplitude():
    assert "scale of the weight dense_2/kernel x 1.22 [1.22, 1.22]" in format_gate(CHANGED)


def test_many_changes_are_cut_short_unless_all_are_asked_for():
    now = PLAIN
    for layer in range(4):
        for quantity in ("forward", "activation", "backward"):
            now = shift(now, f"dense_{layer}", 0.2, quantity)
    comparison = compare(PLAIN, now)
    assert "... and 3 more like these" in format_gate(comparison)
    full = format_gate(comparison, full=True)
    assert full.count("\n  - ") == 11  # the first line says one of the twelve
    assert "more like these" not in full


def test_what_would_decide_is_advised():
    near = compare(make_baseline(spread=0.06), make_baseline(spread=0.06, seeds=range(100, 116), draw=1))
    assert (
        "If nothing has changed, about 42 to 86 seeds would show it, in the baseline too: record it with --seeds 86"
        in advise(near)
    )
    alone = compare(PLAIN, make_baseline(seeds=[99], draw=1))
    assert "No number of seeds is known to decide all of it" in advise(alone)
    assert advise(alone).endswith("Another margin would: --margin.")
    assert advise(alone, in_test=True).endswith("Another margin would: margin=.")


def test_another_batch_comes_first():
    other = replace(PLAIN, conditions=replace(CONDITIONS, batch_digest="b" * 64))
    assert "values of the batch (SHA-256): aaaaaaaaaaaa... -> bbbbbbbbbbbb..." in format_gate(compare(PLAIN, other))


def test_the_page_says_first_who_changed_something_and_folds_the_tables_with_their_counts():
    now = change_weight(OPEN.after, "dense_2/kernel", initializer="RandomNormal")
    page = render_html(build_check_document(make_result(), compare(OPEN.before, now)))
    assert "(the model changed, not the library)" in page
    assert re.search(r"<summary>\d+ metrics inconclusive", page) and "<details open" not in page


def _take_forest(comparison):
    """Take the labels and texts of the picture on the page, row by row, and its caption."""
    answer = build_check_document(make_result(), comparison).answer
    (figure,) = [each for each in answer.blocks if isinstance(each, Figure)]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure.panels[0].svg)
    return texts, "".join(span.text for span in figure.caption)


def test_what_changed_alike_is_one_line_of_the_picture_and_the_farthest_comes_first():
    now = PLAIN
    for layer in range(4):
        now = shift(now, f"dense_{layer}", 0.2, "forward")
    texts, _ = _take_forest(compare(PLAIN, shift(now, "dense_2/kernel", 0.5)))
    rows = [text for text in texts if "dense" in text or "inputs" in text]
    assert "dense_* (4), forward" in rows and "dense_2/kernel, scale" in rows
    assert rows.index("dense_2/kernel, scale") < rows.index("dense_* (4), forward")
    assert {"× 1.65", "× 1.22"} <= {text.partition(" [")[0] for text in texts}


def test_of_many_lines_the_picture_has_twelve_and_counts_the_others():
    now = PLAIN
    for place, layer in enumerate(range(4)):
        for step, quantity in enumerate(("forward", "activation", "backward"), start=1):
            now = shift(now, f"dense_{layer}", 0.2 + 0.05 * place + 0.21 * step, quantity)
    for place, layer in enumerate(range(4)):
        now = shift(now, f"dense_{layer}/kernel", 0.3 + 0.01 * place)
    comparison = compare(PLAIN, now)
    texts, caption = _take_forest(comparison)
    assert sum("dense" in text or "→" in text for text in texts) == 12
    changed = len(comparison.of_verdict("changed")) + sum(each.verdict == "changed" for each in comparison.totals)
    assert f"{changed - 12} more metrics are in the tables below" in caption


def test_the_picture_shows_what_decides_and_all_where_nothing_changed():
    assert all("dense_2/kernel" in text for text in _take_forest(CHANGED)[0] if "dense" in text)
    texts, caption = _take_forest(RESULTS["same"])
    assert "× 1.00" in texts and "none has an interval" in caption
    assert any("[" in text for text in _take_forest(OPEN)[0])


def test_the_page_names_known_findings():
    known = compare(*[make_baseline(findings=(("IC101", "dense_1"),))] * 2)
    assert "known: IC101 vanishing-activations at dense_1" in render_html(build_check_document(make_result(), known))


def test_what_another_batch_explains_is_laid_on_nothing_else():
    now = replace(shift(PLAIN, "dense_1", 0.2, "forward"), conditions=replace(CONDITIONS, batch_digest="b" * 64))
    comparison = compare(PLAIN, now)
    assert format_verdict(comparison) == "changed: not measured as the baseline was: values of the batch (SHA-256)"
    assert "cause: model" not in format_gate(comparison)


def test_names_of_layers_are_data_in_every_form():
    comparison = compare(PLAIN, rename(change_weight(PLAIN, "dense_2/kernel", initializer=HOSTILE), "dense_1", HOSTILE))
    checked = make_result(model=HOSTILE)
    document = build_check_document(checked, comparison)
    assert "<script>" not in render_html(document)
    read = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    for text in (render_markdown(document), format_summary(checked, comparison)):
        assert "<script" not in read.render(text)
    annotations = format_annotations(checked, comparison, "b.json").splitlines()
    assert all(line.startswith("::") for line in annotations)
    assert all(line.count("\n") == 0 for line in annotations)
    assert "%250A" in "".join(annotations)


def test_markdown_is_escaped_letter_by_letter():
    assert escape_text("a_b *c* <d> [e](f)\ng|h & i") == r"a_b \*c\* &lt;d&gt; \[e\](f) g\|h &amp; i"


def test_findings_that_are_known_are_marked_and_not_among_the_failures():
    checked = make_result(forward=0.2)
    found = tuple((each.code, each.layer) for each in checked.findings)
    assert found
    known = compare(make_baseline(findings=found), make_baseline(findings=found))
    assert "(known)" in format_text(checked, known)
    assert "- **vanishing activations" not in format_summary(checked, known)
    assert [each["baselineState"] for each in _sarif(checked, known)["results"]] == ["unchanged"]
    assert [each["baselineState"] for each in _sarif(checked, CHANGED)["results"]] == ["new", "new"]
    summary = format_summary(checked, compare(PLAIN, make_baseline(findings=found)))
    assert "- **vanishing activations: layer_3 and layer_4** (IC101)" in summary.replace("\\", "")
