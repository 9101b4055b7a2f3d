"""Plain networks of Dense layers: found in the graph, and predicted by the theory of finite width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import TheoryError
from initcheck.prediction.layer_rules import find_function
from initcheck.prediction.signal import (
    FINITE_WIDTH,
    Measured,
    ModelPrediction,
    RepeatedLayers,
    SitePrediction,
    WeightsOf,
    describe_weights,
    require_kernel,
)
from initcheck.prediction.walk import Graph
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_network import (
    DenseLayer,
    DenseNetworkMoments,
    InputStatistics,
    LayerMoments,
    describe_batch,
    predict_dense_network,
)
from initcheck.theory.gaussian import Activation, find_activation


@dataclass(frozen=True)
class Link:
    """One Dense layer of a chain, the layer that applies its activation function if it is another, and the function."""

    dense: int
    activation: int | None
    function: Activation | None


def find_chain(graph: Graph) -> tuple[Link, ...] | None:
    """Find the Dense layers of a graph that has nothing else but changes of the input's shape; None for others."""
    layers = import_keras().layers
    nodes = graph.nodes
    if not nodes or nodes[0].input is None or graph.outputs != (len(nodes) - 1,):
        return None
    links: list[Link] = []
    for place, node in enumerate(nodes[1:], start=1):
        if node.parents != (place - 1,) or node.operation is None:
            return None
        kind = type(node.operation)
        if kind is layers.Dense:
            links.append(Link(place, None, _read_function(node.operation.activation)))
        elif kind is layers.Activation and links and _takes_activation(links[-1], place):
            links[-1] = Link(links[-1].dense, place, _read_function(node.operation.activation))
        elif links or kind not in (layers.Flatten, layers.Reshape):
            return None
    if not links or any(link.function is None for link in links[:-1]):
        return None
    if any(len(nodes[link.dense].operation.input.shape) != 2 for link in links):
        return None
    seen = [id(nodes[link.dense].operation) for link in links]
    return tuple(links) if len(set(seen)) == len(seen) else None


def _takes_activation(link: Link, place: int) -> bool:
    return link.activation is None and link.dense == place - 1 and link.function is find_activation("linear")


def _read_function(function: Any) -> Activation | None:
    """Read an activation function; None for one that mixes its units."""
    try:
        return find_function(function) or find_activation("linear")
    except TheoryError:
        return None


def describe_chain_batch(chain: Sequence[Link], data: Array, output_gradients: Array) -> InputStatistics:
    """Describe the batch as the first Dense layer of a chain receives it."""
    samples = np.asarray(data, dtype=np.float64).reshape(data.shape[0], -1)
    gradients = np.asarray(output_gradients, dtype=np.float64).reshape(data.shape[0], -1)
    if chain[-1].function is None:
        # Softmax passes on nothing of what all its units share.
        gradients = gradients - gradients.mean(axis=1, keepdims=True)
    return describe_batch(samples, gradients)


# Several initializers have one distribution in layers of one width: LeCun's and Glorot's, say.
_predict = lru_cache(maxsize=512)(predict_dense_network)


def predict_chain(
    graph: Graph,
    chain: Sequence[Link],
    data: Array,
    inputs: InputStatistics,
    weights_of: WeightsOf,
    measured: Measured,
    signal_layers: Sequence[str],
) -> ModelPrediction:
    """Predict a plain network of Dense layers."""
    layers = []
    for link in chain:
        weights = weights_of(graph.nodes[link.dense].operation)
        units = int(graph.nodes[link.dense].operation.units)
        layers.append(DenseLayer(units, require_kernel(weights), link.function, weights.bias_variance))
    samples = np.asarray(data, dtype=np.float64).reshape(data.shape[0], -1)
    moments = _predict(tuple(layers), inputs)
    scale, basis = _scale_gradients(graph, chain, moments, measured)
    sites = {(node.layer, node.call): SitePrediction(basis=basis) for node in graph.nodes if node.input is None}
    for place, link in enumerate(chain):
        dense = graph.nodes[link.dense]
        values = sites[dense.layer, dense.call].values
        describe_weights(values, dense.operation, layers[place].weights)
        values.update(_describe_gradient(moments, place, layers[place].units, scale))
        values["weight_gradient_norm"] = math.sqrt(scale * moments.weight_gradient[place])
        _put(values, "preactivation_second_moment", moments.preactivation, place)
        if link.activation is not None:
            # What this layer puts out is its pre-activation; the next one applies the function.
            _put(values, "activation_second_moment", moments.preactivation, place)
            values["activation_mean"] = 0.0
            applying = graph.nodes[link.activation]
            values = sites[applying.layer, applying.call].values
            values.update(_describe_gradient(moments, place, layers[place].units, scale))
            _put(values, "preactivation_second_moment", moments.preactivation, place)
        if link.function is not None:
            _put(values, "activation_second_moment", moments.activation, place)
            values["activation_mean"] = float(moments.activation_mean[place])
            if samples.shape[0] > 1:
                values["activation_batch_variance"] = float(moments.activation_batch_variance[place])
    _describe_data(graph, chain, samples, sites)
    places = _find_places(graph, chain, signal_layers)
    return ModelPrediction(
        sites,
        {"forward": moments.preactivation.gain(places), "backward": moments.gradient.gain(places[::-1])},
        FINITE_WIDTH,
        {},
        _find_repeated(layers, places, float(inputs.second_moments.mean())),
    )


