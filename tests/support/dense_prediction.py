"""The law of simulated networks: from kernels to what the package predicts, and how spreads are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from dense_simulation import Kernel
from numpy.typing import NDArray

from initcheck.models.initializers import read_initializer
from initcheck.theory.dense_network import DenseLayer, DenseNetworkMoments, InputStatistics, predict_dense_network
from initcheck.theory.gaussian import find_activation
from initcheck.theory.weights import WeightDistribution, weight_distribution

Array = NDArray[np.float64]

OUTPUTS = 10
NORMAL = "untruncated_normal"


def weights_of(kernel: Kernel, inputs: int, outputs: int) -> WeightDistribution:
    if kernel.kind == "orthogonal":
        text = f"Orthogonal(gain={math.sqrt(kernel.scale)!r})"
    else:
        distribution = NORMAL if kernel.kind == "normal" else kernel.kind
        text = f"VarianceScaling(scale={kernel.scale!r}, distribution={distribution!r})"
    return weight_distribution(read_initializer(text), (inputs, outputs))


def predict(
    activation: str,
    kernel: Kernel,
    widths: Sequence[int],
    inputs: InputStatistics,
    features: int,
    bias_variance: float = 0.0,
    head: bool = True,
) -> DenseNetworkMoments:
    """Predict hidden layers, with a linear head of Gaussian weights of variance 1 / n on top."""
    units = [features, *widths]
    layers = [
        DenseLayer(m, weights_of(kernel, n, m), find_activation(activation), bias_variance) for n, m in pairwise(units)
    ]
    if head:
        layers.append(
            DenseLayer(OUTPUTS, weights_of(Kernel("normal", 1.0), widths[-1], OUTPUTS), find_activation("linear"))
        )
    return predict_dense_network(layers, inputs)


def measure_spread_distance(draws: Array, expected: float) -> float:
    """Give |ln(sample variance / expected)| over its standard error."""
    deviations = draws - draws.mean()
    variance = float(np.sum(deviations**2)) / (draws.size - 1)
    kurtosis = float(np.mean(deviations**4) / np.mean(deviations**2) ** 2)
    return abs(math.log(variance / expected)) / math.sqrt((max(kurtosis, 3.0) - 1.0) / draws.size)
