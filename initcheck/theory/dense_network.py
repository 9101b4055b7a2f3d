"""The law of a plain network of Dense layers at finite width: means, spreads and covariances by layer, both ways.

Mean-field theory gives the signal of an infinitely wide network. What is measured is a network of n units, averaged
over a batch and over a few seeds, and is off by terms of order 1/n that a good measurement resolves. They are taken
along here. For one sample, write kappa_l for the variance of its pre-activations given the layer before, Q_l for their
mean square, M_l for the mean square of the layer's output, and G_l for the squared norm of dL/dz_l.

Forward. Given the layer before, the pre-activations z_i are independent N(0, kappa_l), exactly for Gaussian weights. So

- ln Q_l = ln kappa_l + e1, where e1 is the mean of g_i^2 - 1, g_i ~ N(0, 1);
- kappa_{l+1} = sigma_w^2 mean phi(z_i)^2 + sigma_b^2, which is V(kappa_l) plus a deviation e2 of mean zero;

a Markov chain in kappa. The means of V are taken over the law of ln kappa_l (by Gauss-Hermite quadrature); for He and
ReLU this gives the exact chain's mean and, to order 1/n, its spread 5/n per layer.

Backward. G_l / G_{l+1} = v_{l+1} sum_i phi'(z_i)^2 a_i^2, with a_i ~ N(0, 1) fresh, but for the part of the weights
that the forward pass has pinned down: W x = z. That part adds the factor 1 + psi (R - 1) / n, where
psi = E[phi'^2 phi^2] / (E phi'^2 E phi^2) and R = E (z . delta)^2 / (kappa |delta|^2) of the layer above, which has a
recursion of its own. For ReLU R = 1 and there is no correction, to any order.

A batch. Two samples a, b of correlation c share the weights, so their deviations e have covariances that depend on c
(for He and ReLU those of the arc-cosine kernel: 0 at c = 0, 5/n at c = 1). The average over a batch of B fluctuates
with P + (T - P) / B, where T is the variance of one sample and P the covariance of two. The correlations follow the
correlation map, and spread around it by a variance of order 1/n of their own.

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
from numpy.typing import ArrayLike
from scipy import special

from initcheck.errors import TheoryError
from initcheck.theory.gaussian import Activation, Grid, evaluate_on_grid
from initcheck.theory.hermite import expand
from initcheck.theory.pieces import Array
from initcheck.theory.weights import WeightLaw

_CLASSES: Final = 12
_MEAN_NODES, _MEAN_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_MEAN_WEIGHTS = _MEAN_WEIGHTS / _MEAN_WEIGHTS.sum()
_PAIR_NODES, _PAIR_WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
_PAIR_WEIGHTS = _PAIR_WEIGHTS / _PAIR_WEIGHTS.sum()
# Rows of the expansion: phi and phi' in units of their root mean squares, and what is made of them.
_VALUE, _SLOPE, _VALUE2, _SLOPE2, _VALUE3, _Z_VALUE, _Z2_VALUE = range(7)


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What the law needs to know of a batch.

    Attributes:
        second_moments: mean x^2 of each sample, shape [B].
        fourth_moment_sum: S_4 = sum x^4 / (sum x^2)^2, averaged over the samples: 3/n for Gaussian inputs, 1 for one-hot.
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
    groups = np.array_split(pairs, min(_CLASSES, pairs.size)) if pairs.size else []
    return InputStatistics(
        second_moments=square.mean(axis=1),
        fourth_moment_sum=float(np.mean(np.square(square).sum(axis=1) / np.square(energy))),
        correlations=np.asarray([group.mean() for group in groups]),
        correlation_spreads=np.asarray([group.var() for group in groups]),
    )


def single_input(size: int, second_moment: float = 1.0) -> InputStatistics:
    """Describe one dense input: size numbers as a Gaussian law would draw them, of the given mean square."""
    return InputStatistics(np.asarray([second_moment]), 3.0 / size, np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """A Dense layer: the law of its weights, and its activation function.

    Attributes:
        units: number of outputs n.
        weights: the law of the kernel.
        activation: phi; None for a layer whose activation mixes its units (softmax), which must be the last.
        bias_variance: sigma_b^2.
    """

    units: int
    weights: WeightLaw
    activation: Activation | None
    bias_variance: float = 0.0

    @property
    def orthogonality(self) -> float:
        """The share of the second chaos of the outputs that orthogonal weights take away: min(1, outputs / inputs)."""
        if self.weights.distribution != "orthogonal":
            return 0.0
        return min(1.0, self.weights.fan_out / self.weights.fan_in)

    @property
    def gradient_orthogonality(self) -> float:
        """The same for the gradients at its inputs: min(1, inputs / outputs)."""
        if self.weights.distribution != "orthogonal":
            return 0.0
        return min(1.0, self.weights.fan_in / self.weights.fan_out)

    def excess_kurtosis(self, fourth_moment_sum: float) -> float:
        """E z^4 / (E z^2)^2 - 3 of a pre-activation, given inputs with S_4 = fourth_moment_sum."""
        if self.weights.distribution == "orthogonal":
            return -6.0 / max(self.weights.fan_in, self.weights.fan_out)
        return (self.weights.kurtosis - 3.0) * fourth_moment_sum


@dataclass(frozen=True, eq=False)
class Course:
    """One positive quantity, averaged over the batch, at every layer.

    Attributes:
        mean: its expectation over seeds, shape [L].
        covariance: covariance over seeds of its logarithms, shape [L, L].
        steps: expectation of the factor between layers l and l + 1, in the direction of travel, shape [L - 1].
    """

    mean: Array
    covariance: Array
    steps: Array

    @property
    def standard_deviation(self) -> Array:
        """Its seed-to-seed standard deviation, of a log-normal law: mean sqrt(exp(var ln) - 1)."""
        return self.mean * np.sqrt(np.expm1(np.diag(self.covariance)))

    @property
    def log_mean(self) -> Array:
        """The expectation of its logarithm, ln mean - var / 2; for a log-normal law, that of the typical network."""
        return np.log(self.mean) - 0.5 * np.diag(self.covariance)

    def gain(self, places: Sequence[int]) -> tuple[float, float]:
        """Predict the mean over steps of the factor from one layer to the next.

        Args:
            places: consecutive layers, in the direction of travel.

        Returns:
            The expectation, and the standard deviation over seeds; NaN with fewer than two layers.
        """
        if len(places) < 2:
            return math.nan, math.nan
        index = np.asarray(places)
        ratios = self.steps[np.minimum(index[:-1], index[1:])]
        difference = np.diff(np.eye(index.size), axis=0)
        covariance = difference @ self.covariance[np.ix_(index, index)] @ difference.T
        variance = float(ratios @ np.expm1(covariance) @ ratios) / ratios.size**2
        return float(ratios.mean()), math.sqrt(max(variance, 0.0))


@dataclass(frozen=True, eq=False)
class DenseNetworkLaw:
    """What is predicted of a network of Dense layers, by layer from the input to the output.

    Attributes:
        preactivation: mean of z^2 over batch and units.
        activation: mean of phi(z)^2; NaN in a layer whose activation mixes its units.
        gradient: mean over the batch of the squared norm of dL/dz, for a loss with a gradient of mean square 1 at the
            outputs. Behind an activation that mixes its units, in units of the gradient at that layer's z.
        activation_mean: E phi(z), shape [L].
        activation_batch_variance: variance of phi(z) across the samples by unit, shape [L]; NaN for one sample.
        weight_gradient: E |dL/dW|^2 of the summed batch, shape [L].
        gradient_is_relative: whether the gradients are in units of the last layer's.
        chi: sigma_w^2 E phi'^2 by which layer l multiplies the gradient's squared norm, infinite width, shape [L - 1].
        correlation: mean correlation of two samples' pre-activations, shape [L]; NaN for one sample.
    """

    preactivation: Course
    activation: Course
    gradient: Course
    activation_mean: Array
    activation_batch_variance: Array
    weight_gradient: Array
    gradient_is_relative: bool
    chi: Array
    correlation: Array


def predict_dense_network(layers: Sequence[DenseLayer], inputs: InputStatistics) -> DenseNetworkLaw:
    """Predict the law of a network of Dense layers.

    Args:
        layers: from the input to the output, the head included.
        inputs: the batch.

    Returns:
        The law, to order 1/n in means and spreads.

    Raises:
        TheoryError: an activation grows faster than any power, or one that mixes its units is not the last.
    """
    if not layers:
        raise TheoryError("A network has at least one layer. Received: none.")
    for layer in layers[:-1]:
        if layer.activation is None:
            raise TheoryError("Only the last layer may have an activation that mixes its units.")
    for layer in layers:
        if layer.activation is not None:
            layer.activation.require_moments()
    states = _propagate(layers, inputs)
    return _assemble(layers, inputs, states)


@dataclass(frozen=True, eq=False)
class _State:
    """One layer: the law of ln kappa there, and the local moments at its mean.

    The deviations e1, e2, e3 have the covariances ``same`` for one sample and ``pair`` for two, averaged over pairs.
    """

    log_kappa: float
    spread: float
    data_weight: float
    to_kappa: Array
    second: float
    second_over_kappa: float
    inverse_kappa: float
    slope_second: float
    log_slope_second: float
    value_rate: float
    slope_rate: float
    same: Array
    pair: Array
    mean: float
    inner_product: float
    correlation: float
    share: float
    local: _Local
    slope_pair2: float
    slope_square_pair: float


@dataclass(frozen=True)
class _Local:
    """Moments of one layer's units at the mean of kappa, infinite width; z = sqrt(kappa) g."""

    value_second: float
    slope_second: float
    value_fourth: float
    slope_fourth: float
    value2_slope2: float
    z_value_slope: float
    z2_slope2: float


