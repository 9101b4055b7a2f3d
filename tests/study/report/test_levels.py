"""Levels are quantiles of what was measured; zeros, overflow and gaps stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from initcheck.study.record import StudyRecord
from initcheck.study.report.levels import LevelSummary, summarize_levels


def _by_direction(study: StudyRecord, table: pd.DataFrame | None = None) -> dict[str, LevelSummary]:
    levels = summarize_levels(study.table if table is None else table, study.signal_layers)
    return {series.direction: series for series in levels}


def test_the_median_of_an_odd_number_of_seeds_is_the_middle_level(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=4)
    table = study.table[study.table["seed"] < 5]
    for direction, column in (
        ("forward", "preactivation_second_moment"),
        ("backward", "gradient_norm"),
    ):
        expected = np.log10(table.pivot(index="seed", columns="position", values=column).astype(float)).median()
        power = 2.0 if column == "gradient_norm" else 1.0
        middle = _by_direction(study, table)[direction].middle
        np.testing.assert_allclose(middle, power * expected.to_numpy(), rtol=1e-12, atol=1e-12)


def test_the_band_holds_the_median_and_leaves_out_the_extremes(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=4)
    for series in summarize_levels(study.table, study.signal_layers):
        assert (series.low <= series.middle).all()
        assert (series.middle <= series.high).all()
        assert (series.low < series.high).all()


def test_an_exact_zero_is_a_level_of_minus_infinity(small_study: Callable[..., StudyRecord]):
    for series in summarize_levels(small_study(("Zeros",), ("relu",)).table, {"mlp": ("hidden_01", "hidden_06")}):
        assert np.isneginf(series.middle).all()


def test_one_dead_seed_of_many_widens_the_band_and_not_the_median(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=4)
    table = study.table.copy()
    table.loc[table["seed"] == 0, "preactivation_second_moment"] = 0.0
    series = _by_direction(study, table)["forward"]
    assert np.isfinite(series.middle).all()
    assert np.isneginf(series.low).all()


def test_values_beyond_floating_point_are_a_level_of_plus_infinity(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=4)
    table = study.table.copy()
    late = table["position"] >= 3
    table.loc[late, "nonfinite_fraction"] = 0.5
    table.loc[late, ["preactivation_second_moment", "activation_second_moment"]] = None
    middle = _by_direction(study, table)["forward"].middle
    assert np.isfinite(middle[:2]).all()
    assert np.isposinf(middle[2:]).all()


def test_what_was_not_measured_is_no_level(small_study: Callable[..., StudyRecord]):
    study = small_study(("HeNormal",), ("relu",), depth=4)
    table = study.table.copy()
    table["gradient_norm"] = pd.array([None] * len(table), dtype="Float64")
    assert np.isnan(_by_direction(study, table)["backward"].middle).all()
