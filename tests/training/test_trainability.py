"""What initialization says of the training: values against sums by hand, relations on tables whose truth is known."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from made_up_trainability import make_record
from scipy import stats

from initcheck.core.errors import UsageError
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec
from initcheck.training.data import load_labelled
from initcheck.training.engine import orders_of
from initcheck.training.trainability import (
    LAST_STEPS,
    MEASURED_ON,
    PREDICTORS,
    TrainabilityOptions,
    correlate_ranks,
    count_agreement,
    find_deepest,
    find_failures,
    find_lead,
    find_predictor,
    measure_initialization,
    predict_depth,
    relate,
    run_trainability,
    summarize_runs,
)

SMALL = TrainabilityOptions(
    initializers=("HeNormal", "Zeros", "RandomNormal(stddev=1e-20)"),
    activations=("relu",),
    depths=(3,),
    width=16,
    seeds=(4, 2),
    steps=30,
    learning_rates=(0.05, 1e30),
)


HE_RELU = MlpSpec(initializer=InitializerSpec("HeNormal"), activation="relu", depth=3, width=16)


@pytest.fixture(scope="module")
def small():
    return run_trainability(SMALL)


@pytest.fixture(scope="module")
def data():
    return load_labelled("digits")


def test_a_run_is_what_fit_makes_of_the_same_network(small, data):
    for seed in SMALL.seeds:
        model = HE_RELU.build(data.sample_shape, seed)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.05), loss)
        order = orders_of([seed], len(data.x), 1)[0][: 30 * 32]
        losses = []
        for batch in order.reshape(30, 32):
            model.reset_metrics()  # else each loss is the mean of all so far
            losses.append(float(model.train_on_batch(data.x[batch], data.y[batch])))
        found = small.runs.query(f"initializer == 'HeNormal' and seed == {seed} and learning_rate == 0.05").iloc[0]
        assert found["start_loss"] == pytest.approx(losses[0], rel=1e-5)
        assert found["loss"] == pytest.approx(np.mean(losses[-LAST_STEPS:]), rel=1e-4)


def test_the_start_is_what_a_pass_by_hand_finds(small, data):
    x = data.x[:MEASURED_ON].reshape(MEASURED_ON, -1).astype(np.float64)
    for seed in SMALL.seeds:
        kernels = [np.asarray(w, dtype=np.float64) for w in HE_RELU.build(data.sample_shape, seed).get_weights()[::2]]
        z, h = [], x
        for kernel in kernels[:3]:
            z.append(h @ kernel)
            h = np.maximum(z[-1], 0.0)
        found = small.runs.query(f"initializer == 'HeNormal' and seed == {seed}").iloc[0]
        assert found["forward_change"] == pytest.approx(np.log((z[2] ** 2).mean() / (z[0] ** 2).mean()), rel=1e-4)
        assert found["distinct_log_share"] == pytest.approx(np.log(h.var(axis=0).mean() / (h**2).mean()), rel=1e-4)


def test_the_gradients_change_is_the_ratio_of_squared_norms():
    rows = [
        ("a", 0, 1.0, 2.0, 0.5, 1.0),
        ("b", 0, 4.0, 6.0, 0.25, 1.0),
        ("head", 0, 9.0, 9.0, 9.0, 9.0),
    ]
    columns = ["layer", "seed", "preactivation_second_moment", "gradient_norm"]
    columns += ["activation_batch_variance", "activation_second_moment"]
    values = measure_initialization(pd.DataFrame(rows, columns=columns), ("a", "b")).iloc[0]
    assert values["forward_change"] == pytest.approx(math.log(4.0))
    assert values["backward_change"] == pytest.approx(2.0 * math.log(2.0 / 6.0))
    assert values["distinct_log_share"] == pytest.approx(math.log(0.25))


def test_a_rate_that_diverges_is_never_the_best(small):
    summary = summarize_runs(small).set_index("initializer")
    assert summary.loc["HeNormal", "learning_rate"] == 0.05
    diverged = small.runs.query("initializer == 'HeNormal' and learning_rate > 1")["loss"]
    assert not (diverged < small.chance).any()


def test_zero_kernels_train_no_further_than_guessing_and_have_no_change(small):
    zeros = summarize_runs(small).set_index("initializer").loc["Zeros"]
    assert not zeros["trained"]
    assert zeros["relative_loss"] > 0.97
    assert np.isnan(zeros["forward_change"])
    assert pd.isna(zeros["predicted_trainable"])
    assert np.isnan(zeros["predicted_depth"])


def test_a_signal_that_underflows_is_lost_and_not_left_out(small):
    lost = summarize_runs(small).set_index("initializer").loc["RandomNormal(stddev=1e-20)"]
    assert lost["forward_change"] == -math.inf
    assert np.isnan(lost["distinct_log_share"])
    assert lost["predicted_trainable"] is not pd.NA and not lost["predicted_trainable"]


@pytest.mark.thorough
def test_nothing_is_said_about_tracing(caplog):
    logger = logging.getLogger("tensorflow")
    before = list(logger.filters)
    run_trainability(TrainabilityOptions(activations=("relu",), depths=(2,), width=4, steps=LAST_STEPS, seeds=(0,)))
    assert logger.filters == before
    assert not [each for each in caplog.records if "retracing" in each.getMessage()]


def test_the_depth_predicted_is_six_scales_of_the_correlation_else_of_the_gradient():
    assert predict_depth(5.0, -2.0) == (30.0, "xi_c")
    assert predict_depth(math.nan, -2.0) == (12.0, "xi_gradient")
    assert predict_depth(math.inf, math.inf) == (math.inf, "xi_c")
    depth, scale = predict_depth(math.nan, math.nan)
    assert math.isnan(depth)
    assert scale == ""


BAD = {
    "one layer": ({"depths": (1,)}, "depths must be at least 2. Received: 1"),
    "no depth": ({"depths": ()}, "depths must not be empty"),
    "few steps": ({"steps": 3}, f"steps must be at least {LAST_STEPS}"),
    "no width": ({"width": 0}, "width must be at least 1"),
    "rate": ({"learning_rates": (math.nan,)}, "learning_rates must be finite"),
    "seed": ({"seeds": (-1,)}, "-1"),
}


@pytest.mark.parametrize("name", BAD)
def test_options_that_make_no_sense_are_refused(name):
    options, found = BAD[name]
    with pytest.raises(UsageError, match=re.escape(found)):
        TrainabilityOptions(**options)


def test_the_best_rate_is_the_one_of_the_lowest_mean_and_chance_divides_it():
    summary = summarize_runs(make_record()).set_index(["initializer", "depth"])
    good = summary.loc[("good", 4)]
    assert good["learning_rate"] == 0.1
    assert (good["loss_low"], good["loss_high"]) == pytest.approx((0.10, 0.30))
    assert good["relative_loss"] == pytest.approx(0.2 / 2.0)
    assert summary.loc[("bad", 8), "loss"] == math.inf
    assert not summary.loc[("bad", 8), "trained"]


def test_agreement_counts_each_configuration_once_and_leaves_out_what_theory_does_not_say():
    summary = summarize_runs(make_record())
    found = count_agreement(summary)
    # good trains at all depths and is expected to; bad trains at 4 alone, and theory expects 4 and 8 of it; odd trains
    # everywhere and is expected nowhere; of silent theory says nothing.
    assert (found.both, found.neither, found.only_predicted, found.only_trained) == (4, 1, 1, 3)
    assert found.count == len(summary) - 3
    assert found.share == pytest.approx(5 / 9)
    assert found.share_by_one_answer == pytest.approx(7 / 9)


def test_failures_are_those_that_agreement_counts():
    summary = summarize_runs(make_record())
    found = count_agreement(summary)
    missed, unexpected = find_failures(summary, predicted=True), find_failures(summary, predicted=False)
    assert list(zip(missed["initializer"], missed["depth"], strict=True)) == [("bad", 8)]
    assert set(unexpected["initializer"]) == {"odd"}
    assert (len(missed), len(unexpected)) == (found.only_predicted, found.only_trained)


def test_the_deepest_is_that_before_the_first_failure():
    part = pd.DataFrame({"depth": [16, 4, 8, 2], "trained": [True, True, False, True]})
    assert find_deepest(part) == 4
    assert find_deepest(part[part["depth"] == 8]) == 0


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_ranks_are_correlated_as_scipy_does(predictor):
    summary = simulate(seed=1, noise=0.5)
    found = correlate_ranks(summary, predictor, resamples=50)
    expected = stats.spearmanr(find_predictor(summary, predictor), summary["relative_loss"]).statistic
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert found.configurations == len(summary)


def test_a_figure_that_decides_the_loss_has_a_correlation_of_one_and_noise_has_none():
    certain = correlate_ranks(simulate(seed=2, noise=0.0), "forward_change", resamples=200)
    assert certain.value == pytest.approx(1.0)
    assert certain.low > 0.99
    noise = correlate_ranks(simulate(seed=2, noise=1e6), "forward_change", resamples=200)
    assert noise.low < 0.0 < noise.high


def test_pairs_and_not_configurations_are_resampled():
    """Ten copies of each configuration add nothing: an interval over configurations would shrink threefold."""
    summary = simulate(seed=3, noise=3.0)
    copied = pd.concat([summary] * 10, ignore_index=True)
    one, ten = (correlate_ranks(each, "forward_change", resamples=500) for each in (summary, copied))
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)
    assert one.pairs == ten.pairs


def test_losses_that_the_table_writes_alike_have_one_rank():
    """At chance level they differ in the seventh digit, by rounding; the page says what the table says."""
    record = make_record()
    runs = record.runs.copy()
    runs["loss"] += np.random.default_rng(0).normal(size=len(runs)) * 1e-9
    first, second = (relate(replace(record, runs=each), resamples=2) for each in (record.runs, runs))
    assert first.summary["loss"].nunique() == second.summary["loss"].nunique()
    assert [each.value for each in first.correlations] == [each.value for each in second.correlations]


def test_of_fewer_than_ten_pairs_there_is_no_interval():
    for pairs, known in ((9, False), (10, True)):
        summary = simulate(seed=6, noise=0.5, pairs=pairs)
        summary["predicted_trainable"] = summary["depth"] < 16
        found = [correlate_ranks(summary, each, resamples=50) for each in PREDICTORS]
        intervals = [*found, find_lead(summary, found, 50), count_agreement(summary, 10.0, 50)]
        assert [math.isfinite(each.low) and math.isfinite(each.high) for each in intervals] == [known] * len(intervals)


def test_the_lead_is_the_difference_of_the_two_highest_correlations():
    summary = simulate(seed=7, noise=2.0)
    # Another view of the same change: as good a predictor, but for its own noise.
    summary["backward_change"] = summary["forward_change"] * np.random.default_rng(8).uniform(0.9, 1.1, len(summary))
    found = [correlate_ranks(summary, each, 50) for each in ("depth", "forward_change", "backward_change")]
    lead = find_lead(summary, found, 500)
    one, other = sorted(found, key=lambda each: -each.value)[:2]
    assert (lead.first, lead.second) == (one.predictor, other.predictor)
    assert lead.value == pytest.approx(one.value - other.value)
    assert lead.low < 0.0 < lead.high
    # Two that go together differ by far less than their own intervals, and one that leads for a reason is shown to.
    assert lead.high - lead.low < 0.3 * (one.high - one.low)
    far = find_lead(summary, found[:2], 500)
    assert far.low > 0.0
    assert find_lead(summary, found[:1], 50) is None


def test_the_interval_of_the_agreement_is_that_of_pairs():
    summary = simulate(seed=9, noise=0.0, pairs=40)
    right = np.repeat(np.arange(40) < 30, 3)  # pair by pair right at all depths, or at none
    trained = summary["relative_loss"] <= 1.0
    summary["predicted_trainable"] = np.where(right, trained, ~trained)
    found = count_agreement(summary, 1.0)
    assert found.share == 0.75
    error = math.sqrt(0.75 * 0.25 / 40)
    assert (found.low, found.high) == pytest.approx((0.75 - 1.96 * error, 0.75 + 1.96 * error), abs=0.03)


def test_a_lost_signal_is_the_largest_change_and_an_unmeasured_one_is_none():
    summary = simulate(seed=4, noise=0.0).head(3).copy()
    summary["forward_change"] = [-math.inf, 1.0, math.nan]
    summary["backward_change"] = [-3.0, -7.0, 1.0]
    summary["distinct_log_share"] = [math.nan, -2.0, -1.0]
    found = find_predictor(summary, "largest_change")
    assert found[:2].tolist() == [math.inf, 7.0]
    assert math.isnan(found[2])


def test_what_does_not_vary_has_no_correlation():
    summary = simulate(seed=5, noise=0.0)
    summary["depth"] = 4
    found = correlate_ranks(summary, "depth", resamples=10)
    assert math.isnan(found.value)
    assert math.isnan(found.low)


def simulate(seed, noise, pairs=30):
    """Configurations whose loss grows with the change of the signal, and with noise."""
    random = np.random.default_rng(seed)
    rows = []
    for pair in range(pairs):
        for depth in (4, 8, 16):
            change = random.normal() * depth
            loss = abs(change) + noise * random.normal()
            values = random.normal(size=2)
            rows.append(("relu", f"init {pair}", depth, change, *values, 6.0 * random.uniform(1.0, 5.0), loss))
    columns = ["activation", "initializer", "depth", "forward_change", "backward_change", "distinct_log_share"]
    return pd.DataFrame(rows, columns=[*columns, "predicted_depth", "relative_loss"])
