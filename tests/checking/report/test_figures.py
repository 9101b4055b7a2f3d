"""The picture of an examined model: what is drawn, marked and left out; readable for few layers and for many."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from examined_model import HOSTILE, Stack, make_result

from initcheck.audit.findings import Finding, Measured
from initcheck.audit.site_estimates import estimate_levels
from initcheck.checking.report.figures import draw_check_figure
from initcheck.pages import svg
from initcheck.pages.document import Figure, Panel
from initcheck.pages.palette import PAGE, REGIONS, SERIES

_WRONG = "var(--series-1)"
_BAND = "fill-opacity: 0.22"


def _draw(**changes) -> Figure:
    figure = draw_check_figure(make_result(**changes))
    assert figure is not None
    return figure


def _texts(panel: Panel) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(panel.svg).iter("text")]


def _places(panel: Panel, colour: str = _WRONG) -> list[tuple[float, float]]:
    """Find the places of the markers of a colour: each refers to the marker's shape, and so does a band."""
    return [
        (float(each.get("x", "")), float(each.get("y", "")))
        for each in ElementTree.fromstring(panel.svg).iter("use")
        if colour in each.get("style", "") and _BAND not in each.get("style", "")
    ]


def _dots(panel: Panel, colour: str = _WRONG) -> int:
    return len(_places(panel, colour))


def test_levels_are_the_logarithms_of_amplitudes_in_their_geometric_mean():
    checked = make_result(layers=5, forward=0.3, backward=0.5, seeds=6)
    table = checked.table
    for direction in ("forward", "backward"):
        levels = estimate_levels(table, direction)
        for place, site in enumerate(levels.sites):
            own = table[table["layer"] == site]
            if direction == "backward":
                values = own["gradient_norm"].to_numpy(float)
            else:
                column = "activation_second_moment" if site == "inputs" else "preactivation_second_moment"
                values = np.sqrt(own[column].to_numpy(float))
            logs = np.log10(values)
            assert levels.middle[place] == pytest.approx(logs.mean())
            assert levels.low[place] < levels.middle[place] < levels.high[place]
            # Half the width of a t interval with 5 degrees of freedom.
            assert levels.high[place] - levels.middle[place] == pytest.approx(2.5706 * logs.std(ddof=1) / 6**0.5, 1e-3)


def test_a_gradient_whose_square_underflows_still_has_a_level():
    checked = make_result(backward=1.0, spread=0.0)
    table = checked.table.assign(gradient_norm=1e-250)
    assert estimate_levels(table, "backward").middle == pytest.approx(-250.0)


@pytest.mark.parametrize("layers", [1, 2, 3, 12, 13, 61, 400])
def test_any_number_of_layers_is_drawn_in_both_directions(layers):
    figure = _draw(layers=layers)
    assert len(figure.panels) == 2
    for panel in figure.panels:
        for picture in (panel, replace(panel, svg=panel.phone)):
            named = [text for text in _texts(picture) if text.startswith(("layer_", "inputs"))]
            # All names where they fit, else some: always the first and the last.
            assert named[0] == "inputs" and named[-1] == f"layer_{layers - 1}"
            assert len(named) == layers + 1 if layers < 10 else 6 <= len(named) <= 22


def test_a_picture_of_400_layers_stays_small():
    assert sum(len(panel.svg) for panel in _draw(layers=400).panels) < 120_000


def test_one_draw_has_no_band_and_says_so():
    several, single = _draw(seeds=8), _draw(seeds=1)
    assert "95% interval" in _words(several) and "One draw" not in _words(several)
    assert "95% interval" not in _words(single) and "One draw" in _words(single)
    for with_band, without in zip(several.panels, single.panels, strict=True):
        assert _bands(with_band) == 1
        assert _bands(without) == 0


def _dashed(panel: Panel) -> list[float]:
    """Find the heights of the dashed lines, the limits."""
    return [float(y) for y in re.findall(r'd="M [\d.]+ ([\d.]+)[^"]*"[^>]*stroke-dasharray: 4,3', panel.svg)]


def _bands(panel: Panel) -> int:
    return sum(_BAND in each.get("style", "") for each in ElementTree.fromstring(panel.svg).iter("use"))


def _words(figure: Figure) -> str:
    return "".join(span.text for span in figure.caption)


def test_the_layers_beyond_the_limit_are_marked_and_no_others():
    figure = _draw(layers=8, forward=0.2)
    forward, backward = figure.panels
    # .2^3 < 1/100 < .2^2: the fourth layer is the first one beyond, and so are the next three; the head may be small.
    assert _dots(forward) == 4
    assert _dots(backward) == 0
    assert "IC101" in _texts(forward) and "IC101" not in _texts(backward)
    assert {key.label for key in figure.keys} == {"main path", "other layers", "limit", "named in a finding"}


def test_a_healthy_model_has_no_mark():
    figure = _draw()
    assert [_dots(panel) for panel in figure.panels] == [0, 0]
    assert figure.marks == ()
    assert "named in a finding" not in {key.label for key in figure.keys}


def test_gradients_are_marked_in_the_backward_panel():
    forward, backward = _draw(layers=8, backward=6.0).panels
    assert "IC202" in _texts(backward) and _dots(backward) > 0
    assert "IC202" not in _texts(forward) and _dots(forward) == 0


