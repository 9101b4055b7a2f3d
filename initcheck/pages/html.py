"""A document as HTML and as Markdown. HTML is escaped by jinja2 (autoescape is on), Markdown by ``markdown.py``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from initcheck.pages import glossary, markdown, palette, svg
from initcheck.pages.document import (
    Block,
    Bullets,
    Details,
    Document,
    Figure,
    Paragraph,
    Section,
    Span,
    Table,
    Text,
)

_TAGS = {"code": Markup("<code>{}</code>"), "strong": Markup("<strong>{}</strong>"), "plain": Markup("{}")}
_LINK = Markup('<a href="{}">{}</a>')
_BREAK_IN_CALL = re.compile(r"(?=\()|(?<==)|(?<=,)(?=[A-Za-z])")
_BREAK_BEFORE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?=\()|(?<=[,=_])|(?<=\.)(?=[A-Za-z])")


def render_html(document: Document) -> str:
    """Render a document as one self-contained page: no script, nothing fetched from elsewhere."""
    return _environment("html").get_template("report.html.jinja").render(document=glossary.add_glossary(document))


def render_fragment(document: Document) -> str:
    """Render the answer of a document for a notebook: the verdict, its values, and the picture that shows it."""
    answer = document.answer
    if answer is not None:
        answer = replace(answer, verdict=_detach(answer.verdict), blocks=tuple(map(_detach_block, answer.blocks)))
    template = _environment("html").get_template("fragment.html.jinja")
    fragment = template.render(document=replace(document, answer=answer))
    # A notebook holds several, whose pictures may bear the same names.
    return svg.prefix_ids(fragment, f"i{hashlib.sha256(fragment.encode()).hexdigest()[:8]}")


def _detach(text: Text) -> Text:
    """Drop the links to places in the document, which a part of it has not got."""
    return tuple(replace(span, link="" if span.link.startswith("#") else span.link) for span in text)


def _detach_block(block: Block) -> Block:
    match block:
        case Paragraph():
            return Paragraph(_detach(block.text))
        case Bullets():
            return Bullets(tuple(map(_detach, block.items)))
        case Table():
            rows = tuple(replace(row, link="") for row in block.rows)
            return replace(block, caption=_detach(block.caption), rows=rows)
        case Figure():
            return replace(block, caption=_detach(block.caption))
        case Details():
            return replace(block, blocks=tuple(map(_detach_block, block.blocks)))
        case _:
            return block


def render_markdown(document: Document) -> str:
    """Render a document as GitHub-flavoured Markdown. Its pictures are the files of ``render_pictures``."""
    document = glossary.add_glossary(document)
    return _environment("markdown").get_template("report.md.jinja").render(document=document)


def render_pages(document: Document, name: str) -> dict[str, str]:
    """Render a document as the files ``name.html`` and ``name.md``, and the pictures of the latter."""
    return {
        f"{name}.html": render_html(document),
        f"{name}.md": render_markdown(document),
        **render_pictures(document),
    }


def render_pictures(document: Document) -> dict[str, str]:
    """Render each figure of a document as an SVG file."""
    first = _figures_in(document.answer.blocks) if document.answer else []
    figures = [*first, *(figure for section in document.sections for figure in _figures(section))]
    return {picture_name(figure): svg.compose_file(figure) for figure in figures}


def picture_name(figure: Figure) -> str:
    """Name the file of a figure."""
    return f"figure-{figure.name}.svg"


def _figures(section: Section) -> list[Figure]:
    found = _figures_in(section.blocks)
    for part in section.sections:
        found += _figures(part)
    return found


def _figures_in(blocks: tuple[Block, ...]) -> list[Figure]:
    found = []
    for block in blocks:
        if isinstance(block, Figure):
            found.append(block)
        elif isinstance(block, Details):
            found += _figures_in(block.blocks)
    return found


@cache
def _environment(form: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("initcheck.pages", "templates"),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["picture_name"] = picture_name
    environment.filters["spans_html"] = _spans_html
    if form == "html":
        environment.filters["spans"] = _spans_html
        environment.filters["words"] = _words
        environment.filters["breakable"] = _breakable
        environment.filters["breakable_call"] = _breakable_call
        # Pictures are built by svg.py through an XML serializer, which escapes the names in them.
        environment.filters["drawn"] = Markup
        environment.globals["variables"] = svg.palette_variables()
        environment.globals["tones"] = palette.TONES
        environment.globals["font_family"] = Markup(svg.FONT_FAMILY)
    else:
        environment.filters["text"] = markdown.escape_text
        environment.filters["spans"] = markdown.inline
        environment.filters["table"] = markdown.table
        environment.filters["literal"] = markdown.code_block
    return environment


def _spans_html(text: Text) -> Markup:
    return Markup("").join(_span(span) for span in text)


def _span(span: Span) -> Markup:
    styled = _TAGS[span.style].format(span.text)
    return _LINK.format(span.link, styled) if span.link else styled


def _words(text: Text) -> str:
    return "".join(span.text for span in text)


def _breakable(name: str) -> Markup:
    """Let a long name break where its words do."""
    return Markup("<wbr>").join(_BREAK_BEFORE.split(name))


def _breakable_call(text: str) -> Markup:
    """Let a long call break before its arguments."""
    return Markup("<wbr>").join(_BREAK_IN_CALL.split(text))
