"""Propagation on routes, judged on synthetic tables. The intervals are at 95%: seeds are fixed."""

import math

import numpy as np
import pandas as pd
import pytest
from model_measurement import find_by

from initcheck.audit.limits import NORMALIZATION_GROWTH, Limits
from initcheck.audit.paths import SiteNode, find_paths
from initcheck.audit.total_change import judge_paths
from initcheck.core.formatting import format_interval, format_number
from initcheck.core.statistics import seeds_of_equivalence


def make_case(forward, backward=None, kinds=None, seeds=8, noise=0.01):
    """A plain stack whose squares have these means: forward q, backward g, both from the input to the output."""
    count = len(forward)
    backward = np.ones(count) if backward is None else np.asarray(backward, dtype=float)
    kinds = kinds or ["Dense"] * count
    weighted = [kind in ("Dense", "Conv2D") for kind in kinds]
    nodes = [
        SiteNode(f"layer_{p}", kinds[p], weighted[p], p == count - 1, () if p == 0 else (p - 1,)) for p in range(count)
    ]
    random = np.random.default_rng(7)
    rows = []
    for seed in range(seeds):
        rows += [
            {
                "seed": seed,
                "position": position,
                "preactivation_second_moment": forward[position] * math.exp(noise * random.standard_normal()),
                "activation_second_moment": 1.0,
                "gradient_norm": math.sqrt(backward[position]) * math.exp(noise * random.standard_normal()),
            }
            for position in range(count)
        ]
    return pd.DataFrame(rows), nodes


def find(paths, limits):
    return find_by("IC101", "IC102", "IC201", "IC202", "IC603", paths=paths, limits=limits)


def judge(*args, limits=None, **kwargs):
    table, nodes = make_case(*args, **kwargs)
    limits = limits or Limits()
    paths = judge_paths(table, nodes, find_paths(nodes), limits)
    return paths, find(paths, limits)


def codes(findings):
    return [finding.code for finding in findings]


def test_a_steady_signal_is_within_the_limit_in_both_directions():
    paths, findings = judge(np.ones(12))
    assert [judged.outcome for judged in paths] == ["within", "within"]
    assert findings == []


def test_a_signal_that_halves_in_each_of_eleven_steps_vanishes():
    paths, findings = judge(0.5 ** np.arange(12))
    assert codes(findings) == ["IC101"]
    value, low, high = paths[0].rate
    assert low < 0.5 < high and value == pytest.approx(0.5, rel=0.01)
    assert paths[0].steps == 10, "the step into the head does not count"


def test_the_first_layer_beyond_the_limit_is_named():
    _, findings = judge(0.5 ** np.arange(12), noise=1e-6)
    assert findings[0].layer == "layer_7", "2^-7 is the first power below 1/100"
    # The signal is the root of its square: ten times by sqrt(1/2), to 1/32.
    change = "the signal falls to 1/32.0 from layer_0 to layer_10 (10 layers), a factor of 0.707"
    assert findings[0].message.startswith(change)
    assert findings[0].measured.value == pytest.approx(2.0**-10, rel=1e-3)


def test_a_signal_that_doubles_explodes():
    assert codes(judge(2.0 ** np.arange(12))[1]) == ["IC102"]


def test_gradients_that_fall_and_grow_on_their_way_back_are_told_apart():
    assert codes(judge(np.ones(12), backward=2.0 ** np.arange(12))[1]) == ["IC201"]
    assert codes(judge(np.ones(12), backward=0.5 ** np.arange(12))[1]) == ["IC202"]


def test_a_halving_that_five_layers_survive_is_no_finding():
    assert codes(judge(0.5 ** np.arange(6))[1]) == []


def test_five_per_cent_a_layer_are_allowed_at_any_depth():
    assert codes(judge(0.96 ** np.arange(200))[1]) == []
    assert codes(judge(0.92 ** np.arange(200))[1]) == ["IC101"]


