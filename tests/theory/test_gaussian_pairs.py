"""Double Gaussian integrals, against closed forms, plane grids, conditional means and identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gaussian_closed_forms import CLOSED_FORMS, integrate_normal
from refusals import assert_refused
from scipy.special import ndtr

from initcheck.theory.activations import TWINS
from initcheck.theory.gaussian import compute_moments, expect_pair

POLYNOMIALLY_BOUNDED = sorted(set(TWINS) - {"exponential"})
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
