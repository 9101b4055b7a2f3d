"""The summary of a measurement table: frame, gains, verdicts and flags, on synthetic tables whose truth is known."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from initcheck.audit.gains import summarize_propagation
from initcheck.core import columns
from initcheck.core.errors import UsageError

SUMMARY_NAMES = [column.name for column in columns.SUMMARY_COLUMNS]
# What the summary itself fills; theory's columns are put in later.
MEASURED_NAMES = [column.name for column in columns.SUMMARY_COLUMNS if column.group != "theory"]
KEYS: Mapping[str, object] = {
    "network": "mlp",
    "initializer": "HeNormal",
    "activation": "relu",
    "depth": 20,
    "width": 64,
    "data": "gaussian",
    "batch_size": 64,
}


def make_table(
    forward: NDArray[np.float64],
    backward: NDArray[np.float64] | None = None,
    **keys: object,
) -> pd.DataFrame:
    """Make a measurement table from second moments by seed and layer, with an input before and a head after.

    The backward moments are in the order of the layers too. NaN is null, as the probe writes it.
    """
    forward = np.atleast_2d(np.asarray(forward, dtype=float))
    backward = np.ones_like(forward) if backward is None else np.atleast_2d(np.asarray(backward, dtype=float))
    seeds, count = forward.shape
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        shared = {**KEYS, **keys, "seed": seed, "call": 0}
        rows.append(
            {**shared, "layer": "input", "position": 0, "kind": "Input", "activation_second_moment": 1.0}
            | {"nonfinite_fraction": 0.0, "gradient_norm": 1.0}
        )
        for number in range(count):
            moment = forward[seed, number]
            rows.append(
                {
                    **shared,
                    "layer": f"hidden_{number + 1}",
                    "position": number + 1,
                    "kind": "Dense",
                    "preactivation_second_moment": moment,
                    "activation_second_moment": moment / 2,
                    "activation_batch_variance": moment / 8,
                    "nonfinite_fraction": 0.0,
                    "dead_fraction": 0.125,
                    "saturated_fraction": np.nan,
                    "gradient_norm": np.sqrt(backward[seed, number]),
                    "weight_gradient_norm": 1.0,
                    "weight_variance": 0.02,
                }
            )
        rows.append(
            {**shared, "layer": "head", "position": count + 1, "kind": "Dense", "weight_variance": 0.01}
            | {"activation_second_moment": 1.0, "nonfinite_fraction": 0.0, "gradient_norm": 1.0}
        )
    dtypes = {column.name: column.dtype for column in columns.MEASUREMENT_COLUMNS}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def name_layers(count: int) -> list[str]:
    return [f"hidden_{number}" for number in range(1, count + 1)]


def simulate_he_relu(seeds: int, layers: int, units: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw second moments of He + ReLU for one input exactly: ratios (2/n) sum B_i g_i^2 (Hanin and Rolnick 2018)."""
    active = rng.binomial(units, 0.5, (seeds, layers - 1))
    ratios = 2 / units * rng.chisquare(active)
    levels: NDArray[np.float64] = np.cumprod(np.hstack([np.ones((seeds, 1)), ratios]), axis=1, dtype=np.float64)
    return levels


def summarize(table: pd.DataFrame, count: int, **options: float) -> pd.Series:
    summary = summarize_propagation(table, {"mlp": name_layers(count)}, **options)
    assert len(summary) == 1
    return summary.iloc[0]


def decay(rate: float, layers: int = 11, seeds: int = 3) -> NDArray[np.float64]:
    return np.array([[rate**layer for layer in range(layers)]] * seeds, dtype=np.float64)


