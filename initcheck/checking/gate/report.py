"""The result of a comparison with a baseline: as text for a terminal, and as a section of the page of a check."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

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
from initcheck.checking.gate.comparison import Comparison, Difference
from initcheck.checking.gate.seed_plan import plan_seeds
from initcheck.core.formatting import LINE_WIDTH, count, exponential, format_names, format_number, shorten
from initcheck.pages.document import (
    Block,
    Bullets,
    Cell,
    Definitions,
    Details,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    code,
    paragraph,
    prose,
    strong,
)

FIRST_LINE: Final = 80
"""Characters of the first line of a failure: pytest's summary shows no more."""

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
_UNFOLDED: Final = 30


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


def build_gate_section(comparison: Comparison) -> Section:
    """Build the section of the page."""
    origin = _ORIGINS[find_origin(comparison)]
    first = format_verdict(comparison).replace(" -> ", " → ")
    blocks: list[Block] = [paragraph(strong(first), f" ({origin})." if origin else ".")]
    moved = [(each.name, prose(f"{each.before} → {each.after}")) for each in find_version_changes(comparison)]
    moved += [(each.what, prose(f"{each.before} → {each.after}")) for each in find_condition_changes(comparison)]
    if moved:
        blocks.append(Definitions(tuple(moved)))
    lines = [*_describe_causes(comparison), *_describe_totals(comparison), *_describe_findings(comparison)]
    lines += [*_describe_not_compared(comparison), *(f"known: {each}" for each in describe_known(comparison))]
    if lines:
        blocks.append(Bullets(tuple(prose(each.replace(" -> ", " → ")) for each in lines)))
    for verdict in ("changed", "inconclusive"):
        found = comparison.of_verdict(verdict)
        if found:
            # Beside a change it is no question whether more has changed.
            is_aside = verdict == "inconclusive" and comparison.verdict == "changed"
            blocks.append(_fold(found, f"{count(len(found), 'metric')} {verdict}.", most=0 if is_aside else _UNFOLDED))
    if comparison.verdict == "inconclusive":
        blocks.append(paragraph(advise(comparison)))
    blocks.append(Paragraph(_describe_method(comparison)))
    same = comparison.of_verdict("same")
    if same:
        blocks.append(Details(prose(f"{count(len(same), 'metric')} that stayed the same"), (_table(same, ""),)))
    return Section("gate", "Against the baseline", tuple(blocks))


def format_verdict(comparison: Comparison) -> str:
    """Write the verdict in one line: with what was changed, first."""
    compared = len(comparison.differences)
    if comparison.verdict == "changed":
        causes = find_causes(comparison)
        more = f"; {count(len(causes) - 1, 'more change')}" if len(causes) > 1 else ""
        moved = {each.name for each in find_version_changes(comparison)}
        by_keras = causes[0].is_certain and "keras" in moved and find_origin(comparison) == "library"
        head = "changed by Keras: " if by_keras else "changed: "
        return f"{head}{shorten(causes[0].sentence, FIRST_LINE - len(head) - len(more))}{more}"
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
    lines = [origin] if origin else []
    lines += [f"{each.name} {each.before} -> {each.after}" for each in find_version_changes(comparison)]
    lines += [f"{each.what}: {each.before} -> {each.after}" for each in find_condition_changes(comparison)]
    if not comparison.paired:
        then, now = len(comparison.before.seeds), len(comparison.after.seeds)
        lines.append(f"other seeds than the baseline's ({then} then, {now} now): compared as independent draws")
    if not comparison.before.layers:
        lines.append(
            "not compared: the settings and the order of layers, which the baseline lacks, since an older initcheck "
            "wrote it; renew it"
        )
    return lines


def describe_changes(comparison: Comparison, most: int | None = None, *, in_test: bool = False) -> list[str]:
    """List what changed or is undecided, a sentence each, the causes first, at most so many of a kind."""
    lines = [*_cut(_describe_causes(comparison), most)]
    changed = comparison.of_verdict("changed")
    if changed:
        lines.append(f"{len(changed)} of {len(comparison.differences)} metrics changed:")
        lines += _cut((f"- {describe_metric(each)}" for each in changed), most)
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
    return [describe_cause(each) for each in find_causes(comparison)]


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


def _fold(found: tuple[Difference, ...], caption: str, most: int) -> Block:
    table = _table(found, caption)
    return table if len(found) <= most else Details(prose(caption), (table,))


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
