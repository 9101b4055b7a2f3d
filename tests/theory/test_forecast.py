from __future__ import annotations

import math

import numpy as np
import pytest
from dense_simulation import Kernel, simulate
from monte_carlo import STANDARD_ERRORS, holds
from refusals import assert_refused
from scipy import stats

from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import InitializerSpec
from initcheck.theory.forecast import DEEPEST_WITH_WIDTH, Forecast, forecast
from initcheck.theory.sampling import compute_relu_increment

Array = np.ndarray


def column(found: Forecast, name: str) -> Array:
    return np.asarray([getattr(layer, name) for layer in found.layers])


# --- closed forms -----------------------------------------------------------------------------------------------------


def test_he_and_relu_keep_signal_and_gradient_at_every_layer():
    found = forecast("relu", initializer="HeNormal", depth=12, width=1000)
    assert found.q == pytest.approx([2.0] * 12)
    assert column(found, "second_moment") == pytest.approx([2.0] * 12)
    assert column(found, "activation_second_moment") == pytest.approx([1.0] * 12)
    assert column(found, "chi")[:-1] == pytest.approx([1.0] * 11)
    assert math.isnan(found.layers[-1].chi) and "layers.chi" in found.reasons
    assert column(found, "gradient_norm2") == pytest.approx([1.0] * 12)
    assert (found.initializer, found.depth, found.widths, found.inputs) == ("HeNormal", 12, (1000,) * 12, 1000)
    assert found.phase.regime == "critical"


def test_the_defaults_are_he_and_relu_in_twenty_layers():
    explicit = forecast("relu", initializer=InitializerSpec("HeNormal"), depth=20, width=[256], inputs=256)
    assert repr(forecast()) == repr(explicit)  # which takes NaN for equal to itself


def test_weight_gradients_are_level_under_glorot_and_relu_though_signal_and_gradient_halve():
    """Glorot and Bengio 2010, eq. 14: a level weight gradient shows nothing."""
    found = forecast("relu", initializer="GlorotNormal", depth=8, width=2000)
    assert found.q == pytest.approx(0.5 ** np.arange(8))
    assert column(found, "gradient_norm2") == pytest.approx(0.5 ** np.arange(7, -1, -1.0), rel=1e-9)
    weights = column(found, "weight_gradient_norm2")
    assert weights == pytest.approx([weights[-1]] * 8, rel=1e-9)
    assert weights[-1] == pytest.approx(2000 * 0.5**7, rel=1e-9)


def test_the_gradients_norm_and_its_mean_square_over_the_units_are_told_apart():
    """n inputs, m outputs: the norm is multiplied by n Var(W) / 2, the mean square over the units by m Var(W) / 2."""
    found = forecast("relu", initializer="HeNormal", width=[300, 100, 10], inputs=784)
    assert found.sigma_w2 == found.forward_gain == pytest.approx((2.0, 2.0, 2.0))
    assert found.backward_gain == pytest.approx((2 * 300 / 784, 2 / 3, 0.2))
    assert column(found, "chi")[:-1] == pytest.approx([1.0, 1.0])
    assert column(found, "chi_per_unit")[:-1] == pytest.approx([1 / 3, 0.1])
    norms, per_unit = column(found, "gradient_norm2"), column(found, "gradient_second_moment")
    assert per_unit == pytest.approx(norms * 10 / np.asarray(found.widths))
    assert norms == pytest.approx([1.0, 1.0, 1.0])


def test_glorot_divides_by_both_fans_of_each_layer():
    found = forecast("linear", initializer="GlorotUniform", width=[300, 100, 10], inputs=784)
    assert found.sigma_w2 == pytest.approx((2 * 784 / 1084, 1.5, 2 * 100 / 110))
    assert found.q == pytest.approx(np.cumprod(found.sigma_w2))
    assert found.layers_until is None
    assert "differ in sigma_w^2, from 1.5 to 1.818" in found.phase.reasons["fixed_point"]


def test_only_the_layers_behind_the_first_decide_where_a_network_goes():
    found = forecast("relu", initializer="GlorotUniform", width=100, depth=5, inputs=7)
    assert found.sigma_w2[0] != found.sigma_w2[1]
    assert found.phase.regime == "ordered"
    assert found.q[-1] == pytest.approx(found.q[0] / 16)


def test_sigma_w_and_sigma_b_stand_in_place_of_an_initializer():
    found = forecast("tanh", sigma_w=1.5, sigma_b=0.5, depth=3, width=50, input_second_moment=4.0)
    assert found.initializer is None and "initializer" in found.reasons
    assert found.sigma_w2 == pytest.approx((2.25,) * 3)
    assert found.sigma_b2 == 0.25
    assert found.q[0] == pytest.approx(2.25 * 4.0 + 0.25)


