"""Singular values, against matrices drawn with NumPy and the moments of their limiting law."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from monte_carlo import holds
from numpy.typing import NDArray
from refusals import assert_refused
from scipy import stats
from scipy.special import gammaln

from initcheck.theory import spectrum

Array = NDArray[np.float64]


def extrapolate(statistic: Callable[[Array], Array], seed: int, seeds: int, size: int) -> Array:
    """Twice the statistic at size 2 n less that at n, for unit normal matrices: free of the error of order 1 / n."""
    random = np.random.default_rng(seed)
    small = statistic(random.normal(0.0, 1.0 / math.sqrt(size), (seeds, size, size)))
    large = statistic(random.normal(0.0, 1.0 / math.sqrt(2 * size), (seeds, 2 * size, 2 * size)))
    return 2.0 * large - small


def test_drawn_matrices_have_the_mean_singular_value() -> None:
    means = extrapolate(lambda w: np.linalg.svd(w, compute_uv=False).mean(axis=1), 1, 200, 24)
    assert holds(means, spectrum.compute_mean_singular_value())
    assert holds(0.1 * means, spectrum.compute_mean_singular_value(0.01))
    # Negative controls: the root mean square, and the value quoted for sigma_w2 = 1 by Glorot and Bengio.
    assert not holds(means, 1.0)
    assert not holds(means, 0.8)


@pytest.mark.parametrize("layers", [1, 2, 5, 30])
def test_the_edge_is_where_the_moments_of_the_product_law_grow(layers: int) -> None:
    # The k-th moment of the squared singular values is binomial((L + 1) k, k) / (L k + 1), times k^(-3/2) in order.
    def logarithm(k: float) -> float:
        return float(
            gammaln((layers + 1) * k + 1) - gammaln(k + 1) - gammaln(layers * k + 1) - math.log(layers * k + 1)
        )

    k = 10_000.0
    growth = math.exp((logarithm(2 * k) - logarithm(k) + 1.5 * math.log(2.0)) / k)
    edge = spectrum.compute_largest_squared_singular_value(layers)
    assert growth == pytest.approx(edge, rel=1e-6)
    # Negative control: one layer more.
    assert growth != pytest.approx(spectrum.compute_largest_squared_singular_value(layers + 1), rel=1e-6)


def test_the_second_and_third_moment_of_drawn_products_are_those_of_the_product_law() -> None:
    def take_moment(power: int) -> Callable[[Array], Array]:
        def moment(w: Array) -> Array:
            product = w[0::2] @ w[1::2]
            squares = np.linalg.svd(product, compute_uv=False) ** 2
            moments: Array = np.mean(squares**power, axis=1)
            return moments

        return moment

    for power in (2, 3):
        law = math.comb(3 * power, power) / (2 * power + 1)
        assert holds(extrapolate(take_moment(power), 2, 400, 24), law)
        # Negative control: one matrix.
        assert not holds(extrapolate(take_moment(power), 2, 400, 24), math.comb(2 * power, power) / (power + 1))


@pytest.mark.parametrize(
    ("weights", "slope_second_moment", "expected"),
    [("gaussian", 1.0, 1.0), ("gaussian", 0.5, 2.0), ("orthogonal", 1.0, 0.0), ("orthogonal", 0.5, 1.0)],
)
def test_a_layer_adds_the_variance_of_drawn_jacobians(
    weights: spectrum.Weights, slope_second_moment: float, expected: float
) -> None:
    # Slopes 0 and 1, as of ReLU and linear layers: the second and the fourth moment are equal.
    law = spectrum.compute_jacobian_variance(slope_second_moment, slope_second_moment, weights)
    assert law == pytest.approx(expected, abs=1e-15)
    random = np.random.default_rng(3)

    def statistic(w: Array) -> Array:
        if weights == "orthogonal":
            w = stats.ortho_group.rvs(w.shape[-1], size=w.shape[0], random_state=random)
        slopes = random.uniform(size=(w.shape[0], w.shape[1], 1)) < slope_second_moment
        squares = np.linalg.svd(slopes * w, compute_uv=False) ** 2 / slope_second_moment
        variances: Array = np.mean(squares**2, axis=1) - 1.0
        return variances

    variances = extrapolate(statistic, 4, 200, 16)
    if weights == "orthogonal" and slope_second_moment == 1.0:
        np.testing.assert_allclose(variances, 0.0, atol=1e-13)
    else:
        assert holds(variances, law)
    # Negative control: the other kind of weights.
    other: spectrum.Weights = "orthogonal" if weights == "gaussian" else "gaussian"
    assert not holds(variances, spectrum.compute_jacobian_variance(slope_second_moment, slope_second_moment, other))


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: spectrum.compute_mean_singular_value(-1.0), "sigma_w2=-1.0"),
        (lambda: spectrum.compute_mean_singular_value(math.nan), "sigma_w2=nan"),
        (lambda: spectrum.compute_largest_squared_singular_value(0), "layers=0"),
        (lambda: spectrum.compute_jacobian_variance(0.0, 1.0), "slope_second_moment=0.0"),
        (lambda: spectrum.compute_jacobian_variance(1.0, 0.5), "slope_fourth_moment=0.5"),
        (lambda: spectrum.compute_jacobian_variance(1.0, math.nan), "slope_fourth_moment=nan"),
        (lambda: spectrum.compute_jacobian_variance(1.0, 1.0, "uniform"), "weights='uniform'"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_for_which_no_law_holds_is_refused(call: Callable[[], object], received: str) -> None:
    assert_refused(call, received)
