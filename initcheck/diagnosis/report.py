"""What ``initcheck.check`` returns."""

from __future__ import annotations

import pandas as pd

from initcheck.audit.examination import Examination, Verdict
from initcheck.audit.findings import Finding
from initcheck.errors import FindingsError
from initcheck.gate.comparison import Comparison
from initcheck.probe.coverage import Coverage


class Report:
    """The result of checking one model.

    Args:
        examination: everything that was measured and found.
        comparison: what has changed since the baseline; None where there is none.
        baseline: name of the baseline's file.

    Attributes:
        examination: the same.
        comparison: the same.
        baseline: the same.
    """

    def __init__(self, examination: Examination, comparison: Comparison | None = None, baseline: str = "") -> None:
        self.examination = examination
        self.comparison = comparison
        self.baseline = baseline

    def named(self, baseline: str) -> Report:
        """Return the same report, which knows the name of the baseline's file."""
        return Report(self.examination, self.comparison, baseline)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong or could not be judged, the worst first; empty for a healthy model."""
        return self.examination.findings

    @property
    def coverage(self) -> Coverage:
        """What was measured, and what was not."""
        return self.examination.coverage

    @property
    def table(self) -> pd.DataFrame:
        """The measurement table: a row for each seed and measured site, columns of ``schema.MEASUREMENT_COLUMNS``."""
        return self.examination.table

    @property
    def verdict(self) -> Verdict:
        """``healthy``, ``findings`` or ``cannot judge``."""
        return self.examination.verdict

    @property
    def exit_code(self) -> int:
        """0 healthy (with a baseline: nothing changed, nothing new), 1 a finding or a change, 2 cannot judge."""
        if self.comparison is None:
            return self.examination.exit_code
        return self.comparison.exit_code(allow_inconclusive=self.examination.allow_inconclusive)

    def to_html(self) -> str:
        """Write the report as one self-contained page."""
        from initcheck.report.check_document import build_check_document
        from initcheck.report.render import render_html

        return render_html(build_check_document(self.examination, self.comparison))

    def to_markdown(self) -> str:
        """Write the report as Markdown; its pictures are the files of :meth:`pictures`."""
        from initcheck.report.check_document import build_check_document
        from initcheck.report.render import render_markdown

        return render_markdown(build_check_document(self.examination, self.comparison))

    def pictures(self) -> dict[str, str]:
        """Draw the pictures of the Markdown edition as SVG, by file name."""
        from initcheck.report.check_document import build_check_document
        from initcheck.report.render import render_pictures

        return render_pictures(build_check_document(self.examination, self.comparison))

    def to_json(self) -> str:
        """Write the report as JSON; its schema is told in ``docs/check.md``."""
        from initcheck.report.check_json import write_check_json

        return write_check_json(self.examination, self.comparison)

    def to_text(self, *, full: bool = False) -> str:
        """Write the report for a terminal.

        Args:
            full: all layers, not only those that matter.
        """
        from initcheck.report.check_text import write_text

        return write_text(self.examination, self.comparison, full=full)

    def to_summary(self) -> str:
        """Write the result in Markdown for the page of a pull request: failures first, the rest folded away."""
        from initcheck.report.check_summary import write_summary

        return write_summary(self.examination, self.comparison)

    def to_annotations(self) -> str:
        """Write what failed as annotations that GitHub shows on a pull request; a notice where nothing did."""
        from initcheck.report.check_summary import write_annotations

        return write_annotations(self.examination, self.comparison, self.baseline)

    def raise_for_findings(self) -> None:
        """Raise if the model is not proven healthy.

        Raises:
            FindingsError: something was found, or could not be judged. Its message is the report's text, and its
                ``exit_code`` the report's.
        """
        if self.exit_code:
            raise FindingsError(self.to_text(), self.exit_code)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        gate = "" if self.comparison is None else f", {self.comparison.verdict}"
        return f"<initcheck.Report of {self.examination.model!r}: {self.verdict}{gate}, {len(self.findings)} findings>"

    def _repr_html_(self) -> str:
        """Show the page inside a notebook, apart from the notebook's own styles."""
        from html import escape

        page = escape(self.to_html(), quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="" style="width:100%;height:800px;border:0" title="initcheck"></iframe>'
        )