def test_biases_go_with_an_initializer_too():
    assert forecast("relu", sigma_b=0.5, depth=2).q == pytest.approx((2.25, 2.5))


def test_one_layer_is_a_linear_map_and_a_function():
    found = forecast("relu", depth=1, width=50)
    (only,) = found.layers
    assert (only.second_moment, only.activation_second_moment) == pytest.approx((2.0, 1.0))
    assert only.gradient_norm2 == 1.0 and only.gradient_norm2_sd == 0.0
    assert only.weight_gradient_norm2 == pytest.approx(50.0)
    assert only.second_moment_sd == pytest.approx(2.0 * math.sqrt(2 / 50), rel=0.02)


# --- spreads, seeds, dead inputs --------------------------------------------------------------------------------------


def test_seeds_needed_are_those_of_the_z_test_on_the_exact_law_of_relu():
    """He, 10 layers of 128 units, a factor of 2: 17.5, so 18 (Hanin and Rolnick 2018 for the law)."""
    found = forecast("relu", sigma_w=math.sqrt(2.0), depth=10, width=128, effect=2.0)
    variance = compute_relu_increment(128).variance
    assert found.log_variance == pytest.approx(10 * variance)
    quantiles = stats.norm.ppf(1 - 0.001 / 2) + stats.norm.ppf(0.9)
    needed = (quantiles / math.log(2.0)) ** 2 * 10 * variance
    assert needed == pytest.approx(17.5, abs=0.05)
    assert found.seeds_needed == 18
    assert forecast("relu", sigma_w=math.sqrt(2.0), depth=10, width=128, effect=0.5).seeds_needed == 18
    # Weights truncated at two sigma spread a little less.
    assert forecast("relu", initializer="HeNormal", depth=10, width=128, effect=2.0).seeds_needed == 18


def test_more_power_and_fewer_false_alarms_take_more_seeds():
    def needed(**options: float) -> int:
        return forecast("tanh", depth=4, width=64, **options).seeds_needed

    assert needed(effect=1.01) > needed(effect=1.02) > needed(effect=1.05)
    assert needed(effect=1.01, power=0.99) > needed(effect=1.01) > needed(effect=1.01, alpha=0.05)


def test_orthogonal_weights_and_no_activation_leave_seeds_nothing_to_differ_by():
    found = forecast("linear", initializer="Orthogonal", depth=6, width=32)
    assert found.log_variance == pytest.approx(0.0, abs=1e-12)
    assert found.seeds_needed == 1
    assert column(found, "gradient_norm2_sd") == pytest.approx([0.0] * 6, abs=1e-6)


def test_the_law_of_other_functions_agrees_with_that_of_relu_where_they_are_relu():
    """relu6 is relu where nothing reaches 6, but takes the law to order 1/n and not the exact one."""
    exact = forecast("relu", depth=10, width=500, input_second_moment=1e-3)
    law = forecast("relu6", depth=10, width=500, input_second_moment=1e-3)
    assert law.log_variance == pytest.approx(exact.log_variance, rel=0.02)


def test_a_dead_input_is_as_likely_as_a_layer_of_negative_numbers():
    widths = [4, 8, 6]
    alive = math.prod(1 - 0.5**units for units in widths)
    for name in ("relu", "relu6"):
        assert forecast(name, width=widths).dead_input_probability == pytest.approx(1 - alive)
    other = forecast("leaky_relu", width=widths)
    assert math.isnan(other.dead_input_probability) and "relu6" in other.reasons["dead_input_probability"]


