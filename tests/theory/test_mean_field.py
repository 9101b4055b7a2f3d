"""Maps, their fixed points, critical points and phases, against closed forms, iteration and symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from gaussian_closed_forms import CLOSED_FORMS
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import optimize

from initcheck.core.errors import TheoryError
from initcheck.theory.gaussian import Activation, compute_moments, expect_pair, find_activation
from initcheck.theory.mean_field import (
    FixedPoint,
    classify,
    critical_point_at,
    depth_scale,
    find_correlation_fixed_point,
    find_critical_points,
    find_fixed_point,
    find_power_law,
    map_correlation,
    map_phases,
    map_variance,
    predict_weight_gradient,
    trace_profile,
)

Array = NDArray[np.float64]
ERF = CLOSED_FORMS["erf"].activation


def iterate_variance(name: str, sigma_w2: float, sigma_b2: float, layers: int, start: float | None = None) -> float:
    """Follow V by a sum over equal steps in z, apart from the package's quadrature."""
    z = np.linspace(-9.0, 9.0, 3601)
    density = np.exp(-0.5 * z * z)
    density /= density.sum()
    phi = find_activation(name)
    q = sigma_w2 + sigma_b2 if start is None else start
    for _ in range(layers):
        q = sigma_w2 * float(density @ np.square(phi(math.sqrt(q) * z))) + sigma_b2
    return q


class TestMapVariance:
    @pytest.mark.parametrize("name", ["relu", "leaky_0.2", "erf", "sin"])
    def test_the_map_is_affine_in_the_second_moment(self, name: str) -> None:
        closed = CLOSED_FORMS[name]
        q = np.asarray([[0.2, 1.0], [3.0, 9.0]])
        expected = [[1.7 * closed.moments["second"](value) + 0.3 for value in row] for row in q]
        np.testing.assert_allclose(map_variance(closed.activation, q, 1.7, 0.3), expected, rtol=1e-11)

    def test_a_variance_that_overflows_is_nan(self) -> None:
        assert np.isnan(map_variance("exponential", 100.0, 1.0))

    @pytest.mark.parametrize(
        ("sigma_w2", "sigma_b2", "received"),
        [
            (0.0, 0.0, "sigma_w2=0.0"),
            (-1.0, 0.0, "sigma_w2=-1.0"),
            (math.nan, 0.0, "sigma_w2=nan"),
            (math.inf, 0.0, "sigma_w2=inf"),
            (1.0, -0.1, "sigma_b2=-0.1"),
            (1.0, math.nan, "sigma_b2=nan"),
            (1.0, math.inf, "sigma_b2=inf"),
        ],
    )
    def test_what_is_no_variance_of_weights_or_biases_is_refused(
        self, sigma_w2: float, sigma_b2: float, received: str
    ) -> None:
        assert_refused(lambda: map_variance("tanh", 1.0, sigma_w2, sigma_b2), received)
        assert_refused(lambda: trace_profile("tanh", sigma_w2, 3, sigma_b2=sigma_b2), received)
        assert_refused(lambda: find_fixed_point("tanh", sigma_w2, sigma_b2), received)
        assert_refused(lambda: map_correlation("tanh", 0.5, 1.0, sigma_w2, sigma_b2), received)


