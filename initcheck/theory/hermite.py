"""Expectations of products under correlated Gaussian laws, as power series in the correlation.

For u and v standard normal with correlation c, and functions with coefficients a_k = E f(z) He_k(z) / sqrt(k!),
E f(u) g(v) = sum_k a_k b_k c^k (Mehler 1866). A series is cheap where many correlations and many functions are needed
at once. It converges slowly for kinked functions near c = 1, so what is cut off is put back as one term that makes the
series exact at c = 1; for single exact values there is :func:`initcheck.theory.gaussian_pairs.expect_pair`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from initcheck.theory.pieces import Array

ORDER: Final = 41
"""Highest order kept; odd, so that the term that stands for the rest is even in the correlation."""


@dataclass(frozen=True, eq=False)
class HermiteExpansion:
    """Several functions of one standard normal variable.

    Attributes:
        coefficients: a_k of each function, shape [F, ORDER + 1].
        products: E f_i(z) f_j(z), shape [F, F].
    """

    coefficients: Array
    products: Array

    def expect_products(self, correlations: Array) -> Array:
        """Compute E f_i(u) f_j(v) for all pairs of functions.

        Args:
            correlations: shape [C], each between -1 and 1.

        Returns:
            Shape [C, F, F].
        """
        powers = correlations[:, np.newaxis] ** np.arange(ORDER + 2)
        series = np.einsum("ck,ik,jk->cij", powers[:, :-1], self.coefficients, self.coefficients)
        rest = self.products - self.coefficients @ self.coefficients.T
        return np.asarray(series + powers[:, -1, np.newaxis, np.newaxis] * rest)


def expand(z: Array, weight: Array, functions: Array) -> HermiteExpansion:
    """Expand functions that are given by their values on quadrature nodes.

    Args:
        z: nodes, shape [N].
        weight: quadrature weights times the normal density, shape [N].
        functions: values at the nodes, shape [F, N].

    Returns:
        The expansion.
    """
    basis = np.empty((ORDER + 1, z.size))
    basis[0], basis[1] = 1.0, z
    for k in range(1, ORDER):
        basis[k + 1] = (z * basis[k] - np.sqrt(k) * basis[k - 1]) / np.sqrt(k + 1)
    weighted = functions * weight
    return HermiteExpansion(weighted @ basis.T, weighted @ functions.T)
