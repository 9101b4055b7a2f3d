"""The result of ``initcheck check`` as text: for a terminal, and for the page of a pull request."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from textwrap import indent
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult, Finding, Severity, describe_change, describe_fix
from initcheck.audit.problems import Problem
from initcheck.audit.proofs import METHOD, Proof, describe_proof, describe_training
from initcheck.audit.rules.signal import describe_rate, format_amplitude
from initcheck.audit.site_estimates import name_site
from initcheck.audit.total_change import JudgedPath, second_moments
from initcheck.checking.gate.comparison import Comparison
from initcheck.checking.gate.report import describe_changes, describe_conditions, format_gate, format_verdict
from initcheck.checking.rewrite import format_diff
from initcheck.core.formatting import count, format_names, format_number, format_share, wrap
from initcheck.pages.markdown import code_block, code_span, escape_text

_INDENT: Final = "   "
_SHOWN: Final = 12
_NAMED: Final = 6
_NAMED_ROWS: Final = 3
_HEADS: Final = (
    "z, h: before and after the activation; gain: of E z^2; L: one sample's loss; factors: root mean squares."
)
_MOST_CHANGES: Final = 20
_MOST_JOINED: Final = 3
"""Lines that a paragraph of several effects may have: more is read more easily apart."""
_MARKS: Final[dict[Severity, str]] = {"wrong": "", "unjudged": " (not judged)", "note": " (note)"}


def format_text(result: CheckResult, comparison: Comparison | None = None, *, full: bool = False) -> str:
    """Format the result for a terminal, what has changed since the baseline first; ``full`` shows all layers."""
    known = frozenset() if comparison is None else comparison.known
    verdict = [f"{describe_verdict(result)}{_describe_command(result)}", *wrap(describe_present_weights(result))]
    first, *others = *_format_problems(result, known), ""
    blocks = [
        "" if comparison is None else format_gate(comparison, full=full),
        "\n".join([*verdict, first]).rstrip(),
        *others,
        _format_paths(result) if full or result.verdict != "findings" else "",
        "\n".join([*_format_layers(result, full), *wrap(describe_coverage(result))]),
        "\n".join(wrap(describe_proofs(result))),
    ]
    if result.waived:
        names = ", ".join(sorted({f"{each.code} {each.name}" for each in result.waived}))
        blocks.append("\n".join(wrap(f"Left out on request: {names}.")))
    blocks += ["\n".join(wrap(each)) for each in result.hints]
    return "\n\n".join(block for block in blocks if block)


def exit_code_of(result: CheckResult, comparison: Comparison | None) -> int:
    """Give what a command exits with: what was found, unless nothing is to fail."""
    return 0 if result.fail_on == "nothing" else _code_of(result, comparison)


def _code_of(result: CheckResult, comparison: Comparison | None) -> int:
    """Give the verdict's code, or the comparison's where there is a baseline; 1 where a note is to fail."""
    if result.fail_on == "note" and any(each.level == "note" for each in list_failed(result, comparison)):
        return 1
    if comparison is None:
        return result.exit_code
    return comparison.exit_code(allow_inconclusive=result.allow_inconclusive)


def describe_verdict(result: CheckResult) -> str:
    """Write the verdict in one line."""
    wrong, unjudged, notes = (
        sum(each.level == level for each in result.problems) for level in ("wrong", "unjudged", "note")
    )
    verdict = count(wrong, "problem") if wrong else str(result.verdict)
    if result.verdict == "healthy":
        verdict += ": nothing found" + (" but what was waived or let pass" if result.waived or unjudged else "")
    elif unjudged:
        verdict += f"{' and ' if wrong else ': '}{count(unjudged, 'point')} not judged"
    if notes:
        verdict += f", {count(notes, 'note')}"
    return f"{result.model}: {verdict}"


def describe_coverage(result: CheckResult) -> str:
    """Write what was judged, and from how many draws."""
    coverage = result.coverage
    covered = len(coverage.gaps) - len(coverage.open_gaps)
    paths = list(dict.fromkeys(judged.path for judged in result.paths))
    calls, weights = count(coverage.calls, "layer call"), count(coverage.weights, "weight")
    judged = f"Judged: {count(len(paths), 'path')}, {calls}, {weights}"
    judged += f"; {len(coverage.open_gaps)} not" if coverage.open_gaps else "; nothing left out"
    if covered:
        judged += f" ({count(covered, 'inner part')} measured through others or without numbers)"
    for path in paths:
        if beside := set(path.stands_for) - set(path.positions):
            begin, end = path.inside or ("inputs", "outputs")
            judged += (
                f". From {begin} to {end} the branches are tied to one another: their longest chain is judged for all, "
                f"{count(len(beside), 'more layer call')} with weights among them"
            )
    if result.redrawn:
        first, last = result.seeds[0], result.seeds[-1]
        fewer = f"; {result.fewer}" if result.fewer else ""
        draws = f"{len(result.seeds)} draws (seeds {first} to {last}{fewer})."
    else:
        draws = "The weights as they are: one draw, so there are no intervals over seeds."
    loss = result.conditions.loss.partition(",")[0]  # the page and the JSON have the details
    return f"{judged}. {draws} Batch: {result.conditions.batch}. Loss: {loss}."


def describe_present_weights(result: CheckResult) -> str:
    """Write what the weights held before any draw, where that is out of the ordinary; else nothing."""
    text = ""
    if result.loaded:
        drawn = f"{len(result.loaded)} of {count(result.coverage.weights, 'weight')} not drawn by the initializers"
        text = f"{drawn} (loaded or trained): kept as they are. "
    if result.not_finite:
        text += f"The model's own weights hold NaN or infinity: {format_names(result.not_finite, _NAMED)}."
    return text.strip()


def describe_tried(problem: Problem) -> str:
    """Write that nothing that was tried helps, and what else may; empty where something does or nothing was tried."""
    if problem.level != "wrong" or problem.fix is not None or not problem.tried:
        return ""
    return f"nothing that was tried helps ({count(problem.tried, 'change')}). {problem.main.rule.fix}"


def _format_problems(result: CheckResult, known: Collection[tuple[str, str]]) -> Iterator[str]:
    numbers = itertools.count(1)
    for problem in result.problems:
        number = "-" if problem.level == "note" else str(next(numbers))
        place = find_place(result, problem)
        title = f"{title_problem(problem)}{' (known)' if is_known(problem, known) else ''}"
        lines = wrap(f"{number}  {'  '.join(each for each in (title, place, ' '.join(problem.codes)) if each)}")
        lines = [lines[0], *(f"{_INDENT}{line}" for line in lines[1:])]
        lines += _format_description(problem, place)
        for proof in find_proofs(result, problem):
            lines += _hang("train", f"{describe_proof(proof)}.")
        yield "\n".join(lines)


def _describe_command(result: CheckResult) -> str:
    """Write how the fixes are written into the code, to stand behind the verdict, where it costs no line."""
    fixes = sum(each.fix is not None for each in result.problems)
    if not result.fix_command or not fixes:
        return ""
    return f"; {result.fix_command} writes the fix{'es' if fixes > 1 else ''}"


def _format_description(problem: Problem, place: str) -> Iterator[str]:
    """Format the description of a problem; the effects of a cause are one paragraph where that is short."""
    described = list(describe_problem(problem, place))
    effects = [(word, text) for word, text in described if word in problem.codes]
    together = _hang("so", " ".join(f"{code} {text}" for code, text in effects))
    joined = problem.cause is not None and len(effects) > 1 and len(together) <= _MOST_JOINED
    for word, text in described:
        if not joined or word not in problem.codes:
            yield from _hang(word, text)
        elif (word, text) == effects[0]:
            yield from together


def _hang(word: str, text: str) -> list[str]:
    return wrap(f"{word:<5}  {text}", _INDENT, _INDENT + " " * 7)


def title_problem(problem: Problem) -> str:
    """Name a problem, and say where it is a note, or a point that could not be judged."""
    return f"{problem.title}{_MARKS[problem.level]}"


def describe_problem(problem: Problem, place: str) -> Iterator[tuple[str, str]]:
    """Describe a problem in sentences: its cause, its effects, and what was tried, each with the word for it.

    Args:
        place: the line that was named already.
    """
    said = set()
    if problem.cause is not None:
        said.add(problem.cause.message)
        yield "cause", f"{problem.cause.message}."
    by_code: dict[str, list[Finding]] = {}
    for finding in problem.findings:
        if finding.message not in said:
            said.add(finding.message)
            if problem.cause is not None:
                finding = replace(finding, message=finding.message.removesuffix(f": {problem.cause.message}"))
            by_code.setdefault(finding.code, []).append(finding)
    for code, findings in by_code.items():
        others = (
            f"; and so {count(len(findings) - 1, 'time')} more, in {_name_others(findings)}" if findings[1:] else ""
        )
        yield code, f"{findings[0].message}{others}."
    fix = problem.fix
    if fix is not None:
        yield "fix", f"{describe_change(fix, place)} {describe_fix(fix)}."
    elif tried := describe_tried(problem):
        yield "fix", tried


def find_proofs(result: CheckResult, problem: Problem) -> list[Proof]:
    """Find what training showed of the fix of a problem."""
    place = next(place for place, each in enumerate(result.problems) if each is problem)
    return [each for each in result.proofs if each.fixed is not None and place in each.problems]


def describe_proofs(result: CheckResult) -> str:
    """Describe how the models were trained, and what training showed of the model as it is where there is no fix."""
    if not result.proofs:
        return ""
    alone = "".join(f" Without a fix: {describe_proof(each)}." for each in result.proofs if each.fixed is None)
    return f"{describe_training(result.proofs)}.{alone} {METHOD}"


def _name_others(findings: Sequence[Finding]) -> str:
    return format_names(list(dict.fromkeys(each.layer for each in findings[1:])), _NAMED)


def find_place(result: CheckResult, about: Problem | Finding) -> str:
    """Find the line of code that made the first layer of a problem or finding; empty where that is not known."""
    names = [*about.layers, *about.main.named] if isinstance(about, Problem) else about.named
    return next((result.places[name] for name in names if result.places.get(name)), "")


def _format_paths(result: CheckResult) -> str:
    if not result.paths:
        return ""
    path = max((each for each in result.paths), key=lambda each: (each.path.is_main, each.steps)).path
    judged = [each for each in result.paths if each.path == path]
    where = "main path (layers that every path passes)" if path.is_main else f"longest path ({name_ends(judged[0])})"
    return "\n".join([f"Along the {where}, in squares:", *map(_format_path, judged)])


def name_ends(judged: JudgedPath) -> str:
    """Name the first and the last layer of a path, in its direction, and where it lies if that is in a branch."""
    layers, inside = judged.levels.layers, judged.path.inside
    ends = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    return f"{ends}, between {inside[0]} and {inside[1]}" if inside else ends


def _format_path(judged: JudgedPath) -> str:
    word = "forward " if judged.levels.direction == "forward" else "backward"
    if judged.steps == 0:
        return f"  {word}  too few layers to follow"
    if judged.wakes:
        return f"  {word}  exactly zero until the first step of gradient descent"
    if judged.outcome in ("dead", "nonfinite") or not math.isfinite(judged.total.value):
        return f"  {word}  {judged.outcome}: see the findings"
    verdict = {"within": "within the limit", "undecided": "undecided"}.get(judged.outcome, judged.outcome)
    change = f"{format_amplitude(judged.total.value)} in {count(judged.steps, 'layer')}, {describe_rate(judged)}"
    return f"  {word}  {change}: {verdict}"


def _format_layers(result: CheckResult, full: bool) -> list[str]:
    rows = layer_rows(result)
    shown = rows if full else rows_that_matter(result, rows)
    if not shown:
        return []
    head = ("layer", "kind", "E z^2", "gain", "Var h", "varies", "zero", "E|dL/dz|^2")
    cells = [head, *[_cells(row) for row in shown]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    previous = shown[0].order - 1
    for line, row in zip(cells, [None, *shown], strict=True):
        if row is not None and row.order > previous + 1:
            lines.append(f"  ... {count(row.order - previous - 1, 'layer call')} between")
        previous = row.order if row is not None else previous
        text = "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        mark = "! " if row is not None and row.codes else "  "
        lines.append(f"{mark}{text}  {' '.join(row.codes) if row is not None else ''}".rstrip())
    if len(shown) < len(rows):
        lines[0] += f"  {len(shown)} of {len(rows)} rows"
    return [*lines, *wrap(_HEADS)]


def _cells(row: LayerRow) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        format_number(row.second_moment, missing=""),
        format_number(row.forward_gain, missing=""),
        format_number(row.variance, missing=""),
        format_share(row.varies, missing=""),
        format_share(row.zero, missing=""),
        format_number(row.gradient, missing=""),
    )


# --- on a pull request ------------------------------------------------------------------------------------------------


def format_summary(result: CheckResult, comparison: Comparison | None = None) -> str:
    """Format the result in Markdown: what failed first, the whole text folded away."""
    lines = [f"### initcheck: {_mark(result, comparison)} {escape_text(result.model)}", ""]
    if comparison is not None:
        lines += [f"**Gate: {escape_text(format_verdict(comparison))}**", ""]
        lines += [*(f"- {escape_text(each)}" for each in list_changes(comparison)), ""]
    lines += [f"{escape_text(describe_verdict(result))}", ""]
    shown: set[str] = set()
    for problem in list_failed(result, comparison):
        place = find_place(result, problem)
        about = ", ".join(each for each in (place, " ".join(problem.codes)) if each)
        lines.append(f"- **{escape_text(title_problem(problem))}** ({escape_text(about)})")
        lines += [f"  - {word}: {escape_text(text)}" for word, text in describe_problem(problem, place)]
        lines += [f"  - train: {escape_text(describe_proof(each))}." for each in find_proofs(result, problem)]
        diff = format_diff(result, problem)
        if diff and diff not in shown:  # problems may have one fix, which cures them all
            lines += ["", indent(code_block(diff.rstrip("\n"), "diff"), "  ", lambda _: True)]
        shown.add(diff)
    if result.fix_command and any(each.fix is not None for each in result.problems):
        lines += ["", f"{code_span(result.fix_command)} writes the fixes into the code."]
    # Inside <pre> Markdown is not read, and names may hold anything.
    whole = escape(format_text(result, comparison, full=True), quote=False)
    lines += ["", "<details><summary>All that was measured</summary>", "", f"<pre>{whole}</pre>", "</details>", ""]
    return "\n".join(lines)


def list_changes(comparison: Comparison) -> list[str]:
    """List what has changed since the baseline, the conditions first."""
    return [*describe_conditions(comparison), *describe_changes(comparison, _MOST_CHANGES)]


def list_failed(result: CheckResult, comparison: Comparison | None) -> list[Problem]:
    """List the problems and notes that the baseline does not know, and that other seeds cannot have brought about."""
    passed = frozenset() if comparison is None else comparison.known | {*comparison.unconfirmed}
    return [each for each in result.problems if not is_known(each, passed)]


def is_known(problem: Problem, known: Collection[tuple[str, str]]) -> bool:
    """Find whether all findings of a problem are among known ones, by code and layer."""
    return all((each.code, each.layer) in known for each in problem.findings)


def _mark(result: CheckResult, comparison: Comparison | None) -> str:
    return {0: "✅", 1: "❌", 2: "⚠️"}[_code_of(result, comparison)]


# --- the layers as rows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerRow:
    """One measured site."""

    order: int
    name: str
    layer: str
    kind: str
    on_main_path: bool
    second_moment: float
    input_second_moment: float
    forward_gain: float
    variance: float
    varies: float
    zero: float
    gradient: float
    codes: tuple[str, ...]


def layer_rows(result: CheckResult) -> list[LayerRow]:
    """Make one row of each measured site, in the order of execution."""
    table = result.table
    main = {position for judged in result.paths if judged.path.is_main for position in judged.levels.positions}
    first = table.drop_duplicates("position").sort_values("position")
    values = {
        "second_moment": _geometric(table, second_moments(table)),
        "input_second_moment": _geometric(table, table["input_second_moment"]),
        "forward_gain": _geometric(table, second_moments(table) / table["input_second_moment"]),
        "variance": _geometric(table, table["activation_variance"]),
        "varies": _geometric(table, table["activation_batch_variance"] / table["activation_second_moment"]),
        "gradient": _geometric(table, table["gradient_norm"] ** 2),
        "zero": table.assign(_v=table["zero_fraction"].astype(float)).groupby("position")["_v"].mean(),
    }
    rows = []
    sites = zip(first["position"], first["call"], first["layer"], first["kind"], strict=True)
    for order, (position, call, layer, kind) in enumerate(sites):
        rows.append(
            LayerRow(
                order=order,
                name=name_site(str(layer), call),
                layer=str(layer),
                kind=str(kind),
                on_main_path=position in main,
                codes=_codes(result, str(layer)),
                **{name: float(means.get(position, np.nan)) for name, means in values.items()},
            )
        )
    return rows


def rows_that_matter(result: CheckResult, rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Pick what a first screen needs: the layers of each problem with their neighbours, at most 12 in all."""
    keep: set[int] = set()
    for problem in result.problems:
        if problem.level == "note":
            continue
        named = [row.order for row in rows if names_layer(problem.layers, row.layer)]
        for order in (named[:1] + named[-1:]) if len(named) > _NAMED_ROWS else named:
            around = {each for each in (order - 1, order, order + 1) if 0 <= each < len(rows)}
            if len(keep | around) <= _SHOWN:
                keep |= around
    return [row for row in rows if row.order in keep]


def _codes(result: CheckResult, layer: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.code for finding in result.findings if names_layer(finding.named, layer)))


def names_layer(paths: Sequence[str], layer: str) -> bool:
    """Find whether a layer, or a weight of it, is among paths of layers and weights."""
    return any(each == layer or each.startswith(f"{layer}/") for each in paths)


def _geometric(table: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Take the geometric mean by position of the draws that are not 0: 0 where all are, NaN where one is undefined."""
    numbers: NDArray[np.float64] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(divide="ignore"):
        logs = np.log(numbers)
    means = pd.Series(logs, index=table["position"].to_numpy(dtype=np.int64)).groupby(level=0).agg(_mean)
    return means.map(np.exp)


def _mean(values: pd.Series) -> float:
    logs = values.to_numpy(dtype=np.float64)
    if np.isnan(logs).any():
        return float("nan")
    above_zero = logs[~np.isneginf(logs)]
    return float(above_zero.mean()) if above_zero.size else -np.inf