class TestTraceProfile:
    def test_he_keeps_relu_level_and_lecun_halves_it(self) -> None:
        he = trace_profile("relu", 2.0, 50)
        np.testing.assert_allclose(he.q, 2.0, rtol=1e-12)
        np.testing.assert_allclose(he.activation_second_moment, 1.0, rtol=1e-12)
        np.testing.assert_allclose(he.chi, 1.0, rtol=1e-12)
        lecun = trace_profile("relu", 1.0, 50)
        np.testing.assert_allclose(lecun.q, 0.5 ** np.arange(50), rtol=1e-11)
        np.testing.assert_allclose(lecun.chi, 0.5, rtol=1e-12)

    def test_each_layer_has_the_gain_of_its_own_weights(self) -> None:
        gains = [3.0, 0.5, 2.0, 1.2]
        second, slope = (CLOSED_FORMS["erf"].moments[name] for name in ("second", "slope_second"))
        activation = CLOSED_FORMS["erf"].activation
        profile = trace_profile(activation, gains, 4, sigma_b2=0.1, input_second_moment=0.7)
        q = [3.0 * 0.7 + 0.1]
        for gain in gains[1:]:
            q.append(gain * second(q[-1]) + 0.1)
        np.testing.assert_allclose(profile.q, q, rtol=1e-11)
        np.testing.assert_allclose(profile.activation_second_moment, [second(value) for value in q], rtol=1e-11)
        # The gradient meets the weights of the layer above.
        np.testing.assert_allclose(
            profile.chi, [gain * slope(value) for gain, value in zip(gains[1:], q[:-1], strict=True)], rtol=1e-11
        )

    def test_one_layer_is_a_linear_map_of_the_input(self) -> None:
        profile = trace_profile("tanh", 1.5, 1, sigma_b2=0.25, input_second_moment=2.0)
        assert profile.q == pytest.approx([3.25])
        assert profile.chi.size == 0

    def test_a_signal_that_overflows_is_infinite_from_there_on(self) -> None:
        profile = trace_profile("relu", 1e30, 40)
        assert np.isinf(profile.q[-1]) and np.all(np.diff(profile.q[np.isfinite(profile.q)]) > 0.0)
        assert math.isnan(profile.chi[-1])

    @pytest.mark.parametrize("depth", [0, -1])
    def test_a_network_without_layers_is_refused(self, depth: int) -> None:
        assert_refused(lambda: trace_profile("tanh", 1.0, depth), f"depth={depth}")

    def test_as_many_gains_as_layers_are_needed(self) -> None:
        assert_refused(lambda: trace_profile("tanh", [1.0, 2.0], 3), "2 for depth=3")