@pytest.mark.parametrize(
    ("quantity", "place"), [("share of outputs too small", 0), ("share of gradients too small", 1)]
)
def test_float16s_range_is_marked_where_it_is_left(quantity, place):
    finding = Finding("IC502", "layer_2", "too small", Measured(quantity, 0.5), ("layer_2",))
    panels = _draw(extra=[finding]).panels
    assert "IC502" in _texts(panels[place]) and _dots(panels[place]) == 1
    assert "IC502" not in _texts(panels[1 - place])


def test_a_weight_marks_its_layer_and_not_one_whose_name_begins_alike():
    finding = Finding("IC301", "layer_1/kernel", "equal", None, ("layer_1/kernel",))
    panels = _draw(layers=12, extra=[finding]).panels
    assert [_dots(panel) for panel in panels] == [1, 1]


def test_labels_of_many_findings_do_not_lie_on_each_other():
    extra = [Finding("IC301", f"layer_{place}/kernel", "equal") for place in range(0, 60, 2)]
    for panel in _draw(layers=60, extra=extra).panels:
        places = [
            (float(x), float(y))
            for x, y in re.findall(r"translate\(([\d.]+) ([\d.]+)\)[^>]*>IC301", panel.svg)
            or re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>IC301', panel.svg)
        ]
        assert len(places) > 10 and len({y for _, y in places}) <= 4
        for index, (x, y) in enumerate(places):
            for other_x, other_y in places[index + 1 :]:
                assert abs(x - other_x) > 30 or abs(y - other_y) > 10


def test_zero_and_non_finite_levels_are_signs_at_the_edge():
    zero, finite = _draw(dead_from=4), _draw()
    assert [sign for sign, _ in zero.marks] == ["IC101", "×"]
    assert _dots(zero.panels[0]) - _dots(finite.panels[0]) == 3
    broken = _draw(nonfinite_from=4)
    assert [sign for sign, _ in broken.marks] == ["IC501", "◆"]
    assert _dots(broken.panels[0]) == 3


def test_branches_are_faint_beside_the_main_path():
    figure = _draw(blocks=True, layers=12)
    forward = figure.panels[0]
    # The input, and two layers in each of five blocks.
    assert _dots(forward, "var(--muted)") == 11
    assert _dots(forward, "var(--series-0)") == 7  # five sums, and a layer at either end
    assert "Thin lines follow the other paths" in _words(figure)
    assert "Thin lines" not in _words(_draw())


def test_without_a_main_path_there_are_only_dots():
    figure = _draw(routed=False)
    assert figure.keys == ()
    assert "No line, since no layer with weights lies on every path" in _words(figure) and "Thin lines" not in _words(
        figure
    )
    assert _dots(figure.panels[0], "var(--series-0)") == 7
    assert _dots(figure.panels[0], "var(--muted)") == 0


def test_sites_without_a_figure_are_named_below():
    checked = make_result(layers=6)
    table = checked.table.assign(
        gradient_norm=checked.table["gradient_norm"].where(checked.table["layer"] != "layer_3")
    )
    figure = draw_check_figure(replace(checked, table=table))
    assert figure.panels[0].notes == ()
    assert figure.panels[1].notes == ("no value: layer_3",)


def test_a_table_without_rows_has_no_picture():
    checked = make_result()
    assert draw_check_figure(replace(checked, table=checked.table.iloc[:0], paths=())) is None


@pytest.mark.parametrize(("forward", "below"), [(0.8, True), (1.25, False)])
def test_the_marked_layers_are_those_on_the_other_side_of_the_limits_line(forward, below):
    panel = _draw(layers=30, forward=forward).panels[0]
    (limit,) = _dashed(panel)  # the one in the direction that the signal takes
    wrong, trunk = _places(panel), _places(panel, "var(--series-0)")
    assert 0 < len(wrong) < len(trunk) == 30
    # In a picture the vertical axis points down; the head does not count, and is not marked.
    beyond = [place for place in trunk[:-1] if (place[1] > limit) == below]
    assert wrong == beyond


def test_a_healthy_model_keeps_between_both_limits():
    panel = _draw().panels[0]
    ends = sorted(_dashed(panel))
    assert len(ends) == 2
    assert all(ends[0] < y < ends[1] for _, y in _places(panel, "var(--series-0)"))


def test_names_are_text_in_the_picture_and_every_colour_is_the_pages():
    figure = _draw(layers=4, names=(HOSTILE,), forward=0.1)
    for panel in figure.panels:
        assert "<script" not in panel.svg and "**b**" in "".join(_texts(panel))
        assert not re.search(r"#[0-9a-fA-F]{6}\b", panel.svg)
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", panel.svg))
        assert used <= {*PAGE, *REGIONS, *(f"series-{index}" for index in range(len(SERIES)))}
    ElementTree.fromstring(svg.compose_file(figure))
    identifiers = [each for panel in figure.panels for each in re.findall(r'\bid="([^"]*)"', panel.svg)]
    assert len(identifiers) == len(set(identifiers))


def test_the_same_examination_gives_the_same_picture():
    stack = Stack(layers=20, forward=0.5)
    first, second = (draw_check_figure(make_result(stack)) for _ in range(2))
    assert first == second
