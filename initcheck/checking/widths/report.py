"""How a model scales with its width, as a page with pictures: the logarithm of a size over that of the width."""

from __future__ import annotations

import json
import math
import textwrap
from collections import Counter
from typing import Any, Final

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from initcheck.audit.width_exponents import QUANTITIES, Exponent, Quantity, WidthScaling, measured_at, name_size
from initcheck.core.formatting import count, format_interval, format_names, format_signed
from initcheck.core.statistics import Estimate
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Cell,
    Definitions,
    Document,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    Tone,
    prose,
)
from initcheck.pages.svg import (
    INK,
    LONGEST_LABEL,
    SERIES,
    begin_drawing,
    draw_line_key,
    drawing_settings,
    export_svg,
    label_ends,
    mark_sizes,
    measure_labels,
)


def write_width_json(scaling: WidthScaling) -> str:
    """Write verdict, conditions, exponents and all sizes; what is undefined is null."""
    table = scaling.table.astype(object)
    document = {
        "model": scaling.model,
        "verdict": scaling.verdict,
        "width_arg": scaling.width_arg,
        "widths": list(scaling.widths),
        "seeds": list(scaling.seeds),
        "steps": scaling.steps,
        "optimizer": scaling.optimizer,
        "learning_rate": scaling.learning_rate,
        "batch": scaling.batch,
        "loss": scaling.loss,
        "exponents": [_exponent(each) for each in scaling.exponents],
        "sizes": [{str(key): _plain(value) for key, value in row.items()} for row in table.to_dict("records")],
        "versions": dict(scaling.versions),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _exponent(exponent: Exponent) -> dict[str, Any]:
    return {
        "layer": exponent.layer,
        "call": exponent.call,
        "kind": exponent.kind,
        "output": exponent.output,
        "quantity": exponent.quantity,
        "verdict": exponent.verdict,
        "wanted": exponent.wanted,
        "reason": exponent.reason,
        "margin": exponent.margin,
        "rms": _estimate(exponent.estimate),
        "mean_abs": _estimate(exponent.mean_abs),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    figures = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _plain(value) for name, value in figures.items()}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


WIDTH: Final = 110


def write_width_text(scaling: WidthScaling) -> str:
    """Write the result: the verdict, what was done, and an exponent for each layer and quantity."""
    lines = [line for each in highlights(scaling) for line in textwrap.wrap(each, WIDTH, subsequent_indent="  ")]
    blocks = [verdict_words(scaling), *lines, *textwrap.wrap(conditions_words(scaling), WIDTH), ""]
    longest = max((len(name_site(each)) for each in scaling.exponents), default=0)
    quantities = list(dict.fromkeys(each.quantity for each in scaling.exponents))
    for quantity in quantities:
        blocks.append(f"Exponent of the {QUANTITIES[quantity]} in the width, with 95% interval over seeds:")
        blocks += [
            f"  {name_site(each):<{longest}}  {write_figure(each):<26}  {verdict_of(each)}".rstrip()
            for each in scaling.exponents
            if each.quantity == quantity
        ]
        blocks.append("")
    reasons = describe_undecided(scaling)
    blocks += [line for reason in reasons for line in textwrap.wrap(reason, WIDTH, subsequent_indent="  ")]
    return "\n".join(blocks).rstrip()


def verdict_words(scaling: WidthScaling) -> str:
    """Write the verdict in one line."""
    if scaling.findings:
        kinds = {each.verdict for each in scaling.findings}
        verdicts = " and ".join(word for word in ("grows", "shrinks") if word in kinds)
        sites = len({(each.layer, each.call) for each in scaling.findings})
        return f"{scaling.model}: {verdicts} with the width, in {count(sites, 'layer call')}"
    if scaling.verdict == "undecided":
        return f"{scaling.model}: undecided, in {len(scaling.undecided)} of {count(len(scaling.exponents), 'exponent')}"
    return f"{scaling.model}: stable from width {scaling.widths[0]} to {scaling.widths[-1]}"


def highlights(scaling: WidthScaling) -> list[str]:
    """Say where something first grows, which is nearest to the cause, and where most; likewise what shrinks."""
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


def describe_undecided(scaling: WidthScaling) -> list[str]:
    """Say why exponents are undecided, those with the same reason in one line."""
    alike: dict[str, list[str]] = {}
    for each in scaling.undecided:
        alike.setdefault(each.reason, []).append(f"{QUANTITIES[each.quantity]} in {name_site(each)}")
    return [
        f"Undecided, {count(len(names), 'exponent')} ({format_names(names)}): {reason}."
        for reason, names in alike.items()
    ]


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
    interval = format_interval(estimate.low, estimate.high, format_signed)
    return f"{format_signed(estimate.value, missing='undefined')} {interval}".rstrip()


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


_WIDTH: Final = 300
_HEIGHT: Final = 240
_LINE: Final = 1.8
_TONES: Final = {True: "kept", False: "growing-3", None: "unknown"}


def build_width_document(scaling: WidthScaling) -> Document:
    """Build the page: the verdict and the pictures, the exponents, how it was measured."""
    return Document(
        "initcheck: the same model at several widths",
        prose("What grows and what shrinks with the width, at initialization and in training."),
        (_write_exponents(scaling), _write_method(scaling)),
        _write_answer(scaling),
    )


def _write_answer(scaling: WidthScaling) -> Answer:
    tones: dict[str, Tone] = {"stable": "passed", "findings": "failed", "undecided": "undecided"}
    by_wanted = Counter(each.wanted for each in scaling.exponents)
    values = (
        (f"{by_wanted[True]} of {len(scaling.exponents)}", "exponents are as wanted"),
        (str(by_wanted[False]), "grow or shrink with the width"),
        (str(by_wanted[None]), "are undecided"),
    )
    lines = tuple(prose(line) for line in highlights(scaling))
    found = (Bullets(lines),) if lines else ()
    return Answer(prose(verdict_words(scaling)), tones[scaling.verdict], values, (*found, _draw_figure(scaling)))


def _write_exponents(scaling: WidthScaling) -> Section:
    quantities = list(dict.fromkeys(each.quantity for each in scaling.exponents))
    sites: dict[tuple[str, int], list[Exponent]] = {}
    for each in scaling.exponents:
        sites.setdefault((each.layer, each.call), []).append(each)
    rows = tuple(
        Row(
            name_site(own[0]),
            tuple(_cell(each) for quantity in quantities for each in own if each.quantity == quantity),
        )
        for own in sites.values()
    )
    caption = prose("Exponents in the width, with 95% intervals over seeds.")
    columns = ("Layer", *(QUANTITIES[quantity].capitalize() for quantity in quantities))
    blocks: list[Block] = [Table(caption, columns, rows)]
    if scaling.undecided:
        blocks.append(Bullets(tuple(prose(each) for each in describe_undecided(scaling))))
    return Section("exponents", "Every exponent", tuple(blocks))


def _cell(exponent: Exponent) -> Cell:
    tone = _TONES[exponent.wanted]
    if exponent.wanted is False and exponent.verdict == "shrinks":
        tone = "fading-3"
    return Cell(write_figure(exponent), (verdict_of(exponent),), tone=tone, emphasis=exponent.wanted is False)


def _draw_figure(scaling: WidthScaling) -> Figure:
    chosen = _choose(scaling)
    quantities = list(dict.fromkeys(each.quantity for each in scaling.exponents))
    with drawing_settings():
        panels = tuple(_draw(scaling, quantity, chosen) for quantity in quantities)
    names = [name_site(each) for each in chosen.values()]
    keys = tuple(draw_line_key(name, place, _LINE, ()) for place, name in enumerate(names) if len(name) > LONGEST_LABEL)
    left_out = len({(each.layer, each.call) for each in scaling.exponents}) - len(chosen)
    more = f" {left_out} more layer calls are in the table alone." if left_out else ""
    caption = prose(
        "Root mean squares, geometric means over seeds, both scales logarithmic: a level line is stable, one that "
        f"rises to twice the size at four times the width has the exponent 1/2.{more}"
    )
    return Figure("widths", caption, keys, (), panels, verdict_words(scaling), columns=3)


def _choose(scaling: WidthScaling) -> dict[int, Exponent]:
    """Choose the layer calls that are drawn, by position: at most six, evenly from the first to the last."""
    by_site = {(each.layer, each.call): each for each in scaling.exponents}
    places = scaling.table.drop_duplicates("position").sort_values("position")
    known = [
        (int(position), by_site[(str(layer), int(call))])
        for position, layer, call in zip(places["position"], places["layer"], places["call"], strict=True)
        if (str(layer), int(call)) in by_site
    ]
    some = np.unique(np.linspace(0, len(known) - 1, min(len(SERIES), len(known))).round().astype(int))
    return {known[place][0]: known[place][1] for place in some}


def _draw(scaling: WidthScaling, quantity: Quantity, chosen: dict[int, Exponent]) -> Panel:
    room = measure_labels([name_site(each) for each in chosen.values()])
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=42, bottom=40, right=room, top=10)
    heights, ends = [], []
    for place, (position, each) in enumerate(chosen.items()):
        widths, sizes = measured_at(scaling.table, position, name_size(quantity, "rms"))
        axes.plot(np.log10(widths), np.log10(sizes), color=SERIES[place], linewidth=_LINE, marker="o", markersize=3.5)
        finite = np.isfinite(sizes)
        heights.append(np.log10(sizes[finite]))
        if finite.any():
            end = float(np.log10(widths[finite][-1])), float(heights[-1][-1])
            ends.append((name_site(each), end, SERIES[place]))
    levels = np.concatenate(heights)
    if levels.size:
        # At least a decade: a line that is level within a few per cent shall look level.
        middle, half = 0.5 * (levels.max() + levels.min()), max(0.55 * np.ptp(levels), 0.6)
        axes.set_ylim(middle - half, middle + half)
        mark_sizes(axes, (float(middle - half), float(middle + half)))
        label_ends(axes, ends)
    axes.xaxis.set_major_locator(FixedLocator([float(np.log10(width)) for width in scaling.widths]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{10.0**level:.0f}"))
    axes.set_xlabel(scaling.width_arg, color=INK)
    title = QUANTITIES[quantity].capitalize()
    description = f"{title} over {scaling.width_arg}, one line a layer; {verdict_words(scaling)}"
    return Panel(title, description, export_svg(drawing, f"widths-{quantity}", description), _WIDTH, _HEIGHT)


def _write_method(scaling: WidthScaling) -> Section:
    margin = scaling.exponents[0].margin if scaling.exponents else 0.0
    versions = ", ".join(f"{name} {version}" for name, version in scaling.versions.items())
    facts = (
        ("Networks", prose(conditions_words(scaling))),
        (
            "Exponents",
            prose(
                "Each seed gives a slope of the logarithm of a size over that of the width; the interval is Student's "
                f"over seeds. Stable: shown to lie within ±{margin:g} (two one-sided tests); grows or shrinks: the "
                "interval lies beyond. The size of an output may shrink, or start at zero; its change may not. Where "
                "the slope between two neighbouring widths is shown to lie beyond too, the exponent is not called "
                "stable. The batch is one and the same: another batch would give other figures."
            ),
        ),
        ("Source", prose("Yang and Hu 2021 (Tensor Programs IV); Yang et al. 2022 (Tensor Programs V), appendix D.1.")),
        ("Versions", prose(versions)),
    )
    return Section("method", "How it was measured", (Definitions(facts),))
