"""The part of a network's section that shows in which phase each initializer stands, by activation function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from initcheck.numbers import format_number
from initcheck.report import phase_figures
from initcheck.report.document import Block, Bullets, Cell, Figure, Paragraph, Row, Section, Table, code, listed, prose
from initcheck.report.pairs import Pair
from initcheck.report.phase_points import (
    Place,
    find_phase_activation,
    is_scale_free,
    place_initializers,
    read_width,
    settle,
)
from initcheck.report.tables import names_in_order
from initcheck.theory.gaussian import Activation
from initcheck.theory.mean_field import CRITICAL_TOLERANCE, FixedPoint, Regime

if TYPE_CHECKING:
    from pandas import DataFrame

_TONES: Final[Mapping[Regime, str]] = {"ordered": "fading-1", "critical": "neutral", "chaotic": "growing-1"}
_NEAR: Final = 0.01
_SCALE_FREE: Final = (
    "χ does not depend on σ_b. Above σ_b = 0 the variance grows without limit on the border, so that only the point at "
    "σ_b = 0 is critical."
)


def write_phases(pairs: Sequence[Pair], table: DataFrame, layers: Sequence[str], network: str, anchor: str) -> Section:
    """Write the section with the phase diagrams of one network.

    Args:
        pairs: its pairs.
        table: the measurement table.
        layers: its hidden layers.
        network: its name.
        anchor: the anchor of the network's section.
    """
    title = "Order and chaos: where the initializers stand"
    width = read_width(table, network, layers)
    if width is None:
        refusal = prose(
            "No phase diagram: it is about plain networks whose layers are all Dense and of one width, and ",
            code(network), " is not one, so that its initializers have no single σ_w."
        )  # fmt: skip
        return Section(f"{anchor}-phases", title, (Paragraph(refusal),))
    places, homeless = place_initializers(names_in_order(pairs, "initializer"), width)
    known: dict[str, Activation] = {}
    refused: dict[str, str] = {}
    for name in names_in_order(pairs, "activation"):
        phi, reason = find_phase_activation(name)
        if phi is None:
            refused[name] = reason
        else:
            known[name] = phi
    settled = {name: {place.number: settle(phi, place.sigma_w2) for place in places} for name, phi in known.items()}
    blocks: list[Block] = [_introduce(width)]
    if known:
        blocks.append(_draw(known, places, settled, f"{anchor}-phases"))
    if known and places:
        blocks.append(_tabulate(places, settled))
    gaps = [prose(code(name), f" has no phase diagram: {reason}.") for name, reason in refused.items()]
    gaps += [prose(listed(names), f" {_stand(len(names))} in no diagram: {why}.") for why, names in homeless.items()]
    if gaps:
        blocks.append(Bullets(tuple(gaps)))
    return Section(f"{anchor}-phases", title, tuple(blocks))


def _stand(number: int) -> str:
    return "stands" if number == 1 else "stand"


def _introduce(width: int) -> Paragraph:
    return Paragraph(
        prose(
            "Theory alone, nothing measured. Two numbers decide what an infinitely wide and deep network does: σ_w², "
            f"the variance of a weight times the {width:,} inputs that a unit sums, and σ_b², the variance of the "
            "biases. The size of the signal settles layer by layer. From then on each layer multiplies the squared "
            "gradient by one factor, χ, and the squared difference between two inputs that are nearly alike as well. "
            "Where χ is below 1 (ordered), both vanish; where it is above 1 (chaotic), both explode. Only in between, "
            "at χ = 1 (critical), do they travel far. Keras’ biases start at zero, so all initializers stand at "
            "σ_b = 0, and those with the same σ_w stand at one point. A network of a few "
            "layers is still on its way to where the diagram says that it ends."
        )
    )


def _draw(
    known: Mapping[str, Activation],
    places: Sequence[Place],
    settled: Mapping[str, Mapping[int, FixedPoint]],
    name: str,
) -> Figure:
    limits = phase_figures.choose_range(places)
    panels = []
    for number, (activation, phi) in enumerate(known.items()):
        notes = (_SCALE_FREE,) if is_scale_free(phi) else ()
        diagram = phase_figures.compute_phases(phi, limits)
        prefix = f"{name}-{number}"
        panels.append(phase_figures.draw_phases(activation, prefix, diagram, places, settled[activation], notes))
    marks = tuple(
        (str(place.number), f"σ_w = {format_number(place.sigma_w, 4)}: {', '.join(place.initializers)}")
        for place in places
    )
    return Figure(
        name=name,
        caption=prose(
            "The phases of each activation function. Horizontally σ_w, on a logarithmic scale; vertically σ_b. The "
            "signal begins with a mean square of 1. The border is drawn where χ = 1, and where χ jumps across 1 "
            "because a signal on one side of it fades and on the other grows without limit."
        ),
        keys=phase_figures.phase_keys(),
        marks=marks,
        panels=tuple(panels),
        alternative="Phase diagrams over σ_w and σ_b by activation function, with the places of the initializers.",
    )


def _tabulate(places: Sequence[Place], settled: Mapping[str, Mapping[int, FixedPoint]]) -> Table:
    rows = tuple(
        Row(
            f"{place.number}: σ_w = {format_number(place.sigma_w, 4)}",
            tuple(_say_phase(found[place.number]) for found in settled.values()),
        )
        for place in places
    )
    caption = prose(
        "The same in words: the phase at each of these points, the factor χ, and what the variance q of the "
        f"pre-activations settles at. “Critical”: χ within one part in {1.0 / CRITICAL_TOLERANCE:,.0f} of 1. “q "
        "grows”: without limit, and χ is what the factor tends to. “Any q”: every variance stays as it is."
    )
    return Table(caption, ("Place", *settled), rows, form="heat map", code_headers=False)


def _say_phase(found: FixedPoint) -> Cell:
    chi = found.chi_backward
    if found.is_neutral:
        variance = "any q"
    elif found.q == 0.0:
        variance = "q → 0"
    elif math.isinf(found.q):
        variance = "q grows"
    else:
        variance = f"q = {format_number(found.q, 2)}"
    digits = 5 if abs(chi - 1.0) < _NEAR else 3
    notes = (f"χ = {format_number(chi, digits)}", variance)
    return Cell(found.regime, notes, _TONES[found.regime], emphasis=found.regime == "critical")
