"""From a study to a document: which parts there are, and in what order. The answer comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from initcheck.audit.verdicts import PRESERVING_MARGIN
from initcheck.record import NotMeasured, StudyRecord
from initcheck.report import figures, palette
from initcheck.report.answer import write_answer
from initcheck.report.document import Block, Document, Figure, Paragraph, Scale, Section, code, listed, prose
from initcheck.report.levels import DIRECTIONS, Direction, Levels, measure_levels
from initcheck.report.method import write_method, write_not_measured
from initcheck.report.pairs import Pair, read_pairs
from initcheck.report.reading import write_column_definitions, write_guide
from initcheck.report.tables import find_twins, group_verdicts, make_heat_map, names_in_order

_NEUTRAL_FACTOR = 1.0 + PRESERVING_MARGIN
_LONG_TABLE = 24

_COURSE: dict[Direction, str] = {
    "forward": "from the input to the output: how much larger or smaller each layer makes the pre-activations",
    "backward": "from the output to the input: how much larger or smaller each layer makes the gradient",
}


def build_document(study: StudyRecord) -> Document:
    """Build the report of a study.

    Args:
        study: what was measured.

    Returns:
        The report as plain data. The first network described in the provenance is the main one.
    """
    pairs = read_pairs(study.summary, study.table)
    levels = measure_levels(study.table, study.signal_layers)
    measured = names_in_order(pairs, "network")
    described = [network.name for network in study.provenance.networks if network.name in measured]
    networks = tuple(
        _write_network(study, pairs, levels, network, f"network-{number}")
        for number, network in enumerate(described, start=1)
    )
    opening = (write_answer(study, pairs, described[0]),) if described else ()
    keras = study.provenance.versions.get("keras")
    day, _, _ = study.provenance.started.partition("T")
    subtitle = prose(
        "Does the signal survive the network at initialization, forward and backward? Measured on ",
        f"Keras {keras}, " if keras else "", f"{day}.",
    )  # fmt: skip
    sections = (
        *opening,
        write_guide(),
        *networks,
        write_not_measured(study.not_measured),
        write_method(study),
        write_column_definitions(),
    )
    return Document("Weight initialization, measured", subtitle, sections)


def _write_network(
    study: StudyRecord, pairs: Sequence[Pair], levels: Sequence[Levels], network: str, anchor: str
) -> Section:
    own = [pair for pair in pairs if pair.network == network]
    refused = [item for item in study.not_measured if item.network == network]
    description = next(item for item in study.provenance.networks if item.name == network)
    parts = [_write_levels(levels, own, study.signal_layers[network], anchor), _write_verdicts(own, anchor)]
    if len(names_in_order(own, "activation")) > 1:
        parts.insert(0, _write_heat_maps(own, refused, network, anchor))
    introduction = Paragraph(
        prose(description.description.rstrip("."), f". Data: {description.data}, {description.batch_size} samples.")
    )
    return Section(anchor, f"The network {network}", (introduction,), tuple(parts))


def _write_heat_maps(pairs: Sequence[Pair], refused: Sequence[NotMeasured], network: str, anchor: str) -> Section:
    blocks: list[Block] = [
        Paragraph(
            prose(
                "Each cell holds the gain of one layer, and below it the 95 % interval over seeds. A cell without "
                "colour keeps the signal; blue cells lose it, orange cells blow it up. Equal strength of colour means "
                "equal ratio: a gain of 1/4 is as blue as a gain of 4 is orange. In the Markdown edition, gains within "
                "the neutral range are bold instead. A colour shows the measured gain, a mean over all layers; whether "
                "the signal is proven to be kept is said by the verdict, which goes by the deeper half of the network.",
            )
        ),
        Scale(palette.scale_steps(_NEUTRAL_FACTOR)),
    ]
    for direction in DIRECTIONS:
        caption = prose(f"{direction.capitalize()} gain per layer on ", code(network), f", {_COURSE[direction]}.")
        blocks.append(make_heat_map(pairs, refused, direction, _NEUTRAL_FACTOR, caption))
    blocks += [
        Paragraph(
            prose(
                listed(twins),
                " have the same figures to the last bit: on this network they draw the same weights from the same "
                "seeds. Their rows are one measurement, not several that agree.",
            )
        )
        for twins in find_twins(pairs)
    ]
    return Section(f"{anchor}-gains", "Gain per layer, at a glance", tuple(blocks))


def _write_verdicts(pairs: Sequence[Pair], anchor: str) -> Section:
    introduction = Paragraph(
        prose(
            "Every pair with its verdict in words. In brackets: the 95 % interval over seeds. The terms are explained "
            "under “How to read this report”.",
        )
    )
    groups = group_verdicts(pairs, unfolded=len(pairs) <= _LONG_TABLE)
    return Section(f"{anchor}-verdicts", "The verdicts, pair by pair", (introduction, *groups))


def _write_levels(levels: Sequence[Levels], pairs: Sequence[Pair], layers: Sequence[str], anchor: str) -> Section:
    by_pair = {(series.network, series.initializer, series.activation, series.direction): series for series in levels}
    blocks: list[Block] = []
    own: dict[Direction, list[Levels]] = {}
    for direction in DIRECTIONS:
        found = [by_pair[pair.network, pair.initializer, pair.activation, direction] for pair in pairs]
        if all(np.isnan(series.middle).all() for series in found):
            blocks.append(Paragraph(prose(f"No {direction} signal was measured on this network.")))
        else:
            own[direction] = found
    if len(layers) > figures.MOST_DOTS:
        blocks += [_draw_lines(found, f"{anchor}-{direction}") for direction, found in own.items()]
    elif own:
        blocks.append(_draw_dots(own, layers, f"{anchor}-levels"))
    return Section(f"{anchor}-layers", "The signal, layer by layer", tuple(blocks))


def _draw_lines(levels: Sequence[Levels], name: str) -> Figure:
    direction = levels[0].direction
    everyone = names_in_order(levels, "initializer")
    chosen = figures.choose_representatives(everyone)
    shown = [series for series in levels if series.initializer in chosen]
    limit = figures.shared_limit(shown)
    panels = []
    for number, activation in enumerate(names_in_order(levels, "activation")):
        group = [series for series in shown if series.activation == activation]
        if group:
            panels.append(figures.draw_lines(activation, f"{name}-{number}", group, chosen, limit))
    omitted = len(everyone) - len(chosen)
    others = f" The other {omitted} initializers are in the tables." if omitted else ""
    if direction == "forward":
        caption = prose(
            "Forward: the size of the signal at each layer, one picture an activation function; layer 1 is next to the "
            "input. Each step of the vertical scale is a power of ten: a straight slope means that every layer "
            "multiplies by the same factor, and a level line that the signal is kept. Line: the median of the seeds. "
            "Band: from the 10th to the 90th percentile of the seeds, which is where single networks lie. All pictures "
            "share one scale, and lines that coincide lie on top of each other." + others,
        )
    else:
        caption = prose(
            "Backward: the same for the gradient. It starts at the output, so read from right to left: a line that "
            "falls towards the left is a gradient that fades before it reaches the first layers." + others,
        )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.line_keys(chosen),
        marks=figures.MARKS,
        panels=tuple(panels),
        alternative=f"{direction.capitalize()} size of the signal by layer on {levels[0].network}, by activation.",
    )


def _draw_dots(levels: Mapping[Direction, Sequence[Levels]], layers: Sequence[str], name: str) -> Figure:
    everything = [series for found in levels.values() for series in found]
    limits = {direction: figures.dot_limits(found) for direction, found in levels.items()}
    panels = []
    for number, activation in enumerate(names_in_order(everything, "activation")):
        for direction, found in levels.items():
            group = [series for series in found if series.activation == activation]
            title = f"{activation}, {direction}"
            panels.append(figures.draw_dots(title, f"{name}-{number}-{direction}", group, layers, limits[direction]))
    caption = prose(
        "The size of the signal at each hidden layer, by initializer: of the pre-activations going forward, and of "
        "their gradients going backward. Each step of the scale is a power of ten. Dots that lie one above the other: "
        "the layers hand the signal on as they got it. Dot: the median of the seeds. Whisker: from the 10th to the "
        "90th percentile of the seeds, often narrower than the dot.",
    )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.dot_keys(layers),
        marks=(("▶ ◀", "the dot lies outside the picture, at the level written"), *figures.MARKS[1:]),
        panels=tuple(panels),
        alternative=f"Size of the signal by initializer on {everything[0].network}.",
        columns=2,
    )
