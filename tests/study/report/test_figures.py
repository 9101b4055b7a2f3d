"""Pictures: fit to be inlined side by side, themed, and honest about what leaves the frame or is theory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from initcheck.core.columns import Direction
from initcheck.pages import svg
from initcheck.pages.document import Panel
from initcheck.pages.html import render_pictures
from initcheck.study.record import StudyRecord
from initcheck.study.report import build_document, figures, tables
from initcheck.study.report.levels import LevelSummary, PredictedLevels

# The frame of a line panel, in its own pixels: see figures.draw_lines.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300.0, 212.0, 52.0, 10.0, 8.0, 36.0


def _levels(name: str, middle: list[float], direction: Direction = "forward") -> LevelSummary:
    values = np.array(middle)
    with np.errstate(invalid="ignore"):
        return LevelSummary("mlp", name, "relu", direction, values, values - 0.1, values + 0.1)


def _prediction(name: str, middle: list[float], sd: float = 0.5, direction: Direction = "forward") -> PredictedLevels:
    values = np.array(middle)
    return PredictedLevels("mlp", name, "relu", direction, values, values - sd, values + sd, ("finite width",))


def _draw(levels: list[LevelSummary], predictions: Sequence[PredictedLevels] = (), limit: float = 10.0) -> Panel:
    names = [series.initializer for series in levels]
    return figures.draw_lines("relu", "prefix", levels, names, limit, predictions)


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
    names = ["Zeros", *reversed(tables.REPRESENTATIVES), "Ones"]
    assert figures.choose_representatives(names) == tables.REPRESENTATIVES


def test_few_initializers_all_get_a_line_and_unknown_ones_are_not_dropped():
    assert figures.choose_representatives(["Mine", "HeNormal"]) == ("HeNormal", "Mine")
    assert figures.choose_representatives([f"mine{index}" for index in range(9)]) == tuple(
        f"mine{index}" for index in range(figures.MOST_LINES)
    )


def test_every_line_of_a_panel_has_its_own_colour_and_stroke():
    assert len(set(svg.SERIES)) == figures.MOST_LINES
    keys = figures.line_keys(tables.REPRESENTATIVES)
    assert len({key.svg for key in keys}) == figures.MOST_LINES


def test_a_picture_file_stands_alone_in_light_and_dark(small_study: Callable[..., StudyRecord]):
    files = render_pictures(build_document(small_study(("HeNormal", "Zeros"), ("relu", "tanh"))))
    names = ("gains", "forward", "backward", "phases")
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


# --- theory over measurement


def _points(path: ElementTree.Element) -> np.ndarray:
    return np.array([float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]).reshape(-1, 2)


def _pale_shapes(panel: Panel) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Find the pale lines, and the outlines of the pale bands."""
    lines, bands = [], []
    root = ElementTree.fromstring(panel.svg)
    for path in root.iter("path"):
        style = path.get("style", "")
        if "stroke-opacity: 0.25" in style and "stroke-width: 7" in style:
            lines.append(_points(path))
        elif "fill-opacity: 0.25" in style:
            bands.append(_points(path))
    if not bands:  # a band may be defined once, and drawn where it is used
        drawn = [use for use in root.iter("use") if "fill-opacity: 0.25" in use.get("style", "")]
        shapes = {path.get("id"): path for path in root.iter("path")}
        for use in drawn:
            shift = np.array([float(use.get("x", 0)), float(use.get("y", 0))])
            bands.append(_points(shapes[use.get("href", "").removeprefix("#")]) + shift)
    return lines, bands


def _to_data(points: np.ndarray, depth: int, limit: float) -> np.ndarray:
    first, last = 1.0 - 0.02 * depth, depth + 0.02 * depth
    x = first + (points[:, 0] - _LEFT) / (_WIDTH - _LEFT - _RIGHT) * (last - first)
    y = limit - (points[:, 1] - _TOP) / (_HEIGHT - _TOP - _BOTTOM) * 2.0 * limit
    return np.column_stack([x, y])


def test_the_pale_line_and_its_band_lie_where_the_law_says():
    middle = np.array([0.0, -0.7, -1.4, -2.1, -3.0])
    panel = _draw([_levels("HeNormal", [1.0] * 5)], [_prediction("HeNormal", list(middle))], 4.5)
    (line,), (band,) = _pale_shapes(panel)
    data = _to_data(line, 5, 4.5)
    np.testing.assert_allclose(data[:, 0], [1, 2, 3, 4, 5], atol=0.01)
    np.testing.assert_allclose(data[:, 1], middle, atol=0.02)
    corners = _to_data(band, 5, 4.5)
    for layer, level in enumerate(middle, start=1):
        ends = corners[np.abs(corners[:, 0] - layer) < 0.01, 1]
        np.testing.assert_allclose([ends.min(), ends.max()], [level - 0.5, level + 0.5], atol=0.03)


def test_a_prediction_without_a_standard_deviation_has_no_band():
    prediction = _prediction("HeNormal", [0.0, 0.1, 0.2], sd=np.nan)
    lines, bands = _pale_shapes(_draw([_levels("HeNormal", [0.0] * 3)], [prediction]))
    assert (len(lines), len(bands)) == (1, 0)