class TestTheFrame:
    def test_columns_order_and_dtypes_are_those_of_the_schema(self) -> None:
        summary = summarize_propagation(make_table(decay(0.5)), {"mlp": name_layers(11)})
        assert list(summary.columns) == SUMMARY_NAMES
        expected = {column.name: column.dtype for column in columns.SUMMARY_COLUMNS}
        assert {name: str(dtype) for name, dtype in summary.dtypes.items()} == expected

    def test_a_table_without_rows_gives_a_summary_without_rows_and_the_same_dtypes(self) -> None:
        empty = summarize_propagation(make_table(decay(0.5)).iloc[:0], {"mlp": name_layers(11)})
        assert len(empty) == 0 and list(empty.columns) == SUMMARY_NAMES
        assert str(empty["forward_gain"].dtype) == "Float64"

    def test_every_combination_of_keys_has_its_own_row(self) -> None:
        tables = [
            make_table(decay(rate), initializer=name, width=width)
            for name, rate, width in (("A", 1.0, 8), ("A", 0.5, 16), ("B", 0.25, 8))
        ]
        summary = summarize_propagation(pd.concat(tables), {"mlp": name_layers(11)})
        assert summary["initializer"].tolist() == ["A", "A", "B"]
        assert summary["forward_gain"].tolist() == pytest.approx([1.0, 0.5, 0.25])
        assert summary["seeds"].tolist() == [3, 3, 3]

    def test_networks_with_their_own_layers_and_numbers_of_seeds_stand_in_one_table(self) -> None:
        table = pd.concat(
            [make_table(decay(0.5, 4, 2)), make_table(decay(2.0, 6, 5), network="notebook", depth=pd.NA, width=pd.NA)]
        )
        summary = summarize_propagation(table, {"mlp": name_layers(4), "notebook": name_layers(6), "unused": ["x"]})
        assert summary["network"].tolist() == ["mlp", "notebook"]
        assert summary["forward_steps"].tolist() == [3, 5]
        assert summary["seeds"].tolist() == [2, 5]
        assert summary["width"].isna().tolist() == [False, True]

    def test_the_order_of_rows_changes_nothing(self) -> None:
        rng = np.random.default_rng(1)
        table = pd.concat([make_table(simulate_he_relu(5, 8, 32, rng), initializer=name) for name in ("A", "B")])
        shuffled = table.sample(frac=1.0, random_state=2)
        paths = {"mlp": name_layers(8)}
        pd.testing.assert_frame_equal(
            summarize_propagation(table, paths), summarize_propagation(shuffled, paths), check_exact=True
        )

    def test_the_table_is_left_as_it_was(self) -> None:
        table = make_table(decay(0.5))
        before = table.copy(deep=True)
        summarize(table, 11)
        pd.testing.assert_frame_equal(table, before, check_exact=True)

    @pytest.mark.thorough
    def test_summarizing_takes_time_in_proportion_to_the_number_of_pairs(self) -> None:
        rng = np.random.default_rng(3)
        one = make_table(simulate_he_relu(16, 20, 64, rng))
        seconds = {}
        for pairs in (65, 260):
            table = pd.concat([one.assign(initializer=f"initializer {number}") for number in range(pairs)])
            table = table.astype({"initializer": "string"})
            # The fastest of three, in processor time, since others use the machine too.
            elapsed = []
            for _ in range(3):
                start = time.process_time()
                summary = summarize_propagation(table, {"mlp": name_layers(20)})
                elapsed.append(time.process_time() - start)
            seconds[pairs] = min(elapsed)
            assert len(summary) == pairs
        assert seconds[260] < 10 * seconds[65]  # four times as many; a search through all rows for each would take 16


