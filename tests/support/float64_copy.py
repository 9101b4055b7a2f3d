"""A model built once more in float64 with the weights that a seed draws, run eagerly under a tape.

Of initcheck's own code it shares what the weights of a seed are and what the loss is, which are definitions, and
nothing that measures. Every call of a layer is kept: what it received, its sums before a fused activation function,
and its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tape import Tape, to_array

from initcheck.checking.load_model import adopt_model
from initcheck.probe import RedrawPlan, random_loss_gradient
from initcheck.probe.draw import find_initializers
from initcheck.probe.paths import PathNamer

Array = NDArray[np.float64]


class Run:
    """One forward and one backward pass: what the layers receive, add up and give, by their names.

    Attributes:
        received: the first argument of each layer's first call.
        sums: what its fused activation function receives; its output where it has none.
        given: its output.
    """

    def __init__(self, model: Any, x: Any, step: float = 0.0) -> None:
        self.model = model
        self.received: dict[str, Array] = {}
        self.sums: dict[str, Array] = {}
        self.given: dict[str, Array] = {}
        self.layers: dict[str, Any] = {}
        self._followed: dict[str, Any] = {}
        with Tape() as self._tape, self._recorded():
            self.inputs = [self._tape.watch(each) for each in keras.tree.flatten(x)]
            outputs = keras.tree.flatten(model(keras.tree.pack_sequence_as(x, self.inputs), training=True))
            directions = [random_loss_gradient(tuple(y.shape), "float32", place) for place, y in enumerate(outputs)]
            pairs = zip(directions, outputs, strict=True)
            self._loss = sum(keras.ops.sum(keras.ops.cast(r, "float64") * y) for r, y in pairs)
        self.outputs = [to_array(each) for each in outputs]

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        original = keras.layers.Layer.__call__

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            fused = getattr(layer, "activation", None)
            plain = not callable(fused) or isinstance(layer, keras.layers.RNN) or hasattr(layer, "state_size")
            if plain or isinstance(layer, keras.layers.Activation):
                outputs = sums = original(layer, *args, **kwargs)
            else:
                layer.activation = keras.activations.linear
                try:
                    sums = original(layer, *args, **kwargs)
                finally:
                    layer.activation = fused
                outputs = fused(sums)
            if layer.name not in self.layers and not isinstance(layer, keras.Model):
                self.layers[layer.name] = layer
                self._followed[layer.name] = sums
                for kept, value in ((self.received, args), (self.sums, sums), (self.given, outputs)):
                    tensors = [each for each in keras.tree.flatten(value) if each is not None]
                    kept[layer.name] = to_array(tensors[0])
            return outputs

        keras.layers.Layer.__call__ = call
        try:
            yield
        finally:
            keras.layers.Layer.__call__ = original

    @cached_property
    def weight_gradients(self) -> dict[str, Array]:
        """The gradient of each trainable weight by its layer and its name; zeros where it has no path to the loss."""
        weights = self.model.trainable_weights
        found = self._tape.gradient(self._loss, [each.value for each in weights])
        names = PathNamer(self.model).variable_names()
        return {
            names[id(weight)]: np.zeros(weight.shape) if each is None else each
            for weight, each in zip(weights, found, strict=True)
        }

    def gradient(self, layer: str) -> Array:
        """The gradient of the loss with respect to a layer's sums."""
        (found,) = self._tape.gradient(self._loss, [self._followed[layer]])
        return np.zeros(self._followed[layer].shape) if found is None else found

    @cached_property
    def values(self) -> dict[str, Array]:
        """The values of all weights by layer and name."""
        names = PathNamer(self.model).variable_names()
        return {names[id(each)]: to_array(each) for each in self.model.weights}


def measure_draws(
    build: Callable[[], Any], x: Any, seeds: Sequence[int] | None, figure: Callable[[Run], float], step: float = 0.0
) -> list[float]:
    """Take a figure of the copy with the weights of each seed, or with the model's own.

    Args:
        step: the rate of one step of gradient descent that is taken before, if it is not 0.
    """
    loaded = adopt_model(build)
    model = loaded.model
    initializers = {**find_initializers(model, PathNamer(model)), **(loaded.initializers or {})}
    if seeds is None:
        drawn = [to_array(each)[None] for each in model.weights]
    else:
        drawn = [to_array(each) for each in RedrawPlan(model, initializers).sample(seeds)]
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        copy = build()
        x = keras.tree.map_structure(lambda each: each.astype("float64") if each.dtype.kind == "f" else each, x)
        names = PathNamer(copy).variable_names()
        found = []
        for place in range(len(drawn[0])):
            for weight, values in zip(copy.weights, drawn, strict=True):
                weight.assign(values[place])
            if step:
                gradients = Run(copy, x).weight_gradients
                for weight in copy.trainable_weights:
                    weight.assign_sub(step * gradients[names[id(weight)]])
            found.append(figure(Run(copy, x)))
        return found
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
