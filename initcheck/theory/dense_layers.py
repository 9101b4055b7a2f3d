"""The forward pass of a network of Dense layers at finite width: the distribution of ln kappa from layer to layer.

See :mod:`initcheck.theory.dense_network` for the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, evaluate_on_grid
from initcheck.theory.input_statistics import InputStatistics
from initcheck.theory.unit_moments import (
    SLOPE,
    SLOPE2,
    VALUE,
    VALUE2,
    LocalMoments,
    PairMoments,
    correlation_noise,
    correlation_slope,
    measure_locally,
    weigh_tails,
)
from initcheck.theory.weights import WeightDistribution

_MEAN_NODES, _MEAN_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_MEAN_WEIGHTS = _MEAN_WEIGHTS / _MEAN_WEIGHTS.sum()

_IDENTITY: Final = Activation("linear", np.copy)


@dataclass(frozen=True)
class DenseLayer:
    """A Dense layer: the distribution of its weights, and its activation function.

    Attributes:
        activation: phi; None for a layer whose activation mixes its units (softmax), which must be the last.
    """

    units: int
    weights: WeightDistribution
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
class LayerState:
    """One layer: the distribution of ln kappa there, and the local moments at its mean.

    The deviations e1, e2, e3 have the covariances ``same`` for one sample and ``pair`` for two, averaged over pairs.
    """

    log_kappa: float
    log_variance: float
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
    local: LocalMoments
    slope_pair2: float
    slope_square_pair: float
    value_cosines: Array
    slope_cosines: Array

    @property
    def center(self) -> float:
        """The typical kappa, exp of the mean of its logarithm."""
        return math.exp(self.log_kappa)


class _Propagation:
    """The forward recursion."""

    def __init__(self, layers: Sequence[DenseLayer], inputs: InputStatistics) -> None:
        self.size = 3 * len(layers)
        first = layers[0]
        self.samples = inputs.second_moments.size
        kappa = first.weights.forward_gain * inputs.second_moments + first.bias_variance
        self.data_variance = float(np.var(np.log(kappa)))
        self.data_weight = 1.0
        self.log_kappa = math.log(float(kappa.mean())) - 0.5 * self.data_variance
        self.to_kappa = np.zeros(self.size)
        self.share = 1.0 - first.bias_variance / float(kappa.mean())
        self.fourth = inputs.fourth_moment_sum
        self.shares = inputs.shares
        self.correlations = self.share * inputs.correlations + (1.0 - self.share)
        self.correlation_variances = self.share**2 * inputs.correlation_variances
        self.coupling = np.zeros_like(self.correlations)
        self.noise_same = np.zeros((self.size, self.size))

    @property
    def log_variance(self) -> float:
        """Variance of ln kappa of one sample, over samples and seeds."""
        noise = float(self.to_kappa @ self.noise_same @ self.to_kappa)
        # Where orthogonal weights leave no noise, rounding may leave less than none.
        return self.data_weight**2 * self.data_variance + max(noise, 0.0)


def propagate(layers: Sequence[DenseLayer], inputs: InputStatistics) -> list[LayerState]:
    """Follow the signal from the input to the output."""
    run = _Propagation(layers, inputs)
    states = []
    for place, layer in enumerate(layers):
        following = layers[place + 1] if place + 1 < len(layers) else None
        states.append(_visit(run, place, layer, following))
    return states


@dataclass(frozen=True, eq=False)
class _Lognormal:
    """The distribution of kappa, by Gauss-Hermite nodes in its logarithm."""

    mean: float
    log_variance: float
    nodes: Array
    weights: Array

    def expect(self, values: Array, rate: float) -> float:
        """Integrate a positive function of kappa, given at the nodes, that is about a power of it.

        The power's own expectation is exp(rate mean + rate^2 log_variance / 2) exactly, so that only the rest is left
        to the nodes; wide distributions would otherwise lose what lies beyond them.
        """
        power = np.exp(rate * (np.log(self.nodes) - self.mean))
        scale = float(np.exp(self.weights @ np.log(values)))
        whole = scale * math.exp(0.5 * rate**2 * self.log_variance)
        found = float(self.weights @ (values - scale * power)) + whole
        return found if found > 0.0 else float(self.weights @ values)


def _visit(run: _Propagation, place: int, layer: DenseLayer, following: DenseLayer | None) -> LayerState:
    """Compute one layer and move the recursion on to the next."""
    phi = layer.activation or _IDENTITY
    log_variance = run.log_variance
    center = math.exp(run.log_kappa)
    nodes, weights = (_MEAN_NODES, _MEAN_WEIGHTS) if log_variance > 1e-8 else (np.zeros(1), np.ones(1))
    kappas = np.exp(run.log_kappa + math.sqrt(log_variance) * nodes)
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
        local = measure_locally(phi, grid, center)
        value_rate = float(grid.expect(value2 * (z2 - 1.0))[0]) / (2.0 * local.value_second)
        slope_rate = float(grid.expect(slope2 * (z2 - 1.0))[0]) / (2.0 * local.slope_second)
        # Over a wide distribution of ln kappa, the best straight line is not the tangent.
        spans = nodes.size > 1
        value_line = float(weights @ (nodes * np.log(seconds[1:]))) / math.sqrt(log_variance) if spans else value_rate
        slope_line = float(weights @ (nodes * log_slopes[1:])) / math.sqrt(log_variance) if spans else slope_rate
        kappa_distribution = _Lognormal(run.log_kappa, log_variance, kappas, weights)
        second = kappa_distribution.expect(seconds[1:], value_line)
    if not all(map(math.isfinite, (second, value_rate, slope_rate, float(log_slopes[0])))) or second <= 0.0:
        raise TheoryError(
            f"Theory cannot follow the activation {phi.name!r} at a pre-activation variance of {center:.3g}: "
            "its moments vanish, diverge or overflow there. Choose fewer layers or another initializer."
        )
    pairs = PairMoments(grid, local, run.correlations, run.correlation_variances, run.shares)
    same, pair = _deviations(layer, local, value_rate, slope_rate, pairs)
    if layer.weights.distribution != "orthogonal":  # whose fourth moments are seen to with their second chaos
        same = same + excess / 24.0 * weigh_tails(grid, local) / layer.units
    index = slice(3 * place, 3 * place + 3)
    run.noise_same[index, index] = same
    mean = float(weights @ grid.expect(grid.value)[1:])
    state = LayerState(
        log_kappa=run.log_kappa,
        log_variance=log_variance,
        data_weight=run.data_weight,
        to_kappa=run.to_kappa,
        second=second,
        second_over_kappa=kappa_distribution.expect(seconds[1:] / kappas, value_line - 1.0),
        inverse_kappa=kappa_distribution.expect(1.0 / kappas, -1.0),
        slope_second=kappa_distribution.expect(slopes[1:], slope_line),
        log_slope_second=float(weights @ log_slopes[1:]),
        value_rate=value_line,
        slope_rate=slope_line,
        same=same,
        pair=pair,
        mean=mean,
        inner_product=_expect_inner_product(run, pairs, second, value_line, center) if pairs.groups else math.nan,
        correlation=pairs.average(pairs.flat) if pairs.groups else math.nan,
        share=run.share,
        local=local,
        slope_pair2=pairs.average(np.square(pairs.products[:, SLOPE, SLOPE])),
        slope_square_pair=pairs.average(pairs.products[:, SLOPE2, SLOPE2]),
        value_cosines=pairs.by_group(pairs.products[:, VALUE, VALUE]),
        slope_cosines=pairs.by_group(pairs.products[:, SLOPE, SLOPE]),
    )
    if following is not None:
        _advance(run, place, layer, following, state, pairs)
    return state


def _deviations(
    layer: DenseLayer, local: LocalMoments, value_rate: float, slope_rate: float, pairs: PairMoments
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
    for i, first in ((1, VALUE2), (2, SLOPE2)):
        for j, second in ((1, VALUE2), (2, SLOPE2)):
            pair[i, j] = pairs.average(pairs.products[:, first, second]) - 1.0
    return (same - kept * chaos) / layer.units, (pair - kept * squared * chaos) / layer.units


def _advance(
    run: _Propagation, place: int, layer: DenseLayer, following: DenseLayer, state: LayerState, pairs: PairMoments
) -> None:
    """Move the distribution of ln kappa and the correlations to the next layer."""
    gain, bias = following.weights.forward_gain, following.bias_variance
    kappa = gain * state.second + bias
    share = gain * state.second / kappa
    run.share = share
    run.to_kappa = share * state.value_rate * run.to_kappa
    run.to_kappa[3 * place + 1] += share
    run.data_weight *= share * state.value_rate
    run.log_kappa = math.log(kappa) - 0.5 * run.log_variance
    run.fourth = state.local.value_fourth / layer.units
    if pairs.groups:
        products = pairs.products
        center = share * products[:, VALUE, VALUE] + (1.0 - share)
        noise, shift, coupling = correlation_noise(pairs, state.local, state.value_rate, layer.orthogonality)
        center_shifted = center + share * shift / layer.units
        mean = pairs.by_group(center_shifted)
        slope = pairs.by_group(correlation_slope(pairs, state.local, state.center)) * share
        run.coupling = (
            slope * share * state.value_rate * run.coupling + share**2 * pairs.by_group(coupling) / layer.units
        )
        variances = pairs.by_group(np.square(center) + share**2 * noise / layer.units) - np.square(
            pairs.by_group(center)
        )
        run.correlation_variances = np.where(variances > 1e-14, variances, 0.0)  # less is what rounding left
        run.correlations = np.clip(mean, -1.0, 1.0)


def _expect_inner_product(run: _Propagation, pairs: PairMoments, second: float, rate: float, center: float) -> float:
    """Give E phi(u) phi(v) over pairs; correlations are larger in networks of larger signals, or smaller."""
    slope = pairs.by_group(pairs.products[:, SLOPE, SLOPE]) * center * pairs.slope_over_value
    return second * float(
        pairs.shares @ (pairs.by_group(pairs.products[:, VALUE, VALUE]) + rate * slope * run.coupling)
    )


@dataclass(frozen=True, eq=False)
class GradientMoments:
    """ln G by layer: its mean, its dependence on the deviations (rows) and on the sample (data), and the reuse factor.

    The factor (1 + psi (R - 1) / n)..., by which G gains from the reuse of the forward weights, has the mean ``level``.
    What it has beyond 1 belongs to one random scalar product, and so varies like a chi-square of one degree of freedom.
    """

    log_mean: Array
    rows: Array
    data: Array
    level: Array


def propagate_back(
    layers: Sequence[DenseLayer], states: Sequence[LayerState], same: Array, pair: Array
) -> GradientMoments:
    """Follow the gradient from the output to the input; completes the variances of e3 in ``same`` and ``pair``."""
    count = len(states)
    log_mean, rows, data = np.zeros(count), np.zeros((count, 3 * count)), np.zeros(count)
    level = np.ones(count)
    top, top_layer = states[-1], layers[-1]
    e3 = 3 * count - 1
    if top_layer.activation is None:
        same[e3], same[:, e3], pair[e3], pair[:, e3] = 0.0, 0.0, 0.0, 0.0
        alignment, cosine2 = 1.0, 1.0 / max(top_layer.units - 1, 1)
    else:
        log_mean[-1] = math.log(top_layer.units) + top.log_slope_second - 0.5 * same[e3, e3]
        rows[-1] = top.slope_rate * top.to_kappa
        rows[-1, e3] += 1.0
        data[-1] = top.slope_rate * top.data_weight
        alignment = top.local.z2_slope2 / (top.center * top.local.slope_second)
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
        log_mean[place] = log_mean[place + 1] + math.log(gain) + state.log_slope_second - 0.5 * same[e3, e3]
        rows[place] = rows[place + 1] + state.slope_rate * state.to_kappa
        rows[place, e3] += 1.0
        data[place] = data[place + 1] + state.slope_rate * state.data_weight
        coherent = share * local.z_value_slope / local.value_second
        fresh = gain * (local.z2_slope2 - share * local.z_value_slope**2 / local.value_second)
        # kappa of the layer above as it follows from this layer's center, so that ReLU keeps R = 1 exactly.
        following = gain * local.value_second + layer.bias_variance
        denominator = state.center * gain * local.slope_second
        alignment = (alignment * following * coherent**2 + fresh * level[place + 1]) / denominator
        cosine2 = cosine2 * state.slope_pair2 + (1.0 - kept) * state.slope_square_pair / units
        cosine2 = min(cosine2, 1.0)
    return GradientMoments(log_mean, rows, data, level)
