"""Scores taken together: their sum of squares against chi-square, worth as many as vary on their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import change_summary
from simulated_theory import predict_study

from initcheck.audit.gains import trace_networks
from initcheck.core.columns import DIRECTIONS
from initcheck.pages.document import Table
from initcheck.study.record import StudyRecord
from initcheck.study.report.calibration import (
    calibrate_scores,
    count_independent,
    judge_sum,
    write_calibration,
)
from initcheck.study.report.levels import SeedGains, SummaryRow, measure_seeds, read_pairs
from initcheck.study.report.tables import merge_twins


def _read(study: StudyRecord) -> tuple[tuple[SummaryRow, ...], tuple[SeedGains, ...]]:
    pairs = merge_twins(read_pairs(study.summary, study.table))
    return pairs, measure_seeds(tuple(trace_networks(study.table, study.signal_layers)))


def test_numbers_that_vary_together_are_worth_one_and_others_all_of_them():
    random = np.random.default_rng(5)
    one = random.standard_normal(400)
    together = np.stack([one, 2.0 * one + 1.0, -one])
    assert count_independent(together) == pytest.approx(1.0)
    apart = random.standard_normal((30, 400))
    assert count_independent(apart) == pytest.approx(30.0, rel=0.1)
    half = np.repeat(random.standard_normal((10, 400)), 3, axis=0)
    assert count_independent(half) == pytest.approx(10.0, rel=0.1)
    assert count_independent(together[:1]) == 1.0
    assert math.isnan(count_independent(together[:, :3]))


def test_few_draws_do_not_make_independent_numbers_look_dependent():
    """With 16 draws, chance alone correlates: uncorrected, 40 independent numbers would seem to be worth 11."""
    random = np.random.default_rng(6)
    found = [count_independent(random.standard_normal((40, 16))) for _ in range(50)]
    assert np.mean(found) > 33.0


def test_the_p_values_of_right_theories_are_those_of_chance_and_not_of_independent_scores():
    """Groups of equal scores: chi-square of all of them would be wrong in one case of five."""
    random = np.random.default_rng(7)
    p_values, naive = [], []
    for _ in range(2000):
        scores = np.repeat(random.standard_normal(5), 8)
        total = float(np.square(scores).sum())
        p_values.append(judge_sum(total, 40, 5.0))
        naive.append(stats.chi2.sf(total, 40))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.array(naive) < 0.05) > 0.2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_sum_is_that_of_the_summary_and_a_measurement_counts_once(full_study: StudyRecord, direction: str):
    pairs, gains = _read(full_study)
    own = [pair for pair in pairs if pair.network == "mlp"]
    found = calibrate_scores(own, gains, direction)  # type: ignore[arg-type]
    z = full_study.summary[full_study.summary["network"] == "mlp"][f"{direction}_gain_z"].dropna().astype(float)
    assert found is not None
    assert (found.scores, found.total) == (len(z), pytest.approx(np.square(z).sum()))
    assert found.p_value == judge_sum(found.total, found.scores, found.independent)
    assert found.rms == pytest.approx(math.sqrt(np.square(z).mean()))
    table = full_study.table[full_study.table["network"] == "mlp"]
    twin = table[table["initializer"] == "HeNormal"].assign(initializer="Twin").astype(table.dtypes)
    rows = full_study.summary[full_study.summary["network"] == "mlp"]
    row = rows[rows["initializer"] == "HeNormal"].assign(initializer="Twin").astype(rows.dtypes)
    doubled = StudyRecord(
        pd.concat([full_study.table, twin]), pd.concat([full_study.summary, row]), full_study.signal_layers, (),
        full_study.provenance,
    )  # fmt: skip
    pairs, gains = _read(doubled)
    again = calibrate_scores([pair for pair in pairs if pair.network == "mlp"], gains, direction)  # type: ignore[arg-type]
    assert again is not None
    assert (again.scores, again.total) == (found.scores, pytest.approx(found.total))


def test_a_right_theory_is_as_by_chance_and_a_wrong_one_is_not(full_study: StudyRecord):
    verdicts = {}
    for error in (1.0, 1.1):
        section = write_calibration(*_read(predict_study(full_study, error=error)))
        assert section is not None
        table = section.blocks[0]
        assert isinstance(table, Table)
        verdicts[error] = [row.cells[-1].text for row in table.rows if row.header == "mlp"]
    assert verdicts == {1.0: ["as by chance"] * 2, 1.1: ["larger than by chance"] * 2}


def test_without_scores_there_is_no_calibration(small_study: Callable[..., StudyRecord]):
    assert write_calibration(*_read(small_study())) is None
    study = predict_study(small_study(("HeNormal",), ("relu",)))
    changed = change_summary(study, ("HeNormal", "relu"), forward_gain_z=math.inf, backward_gain_z=pd.NA)
    assert write_calibration(*_read(changed)) is None
