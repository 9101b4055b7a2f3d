"""The result of a comparison with a baseline: as text for a terminal, and as a section of the page of a check."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from initcheck.checking.gate.causes import (
    Origin,
    WeightChange,
    find_condition_changes,
    find_origin,
    find_version_changes,
    group_weight_changes,
)
from initcheck.checking.gate.comparison import FACTS, Comparison, Difference, FactChange
from initcheck.core.formatting import LINE_WIDTH, count, format_names, format_number
from initcheck.core.statistics import MOST_ADVISED
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

_MOST_SHOWN: Final = 8
_ORIGINS: Final[dict[Origin, str]] = {
    "library": "the library changed, not the model",
    "model": "the model changed, not the library",
    "data": "the batch changed, not the model",
    "library or model": "the library changed, and so did the model or its batch: see which weight by which",
    "data or model": "the batch or the conditions changed, or the model: measure on the old batch to find out",
    "nothing": "",
}
_QUANTITIES: Final = {
    "scale": "scale of the weight",
    "forward": "forward change",
    "activation": "change by the activation function",
    "backward": "backward change",
}
_COLUMNS: Final = ("Layer or weight", "Quantity", "Verdict", "Factor", "Then", "Now")
_TONES: Final = {"same": "kept", "changed": "growing-3", "inconclusive": "unknown"}
_UNFOLDED: Final = 30


def format_gate(comparison: Comparison, *, full: bool = False) -> str:
    """Write the comparison for a terminal: the verdict and the clearest changes, or all of them."""
    lines = [f"Gate: {format_verdict(comparison)}"]
    for line in (*describe_conditions(comparison), *describe_changes(comparison, None if full else _MOST_SHOWN)):
        lines += textwrap.wrap(line, LINE_WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def build_gate_section(comparison: Comparison) -> Section:
    """Build the section of the page."""
    blocks: list[Block] = [paragraph(strong(f"{format_verdict(comparison)}."))]
    moved = [(each.name, prose(f"{each.before} → {each.after}")) for each in find_version_changes(comparison)]
    moved += [(each.what, prose(f"{each.before} → {each.after}")) for each in find_condition_changes(comparison)]
    if moved:
        blocks.append(Definitions(tuple(moved)))
    changes = [describe_weight_change(each) for each in group_weight_changes(comparison)]
    changes += [
        f"{each.action}: {' → '.join(filter(None, (each.before, each.after)))}" for each in comparison.structure
    ]
    changes += list(_describe_new_findings(comparison))
    if changes:
        blocks.append(Bullets(tuple(prose(each) for each in changes)))
    for verdict in ("changed", "inconclusive"):
        found = comparison.of_verdict(verdict)
        if found:
            blocks.append(_fold(found, f"{count(len(found), 'metric')} {verdict}."))
    if comparison.of_verdict("inconclusive"):
        blocks.append(paragraph(advise(comparison)))
    blocks.append(Paragraph(_describe_method(comparison)))
    same = comparison.of_verdict("same")
    if same:
        blocks.append(Details(prose(f"{count(len(same), 'metric')} that stayed the same"), (_table(same, ""),)))
    return Section("gate", "Against the baseline", tuple(blocks))


def format_verdict(comparison: Comparison) -> str:
    """Write the verdict in one line."""
    compared = len(comparison.differences)
    if comparison.verdict == "same":
        line = f"same: all {compared} metrics within {comparison.margin:.3g} of the baseline"
        return f"{line}, but for new findings" if comparison.new_findings else line
    if comparison.verdict == "inconclusive":
        undecided = len(comparison.of_verdict("inconclusive"))
        if comparison.kept:
            return f"inconclusive: {undecided} of {compared} metrics rest on weights that no seed draws"
        return f"inconclusive: {undecided} of {compared} metrics are neither shown to be the same nor to differ"
    counts = [
        (len(comparison.of_verdict("changed")), f"of {compared} metrics"),
        (len({each.path for each in comparison.facts}), "in what draws the weights"),
        *(
            (sum(each.action == action for each in comparison.structure), action)
            for action in ("added", "removed", "renamed")
        ),
    ]
    changed = ", ".join(f"{number} {what}" for number, what in counts if number)
    return f"changed ({changed}): {_ORIGINS[find_origin(comparison)]}"


def describe_conditions(comparison: Comparison) -> list[str]:
    """List the versions and conditions that differ from the baseline's."""
    lines = [f"{each.name} {each.before} -> {each.after}" for each in find_version_changes(comparison)]
    lines += [f"{each.what}: {each.before} -> {each.after}" for each in find_condition_changes(comparison)]
    if not comparison.paired:
        then, now = len(comparison.before.seeds), len(comparison.after.seeds)
        lines.append(f"other seeds than the baseline's ({then} then, {now} now): compared as independent draws")
    return lines