class _Propagation:
    """The forward recursion."""

    def __init__(self, layers: Sequence[DenseLayer], inputs: InputStatistics) -> None:
        self.size = 3 * len(layers)
        first = layers[0]
        self.samples = inputs.second_moments.size
        kappa = first.weights.forward_gain * inputs.second_moments + first.bias_variance
        self.data_spread = float(np.var(np.log(kappa)))
        self.data_weight = 1.0
        self.log_kappa = math.log(float(kappa.mean())) - 0.5 * self.data_spread
        self.to_kappa = np.zeros(self.size)
        self.share = 1.0 - first.bias_variance / float(kappa.mean())
        self.fourth = inputs.fourth_moment_sum
        self.correlations = self.share * inputs.correlations + (1.0 - self.share)
        self.spreads = self.share**2 * inputs.correlation_spreads
        self.noise_same = np.zeros((self.size, self.size))

    @property
    def spread(self) -> float:
        """Variance of ln kappa of one sample, over samples and seeds."""
        return self.data_weight**2 * self.data_spread + float(self.to_kappa @ self.noise_same @ self.to_kappa)


def _propagate(layers: Sequence[DenseLayer], inputs: InputStatistics) -> list[_State]:
    run = _Propagation(layers, inputs)
    states = []
    for place, layer in enumerate(layers):
        following = layers[place + 1] if place + 1 < len(layers) else None
        states.append(_visit(run, place, layer, following))
    return states


