"""Small models for each kind of finding: a sick one and its sound twin, and what is right to say of the sick one.

The figure that the finding rests on is computed from runs in float64 (:mod:`float64_copy`), by its definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from float64_copy import Array, Run

layers, ops, initializers = keras.layers, keras.ops, keras.initializers
Figure = Callable[[Run], float]


@dataclass(frozen=True)
class Case:
    """One kind of finding in one model.

    Attributes:
        build: makes the sick model, or with False its sound twin.
        codes: the codes of which the first problem has one.
        layers: what the first problem names, all of it.
        cause: the kind of its cause; None where none is known or needed.
        figure: from one run in float64 to the figure of that draw.
        said: the column and the layer where the table has that figure for each draw; empty where the finding has it.
        mean: how the figures of the draws make that of the finding: "geometric" or "arithmetic".
        exit_code: of the sick model; that of the sound one is 0.
        scale: what the inputs are multiplied by.
        notes: the codes of all findings of the sound twin, which are notes.
        seeds: how many draws are checked.
        others: what further problems name, in their order.
        own: whether the finding is about the weights that the model is made with, not about those of draws.
        step: the rate of a step of gradient descent after which the figure is taken, 0 for none.
        within: how far the two figures may be apart beside rounding, where one of them is nothing but that.
    """

    kind: str
    name: str
    build: Callable[[bool], Any]
    codes: tuple[str, ...]
    layers: tuple[str, ...]
    cause: str | None
    figure: Figure
    said: tuple[str, str] | tuple[()] = ()
    mean: str = "geometric"
    exit_code: int = 1
    scale: float = 1.0
    notes: tuple[str, ...] = ()
    seeds: int = 4
    others: tuple[str, ...] = ()
    own: bool = False
    step: float = 0.0
    within: float = 0.0

    def batch(self, sick: bool = True) -> Any:
        """Make a batch for it: normal numbers, or indices for inputs of whole numbers."""
        random = np.random.default_rng(5)

        def make(given: Any) -> Any:
            shape = (32, *given.shape[1:])
            if "int" in str(given.dtype):
                return random.integers(0, 20, shape).astype("int32")
            return (self.scale * random.normal(size=shape)).astype("float32")

        made = [make(each) for each in _inputs(self.build(sick))]
        return made[0] if len(made) == 1 else made


def _inputs(model: Any) -> Any:
    return model.wanted if isinstance(model, Stack) else model.inputs


CASES: list[Case] = []


def case(kind: str, name: str, codes: str, named: str, cause: str | None, figure: Figure, **more: Any) -> Any:
    """Register a function of ``sick`` as a case; ``codes`` and ``named`` are parted by spaces."""

    def register(build: Callable[[bool], Any]) -> Any:
        CASES.append(Case(kind, name, build, tuple(codes.split()), tuple(named.split()), cause, figure, **more))
        return build

    return register


# --- forms of a model -------------------------------------------------------------------------------------------------


def apply(parts: Sequence[Any], x: Any) -> Any:
    for part in parts:
        x = part(x)
    return x


def functional(shape: tuple[int, ...], *parts: Any, dtype: Any = None) -> Any:
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, apply(parts, inputs))


def sequential(shape: tuple[int, ...], *parts: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *parts])


def nested(shape: tuple[int, ...], *parts: Any, dtype: Any = None) -> Any:
    """All but the last part inside a model in a model: ``outer/inner/...``."""
    inner = keras.Sequential([keras.Input(shape, dtype=dtype), *parts[:-1]], name="inner")
    outer = keras.Sequential([keras.Input(shape, dtype=dtype), inner], name="outer")
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, parts[-1](outer(inputs)))


class Stack(keras.Model):
    """A subclassed model that calls its parts one after the other."""

    def __init__(self, shape: tuple[int, ...], parts: Sequence[Any], dtype: str | None = None) -> None:
        super().__init__()
        self.parts = list(parts)
        self.wanted = [keras.KerasTensor((None, *shape), dtype or keras.config.floatx())]

    def call(self, x: Any) -> Any:
        return apply(self.parts, x)


def subclassed(shape: tuple[int, ...], *parts: Any, dtype: str | None = None) -> Any:
    model = Stack(shape, parts, dtype)
    model(np.zeros((2, *shape), dtype or keras.config.floatx()))
    return model


def normal(deviation: float) -> Any:
    return initializers.RandomNormal(stddev=deviation)


def dense(name: str, units: int = 24, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    return layers.Dense(units, activation, kernel_initializer=kernel, name=name, **more)


def conv(name: str, filters: int = 12, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    options = {"padding": "same", "kernel_size": 3, **more}
    return layers.Conv2D(filters, activation=activation, kernel_initializer=kernel, name=name, **options)


def conv1d(name: str, filters: int = 16, kernel: Any = "he_normal", activation: Any = "relu", **more: Any) -> Any:
    options = {"padding": "same", "kernel_size": 3, **more}
    return layers.Conv1D(filters, activation=activation, kernel_initializer=kernel, name=name, **options)


def head(units: int = 3, name: str = "head", **more: Any) -> Any:
    return layers.Dense(units, name=name, **more)


def pooled(*parts: Any, rank: int = 2) -> list[Any]:
    return [*parts, getattr(layers, f"GlobalAveragePooling{rank}D")()]


# --- figures ----------------------------------------------------------------------------------------------------------


def square(values: Array) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def change(first: str, last: str) -> Figure:
    """From what one layer receives to the sums of another."""
    return lambda run: square(run.sums[last]) / square(run.received[first])


def gain(layer: str) -> Figure:
    return change(layer, layer)


def spread_of_outputs(run: Run) -> float:
    """The variance of the outputs across the samples, in the mean over the outputs."""
    return float(np.mean(np.var(run.outputs[0], axis=0)))


def size(layer: str) -> Figure:
    return lambda run: square(run.given[layer])


def dead(layer: str) -> Figure:
    return lambda run: float(np.mean(np.abs(run.given[layer]).max(axis=0) == 0.0))


def at_ends(layer: str, low: float, high: float) -> Figure:
    margin = 0.025 * (high - low)

    def share(run: Run) -> float:
        values = run.given[layer]
        return float(np.mean((values < low + margin) | (values > high - margin)))

    return share


def certainty(weights: Callable[[Run], Array]) -> Figure:
    def find(run: Run) -> float:
        p = weights(run)
        return float((np.mean(np.sum(p**2, axis=-1)) - 1 / p.shape[-1]) / (1 - 1 / p.shape[-1]))

    return find


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def counted(layer: str, variance: float) -> Figure:
    """The variance that an initializer gives, over the one that He's rule gives to the inputs that a sum really has.

    The inputs are counted by running the layer on ones, with kernels of ones.
    """

    def count(run: Run) -> float:
        made = run.layers[layer]
        for weight in made.weights:
            weight.assign(np.full(weight.shape, float(len(weight.shape) > 1)))
        sums = np.asarray(made.call(np.ones_like(run.received[layer][:1])))
        return variance * float(sums.max()) / 2.0

    return count


def ratio(branch: str, beside: str) -> Figure:
    return lambda run: square(run.given[branch]) / square(run.given[beside])


def gain_of(layer: str) -> tuple[str, str]:
    """Where the table has a layer's own gain."""
    return "preactivation_second_moment/input_second_moment", layer
