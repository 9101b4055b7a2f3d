"""What has to hold for every model of the zoo: measured whole, measured right, and left as it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import zoo_models as zoo
from keras.src.backend.common import global_state
from slow_measurement import SlowMeasurement

from initcheck.probe import Probe
from initcheck.probe.paths import PathNamer, own_variables

ROUNDING = 5e-5
"""Relative tolerance where rounding is all that differs.

Run in float32, the slow measurement itself is up to 1.2e-5 away from its float64 version: in the variance of a nearly
uniform softmax, which is a small difference. Everything else is within 2e-6.
"""

ROUNDING_OF_DEEP_RELU = 5e-4
"""Relative tolerance for deep stacks of ReLU (or its relatives) and BatchNormalization.

A pre-activation within a rounding error of 0 has the other sign in float64, and with it a derivative of 0 instead of 1.
In ResNet50V2 and DenseNet121 this is seen: one unit in one layer, which moves the gradients before it by 1.8e-4, in the
slow measurement as in the probe.
"""

DEEP_RELU = (
    zoo.build_unet,
    zoo.build_vgg16,
    zoo.build_resnet50v2,
    zoo.build_mobilenetv3small,
    zoo.build_efficientnetb0,
    zoo.build_densenet121,
)

SIGN_FLIPS = (2, 1e-5)
"""Zeros that may be more or fewer than in float64: so many, and this share of the elements."""

ZERO_GRADIENT = 1e-6
"""What is left of a gradient that is 0, as a share of the layer's largest: attention's key has a bias of no effect."""

MEANS = {"preactivation_mean": "preactivation_second_moment", "activation_mean": "activation_second_moment"}
"""A mean of signed numbers is judged on the scale of the numbers, not of their near-cancelling sum."""


def build(builder: zoo.Builder) -> zoo.Built:
    """Build a model of the zoo, the same each time."""
    keras.utils.set_random_seed(1)
    return builder()


@dataclass(frozen=True)
class Examined:
    """One model, measured by the probe."""

    builder: zoo.Builder
    model: Any
    inputs: Any
    probe: Probe
    table: pd.DataFrame
    weights: pd.DataFrame
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def tolerance(self) -> float:
        return ROUNDING_OF_DEEP_RELU if self.builder in DEEP_RELU else ROUNDING

    def measure_slowly(self, dtype: str = "float64", spoiled: Collection[str] = ()) -> SlowMeasurement:
        forward = forward_subclassed if self.builder is zoo.build_subclassed_residual else None
        return SlowMeasurement(self.model, self.inputs, dtype, forward, spoiled)


def examine(builder: zoo.Builder) -> Examined:
    """Build, compile and measure a model with the weights that it has."""
    model, inputs = build(builder)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    before = snapshot(model)
    probe = Probe(model, inputs, every_weight=True)
    measured = probe.measure_current_all()
    table, weights = measured.table.set_index(["layer", "call"]), measured.weights.set_index("weight")
    return Examined(builder, model, inputs, probe, table, weights, before, snapshot(model))


def forward_subclassed(slow: SlowMeasurement, model: Any, inputs: Any) -> Any:
    """The forward pass of the subclassed model, once more."""
    signal = slow.apply(model.stem, inputs)
    for block in [*model.blocks, model.blocks[0]]:
        hidden = slow.apply(block.inner, slow.apply(block.normalization, signal))
        signal = slow.record(slow.path_of(block), None, signal + slow.apply(block.outer, hidden))
    return slow.apply(model.head, signal)


# Right.


def find_discrepancies(table: pd.DataFrame, slow: SlowMeasurement, tolerance: float) -> list[str]:
    """List where a table differs from the slow measurement, in sites or in numbers, in words.

    A quantity that one of them has and the other has not (null, NaN) is a discrepancy.
    """
    expected = slow.table
    names = list(table.index)
    if names != list(expected.index):
        return [f"{site}: in one of both, or elsewhere" for site in {*names} ^ {*expected.index}] or ["another order"]
    found = []
    for quantity in expected.columns.drop("elements"):
        right = expected[quantity].to_numpy(float)
        allowed = tolerance * np.abs(right)
        if quantity in MEANS:
            allowed = tolerance * np.sqrt(expected[MEANS[quantity]].to_numpy(float))
        if quantity == "zero_fraction":
            allowed = SIGN_FLIPS[0] / expected["elements"].to_numpy(float) + SIGN_FLIPS[1]
        found += describe_far([f"{layer} (call {call})" for layer, call in names], table[quantity], right, allowed)
    return found


def describe_far(names: Sequence[str], values: pd.Series, right: np.ndarray, allowed: np.ndarray) -> list[str]:
    """List the values that are farther from the right ones than allowed, in words."""
    given = values.to_numpy(float, na_value=np.nan)
    agrees = (np.abs(given - right) <= allowed) | (np.isnan(given) & np.isnan(right))
    return [
        f"{names[row]}: {values.name} is {given[row]:.9g} instead of {right[row]:.9g}"
        for row in np.flatnonzero(~agrees)
    ]


def find_weight_discrepancies(
    weights: pd.DataFrame, slow: SlowMeasurement, tolerance: float, rounded: SlowMeasurement | None = None
) -> list[str]:
    """List the weights whose norm or whose gradient's norm differs from the slow measurement, in words.

    Gradients of gains and biases are sums of few or of cancelling terms (a gain before a normalization has next to no
    effect), which one ReLU of another sign changes by up to 1 in 100. So with ``rounded``, the slow measurement
    in float32, they may be three times as far from its float64 version as that is.
    """
    expected = slow.weights
    if list(weights.index) != list(expected.index):
        return [f"{path}: in one of both" for path in {*weights.index} ^ {*expected.index}] or ["another order"]
    found = []
    for quantity in ("weight_norm", "gradient_norm"):
        right = expected[quantity].to_numpy(float)
        allowed = tolerance * right
        if quantity == "gradient_norm":
            allowed = allowed + ZERO_GRADIENT * expected["largest_in_layer"].to_numpy(float)
            if rounded is not None:
                allowed = allowed + 3 * np.abs(rounded.weights[quantity].to_numpy(float) - right)
        found += describe_far(expected.index, weights[quantity], right, allowed)
    return found


# Whole.


def find_gaps(examined: Examined) -> list[str]:
    """List the layers and weights that are neither measured nor named with a reason.

    The layers are those that Keras itself tracks. A layer counts as measured if a call of it is a site, or if it has no
    weights of its own and all layers inside it count.
    """
    namer = PathNamer(examined.model)
    sites = {site.layer for site in examined.probe.sites}
    named = {entry.layer for entry in examined.probe.unmeasured if entry.reason}
    measured = examined.table.groupby("layer")[["weight_norm", "weight_gradient_norm"]].first()

    def counts(layer: Any) -> bool:
        if isinstance(layer, keras.layers.InputLayer):
            return True  # an input's values are the user's; no layer is called
        if namer.name_of(layer) in sites | named:
            return True
        if own_variables(layer):
            return False
        inner = list(layer._flatten_layers(include_self=False, recursive=False))
        return bool(inner) and all(counts(child) for child in inner if child not in not_called(layer))

    layers = list(examined.model._flatten_layers(include_self=False))
    unused = [child for layer in layers for child in not_called(layer)]
    gaps = [f"layer {namer.name_of(layer)}" for layer in layers if layer not in unused and not counts(layer)]
    held = {id(variable): layer for layer in layers for variable in own_variables(layer)}
    for weight in examined.model.weights:
        owner = held.get(id(weight))
        path = None if owner is None else namer.name_of(owner)
        if path not in sites | named:
            gaps.append(f"weight {weight.path}")
        elif weight.name in ("kernel", "embeddings") and path in sites and measured.loc[path].isna().any():
            gaps.append(f"weight {weight.path}: without a norm, or a gradient's")
    return gaps


def find_gaps_in_statement(examined: Examined) -> list[str]:
    """List the layers and weights that the probe's own statement of its coverage does not name, or leaves open."""
    namer = PathNamer(examined.model)
    coverage = examined.probe.coverage(redrawn=False)
    stated = {*coverage.measured, *(gap.path for gap in coverage.gaps)}
    gaps = [f"{gap.path}: {gap.reason}" for gap in coverage.open_gaps]
    gaps += [
        f"layer {namer.name_of(layer)}"
        for layer in examined.model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.layers.InputLayer) and namer.name_of(layer) not in stated
    ]
    paths = namer.variable_names()
    missing = {paths[id(weight)] for weight in examined.model.weights} ^ {*examined.weights.index}
    gaps += [f"weight {path}" for path in missing]
    trainable = {paths[id(weight)] for weight in examined.model.trainable_weights}
    without = examined.weights.index[examined.weights["gradient_norm"].isna()]
    gaps += [f"weight {path}: no gradient" for path in without if path in trainable]
    if coverage.weights != len(paths):
        gaps.append(f"{coverage.weights} weights of {len(paths)}")
    return gaps