def test_an_interval_across_the_limit_is_undecided_and_says_how_many_seeds_would_decide():
    paths, findings = judge(np.exp(-np.linspace(0, 5.2, 12)), noise=0.8, seeds=4)
    assert codes(findings)[0] == "IC603"
    assert paths[0].seeds_needed.low > 4
    assert f"; {paths[0].seeds_needed} seeds would decide" in findings[0].message
    low, high = math.exp(paths[0].total.low / 2.0), math.exp(paths[0].total.high / 2.0)
    stated = f"with the interval {format_interval(low, high)} around a limit of {format_number(10.0)};"
    assert stated in findings[0].message


@pytest.mark.parametrize(("fall", "alpha"), [(4.5, 0.05), (6.0, 0.025)])
def test_seeds_are_planned_at_the_level_that_decides_within_the_limit_and_beyond_it(fall: float, alpha: float):
    (judged, _), _ = judge(np.exp(-np.linspace(0, fall, 12)), noise=0.8, seeds=6)
    assert judged.outcome == "undecided" and (abs(judged.total.value) < judged.limit) == (alpha == 0.05)
    planned = {level: seeds_of_equivalence(judged.total, -judged.limit, judged.limit, level) for level in (0.05, 0.025)}
    assert planned[0.05] != planned[0.025]
    assert judged.seeds_needed == planned[alpha]


def test_at_the_limit_no_number_of_seeds_is_said_to_decide():
    fall = math.log(100.0)
    off = judge(np.exp(-np.linspace(0, fall, 12)), noise=0.8, seeds=200)[0][0].total.value + fall
    paths, findings = judge(np.exp(-np.linspace(0, fall + off + 0.001, 12)), noise=0.8, seeds=200)
    assert paths[0].outcome == "undecided" and paths[0].seeds_needed is None
    assert "lies at the limit, and more seeds will not decide it" in findings[0].message


def test_no_number_of_seeds_is_advised_where_a_change_is_shown():
    """The total is undecided, and one layer alone is shown to change too much."""
    levels = np.exp(-np.r_[np.zeros(6), np.full(6, 4.8)])
    paths, _ = judge(levels, noise=0.3, seeds=4, limits=Limits(step_factor=10.0))
    assert not paths[0].total_is_wrong and abs(paths[0].total.low) > paths[0].limit
    assert paths[0].step is not None and paths[0].outcome == "falls"
    assert paths[0].seeds_needed is None


def test_one_draw_is_judged_without_an_interval():
    paths, findings = judge(0.5 ** np.arange(12), seeds=1)
    assert codes(findings) == ["IC101"]
    assert math.isnan(findings[0].measured.low)
    assert codes(judge(np.ones(12), seeds=1)[1]) == []
    assert math.isnan(paths[0].rate[1])


def test_a_single_step_that_nothing_makes_up_for_is_found_even_where_the_limit_in_all_is_wide():
    forward = np.ones(150)
    forward[70:] = 1 / 500
    _, findings = judge(forward)
    assert codes(findings) == ["IC101"]
    assert "at one layer, from layer_69 to layer_70" in findings[0].message
    assert findings[0].layers == ("layer_70",)


def test_a_step_that_a_later_layer_makes_up_for_is_no_finding():
    forward = np.ones(20)
    forward[9:12] = 1e-6
    assert codes(judge(forward)[1]) == []


@pytest.mark.parametrize(("factor", "found"), [(1e4, ["IC102"]), (1e-4, [])])
def test_a_large_head_is_a_finding_and_a_small_one_is_a_choice(factor, found):
    forward = np.ones(8)
    forward[-1] = factor
    assert codes(judge(forward)[1]) == found
    forward[-2:] = factor  # one layer before the head it is no choice
    assert codes(judge(forward)[1]) == (found or ["IC101"])


def test_a_head_may_be_followed_by_its_activation_and_not_by_layers_with_weights():
    """Of two outputs behind a common stack, the last common layer is none of the heads."""
    forward = np.ones(9)
    forward[-2:] = 1e-4
    assert codes(judge(forward, kinds=["Dense"] * 8 + ["Activation"])[1]) == []
    table, nodes = make_case(np.array([1, 1, 1, 1, 1, 1e-4, 1e-4, 1e-4]))
    nodes[-2:] = [SiteNode(name, "Dense", True, True, (5,)) for name in ("one", "other")]
    assert codes(find(judge_paths(table, nodes, find_paths(nodes), Limits()), Limits())) == ["IC101"]


