"""Moments of the units of one layer, for one sample and for pairs: what deviations at finite width are made of.

See :mod:`initcheck.theory.dense_network` for the derivation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, Grid, expand

_PAIR_NODES, _PAIR_WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
_PAIR_WEIGHTS = _PAIR_WEIGHTS / _PAIR_WEIGHTS.sum()
# Rows of the expansion: phi and phi' in units of their root mean squares, and what is made of them.
VALUE, SLOPE, VALUE2, SLOPE2, VALUE3, Z_VALUE, Z2_VALUE = range(7)


@dataclass(frozen=True)
class LocalMoments:
    """Moments of one layer's units at the mean of kappa, infinite width; z = sqrt(kappa) g."""

    value_second: float
    slope_second: float
    value_fourth: float
    slope_fourth: float
    value2_slope2: float
    z_value_slope: float
    z2_slope2: float


def measure_locally(phi: Activation, grid: Grid, kappa: float) -> LocalMoments:
    """Measure at the first variance of a grid."""
    with np.errstate(all="ignore"):
        value_second, slope_second = (float(grid.expect(np.square(part))[0]) for part in (grid.value, grid.slope))
        if not (0.0 < value_second < math.inf and 0.0 < slope_second < math.inf):
            raise TheoryError(
                f"Theory cannot follow the activation {phi.name!r} at a pre-activation variance of {kappa:.3g}: "
                "its moments vanish, diverge or overflow there. Choose fewer layers or another initializer."
            )
        # In units of their root mean squares, so that no power leaves the range of floating-point numbers.
        value, slope, z = grid.value / math.sqrt(value_second), grid.slope / math.sqrt(slope_second), grid.z
        size = math.sqrt(kappa * value_second * slope_second)
        return LocalMoments(
            value_second=value_second,
            slope_second=slope_second,
            value_fourth=float(grid.expect(value**4)[0]),
            slope_fourth=float(grid.expect(slope**4)[0]),
            value2_slope2=float(grid.expect(np.square(value * slope))[0]),
            z_value_slope=size * float(grid.expect(z * value * slope)[0]),
            z2_slope2=kappa * slope_second * float(grid.expect(np.square(z * slope))[0]),
        )


def weigh_tails(grid: Grid, local: LocalMoments) -> Array:
    """Give what one unit of excess kurtosis of z, times 24, adds to the covariances of n (e1, e2, e3) of one sample."""
    with np.errstate(all="ignore"):
        squares = np.stack(
            [
                np.square(grid.z[0]),
                np.square(grid.value[0]) / local.value_second,
                np.square(grid.slope[0]) / local.slope_second,
            ]
        )
        he4 = np.square(squares[0]) - 6.0 * squares[0] + 3.0
        weighted = np.nan_to_num(squares * he4 * grid.weight[0])
        shifts = weighted.sum(axis=1)
        return np.asarray(weighted @ np.nan_to_num(squares).T - shifts[:, np.newaxis] - shifts)


class PairMoments:
    """Moments of two samples' units, for every group of pairs and a few correlations within it."""

    def __init__(self, grid: Grid, local: LocalMoments, correlations: Array, variances: Array, shares: Array) -> None:
        self.groups = correlations.size
        self.shares = shares
        self.slope_over_value = local.slope_second / local.value_second
        nodes = correlations[:, np.newaxis] + np.sqrt(variances)[:, np.newaxis] * _PAIR_NODES
        self.flat = np.clip(nodes, -1.0, 1.0).ravel()
        z, weight = grid.z[0], grid.weight[0]
        with np.errstate(all="ignore"):
            value = grid.value[0] / math.sqrt(local.value_second)
            slope = grid.slope[0] / math.sqrt(local.slope_second)
            functions = np.stack([value, slope, value**2, slope**2, value**3, z * value, z * z * value])
            functions = np.where(weight > 0.0, functions, 0.0)
        expansion = expand(z, weight, functions)
        self.products = expansion.expect_products(self.flat)

    def average(self, values: Array) -> float:
        """Average over all pairs; 0 without any."""
        if not self.groups:
            return 0.0
        return float(self.shares @ self.by_group(values))

    def by_group(self, values: Array) -> Array:
        """Average within each group."""
        return np.asarray(values.reshape(self.groups, _PAIR_WEIGHTS.size) @ _PAIR_WEIGHTS)


def correlation_slope(pairs: PairMoments, local: LocalMoments, kappa: float) -> Array:
    """Give dC/dc of the outputs' correlation: kappa E phi'(u) phi'(v) / E phi^2."""
    return pairs.products[:, SLOPE, SLOPE] * kappa * local.slope_second / local.value_second


def correlation_noise(
    pairs: PairMoments, local: LocalMoments, value_rate: float, orthogonality: float
) -> tuple[Array, Array, Array]:
    """Give n times what finite width does to the correlation of two samples' outputs, given that of their inputs.

    With A = phi(u) phi(v) / M, D = (phi(u)^2 + phi(v)^2) / 2M and C = E A, the correlation of the outputs deviates from
    C by the mean of A - C D, to first order; its mean is shifted by terms of second order. Orthogonal weights take out
    the projection on u^2 - 1, v^2 - 1 and u v - c.

    Returns:
        The variance of the correlation (for linear layers (1 - c^2)^2), the shift of its mean (-c (1 - c^2) / 2), and
        its covariance with the mean of both samples' ln M.
    """
    products, c = pairs.products, pairs.flat
    value, square = products[:, VALUE, VALUE], products[:, VALUE2, VALUE2] - 1.0
    fourth = np.full_like(c, local.value_fourth - 1.0)
    covariance = products[:, VALUE3, VALUE] - value
    mixed = 0.5 * (fourth + square)
    variance = square + 1.0 - value**2
    if orthogonality > 0.0:
        rate = 2.0 * value_rate
        with_square = products[:, Z2_VALUE, VALUE] - value
        with_product = products[:, Z_VALUE, Z_VALUE] - c * value
        inner_a = np.stack([with_square, with_square, with_product], axis=-1)
        inner_u = rate * np.stack([np.ones_like(c), c**2, c], axis=-1)
        gram = np.empty((c.size, 3, 3))
        gram[:, 0, 0] = gram[:, 1, 1] = 2.0
        gram[:, 0, 1] = gram[:, 1, 0] = 2.0 * c**2
        gram[:, 0, 2] = gram[:, 2, 0] = gram[:, 1, 2] = gram[:, 2, 1] = 2.0 * c
        gram[:, 2, 2] = 1.0 + c**2
        inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
        inner_v = inner_u[:, [1, 0, 2]]

        def project(first: Array, second: Array) -> Array:
            return np.asarray(orthogonality * np.einsum("ci,cij,cj->c", first, inverse, second))

        variance = variance - project(inner_a, inner_a)
        covariance = covariance - project(inner_a, inner_u)
        fourth = fourth - project(inner_u, inner_u)
        square = square - project(inner_u, inner_v)
        mixed = 0.5 * (fourth + square)
    noise = np.maximum(variance - 2.0 * value * covariance + value**2 * mixed, 0.0)
    # Of A / sqrt(D_u D_v), to second order.
    shift = -covariance + value * (0.75 * fourth + 0.25 * square)
    return noise, shift, covariance - value * mixed