def test_the_percentiles_of_the_seeds_are_thin_lines_beside_the_median():
    panel = _draw([_levels("HeNormal", [1.0, 1.0, 1.0])], limit=4.5)
    paths = ElementTree.fromstring(panel.svg).iter("path")
    thin = [_points(path) for path in paths if "stroke-width: 0.7" in path.get("style", "")]
    levels = sorted(float(_to_data(points, 3, 4.5)[0, 1]) for points in thin)
    assert levels == pytest.approx([0.9, 1.1], abs=0.02)


def test_a_law_that_knows_nothing_draws_nothing():
    levels = [_levels("HeNormal", [0.0] * 3)]
    prediction = PredictedLevels("mlp", "HeNormal", "relu", "forward", *[np.full(3, np.nan)] * 3, ("no reason",))
    assert _draw(levels, [prediction]).svg == _draw(levels, []).svg


def test_the_description_has_both_measurement_and_theory():
    panel = _draw(
        [_levels("HeNormal", [0.0, 1.0], "backward")], [_prediction("HeNormal", [0.2, 1.3], direction="backward")]
    )
    assert "HeNormal from 10^1.0 to 10^0.0." in panel.description
    assert "Theory: HeNormal from 10^1.3 to 10^0.2." in panel.description
    assert f'aria-label="{panel.description}"' in panel.svg


def test_a_picture_says_which_predictions_rest_on_less_and_which_are_missing():
    names = ("HeNormal", "Zeros", "LecunNormal")
    known = _prediction("HeNormal", [0.0, 1.0])
    restarted = PredictedLevels(
        *("mlp", "LecunNormal", "relu", "forward"), *[np.zeros(2)] * 3, ("mean field, restarted at b", "finite width")
    )
    nothing = PredictedLevels("mlp", "Zeros", "relu", "forward", *[np.full(2, np.nan)] * 3, ("no chance",))
    panel = _draw([_levels(name, [0.0, 1.0]) for name in names], [known, restarted, nothing])
    assert panel.notes == ("theory of LecunNormal: mean field, restarted at b", "without theory: Zeros")


def _dots(predictions: list[PredictedLevels], limits: tuple[float, float] = (-2.0, 2.0)) -> Panel:
    series = _levels("HeNormal", [0.5, -0.5])
    return figures.draw_dots("relu", "prefix", [series], ["a", "b"], limits, predictions)


def _hollow_marks(panel: Panel) -> list[float]:
    """Find where the marks without a filling stand, across."""
    hollow = ("stroke: var(--ink)", "fill-opacity: 0")
    marks = ElementTree.fromstring(panel.svg).iter("use")
    return [float(use.get("x", "nan")) for use in marks if all(part in use.get("style", "") for part in hollow)]


def test_hollow_marks_stand_at_the_predicted_median_in_a_dot_picture():
    panel = _dots([_prediction("HeNormal", [1.0, -1.0], sd=0.2)])
    marks = _hollow_marks(panel)
    left = 14 + int(5.9 * len("HeNormal"))
    pixels = (panel.width - left - 14.0) / 4.0
    assert sorted(marks) == pytest.approx([left + pixels, left + 3.0 * pixels], abs=0.1)
    assert "Theory: HeNormal from 10^1.0 to 10^-1.0." in panel.description


def test_a_predicted_dot_outside_the_picture_is_marked_at_its_edge():
    inside, outside = _dots([_prediction("HeNormal", [1.0, -1.0])]), _dots([_prediction("HeNormal", [9.0, -1.0])])
    assert len(_hollow_marks(outside)) == len(_hollow_marks(inside)) == 2
    assert max(_hollow_marks(outside)) > max(_hollow_marks(inside))
    assert max(_hollow_marks(outside)) <= outside.width


def test_the_distance_from_theory_is_measured_from_its_median():
    series, prediction = figures.subtract_median(_levels("HeNormal", [1.0, 2.0]), _prediction("HeNormal", [0.5, 2.5]))
    np.testing.assert_allclose(series.middle, [0.5, -0.5])
    np.testing.assert_allclose(series.high, [0.6, -0.4])
    np.testing.assert_allclose(prediction.middle, [0.0, 0.0])
    np.testing.assert_allclose(prediction.low, [-0.5, -0.5])


def test_the_range_of_a_close_up_holds_its_bands_within_bounds():
    item = _prediction("HeNormal", [0.0, 0.0], sd=0.8)
    assert 0.8 < figures.find_range([item], 0.3, 2.0) < 1.0
    assert figures.find_range([item], 0.3, 0.5) == 0.5
    assert figures.find_range([_prediction("HeNormal", [0.0, np.inf], sd=0.0)], 0.3, 2.0) == 0.3


@pytest.mark.parametrize(
    ("direction", "notes"),
    [
        ("forward", ()),
        ("backward", ("theory of HeNormal: finite width; gradients restarted from the measured value at output",)),
    ],
)
def test_what_is_said_of_gradients_stands_under_the_gradients(direction: Direction, notes: tuple[str, ...]):
    basis = ("finite width; gradients restarted from the measured value at output",)
    prediction = PredictedLevels("mlp", "HeNormal", "relu", direction, *[np.zeros(3)] * 3, basis)
    assert _draw([_levels("HeNormal", [0.0] * 3, direction)], [prediction]).notes == notes
