"""Check one model: measure it over seeds, judge what was measured, and look for fixes of what is wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from initcheck.audit.early_look import FEWEST_DRAWS, is_decided
from initcheck.audit.findings import (
    CheckResult,
    Conditions,
    Failing,
    Finding,
    InitialLoss,
    ModelMeasurement,
    Verdict,
    check_waivers,
    waive_layers,
)
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.rules import find_findings, find_unneeded, select_findings
from initcheck.audit.rules.sizes import UNSCALED_INPUTS, explain_by_inputs
from initcheck.audit.silent_weights import count_silent, find_suspects
from initcheck.audit.sizes import find_unscaled
from initcheck.audit.total_change import JudgedPath, judge_paths
from initcheck.backend import runtime
from initcheck.backend.random_state import preserved_random_state
from initcheck.checking.fixes import FixSearch, Judgement, build_fixed
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.input_specs import flatten
from initcheck.checking.inputs import make_batch
from initcheck.checking.labels import compiled_loss
from initcheck.checking.load_model import LoadedModel, adopt_model, load_model
from initcheck.checking.proof import prove_problems
from initcheck.checking.settings import CheckSettings, choose_settings, default_seeds
from initcheck.checking.sizes import compare_loss, measure_inputs, scale_inputs
from initcheck.checking.structure import describe_layers
from initcheck.core.errors import FindingsError, ModelError
from initcheck.core.files import digest_arrays
from initcheck.core.formatting import Progress, format_duration, no_progress
from initcheck.core.seeds import BATCH_SEED
from initcheck.probe import Measurement, Probe, RedrawPlan
from initcheck.probe.coverage import Coverage
from initcheck.probe.draw import LOADED, find_initializers
from initcheck.probe.first_steps import find_rounding, take_step
from initcheck.probe.loaded_weights import PresentWeights, read_present_weights
from initcheck.probe.paths import PathNamer
from initcheck.probe.places import Construction, name_places, recorded_places
from initcheck.probe.session import Session, join_measurements
from initcheck.probe.weight_copies import WeightComparison, compare_weights
from initcheck.probe.weights import WeightFacts, describe_weights

LARGE_BATCH: Final = 32
SMALL_BATCH: Final = 8
LARGE_SAMPLE: Final = 20_000

SLOW_START: Final = 2.0
"""Seconds for tracing and the first draw, up to which all others are measured at once."""
SLOW: Final = 10.0
"""Seconds for all draws from which on they are measured one at a time, and no more of them than decide."""
LONGEST: Final = 120.0
"""Seconds that the draws of a slow model may take together, unless their number was asked for."""
FEWEST_IN_TIME: Final = 5
"""Draws that are measured however long they take, unless fewer decide."""

MOST_STEPS: Final = 4
"""Small steps that are taken at most: layers of zeros that lie behind one another wake one after the other."""

_RANDOM: Final = "a fixed random linear functional of the outputs, of unit variance at each"
_COMPILED: Final = "the model's compiled loss, with the labels given"


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
        """Write the report as Markdown; its pictures are the files of :meth:`pictures`."""
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
        **options: fields of :class:`initcheck.checking.settings.CheckSettings`, instead of ``settings``: ``seeds``,
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


# --- a model ready to be measured -------------------------------------------------------------------------------------


@dataclass
class CheckSession:
    """One model, ready to be measured on its batch and with its loss.

    Attributes:
        loss_function: from outputs to a scalar; None for the random loss.
        present: what the weights hold before any draw; the loaded ones only where they are looked for.
        constructions: how the layers were made, by name.
        labels: what the user gave beside the inputs; None without.
        made: how everything was made while the user's code ran, part of the model or not.
        given: whether the inputs are the user's.
        open_ended: whether fewer seeds may be measured, since their number was left open.
        fewer: why fewer were measured, once they were; empty else.
        remake: makes the model once more; None where there is no factory.
        prepare: prepares another model likewise, on the same batch and from the same seeds.
    """

    label: str
    inputs: Any
    conditions: Conditions
    loss_function: Callable[[Any], Any] | None
    initializers: Mapping[str, Any]
    probe: Probe
    seeds: tuple[int, ...]
    redrawn: bool
    present: PresentWeights
    constructions: Mapping[str, Construction]
    remake: Callable[[], LoadedModel] | None
    prepare: Callable[[LoadedModel], CheckSession]
    made: Sequence[Construction] = ()
    labels: Any = None
    given: bool = False
    open_ended: bool = False
    fewer: str = ""

    @property
    def model(self) -> Any:
        """The built model."""
        return self.probe.model

    @property
    def plan(self) -> RedrawPlan:
        """How the weights are drawn."""
        return self.probe.plan

    @property
    def places(self) -> dict[str, str]:
        """Where the layers were made, by name: ``models.py:14``."""
        return {name: str(each.site) for name, each in self.constructions.items() if each.site is not None}

    @property
    def steps(self) -> int:
        """How many steps the progress display counts: one a draw."""
        return len(self.seeds)

    def measure(self, progress: Progress, is_decided_by: Callable[[Measurement], bool] | None = None) -> Measurement:
        """Measure the model for all seeds; a slow one draw by draw, on fewer seeds where the first decide.

        The seeds that were measured are the session's from then on.

        Args:
            is_decided_by: whether the first draws decide; it is asked only where the number of draws was left open.
        """
        progress(0, self.steps, "tracing the model")
        if not self.redrawn:
            return self.probe.measure_current_all(self.seeds[0])
        started = time.perf_counter()
        parts = [self._measure_plan(self.plan, self.seeds[:1], no_progress)]
        if time.perf_counter() - started > SLOW_START:
            # The first draw took the tracing along; the second shows how long each takes.
            started = time.perf_counter()
            parts.append(self._measure_plan(self.plan, self.seeds[1:2], no_progress))
            seconds = time.perf_counter() - started
            if seconds * self.steps > SLOW:
                self._measure_slowly(parts, seconds, progress, is_decided_by if self.open_ended else None)
        if others := self.seeds[len(parts) :]:
            parts.append(self._measure_plan(self.plan, others, progress, len(parts)))
        progress(self.steps, self.steps, "measuring")
        return join_measurements(parts)

    def _measure_slowly(
        self,
        parts: list[Measurement],
        seconds: float,
        progress: Progress,
        is_decided_by: Callable[[Measurement], bool] | None,
    ) -> None:
        """Measure the other seeds one at a time, and leave out those that are not needed or take too long."""
        planned = self.steps
        if is_decided_by is not None and (count := max(FEWEST_IN_TIME, int(LONGEST / seconds))) < planned:
            self.seeds = self.seeds[:count]
            self.fewer = f"not {planned}: each takes {format_duration(seconds)}"
        while len(parts) < self.steps:
            if is_decided_by is not None and len(parts) >= FEWEST_DRAWS and is_decided_by(join_measurements(parts)):
                self.seeds = self.seeds[: len(parts)]
                self.fewer = f"not {planned}: the first decide, and each takes {format_duration(seconds)}"
                break
            left = format_duration(float(round(seconds * (self.steps - len(parts)))))
            progress(len(parts), self.steps, f"about {left} left")
            parts.append(self._measure_plan(self.plan, self.seeds[len(parts) : len(parts) + 1], no_progress))

    def measure_after(self, steps: int, still: Collection[str]) -> Measurement:
        """Measure again after some small steps of gradient descent, in which some weights stay as they are."""
        unmoved = frozenset(self.plan.names.index(name) for name in still)

        def draw(seeds: Sequence[int]) -> list[Any]:
            ops = runtime.import_keras().ops
            replicates = []
            for values in self._draw_each(seeds):
                for _ in range(steps):
                    values = take_step(self.model, self.inputs, self.loss_function, values, unmoved)
                replicates.append(values)
            return [ops.stack(values) for values in zip(*replicates, strict=True)]

        (measured,) = Session([self.probe]).measure_all(draw, self.seeds)
        return measured

    def step_own_weights(self, steps: int, still: Collection[str]) -> list[Any]:
        """Take small steps from the model's own weights; return what they would be, and leave them as they are."""
        unmoved = frozenset(self.plan.names.index(name) for name in still)
        values = [weight.value for weight in self.model.weights]
        for _ in range(steps):
            values = take_step(self.model, self.inputs, self.loss_function, values, unmoved)
        return values

    def find_rounding(self, suspects: Sequence[str]) -> frozenset[str]:
        """Find the weights among suspects whose gradient is nothing but rounding errors, on the first draw."""
        places = {self.plan.names.index(name): name for name in suspects}
        (values,) = self._draw_each(self.seeds[:1])
        return find_rounding(self.model, self.inputs, self.loss_function, values, places)

    def _draw_each(self, seeds: Sequence[int]) -> Iterator[list[Any]]:
        """Draw the values of all weights, or take the model's own, one seed at a time."""
        drawn = self.plan.sample(seeds) if self.redrawn else [weight.value[None] for weight in self.model.weights]
        for place in range(len(seeds)):
            yield [each[place] for each in drawn]

    def compare_loss(self, measured: Measurement, limits: Limits) -> InitialLoss | None:
        """Compare the loss that was measured with chance level; None without labels, or where that is unknown."""
        if self.labels is None:
            return None
        return compare_loss(self.model, self.inputs, self.labels, measured.losses, limits)

    def with_seeds(self, seeds: tuple[int, ...]) -> CheckSession:
        """Draw from other seeds, and leave all else as it is: nothing is traced again."""
        return replace(self, seeds=seeds, fewer="")

    def with_initializers(self, changes: Mapping[str, Any]) -> CheckSession:
        """Draw some weights by other initializers, by structural path, and leave all else as it is."""
        initializers = {**self.initializers, **changes}
        return replace(
            self,
            initializers=initializers,
            probe=_make_probe(self.model, self.inputs, self.loss_function, initializers),
        )

    def with_inputs(self, inputs: Any) -> CheckSession:
        """Give the model other inputs, and leave all else as it is."""
        return replace(
            self, inputs=inputs, probe=_make_probe(self.model, inputs, self.loss_function, self.initializers)
        )

    def nodes(self) -> list[SiteNode]:
        """Describe the graph of the measured sites; known after the first measurement."""
        places = self.places
        return [
            SiteNode(
                layer=site.layer,
                kind=site.kind,
                weighted=site.weighted,
                feeds_output=position in self.probe.output_sites,
                parents=tuple(parent for parent, _ in parents),
                scale_effects=tuple(effect for _, effect in parents),
                clips_at_zero=site.clips_at_zero,
                activation=site.activation,
                place=places.get(site.layer.partition(":")[0], ""),
            )
            for position, (site, parents) in enumerate(zip(self.probe.sites, self.probe.parents, strict=True))
        ]

    def _measure_plan(self, plan: RedrawPlan, seeds: Sequence[int], progress: Progress, before: int = 0) -> Measurement:
        """Measure some seeds, of which others were measured before."""

        def report(done: float, _: int) -> None:
            progress(before + int(done), before + len(seeds), "measuring")

        (measured,) = Session([self.probe]).measure_all(plan.sample, seeds, report)
        return measured