def _visit(run: _Propagation, place: int, layer: DenseLayer, following: DenseLayer | None) -> _State:
    """Compute one layer and move the recursion on to the next."""
    phi = layer.activation or _IDENTITY
    spread = run.spread
    center = math.exp(run.log_kappa)
    nodes, weights = (_MEAN_NODES, _MEAN_WEIGHTS) if spread > 1e-8 else (np.zeros(1), np.ones(1))
    kappas = np.exp(run.log_kappa + math.sqrt(spread) * nodes)
    if not np.isfinite(kappas).all() or (kappas <= 0.0).any():
        raise TheoryError("The signal leaves the range of floating-point numbers; choose fewer layers.")
    grid = evaluate_on_grid(phi, np.concatenate([[center], kappas]))
    excess = layer.excess_kurtosis(run.fourth)
    with np.errstate(all="ignore"):
        value2, slope2 = np.square(grid.value), np.square(grid.slope)
        z2 = np.square(grid.z)
        he4 = z2 * z2 - 6.0 * z2 + 3.0
        seconds = grid.expect(value2) + excess / 24.0 * grid.expect(value2 * he4)
        slopes = grid.expect(slope2) + excess / 24.0 * grid.expect(slope2 * he4)
        log_slopes = np.log(slopes)
        second = float(weights @ seconds[1:])
        local = _measure_locally(grid, center)
        value_rate = float(grid.expect(value2 * (z2 - 1.0))[0]) / (2.0 * local.value_second)
        slope_rate = float(grid.expect(slope2 * (z2 - 1.0))[0]) / (2.0 * local.slope_second)
        # Over a wide law of ln kappa, the best straight line is not the tangent.
        spans = nodes.size > 1
        value_line = float(weights @ (nodes * np.log(seconds[1:]))) / math.sqrt(spread) if spans else value_rate
        slope_line = float(weights @ (nodes * log_slopes[1:])) / math.sqrt(spread) if spans else slope_rate
    if not all(map(math.isfinite, (second, value_rate, slope_rate, float(log_slopes[0])))) or second <= 0.0:
        raise TheoryError(
            f"Theory cannot follow the activation {phi.name!r} at a pre-activation variance of {center:.3g}: "
            "its moments vanish, diverge or overflow there."
        )
    pairs = _PairMoments(grid, local, run.correlations, run.spreads)
    same, pair = _deviations(layer, local, value_rate, slope_rate, pairs)
    index = slice(3 * place, 3 * place + 3)
    run.noise_same[index, index] = same
    mean = float(weights @ grid.expect(grid.value)[1:])
    state = _State(
        log_kappa=run.log_kappa,
        spread=spread,
        data_weight=run.data_weight,
        to_kappa=run.to_kappa,
        second=second,
        second_over_kappa=float(weights @ (seconds[1:] / kappas)),
        inverse_kappa=float(weights @ (1.0 / kappas)),
        slope_second=float(weights @ slopes[1:]),
        log_slope_second=float(weights @ log_slopes[1:]),
        value_rate=value_line,
        slope_rate=slope_line,
        same=same,
        pair=pair,
        mean=mean,
        inner_product=pairs.average(pairs.products[:, _VALUE, _VALUE]) * second,
        correlation=pairs.average(pairs.flat),
        share=run.share,
        local=local,
        slope_pair2=pairs.average(np.square(pairs.products[:, _SLOPE, _SLOPE])),
        slope_square_pair=pairs.average(pairs.products[:, _SLOPE2, _SLOPE2]),
    )
    if following is not None:
        _advance(run, place, layer, following, state, pairs)
    return state


