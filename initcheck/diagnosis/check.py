"""Checking one model: measure it over seeds, judge what was measured, and try what would mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from initcheck import keras_runtime
from initcheck.audit.course_findings import find_course_findings
from initcheck.audit.examination import Examination
from initcheck.audit.fans import find_fan_mismatches
from initcheck.audit.findings import Finding, rank_findings, select_findings, waive_layers
from initcheck.audit.limits import Limits
from initcheck.audit.signal import Course, judge_courses
from initcheck.audit.site_findings import find_site_findings
from initcheck.audit.site_graph import SignalRoute, SiteNode, find_routes
from initcheck.audit.weight_findings import find_coverage_findings, find_gradient_findings
from initcheck.audit.weights import find_identical_weights, find_symmetric_units
from initcheck.diagnosis.bench import Bench, prepare_bench, tell_nobody
from initcheck.diagnosis.remedies import try_remedies
from initcheck.diagnosis.report import Report
from initcheck.diagnosis.settings import CheckSettings
from initcheck.probe.coverage import Coverage
from initcheck.probe.weight_copies import compare_weights
from initcheck.probe.weight_facts import WeightFacts, describe_weights
from initcheck.random_state import preserved_random_state

ReportProgress = Callable[[int, int, str], None]


def check(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    settings: CheckSettings | None = None,
    progress: ReportProgress | None = None,
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
        **options: fields of :class:`initcheck.diagnosis.settings.CheckSettings`, instead of ``settings``: ``seeds``,
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
    tell = progress or tell_nobody
    keras_runtime.import_keras()
    with preserved_random_state():
        bench = prepare_bench(model, x, y, chosen)
        examination = examine(bench, chosen, tell, started)
    return Report(examination)


def examine(bench: Bench, settings: CheckSettings, tell: ReportProgress, started: float) -> Examination:
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
        versions=keras_runtime.versions(),
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