def _make_probe(model: Any, inputs: Any, loss: Callable[[Any], Any] | None, initializers: Mapping[str, Any]) -> Probe:
    return Probe(
        model,
        inputs,
        loss=loss,
        initializers=initializers,
        every_weight=True,
        precision_range=True,
        over_time=True,
    )


def default_batch_size(model: Any) -> int:
    """Choose how many samples a batch that is made holds: 32, or 8 where a sample holds more than 20,000 numbers.

    A large sample has many positions, which say as much of a layer as many small samples do.
    """
    shapes = [tensor.shape for tensor in getattr(model, "inputs", None) or ()]
    numbers = sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
    return LARGE_BATCH if numbers <= LARGE_SAMPLE else SMALL_BATCH


def prepare_session(model: Any, x: Any, y: Any, settings: CheckSettings) -> CheckSession:
    """Load the model, make its batch and its loss, and plan the draws."""
    if isinstance(model, LoadedModel):
        loaded = model
    else:
        loaded = load_model(model) if isinstance(model, str) else adopt_model(model)
    with recorded_places(loaded.constructions) as constructions:  # a subclassed model is built by its first call
        batch = make_batch(
            loaded.model,
            x,
            y,
            batch_size=settings.batch_size or default_batch_size(loaded.model),
            input_shapes=settings.input_shapes,
            seed=BATCH_SEED,
        )
    built = loaded.model
    if not built.trainable_weights:
        raise ModelError(
            f"The model {loaded.label!r} has no trainable weights: there is no initialization to check. "
            f"Received: {len(built.weights)} weights in all. Set model.trainable = True, or give a model with weights."
        )
    loss = None if y is None else compiled_loss(built, batch.labels)
    namer = PathNamer(built)
    known = find_initializers(built, namer)
    initializers = {**known, **(loaded.initializers or {}), **batch.initializers}
    present = read_present_weights(built, initializers if settings.weights == "auto" else {})
    partly = {**initializers, **dict.fromkeys(present.loaded, LOADED)}
    plan = RedrawPlan(built, partly)
    # Where no weight varies since all were loaded, or drawn alike by choice, there is one draw: that of the model.
    one_draw = (present.declared or plan.repeated) and not plan.varies
    redrawn = settings.weights == "redraw" or (settings.weights == "auto" and not one_draw)
    initializers = partly if redrawn else initializers
    count = settings.seeds or default_seeds(sum(int(np.prod(weight.shape)) for weight in built.weights))
    first_seed = settings.first_seed or 0
    seeds = tuple(range(first_seed, first_seed + (count if redrawn else 1)))
    return CheckSession(
        label=loaded.label,
        inputs=batch.inputs,
        conditions=Conditions(
            batch=batch.description,
            batch_digest=digest_arrays(flatten([batch.inputs, batch.labels])),
            loss=_RANDOM if loss is None else _COMPILED,
            dtype_policy=str(built.dtype_policy.name),
        ),
        loss_function=loss,
        initializers=initializers,
        probe=_make_probe(built, batch.inputs, loss, initializers),
        seeds=seeds,
        redrawn=redrawn,
        present=present,
        constructions=name_places(namer, constructions),
        remake=loaded.remake,
        made=tuple(constructions.values()),
        prepare=lambda other: prepare_session(other, x, y, settings),
        labels=batch.labels,
        given=x is not None,
        open_ended=settings.seeds is None and settings.stop_early,
    )
