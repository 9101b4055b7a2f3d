"""Text and tables as GitHub-flavoured Markdown, with everything escaped that could be taken for markup."""

from __future__ import annotations

import html
import re

from initcheck.pages.document import Cell, Span, Table, Text

_MARKUP = re.compile(r"([\\`*\[\]{}|~#!])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BREAKS = re.compile(r"\s+")
_ORDERED = re.compile(r"^(\d+)([.)])(?=\s)")
_BULLET = re.compile(r"^([-+=])")
_AUTOLINK = re.compile(r"(?i)\b(https?|ftp)(:)(?=//)|\bwww(\.)|@(?=\w)")


def escape_text(text: str) -> str:
    """Escape text so that it shows as it is, in a paragraph, a heading, a list or a table."""
    text = _BREAKS.sub(" ", text)
    text = "".join(_ENTITIES.get(character, character) for character in text)
    text = _MARKUP.sub(r"\\\g<0>", text)
    text = _AUTOLINK.sub(lambda match: match[0].replace(":", "&#58;").replace(".", "&#46;").replace("@", "&#64;"), text)
    return _BULLET.sub(r"\\\1", _ORDERED.sub(r"\1\\\2", text))


def code_span(text: str) -> str:
    """Write text as a code span, fenced by more backticks than it holds.

    A pipe is escaped even here, because GitHub splits a table's cells before it looks for code.
    """
    text = _BREAKS.sub(" ", text).replace("|", "\\|")
    if not text.strip():
        return "(empty)"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def code_block(text: str, language: str = "text") -> str:
    """Write literal text as a fenced block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def inline(text: Text) -> str:
    """Write a text with its styles."""
    return "".join(_span(span) for span in text)


def _span(span: Span) -> str:
    styled = _style(span)
    return f"[{styled}]({span.link})" if span.link else styled


def _style(span: Span) -> str:
    if span.style == "code":
        return code_span(span.text)
    if span.style == "strong":
        return f"**{escape_text(span.text)}**"
    # The ends of a plain span may be the spaces around a styled one; they are not the start of a line.
    return escape_text(span.text) if not span.text.startswith(" ") else " " + escape_text(span.text.lstrip())


def table(content: Table) -> str:
    """Write a table. Colours are lost; emphasised cells are bold."""
    header = [escape_text(column) for column in content.columns]
    lines = [_row(header), _row(["---"] * len(header))]
    for row in content.rows:
        first = code_span(row.header) if content.code_headers else escape_text(row.header)
        if row.address or (row.link and row.link != row.anchor):
            first = f"[{first}]({row.address or '#' + row.link})"
        if row.anchor:
            first = f'<a id="{html.escape(row.anchor)}"></a>{first}'
        lines.append(_row([first, *(_cell(cell) for cell in row.cells)]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = escape_text(cell.text)
    parts = [f"**{text}**" if cell.emphasis else text, *(escape_text(note) for note in cell.notes)]
    return "<br>".join(parts)