class TestGains:
    @pytest.mark.parametrize("rate", [0.5, 0.32, 128.0])
    def test_a_constant_rate_is_found_in_both_directions(self, rate: float) -> None:
        row = summarize(make_table(decay(rate), decay(rate)), 11)
        assert row["forward_gain"] == pytest.approx(rate)
        assert row["forward_log_gain"] == pytest.approx(math.log(rate))
        # Moments that fall from the input to the output rise on the way back.
        assert row["backward_gain"] == pytest.approx(1 / rate)
        assert row["forward_steps"] == row["backward_steps"] == 10

    def test_mirroring_the_layers_swaps_forward_and_backward(self) -> None:
        moments = simulate_he_relu(6, 9, 16, np.random.default_rng(4))
        one = summarize(make_table(moments, np.ones_like(moments)), 9)
        other = summarize(make_table(np.ones_like(moments), moments[:, ::-1]), 9)
        forward = [name for name in MEASURED_NAMES if name.startswith("forward_")]
        # What is said of the deep half, or of the layers behind the first, does not travel along with a mirror.
        of_one_half = ("layers_until_thousandth", "thousandfold_change", "verdict")
        swapped = {"shallow_half": "deep_half", "deep_half": "shallow_half"}
        for name in (name for name in forward if not name.endswith(of_one_half)):
            stem, gain, half = name.replace("forward", "backward").partition("log_gain_")
            mirrored = other[stem + gain + swapped.get(half, half)]
            # Gradients travel as norms and are squared again: equal but for rounding.
            assert mirrored == one[name] or mirrored == pytest.approx(one[name], rel=1e-12), name
        # Negative control: without the mirror the direction of travel is seen.
        unmirrored = summarize(make_table(np.ones_like(moments), moments), 9)
        assert unmirrored["backward_log_gain"] == pytest.approx(-one["forward_log_gain"])
        assert unmirrored["backward_gain"] != pytest.approx(one["forward_gain"])

    @pytest.mark.parametrize("exponent", [-60, -1, 7, 80])
    def test_scaling_all_moments_by_one_factor_changes_nothing(self, exponent: int) -> None:
        moments = simulate_he_relu(5, 8, 32, np.random.default_rng(5))
        # A power of four, so that scaling is exact, also of the norms of the gradients: the same to the last bit.
        plain, scaled = (summarize(make_table(factor * moments, factor * moments), 8) for factor in (1, 4.0**exponent))
        for name in MEASURED_NAMES:
            if name.startswith(("forward_gain", "backward_gain")) or name.endswith(("steps", "verdict")):
                assert plain[name] == scaled[name], name
            elif "log_gain" in name:
                assert plain[name] == pytest.approx(scaled[name], abs=1e-13), name

    def test_scaling_each_seed_by_its_own_factor_changes_nothing_either(self) -> None:
        moments = simulate_he_relu(5, 8, 32, np.random.default_rng(6))
        factors = 2.0 ** np.array([[-9], [0], [3], [11], [-2]])
        plain, scaled = summarize(make_table(moments), 8), summarize(make_table(factors * moments), 8)
        assert plain["forward_gain_low"] == scaled["forward_gain_low"]
        # Negative control: a factor that grows with depth is seen.
        tilted = summarize(make_table(moments * 2.0 ** np.arange(8)), 8)
        assert tilted["forward_gain"] == pytest.approx(2 * plain["forward_gain"])

    def test_the_pre_activation_is_followed_where_there_is_one_else_the_output(self) -> None:
        table = make_table(decay(0.5))
        assert summarize(table, 11)["forward_gain"] == pytest.approx(0.5)
        table["activation_second_moment"] = table["activation_second_moment"] * 3.0 ** table["position"].astype(float)
        assert summarize(table, 11)["forward_gain"] == pytest.approx(0.5)
        table["preactivation_second_moment"] = pd.array([pd.NA] * len(table), dtype="Float64")
        assert summarize(table, 11)["forward_gain"] == pytest.approx(1.5)

    def test_interval_of_the_gain_never_reaches_below_zero(self) -> None:
        moments = np.array([[1.0, 1e-3], [1.0, 1.0], [1.0, 1e-2]])
        row = summarize(make_table(moments), 2)
        assert row["forward_gain_low"] == 0.0
        assert row["forward_log_gain_low"] < 0.0

    def test_halves_are_halves_of_the_network_in_both_directions(self) -> None:
        # Nine steps from the input on: the first four halve, the other five double.
        moments = np.tile(np.cumprod([1.0, *[0.5] * 4, *[2.0] * 5]), (3, 1))
        row = summarize(make_table(moments, moments), 10)
        assert row["forward_log_gain_shallow_half"] == pytest.approx(-math.log(2))
        assert row["forward_log_gain_deep_half"] == pytest.approx(math.log(2))
        # Backward, the same five steps are undone first, and the same four last.
        assert row["backward_log_gain_shallow_half"] == pytest.approx(math.log(2))
        assert row["backward_log_gain_deep_half"] == pytest.approx(-math.log(2))

    def test_layers_until_a_thousandth_are_counted_where_they_were_measured(self) -> None:
        row = summarize(make_table(decay(0.5), decay(2.0)), 11)
        for direction in ("forward", "backward"):
            assert row[f"{direction}_layers_until_thousandth"] == 10.0  # 2^-10 = 1/1024
            assert row[f"{direction}_thousandfold_change"] == "vanishes"
        grown = summarize(make_table(decay(2.0), decay(0.5)), 11)
        assert grown["forward_thousandfold_change"] == grown["backward_thousandfold_change"] == "explodes"
        # One layer fewer, and nothing is said: no rate is carried on.
        short = summarize(make_table(decay(0.5, 10), decay(2.0, 10)), 10)
        for direction in ("forward", "backward"):
            assert pd.isna(short[f"{direction}_layers_until_thousandth"])
            assert pd.isna(short[f"{direction}_thousandfold_change"])

    def test_a_gradient_is_counted_from_the_first_layer_to_the_one_that_it_comes_from(self) -> None:
        # Eleven steps from the input on: three that lose a factor 11 each on the way back, and eight that lose none.
        gradients = np.tile(np.cumprod([1.0, *[11.0] * 3, *[1.0] * 8]), (3, 1))
        row = summarize(make_table(decay(1.0, 12), gradients), 12)
        assert (row["backward_layers_until_thousandth"], row["backward_thousandfold_change"]) == (3.0, "vanishes")

    def test_it_is_the_geometric_mean_over_seeds_that_is_counted(self) -> None:
        # Seeds that lose a factor 4 a layer, and nothing: a factor 2 typically, and a mean factor of 0.625.
        moments = np.concatenate([decay(0.25, seeds=1), decay(1.0, seeds=1)])
        assert summarize(make_table(moments), 11)["forward_layers_until_thousandth"] == 10.0


