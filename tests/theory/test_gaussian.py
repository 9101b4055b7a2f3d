"""Gaussian integrals of one and two variables, against closed forms, other quadratures, grids and identities."""

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
    ORDER,
    OVERFLOWS,
    Activation,
    HermiteExpansion,
    compute_moments,
    evaluate_on_grid,
    expand,
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


def _elu(scale: float, alpha: float) -> tuple[Scalar, Scalar, tuple[float, ...]]:
    return (
        lambda x: scale * (x if x > 0.0 else alpha * math.expm1(x)),
        lambda x: scale * (1.0 if x > 0.0 else alpha * math.exp(x)),
        (0.0,),
    )


# Values and slopes, written down by hand, and kinks or jumps.
FORMULAS: dict[str, tuple[Scalar, Scalar, tuple[float, ...]]] = {
    "elu": _elu(1.0, 1.0),
    "celu": _elu(1.0, 1.0),
    "selu": _elu(1.0507009873554805, 1.6732632423543772),
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
    "hard_shrink": (lambda x: x if abs(x) > 0.5 else 0.0, lambda x: float(abs(x) > 0.5), (-0.5, 0.5)),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), lambda x: float(0.0 < x < 6.0), (0.0, 6.0)),
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

    @pytest.mark.parametrize("q", VARIANCES)
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
        }
        if name in CONTINUOUS:
            # For f = phi^2, d/dq E f and d^2/dq^2 E f are half of E D^2 f and a quarter of E D^4 f; here by parts.
            fourth = integrate_normal(lambda x: value(x) ** 2 * (x**4 / q**2 - 6.0 * x**2 / q + 3.0), q, kinks)
            expected["second_slope"] = integrate_normal(lambda x: value(x) * slope(x) * x, q, kinks) / q
            expected["second_curvature"] = fourth / (4.0 * q**2)
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
        phi = CLOSED_FORMS[name].activation if name in CLOSED_FORMS else find_activation(name)
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
        assert float(compute_moments("sigmoid", 0.0).mean) == pytest.approx(0.5, rel=1e-15)  # a sum of weights
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


# Two variables.

CORRELATIONS = (-1.0, -1.0 + 1e-10, -0.999, -0.5, 0.0, 1e-9, 0.3, 0.9, 1.0 - 1e-6, 1.0 - 1e-9, 1.0)
PAIRS = ((1.0, 1.0), (0.01, 9.0), (2.0, 0.5))


