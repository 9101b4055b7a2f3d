"""What is said of learning curves, on made-up ones whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from initcheck.core.columns import COMPARISON_COLUMNS, HISTORY_COLUMNS
from initcheck.training.comparison import compare_pairs, count_losses, judge_notebook, summarize

SEEDS = 5


def make_history(accuracies, losses=None, epochs=3, sd=0.002, seed=0):
    """Make curves that end at an accuracy, plus a part that all initializers of one seed share."""
    random = np.random.default_rng(seed)
    shared = random.normal(0.0, 0.05, SEEDS)
    rows = []
    for name, final in accuracies.items():
        own = random.normal(0.0, sd, SEEDS)
        for place in range(SEEDS):
            for epoch in range(epochs + 1):
                accuracy = min(1.0, final * (0.7 + 0.3 * epoch / epochs) + (own[place] if epoch else 0.0))
                loss = math.nan if epoch == 0 else (losses or {}).get(name, 1.0) + shared[place] + own[place]
                rows.append((name, place, epoch, loss, math.nan, 1.0 - accuracy, accuracy))
    frame = pd.DataFrame(rows, columns=[column.name for column in HISTORY_COLUMNS])
    return frame.astype({column.name: column.dtype for column in HISTORY_COLUMNS})


def test_the_summary_has_the_mean_of_the_last_epoch_with_its_interval():
    history = make_history({"HeNormal": 0.97, "Zeros": 0.11})
    table = summarize(history, ["HeNormal", "Zeros"])
    assert list(table.columns) == [column.name for column in COMPARISON_COLUMNS]
    last = history[(history["initializer"] == "HeNormal") & (history["epoch"] == 3)]["validation_accuracy"].astype(
        float
    )
    interval = stats.t.interval(0.95, SEEDS - 1, last.mean(), last.std(ddof=1) / math.sqrt(SEEDS))
    row = table.iloc[0]
    assert (row["accuracy"], row["accuracy_low"], row["accuracy_high"]) == pytest.approx((last.mean(), *interval))
    assert row["seeds"] == SEEDS


def test_epochs_to_a_threshold_count_the_networks_that_reach_it():
    table = summarize(make_history({"HeNormal": 0.98, "Zeros": 0.11}), ["HeNormal", "Zeros"]).set_index("initializer")
    assert table.loc["HeNormal", "reached_95"] == SEEDS
    assert table.loc["HeNormal", "epochs_to_95"] == 3
    assert table.loc["Zeros", "reached_90"] == 0
    assert pd.isna(table.loc["Zeros", "epochs_to_90"])


def test_pairs_are_compared_seed_by_seed():
    """What the seeds share varies more than the difference: unpaired, nothing would be shown."""
    history = make_history({"HeNormal": 0.9, "GlorotNormal": 0.9}, {"HeNormal": 0.98, "GlorotNormal": 1.0})
    (pair,) = compare_pairs(history, ["HeNormal", "GlorotNormal"], "first_loss")
    assert pair.better == "HeNormal"
    assert pair.estimate.value == pytest.approx(-0.02, abs=0.005)
    first, second = (
        history[(history["initializer"] == name) & (history["epoch"] == 1)]["loss"].to_numpy(dtype=float)
        for name in ("HeNormal", "GlorotNormal")
    )
    assert pair.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert stats.ttest_ind(first, second).pvalue > 0.1


def test_p_values_are_adjusted_over_all_pairs():
    accuracies = {"HeNormal": 0.9, "GlorotNormal": 0.901, "Zeros": 0.1, "Ones": 0.102}
    history = make_history(accuracies)
    among = compare_pairs(history, list(accuracies), "accuracy")
    alone = [compare_pairs(history, [each.first, each.second], "accuracy")[0].p_value for each in among]
    assert [each.p_value for each in among] == pytest.approx(multipletests(alone, method="holm")[1])
    assert len(among) == 6


@pytest.mark.montecarlo
def test_equal_initializers_are_hardly_ever_called_different():
    """500 comparisons of four alike: at a level of .05 more than 45 come about in 1 of 10,000 such tests."""
    names = ["HeNormal", "HeUniform", "GlorotNormal", "Zeros"]
    called = 0
    for trial in range(500):
        pairs = compare_pairs(make_history(dict.fromkeys(names, 0.5), seed=trial), names, "accuracy")
        called += any(each.better for each in pairs)
    assert stats.binom.sf(45, 500, 0.05) < 1e-4
    assert called <= 45


def test_the_notebook_is_judged_part_by_part():
    names = {"GlorotNormal": 0.95, "HeNormal": 0.97, "RandomNormal(stddev=0.05)": 0.95, "Zeros": 0.11}
    losses = {"GlorotNormal": 0.7, "HeNormal": 0.5, "RandomNormal(stddev=0.05)": 0.6, "Zeros": 2.3}
    statements = judge_notebook(make_history(names, losses), list(names))
    verdicts = {(each.other, each.quantity): each.verdict for each in statements}
    assert verdicts == {
        ("RandomNormal(stddev=0.05)", "accuracy"): "undecided",
        ("RandomNormal(stddev=0.05)", "first_loss"): "false",
        ("Zeros", "accuracy"): "true",
        ("Zeros", "first_loss"): "true",
    }
    assert {each.xavier for each in statements} == {"GlorotNormal"}
    # HeNormal looks at the fans, so it is neither random nor zero in the notebook's words.
    assert judge_notebook(make_history(names, losses), ["GlorotNormal", "HeNormal"]) == []


@pytest.mark.parametrize("lost", [pd.NA, math.inf])
def test_a_network_without_a_finite_loss_leaves_its_comparison_open(lost):
    history = make_history({"GlorotNormal": 0.9, "Zeros": 0.1})
    worst = (history["initializer"] == "Zeros") & (history["seed"] == 2) & (history["epoch"] == 1)
    history.loc[worst, "loss"] = lost
    (pair,) = compare_pairs(history, ["GlorotNormal", "Zeros"], "first_loss")
    assert math.isnan(pair.estimate.value) and math.isnan(pair.p_value) and pair.better == ""


def test_one_seed_shows_no_difference():
    history = make_history({"GlorotNormal": 0.9, "Zeros": 0.1})
    (pair,) = compare_pairs(history[history["seed"] == 0], ["GlorotNormal", "Zeros"], "accuracy")
    assert pair.better == ""
    assert summarize(history[history["seed"] == 0], ["Zeros"])["accuracy_low"].isna().all()


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("column", "epoch", "mean"), [("validation_loss", 3, "loss"), ("loss", 1, "first_loss")])
def test_a_network_without_a_finite_loss_is_left_out_of_the_mean_loss_and_keeps_its_accuracy(lost, column, epoch, mean):
    history = make_history({"GlorotNormal": 0.9})
    history["validation_loss"] = history["loss"]
    known = summarize(history[history["seed"] != 2], ["GlorotNormal"]).iloc[0]
    whole = summarize(history, ["GlorotNormal"]).iloc[0]
    history.loc[(history["seed"] == 2) & (history["epoch"] == epoch), column] = lost
    row = summarize(history, ["GlorotNormal"]).iloc[0]
    assert row[mean] == known[mean] and math.isfinite(row[mean])
    assert (row["seeds"], row["accuracy"]) == (SEEDS, whole["accuracy"])
    assert count_losses(history, "GlorotNormal") == (SEEDS - 1 if mean == "loss" else SEEDS)


def test_without_any_finite_loss_there_is_no_mean():
    history = make_history({"GlorotNormal": 0.9})
    history["validation_loss"] = math.inf
    assert summarize(history, ["GlorotNormal"])[["loss", "loss_low", "loss_high"]].isna().all(axis=None)