class TestVerdicts:
    @pytest.mark.parametrize(
        ("rate", "verdict"),
        [(0.5, "vanishes"), (0.94, "vanishes"), (0.97, "preserves"), (1.04, "preserves"), (1.06, "explodes")],
    )
    def test_the_rate_decides_against_the_margin_of_five_per_cent(self, rate: float, verdict: str) -> None:
        row = summarize(make_table(decay(rate, 21)), 21)
        assert row["forward_verdict"] == verdict
        assert row["backward_verdict"] == "preserves"

    def test_the_margin_can_be_set(self) -> None:
        table = make_table(decay(0.97, 81))
        assert summarize(table, 81, margin=0.01)["forward_verdict"] == "vanishes"
        assert summarize(table, 81, margin=0.05)["forward_verdict"] == "preserves"

    @pytest.mark.parametrize(
        ("rate", "layers", "verdict"),
        [
            (0.6, 2, "preserves"),
            (0.4, 2, "vanishes"),
            (0.9, 5, "preserves"),
            (1.9, 2, "preserves"),
            (2.1, 2, "explodes"),
        ],
    )
    def test_a_shallow_network_may_change_its_signal_by_a_factor_of_two_in_all(
        self, rate: float, layers: int, verdict: str
    ) -> None:
        assert summarize(make_table(decay(rate, layers)), layers)["forward_verdict"] == verdict

    def test_few_seeds_with_much_spread_are_inconclusive_and_not_preserved(self) -> None:
        rng = np.random.default_rng(8)
        moments = np.exp(np.cumsum(rng.normal(0.0, 1.0, (3, 11)), axis=1))
        assert summarize(make_table(moments), 11)["forward_verdict"] == "inconclusive"

    def test_one_seed_has_gains_but_no_interval_and_no_verdict(self) -> None:
        row = summarize(make_table(decay(1.0, seeds=1)), 11)
        assert row["forward_gain"] == 1.0 and pd.isna(row["forward_gain_low"])
        assert row["forward_verdict"] == row["backward_verdict"] == "inconclusive"
        assert pd.isna(row["forward_layers_until_thousandth"])
        assert row["verdict"] == "inconclusive forward and backward"

    def test_one_layer_has_no_step_and_no_verdict(self) -> None:
        row = summarize(make_table(decay(1.0, layers=1)), 1)
        assert row["forward_steps"] == 0 and pd.isna(row["forward_gain"])
        assert row["forward_verdict"] == "inconclusive"

    def test_a_power_law_is_judged_by_its_deep_half_and_not_preserved(self) -> None:
        layers = np.arange(1, 22, dtype=float)
        row = summarize(make_table(np.tile(1 / layers, (3, 1))), 21)
        assert row["forward_verdict"] == "vanishes"
        # The two rates differ by much: it is not exponential, and the shallow half alone would say so wrongly.
        assert row["forward_log_gain_shallow_half"] == pytest.approx(-math.log(11) / 10)
        assert row["forward_log_gain_deep_half"] == pytest.approx(-math.log(21 / 11) / 10)

    def test_zeros_from_the_first_layer_on_are_dead_in_both_directions(self) -> None:
        row = summarize(make_table(np.zeros((3, 5)), np.zeros((3, 5))), 5)
        assert row["forward_verdict"] == row["backward_verdict"] == "dead"
        assert row["forward_steps"] == 0 and pd.isna(row["forward_gain"]) and pd.isna(row["forward_log_gain_low"])
        assert row["verdict"] == "dead: no signal"

    def test_a_gradient_that_stops_at_the_last_layer_is_dead_backward_alone(self) -> None:
        backward = np.array([0.0, 0.0, 0.0, 1.0])
        row = summarize(make_table(decay(1.0, 4), np.tile(backward, (3, 1))), 4)
        assert row["backward_verdict"] == "dead" and row["forward_verdict"] == "preserves"
        assert row["verdict"] == "dead: no signal backward; preserves forward"

    def test_a_fading_signal_that_underflows_vanishes_at_the_rate_before(self) -> None:
        moments = decay(1e-20, layers=8)
        moments[:, 4:] = 0.0
        row = summarize(make_table(moments), 8)
        assert row["forward_verdict"] == "vanishes"
        assert row["forward_steps"] == 3
        assert row["forward_gain"] == pytest.approx(1e-20)

    def test_a_signal_that_is_cut_off_without_fading_is_dead(self) -> None:
        moments = decay(1.1, layers=8)
        moments[:, 4:] = 0.0
        assert summarize(make_table(moments), 8)["forward_verdict"] == "dead"

    def test_one_dead_seed_among_healthy_ones_is_never_preserved(self) -> None:
        moments = decay(1.0, layers=8, seeds=6)
        assert summarize(make_table(moments), 8)["forward_verdict"] == "preserves"
        moments[2, 5:] = 0.0
        row = summarize(make_table(moments), 8)
        assert row["forward_verdict"] == "dead"
        assert row["forward_steps"] == 4

    @pytest.mark.parametrize("rate", [0.5, 1.0, 1e30])
    def test_an_infinite_moment_explodes_whatever_the_rate_before(self, rate: float) -> None:
        moments = decay(rate, layers=8)
        moments[0, 5:] = np.inf
        row = summarize(make_table(moments), 8)
        assert row["forward_verdict"] == "explodes"
        assert row["forward_steps"] == 4
        assert row["forward_gain"] == pytest.approx(rate)

    def test_an_infinite_moment_in_the_first_layers_explodes_without_a_gain(self) -> None:
        row = summarize(make_table(np.full((3, 5), np.inf)), 5)
        assert row["forward_verdict"] == "explodes" and pd.isna(row["forward_gain"]) and row["forward_steps"] == 0

    def test_null_moments_of_a_tensor_with_nan_explode_and_show_where_it_began(self) -> None:
        moments = decay(1e9, layers=8)
        moments[:, 5:] = np.nan
        backward = np.full_like(moments, np.nan)
        table = make_table(moments, backward)
        table.loc[table["layer"].isin(["hidden_6", "hidden_7", "hidden_8", "head"]), "nonfinite_fraction"] = 1.0
        row = summarize(table, 8)
        assert row["forward_verdict"] == "explodes"
        assert row["backward_verdict"] == "explodes"
        assert row["nonfinite_from_position"] == 6

    def test_the_finite_output_of_an_overflowing_layer_does_not_stand_in_for_it(self) -> None:
        # tanh(inf) is 1: the output looks healthy where the pre-activation is infinite in all seeds.
        moments = np.full((3, 6), np.nan)
        table = make_table(moments)
        hidden = table["layer"].isin(name_layers(6))
        table.loc[hidden, "activation_second_moment"] = 1.0
        table.loc[hidden, "nonfinite_fraction"] = 1.0
        assert summarize(table, 6)["forward_verdict"] == "explodes"
        # Negative control: the same outputs without overflow are those of layers without a pre-activation.
        table.loc[hidden, "nonfinite_fraction"] = 0.0
        assert summarize(table, 6)["forward_verdict"] == "preserves"

    def test_the_output_does_not_stand_in_for_a_pre_activation_that_one_seed_lacks(self) -> None:
        moments = decay(1.0, layers=6)
        moments[1, 3] = np.nan
        table = make_table(moments)
        table.loc[table["layer"].isin(name_layers(6)), "activation_second_moment"] = 1.0
        row = summarize(table, 6)
        assert row["forward_verdict"] == "inconclusive" and row["forward_steps"] == 2

    def test_a_null_gradient_beside_an_infinite_weight_gradient_explodes(self) -> None:
        backward = np.ones((3, 6))
        backward[1, :3] = np.nan
        table = make_table(decay(1.0, 6), backward)
        assert summarize(table, 6)["backward_verdict"] == "inconclusive"
        table.loc[(table["layer"] == "hidden_3") & (table["seed"] == 1), "weight_gradient_norm"] = np.inf
        row = summarize(table, 6)
        assert row["backward_verdict"] == "explodes" and row["forward_verdict"] == "preserves"

    def test_nulls_without_a_trace_of_overflow_are_inconclusive_and_never_healthy(self) -> None:
        backward = np.ones((4, 6))
        backward[1, 2] = np.nan
        row = summarize(make_table(decay(1.0, 6, 4), backward), 6)
        assert row["backward_verdict"] == "inconclusive"
        assert row["backward_steps"] == 2
        unmeasured = summarize(make_table(decay(1.0, 6, 4), np.full((4, 6), np.nan)), 6)
        assert unmeasured["backward_verdict"] == "inconclusive" and pd.isna(unmeasured["backward_gain"])
        assert unmeasured["verdict"] == "preserves forward, inconclusive backward"

    def test_deterministic_seeds_have_intervals_of_zero_width(self) -> None:
        row = summarize(make_table(decay(0.5)), 11)
        assert row["forward_gain_low"] == row["forward_gain"] == row["forward_gain_high"]


