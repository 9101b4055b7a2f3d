"""A walk through a functional model in mean-field theory, forward with the signal and back with the gradient.

Behind a layer of which there is no theory the walk restarts from what was measured there, and says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from initcheck.backend.keras_private import functional_class
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import TheoryError
from initcheck.prediction.layer_rules import find_rule
from initcheck.prediction.signal import (
    MEAN_FIELD,
    LayerCall,
    LayerEffect,
    LayerWeights,
    Measured,
    ModelPrediction,
    Signal,
    SiteKey,
    SitePrediction,
    WeightsOf,
    describe_weights,
    make_input,
)
from initcheck.probe.paths import PathNamer, input_layers
from initcheck.theory.breakpoints import Array
from initcheck.theory.dense_network import Gain


class Walk:
    """One walk through a model, forward and back."""

    def __init__(self, graph: Graph, weights_of: WeightsOf, measured: Measured, training: bool) -> None:
        self._graph = graph
        self._weights_of = weights_of
        self._measured = measured
        self._training = training
        self._sites: dict[SiteKey, SitePrediction] = {}
        self._signals: list[Signal | None] = []
        self._effects: list[LayerEffect | None] = []
        self._unknown: dict[str, str] = {}
        self._gradient_norms: dict[SiteKey, float] = {}

    def run(self, inputs: Sequence[Array], signal_layers: Sequence[str]) -> ModelPrediction:
        """Walk forward from these inputs and back from the outputs, and follow gains along the given layers."""
        for place, node in enumerate(self._graph.nodes):
            if node.input is not None:
                data = np.asarray(inputs[node.input], dtype=np.float64)
                self._signals.append(make_input(data[:, np.newaxis] if data.ndim == 1 else data, place))
                self._effects.append(None)
            else:
                self._visit(node, place)
        self._return()
        gains = {"forward": self._follow_forward(signal_layers), "backward": self._follow_backward(signal_layers)}
        return ModelPrediction(self._sites, gains, self._describe_basis(), self._unknown)

    def _visit(self, node: Node, place: int) -> None:
        site = self._sites[node.layer, node.call] = SitePrediction()
        entering = [self._signals[parent] for parent in node.parents]
        effect: LayerEffect | None = None
        signal: Signal | None
        try:
            known = [one for one in entering if one is not None]
            if len(known) < len(entering):
                raise TheoryError("nothing is known of what enters it")
            if node.operation is None:
                raise TheoryError("second outputs of layers are not followed")
            rule = find_rule(node.operation)
            weights = self._weights_of(node.operation)
            if node.call > 0 and weights.kernel is not None:
                raise TheoryError("its weights have been used before, so they are not fresh to this signal")
            effect = rule(LayerCall(node.operation, known, place, weights, self._training))
            signal = effect.output
            self._describe(site, node, effect, weights)
        except TheoryError as error:
            self._unknown[node.layer] = str(error)
            site.basis = f"not predicted: {error}"
            signal = self._restart(node, place)
        self._signals.append(signal)
        self._effects.append(effect)

    def _describe(self, site: SitePrediction, node: Node, effect: LayerEffect, weights: LayerWeights) -> None:
        output = effect.output
        values = site.values
        if effect.preactivation is not None:
            values["preactivation_second_moment"] = float(effect.preactivation.second.mean())
        values["activation_second_moment"] = float(output.second.mean())
        values["activation_mean"] = float(output.mean.mean())
        if output.cross is not None and output.second.size > 1:
            values["activation_batch_variance"] = float(output.second.mean() - output.cross.mean())
        describe_weights(values, node.operation, weights.kernel)
        if output.restarted:
            site.basis = f"{MEAN_FIELD}, restarted from the measured value at {output.restarted}"

    def _restart(self, node: Node, place: int) -> Signal | None:
        """Restart from what was measured at a site; None where nothing was."""
        measured = self._measured.get((node.layer, node.call), {})
        second, mean = measured.get("activation_second_moment", math.nan), measured.get("activation_mean", math.nan)
        shape = _output_shape(node)
        if not (math.isfinite(second) and math.isfinite(mean)) or shape is None:
            return None
        batch = next(signal.second.shape[0] for signal in self._signals if signal is not None)
        full = (batch, *shape[1:-1])
        cross = None
        between = measured.get("activation_batch_variance", math.nan)
        if len(full) == 1 and batch > 1 and math.isfinite(between):
            shared = second - between * batch / (batch - 1.0)
            cross = np.full((batch, batch), shared)
            np.fill_diagonal(cross, second)
        return Signal(
            second=np.full(full, second),
            mean=np.full(full, mean),
            cross=cross,
            units=int(shape[-1]),
            sources=frozenset({place}),
            restarted=node.layer,
        )

    def _return(self) -> None:
        """Follow the gradient back, from outputs with a gradient of mean square 1."""
        gradients: dict[int, Array | None] = {}
        restarted: dict[int, str] = {}
        for place in self._graph.outputs:
            signal = self._signals[place]
            gradients[place] = None if signal is None else np.ones_like(signal.second)
        for place in range(len(self._graph.nodes) - 1, -1, -1):
            node = self._graph.nodes[place]
            if node.input is not None or place not in gradients:
                continue
            gradient, origin = gradients[place], restarted.get(place, "")
            effect, site = self._effects[place], self._sites[node.layer, node.call]
            if effect is None:
                # What arrives at its output is known all the same, where that is what was measured.
                if gradient is not None and not hasattr(node.operation, "activation"):
                    self._describe_gradient(site, place, gradient, origin)
                for parent in node.parents:
                    gradients[parent] = None
                continue
            if gradient is None:
                gradient, origin = self._restart_gradient(node, effect), node.layer
            elif effect.slope is not None:
                gradient = gradient * effect.slope
            self._describe_gradient(site, place, gradient, origin)
            parts = effect.backward(gradient)
            for parent, part in zip(node.parents, parts, strict=True):
                before = gradients.get(parent, 0.0)
                gradients[parent] = None if before is None else before + part
                if origin:
                    restarted[parent] = origin

    def _restart_gradient(self, node: Node, effect: LayerEffect) -> Array:
        """Restart from the gradient that was measured at a site; NaN where none was."""
        measured = self._measured.get((node.layer, node.call), {}).get("gradient_second_moment", math.nan)
        return np.full(effect.output.second.shape, measured)

    def _describe_gradient(self, site: SitePrediction, place: int, gradient: Array, origin: str) -> None:
        node, signal = self._graph.nodes[place], self._signals[place]
        if signal is None:
            return
        mean = float(gradient.mean())
        norm = math.sqrt(mean * math.prod(gradient.shape[1:]) * signal.units)
        self._gradient_norms[node.layer, node.call] = norm
        if origin == node.layer:
            site.basis = f"{site.basis}; gradients restarted from the measured value here"
            return
        site.values["gradient_second_moment"], site.values["gradient_norm"] = mean, norm
        if origin:
            site.basis = f"{site.basis}; gradients restarted from the measured value at {origin}"

    def _follow_forward(self, layers: Sequence[str]) -> Gain:
        sites = [self._sites.get((layer, 0), SitePrediction()).values for layer in layers]
        after = [values.get("activation_second_moment", math.nan) for values in sites]
        return _take_gain(
            [values.get("preactivation_second_moment", h) for values, h in zip(sites, after, strict=True)]
        )

    def _follow_backward(self, layers: Sequence[str]) -> Gain:
        norms = [self._gradient_norms.get((layer, 0), math.nan) for layer in reversed(layers)]
        return _take_gain([norm**2 for norm in norms])

    def _describe_basis(self) -> str:
        if not self._unknown:
            return MEAN_FIELD
        layers = list(self._unknown)
        shown = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        return f"{MEAN_FIELD}, restarted from measured values at {shown}"


def _take_gain(values: Sequence[float]) -> Gain:
    """Average the factors from one value to the next."""
    if len(values) < 2:
        return Gain()
    with np.errstate(all="ignore"):
        ratios = np.asarray(values[1:]) / np.asarray(values[:-1])
    return Gain(textbook=float(ratios.mean()))


def _output_shape(node: Node) -> tuple[Any, ...] | None:
    """Return the shape of a layer's one output, without the batch where a size is not known."""
    if node.operation is None:
        return None
    outputs = import_keras().tree.flatten(node.operation.output) if hasattr(node.operation, "_inbound_nodes") else []
    if len(outputs) != 1 or any(size is None for size in outputs[0].shape[1:]) or len(outputs[0].shape) < 2:
        return None
    return tuple(outputs[0].shape)


