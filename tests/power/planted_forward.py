"""Defects of the forward computation: activations and dropout."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from planting import Plant, Planted, layer_class, replaced, source, stacked

from initcheck.backend.runtime import import_keras


def activation(name: str, make: Any) -> Plant:
    """Plant another activation wherever it is named or imported."""

    def planted() -> AbstractContextManager[None]:
        activations = source("activations")
        original = activations.ALL_OBJECTS_DICT[name]
        other = functools.wraps(original)(make(original))
        owners = (activations, source("activations.activations"), import_keras().activations)
        named = mock.patch.dict(activations.ALL_OBJECTS_DICT, {name: other})
        return stacked([named, *(mock.patch.object(owner, name, other) for owner in owners)])

    return planted


def _plain_dropout() -> AbstractContextManager[Any]:
    return mock.patch.object(layer_class("AlphaDropout"), "call", _dropped)


def _dropped(self: Any, inputs: Any, training: bool = False) -> Any:
    if not training:
        return inputs
    return source("backend").random.dropout(inputs, self.rate, noise_shape=self.noise_shape, seed=self.seed_generator)


def _ops() -> Any:
    return import_keras().ops


FORWARD = (
    Planted(
        "leaky_relu",
        "ReLU has a slope of .3 below zero",
        activation("relu", lambda f: lambda x: f(x, negative_slope=0.3)),
        ("forward.he_uniform.relu_gain",),
        named_first=("forward.relu.values", "forward.relu.small_inputs"),
    ),
    Planted(
        "relu_of_one",
        "ReLU is cut at 1",
        activation("relu", lambda f: lambda x: f(x, max_value=1.0)),
        ("forward.he_uniform.relu_gain",),
        named_first=("forward.relu.values",),
    ),
    Planted(
        "selu_unscaled",
        "SELU lacks its scale of 1.0507",
        activation("selu", lambda f: lambda x: f(x) / 1.0507),
        ("forward.lecun_normal.selu_attraction",),
        named_first=("forward.selu.values", "forward.selu.small_inputs"),
    ),
    Planted(
        "tanh_scaled",
        "tanh is LeCun's, 1.7159 tanh(2x/3)",
        activation("tanh", lambda f: lambda x: 1.7159 * f(x * 2.0 / 3.0)),
        ("forward.glorot_uniform.tanh_small_signal_gain",),
        named_first=("forward.tanh.values", "forward.tanh.small_inputs"),
    ),
    Planted(
        "gelu_is_relu",
        "GELU is ReLU",
        activation("gelu", lambda f: lambda x, approximate=False: _ops().relu(x)),
        ("forward.he_normal.gelu_gain",),
        named_first=("forward.gelu.values", "forward.gelu.small_inputs"),
    ),
    Planted(
        "sigmoid_centred",
        "sigmoid is centred",
        activation("sigmoid", lambda f: lambda x: f(x) - 0.5),
        ("forward.sigmoid.batch_variance_collapses",),
        named_first=("forward.sigmoid.values",),
    ),
    Planted(
        "alpha_dropout_is_dropout", "AlphaDropout is Dropout", _plain_dropout, ("forward.alpha_dropout.selu_moments",)
    ),
)


def _not_rescaled(dropout: Any) -> Any:
    @functools.wraps(dropout)
    def changed(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
        return dropout(inputs, rate, noise_shape=noise_shape, seed=seed) * (1.0 - rate)

    return changed


PASSAGES = (
    Planted(
        "slightly_leaky_relu",
        "ReLU has a slope of .05 below zero",
        activation("relu", lambda f: lambda x: f(x, negative_slope=0.05)),
        ("forward.relu.values",),
        named_first=("forward.relu.values", "forward.relu.small_inputs"),
    ),
    Planted(
        "dropout_without_rescale",
        "Dropout does not make up for what it drops",
        replaced("backend.tensorflow.random.dropout", _not_rescaled),
        ("forward.dropout.moments",),
    ),
)


def _flushed(below: float) -> Any:
    """Take small inputs for zero."""

    def make(function: Any) -> Any:
        def changed(x: Any, *given: Any, **named: Any) -> Any:
            ops = _ops()
            x = ops.convert_to_tensor(x)
            return function(ops.where(ops.abs(x) < below, ops.zeros_like(x), x), *given, **named)

        return changed

    return make


def _exact(scale: float, alpha: float) -> Any:
    """Compute alpha (exp(x) - 1) without losing the digits of small x."""

    def make(_: Any) -> Any:
        def changed(x: Any, alpha: float = alpha) -> Any:
            ops = _ops()
            x = ops.convert_to_tensor(x)
            return scale * ops.where(x > 0, x, alpha * ops.expm1(ops.minimum(x, 0.0)))

        return changed

    return make


SMALL_INPUTS = (
    *(
        Planted(
            f"{name}_flushes",
            f"{name} is exactly 0 for inputs below .002 in size",
            activation(name, _flushed(0.002)),
            (f"forward.{name}.small_inputs",),
            ("forward.relu.small_inputs",),
            (f"forward.{name}.small_inputs", f"forward.{name}.values"),
        )
        for name in ("elu", "selu", "silu")
    ),
    Planted(
        "elu_as_documented",
        "a repair: elu keeps the digits of tiny inputs",
        activation("elu", _exact(1.0, 1.0)),
        ("forward.elu.tiny_inputs",),
        ("forward.elu.values", "forward.elu.small_inputs"),
    ),
    Planted(
        "selu_as_documented",
        "a repair: selu keeps the digits of tiny inputs",
        activation("selu", _exact(1.0507009873554805, 1.6732632423543772)),
        ("forward.selu.tiny_inputs",),
        ("forward.selu.values", "forward.selu.small_inputs"),
    ),
)

DEFECTS = (*FORWARD, *PASSAGES, *SMALL_INPUTS)
