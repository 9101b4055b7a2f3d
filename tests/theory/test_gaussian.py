"""Gaussian integrals, against closed forms, adaptive quadrature of formulas written out here, and identities."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
from gaussian_closed_forms import CLOSED_FORMS, integrate_normal
from numpy.typing import NDArray
from refusals import assert_refused
from scipy.special import expit, ndtr

from initcheck.core.errors import TheoryError, UsageError
from initcheck.theory.activations import NOT_ELEMENTWISE, TWINS
from initcheck.theory.gaussian import (
    OVERFLOWS,
    Activation,
    compute_moments,
    evaluate_on_grid,
    expect_pair,
    find_activation,
)

Array = NDArray[np.float64]
Scalar = Callable[[float], float]

MOMENTS = (
    "mean",
    "second",
    "fourth",
    "slope_mean",
    "slope_second",
    "slope_fourth",
    "second_slope",
    "second_curvature",
)
VARIANCES = (0.05, 0.3, 1.0, 4.0, 20.0)
POLYNOMIALLY_BOUNDED = sorted(set(TWINS) - {"exponential"})
CONTINUOUS = sorted(set(POLYNOMIALLY_BOUNDED) - {"hard_shrink"})

# Values and slopes, written down by hand.
FORMULAS: dict[str, tuple[Scalar, Scalar, tuple[float, ...]]] = {
    "tanh": (math.tanh, lambda x: 1.0 - math.tanh(x) ** 2, ()),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x), ()),
    "softplus": (lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0.0), expit, ()),
    "log_sigmoid": (lambda x: -math.log1p(math.exp(-abs(x))) + min(x, 0.0), lambda x: expit(-x), ()),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1.0 + x * expit(-x)), ()),
    "gelu": (
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi),
        (),
    ),
    "softsign": (lambda x: x / (1.0 + abs(x)), lambda x: (1.0 + abs(x)) ** -2, (0.0,)),
    "squareplus": (
        lambda x: 0.5 * (x + math.hypot(x, 2.0)),
        lambda x: 0.5 * (1.0 + x / math.hypot(x, 2.0)),
        (),
    ),
    "hard_silu": (
        lambda x: x * min(max(x / 6.0 + 0.5, 0.0), 1.0),
        lambda x: 0.0 if x < -3.0 else 1.0 if x > 3.0 else x / 3.0 + 0.5,
        (-3.0, 3.0),
    ),
    "sparse_plus": (
        lambda x: 0.0 if x < -1.0 else x if x > 1.0 else (x + 1.0) ** 2 / 4.0,
        lambda x: 0.0 if x < -1.0 else 1.0 if x > 1.0 else (x + 1.0) / 2.0,
        (-1.0, 1.0),
    ),
    "soft_shrink": (
        lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x),
        lambda x: float(abs(x) > 0.5),
        (-0.5, 0.5),
    ),
}


class TestMoments:
    @pytest.mark.parametrize("name", CLOSED_FORMS)
    def test_moments_are_those_in_closed_form(self, name: str) -> None:
        closed = CLOSED_FORMS[name]
        variances = [q for q in VARIANCES if name != "exponential" or q <= 1.0]
        moments = compute_moments(closed.activation, variances)
        for moment, formula in closed.moments.items():
            expected = [formula(q) for q in variances]
            assert getattr(moments, moment) == pytest.approx(expected, rel=1e-10, abs=1e-12), moment
        assert moments.reason == ""

    @pytest.mark.parametrize("q", [0.3, 4.0])
    @pytest.mark.parametrize("name", FORMULAS)
    def test_moments_are_those_by_adaptive_quadrature(self, name: str, q: float) -> None:
        value, slope, kinks = FORMULAS[name]
        moments = compute_moments(name, q)
        expected = {
            "mean": integrate_normal(value, q, kinks),
            "second": integrate_normal(lambda x: value(x) ** 2, q, kinks),
            "fourth": integrate_normal(lambda x: value(x) ** 4, q, kinks),
            "slope_mean": integrate_normal(slope, q, kinks),
            "slope_second": integrate_normal(lambda x: slope(x) ** 2, q, kinks),
            "slope_fourth": integrate_normal(lambda x: slope(x) ** 4, q, kinks),
            "second_slope": integrate_normal(lambda x: value(x) * slope(x) * x, q, kinks) / q,
        }
        for moment, number in expected.items():
            assert float(getattr(moments, moment)) == pytest.approx(number, rel=1e-10, abs=1e-12), moment

    @pytest.mark.parametrize("name", CONTINUOUS)
    def test_moments_obey_the_identities_of_stein_and_the_heat_equation(self, name: str) -> None:
        q, step = 1.3, 1e-3
        phi = find_activation(name)
        grid = evaluate_on_grid(phi, q)
        moments = compute_moments(phi, q)
        by_parts = float(grid.expect(grid.value * grid.z)[0]) / math.sqrt(q)
        assert float(moments.slope_mean) == pytest.approx(by_parts, rel=1e-11, abs=1e-13)
        # d/dq E f = E f'' / 2: for f = phi^2, and by parts, E[phi phi' x] / q.
        by_parts = float(grid.expect(grid.value * grid.slope * grid.z)[0]) / math.sqrt(q)
        assert float(moments.second_slope) == pytest.approx(by_parts, rel=1e-11, abs=1e-13)
        near = compute_moments(phi, [q - 2 * step, q - step, q + step, q + 2 * step])
        stencil = np.asarray([1.0, -8.0, 8.0, -1.0]) / (12.0 * step)
        assert stencil @ near.second == pytest.approx(float(moments.second_slope), rel=1e-9, abs=1e-10)
        assert stencil @ near.second_slope == pytest.approx(float(moments.second_curvature), rel=1e-7, abs=1e-9)

    @pytest.mark.parametrize("name", ["relu", "selu", "hard_shrink", "gelu", "softplus"])
    def test_moments_scale_with_the_function_and_with_its_argument(self, name: str) -> None:
        phi = find_activation(name)
        q, a, b = 0.8, -3.7, 0.4
        plain = compute_moments(phi, q)
        multiple = compute_moments(Activation("multiple", lambda x: a * phi(x)), q)
        stretched = compute_moments(Activation("stretched", lambda x: phi(x / b)), q * b * b)
        reflected = compute_moments(Activation("reflected", lambda x: phi(-x)), q)
        powers = {"mean": 1, "second": 2, "fourth": 4, "slope_mean": 1, "slope_second": 2, "slope_fourth": 4}
        for moment, power in powers.items():
            expected = float(getattr(plain, moment))
            assert float(getattr(multiple, moment)) == pytest.approx(a**power * expected, rel=1e-10, abs=1e-13)
            slopes = power if moment.startswith("slope") else 0
            assert float(getattr(stretched, moment)) == pytest.approx(expected / b**slopes, rel=1e-10, abs=1e-13)
            sign = -1.0 if moment == "slope_mean" else 1.0
            assert float(getattr(reflected, moment)) == pytest.approx(sign * expected, rel=1e-10, abs=1e-13)
        assert float(multiple.second_slope) == pytest.approx(a * a * float(plain.second_slope), rel=1e-10)
        assert float(stretched.second_slope) == pytest.approx(float(plain.second_slope) / b**2, rel=1e-10)

    def test_a_constant_adds_to_the_mean_and_leaves_the_slopes(self) -> None:
        plain = compute_moments("tanh", 1.0)
        lifted = compute_moments(Activation("lifted", lambda x: np.tanh(x) + 2.0), 1.0)
        assert float(lifted.mean) == pytest.approx(2.0, rel=1e-13)
        assert float(lifted.second) == pytest.approx(float(plain.second) + 4.0, rel=1e-13)
        assert float(lifted.slope_second) == pytest.approx(float(plain.slope_second), rel=1e-11)

    @pytest.mark.parametrize("name", POLYNOMIALLY_BOUNDED)
    def test_an_array_of_variances_gives_what_each_gives_alone(self, name: str) -> None:
        variances = np.asarray([[1e-3, 0.3, 1.0], [7.0, 50.0, 3e5]])
        together = compute_moments(name, variances)
        for moment in MOMENTS:
            values = getattr(together, moment)
            assert values.shape == (2, 3)
            alone = [[float(getattr(compute_moments(name, q), moment)) for q in row] for row in variances]
            np.testing.assert_array_equal(values, alone)
        assert np.shape(compute_moments(name, 1.0).mean) == ()
        assert np.shape(compute_moments(name, [1.0]).mean) == (1,)

    def test_a_kink_of_a_function_of_its_own_costs_no_digits(self) -> None:
        place = 0.3137
        phi = Activation("bent", lambda x: np.where(x > place, 2.0 * x - place, x) + (x > 1.7))

        def value(x: float) -> float:
            return (2.0 * x - place if x > place else x) + (x > 1.7)

        moments = compute_moments(phi, 0.9)
        assert float(moments.second) == pytest.approx(
            integrate_normal(lambda x: value(x) ** 2, 0.9, (place, 1.7)), rel=1e-11
        )
        above = float(ndtr(-place / math.sqrt(0.9)))
        assert float(moments.slope_second) == pytest.approx(1.0 + 3.0 * above, rel=1e-10)

    def test_a_function_of_float32_is_integrated_to_its_digits(self) -> None:
        phi = Activation("float32", lambda x: np.tanh(x.astype(np.float32)).astype(np.float64))
        rough, exact = compute_moments(phi, VARIANCES), compute_moments("tanh", VARIANCES)
        for moment in ("second", "fourth", "second_slope"):
            assert getattr(rough, moment) == pytest.approx(getattr(exact, moment), rel=1e-6)
        for moment in ("slope_second", "slope_fourth"):
            assert getattr(rough, moment) == pytest.approx(getattr(exact, moment), rel=1e-4)

    def test_a_function_that_oscillates_has_moments_while_the_law_stays_within_its_pieces(self) -> None:
        closed = CLOSED_FORMS["sin"]
        farthest = closed.activation.breakpoints.farthest
        within, beyond = 0.99 * (farthest / 13.0) ** 2, 1.01 * (farthest / 13.0) ** 2
        moments = compute_moments(closed.activation, [within, beyond])
        assert moments.second[0] == pytest.approx(closed.moments["second"](within), rel=1e-10)
        assert math.isnan(moments.second[1])
        assert moments.reason == OVERFLOWS


class TestExtremes:
    @pytest.mark.parametrize("name", ["relu", "leaky_0.2", "linear", "elu", "selu", "erf", "sin", "gelu"])
    def test_a_tiny_variance_leaves_the_slopes_at_zero(self, name: str) -> None:
        q = 1e-40
        phi = CLOSED_FORMS[name].activation
        moments = compute_moments(phi, q)
        h = 1e-7
        left, right = (float(phi(np.asarray([sign * h]))[0]) / (sign * h) for sign in (-1.0, 1.0))
        # phi is two straight lines there.
        assert float(moments.second) == pytest.approx(q * (left**2 + right**2) / 2.0, rel=1e-6)
        assert float(moments.fourth) == pytest.approx(3.0 * q * q * (left**4 + right**4) / 2.0, rel=1e-6)
        assert float(moments.slope_mean) == pytest.approx((left + right) / 2.0, rel=1e-6)
        assert float(moments.slope_second) == pytest.approx((left**2 + right**2) / 2.0, rel=1e-6)
        assert float(moments.second_slope) == pytest.approx((left**2 + right**2) / 2.0, rel=1e-6)
        assert moments.reason == ""

    @pytest.mark.parametrize("name", ["softplus", "sigmoid", "log_sigmoid"])
    @pytest.mark.parametrize("q", [0.0, 1e-40, 1e-20])
    def test_a_tiny_variance_leaves_the_slope_at_zero_of_a_function_that_is_not_zero_there(
        self, name: str, q: float
    ) -> None:
        value, slope, _ = FORMULAS[name]
        moments = compute_moments(name, q)
        assert float(moments.mean) == pytest.approx(value(0.0), rel=1e-9)
        assert float(moments.second) == pytest.approx(value(0.0) ** 2, rel=1e-9)
        assert float(moments.slope_mean) == pytest.approx(slope(0.0), rel=1e-6)
        assert float(moments.slope_second) == pytest.approx(slope(0.0) ** 2, rel=1e-6)

    @pytest.mark.parametrize("q", [1e10, 1e20])
    def test_a_huge_variance_sees_the_two_tails(self, q: float) -> None:
        for name in ("relu", "gelu", "silu", "softplus", "hard_silu", "elu"):
            moments = compute_moments(name, q)
            assert float(moments.second) == pytest.approx(q / 2.0, rel=1e-4)
            assert float(moments.slope_second) == pytest.approx(0.5, rel=1e-4)
        for name in ("tanh", "softsign"):
            assert float(compute_moments(name, q).second) == pytest.approx(1.0, rel=1e-3)
        assert float(compute_moments("sigmoid", q).second) == pytest.approx(0.5, rel=1e-4)

    def test_the_slope_of_tanh_dies_out_as_the_area_below_it_says(self) -> None:
        # The density is flat where the slope is not zero: E sech^4 -> (4/3) / sqrt(2 pi q), and sech^8 has area 32/35.
        for q in (1e8, 1e12):
            moments = compute_moments("tanh", q)
            density = 1.0 / math.sqrt(2.0 * math.pi * q)
            assert float(moments.slope_mean) == pytest.approx(2.0 * density, rel=1e-7)
            assert float(moments.slope_second) == pytest.approx(4.0 / 3.0 * density, rel=1e-7)
            assert float(moments.slope_fourth) == pytest.approx(32.0 / 35.0 * density, rel=1e-7)

    def test_without_variance_there_is_the_value_at_zero_and_the_mean_of_both_slopes(self) -> None:
        relu, selu = compute_moments("relu", 0.0), compute_moments("selu", 0.0)
        assert float(relu.mean) == pytest.approx(0.0, abs=1e-150)
        assert float(relu.slope_mean) == pytest.approx(0.5, rel=1e-12)
        assert float(relu.slope_second) == pytest.approx(0.5, rel=1e-12)
        left, right = 1.0507009873554805 * 1.6732632423543772, 1.0507009873554805
        assert float(selu.slope_mean) == pytest.approx((left + right) / 2.0, rel=1e-12)
        assert float(selu.slope_second) == pytest.approx((left**2 + right**2) / 2.0, rel=1e-12)
        assert float(compute_moments("sigmoid", 0.0).mean) == 0.5
        assert math.isnan(relu.second_curvature)
        assert relu.reason == ""

    def test_a_moment_that_overflows_is_nan_with_the_reason(self) -> None:
        moments = compute_moments("exponential", [1.0, 4.0, 100.0])
        np.testing.assert_array_equal(np.isnan(moments.fourth), [False, True, True])
        np.testing.assert_array_equal(np.isnan(moments.second), [False, False, True])
        assert moments.second[1] == pytest.approx(math.exp(8.0), rel=1e-9)
        assert moments.reason == OVERFLOWS

    def test_an_integral_that_diverges_is_nan_with_the_reason(self) -> None:
        # E exp(k x^2) = 1 / sqrt(1 - 2 k q) up to k q = 1/2.
        phi = Activation("square", lambda x: np.exp(x * x / 20.0))
        moments = compute_moments(phi, [1.0, 30.0])
        assert moments.second[0] == pytest.approx(1.0 / math.sqrt(1.0 - 0.2), rel=1e-10)
        assert moments.fourth[0] == pytest.approx(1.0 / math.sqrt(1.0 - 0.4), rel=1e-6)
        assert math.isnan(moments.mean[1]) and math.isnan(moments.second[1]) and math.isnan(moments.fourth[1])
        assert moments.reason == OVERFLOWS

    @pytest.mark.parametrize("q", [-1.0, math.nan, math.inf, [1.0, -1e-9]])
    def test_what_is_no_variance_is_refused(self, q: float | list[float]) -> None:
        assert_refused(lambda: compute_moments("tanh", q), "q=")
        assert_refused(lambda: expect_pair("tanh", np.ravel(q)[-1], 0.5), "q=")
        assert_refused(lambda: expect_pair("tanh", 1.0, 0.5, other_q=np.ravel(q)[-1]), "q=")


class TestFindActivation:
    def test_a_name_stands_for_one_object(self) -> None:
        assert find_activation("tanh") is find_activation("tanh")
        assert find_activation(find_activation("tanh")) is find_activation("tanh")
        assert find_activation(keras.ops.relu) is find_activation(keras.ops.relu)

    @pytest.mark.parametrize("name", sorted(TWINS))
    def test_the_twin_and_the_function_of_keras_itself_have_the_same_moments(self, name: str) -> None:
        variances = [0.5, 1.0] if name == "exponential" else [0.01, 0.5, 1.0, 30.0]
        twin, own = compute_moments(name, variances), compute_moments(getattr(keras.activations, name), variances)
        for moment in MOMENTS[:-1]:
            # TensorFlow rounds 1/sqrt(2) in gelu, and the slope in leaky_relu, to float32.
            expected = pytest.approx(getattr(twin, moment), rel=2e-7, abs=1e-9)
            assert getattr(own, moment) == expected, moment

    def test_a_callable_of_keras_tensors_will_do(self) -> None:
        phi = find_activation(lambda x: keras.ops.relu(x) - 0.1 * keras.ops.relu(-x))
        expected = CLOSED_FORMS["relu"].moments["second"](2.0) * (1.0 + 0.1**2)
        assert float(compute_moments(phi, 2.0).second) == pytest.approx(expected, rel=1e-7)

    @pytest.mark.parametrize("name", sorted(NOT_ELEMENTWISE))
    def test_a_function_that_mixes_units_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(TheoryError, match=f"no theory of single units for the activation '{name}'") as caught:
            find_activation(name)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
    def test_a_function_that_mixes_units_is_refused_by_what_it_does(self, name: str) -> None:
        with pytest.raises(TheoryError, match=f"activation '{name}': it does not work element by element"):
            find_activation(getattr(keras.activations, name))

    def test_a_function_that_looks_at_the_whole_batch_is_refused(self) -> None:
        with pytest.raises(TheoryError, match="does not work element by element"):
            find_activation(lambda x: x - keras.ops.mean(x))

    def test_an_unknown_name_is_refused_with_a_suggestion(self) -> None:
        with pytest.raises(UsageError, match="relu") as caught:
            find_activation("rleu")
        assert "\n" not in str(caught.value)

    def test_what_grows_faster_than_any_power_has_no_moments_for_every_variance(self) -> None:
        with pytest.raises(TheoryError, match="'exponential': it grows faster than any power"):
            find_activation("exponential").require_moments()
        for name in POLYNOMIALLY_BOUNDED:
            find_activation(name).require_moments()
