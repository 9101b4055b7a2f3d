"""Moments of a plain network of Dense layers at finite width: means, variances and covariances by layer, both ways.

Mean-field theory gives the signal of an infinitely wide network. What is measured is a network of n units, averaged
over a batch and over a few seeds, and is off by terms of order 1/n that a good measurement resolves. They are taken
along here. For one sample, write kappa_l for the variance of its pre-activations given the layer before, Q_l for their
mean square, M_l for the mean square of the layer's output, and G_l for the squared norm of dL/dz_l.

Forward. Given the layer before, the pre-activations z_i are independent N(0, kappa_l), exactly for Gaussian weights. So

- ln Q_l = ln kappa_l + e1, where e1 is the mean of g_i^2 - 1, g_i ~ N(0, 1);
- kappa_{l+1} = sigma_w^2 mean phi(z_i)^2 + sigma_b^2, which is V(kappa_l) plus a deviation e2 of mean zero;

a Markov chain in kappa. The means of V are taken over the distribution of ln kappa_l (by Gauss-Hermite quadrature);
for He and ReLU this gives the exact chain's mean and, to order 1/n, its variance 5/n per layer.

Backward. G_l / G_{l+1} = v_{l+1} sum_i phi'(z_i)^2 a_i^2, with a_i ~ N(0, 1) fresh, but for the part of the weights
that the forward pass has pinned down: W x = z. That part adds the factor 1 + psi (R - 1) / n, where
psi = E[phi'^2 phi^2] / (E phi'^2 E phi^2) and R = E (z . delta)^2 / (kappa |delta|^2) of the layer above, which has a
recursion of its own. For ReLU R = 1 and there is no correction, to any order.

A batch. Two samples a, b of correlation c share the weights, so their deviations e have covariances that depend on c
(for He and ReLU those of the arc-cosine kernel: 0 at c = 0, 5/n at c = 1). The average over a batch of B fluctuates
with P + (T - P) / B, where T is the variance of one sample and P the covariance of two. The correlations follow the
correlation map, and vary around it with a variance of order 1/n of their own.

Weights that are not Gaussian shift E f(z) by (kurtosis of z) E[f He_4] / 24. Orthogonal weights keep lengths and angles
exactly: what the deviations owe to mean g_i^2 is taken out of them (Haar measure; for linear layers nothing is left).

References:
    Hanin and Rolnick, "How to start training", 2018; Hanin and Nica, "Products of many large random matrices", 2020.
    Yaida, "Non-Gaussian processes and neural networks at finite widths", 2020; Roberts, Yaida and Hanin 2022.
    Pennington, Schoenholz and Ganguli, "Resurrecting the sigmoid", 2017: orthogonal weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_layers import (
    DenseLayer,
    GradientMoments,
    InputStatistics,
    LayerState,
    describe_batch,
    propagate,
    propagate_back,
    single_input,
)
from initcheck.theory.gaussian import evaluate_on_grid

__all__ = [
    "DenseLayer",
    "DenseNetworkMoments",
    "Gain",
    "InputStatistics",
    "LayerMoments",
    "describe_batch",
    "predict_dense_network",
    "single_input",
]


_GROUPS: Final = 8
_RESOLVED: Final = 1e-8  # smaller shares of E phi^2 are lost in the difference of two nearly equal numbers


@dataclass(frozen=True)
class Gain:
    """The factor of one layer, averaged over layers, and the same in an infinitely wide network (textbook).

    NaN where nothing is known.
    """

    mean: float = math.nan
    standard_deviation: float = math.nan
    textbook: float = math.nan


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """One positive quantity, averaged over the batch, at every layer.

    Attributes:
        mean: its expectation over seeds, shape [L].
        covariance: covariance over seeds of its logarithms, shape [L, L].
        steps: expectation of the factor between layers l and l + 1, in the direction of the signal or gradient, shape
            [L - 1]; None for a quantity that is not followed.
        textbook_steps: the same in an infinitely wide network.
    """

    mean: Array
    covariance: Array
    steps: Array | None = None
    textbook_steps: Array | None = None

    @property
    def standard_deviation(self) -> Array:
        """Its seed-to-seed standard deviation, of a log-normal distribution: mean sqrt(exp(var ln) - 1)."""
        return self.mean * np.sqrt(np.expm1(np.maximum(np.diag(self.covariance), 0.0)))

    @property
    def log_mean(self) -> Array:
        """The expectation of its logarithm, ln mean - var / 2; that of the typical network if it is log-normal."""
        return np.log(self.mean) - 0.5 * np.diag(self.covariance)

    def gain(self, places: Sequence[int]) -> Gain:
        """Predict the mean over steps of the factor from one layer to the next; NaN with fewer than two layers."""
        if len(places) < 2 or self.steps is None or self.textbook_steps is None:
            return Gain()
        index = np.asarray(places)
        taken = np.minimum(index[:-1], index[1:])
        ratios = self.steps[taken]
        difference = np.diff(np.eye(index.size), axis=0)
        covariance = difference @ self.covariance[np.ix_(index, index)] @ difference.T
        variance = float(ratios @ np.expm1(covariance) @ ratios) / ratios.size**2
        return Gain(float(ratios.mean()), math.sqrt(max(variance, 0.0)), float(self.textbook_steps[taken].mean()))


@dataclass(frozen=True, eq=False)
class DenseNetworkMoments:
    """What is predicted of a network of Dense layers, by layer from the input to the output.

    Attributes:
        activation: mean of phi(z)^2; NaN in a layer whose activation mixes its units.
        gradient: mean over the batch of the squared norm of dL/dz, for a loss with a gradient of mean square 1 at the
            outputs. Behind an activation that mixes its units, in units of the gradient at that layer's z.
        activation_mean: E phi(z), shape [L].
        activation_batch_variance: variance of phi(z) across the samples by unit, shape [L]; NaN for one sample, and
            below 1e-8 E phi^2.
        weight_gradient: E |dL/dW|^2 of the summed batch, shape [L]; relative like the gradients.
        correlation: mean correlation of two samples' pre-activations, shape [L]; NaN for one sample.
    """

    preactivation: LayerMoments
    activation: LayerMoments
    gradient: LayerMoments
    activation_mean: Array
    activation_batch_variance: Array
    weight_gradient: Array
    gradient_is_relative: bool
    correlation: Array


def predict_dense_network(layers: Sequence[DenseLayer], inputs: InputStatistics) -> DenseNetworkMoments:
    """Predict the moments of a network of Dense layers."""
    if not layers:
        raise TheoryError("A network has at least one layer. Received: none. Give one or more.")
    for layer in layers[:-1]:
        if layer.activation is None:
            raise TheoryError(
                "Only the last layer may have an activation that mixes its units. Received: one before it. "
                "Choose another."
            )
    for layer in layers:
        if layer.activation is not None:
            layer.activation.require_moments()
    with np.errstate(all="ignore"):  # what overflows is NaN in the end
        states = propagate(layers, inputs)
        return _assemble(layers, inputs, states)


@dataclass(frozen=True, eq=False)
class _Deviations:
    """The covariances of all deviations e, shape [3 L, 3 L], and what they do to an average over the batch."""

    same: Array
    pair: Array
    batch: int
    data_variance: float

    def pool(self, rows: Array) -> Array:
        """Give the covariances of the logarithms of averages over the batch of log-normal factors, for maps of e."""
        single, shared = rows @ self.same @ rows.T, rows @ self.pair @ rows.T
        pooled = np.asarray(single)
        if self.batch > 1:
            pooled = np.log1p(np.expm1(shared) + (np.exp(single) - np.exp(shared)) / self.batch)
        # Where orthogonal weights leave no deviation, rounding may leave less than none.
        np.fill_diagonal(pooled, np.maximum(np.diag(pooled), 0.0))
        return pooled

    def total(self, first: Array, second: Array, data: float) -> float:
        """Give the covariance over samples and seeds of two linear maps of e; data is the product of data weights."""
        return float(first @ self.same @ second) + data * self.data_variance

    def within(self, first: Array, second: Array, data: float) -> float:
        """Give the part of the total covariance that is between the samples of one network."""
        return (1.0 - 1.0 / self.batch) * (float(first @ (self.same - self.pair) @ second) + data * self.data_variance)


def _assemble(
    layers: Sequence[DenseLayer], inputs: InputStatistics, states: Sequence[LayerState]
) -> DenseNetworkMoments:
    """Run the backward recursion, and bring all logarithms together as linear maps of the deviations."""
    count, size, batch = len(states), 3 * len(states), inputs.second_moments.size
    first = layers[0].weights.forward_gain * inputs.second_moments + layers[0].bias_variance
    deviations = _Deviations(np.zeros((size, size)), np.zeros((size, size)), batch, float(np.var(np.log(first))))
    for place, state in enumerate(states):
        index = slice(3 * place, 3 * place + 3)
        deviations.same[index, index], deviations.pair[index, index] = state.same, state.pair
    backward = propagate_back(layers, states, deviations.same, deviations.pair)

    unit = np.eye(size)
    to_kappa = np.stack([state.to_kappa for state in states])
    data = np.asarray([state.data_weight for state in states])
    rates = np.asarray([state.value_rate for state in states])
    to_m = rates[:, np.newaxis] * to_kappa + unit[1::3]
    kappa = np.exp(np.asarray([state.log_kappa + 0.5 * state.log_variance for state in states]))
    second = np.asarray([state.second for state in states])
    mixes = np.asarray([layer.activation is None for layer in layers])
    # The product of two samples' outputs goes by the geometric mean of their kappa: less, the more these differ.
    apart = [
        rates[place] ** 2 * deviations.within(to_kappa[place], to_kappa[place], data[place] ** 2)
        if batch > 1
        else math.nan
        for place in range(count)
    ]
    shrinking = np.exp(-0.25 * np.asarray(apart) * batch / max(batch - 1, 1))
    inner = np.asarray([state.inner_product for state in states]) * shrinking

    between = np.where(mixes, np.nan, second - inner)

    gradient_variance = [
        deviations.total(row, row, weight**2) for row, weight in zip(backward.rows, backward.data, strict=True)
    ]
    gradient_mean = np.exp(backward.log_mean + 0.5 * np.asarray(gradient_variance)) * backward.level
    swing = 1.0 - 1.0 / backward.level
    # One sample's gradient and the input that it meets rise and fall together.
    before, data_before = np.vstack([np.zeros(size), to_m[:-1]]), np.concatenate([[1.0], rates[:-1] * data[:-1]])
    joint = [
        deviations.total(backward.rows[place], before[place], backward.data[place] * data_before[place])
        for place in range(count)
    ]
    fan_in = np.asarray([layer.weights.fan_in for layer in layers])
    entering = np.concatenate([[inputs.second_moments.mean()], second[:-1]])
    forward_steps, backward_steps = _step(layers, states, deviations, backward)
    textbook_forward, textbook_backward = _step_without_width(layers, first)
    return DenseNetworkMoments(
        preactivation=LayerMoments(kappa, deviations.pool(to_kappa + unit[0::3]), forward_steps, textbook_forward),
        activation=LayerMoments(np.where(mixes, np.nan, second), deviations.pool(to_m)),
        gradient=LayerMoments(
            gradient_mean,
            deviations.pool(backward.rows) + 2.0 / batch * np.outer(swing, swing),
            backward_steps,
            textbook_backward,
        ),
        activation_mean=np.where(mixes, np.nan, [state.mean for state in states]),
        activation_batch_variance=(1.0 - 1.0 / batch) * np.where(between > _RESOLVED * second, between, np.nan),
        weight_gradient=batch * gradient_mean * fan_in * entering * (np.exp(joint) + _add_pairs(inputs, states)),
        gradient_is_relative=bool(mixes[-1]),
        correlation=np.asarray([state.correlation for state in states]),
    )


def _add_pairs(inputs: InputStatistics, states: Sequence[LayerState]) -> Array:
    """Give what pairs of samples add to |dL/dW|^2, in units of what single samples give: shape [L].

    |sum_b delta_b x_b'|^2 = sum_ab (delta_a . delta_b) (x_a . x_b). Scalar products of gradients shrink by
    E phi'(u) phi'(v) / E phi'^2 in each layer.
    """
    batch = inputs.second_moments.size
    if batch == 1:
        return np.zeros(len(states))
    entering = [inputs.correlations, *(state.value_cosines for state in states[:-1])]
    added, gradients = np.empty(len(states)), inputs.gradient_cosines
    for place in range(len(states) - 1, -1, -1):
        gradients = gradients * states[place].slope_cosines
        added[place] = (batch - 1.0) * float(inputs.shares @ (gradients * entering[place]))
    return added


def _step(
    layers: Sequence[DenseLayer], states: Sequence[LayerState], deviations: _Deviations, backward: GradientMoments
) -> tuple[Array, Array]:
    """Give the expected factors from layer to layer, of averages over the batch, forward and backward."""
    unit = np.eye(3 * len(states))
    reuse = backward.level[:-1] / backward.level[1:]
    forward_steps, backward_steps = np.empty(len(states) - 1), np.empty(len(states) - 1)
    for place, state in enumerate(states[:-1]):
        e1, e2, e3 = unit[3 * place : 3 * place + 3]
        following = layers[place + 1]
        share = states[place + 1].share
        # kappa' / Q, with kappa' = gain M + bias and Q = kappa (1 + e1).
        ratio = following.weights.forward_gain * state.second_over_kappa + following.bias_variance * state.inverse_kappa
        ratio *= 1.0 + deviations.total(e1, e1 - share * e2, 0.0)
        rate = share * state.value_rate - 1.0
        change = rate * state.to_kappa + share * e2 - e1
        forward_steps[place] = ratio * (
            1.0 + deviations.within(state.to_kappa + e1, change, rate * state.data_weight**2)
        )
        factor = following.weights.norm_gain * state.slope_second * reuse[place]
        change = state.slope_rate * state.to_kappa + e3
        data = state.slope_rate * backward.data[place + 1] * state.data_weight
        backward_steps[place] = factor * (1.0 + deviations.within(backward.rows[place + 1], change, data))
    return forward_steps, backward_steps


def _step_without_width(layers: Sequence[DenseLayer], first: Array) -> tuple[Array, Array]:
    """Give the factors from layer to layer in an infinitely wide network, for up to eight groups of samples."""
    kappa = np.asarray([group.mean() for group in np.array_split(np.sort(first), min(_GROUPS, first.size))])
    forward_steps, chi = np.empty(len(layers) - 1), np.empty((len(layers) - 1, kappa.size))
    for place, layer in enumerate(layers[:-1]):
        following = layers[place + 1]
        assert layer.activation is not None  # predict_dense_network has seen to it
        second, slope = evaluate_on_grid(layer.activation, kappa).second_moments()
        chi[place] = following.weights.norm_gain * slope
        after = following.weights.forward_gain * second + following.bias_variance
        forward_steps[place] = after.mean() / kappa.mean()
        kappa = after
    backward_steps, gradient = np.empty(len(layers) - 1), np.ones(kappa.size)
    for place in range(len(layers) - 2, -1, -1):
        backward_steps[place] = (gradient * chi[place]).mean() / gradient.mean()
        gradient = gradient * chi[place] / chi[place].max()
    return forward_steps, backward_steps
