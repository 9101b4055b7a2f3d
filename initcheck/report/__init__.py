"""The report of a study: tables for programs, and a page for people in HTML and Markdown."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from initcheck.output import publish_files
from initcheck.record import StudyRecord
from initcheck.report.build import build_document
from initcheck.report.export import (
    summary_json,
    write_measurements_csv,
    write_measurements_parquet,
    write_summary_csv,
)
from initcheck.report.render import render_html, render_markdown, render_pictures

__all__ = ["summary_json", "write_report"]


def write_report(study: StudyRecord, out: Path) -> list[Path]:
    """Write a study's report and its tables to a folder: all files, or none.

    Args:
        study: what was measured.
        out: the folder; it is made if it is missing, and files of an earlier report in it are replaced.

    Returns:
        The files written: ``measurements.csv``, ``measurements.parquet``, ``summary.csv``, ``report.md`` with its
        ``figure-*.svg``, and ``report.html``, which needs none of the others.

    Raises:
        OutputError: if the folder cannot be written to.
    """
    document = build_document(study)
    return publish_files(
        out,
        {
            "measurements.csv": partial(write_measurements_csv, study.table),
            "measurements.parquet": partial(write_measurements_parquet, study.table),
            "summary.csv": partial(write_summary_csv, study.summary),
            **render_pictures(document),
            "report.md": render_markdown(document),
            "report.html": render_html(document),
        },
    )
