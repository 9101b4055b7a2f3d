"""The result of a comparison with a baseline: as text for a terminal, and as a section of the page of a check."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from initcheck.audit.rules import RULES
from initcheck.checking.gate.baseline import FindingRecord
from initcheck.checking.gate.causes import (
    Cause,
    Origin,
    describe_metric,
    find_causes,
    find_condition_changes,
    find_origin,
    find_version_changes,
)
from initcheck.checking.gate.comparison import Comparison, Difference, Verdict
from initcheck.checking.gate.seed_plan import plan_seeds
from initcheck.core.formatting import LINE_WIDTH, count, exponential, format_names, format_number, name_alike, shorten
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    Details,
    Figure,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    Tone,
    code,
    paragraph,
    prose,
)

if TYPE_CHECKING:
    from initcheck.pages.forest import ForestRow

FIRST_LINE: Final = 80
"""Characters of the first line of a failure: pytest's summary shows no more."""

_PAGE_LINE: Final = 240
_MOST_SHOWN: Final = 8
_MOST_PATHS: Final = 2
_ORIGINS: Final[dict[Origin, str]] = {
    "library": "the library changed, not the model",
    "model": "the model changed, not the library",
    "library or model": "the library changed, and so did the model or its batch: see what by which",
    "data or model": "the batch or the conditions changed, or the model: measure on the old batch to find out",
    "nothing": "",
}
_COLUMNS: Final = ("Layer or weight", "Quantity", "Verdict", "Factor", "Then", "Now")
_TONES: Final = {"same": "kept", "changed": "growing-3", "inconclusive": "unknown"}
_SERIES: Final[dict[Verdict, int]] = {"changed": 1, "inconclusive": 5, "same": 2}
"""Numbers of the colours of the verdicts."""
_COUNTED: Final[dict[Verdict, str]] = {
    "changed": "changed",
    "inconclusive": "inconclusive",
    "same": "same",
}
_VERDICTS: Final[dict[int, Tone]] = {0: "passed", 1: "failed", 2: "undecided"}
"""By exit code."""
_ROW_NAMES: Final = {"total forward": "signal", "total backward": "gradient"}
_MOST_ROWS: Final = 12
_MOST_CAUSES: Final = 3


