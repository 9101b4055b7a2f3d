"""What a name contains is shown, never obeyed."""

from __future__ import annotations

import pytest

from initcheck.pages.document import Cell, Row, Table, code, prose, strong
from initcheck.pages.markdown import code_block, code_span, escape_text, inline, table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b", "a\\|b"),
        ("`code`", "\\`code\\`"),
        ("[x](y)", "\\[x\\](y)"),
        ("**bold**", "\\*\\*bold\\*\\*"),
        ("leaky_relu", "leaky_relu"),
        ("_private_", "\\_private\\_"),
        ("- item", "\\- item"),
        ("# heading", "\\# heading"),
        ("1. item", "1\\. item"),
        ("two\nlines", "two lines"),
        ("a & b", "a &amp; b"),
        ("https://example.org", "https&#58;//example.org"),
        ("0.5", "0.5"),
    ],
)
def test_markup_in_text_is_escaped(text: str, escaped: str):
    assert escape_text(text) == escaped


@pytest.mark.parametrize(
    ("text", "span"),
    [("He", "`He`"), ("a`b", "`` a`b ``"), ("a|b", "`a\\|b`"), ("two\nlines", "`two lines`"), ("  ", "(empty)")],
)
def test_code_spans_hold_backticks_and_pipes(text: str, span: str):
    assert code_span(text) == span


def test_a_code_block_is_fenced_by_more_backticks_than_it_holds():
    assert code_block("a ``` b") == "````text\na ``` b\n````"


def test_styles_are_written_as_markdown():
    assert inline(prose("gain of ", code("He"), ": ", strong("1 * 1"))) == "gain of `He`: **1 \\* 1**"


def test_a_table_has_as_many_cells_in_each_row_as_columns():
    rows = (Row("a|b", (Cell("x|y", ("1 | 2",)), Cell("", emphasis=False))),)
    lines = table(Table(prose("caption"), ("one", "two | three", "four"), rows)).splitlines()
    assert lines == [
        "| one | two \\| three | four |",
        "| --- | --- | --- |",
        "| `a\\|b` | x\\|y<br>1 \\| 2 |  |",
    ]