class TestExpectPair:
    @pytest.mark.parametrize("name", [name for name, closed in CLOSED_FORMS.items() if closed.kernel])
    @pytest.mark.parametrize("variances", PAIRS)
    def test_kernels_are_those_in_closed_form(self, name: str, variances: tuple[float, float]) -> None:
        closed = CLOSED_FORMS[name]
        q, r = (0.1 * v for v in variances) if name == "exponential" else variances
        assert closed.kernel is not None
        size = math.sqrt(abs(closed.kernel(q, q, 1.0) * closed.kernel(r, r, 1.0)))
        for c in CORRELATIONS:
            got = expect_pair(closed.activation, q, c, other_q=r)
            assert got == pytest.approx(closed.kernel(q, r, c), abs=1e-10 * size), c
        if closed.slope_kernel is None:
            return
        size = math.sqrt(abs(closed.slope_kernel(q, q, 1.0) * closed.slope_kernel(r, r, 1.0)))
        for c in CORRELATIONS:
            # The slope comes from differences in v over a distance of sqrt(1 - c^2), which costs digits at the ends.
            tolerance = 1e-10 if abs(c) in (0.0, 1.0) or 1.0 - abs(c) > 1e-7 else 1e-8
            got = expect_pair(closed.activation, q, c, other_q=r, slopes=True)
            assert got == pytest.approx(closed.slope_kernel(q, r, c), abs=tolerance * size), c

    @pytest.mark.parametrize("variance", [1e-12, 1e4, 1e10])
    def test_relu_has_its_kernel_at_any_scale(self, variance: float) -> None:
        closed = CLOSED_FORMS["relu"]
        assert closed.kernel is not None and closed.slope_kernel is not None
        for c in (-0.7, 0.2, 0.99):
            expected = closed.kernel(variance, variance, c)
            assert expect_pair("relu", variance, c) == pytest.approx(expected, rel=1e-11)
            expected = closed.slope_kernel(variance, variance, c)
            assert expect_pair("relu", variance, c, slopes=True) == pytest.approx(expected, rel=1e-11)

    @pytest.mark.parametrize("name", ["tanh", "gelu", "softplus", "mish"])
    @pytest.mark.parametrize(("q", "r", "c"), [(1.0, 1.0, 0.6), (0.2, 3.0, -0.8), (2.0, 2.0, 0.99), (0.5, 1.5, 0.0)])
    def test_smooth_functions_have_the_integral_of_a_dense_plane_grid(
        self, name: str, q: float, r: float, c: float
    ) -> None:
        # The trapezoidal rule converges exponentially for functions that are analytic near the real axis.
        z = np.arange(-9.0, 9.0, 0.05)
        density = 0.05 * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        phi = TWINS[name]
        v = math.sqrt(r) * (c * z[:, np.newaxis] + math.sqrt(1.0 - c * c) * z)
        expected = density @ (phi(math.sqrt(q) * z)[:, np.newaxis] * phi(v)) @ density
        assert expect_pair(name, q, c, other_q=r) == pytest.approx(float(expected), rel=1e-10, abs=1e-12)

    @pytest.mark.parametrize("name", ["selu", "relu6", "hard_shrink"])
    @pytest.mark.parametrize(("q", "r", "c"), [(1.0, 1.0, 0.6), (0.2, 30.0, -0.8), (4.0, 4.0, 0.999), (9.0, 1.5, 0.0)])
    def test_kinked_functions_have_the_integral_of_their_conditional_mean(
        self, name: str, q: float, r: float, c: float
    ) -> None:
        spread = math.sqrt(r * (1.0 - c * c))

        def normal_part(k: float, mean: float, low: float, high: float) -> float:
            """E v^k exp(0) over low < v < high for k = 0 or 1, v ~ N(mean, spread^2)."""
            a, b = (low - mean) / spread, (high - mean) / spread
            mass = float(ndtr(b) - ndtr(a))
            if k == 0:
                return mass
            edges = math.exp(-0.5 * a * a) - (math.exp(-0.5 * b * b) if math.isfinite(b) else 0.0)
            return mean * mass + spread * edges / math.sqrt(2.0 * math.pi)

        def conditional_mean(mean: float) -> float:
            if name == "relu6":
                return normal_part(1, mean, 0.0, 6.0) + 6.0 * float(ndtr((mean - 6.0) / spread))
            if name == "hard_shrink":
                return mean - normal_part(1, mean, -0.5, 0.5)
            scale, alpha = 1.0507009873554805, 1.6732632423543772
            exponent = mean + 0.5 * spread**2
            below = math.exp(exponent) * float(ndtr(-(mean + spread**2) / spread))
            return scale * (normal_part(1, mean, 0.0, math.inf) + alpha * (below - float(ndtr(-mean / spread))))

        def value(u: float) -> float:
            return float(TWINS[name](np.asarray(u)))

        slope = c * math.sqrt(r / q)
        kinks = {"selu": (0.0,), "relu6": (0.0, 6.0), "hard_shrink": (-0.5, 0.5)}[name]
        bends = [kink / slope + k * spread / abs(slope) for kink in kinks for k in (-6, -2, 0, 2, 6)] if slope else []
        expected = integrate_normal(lambda u: value(u) * conditional_mean(slope * u), q, (*kinks, *bends))
        assert expect_pair(name, q, c, other_q=r) == pytest.approx(expected, rel=1e-9, abs=1e-11)

    @pytest.mark.parametrize("name", ["relu", "tanh", "selu", "gelu", "relu6", "softsign"])
    def test_two_variances_can_be_exchanged(self, name: str) -> None:
        for c in (-0.9, 0.3, 0.999):
            for slopes in (False, True):
                one = expect_pair(name, 0.4, c, other_q=5.0, slopes=slopes)
                other = expect_pair(name, 5.0, c, other_q=0.4, slopes=slopes)
                assert one == pytest.approx(other, rel=1e-10, abs=1e-12)

    @pytest.mark.parametrize("name", ["relu", "tanh", "selu", "gelu", "relu6", "sparse_plus"])
    def test_the_kernel_grows_by_that_of_the_slopes(self, name: str) -> None:
        # Price 1958: d/dc E phi(u) phi(v) = sqrt(q r) E phi'(u) phi'(v).
        q, r, step = 0.7, 2.0, 1e-3
        for c in (-0.6, 0.0, 0.8):
            values = [expect_pair(name, q, c + k * step, other_q=r) for k in (-2, -1, 1, 2)]
            derivative = float(np.dot([1.0, -8.0, 8.0, -1.0], values)) / (12.0 * step)
            slopes = expect_pair(name, q, c, other_q=r, slopes=True)
            assert derivative == pytest.approx(math.sqrt(q * r) * slopes, rel=1e-8)

    @pytest.mark.parametrize("name", POLYNOMIALLY_BOUNDED)
    def test_at_the_ends_it_is_a_moment_of_one_variable(self, name: str) -> None:
        q = 1.7
        moments = compute_moments(name, q)
        for slopes, second, mean in (
            (False, moments.second, moments.mean),
            (True, moments.slope_second, moments.slope_mean),
        ):
            assert expect_pair(name, q, 1.0, slopes=slopes) == pytest.approx(float(second), rel=1e-10, abs=1e-13)
            assert expect_pair(name, q, 0.0, slopes=slopes) == pytest.approx(float(mean) ** 2, rel=1e-10, abs=1e-13)

    @pytest.mark.parametrize("name", ["tanh", "softsign", "hard_tanh", "hard_shrink"])
    def test_an_odd_function_has_an_odd_kernel_with_even_slopes(self, name: str) -> None:
        for c in (0.1, 0.7, 0.99999):
            assert expect_pair(name, 1.0, -c) == pytest.approx(-expect_pair(name, 1.0, c), rel=1e-10)
            minus, plus = (expect_pair(name, 1.0, sign * c, slopes=True) for sign in (-1.0, 1.0))
            assert minus == pytest.approx(plus, rel=1e-10)

    def test_the_wrong_correlation_is_told_from_the_right_one(self) -> None:
        # Negative control of the tolerances above.
        closed = CLOSED_FORMS["relu"]
        assert closed.kernel is not None
        assert expect_pair("relu", 1.0, 0.5) != pytest.approx(closed.kernel(1.0, 1.0, 0.5 + 1e-8), abs=1e-10)

    @pytest.mark.parametrize("correlation", [1.0 + 1e-9, -1.5, math.nan, math.inf])
    def test_what_is_no_correlation_is_refused(self, correlation: float) -> None:
        assert_refused(lambda: expect_pair("tanh", 1.0, correlation), f"correlation={correlation!r}")