def _scale_gradients(
    graph: Graph, chain: Sequence[Link], moments: DenseNetworkMoments, measured: Measured
) -> tuple[float, str]:
    """Give the squared gradient norm that is the unit of the predicted ones, and say what the prediction rests on."""
    if not moments.gradient_is_relative:
        return 1.0, FINITE_WIDTH
    head = graph.nodes[chain[-1].dense]
    at_head = measured.get((head.layer, head.call), {}).get("gradient_second_moment", math.nan)
    basis = f"{FINITE_WIDTH}; gradients restarted from the measured value at {head.layer}"
    return float(at_head * head.operation.units), basis


def _put(values: dict[str, float], name: str, moments: LayerMoments, place: int) -> None:
    values[name] = float(moments.mean[place])
    values[f"{name}_sd"] = float(moments.standard_deviation[place])


def _describe_gradient(moments: DenseNetworkMoments, place: int, units: int, scale: float) -> dict[str, float]:
    """Give second moment and norm; standard deviations only where the gradient at the top is known."""
    mean = scale * float(moments.gradient.mean[place])
    variance = max(float(moments.gradient.covariance[place, place]), 0.0)
    values = {
        "gradient_second_moment": mean / units,
        # The norm is the root of a log-normal variable: E sqrt(G) = sqrt(E G) exp(-var ln G / 8).
        "gradient_norm": math.sqrt(mean) * math.exp(-variance / 8.0),
    }
    if not moments.gradient_is_relative:
        values["gradient_second_moment_sd"] = values["gradient_second_moment"] * math.sqrt(math.expm1(variance))
        values["gradient_norm_sd"] = values["gradient_norm"] * math.sqrt(math.expm1(variance / 4.0))
    return values


def _describe_data(
    graph: Graph, chain: Sequence[Link], samples: Array, sites: dict[tuple[str, int], SitePrediction]
) -> None:
    """Describe what layers before the first Dense layer put out: the data themselves."""
    for node in graph.nodes[1 : chain[0].dense]:
        values = sites[node.layer, node.call].values
        values["activation_second_moment"] = float(np.square(samples).mean())
        values["activation_mean"] = float(samples.mean())
        if samples.shape[0] > 1:
            values["activation_batch_variance"] = float(samples.var(axis=0).mean())


def _find_places(graph: Graph, chain: Sequence[Link], signal_layers: Sequence[str]) -> list[int]:
    """Find the places of the signal layers in the chain; none where they do not follow each other."""
    layers = [graph.nodes[link.dense].layer for link in chain]
    places = [layers.index(layer) for layer in signal_layers if layer in layers]
    first = min(places, default=0)
    consecutive = places == list(range(first, first + len(places)))
    return places if consecutive and len(places) == len(signal_layers) else []


def _find_repeated(
    layers: Sequence[DenseLayer], places: Sequence[int], input_second_moment: float
) -> RepeatedLayers | None:
    followed = layers[: len(places)]
    if (
        len(places) < 2
        or places[0] != 0
        or len(set(followed[1:])) > 1
        or followed[-1].weights.fan_in != followed[-1].units
    ):
        return None
    return RepeatedLayers(tuple(followed), input_second_moment)
