"""Experiments on orthogonal weights: exact orthonormality, and the uniform (Haar) distribution of all the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.spec.claim import ExactRow, FitRow, RunContext
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, POWER, adjusted_for_tails, detectable_distance
from initcheck.spec.subjects import EPSILON, Draws

_TESTS: Final = 40
"""More than the members of any claim, for what a test sees at the strictest level that Holm's correction asks for."""
_STANDARD_ERRORS: Final = float(stats.norm.isf(CLAIM_FALSE_ALARM / (2.0 * _TESTS)) + stats.norm.ppf(POWER))
"""A deviation by so many standard errors is seen with probability :data:`POWER`."""


def _matrices(draws: Draws, gain: float, context: RunContext) -> NDArray[np.float64]:
    """Give the weights as matrices with orthonormal columns: [draws, longer side, shorter side]."""
    weights = np.asarray(draws.draw(context), dtype=np.float64).reshape(draws.count, -1, draws.shape[-1]) / gain
    return weights if weights.shape[1] >= weights.shape[2] else weights.swapaxes(1, 2)


@dataclass(frozen=True)
class Orthonormality:
    """The largest entry of Q^T Q - gain^2 I over gain^2, for weights as matrices of all axes but the last by the last.

    A QR factorization by Householder reflections is orthogonal up to a modest multiple of m n^(3/2) epsilon in the
    Frobenius norm (Higham, 2002, theorem 19.4); the limit is 8 n^(1/2) epsilon, n the longer side, for a single entry.
    """

    members: tuple[Draws, ...]
    gain: float = 1.0
    squares: bool = False
    """Only their sum is asked for: an entry's mean square is gain^2 over the longer side."""

    def measure(self, context: RunContext) -> Iterator[ExactRow]:
        for draws in self.members:
            matrices = _matrices(draws, self.gain, context)
            if self.squares:
                errors = np.square(matrices).sum(axis=(1, 2)) / matrices.shape[2] - 1.0
            else:
                errors = matrices.swapaxes(1, 2) @ matrices - np.eye(matrices.shape[2])
            limit = 8.0 * math.sqrt(matrices.shape[1]) * EPSILON[draws.dtype]
            yield ExactRow(draws.name, float(np.abs(errors).max()), limit, draws.count)


@dataclass(frozen=True)
class Haar:
    """Whether orthogonal weights are uniformly distributed, by several exact distributions over many seeds.

    For a uniform Q with orthonormal columns in n dimensions and fixed unit vectors a and b, the number a^T Q b is
    distributed as one coordinate of a random point of the unit sphere: (1 + a^T Q b) / 2 is Beta((n-1)/2, (n-1)/2).
    This is tested for coordinate vectors at the corners, the even vectors and two fixed random directions, each over
    all draws; the determinant of square Q is +1 or -1 with equal chances; and successive draws are uncorrelated.
    """

    members: tuple[Draws, ...]
    gain: float = 1.0
    unsigned: bool = False

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        for draws in self.members:
            matrices = _matrices(draws, self.gain, context)
            if self.unsigned:
                random = np.random.default_rng(context.seed(f"unsigned/{draws.name}"))
                matrices = np.linalg.qr(random.standard_normal(matrices.shape))[0]
            for name, left, right in _directions(*matrices.shape[1:]):
                values = np.einsum("i,dij,j->d", left, matrices, right)
                yield _test_entries(draws.name, name, values, matrices.shape[1])
            pairs = np.einsum("dij,dij->d", matrices[:-1:2], matrices[1::2])
            # <Q, Q'> has the mean 0 and the variance (shorter side) / (longer side); the sum is nearly normal.
            z = pairs / math.sqrt(matrices.shape[2] / matrices.shape[1])
            p_value = 2.0 * float(stats.norm.sf(abs(z.sum()) / math.sqrt(z.size)))
            detectable = _STANDARD_ERRORS / math.sqrt(z.size)
            yield FitRow(f"successive draws of {draws.name}", p_value, float(z.mean()), detectable, z.size)
            if matrices.shape[1] == matrices.shape[2]:
                yield _test_determinants(draws.name, matrices)


