"""The report as plain data: sections, paragraphs, tables and figures, without a word about HTML or Markdown.

Both formats are written from this one structure, so they always agree. All text is raw: escaping
belongs to the format and happens in ``html.py``, ``markdown.py`` and the templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Style = Literal["plain", "code", "strong"]
Tone = Literal["passed", "failed", "undecided"]


@dataclass(frozen=True)
class Span:
    """A run of text in one style.

    Attributes:
        link: the address that it leads to, ``#`` and an anchor for one in the document; empty for none.
    """

    text: str
    style: Style = "plain"
    link: str = ""


Text = tuple[Span, ...]


def prose(*parts: str | Span | Text) -> Text:
    """Join strings, spans and texts into one text; strings are taken as plain."""
    spans: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            spans.append(Span(part))
        elif isinstance(part, Span):
            spans.append(part)
        else:
            spans.extend(part)
    return tuple(spans)


def code(text: str) -> Span:
    """Make a span for a name or a command."""
    return Span(text, "code")


def strong(text: str) -> Span:
    """Make a span to be stressed."""
    return Span(text, "strong")


def linked(text: str, address: str) -> Span:
    """Make a span that leads to an address, ``#`` and an anchor for one in the document."""
    return Span(text, link=address)


def listed(names: tuple[str, ...]) -> Text:
    """Join names into a readable list of code spans: ``a``, ``b`` and ``c``."""
    spans: list[Span] = []
    for index, name in enumerate(names):
        if index:
            spans.append(Span(" and " if index == len(names) - 1 else ", "))
        spans.append(code(name))
    return tuple(spans)


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    kind: ClassVar[str] = "paragraph"
    text: Text


def paragraph(*parts: str | Span | Text) -> Paragraph:
    """Make a paragraph of strings, spans and texts; see :func:`prose`."""
    return Paragraph(prose(*parts))


@dataclass(frozen=True)
class Bullets:
    """A list without order."""

    kind: ClassVar[str] = "bullets"
    items: tuple[Text, ...]


@dataclass(frozen=True)
class Definitions:
    """Terms with their explanations; with an anchor, each can be linked to as ``anchor-term``."""

    kind: ClassVar[str] = "definitions"
    items: tuple[tuple[str, Text], ...]
    anchor: str = ""


@dataclass(frozen=True)
class CodeBlock:
    """Literal text, such as a command line."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        picture: an ``<svg>`` element below the text, for HTML only; it only repeats what the text and the notes say.
    """

    text: str
    notes: tuple[str, ...] = ()
    tone: str = ""
    emphasis: bool = False
    picture: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table: what it is about, and its cells.

    Attributes:
        anchor: a word for links to this row, unique in the document; empty for none.
        link: the anchor that the header leads to; empty for none.
        address: what the header leads to outside of the document, in place of an anchor.
    """

    header: str
    cells: tuple[Cell, ...]
    anchor: str = ""
    link: str = ""
    address: str = ""


def table_row(header: str, *cells: str | Cell, link: str = "") -> Row:
    """Make a row of a table; a string stands for a cell with nothing but that text."""
    return Row(header, tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells), link=link)


@dataclass(frozen=True)
class Table:
    """A table with a header row and a header column."""

    kind: ClassVar[str] = "table"
    caption: Text
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    form: Literal["plain", "heat map", "claims"] = "plain"
    code_headers: bool = True


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        svg: an ``<svg>`` element for a page that defines the colours of ``palette.py``.
        phone: the same drawn for a column of ``svg.PHONE_WIDTH`` pixels; needed where ``width`` is larger than that.
    """

    title: str
    description: str
    svg: str
    width: int
    height: int
    notes: tuple[str, ...] = ()
    phone: str = ""


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a sample as an ``<svg>`` element, and its name."""

    svg: str
    label: str


@dataclass(frozen=True)
class Figure:
    """Small multiples with a shared legend."""

    kind: ClassVar[str] = "figure"
    name: str
    caption: Text
    keys: tuple[Key, ...]
    marks: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]
    alternative: str
    columns: int = 3


@dataclass(frozen=True)
class Scale:
    """The colour scale of a heat map: pairs of a tone and the range that it stands for."""

    kind: ClassVar[str] = "scale"
    steps: tuple[tuple[str, str], ...]
    label: str = "Colours of the gains"


@dataclass(frozen=True)
class Details:
    """Content that can be folded away behind a line of summary."""

    kind: ClassVar[str] = "details"
    summary: Text
    blocks: tuple[Block, ...]
    unfolded: bool = False


Block = Paragraph | Bullets | Definitions | CodeBlock | Table | Figure | Scale | Details


@dataclass(frozen=True)
class Section:
    """A part of the report, with its own parts; the anchor is safe in an address and unique in the document.

    Attributes:
        brief: what the contents say in place of a long title.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    sections: tuple[Section, ...] = field(default=())
    brief: str = ""


@dataclass(frozen=True)
class Answer:
    """What a reader wants to know first, and sees without scrolling.

    Attributes:
        verdict: one sentence.
        tone: whether all is well, something is wrong, or it is not decided.
        values: at most three, each with what it is: ``("18 of 168", "keep the signal in both directions")``.
        blocks: the one picture, or table, that shows it.
    """

    verdict: Text
    tone: Tone
    values: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report, the answer first."""

    title: str
    subtitle: Text
    sections: tuple[Section, ...]
    answer: Answer | None = None


def method_section(
    rows: Iterable[tuple[str, str]],
    versions: Mapping[str, str],
    *,
    command_line: str = "",
    more: Iterable[Block] = (),
) -> Section:
    """Write the section "How it was measured": the command, the circumstances with the versions, and more blocks."""
    command: tuple[Block, ...] = (paragraph("The command:"), CodeBlock(command_line)) if command_line else ()
    return Section("method", "How it was measured", (*command, method_table(rows, versions), *more))


def method_table(rows: Iterable[tuple[str, str]], versions: Mapping[str, str]) -> Table:
    """Tabulate the circumstances of a measurement, then the version of each package."""
    facts = tuple(table_row(name, value) for name, value in (*rows, *versions.items()))
    caption = prose("The circumstances, and the versions of the packages: with others the numbers may differ.")
    return Table(caption, ("What", "Value"), facts, code_headers=False)
