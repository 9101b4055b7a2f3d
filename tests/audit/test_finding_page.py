"""A finding in a notebook: what was found, its value beside the limit, the fix."""

from __future__ import annotations

import re

import pytest
from examined_model import HOSTILE, make_fix, make_result
from html_page import Page

from initcheck.audit.finding_page import build_finding_document
from initcheck.audit.findings import Finding, Measured
from initcheck.pages.document import Figure, Table


def _picture(finding: Finding) -> list[str]:
    """Take the texts of the picture; nothing without one."""
    answer = build_finding_document(finding).answer
    assert answer is not None
    figures = [block for block in answer.blocks if isinstance(block, Figure)]
    return re.findall(r"<text[^>]*>([^<]*)</text>", figures[0].panels[0].svg) if figures else []


def test_a_finding_shows_its_message_value_limit_picture_and_table():
    (finding,) = make_result(forward=0.2).findings
    page = Page(finding._repr_html_())
    for words in ("The signal falls to 1/24.9", "0.00162 [0.00156, 0.00168]", "0.01", "layer_3 and layer_4"):
        assert words in page.text
    answer = build_finding_document(finding).answer
    assert answer is not None and answer.tone == "failed"
    assert [type(block) for block in answer.blocks] == [Figure, Table]
    assert "as it is" in _picture(finding) and "with the fix" not in _picture(finding)


def test_a_fix_stands_below_the_value_as_it_is():
    finding = make_result(forward=0.2, fix=make_fix()).findings[0]
    texts = _picture(finding)
    assert {"as it is", "with the fix", "0.300 [0.290, 0.310]", "1.00 [0.970, 1.03]"} <= set(texts)
    # Cells may break within a name, so that the parts of their text stand apart.
    assert 'kernel_initializer="he_normal"inlayer_1' in "".join(Page(finding._repr_html_()).text.split())


@pytest.mark.parametrize(
    "measured", [None, Measured("factor", 0.0, limit=0.01), Measured("factor", float("inf"), limit=100.0)]
)
def test_without_a_number_that_has_a_place_there_is_a_table_and_no_picture(measured):
    finding = Finding("IC301", "layer_1/kernel", "equal", measured)
    assert _picture(finding) == []
    assert "layer_1/kernel" in Page(finding._repr_html_()).text


def test_a_share_lies_on_a_scale_of_shares():
    texts = _picture(Finding("IC303", "layer_1", "half are dead", Measured("share", 0.55, 0.5, 0.6, 0.25, 8)))
    assert "55% [50%, 60%]" in texts and not any("×" in text for text in texts)


@pytest.mark.parametrize(("code", "note", "tone"), [("IC601", False, "undecided"), ("IC303", True, "passed")])
def test_what_is_not_judged_and_what_is_a_note_have_colours_of_their_own(code, note, tone):
    answer = build_finding_document(Finding(code, "layer_1", "seen", note=note)).answer
    assert answer is not None and answer.tone == tone


def test_a_name_is_text_and_nothing_else():
    page = Page(Finding("IC301", HOSTILE, f"{HOSTILE} is a copy")._repr_html_())
    assert "script" not in page.tag_names
