"""What training showed, in every form of the answer: text, page, picture, summary and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from examined_model import HOSTILE, make_fix, make_proof, make_result
from html_page import Page
from json_schema import find_violations

from initcheck.audit.proofs import describe_proof
from initcheck.checking.report import json_document
from initcheck.checking.report.document import build_check_document
from initcheck.checking.report.json_document import format_json
from initcheck.checking.report.text import format_summary, format_text
from initcheck.checking.report.training_figure import build_training_section
from initcheck.pages.document import Figure
from initcheck.pages.html import render_html, render_markdown, render_pictures

SCHEMA = json.loads(Path(json_document.__file__).with_name("check_schema.json").read_text(encoding="utf-8"))

PROOFS = {
    "with a fix": {},
    "alone": {"change": ""},
    "not finite": {"failed": 6},
    "partly not finite": {"failed": 2},
    "not finite alone": {"failed": 6, "change": ""},
    "hostile": {"change": HOSTILE},
}


def prove(**changes):
    checked = make_result(forward=0.2, backward=0.2, fix=make_fix())
    return replace(checked, proofs=(make_proof(**changes),))


def figure_of(checked) -> Figure:
    return next(each for each in build_training_section(checked).blocks if isinstance(each, Figure))


@pytest.mark.parametrize("name", PROOFS)
def test_every_form_says_what_was_shown(name):
    checked = prove(**PROOFS[name])
    sentence = describe_proof(checked.proofs[0])
    text = " ".join(format_text(checked).split())
    assert text.count(sentence) == 1
    page = Page(render_html(build_check_document(checked)))
    page.assert_self_contained()
    assert sentence in page.text
    assert sentence in " ".join(unescape(format_summary(checked)).split())
    result = json.loads(format_json(checked))
    assert find_violations(result, SCHEMA) == []
    assert "In training" in render_markdown(build_check_document(checked))
    assert "figure-check-training.svg" in render_pictures(build_check_document(checked))


def test_the_line_stands_with_the_problem_whose_fix_it_is():
    checked = prove(problem=1)
    lines = format_text(checked).splitlines()
    (place,) = [at for at, line in enumerate(lines) if line.strip().startswith("train  ")]
    second = next(at for at, line in enumerate(lines) if line.startswith("2  "))
    assert place > second
    assert lines[-3].startswith("Trained by Adam on a made task, from 6 draws, in 3.0 s.")


def test_without_proofs_nothing_is_said_of_training():
    checked = make_result(forward=0.2)
    assert "rain" not in format_text(checked).replace("constraint", "")
    assert json.loads(format_json(checked))["proofs"] == []
    assert "training" not in [section.anchor for section in build_check_document(checked).sections]


def test_the_json_has_every_loss_and_the_interval():
    (found,) = json.loads(format_json(prove()))["proofs"]
    proof = make_proof()
    assert found["problems"] == [0] and found["fix"] == 'kernel_initializer="he_normal" in layer_1'
    assert found["outcome"] == "lower" and found["scale"] == "logarithm"
    assert found["with_fix"]["losses"] == proof.fixed.losses.tolist()
    assert found["after"] == {"value": proof.after.value, "low": proof.after.low, "high": proof.after.high}
    assert found["before"] == proof.before


def test_a_loss_that_is_not_finite_has_no_number():
    (found,) = json.loads(format_json(prove(failed=2)))["proofs"]
    assert found["as_it_is"]["not_finite_from"] == [3, 3, None, None, None, None]
    assert found["as_it_is"]["losses"][0][3] is None
    assert (found["before"], found["after"]) == (None, None)


def test_the_picture_has_a_curve_with_a_band_for_each_model_and_names_what_is_not_drawn():
    whole, partly, alone = (figure_of(prove(**changes)) for changes in ({}, {"failed": 2}, {"failed": 6, "change": ""}))
    assert [key.label for key in whole.keys] == ["as it is", "with the fix"]
    assert [key.label for key in alone.keys] == ["as it is"]
    assert whole.panels[0].notes == ()
    assert partly.panels[0].notes == ("as it is: 2 of 6 draws not finite, not drawn",)
    for colour, curves in (("--series-0", (1, 1, 0)), ("--series-2", (1, 1, 0))):
        found = [figure.panels[0].svg.count(f"stroke: var({colour})") > 0 for figure in (whole, partly, alone)]
        assert found == [bool(each) for each in curves]
    assert whole.panels[0].svg.count("fill-opacity: 0.22") == 2


def test_a_problem_without_a_fix_is_named_by_its_number():
    section = build_training_section(prove(change="", problem=1))
    assert section.blocks[1].items[0][0].text.startswith("Problem 2: no fix: as it is, the loss goes from 2.3")


def test_the_loss_falls_from_left_to_right_on_a_logarithmic_scale():
    proof = make_proof()
    levels = [math.log(proof.fixed.estimate(step, proof.floor).value) for step in (0, 10, 20)]
    assert levels[0] - levels[1] == pytest.approx(levels[1] - levels[2], abs=0.15)
