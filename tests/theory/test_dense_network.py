"""The law of networks of Dense layers at finite width, against laws that are exact, limits and symmetries.

Networks drawn with NumPy are in ``test_dense_network_drawn.py``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import finite_width_laws
import numpy as np
import pytest
from dense_prediction import measure_spread_distance, predict, weights_of
from dense_simulation import Kernel, simulate
from monte_carlo import STANDARD_ERRORS, measure_distance
from refusals import assert_refused

from initcheck.core.errors import TheoryError
from initcheck.theory import sampling
from initcheck.theory.dense_network import (
    DenseLayer,
    DenseNetworkMoments,
    LayerMoments,
    describe_batch,
    predict_dense_network,
    single_input,
)
from initcheck.theory.gaussian import compute_moments, expect_pair, find_activation
from initcheck.theory.mean_field import map_correlation, trace_profile


def take_width(
    width: int, activation: str, kernel: Kernel, depth: int, bias_variance: float = 0.0
) -> DenseNetworkMoments:
    """The law of equal layers without a head, for one dense input of mean square 1."""
    return predict(activation, kernel, (width,) * depth, single_input(width), width, bias_variance, head=False)


class TestExactLaws:
    def test_he_and_relu_keep_the_means_exactly_at_any_width(self) -> None:
        for width, depth in ((64, 10), (1024, 50)):
            law = take_width(width, "relu", Kernel("normal", 2.0), depth)
            np.testing.assert_allclose(law.preactivation.mean, 2.0, rtol=1e-8)
            np.testing.assert_allclose(law.activation.mean, 1.0, rtol=1e-8)
            # The gradient of the outputs has mean square 1, and half of it passes.
            np.testing.assert_allclose(law.gradient.mean, 0.5 * width, rtol=1e-11)
            for course, places in (
                (law.preactivation, range(depth)),
                (law.gradient, range(depth - 1, -1, -1)),
            ):
                assert course.gain(places).mean == pytest.approx(1.0, rel=1e-11)
                assert course.gain(places).textbook == pytest.approx(1.0, rel=1e-11)

    @pytest.mark.parametrize("name", ["relu", "linear"])
    def test_logarithms_spread_like_the_exact_increments(self, name: str) -> None:
        kernel = Kernel("normal", {"relu": 2.0, "linear": 1.0}[name])
        increment = {"relu": sampling.compute_relu_increment, "linear": sampling.compute_linear_increment}[name]
        depth = 20
        for width in (100, 1000, 10_000):
            exact = increment(width)
            law = take_width(width, name, kernel, depth).activation
            layers = np.arange(1, depth + 1)
            # To order 1/n: what is left is of order 1/n^2.
            np.testing.assert_allclose(np.diag(law.covariance), layers * exact.variance, rtol=8.0 / width)
            np.testing.assert_allclose(law.log_mean, layers * exact.mean, rtol=8.0 / width)
            # A random walk: Cov(ln M_i, ln M_j) is the variance of the shorter one.
            shorter = np.minimum.outer(layers, layers)
            np.testing.assert_allclose(law.covariance, shorter * exact.variance, rtol=8.0 / width)

    @pytest.mark.parametrize("name", ["relu", "linear", "leaky_relu"])
    def test_gradients_obey_the_law_of_the_signal_on_the_way_back(self, name: str) -> None:
        # Exact for functions of two straight lines: patterns of signs are independent of the weights.
        kernel = Kernel("normal", {"relu": 2.0, "linear": 1.0, "leaky_relu": 2.0 / 1.04}[name])
        depth = 20
        for width in (100, 1000):
            law = take_width(width, name, kernel, depth)
            forward = law.activation.covariance
            # A layer's activation function comes last forward, and first on the way back; the loss is no layer.
            backward = law.gradient.covariance[::-1, ::-1]
            np.testing.assert_allclose(np.diff(np.diag(backward)), np.diff(np.diag(forward)), rtol=8.0 / width)

    def test_orthogonal_linear_networks_do_not_spread_at_all(self) -> None:
        law = take_width(64, "linear", Kernel("orthogonal", 1.0, "fan_max"), 30)
        for course in (law.preactivation, law.activation):
            np.testing.assert_allclose(course.covariance, 0.0, atol=1e-15)
            np.testing.assert_allclose(course.mean, 1.0, rtol=1e-13)
        np.testing.assert_allclose(law.gradient.covariance, law.gradient.covariance[-1, -1], atol=1e-15)
        np.testing.assert_allclose(law.gradient.mean, 64.0, rtol=1e-12)

    def test_drawn_orthogonal_linear_networks_do_not_spread_at_all(self) -> None:
        x = np.random.default_rng(0).standard_normal((1, 64))
        x /= np.sqrt(np.mean(x**2))
        networks = simulate("linear", Kernel("orthogonal", 1.0, "fan_max"), [64] * 10, x, seeds=5, seed=1)
        np.testing.assert_allclose(networks.preactivation[:, :10], 1.0, rtol=1e-5)
        gradients = networks.gradient[:, :10]
        np.testing.assert_allclose(gradients / gradients[:, -1:], 1.0, rtol=1e-5)

    def test_orthogonal_relu_has_the_exact_variance_of_one_layer(self) -> None:
        for width in (100, 10_000):
            law = take_width(width, "relu", Kernel("orthogonal", 2.0, "fan_max"), 2)
            exact = finite_width_laws.compute_orthogonal_relu_variance(width)
            # M of one layer, of which the logarithm has the relative variance to leading order.
            assert law.activation.covariance[0, 0] == pytest.approx(exact, rel=5.0 / width)

    def test_selu_has_the_spread_and_the_bias_of_its_fixed_point(self) -> None:
        width, depth = 10**6, 100
        law = take_width(width, "selu", Kernel("normal", 1.0), depth).activation
        moments = compute_moments("selu", 1.0)
        variance = finite_width_laws.compute_fixed_point_variance(
            1.0, float(moments.second), float(moments.fourth), float(moments.second_slope)
        )
        assert width * law.covariance[-1, -1] == pytest.approx(variance, rel=1e-4)
        bias = finite_width_laws.compute_fixed_point_bias(
            variance, float(moments.second_slope), float(moments.second_curvature)
        )
        assert width * (law.mean[-1] - 1.0) == pytest.approx(bias, rel=1e-3)

    def test_critical_tanh_spreads_by_two_thirds_of_depth_over_width(self) -> None:
        width, depth = 10**6, 200
        law = take_width(width, "tanh", Kernel("normal", 1.0), depth).preactivation
        expected = finite_width_laws.compute_critical_tanh_variance(width, depth)
        assert law.covariance[-1, -1] == pytest.approx(expected, rel=0.05)

    @pytest.mark.parametrize("c", [-0.5, 0.0, 0.3, 0.9, 1.0])
    def test_two_inputs_covary_by_their_correlation(self, c: float) -> None:
        width = 10**6
        x = np.asarray([[1.0, 0.0], [c, math.sqrt(1.0 - c * c)]]) * math.sqrt(2.0)
        law = predict("relu", Kernel("normal", 2.0), (width,), describe_batch(x), 2, head=False)
        alone = predict("relu", Kernel("normal", 2.0), (width,), single_input(2), 2, head=False)
        # The variance of a mean of two is half their variance and half their covariance.
        covariance = 2.0 * law.activation.covariance[0, 0] - alone.activation.covariance[0, 0]
        assert width * covariance == pytest.approx(finite_width_laws.compute_batch_covariance(c), abs=1e-4)

    @pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "sigmoid", "selu", "relu6"])
    def test_the_limit_of_infinite_width_is_mean_field_theory(self, activation: str) -> None:
        width, depth, sigma_w2, sigma_b2 = 10**8, 6, 1.3, 0.2
        law = take_width(width, activation, Kernel("normal", sigma_w2), depth, sigma_b2)
        profile = trace_profile(activation, sigma_w2, depth, sigma_b2=sigma_b2)
        np.testing.assert_allclose(law.preactivation.mean, profile.q, rtol=1e-6)
        np.testing.assert_allclose(law.activation.mean, profile.activation_second_moment, rtol=1e-6)
        assert law.gradient.textbook_steps == pytest.approx(profile.chi, rel=1e-9)
        assert law.gradient.steps == pytest.approx(profile.chi, rel=1e-6)
        assert law.preactivation.steps == pytest.approx(profile.q[1:] / profile.q[:-1], rel=1e-6)
        means = [float(compute_moments(activation, q).mean) for q in profile.q]
        np.testing.assert_allclose(law.activation_mean, means, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid"])
    def test_correlations_in_wide_networks_follow_the_correlation_map(self, activation: str) -> None:
        width, depth, sigma_w2, sigma_b2 = 10**8, 5, 1.3, 0.2
        x = np.asarray([[1.0, 0.0], [0.3, math.sqrt(1.0 - 0.09)]]) * math.sqrt(2.0)
        law = predict(
            activation, Kernel("normal", sigma_w2), (width,) * depth, describe_batch(x), 2, sigma_b2, head=False
        )
        q = trace_profile(activation, sigma_w2, depth, sigma_b2=sigma_b2).q
        c = [(sigma_w2 * 0.3 + sigma_b2) / (sigma_w2 + sigma_b2)]
        for value in q[:-1]:
            c.append(map_correlation(activation, c[-1], float(value), sigma_w2, sigma_b2))
        np.testing.assert_allclose(law.correlation, c, rtol=1e-6)

    @pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu", "softplus"])
    @pytest.mark.parametrize("width", [16, 64, 1024])
    def test_the_first_layer_has_the_variance_of_gaussian_pairs_across_the_batch(
        self, activation: str, width: int
    ) -> None:
        # Exact at any width: the pre-activations of the first layer are Gaussian.
        x = np.random.default_rng(3).standard_normal((4, 20))
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        cosines = (x @ x.T / 20.0)[np.triu_indices(4, 1)]
        law = predict(activation, Kernel("normal", 1.6), (width,), describe_batch(x), 20)
        products = np.mean([expect_pair(activation, 1.6, float(c)) for c in cosines])
        expected = 0.75 * (float(compute_moments(activation, 1.6).second) - products)
        assert law.activation_batch_variance[0] == pytest.approx(expected, rel=1e-6)

    def test_one_hot_inputs_feel_the_law_of_the_weights_in_mean_and_spread(self) -> None:
        width = 1000
        one_hot = np.eye(8)[:1] * math.sqrt(8.0)
        for kind, kurtosis in (("normal", 3.0), ("uniform", 1.8), ("truncated_normal", 2.36553671712965)):
            law = predict("relu", Kernel(kind, 2.0), (width,), describe_batch(one_hot), 8, head=False)
            assert law.activation.mean[0] == pytest.approx(1.0, rel=1e-10)
            assert width * law.preactivation.covariance[0, 0] == pytest.approx(kurtosis - 1.0, rel=1e-3)
            coefficient = finite_width_laws.compute_leaky_relu_coefficient(kurtosis=kurtosis, participation=1.0)
            assert width * law.activation.covariance[0, 0] == pytest.approx(coefficient, rel=1e-3)


class TestSymmetries:
    def test_a_larger_input_scales_a_network_of_straight_lines_and_nothing_else(self) -> None:
        kernel, widths = Kernel("normal", 1.7), (64, 32, 48)
        one = predict("leaky_relu", kernel, widths, single_input(20), 20)
        other = predict("leaky_relu", kernel, widths, single_input(20, 9.0), 20)
        np.testing.assert_allclose(other.preactivation.mean, 9.0 * one.preactivation.mean, rtol=1e-12)
        np.testing.assert_allclose(other.preactivation.covariance, one.preactivation.covariance, rtol=1e-9)
        np.testing.assert_allclose(other.gradient.mean, one.gradient.mean, rtol=1e-11)
        np.testing.assert_allclose(other.weight_gradient, 9.0 * one.weight_gradient, rtol=1e-11)

    def test_the_gradient_keeps_its_norm_through_rectangles_of_scaled_fan_in(self) -> None:
        law = predict("relu", Kernel("normal", 2.0), (300, 20, 150), single_input(64), 64)
        np.testing.assert_allclose(law.gradient.steps[:2], 1.0, rtol=1e-11)

    def test_a_batch_of_equal_samples_is_one_sample(self) -> None:
        x = np.random.default_rng(0).standard_normal(30)
        alone = predict("tanh", Kernel("normal", 1.5), (64,) * 4, describe_batch(x[np.newaxis]), 30)
        equal = predict("tanh", Kernel("normal", 1.5), (64,) * 4, describe_batch(np.stack([x] * 3)), 30)
        np.testing.assert_allclose(equal.preactivation.mean, alone.preactivation.mean, rtol=1e-10)
        np.testing.assert_allclose(equal.preactivation.covariance, alone.preactivation.covariance, rtol=1e-6)
        np.testing.assert_allclose(equal.correlation, 1.0, rtol=1e-12)

    def test_spreads_fall_with_the_width_and_grow_with_the_depth(self) -> None:
        spreads = [
            np.diag(take_width(width, "tanh", Kernel("normal", 1.0), 10).preactivation.covariance)
            for width in (64, 256, 1024)
        ]
        assert np.all(spreads[0] > spreads[1]) and np.all(spreads[1] > spreads[2])
        assert np.all(np.diff(spreads[0]) > 0.0)
        np.testing.assert_allclose(spreads[1] / spreads[2], 4.0, rtol=0.1)


class TestCourse:
    COURSE = LayerMoments(
        np.asarray([1.0, 2.0]), np.asarray([[0.1, 0.05], [0.05, 0.2]]), np.asarray([2.1]), np.asarray([2.0])
    )

    def test_spread_and_typical_value_are_those_of_a_log_normal_law(self) -> None:
        random = np.random.default_rng(0)
        draws = np.exp(math.log(2.0) - 0.1 + math.sqrt(0.2) * random.standard_normal(200_000))
        assert measure_distance(draws, float(self.COURSE.mean[1])) <= STANDARD_ERRORS
        assert measure_spread_distance(draws, float(self.COURSE.standard_deviation[1]) ** 2) <= STANDARD_ERRORS
        assert measure_distance(np.log(draws), float(self.COURSE.log_mean[1])) <= STANDARD_ERRORS

    def test_a_gain_has_the_spread_of_the_difference(self) -> None:
        gain = self.COURSE.gain([0, 1])
        assert (gain.mean, gain.textbook) == (2.1, 2.0)
        assert gain.standard_deviation == pytest.approx(2.1 * math.sqrt(math.expm1(0.1 + 0.2 - 2.0 * 0.05)))
        back = self.COURSE.gain([1, 0])
        assert (back.mean, back.textbook) == (2.1, 2.0)

    def test_without_two_layers_or_without_steps_there_is_no_gain(self) -> None:
        for course, places in ((self.COURSE, [0]), (self.COURSE, []), (replace(self.COURSE, steps=None), [0, 1])):
            gain = course.gain(places)
            assert math.isnan(gain.mean) and math.isnan(gain.standard_deviation) and math.isnan(gain.textbook)


class TestRefusals:
    def test_a_network_without_layers_is_refused(self) -> None:
        assert_refused(lambda: predict_dense_network([], single_input(3)))

    def test_units_that_are_mixed_below_the_top_are_refused(self) -> None:
        law = weights_of(Kernel("normal", 1.0), 4, 4)
        mixed, plain = DenseLayer(4, law, None), DenseLayer(4, law, find_activation("tanh"))
        with pytest.raises(TheoryError, match="Only the last layer"):
            predict_dense_network([mixed, plain], single_input(4))

    def test_what_grows_faster_than_any_power_is_refused(self) -> None:
        with pytest.raises(TheoryError, match="'exponential': it grows faster than any power"):
            take_width(64, "exponential", Kernel("normal", 1.0), 2)

    def test_a_signal_that_leaves_floating_point_is_refused(self) -> None:
        with pytest.raises(TheoryError, match=r"range of floating-point numbers|moments vanish"):
            take_width(64, "relu", Kernel("normal", 1e30), 40)

    @pytest.mark.filterwarnings("error")
    def test_what_overflows_on_the_way_back_has_no_prediction_and_no_warning(self) -> None:
        law = take_width(64, "linear", Kernel("normal", 64.0), 100)
        assert math.isnan(law.gradient.gain(range(99, -1, -1)).mean)

    def test_a_mixing_top_makes_gradients_relative_and_its_outputs_unknown(self) -> None:
        hidden = DenseLayer(64, weights_of(Kernel("normal", 2.0), 20, 64), find_activation("relu"))
        top = DenseLayer(10, weights_of(Kernel("normal", 1.0), 64, 10), None)
        law = predict_dense_network([hidden, top], single_input(20))
        assert law.gradient_is_relative
        assert math.isnan(law.activation.mean[-1]) and math.isnan(law.activation_mean[-1])
        assert law.gradient.mean[-1] == pytest.approx(1.0)
        # An average of the units' squared slopes, times the norm gain of the head.
        assert law.gradient.mean[0] == pytest.approx(0.5, rel=1e-10)