# --- the graph of a functional model, in the order in which its layers run ------------------------------------------


@dataclass(frozen=True, eq=False)
class Node:
    """One call of one layer or operation (None for a second output of a layer), or an input of the model."""

    layer: str
    call: int
    operation: Any
    parents: tuple[int, ...]
    input: int | None = None


@dataclass(frozen=True, eq=False)
class Graph:
    """A functional model."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    namer: PathNamer


def read_graph(model: Any) -> Graph:
    """Read the graph of a functional or sequential model; models nested in it are opened."""
    reader = _Reader(PathNamer(model))
    functional = _as_functional(model)
    if functional is None:
        raise TheoryError(
            f"Theory cannot follow the model {model.name!r}: it has a call method of its own, and no graph of layers. "
            "Only what was measured is known of it."
        )
    names = reader.namer.name_inputs(input_layers(functional))
    places = {
        id(tensor): reader.add(Node(name, 0, None, (), index))
        for index, (tensor, (name, _)) in enumerate(zip(functional.inputs, names, strict=True))
    }
    outputs = reader.read(functional, places)
    return Graph(tuple(reader.nodes), outputs, reader.namer)


def _as_functional(model: Any) -> Any:
    """Return the functional model that a model is or holds; None for one with a call method of its own."""
    keras = import_keras()
    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        return model._functional
    functional = functional_class()
    if isinstance(model, functional) and type(model).call is functional.call:
        return model
    return None


class _Reader:
    """Collects the nodes of a model and of the models inside it."""

    def __init__(self, namer: PathNamer) -> None:
        self.namer = namer
        self.nodes: list[Node] = []
        self._calls: Counter[str] = Counter()

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def read(self, functional: Any, places: dict[int, int]) -> tuple[int, ...]:
        """Add the nodes of one functional model."""
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for keras_node in functional._nodes_by_depth[depth]:
                if keras_node.is_input:
                    continue
                parents = tuple(places[id(tensor)] for tensor in keras_node.input_tensors)
                inner = _as_functional(keras_node.operation)
                if inner is not None and len(inner.inputs) == len(parents):
                    inside = {id(tensor): parent for tensor, parent in zip(inner.inputs, parents, strict=True)}
                    results = self.read(inner, inside)
                else:
                    results = self._add_call(keras_node, parents)
                for tensor, result in zip(keras_node.outputs, results, strict=True):
                    places[id(tensor)] = result
        return tuple(places[id(tensor)] for tensor in functional.outputs)

    def _add_call(self, keras_node: Any, parents: tuple[int, ...]) -> tuple[int, ...]:
        name = self.namer.name_of(keras_node.operation)
        call = self._calls[name]
        self._calls[name] += 1
        first = self.add(Node(name, call, keras_node.operation, parents))
        others = range(1, len(keras_node.outputs))
        return first, *(self.add(Node(f"{name}:{index}", call, None, parents)) for index in others)
