"""A term is linked where it first stands in a sentence, and explained once, at the end."""

from __future__ import annotations

from html_page import Page

from initcheck.pages import glossary
from initcheck.pages.document import Answer, Details, Document, Section, Span, code, paragraph, prose
from initcheck.pages.html import render_html, render_markdown

ANSWER = Answer(prose("The gain is kept."), "passed", (("1", "gain"),))


def make(*blocks):
    return Document("A page", prose("About gains."), (Section("one", "A margin", blocks),), ANSWER)


def test_a_term_is_linked_where_it_first_stands_in_either_number_and_never_again():
    linked = glossary.add_glossary(make(paragraph("Gains and Margins; a margin.")))
    assert linked.answer.verdict[1] == Span("gain", link="#term-gain")
    assert [span.text for span in linked.sections[0].blocks[0].text if span.link] == ["Margins"]
    assert [term for term, _ in linked.sections[-1].blocks[0].items] == ["gain", "margin"]


def test_no_link_is_put_into_code_a_summary_a_title_or_another_link():
    folded = Details(prose("The margin"), (paragraph(code("margin"), Span("margin", link="#one")),))
    linked = glossary.add_glossary(make(folded))
    assert linked.sections[0].blocks == (folded,) and linked.sections[0].title == "A margin"
    assert glossary.add_glossary(Document("A page", prose("A gain."), ())) == Document("A page", prose("A gain."), ())


def test_of_two_terms_the_longer_one_is_meant_and_parts_of_words_are_none():
    found = glossary.add_glossary(make(paragraph("Second moments, geometric means, marginal fans.")))
    assert [term for term, _ in found.sections[-1].blocks[0].items] == [
        "fan",
        "gain",
        "geometric mean",
        "second moment",
    ]


def test_parts_of_paths_options_and_hyphenated_words_are_left_alone():
    text = "initcheck-baselines/x.json, baseline/y, --margin=1, power.csv, fan-like."
    assert glossary.add_glossary(make(paragraph(text))).sections[0].blocks == (paragraph(text),)
    linked = glossary.add_glossary(make(paragraph("Of power. (A fan.)"))).sections[0].blocks[0].text
    assert [span.text for span in linked if span.link] == ["power", "fan"]


def test_every_link_leads_to_its_definition_on_the_page_and_in_markdown():
    document = make(paragraph("Of the ", code("kernel"), ": the depth scale of one draw, at chance level."))
    page, markdown = Page(render_html(document)), render_markdown(document)
    page.assert_self_contained()
    for anchor in ("term-depth-scale", "term-draw", "term-chance-level"):
        assert anchor in page.ids and f"](#{anchor})" in markdown and f'<a id="{anchor}"></a>' in markdown
