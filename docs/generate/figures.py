"""The pictures of ``docs/figures/``, drawn from the committed reference study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from initcheck.pages import svg

_STUDY: Final = Path(__file__).parents[2] / "reports" / "reference"
_WIDTH: Final = 480
_HEIGHT: Final = 300
_FONT: Final = 15  # a picture of 480 pixels is 358 wide on a phone, which leaves eleven of the fifteen
_COLUMNS: Final = {"forward": "preactivation_second_moment", "backward": "gradient_norm"}


def draw_relu_forward() -> str:
    """Draw the size of the signal with ReLU, layer by layer, under four initializers."""
    names = ("HeNormal", "GlorotUniform", "RandomNormal", "RandomNormal(stddev=1.0)")
    lines = {name: _measure_amplitudes(name, "relu", "forward").mean(axis=0) for name in names}
    return _draw(
        lines,
        limits=(-5.0, 3.0),
        label="size of the signal",
        alternative="The size of the signal in a deep ReLU network, layer by layer: HeNormal keeps it, GlorotUniform "
        "and RandomNormal lose it, RandomNormal with standard deviation 1 leaves the picture.",
    )


def draw_tanh_backward() -> str:
    """Draw the size of the gradient with tanh on its way back, in the three phases."""
    names = ("HeNormal", "GlorotUniform", "RandomNormal")
    lines = {name: _measure_amplitudes(name, "tanh", "backward").mean(axis=0) for name in names}
    return _draw(
        lines,
        limits=(-3.0, 1.5),
        label="size of the gradient",
        alternative="The size of the gradient in a deep tanh network, on its way back: it grows with HeNormal "
        "(chaotic), falls slowly with GlorotUniform (critical) and fast with RandomNormal (ordered).",
        backward=True,
    )


def draw_seeds() -> str:
    """Draw the size of the signal with He's weights and ReLU, one line for each of the networks."""
    networks = _measure_amplitudes("HeNormal", "relu", "forward")
    return _draw(
        {"geometric mean": networks.mean(axis=0)},
        limits=(-0.5, 0.5),
        label="size of the signal",
        alternative="The size of the signal with HeNormal and ReLU, one line for each network: they lie farther apart "
        "with each layer.",
        networks=networks,
    )


@lru_cache(maxsize=1)
def _read_measurements() -> pd.DataFrame:
    columns = ["network", "initializer", "activation", "seed", "layer", "position", *_COLUMNS.values()]
    table = pd.read_parquet(_STUDY / "measurements.parquet", columns=columns)
    return table[(table["network"] == "mlp") & table["layer"].str.startswith("hidden")]


def _measure_amplitudes(initializer: str, activation: str, direction: str) -> np.ndarray:
    """Give log10 of the amplitude over that where it enters: one row a network, hidden layers in their order."""
    table = _read_measurements()
    column = _COLUMNS[direction]
    rows = table[(table["initializer"] == initializer) & (table["activation"] == activation)]
    levels = np.log10(rows.pivot(index="seed", columns="position", values=column).to_numpy(dtype=np.float64))
    return (levels - levels[:, :1]) / 2.0 if direction == "forward" else levels - levels[:, -1:]


def _draw(
    lines: Mapping[str, np.ndarray],
    *,
    limits: tuple[float, float],
    label: str,
    alternative: str,
    networks: Sequence[np.ndarray] = (),
    backward: bool = False,
) -> str:
    """Draw lines over the layers, the signal's way from left to right, with their names at their ends."""
    with svg.drawing_settings():
        drawing, axes = svg.begin_drawing(_WIDTH, _HEIGHT, left=70, bottom=56, right=164, top=14)
        axes.tick_params(labelsize=_FONT)
        depth = len(next(iter(lines.values())))
        layers = np.arange(1, depth + 1)
        for each in networks:
            axes.plot(layers, each, color=svg.MUTED, linewidth=0.8)
        for place, (name, levels) in enumerate(lines.items()):
            axes.plot(layers, levels, color=svg.SERIES[place], linewidth=2.4)
            outside = np.flatnonzero(levels > limits[1])
            end = 0 if backward else outside[0] - 1 if outside.size else depth - 1
            axes.annotate(
                name.replace("stddev=", ""),
                (layers[end], levels[end]),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                color=svg.SERIES[place],
                fontsize=_FONT,
                annotation_clip=False,
            )
        axes.set_xlim((depth, 1) if backward else (1, depth))
        axes.set_ylim(*limits)
        axes.set_xticks([1, *range(5, depth + 1, 5)])
        svg.mark_sizes(axes, limits)
        axes.set_xlabel("layer", color=svg.INK, fontsize=_FONT)
        axes.set_ylabel(label, color=svg.INK, fontsize=_FONT)
        return _make_file(svg.export_svg(drawing, "p", alternative))


def _make_file(picture: str) -> str:
    """Make an ``<svg>`` element a file that brings the light and dark colours it uses."""
    body = f"svg{{font-family:{svg.FONT_FAMILY};background:var(--paper)}}"
    used = [item for item in svg.palette_variables().items() if f"var(--{item[0]})" in body + picture]
    light = "".join(f"--{name}:{colour.light};" for name, colour in used)
    dark = "".join(f"--{name}:{colour.dark};" for name, colour in used)
    style = f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{body}"
    head = f'<svg xmlns="{svg.SVG}" width="{_WIDTH}" height="{_HEIGHT}" '
    start, end = picture.removeprefix("<svg ").split(">", 1)
    return f"{head}{start}>\n<style>{style}</style>\n{end}\n"