@pytest.mark.parametrize(("name", "sigma_w2"), [("tanh", 1.0), ("relu", 2.0)])
def test_means_and_spreads_are_those_of_drawn_networks(name, sigma_w2):
    seeds, units, depth = 1500, 64, 6
    x = math.sqrt(units) * stats.uniform_direction.rvs(units, 1, random_state=1)
    drawn = simulate(name, Kernel("normal", sigma_w2), (units,) * depth, x, seeds, seed=3)
    last = drawn.gradient[:, [depth - 1]]
    found = forecast(name, sigma_w=math.sqrt(sigma_w2), depth=depth, width=units)
    measured = {
        "second_moment": drawn.preactivation,
        "activation_second_moment": drawn.activation,
        "gradient_norm2": drawn.gradient / last,
    }
    for quantity, values in measured.items():
        for layer, numbers in zip(found.layers, values.T[:depth], strict=True):
            value, spread = getattr(layer, quantity), getattr(layer, f"{quantity}_sd")
            if spread == 0.0:
                continue
            # One per cent for what the law leaves out, of order 1/n^2.
            assert abs(numbers.mean() - value) < STANDARD_ERRORS * spread / math.sqrt(seeds) + 0.01 * value
            relative = np.std(np.log(numbers)) / math.sqrt(math.log1p((spread / value) ** 2))
            assert relative == pytest.approx(1.0, abs=STANDARD_ERRORS / math.sqrt(2 * seeds) + 0.03)
    for layer, numbers in zip(found.layers, (drawn.weight_gradient / last).T[:depth], strict=True):
        error = numbers.std() / math.sqrt(seeds)
        assert abs(numbers.mean() - layer.weight_gradient_norm2) < STANDARD_ERRORS * error + 0.01 * numbers.mean()
    output = found.layers[-1].activation_second_moment
    assert holds(np.log(drawn.activation[:, depth - 1]), math.log(output) - 0.5 * found.log_variance)


# --- what cannot be predicted -----------------------------------------------------------------------------------------


def test_deep_networks_have_means_without_spreads():
    found = forecast("tanh", initializer="GlorotNormal", depth=DEEPEST_WITH_WIDTH + 1, width=10)
    assert np.isnan(column(found, "second_moment_sd")).all()
    assert column(found, "second_moment") == pytest.approx(found.q)
    assert f"up to {DEEPEST_WITH_WIDTH} layers" in found.reasons["layers.second_moment_sd"]
    assert found.seeds_needed is None and found.reasons["seeds_needed"] == found.reasons["log_variance"]
    assert column(found, "gradient_norm2")[0] == pytest.approx(np.prod(column(found, "chi")[:-1]))


def test_relu_knows_its_seeds_at_any_depth():
    assert forecast("relu", depth=DEEPEST_WITH_WIDTH + 1, width=100).seeds_needed > 0


def test_what_leaves_the_range_of_numbers_is_infinite_or_has_a_reason():
    found = forecast("relu", sigma_w=1e20, depth=30, width=10)
    assert found.q[-1] == math.inf
    assert found.phase.fixed_point == math.inf
    assert "layers.second_moment_sd" in found.reasons and "layers.chi" in found.reasons
    named = [name for name in found.reasons if name.startswith("layers.chi")]
    assert named == ["layers.chi", "layers.chi_per_unit"]  # in the order of the columns, run after run


@pytest.mark.parametrize("name", ["soft_shrink", "tanh_shrink", "hard_shrink"])
def test_a_signal_that_dies_out_leaves_the_means(name: str):
    found = forecast(name, initializer="GlorotNormal", depth=40)
    assert found.q[-1] < 1e-10
    for field, value in vars(found.layers[0]).items():
        assert not math.isnan(value) or f"layers.{field}" in found.reasons


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"depth": 0}, "depth=0"),
        ({"depth": 20_000}, "depth=20000"),
        ({"width": 0}, "width=0"),
        ({"width": [3, -1]}, "width=-1"),
        ({"width": 10**10}, "10000000000"),
        ({"inputs": 0}, "inputs=0"),
        ({"sigma_w": 0.0}, "sigma_w=0.0"),
        ({"sigma_w": math.nan}, "sigma_w=nan"),
        ({"sigma_w": 1e200}, "sigma_w=1e+200"),
        ({"sigma_b": -0.1}, "sigma_b=-0.1"),
        ({"input_second_moment": 0.0}, "input_second_moment=0.0"),
        ({"input_second_moment": math.inf}, "input_second_moment=inf"),
        ({"effect": -1.0}, "effect=-1.0"),
        ({"effect": math.nan}, "effect=nan"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"power": 1.0}, "power=1.0"),
        ({"initializer": "Zeros"}, "Zeros"),
        ({"initializer": "RandomNormal(mean=0.1)"}, "RandomNormal(mean=0.1)"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, object], received: str):
    assert_refused(lambda: forecast("relu", **options), received)


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="depth=4 and 2 widths"):
        forecast(depth=4, width=[30, 20])
    with pytest.raises(UsageError, match="sigma_w stands in place of an initializer"):
        forecast(initializer="HeNormal", sigma_w=1.0)
    with pytest.raises(UsageError, match="nothing to see"):
        forecast(effect=1.0)
    assert forecast(depth=2, width=[30, 20]).widths == (30, 20)


@pytest.mark.parametrize("name", ["softmax", "glu", "exponential"])
def test_activations_without_a_theory_are_refused(name: str):
    with pytest.raises(TheoryError, match=name):
        forecast(name)
