"""Power series in the correlation, against closed forms and exact double integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from initcheck.theory.gaussian import ORDER, HermiteExpansion, evaluate_on_grid, expand, expect_pair

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expand_activation(name: str, q: float = 1.0) -> HermiteExpansion:
    grid = evaluate_on_grid(name, [q])
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


def measure_errors(name: str, q: float, correlations: tuple[float, ...]) -> tuple[float, float]:
    """Largest errors of E phi phi and E phi' phi' against double integrals, in units of E phi^2 and E phi'^2."""
    expansion = expand_activation(name, q)
    products = expansion.expect_products(np.asarray(correlations))
    errors = [
        max(
            abs(float(products[place, row, row]) - expect_pair(name, q, c, slopes=slopes))
            for place, c in enumerate(correlations)
        )
        / float(expansion.products[row, row])
        for row, slopes in ((0, False), (1, True))
    ]
    return errors[0], errors[1]


@pytest.mark.parametrize("name", [*KINKED, *SMOOTH])
def test_moderate_correlations_have_seven_digits(name: str) -> None:
    values, slopes = measure_errors(name, 1.0, (-0.7, -0.3, 0.2, 0.7))
    assert values < 1e-9
    assert slopes < 1e-7


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_seven_digits_at_high_correlations_too(name: str) -> None:
    values, slopes = measure_errors(name, 1.0, (0.9, 0.97, 0.99, 0.999))
    assert values < 1e-8
    assert slopes < 1e-6


@pytest.mark.parametrize("name", KINKED)
def test_kinked_functions_have_four_digits_in_values_and_two_in_slopes_at_high_correlations(name: str) -> None:
    values, slopes = measure_errors(name, 1.0, (0.9, 0.97, 0.99, 0.999))
    assert values < 2e-4
    assert slopes < 3e-2


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
