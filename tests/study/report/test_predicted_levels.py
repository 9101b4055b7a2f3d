"""Predicted levels are the quantiles of the distribution that mean and standard deviation describe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from simulated_theory import predict_study

from initcheck.study.record import StudyRecord
from initcheck.study.report.levels import PredictedLevels, predict_levels, quantile_levels


def _predictions(study: StudyRecord) -> dict[str, PredictedLevels]:
    return {prediction.direction: prediction for prediction in predict_levels(study.table, study.signal_layers)}


def _change(study: StudyRecord, **values: object) -> StudyRecord:
    for name, value in values.items():
        study.table[name] = pd.array([value] * len(study.table), dtype=study.table[name].dtype)
    return study


@pytest.fixture
def predicted(small_study: Callable[..., StudyRecord]) -> StudyRecord:
    return predict_study(small_study(("HeNormal",), ("relu",), depth=4))


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_median_and_band_are_those_of_draws_with_that_mean_and_deviation(power: float):
    mean, sd = np.array([0.2, 3.0, 40.0]), np.array([0.05, 3.0, 80.0])
    # Powers of log-normal draws, fitted by bisection: nothing here knows the formulas of the prediction.
    draws = np.random.default_rng(7).lognormal(size=(400_000, 1), sigma=1.0)
    found = quantile_levels(mean, sd, power)
    for place in range(3):
        shape = _fit_shape(sd[place] / mean[place])
        sample = draws[:, 0] ** shape
        sample *= mean[place] / sample.mean()
        assert sample.std() == pytest.approx(sd[place], rel=0.05)
        expected = np.quantile(power * np.log10(sample), [0.5, 0.1, 0.9])
        np.testing.assert_allclose([part[place] for part in found], expected, atol=0.02 * power)


def _fit_shape(ratio: float) -> float:
    """Find by bisection the power of a standard log-normal number with that ratio of standard deviation and mean."""
    grid = np.random.default_rng(3).lognormal(size=400_000)
    low, high = 0.01, 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        sample = grid**middle
        low, high = (middle, high) if sample.std() / sample.mean() < ratio else (low, middle)
    return middle


def test_the_levels_are_the_law_that_was_simulated(predicted: StudyRecord):
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


def test_a_mean_field_prediction_is_a_line_without_a_band(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("HeNormal",), ("relu",)), bases={"relu": "mean field"})
    for prediction in _predictions(study).values():
        assert prediction.is_known
        assert not prediction.has_band
        assert np.isfinite(prediction.middle).all()
        assert np.isnan(prediction.high).all()


def test_without_predictions_there_is_a_law_that_knows_nothing(small_study: Callable[..., StudyRecord]):
    for prediction in _predictions(small_study(("HeNormal",), ("relu",))).values():
        assert not prediction.is_known
        assert prediction.basis == ()


def test_reasons_lose_what_is_only_for_the_command_line(small_study: Callable[..., StudyRecord]):
    study = predict_study(small_study(("Zeros",), ("relu",)))
    (reason,) = _predictions(study)["forward"].basis
    assert reason.startswith("Zeros leaves nothing to chance")
    assert "Received" not in reason


@pytest.mark.parametrize(("mean", "level"), [(0.0, -np.inf), (np.inf, np.inf)])
def test_predicted_zeros_and_infinities_are_levels(predicted: StudyRecord, mean: float, level: float):
    study = _change(predicted, predicted_gradient_norm=mean, predicted_gradient_norm_sd=None)
    np.testing.assert_array_equal(_predictions(study)["backward"].middle, [level] * 4)


def test_predictions_that_begin_with_measured_values_are_averaged_over_the_seeds(predicted: StudyRecord):
    table = predicted.table
    table["predicted_gradient_norm"] = table["predicted_gradient_norm"] * (1.0 + 0.1 * table["seed"])
    table["predicted_gradient_norm_sd"] = pd.array([None] * len(table), dtype="Float64")
    expected = table.groupby("position")["predicted_gradient_norm"].mean().astype(float)
    np.testing.assert_allclose(_predictions(predicted)["backward"].middle, 2.0 * np.log10(expected), atol=1e-12)