class TestFindFixedPoint:
    def test_the_marginal_tanh_has_its_fixed_point_at_zero(self) -> None:
        point = find_fixed_point("tanh", 1.0)
        assert point.q == 0.0 and point.regime == "critical" and not point.is_neutral

    @pytest.mark.parametrize("excess", [1e-3, 1e-6])
    def test_tanh_above_the_margin_has_the_fixed_point_of_perturbation_theory(self, excess: float) -> None:
        # V(q) = s (q - 2 q^2 + 17/3 q^3 - ...) with s = 1 + excess.
        q = find_fixed_point("tanh", 1.0 + excess).q
        series = optimize.brentq(lambda x: (1.0 + excess) * (1.0 - 2.0 * x + 17.0 / 3.0 * x * x) - 1.0, 0.0, excess)
        assert q == pytest.approx(series, rel=20.0 * excess**2 + 1e-8)

    @pytest.mark.parametrize("start", [1e-3, 1.0, 77.0])
    def test_he_and_relu_stay_where_they_begin(self, start: float) -> None:
        point = find_fixed_point("relu", 2.0, start=start)
        assert point == FixedPoint(start, pytest.approx(1.0), pytest.approx(1.0), is_neutral=True)
        assert point.regime == "critical"

    def test_relu_off_criticality_vanishes_or_grows_without_limit(self) -> None:
        assert find_fixed_point("relu", 1.999).q == 0.0
        assert find_fixed_point("relu", 2.001).q == math.inf
        assert find_fixed_point("relu", 2.0, 0.1).q == math.inf
        assert find_fixed_point("linear", 1.0, 0.1).q == math.inf

    @pytest.mark.parametrize("start", [1e-3, 0.5, 1.0, 3.0, 1e3])
    def test_selu_tends_to_one_from_both_sides(self, start: float) -> None:
        # By construction (Klambauer et al., 2017); 1 is also a point of the grid on which the drift is looked at.
        point = find_fixed_point("selu", 1.0, start=start)
        assert point.q == pytest.approx(1.0, abs=1e-6) and not point.is_neutral

    @pytest.mark.parametrize("name", ["softplus", "sparse_plus"])
    def test_a_function_above_relu_grows_without_limit_at_the_gain_of_he(self, name: str) -> None:
        # E phi^2 > q / 2 for every q, if by ever less.
        assert find_fixed_point(name, 2.0).q == math.inf

    def test_relu_with_biases_settles_where_a_geometric_series_does(self) -> None:
        point = find_fixed_point("relu", 1.5, 0.3)
        assert point.q == pytest.approx(0.3 / (1.0 - 0.75), rel=1e-12)
        assert point.chi_forward == pytest.approx(0.75, rel=1e-12)
        assert point.chi_backward == pytest.approx(0.75, rel=1e-12)

    def test_selu_settles_at_one_with_a_growing_gradient(self) -> None:
        point = find_fixed_point("selu", 1.0, start=3.0)
        assert point.q == pytest.approx(1.0, rel=1e-11)
        assert point.chi_forward < 1.0 < point.chi_backward
        assert point.regime == "chaotic"

    @pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(0.9, 0.0), (1.3, 0.0), (1.0, 0.4), (3.0, 0.01)])
    def test_erf_settles_where_its_closed_form_does(self, sigma_w2: float, sigma_b2: float) -> None:
        moments = CLOSED_FORMS["erf"].moments
        expected = optimize.brentq(
            lambda q: sigma_w2 * moments["second"](q) + sigma_b2 - q, 1e-9, 100.0, xtol=1e-16, rtol=1e-15
        )
        point = find_fixed_point(CLOSED_FORMS["erf"].activation, sigma_w2, sigma_b2)
        assert point.q == pytest.approx(expected, rel=1e-11)
        assert point.chi_forward == pytest.approx(sigma_w2 * moments["second_slope"](expected), rel=1e-11)
        assert point.chi_backward == pytest.approx(sigma_w2 * moments["slope_second"](expected), rel=1e-11)

    @pytest.mark.parametrize(
        ("name", "sigma_w2", "sigma_b2"),
        [
            ("tanh", 1.7, 0.05),
            ("tanh", 6.0, 0.0),
            ("sigmoid", 4.0, 0.2),
            ("gelu", 1.5, 0.3),
            ("silu", 1.2, 1.0),
            ("softplus", 1.0, 0.0),
            ("elu", 1.4, 0.0),
            ("hard_tanh", 2.0, 0.1),
            ("softsign", 3.0, 0.3),
            ("mish", 1.0, 0.5),
        ],
    )
    def test_the_fixed_point_is_where_an_iteration_ends(self, name: str, sigma_w2: float, sigma_b2: float) -> None:
        for start in (None, 0.03, 30.0):
            point = find_fixed_point(name, sigma_w2, sigma_b2, start)
            assert abs(point.chi_forward) < 0.95  # 500 layers suffice
            assert point.q == pytest.approx(iterate_variance(name, sigma_w2, sigma_b2, 500, start), rel=1e-6)

    def test_where_two_ends_are_stable_the_beginning_decides(self) -> None:
        # x - tanh x: flat at zero, a straight line far away.
        assert find_fixed_point("tanh_shrink", 3.0, start=1.0).q == 0.0
        assert find_fixed_point("tanh_shrink", 3.0, start=10.0).q == math.inf
        assert iterate_variance("tanh_shrink", 3.0, 0.0, 20, 1.0) < 1e-6
        assert iterate_variance("tanh_shrink", 3.0, 0.0, 20, 10.0) > 1e6

    @pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "softplus", "selu", "relu6"])
    def test_a_multiple_of_the_activation_and_weights_divided_by_it_are_one_network(self, name: str) -> None:
        a = 3.2
        phi = find_activation(name)
        multiple = Activation("multiple", lambda x: a * phi(x))
        for sigma_w2, sigma_b2 in ((0.7, 0.2), (1.6, 0.05)):
            one = find_fixed_point(phi, sigma_w2, sigma_b2)
            other = find_fixed_point(multiple, sigma_w2 / a**2, sigma_b2, start=sigma_w2 + sigma_b2)
            assert other.q == pytest.approx(one.q, rel=1e-10)
            assert other.chi_forward == pytest.approx(one.chi_forward, rel=1e-9)
            assert other.chi_backward == pytest.approx(one.chi_backward, rel=1e-9)
            settled = [
                find_correlation_fixed_point(phi, sigma_w2, sigma_b2, one).correlation,
                find_correlation_fixed_point(multiple, sigma_w2 / a**2, sigma_b2, other).correlation,
            ]
            assert settled[0] == pytest.approx(settled[1], abs=1e-9)

    def test_a_stretched_argument_scales_the_variances(self) -> None:
        b = 0.4
        stretched = Activation("stretched", lambda x: np.tanh(b * x))
        one, other = find_fixed_point("tanh", 1.7, 0.2), find_fixed_point(stretched, 1.7 / b**2, 0.2 / b**2)
        assert other.q == pytest.approx(one.q / b**2, rel=1e-10)
        assert other.chi_backward == pytest.approx(one.chi_backward, rel=1e-9)

    @pytest.mark.parametrize("start", [0.0, -1.0, math.nan, math.inf])
    def test_a_beginning_that_is_no_variance_is_refused(self, start: float) -> None:
        assert_refused(lambda: find_fixed_point("tanh", 1.0, start=start), f"start={start!r}")


