"""Whether the first draws decide, on made tables: how often it is wrong, and what keeps it from deciding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_measurement import find_by

from initcheck.audit.findings import Finding
from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.problems import is_decided
from initcheck.audit.total_change import judge_path, judge_paths
from initcheck.checking.session import FEWEST_DRAWS
from initcheck.core.statistics import estimate_mean, intervals_at

LAYERS, LIMIT = 10, math.log(100.0)
CODES = ("IC101", "IC102", "IC603")


@pytest.fixture(scope="module")
def judge_draws():
    """Judge draws of the change at each layer, shape [draws, layers]; return the findings."""
    nodes = [SiteNode(f"layer_{p}", "Dense", True, p == LAYERS - 1, () if p == 0 else (p - 1,)) for p in range(LAYERS)]
    columns = {"preactivation_second_moment": 1.0, "activation_second_moment": 1.0, "gradient_norm": 1.0}
    rows = [{"seed": seed, "position": place, **columns} for seed in range(2) for place in range(LAYERS)]
    forward = judge_paths(pd.DataFrame(rows), nodes, find_paths(nodes), Limits())[0]
    counted = int(forward.levels.counted.sum())

    def judge(totals):
        steps = np.where(forward.levels.counted, np.asarray(totals)[:, None] / counted, np.nan)
        levels = replace(forward.levels, steps=steps, squares=np.exp(np.nan_to_num(steps)))
        paths = [judge_path(forward.path, levels, nodes, Limits())]
        return find_by(*CODES, paths=paths, limits=Limits())

    return judge


def look_and_judge(judge, totals):
    """Measure draw by draw and stop where the first decide; return the codes and the draws."""
    for drawn in range(FEWEST_DRAWS, len(totals)):
        if is_decided(lambda drawn=drawn: judge(totals[:drawn]), ()):
            return {each.code for each in judge(totals[:drawn])}, drawn
    return {each.code for each in judge(totals)}, len(totals)


@pytest.mark.parametrize(("mean", "codes"), [(0.0, set()), (-3.0 * LIMIT, {"IC101"}), (3.0 * LIMIT, {"IC102"})])
def test_far_from_the_limit_the_first_draws_decide(judge_draws, mean, codes):
    totals = mean + 0.1 * np.random.default_rng(0).standard_normal(16)
    assert look_and_judge(judge_draws, totals) == (codes, FEWEST_DRAWS)


@pytest.mark.parametrize("distance", [0.0, 0.1, -0.1])
def test_near_the_limit_they_do_not(judge_draws, distance):
    totals = -LIMIT + distance + 0.3 * np.random.default_rng(1).standard_normal(16)
    assert look_and_judge(judge_draws, totals)[1] == 16


def test_looking_early_raises_no_more_false_alarms(judge_draws):
    """A change that is just at its limit is called wrong in 2.5% of cases, whether or not one looks after 3 and 4."""
    random, trials = np.random.default_rng(2), 800
    draws = -LIMIT + 0.3 * random.standard_normal((trials, 5))
    without = sum("IC101" in {each.code for each in judge_draws(totals)} for totals in draws)
    looked = [look_and_judge(judge_draws, totals) for totals in draws]
    assert sum("IC101" in codes for codes, _ in looked) <= without + 1
    assert sum("IC101" in codes for codes, drawn in looked if drawn < 5) <= 0.005 * trials


def test_a_judgement_that_depends_on_the_level_is_not_decided(judge_draws):
    assert not is_decided(lambda: judge_draws(-LIMIT + np.asarray([-1.0, -1.1, -1.25])), ())


@pytest.mark.parametrize(("code", "decided"), [("IC103", True), ("IC401", False)])
def test_a_consequence_may_depend_on_the_level_and_a_problem_of_its_own_may_not(code, decided):
    first, other = (Finding(each, layer, "message", layers=(layer,)) for each, layer in (("IC101", "a"), (code, "b")))

    def judge():
        return [first, other] if estimate_mean([0.0, 1.0, 2.0]).low > -2.0 else [first]

    assert is_decided(judge, ()) == decided


def test_intervals_have_another_confidence_within_the_block_alone():
    values = [1.0, 2.0, 4.0]
    with intervals_at(0.999):
        wide = estimate_mean(values)
        assert estimate_mean(values, 0.5).confidence == 0.5
    assert wide == estimate_mean(values, 0.999)
    assert estimate_mean(values) == estimate_mean(values, 0.95)