class TestFlags:
    def test_constant_hidden_kernels_are_symmetric_whatever_the_head_is(self) -> None:
        table = make_table(decay(1.0))
        assert not summarize(table, 11)["symmetric"]
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        row = summarize(table, 11)
        assert row["symmetric"]
        assert row["verdict"] == "symmetric: all units of a layer stay alike"

    def test_one_random_kernel_breaks_the_symmetry(self) -> None:
        table = make_table(decay(1.0))
        table.loc[~table["layer"].isin(["head", "hidden_4"]), "weight_variance"] = 0.0
        assert not summarize(table, 11)["symmetric"]

    def test_symmetric_and_dead_are_both_told(self) -> None:
        table = make_table(np.zeros((3, 5)), np.zeros((3, 5)))
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        assert summarize(table, 5)["verdict"] == "symmetric: all units of a layer stay alike; dead: no signal"

    def test_a_hidden_kernel_that_one_seed_lacks_leaves_symmetry_unknown(self) -> None:
        table = make_table(decay(1.0))
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        table.loc[(table["layer"] == "hidden_3") & (table["seed"] == 1), "weight_variance"] = pd.NA
        assert pd.isna(summarize(table, 11)["symmetric"])

    def test_without_kernels_symmetry_is_null(self) -> None:
        table = make_table(decay(1.0))
        table["weight_variance"] = pd.array([pd.NA] * len(table), dtype="Float64")
        assert pd.isna(summarize(table, 11)["symmetric"])

    @pytest.mark.parametrize(("variance", "symmetric"), [(0.0, True), (0.02, False)])
    def test_residual_sums_borrow_the_kernels_of_the_network_but_not_the_heads(
        self, variance: float, symmetric: bool
    ) -> None:
        sums = make_table(decay(1.0, 4))
        sums["preactivation_second_moment"] = pd.array([pd.NA] * len(sums), dtype="Float64")
        sums.loc[sums["layer"].isin(name_layers(4)), "weight_variance"] = pd.NA
        branch = sums[sums["layer"] == "hidden_2"].assign(layer="branch_2", position=1, weight_variance=variance)
        later = sums.assign(position=sums["position"] * 2)
        row = summarize(pd.concat([later, branch]), 4)
        assert bool(row["symmetric"]) is symmetric
        assert row["forward_verdict"] == "preserves"

    def test_inputs_that_become_indistinguishable_are_told_although_the_moment_is_preserved(self) -> None:
        table = make_table(decay(1.0))
        assert summarize(table, 11)["verdict"] == "preserves in both directions"
        table["activation_batch_variance"] = 0.004 * table["activation_second_moment"]
        row = summarize(table, 11)
        assert row["batch_variance_share"] == pytest.approx(0.004)
        assert row["verdict"] == "preserves in both directions; inputs become indistinguishable"

    def test_a_share_that_was_not_measured_is_told_and_not_taken_for_healthy(self) -> None:
        table = make_table(decay(1.0))
        table["activation_batch_variance"] = pd.array([pd.NA] * len(table), dtype="Float64")
        row = summarize(table, 11)
        assert pd.isna(row["batch_variance_share"])
        assert row["verdict"].endswith("; whether inputs stay distinguishable was not measured")

    def test_share_is_a_geometric_mean_at_the_last_layer_and_zero_if_one_seed_is(self) -> None:
        table = make_table(decay(1.0, seeds=2))
        last = table["layer"] == "hidden_11"
        table.loc[last, "activation_second_moment"] = 1.0
        table.loc[last, "activation_batch_variance"] = [0.01, 0.04]
        assert summarize(table, 11)["batch_variance_share"] == pytest.approx(0.02)
        table.loc[last, "activation_batch_variance"] = [0.0, 0.04]
        assert summarize(table, 11)["batch_variance_share"] == 0.0

    def test_dead_and_saturated_shares_are_means_at_the_last_layer_and_null_if_one_is(self) -> None:
        table = make_table(decay(1.0, seeds=2))
        last = table["layer"] == "hidden_11"
        table.loc[last, "dead_fraction"] = [0.0, 0.5]
        table.loc[last, "saturated_fraction"] = [0.25, np.nan]
        row = summarize(table, 11)
        assert row["dead_fraction"] == 0.25
        assert pd.isna(row["saturated_fraction"])

    def test_without_a_non_finite_value_there_is_no_first_position_of_one(self) -> None:
        assert pd.isna(summarize(make_table(decay(1.0)), 11)["nonfinite_from_position"])


