"""What training shows, on the page of a checked model: the losses of both models over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult
from initcheck.audit.proofs import METHOD, LossCurves, Proof, describe_proof, describe_training
from initcheck.core.formatting import count, shorten
from initcheck.pages import svg
from initcheck.pages.document import Bullets, Figure, Key, Panel, Section, paragraph, prose
from initcheck.pages.svg import begin_drawing, export_svg

_WIDTH: Final = 330
_HEIGHT: Final = 240
_LINE: Final = 1.8
_SERIES: Final = (0, 2)
"""Colours of the model as it is, and of the one with the fix."""
_LEAST_POWERS: Final = 0.35
"""Powers of ten that are shown above and below the middle at least, so that noise does not fill the picture."""
_LONGEST_TITLE: Final = 48
_NAMES: Final = ("as it is", "with the fix")


def build_training_section(result: CheckResult) -> Section:
    """Write what training showed, with the loss curves."""
    introduction = paragraph(f"{describe_training(result.proofs)}. {METHOD}")
    sentences = tuple(prose(f"{_title(result, each)}: {describe_proof(each)}.") for each in result.proofs)
    return Section("training", "In training", (introduction, Bullets(sentences), _draw_figure(result)))


def _draw_figure(result: CheckResult) -> Figure:
    proofs = result.proofs
    with svg.drawing_settings():
        panels = tuple(_draw_panel(each, place, _title(result, each)) for place, each in enumerate(proofs, start=1))
    keys: list[Key] = [svg.draw_line_key(_NAMES[0], _SERIES[0], _LINE, ())]
    if any(each.fixed is not None for each in proofs):
        keys.append(svg.draw_line_key(_NAMES[1], _SERIES[1], _LINE, ()))
    caption = prose(
        "The loss on the one batch, before the first step and after each: the mean over draws, with a band for its "
        "95% interval. Where no loss is negative the mean is geometric and the vertical scale logarithmic. Pairs of "
        "draws are compared, so that two bands may overlap although a difference is shown."
    )
    return Figure("check-training", caption, tuple(keys), (), panels, "The loss over the steps of training.", columns=2)


def _title(result: CheckResult, proof: Proof) -> str:
    numbers = [str(place + 1) for place in proof.problems]
    which = f"Problem {numbers[0]}" if len(numbers) == 1 else f"Problems {' and '.join(numbers)}"
    return f"{which}: {proof.change or 'no fix'}" if len(result.problems) > 1 else proof.change or "Without a fix"


def _draw_panel(proof: Proof, number: int, title: str) -> Panel:
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=52, bottom=38, right=10, top=10)
    steps = np.arange(proof.steps + 1)
    heights = []
    for curves, series in zip(proof.curves, _SERIES, strict=False):
        middle, low, high = _take_curve(curves, proof.floor)
        if np.isnan(middle).all():
            continue
        colour = svg.SERIES[series]
        axes.fill_between(steps, low, high, color=colour, alpha=0.22, linewidth=0.0)
        axes.plot(steps, middle, color=colour, linewidth=_LINE, marker="o" if proof.steps < 2 else "", markersize=4.0)
        heights += [middle, low, high]
    drawn = np.concatenate(heights) if heights else np.zeros(0)
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size:
        least = 0.1 if proof.floor is None else _LEAST_POWERS
        middle_height, half = 0.5 * float(drawn.max() + drawn.min()), max(0.55 * float(np.ptp(drawn)), least)
        limits = (middle_height - half, middle_height + half)
        axes.set_ylim(*limits)
        if proof.floor is not None:
            svg.mark_sizes(axes, limits)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step", color=svg.MUTED, labelpad=2)
    text = describe_proof(proof)
    picture = export_svg(drawing, f"check-training-{number}", text)
    return Panel(shorten(title, _LONGEST_TITLE), text, picture, _WIDTH, _HEIGHT, tuple(_describe_missing(proof)))


def _take_curve(curves: LossCurves, floor: float | None) -> tuple[NDArray[np.float64], ...]:
    """Take the mean and the ends of its interval at each step; of a geometric mean the decimal logarithms."""
    estimates = [curves.estimate(step, floor) for step in range(curves.losses.shape[1])]
    ends = (np.asarray([getattr(each, name) for each in estimates]) for name in ("value", "low", "high"))
    with np.errstate(divide="ignore", over="ignore"):
        return tuple(each if floor is None else np.log10(each) for each in ends)


def _describe_missing(proof: Proof) -> Sequence[str]:
    """Say which draws are not drawn, since their losses are not finite to the end."""
    return [
        f"{name}: {curves.failed} of {count(len(proof.seeds), 'draw')} not finite, not drawn"
        for name, curves in zip(_NAMES, proof.curves, strict=False)
        if curves.failed
    ]
