"""A monitored training as pictures: one small picture a quantity, one line a layer, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from initcheck.core.formatting import count, power_of_ten
from initcheck.monitor.record import SCALARS
from initcheck.pages.document import (
    Block,
    Bullets,
    Document,
    Figure,
    Panel,
    Paragraph,
    Section,
    Text,
    code,
    listed,
    paragraph,
    prose,
)
from initcheck.pages.svg import INK, SERIES, begin_drawing, draw_line_key, drawing_settings, export_svg, set_powers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pandas import DataFrame

MOST_LINES: Final = len(SERIES)
"""More lines than this in one figure cannot be distinguished."""

_WIDTH: Final = 330
_HEIGHT: Final = 230
_LINE: Final = 1.6

_TITLES: Final = {
    "activation_second_moment": "Mean square of the activations",
    "activation_variance": "Variance of the activations",
    "gradient_norm": "Gradient norm, dL/dz",
    "weight_gradient_norm": "Gradient norm, dL/dW",
    "weight_norm": "Norm of the weights",
    "update_to_weight_ratio": "Update-to-weight ratio of a step",
    "dead_fraction": "Dead units",
    "zero_fraction": "Zeros among the activations",
    "saturated_fraction": "Saturated activations",
    "nonfinite_fraction": "Activations that are inf or NaN",
}


def draw_monitor(table: DataFrame) -> Figure:
    """Draw a monitored training run."""
    layers = choose_layers(table)
    with drawing_settings():
        panels = tuple(
            _draw(table, name, layers) for name in SCALARS if table[name].notna().any() and _is_of_interest(table, name)
        )
    keys = tuple(draw_line_key(_label(layer, call), place, _LINE, ()) for place, (layer, call) in enumerate(layers))
    measured = table["step"].nunique()
    steps = f"{count(measured, 'measurement')}, up to step {int(table['step'].max())}"
    others = table[["layer", "call"]].drop_duplicates().shape[0] - len(layers)
    left_out = f" {count(others, 'further site is', 'further sites are')} in the table only." if others else ""
    caption = prose(
        f"{steps}, on one and the same batch. Step 0 is before the first step. Shares are drawn on a linear scale, all "
        f"else on a logarithmic one, where zeros are left out.{left_out}"
    )
    return Figure("monitor", caption, keys, (), panels, f"The signal during training: {steps}", columns=3)


def build_monitor_document(
    table: DataFrame, diagnosis: Sequence[str], frozen: Sequence[str], inner: Sequence[str]
) -> Document:
    """Build the page of a monitored training run: what went wrong, and the figure.

    Args:
        frozen: layers that are not to be trained.
        inner: layers whose kernels are those of a layer inside, and are not measured.
    """
    subtitle = prose("The signal while the model was trained.")
    title = "initcheck: a monitored training run"
    if not len(table):
        nothing = Section("monitor", "Over the steps", (Paragraph(prose("Nothing was measured yet.")),))
        return Document(title, subtitle, (nothing,))
    blocks: list[Block] = [Bullets(tuple(_mark_names(sentence) for sentence in diagnosis))]
    if not diagnosis:
        steps = count(table["step"].nunique(), "measured step")
        blocks = [paragraph(f"Nothing wrong was seen in {steps}, up to step {int(table['step'].max())}.")]
    if frozen:
        names = listed(tuple(frozen))
        blocks.append(paragraph("Not to be trained, so that their gradients and steps are not judged: ", names, "."))
    if inner:
        names = listed(tuple(inner))
        text = "With kernels in a layer inside, a cell say, whose gradients and steps are not measured: "
        blocks.append(paragraph(text, names, "."))
    return Document(
        title,
        subtitle,
        (
            Section("diagnosis", "What went wrong", tuple(blocks)),
            Section("monitor", "Over the steps", (draw_monitor(table),)),
        ),
    )


def _mark_names(sentence: str) -> Text:
    """Set what stands between backticks as code."""
    parts = sentence.split("`")
    return prose(*(code(part) if place % 2 else part for place, part in enumerate(parts)))


def choose_layers(table: DataFrame) -> list[tuple[str, int]]:
    """Choose the layers to be drawn: those with a kernel, at most six of them, evenly from the first to the last."""
    sites = table[table["step"] == table["step"].iloc[0]]
    weighted = sites[sites["weight_norm"].notna()]
    chosen = weighted if len(weighted) else sites
    places = np.unique(np.linspace(0, len(chosen) - 1, min(MOST_LINES, len(chosen))).round().astype(int))
    some = chosen.iloc[places]
    return [(str(layer), int(call)) for layer, call in zip(some["layer"], some["call"], strict=True)]


def _is_of_interest(table: DataFrame, name: str) -> bool:
    """Leave out the panel of what never happens: infinite and NaN activations."""
    return name != "nonfinite_fraction" or bool((table[name] > 0.0).any())


def _label(layer: str, call: int) -> str:
    return layer if call == 0 else f"{layer}, call {call}"


def _draw(table: DataFrame, name: str, layers: Sequence[tuple[str, int]]) -> Panel:
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=48, bottom=40, right=10, top=10)
    share = name.endswith("_fraction")
    drawn = [_draw_line(axes, table, name, site, place, share=share) for place, site in enumerate(layers)]
    values = np.concatenate(drawn)
    axes.set_xlabel("step", color=INK)
    axes.set_xlim(0, max(1, int(table["step"].max())))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if share:
        axes.set_ylim(0.0, 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    elif values.size:
        _set_levels(axes, float(values.min()), float(values.max()))
    description = f"{_TITLES[name]} by step, one line for each of {count(len(layers), 'layer')}"
    return Panel(_TITLES[name], description, export_svg(drawing, f"monitor-{name}", description), _WIDTH, _HEIGHT)


def _draw_line(
    axes: Axes, table: DataFrame, name: str, site: tuple[str, int], place: int, *, share: bool
) -> NDArray[np.float64]:
    """Draw one line and return the heights that it has."""
    rows = table[(table["layer"] == site[0]) & (table["call"] == site[1])]
    steps = rows["step"].to_numpy(dtype=np.float64)
    values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    if not share:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values)
    values = np.where(np.isfinite(values), values, np.nan)
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    dot = "o" if len(finite) == 1 else None
    axes.plot(steps, values, color=SERIES[place % len(SERIES)], linewidth=_LINE, marker=dot, markersize=4)
    return finite


def _set_levels(axes: Axes, low: float, high: float) -> None:
    """Mark powers of ten where the lines span several of them; else round numbers."""
    room = max(0.05 * (high - low), 0.05)
    low, high = low - room, high + room
    axes.set_ylim(low, high)
    if high - low >= 2.0:
        set_powers(axes, (low, high), "y")
        return
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    levels = [power + np.log10(factor) for power in powers for factor in (1.0, 2.0, 5.0)]
    if sum(low <= level <= high for level in levels) < 3:
        numbers = MaxNLocator(4).tick_values(10.0**low, 10.0**high)
        levels = [float(np.log10(number)) for number in numbers if number > 0.0]
    axes.yaxis.set_ticks([level for level in levels if low <= level <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda level, _: _format_level(float(level))))


def _format_level(level: float) -> str:
    value = 10.0**level
    if 1e-3 <= value < 1e4:
        return f"{value:.3g}"
    power = int(np.floor(level + 1e-9))
    return f"{10.0 ** (level - power):.2g}×{power_of_ten(power)}"
