"""The result of ``initcheck check`` as a page: the verdict first, then each finding, the figure, all values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from initcheck.audit.findings import CheckResult, Finding, Fix, Measured, Verdict
from initcheck.audit.limits import Limits
from initcheck.audit.rules.signal import format_rate
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import build_gate_section
from initcheck.checking.report.figures import draw_check_figure
from initcheck.checking.report.text import (
    LayerRow,
    describe_coverage,
    describe_measured,
    describe_verdict,
    format_interval,
    format_limit,
    format_value,
    layer_rows,
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
    Row,
    Section,
    Table,
    code,
    method_section,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.probe.coverage import Coverage, Gap

_FOLDED_GAPS: Final = 10
_MISSING: Final = "no value"
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
_PATH_COLUMNS: Final = ("Path", "Verdict", "Total change", "Factor a layer", "Limit", "Beyond it from")
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


def build_check_document(result: CheckResult, comparison: Comparison | None = None) -> Document:
    """Build the page of a checked model, with what has changed since a baseline first; all names in it are raw."""
    titled = list(zip(_titles(result.findings), result.findings, strict=True))
    sections = [] if comparison is None else [build_gate_section(comparison)]
    sections.append(_answer_section(result))
    if titled:
        parts = tuple(_finding_section(finding, title, place) for place, (title, finding) in enumerate(titled))
        introduction = paragraph("The worst first. Sizes of the signal are in squares, with 95% intervals.")
        sections.append(Section("findings", "Findings", (introduction,), parts))
    sections += [
        _figure_section(result),
        _paths_section(result),
        _layers_section(layer_rows(result)),
        _coverage_section(result.coverage),
        _method_section(result),
    ]
    subtitle = prose("Does the signal survive ", code(result.model), " at initialization, forward and backward?")
    return Document(f"initcheck: {result.model}", subtitle, tuple(sections))


def _titles(findings: Sequence[Finding]) -> list[str]:
    """Title each finding by its rule, with the layer where a rule found more than one thing."""
    codes = [finding.code for finding in findings]
    return [
        f"{each.code} {each.name}" + (f": {each.layer}" if codes.count(each.code) > 1 and each.layer else "")
        for each in findings
    ]


# --- the answer -------------------------------------------------------------------------------------------------------


def _answer_section(result: CheckResult) -> Section:
    blocks: list[Block] = [
        paragraph(strong(f"{describe_verdict(result)}."), f" {_MEANINGS[result.verdict]}"),
        paragraph(describe_coverage(result)),
    ]
    if result.findings:
        rows = tuple(_finding_row(finding, place) for place, finding in enumerate(result.findings))
        columns = ("Finding", "First at", "Value", "Limit", "What fixes it")
        caption = prose("What was found, the worst first.")
        blocks.append(Table(caption, columns, rows, form="plain", code_headers=False))
    if result.waived:
        left_out = sorted({f"{each.code} {each.name}" for each in result.waived})
        blocks.append(paragraph(f"Left out on request: {', '.join(left_out)}."))
    return Section("answer", "The verdict", tuple(blocks))


def _finding_row(finding: Finding, place: int) -> Row:
    measured, fix = finding.measured, finding.fix
    value = Cell("none") if measured is None else _value_cell(measured)
    limit = Cell("none" if measured is None or math.isnan(measured.limit) else format_limit(measured))
    fixed = Cell("nothing tried, or nothing helped")
    if fix is not None:
        before, after = fix.before, fix.after
        change = f"{format_value(before, before.value)} → {format_value(after, after.value)}"
        outcome = "gone" if fix.solved else "better, not gone"
        fixed = Cell(fix.change, (f"{change}: {outcome}",), tone="kept" if fix.solved else "")
    others = (f"and {len(finding.named) - 1} more",) if len(finding.named) > 1 else ()
    cells = (Cell(finding.layer or "the whole model", others), value, limit, fixed)
    return Row(f"{finding.code} {finding.name}", cells, link=_anchor(place))


def _value_cell(measured: Measured) -> Cell:
    interval = () if math.isnan(measured.low) else (format_interval(measured).strip(),)
    return Cell(format_value(measured, measured.value), interval)


def _anchor(place: int) -> str:
    return f"finding-{place + 1}"


# --- one finding ------------------------------------------------------------------------------------------------------


def _finding_section(finding: Finding, title: str, place: int) -> Section:
    rule = finding.rule
    facts = [("Where", prose(code(finding.layer)) if finding.layer else prose("The whole model."))]
    if finding.measured is not None:
        facts.append(("Measured", prose(f"{describe_measured(finding.measured)}{_describe_seeds(finding.measured)}.")))
    facts += [
        ("What the rule says", prose(rule.what)),
        ("Why it matters", prose(rule.why)),
    ]
    fix = finding.fix
    if fix is None:
        facts.append(("What usually helps", prose(f"{rule.fix} No change was tried here that helped.")))
    else:
        facts += [("Tried", prose(f"{fix.change}.")), ("Before → after", prose(_describe_fix(fix)))]
    blocks: list[Block] = [paragraph(strong(_sentence(finding.message))), Definitions(tuple(facts))]
    if fix is not None:
        blocks += [paragraph("The code to write:"), CodeBlock(fix.code)]
    if len(finding.layers) > _NAMED:
        names = Bullets(tuple(prose(code(layer)) for layer in finding.layers))
        blocks.append(Details(prose(f"All {len(finding.layers)} layers or weights that it is about"), (names,)))
    return Section(_anchor(place), title, tuple(blocks))


def _sentence(message: str) -> str:
    """End a message with a stop, and begin it with a capital unless it begins with a name."""
    begins = message.startswith(("the ", "from ", "whether "))
    return f"{message[0].upper() if begins else message[0]}{message[1:]}." if message else ""


def _describe_fix(fix: Fix) -> str:
    before, after = fix.before, fix.after
    change = f"{format_value(before, before.value)} → {format_value(after, after.value)}{format_interval(after)}"
    outcome = "the finding is gone" if fix.solved else "better, but the finding is not gone"
    return f"{fix.before.quantity}: {change}; {outcome}."


def _describe_seeds(measured: Measured) -> str:
    if measured.seeds > 1:
        return f", over {measured.seeds} seeds"
    return ", from one draw" if measured.seeds == 1 else ""


# --- the layers -------------------------------------------------------------------------------------------------------


def _figure_section(result: CheckResult) -> Section:
    figure = draw_check_figure(result)
    block = paragraph("No layer has a level to draw.") if figure is None else figure
    return Section("levels", "The signal, layer by layer", (block,))


def _paths_section(result: CheckResult) -> Section:
    if not result.paths:
        text = "No layer lies on every path from the inputs to the outputs: propagation has nothing to follow."
        return Section("paths", "The paths of the signal", (paragraph(text),))
    rows = tuple(_path_row(judged) for judged in result.paths)
    introduction = paragraph(
        "The main path has the layers that every path from the inputs to the outputs passes; long chains within a "
        "branch are followed on their own. Changes are factors of the second moment and of the squared gradient "
        "norm, in the direction of propagation."
    )
    table = Table(prose("How the signal changes along each path."), _PATH_COLUMNS, rows, code_headers=False)
    return Section("paths", "The paths of the signal", (introduction, table))


def _path_row(judged: JudgedPath) -> Row:
    inside = judged.path.inside
    where = f"branch between {inside[0]} and {inside[1]}" if inside else "main path"
    header = f"{judged.levels.direction}, {where}"
    if judged.steps == 0:
        return table_row(header, "too few layers to follow", *("none" for _ in _PATH_COLUMNS[2:]))
    words, tone = _OUTCOMES[judged.outcome]
    needed = (f"about {judged.seeds_needed} seeds would decide",) if judged.seeds_needed is not None else ()
    judgement = Cell(words, needed, tone=tone)
    if not math.isfinite(judged.total.value):
        return table_row(header, judgement, _MISSING, _MISSING, _limit_cell(judged), _beyond_cell(judged))
    layers, last = judged.levels.layers, judged.levels.last_counted
    steps = f"{count(judged.steps, 'layer')}, {judged.levels.start} to {layers[last]}"
    rate = format_rate(judged)
    cells = (
        judgement,
        Cell(format_change(judged.total.value), (steps,)),
        Cell(rate),
        _limit_cell(judged),
        _beyond_cell(judged),
    )
    return Row(header, cells)


def _limit_cell(judged: JudgedPath) -> Cell:
    return Cell("none" if math.isnan(judged.limit) else format_change(math.copysign(judged.limit, judged.total.value)))


def _beyond_cell(judged: JudgedPath) -> Cell:
    if not judged.beyond:
        return Cell("nowhere")
    others = len(judged.beyond) - 1
    return Cell(judged.beyond[0], (f"and {count(others, 'more layer')}",) if others else ())


def _layers_section(rows: Sequence[LayerRow]) -> Section:
    introduction = paragraph(
        "All measured layer calls, in the order of execution: geometric means over the draws that are not 0. z is "
        "what the layer’s activation function receives, h the output; where there is no z, the output stands for it."
    )
    table = Table(prose(f"{count(len(rows), 'layer call')}."), _LAYER_COLUMNS, tuple(map(_layer_row, rows)))
    if len(rows) <= _UNFOLDED_LAYERS:
        return Section("layers", "All layers", (introduction, table))
    summary = prose(f"The table of all {count(len(rows), 'layer call')}")
    return Section("layers", "All layers", (introduction, Details(summary, (table,))))


def _layer_row(row: LayerRow) -> Row:
    cells = (
        Cell(str(row.order)),
        Cell(row.kind, ("main path",) if row.on_main_path else ()),
        Cell(format_number(row.second_moment, missing=_MISSING)),
        Cell(format_number(row.variance, missing=_MISSING)),
        Cell(format_share(row.varies, missing=_MISSING)),
        Cell(format_share(row.zero, missing=_MISSING)),
        Cell(format_number(row.gradient, missing=_MISSING)),
        Cell(" ".join(row.codes) or "none", tone="growing-2" if row.codes else "", emphasis=bool(row.codes)),
    )
    return Row(row.name, cells)


# --- coverage and method ----------------------------------------------------------------------------------------------


def _coverage_section(coverage: Coverage) -> Section:
    covered = [gap for gap in coverage.gaps if gap.covered_by]
    measured = f"Measured: {count(coverage.calls, 'layer call')}, and {count(coverage.weights, 'weight')}."
    blocks: list[Block] = [paragraph(measured)]
    if coverage.open_gaps:
        blocks.append(_gap_table("What was not measured. Nothing is known of it.", coverage.open_gaps))
    else:
        blocks.append(paragraph("Nothing was left out."))
    if covered:
        caption = "Parts without numbers of their own, and where they are measured."
        table = _gap_table(caption, covered)
        summary = prose(f"{count(len(covered), 'part')} without numbers of their own")
        blocks.append(Details(summary, (table,), unfolded=len(covered) <= _FOLDED_GAPS))
    return Section("coverage", "Coverage", tuple(blocks))


def _gap_table(caption: str, gaps: list[Gap] | tuple[Gap, ...]) -> Table:
    rows = tuple(table_row(gap.path, gap.kind, gap.reason, gap.covered_by or "nothing") for gap in gaps)
    return Table(prose(caption), ("Layer or weight", "Kind", "Reason", "Measured through"), rows)


def _method_section(result: CheckResult) -> Section:
    seeds = result.seeds
    drawn = f"{count(len(seeds), 'draw')}, seeds {seeds[0]} to {seeds[-1]}, by the model’s own initializers"
    facts = (
        ("Model", result.model),
        ("Weights", drawn if result.redrawn else "as they are: one draw, and no intervals over seeds"),
        ("Batch", result.conditions.batch),
        ("Loss", result.conditions.loss),
        ("What is undecided", "let pass, as asked" if result.allow_inconclusive else "counts as not judged"),
        ("Exit code", f"{result.exit_code}: {result.verdict}"),
        ("Duration", format_duration(result.seconds)),
    )
    return method_section(facts, result.versions, more=(_limit_table(result.limits),))


def _limit_table(limits: Limits) -> Table:
    defaults = Limits()
    rows = []
    for field in fields(limits):
        value, default = getattr(limits, field.name), getattr(defaults, field.name)
        notes = () if value == default else (f"default: {default:g}",)
        described = (Cell(field.metadata["what"]), Cell(field.metadata["source"]))
        rows.append(table_row(field.name, Cell(f"{value:g}", notes), *described))
    caption = prose("The limits, all of them in squares; [tool.initcheck.limits] in pyproject.toml changes them.")
    return Table(caption, ("Limit", "Value", "Of what", "Where it comes from"), tuple(rows), form="claims")
