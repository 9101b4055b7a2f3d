"""Critical points, power laws and phase diagrams, against closed forms, iteration and single fixed points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gaussian_closed_forms import CLOSED_FORMS
from refusals import assert_refused
from scipy import optimize

from initcheck.core.errors import TheoryError
from initcheck.theory.gaussian import Activation, compute_moments, find_activation
from initcheck.theory.mean_field import (
    critical_point_at,
    find_critical_points,
    find_fixed_point,
    find_power_law,
    map_phases,
    map_variance,
)

ERF = CLOSED_FORMS["erf"].activation


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

    def test_what_grows_faster_than_any_power_is_refused(self) -> None:
        with pytest.raises(TheoryError, match="faster than any power"):
            find_critical_points("exponential", 0.1)

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

    def test_what_grows_faster_than_any_power_is_refused(self) -> None:
        with pytest.raises(TheoryError, match="faster than any power"):
            map_phases("exponential", [1.0], [0.1])
