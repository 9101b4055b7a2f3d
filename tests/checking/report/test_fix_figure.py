"""The picture of a fix: the levels along the path of its problem, as they are and with the edits."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from examined_model import make_fix, make_result

from initcheck.audit.findings import Cause, CheckResult, Finding, Fix
from initcheck.audit.site_estimates import estimate_levels
from initcheck.checking.check import Report
from initcheck.checking.report.figures import draw_check_figure
from initcheck.core.columns import DIRECTIONS
from initcheck.pages.document import Figure, Panel

_AS_IT_IS, _WITH_FIX, _NAMED = "var(--series-0)", "var(--series-2)", "var(--series-1)"


def _fix(fixed: CheckResult, layer: str = "layer_1") -> Fix:
    return replace(make_fix(layer), levels=tuple(estimate_levels(fixed.table, each) for each in DIRECTIONS))


def _draw(fix: Fix, **changes) -> Figure | None:
    return draw_check_figure(make_result(fix=fix, **changes))


def _dots(panel: Panel, colour: str) -> list[tuple[float, float]]:
    """Find the places of the dots of a line, from left to right; a band is no dot."""
    marks = [each for each in ElementTree.fromstring(panel.svg).iter("use") if colour in each.get("style", "")]
    return sorted(
        (float(each.get("x", "")), float(each.get("y", ""))) for each in marks if "opacity" not in each.get("style", "")
    )


def _heights(panel: Panel, colour: str) -> list[float]:
    return [height for _, height in _dots(panel, colour)]


def _find_text(picture: str, text: str) -> tuple[float, float]:
    """Find where a text stands in a picture."""
    (found,) = [each for each in ElementTree.fromstring(picture).iter("text") if each.text == text]
    place = re.search(r"translate\(([\d.]+) ([\d.]+)\)", found.get("transform", ""))
    return (float(place[1]), float(place[2])) if place else (float(found.get("x", "")), float(found.get("y", "")))


def test_both_models_are_in_one_picture_each_at_its_own_levels():
    fixed = make_result()
    figure = _draw(_fix(fixed), forward=0.2)
    assert figure is not None
    panel = figure.panels[0]
    assert panel.title.startswith("Forward") and "main path" not in [key.label for key in figure.keys]
    as_it_is, with_fix = (np.asarray(_heights(panel, colour)) for colour in (_AS_IT_IS, _WITH_FIX))
    assert len(as_it_is) == len(with_fix) == 6
    levels = [estimate_levels(each.table, "forward").middle[1:] for each in (make_result(forward=0.2), fixed)]
    # One scale for both: a height is a linear function of a level.
    slope = (as_it_is[-1] - as_it_is[0]) / (levels[0][-1] - levels[0][0])
    assert slope < 0.0
    for heights, middle in zip((as_it_is, with_fix), levels, strict=True):
        assert heights == pytest.approx(as_it_is[0] + slope * (middle - levels[0][0]), abs=0.05)
    assert "as it is" in panel.description and "with the fix" in panel.description


def test_lines_are_named_at_their_ends_apart_from_each_other_in_both_widths():
    figure = _draw(_fix(make_result(forward=0.99)), backward=0.2)
    assert figure is not None
    for picture in (figure.panels[0].svg, figure.panels[0].phone):
        heights = [_find_text(picture, name)[1] for name in ("as it is", "with the fix")]
        assert abs(heights[0] - heights[1]) >= 13.0


def test_the_cause_is_marked_and_not_the_layers_where_its_effect_is_seen():
    checked = make_result(fix=_fix(make_result()), forward=0.2)
    cause = Cause("spread", ("layer_1",), "in layer_1: too small")
    caused = replace(checked, findings=tuple(replace(each, cause=cause) for each in checked.findings))
    for result, count in ((checked, 2), (caused, 1)):
        figure = draw_check_figure(result)
        assert figure is not None
        assert len(_dots(figure.panels[0], _NAMED)) == count


def test_the_line_follows_the_branch_that_the_problem_lies_in():
    blocks = {"blocks": True, "layers": 12}
    checked = make_result(**blocks)
    inside = next(each for each in checked.paths if not each.path.is_main and each.levels.direction == "forward")
    layer = inside.levels.layers[0]
    finding = Finding("IC301", f"{layer}/kernel", "equal", None, (f"{layer}/kernel",), _fix(checked))
    figure = draw_check_figure(replace(checked, findings=(finding,)))
    assert figure is not None
    assert len(_heights(figure.panels[0], _WITH_FIX)) == len(inside.levels.positions)
    assert "that the problem lies on" in "".join(span.text for span in figure.caption)


def test_a_level_of_exactly_zero_is_a_sign_at_the_edge_and_explained():
    figure = _draw(_fix(make_result()), dead_from=3)
    assert figure is not None
    assert ("×", "exactly zero in at least one seed") in figure.marks
    assert len(_heights(figure.panels[0], _WITH_FIX)) == 6


def test_a_site_that_the_edited_model_has_not_is_left_out_of_its_line():
    figure = _draw(_fix(make_result(names=("layer_0", "layer_1", "other"))), forward=0.2)
    assert figure is not None
    assert [len(_heights(figure.panels[0], colour)) for colour in (_AS_IT_IS, _WITH_FIX)] == [6, 5]


def test_without_a_fix_or_its_levels_there_is_one_line():
    for checked in (make_result(forward=0.2, fix=make_fix()), make_result(forward=0.2)):
        figure = draw_check_figure(checked)
        assert figure is not None
        assert _heights(figure.panels[0], _WITH_FIX) == []


def test_the_first_fix_is_in_the_answer_and_that_of_another_problem_folded_beside_it():
    extra = [Finding("IC301", "layer_5/kernel", "equal", None, ("layer_5/kernel",), _fix(make_result(), "layer_5"))]
    report = Report(make_result(forward=0.2, fix=_fix(make_result()), extra=extra))
    page = report.to_html()
    assert page.index("with the fix") < page.index('id="problem-1"') < page.index("Signal and gradient with this fix")
    pictures = report.pictures()
    assert sorted(pictures) == ["figure-check-levels.svg", "figure-check-problem-2.svg"]
    assert all(name in report.to_markdown() for name in pictures)
