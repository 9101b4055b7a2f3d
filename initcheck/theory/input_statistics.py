"""What theory needs to know of a batch of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array

_GROUPS: Final = 12


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What theory needs to know of a batch.

    Attributes:
        second_moments: mean x^2 of each sample, shape [B].
        fourth_moment_sum: S_4 = sum x^4 / (sum x^2)^2, averaged over the samples: 3/(n + 2) for Gaussian inputs, 1 for
            one-hot ones.
        correlations: cosines of pairs of samples, the means of up to 12 groups, shape [K]; empty for one sample.
        shares: the share of all pairs that each group holds, shape [K].
        correlation_variances: the variance within each group, shape [K].
        gradient_cosines: r_a . r_b / mean |r|^2 of the gradients at the outputs, averaged over each group of pairs,
            shape [K]. The gradients of the weights are summed over the batch, so the loss's directions matter for them.
    """

    second_moments: Array
    fourth_moment_sum: float
    correlations: Array
    shares: Array
    correlation_variances: Array
    gradient_cosines: Array


def describe_batch(x: ArrayLike, output_gradients: ArrayLike | None = None) -> InputStatistics:
    """Describe a batch.

    Args:
        x: shape [B, ...]; a sample's numbers are the inputs of the first layer.
        output_gradients: dL/dy of each sample, shape [B, ...]; by default without correlation between samples.
    """
    samples = np.asarray(x, dtype=np.float64)
    samples = samples.reshape(samples.shape[0], -1)
    square = np.square(samples)
    energy = square.sum(axis=1)
    if not (np.isfinite(energy).all() and (energy > 0.0).all()):
        raise TheoryError(
            "Every sample must be finite and not all zeros, to have a signal to follow. Received: one that is not. "
            "Leave it out."
        )
    cosines = (samples @ samples.T) / np.sqrt(np.outer(energy, energy))
    above = np.triu_indices(samples.shape[0], 1)
    pairs = np.clip(cosines[above], -1.0, 1.0)
    order = np.argsort(pairs)
    groups = np.array_split(order, min(_GROUPS, pairs.size)) if pairs.size else []
    gradients = np.zeros(pairs.size)
    if output_gradients is not None:
        directions = np.asarray(output_gradients, dtype=np.float64).reshape(samples.shape[0], -1)
        gram = directions @ directions.T
        gradients = gram[above] / np.diag(gram).mean()
    return InputStatistics(
        second_moments=square.mean(axis=1),
        fourth_moment_sum=float(np.mean(np.square(square).sum(axis=1) / np.square(energy))),
        correlations=np.asarray([pairs[group].mean() for group in groups]),
        shares=np.asarray([group.size / pairs.size for group in groups]),
        correlation_variances=np.asarray([pairs[group].var() for group in groups]),
        gradient_cosines=np.asarray([gradients[group].mean() for group in groups]),
    )


def single_input(size: int, second_moment: float = 1.0) -> InputStatistics:
    """Describe one dense input: size numbers as a Gaussian distribution would draw them, of the given mean square."""
    return InputStatistics(np.asarray([second_moment]), 3.0 / (size + 2.0), *(np.empty(0) for _ in range(4)))
