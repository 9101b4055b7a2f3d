"""Singular values of kernels and of the Jacobian of a network, in the limit of large square matrices.

References:
    Marchenko and Pastur, "Distribution of eigenvalues for some sets of random matrices", 1967.
    Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid in deep learning through dynamical isometry", 2017;
    "The emergence of spectral universality in deep networks", AISTATS 2018.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from initcheck.core.errors import TheoryError
from initcheck.theory.arguments import check_count, check_number

Weights = Literal["gaussian", "orthogonal"]

_FIRST_MOMENTS: Final = {"gaussian": -1.0, "orthogonal": 0.0}
"""s_1 of the S-transform of W W', scaled to mean 1."""


def compute_mean_singular_value(sigma_w2: float = 1.0) -> float:
    """Compute the mean singular value of a square kernel with independent weights: 8 / (3 pi) sqrt(sigma_w2).

    Args:
        sigma_w2: n * Var(W).

    Returns:
        The mean of the quarter-circle law, in the limit of large n: 0.8488 for sigma_w2 = 1.

    Raises:
        TheoryError: the argument is negative or NaN.

    Source: Marchenko and Pastur (1967) for a square matrix. Glorot and Bengio (2010), section 4.2.2, measured 0.5 for
    sigma_w2 = 1/3 (0.4901 here), and 0.8 with their normalized initialization.
    """
    return 8.0 / (3.0 * math.pi) * math.sqrt(check_number("sigma_w2", sigma_w2, 0.0))


def compute_largest_squared_singular_value(layers: int) -> float:
    """Compute the upper edge of the squared singular values of a product of square Gaussian matrices.

    (L + 1)^(L + 1) / L^L for n * Var(W) = 1: 4 for one matrix, 6.75 for two, about e (L + 1/2) for many. The mean
    stays 1, so that a deep linear network stretches few directions and loses the others.

    Args:
        layers: number of matrices, L.

    Returns:
        The edge, in the limit of large n.

    Raises:
        TheoryError: the argument is below 1 or not whole.

    Source: the Fuss-Catalan law; Pennington, Schoenholz and Ganguli (2017), for deep linear networks.
    """
    depth = check_count("layers", layers)
    return (depth + 1.0) * math.exp(depth * math.log1p(1.0 / depth))


def compute_jacobian_variance(
    slope_second_moment: float, slope_fourth_moment: float, weights: Weights = "gaussian"
) -> float:
    """Compute what a layer adds to the variance of the squared singular values of the input-output Jacobian.

    mu_2 / mu_1^2 - 1 - s_1 with mu_1 = E phi'^2, mu_2 = E phi'^4, and s_1 = -1 for Gaussian weights, 0 for orthogonal,
    at the critical point, where the mean squared singular value is 1. Where it is 0, the network is an isometry.

    Args:
        slope_second_moment: E phi'(z)^2.
        slope_fourth_moment: E phi'(z)^4.
        weights: "gaussian" or "orthogonal".

    Returns:
        The variance per layer in the limit of large n; L layers have L times as much. Linear: 1 and 0; ReLU: 2 and 1.

    Raises:
        TheoryError: a moment is not positive, the fourth is below the square of the second, or the weights are unknown.

    Source: Pennington, Schoenholz and Ganguli (2017 and 2018), the variance sigma^2_JJ'.
    """
    if weights not in _FIRST_MOMENTS:
        raise TheoryError(
            f"The spectrum of such weights is not known. Received: weights={weights!r}. Give gaussian or orthogonal."
        )
    second = check_number("slope_second_moment", slope_second_moment, 0.0, low_included=False)
    fourth = check_number("slope_fourth_moment", slope_fourth_moment, second * second * (1.0 - 1e-12))
    return max(0.0, fourth / second / second - 1.0) - _FIRST_MOMENTS[weights]
