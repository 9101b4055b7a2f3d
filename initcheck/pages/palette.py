"""Colours, each with a value for a light and a dark page; the tests measure their contrast.

A gain's tone goes by the distance of its logarithm from 0, so a gain and its reciprocal are equally strong. Blue
stands for fading and orange for growing, a pair that colour-blind readers can distinguish; every coloured cell also
prints its number.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Colour:
    """A colour on a light and on a dark page."""

    light: str
    dark: str


@dataclass(frozen=True)
class Tone:
    """A filled cell: its ground and its text."""

    ground: Colour
    text: Colour


PAPER: Final = Colour("#ffffff", "#14171c")
INK: Final = Colour("#1d2129", "#e4e7ec")
MUTED: Final = Colour("#59606d", "#a3abb8")
GRID: Final = Colour("#d9dde3", "#343a44")
LINK: Final = Colour("#0a58ca", "#7db4ff")
RAISED: Final = Colour("#f5f6f8", "#1c2027")

PAGE: Final = {"paper": PAPER, "ink": INK, "muted": MUTED, "grid": GRID, "link": LINK, "raised": RAISED}

SERIES: Final = (
    Colour("#0063b2", "#5fb2f2"),
    Colour("#c2410c", "#ff9558"),
    Colour("#00734f", "#38cf9f"),
    Colour("#9c3f86", "#ee9fd2"),
    Colour("#7a5c00", "#e3c22e"),
    Colour("#4a4f59", "#ccd1d9"),
)

_DARK_TEXT = "#12151a"
_LIGHT_TEXT = "#ffffff"

# Where one strength ends and the next begins; the verdicts' margin comes before the first. The edges keep clear of
# 2 and its powers, which are what the usual initializers give, so that noise does not flip a colour.
_EDGES: Final = (1.2, 1.7, 5.0, 50.0)

_SCORE_EDGES: Final = (2.0, 3.0, 5.0, 10.0)

_FADING = (
    Tone(Colour("#e3eef9", "#1d3042"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#bedaf3", "#1f4466"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#86bdea", "#215c91"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#2773b8", "#3d8ed6"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
    Tone(Colour("#0b4a85", "#7cbcf5"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
)
_GROWING = (
    Tone(Colour("#fdebdd", "#3d2a1c"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#fbd0ab", "#623a1a"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#f5a562", "#8e4c14"), Colour(_DARK_TEXT, _LIGHT_TEXT)),
    Tone(Colour("#bb500a", "#e27a2c"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
    Tone(Colour("#8a3500", "#ffb47a"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
)
_PLAIN = Colour(_DARK_TEXT, _LIGHT_TEXT)

TONES: Final = {
    "neutral": Tone(Colour("#ffffff", "#14171c"), _PLAIN),
    **{f"fading-{strength}": tone for strength, tone in enumerate(_FADING, start=1)},
    **{f"growing-{strength}": tone for strength, tone in enumerate(_GROWING, start=1)},
    "kept": Tone(Colour("#d2efdf", "#134a35"), _PLAIN),
    "symmetric": Tone(Colour("#ecdff7", "#46305f"), _PLAIN),
    "dead": Tone(Colour("#3a3f48", "#c9ced6"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
    "non-finite": Tone(Colour("#6d1f5c", "#e9a8d8"), Colour(_LIGHT_TEXT, _DARK_TEXT)),
    "unknown": Tone(Colour("#eceef1", "#2a2f38"), _PLAIN),
    "expected": Tone(PAPER, _PLAIN),
    # The verdict on a whole page.
    "passed": Tone(Colour("#d2efdf", "#134a35"), _PLAIN),
    "failed": Tone(Colour("#fadcd9", "#5e211c"), _PLAIN),
    "undecided": Tone(Colour("#fbeeb8", "#4d3f0c"), _PLAIN),
}

REGIONS: Final = {"ordered": Colour("#d5e6f7", "#1d3550"), "chaotic": Colour("#fce0c8", "#4d2f19")}
"""The two sides of a phase diagram; their names are written on them as well."""


def tone_of_gain(gain: float, margin: float) -> str:
    """Name the tone of a per-layer gain; gains from 1/margin to margin are neutral."""
    if math.isnan(gain) or gain < 0.0:
        return "unknown"
    if gain == 0.0:
        return "dead"
    size = max(gain, 1.0 / gain)
    if size <= margin:
        return "neutral"
    strength = 1 + sum(size > edge for edge in _EDGES)
    return f"{'growing' if gain > 1.0 else 'fading'}-{strength}"


def scale_steps(margin: float) -> tuple[tuple[str, str], ...]:
    """List the tones from the strongest fading to the strongest growing, each with the range it stands for."""
    edges = (margin, *_EDGES)
    strengths = range(1, len(edges))
    fading = [(f"fading-{s}", f"{1.0 / edges[s]:.2g} to {1.0 / edges[s - 1]:.2g}") for s in strengths]
    growing = [(f"growing-{s}", f"{edges[s - 1]:.3g} to {edges[s]:.3g}") for s in strengths]
    return (
        (f"fading-{len(edges)}", f"below {1.0 / edges[-1]:.2g}"),
        *reversed(fading),
        ("neutral", f"{1.0 / margin:.2f} to {margin:.2f}"),
        *growing,
        (f"growing-{len(edges)}", f"above {edges[-1]:g}"),
    )


def tone_of_score(z: float) -> str:
    """Name the tone of a score, a difference in standard errors; ``unknown`` for NaN."""
    if math.isnan(z):
        return "unknown"
    strength = sum(abs(z) > edge for edge in _SCORE_EDGES)
    return f"{'growing' if z > 0.0 else 'fading'}-{strength + 1}" if strength else "expected"


def score_steps() -> tuple[tuple[str, str], ...]:
    """List the tones of the scores from far below theory to far above it, each with the range it stands for."""
    ranges = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(_SCORE_EDGES)]
    above = [(f"growing-{place}", f"+{text.replace('to ', 'to +')}") for place, text in enumerate(ranges, start=2)]
    below = [(f"fading-{place}", f"−{text.replace('to ', 'to −')}") for place, text in enumerate(ranges, start=2)]
    last, first = len(_SCORE_EDGES) + 1, _SCORE_EDGES[0]
    return (
        (f"fading-{last}", f"below −{_SCORE_EDGES[-1]:g}"),
        *reversed(below),
        ("expected", f"−{first:g} to +{first:g}"),
        *above,
        (f"growing-{last}", f"above +{_SCORE_EDGES[-1]:g}"),
    )