def _measure_locally(grid: Grid, kappa: float) -> _Local:
    value, slope, z = grid.value, grid.slope, grid.z
    value_second, slope_second = (float(grid.expect(np.square(part))[0]) for part in (value, slope))
    return _Local(
        value_second=value_second,
        slope_second=slope_second,
        value_fourth=float(grid.expect(value**4)[0]) / value_second**2,
        slope_fourth=float(grid.expect(slope**4)[0]) / slope_second**2,
        value2_slope2=float(grid.expect(np.square(value * slope))[0]) / (value_second * slope_second),
        z_value_slope=math.sqrt(kappa) * float(grid.expect(z * value * slope)[0]),
        z2_slope2=kappa * float(grid.expect(np.square(z * slope))[0]),
    )


class _PairMoments:
    """Moments of two samples' units, for every group of pairs and a few correlations within it."""

    def __init__(self, grid: Grid, local: _Local, correlations: Array, spreads: Array) -> None:
        self.groups = correlations.size
        nodes = correlations[:, np.newaxis] + np.sqrt(spreads)[:, np.newaxis] * _PAIR_NODES
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
        """Average over all pairs; NaN without any."""
        if not self.groups:
            return math.nan
        return float(np.mean(values.reshape(self.groups, -1) @ _PAIR_WEIGHTS))

    def by_group(self, values: Array) -> Array:
        """Average within each group."""
        return np.asarray(values.reshape(self.groups, -1) @ _PAIR_WEIGHTS)


def _deviations(
    layer: DenseLayer, local: _Local, value_rate: float, slope_rate: float, pairs: _PairMoments
) -> tuple[Array, Array]:
    """Give the covariances of (e1, e2, e3), for one sample and averaged over pairs of samples.

    e1 = mean g^2 - 1, e2 = mean phi^2 / E phi^2 - 1, e3 = mean phi'^2 / E phi'^2 - 1; what the fresh a_i add to e3 is
    put in by the backward recursion, which knows the layer above.
    """
    # E f (g^2 - 1) of each deviation: what it has of the second chaos.
    rates = np.asarray([2.0, 2.0 * value_rate, 2.0 * slope_rate])
    same = np.asarray(
        [
            [2.0, rates[1], rates[2]],
            [rates[1], local.value_fourth - 1.0, local.value2_slope2 - 1.0],
            [rates[2], local.value2_slope2 - 1.0, local.slope_fourth - 1.0],
        ]
    )
    chaos = 0.5 * np.outer(rates, rates)
    kept = layer.orthogonality
    if not pairs.groups:
        return (same - kept * chaos) / layer.units, np.zeros((3, 3))
    squared = pairs.average(np.square(pairs.flat))
    pair = np.empty((3, 3))
    pair[0, :] = pair[:, 0] = rates * squared
    for i, first in ((1, _VALUE2), (2, _SLOPE2)):
        for j, second in ((1, _VALUE2), (2, _SLOPE2)):
            pair[i, j] = pairs.average(pairs.products[:, first, second]) - 1.0
    return (same - kept * chaos) / layer.units, (pair - kept * squared * chaos) / layer.units


