"""The picture of a fix: the levels along the path of its problem, as they are and with the edits."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from examined_model import make_fix, make_result

from initcheck.audit.findings import CheckResult, Finding, Fix
from initcheck.audit.site_estimates import estimate_levels
from initcheck.checking.check import Report
from initcheck.checking.report.figures import take_site_levels
from initcheck.checking.report.fix_figure import draw_fix_figure
from initcheck.core.columns import DIRECTIONS
from initcheck.pages.document import Figure, Panel

_AS_IT_IS, _WITH_FIX = "var(--series-1)", "var(--series-0)"


def _fix(fixed: CheckResult, layer: str = "layer_1") -> Fix:
    return replace(make_fix(layer), levels=tuple(estimate_levels(fixed.table, each) for each in DIRECTIONS))


def _draw(fix: Fix, **changes) -> Figure | None:
    checked = make_result(fix=fix, **changes)
    return draw_fix_figure(checked, checked.problems[0], "fix")


def _dots(panel: Panel, colour: str) -> list[tuple[float, float]]:
    """Find the places of the dots of a line, from left to right; a band is no dot."""
    marks = [each for each in ElementTree.fromstring(panel.svg).iter("use") if colour in each.get("style", "")]
    return sorted(
        (float(each.get("x", "")), float(each.get("y", ""))) for each in marks if "opacity" not in each.get("style", "")
    )


def _heights(panel: Panel, colour: str) -> list[float]:
    return [height for _, height in _dots(panel, colour)]


def test_both_models_are_in_one_picture_each_at_its_own_levels():
    fixed = make_result()
    figure = _draw(_fix(fixed), forward=0.2)
    assert figure is not None
    (panel,) = figure.panels
    assert panel.title.startswith("Forward") and [key.label for key in figure.keys] == [
        "as it is",
        "with the fix",
        "edited",
    ]
    as_it_is, with_fix = (np.asarray(_heights(panel, colour)) for colour in (_AS_IT_IS, _WITH_FIX))
    assert len(as_it_is) == len(with_fix) == 7
    levels = [take_site_levels(each, "forward").middle for each in (make_result(forward=0.2), fixed)]
    # One scale for both: a height is a linear function of a level.
    slope = (as_it_is[-1] - as_it_is[0]) / (levels[0][-1] - levels[0][0])
    assert slope < 0.0
    for heights, middle in zip((as_it_is, with_fix), levels, strict=True):
        assert heights == pytest.approx(as_it_is[0] + slope * (middle - levels[0][0]), abs=0.05)
    assert "as it is" in panel.description and "with the fix" in panel.description


def test_the_picture_has_the_directions_that_the_problem_is_about():
    forward = Finding("IC101", "layer_3", "falls", fix=_fix(make_result()))
    both = Finding("IC301", "layer_3/kernel", "equal", fix=_fix(make_result()))
    checked = make_result()
    for finding, titles in ((forward, ["Forward"]), (both, ["Forward", "Backward"])):
        with_finding = replace(checked, findings=(finding,))
        figure = draw_fix_figure(with_finding, with_finding.problems[0], "fix")
        assert figure is not None
        assert [panel.title.partition(":")[0] for panel in figure.panels] == titles


def test_the_edited_layers_are_marked_and_no_others():
    figure = _draw(_fix(make_result(), "layer_2"), forward=0.2)
    assert figure is not None
    (panel,) = figure.panels
    lines = re.findall(r'd="M ([\d.]+) [\d.]+ +L \1 [^"]*"[^>]*stroke-dasharray', panel.svg)
    place = [place for place, _ in _dots(panel, _WITH_FIX)][3]
    assert [float(each) for each in lines] == [pytest.approx(place, abs=0.02)]


def test_of_many_edited_layers_none_is_marked():
    edits = tuple(replace(make_fix().edits[0], layer=f"layer_{place}") for place in range(7))
    figure = _draw(replace(_fix(make_result(layers=12)), edits=edits), layers=12, forward=0.2)
    assert figure is not None
    assert [key.label for key in figure.keys] == ["as it is", "with the fix"]
    assert "stroke-dasharray" not in figure.panels[0].svg
    # Thirteen names do not fit.
    assert "".join(span.text for span in figure.caption).endswith("those of the table of all layers.")


def test_only_the_path_of_the_problem_is_drawn():
    blocks = {"blocks": True, "layers": 12}
    figure = _draw(_fix(make_result(**blocks)), **blocks, forward=0.2)
    assert figure is not None
    checked = make_result(**blocks)
    main = next(each.path.positions for each in checked.paths if each.path.is_main)
    assert len(_heights(figure.panels[0], _WITH_FIX)) == len({0, *main}) < len(checked.nodes)


def test_a_level_of_exactly_zero_is_a_sign_at_the_edge_and_explained():
    figure = _draw(_fix(make_result()), dead_from=3)
    assert figure is not None
    assert figure.marks == (("×", "exactly zero in at least one seed"),)
    assert len(_heights(figure.panels[0], _WITH_FIX)) == 7


def test_a_site_that_the_edited_model_has_not_is_left_out_of_its_line():
    figure = _draw(_fix(make_result(names=("layer_0", "layer_1", "other"))), forward=0.2)
    assert figure is not None
    assert [len(_heights(figure.panels[0], colour)) for colour in (_AS_IT_IS, _WITH_FIX)] == [7, 6]


def test_without_a_fix_or_its_levels_there_is_no_picture():
    assert _draw(make_fix(), forward=0.2) is None
    checked = make_result(forward=0.2)
    assert draw_fix_figure(checked, checked.problems[0], "fix") is None


def test_the_picture_stands_in_the_section_of_its_problem_in_both_editions():
    report = Report(make_result(forward=0.2, fix=_fix(make_result())))
    page = report.to_html()
    assert page.index('id="problem-1"') < page.index("with the fix") < page.index("The code to write")
    pictures = report.pictures()
    assert sorted(pictures) == ["figure-check-fix-problem-1.svg", "figure-check-levels.svg"]
    assert "figure-check-fix-problem-1.svg" in report.to_markdown()
    assert "with the fix" in pictures["figure-check-fix-problem-1.svg"]
