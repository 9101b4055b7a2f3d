"""Check one model: measure it over seeds, judge what was measured, and look for fixes of what is wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from initcheck.audit.findings import (
    CheckResult,
    Failing,
    Finding,
    ModelMeasurement,
    Verdict,
    check_waivers,
    waive_layers,
)
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.problems import is_decided
from initcheck.audit.rules import find_findings, find_unneeded, select_findings
from initcheck.audit.rules.sizes import UNSCALED_INPUTS, explain_by_inputs
from initcheck.audit.silent_weights import count_silent, find_suspects
from initcheck.audit.sizes import find_unscaled
from initcheck.audit.total_change import JudgedPath, judge_paths
from initcheck.backend import runtime
from initcheck.backend.random_state import preserved_random_state
from initcheck.checking.fixes import FixSearch, Judgement, build_fixed
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.proof import prove_problems
from initcheck.checking.session import CheckSession, prepare_session
from initcheck.checking.settings import CheckSettings, choose_settings
from initcheck.checking.sizes import measure_inputs, scale_inputs
from initcheck.checking.structure import describe_layers
from initcheck.core.errors import FindingsError
from initcheck.core.formatting import Progress, no_progress
from initcheck.probe import Measurement
from initcheck.probe.coverage import Coverage
from initcheck.probe.weight_copies import WeightComparison, compare_weights
from initcheck.probe.weights import WeightFacts, describe_weights

MOST_STEPS: Final = 4
"""Small steps that are taken at most: layers of zeros that lie behind one another wake one after the other."""


class Report:
    """The result of checking one model.

    Attributes:
        result: everything that was measured and found.
        comparison: what has changed since the baseline; None where there is none.
        baseline: name of the baseline's file.
    """

    def __init__(self, result: CheckResult, comparison: Comparison | None = None, baseline: str = "") -> None:
        self.result = result
        self.comparison = comparison
        self.baseline = baseline

    def named(self, baseline: str) -> Report:
        """Return the same report, which knows the name of the baseline's file."""
        return Report(self.result, self.comparison, baseline)

    def with_fix_command(self, command: str) -> Report:
        """Return the same report, which says how its fixes are written into the code, if it has any that can be."""
        folder = Path.cwd().resolve()
        fixes = [each.fix for each in self.findings if each.fix is not None]
        if not any(fix.is_within(folder) for fix in fixes):
            return self
        return Report(replace(self.result, fix_command=command), self.comparison, self.baseline)

    def failing_on(self, level: Failing) -> Report:
        """Return the same report, whose exit code is 0 for what is below a level."""
        return Report(replace(self.result, fail_on=level), self.comparison, self.baseline)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong or could not be judged, the worst first; empty for a healthy model."""
        return self.result.findings

    @property
    def coverage(self) -> Coverage:
        """What was measured, and what was not."""
        return self.result.coverage

    @property
    def table(self) -> pd.DataFrame:
        """The measurement table: a row for each seed and measured site, columns of ``columns.MEASUREMENT_COLUMNS``."""
        return self.result.table

    @property
    def verdict(self) -> Verdict:
        """``healthy``, ``findings`` or ``cannot judge``."""
        return self.result.verdict

    @property
    def exit_code(self) -> int:
        """0 healthy (with a baseline: nothing changed, nothing new), 1 a finding or a change, 2 cannot judge."""
        from initcheck.checking.report.text import exit_code_of

        return exit_code_of(self.result, self.comparison)

    def to_html(self) -> str:
        """Write the report as one self-contained page."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_html

        return render_html(build_check_document(self.result, self.comparison))

    def to_markdown(self) -> str:
        """Write the report as Markdown; its pictures are the files of ``pictures``."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_markdown

        return render_markdown(build_check_document(self.result, self.comparison))

    def pictures(self) -> dict[str, str]:
        """Draw the pictures of the Markdown edition as SVG, by file name."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_pictures

        return render_pictures(build_check_document(self.result, self.comparison))

    def to_json(self) -> str:
        """Write the report as JSON; ``docs/check.md`` links its schema."""
        from initcheck.checking.report.json_document import format_json

        return format_json(self.result, self.comparison)

    def to_text(self, *, full: bool = False) -> str:
        """Write the report for a terminal.

        Args:
            full: all layers, not only those that matter.
        """
        from initcheck.checking.report.text import format_text

        return format_text(self.result, self.comparison, full=full)

    def to_summary(self) -> str:
        """Write the result in Markdown for the page of a pull request: failures first, the rest folded away."""
        from initcheck.checking.report.text import format_summary

        return format_summary(self.result, self.comparison)

    def to_annotations(self) -> str:
        """Write what failed as annotations that GitHub shows on a pull request; a notice where nothing did."""
        from initcheck.checking.report.annotations import format_annotations

        return format_annotations(self.result, self.comparison, self.baseline)

    def to_concise(self) -> str:
        """Write what failed as linters do, ``path:line: CODE text``; empty where nothing did."""
        from initcheck.checking.report.annotations import format_concise

        return format_concise(self.result, self.comparison, self.baseline)

    def to_sarif(self) -> str:
        """Write the result as SARIF 2.1.0, for services such as GitHub's code scanning."""
        from initcheck.checking.report.sarif import format_sarif

        return format_sarif(self.result, self.comparison, self.baseline)

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
        return f"<initcheck.Report of {self.result.model!r}: {self.verdict}{gate}, {len(self.findings)} findings>"

    def _repr_html_(self) -> str:
        """Show the answer inside a notebook: the verdict, the picture, and what is wrong."""
        from initcheck.checking.report.document import build_check_document
        from initcheck.pages.html import render_fragment

        return render_fragment(build_check_document(self.result, self.comparison))


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
    several seeds, by its own initializers and inside the measurement: the model's own weights stay. Weights that these
    initializers cannot have drawn, because they were loaded or trained, are measured as they are.

    Args:
        model: a Keras model, a function that makes one, or text: ``package.module:factory``,
            ``path/file.py:factory``, a ``.keras`` file, or ``applications:NAME``.
        x: a batch in the structure that the model takes, arrays of shape [B, ...]. None makes one from the model's
            inputs: standard normal numbers, or integers within the Embedding's range.
        y: labels. With them the loss is the model's compiled one, else a fixed random linear functional of the outputs
            with unit variance at each output.
        settings: how to check.
        progress: called with the steps done, all steps, and what is being done.
        **options: fields of ``initcheck.checking.settings.CheckSettings``, instead of ``settings``: ``seeds``,
            ``weights``, ``select``, ``ignore``, ``waive``...

    Returns:
        The report: ``findings``, ``coverage``, ``table``, ``to_html()``, ``raise_for_findings()``.

    Raises:
        ModelError: the model cannot be loaded, built or run.
        DataError: the batch or the labels do not fit the model.
        UsageError: a setting is unknown or out of range.
    """
    chosen = choose_settings(settings, options)
    started = time.perf_counter()
    runtime.import_keras()
    with preserved_random_state():
        session = prepare_session(model, x, y, chosen)
        result = check_session(session, chosen, progress or no_progress, started)
        if chosen.prove:
            build = partial(build_fixed, session)
            result = prove_problems(result, session, build, chosen.prove, progress or no_progress)
            result = replace(result, seconds=time.perf_counter() - started)
        return Report(result)


def check_session(session: CheckSession, settings: CheckSettings, progress: Progress, started: float) -> CheckResult:
    """Measure and judge a model whose batch and loss are ready."""
    judgement = _judge_session(session, settings, progress)
    coverage, measurement, kept = judgement.coverage, judgement.measurement, judgement.kept
    keys = session.probe.keys()
    name_of = dict(zip(session.plan.paths, session.plan.names, strict=True))
    hints = check_waivers(settings.waive, keys)
    reported = {(each.code, each.layer) for each in kept}
    waived = tuple(each for each in judgement.found if (each.code, each.layer) not in reported)
    if settings.fixes and session.redrawn:

        def judge(edited: CheckSession) -> Judgement:
            return _judge_session(edited, settings, no_progress)

        kept = FixSearch(session, judgement, judge, progress).add_fixes()
    return CheckResult(
        model=session.label,
        findings=kept,
        waived=waived,
        coverage=coverage,
        paths=tuple(measurement.paths),
        nodes=tuple(measurement.nodes),
        table=measurement.table,
        weights=measurement.gradients,
        facts=tuple(measurement.facts),
        seeds=session.seeds,
        redrawn=session.redrawn,
        conditions=session.conditions,
        limits=settings.limits,
        allow_inconclusive=settings.allow_inconclusive,
        versions=runtime.versions(),
        seconds=time.perf_counter() - started,
        loaded=tuple(map(name_of.__getitem__, session.present.declared)),
        not_finite=tuple(map(name_of.__getitem__, session.present.not_finite)),
        keys=keys,
        places={
            **session.places,
            **{each.layer: each.place for each in measurement.nodes if each.place},
            **{each.path: each.place for each in measurement.facts if each.place},
        },
        hints=hints,
        fewer=session.fewer,
        sites={name: each.site for name, each in session.constructions.items() if each.site is not None},
        loaded_at=time.time() - (time.perf_counter() - started),
        layers=describe_layers(session.probe.namer, session.probe.arguments),
        unneeded=find_unneeded(judgement.found, settings.ignore, settings.waive),
    )


def _judge_session(session: CheckSession, settings: CheckSettings, progress: Progress) -> Judgement:
    """Measure a model, and find what is wrong with it, without what was deselected or waived."""
    measurement = _measure_session(session, settings.limits, progress)
    found = find_findings(measurement)
    if any(each.code == UNSCALED_INPUTS.code for each in found) and any(each.severity == "wrong" for each in found):
        off = [each.given for each in find_unscaled(measurement)]
        scaled = session.with_inputs(scale_inputs(session.inputs, off))
        again = _measure_session(scaled, settings.limits, progress, measurement)
        found = explain_by_inputs(found, find_findings(again), measurement)
    kept = waive_layers(select_findings(found, settings.select, settings.ignore), settings.waive)
    coverage = session.probe.coverage(redrawn=session.redrawn)
    return Judgement(coverage, measurement, tuple(found), kept, session.seeds)


def _measure_session(
    session: CheckSession, limits: Limits, progress: Progress, known: ModelMeasurement | None = None
) -> ModelMeasurement:
    """Measure all that is judged; what is known of the weights of the same model on other inputs is taken over."""

    def is_decided_by(first: Measurement) -> bool:
        own = describe_weights(session.model, session.plan, session.places)
        nothing = WeightComparison((), (), 0)  # what the model's own weights hold is the same for all draws
        return is_decided(lambda: find_findings(_collect(session, first, limits, own, nothing)), session.nodes())

    measured = session.measure(progress, is_decided_by if known is None else None)
    facts = describe_weights(session.model, session.plan, session.places) if known is None else known.facts
    after, rounding = _follow_silent_weights(session, measured.weights, progress)
    progress(session.steps, session.steps, "comparing weights")
    if known is None:
        later = session.step_own_weights(len(after), rounding) if after else None
        comparison = compare_weights(session.model, facts, session.inputs, session.loss_function, later=later)
    else:
        comparison = known.comparison
    return _collect(session, measured, limits, facts, comparison, after, rounding)


def _collect(
    session: CheckSession,
    measured: Measurement,
    limits: Limits,
    facts: Sequence[WeightFacts],
    comparison: WeightComparison,
    after: Sequence[Measurement] = (),
    rounding: frozenset[str] = frozenset(),
) -> ModelMeasurement:
    """Bring together all that rules judge."""
    nodes = session.nodes()
    return ModelMeasurement(
        table=measured.table,
        nodes=nodes,
        paths=_judge_paths(measured.table, after, nodes, limits),
        gradients=measured.weights,
        facts=facts,
        comparison=comparison,
        gaps=[(gap.path, gap.reason) for gap in session.probe.coverage(redrawn=session.redrawn).open_gaps],
        limits=limits,
        over_time=measured.over_time,
        after=after,
        uses=session.probe.uses,
        rounding=rounding,
        constant_softmaxes=session.probe.constant_softmaxes,
        dtype_policy=session.conditions.dtype_policy,
        given=measure_inputs(session.model, session.inputs, limits) if session.given else (),
        initial_loss=session.compare_loss(measured, limits),
    )


def _follow_silent_weights(
    session: CheckSession, gradients: pd.DataFrame, progress: Progress
) -> tuple[list[Measurement], frozenset[str]]:
    """Take small steps until no more weights get a gradient, and find those whose gradient is rounding errors.

    Without weights that are as good as without a gradient nothing is measured.
    """
    uses = session.probe.uses
    suspects = find_suspects(gradients, uses)
    rounding = session.find_rounding(suspects) if suspects else frozenset()
    silent = count_silent(gradients, uses, rounding)
    after: list[Measurement] = []
    while silent and len(after) < MOST_STEPS:
        progress(session.steps, session.steps, "taking a small step")
        after.append(session.measure_after(len(after) + 1, rounding))
        before, silent = silent, count_silent(after[-1].weights, uses, rounding)
        if silent >= before:
            break
    return after, rounding


def _judge_paths(
    table: pd.DataFrame, after: Sequence[Measurement], nodes: Sequence[SiteNode], limits: Limits
) -> list[JudgedPath]:
    """Judge all paths; one that is dead at initialization by what it is after the small steps that were taken.

    How much it falls there says nothing: the size of a layer that was zero is that of the steps.
    """
    paths = find_paths(nodes)
    judged = judge_paths(table, nodes, paths, limits)
    if not after or not any(each.outcome == "dead" for each in judged):
        return judged
    later = judge_paths(after[-1].table, nodes, paths, limits)
    return [
        each
        if each.outcome != "dead"
        else replace(each, wakes=True)
        if again.outcome in ("falls", "undecided")
        else again
        for each, again in zip(judged, later, strict=True)
    ]