def describe_changes(comparison: Comparison, most: int | None = None) -> list[str]:
    """List what changed or is undecided, a sentence each, at most so many of a kind."""
    lines = [*_cut(map(describe_weight_change, group_weight_changes(comparison)), most)]
    lines += _cut(
        (
            f"{each.action}: {' -> '.join(filter(None, (each.before, each.after)))} ({each.kind})"
            for each in comparison.structure
        ),
        most,
    )
    lines += _cut(map(describe_difference, comparison.of_verdict("changed")), most)
    if not comparison.kept:  # else one line says why nothing is decided
        lines += _cut(map(describe_difference, comparison.of_verdict("inconclusive")), most)
    lines += _describe_new_findings(comparison)
    if comparison.of_verdict("inconclusive"):
        lines.append(advise(comparison))
    return lines


def describe_weight_change(change: WeightChange) -> str:
    """Write what changed of one weight, and the cause."""
    facts = ", ".join(_describe_fact(each) for each in change.facts)
    cause = "Keras" if change.origin == "library" else "model"
    return f"{change.path} ({change.role} of {change.kind}): {facts}; cause: {cause}"


def describe_difference(difference: Difference) -> str:
    """Write the change of one metric with its interval."""
    head = f"{difference.verdict}: {difference.path} ({difference.kind}), {_QUANTITIES[difference.quantity]}"
    shift = difference.shift
    if shift is None:
        return f"{head} {difference.states[0]} -> {difference.states[1]}"
    interval = "" if math.isnan(shift.low) else f" [{_exp(shift.low)}, {_exp(shift.high)}]"
    return f"{head} x {_exp(shift.value)}{interval}"


def advise(comparison: Comparison) -> str:
    """Write what would decide what is inconclusive: so many seeds, or weights that are drawn."""
    if comparison.kept:
        return (
            f"{format_names(comparison.kept)}: kept as found in the model, since no known initializer drew the values, "
            "and other than in the baseline. One draw against another shows no change. Gate the function that makes "
            "the model, so that its initializers are known, or keep all weights in both (weights=keep)."
        )
    needed, baseline_needed = comparison.seeds_needed, comparison.baseline_seeds_needed
    if needed is None:
        return "No number of seeds is known to decide all of it: something lies on the margin, or has one seed only."
    if needed > MOST_ADVISED:
        return "More seeds will not decide all of it: something lies at the margin. Another margin would: --margin."
    if baseline_needed is not None:
        return (
            f"About {needed} seeds would decide, in the baseline too: record it with --seeds {baseline_needed}, "
            f"then check with --seeds {needed}."
        )
    return f"About {needed} seeds would decide, if mean and standard deviation stay as they are: --auto-seeds {needed}."


def _describe_new_findings(comparison: Comparison) -> Iterator[str]:
    for rule, layer in comparison.new_findings:
        yield f"new finding: {rule} at {layer or 'the whole model'}"


def _describe_fact(fact: FactChange) -> str:
    return f"{FACTS[fact.fact]} {_value(fact.before)} -> {_value(fact.after)}"


def _value(value: object) -> str:
    if value is None or value == "":
        return "unknown" if value is None else "none"
    if isinstance(value, float) and not value.is_integer():
        return format_number(value)
    return f"{value:.0f}" if isinstance(value, float) else str(value)


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
        f"the gradient that reach it. They are compared {how}. Same: two one-sided tests at 5% within a margin of ",
        code(f"{comparison.margin:g}"),
        "; changed: beyond it, at 1 in 10,000 for all metrics together (Holm).",
    )


def _fold(found: tuple[Difference, ...], caption: str) -> Block:
    table = _table(found, caption)
    return table if len(found) <= _UNFOLDED else Details(prose(caption), (table,))


def _table(found: tuple[Difference, ...], caption: str) -> Table:
    return Table(prose(caption), _COLUMNS, tuple(map(_row, found)))


def _row(difference: Difference) -> Row:
    shift = difference.shift
    factor = Cell("none")
    if shift is not None:
        ends = () if math.isnan(shift.low) else (f"[{_exp(shift.low)}, {_exp(shift.high)}]",)
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


def _exp(value: float) -> str:
    return format_number(math.exp(value))