def test_a_signal_of_exactly_zero_in_one_seed_is_found():
    table, nodes = make_case(np.ones(6))
    table.loc[(table["seed"] == 3) & (table["position"] >= 4), "preactivation_second_moment"] = 0.0
    paths = judge_paths(table, nodes, find_paths(nodes), Limits())
    finding = find(paths, Limits())[0]
    assert (finding.code, finding.layer) == ("IC101", "layer_4")


def test_a_site_without_figures_is_undecided_and_never_healthy():
    table, nodes = make_case(np.ones(6))
    table.loc[table["position"] == 2, ["preactivation_second_moment", "activation_second_moment"]] = np.nan
    paths = judge_paths(table, nodes, find_paths(nodes), Limits())
    assert codes(find(paths, Limits())) == ["IC603"]


def test_the_gradient_lost_in_averaging_positions_does_not_count():
    kinds = ["Conv2D", "Conv2D", "GlobalAveragePooling2D", "Dense", "Dense", "Dense"]
    backward = np.asarray([1e-4, 1e-4, 1e-4, 1.0, 1.0, 1.0])
    assert codes(judge(np.ones(6), backward=backward, kinds=kinds)[1]) == []
    plain = ["Conv2D", "Conv2D", "Flatten", "Dense", "Dense", "Dense"]
    assert codes(judge(np.ones(6), backward=backward, kinds=plain)[1]) == ["IC201"]


def test_normalization_layers_may_let_the_gradient_grow_by_their_own_factor_and_no_more():
    kinds = ["Dense", "BatchNormalization"] * 20 + ["Dense"]
    own = NORMALIZATION_GROWTH ** -np.ceil(np.arange(41) / 2)
    assert codes(judge(np.ones(41), backward=own, kinds=kinds)[1]) == []
    assert codes(judge(np.ones(41), backward=own**2, kinds=kinds)[1]) == ["IC202"]
    assert codes(judge(np.ones(41), backward=own, kinds=["Dense"] * 41)[1]) == ["IC202"]


def test_beyond_fifty_unskipped_normalization_layers_their_growth_is_a_finding_again():
    deep = ["Dense", "BatchNormalization"] * 80 + ["Dense"]
    own = NORMALIZATION_GROWTH ** -np.ceil(np.arange(161) / 2)
    assert codes(judge(np.ones(161), backward=own, kinds=deep)[1]) == ["IC202"]


