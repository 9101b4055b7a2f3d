"""A forest plot: where a value lies, its interval, and what would set the scale alone."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest

from initcheck.pages import svg
from initcheck.pages.forest import ForestRow, draw_forest

BAND = (-math.log(1.05), math.log(1.05))


def _draw(*factors: float, band: tuple[float, float] | None = BAND) -> ElementTree.Element:
    logs = [math.log(each) for each in factors]
    rows = [ForestRow(f"row {place}", log, log - 0.05, log + 0.05, f"x{place}") for place, log in enumerate(logs)]
    panel = draw_forest(rows, band, title="", description="d", prefix="p", axis="factor")
    assert f"0 0 {svg.PHONE_WIDTH} " in panel.phone
    return ElementTree.fromstring(panel.svg)


def _dots(drawing: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(each.get("x", "")), float(each.get("y", ""))) for each in drawing.iter("use")]


def test_equal_factors_lie_equally_far_apart_and_rows_go_down():
    dots = _dots(_draw(0.5, 1.0, 2.0, 4.0))
    lefts, heights = zip(*dots, strict=True)
    steps = [after - before for before, after in itertools.pairwise(lefts)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.05)
    assert list(heights) == sorted(heights)


def test_the_axis_is_marked_with_factors_and_1_is_among_them():
    for factors in ((0.99, 1.01), (0.5, 2.0), (1e-3, 1e4)):
        texts = ["".join(each.itertext()) for each in _draw(*factors).iter("text")]
        marks = [text for text in texts if text.startswith("× ")]
        assert "× 1" in marks and 3 <= len(marks) <= 12


@pytest.mark.parametrize("farthest", [10.0, 1e9])
def test_a_value_that_would_set_the_scale_alone_is_cut_off_and_keeps_its_text(farthest: float):
    near, far = _draw(1.1, 1.2, 1.3, 1.4), _draw(1.1, 1.2, 1.3, farthest)
    spans = []
    for drawing in (near, far):
        first, _, third, *_ = _dots(drawing)
        spans.append(third[0] - first[0])
    assert spans[1] > 0.4 * spans[0]
    assert "x3" in ["".join(each.itertext()) for each in far.iter("text")]


def test_two_values_far_apart_are_both_drawn():
    drawing = _draw(1.1, 1e9)
    first, second = _dots(drawing)
    assert second[0] - first[0] > 100
    marks = ["".join(each.itertext()) for each in drawing.iter("text")]
    assert any("10⁸" in mark or "10⁹" in mark or "e" in mark for mark in marks if mark.startswith("× ")), marks


def test_without_a_place_only_the_text_is_written():
    row = ForestRow("gone", math.nan, math.nan, math.nan, "finite → exactly zero")
    panel = draw_forest([row], BAND, title="", description="d", prefix="p", axis="factor")
    assert "finite → exactly zero" in panel.svg and not list(ElementTree.fromstring(panel.svg).iter("use"))


def test_the_band_is_drawn_where_there_is_one():
    shaded = [
        len(re.findall("fill-opacity|opacity: 0.16", ElementTree.tostring(_draw(1.1, 1.2, band=band), "unicode")))
        for band in (BAND, None)
    ]
    assert shaded[0] > shaded[1] == 0


def test_a_band_without_a_width_is_a_line_through_its_place():
    root = _draw(0.5, 1.0, 2.0, band=(0.0, 0.0))
    lines = [each.get("d", "") for each in root.iter("path") if "stroke-dasharray" in each.get("style", "")]
    at_one = _dots(root)[1][0]
    assert [float(line.split()[1]) for line in lines] == pytest.approx([at_one], abs=0.05)


def test_given_ends_of_the_axis_cut_nothing_off_between_them():
    rows = [ForestRow(f"row {place}", value, value, value, "") for place, value in enumerate((0.1, 0.1, 0.1, 0.9))]
    panel = draw_forest(
        rows, None, title="", description="d", prefix="p", axis="share", as_factors=False, limits=(0.0, 1.0)
    )
    first, *_, last = _dots(ElementTree.fromstring(panel.svg))
    assert last[0] - first[0] == pytest.approx(0.8 * 390, abs=1.0)


def test_the_numbers_of_the_axis_are_written_as_asked():
    row = ForestRow("error", math.log(0.03), math.log(0.02), math.log(0.05), "3%")
    panel = draw_forest(
        [row], None, title="", description="d", prefix="p", axis="error", format_factor=lambda share: f"{share:.0%}"
    )
    texts = ["".join(each.itertext()) for each in ElementTree.fromstring(panel.svg).iter("text")]
    assert {"2%", "5%"} <= set(texts) and not any("×" in text for text in texts)
