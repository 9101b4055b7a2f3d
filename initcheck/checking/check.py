"""Checking one model: measure it over seeds, judge what was measured, and try what would mend it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from initcheck.audit.examination import Examination, Verdict
from initcheck.audit.findings import Finding, rank_findings, select_findings, waive_layers
from initcheck.audit.limits import Limits
from initcheck.audit.rules.signal import find_course_findings
from initcheck.audit.rules.sites import find_site_findings
from initcheck.audit.rules.weights import (
    find_coverage_findings,
    find_fan_mismatches,
    find_gradient_findings,
    find_identical_weights,
    find_symmetric_units,
)
from initcheck.audit.signal import Course, judge_courses
from initcheck.audit.site_graph import SignalRoute, SiteNode, find_routes
from initcheck.backend import runtime
from initcheck.backend.random_state import preserved_random_state
from initcheck.checking.fixes import try_remedies
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.measurement import Bench, prepare_bench
from initcheck.checking.settings import CheckSettings
from initcheck.core.errors import FindingsError
from initcheck.core.progress import Progress, no_progress
from initcheck.probe.coverage import Coverage
from initcheck.probe.weight_copies import compare_weights
from initcheck.probe.weights import WeightFacts, describe_weights


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
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_html

        return render_html(build_check_document(self.examination, self.comparison))

    def to_markdown(self) -> str:
        """Write the report as Markdown; its pictures are the files of :meth:`pictures`."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_markdown

        return render_markdown(build_check_document(self.examination, self.comparison))

    def pictures(self) -> dict[str, str]:
        """Draw the pictures of the Markdown edition as SVG, by file name."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_pictures

        return render_pictures(build_check_document(self.examination, self.comparison))

    def to_json(self) -> str:
        """Write the report as JSON; its schema is told in ``docs/check.md``."""
        from initcheck.checking.report.text import write_check_json

        return write_check_json(self.examination, self.comparison)

    def to_text(self, *, full: bool = False) -> str:
        """Write the report for a terminal.

        Args:
            full: all layers, not only those that matter.
        """
        from initcheck.checking.report.text import write_text

        return write_text(self.examination, self.comparison, full=full)

    def to_summary(self) -> str:
        """Write the result in Markdown for the page of a pull request: failures first, the rest folded away."""
        from initcheck.checking.report.text import write_summary

        return write_summary(self.examination, self.comparison)

    def to_annotations(self) -> str:
        """Write what failed as annotations that GitHub shows on a pull request; a notice where nothing did."""
        from initcheck.checking.report.text import write_annotations

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


def check(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    settings: CheckSettings | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Check a Keras model at initialization: does the signal survive it, forward and backward?

    The model is measured as it is and left as it was, bit for bit. By default its weights are drawn anew for each of
    several seeds, by its own initializers and inside the measurement: the model's own weights stay.

    Args:
        model: a Keras model, a function that makes one, or text: ``package.module:factory``,
            ``path/file.py:factory``, a ``.keras`` file, or ``applications:NAME``.
        x: a batch in the structure that the model takes, arrays of shape [B, ...]. None makes one from the model's
            inputs: standard normal numbers, or integers within the Embedding's range.
        y: labels. With them the loss is the model's compiled one, else a fixed random linear functional of the outputs
            with unit variance at each output.
        settings: how to check.
        progress: called with the steps done, all steps, and what is being done.
        **options: fields of :class:`initcheck.checking.settings.CheckSettings`, instead of ``settings``: ``seeds``,
            ``weights``, ``select``, ``ignore``, ``waive``...

    Returns:
        The report: ``findings``, ``coverage``, ``table``, ``to_html()``, ``raise_for_findings()``.

    Raises:
        ModelError: the model cannot be loaded, built or run.
        DataError: the batch or the labels do not fit the model.
        UsageError: a setting is unknown or out of range.
    """
    if settings is not None and options:
        raise TypeError(f"Give settings or single options, not both. Received both: {sorted(options)}.")
    chosen = settings or CheckSettings(**options)
    started = time.perf_counter()
    tell = progress or no_progress
    runtime.import_keras()
    with preserved_random_state():
        bench = prepare_bench(model, x, y, chosen)
        examination = examine(bench, chosen, tell, started)
    return Report(examination)


def examine(bench: Bench, settings: CheckSettings, tell: Progress, started: float) -> Examination:
    """Measure and judge a model whose batch and loss are ready."""
    table, weights = bench.measure(tell)
    nodes = bench.nodes()
    routes = find_routes(nodes)
    courses = judge_courses(table, nodes, routes, settings.limits)
    facts = describe_weights(bench.model, bench.plan)
    coverage = bench.probe.coverage(redrawn=bench.redrawn)
    found = judge(table, weights, nodes, routes, courses, facts, coverage, settings.limits)
    tell(bench.steps, bench.steps, "comparing weights")
    found += _compare_weights(bench, facts)
    ranked = rank_findings(found)
    kept = waive_layers(select_findings(ranked, settings.select, settings.ignore), settings.waive)
    told = {(each.code, each.layer) for each in kept}
    waived = tuple(each for each in ranked if (each.code, each.layer) not in told)
    if settings.remedies and settings.weights == "redraw":
        kept = tuple(try_remedies(bench, kept, courses, routes, facts, settings.limits, tell))
    return Examination(
        model=bench.label,
        findings=kept,
        waived=waived,
        coverage=coverage,
        courses=tuple(courses),
        nodes=tuple(nodes),
        table=table,
        weights=weights,
        facts=facts,
        seeds=bench.seeds,
        redrawn=settings.weights == "redraw",
        conditions=bench.conditions,
        limits=settings.limits,
        allow_inconclusive=settings.allow_inconclusive,
        versions=runtime.versions(),
        seconds=time.perf_counter() - started,
    )


def judge(
    table: pd.DataFrame,
    weights: pd.DataFrame,
    nodes: Sequence[SiteNode],
    routes: Sequence[SignalRoute],
    courses: Sequence[Course],
    facts: Sequence[WeightFacts],
    coverage: Coverage,
    limits: Limits,
) -> list[Finding]:
    """Collect the findings of all rules that need the measurements only."""
    return [
        *find_course_findings(courses, limits),
        *find_site_findings(table, nodes, routes, limits),
        *find_gradient_findings(weights),
        *find_fan_mismatches(facts, limits.fan_ratio),
        *find_coverage_findings([(gap.path, gap.reason) for gap in coverage.open_gaps]),
    ]


def _compare_weights(bench: Bench, facts: Sequence[WeightFacts]) -> Iterator[Finding]:
    comparison = compare_weights(bench.model, facts, bench.inputs, bench.loss_function)
    yield from find_identical_weights(comparison)
    yield from find_symmetric_units(comparison)
