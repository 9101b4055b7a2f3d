"""Exponents and verdicts on made-up sizes whose exponents are known; no Keras."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from initcheck.audit.width_exponents import MARGIN, WidthScaling, fit_exponents, fit_slopes, measured_at, name_size

WIDTHS = (64, 128, 256, 512)


def make_table(exponent, *, seeds=16, noise=0.02, output=False, widths=WIDTHS, size=0.7, sizes=None):
    """Sizes of one layer that go as width^exponent, with noise that differs from seed to seed and width to width."""
    random = np.random.default_rng(11)
    rows = []
    for width in widths:
        for seed in range(seeds):
            value = size * width**exponent * np.exp(noise * random.normal())
            row = {"width": width, "seed": seed, "layer": "dense", "call": 0, "position": 0, "kind": "Dense"}
            measures = {name_size("start", "rms"): value, name_size("start", "mean_abs"): 0.8 * value}
            row |= {"output": output, "trainable": True}
            rows.append(row | measures | (sizes or (lambda width, seed: {}))(width, seed))
    return pd.DataFrame(rows)


def fit(table, **settings):
    (found,) = fit_exponents(table, ("start",), **settings)
    return found


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [(0.0, "stable"), (0.5, "grows"), (-0.5, "shrinks"), (1.0, "grows"), (0.05, "stable"), (-0.05, "stable")],
)
def test_a_planted_exponent_is_found_and_judged(exponent, verdict):
    found = fit(make_table(exponent))
    assert found.estimate.value == pytest.approx(exponent, abs=4 * found.estimate.standard_error)
    assert found.estimate.standard_error < 0.01
    assert found.mean_abs.value == pytest.approx(found.estimate.value, abs=1e-9)
    assert found.verdict == verdict
    assert found.reason == ""


def test_an_exponent_at_the_margin_is_undecided():
    found = fit(make_table(MARGIN))
    assert found.verdict == "undecided" and found.wanted is None
    assert "more seeds or more widths" in found.reason


def test_too_much_noise_for_the_seeds_is_undecided_and_never_stable():
    found = fit(make_table(0.0, seeds=3, noise=1.0))
    assert found.verdict == "undecided"
    assert found.estimate.high - found.estimate.low > 2 * MARGIN


def test_a_wider_margin_decides_what_a_narrow_one_does_not():
    table = make_table(0.095, noise=0.05)
    assert fit(table).verdict == "undecided"
    assert fit(table, margin=0.2).verdict == "stable"


@pytest.mark.montecarlo
def test_false_verdicts_are_as_rare_as_stated():
    """Of 400 tables whose exponent lies just beyond the margin at most 5% are called stable, within 3 errors."""
    random = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        logs = MARGIN * np.log(WIDTHS)[:, None] + 0.1 * random.normal(size=(4, 8))
        table = pd.DataFrame(
            {
                "width": np.repeat(WIDTHS, 8),
                "seed": np.tile(np.arange(8), 4),
                "layer": "dense",
                "call": 0,
                "position": 0,
                "kind": "Dense",
                "output": False,
                "trainable": True,
                "start_rms": np.exp(logs).reshape(-1),
                "start_mean_abs": np.exp(logs).reshape(-1),
            }
        )
        found = fit(table)
        called += found.verdict != "undecided"
    assert called / 400 <= 0.075 + 3 * np.sqrt(0.075 * 0.925 / 400)  # 5% stable, 2.5% grows


def test_slopes_are_those_of_least_squares_seed_by_seed():
    table = make_table(0.3, seeds=5, noise=0.3)
    slopes = fit_slopes(table, "start_rms")
    for seed, rows in table.groupby("seed"):
        expected = np.polyfit(np.log(rows["width"]), np.log(rows["start_rms"]), 1)[0]
        assert slopes[seed] == pytest.approx(expected, rel=1e-9)


def test_widths_in_any_order_of_rows_give_the_same():
    table = make_table(0.3)
    shuffled = table.sample(frac=1.0, random_state=3)
    np.testing.assert_allclose(fit_slopes(shuffled, "start_rms"), fit_slopes(table, "start_rms"), rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "exactly zero at width 256"), (np.inf, "not finite at width 256"), (np.nan, "not finite at width 256")],
)
def test_what_is_zero_or_not_finite_is_undecided_with_its_reason(value, told):
    def spoil(width, seed):
        return {"start_rms": value} if width == 256 and seed == 2 else {}

    found = fit(make_table(0.0, sizes=spoil))
    assert found.verdict == "undecided" and found.wanted is None
    assert told in found.reason


def test_one_seed_is_undecided():
    found = fit(make_table(0.5, seeds=1))
    assert found.verdict == "undecided"
    assert "two or more" in found.reason


@pytest.mark.parametrize(
    ("exponent", "noise", "wanted"), [(-0.5, 0.02, True), (0.0, 0.02, True), (0.5, 0.02, False), (-0.3, 0.6, True)]
)
def test_the_size_of_an_output_may_shrink_but_not_grow(exponent, noise, wanted):
    assert fit(make_table(exponent, noise=noise, output=True)).wanted is wanted


def test_the_change_of_an_output_may_not_shrink():
    table = make_table(-0.5, output=True).rename(
        columns={"start_rms": "change_rms", "start_mean_abs": "change_mean_abs"}
    )
    (found,) = fit_exponents(table, ("change",))
    assert found.verdict == "shrinks" and found.wanted is False


def test_a_hidden_layer_may_not_shrink():
    assert fit(make_table(-0.5)).wanted is False


@pytest.mark.parametrize("output", [False, True])
def test_sizes_that_rise_and_fall_again_are_never_stable(output):
    """The line through them is level: no exponent describes them."""
    factor = dict(zip(WIDTHS, (1.0, 3.0, 3.0, 1.0), strict=True))
    table = make_table(0.0, output=output)
    table["start_rms"] *= table["width"].map(factor)
    found = fit(table)
    assert abs(found.estimate.value) < MARGIN and found.estimate.high < MARGIN
    assert found.verdict == "undecided" and found.uneven and found.wanted is None
    assert "from width 64 to 128 is +1.5" in found.reason or "from width 256 to 512 is −1.5" in found.reason


def fit_change_of_zero(**settings):
    table = make_table(0.0, **settings).assign(change_rms=0.0, change_mean_abs=0.0)
    return table, lambda: fit_exponents(table, ("change",))[0]


def test_a_change_of_zero_is_in_order_only_where_nothing_before_it_is_trained():
    table, fit_it = fit_change_of_zero()
    assert fit_it().verdict == "undecided" and "no gradient arrives" in fit_it().reason
    table["trainable"] = False
    assert fit_it().verdict == "untrained" and fit_it().wanted


def test_an_output_may_start_at_zero_and_a_hidden_layer_may_not():
    zero = {"start_rms": 0.0, "start_mean_abs": 0.0}
    assert fit(make_table(0.0, output=True).assign(**zero)).verdict == "zero"
    assert fit(make_table(0.0, output=True).assign(**zero)).wanted
    assert fit(make_table(0.0).assign(**zero)).wanted is None


def test_what_is_not_finite_from_the_start_is_not_blamed_on_training():
    table = make_table(0.0).assign(change_rms=np.nan, change_mean_abs=np.nan)
    (found,) = fit_exponents(table, ("change",))
    assert "the training diverged" in found.reason
    table["start_rms"] = np.inf
    (found,) = fit_exponents(table, ("change",))
    assert "before any training" in found.reason


def make_scaling(*tables):
    exponents = tuple(fit(table) for table in tables)
    return WidthScaling("m", "width", WIDTHS, (0, 1), 0, "sgd", 0.01, "b", "l", exponents, pd.concat(tables), {})


def test_the_verdict_on_the_model_is_that_of_its_worst_layer():
    stable, grows, open_ = make_table(0.0), make_table(0.5), make_table(MARGIN)
    assert make_scaling(stable).verdict == "stable"
    assert make_scaling(stable, open_).verdict == "undecided"
    assert make_scaling(stable, open_, grows).verdict == "findings"


def test_what_is_drawn_is_the_geometric_mean_over_the_seeds():
    widths, sizes = measured_at(make_table(0.5, noise=0.3), 0, "start_rms")
    table = make_table(0.5, noise=0.3)
    assert widths.tolist() == list(WIDTHS)
    expected = [np.exp(np.log(rows["start_rms"]).mean()) for _, rows in table.groupby("width")]
    np.testing.assert_allclose(sizes, expected, rtol=1e-12)
    spoiled = make_table(0.5, sizes=lambda width, seed: {"start_rms": 0.0} if width == 64 and seed == 0 else {})
    assert np.isnan(measured_at(spoiled, 0, "start_rms")[1]).tolist() == [True, False, False, False]
