"""The planted defects, as a page of their own: each with the claims that turned red because of it."""

from __future__ import annotations

import csv
from pathlib import Path

from initcheck.core.errors import DataError
from initcheck.core.formatting import count
from initcheck.pages.document import Cell, Details, Document, Row, Section, Table, code, linked, prose
from initcheck.spec.records import PowerTable


def read_power_table(path: Path) -> PowerTable:
    """Read the table of planted defects: a CSV file with a head, the defect in the first column."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = [tuple(line) for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {str(path)!r} as CSV: {' '.join(str(error).split())}.") from error
    if not lines or len({len(line) for line in lines}) > 1 or len(lines[0]) < 2:
        raise DataError(f"{str(path)!r} is no table of defects. Give CSV with a head, the defect in the first column.")
    return PowerTable(lines[0], tuple(lines[1:]))


def group_by_defect(power: PowerTable) -> dict[str, list[tuple[str, ...]]]:
    """Give the rows of each planted defect: one that several claims caught has several."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for line in power.rows:
        groups.setdefault(line[0], []).append(line)
    return groups


def build_defects(power: PowerTable, suffix: str) -> Document:
    """Build the page of the planted defects, each folded."""
    columns = tuple(name.replace("_", " ").capitalize() for name in power.columns)
    groups = group_by_defect(power)
    blocks = []
    for defect, lines in groups.items():
        rows = tuple(Row(line[0], tuple(Cell(text) for text in line[1:])) for line in lines)
        table = Table(prose("What turned red because of ", code(defect), "."), columns, rows, form="claims")
        blocks.append(Details(prose(code(defect), f": {count(len(rows), 'row')}"), (table,)))
    subtitle = prose(
        "Each was planted into Keras, one at a time, and the claims that it concerns were judged. ",
        linked("The specification", f"../spec{suffix}"),
        ".",
    )
    title = count(len(groups), "planted defect")
    return Document(title, subtitle, (Section("defects", "What turned red because of each", tuple(blocks)),))
