"""The section that ends every page: how the result was measured, and with which versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from initcheck.pages.document import Block, Cell, CodeBlock, Paragraph, Row, Section, Table, prose


def method_section(
    rows: Iterable[tuple[str, str]],
    versions: Mapping[str, str],
    *,
    command_line: str = "",
    more: Iterable[Block] = (),
) -> Section:
    """Write the section "How it was measured": the command, the circumstances with the versions, and more blocks."""
    command: tuple[Block, ...] = (Paragraph(prose("The command:")), CodeBlock(command_line)) if command_line else ()
    return Section("method", "How it was measured", (*command, method_table(rows, versions), *more))


def method_table(rows: Iterable[tuple[str, str]], versions: Mapping[str, str]) -> Table:
    """Tabulate the circumstances of a measurement, then the version of each package."""
    facts = tuple(Row(name, (Cell(value),)) for name, value in (*rows, *versions.items()))
    caption = prose("The circumstances, and the versions of the packages: with others the numbers may differ.")
    return Table(caption, ("What", "Value"), facts, code_headers=False)
