"""What is said of the losses of two models: which difference is shown, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.audit.proofs import LossCurves, Proof, describe_proof


def make_proof(as_it_is, fixed=None, *, asked=2):
    """Make a proof of losses by draw and step."""
    first = LossCurves(np.asarray(as_it_is, dtype=np.float64))
    second = None if fixed is None else LossCurves(np.asarray(fixed, dtype=np.float64))
    draws, steps = first.losses.shape
    return Proof(tuple(range(draws)), steps - 1, asked, "Adam", "a task", first, second)


def level(*last, first=2.0, middle=1.5):
    return [[first, middle, each] for each in last]


def test_a_lower_loss_is_shown_with_the_interval_of_the_paired_factor():
    proof = make_proof(level(2.0, 2.2, 2.4, 2.6), level(0.40, 0.42, 0.50, 0.51))
    assert proof.outcome == "lower"
    logs = np.log([0.40 / 2.0, 0.42 / 2.2, 0.50 / 2.4, 0.51 / 2.6])
    half = 3.182446 * logs.std(ddof=1) / 2.0  # t(0.975, 3) / sqrt(4)
    mean = np.exp(np.log([2.0, 2.2, 2.4, 2.6]).mean())
    expected = mean * np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    assert [proof.after.value, proof.after.low, proof.after.high] == pytest.approx(expected, rel=1e-6)
    assert describe_proof(proof) == "after 2 steps: 2.29 as it is, 0.455 [0.429, 0.482] with the fix"


def test_the_lower_end_of_a_wide_interval_is_never_written_as_zero():
    proof = make_proof(level(0.05, 0.07, 0.06, 0.09), level(2e-4, 9e-3, 1e-3, 4e-3))
    assert proof.after.low > 0.0
    assert describe_proof(proof).endswith("as it is, 0.00164 [1.56×10⁻⁴, 0.0172] with the fix")


def test_the_pairs_show_what_the_means_alone_would_not():
    as_it_is = [0.1, 1.0, 10.0, 100.0]
    proof = make_proof(level(*as_it_is), level(*(0.9 * each * (1 + 0.01 * k) for k, each in enumerate(as_it_is))))
    assert proof.outcome == "lower"


def test_no_difference_is_said_with_both_values():
    proof = make_proof(level(0.5, 0.6, 0.45), level(0.6, 0.5, 0.46))
    assert proof.outcome == "no difference"
    text = describe_proof(proof)
    assert text.startswith("no difference shown after 2 steps (0.513 as it is, 0.5")
    assert text.endswith(" with the fix)")
    assert proof.after.low < proof.before < proof.after.high


def test_a_fix_that_makes_it_worse_is_called_so():
    proof = make_proof(level(0.5, 0.6, 0.45), level(5.0, 6.1, 4.4))
    assert proof.outcome == "higher"
    assert describe_proof(proof).endswith("with the fix: the fix makes it worse")


def test_models_that_train_exactly_alike_show_no_difference():
    proof = make_proof(level(0.5, 0.6), level(0.5, 0.6))
    assert proof.outcome == "no difference"


def test_negative_losses_are_compared_as_they_are():
    proof = make_proof(level(-1.0, 0.5, 2.0), level(-3.0, -1.4, 0.1))
    assert proof.floor is None
    assert proof.before == pytest.approx(0.5)
    assert proof.after.value == pytest.approx(-4.3 / 3.0)
    assert proof.outcome == "lower"


def test_a_loss_of_zero_counts_as_the_last_digit_of_float32():
    proof = make_proof(level(1.0, 1.0), level(0.0, 1.0))
    assert proof.after.value == pytest.approx(np.sqrt(np.finfo(np.float32).eps))


def test_losses_that_are_not_finite_are_counted():
    nan = np.nan
    proof = make_proof([[2.0, np.inf, nan]] * 5, level(0.40, 0.42, 0.41, 0.39, 0.40))
    assert proof.outcome == "lower"
    text = describe_proof(proof)
    assert text == ("after 2 steps: not finite from step 1 in 5 of 5 draws as it is, 0.404 [0.390, 0.418] with the fix")
    assert proof.as_it_is.not_finite_from == (1,) * 5


def test_one_draw_in_eight_that_is_not_finite_shows_no_difference():
    losses = level(*np.linspace(1.0, 2.0, 8))
    broken = [[*row[:2], np.nan] if draw == 0 else row for draw, row in enumerate(losses)]
    proof = make_proof(broken, losses)
    assert proof.outcome == "no difference"
    text = describe_proof(proof)
    assert "not finite from step 2 in 1 of 8 draws as it is (1.54 [1.28, 1.86] in the others)" in text
    assert text.endswith("no difference shown")
    assert make_proof(losses, broken).outcome == "no difference"


def test_without_a_fix_the_last_loss_is_compared_with_the_first():
    falls = make_proof(level(0.5, 0.6, 0.45))
    assert falls.outcome == "lower"
    assert describe_proof(falls).startswith("as it is, the loss goes from 2.00 to 0.5")
    stays = make_proof(level(1.9, 2.1, 2.0))
    assert describe_proof(stays).endswith("in 2 steps: no change shown")


def test_what_was_stopped_says_how_far_it_came():
    proof = make_proof(level(2.0, 2.2), level(0.40, 0.42), asked=100)
    assert describe_proof(proof).startswith("stopped after 2 of 100 steps: 2.10 as it is, ")


def test_one_draw_has_no_interval():
    proof = make_proof(level(2.0), level(0.4))
    assert proof.outcome == "one draw"
    assert describe_proof(proof) == "after 2 steps: 2.00 as it is, 0.400 (one draw: no interval) with the fix"


def test_between_draws_of_one_distribution_a_difference_is_shown_in_a_twentieth():
    random = np.random.default_rng(0)
    losses = np.exp(random.normal(0.0, 1.0, (2, 2000, 8)))
    shown = sum(
        make_proof([[1.0, each] for each in first], [[1.0, each] for each in second]).outcome != "no difference"
        for first, second in zip(*losses, strict=True)
    )
    assert 0.04 < shown / 2000 < 0.06  # the standard error is 0.005
