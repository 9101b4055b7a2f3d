"""Phase diagrams: initializers lie where their weights put them, and phases are those of theory's closed forms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from contrast import contrast
from scipy.optimize import brentq
from simulated_study import all_blocks, make_study, words_of

from initcheck.pages import palette
from initcheck.pages.document import Figure, Paragraph, Section, Table
from initcheck.study.record import StudyRecord
from initcheck.study.report import build_document, phases
from initcheck.study.report.phases import find_phase_activation, is_scale_free, place_initializers, read_width
from initcheck.theory.gaussian import find_activation
from initcheck.theory.mean_field import find_fixed_point, map_correlation


def _section(study: StudyRecord, anchor: str = "network-1") -> Section:
    network = next(section for section in build_document(study).sections if section.anchor == anchor)
    return next(part for part in network.sections if part.anchor == f"{anchor}-phases")


def _figure(section: Section) -> Figure:
    return next(block for block in all_blocks(section.blocks) if isinstance(block, Figure))


def test_he_stands_at_the_square_root_of_two_and_is_critical_for_relu(small_study: Callable[..., StudyRecord]):
    section = _section(small_study(("GlorotUniform", "HeNormal", "HeUniform"), ("relu", "tanh")))
    figure = _figure(section)
    assert figure.marks == (("1", "σ_w = 1.000: GlorotUniform"), ("2", "σ_w = 1.414: HeNormal, HeUniform"))
    assert "HeNormal, HeUniform at σ_w 1.41: critical" in figure.panels[0].description
    assert "GlorotUniform at σ_w 1: ordered" in figure.panels[0].description
    assert "HeNormal, HeUniform at σ_w 1.41: chaotic" in figure.panels[1].description
    table = next(block for block in all_blocks(section.blocks) if isinstance(block, Table))
    cells = {row.header: dict(zip(table.columns[1:], row.cells, strict=True)) for row in table.rows}
    he = cells["relu"]["2: σ_w = 1.414"]
    assert (he.text, he.notes, he.emphasis) == ("critical", ("χ = 1.0000", "any q"), True)
    glorot = cells["relu"]["1: σ_w = 1.000"]
    assert (glorot.text, glorot.notes) == ("ordered", ("χ = 0.500", "q → 0"))
    assert cells["tanh"]["1: σ_w = 1.000"].text == "critical"


@pytest.mark.parametrize(
    ("label", "variance"),
    [
        ("HeNormal", 2.0 / 256.0),
        ("GlorotNormal", 1.0 / 256.0),
        ("RandomNormal", 0.05**2),
        ("RandomNormal(stddev=1.0)", 1.0),
        ("RandomUniform", 0.1**2 / 12.0),
        ("Orthogonal", 1.0 / 256.0),
    ],
)
def test_the_place_of_an_initializer_follows_from_the_variance_of_its_weights(label: str, variance: float):
    ((place,), unplaced) = place_initializers([label], 256)
    assert place.sigma_w == pytest.approx(math.sqrt(256.0 * variance), rel=1e-12)
    assert (place.number, place.initializers, unplaced) == (1, (label,), {})


def test_initializers_with_the_same_variance_share_a_place_whatever_the_rounding():
    for width in (49, 100, 256, 300, 1000):
        places, _ = place_initializers(
            ["LecunNormal", "RandomNormal", "GlorotUniform", "Orthogonal", "HeNormal"], width
        )
        assert ("LecunNormal", "GlorotUniform", "Orthogonal") in [place.initializers for place in places]
        assert [place.number for place in places] == list(range(1, len(places) + 1))
        assert [place.sigma_w for place in places] == sorted(place.sigma_w for place in places)


def test_initializers_without_a_law_are_named_with_the_reason():
    places, unplaced = place_initializers(["Zeros", "Mine", "<script>(", "RandomNormal(mean=1.0)", "HeNormal"], 64)
    assert [place.initializers for place in places] == [("HeNormal",)]
    by_name = {name: reason for reason, names in unplaced.items() for name in names}
    assert "nothing to chance" in by_name["Zeros"]
    assert "not known" in by_name["Mine"]
    assert "mean" in by_name["RandomNormal(mean=1.0)"]
    assert set(by_name) == {"Zeros", "Mine", "<script>(", "RandomNormal(mean=1.0)"}
    assert not any("Received" in reason for reason in unplaced)


@pytest.mark.parametrize("name", ["exponential", "hard_shrink", "softmax", "<b>"])
def test_activations_without_phases_get_a_sentence_instead_of_a_picture(
    small_study: Callable[..., StudyRecord], name: str
):
    phi, reason = find_phase_activation(name)
    assert phi is None
    section = _section(small_study(("HeNormal",), (name, "relu")))
    figure = _figure(section)
    assert [panel.title for panel in figure.panels] == ["relu"]
    assert f"{name} has no phase diagram: {reason}." in words_of(section).splitlines()


def test_of_an_unknown_activation_alone_there_is_no_picture(small_study: Callable[..., StudyRecord]):
    section = _section(small_study(("HeNormal",), ("mine",)))
    assert not [block for block in all_blocks(section.blocks) if isinstance(block, Figure | Table)]
    assert "mine has no phase diagram: theory does not know this function." in words_of(section).splitlines()


@pytest.mark.parametrize(
    ("name", "sigma_w2", "regime", "chi", "q"),
    [
        ("relu", 2.0, "critical", 1.0, 2.0),
        ("relu", 1.0, "ordered", 0.5, 0.0),
        ("relu", 3.0, "no fixed point", 1.5, math.inf),
        ("linear", 0.64, "ordered", 0.64, 0.0),
        ("tanh", 1.0, "critical", 1.0, 0.0),
        ("softsign", 1.0, "critical", 1.0, 0.0),
        ("selu", 1.0, "chaotic", 1.0716, 1.0),
        ("softplus", 2.0, "no fixed point", 1.0, math.inf),
        ("elu", 2.0, "no fixed point", 1.0, math.inf),
    ],
)
def test_the_phases_are_those_of_the_closed_forms(name: str, sigma_w2: float, regime: str, chi: float, q: float):
    found = find_fixed_point(find_activation(name), sigma_w2)
    assert found.regime == regime
    assert found.chi_backward == pytest.approx(chi, abs=1e-4)
    assert found.q == pytest.approx(q, rel=1e-4, abs=1e-4)


def test_scale_free_functions_say_that_only_the_foot_of_the_border_is_critical(small_study: Callable[..., StudyRecord]):
    figure = _figure(_section(small_study(("HeNormal",), ("relu", "linear", "leaky_relu", "tanh"))))
    for panel in figure.panels:
        noted = any("only the point at σ_b = 0 is critical" in note for note in panel.notes)
        assert noted == is_scale_free(find_activation(panel.title)) == (panel.title != "tanh")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("relu", "they grow alike at every σ_w"),
        ("leaky_relu", "they grow alike at every σ_w"),
        ("linear", "it stays as it is at every σ_w"),
        ("tanh", ""),
    ],
)
def test_of_functions_without_a_scale_no_chaos_is_said(small_study: Callable[..., StudyRecord], name: str, said: str):
    """What is said of their correlations is so: the map of the correlation is the same at every sigma_w."""
    (panel,) = _figure(_section(small_study(("HeNormal", "RandomNormal(stddev=1.0)"), (name,)))).panels
    assert any(said in note for note in panel.notes) if said else panel.notes == ()
    words = {element.text for element in ElementTree.fromstring(panel.svg).iter("text")}
    assert ("chaotic" in words, "no fixed point" in words) == (not said, bool(said))
    assert ("chaotic" in panel.description) == (not said)
    phi = find_activation(name)
    maps = [[map_correlation(phi, c, sigma_w2, sigma_w2) for c in (0.0, 0.5, 0.9)] for sigma_w2 in (0.5, 8.0)]
    assert (maps[0] == pytest.approx(maps[1], rel=1e-9)) == bool(said)


def test_where_the_signal_grows_for_good_the_product_of_chi_is_given(small_study: Callable[..., StudyRecord]):
    section = _section(small_study(("HeNormal",), ("softplus", "elu", "relu")))
    table = next(block for block in all_blocks(section.blocks) if isinstance(block, Table))
    softplus, elu, relu = (row.cells[0] for row in table.rows)
    assert (softplus.text, elu.text, relu.text) == ("no fixed point", "no fixed point", "critical")
    assert softplus.notes == ("χ → 1.0000", "q grows", "100 layers: × 8.2×10⁻⁹")
    assert elu.notes[-1] == "100 layers: × 2800"
    assert relu.notes == ("χ = 1.0000", "any q")


def _pixels(sigma_w: float, limits: tuple[float, float]) -> float:
    left, right, width = 48.0, 10.0, 300.0
    share = math.log(sigma_w / limits[0]) / math.log(limits[1] / limits[0])
    return left + share * (width - left - right)


def _border(svg: str) -> np.ndarray:
    """Find the points of the heavy line, in pixels."""
    for path in ElementTree.fromstring(svg).iter("path"):
        style = path.get("style", "")
        if "fill: none" in style and "stroke-width: 2" in style:
            return np.array([float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]).reshape(
                -1, 2
            )
    raise AssertionError("no border")


def test_the_border_of_relu_stands_upright_at_the_square_root_of_two(small_study: Callable[..., StudyRecord]):
    figure = _figure(_section(small_study(("HeNormal",), ("relu",))))
    points = _border(figure.panels[0].svg)
    np.testing.assert_allclose(points[:, 0], _pixels(math.sqrt(2.0), (0.3, 4.0)), atol=0.2)
    assert np.ptp(points[:, 1]) > 150.0


def test_the_border_of_tanh_goes_where_an_independent_solution_says(small_study: Callable[..., StudyRecord]):
    figure = _figure(_section(small_study(("HeNormal",), ("tanh",))))
    points = _border(figure.panels[0].svg)
    # By plain iteration and Monte Carlo nodes: the sigma_w at which chi is 1 for sigma_b = 1.
    z, weight = np.polynomial.hermite_e.hermegauss(101)
    weight = weight / weight.sum()

    def chi(sigma_w: float) -> float:
        q = 1.0
        for _ in range(400):
            q = sigma_w**2 * float(weight @ np.tanh(np.sqrt(q) * z) ** 2) + 1.0
        return sigma_w**2 * float(weight @ (1.0 - np.tanh(np.sqrt(q) * z) ** 2) ** 2)

    critical = brentq(lambda sigma_w: chi(sigma_w) - 1.0, 1.0, 4.0)
    top, bottom, height = 8.0, 38.0, 226.0
    at = top + (2.0 - 1.0) / (2.0 + 0.13) * (height - top - bottom)
    order = np.argsort(points[:, 1])
    found = float(np.interp(at, points[order, 1], points[order, 0]))
    assert found == pytest.approx(_pixels(critical, (0.3, 4.0)), abs=0.5)


def test_functions_that_are_flat_at_zero_have_a_diagram_as_well(small_study: Callable[..., StudyRecord]):
    figure = _figure(_section(small_study(("HeNormal", "RandomNormal(stddev=1.0)"), ("tanh_shrink",))))
    assert "HeNormal at σ_w 1.41: ordered" in figure.panels[0].description
    assert _border(figure.panels[0].svg).size > 0


def test_marks_stand_at_their_place_and_their_numbers_do_not_overlap(small_study: Callable[..., StudyRecord]):
    names = ("RandomUniform", "RandomNormal", "TruncatedNormal", "LecunNormal", "HeNormal", "RandomNormal(stddev=1.0)")
    figure = _figure(_section(small_study(names, ("relu",))))
    places, _ = place_initializers(names, 64)
    limits = phases.choose_range(places)
    root = ElementTree.fromstring(figure.panels[0].svg)
    rings = [float(use.get("x", "nan")) for use in root.iter("use") if "fill: var(--paper)" in use.get("style", "")]
    np.testing.assert_allclose(sorted(rings), [_pixels(place.sigma_w, limits) for place in places], atol=0.05)
    numbers = {element.text for element in root.iter("text")}
    assert {str(place.number) for place in places} <= numbers
    assert {"ordered", "no fixed point"} <= numbers


def test_numbers_move_apart_as_little_as_that_takes():
    moved = phases.move_apart(np.array([0.0, 1.0, 2.0, 50.0]), 15.0)
    np.testing.assert_allclose(moved, [-14.0, 1.0, 16.0, 50.0])
    np.testing.assert_allclose(phases.move_apart(np.array([0.0, 20.0]), 15.0), [0.0, 20.0])
    assert phases.move_apart(np.array([]), 15.0).size == 0


def test_only_plain_dense_networks_of_one_width_have_a_diagram(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=3)
    layers = study.signal_layers["mlp"]
    assert read_width(study.table, "mlp", layers) == 64
    later = study.table["layer"] == layers[-1]
    for column, value in (("kind", "Conv2D"), ("kind", None), ("fan_in", 32.0), ("fan_out", 32.0), ("fan_in", None)):
        table = study.table.copy()
        table.loc[later, column] = value
        assert read_width(table, "mlp", layers) is None
        section = _section(replace(study, table=table))
        assert [type(block) for block in section.blocks] == [Paragraph]
        assert words_of(section).startswith("No phase diagram:")
    # The first layer's inputs are the data's, whose number is no matter.
    first = study.table.copy()
    first.loc[first["layer"] == layers[0], "fan_in"] = 784.0
    assert read_width(first, "mlp", layers) == 64


def test_each_network_stands_at_its_own_width(small_study: Callable[..., StudyRecord]):
    study = small_study(("RandomNormal",), ("relu",))
    wide = study.table.assign(fan_in=400.0, fan_out=400.0)
    both = make_study(
        pd.concat([study.table, wide.assign(network=pd.array(["wide"] * len(wide), dtype="string"))]),
        {"mlp": 6, "wide": 6},
    )
    marks = [_figure(_section(both, anchor)).marks[0][1] for anchor in ("network-1", "network-2")]
    assert marks == ["σ_w = 0.4000: RandomNormal", "σ_w = 1.000: RandomNormal"]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_words_and_lines_stand_out_from_the_phases(mode: str):
    ink = getattr(palette.INK, mode)
    for region in palette.REGIONS.values():
        assert contrast(ink, getattr(region, mode)) >= 4.5
