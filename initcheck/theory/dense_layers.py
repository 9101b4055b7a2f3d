"""Dense layers at finite width: the distribution of ln kappa forward, that of ln G back, layer by layer.

See :mod:`initcheck.theory.dense_network` for the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from initcheck.core.errors import TheoryError
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, Grid, evaluate_on_grid, expand
from initcheck.theory.weights import WeightDistribution

_GROUPS: Final = 12
_MEAN_NODES, _MEAN_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_MEAN_WEIGHTS = _MEAN_WEIGHTS / _MEAN_WEIGHTS.sum()

_IDENTITY: Final = Activation("linear", np.copy)

_PAIR_NODES, _PAIR_WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
_PAIR_WEIGHTS = _PAIR_WEIGHTS / _PAIR_WEIGHTS.sum()
# Rows of the expansion: phi and phi' in units of their root mean squares, and what is made of them.
VALUE, SLOPE, VALUE2, SLOPE2, VALUE3, Z_VALUE, Z2_VALUE = range(7)


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
    """Describe a batch, shape [B, ...], and the gradients dL/dy of its samples, by default without correlation."""
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


@dataclass(frozen=True)
class DenseLayer:
    """A Dense layer: the distribution of its weights, and phi; None where it mixes units (softmax at the end)."""

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
        at_center = grid.first
        local = _measure_locally(phi, at_center, center)
        value_rate = float(at_center.expect(value2[:1] * (z2[:1] - 1.0))[0]) / (2.0 * local.value_second)
        slope_rate = float(at_center.expect(slope2[:1] * (z2[:1] - 1.0))[0]) / (2.0 * local.slope_second)
        # Over a wide distribution of ln kappa, the best straight line is not the tangent.
        spans = nodes.size > 1
        value_line = float(weights @ (nodes * np.log(seconds[1:]))) / math.sqrt(log_variance) if spans else value_rate
        slope_line = float(weights @ (nodes * log_slopes[1:])) / math.sqrt(log_variance) if spans else slope_rate
        kappa_distribution = _Lognormal(run.log_kappa, log_variance, kappas, weights)
        second = kappa_distribution.expect(seconds[1:], value_line)
    if not all(map(math.isfinite, (second, value_rate, slope_rate, float(log_slopes[0])))) or second <= 0.0:
        raise _refuse_moments(phi, center)
    pairs = PairMoments(grid, local, run.correlations, run.correlation_variances, run.shares)
    same, pair = _deviations(layer, local, value_rate, slope_rate, pairs)
    if layer.weights.distribution != "orthogonal":  # whose fourth moments are seen to with their second chaos
        same = same + excess / 24.0 * _weigh_tails(grid, local) / layer.units
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
        noise, shift, coupling = _correlation_noise(pairs, state.local, state.value_rate, layer.orthogonality)
        center_shifted = center + share * shift / layer.units
        mean = pairs.by_group(center_shifted)
        slope = pairs.by_group(_correlation_slope(pairs, state.local, state.center)) * share
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


# --- moments of the units of one layer, for one sample and for pairs: what the deviations are made of ----------------


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


def _measure_locally(phi: Activation, grid: Grid, kappa: float) -> LocalMoments:
    """Measure on the grid of one variance."""
    with np.errstate(all="ignore"):
        value_second, slope_second = (float(moment[0]) for moment in grid.second_moments())
        if not (0.0 < value_second < math.inf and 0.0 < slope_second < math.inf):
            raise _refuse_moments(phi, kappa)
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


def _refuse_moments(phi: Activation, kappa: float) -> TheoryError:
    return TheoryError(
        f"Theory cannot follow the activation {phi.name!r} at a pre-activation variance of {kappa:.3g}: "
        "its moments vanish, diverge or overflow there. Choose fewer layers or another initializer."
    )


def _weigh_tails(grid: Grid, local: LocalMoments) -> Array:
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


def _correlation_slope(pairs: PairMoments, local: LocalMoments, kappa: float) -> Array:
    """Give dC/dc of the outputs' correlation: kappa E phi'(u) phi'(v) / E phi^2."""
    return pairs.products[:, SLOPE, SLOPE] * kappa * local.slope_second / local.value_second


def _correlation_noise(
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