class TestClassify:
    def test_the_factor_of_the_gradient_names_the_regime(self) -> None:
        assert [classify(chi) for chi in (0.0, 0.999, 1.0, 1.0 + 5e-7, 1.001, math.inf)] == [
            "ordered",
            "ordered",
            "critical",
            "critical",
            "chaotic",
            "chaotic",
        ]

    def test_nan_is_in_no_regime(self) -> None:
        assert_refused(lambda: classify(math.nan), "chi=nan")


class TestMapCorrelation:
    def test_relu_has_the_map_of_the_arc_cosine_kernel_at_any_variance(self) -> None:
        for c in (-1.0, -0.3, 0.0, 0.5, 0.99, 1.0):
            expected = (math.sqrt(1.0 - c * c) + c * (math.pi - math.acos(c))) / math.pi
            for q in (1e-6, 1.0, 1e6):
                assert map_correlation("relu", c, q, 1.3) == pytest.approx(expected, abs=1e-11)

    def test_biases_draw_all_inputs_together(self) -> None:
        c = map_correlation("linear", 0.2, 2.0, 0.5, 0.7)
        assert c == pytest.approx((0.5 * 2.0 * 0.2 + 0.7) / (0.5 * 2.0 + 0.7), rel=1e-12)

    @pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "selu", "softplus", "hard_tanh"])
    def test_the_map_rises_and_is_convex_between_zero_and_one(self, name: str) -> None:
        # A power series with coefficients that are not negative.
        q = 1.3
        c = np.linspace(0.0, 1.0, 11)
        mapped = np.asarray([map_correlation(name, float(value), q, 1.5, 0.1) for value in c])
        assert mapped[-1] == pytest.approx(1.0, rel=1e-12)
        assert np.all(np.diff(mapped) > 0.0)
        assert np.all(np.diff(mapped, 2) > -1e-12)

    @pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "erf"])
    def test_its_slope_at_one_is_the_factor_of_the_gradient(self, name: str) -> None:
        phi = CLOSED_FORMS[name].activation if name == "erf" else find_activation(name)
        point = find_fixed_point(phi, 1.2, 0.2)
        h = 1e-4
        one_sided = (3.0 - 4.0 * map_correlation(phi, 1.0 - h, point.q, 1.2, 0.2)) + map_correlation(
            phi, 1.0 - 2.0 * h, point.q, 1.2, 0.2
        )
        assert one_sided / (2.0 * h) == pytest.approx(point.chi_backward, rel=1e-6)


