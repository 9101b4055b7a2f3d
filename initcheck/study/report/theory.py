"""The part of a network's section that sets theory against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from initcheck.core.columns import DIRECTIONS
from initcheck.pages import palette
from initcheck.pages.document import (
    Block,
    Bullets,
    Figure,
    Paragraph,
    Scale,
    Section,
    code,
    prose,
)
from initcheck.study.record import NotMeasured
from initcheck.study.report import figures
from initcheck.study.report.agreement import (
    EXACT_TOLERANCE,
    NOTABLE,
    count_scores,
    describe_scores,
    explain_gaps,
    group_gains,
    is_predicted,
    list_gaps,
    make_headline_table,
    make_score_map,
    number_gaps,
)
from initcheck.study.report.answer import pick_headlines
from initcheck.study.report.levels import LevelSummary, PredictedLevels, SummaryRow
from initcheck.study.report.tables import names_in_order

_LEAST_RANGE: Final = 0.35  # of a close-up, in powers of ten on either side
_GREATEST_RANGE: Final = 2.0
_LONG_TABLE: Final = 24


def write_theory(
    pairs: Sequence[SummaryRow],
    not_measured: Sequence[NotMeasured],
    levels: Sequence[LevelSummary],
    predictions: Sequence[PredictedLevels],
    network: str,
    anchor: str,
) -> Section:
    """Write the section that sets theory against measurement on one network."""
    title = "Theory against measurement"
    if not is_predicted(pairs):
        nothing = Paragraph(prose("No gain was predicted on the network ", code(network), "; the notes say why."))
        return Section(f"{anchor}-theory", title, (nothing, list_gaps(pairs)))
    blocks: list[Block] = [_introduce()]
    headlines = pick_headlines(pairs)
    if headlines:
        caption = prose(
            "Textbook against measured: the pairs that textbooks discuss. Each number is a factor per layer. "
            "sd: the standard deviation from seed to seed that theory expects. In brackets: the 95% interval over "
            "seeds. Difference: measured less predicted in standard errors, as a normal score."
        )
        blocks.append(make_headline_table(headlines, caption, number_gaps(pairs)))
    blocks.append(
        Bullets(tuple(describe_scores(count_scores(pairs, direction), len(pairs)) for direction in DIRECTIONS))
    )
    blocks.append(_warn())
    if len(names_in_order(pairs, "activation")) > 1:
        blocks.append(Scale(palette.score_steps(), "Colours of the scores"))
        for direction in DIRECTIONS:
            caption = prose(
                f"{direction.capitalize()} scores on ", code(network), ": measured less predicted gain, in standard "
                f"errors over the seeds. Without colour: within ±{NOTABLE:g}.",
            )  # fmt: skip
            blocks.append(make_score_map(pairs, not_measured, direction, caption))
    if explain_gaps(pairs):
        blocks.append(Paragraph(prose("What the predictions rest on where it is not the theory of finite width:")))
        blocks.append(list_gaps(pairs))
    close_up = _draw_close_up(headlines, levels, predictions, f"{anchor}-distance")
    if close_up is not None:
        blocks.append(close_up)
    blocks.append(
        Paragraph(
            prose(
                "All pairs: the gain in the textbook’s infinitely wide network, the gain that theory expects at this "
                "width and batch with its standard deviation from seed to seed, the measured gain with its interval, "
                "and their difference as a score. Where no note is named, the prediction is for this finite width."
            )
        )
    )
    blocks += group_gains(pairs, unfolded=len(pairs) <= _LONG_TABLE)
    return Section(f"{anchor}-theory", title, tuple(blocks))


def _draw_close_up(
    pairs: Sequence[SummaryRow], levels: Sequence[LevelSummary], predictions: Sequence[PredictedLevels], name: str
) -> Figure | None:
    """Draw for each pair how far the signal lies from the predicted median, so close that the bands can be seen."""
    measured = {(item.initializer, item.activation, item.direction): item for item in levels}
    predicted = {(item.initializer, item.activation, item.direction): item for item in predictions}
    chosen = []
    for pair in pairs:
        for direction in DIRECTIONS:
            key = (pair.initializer, pair.activation, direction)
            if key in measured and key in predicted and predicted[key].has_band:
                chosen.append(figures.subtract_median(measured[key], predicted[key]))
    if not chosen or chosen[0][0].middle.size <= figures.MOST_DOTS:
        return None
    limit = figures.find_range([item for both in chosen for item in both], _LEAST_RANGE, _GREATEST_RANGE)
    panels = []
    for number, (series, prediction) in enumerate(chosen):
        title = f"{series.initializer} with {series.activation}, {series.direction}"
        names = [series.initializer]
        panels.append(
            figures.draw_lines(title, f"{name}-{number}", [series], names, limit, [prediction], "measured / theory")
        )
    return Figure(
        name=name,
        caption=prose(
            "The same pairs, close up: the size of the signal at each layer, divided by the median that theory "
            "predicts. × 1 is theory. Line and filled band: the median and the 10th to 90th percentile of the seeds. "
            "Dashed line and dotted edges: median and percentiles as predicted. The band widens with the distance from "
            "where the signal enters, because every layer adds randomness. The median of a few seeds wanders "
            "inside the dotted edges, and neighbouring layers wander together."
        ),
        keys=(*figures.line_keys(("measured",)), *figures.theory_line_keys()),
        marks=(),
        panels=tuple(panels),
        alternative="Measured size of the signal by layer, divided by the predicted median.",
    )


def _introduce() -> Paragraph:
    return Paragraph(
        prose(
            "Before anything is measured, theory says what to expect: the gain of an infinitely wide network, which is "
            "what textbooks give, and the gain of a network of this width on a batch of this size, with its standard "
            "deviation from seed to seed. The score is the distance between the measured and the predicted gain in "
            "standard errors over the seeds. If theory is right, about 19 of 20 scores lie within ±2; a score far "
            "outside says that theory, or the measurement, leaves something out. “Exact”: theory expects the same gain "
            f"from every seed, and it was measured to one part in {1.0 / EXACT_TOLERANCE:,.0f}; the relative "
            "difference stands below it. In the Markdown edition, scores beyond ±2 are bold."
        )
    )


def _warn() -> Paragraph:
    return Paragraph(
        prose(
            "The scores are not independent of each other: the cells of one initializer share their weights over all "
            "activation functions, and initializers of one distribution draw proportional numbers from one seed. So "
            "they move together, and a few unlucky draws can colour many cells: the counts can lie well off what "
            "independent scores would give, either way."
        )
    )