# Power series in the correlation.

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expand_activation(name: str) -> HermiteExpansion:
    grid = evaluate_on_grid(name, [1.0])
    return expand(grid.z[0], grid.weight[0], np.stack([grid.value[0], grid.slope[0]]))


def test_polynomials_have_their_own_coefficients() -> None:
    z = NODES
    expansion = expand(z, WEIGHTS, np.stack([np.ones_like(z), z, z**2, z**3 - 3.0 * z, z**4]))
    expected = np.zeros((5, ORDER + 1))
    expected[0, 0] = expected[1, 1] = 1.0
    expected[2, 0], expected[2, 2] = 1.0, math.sqrt(2.0)
    expected[3, 3] = math.sqrt(6.0)
    # z^4 = He_4 + 6 He_2 + 3.
    expected[4, [0, 2, 4]] = 3.0, 6.0 * math.sqrt(2.0), math.sqrt(24.0)
    np.testing.assert_allclose(expansion.coefficients, expected, atol=1e-9)


def test_exponentials_have_their_coefficients_in_closed_form() -> None:
    # exp(a z) = exp(a^2/2) sum a^k He_k / k!.
    a = 0.7
    k = np.arange(12)
    factorials = np.asarray([math.factorial(int(order)) for order in k], dtype=np.float64)
    expected = math.exp(a * a / 2.0) * a**k / np.sqrt(factorials)
    expansion = expand(NODES, WEIGHTS, np.exp(a * NODES)[np.newaxis])
    np.testing.assert_allclose(expansion.coefficients[0, :12], expected, rtol=1e-9)