class TestFindCorrelationFixedPoint:
    def test_in_the_ordered_phase_all_inputs_become_alike(self) -> None:
        point = find_fixed_point("tanh", 1.2, 0.1)
        settled = find_correlation_fixed_point("tanh", 1.2, 0.1)
        assert settled.correlation == 1.0
        assert settled.slope == point.chi_backward < 1.0

    def test_critical_relu_makes_all_inputs_alike_too(self) -> None:
        settled = find_correlation_fixed_point("relu", 2.0)
        assert (settled.correlation, settled.slope) == (1.0, pytest.approx(1.0))

    def test_a_chaotic_odd_function_without_biases_forgets_all_correlation(self) -> None:
        settled = find_correlation_fixed_point("tanh", 2.0)
        assert settled.correlation == pytest.approx(0.0, abs=1e-12)
        q = find_fixed_point("tanh", 2.0).q
        assert settled.slope == pytest.approx(2.0 * float(compute_moments("tanh", q).slope_mean) ** 2, rel=1e-9)

    @pytest.mark.parametrize(
        ("name", "sigma_w2", "sigma_b2"), [("tanh", 2.5, 0.2), ("tanh", 1.85, 0.05), ("elu", 1.6, 0.02)]
    )
    def test_in_the_chaotic_phase_it_is_where_an_iteration_ends(
        self, name: str, sigma_w2: float, sigma_b2: float
    ) -> None:
        point = find_fixed_point(name, sigma_w2, sigma_b2)
        settled = find_correlation_fixed_point(name, sigma_w2, sigma_b2)
        assert 0.0 < settled.correlation < 1.0
        assert 0.0 < settled.slope < 1.0
        for c in (settled.correlation - 1e-3, settled.correlation + 1e-3):
            # Near the fixed point, the distance shrinks by the slope.
            mapped = map_correlation(name, c, point.q, sigma_w2, sigma_b2)
            ratio = (mapped - settled.correlation) / (c - settled.correlation)
            assert ratio == pytest.approx(settled.slope, rel=5e-3)

    def test_the_slope_is_the_kernel_of_the_slopes(self) -> None:
        settled = find_correlation_fixed_point("tanh", 2.5, 0.2)
        q = find_fixed_point("tanh", 2.5, 0.2).q
        expected = 2.5 * expect_pair("tanh", q, settled.correlation, slopes=True)
        assert settled.slope == pytest.approx(expected, rel=1e-12)

    def test_without_a_variance_there_is_no_correlation_to_settle(self) -> None:
        for name, sigma_w2 in (("tanh", 0.5), ("tanh", 1.0), ("gelu", 1.0), ("softplus", 3.0)):
            settled = find_correlation_fixed_point(name, sigma_w2)
            assert math.isnan(settled.correlation) and math.isnan(settled.slope)

    @pytest.mark.parametrize("sigma_w2", [0.5, 2.0, 3.0])
    def test_without_a_scale_inputs_become_alike_whatever_the_variance_does(self, sigma_w2: float) -> None:
        settled = find_correlation_fixed_point("relu", sigma_w2)
        assert (settled.correlation, settled.slope) == (1.0, pytest.approx(1.0))

    @pytest.mark.parametrize("sigma_w2", [0.5, 1.0, 3.0])
    def test_linear_networks_keep_every_correlation_so_that_none_is_settled(self, sigma_w2: float) -> None:
        assert map_correlation("linear", 0.3, 1.0, sigma_w2) == pytest.approx(0.3, rel=1e-12)
        assert math.isnan(find_correlation_fixed_point("linear", sigma_w2).correlation)

    def test_a_function_that_jumps_is_refused(self) -> None:
        with pytest.raises(TheoryError, match="'hard_shrink' has no slope at 1, because the function jumps") as caught:
            find_correlation_fixed_point("hard_shrink", 1.5, 0.1)
        assert "\n" not in str(caught.value)


class TestDepthScale:
    def test_it_counts_layers_per_factor_e(self) -> None:
        assert depth_scale(math.exp(-0.25)) == pytest.approx(4.0)
        assert depth_scale(math.exp(0.1)) == pytest.approx(-10.0)  # growth
        assert depth_scale(1.0) == math.inf
        assert depth_scale(0.0) == 0.0
        assert depth_scale(1.0 - 1e-9) > 0.0 > depth_scale(1.0 + 1e-9)

    def test_deviations_that_alternate_have_none(self) -> None:
        assert_refused(lambda: depth_scale(-0.5), "slope=-0.5")

    def test_where_the_slope_is_not_known_neither_is_the_scale(self) -> None:
        assert math.isnan(depth_scale(math.nan))

    def test_deviations_shrink_by_e_over_the_depth_scale(self) -> None:
        point = find_fixed_point("tanh", 1.7, 0.1)
        layers = 40
        deviation = 1e-3
        q = point.q + deviation
        for _ in range(layers):
            q = float(map_variance("tanh", q, 1.7, 0.1))
        expected = deviation * math.exp(-layers / depth_scale(point.chi_forward))
        assert q - point.q == pytest.approx(expected, rel=5e-3)


class TestPredictWeightGradient:
    def test_relu_networks_of_equal_widths_have_it_level_whatever_the_gain(self) -> None:
        width, depth = 64, 10
        for sigma_w2 in (0.5, 2.0, 3.0):
            profile = trace_profile("relu", sigma_w2, depth)
            # From the output on: |delta_l|^2.
            delta = np.concatenate([np.cumprod(profile.chi[::-1])[::-1], [1.0]])
            inputs = np.concatenate([[1.0], profile.activation_second_moment[:-1]])
            gradients = predict_weight_gradient(delta, np.full(depth, width), inputs)
            np.testing.assert_allclose(gradients, width * (sigma_w2 / 2.0) ** (depth - 1), rtol=1e-11)

    def test_one_width_stands_for_all_layers(self) -> None:
        gradients = predict_weight_gradient([1.0, 2.0], 10, np.asarray([0.5, 0.25]))
        np.testing.assert_allclose(gradients, [5.0, 5.0])

    def test_it_is_the_squared_norm_of_the_outer_product(self) -> None:
        delta, x = np.asarray([0.3, -2.0]), np.asarray([1.0, 0.5, -0.5, 2.0])
        expected = float(np.sum(np.outer(x, delta) ** 2))
        assert predict_weight_gradient(np.sum(delta**2), x.size, np.mean(x**2)) == pytest.approx(expected)


