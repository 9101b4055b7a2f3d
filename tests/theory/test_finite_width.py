"""Laws of finite width, against enumeration, numerical integration and networks drawn with NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import integrate, stats
from scipy.special import digamma, polygamma

from initcheck.theory import sampling

Array = NDArray[np.float64]
TRUNCATED_KURTOSIS = 2.36553671712965


def relu(z: Array) -> Array:
    return np.maximum(z, 0.0)


def selu(z: Array) -> Array:
    return 1.0507009873554805 * np.where(z > 0.0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0.0)))


def expect(function: Callable[[float], float]) -> float:
    """E f(z) for z ~ N(0, 1); f may have a kink at zero."""

    def integrand(z: float) -> float:
        return function(z) * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    return sum(integrate.quad(integrand, low, high, epsabs=1e-13, epsrel=1e-12)[0] for low, high in ((-12, 0), (0, 12)))


def expect_power(activation: Callable[[Array], Array], power: int, factor: Callable[[float], float]) -> float:
    return expect(lambda z: float(activation(np.asarray(z))) ** power * factor(z))


@cache
def integrate_logarithm(freedom: int, scale: float, power: int) -> float:
    """E ln(scale X)^power for a chi-square X, with the integral taken over ln X."""
    law = stats.chi2(freedom)

    def integrand(t: float) -> float:
        return (math.log(scale) + t) ** power * float(law.pdf(math.exp(t))) * math.exp(t)

    return float(integrate.quad(integrand, -80.0, 5.5, limit=500, epsabs=1e-12)[0])


def draw_ratios(seed: int, seeds: int, width: int, inputs: Array, negative_slope: float = 0.0) -> Array:
    """M_{l+1} / M_l for Gaussian kernels at the critical gain of leaky ReLU, of shape (seeds,) + one axis per input."""
    random = np.random.default_rng(seed)
    fan_in = inputs.shape[-1]
    gain = 2.0 / (1.0 + negative_slope**2)
    kernels = random.normal(0.0, math.sqrt(gain / fan_in), (seeds, width, fan_in))
    z = kernels @ inputs.T
    outputs = np.where(z > 0.0, z, negative_slope * z)
    ratios: Array = np.mean(outputs**2, axis=1) / np.mean(inputs.T**2, axis=0)
    return ratios


class TestComputeReluIncrement:
    @pytest.mark.parametrize("width", [1, 2, 3, 6])
    def test_moments_are_those_of_all_sign_patterns_with_integrated_chi_square_logarithms(self, width: int) -> None:
        firsts, seconds = [], []
        for signs in product((0, 1), repeat=width):
            positive = sum(signs)
            if positive:
                firsts.append(integrate_logarithm(positive, 2.0 / width, 1))
                seconds.append(integrate_logarithm(positive, 2.0 / width, 2))
        mean = np.mean(firsts)
        increment = sampling.compute_relu_increment(width)
        assert increment.mean == pytest.approx(mean, rel=1e-7)
        assert increment.variance == pytest.approx(np.mean(seconds) - mean**2, rel=1e-6)

    @pytest.mark.parametrize("width", [30, 1000, 100_000])
    def test_the_bulk_of_the_binomial_gives_the_whole_sum(self, width: int) -> None:
        alive = np.arange(1, width + 1)
        share = stats.binom.pmf(alive, width, 0.5) / -math.expm1(-width * math.log(2.0))
        given = digamma(alive / 2) + math.log(4 / width)
        mean = math.fsum(share * given)
        increment = sampling.compute_relu_increment(width)
        assert increment.mean == pytest.approx(mean, rel=1e-7)  # of the whole sum: scipy's binomial loses digits
        assert increment.variance == pytest.approx(
            math.fsum(share * (polygamma(1, alive / 2) + (given - mean) ** 2)), rel=1e-9
        )

    def test_wide_layers_approach_the_leading_order(self) -> None:
        width = sampling.LARGEST_WIDTH
        increment = sampling.compute_relu_increment(width)
        assert increment.mean * width == pytest.approx(-2.5, rel=1e-6)
        assert increment.variance * width == pytest.approx(5.0, rel=1e-6)

    def test_drawn_layers_follow_the_law(self) -> None:
        width = 6
        ratios = draw_ratios(1, 40_000, width, np.random.default_rng(2).normal(size=(1, 4)))[:, 0]
        logarithms = np.log(ratios[ratios > 0.0])
        increment = sampling.compute_relu_increment(width)
        assert holds(logarithms, increment.mean)
        assert holds((logarithms - increment.mean) ** 2, increment.variance)
        # Negative controls: the leading order, and the law of a layer without activation function.
        assert not holds(logarithms, -5 / (2 * width))
        assert not holds((logarithms - increment.mean) ** 2, 5 / width)
        assert not holds(logarithms, sampling.compute_linear_increment(width).mean)

    def test_another_gain_shifts_the_mean_by_its_logarithm(self) -> None:
        he = sampling.compute_relu_increment(20)
        glorot = sampling.compute_relu_increment(20, scale=0.5)
        assert glorot.mean == pytest.approx(he.mean - math.log(2.0), rel=1e-14)
        assert glorot.variance == he.variance

    def test_uniform_weights_and_a_one_hot_input_follow_the_corrected_law(self) -> None:
        width = 256
        weights = np.random.default_rng(3).uniform(-math.sqrt(3.0), math.sqrt(3.0), (20_000, width))
        logarithms = np.log(2.0 * np.mean(relu(weights) ** 2, axis=1))
        corrected = sampling.compute_relu_increment(width, kurtosis=1.8, participation=1.0)
        assert holds(logarithms, corrected.mean)
        assert holds((logarithms - corrected.mean) ** 2, corrected.variance)
        # Negative control: Gaussian weights.
        gaussian = sampling.compute_relu_increment(width)
        assert not holds(logarithms, gaussian.mean)
        assert not holds((logarithms - gaussian.mean) ** 2, gaussian.variance)


class TestComputeLinearIncrement:
    def test_drawn_layers_follow_the_law(self) -> None:
        width = 3
        ratios = draw_ratios(4, 40_000, width, np.random.default_rng(5).normal(size=(1, 4)), negative_slope=1.0)
        logarithms = np.log(1.5 * ratios[:, 0])
        increment = sampling.compute_linear_increment(width, scale=1.5)
        assert holds(logarithms, increment.mean)
        assert holds((logarithms - increment.mean) ** 2, increment.variance)
        # Negative control: the leading order.
        assert not holds(logarithms, math.log(1.5) - 1 / width)
        assert not holds((logarithms - increment.mean) ** 2, 2 / width)

    def test_one_unit_is_a_squared_normal_value(self) -> None:
        increment = sampling.compute_linear_increment(1)
        assert increment.mean == pytest.approx(-np.euler_gamma - math.log(2.0), rel=1e-14)
        assert increment.variance == pytest.approx(math.pi**2 / 2.0, rel=1e-14)


class TestComputeSquaredMeanRatio:
    def test_drawn_networks_of_unequal_widths_follow_the_law(self) -> None:
        random = np.random.default_rng(6)
        x = np.ones((40_000, 1, 5))
        for width in (8, 12):
            kernels = random.normal(0.0, math.sqrt(2.0 / x.shape[-1]), (x.shape[0], x.shape[-1], width))
            x = relu(x @ kernels)
        moments = np.mean(x[:, 0] ** 2, axis=-1)
        assert holds(moments, 1.0)
        assert holds(moments**2, sampling.compute_squared_mean_ratio([8, 12]))
        # Negative control: the leading order.
        assert not holds(moments**2, math.exp(5 / 8 + 5 / 12))

    def test_a_ratio_beyond_floating_point_is_infinite(self) -> None:
        assert sampling.compute_squared_mean_ratio([1] * 1000) == math.inf


class TestCoefficients:
    @pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
    def test_leaky_relu_is_a_case_of_the_general_formulas(self, slope: float) -> None:
        second, fourth = (1 + slope**2) / 2, 3 * (1 + slope**4) / 2
        leaky = sampling.compute_leaky_relu_coefficient(slope)
        assert sampling.compute_gaussian_coefficient(second, fourth) == pytest.approx(leaky, rel=1e-14)
        radial = 1 + slope**2
        orthogonal = sampling.compute_orthogonal_coefficient(second, fourth, radial)
        assert orthogonal == pytest.approx(leaky - 2.0, abs=1e-14)
        wide = 10**9 * sampling.compute_orthogonal_leaky_relu_variance(10**9, slope)
        assert wide == pytest.approx(orthogonal, rel=1e-8, abs=1e-14)

    def test_variance_of_drawn_layers_is_the_coefficient_over_the_width(self) -> None:
        width = 5
        ratios = draw_ratios(7, 40_000, width, np.random.default_rng(8).normal(size=(1, 3)), negative_slope=0.2)[:, 0]
        deviations = width * (ratios - 1.0) ** 2
        assert holds(deviations, sampling.compute_leaky_relu_coefficient(0.2))
        # Negative control: ReLU.
        assert not holds(deviations, sampling.compute_leaky_relu_coefficient())

    @pytest.mark.parametrize(
        ("kurtosis", "draw"),
        [
            (1.8, lambda random, shape: random.uniform(-math.sqrt(3.0), math.sqrt(3.0), shape)),
            (
                TRUNCATED_KURTOSIS,
                lambda random, shape: stats.truncnorm.ppf(random.uniform(size=shape), -2, 2) / 0.8796256610342398,
            ),
        ],
    )
    def test_sparse_inputs_feel_the_law_of_the_weights(
        self, kurtosis: float, draw: Callable[[np.random.Generator, tuple[int, ...]], Array]
    ) -> None:
        x = np.asarray([3.0, 1.0, 0.0])
        weights = draw(np.random.default_rng(9), (100_000, 2, 3))
        ratios = 2.0 * np.mean(relu(weights @ x) ** 2, axis=1) / np.sum(x**2)
        participation = sampling.compute_participation(x)
        law = sampling.compute_leaky_relu_coefficient(kurtosis=kurtosis, participation=participation)
        assert law == pytest.approx(5.0 + 2.0 * (kurtosis - 3.0) * 0.82, rel=1e-14)
        assert holds(2.0 * (ratios - 1.0) ** 2, law)
        # Negative control: Gaussian weights.
        assert not holds(2.0 * (ratios - 1.0) ** 2, 5.0)

    @pytest.mark.parametrize("slope", [0.0, 0.3])
    def test_drawn_orthogonal_layers_follow_the_exact_law(self, slope: float) -> None:
        width = 5
        kernels = stats.ortho_group.rvs(width, size=20_000, random_state=np.random.default_rng(10))
        z = kernels @ np.random.default_rng(11).normal(size=width)
        squares = np.sum(np.where(z > 0.0, z, slope * z) ** 2, axis=1)
        ratios = 2.0 / (1.0 + slope**2) * squares / np.sum(z**2, axis=1)
        assert holds((ratios - 1.0) ** 2, sampling.compute_orthogonal_leaky_relu_variance(width, slope))
        # Negative control: independent weights.
        assert not holds((ratios - 1.0) ** 2, sampling.compute_leaky_relu_coefficient(slope) / width)

    def test_orthogonal_linear_layers_have_no_spread(self) -> None:
        assert sampling.compute_orthogonal_leaky_relu_variance(7, 1.0) == 0.0

    def test_orthogonal_tanh_layers_follow_the_general_law(self) -> None:
        width = 256
        second, fourth, radial = (
            expect_power(np.tanh, power, factor)
            for power, factor in ((2, lambda z: 1.0), (4, lambda z: 1.0), (2, lambda z: z * z - 1.0))
        )
        directions = np.random.default_rng(12).normal(size=(20_000, width))
        z = math.sqrt(width) * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        ratios = np.mean(np.tanh(z) ** 2, axis=1) / second
        deviations = width * (ratios - ratios.mean()) ** 2
        assert holds(deviations, sampling.compute_orthogonal_coefficient(second, fourth, radial))
        # Negative control: independent weights.
        assert not holds(deviations, sampling.compute_gaussian_coefficient(second, fourth))


class TestComputeBatchCovariance:
    @pytest.mark.parametrize("cosine", [-0.6, 0.6])
    def test_two_inputs_of_drawn_layers_covary_as_the_law_says(self, cosine: float) -> None:
        inputs = np.asarray([[1.0, 0.0, 0.0], [cosine, math.sqrt(1.0 - cosine**2), 0.0]])
        width = 4
        ratios = draw_ratios(13, 40_000, width, inputs)
        products = width * (ratios[:, 0] - 1.0) * (ratios[:, 1] - 1.0)
        law = sampling.compute_batch_covariance(cosine)
        assert holds(products, law)
        # Negative controls: the law of independent samples, and that of two linear outputs, scaled to 5 at c = 1.
        assert not holds(products, 0.0)
        assert not holds(products, 5.0 * cosine**2)

    def test_one_input_has_its_variance_and_opposite_inputs_never_share_a_unit(self) -> None:
        assert sampling.compute_batch_covariance(1.0) == pytest.approx(5.0, rel=1e-14)
        assert sampling.compute_batch_covariance(0.0) == pytest.approx(0.0, abs=1e-14)
        assert sampling.compute_batch_covariance(-1.0) == pytest.approx(-1.0, rel=1e-14)

    def test_a_matrix_of_correlations_gives_a_matrix(self) -> None:
        correlations = np.asarray([[1.0, 0.5], [0.5, 1.0]])
        covariances = sampling.compute_batch_covariance(correlations)
        assert covariances.shape == (2, 2)
        assert covariances[0, 1] == sampling.compute_batch_covariance(0.5)


class TestComputeParticipation:
    def test_it_is_one_for_a_single_value_and_least_for_equal_values(self) -> None:
        assert sampling.compute_participation([0.0, -3.0, 0.0]) == 1.0
        assert sampling.compute_participation(np.full((4, 5), -0.1)) == pytest.approx(1 / 20, rel=1e-14)

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_it_does_not_depend_on_the_scale(self, scale: float) -> None:
        values = np.asarray([1.0, 2.0, -3.0])
        assert sampling.compute_participation(scale * values) == pytest.approx(98 / 196, rel=1e-14)


class TestFixedPoint:
    def test_selu_networks_follow_the_laws_of_spread_and_bias(self) -> None:
        second, fourth, slope, curvature = (
            expect_power(selu, power, factor)
            for power, factor in (
                (2, lambda z: 1.0),
                (4, lambda z: 1.0),
                (2, lambda z: (z * z - 1.0) / 2.0),
                (2, lambda z: (z**4 - 6.0 * z * z + 3.0) / 4.0),
            )
        )
        width, seeds = 128, 8000
        random = np.random.default_rng(14)
        q = np.ones((seeds, 1))
        for _ in range(16):
            q = np.mean(selu(np.sqrt(q) * random.standard_normal((seeds, width))) ** 2, axis=1, keepdims=True)
        q = q[:, 0]
        spread = sampling.compute_fixed_point_variance(1.0, second, fourth, slope)
        bias = sampling.compute_fixed_point_bias(spread, slope, curvature)
        assert holds(q, 1.0 + bias / width)
        assert holds(width * (q - q.mean()) ** 2, spread)
        # Negative controls: no bias; the spread of one layer alone; the spread without damping.
        assert not holds(q, 1.0)
        assert not holds(width * (q - q.mean()) ** 2, fourth - second**2)

    def test_sigma_w2_enters_squared(self) -> None:
        one = sampling.compute_fixed_point_variance(1.0, 0.5, 0.4, 0.3)
        assert sampling.compute_fixed_point_variance(3.0, 0.5, 0.4, 0.3) == pytest.approx(9.0 * one, rel=1e-14)

    def test_relu_has_no_bias(self) -> None:
        assert sampling.compute_fixed_point_bias(2.0, 0.9, 0.0) == 0.0


class TestComputeCriticalTanhVariance:
    def test_drawn_networks_spread_by_two_thirds_of_depth_over_width(self) -> None:
        width, depth, seeds = 256, 16, 3000
        random = np.random.default_rng(15)
        q = np.ones((seeds, 1))
        for _ in range(depth):
            q = np.mean(np.tanh(np.sqrt(q) * random.standard_normal((seeds, width))) ** 2, axis=1, keepdims=True)
        logarithms = np.log(q[:, 0])
        deviations = (logarithms - logarithms.mean()) ** 2
        assert holds(deviations, sampling.compute_critical_tanh_variance(width, depth))
        # Negative controls: the random walks of linear and of ReLU layers.
        assert not holds(deviations, 2 * depth / width)
        assert not holds(deviations, 5 * depth / width)


NAN = math.nan


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: sampling.compute_relu_increment(0), "width=0"),
        (lambda: sampling.compute_relu_increment(2.5), "width=2.5"),  # type: ignore[arg-type]
        (lambda: sampling.compute_relu_increment(True), "width=True"),
        (lambda: sampling.compute_relu_increment(10**7 + 1), "width=10000001"),
        (lambda: sampling.compute_relu_increment(5, scale=NAN), "scale=nan"),
        (lambda: sampling.compute_relu_increment(5, scale=0.0), "scale=0.0"),
        (lambda: sampling.compute_relu_increment(5, kurtosis=0.5), "kurtosis=0.5"),
        (lambda: sampling.compute_relu_increment(5, kurtosis=NAN), "kurtosis=nan"),
        (lambda: sampling.compute_relu_increment(5, participation=1.5), "participation=1.5"),
        (lambda: sampling.compute_linear_increment(-3), "width=-3"),
        (lambda: sampling.compute_linear_increment(3, scale=-1.0), "scale=-1.0"),
        (lambda: sampling.compute_squared_mean_ratio([]), "widths=[]"),
        (lambda: sampling.compute_squared_mean_ratio([4, 0]), "widths=0"),
        (lambda: sampling.compute_squared_mean_ratio(4), "widths=4"),  # type: ignore[arg-type]
        (lambda: sampling.compute_squared_mean_ratio([4], NAN), "coefficient=nan"),
        (lambda: sampling.compute_gaussian_coefficient(0.0, 1.0), "second_moment=0.0"),
        (lambda: sampling.compute_gaussian_coefficient(1.0, 0.5), "second_moment=1.0, fourth_moment=0.5"),
        (lambda: sampling.compute_gaussian_coefficient(1.0, NAN), "fourth_moment=nan"),
        (lambda: sampling.compute_orthogonal_coefficient(1.0, 3.0, 2.1), "radial_moment=2.1"),
        (lambda: sampling.compute_orthogonal_coefficient(1.0, 3.0, NAN), "radial_moment=nan"),
        (lambda: sampling.compute_leaky_relu_coefficient(NAN), "negative_slope=nan"),
        (lambda: sampling.compute_orthogonal_leaky_relu_variance(0), "width=0"),
        (lambda: sampling.compute_batch_covariance(1.0 + 1e-9), "correlation=1.000000001"),
        (lambda: sampling.compute_batch_covariance(np.asarray([0.0, NAN])), "correlation=nan among 2"),
        (lambda: sampling.compute_participation([0.0, 0.0]), "inputs=0"),
        (lambda: sampling.compute_participation([]), "inputs=[]"),
        (lambda: sampling.compute_participation([1.0, math.inf]), "inputs=inf"),
        (lambda: sampling.compute_fixed_point_variance(1.0, 1.0, 3.0, 1.0), "slope=1.0"),
        (lambda: sampling.compute_fixed_point_variance(-1.0, 1.0, 3.0, 0.5), "sigma_w2=-1.0"),
        (lambda: sampling.compute_fixed_point_bias(-1.0, 0.5, 0.1), "variance=-1.0"),
        (lambda: sampling.compute_fixed_point_bias(1.0, NAN, 0.1), "slope=nan"),
        (lambda: sampling.compute_fixed_point_bias(1.0, 0.5, NAN), "curvature=nan"),
        (lambda: sampling.compute_critical_tanh_variance(0, 1), "width=0"),
        (lambda: sampling.compute_critical_tanh_variance(1, 0), "depth=0"),
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