def _test_entries(member: str, name: str, values: NDArray[np.float64], dimensions: int) -> FitRow:
    """Test whether a^T Q b has the distribution of a coordinate on the unit sphere."""
    distribution = stats.beta((dimensions - 1) / 2.0, (dimensions - 1) / 2.0)
    found = stats.kstest(distribution.cdf(np.clip((1.0 + values) / 2.0, 0.0, 1.0)), "uniform")
    distance = detectable_distance(len(values), _TESTS)
    return FitRow(f"{name} of {member}", float(found.pvalue), float(found.statistic), distance, len(values))


def _test_determinants(member: str, matrices: NDArray[np.float64]) -> FitRow:
    """Test whether rotations and reflections are equally frequent."""
    positive = int(np.count_nonzero(np.linalg.det(matrices) > 0.0))
    p_value = stats.binomtest(positive, len(matrices)).pvalue
    share, detectable = positive / len(matrices), 0.5 + _STANDARD_ERRORS * 0.5 / math.sqrt(len(matrices))
    return FitRow(f"determinant of {member}", p_value, share, detectable, len(matrices))


@dataclass(frozen=True)
class FourthPowers:
    """The sum of the fourth powers of the first column of orthogonal matrices, over its mean by the Haar measure.

    And the distribution of their first entry, and how many of them are rotations.

    A column of a uniform matrix is a random point x of the unit sphere in n dimensions, where
    E x_i^4 = 3 / (n(n + 2)), E x_i^8 = 105 / (n(n + 2)(n + 4)(n + 6)) and E x_i^4 x_j^4 = 9 / (n(n + 2)(n + 4)(n + 6)).
    For n = 2, x = (cos t, sin t) and the sum is (3 + cos 4t) / 4. QR factorizations of uniform entries, for which the
    mean of cos 4t is 3 - pi, are off by 5%; one of a large matrix is hardly off at all.
    """

    members: tuple[Draws, ...]
    of_uniform: bool = False

    def measure(self, context: RunContext) -> Iterator[FitRow]:
        for draws in self.members:
            if self.of_uniform:
                random = np.random.default_rng(context.seed(f"uniform/{draws.name}"))
                matrices, triangles = np.linalg.qr(random.uniform(-1.0, 1.0, (draws.count, *draws.shape)))
                matrices = matrices * np.sign(np.einsum("dii->di", triangles))[:, None, :]
            else:
                matrices = _matrices(draws, 1.0, context)
            n = draws.shape[0]
            mean = 3.0 / (n + 2)
            variance = (105.0 + 9.0 * (n - 1)) / ((n + 2) * (n + 4) * (n + 6)) - mean**2
            error = math.sqrt(variance / draws.count)
            found = float(np.mean(np.sum(matrices[:, :, 0] ** 4, axis=1)))
            # A mean of some thousand bounded numbers is nearly normal, and its tail is raised for what it is not.
            p_value = float(adjusted_for_tails(2.0 * stats.norm.sf(abs(found - mean) / error), 10.0))
            detectable = 1.0 + _STANDARD_ERRORS * error / mean
            yield FitRow(f"fourth powers of {draws.name}", p_value, found / mean, detectable, draws.count)
            yield _test_entries(draws.name, "first entry", matrices[:, 0, 0], n)
            yield _test_determinants(draws.name, matrices)


def distance_from_orthonormal(matrix: NDArray[np.float64]) -> float:
    """Give the largest entry of M M' - I, or of M' M - I for more rows than columns."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(np.abs(short @ short.T - np.eye(len(short))).max())


def _directions(longer: int, shorter: int) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
    """List pairs of unit vectors to look along."""
    first, last = np.eye(longer)[0], np.eye(longer)[-1]
    left, right = np.eye(shorter)[0], np.eye(shorter)[-1]
    even = np.full(longer, longer**-0.5), np.full(shorter, shorter**-0.5)
    random = np.random.default_rng(0)
    slant = random.standard_normal(longer), random.standard_normal(shorter)
    pairs = [("first entry", first, left), ("last entry", last, right), ("upper corner", first, right)]
    pairs += [("second diagonal entry", np.eye(longer)[1], np.eye(shorter)[min(1, shorter - 1)])]
    pairs += [("lower corner", last, left), ("even direction", *even)]
    pairs.append(("slanted direction", slant[0] / np.linalg.norm(slant[0]), slant[1] / np.linalg.norm(slant[1])))
    return pairs