def test_the_twin_of_the_iteration_sees_a_wrong_gain() -> None:
    # Negative control of the comparison with iterations.
    q = find_fixed_point("tanh", 1.7, 0.05).q
    assert q != pytest.approx(iterate_variance("tanh", 1.7 * 1.001, 0.05, 500), rel=1e-6)


class TestCriticalPointAt:
    @pytest.mark.parametrize("name", ["tanh", "gelu", "selu", "sigmoid", "relu6", "mish"])
    @pytest.mark.parametrize("q", [1e-3, 0.7, 20.0])
    def test_the_gradient_keeps_its_size_and_the_variance_stays(self, name: str, q: float) -> None:
        point = critical_point_at(name, q)
        moments = compute_moments(name, q)
        assert point.q == q
        assert point.sigma_w2 * float(moments.slope_second) == pytest.approx(1.0, rel=1e-13)
        assert point.sigma_w2 * float(moments.second) + point.sigma_b2 == pytest.approx(q, rel=1e-12)

    def test_erf_has_the_point_in_closed_form(self) -> None:
        for q in (0.01, 1.0, 30.0):
            point = critical_point_at(ERF, q)
            sigma_w2 = math.pi / 4.0 * math.sqrt(1.0 + 4.0 * q)
            assert point.sigma_w2 == pytest.approx(sigma_w2, rel=1e-11)
            expected = q - sigma_w2 * 2.0 / math.pi * math.asin(2.0 * q / (1.0 + 2.0 * q))
            assert point.sigma_b2 == pytest.approx(expected, rel=1e-9, abs=1e-13)

    def test_relu_is_critical_at_he_without_biases(self) -> None:
        point = critical_point_at("relu", 3.0)
        assert point.sigma_w2 == pytest.approx(2.0, rel=1e-13)
        assert point.sigma_b2 == pytest.approx(0.0, abs=1e-13)

    def test_a_fixed_point_that_no_critical_network_has_shows_a_negative_variance(self) -> None:
        assert critical_point_at("hard_sigmoid", 1.0).sigma_b2 < 0.0

    @pytest.mark.parametrize("q", [-1.0, math.nan])
    def test_what_is_no_variance_is_refused(self, q: float) -> None:
        assert_refused(lambda: critical_point_at("tanh", q), f"q={q}")