def _advance(
    run: _Propagation, place: int, layer: DenseLayer, following: DenseLayer, state: _State, pairs: _PairMoments
) -> None:
    """Move the law of ln kappa and the correlations to the next layer."""
    gain, bias = following.weights.forward_gain, following.bias_variance
    kappa = gain * state.second + bias
    share = gain * state.second / kappa
    run.share = share
    run.to_kappa = share * state.value_rate * run.to_kappa
    run.to_kappa[3 * place + 1] += share
    run.data_weight *= share * state.value_rate
    run.log_kappa = math.log(kappa) - 0.5 * run.spread
    run.fourth = state.local.value_fourth / layer.units
    if pairs.groups:
        products = pairs.products
        center = share * products[:, _VALUE, _VALUE] + (1.0 - share)
        noise = share**2 * _correlation_noise(pairs, state, layer.orthogonality) / layer.units
        mean = pairs.by_group(center)
        run.correlations = np.clip(mean, -1.0, 1.0)
        run.spreads = np.maximum(pairs.by_group(np.square(center) + noise) - np.square(mean), 0.0)


def _correlation_noise(pairs: _PairMoments, state: _State, orthogonality: float) -> Array:
    """Give n times the variance of the correlation of two samples' outputs, given that of their pre-activations.

    The noise is that of A - C D, with A = phi(u) phi(v) / M, D = (phi(u)^2 + phi(v)^2) / 2M and C = E A. For linear
    layers it is (1 - c^2)^2. Orthogonal weights take out its projection on u^2 - 1, v^2 - 1 and u v - c.
    """
    products, c = pairs.products, pairs.flat
    value, square = products[:, _VALUE, _VALUE], products[:, _VALUE2, _VALUE2]
    covariance = products[:, _VALUE3, _VALUE] - value
    noise = square - value**2 - 2.0 * value * covariance
    noise = noise + value**2 * (0.5 * (state.local.value_fourth + square) - 1.0)
    if orthogonality > 0.0:
        rate = 2.0 * state.value_rate
        with_square = products[:, _Z2_VALUE, _VALUE] - value - value * 0.5 * rate * (1.0 + c**2)
        with_product = products[:, _Z_VALUE, _Z_VALUE] - c * value - value * c * rate
        inner = np.stack([with_square, with_square, with_product], axis=-1)
        gram = np.empty((c.size, 3, 3))
        gram[:, 0, 0] = gram[:, 1, 1] = 2.0
        gram[:, 0, 1] = gram[:, 1, 0] = 2.0 * c**2
        gram[:, 0, 2] = gram[:, 2, 0] = gram[:, 1, 2] = gram[:, 2, 1] = 2.0 * c
        gram[:, 2, 2] = 1.0 + c**2
        inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
        noise = noise - orthogonality * np.einsum("ci,cij,cj->c", inner, inverse, inner)
    return np.maximum(noise, 0.0)


