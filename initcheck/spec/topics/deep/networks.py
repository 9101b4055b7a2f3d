"""Deep networks measured over seeds: the second moments of signal and gradient from layer to layer.

Kernels are drawn by the installed Keras, each with its own seed. One sample goes through, scaled to a given root mean
square: the distribution of its moments is exact at any width, while the samples of a batch grow alike with depth and
add next to nothing. All members are about *ratios* from layer to layer and their logarithms; levels depend on rare
seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core import statistics
from initcheck.core.columns import Direction
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec
from initcheck.spec.claim import RunContext, SeedRow, seed_rows
from initcheck.spec.decisions import CLAIM_FALSE_ALARM, MISS_RATE
from initcheck.theory.dense_network import (
    DenseLayer,
    DenseNetworkMoments,
    LayerMoments,
    predict_dense_network,
    single_input,
)
from initcheck.theory.gaussian import find_activation
from initcheck.theory.sampling import compute_linear_increment, compute_participation, compute_relu_increment
from initcheck.theory.weights import weight_distribution

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.float64]

DEPTH: Final = 10
WIDTH: Final = 64
LAYER_MARGIN: Final = 0.20
AVERAGE_MARGIN: Final = 0.04
"""What still counts as the gain claimed: below 5%, so that a variance that is 5% off does not pass."""

_SKEWNESS: Final = 3.0
"""By how much the skewness of ratios may raise the far tail of a mean over a few hundred seeds."""

HOMOGENEOUS: Final = ("linear", "relu")
"""Activation functions by which a signal that is c times as large comes out c times as large."""

LEFT_OUT: Final = 0.01
"""Part of the average's margin that is left for what theory leaves out: terms beyond the first order in 1 / width."""


@dataclass(frozen=True)
class DeepNetwork:
    """A plain network of square layers, and how it is initialized."""

    initializer: InitializerSpec
    activation: str
    depth: int = DEPTH
    width: int = WIDTH
    scale: float = 1.0
    variance_factor: float = 1.0
    shared_seed: bool = False

    def predict(self) -> DenseNetworkMoments:
        """Predict the moments of the network, without its defects and without its head."""
        return _predict(replace(self, variance_factor=1.0, shared_seed=False))

    def count_seeds(self, left_out: float = 0.0) -> int:
        """Count the seeds that a true claim about its gains needs, in both directions; see :func:`plan_seeds`."""
        predicted = self.predict()
        return max(
            plan_seeds(*_relative_deviations(moments, backward), self.depth - 1, left_out)
            for moments, backward in ((predicted.preactivation, False), (predicted.gradient, True))
        )

    def measure(self, context: RunContext, seeds: int) -> NetworkMoments:
        """Measure the second moments by seed and layer, unless they were measured before, or follow from such."""
        if self.variance_factor != 1.0 and self.activation in HOMOGENEOUS:
            return replace(self, variance_factor=1.0).measure(context, seeds).rescaled(self.variance_factor)
        return context.remember(("deep", self, seeds), lambda: _measure(self, context, seeds))