class TestFindCriticalPoints:
    @pytest.mark.parametrize(
        "name", ["tanh", "gelu", "silu", "selu", "elu", "softsign", "hard_tanh", "mish", "sigmoid"]
    )
    def test_the_network_settles_there_and_keeps_its_gradient(self, name: str) -> None:
        biases = [0.003, 0.1, 2.0]
        for point, sigma_b2 in zip(find_critical_points(name, biases), biases, strict=True):
            assert point.sigma_b2 == sigma_b2
            assert float(map_variance(name, point.q, point.sigma_w2, sigma_b2)) == pytest.approx(point.q, rel=1e-10)
            chi = point.sigma_w2 * float(compute_moments(name, point.q).slope_second)
            assert chi == pytest.approx(1.0, rel=1e-12)

    def test_tanh_settles_at_its_critical_point_from_anywhere(self) -> None:
        (point,) = find_critical_points("tanh", 0.1)
        for start in (1e-3, 50.0):
            settled = find_fixed_point("tanh", point.sigma_w2, 0.1, start)
            assert settled.q == pytest.approx(point.q, rel=1e-8)
            assert settled.regime == "critical"

    @pytest.mark.parametrize("sigma_b2", [1e-6, 0.02, 0.5, 10.0])
    def test_erf_has_the_root_of_its_closed_form(self, sigma_b2: float) -> None:
        def excess(q: float) -> float:
            root = math.sqrt(1.0 + 4.0 * q)
            return q - 0.5 * root * math.asin(2.0 * q / (1.0 + 2.0 * q)) - sigma_b2

        q = optimize.brentq(excess, 1e-6, 1e4, xtol=1e-16, rtol=1e-15)
        (point,) = find_critical_points(ERF, sigma_b2)
        assert point.q == pytest.approx(q, rel=1e-7)
        assert point.sigma_w2 == pytest.approx(math.pi / 4.0 * math.sqrt(1.0 + 4.0 * q), rel=1e-8)

    @pytest.mark.parametrize(
        ("name", "slope"),
        [("tanh", 1.0), ("hard_tanh", 1.0), ("gelu", 0.5), ("silu", 0.5), ("elu", 1.0), ("softsign", 1.0)],
    )
    def test_without_biases_it_is_where_the_slope_at_zero_says(self, name: str, slope: float) -> None:
        (point,) = find_critical_points(name, 0.0)
        assert (point.sigma_b2, point.q) == (0.0, 0.0)
        assert point.sigma_w2 == pytest.approx(1.0 / slope**2, rel=1e-9)

    def test_without_a_scale_any_variance_will_do_and_no_biases(self) -> None:
        for name, sigma_w2 in (("relu", 2.0), ("linear", 1.0), ("leaky_relu", 2.0 / 1.04)):
            without, with_biases = find_critical_points(name, [0.0, 0.1])
            assert without.sigma_w2 == pytest.approx(sigma_w2, rel=1e-12)
            assert without.q == 1.0
            assert math.isnan(with_biases.sigma_w2) and math.isnan(with_biases.q)

    def test_softplus_is_never_critical(self) -> None:
        assert all(math.isnan(point.sigma_w2) for point in find_critical_points("softplus", [0.0, 0.1, 1.0]))

    @pytest.mark.parametrize("sigma_b2", [-0.1, math.nan, math.inf])
    def test_what_is_no_variance_of_biases_is_refused(self, sigma_b2: float) -> None:
        assert_refused(lambda: find_critical_points("tanh", [0.1, sigma_b2]), f"sigma_b2={sigma_b2}")

    def test_a_multiple_of_the_activation_needs_that_much_less_weight(self) -> None:
        phi = find_activation("tanh")
        (one,) = find_critical_points(phi, 0.2)
        (other,) = find_critical_points(Activation("multiple", lambda x: 2.5 * phi(x)), 0.2)
        assert other.sigma_w2 == pytest.approx(one.sigma_w2 / 2.5**2, rel=1e-9)
        assert other.q == pytest.approx(one.q, rel=1e-9)


SERIES = {
    # phi = x + a x^3 + ...: V = q + 6 a q^2 and chi = 1 + 6 a q, at first order.
    "tanh": (np.tanh, 2.0),
    "sin": (np.sin, 1.0),
    "arctan": (np.arctan, 2.0),
    "half of tanh": (lambda x: 0.5 * np.tanh(x), 2.0),
    "tanh of half": (lambda x: np.tanh(0.5 * x), 0.5),
}


class TestFindPowerLaw:
    @pytest.mark.parametrize("name", SERIES)
    def test_the_decay_is_that_of_the_third_derivative(self, name: str) -> None:
        # V(q) / (sigma_w^2 phi'^2) = q - a q^2; the gradient's factor falls by a q as well, so that p = 1.
        function, decay = SERIES[name]
        law = find_power_law(Activation(name, function))
        assert law.decay == pytest.approx(decay, rel=1e-4)
        assert law.gradient_exponent == pytest.approx(1.0, rel=1e-4)

    def test_tanh_decays_as_it_says(self) -> None:
        law = find_power_law("tanh")
        assert law.decay == pytest.approx(2.0, rel=1e-4)
        q, gradient = 1.0, 1.0
        course = {}
        for layer in range(1, 1601):
            moments = compute_moments("tanh", q)
            q, gradient = float(moments.second), gradient * float(moments.slope_second)
            course[layer] = (q, gradient)
        # 1 / q = a l + logarithms, so the difference is taken; and ln G = -p ln l + a constant.
        slope = (1.0 / course[1600][0] - 1.0 / course[800][0]) / 800
        assert slope == pytest.approx(law.decay, rel=5e-3)
        exponent = math.log(course[800][1] / course[1600][1]) / math.log(2.0)
        assert exponent == pytest.approx(law.gradient_exponent, rel=5e-3)

    @pytest.mark.parametrize(
        "name",
        [
            "relu",
            "leaky_relu",
            "linear",
            "sigmoid",
            "softplus",
            "gelu",
            "silu",
            "hard_tanh",
            "hard_shrink",
            "soft_shrink",
        ],
    )
    def test_a_function_without_such_a_decay_is_refused(self, name: str) -> None:
        assert_refused(lambda: find_power_law(name))

    @pytest.mark.parametrize("name", ["elu", "selu", "softsign"])
    def test_a_function_that_is_not_smooth_at_zero_is_refused(self, name: str) -> None:
        # V(q) = q - b q^(3/2): the variance falls like 1 / l^2.
        assert_refused(lambda: find_power_law(name))