def test_an_unchanged_signal_is_rarely_called_wrong():
    """Totals of a healthy route lie 4.6 nats from the limit: with the seeds' spread of .5 nats no draw reaches it."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        levels = np.exp(np.cumsum(random.normal(0, 0.15, 12)))
        found += judge(levels, noise=0.1, seeds=4)[1]
    assert found == []


def test_a_model_whose_outputs_no_layer_reaches_is_undecided_and_never_healthy():
    assert codes(find([], Limits())) == ["IC603"]


def test_a_mean_beyond_the_limit_with_an_interval_that_reaches_back_is_not_called_a_fall():
    """Ten steps to e^-5.5; the interval of four noisy seeds is wider than the nat that lies beyond the limit."""
    paths, findings = judge(np.exp(-np.linspace(0, 6.05, 12)), noise=0.8, seeds=4)
    assert paths[0].total.value < -paths[0].limit < paths[0].total.high
    assert codes(findings)[0] == "IC603"


def make_table(nodes, forward, backward, received):
    """One draw a seed of sites with these squares, and the second moment of what they receive."""
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "position": position,
                "preactivation_second_moment": forward[position] * (1.0 + 0.01 * seed),
                "activation_second_moment": 1.0,
                "input_second_moment": received[position],
                "gradient_norm": math.sqrt(backward[position]),
            }
            for seed in range(4)
            for position in range(len(nodes))
        ]
    )


def test_with_each_normalization_the_size_begins_anew():
    """Three normalizations that give a tenth each are no thousandth together; one that gives a thousandth is one."""
    kinds = ["Dense", "LayerNormalization", "Dense", "LayerNormalization", "Dense", "LayerNormalization", "Dense"]
    assert codes(judge(np.asarray([1.0, 0.1, 1.0, 0.1, 1.0, 0.1, 0.1]), kinds=kinds)[1]) == []
    assert codes(judge(np.asarray([1.0, 1.0, 1.0, 1e-3, 1.0, 1.0, 1.0]), kinds=kinds)[1]) == ["IC101"]


@pytest.mark.parametrize(("end", "found"), [(1.0, []), (300.0, ["IC102"]), (1e-9, ["IC102"])])
def test_the_end_of_a_branch_makes_up_for_growth_in_it_if_it_is_no_smaller_than_that(end, found):
    rows = [
        ("stem", True, ()),
        ("squeeze", True, (0,)),
        ("expand", True, (1,)),
        ("add", False, (0, 2)),
        ("head", True, (3,)),
    ]
    nodes = [SiteNode(name, "Dense", weighted, name == "head", parents) for name, weighted, parents in rows]
    table = make_table(nodes, [1.0, 300.0, end, 1.0, 1.0], np.ones(5), np.ones(5))
    assert codes(find(judge_paths(table, nodes, find_paths(nodes), Limits()), Limits())) == found


def test_what_half_open_gates_take_is_not_put_down_to_their_layer():
    """The LSTM is at a sixteenth by its gates alone; only the layer behind it stands out."""
    nodes = [SiteNode(f"layer{n}", "Dense", True, n == 5, () if not n else (n - 1,)) for n in range(6)]
    nodes[1] = SiteNode("lstm", "LSTM", True, False, (0,))
    sizes = np.cumprod([1.0, 1 / 64, 1.0, 1e-6, 0.5, 1.0])
    table = make_table(nodes, sizes, np.ones(6), np.ones(6))
    forward = judge_paths(table, nodes, find_paths(nodes), Limits())[0]
    assert [forward.levels.layers[place] for place in forward.doers] == ["layer3"]


def test_a_fall_into_a_small_end_does_not_hide_the_layer_that_made_the_signal_grow():
    paths, findings = judge(np.asarray([1.0, 1.0, 300.0, 300.0, 1.0]))
    assert codes(findings) == ["IC102"]
    assert [paths[0].levels.layers[place] for place in paths[0].doers] == ["layer_2"]


def test_who_made_a_change_is_named_with_factors_of_the_signal_and_not_of_its_square():
    _, findings = judge(np.asarray([1.0, 0.64, 400.0, 256.0, 1.0]), noise=1e-9)
    assert (
        findings[0].message
        == "the signal grows 16.0-fold from layer_0 to layer_3: layer_2 25.0-fold; the others × 0.800"
    )


def test_a_step_across_many_normalizations_has_their_allowance():
    """From the sum back to the stem the gradient passes twelve of them, beside a skip connection."""
    nodes = [SiteNode("stem", "Dense", True, False, ())]
    nodes += [SiteNode(f"norm {n}", "BatchNormalization", False, False, (n - 1,)) for n in range(1, 13)]
    nodes += [SiteNode("add", "Add", False, False, (0, 12)), SiteNode("last", "Dense", True, False, (13,))]
    nodes += [SiteNode("head", "Dense", True, True, (14,))]
    forward, backward = np.ones(16), np.ones(16)
    backward[0] = 1000.0
    table = make_table(nodes, forward, backward, forward)
    assert codes(find(judge_paths(table, nodes, find_paths(nodes), Limits()), Limits())) == []
    backward[0] = 100.0 * NORMALIZATION_GROWTH**12 * 2.0
    table = make_table(nodes, forward, backward, forward)
    assert codes(find(judge_paths(table, nodes, find_paths(nodes), Limits()), Limits())) == ["IC202"]
