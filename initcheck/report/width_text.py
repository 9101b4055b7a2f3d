"""How a model scales with its width, for the terminal."""

from __future__ import annotations

import textwrap
from typing import Final

from initcheck.audit.width_exponents import QUANTITIES, Exponent, WidthScaling
from initcheck.inference import Estimate
from initcheck.numbers import count

WIDTH: Final = 110


def write_width_text(scaling: WidthScaling) -> str:
    """Write the result: the verdict, what was done, and an exponent for each layer and quantity."""
    told = [line for each in highlights(scaling) for line in textwrap.wrap(each, WIDTH, subsequent_indent="  ")]
    blocks = [verdict_words(scaling), *told, *textwrap.wrap(conditions_words(scaling), WIDTH), ""]
    longest = max((len(name_site(each)) for each in scaling.exponents), default=0)
    quantities = list(dict.fromkeys(each.quantity for each in scaling.exponents))
    for quantity in quantities:
        blocks.append(f"Exponent of the {QUANTITIES[quantity]} in the width, with 95 % interval over seeds:")
        blocks += [
            f"  {name_site(each):<{longest}}  {write_figure(each):<26}  {verdict_of(each)}".rstrip()
            for each in scaling.exponents
            if each.quantity == quantity
        ]
        blocks.append("")
    reasons = dict.fromkeys(
        f"{name_site(each)}, {QUANTITIES[each.quantity]}: {each.reason}." for each in scaling.undecided
    )
    blocks += [line for reason in reasons for line in textwrap.wrap(reason, WIDTH, subsequent_indent="  ")]
    return "\n".join(blocks).rstrip()


def verdict_words(scaling: WidthScaling) -> str:
    """Write the verdict in one line."""
    if scaling.findings:
        kinds = {each.verdict for each in scaling.findings}
        told = " and ".join(word for word in ("grows", "shrinks") if word in kinds)
        sites = len({(each.layer, each.call) for each in scaling.findings})
        return f"{scaling.model}: {told} with the width, in {count(sites, 'layer call')}"
    if scaling.verdict == "undecided":
        return f"{scaling.model}: undecided, in {len(scaling.undecided)} of {count(len(scaling.exponents), 'exponent')}"
    return f"{scaling.model}: stable from width {scaling.widths[0]} to {scaling.widths[-1]}"


def highlights(scaling: WidthScaling) -> list[str]:
    """Say where something first grows and where most, and likewise what shrinks.

    First: at the start before after training, then in the order of execution, so that it is nearest to the cause.
    """
    order = list(QUANTITIES)
    lines = []
    for verdict, word in (("grows", "Grows"), ("shrinks", "Shrinks")):
        own = [each for each in scaling.findings if each.verdict == verdict]
        if not own:
            continue
        first = min(own, key=lambda each: order.index(each.quantity))
        most = max(own, key=lambda each: abs(each.estimate.value))
        line = f"{word} first in {_place(first)}"
        lines.append(f"{line}." if most is first else f"{line}; most in {_place(most)}.")
    return lines


def conditions_words(scaling: WidthScaling) -> str:
    """Say what was done."""
    widths = ", ".join(map(str, scaling.widths))
    first, last = scaling.seeds[0], scaling.seeds[-1]
    name = {"sgd": "plain gradient descent", "adam": "Adam"}[scaling.optimizer]
    trained = (
        f"{count(scaling.steps, 'step')} of {name} at a learning rate of {scaling.learning_rate:g}, on {scaling.loss}"
    )
    if not scaling.steps:
        trained = "no training"
    return (
        f"{scaling.width_arg} = {widths}; {count(len(scaling.seeds), 'network')} each (seeds {first} to {last}); "
        f"{trained}. Batch: {scaling.batch}."
    )


def name_site(exponent: Exponent) -> str:
    """Name a layer call."""
    name = exponent.layer if exponent.call == 0 else f"{exponent.layer}, call {exponent.call}"
    return f"{name} (output)" if exponent.output else name


def write_figure(exponent: Exponent) -> str:
    """Write the exponent with its interval, or that the size is zero."""
    return "zero" if exponent.verdict in ("zero", "untrained") else write_interval(exponent.estimate)


def write_interval(estimate: Estimate) -> str:
    """Write an exponent with its interval."""
    if estimate.value != estimate.value:  # NaN
        return "undefined"
    if estimate.low != estimate.low:
        return _signed(estimate.value)
    return f"{_signed(estimate.value)} [{_signed(estimate.low)}, {_signed(estimate.high)}]"


def verdict_of(exponent: Exponent) -> str:
    """Word a verdict; of an output that need not be stable, say that it is in order."""
    if exponent.verdict == "zero":
        return "starts at zero, as an output may"
    if exponent.verdict == "untrained":
        return "nothing before it is trained"
    if exponent.uneven:
        return "uneven, undecided"
    if exponent.wanted and exponent.verdict == "shrinks":
        return "shrinks, as an output may"
    if exponent.wanted and exponent.verdict == "undecided":
        return "does not grow"
    return exponent.verdict


def _place(exponent: Exponent) -> str:
    return f"{name_site(exponent)}, {QUANTITIES[exponent.quantity]}: {write_interval(exponent.estimate)}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
