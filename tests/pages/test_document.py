"""Every page ends with the command, the circumstances and the versions."""

from __future__ import annotations

from initcheck.pages.document import CodeBlock, Paragraph, Table, method_section, method_table, prose

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