@dataclass(frozen=True, eq=False)
class NetworkMoments:
    """Second moments of a deep network; shape [seeds, layers] each."""

    before: Array
    after: Array
    """Of the outputs, the input's first: shape [seeds, layers + 1]."""
    gradient: Array
    weight_gradient: Array

    def rescaled(self, factor: float) -> NetworkMoments:
        """Give the moments that kernels larger by the root of the factor have in a homogeneous network without biases.

        There phi(c z) = c phi(z): each kernel multiplies what is behind it forward, and what is before it backward.
        """
        powers = factor ** np.arange(self.before.shape[1] + 1.0)
        return NetworkMoments(
            before=self.before * powers[1:],
            after=self.after * powers,
            gradient=self.gradient * powers[-2::-1],
            weight_gradient=self.weight_gradient * powers[-2],
        )

    def ratios(self, direction: Direction) -> Array:
        """Give the ratios from one hidden layer to the next in the given direction, shape [seeds, layers - 1]."""
        signal = self.before if direction == "forward" else self.gradient[:, ::-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = signal[:, 1:] / signal[:, :-1]
        return found

    def increments(self, direction: Direction) -> Array:
        """Give the log increments: of the outputs, from the input on; or of dL/dz, down from the last layer."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = np.diff(np.log(self.after)) if direction == "forward" else np.log(self.ratios("backward"))
        return found


def draw_sample(context: RunContext, size: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Draw one sample of Gaussian numbers with the given root mean square; shape [1, size]."""
    values = np.random.default_rng(context.seed(f"deep.sample.{size}")).standard_normal((1, size))
    return np.asarray(scale * values / np.sqrt(np.mean(np.square(values))), dtype=np.float32)


def draw_normal(context: RunContext, label: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw standard normal numbers in float32, with the seed that the label gives."""
    return np.random.default_rng(context.seed(label)).standard_normal(shape).astype(np.float32)


def measure_model(model: Any, x: NDArray[np.float32], seeds: Sequence[int]) -> DataFrame:
    """Measure a model on one batch, with weights drawn for each seed: the measurement table."""
    from initcheck.probe import Probe

    return Probe(model, x).measure(seeds)


def draw_kernels(initializer: InitializerSpec, shape: tuple[int, int], seeds: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw kernels by Keras in one compiled loop, each with its own seed; shape [seeds, *shape]."""
    from initcheck.probe.draw import RedrawPlan

    keras = import_keras()
    inputs = keras.Input((shape[0],))
    layer = keras.layers.Dense(shape[1], use_bias=False, kernel_initializer=initializer.create(1))
    drawn = RedrawPlan(keras.Model(inputs, layer(inputs))).sample(seeds)[0]
    return np.asarray(keras.ops.convert_to_numpy(drawn), dtype=np.float32)


def plan_seeds(layer_sd: float, average_sd: float, layers: int, left_out: float = 0.0) -> int:
    """Count the seeds of a claim, so that a true one fails to pass at most once in a million runs."""
    # Each layer, and their average, is an equivalence test at the level that Bonferroni leaves it.
    members = layers + 1
    level, miss = MISS_RATE / members, CLAIM_FALSE_ALARM / _SKEWNESS / members
    parts = ((layer_sd, LAYER_MARGIN - left_out), (average_sd, AVERAGE_MARGIN - left_out))
    return max(statistics.seeds_needed(sd, margin, level, 1.0 - miss / 2.0) for sd, margin in parts)


@dataclass(frozen=True)
class Gains:
    """The ratios of second moments from layer to layer, over what is expected of them."""

    network: DeepNetwork
    direction: Direction
    gain: float | None = None
    """The factor claimed; None for what theory predicts, layer by layer, at this width."""
    seeds: int = 0

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.GainByLayer` for the columns."""
        network = self.network
        seeds = self.seeds or network.count_seeds(0.0 if self.gain else LEFT_OUT)
        ratios = network.measure(context, seeds).ratios(self.direction)
        if self.gain is not None:
            return tabulate_layers(ratios / self.gain)
        predicted = network.predict()
        gains = predicted.preactivation.steps if self.direction == "forward" else predicted.gradient.steps
        assert gains is not None  # in a network with one activation throughout both directions are followed
        return tabulate_layers(ratios / (gains if self.direction == "forward" else gains[::-1]))


@dataclass(frozen=True)
class LogIncrements:
    """The log increments of second moments, beside their exact distribution in a layer of finite width."""

    network: DeepNetwork
    direction: Direction
    seeds: int = 0

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.IncrementsByLayer` for the columns."""
        network, width = self.network, self.network.width
        moments = network.measure(context, self.seeds or network.count_seeds())
        increments = moments.increments(self.direction)
        weights = weight_distribution(network.initializer, (width, width))
        gain = weights.forward_gain
        rectified = network.activation == "relu"
        # S4 of Gaussian numbers of which all, or half, are not zero.
        participations = np.full(increments.shape[1], 6.0 / (width + 4.0) if rectified else 3.0 / (width + 2.0))
        if self.direction == "forward":
            participations[0] = compute_participation(draw_sample(context, width))
        rows = []
        for participation in participations:
            if rectified:
                increment = compute_relu_increment(width, gain / 2.0, weights.kurtosis, float(participation))
                rows.append((increment.mean, increment.variance))
            else:
                # As for ReLU, but without the factor 2 that half of the units make of it.
                increment = compute_linear_increment(width, gain)
                extra = (weights.kurtosis - 3.0) * float(participation) / width
                rows.append((increment.mean - extra / 2.0, increment.variance + extra))
        table = tabulate_layers(increments)
        table[["mean", "variance"]] = np.tile(rows, (len(increments), 1))
        return table


@dataclass(frozen=True)
class WeightGradients:
    """The logarithms of ratios between the weight gradients of neighbouring layers, averaged over the layers."""

    network: DeepNetwork
    of_signal: bool = False
    seeds: int = 0

    def measure(self, context: RunContext) -> list[SeedRow]:
        """Measure: one value a seed, of ln(factor of the squared norm by layer, backward)."""
        moments = self.network.measure(context, self.seeds or self.network.count_seeds())
        squares = moments.gradient if self.of_signal else moments.weight_gradient
        rates = (np.log(squares[:, 0]) - np.log(squares[:, -1])) / (squares.shape[1] - 1)
        return seed_rows("average over layers", rates)


RECTANGULAR_WIDTHS: Final = (256, 192, 128, 96, 64)
"""The input, and four hidden layers that narrow."""


@dataclass(frozen=True)
class RectangularGains:
    """The ratios of second moments between layers that narrow, over what He et al. derive for one fan."""

    mode: str
    assumed: str
    direction: Direction

    def measure(self, context: RunContext) -> DataFrame:
        """Measure; see :class:`~initcheck.spec.decisions.GainByLayer` for the columns."""
        before, gradient = context.remember(("pyramid", self.mode), lambda: self._run(context))
        # Ratios of neighbouring hidden layers: their kernels lead from `inputs` to `outputs` units.
        inputs, outputs = (
            np.asarray(RECTANGULAR_WIDTHS[1:-1], np.float64),
            np.asarray(RECTANGULAR_WIDTHS[2:], np.float64),
        )
        # With Var W = 2 / fan the pre-activations change by fan_in / fan, and single entries of dL/dz by fan_out / fan.
        fan = inputs if self.assumed == "fan_in" else outputs
        if self.direction == "forward":
            ratios, expected = before[:, 1:] / before[:, :-1], inputs / fan
        else:
            ratios, expected = gradient[:, :-1] / gradient[:, 1:], outputs / fan
        return tabulate_layers(ratios / expected)

    def _run(self, context: RunContext) -> tuple[Array, Array]:
        keras = import_keras()
        inputs = x = keras.Input((RECTANGULAR_WIDTHS[0],))
        arguments = (("scale", 2.0), ("mode", self.mode), ("distribution", "uniform"))
        spec = InitializerSpec("VarianceScaling", arguments)
        names = [f"hidden_{number}" for number in range(1, len(RECTANGULAR_WIDTHS))]
        for number, (name, units) in enumerate(zip(names, RECTANGULAR_WIDTHS[1:], strict=True)):
            x = keras.layers.Dense(units, "relu", kernel_initializer=spec.create(number + 1), name=name)(x)
        x = keras.layers.Dense(10, kernel_initializer=InitializerSpec("LecunNormal").create(99), name="output")(x)
        # Relative variance of a layer's ratio: 5 / n of the narrower one, at most; they are independent.
        deviation, ratios = math.sqrt(5.0 / RECTANGULAR_WIDTHS[-1]), len(names) - 1
        seeds = plan_seeds(deviation, deviation / math.sqrt(ratios), ratios)
        sample = draw_normal(context, "pyramid", (1, RECTANGULAR_WIDTHS[0]))
        table = measure_model(keras.Model(inputs, x), sample, context.seeds(f"pyramid {self.mode}", seeds))
        before = pivot_by_layer(table, "preactivation_second_moment", names)
        return before, pivot_by_layer(table, "gradient_second_moment", names)


def pivot_by_layer(table: DataFrame, column: str, layers: Sequence[str]) -> Array:
    """Bring a column of the measurement table into shape [seeds, layers]; what was not measured is NaN."""
    wide = table.pivot(index="seed", columns="layer", values=column)[list(layers)]
    found: Array = wide.to_numpy(np.float64, na_value=np.nan)
    return found


def tabulate_layers(values: Array) -> DataFrame:
    """Make a table with one row a seed and layer, from values of shape [seeds, layers]."""
    import pandas as pd

    seeds, layers = values.shape
    return pd.DataFrame(
        {
            "member": np.tile([f"layer {number}" for number in range(1, layers + 1)], seeds),
            "seed": np.repeat(np.arange(seeds), layers),
            "value": values.ravel(),
        }
    )


@cache
def _predict(network: DeepNetwork) -> DenseNetworkMoments:
    weights = weight_distribution(network.initializer, (network.width, network.width))
    layer = DenseLayer(network.width, weights, find_activation(network.activation))
    return predict_dense_network([layer] * network.depth, single_input(network.width, network.scale**2))


def _relative_deviations(moments: LayerMoments, backward: bool) -> tuple[float, float]:
    """Give the largest relative standard deviation of a layer's ratio, and that of their average."""
    count = len(moments.mean)
    places = range(count - 1, -1, -1) if backward else range(count)
    difference = np.diff(np.eye(count), axis=0)
    ratios = np.sqrt(np.expm1(np.maximum(np.diag(difference @ moments.covariance @ difference.T), 0.0)))
    gain = moments.gain(tuple(places))
    return float(ratios.max()), gain.standard_deviation / gain.mean


def _measure(network: DeepNetwork, context: RunContext, seeds: int) -> NetworkMoments:
    from initcheck.probe.session import Session

    kernels, heads = _draw_network(network, context, seeds)
    probe = _probe(network, context)
    factor = np.float32(math.sqrt(network.variance_factor))

    def take(replicates: Sequence[int]) -> list[Any]:
        part = slice(replicates[0], replicates[-1] + 1)
        places = iter(range(network.depth))
        values: list[Any] = []
        for weight in probe.model.weights:
            if weight.name == "bias":
                values.append(np.zeros((len(replicates), *weight.shape), np.float32))
            elif weight.path.startswith("output"):
                values.append(heads[part])
            else:
                place = 0 if network.shared_seed else next(places)
                values.append(kernels[part, place] * factor)
        return values

    (table,) = Session([probe]).measure(take, range(seeds))
    layers = [f"hidden_{number:02d}" for number in range(1, network.depth + 1)]
    after = pivot_by_layer(table, "activation_second_moment", ["input", *layers])
    before = pivot_by_layer(table, "preactivation_second_moment", layers)
    return NetworkMoments(
        # A linear layer has no activation function to precede: its output is z.
        before=np.where(np.isnan(before), after[:, 1:], before),
        after=after,
        gradient=pivot_by_layer(table, "gradient_second_moment", layers),
        weight_gradient=np.square(pivot_by_layer(table, "weight_gradient_norm", layers)),
    )


def _draw_network(network: DeepNetwork, context: RunContext, seeds: int) -> tuple[Any, Any]:
    """Draw the kernels of all layers, and the heads; the last ones are remembered for another activation."""
    depth, width = (1 if network.shared_seed else network.depth), network.width
    key = (network.initializer, depth, width, seeds)
    last: dict[str, Any] = context.remember("deep.kernels", dict)
    if last.get("key") != key:
        label = f"deep.{network.initializer.label}.{network.width}"
        drawn = draw_kernels(network.initializer, (width, width), context.seeds(label, seeds * depth))
        heads = draw_kernels(InitializerSpec("LecunNormal"), (width, 10), context.seeds(f"{label}.head", seeds))
        last.update(key=key, value=(drawn.reshape(seeds, depth, width, width), heads))
    pair: tuple[Any, Any] = last["value"]
    return pair


def _probe(network: DeepNetwork, context: RunContext) -> Any:
    """Give the traced network of an activation, shared by all initializers."""
    depth, width, scale = network.depth, network.width, network.scale

    def make() -> Any:
        from initcheck.probe import Probe

        spec = MlpSpec(initializer=InitializerSpec("Zeros"), activation=network.activation, depth=depth, width=width)
        return Probe(spec.build(spec.sample_shape, seed=0), draw_sample(context, width, scale))

    return context.remember(("deep.probe", network.activation, depth, width, scale), make)
