"""What theory needs to know of a batch of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from initcheck.errors import TheoryError
from initcheck.theory.pieces import Array

_GROUPS: Final = 12


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What the law needs to know of a batch.

    Attributes:
        second_moments: mean x^2 of each sample, shape [B].
        fourth_moment_sum: S_4 = sum x^4 / (sum x^2)^2, averaged over the samples: 3/n for Gaussian inputs, 1 for
            one-hot ones.
        correlations: cosines of pairs of samples, the means of groups of equal size, shape [K]; empty for one sample.
        correlation_spreads: the variance within each group, shape [K].
    """

    second_moments: Array
    fourth_moment_sum: float
    correlations: Array
    correlation_spreads: Array


def describe_batch(x: ArrayLike) -> InputStatistics:
    """Describe a batch.

    Args:
        x: shape [B, ...]; a sample's numbers are the inputs of the first layer.

    Returns:
        Its statistics.

    Raises:
        TheoryError: a sample is zero or not finite: it carries no signal to follow.
    """
    samples = np.asarray(x, dtype=np.float64)
    samples = samples.reshape(samples.shape[0], -1)
    square = np.square(samples)
    energy = square.sum(axis=1)
    if not (np.isfinite(energy).all() and (energy > 0.0).all()):
        raise TheoryError("Every sample must be finite and not all zeros, to have a signal to follow.")
    cosines = (samples @ samples.T) / np.sqrt(np.outer(energy, energy))
    pairs = np.sort(np.clip(cosines[np.triu_indices(samples.shape[0], 1)], -1.0, 1.0))
    groups = np.array_split(pairs, min(_GROUPS, pairs.size)) if pairs.size else []
    return InputStatistics(
        second_moments=square.mean(axis=1),
        fourth_moment_sum=float(np.mean(np.square(square).sum(axis=1) / np.square(energy))),
        correlations=np.asarray([group.mean() for group in groups]),
        correlation_spreads=np.asarray([group.var() for group in groups]),
    )


def single_input(size: int, second_moment: float = 1.0) -> InputStatistics:
    """Describe one dense input: size numbers as a Gaussian law would draw them, of the given mean square."""
    return InputStatistics(np.asarray([second_moment]), 3.0 / size, np.empty(0), np.empty(0))
