"""Learning curves: the mean over seeds as a line, the range of the seeds as a band."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from initcheck.report.axes import begin_drawing
from initcheck.report.document import Figure, Key, Panel, prose
from initcheck.report.svg import GRID, INK, MUTED, SERIES, draw_line_key, drawing_settings, export_svg
from initcheck.training.record import TrainingRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_WIDTH: Final = 420
_HEIGHT: Final = 300
_LINE: Final = 1.8
_DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (5.0, 2.0), (1.5, 1.5), (5.0, 1.5, 1.0, 1.5))
_PANELS: Final = (
    ("validation_accuracy", "Accuracy on the samples kept back", "accuracy"),
    ("validation_loss", "Loss on the samples kept back", "nats"),
    ("loss", "Training loss", "nats"),
)


def draw_curves(record: TrainingRecord) -> Iterator[Figure]:
    """Draw accuracy and loss by epoch.

    Args:
        record: the learning curves.

    Yields:
        One figure of three pictures.
    """
    with drawing_settings():
        panels = tuple(_draw(record, *panel) for panel in _PANELS)
    keys = tuple(_key(name, place) for place, name in enumerate(record.initializers))
    caption = prose(
        "Each line is the mean over the seeds, each band reaches from the lowest to the highest of them. Epoch 0 is "
        "the start, and the dotted line what a constant answer reaches. Losses are drawn up to the tenfold of what "
        "guessing costs; the line of a network that is worse leaves the picture."
    )
    best = _best(record)
    yield Figure("learning-curves", caption, keys, (), panels, f"Learning curves; {best}", columns=3)


def _draw(record: TrainingRecord, column: str, title: str, unit: str) -> Panel:
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=52, bottom=42, right=10, top=10)
    for place, name in enumerate(record.initializers):
        _draw_line(axes, record.history[record.history["initializer"] == name], column, place)
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel(unit, color=INK)
    axes.set_xlim(0, record.epochs)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if unit == "nats":
        axes.set_ylim(0.0, _highest_loss(record, column))
    else:
        axes.axhline(record.chance, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.set_ylim(0.0, 1.0)
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(colors=INK)
    description = f"{title} by epoch; {_best(record)}"
    return Panel(title, description, export_svg(drawing, f"curves-{column}", description), _WIDTH, _HEIGHT)


def _draw_line(axes: Axes, part: DataFrame, column: str, place: int) -> None:
    matrix = part.pivot(index="epoch", columns="seed", values=column)
    values = matrix.to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(values).any(axis=1)
    if not known.any():
        return
    epochs = matrix.index.to_numpy(dtype=np.float64)[known]
    masked = np.ma.masked_invalid(values[known])
    colour = SERIES[place % len(SERIES)]
    dashes = _DASHES[place // len(SERIES) % len(_DASHES)]
    style = (0, dashes) if dashes else "solid"
    axes.plot(epochs, masked.mean(axis=1), color=colour, linewidth=_LINE, linestyle=style)
    axes.fill_between(epochs, masked.min(axis=1), masked.max(axis=1), color=colour, alpha=0.18, linewidth=0)


def _highest_loss(record: TrainingRecord, column: str) -> float:
    """End the axis where a network that guesses is well inside, and those that have not blown up are all seen."""
    values = record.history[column].to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    guess = float(np.log(10.0))
    return float(min(10.0 * guess, max(1.2 * guess, finite.max(initial=0.0) * 1.05)))


def _key(name: str, place: int) -> Key:
    return draw_line_key(name, place % len(SERIES), _LINE, _DASHES[place // len(SERIES) % len(_DASHES)])


def _best(record: TrainingRecord) -> str:
    final = record.history[record.history["epoch"] == record.history["epoch"].max()]
    means = final.groupby("initializer")["validation_accuracy"].mean()
    return f"at the end {means.idxmax()} is the most accurate, at {means.max():.3f} on average"
