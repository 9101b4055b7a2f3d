"""What is judged site by site, on synthetic tables: two sites beyond the input, eight seeds."""

import math

import numpy as np
import pandas as pd
import pytest
from model_measurement import find_by

from initcheck.audit.limits import Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.site_estimates import estimate_share
from initcheck.audit.total_change import judge_paths

NODES = [
    SiteNode("input", "Input", False, False, ()),
    SiteNode("first", "Dense", True, False, (0,)),
    SiteNode("second", "Dense", True, False, (1,)),
    SiteNode("third", "Dense", True, False, (2,)),
    SiteNode("head", "Dense", True, True, (3,)),
]
HEALTHY = {
    "preactivation_second_moment": 1.0,
    "activation_second_moment": 1.0,
    "activation_batch_variance": 0.5,
    "dead_fraction": 0.0,
    "zero_fraction": 0.0,
    "saturated_fraction": 0.0,
    "nonfinite_fraction": 0.0,
    "activation_overflow_fraction": 0.0,
    "activation_underflow_fraction": 0.0,
    "gradient_overflow_fraction": 0.0,
    "gradient_underflow_fraction": 0.0,
    "gradient_norm": 1.0,
}


def make_table(changes=None, samples=32, seeds=8):
    """A healthy table with changes by (layer, quantity): one number, or one for each seed."""
    rows = [
        {"seed": seed, "position": place, "layer": node.layer, "batch_size": samples, **HEALTHY}
        for seed in range(seeds)
        for place, node in enumerate(NODES)
    ]
    table = pd.DataFrame(rows)
    for (layer, quantity), values in (changes or {}).items():
        table.loc[table["layer"] == layer, quantity] = values
    return table


def find(changes=None, limits=None, dtype_policy="float32", **kwargs):
    table = make_table(changes, **kwargs)
    limits = limits or Limits()
    paths = judge_paths(table, NODES, find_paths(NODES), limits)
    parts = {"table": table, "nodes": NODES, "paths": paths, "limits": limits, "dtype_policy": dtype_policy}
    return find_by("IC501", "IC303", "IC304", "IC502", "IC103", **parts)


def codes(*args, **kwargs):
    return [finding.code for finding in find(*args, **kwargs)]


def test_a_healthy_table_gives_nothing():
    assert codes() == []


@pytest.mark.parametrize(
    ("quantity", "code"), [("dead_fraction", "IC303"), ("saturated_fraction", "IC304")], ids=["dead", "saturated"]
)
def test_a_share_shown_to_exceed_the_limit_is_found_and_one_below_or_unsure_is_not(quantity, code):
    (finding,) = find({("second", quantity): 0.7})
    assert (finding.code, finding.layer, finding.measured.value) == (code, "second", pytest.approx(0.7))
    assert codes({("second", quantity): 0.45}) == []
    unsure = [0.3, 0.75] * 4  # a mean of .525 whose interval reaches below the limit of .5
    assert codes({("second", quantity): unsure}) == []


def test_the_first_layer_is_named_and_the_worst_one_told():
    (finding,) = find({("first", "dead_fraction"): 0.6, ("third", "dead_fraction"): 0.9})
    assert (finding.layer, finding.layers) == ("first", ("first", "third"))
    assert "60%" in finding.message and "90%, in third" in finding.message


def test_units_behind_a_weight_of_zero_are_no_dead_units():
    assert codes({("second", "dead_fraction"): 1.0, ("second", "preactivation_second_moment"): 0.0}) == []


def test_a_layer_without_an_activation_function_has_no_dead_units():
    assert codes({("second", "dead_fraction"): 1.0, ("second", "preactivation_second_moment"): np.nan}) == []


def test_with_two_samples_half_of_all_units_may_be_zero_on_both_by_chance():
    assert codes({("second", "dead_fraction"): 0.5}, samples=1) == []
    assert codes({("second", "dead_fraction"): 0.7}, samples=1) == [], "with one sample a zero is no sign of death"
    assert codes({("second", "dead_fraction"): 0.7}, samples=8) == ["IC303"]


def test_the_zeros_of_a_clipped_activation_are_not_saturation():
    assert codes({("second", "saturated_fraction"): 0.9, ("second", "zero_fraction"): 0.5}) == []
    assert codes({("second", "saturated_fraction"): 0.9, ("second", "zero_fraction"): 0.1}) == ["IC304"]


def test_a_single_nonfinite_seed_is_found_at_the_first_layer():
    (finding,) = find({("third", "nonfinite_fraction"): [0.0] * 7 + [0.02], ("head", "nonfinite_fraction"): 0.5})
    assert (finding.code, finding.layer, finding.layers) == ("IC501", "third", ("third", "head"))
    assert "in 1 of 8 seeds" in finding.message


def test_samples_that_cannot_be_told_apart_from_a_layer_on_are_found_there():
    changes = {(layer, "activation_batch_variance"): 0.001 for layer in ("second", "third", "head")}
    (finding,) = find(changes)
    assert (finding.code, finding.layer) == ("IC103", "second")


def test_samples_that_become_distinguishable_again_are_no_finding():
    assert codes({("second", "activation_batch_variance"): 0.001}) == []


def test_a_batch_that_is_alike_from_the_start_is_no_fault_of_the_network():
    everywhere = {(node.layer, "activation_batch_variance"): 0.001 for node in NODES}
    assert codes(everywhere) == []


def test_few_samples_do_not_tell_of_collapse():
    changes = {(layer, "activation_batch_variance"): 0.001 for layer in ("second", "third", "head")}
    assert codes(changes, samples=4) == []


@pytest.mark.parametrize("quantity", [name for name in HEALTHY if "flow" in name])
def test_values_that_float16_cannot_hold_are_found_in_layers_and_not_in_inputs(quantity):
    assert codes({("second", quantity): 0.02}) == ["IC502"]
    assert codes({("second", quantity): 0.005}) == []
    assert codes({("input", quantity): 0.5}) == []


@pytest.mark.parametrize(
    ("policy", "severity"), [("float32", "note"), ("mixed_bfloat16", "note"), ("mixed_float16", "wrong")]
)
def test_the_range_of_float16_is_a_note_where_the_model_does_not_compute_in_it(policy, severity):
    (finding,) = find({("second", "activation_overflow_fraction"): 0.5}, dtype_policy=policy)
    assert (finding.code, finding.severity) == ("IC502", severity)


def test_one_draw_is_judged_by_its_value():
    (finding,) = find({("second", "dead_fraction"): 0.7}, seeds=1)
    assert math.isnan(finding.measured.low)


def test_limits_are_those_given():
    assert codes({("second", "dead_fraction"): 0.3}, limits=Limits(dead_fraction=0.2)) == ["IC303"]


def test_the_figure_at_a_layer_is_that_of_its_rows_whatever_the_limit():
    table = make_table({("second", "dead_fraction"): [0.1, 0.2] * 4})
    assert estimate_share("dead", table, NODES, "second").value == pytest.approx(0.15)
    assert estimate_share("dead", table, NODES, "nowhere") is None