def not_called(layer: Any) -> Iterator[Any]:
    """Yield the layers inside a layer that it does not call in these models.

    MultiHeadAttention has a Softmax and a Dropout of rate 0, and uses the backend's own attention instead of both.
    """
    if isinstance(layer, keras.layers.MultiHeadAttention):
        yield from (layer._softmax, layer._dropout_layer)


# Left as it was.


def snapshot(model: Any) -> dict[str, Any]:
    """Take down everything about a model and the process that a measurement could change."""
    optimizer = getattr(model, "optimizer", None)  # there is no attribute before the model is compiled
    shared = global_state.get_global_attribute("global_seed_generator")
    return {
        "weights": digest(model.weights),
        "all variables": digest(model.variables),  # seed generators too
        "optimizer": digest(optimizer.variables) if optimizer else None,
        "trainable": [variable.trainable for variable in model.variables],
        "attributes": [
            # Recurrent cells make private slots for their dropout masks on any call.
            {name: value for name, value in layer.__dict__.items() if not name.startswith("_")}
            for layer in model._flatten_layers()
        ],
        "call": keras.Operation.__call__,
        "losses": len(model.losses),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "keras": (None if shared is None else digest([shared.state]), keras.config.floatx()),
        "keras seed": global_state.get_global_attribute("global_random_seed"),
        "backend": snapshot_backend(),
    }


def snapshot_backend() -> Any:
    """List the random state of the backend itself; JAX has none."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf
        from tensorflow.python.eager import context

        operation_seeds = getattr(context.context(), "_rng", None)
        return context.global_seed(), operation_seeds and operation_seeds.getstate(), tf.executing_eagerly()
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_rng_state().numpy().tobytes(), torch.is_grad_enabled()
    return None


def digest(variables: Collection[Any]) -> list[str]:
    """Give a hash of the bytes of each variable."""
    return [hashlib.sha256(np.asarray(variable).tobytes()).hexdigest() for variable in variables]