def test_products_of_polynomials_are_exact_at_every_correlation() -> None:
    z = NODES
    expansion = expand(z, WEIGHTS, np.stack([z, z**2, z**3]))
    c = np.asarray([-1.0, -0.4, 0.0, 0.5, 1.0])
    products = expansion.expect_products(c)
    assert products.shape == (5, 3, 3)
    # By Isserlis: E u v = c, E u^2 v^2 = 1 + 2 c^2, E u v^3 = 3 c, E u^3 v^3 = 9 c + 6 c^3.
    np.testing.assert_allclose(products[:, 0, 0], c, atol=1e-9)
    np.testing.assert_allclose(products[:, 1, 1], 1.0 + 2.0 * c**2, atol=1e-9)
    np.testing.assert_allclose(products[:, 0, 2], 3.0 * c, atol=1e-9)
    np.testing.assert_allclose(products[:, 2, 2], 9.0 * c + 6.0 * c**3, atol=1e-8)
    np.testing.assert_allclose(products[:, 0, 1], 0.0, atol=1e-9)


def test_products_of_exponentials_have_their_closed_form() -> None:
    expansion = expand(NODES, WEIGHTS, np.stack([np.exp(NODES), np.exp(0.5 * NODES)]))
    c = np.linspace(-1.0, 1.0, 9)
    products = expansion.expect_products(c)
    np.testing.assert_allclose(products[:, 0, 0], np.exp(1.0 + c), rtol=1e-10)
    np.testing.assert_allclose(products[:, 0, 1], np.exp(0.5 * (1.0 + 0.25) + 0.5 * c), rtol=1e-10)
    np.testing.assert_allclose(products, np.swapaxes(products, 1, 2), rtol=1e-14)


KINKED = ("relu", "selu", "relu6", "hard_tanh", "sparse_plus")
SMOOTH = ("tanh", "gelu", "sigmoid", "silu", "softplus", "mish")


@pytest.mark.parametrize("name", [*KINKED, *SMOOTH])
def test_both_ends_are_exact(name: str) -> None:
    expansion = expand_activation(name)
    none, full = expansion.expect_products(np.asarray([0.0, 1.0]))
    means = expansion.coefficients[:, 0]
    np.testing.assert_allclose(none, np.outer(means, means), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(full, expansion.products, rtol=1e-12, atol=1e-14)
    assert expansion.products[0, 0] == pytest.approx(expect_pair(name, 1.0, 1.0), rel=1e-10)


MODERATE, HIGH = (-0.7, -0.3, 0.2, 0.7), (0.9, 0.97, 0.99, 0.999)


@pytest.mark.parametrize(
    ("names", "correlations", "value_error", "slope_error"),
    [
        ((*KINKED, *SMOOTH), MODERATE, 1e-9, 1e-7),
        (SMOOTH, HIGH, 1e-8, 1e-6),
        (KINKED, HIGH, 2e-4, 3e-2),
    ],
    ids=["moderate correlations", "smooth, high correlations", "kinked, high correlations"],
)
def test_products_have_the_digits_that_the_length_of_the_series_gives(
    names: tuple[str, ...], correlations: tuple[float, ...], value_error: float, slope_error: float
) -> None:
    for name in names:
        expansion = expand_activation(name)
        products = expansion.expect_products(np.asarray(correlations))
        for row, slopes, error in ((0, False, value_error), (1, True, slope_error)):
            exact = [expect_pair(name, 1.0, c, slopes=slopes) for c in correlations]
            far = np.abs(products[:, row, row] - exact).max() / expansion.products[row, row]
            assert far < error, (name, slopes)


@pytest.mark.parametrize("name", KINKED)
def test_without_its_last_term_the_series_falls_short(name: str) -> None:
    # Negative control: what is cut off is not small for slopes.
    expansion = expand_activation(name)
    cut = expansion.coefficients @ expansion.coefficients.T
    assert 1.0 - cut[1, 1] / expansion.products[1, 1] > 1e-4
    assert cut[1, 1] < expansion.products[1, 1]


@pytest.mark.parametrize("name", [*KINKED, *SMOOTH])
def test_products_of_one_function_rise_and_are_convex_between_zero_and_one(name: str) -> None:
    products = expand_activation(name).expect_products(np.linspace(0.0, 1.0, 101))
    for row in (0, 1):
        values = products[:, row, row]
        assert np.all(np.diff(values) > -1e-14)
        assert np.all(np.diff(values, 2) > -1e-13)
