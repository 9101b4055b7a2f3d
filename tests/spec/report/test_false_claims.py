"""False claims by cause: what counts as a factor, in which order they stand, and how they are drawn."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from fake_specification import run_fake_specification

from initcheck.spec.causes import CAUSES
from initcheck.spec.claim import Evidence, Verdict
from initcheck.spec.records import ClaimRecord
from initcheck.spec.report.false_claims import (
    describe_effect,
    draw_false_claims,
    group_false_claims,
    is_ratio,
    write_false_claims,
)


def factor(effect: float, bounds: tuple[float, float] = (0.95, 1.05)) -> Evidence:
    return Evidence(Verdict.FAIL, "", "variance", effect, 0.9 * effect, 1.1 * effect, 0.95, bounds)


@pytest.fixture(scope="module")
def refuted() -> ClaimRecord:
    return next(claim for claim in run_fake_specification().claims if claim.status == "refuted")


def make(refuted: ClaimRecord, cause: str, *effects: float) -> list[ClaimRecord]:
    return [
        replace(refuted, id=f"fans.{cause}.{place}", cause=cause, evidence=factor(effect))
        for place, effect in enumerate(effects)
    ]


@pytest.mark.parametrize("bounds", [(0.95, 1.05), (0.4, 2.5), (0.75, 1.25)])
def test_bounds_around_one_are_those_of_a_factor(bounds):
    assert is_ratio(factor(0.5, bounds))


@pytest.mark.parametrize("bounds", [(0.7, 1.01), (0.01, 1.0), (-0.1, 1.0), (-math.inf, 0.0), (-0.05, 0.05), (0.7, 1.1)])
def test_other_bounds_are_not(bounds):
    assert not is_ratio(factor(0.5, bounds))


def test_the_largest_factor_comes_first_whether_it_is_above_or_below_one(refuted):
    claims = [*make(refuted, "groups", 0.5), *make(refuted, "depthwise", 0.9, 0.1), *make(refuted, "embedding", 4.0)]
    groups = group_false_claims(claims)
    assert [group.cause.slug for group in groups] == ["depthwise", "embedding", "groups"]
    assert groups[0].worst.evidence.effect == 0.1


def test_what_keras_states_comes_before_what_others_assume(refuted):
    groups = group_false_claims(
        [*make(refuted, "he", 100.0), *make(refuted, "groups", 50.0), *make(refuted, "transposed", 2.0)]
    )
    assert [group.cause.basis for group in groups] == ["stated", "applied", "assumed"]
    sections = write_false_claims(groups, ".html")
    assert [section.anchor for section in sections] == ["stated", "applied", "assumed"]
    assert sections[0].sections[0].title == CAUSES["transposed"].title
    assert sections[2].blocks[1].kind == "details"
    assert not sections[2].blocks[1].unfolded


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            "groups",
            "Variance: 0.25 [0.225, 0.275], claimed 1 (fans.groups.1). 2 claims: 0.25 to 0.5. In Keras 3.1 already.",
        ),
        ("copied_generator", "Since Keras 3.6."),
    ],
)
def test_what_was_measured_is_the_worst_with_its_interval_the_range_and_since_when(refuted, cause: str, words: str):
    (section,) = write_false_claims(group_false_claims(make(refuted, cause, 0.5, 0.25)), ".html")
    facts = dict(section.sections[0].blocks[1].items)
    assert "".join(span.text for span in facts["Measured"]).endswith(words)


def test_claims_that_are_not_refuted_are_left_out(refuted):
    assert group_false_claims([replace(refuted, status="now holds")]) == ()


def test_a_factor_says_what_was_claimed_and_its_interval(refuted):
    assert describe_effect(factor(0.5)) == "0.5 [0.45, 0.55], claimed 1"
    assert describe_effect(replace(factor(3.0, (-math.inf, 0.0)), low=math.nan)) == "3, claimed at most 0"


def test_the_picture_has_a_row_a_cause_and_leaves_out_what_nobody_at_keras_states(refuted):
    claims = [*make(refuted, "groups", 0.5, 0.25), *make(refuted, "transposed", 2.0), *make(refuted, "he", 30.0)]
    figure = draw_false_claims(group_false_claims(claims))
    (panel,) = figure.panels
    for picture in (panel.svg, panel.phone):
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
        assert [text for text in texts if "claim" in text] == ["Groups (2 claims)", "Transposed convolution (1 claim)"]
        assert {"1/4.00", "× 2.00"} <= set(texts)
    assert figure.alternative == "Measured over documented: groups to 1/4.00; transposed convolution 2.00-fold"


def test_the_picture_shows_the_farthest_causes_and_counts_the_others(refuted):
    slugs = [slug for slug, cause in CAUSES.items() if cause.basis != "assumed"][:10]
    claims = [claim for place, slug in enumerate(slugs) for claim in make(refuted, slug, 2.0 + place)]
    figure = draw_false_claims(group_false_claims(claims))
    assert "2 causes with smaller factors are below." in "".join(span.text for span in figure.caption)
    assert CAUSES[slugs[0]].label not in figure.alternative


def test_without_a_factor_there_is_no_picture(refuted):
    assert draw_false_claims(group_false_claims([refuted])) is None
