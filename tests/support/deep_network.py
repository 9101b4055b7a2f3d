"""The deep plain network on which the specification measures how a signal travels: 20 square layers of 256 units."""

from __future__ import annotations

import numpy as np

from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec
from initcheck.probe import Probe

DEPTH, WIDTH = 20, 256
STEPS = DEPTH - 1
"""Steps from one hidden layer to the next, in either direction."""

RELU_VARIANCE = (1 + 3 / (WIDTH + 2)) * (1 + 2 / WIDTH) - 1
"""Variance between seeds of one step's ratio under ReLU, relative: 5 / n to leading order.

Forward q' / q is, but for its mean, the product of 2 sum relu(z)^2 / sum z^2, whose variance is E sum z^4 / (sum z^2)^2
= 3 / (n + 2), and of a mean of n squares of normal numbers, whose variance is 2 / n; the two are independent.
"""

LINEAR_VARIANCE = 2 / WIDTH
"""The same without an activation function: a mean of n squares of normal numbers."""


def probe_deep(initializer: InitializerSpec, activation: str, x: np.ndarray) -> Probe:
    spec = MlpSpec(initializer=initializer, activation=activation, depth=DEPTH, width=WIDTH)
    return Probe(spec.build(spec.sample_shape, seed=0), x)


class Measured:
    """Second moments of a deep network, of shape [seeds, layers], taken from the measurement table."""

    def __init__(self, table):
        layers = [f"hidden_{number:02d}" for number in range(1, DEPTH + 1)]

        def pivot(column, names):
            return table.pivot(index="seed", columns="layer", values=column)[names].to_numpy(
                np.float64, na_value=np.nan
            )

        self.after = pivot("activation_second_moment", ["input", *layers])
        before = pivot("preactivation_second_moment", layers)
        # A linear layer has no activation function to precede: its output is z.
        self.before = np.where(np.isnan(before), self.after[:, 1:], before)
        self.gradient = pivot("gradient_second_moment", layers)

    @property
    def forward_ratios(self):
        """q_{l+1} / q_l, from the first hidden layer on: the step from the input has no activation function in it."""
        return self.before[:, 1:] / self.before[:, :-1]

    @property
    def backward_ratios(self):
        """g_l / g_{l+1}, in the direction of travel: from the last hidden layer down."""
        return (self.gradient[:, :-1] / self.gradient[:, 1:])[:, ::-1]

    @property
    def forward_increments(self):
        """ln M_{l+1} / M_l of the outputs, from the input on."""
        return np.diff(np.log(self.after), axis=1)

    @property
    def backward_increments(self):
        """ln g_l / g_{l+1}."""
        return np.log(self.backward_ratios)
