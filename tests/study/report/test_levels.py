"""Levels are quantiles of what was measured or predicted; zeros, overflow and gaps stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import variation
from simulated_theory import predict_study

from initcheck.audit.gains import trace_networks
from initcheck.study.record import StudyRecord
from initcheck.study.report.levels import (
    LevelSummary,
    PredictedLevels,
    predict_levels,
    quantile_levels,
    summarize_levels,
)


@pytest.fixture
def study(small_study: Callable[..., StudyRecord]) -> StudyRecord:
    return small_study(("HeNormal",), ("relu",), depth=4)


def _by_direction(study: StudyRecord, table: pd.DataFrame | None = None) -> dict[str, LevelSummary]:
    traced = trace_networks(study.table if table is None else table, study.signal_layers)
    levels = summarize_levels(tuple(traced))
    return {series.direction: series for series in levels}


def test_the_median_of_an_odd_number_of_seeds_is_the_middle_level(study: StudyRecord):
    table = study.table[study.table["seed"] < 5]
    for direction, column in (
        ("forward", "preactivation_second_moment"),
        ("backward", "gradient_norm"),
    ):
        expected = np.log10(table.pivot(index="seed", columns="position", values=column).astype(float)).median()
        power = 2.0 if column == "gradient_norm" else 1.0
        middle = _by_direction(study, table)[direction].middle
        np.testing.assert_allclose(middle, power * expected.to_numpy(), rtol=1e-12, atol=1e-12)


def test_the_band_holds_the_median_and_leaves_out_the_extremes(study: StudyRecord):
    for series in summarize_levels(tuple(trace_networks(study.table, study.signal_layers))):
        assert (series.low <= series.middle).all()
        assert (series.middle <= series.high).all()
        assert (series.low < series.high).all()


def test_an_exact_zero_is_a_level_of_minus_infinity(small_study: Callable[..., StudyRecord]):
    table = small_study(("Zeros",), ("relu",)).table
    for series in summarize_levels(tuple(trace_networks(table, {"mlp": ("hidden_01", "hidden_06")}))):
        assert np.isneginf(series.middle).all()


def test_one_dead_seed_of_many_widens_the_band_and_not_the_median(study: StudyRecord):
    table = study.table.copy()
    table.loc[table["seed"] == 0, "preactivation_second_moment"] = 0.0
    series = _by_direction(study, table)["forward"]
    assert np.isfinite(series.middle).all()
    assert np.isneginf(series.low).all()


def test_values_beyond_floating_point_are_a_level_of_plus_infinity(study: StudyRecord):
    table = study.table.copy()
    late = table["position"] >= 3
    table.loc[late, "nonfinite_fraction"] = 0.5
    table.loc[late, ["preactivation_second_moment", "activation_second_moment"]] = None
    middle = _by_direction(study, table)["forward"].middle
    assert np.isfinite(middle[:2]).all()
    assert np.isposinf(middle[2:]).all()


def test_what_was_not_measured_is_no_level(study: StudyRecord):
    table = study.table.copy()
    table["gradient_norm"] = pd.array([None] * len(table), dtype="Float64")
    assert np.isnan(_by_direction(study, table)["backward"].middle).all()


# --- predicted levels: quantiles of the distribution that mean and standard deviation describe


def _predictions(study: StudyRecord) -> dict[str, PredictedLevels]:
    return {prediction.direction: prediction for prediction in predict_levels(study.table, study.signal_layers)}


@pytest.fixture
def predicted(study: StudyRecord) -> StudyRecord:
    return predict_study(study)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_median_and_band_are_those_of_draws_with_that_mean_and_deviation(power: float):
    mean, sd = np.array([0.2, 3.0, 40.0]), np.array([0.05, 3.0, 80.0])
    # Powers of log-normal draws, fitted to the ratio of both: nothing here knows the formulas of the prediction.
    draws = np.random.default_rng(7).lognormal(size=400_000, sigma=1.0)
    found = quantile_levels(mean, sd, power)
    for place, ratio in enumerate(sd / mean):
        sample = draws ** brentq(lambda shape, ratio=ratio: variation(draws**shape) - ratio, 0.01, 2.0)
        sample *= mean[place] / sample.mean()
        assert sample.std() == pytest.approx(sd[place], rel=0.05)
        expected = np.quantile(power * np.log10(sample), [0.5, 0.1, 0.9])
        np.testing.assert_allclose([part[place] for part in found], expected, atol=0.02 * power)


def test_the_levels_are_those_of_the_distribution_that_was_simulated(predicted: StudyRecord):
    predictions = _predictions(predicted)
    variance = 5.0 / 64.0
    layer = np.arange(1.0, 5.0)
    # ln q_l is normal with mean ln 2 - l variance / 2, and ln |g_l|^2 with mean ln 64 - k variance / 2, k = 5 - l.
    for direction, steps, start in (("forward", layer, np.log(2.0)), ("backward", 5.0 - layer, np.log(64.0))):
        middle = (start - steps * variance / 2.0) / np.log(10.0)
        width = 1.2815515655446004 * np.sqrt(steps * variance) / np.log(10.0)
        np.testing.assert_allclose(predictions[direction].middle, middle, atol=1e-12)
        np.testing.assert_allclose(predictions[direction].low, middle - width, atol=1e-12)
        np.testing.assert_allclose(predictions[direction].high, middle + width, atol=1e-12)
        assert predictions[direction].basis == ("finite width",)


def test_a_layer_without_preactivation_takes_the_prediction_of_its_output(predicted: StudyRecord):
    before = _predictions(predicted)["forward"].middle.copy()
    table = predicted.table
    third = (table["position"] == 3).to_numpy()
    table.loc[third, ["preactivation_second_moment", "predicted_preactivation_second_moment"]] = None
    after = _predictions(predicted)["forward"].middle
    np.testing.assert_allclose(after - before, [0.0, 0.0, np.log10(0.5), 0.0], atol=1e-12)


def test_an_overflowing_preactivation_is_not_replaced_by_the_output(predicted: StudyRecord):
    before = _predictions(predicted)["forward"].middle.copy()
    third = (predicted.table["position"] == 3).to_numpy()
    predicted.table.loc[third, "preactivation_second_moment"] = None
    predicted.table.loc[third, "nonfinite_fraction"] = 0.5
    np.testing.assert_array_equal(_predictions(predicted)["forward"].middle, before)


def test_a_mean_field_prediction_is_a_line_without_a_band(study: StudyRecord):
    for prediction in _predictions(predict_study(study, bases={"relu": "mean field"})).values():
        assert prediction.is_known
        assert not prediction.has_band
        assert np.isfinite(prediction.middle).all()
        assert np.isnan(prediction.high).all()


def test_without_predictions_no_level_is_known(study: StudyRecord):
    for prediction in _predictions(study).values():
        assert not prediction.is_known
        assert prediction.basis == ()


def test_reasons_lose_what_is_only_for_the_command_line(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("Zeros",), ("relu",)))
    (reason,) = _predictions(study)["forward"].basis
    assert reason.startswith("Zeros leaves nothing to chance")
    assert "Received" not in reason


@pytest.mark.parametrize(("mean", "level"), [(0.0, -np.inf), (np.inf, np.inf)])
def test_predicted_zeros_and_infinities_are_levels(predicted: StudyRecord, mean: float, level: float):
    predicted.table["predicted_gradient_norm"] = pd.array([mean] * len(predicted.table), dtype="Float64")
    predicted.table["predicted_gradient_norm_sd"] = pd.array([None] * len(predicted.table), dtype="Float64")
    np.testing.assert_array_equal(_predictions(predicted)["backward"].middle, [level] * 4)


def test_predictions_that_begin_with_measured_values_are_averaged_over_the_seeds(predicted: StudyRecord):
    table = predicted.table
    table["predicted_gradient_norm"] = table["predicted_gradient_norm"] * (1.0 + 0.1 * table["seed"])
    table["predicted_gradient_norm_sd"] = pd.array([None] * len(table), dtype="Float64")
    expected = table.groupby("position")["predicted_gradient_norm"].mean().astype(float)
    np.testing.assert_allclose(_predictions(predicted)["backward"].middle, 2.0 * np.log10(expected), atol=1e-12)
