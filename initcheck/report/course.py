"""The part of a network's section that shows the signal layer by layer, with what theory expects drawn over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from initcheck.report import figures, theory_figures
from initcheck.report.agreement import UNEXPLAINED
from initcheck.report.document import Block, Figure, Paragraph, Section, prose
from initcheck.report.levels import DIRECTIONS, Direction, Levels
from initcheck.report.pairs import Pair
from initcheck.report.predicted_levels import PredictedLevels
from initcheck.report.tables import names_in_order

_LINES_OF_THEORY: Final = (
    " Thin dashed lines: the median that theory expects, and dotted, the 10th and 90th percentile. They come "
    "from the initializer, the width and the batch, and not from what was measured, unless the note below a picture "
    "says that they begin with a measured value."
)
_DOTS_OF_THEORY: Final = (
    " Hollow marks: the median that theory expects, with a capped whisker from the 10th to the 90th percentile where "
    "that is wider than the mark. They come from the initializer, the widths and the batch, and not from what was "
    "measured, unless the note below a picture says that they begin with a measured value."
)


def write_course(
    levels: Sequence[Levels],
    laws: Sequence[PredictedLevels],
    pairs: Sequence[Pair],
    layers: Sequence[str],
    anchor: str,
) -> Section:
    """Write the section that shows the signal of one network layer by layer.

    Args:
        levels: its measured levels.
        laws: its predicted levels.
        pairs: its pairs.
        layers: its hidden layers, input side first.
        anchor: the anchor of the network's section.
    """
    by_pair = {(series.initializer, series.activation, series.direction): series for series in levels}
    predicted = laws if any(law.is_known for law in laws) else ()
    blocks: list[Block] = []
    own: dict[Direction, list[Levels]] = {}
    for direction in DIRECTIONS:
        found = [by_pair[pair.initializer, pair.activation, direction] for pair in pairs]
        if all(np.isnan(series.middle).all() for series in found):
            blocks.append(Paragraph(prose(f"No {direction} signal was measured on this network.")))
        else:
            own[direction] = found
    if len(layers) > figures.MOST_DOTS:
        blocks += [_draw_lines(found, predicted, f"{anchor}-{direction}") for direction, found in own.items()]
    elif own:
        blocks.append(_draw_dots(own, predicted, layers, f"{anchor}-levels"))
    if not predicted:
        blocks.append(_miss_theory(laws))
    elif not all(law.is_known for law in predicted):
        blocks.append(
            Paragraph(prose("Why there is no theory of some pairs is said under “Theory against measurement”."))
        )
    return Section(f"{anchor}-layers", "The signal, layer by layer", tuple(blocks))


def _miss_theory(laws: Sequence[PredictedLevels]) -> Paragraph:
    """Say why there is no predicted line in any picture."""
    reasons = dict.fromkeys(words for law in laws for words in law.basis) or {UNEXPLAINED: None}
    return Paragraph(prose(f"There is no predicted signal to compare with: {'; '.join(reasons)}."))


def _draw_lines(levels: Sequence[Levels], laws: Sequence[PredictedLevels], name: str) -> Figure:
    direction = levels[0].direction
    everyone = names_in_order(levels, "initializer")
    chosen = figures.choose_representatives(everyone)
    shown = [series for series in levels if series.initializer in chosen]
    predicted = [law for law in laws if law.direction == direction and law.initializer in chosen]
    limit = figures.shared_limit([*shown, *predicted])
    panels = []
    for number, activation in enumerate(names_in_order(levels, "activation")):
        group = [series for series in shown if series.activation == activation]
        if group:
            expected = [law for law in predicted if law.activation == activation]
            panels.append(figures.draw_lines(activation, f"{name}-{number}", group, chosen, limit, expected))
    omitted = len(everyone) - len(chosen)
    others = f" The other {omitted} initializers are in the tables." if omitted else ""
    if direction == "forward":
        caption = prose(
            "Forward: the size of the signal at each layer, one picture an activation function; layer 1 is next to the "
            "input. Each step of the vertical scale is a power of ten: a straight slope means that every layer "
            "multiplies by the same factor, and a level line that the signal is kept. Line: the median of the seeds. "
            "Band: from the 10th to the 90th percentile of the seeds, which is where single networks lie. All pictures "
            "share one scale, and lines that coincide lie on top of each other."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    else:
        caption = prose(
            "Backward: the same for the gradient. It starts at the output, so read from right to left: a line that "
            "falls towards the left is a gradient that fades before it reaches the first layers."
            + others
            + (_LINES_OF_THEORY if predicted else ""),
        )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.line_keys(chosen) + (theory_figures.line_keys() if predicted else ()),
        marks=figures.MARKS,
        panels=tuple(panels),
        alternative=f"{direction.capitalize()} size of the signal by layer on {levels[0].network}, by activation.",
    )


def _draw_dots(
    levels: Mapping[Direction, Sequence[Levels]], laws: Sequence[PredictedLevels], layers: Sequence[str], name: str
) -> Figure:
    everything = [series for found in levels.values() for series in found]
    limits = {direction: figures.dot_limits(found) for direction, found in levels.items()}
    panels = []
    for number, activation in enumerate(names_in_order(everything, "activation")):
        for direction, found in levels.items():
            group = [series for series in found if series.activation == activation]
            expected = [law for law in laws if law.activation == activation and law.direction == direction]
            prefix = f"{name}-{number}-{direction}"
            panels.append(
                figures.draw_dots(f"{activation}, {direction}", prefix, group, layers, limits[direction], expected)
            )
    caption = prose(
        "The size of the signal at each hidden layer, by initializer: of the pre-activations going forward, and of "
        "their gradients going backward. Each step of the scale is a power of ten. Dots that lie one above the other: "
        "the layers hand the signal on as they got it. Dot: the median of the seeds. Whisker: from the 10th to the "
        "90th percentile of the seeds, often narrower than the dot." + (_DOTS_OF_THEORY if laws else ""),
    )
    return Figure(
        name=name,
        caption=caption,
        keys=figures.dot_keys(layers) + (theory_figures.dot_keys() if laws else ()),
        marks=(("▶ ◀", "the dot lies outside the picture, at the level written"), *figures.MARKS[1:]),
        panels=tuple(panels),
        alternative=f"Size of the signal by initializer on {everything[0].network}.",
        columns=2,
    )