class TestRefusals:
    def refuse(self, table: pd.DataFrame, match: str, paths: Mapping[str, Sequence[str]] | None = None) -> None:
        with pytest.raises(UsageError, match=match):
            summarize_propagation(table, {"mlp": name_layers(5)} if paths is None else paths)

    def test_a_layer_that_one_seed_lacks_is_named_with_its_seed(self) -> None:
        table = make_table(decay(1.0, 5))
        lacking = table[~((table["layer"] == "hidden_3") & (table["seed"] == 1))]
        self.refuse(lacking, "'hidden_3' is not measured for seed 1 .*initializer=HeNormal")

    def test_an_unknown_layer_is_named_with_its_near_match(self) -> None:
        self.refuse(make_table(decay(1.0, 5)), "Did you mean hidden_1", {"mlp": ["hiden_1", "hidden_2"]})

    def test_an_unknown_network_is_named(self) -> None:
        self.refuse(make_table(decay(1.0, 5)), "Unknown network in signal_layers 'mlp'", {"conv": ["hidden_1"]})

    @pytest.mark.parametrize("path", [[], "hidden_1", ["hidden_1", "hidden_1"]])
    def test_a_path_without_layers_or_with_one_twice_is_refused(self, path: Sequence[str]) -> None:
        self.refuse(make_table(decay(1.0, 5)), "each once", {"mlp": path})

    @pytest.mark.parametrize("column", ["position", "seed", "gradient_norm", "initializer"])
    def test_a_missing_column_is_named(self, column: str) -> None:
        self.refuse(make_table(decay(1.0, 5)).drop(columns=column), f"lacks the columns {column}")

    @pytest.mark.parametrize("key", ["network", "activation", "seed", "layer", "batch_size"])
    def test_a_null_key_is_named(self, key: str) -> None:
        table = make_table(decay(1.0, 5))
        table.loc[4, key] = pd.NA
        self.refuse(table, f"1 rows without '{key}'")

    def test_a_seed_that_stands_in_the_table_twice_is_refused(self) -> None:
        table = make_table(decay(1.0, 5))
        self.refuse(pd.concat([table, table[table["seed"] == 0]]), "two rows for one seed")

    def test_a_layer_called_twice_is_refused(self) -> None:
        table = make_table(decay(1.0, 5))
        again = table[table["layer"] == "hidden_2"].assign(call=1, position=9)
        self.refuse(pd.concat([table, again]), "'hidden_2' is called more than once")

    def test_layers_out_of_the_order_of_execution_are_refused(self) -> None:
        self.refuse(make_table(decay(1.0, 5)), "order of execution", {"mlp": name_layers(5)[::-1]})

    def test_a_negative_second_moment_is_refused(self) -> None:
        self.refuse(make_table(-decay(1.0, 5)), "cannot be negative")

    @pytest.mark.parametrize("margin", [0.0, -0.1, math.nan, math.inf])
    def test_a_margin_without_a_meaning_is_refused(self, margin: float) -> None:
        with pytest.raises(UsageError, match="margin"):
            summarize_propagation(make_table(decay(1.0, 5)), {"mlp": name_layers(5)}, margin=margin)
