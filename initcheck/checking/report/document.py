"""The result of ``initcheck check`` as a page: the verdict first, then each problem, the figure, all values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Final

from initcheck.audit.findings import CheckResult, Finding, Measured, Verdict
from initcheck.audit.limits import Limits
from initcheck.audit.problems import Problem
from initcheck.audit.proofs import describe_proof
from initcheck.audit.rules.signal import format_rate
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import build_gate_section
from initcheck.checking.report.figures import draw_check_figure
from initcheck.checking.report.fix_figure import draw_fix_figure
from initcheck.checking.report.text import (
    LayerRow,
    describe_change,
    describe_coverage,
    describe_fix,
    describe_present_weights,
    describe_verdict,
    find_place,
    find_proofs,
    format_interval,
    format_limit,
    format_value,
    layer_rows,
    name_ends,
    title_problem,
)
from initcheck.checking.report.training_figure import build_training_section
from initcheck.checking.rewrite import format_diff
from initcheck.core.columns import DIRECTIONS
from initcheck.core.formatting import count, format_change, format_duration, format_names, format_number, format_share
from initcheck.pages.document import (
    Block,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Document,
    Row,
    Section,
    Table,
    code,
    listed,
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
_UNFOLDED_FINDINGS: Final = 10
_UNFOLDED_PATHS: Final = 8
_NAMED: Final = 1  # layers that need no list of their own
_BEGINNINGS: Final = ("the ", "from ", "whether ", "what ", "in ", "each ", "no ")
_LISTED: Final = 6
_PROBLEM_COLUMNS: Final = ("Cause, else what was found", "Made at", "What fixes it", "Findings")
_FINDING_COLUMNS: Final = ("Finding", "What was found", "First at", "Value", "Limit")
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
    "Gain",
    "Variance of h",
    "Varies across samples",
    "Zero",
    "Squared gradient norm",
    "Findings",
)


def build_check_document(result: CheckResult, comparison: Comparison | None = None) -> Document:
    """Build the page of a checked model, with what has changed since a baseline first; all names in it are raw."""
    sections = [] if comparison is None else [build_gate_section(comparison)]
    sections.append(_answer_section(result))
    problems, notes = _split_notes(result)
    if problems:
        introduction = paragraph(
            "One for each cause, the worst first. Sizes of the signal are in squares, with 95% intervals."
        )
        parts = tuple(_problem_section(result, each, anchor) for anchor, each in problems)
        sections.append(Section("problems", "Problems", (introduction,), parts))
    if notes:
        introduction = paragraph("Worth knowing, and no fault: a note changes no exit code.")
        parts = tuple(_problem_section(result, each, anchor) for anchor, each in notes)
        sections.append(Section("notes", "Notes", (introduction,), parts))
    if result.proofs:
        sections.append(build_training_section(result))
    sections += [
        _figure_section(result),
        _paths_section(result),
        _layers_section(layer_rows(result)),
        _coverage_section(result.coverage),
        _method_section(result),
    ]
    subtitle = prose("Does the signal survive ", code(result.model), " at initialization, forward and backward?")
    return Document(f"initcheck: {result.model}", subtitle, tuple(sections))


def _split_notes(result: CheckResult) -> tuple[list[tuple[str, Problem]], list[tuple[str, Problem]]]:
    """List the problems, and the notes, each with the anchor of its section."""
    problems = [each for each in result.problems if each.level != "note"]
    notes = [each for each in result.problems if each.level == "note"]
    return (
        [(f"problem-{place}", each) for place, each in enumerate(problems, start=1)],
        [(f"note-{place}", each) for place, each in enumerate(notes, start=1)],
    )


# --- the answer -------------------------------------------------------------------------------------------------------


def _answer_section(result: CheckResult) -> Section:
    blocks: list[Block] = [paragraph(strong(f"{describe_verdict(result)}."), f" {_MEANINGS[result.verdict]}")]
    blocks += [paragraph(text) for text in (describe_present_weights(result), describe_coverage(result)) if text]
    problems, notes = _split_notes(result)
    if problems:
        rows = tuple(_problem_row(result, each, anchor) for anchor, each in problems)
        caption = prose("One problem for each cause, the worst first.")
        blocks.append(Table(caption, ("Problem", *_PROBLEM_COLUMNS), rows, form="claims", code_headers=False))
    if notes:
        rows = tuple(_problem_row(result, each, anchor) for anchor, each in notes)
        caption = prose("Notes: worth knowing, and no fault.")
        blocks.append(Table(caption, ("Note", *_PROBLEM_COLUMNS), rows, form="claims", code_headers=False))
    if result.waived:
        left_out = sorted({f"{each.code} {each.name}" for each in result.waived})
        blocks.append(paragraph(f"Left out on request: {', '.join(left_out)}."))
    blocks += [paragraph(each) for each in result.hints]
    return Section("answer", "The verdict", tuple(blocks))


def _problem_row(result: CheckResult, problem: Problem, anchor: str) -> Row:
    fix = problem.fix
    fixed = Cell("none needed" if problem.level == "note" else "nothing helped" if problem.tried else "nothing tried")
    if fix is not None:
        fixed = Cell(fix.change, (fix.outcome,), tone="kept" if fix.cures else "")
    place = Cell(find_place(result, problem) or "not known")
    cells = (Cell(_describe_why(problem)), place, fixed, Cell(" ".join(problem.codes)))
    return Row(_title(problem), cells, link=anchor)


def _title(problem: Problem) -> str:
    title = title_problem(problem)
    return _capitalize(title) if problem.cause is not None else f"{title[0].upper()}{title[1:]}"


def _describe_why(problem: Problem) -> str:
    """Give the cause, or what was found where that is not known."""
    return _sentence(problem.main.message if problem.cause is None else problem.cause.message)


# --- one problem ------------------------------------------------------------------------------------------------------


def _problem_section(result: CheckResult, problem: Problem, anchor: str) -> Section:
    place, fix = find_place(result, problem), problem.fix
    layers = [each for each in dict.fromkeys(problem.layers) if each]
    facts = [("Layers", prose(format_names(layers, _LISTED) if layers else "The whole model."))]
    if place:
        facts.append(("Made at", prose(code(place))))
    if fix is not None:
        facts += [("Fix", prose(f"{describe_change(fix, place)}.")), ("What it does", prose(f"{describe_fix(fix)}."))]
        if result.fix_command:
            facts.append(("Write it", prose(code(result.fix_command))))
    elif problem.level != "note":
        tried = "Nothing that was tried helps" if problem.tried else "Nothing was tried"
        facts.append(("What usually helps", prose(f"{problem.main.rule.fix} {tried}{_count_tried(problem)}.")))
    facts += [("In training", prose(f"{describe_proof(each)}.")) for each in find_proofs(result, problem)]
    blocks: list[Block] = [paragraph(strong(_describe_why(problem))), Definitions(tuple(facts))]
    if fix is not None:
        figure = draw_fix_figure(result, problem, f"fix-{anchor}")
        blocks += [] if figure is None else [figure]
        diff = format_diff(result, problem)
        blocks += [paragraph("The change of the code:" if diff else "The code to write:"), CodeBlock(diff or fix.code)]
    blocks += [*_effects(problem), _rule_texts(problem)]
    return Section(anchor, _title(problem), tuple(blocks))


def _count_tried(problem: Problem) -> str:
    return f" ({count(problem.tried, 'change')})" if problem.tried else ""


def _effects(problem: Problem) -> Iterator[Block]:
    """Tabulate the findings of a problem, and list all that they name."""
    findings = problem.findings
    rows = tuple(map(_finding_row, findings))
    table = Table(prose("What was found."), _FINDING_COLUMNS, rows, form="claims", code_headers=False)
    if len(findings) <= _UNFOLDED_FINDINGS:
        yield table
    else:
        yield Details(prose(f"All {count(len(findings), 'finding')}"), (table,))
    several = [(each.code, each.named) for each in findings if len(each.named) > _NAMED]
    if problem.cause is not None and len(problem.layers) > _LISTED:
        several.insert(0, ("Cause", problem.layers))
    if several:
        names = tuple((f"{each}, {len(layers)} in all", listed(layers)) for each, layers in several)
        yield Details(prose("All layers or weights that it is about"), (Definitions(names),))


def _finding_row(finding: Finding) -> Row:
    measured = finding.measured
    others = (f"and {len(finding.named) - 1} more",) if len(finding.named) > _NAMED else ()
    cells = (
        Cell(_sentence(finding.message)),
        Cell(finding.layer or "the whole model", others),
        Cell("none") if measured is None else _value_cell(measured),
        Cell("none" if measured is None or math.isnan(measured.limit) else format_limit(measured)),
    )
    return Row(f"{finding.code} {finding.name}", cells)


def _value_cell(measured: Measured) -> Cell:
    interval = () if math.isnan(measured.low) else (format_interval(measured).strip(),)
    notes = (*interval, f"{measured.quantity}{_describe_seeds(measured)}")
    return Cell(format_value(measured, measured.value), notes)


def _rule_texts(problem: Problem) -> Details:
    rules = dict.fromkeys(each.rule for each in problem.findings)
    texts = tuple((f"{rule.code} {rule.name}", prose(f"{rule.what} {rule.why}")) for rule in rules)
    return Details(prose("What the rules say, and why it matters"), (Definitions(texts),))


def _sentence(message: str) -> str:
    """End a message with a stop, and begin it with a capital unless it begins with a name."""
    return f"{_capitalize(message)}." if message else ""


def _capitalize(message: str) -> str:
    return f"{message[0].upper()}{message[1:]}" if message.startswith(_BEGINNINGS) else message


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
        text = "No measured layer reaches the outputs, so that propagation has nothing to follow."
        return Section("paths", "The paths of the signal", (paragraph(text),))
    introduction = paragraph(
        "Every chain of layers with weights is judged: the main path, the sequence of layers that every path from the "
        "inputs to the outputs passes, and each tower, head and branch beside it. Changes are factors of the second "
        "moment and of the squared gradient norm, in the direction of propagation."
    )
    shown, folded = list(result.paths), []
    if len(result.paths) > len(DIRECTIONS) * _UNFOLDED_PATHS:
        shown = [each for each in result.paths if each.path.is_main or each.outcome != "within"]
        folded = [each for each in result.paths if not each.path.is_main and each.outcome == "within"]
    blocks: list[Block] = [introduction]
    if shown:
        blocks.append(_path_table("How the signal changes along each path.", shown))
    if folded:
        caption = "Paths within the limit, or with too few layers to follow."
        summary = prose(f"{count(len(folded), 'row')} of paths within the limit, or with too few layers to follow")
        blocks.append(Details(summary, (_path_table(caption, folded),)))
    return Section("paths", "The paths of the signal", tuple(blocks))


def _path_table(caption: str, paths: Sequence[JudgedPath]) -> Table:
    return Table(prose(caption), _PATH_COLUMNS, tuple(map(_path_row, paths)), code_headers=False)


def _path_row(judged: JudgedPath) -> Row:
    header = f"{judged.levels.direction}, {'main path' if judged.path.is_main else name_ends(judged)}"
    if judged.steps == 0:
        return table_row(header, "too few layers to follow", *("none" for _ in _PATH_COLUMNS[2:]))
    words, tone = _OUTCOMES[judged.outcome]
    needed = (f"{judged.seeds_needed} seeds would decide",) if judged.seeds_needed is not None else ()
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
    notes = [f"made by {format_names([judged.levels.layers[place] for place in judged.doers])}"] if judged.doers else []
    if not judged.beyond:
        return Cell("nowhere", tuple(notes))
    others = len(judged.beyond) - 1
    return Cell(judged.beyond[0], (*([f"and {count(others, 'more layer')}"] if others else []), *notes))


def _layers_section(rows: Sequence[LayerRow]) -> Section:
    introduction = paragraph(
        "All measured layer calls, in the order of execution: geometric means over the draws that are not 0. z is "
        "what the layer’s activation function receives, h the output; where there is no z, the output stands for it. "
        "The gain is the second moment of z over that of what the layer receives."
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
        Cell(format_number(row.forward_gain, missing=_MISSING)),
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
