"""The result of the gate in words: for the terminal, for Markdown, and as annotations of a pull request."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from initcheck.gate.causes import (
    Culprit,
    WeightChange,
    find_condition_changes,
    find_culprit,
    find_version_changes,
    group_weight_changes,
)
from initcheck.gate.comparison import FACTS, Comparison, Difference, FactChange
from initcheck.numbers import count, format_number

WIDTH: Final = 110
_MOST_SHOWN: Final = 8
_WHO: Final[dict[Culprit, str]] = {
    "library": "the library changed, not the model",
    "model": "the model changed, not the library",
    "data": "the batch changed, not the model",
    "library or model": "the library changed, and so did the model or its batch: see which weight by which",
    "data or model": "the batch or the conditions changed, or the model: measure on the old batch to tell",
    "nothing": "",
}
_WHAT: Final = {
    "scale": "scale of the weight",
    "forward": "forward step",
    "activation": "step of the activation",
    "backward": "backward step",
}


def gate_line(comparison: Comparison) -> str:
    """Write the verdict in one line."""
    compared = len(comparison.differences)
    if comparison.verdict == "same":
        told = f"same: all {compared} figures within {comparison.margin:.3g} of the baseline"
        return told if not comparison.new_findings else f"{told}, but for new findings"
    if comparison.verdict == "inconclusive":
        open_points = len(comparison.of_verdict("inconclusive"))
        return f"inconclusive: {open_points} of {compared} figures are neither shown to be the same nor to differ"
    parts = [
        (len(comparison.of_verdict("changed")), f"of {compared} figures"),
        (len({each.path for each in comparison.facts}), "in what draws the weights"),
        *((sum(each.word == word for each in comparison.structure), word) for word in ("added", "removed", "renamed")),
    ]
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"changed ({told}): {_WHO[find_culprit(comparison)]}"


def write_gate_text(comparison: Comparison, *, full: bool = False) -> str:
    """Write the result of the gate for a terminal of 110 columns.

    Args:
        comparison: the result.
        full: all changes, not only the clearest.
    """
    lines = [f"Gate: {gate_line(comparison)}"]
    for told in (*tell_conditions(comparison), *tell_changes(comparison, most=None if full else _MOST_SHOWN)):
        lines += textwrap.wrap(told, WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def tell_conditions(comparison: Comparison) -> list[str]:
    """Tell which versions and conditions differ from the baseline's."""
    told = [f"{each.name} {each.before} -> {each.after}" for each in find_version_changes(comparison)]
    told += [f"{each.what}: {each.before} -> {each.after}" for each in find_condition_changes(comparison)]
    if not comparison.paired:
        then, now = len(comparison.before.seeds), len(comparison.after.seeds)
        told.append(f"other seeds than the baseline's ({then} then, {now} now): compared as independent draws")
    return told


def tell_changes(comparison: Comparison, most: int | None = None) -> list[str]:
    """Tell what changed or is undecided, a sentence each, the most telling first.

    Args:
        comparison: the result.
        most: how many of a kind; None for all.
    """
    told = [*_cut(map(describe_weight_change, group_weight_changes(comparison)), most)]
    told += _cut(
        (f"{each.word}: {_where(each.before, each.after)} ({each.kind})" for each in comparison.structure), most
    )
    told += _cut(map(describe_difference, comparison.of_verdict("changed")), most)
    told += _cut(map(describe_difference, comparison.of_verdict("inconclusive")), most)
    told += [f"new finding: {code} at {layer or 'the whole model'}" for code, layer in comparison.new_findings]
    if comparison.of_verdict("inconclusive"):
        told.append(advise(comparison))
    return told


def advise(comparison: Comparison) -> str:
    """Say how many seeds would decide what is inconclusive."""
    needed, baseline_needed = comparison.seeds_needed, comparison.baseline_seeds_needed
    if needed is None:
        return "No number of seeds is known to decide all of it: something lies on the margin, or has one seed only."
    if baseline_needed is not None:
        return (
            f"About {needed} seeds would decide, in the baseline too: record it with --seeds {baseline_needed}, "
            f"then check with --seeds {needed}."
        )
    return f"About {needed} seeds would decide, if mean and spread stay as they are: --auto-seeds {needed}."


def describe_weight_change(change: WeightChange) -> str:
    """Write what changed of one weight, and whose doing it is."""
    facts = ", ".join(_describe_fact(each) for each in change.facts)
    whose = "the library's doing" if change.culprit == "library" else "the model's doing"
    return f"{change.path} ({change.role} of {change.kind}): {facts}; {whose}"


def describe_difference(difference: Difference) -> str:
    """Write one figure's change with its interval."""
    head = f"{difference.verdict}: {difference.path} ({difference.kind}), {_WHAT[difference.quantity]}"
    shift = difference.shift
    if shift is None:
        return f"{head} {difference.states[0]} -> {difference.states[1]}"
    factor = format_number(math.exp(shift.value))
    if math.isnan(shift.low):
        return f"{head} x {factor}"
    return f"{head} x {factor} [{format_number(math.exp(shift.low))}, {format_number(math.exp(shift.high))}]"


def _describe_fact(fact: FactChange) -> str:
    return f"{FACTS[fact.fact]} {_value(fact.before)} -> {_value(fact.after)}"


def _value(value: object) -> str:
    if value is None or value == "":
        return "unknown" if value is None else "none"
    if isinstance(value, float) and not value.is_integer():
        return format_number(value)
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _where(before: str, after: str) -> str:
    return f"{before} -> {after}" if before and after else before or after


def _cut(lines: Iterable[str], most: int | None) -> Iterator[str]:
    listed = list(lines)
    shown = listed if most is None or len(listed) <= most + 1 else listed[:most]
    yield from shown
    if len(shown) < len(listed):
        yield f"... and {count(len(listed) - len(shown), 'more like these', 'more like these')}"
