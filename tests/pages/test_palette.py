"""Colours can be read by everyone, in light and in dark mode; measured by WCAG's contrast."""

from __future__ import annotations

import itertools
import math

import pytest
from contrast import contrast

from initcheck.pages import palette

TEXT, GRAPHICS = 4.5, 3.0


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", sorted(palette.TONES))
def test_text_on_every_tone_has_the_contrast_of_wcag_aa(name: str, mode: str):
    tone = palette.TONES[name]
    assert contrast(getattr(tone.ground, mode), getattr(tone.text, mode)) >= TEXT


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
@pytest.mark.parametrize("text", ["ink", "muted", "link"])
def test_text_on_the_page_has_the_contrast_of_wcag_aa(text: str, ground: str, mode: str):
    assert contrast(getattr(palette.PAGE[text], mode), getattr(palette.PAGE[ground], mode)) >= TEXT


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_line_stands_out_from_the_paper(mode: str):
    for colour in palette.SERIES:
        assert contrast(getattr(colour, mode), getattr(palette.PAPER, mode)) >= GRAPHICS


def test_contrast_agrees_with_the_published_extremes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#123456", "#123456") == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_neighbouring_steps_of_the_scale_differ(mode: str):
    grounds = [getattr(palette.TONES[name].ground, mode) for name, _ in palette.scale_steps(1.05)]
    for one, other in itertools.pairwise(grounds):
        assert contrast(one, other) > 1.1


def test_a_gain_and_its_reciprocal_are_equally_strong():
    for gain in (1.1, 1.5, 3.0, 20.0, 1e5):
        growing, fading = palette.tone_of_gain(gain, 1.05), palette.tone_of_gain(1.0 / gain, 1.05)
        assert growing.removeprefix("growing") == fading.removeprefix("fading")


@pytest.mark.parametrize(
    ("gain", "tone"),
    [
        (1.0, "neutral"),
        (1.049, "neutral"),
        (0.96, "neutral"),
        (1.06, "growing-1"),
        (0.5, "fading-3"),
        (128.0, "growing-5"),
        (math.inf, "growing-5"),
        (0.0, "dead"),
        (math.nan, "unknown"),
        (-1.0, "unknown"),
    ],
)
def test_a_gain_has_the_tone_of_its_size(gain: float, tone: str):
    assert palette.tone_of_gain(gain, 1.05) == tone


def test_the_scale_has_every_tone_of_a_gain_once():
    names = [name for name, _ in palette.scale_steps(1.05)]
    assert len(set(names)) == len(names) == 11
    assert names[5] == "neutral"
    assert {palette.tone_of_gain(10.0**power, 1.05) for power in (-3, -1, -0.4, -0.15, -0.05)} <= set(names)
