"""What theory says of a plain network before a weight is drawn: where its signal goes, and how far seeds differ.

The network is a stack of L dense layers, z_l = W_l phi(z_{l-1}) + b_l with the input in place of phi(z_0), and a loss
on phi(z_L). :mod:`initcheck.theory.phase` follows the infinitely wide one, the theory of
:mod:`initcheck.theory.dense_network` is that of the real one, over seeds.

References:
    Poole et al., "Exponential expressivity in deep neural networks through transient chaos", 2016.
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, "Deep information propagation", 2017.
    Hanin and Rolnick, "How to start training: the effect of initialization and architecture", 2018.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from initcheck.core.errors import TheoryError, UsageError
from initcheck.models.initializers import InitializerSpec, read_initializer
from initcheck.theory.arguments import check_count, check_counts, check_number
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_network import (
    DenseLayer,
    DenseNetworkMoments,
    LayerMoments,
    predict_dense_network,
    single_input,
)
from initcheck.theory.gaussian import OVERFLOWS, Activation, find_activation
from initcheck.theory.mean_field import ActivationLike, Profile, predict_weight_gradient, trace_profile
from initcheck.theory.phase import Phase, find_phase, without_phase
from initcheck.theory.sampling import (
    LARGEST_WIDTH,
    compute_dead_probability,
    compute_relu_increment,
    count_seeds_for_ratio,
)
from initcheck.theory.thousandfold import MOST_LAYERS, LayersUntil, count_layers_until
from initcheck.theory.weights import WeightDistribution, weight_distribution

DEFAULT_INITIALIZER: Final = "HeNormal"
DEFAULT_DEPTH: Final = 20
DEFAULT_WIDTH: Final = 256

WIDEST: Final = 10**9
"""Layers have no more units."""

_LARGEST_SIGMA: Final = 1e100  # of which the square is a number

_TOO_FEW_UNITS: Final = "so few units vary too much from seed to seed for the theory of finite width"

DEEPEST: Final = 10_000
"""Networks have no more layers."""

DEEPEST_WITH_WIDTH: Final = 200
"""Up to this depth the theory of finite width is computed; its cost grows with the cube of the depth."""

_EQUAL: Final = 1e-9
_DEAD_HALF_OF_THE_TIME: Final = ("relu", "relu6")


@dataclass(frozen=True, eq=False)
class _PlainNetwork:
    """A stack of dense layers with one activation function behind each.

    Attributes:
        keras_name: the name by which phi was given; empty for a function of the user's own.
        initializer: as text; None where sigma_w was given instead.
    """

    activation: Activation
    keras_name: str
    initializer: str | None
    widths: tuple[int, ...]
    inputs: int
    input_second_moment: float
    weights: tuple[WeightDistribution, ...]
    bias_variance: float

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths)

    @property
    def sigma_w2(self) -> tuple[float, ...]:
        """fan_in Var(W) of each layer."""
        return tuple(weights.forward_gain for weights in self.weights)

    @property
    def layers(self) -> list[DenseLayer]:
        """The layers as :func:`predict_dense_network` takes them."""
        return [
            DenseLayer(units, weights, self.activation, self.bias_variance)
            for units, weights in zip(self.widths, self.weights, strict=True)
        ]

    @property
    def has_independent_factors(self) -> bool:
        """Whether norms change by independent factors of known distribution in each layer: ReLU without biases."""
        dependent = any(math.isnan(weights.kurtosis) for weights in self.weights)
        unbiased = self.keras_name == "relu" and self.bias_variance == 0.0
        return unbiased and not dependent and max(self.widths) <= LARGEST_WIDTH


@dataclass(frozen=True)
class LayerForecast:
    """What is predicted of one layer, for one input, over seeds.

    Attributes:
        chi: fan_in Var(W_{l+1}) E phi'(z_l)^2, in an infinitely wide network: the factor of the gradient's squared norm
            from layer l + 1 down to l. NaN in the last layer.
        chi_per_unit: fan_out Var(W_{l+1}) E phi'(z_l)^2: the factor of the gradient's mean square over the units.
    """

    layer: int
    units: int
    second_moment: float
    second_moment_sd: float
    activation_second_moment: float
    activation_second_moment_sd: float
    chi: float
    chi_per_unit: float
    gradient_norm2: float
    gradient_norm2_sd: float
    gradient_second_moment: float
    weight_gradient_norm2: float


@dataclass(frozen=True)
class Forecast:
    """What is predicted of a network. NaN, or None, is what has no value; ``reasons`` says why.

    Attributes:
        initializer: as text; None where sigma_w was given instead.
        q: variance of the pre-activations by layer, in an infinitely wide network.
        phase: where an infinitely wide network goes whose layers are all like those after the first.
        layers_until: when the typical network of this width has changed its signal a thousandfold; deeper than this
            one, it goes on with the last layer. None where there is no phase.
        reasons: why there is no value, by field; for fields of the layers by ``layers.<field>``.
    """

    initializer: str | None
    activation: str
    depth: int
    widths: tuple[int, ...]
    inputs: int
    input_second_moment: float
    sigma_w2: tuple[float, ...]
    sigma_b2: float
    forward_gain: tuple[float, ...]
    backward_gain: tuple[float, ...]
    effect: float
    alpha: float
    power: float
    q: tuple[float, ...]
    phase: Phase
    layers_until: LayersUntil | None
    log_variance: float
    seeds_needed: int | None
    dead_input_probability: float
    layers: tuple[LayerForecast, ...]
    reasons: Mapping[str, str]


def forecast(
    activation: ActivationLike = "relu",
    *,
    initializer: str | InitializerSpec | None = None,
    depth: int | None = None,
    width: int | Sequence[int] = DEFAULT_WIDTH,
    inputs: int | None = None,
    sigma_w: float | None = None,
    sigma_b: float = 0.0,
    input_second_moment: float = 1.0,
    effect: float = 1.1,
    alpha: float = 1e-3,
    power: float = 0.9,
) -> Forecast:
    """Predict a plain network of dense layers from its initializer and activation function alone.

    The degenerate case depth = 1 is one layer: nothing goes from layer to layer, and there is no chi.

    Args:
        activation: phi, of every layer. The names of ``keras.activations`` need no Keras.
        initializer: of the kernels, ``HeNormal`` by default.
        depth: number of layers; by default as many as there are widths, or 20 if there is one.
        width: units of every layer, or a sequence with those of each.
        inputs: size of the input; by default the first width.
        sigma_w: sqrt(fan_in Var(W)) of normal weights, in place of an initializer.
        sigma_b: standard deviation of the biases.
        input_second_moment: mean x^2 of the input.
        effect: factor by which the signal may be off, for ``seeds_needed``.
        alpha: rate of false alarms, two-sided.
        power: probability to see the effect.

    Returns:
        The forecast.

    Raises:
        UsageError: arguments that contradict each other, or an unknown name.
        TheoryError: an argument is out of range; the initializer leaves nothing to chance; the activation mixes units
            or grows faster than any power.

    Source: Poole et al. 2016 and Schoenholz et al. 2017 for the maps, Hanin and Rolnick 2018 for the
    standard deviations.
    """
    phi = find_activation(activation)
    phi.require_moments()
    widths, size = _read_sizes(depth, width, inputs)
    label, weights = _read_weights(initializer, sigma_w, (size, *widths))
    network = _PlainNetwork(
        activation=phi,
        keras_name=activation if isinstance(activation, str) else "",
        initializer=label,
        widths=widths,
        inputs=size,
        input_second_moment=check_number("input_second_moment", input_second_moment, 0.0, low_included=False),
        weights=weights,
        bias_variance=check_number("sigma_b", sigma_b, 0.0, _LARGEST_SIGMA) ** 2,
    )
    if check_number("effect", effect, 0.0, low_included=False) == 1.0:
        raise UsageError("effect must not be 1, where there is nothing to see. Received: effect=1. Give 1.1, say.")
    check_number("alpha", alpha, 0.0, 1.0, low_included=False, high_included=False)
    check_number("power", power, 0.5, 1.0, high_included=False)
    reasons: dict[str, str] = {}
    if network.initializer is None:
        reasons["initializer"] = "sigma_w stands in its place"
    with np.errstate(all="ignore"):
        profile = trace_profile(
            network.activation,
            network.sigma_w2,
            network.depth,
            sigma_b2=network.bias_variance,
            input_second_moment=network.input_second_moment,
        )
        if np.isnan(profile.q).any():
            reasons["q"] = OVERFLOWS
        phase = _find_phase(network, float(profile.q[0]))
        layers_until = _count_layers_until(network, phase, reasons)
        moments = _predict_moments(network, reasons)
        layers = _list_layers(network, profile, moments, reasons)
        log_variance = _find_log_variance(network, moments, reasons)
        seeds_needed = _count_seeds(effect, log_variance, alpha, power, reasons)
    return Forecast(
        initializer=network.initializer,
        activation=network.activation.name,
        depth=network.depth,
        widths=network.widths,
        inputs=network.inputs,
        input_second_moment=network.input_second_moment,
        sigma_w2=network.sigma_w2,
        sigma_b2=network.bias_variance,
        forward_gain=network.sigma_w2,
        backward_gain=tuple(weights.backward_gain for weights in network.weights),
        effect=effect,
        alpha=alpha,
        power=power,
        q=tuple(map(float, profile.q)),
        phase=phase,
        layers_until=layers_until,
        log_variance=log_variance,
        seeds_needed=seeds_needed,
        dead_input_probability=_find_dead_probability(network, reasons),
        layers=layers,
        reasons=reasons,
    )


def _read_sizes(depth: int | None, width: int | Sequence[int], inputs: int | None) -> tuple[tuple[int, ...], int]:
    """Read the units of each layer and the size of the input."""
    widths = tuple(map(int, check_counts("width", width if isinstance(width, Sequence) else [width])))
    layers = (
        len(widths)
        if depth is None and len(widths) > 1
        else check_count("depth", DEFAULT_DEPTH if depth is None else depth)
    )
    if len(widths) not in (1, layers):
        raise UsageError(
            f"depth and the number of widths contradict each other. Received: depth={layers} and {len(widths)} widths. "
            "Leave depth out, or give one width."
        )
    size = widths[0] if inputs is None else check_count("inputs", inputs)
    if layers > DEEPEST:
        raise TheoryError(f"Networks are followed through {DEEPEST:,} layers. Received: depth={layers}. Give fewer.")
    if max(*widths, size) > WIDEST:
        raise TheoryError(f"Layers may have {WIDEST:,} units. Received: {max(*widths, size)}. Give fewer.")
    return widths if len(widths) == layers else widths * layers, size


def _read_weights(
    initializer: str | InitializerSpec | None, sigma_w: float | None, sizes: Sequence[int]
) -> tuple[str | None, tuple[WeightDistribution, ...]]:
    """Read how the kernels are drawn."""
    pairs = list(itertools.pairwise(sizes))
    if sigma_w is not None:
        if initializer is not None:
            raise UsageError(
                f"sigma_w stands in place of an initializer. Received: sigma_w={sigma_w}, initializer={initializer}. "
                "Give one of them."
            )
        variance = check_number("sigma_w", sigma_w, 0.0, _LARGEST_SIGMA, low_included=False) ** 2
        return None, tuple(
            WeightDistribution("normal", variance / before, 3.0, before, after) for before, after in pairs
        )
    chosen = DEFAULT_INITIALIZER if initializer is None else initializer
    spec = chosen if isinstance(chosen, InitializerSpec) else read_initializer(chosen)
    return spec.label, tuple(weight_distribution(spec, pair) for pair in pairs)


def _find_phase(network: _PlainNetwork, start: float) -> Phase:
    following = network.sigma_w2[1:] or network.sigma_w2
    if max(following) - min(following) > _EQUAL * max(following):
        return without_phase(
            f"the layers differ in sigma_w^2, from {min(following):.4g} to {max(following):.4g}, so that the signal "
            "settles nowhere"
        )
    return find_phase(network.activation, following[0], network.bias_variance, start)


def _count_layers_until(network: _PlainNetwork, phase: Phase, reasons: dict[str, str]) -> LayersUntil | None:
    if phase.regime is None:
        reasons["layers_until"] = phase.reasons["regime"]
        return None
    found = count_layers_until(network.layers, network.input_second_moment)
    for name, change in (("forward", found.forward), ("backward", found.backward)):
        if change is None:
            reasons[f"layers_until.{name}"] = _TOO_FEW_UNITS
        elif change.layers is None:
            reasons[f"layers_until.{name}.layers"] = f"there is no thousandfold change within {MOST_LAYERS:,} layers"
    return found


def _predict_moments(network: _PlainNetwork, reasons: dict[str, str]) -> DenseNetworkMoments | None:
    """Predict the theory of finite width, where it can be."""
    if network.depth > DEEPEST_WITH_WIDTH:
        reason = f"standard deviations are computed for up to {DEEPEST_WITH_WIDTH} layers"
    else:
        try:
            return predict_dense_network(network.layers, single_input(network.inputs, network.input_second_moment))
        except TheoryError as error:
            reason = str(error)
        except ArithmeticError:
            reason = "a moment of the signal leaves the range of floating-point numbers on the way"
    for name in ("second_moment_sd", "activation_second_moment_sd", "gradient_norm2_sd"):
        reasons[f"layers.{name}"] = f"{reason}; the means beside are those of an infinitely wide network"
    return None


def _list_layers(
    network: _PlainNetwork, profile: Profile, moments: DenseNetworkMoments | None, reasons: dict[str, str]
) -> tuple[LayerForecast, ...]:
    units = np.asarray(network.widths, dtype=np.float64)
    chi = np.append(profile.chi, np.nan)
    backward = np.asarray([weights.backward_gain / weights.forward_gain for weights in network.weights])
    columns = {"chi": chi, "chi_per_unit": chi * np.append(backward[1:], np.nan)}
    columns |= _follow_without_width(network, profile) if moments is None else _follow(network, moments, profile.chi)
    columns["gradient_second_moment"] = columns["gradient_norm2"] * units[-1] / units
    last = ("chi", "chi_per_unit")
    for name, values in columns.items():
        if np.isnan(values[:-1] if name in last else values).any():
            reasons.setdefault(f"layers.{name}", OVERFLOWS)
    for name in last:
        reasons.setdefault(f"layers.{name}", "there is no layer behind the last one")
    names = [field.name for field in fields(LayerForecast)][2:]
    rows = zip(*(columns[name] for name in names), strict=True)
    return tuple(
        LayerForecast(place, width, *map(float, row))
        for place, (width, row) in enumerate(zip(network.widths, rows, strict=True), start=1)
    )


def _follow(network: _PlainNetwork, moments: DenseNetworkMoments, chi: Array) -> dict[str, Array]:
    """Take the columns from the theory of finite width."""
    ratio, variance = (
        _find_relu_ratio(network, chi) if network.has_independent_factors else _find_ratio(moments.gradient)
    )
    return {
        "second_moment": moments.preactivation.mean,
        "second_moment_sd": moments.preactivation.standard_deviation,
        "activation_second_moment": moments.activation.mean,
        "activation_second_moment_sd": moments.activation.standard_deviation,
        "gradient_norm2": ratio,
        "gradient_norm2_sd": ratio * np.sqrt(np.expm1(variance)),
        "weight_gradient_norm2": ratio * moments.weight_gradient / moments.gradient.mean,
    }


def _find_ratio(gradient: LayerMoments) -> tuple[Array, Array]:
    """Find E G_l / G_L, and the variance of its logarithm.

    The expectation of a product of log-normal factors is that of their expectations, times exp of the covariances of
    their logarithms, pair by pair.
    """
    variance = np.diag(gradient.covariance)
    whole = np.maximum(variance + variance[-1] - 2.0 * gradient.covariance[:, -1], 0.0)
    single = variance[:-1] + variance[1:] - 2.0 * np.diag(gradient.covariance, 1)
    steps = np.log(np.ones(0) if gradient.steps is None else gradient.steps)
    return np.exp(_sum_from_top(steps) + 0.5 * (whole - _sum_from_top(single))), whole


def _find_relu_ratio(network: _PlainNetwork, chi: Array) -> tuple[Array, Array]:
    """Find the same for ReLU, where the factors are independent and are distributed as those on the way forward."""
    shares = [_share_in_relu(units) for units in network.widths[1:]]
    variances = _find_relu_variances(network.widths[:-1], network.weights[1:], shares)
    return np.exp(_sum_from_top(np.log(chi))), _sum_from_top(variances)


def _sum_from_top(steps: Array) -> Array:
    """Add up, for each layer, the steps between it and the last layer."""
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def _follow_without_width(network: _PlainNetwork, profile: Profile) -> dict[str, Array]:
    """Take the columns from the maps of an infinitely wide network."""
    unknown = np.full(len(network.widths), np.nan)
    ratio = np.exp(_sum_from_top(np.log(profile.chi)))
    entering = np.append(network.input_second_moment, profile.activation_second_moment[:-1])
    fan_in = np.asarray([weights.fan_in for weights in network.weights])
    return {
        "second_moment": profile.q,
        "second_moment_sd": unknown,
        "activation_second_moment": profile.activation_second_moment,
        "activation_second_moment_sd": unknown,
        "gradient_norm2": ratio,
        "gradient_norm2_sd": unknown,
        "weight_gradient_norm2": predict_weight_gradient(ratio, fan_in, entering),
    }


def _find_log_variance(network: _PlainNetwork, moments: DenseNetworkMoments | None, reasons: dict[str, str]) -> float:
    """Find Var ln M_L: exactly where it is known, else from theory, to order 1/n."""
    if network.has_independent_factors:
        # S4 of the input as a Gaussian distribution would draw it.
        shares = [3.0 / (network.inputs + 2.0), *map(_share_in_relu, network.widths[:-1])]
        return float(_find_relu_variances(network.widths, network.weights, shares).sum())
    variance = math.nan if moments is None else float(moments.activation.covariance[-1, -1])
    if math.isnan(variance):
        reasons["log_variance"] = reasons.get("layers.activation_second_moment_sd", OVERFLOWS)
    return variance


def _find_relu_variances(
    widths: Sequence[int], weights: Sequence[WeightDistribution], shares: Sequence[float]
) -> Array:
    """Find the variances of the log increments of ReLU layers, whose kernels multiply vectors of the given S4."""
    kinds = [(units, each.kurtosis, share) for units, each, share in zip(widths, weights, shares, strict=True)]
    found = {
        (units, kurtosis, share): compute_relu_increment(units, kurtosis=kurtosis, participation=share).variance
        for units, kurtosis, share in dict.fromkeys(kinds)
    }
    return np.asarray([found[kind] for kind in kinds])


def _share_in_relu(units: int) -> float:
    """Give S4 = sum x^4 / (sum x^2)^2 of the outputs of a ReLU layer, and of gradients that went through one."""
    return min(6.0 / (units + 4.0), 1.0)


def _count_seeds(effect: float, log_variance: float, alpha: float, power: float, reasons: dict[str, str]) -> int | None:
    try:
        return count_seeds_for_ratio(effect, log_variance, alpha, power)
    except TheoryError as error:
        reasons["seeds_needed"] = reasons.get("log_variance", str(error))
        return None


def _find_dead_probability(network: _PlainNetwork, reasons: dict[str, str]) -> float:
    if network.keras_name in _DEAD_HALF_OF_THE_TIME:
        return compute_dead_probability(network.widths)
    reasons["dead_input_probability"] = "known exactly only for relu and relu6, of which half of the units are 0"
    return math.nan