class TestMapPhases:
    @pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "silu", "selu", "sigmoid", "softplus", "hard_tanh"])
    def test_it_gives_what_single_fixed_points_are(self, name: str) -> None:
        random = np.random.default_rng(7)
        sigma_w, sigma_b = random.uniform(0.3, 3.0, 6), random.uniform(0.05, 1.5, 5)
        diagram = map_phases(name, sigma_w, sigma_b)
        assert diagram.q.shape == diagram.chi.shape == (5, 6)
        np.testing.assert_array_equal(diagram.sigma_w, sigma_w)
        np.testing.assert_array_equal(diagram.sigma_b, sigma_b)
        for row, b in enumerate(sigma_b):
            for column, w in enumerate(sigma_w):
                point = find_fixed_point(name, w**2, b**2)
                if math.isinf(point.q):
                    assert diagram.q[row, column] == math.inf
                else:
                    assert diagram.q[row, column] == pytest.approx(point.q, rel=1e-5)
                    assert diagram.chi[row, column] == pytest.approx(point.chi_backward, rel=1e-5)

    def test_the_marginal_cases_are_those_of_the_single_fixed_points(self) -> None:
        relu = map_phases("relu", [1.0, math.sqrt(2.0), 2.0], [0.0, 0.3])
        np.testing.assert_allclose(relu.q, [[0.0, 2.0, math.inf], [0.18, math.inf, math.inf]], rtol=1e-5)
        np.testing.assert_allclose(relu.chi, [[0.5, 1.0, 2.0]] * 2, rtol=1e-5)
        tanh = map_phases("tanh", [0.5, 1.0], 0.0)
        np.testing.assert_array_equal(tanh.q, [[0.0, 0.0]])
        np.testing.assert_allclose(tanh.chi, [[0.25, 1.0]], rtol=1e-5)

    def test_the_edge_of_chaos_passes_through_the_critical_points(self) -> None:
        biases = np.asarray([0.05, 0.3, 1.0])
        points = find_critical_points("tanh", biases**2)
        for row, point in enumerate(points):
            sigma_w = math.sqrt(point.sigma_w2)
            diagram = map_phases("tanh", [0.99 * sigma_w, 1.01 * sigma_w], biases[row])
            assert diagram.chi[0, 0] < 1.0 < diagram.chi[0, 1]

    @pytest.mark.parametrize(
        ("sigma_w", "sigma_b", "received"),
        [
            ([1.0, 0.0], [0.1], "sigma_w2=0.0"),
            ([1.0, math.nan], [0.1], "sigma_w2=nan"),
            ([1.0], [math.inf], "sigma_b2=inf"),
        ],
    )
    def test_what_is_no_standard_deviation_is_refused(
        self, sigma_w: list[float], sigma_b: list[float], received: str
    ) -> None:
        assert_refused(lambda: map_phases("tanh", sigma_w, sigma_b), received)

    @pytest.mark.parametrize(("sigma_w", "sigma_b"), [([-1.0], [0.1]), ([1.0], [-0.1])])
    def test_a_negative_standard_deviation_is_refused(self, sigma_w: list[float], sigma_b: list[float]) -> None:
        with pytest.raises(TheoryError):
            map_phases("tanh", sigma_w, sigma_b)


@pytest.mark.parametrize(
    "call",
    [
        lambda name: trace_profile(name, 1.0, 2),
        lambda name: find_fixed_point(name, 0.1),
        lambda name: find_critical_points(name, 0.1),
        lambda name: map_phases(name, [1.0], [0.1]),
    ],
    ids=["profile", "fixed point", "critical points", "phases"],
)
def test_what_grows_faster_than_any_power_is_refused(call: Callable[[str], object]) -> None:
    with pytest.raises(TheoryError, match="faster than any power"):
        call("exponential")