def _assemble(layers: Sequence[DenseLayer], inputs: InputStatistics, states: Sequence[_State]) -> DenseNetworkLaw:
    """Run the backward recursion, and bring all logarithms together as linear maps of the deviations."""
    count, size, batch = len(states), 3 * len(states), inputs.second_moments.size
    data_spread = _data_spread(layers[0], inputs)
    same, pair = np.zeros((size, size)), np.zeros((size, size))
    for place, state in enumerate(states):
        index = slice(3 * place, 3 * place + 3)
        same[index, index], pair[index, index] = state.same, state.pair
    unit = np.eye(size)
    to_kappa = np.stack([state.to_kappa for state in states])
    data = np.asarray([state.data_weight for state in states])
    to_q = to_kappa + unit[0::3]
    rates = np.asarray([state.value_rate for state in states])
    to_m = rates[:, np.newaxis] * to_kappa + unit[1::3]
    backward = _propagate_back(layers, states, same, pair)

    def pool(rows: Array) -> Array:
        """Average log-normal factors over the batch: the covariances of the logarithms of the means."""
        single, shared = rows @ same @ rows.T, rows @ pair @ rows.T
        if batch == 1:
            return np.asarray(single)
        return np.log1p(np.expm1(shared) + (np.exp(single) - np.exp(shared)) / batch)

    spread = np.asarray([state.spread for state in states])
    kappa = np.exp(np.asarray([state.log_kappa for state in states]) + 0.5 * spread)
    second = np.asarray([state.second for state in states])
    gradient_spread = np.diag(backward.rows @ same @ backward.rows.T) + backward.data**2 * data_spread
    within = (1.0 - 1.0 / batch) * (same - pair)
    data_within = (1.0 - 1.0 / batch) * data_spread
    mixes = np.asarray([layer.activation is None for layer in layers])
    inner = np.asarray([state.inner_product for state in states])
    # One sample's gradient and the input that it meets rise and fall together.
    before = np.vstack([np.zeros(size), to_m[:-1]])
    data_before = np.concatenate([[1.0], rates[:-1] * data[:-1]])
    joint = np.einsum("li,ij,lj->l", backward.rows, same, before) + backward.data * data_before * data_spread
    fan_in = np.asarray([layer.weights.fan_in for layer in layers])
    entering = np.concatenate([[inputs.second_moments.mean()], second[:-1]])
    # The factor of a step is one of averages over the batch, so each sample counts by its size where the step begins.
    slope = np.asarray([state.slope_rate for state in states])
    _, reuse_steps = _expect_reuse(backward, batch)
    steps_forward, steps_backward = np.empty(count - 1), np.empty(count - 1)
    for place in range(count - 1):
        state, layer = states[place], layers[place + 1]
        e1, e2, e3 = unit[3 * place], unit[3 * place + 1], unit[3 * place + 2]
        share = states[place + 1].share
        # kappa' / Q, where kappa' = gain M + bias and Q = kappa (1 + e1).
        ratio = layer.weights.forward_gain * state.second_over_kappa + layer.bias_variance * state.inverse_kappa
        rate = share * rates[place] - 1.0
        ratio *= 1.0 + float(e1 @ same @ e1 - share * (e1 @ same @ e2))
        steps_forward[place] = ratio * (
            1.0 + float(to_q[place] @ within @ (rate * to_kappa[place] + share * e2 - e1))
            + rate * data[place] ** 2 * data_within
        )
        factor = layer.weights.norm_gain * state.slope_second * reuse_steps[place]
        steps_backward[place] = factor * (
            1.0 + float(backward.rows[place + 1] @ within @ (slope[place] * to_kappa[place] + e3))
            + slope[place] * backward.data[place + 1] * data[place] * data_within
        )
    relative_swing = backward.swing / backward.level
    gradient = Course(
        np.exp(backward.log_mean + 0.5 * gradient_spread) * backward.level,
        pool(backward.rows) + 2.0 / batch * np.outer(relative_swing, relative_swing),
        steps_backward,
    )
    return DenseNetworkLaw(
        preactivation=Course(kappa, pool(to_q), steps_forward),
        activation=Course(np.where(mixes, np.nan, second), pool(to_m), second[1:] / second[:-1]),
        gradient=gradient,
        activation_mean=np.where(mixes, np.nan, [state.mean for state in states]),
        activation_batch_variance=np.where(mixes, np.nan, (1.0 - 1.0 / batch) * (second - inner)),
        weight_gradient=batch * gradient.mean * fan_in * entering * np.exp(joint),
        gradient_is_relative=bool(mixes[-1]),
        chi=np.asarray(
            [layers[place + 1].weights.norm_gain * states[place].local.slope_second for place in range(count - 1)]
        ),
        correlation=np.asarray([state.correlation for state in states]),
    )


def _data_spread(first: DenseLayer, inputs: InputStatistics) -> float:
    return float(np.var(np.log(first.weights.forward_gain * inputs.second_moments + first.bias_variance)))


@dataclass(frozen=True, eq=False)
class _Backward:
    """ln G by layer: its mean, its dependence on the deviations (rows) and on the sample (data), and the reuse factor.

    The factor (1 + psi (R - 1) / n)..., by which G gains from the reuse of the forward weights, is level + (chi - 1) *
    swing with chi a chi-square of one degree of freedom per sample: R belongs to one random scalar product.
    """

    log_mean: Array
    rows: Array
    data: Array
    level: Array
    swing: Array


