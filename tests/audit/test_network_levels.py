"""From the table to the path: the flags that need whole networks, and the gaps that must not be skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from initcheck.audit.gains import summarize_propagation
from initcheck.core.errors import UsageError

MakeTable = Callable[..., pd.DataFrame]


def name_layers(count: int) -> list[str]:
    return [f"hidden_{number}" for number in range(1, count + 1)]


def summarize(table: pd.DataFrame, count: int, **options: float) -> pd.Series:
    summary = summarize_propagation(table, {"mlp": name_layers(count)}, **options)
    assert len(summary) == 1
    return summary.iloc[0]


def decay(rate: float, layers: int = 11, seeds: int = 3) -> NDArray[np.float64]:
    return np.array([[rate**layer for layer in range(layers)]] * seeds, dtype=np.float64)


class TestFlags:
    def test_constant_hidden_kernels_are_symmetric_whatever_the_head_is(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0))
        assert not summarize(table, 11)["symmetric"]
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        row = summarize(table, 11)
        assert row["symmetric"]
        assert row["verdict"] == "symmetric: all units of a layer stay alike"

    def test_one_random_kernel_breaks_the_symmetry(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0))
        table.loc[~table["layer"].isin(["head", "hidden_4"]), "weight_variance"] = 0.0
        assert not summarize(table, 11)["symmetric"]

    def test_symmetric_and_dead_are_both_told(self, make_table: MakeTable) -> None:
        table = make_table(np.zeros((3, 5)), np.zeros((3, 5)))
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        assert summarize(table, 5)["verdict"] == "symmetric: all units of a layer stay alike; dead: no signal"

    def test_a_hidden_kernel_that_one_seed_lacks_leaves_symmetry_unknown(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0))
        table.loc[table["layer"] != "head", "weight_variance"] = 0.0
        table.loc[(table["layer"] == "hidden_3") & (table["seed"] == 1), "weight_variance"] = pd.NA
        assert pd.isna(summarize(table, 11)["symmetric"])

    def test_without_kernels_symmetry_is_null(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0))
        table["weight_variance"] = pd.array([pd.NA] * len(table), dtype="Float64")
        assert pd.isna(summarize(table, 11)["symmetric"])

    @pytest.mark.parametrize(("variance", "symmetric"), [(0.0, True), (0.02, False)])
    def test_residual_sums_borrow_the_kernels_of_the_network_but_not_the_heads(
        self, make_table: MakeTable, variance: float, symmetric: bool
    ) -> None:
        sums = make_table(decay(1.0, 4))
        sums["preactivation_second_moment"] = pd.array([pd.NA] * len(sums), dtype="Float64")
        sums.loc[sums["layer"].isin(name_layers(4)), "weight_variance"] = pd.NA
        branch = sums[sums["layer"] == "hidden_2"].assign(layer="branch_2", position=1, weight_variance=variance)
        later = sums.assign(position=sums["position"] * 2)
        row = summarize(pd.concat([later, branch]), 4)
        assert bool(row["symmetric"]) is symmetric
        assert row["forward_verdict"] == "preserves"

    def test_inputs_that_become_indistinguishable_are_told_although_the_moment_is_preserved(
        self, make_table: MakeTable
    ) -> None:
        table = make_table(decay(1.0))
        assert summarize(table, 11)["verdict"] == "preserves in both directions"
        table["activation_batch_variance"] = 0.004 * table["activation_second_moment"]
        row = summarize(table, 11)
        assert row["batch_variance_share"] == pytest.approx(0.004)
        assert row["verdict"] == "preserves in both directions; inputs become indistinguishable"

    def test_a_share_that_was_not_measured_is_told_and_not_taken_for_healthy(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0))
        table["activation_batch_variance"] = pd.array([pd.NA] * len(table), dtype="Float64")
        row = summarize(table, 11)
        assert pd.isna(row["batch_variance_share"])
        assert row["verdict"].endswith("; whether inputs stay distinguishable was not measured")

    def test_share_is_a_geometric_mean_at_the_last_layer_and_zero_if_one_seed_is(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0, seeds=2))
        last = table["layer"] == "hidden_11"
        table.loc[last, "activation_second_moment"] = 1.0
        table.loc[last, "activation_batch_variance"] = [0.01, 0.04]
        assert summarize(table, 11)["batch_variance_share"] == pytest.approx(0.02)
        table.loc[last, "activation_batch_variance"] = [0.0, 0.04]
        assert summarize(table, 11)["batch_variance_share"] == 0.0

    def test_dead_and_saturated_shares_are_means_at_the_last_layer_and_null_if_one_is(
        self, make_table: MakeTable
    ) -> None:
        table = make_table(decay(1.0, seeds=2))
        last = table["layer"] == "hidden_11"
        table.loc[last, "dead_fraction"] = [0.0, 0.5]
        table.loc[last, "saturated_fraction"] = [0.25, np.nan]
        row = summarize(table, 11)
        assert row["dead_fraction"] == 0.25
        assert pd.isna(row["saturated_fraction"])

    def test_without_a_non_finite_value_there_is_no_first_position_of_one(self, make_table: MakeTable) -> None:
        assert pd.isna(summarize(make_table(decay(1.0)), 11)["nonfinite_from_position"])


class TestRefusals:
    def refuse(self, table: pd.DataFrame, match: str, paths: Mapping[str, Sequence[str]] | None = None) -> None:
        with pytest.raises(UsageError, match=match):
            summarize_propagation(table, {"mlp": name_layers(5)} if paths is None else paths)

    def test_a_layer_that_one_seed_lacks_is_named_with_its_seed(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0, 5))
        lacking = table[~((table["layer"] == "hidden_3") & (table["seed"] == 1))]
        self.refuse(lacking, "'hidden_3' is not measured for seed 1 .*initializer=HeNormal")

    def test_an_unknown_layer_is_named_with_its_near_match(self, make_table: MakeTable) -> None:
        self.refuse(make_table(decay(1.0, 5)), "Did you mean hidden_1", {"mlp": ["hiden_1", "hidden_2"]})

    def test_an_unknown_network_is_named(self, make_table: MakeTable) -> None:
        self.refuse(make_table(decay(1.0, 5)), "Unknown network in signal_layers 'mlp'", {"conv": ["hidden_1"]})

    @pytest.mark.parametrize("path", [[], "hidden_1", ["hidden_1", "hidden_1"]])
    def test_a_path_without_layers_or_with_one_twice_is_refused(
        self, make_table: MakeTable, path: Sequence[str]
    ) -> None:
        self.refuse(make_table(decay(1.0, 5)), "each once", {"mlp": path})

    @pytest.mark.parametrize("column", ["position", "seed", "gradient_norm", "initializer"])
    def test_a_missing_column_is_named(self, make_table: MakeTable, column: str) -> None:
        self.refuse(make_table(decay(1.0, 5)).drop(columns=column), f"lacks the columns {column}")

    @pytest.mark.parametrize("key", ["network", "activation", "seed", "layer", "batch_size"])
    def test_a_null_key_is_named(self, make_table: MakeTable, key: str) -> None:
        table = make_table(decay(1.0, 5))
        table.loc[4, key] = pd.NA
        self.refuse(table, f"1 rows without '{key}'")

    def test_a_seed_that_stands_in_the_table_twice_is_refused(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0, 5))
        self.refuse(pd.concat([table, table[table["seed"] == 0]]), "two rows for one seed")

    def test_a_layer_called_twice_is_refused(self, make_table: MakeTable) -> None:
        table = make_table(decay(1.0, 5))
        again = table[table["layer"] == "hidden_2"].assign(call=1, position=9)
        self.refuse(pd.concat([table, again]), "'hidden_2' is called more than once")

    def test_layers_out_of_the_order_of_execution_are_refused(self, make_table: MakeTable) -> None:
        self.refuse(make_table(decay(1.0, 5)), "order of execution", {"mlp": name_layers(5)[::-1]})

    def test_a_negative_second_moment_is_refused(self, make_table: MakeTable) -> None:
        self.refuse(make_table(-decay(1.0, 5)), "cannot be negative")

    @pytest.mark.parametrize("margin", [0.0, -0.1, math.nan, math.inf])
    def test_a_margin_without_a_meaning_is_refused(self, make_table: MakeTable, margin: float) -> None:
        with pytest.raises(UsageError, match="margin"):
            summarize_propagation(make_table(decay(1.0, 5)), {"mlp": name_layers(5)}, margin=margin)
