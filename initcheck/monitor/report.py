"""A monitored training run as a page: what went wrong, and one small picture a quantity, one line a layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from initcheck.core.formatting import count, format_number, format_share, power_of_ten
from initcheck.monitor.diagnosis import MOST_DEAD, MOST_SATURATED
from initcheck.monitor.record import SCALARS, label_site
from initcheck.pages.document import (
    Answer,
    Block,
    Bullets,
    Details,
    Document,
    Figure,
    Panel,
    Section,
    Text,
    code,
    listed,
    paragraph,
    prose,
)
from initcheck.pages.svg import (
    INK,
    LONGEST_LABEL,
    MUTED,
    SERIES,
    begin_drawing,
    draw_line_key,
    drawing_settings,
    export_svg,
    label_ends,
    measure_labels,
    set_powers,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pandas import DataFrame

MOST_LINES: Final = len(SERIES)
"""More lines than this in one figure cannot be distinguished."""

_WIDTH: Final = 300
_HEIGHT: Final = 230
_LINE: Final = 1.8
_OTHER_LINE: Final = 1.0  # of a layer that is not named, beside one that is

_TITLES: Final = {
    "activation_second_moment": "Activations (root mean square)",
    "activation_variance": "Activations (standard deviation)",
    "gradient_norm": "Gradient norm, dL/dz",
    "weight_gradient_norm": "Gradient norm, dL/dW",
    "weight_norm": "Norm of the weights",
    "update_to_weight_ratio": "Update-to-weight ratio of a step",
    "dead_fraction": "Dead units",
    "zero_fraction": "Zeros among the activations",
    "saturated_fraction": "Saturated activations",
    "nonfinite_fraction": "Activations that are inf or NaN",
}

_SQUARES: Final = ("activation_second_moment", "activation_variance")
"""Quantities that are squares in the table, and amplitudes in pictures."""

_FIRST: Final = ("activation_second_moment", "weight_gradient_norm")
_LIMITS: Final = {"dead_fraction": MOST_DEAD, "saturated_fraction": MOST_SATURATED}


def draw_monitor(
    table: DataFrame, named: Collection[str] = (), names: Sequence[str] = SCALARS, title: str = "monitor"
) -> Figure:
    """Draw a monitored training run.

    Args:
        named: the layer calls that stand out; all where there are none.
        names: the quantities.
    """
    layers = choose_layers(table, named)
    with drawing_settings():
        panels = tuple(_draw(table, name, layers, named) for name in names if _is_of_interest(table, name))
    labels = [label_site(*layer) for layer in layers]
    keys = tuple(
        draw_line_key(label, place, _LINE, ())
        for place, label in enumerate(labels)
        if len(label) > LONGEST_LABEL and (not named or label in named)
    )
    measured = table["step"].nunique()
    steps = f"{count(measured, 'measurement')}, up to step {int(table['step'].max())}"
    others = table[["layer", "call"]].drop_duplicates().shape[0] - len(layers)
    left_out = f" {count(others, 'further site is', 'further sites are')} in the table only." if others else ""
    caption = prose(
        f"{steps}, on one and the same batch. Step 0 is before the first step. Shares are drawn on a linear scale, all "
        f"else on a logarithmic one, where zeros are left out.{left_out}"
    )
    return Figure(title, caption, keys, (), panels, f"The signal during training: {steps}", columns=3)


def build_monitor_document(
    table: DataFrame, diagnosis: Sequence[str], frozen: Sequence[str], inner: Sequence[str]
) -> Document:
    """Build the page of a monitored training run: what went wrong, the signal by step, and all quantities.

    Args:
        frozen: layers that are not to be trained.
        inner: layers whose kernels are those of a layer inside, and are not measured.
    """
    subtitle = prose("The signal while the model was trained.")
    title = "initcheck: a monitored training run"
    if not len(table):
        return Document(title, subtitle, (), Answer(prose("Nothing was measured yet."), "undecided", ()))
    named = {name for sentence in diagnosis for name in re.findall(r"`([^`]*)`", sentence)}
    first = _choose_first(table)
    sections = []
    if len(diagnosis) > 1:
        sentences = tuple(_mark_names(sentence) for sentence in diagnosis)
        sections.append(Section("diagnosis", "What went wrong, the earliest first", (Bullets(sentences),)))
    others = [name for name in SCALARS if name not in first]
    figure = draw_monitor(table, named, others, "monitor-others")
    folded = Details(prose(count(len(figure.panels), "further quantity", "further quantities")), (figure,))
    sections.append(Section("monitor", "Over the steps", (folded, *_describe_unjudged(frozen, inner))))
    answer = Answer(
        _describe_diagnosis(table, diagnosis),
        "failed" if diagnosis else "passed",
        _list_values(table),
        (draw_monitor(table, named, first),),
    )
    return Document(title, subtitle, tuple(sections), answer)


def _choose_first(table: DataFrame) -> list[str]:
    """Choose the quantities that answer: activations, gradients, and a share that is beyond its limit at the end."""
    last = table[table["step"] == table["step"].iloc[-1]]
    beyond = [name for name, limit in _LIMITS.items() if (last[name] > limit).any()]
    return [*_FIRST, *(beyond or ["update_to_weight_ratio"])[:1]]


def _describe_diagnosis(table: DataFrame, diagnosis: Sequence[str]) -> Text:
    if not diagnosis:
        steps = count(table["step"].nunique(), "measured step")
        return prose(f"Nothing wrong was seen in {steps}, up to step {int(table['step'].max())}.")
    more = len(diagnosis) - 1
    return prose(_mark_names(diagnosis[0]), f" {more} more below." if more else "")


def _list_values(table: DataFrame) -> tuple[tuple[str, str], ...]:
    """List the loss, or the gradient without labels, at both ends; the most dead units at the end; the measurements."""
    steps = table["step"].unique()
    ends = [table[table["step"] == step] for step in (steps[0], steps[-1])]
    if table["loss"].notna().any():
        sizes, what = [float(end["loss"].iloc[0]) for end in ends], "loss on the monitor's batch, first and last"
    else:
        sizes = [float(np.sqrt(np.nansum(np.square(_take(end, "weight_gradient_norm"))))) for end in ends]
        what = "norm of all gradients dL/dW, first and last"
    values = [(" → ".join(format_number(size, missing="NaN") for size in sizes), what)]
    dead = ends[-1].loc[ends[-1]["dead_fraction"].notna()]
    if len(dead):
        most = dead.loc[dead["dead_fraction"].idxmax()]
        label = label_site(str(most["layer"]), int(most["call"]))
        values.append((format_share(float(most["dead_fraction"])), f"of the units of {label} are dead at the end"))
    values.append((f"{len(steps):,}", f"measurements, up to step {int(steps[-1])}"))
    return tuple(values)


def _describe_unjudged(frozen: Sequence[str], inner: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    if frozen:
        names = listed(tuple(frozen))
        blocks.append(paragraph("Not to be trained, so that their gradients and steps are not judged: ", names, "."))
    if inner:
        names = listed(tuple(inner))
        text = "With kernels in a layer inside, a cell say, whose gradients and steps are not measured: "
        blocks.append(paragraph(text, names, "."))
    return blocks


def _mark_names(sentence: str) -> Text:
    """Set what stands between backticks as code."""
    parts = sentence.split("`")
    return prose(*(code(part) if place % 2 else part for place, part in enumerate(parts)))


def choose_layers(table: DataFrame, named: Collection[str] = ()) -> list[tuple[str, int]]:
    """Choose at most six layers to be drawn: those that are named, then evenly of those with a kernel."""
    sites = table[table["step"] == table["step"].iloc[0]].reset_index(drop=True)
    calls = [(str(layer), int(call)) for layer, call in zip(sites["layer"], sites["call"], strict=True)]
    first = [place for place, site in enumerate(calls) if label_site(*site) in named][:MOST_LINES]
    weighted = np.flatnonzero(sites["weight_norm"].notna())
    rest = [int(place) for place in (weighted if len(weighted) else range(len(calls))) if int(place) not in first]
    some = np.linspace(0, len(rest) - 1, min(MOST_LINES - len(first), len(rest))).round().astype(int)
    return [calls[place] for place in sorted([*first, *(rest[chosen] for chosen in np.unique(some))])]


def _is_of_interest(table: DataFrame, name: str) -> bool:
    """Leave out the panel of what was not measured, and of what never happens: infinite and NaN activations."""
    return bool((table[name] > 0.0).any() if name == "nonfinite_fraction" else table[name].notna().any())


def _draw(table: DataFrame, name: str, layers: Sequence[tuple[str, int]], named: Collection[str]) -> Panel:
    room = measure_labels([label_site(*layer) for layer in layers])
    drawing, axes = begin_drawing(_WIDTH, _HEIGHT, left=50, bottom=40, right=room, top=10)
    share = name.endswith("_fraction")
    drawn, ends = [], []
    for place, site in enumerate(layers):
        stands_out = not named or label_site(*site) in named
        style = {"color": SERIES[place] if stands_out else MUTED, "linewidth": _LINE if stands_out else _OTHER_LINE}
        steps, heights = _draw_line(axes, table, name, site, share=share, **style)
        drawn.append(heights)
        if heights.size:
            ends.append((label_site(*site), (float(steps[-1]), float(heights[-1])), str(style["color"])))
    values = np.concatenate(drawn)
    axes.set_xlabel("step", color=INK)
    axes.set_xlim(0, max(1, int(table["step"].max())))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if share:
        axes.set_ylim(0.0, 1.0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    elif values.size:
        _set_levels(axes, float(values.min()), float(values.max()))
    label_ends(axes, ends)
    description = f"{_TITLES[name]} by step, one line for each of {count(len(layers), 'layer')}"
    return Panel(_TITLES[name], description, export_svg(drawing, f"monitor-{name}", description), _WIDTH, _HEIGHT)


def _take(rows: DataFrame, name: str) -> NDArray[np.float64]:
    """Take a quantity as it is drawn: amplitudes in place of squares."""
    values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.sqrt(values) if name in _SQUARES else values


def _draw_line(
    axes: Axes, table: DataFrame, name: str, site: tuple[str, int], *, share: bool, **style: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw one line and return the steps and the heights that it has."""
    rows = table[(table["layer"] == site[0]) & (table["call"] == site[1])]
    steps = rows["step"].to_numpy(dtype=np.float64)
    values = _take(rows, name)
    if not share:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values)
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    axes.plot(steps, values, marker="o" if finite.sum() == 1 else None, markersize=4, **style)
    return steps[finite], values[finite]


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
