"""The result of ``initcheck check`` as a page: the verdict first, then each problem, the figure, all values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Final

from initcheck.audit.findings import (
    CheckResult,
    Finding,
    Measured,
    Verdict,
    describe_change,
    describe_fix,
    format_interval,
    format_limit,
    format_value,
)
from initcheck.audit.limits import Limits
from initcheck.audit.problems import Problem
from initcheck.audit.proofs import describe_proof
from initcheck.audit.total_change import JudgedPath
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import build_gate_answer, build_gate_section
from initcheck.checking.report.figures import draw_check_figure
from initcheck.checking.report.text import (
    LayerRow,
    describe_coverage,
    describe_present_weights,
    describe_verdict,
    find_place,
    find_proofs,
    is_known,
    layer_rows,
    name_ends,
    title_problem,
)
from initcheck.checking.report.training_figure import build_training_section
from initcheck.checking.rewrite import format_diff
from initcheck.core.formatting import (
    count,
    exponential,
    format_change,
    format_duration,
    format_names,
    format_number,
    format_share,
    format_short,
    name_alike,
)
from initcheck.core.formatting import format_interval as format_bounds
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    CodeBlock,
    Definitions,
    Details,
    Document,
    Figure,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    Tone,
    code,
    listed,
    method_table,
    paragraph,
    prose,
    strong,
    table_row,
)
from initcheck.probe.coverage import Gap

_MISSING: Final = "no value"
_NAMED: Final = 1  # layers that need no list of their own
_NAMED_IN_TITLE: Final = 3
_BEGINNINGS: Final = ("the ", "from ", "whether ", "what ", "in ", "each ", "no ", "all ")
_FINDING_COLUMNS: Final = ("Finding", "What was found", "First at", "Value", "Limit")
_VERDICT_TONES: Final[dict[Verdict, Tone]] = {"healthy": "passed", "findings": "failed", "cannot judge": "undecided"}
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
    known = frozenset() if comparison is None else comparison.known
    problems = [each for each in result.problems if each.level != "note"]
    new = [each for each in problems if not is_known(each, known)]
    open_parts = tuple(
        _problem_section(result, each, f"problem-{place}", is_first=place == 1)
        for place, each in enumerate(new, start=1)
    )
    folded = [_fold(_problem_section(result, each, "known"), "known") for each in problems if is_known(each, known)]
    notes = [each for each in result.problems if each.level == "note"]
    folded += [_fold(_problem_section(result, each, "note"), "note") for each in notes]
    sections: list[Section] = []
    if comparison is None:
        answer = _write_answer(result)
    else:
        answer = build_gate_answer(comparison, allow_inconclusive=result.allow_inconclusive)
        sections += [build_gate_section(comparison), _model_section(result)]
    if open_parts:
        sections.append(Section("problems", "Problems", (), open_parts))
    if folded:
        sections.append(
            Section("notes", "Known problems and notes" if len(folded) > len(notes) else "Notes", tuple(folded))
        )
    if result.proofs:
        sections.append(build_training_section(result))
    sections.append(_method_section(result))
    subtitle = prose("Does the signal survive ", code(result.model), " at initialization, forward and backward?")
    if comparison is not None:
        subtitle = prose("What has changed at initialization since the baseline was recorded.")
    return Document(f"initcheck: {result.model}", subtitle, tuple(sections), answer)


# --- the answer -------------------------------------------------------------------------------------------------------


def _write_answer(result: CheckResult) -> Answer:
    figure = draw_check_figure(result)
    blocks: list[Block] = [] if figure is None else [figure]
    problems = [each for each in result.problems if each.level != "note"]
    if problems:
        rows = tuple(_problem_row(result, each, f"problem-{place}") for place, each in enumerate(problems, start=1))
        caption = prose("The worst first.")
        blocks.append(Table(caption, ("Problem", "Made at", "What fixes it"), rows, code_headers=False))
    remarks = _list_remarks(result)
    blocks += [Bullets(remarks)] if remarks else []
    worst = f": {problems[0].title}" if problems else ""
    verdict = prose(f"{describe_verdict(result)}{worst}.")
    return Answer(verdict, _VERDICT_TONES[result.verdict], _list_values(result), tuple(blocks))


def _list_values(result: CheckResult) -> tuple[tuple[str, str], ...]:
    """List the change of signal and gradient along the main path, and what was measured or what the fix does."""
    values = []
    for judged in result.paths:
        if judged.path.is_main and judged.steps and math.isfinite(judged.total.value):
            subject = "signal" if judged.levels.direction == "forward" else "gradient"
            layers = count(judged.steps, "layer")
            text = f"{subject} over {layers}, limit {_limit_of(judged)}"
            values.append((format_change(judged.total.value / 2.0), text))
    coverage = result.coverage
    missing = f", {len(coverage.open_gaps)} not" if coverage.open_gaps else ", nothing left out"
    values.append((count(coverage.calls, "layer call"), f"and {count(coverage.weights, 'weight')} measured{missing}"))
    return tuple(values)


def _limit_of(judged: JudgedPath) -> str:
    """Write the limit of a change of amplitude."""
    if math.isnan(judged.limit):
        return "none"
    amount = format_short(exponential(judged.limit / 2.0), 3)
    return f"1/{amount}" if judged.total.value < 0.0 else f"{amount}-fold"


def _list_remarks(result: CheckResult) -> tuple[Text, ...]:
    """List what is out of the ordinary: loaded weights, what was left out, settings without effect."""
    remarks = [describe_present_weights(result), *result.hints]
    if result.waived:
        left_out = sorted({f"{each.code} {each.name}" for each in result.waived})
        remarks.append(f"Left out on request: {', '.join(left_out)}.")
    return tuple(prose(each) for each in remarks if each)


def _problem_row(result: CheckResult, problem: Problem, anchor: str) -> Row:
    fix = problem.fix
    fixed = Cell("nothing that was tried" if problem.tried else "nothing was tried")
    if fix is not None:
        fixed = Cell(fix.change, (fix.outcome,))
    return Row(_title(problem), (Cell(find_place(result, problem) or "not known"), fixed), link=anchor)


def _title(problem: Problem) -> str:
    title = title_problem(problem)
    return _capitalize(title) if problem.cause is not None else f"{title[0].upper()}{title[1:]}"


def _describe_why(problem: Problem) -> str:
    """Give the cause, or what was found where that is not known."""
    return _sentence(problem.main.message if problem.cause is None else problem.cause.message)


def _model_section(result: CheckResult) -> Section:
    """Show the model itself, apart from what has changed."""
    answer = _write_answer(result)
    blocks: list[Block] = [Paragraph(tuple(replace(each, style="strong") for each in answer.verdict))]
    figures = tuple(each for each in answer.blocks if isinstance(each, Figure))
    if figures:
        blocks.append(Details(prose("Signal and gradient, layer by layer"), figures))
    remarks = _list_remarks(result)
    blocks += [Bullets(remarks)] if remarks else []
    return Section("model", "The model itself", tuple(blocks))


# --- one problem ------------------------------------------------------------------------------------------------------


def _problem_section(result: CheckResult, problem: Problem, anchor: str, *, is_first: bool = True) -> Section:
    """Write a problem: its cause, place and fix, the change of the code, the evidence, and folded what follows.

    Args:
        is_first: whether no other stands before it; all but its cause can be folded away if not.
    """
    place, fix = find_place(result, problem), problem.fix
    facts = []
    layers = [each for each in dict.fromkeys(problem.layers) if each]
    if place:
        named = f"{name_alike(layers)} ({len(layers)}), made at " if len(layers) > _NAMED_IN_TITLE else "made at "
        facts.append(("Where", prose(named, code(place))))
    if fix is not None:
        facts += [("Fix", prose(f"{describe_change(fix, place)}.")), ("What it does", prose(f"{describe_fix(fix)}."))]
        if result.fix_command:
            facts.append(("Write it", prose(code(result.fix_command))))
    elif problem.level != "note":
        tried = "Nothing that was tried helps" if problem.tried else "Nothing was tried"
        facts.append(("What usually helps", prose(f"{problem.main.rule.fix} {tried}{_count_tried(problem)}.")))
    facts += [("In training", prose(f"{describe_proof(each)}.")) for each in find_proofs(result, problem)]
    main = problem.main
    evidence = [] if problem.cause is None or problem.cause.message == main.message else [_sentence(main.message)]
    if main.measured is not None:
        evidence.append(_describe_value(main.measured))
    if evidence:
        facts.append((f"{main.code} {main.name}", prose(" ".join(evidence))))
    blocks: list[Block] = [paragraph(strong(_describe_why(problem)))]
    blocks += [Definitions(tuple(facts))] if facts else []
    if fix is not None:
        blocks.append(CodeBlock((format_diff(result, problem) or fix.code).rstrip("\n")))
    blocks += [*_fold_figure(result, problem, anchor), _fold_evidence(problem)]
    if not is_first:
        blocks = [blocks[0], Details(prose("Place, fix and evidence"), tuple(blocks[1:]), unfolded=True)]
    brief = problem.main.name.replace("-", " ")
    return Section(anchor, _title(problem), tuple(blocks), brief=f"{brief[0].upper()}{brief[1:]}")


def _fold(section: Section, what: str) -> Details:
    title = section.title.removesuffix(f" ({what})")
    return Details(prose(f"{title} ({what})"), section.blocks)


def _count_tried(problem: Problem) -> str:
    return f" ({count(problem.tried, 'change')})" if problem.tried else ""


def _describe_value(measured: Measured) -> str:
    """Write a value with its interval, what it is, and its limit."""
    limit = "" if math.isnan(measured.limit) else f"; limit {format_limit(measured)}"
    value = f"{format_value(measured, measured.value)}{format_interval(measured)}"
    unit = " Factors are those of squares." if "in squares" in measured.quantity else ""
    return f"{value}: {measured.quantity}{_describe_seeds(measured)}{limit}.{unit}"


def _fold_figure(result: CheckResult, problem: Problem, anchor: str) -> Iterator[Details]:
    """Draw a problem whose fix is not the one of the first picture."""
    fix = problem.fix
    first = next((each for each in result.problems if each.fix is not None and each.fix.levels), None)
    if fix is None or not fix.levels or problem is first:
        return
    figure = draw_check_figure(result, (problem,), f"check-{anchor}")
    if figure is not None:
        yield Details(prose("Signal and gradient with this fix"), (figure,))


def _fold_evidence(problem: Problem) -> Details:
    """Fold the findings that follow, the names of all layers that a problem is about, and what the rules say."""
    blocks: list[Block] = []
    rows = tuple(map(_finding_row, problem.findings[1:]))
    parts = []
    if rows:
        caption = prose(f"What follows: {problem.title}.")
        blocks.append(Table(caption, _FINDING_COLUMNS, rows, form="claims", code_headers=False))
        parts.append("1 finding that follows" if len(rows) == 1 else f"{len(rows)} findings that follow")
    several = [(each.code, each.named) for each in problem.findings if len(each.named) > _NAMED]
    if problem.cause is not None and len(problem.layers) > _NAMED_IN_TITLE:
        several.insert(0, ("Cause", problem.layers))
    if several:
        names = tuple((f"{each}, {len(layers)} in all", listed(layers)) for each, layers in several)
        blocks.append(Definitions(names))
        parts.append("all layers or weights that it is about")
    rules = dict.fromkeys(each.rule for each in problem.findings)
    texts = tuple((f"{rule.code} {rule.name}", prose(f"{rule.what} {rule.why}")) for rule in rules)
    blocks.append(Definitions(texts))
    summary = format_names([*parts, "what the rules say, and why it matters"])
    return Details(prose(f"{summary[0].upper()}{summary[1:]}"), tuple(blocks))


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


def _sentence(message: str) -> str:
    """End a message with a stop, and begin it with a capital unless it begins with a name."""
    return f"{_capitalize(message)}." if message else ""


def _capitalize(message: str) -> str:
    return f"{message[0].upper()}{message[1:]}" if message.startswith(_BEGINNINGS) else message


def _describe_seeds(measured: Measured) -> str:
    if measured.seeds > 1:
        return f", over {measured.seeds} seeds"
    return ", from one draw" if measured.seeds == 1 else ""


# --- what was measured ------------------------------------------------------------------------------------------------


def _method_section(result: CheckResult) -> Section:
    """Write what was measured, and how: gaps open, all that is known folded with its count."""
    coverage = result.coverage
    blocks: list[Block] = [paragraph(describe_coverage(result))]
    if coverage.open_gaps:
        blocks.append(_gap_table("What was not measured. Nothing is known of it.", coverage.open_gaps))
    blocks += [_fold_paths(result), _fold_layers(layer_rows(result))]
    covered = [gap for gap in coverage.gaps if gap.covered_by]
    if covered:
        table = _gap_table("Parts without numbers of their own, and where they are measured.", covered)
        blocks.append(Details(prose(f"{count(len(covered), 'part')} without numbers of their own"), (table,)))
    limits = _limit_table(result.limits)
    summary = f"Weights, batch, loss, {len(result.versions)} versions and {len(limits.rows)} limits"
    blocks.append(Details(prose(summary), (_tabulate_conditions(result), limits)))
    return Section("method", "What was measured, and how", tuple(blocks))


def _fold_paths(result: CheckResult) -> Block:
    if not result.paths:
        return paragraph("No measured layer reaches the outputs, so that propagation has nothing to follow.")
    introduction = paragraph(
        "Every chain of layers with weights is judged: the main path, the sequence of layers that every path from the "
        "inputs to the outputs passes, and each tower, head and branch beside it. Changes are factors of the "
        "amplitude, in the direction of propagation."
    )
    wrong = [each for each in result.paths if each.outcome != "within"]
    right = [each for each in result.paths if each.outcome == "within"]
    paths = len(dict.fromkeys(each.path for each in result.paths))
    table = Table(
        prose("How signal and gradient change along each path."),
        _PATH_COLUMNS,
        tuple(map(_path_row, [*wrong, *right])),
        code_headers=False,
    )
    summary = f"{count(paths, 'path')}, forward and backward: {len(right)} of {len(result.paths)} within the limit"
    return Details(prose(summary), (introduction, table))


def _path_row(judged: JudgedPath) -> Row:
    header = f"{judged.levels.direction}, {'main path' if judged.path.is_main else name_ends(judged)}"
    if judged.steps == 0:
        return table_row(header, "too few layers to follow", *("none" for _ in _PATH_COLUMNS[2:]))
    words, tone = _OUTCOMES[judged.outcome]
    needed = (f"{judged.seeds_needed} seeds would decide",) if judged.seeds_needed is not None else ()
    judgement = Cell(words, needed, tone=tone)
    limit = Cell(_limit_of(judged))
    if not math.isfinite(judged.total.value):
        return table_row(header, judgement, _MISSING, _MISSING, limit, _beyond_cell(judged))
    layers, last = judged.levels.layers, judged.levels.last_counted
    steps = f"{count(judged.steps, 'layer')}, {judged.levels.start} to {layers[last]}"
    change = Cell(format_change(judged.total.value / 2.0), (steps,))
    value, low, high = (math.sqrt(each) for each in judged.rate)
    rate = f"{format_number(value)} {format_bounds(low, high) if low < high else ''}".rstrip()
    return Row(header, (judgement, change, Cell(rate), limit, _beyond_cell(judged)))


def _beyond_cell(judged: JudgedPath) -> Cell:
    notes = [f"made by {format_names([judged.levels.layers[place] for place in judged.doers])}"] if judged.doers else []
    if not judged.beyond:
        return Cell("nowhere", tuple(notes))
    others = len(judged.beyond) - 1
    return Cell(judged.beyond[0], (*([f"and {count(others, 'more layer')}"] if others else []), *notes))


def _fold_layers(rows: Sequence[LayerRow]) -> Details:
    introduction = paragraph(
        "In the order of execution: geometric means over the draws that are not 0. z is what the layer’s activation "
        "function receives, h the output; where there is no z, the output stands for it. The gain is the second moment "
        "of z over that of what the layer receives."
    )
    table = Table(prose(f"{count(len(rows), 'layer call')}."), _LAYER_COLUMNS, tuple(map(_layer_row, rows)))
    return Details(prose(f"All {count(len(rows), 'layer call')}, with sizes and gains"), (introduction, table))


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


def _gap_table(caption: str, gaps: list[Gap] | tuple[Gap, ...]) -> Table:
    rows = tuple(table_row(gap.path, gap.kind, gap.reason, gap.covered_by or "nothing") for gap in gaps)
    return Table(prose(caption), ("Layer or weight", "Kind", "Reason", "Measured through"), rows)


def _tabulate_conditions(result: CheckResult) -> Table:
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
    return method_table(facts, result.versions)


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
