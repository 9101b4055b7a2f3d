"""Pictures: fit to be inlined side by side, themed, and honest about what leaves the frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from initcheck.core.columns import Direction
from initcheck.pages import svg
from initcheck.pages.document import Panel
from initcheck.pages.html import render_pictures
from initcheck.study.record import StudyRecord
from initcheck.study.report import build_document, figures
from initcheck.study.report.levels import LevelSummary


def _levels(name: str, middle: list[float], direction: Direction = "forward") -> LevelSummary:
    values = np.array(middle)
    with np.errstate(invalid="ignore"):
        return LevelSummary("mlp", name, "relu", direction, values, values - 0.1, values + 0.1)


def _draw(levels: list[LevelSummary], limit: float = 10.0) -> Panel:
    return figures.draw_lines("relu", "prefix", levels, [series.initializer for series in levels], limit)


def _texts(panel: Panel) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(panel.svg).iter("text")]


def test_the_same_levels_give_the_same_picture_whatever_the_users_matplotlib_settings():
    levels = [_levels("HeNormal", [0.0, 0.1, 0.2]), _levels("Zeros", [-np.inf] * 3)]
    first = _draw(levels).svg
    with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 9.0, "svg.fonttype": "path"}):
        assert _draw(levels).svg == first


def test_a_picture_has_no_fixed_colour_no_style_sheet_and_only_ids_of_its_own():
    picture = _draw([_levels("HeNormal", [0.0, 20.0, 30.0])]).svg
    assert not re.search(r"#[0-9a-fA-F]{6}\b", picture)
    assert "<style" not in picture
    assert "<metadata" not in picture
    identifiers = re.findall(r'\bid="([^"]*)"', picture)
    assert identifiers
    assert all(identifier.startswith("prefix-") for identifier in identifiers)
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', picture)
    assert set(references) <= set(identifiers)


def test_names_in_a_picture_are_text_and_not_markup_or_mathematics():
    name = "<script>$x^2$</script>"
    panel = figures.draw_dots(name, "prefix", [_levels(name, [0.0, 1.0])], ["a", "b"], (-2.0, 2.0))
    assert "<script" not in panel.svg
    assert name in _texts(panel)


def test_a_line_that_leaves_the_picture_says_how_far_it_goes():
    texts = _texts(_draw([_levels("HeNormal", [0.0, 20.0, 48.0]), _levels("GlorotUniform", [0.0, -5.0, -31.2])]))
    assert "to 10⁴⁸" in texts
    assert "to 10⁻³¹" in texts


def test_lines_within_the_picture_have_no_label():
    assert not [text for text in _texts(_draw([_levels("HeNormal", [0.0, 1.0, 2.0])])) if text.startswith("to ")]


@pytest.mark.parametrize("level", [np.inf, -np.inf])
def test_states_without_a_finite_level_are_marked(level: float):
    plain = _draw([_levels("HeNormal", [0.0, 0.0, 0.0])]).svg
    marked = _draw([_levels("HeNormal", [0.0, level, level])]).svg
    assert marked.count("<use ") == plain.count("<use ") + 2


def test_the_description_says_states_in_words():
    levels = [
        _levels("HeNormal", [0.0, 1.0]),
        _levels("Zeros", [-np.inf, -np.inf]),
        _levels("Ones", [2.0, np.inf]),
        _levels("Odd", [np.nan, np.nan]),
    ]
    text = figures.describe_panel("relu", levels)
    assert "HeNormal from 10^0.0 to 10^1.0" in text
    assert "Zeros from exactly 0 to exactly 0" in text
    assert "Ones from 10^2.0 to not finite" in text
    assert "Odd from not measured to not measured" in text


def test_a_line_that_was_not_measured_is_named_below_the_picture():
    panel = _draw([_levels("HeNormal", [0.0, 1.0]), _levels("Odd", [np.nan, np.nan])])
    assert panel.notes == ("not measured: Odd",)


def test_well_known_initializers_get_the_lines():
    names = ["Zeros", *reversed(figures.REPRESENTATIVES), "Ones"]
    assert figures.choose_representatives(names) == figures.REPRESENTATIVES


def test_few_initializers_all_get_a_line_and_unknown_ones_are_not_dropped():
    assert figures.choose_representatives(["Mine", "HeNormal"]) == ("HeNormal", "Mine")
    assert figures.choose_representatives([f"mine{index}" for index in range(9)]) == tuple(
        f"mine{index}" for index in range(figures.MOST_LINES)
    )


def test_every_line_of_a_panel_has_its_own_colour_and_stroke():
    assert len(set(svg.SERIES)) == figures.MOST_LINES
    keys = figures.line_keys(figures.REPRESENTATIVES)
    assert len({key.svg for key in keys}) == figures.MOST_LINES


def test_a_picture_file_stands_alone_in_light_and_dark(small_study: Callable[..., StudyRecord]):
    files = render_pictures(build_document(small_study(("HeNormal", "Zeros"), ("relu", "tanh"))))
    names = ("forward", "backward", "phases")
    assert list(files) == [f"figure-network-1-{name}.svg" for name in names]
    for name, text in files.items():
        root = ElementTree.fromstring(text)
        assert root.tag == f"{{{svg.SVG}}}svg"
        assert "prefers-color-scheme:dark" in text
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
        assert used <= set(svg.palette_variables())
        assert all(f"--{name}:" in text for name in used)
        words = {element.text for element in root.iter(f"{{{svg.SVG}}}text")}
        assert {"relu", "tanh", "chaotic" if "phases" in name else "HeNormal"} <= words
