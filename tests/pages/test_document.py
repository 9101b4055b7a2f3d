"""Every page begins with its answer, and ends with the command, the circumstances and the versions."""

from __future__ import annotations

import re
from dataclasses import replace

from initcheck.pages.document import (
    Answer,
    CodeBlock,
    Document,
    Figure,
    Panel,
    Paragraph,
    Section,
    Table,
    linked,
    method_section,
    method_table,
    paragraph,
    prose,
    table_row,
)
from initcheck.pages.html import render_fragment, render_html, render_markdown, render_pictures

ROWS, VERSIONS = (("Seeds", "0 to 9"),), {"keras": "3.15.1", "numpy": "2"}


def test_the_circumstances_come_before_the_versions():
    rows = [(row.header, row.cells[0].text) for row in method_table(ROWS, VERSIONS).rows]
    assert rows == [("Seeds", "0 to 9"), ("keras", "3.15.1"), ("numpy", "2")]


def test_a_command_comes_first_and_further_blocks_last_and_without_a_command_there_is_none():
    more = Paragraph(prose("The theory."))
    section = method_section(ROWS, VERSIONS, command_line="initcheck report", more=[more])
    assert section.blocks == (
        Paragraph(prose("The command:")),
        CodeBlock("initcheck report"),
        method_table(ROWS, VERSIONS),
        more,
    )
    (only,) = method_section(ROWS, VERSIONS).blocks
    assert isinstance(only, Table)


def test_the_answer_comes_before_everything_else_on_the_page_in_markdown_and_alone_in_a_notebook():
    answer = Answer(prose("Two layers <vanish>."), "failed", (("2 of 8", "layers vanish"),), (paragraph("See here."),))
    document = Document("A page", prose("A subtitle."), (Section("more", "More", (paragraph("Much more."),)),), answer)
    page, markdown, fragment = render_html(document), render_markdown(document), render_fragment(document)
    for text in (page, fragment):
        assert '<p class="verdict failed">Two layers &lt;vanish&gt;.</p>' in text
        assert text.index("&lt;vanish&gt;") < text.index("2 of 8") < text.index("See here.")
    assert page.index("See here.") < page.index("Much more.") and "Much more." not in fragment
    assert markdown.index("**Two layers &lt;vanish&gt;.**") < markdown.index("- layers vanish: 2 of 8")
    assert markdown.index("See here.") < markdown.index("[More](#more)") < markdown.index("Much more.")


def test_pictures_of_the_answer_are_files_beside_the_markdown():
    panel = Panel("One", "A picture", '<svg viewBox="0 0 1 1"></svg>', 300, 200, phone="<svg></svg>")
    figure = Figure("first", prose("Caption."), (), (), (panel,), "A picture")
    document = Document("A page", prose("A subtitle."), (), Answer(prose("Well."), "passed", (), (figure,)))
    assert list(render_pictures(document)) == ["figure-first.svg"]
    page = render_html(document)
    assert '<div class="wide"><svg viewBox="0 0 1 1"></svg></div>' in page
    assert '<div class="phone"><svg></svg></div>' in page


def test_a_notebook_gets_no_link_into_the_page_and_ids_that_no_other_picture_has():
    drawn = '<svg viewBox="0 0 1 1"><path id="p-0" d="M0 0"/><use href="#p-0"/></svg>'
    panel = Panel("One", "A picture", drawn, 300, 200)
    figure = Figure("first", prose(linked("Caption", "#more")), (), (), (panel,), "A picture")
    table = Table(prose("Rows"), ("What", "Value"), (table_row("one", "1", link="more"),))
    answer = Answer(
        prose(linked("Well", "#more")), "passed", (), (figure, table, paragraph(linked("Keras", "https://keras.io")))
    )
    document = Document("A page", prose("A subtitle."), (), answer)
    fragment, other = render_fragment(document), render_fragment(replace(document, title="Another page"))
    assert "<a " not in fragment.replace('<a href="https://keras.io">', "")
    ids = [re.findall(r'\bid="([^"]+)"', each) for each in (fragment, other)]
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0] != ids[1]
    assert f'href="#{ids[0][0]}"' in fragment