def format_gate(comparison: Comparison, *, full: bool = False, in_test: bool = False) -> str:
    """Write the comparison for a terminal: the verdict, the causes, and the clearest of what followed, or all of it.

    Args:
        in_test: whether options are those of a test, and not of the command line.
    """
    lines = [f"Gate: {format_verdict(comparison)}"]
    changes = describe_changes(comparison, None if full else _MOST_SHOWN, in_test=in_test)
    for line in (*describe_conditions(comparison), *changes):
        lines += textwrap.wrap(line, LINE_WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def build_gate_answer(comparison: Comparison, *, allow_inconclusive: bool = False) -> Answer:
    """Build what a reader sees first: what was changed, by whom, and a forest plot of what that changed."""
    origin = _ORIGINS[find_origin(comparison)]
    first = format_verdict(comparison, _PAGE_LINE).replace(" -> ", " → ")
    tone = _VERDICTS[comparison.exit_code(allow_inconclusive=allow_inconclusive)]
    compared = len(comparison.differences)
    values = tuple(
        (f"{len(comparison.of_verdict(verdict))} of {compared}", f"metrics {text}")
        for verdict, text in _COUNTED.items()
        if compared
    )
    others = [describe_cause(each) for each in find_causes(comparison)[1:]]
    lines = [*_cut(others, _MOST_CAUSES), *_list_moved(comparison)]
    blocks: list[Block] = []
    if lines:
        blocks.append(_list_lines(lines))
    figure = _draw_changes(comparison)
    blocks += [] if figure is None else [figure]
    if comparison.verdict == "inconclusive":
        blocks.append(paragraph(advise(comparison)))
    verdict = f"{first[0].upper()}{first[1:]}{f' ({origin})' if origin else ''}."
    return Answer(prose(verdict), tone, values, tuple(blocks))


def build_gate_section(comparison: Comparison) -> Section:
    """Build the section with all that was compared, folded by verdict."""
    causes = [describe_cause(each) for each in find_causes(comparison)]
    lines = causes if len(causes) > _MOST_CAUSES + 2 else []  # else the answer has them all
    lines += [*_describe_totals(comparison), *_describe_findings(comparison), *_describe_not_compared(comparison)]
    lines += [f"known: {each}" for each in describe_known(comparison)]
    blocks: list[Block] = []
    if lines:
        blocks.append(_list_lines(lines))
    for verdict, text in _COUNTED.items():
        found = comparison.of_verdict(verdict)
        if found:
            summary = f"{count(len(found), 'metric')} {text}"
            blocks.append(Details(prose(summary), (_table(found, f"{summary}: geometric means over seeds."),)))
    blocks.append(Details(prose("How metrics are compared"), (Paragraph(_describe_method(comparison)),)))
    return Section("gate", "Against the baseline", tuple(blocks))


def _list_lines(lines: Iterable[str]) -> Bullets:
    return Bullets(tuple(prose(each.replace(" -> ", " → ")) for each in lines))


def _draw_changes(comparison: Comparison) -> Figure | None:
    """Draw the factors that decide the verdict, the worst first; None where nothing was compared."""
    changed = [*comparison.of_verdict("changed"), *(each for each in comparison.totals if each.verdict == "changed")]
    decisive = changed or comparison.of_verdict("inconclusive") or comparison.differences
    groups = sorted(_group_alike(decisive), key=lambda each: -_distance(each[0]))
    if not groups:
        return None
    from initcheck.pages.forest import draw_forest  # Matplotlib, which the text does without
    from initcheck.pages.svg import DOTS, draw_dot_key

    rows = [_forest_row(group) for group in groups[:_MOST_ROWS]]
    margin = math.log1p(comparison.margin)
    others = sum(len(group) for group in groups[_MOST_ROWS:])
    more = f" {count(others, 'more metric')} {'is' if others == 1 else 'are'} in the tables below." if others else ""
    caption = prose(
        "Factors of amplitudes, now over then: of a weight (scale), and of what a layer makes of the size of the "
        f"signal (forward, activation) and of the gradient (backward). Shaded: the margin of {comparison.margin:g}. "
        f"What is alike is one line. {describe_intervals(comparison)}{more}"
    )
    text = f"{count(len(rows), 'line')} of factors around 1, the farthest first: {rows[0].label} {rows[0].text}"
    panel = draw_forest(
        rows, (-margin, margin), title="", description=text, prefix="gate", axis="factor, now over then"
    )
    keys = tuple(
        draw_dot_key(_COUNTED[each], _SERIES[each], DOTS[0][1])
        for each in _COUNTED
        if any(group[0].verdict == each for group in groups[:_MOST_ROWS])
    )
    return Figure("gate", caption, keys, (), (panel,), text, columns=1)


def _group_alike(differences: Iterable[Difference]) -> list[list[Difference]]:
    """Bring metrics together that changed alike: one quantity, one verdict, one factor with one interval."""
    groups: dict[tuple[object, ...], list[Difference]] = {}
    for each in differences:
        shift = each.shift
        places = () if shift is None else tuple(map(_exp, (shift.value, *each.interval)))
        states = each.states if shift is None else ()
        groups.setdefault((each.quantity, each.verdict, places, states), []).append(each)
    return list(groups.values())


def _forest_row(group: Sequence[Difference]) -> ForestRow:
    from initcheck.pages.forest import ForestRow

    first = group[0]
    names = [each.path for each in group]
    where = f"{name_alike(names)} ({len(names)})" if names[1:] else names[0]
    label = f"{where.replace(' -> ', ' → ')}, {_ROW_NAMES.get(first.quantity, first.quantity)}"
    shift = first.shift
    if shift is None:
        return ForestRow(label, math.nan, math.nan, math.nan, " → ".join(first.states), _SERIES[first.verdict])
    low, high = first.interval
    text = f"× {_exp(shift.value)}"
    if low < high and {_exp(low), _exp(high)} != {_exp(shift.value)}:
        text += f" [{_exp(low)}, {_exp(high)}]"
    return ForestRow(label, shift.value, low, high, text, _SERIES[first.verdict])


def _distance(difference: Difference) -> float:
    """Give how far a factor is from 1; what has no factor is farthest."""
    return math.inf if difference.shift is None else abs(difference.shift.value)


def format_verdict(comparison: Comparison, length: int = FIRST_LINE) -> str:
    """Write the verdict in one line of a length: with what was changed, first."""
    compared = len(comparison.differences)
    if comparison.verdict == "changed":
        causes = find_causes(comparison)
        more = f"; {count(len(causes) - 1, 'more change')}" if len(causes) > 1 else ""
        moved = {each.name for each in find_version_changes(comparison)}
        by_keras = causes[0].is_certain and "keras" in moved and find_origin(comparison) == "library"
        head = "changed by Keras: " if by_keras else "changed: "
        return f"{head}{shorten(causes[0].sentence, length - len(head) - len(more))}{more}"
    if comparison.verdict == "inconclusive":
        undecided = len(comparison.of_verdict("inconclusive"))
        return f"inconclusive: {undecided} of {compared} metrics are neither shown to be the same nor to differ"
    notes = [
        f"{comparison.not_compared} not compared" if comparison.not_compared else "",
        count(len(comparison.known), "known finding") if comparison.known else "",
        count(len(comparison.gone_findings), "known finding") + " fixed" if comparison.gone_findings else "",
        count(len(comparison.new_findings), "new finding") if comparison.new_findings else "",
    ]
    line = f"same: all {compared} metrics within {comparison.margin:.3g} of the baseline"
    return "; ".join(filter(None, (line, *notes)))


def describe_conditions(comparison: Comparison) -> list[str]:
    """Say whether the model or the library changed, and list the versions and conditions that differ."""
    origin = _ORIGINS[find_origin(comparison)]
    lines = [*([origin] if origin else []), *_list_moved(comparison)]
    if not comparison.paired:
        then, now = len(comparison.before.seeds), len(comparison.after.seeds)
        lines.append(f"other seeds than the baseline's ({then} then, {now} now): compared as independent draws")
    if not comparison.before.layers:
        lines.append(
            "not compared: the settings and the order of layers, which the baseline lacks, since an older initcheck "
            "wrote it; renew it"
        )
    return lines


def _list_moved(comparison: Comparison) -> list[str]:
    """List the versions and conditions that differ."""
    moved = [f"{each.name} {each.before} -> {each.after}" for each in find_version_changes(comparison)]
    return moved + [f"{each.what}: {each.before} -> {each.after}" for each in find_condition_changes(comparison)]


def describe_changes(comparison: Comparison, most: int | None = None, *, in_test: bool = False) -> list[str]:
    """List what changed or is undecided, a sentence each, the causes first, at most so many of a kind."""
    lines = [*_cut(_describe_causes(comparison), most)]
    changed = comparison.of_verdict("changed")
    if changed:
        said = _find_said(comparison)
        metrics = [each for each in map(describe_metric, changed) if each != said]
        end = ":" if metrics else ""
        lines.append(f"{len(changed)} of {len(comparison.differences)} metrics changed{end}")
        lines += _cut((f"- {each}" for each in metrics), most)
    lines += _cut(_describe_totals(comparison), None if most is None else _MOST_PATHS)
    if comparison.verdict == "inconclusive":
        undecided = comparison.of_verdict("inconclusive")
        lines += _cut((f"inconclusive: {describe_metric(each)}" for each in undecided), most)
        lines.append(advise(comparison, in_test=in_test))
    lines += _describe_findings(comparison)
    lines += _describe_not_compared(comparison)
    return lines


def describe_cause(cause: Cause) -> str:
    """Write a cause, with whether Keras or the model is behind it."""
    names = {"library": "Keras", "library or model": "Keras or the model", "data or model": "the batch or the model"}
    return f"{cause.sentence}; cause: {names.get(cause.origin, 'model')}"


def advise(comparison: Comparison, *, in_test: bool = False) -> str:
    """Write what would decide what is inconclusive: so many seeds, as options of a test or of the command line."""
    plan = plan_seeds(comparison)
    if plan is None:
        return (
            "No number of seeds is known to decide all of it: something lies at the margin, or has one seed only. "
            f"Another margin would: {'margin=' if in_test else '--margin'}."
        )
    seeds = plan.low if plan.high is None else plan.high
    numbers = f"at least {seeds}" if plan.high is None else f"about {plan.low} to {plan.high}"
    needed = f"{numbers} seeds would decide"
    if plan.supposes_no_change:
        needed = f"if nothing has changed, {numbers} seeds would show it"
    if plan.renew:
        how = f"record it with --seeds {seeds}, then check with --seeds {seeds}"
        if in_test:
            how = f"initcheck.gate(model, seeds={seeds}), and record it anew"
        return f"{needed[0].upper()}{needed[1:]}, in the baseline too: {how}."
    how = f"initcheck.gate(model, auto_seeds={seeds})" if in_test else f"--auto-seeds {seeds}"
    return f"{needed[0].upper()}{needed[1:]}: {how}."


def describe_known(comparison: Comparison) -> list[str]:
    """List the findings that the baseline knows, with their values now, but for those that got worse."""
    now = {(each.code, each.layers[0]): each for each in comparison.after.findings}
    names = comparison.after.names_by_key()
    named = {(code, names.get(layer, layer)): record for (code, layer), record in now.items()}
    worse = {(each.code, each.layers[0]) for _, each in comparison.worse_findings}
    return [_describe_finding(named[each]) for each in sorted(comparison.known - worse) if each in named]


def describe_fixed(comparison: Comparison) -> list[str]:
    """List the findings of the baseline that there are no more, with their values then."""
    return [f"fixed: {_describe_finding(each)}. Renew the baseline" for each in comparison.gone_findings]


def _describe_causes(comparison: Comparison) -> list[str]:
    """List the causes, but for one that the first line has said."""
    said = _find_said(comparison)
    return [describe_cause(each) for each in find_causes(comparison) if each.sentence != said]


def _find_said(comparison: Comparison) -> str:
    """Give the sentence of the cause, where there is one only and the first line has the whole of it; else nothing."""
    causes = find_causes(comparison)
    whole = len(causes) == 1 and format_verdict(comparison).endswith(causes[0].sentence)
    return causes[0].sentence if whole else ""


def _describe_totals(comparison: Comparison) -> Iterator[str]:
    for each in comparison.totals:
        if each.verdict == "changed" or each.trend:
            then, now = (_state(*side) for side in zip(each.states, each.means, strict=True))
            trend = f"{each.trend}: " if each.trend else ""
            low, high = (format_number(exponential(sign * each.limit)) for sign in (-1.0, 1.0))
            yield f"{trend}{describe_metric(each)}, from {then} to {now} (limits {low} and {high})"


def _describe_findings(comparison: Comparison) -> Iterator[str]:
    for rule, layer in comparison.new_findings:
        yield f"new finding: {rule} {RULES[rule].name} at {layer or 'the whole model'}"
    for then, now in comparison.worse_findings:
        yield f"got worse: {_describe_finding(now)}; it was {_write(then.value)}"
    for rule, layer in comparison.unconfirmed:
        yield (
            f"not in the baseline: {rule} {RULES[rule].name} at {layer or 'the whole model'}. Nothing else has "
            "changed, and other weights were drawn: it lies near its limit"
        )
    yield from describe_fixed(comparison)


def _describe_not_compared(comparison: Comparison) -> Iterator[str]:
    if comparison.kept:
        yield (
            f"not compared: {count(comparison.not_compared, 'metric')} that rest on "
            f"{format_names(comparison.kept)}: these weights are kept as found in the model, since no known "
            "initializer drew them, and hold other values than in the baseline. Gate the function that makes the "
            "model, so that its initializers are known"
        )


def _describe_finding(finding: FindingRecord) -> str:
    where = finding.layers[0] or "the whole model"
    value = "" if finding.value is None else f": {finding.quantity} {_write(finding.value)}"
    if finding.value is not None and finding.low is not None and finding.high is not None:
        value += f" [{_write(finding.low)}, {_write(finding.high)}]"
    return f"{finding.code} {RULES[finding.code].name} at {where}{value}" if finding.code in RULES else finding.code


def _write(value: float | None) -> str:
    return "no value" if value is None else format_number(value)


def _cut(lines: Iterable[str], most: int | None) -> Iterator[str]:
    listed = list(lines)
    shown = listed if most is None or len(listed) <= most + 1 else listed[:most]
    yield from shown
    if len(shown) < len(listed):
        yield f"... and {len(listed) - len(shown):,} more like these"


def _describe_method(comparison: Comparison) -> Text:
    how = "seed by seed" if comparison.paired else "as independent draws (Welch)"
    return prose(
        "Metrics are amplitudes (roots of second moments): of a weight, and of what a layer makes of the signal and of "
        f"the gradient that reach it. They are compared {how}. Same: the 90% interval of the factor lies within a "
        "margin of ",
        code(f"{comparison.margin:g}"),
        "; changed: the interval lies beyond it, at 1 in 10,000 for all metrics together (Holm). The interval shown is "
        "the one that decides: where the factor lies beyond the margin, the second.",
    )


def describe_intervals(comparison: Comparison) -> str:
    """Say what the intervals of a picture are, and that there are none where the same numbers were drawn."""
    if all(not low < high for low, high in (each.interval for each in comparison.differences)):
        return "No factor varies over the draws, so that none has an interval."
    return "Lines are the intervals that decide."


def _table(found: tuple[Difference, ...], caption: str) -> Table:
    return Table(prose(caption), _COLUMNS, tuple(map(_row, found)))


def _row(difference: Difference) -> Row:
    shift = difference.shift
    factor = Cell("none")
    if shift is not None:
        low, high = difference.interval
        ends = () if math.isnan(low) else (f"[{_exp(low)}, {_exp(high)}]",)
        factor = Cell(_exp(shift.value), ends)
    cells = (
        Cell(difference.quantity),
        Cell(difference.verdict, tone=_TONES[difference.verdict]),
        factor,
        *(_side(state, mean) for state, mean in zip(difference.states, difference.means, strict=True)),
    )
    return Row(difference.path, cells)


def _side(state: str, mean: float) -> Cell:
    """Write the geometric mean over seeds, or why there is none."""
    if math.isnan(mean):
        return Cell(state)
    return Cell(_exp(mean), () if state == "finite" else (state,))


def _state(state: str, mean: float) -> str:
    return state if math.isnan(mean) else _exp(mean)


def _exp(value: float) -> str:
    return format_number(exponential(value))
