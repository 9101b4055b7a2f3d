"""The result of ``initcheck check`` as a document: the verdict first, then each finding, the picture, all figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import numpy as np

from initcheck.audit.examination import Examination, Verdict
from initcheck.audit.findings import RULES, Finding, Measured, Remedy
from initcheck.audit.limits import Limits
from initcheck.audit.rules.signal import describe_rate
from initcheck.audit.signal import Course
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import write_gate
from initcheck.checking.report.figures import draw_check_figure
from initcheck.checking.report.layers import LayerRow, layer_rows
from initcheck.checking.report.text import (
    coverage_line,
    describe_measured,
    verdict_line,
    write_figure,
    write_interval,
    write_limit,
)
from initcheck.core.formatting import count, format_change, format_duration, format_number, format_share
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Document,
    Paragraph,
    Row,
    Section,
    Table,
    code,
    prose,
    strong,
)
from initcheck.probe.coverage import Coverage, Gap

_FOLDED_GAPS: Final = 10

LIMIT_SOURCES: Final = {
    "total_factor": (
        "change of a second moment or a squared gradient norm along the whole route",
        "one order of magnitude in the standard deviation, about what learning rates are tuned over",
    ),
    "layer_margin": (
        "change a layer that is allowed whatever the depth; it counts where it allows more than total_factor",
        "the margin within which a network counts as keeping the signal: 5%",
    ),
    "step_factor": (
        "change in a single step that no later layer makes up for",
        "as total_factor",
    ),
    "dead_fraction": (
        "share of units that are zero on the whole batch",
        "ReLU on inputs that are all alike makes half of the units zero",
    ),
    "saturated_fraction": (
        "share of a bounded activation function’s outputs at its ends",
        "Glorot and Bengio 2010, section 3.1: the majority is saturated",
    ),
    "sample_share": (
        "share of the second moment that has to vary across samples",
        "below it inputs cannot be told apart in practice; Schoenholz et al. 2017, section 3",
    ),
    "fan_ratio": (
        "ratio by which the variance of a layer’s sums may be off through another fan",
        "Glorot’s compromise between both fans is off by less for layers that narrow or widen by less than three",
    ),
    "float16_fraction": (
        "share of the values that are not zero and lie outside float16’s range",
        "Micikevicius et al. 2018, section 3.2",
    ),
}
"""By name of the limit: what it limits, and where it comes from."""


def write_coverage(coverage: Coverage) -> Section:
    """Write what was measured, and what was not, with the reasons."""
    covered = [gap for gap in coverage.gaps if gap.covered_by]
    told = f"Measured: {count(coverage.calls, 'layer call')}, and {count(coverage.weights, 'weight')}."
    blocks: list[Block] = [Paragraph(prose(told))]
    if coverage.open_gaps:
        blocks.append(_gap_table("What was not measured. Nothing is known of it.", coverage.open_gaps))
    else:
        blocks.append(Paragraph(prose("Nothing was left out.")))
    if covered:
        caption = "Parts without numbers of their own, and what stands for them."
        table = _gap_table(caption, covered)
        summary = prose(f"{count(len(covered), 'part')} without numbers of their own")
        blocks.append(Details(summary, (table,), unfolded=len(covered) <= _FOLDED_GAPS))
    return Section("coverage", "Coverage", tuple(blocks))


def write_method(examination: Examination) -> Section:
    """Write how a model was measured, what it was held against, and with which versions."""
    seeds = examination.seeds
    drawn = f"{count(len(seeds), 'draw')}, seeds {seeds[0]} to {seeds[-1]}, by the model’s own initializers"
    facts = (
        ("Model", examination.model),
        ("Weights", drawn if examination.redrawn else "as they are: one draw, and no intervals over seeds"),
        ("Batch", examination.conditions.batch),
        ("Loss", examination.conditions.loss),
        ("What is undecided", "let pass, as asked" if examination.allow_inconclusive else "counts as not judged"),
        ("Exit code", f"{examination.exit_code}: {examination.verdict}"),
        ("Duration", format_duration(examination.seconds)),
        *((name, version) for name, version in examination.versions.items()),
    )
    rows = tuple(Row(name, (Cell(value),)) for name, value in facts)
    circumstances = Table(prose("The circumstances, and the versions."), ("What", "Value"), rows, code_headers=False)
    return Section("method", "How it was measured", (circumstances, _limit_table(examination.limits)))


def _limit_table(limits: Limits) -> Table:
    defaults = Limits()
    rows = []
    for field in fields(limits):
        value, default = getattr(limits, field.name), getattr(defaults, field.name)
        what, source = LIMIT_SOURCES[field.name]
        notes = () if value == default else (f"default: {default:g}",)
        rows.append(Row(field.name, (Cell(f"{value:g}", notes), Cell(what), Cell(source))))
    caption = prose("The limits, all of them in squares; [tool.initcheck.limits] in pyproject.toml changes them.")
    return Table(caption, ("Limit", "Value", "Of what", "Where it comes from"), tuple(rows), form="claims")


def _gap_table(caption: str, gaps: list[Gap] | tuple[Gap, ...]) -> Table:
    rows = tuple(Row(gap.path, (Cell(gap.kind), Cell(gap.reason), Cell(gap.covered_by or "nothing"))) for gap in gaps)
    return Table(prose(caption), ("Layer or weight", "Kind", "Reason", "Measured through"), rows)


_UNFOLDED_LAYERS: Final = 30
_NAMED: Final = 1  # layers that need no list of their own
_MEANINGS: Final[dict[Verdict, str]] = {
    "healthy": "Every layer call and every weight was measured or is accounted for, and no rule found anything.",
    "findings": "Something is wrong with this model at initialization.",
    "cannot judge": "Nothing was shown to be wrong, but not everything could be measured or decided.",
}
_OUTCOMES: Final = {
    "within": ("within the limit", "kept"),
    "falls": ("falls", "fading-3"),
    "grows": ("grows", "growing-3"),
    "undecided": ("undecided", "unknown"),
    "dead": ("exactly zero", "dead"),
    "nonfinite": ("not finite", "non-finite"),
}
_ROUTE_COLUMNS: Final = ("Route", "Judgement", "Change in all", "Factor a step", "Limit", "Beyond it from")
_LAYER_COLUMNS: Final = (
    "Layer",
    "#",
    "Kind",
    "Second moment of z",
    "Variance of h",
    "Varies across samples",
    "Zero",
    "Squared gradient norm",
    "Findings",
)


def build_check_document(examination: Examination, comparison: Comparison | None = None) -> Document:
    """Build the page of an examined model as plain data.

    Args:
        examination: the result.
        comparison: what has changed since the baseline; None without one.

    Returns:
        The document, for ``render_html``, ``render_markdown`` and ``render_pictures``. All names in it are raw.
    """
    titled = list(zip(_titles(examination.findings), examination.findings, strict=True))
    sections = [] if comparison is None else [write_gate(comparison)]
    sections.append(_write_answer(examination))
    if titled:
        parts = tuple(_write_finding(finding, title, place) for place, (title, finding) in enumerate(titled))
        introduction = Paragraph(prose("The worst first. Figures of the signal are in squares, with 95% intervals."))
        sections.append(Section("findings", "Findings", (introduction,), parts))
    sections += [
        _write_picture(examination),
        _write_routes(examination),
        _write_layers(layer_rows(examination)),
        write_coverage(examination.coverage),
        write_method(examination),
    ]
    subtitle = prose("Does the signal survive ", code(examination.model), " at initialization, forward and backward?")
    return Document(f"initcheck: {examination.model}", subtitle, tuple(sections))


def _titles(findings: Sequence[Finding]) -> list[str]:
    """Title each finding by its rule, with the layer where a rule found more than one thing."""
    codes = [finding.code for finding in findings]
    return [
        f"{each.code} {each.name}" + (f": {each.layer}" if codes.count(each.code) > 1 and each.layer else "")
        for each in findings
    ]


# --- the answer -------------------------------------------------------------------------------------------------------


def _write_answer(examination: Examination) -> Section:
    blocks: list[Block] = [
        Paragraph(prose(strong(f"{verdict_line(examination)}."), f" {_MEANINGS[examination.verdict]}")),
        Paragraph(prose(coverage_line(examination))),
    ]
    if examination.findings:
        rows = tuple(_finding_row(finding, place) for place, finding in enumerate(examination.findings))
        columns = ("Finding", "First at", "Figure", "Limit", "What mends it")
        caption = prose("What was found, the worst first.")
        blocks.append(Table(caption, columns, rows, form="plain", code_headers=False))
    if examination.waived:
        left_out = sorted({f"{each.code} {each.name}" for each in examination.waived})
        blocks.append(Paragraph(prose(f"Left out on request: {', '.join(left_out)}.")))
    return Section("answer", "The verdict", tuple(blocks))


def _finding_row(finding: Finding, place: int) -> Row:
    measured, remedy = finding.measured, finding.remedy
    figure = Cell("none") if measured is None else _figure_cell(measured)
    limit = Cell("none" if measured is None or math.isnan(measured.limit) else write_limit(measured))
    mended = Cell("nothing tried, or nothing helped")
    if remedy is not None:
        before, after = remedy.before, remedy.after
        change = f"{write_figure(before, before.value)} → {write_figure(after, after.value)}"
        outcome = "gone" if remedy.solved else "better, not gone"
        mended = Cell(remedy.change, (f"{change}: {outcome}",), tone="kept" if remedy.solved else "")
    named = finding.layers or (finding.layer,)
    others = (f"and {len(named) - 1} more",) if len(named) > 1 else ()
    cells = (Cell(finding.layer or "the whole model", others), figure, limit, mended)
    return Row(f"{finding.code} {finding.name}", cells, link=_anchor(place))


def _figure_cell(measured: Measured) -> Cell:
    interval = () if math.isnan(measured.low) else (write_interval(measured).strip(),)
    return Cell(write_figure(measured, measured.value), interval)


def _anchor(place: int) -> str:
    return f"finding-{place + 1}"


# --- one finding ------------------------------------------------------------------------------------------------------


def _write_finding(finding: Finding, title: str, place: int) -> Section:
    rule = RULES[finding.code]
    facts = [("Where", prose(code(finding.layer)) if finding.layer else prose("The whole model."))]
    if finding.measured is not None:
        facts.append(("Measured", prose(f"{describe_measured(finding.measured)}{_tell_seeds(finding.measured)}.")))
    facts += [
        ("What the rule says", prose(rule.what)),
        ("Why it matters", prose(rule.why)),
    ]
    remedy = finding.remedy
    if remedy is None:
        facts.append(("What usually helps", prose(f"{rule.fix} No change was tried here that helped.")))
    else:
        facts += [("Tried", prose(f"{remedy.change}.")), ("Before → after", prose(_tell_change(remedy)))]
    blocks: list[Block] = [Paragraph(prose(strong(_sentence(finding.message)))), Definitions(tuple(facts))]
    if remedy is not None:
        blocks += [Paragraph(prose("The code to write:")), CodeBlock(remedy.code)]
    if len(finding.layers) > _NAMED:
        names = Bullets(tuple(prose(code(layer)) for layer in finding.layers))
        blocks.append(Details(prose(f"All {len(finding.layers)} layers or weights that it is about"), (names,)))
    return Section(_anchor(place), title, tuple(blocks))


def _sentence(message: str) -> str:
    """End a message with a stop, and begin it with a capital unless it begins with a name."""
    begins = message.startswith(("the ", "from ", "whether "))
    return f"{message[0].upper() if begins else message[0]}{message[1:]}." if message else ""


def _tell_change(remedy: Remedy) -> str:
    before, after = remedy.before, remedy.after
    change = f"{write_figure(before, before.value)} → {write_figure(after, after.value)}{write_interval(after)}"
    outcome = "the finding is gone" if remedy.solved else "better, but the finding is not gone"
    return f"{remedy.before.quantity}: {change}; {outcome}."


def _tell_seeds(measured: Measured) -> str:
    if measured.seeds > 1:
        return f", over {measured.seeds} seeds"
    return ", from one draw" if measured.seeds == 1 else ""


# --- the layers -------------------------------------------------------------------------------------------------------


def _write_picture(examination: Examination) -> Section:
    figure = draw_check_figure(examination)
    block = Paragraph(prose("No layer has a figure to draw.")) if figure is None else figure
    return Section("levels", "The signal, layer by layer", (block,))


def _write_routes(examination: Examination) -> Section:
    if not examination.courses:
        text = "No layer lies on every path from the inputs to the outputs: propagation has nothing to follow."
        return Section("trunk", "The trunk", (Paragraph(prose(text)),))
    rows = tuple(_route_row(course) for course in examination.courses)
    introduction = Paragraph(
        prose(
            "The trunk are the layers that every path from the inputs to the outputs passes; long chains within a "
            "branch are followed on their own. Changes are factors of the second moment and of the squared gradient "
            "norm, in the direction of travel."
        )
    )
    table = Table(prose("What becomes of the signal along each route."), _ROUTE_COLUMNS, rows, code_headers=False)
    return Section("trunk", "The trunk", (introduction, table))


def _route_row(course: Course) -> Row:
    inside = course.levels.route.inside
    where = f"branch between {inside[0]} and {inside[1]}" if inside else "trunk"
    header = f"{course.levels.direction}, {where}"
    if course.steps == 0:
        return Row(header, (Cell("too few layers to follow"), *(Cell("none") for _ in _ROUTE_COLUMNS[2:])))
    told, tone = _OUTCOMES[course.outcome]
    needed = (f"about {course.seeds_needed} seeds would decide",) if course.seeds_needed is not None else ()
    judgement = Cell(told, needed, tone=tone)
    if not math.isfinite(course.total.value):
        return Row(header, (judgement, Cell("no figure"), Cell("no figure"), _limit_cell(course), _beyond_cell(course)))
    # Steps at the end that do not count lead into the head, of which the change does not speak.
    last = int(np.flatnonzero(course.levels.counted)[-1]) + 1
    steps = f"{count(course.steps, 'step')}, {course.levels.layers[0]} to {course.levels.layers[last]}"
    rate = describe_rate(course).removeprefix("a factor of ").removesuffix(" a step")
    cells = (
        judgement,
        Cell(format_change(course.total.value), (steps,)),
        Cell(rate),
        _limit_cell(course),
        _beyond_cell(course),
    )
    return Row(header, cells)


def _limit_cell(course: Course) -> Cell:
    return Cell("none" if math.isnan(course.limit) else format_change(math.copysign(course.limit, course.total.value)))


def _beyond_cell(course: Course) -> Cell:
    if not course.beyond:
        return Cell("nowhere")
    others = len(course.beyond) - 1
    return Cell(course.beyond[0], (f"and {count(others, 'more layer')}",) if others else ())


def _write_layers(rows: Sequence[LayerRow]) -> Section:
    introduction = Paragraph(
        prose(
            "All measured layer calls, in the order of execution: geometric means over seeds. z is what the layer’s "
            "activation function receives, h the output; where there is no z, the output stands for it."
        )
    )
    table = Table(prose(f"{count(len(rows), 'layer call')}."), _LAYER_COLUMNS, tuple(map(_layer_row, rows)))
    if len(rows) <= _UNFOLDED_LAYERS:
        return Section("layers", "All layers", (introduction, table))
    summary = prose(f"The table of all {count(len(rows), 'layer call')}")
    return Section("layers", "All layers", (introduction, Details(summary, (table,))))


def _layer_row(row: LayerRow) -> Row:
    cells = (
        Cell(str(row.order)),
        Cell(row.kind, ("trunk",) if row.on_trunk else ()),
        Cell(_number(row.second_moment)),
        Cell(_number(row.variance)),
        Cell(_share(row.varies)),
        Cell(_share(row.zero)),
        Cell(_number(row.gradient)),
        Cell(" ".join(row.codes) or "none", tone="growing-2" if row.codes else "", emphasis=bool(row.codes)),
    )
    return Row(row.name, cells)


def _number(value: float) -> str:
    return "no figure" if math.isnan(value) else format_number(value)


def _share(value: float) -> str:
    return "no figure" if math.isnan(value) else format_share(value)