def _propagate_back(layers: Sequence[DenseLayer], states: Sequence[_State], same: Array, pair: Array) -> _Backward:
    """Follow the gradient from the output to the input; completes the variances of e3 in ``same`` and ``pair``."""
    count = len(states)
    log_mean, rows, data = np.zeros(count), np.zeros((count, 3 * count)), np.zeros(count)
    level, swing = np.ones(count), np.zeros(count)
    top, top_layer = states[-1], layers[-1]
    e3 = 3 * count - 1
    if top_layer.activation is None:
        same[e3], same[:, e3], pair[e3], pair[:, e3] = 0.0, 0.0, 0.0, 0.0
        alignment, cosine2 = 1.0, 1.0 / max(top_layer.units - 1, 1)
    else:
        log_mean[-1] = math.log(top_layer.units) + top.log_slope_second + _log_gamma_mean(same[e3, e3])
        rows[-1] = top.slope_rate * top.to_kappa
        rows[-1, e3] += 1.0
        data[-1] = top.slope_rate * top.data_weight
        alignment = top.local.z2_slope2 / (_center(top) * top.local.slope_second)
        cosine2 = top.slope_pair2 / top_layer.units
    for place in range(count - 2, -1, -1):
        state, above, layer = states[place], states[place + 1], layers[place + 1]
        local, units, gain = state.local, layers[place].units, layer.weights.norm_gain
        kept = layer.gradient_orthogonality
        e3 = 3 * place + 2
        # phi'^2 a^2 instead of phi'^2: E a^4 = 3 and E a_a^2 a_b^2 = 1 + 2 cos^2.
        same[e3, e3] += (2.0 * local.slope_fourth - 2.0 * kept) / units
        pair[e3, e3] += 2.0 * cosine2 * (state.slope_square_pair - kept) / units
        share = above.share
        # Orthogonal weights keep the whole norm, so what is not along z is that much less.
        pinned = (local.value2_slope2 * share - kept) / units
        level[place] = level[place + 1] + pinned * (alignment - level[place + 1])
        swing[place] = swing[place + 1] + pinned * (alignment - swing[place + 1])
        log_mean[place] = (
            log_mean[place + 1] + math.log(gain) + state.log_slope_second + _log_gamma_mean(same[e3, e3])
        )
        rows[place] = rows[place + 1] + state.slope_rate * state.to_kappa
        rows[place, e3] += 1.0
        data[place] = data[place + 1] + state.slope_rate * state.data_weight
        coherent = share * local.z_value_slope / local.value_second
        fresh = gain * (local.z2_slope2 - share * local.z_value_slope**2 / local.value_second)
        # kappa of the layer above as it follows from this layer's center, so that ReLU keeps R = 1 exactly.
        following = gain * local.value_second + layer.bias_variance
        denominator = _center(state) * gain * local.slope_second
        alignment = (alignment * following * coherent**2 + fresh * level[place + 1]) / denominator
        cosine2 = cosine2 * state.slope_pair2 + (1.0 - kept) * state.slope_square_pair / units
        cosine2 = min(cosine2, 1.0) if math.isfinite(cosine2) else 0.0
    return _Backward(log_mean, rows, data, level, swing)


def _log_gamma_mean(variance: float) -> float:
    """Give E ln X of a gamma law of mean 1: digamma(k) - ln k with k = 1 / variance, about -variance / 2."""
    return float(special.digamma(1.0 / variance) + math.log(variance)) if variance > 1e-12 else 0.0


def _expect_reuse(backward: _Backward, batch: int) -> tuple[Array, Array]:
    """Average the reuse factor of a batch: E ln of it, shape [L], and E of its ratio by step, shape [L - 1]."""
    points, weights = special.roots_genlaguerre(12, batch / 2.0 - 1.0)
    chi, weights = points * 2.0 / batch, weights / weights.sum()
    factor = backward.level + (chi[:, np.newaxis] - 1.0) * backward.swing
    factor = np.maximum(factor, 1e-3)
    return weights @ np.log(factor), weights @ (factor[:, :-1] / factor[:, 1:])


def _center(state: _State) -> float:
    return math.exp(state.log_kappa)


_IDENTITY: Final = Activation("linear", np.copy)
