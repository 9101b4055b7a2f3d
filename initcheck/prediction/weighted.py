"""Rules of layers with a kernel, and of activation functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from initcheck.errors import TheoryError
from initcheck.keras_runtime import import_keras
from initcheck.prediction.passage import Backward, LayerCall, Passage, require_kernel
from initcheck.prediction.signal import Signal, apply_activation, make_gaussian
from initcheck.prediction.windows import Windows
from initcheck.theory.gaussian import Activation, find_activation

# Operations of keras.ops that are called as layers are: class name, and the activation function of this name.

OPERATIONS: Final = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Selu": "selu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}
"""Operations of ``keras.ops`` that apply an activation function, by class, and the function's name."""


def find_function(function: Any) -> Activation | None:
    """Find the theory's view of a layer's activation function.

    Args:
        function: the attribute ``activation`` of a layer: a function of Keras or of the user, or a layer; None for
            none.

    Returns:
        It; None for the identity.

    Raises:
        TheoryError: it does not work element by element.
    """
    if function is None:
        return None
    keras = import_keras()
    name = getattr(function, "__name__", "")
    if getattr(keras.activations, name, None) is function and name:
        return None if name == "linear" else find_activation(name)
    return find_activation(function)


def pass_dense(call: LayerCall) -> Passage:
    """Pass through a Dense layer: K = fan_in Var(W) E x^2 + Var(b), and back by fan_out Var(W)."""
    (signal,) = call.inputs
    law = require_kernel(call.laws)
    gain = law.forward_gain
    variance = gain * signal.second + call.laws.bias_variance
    covariance = None if signal.cross is None else gain * signal.cross + call.laws.bias_variance
    before = make_gaussian(variance, covariance, int(call.operation.units), call.place, signal.restarted)
    factor = law.backward_gain
    return _activate(call.operation, before, lambda gradient: (factor * gradient,))


def pass_convolution(call: LayerCall) -> Passage:
    """Pass through a convolution: sums over its windows, which hold less at a padded border."""
    (signal,) = call.inputs
    law = require_kernel(call.laws)
    if getattr(call.operation, "data_format", "channels_last") != "channels_last":
        raise TheoryError("convolutions are followed with channels last only")
    windows = Windows(call.operation, signal.second.shape[1:])
    taps = windows.taps
    variance = law.forward_gain / taps * windows.sum(signal.second) + call.laws.bias_variance
    before = make_gaussian(variance, None, int(call.operation.filters), call.place, signal.restarted)
    factor = law.backward_gain / taps
    return _activate(call.operation, before, lambda gradient: (factor * windows.spread(gradient),))


def _activate(operation: Any, before: Signal, backward: Backward) -> Passage:
    phi = find_function(getattr(operation, "activation", None))
    if phi is None:
        return Passage(before, backward, preactivation=before, slope=np.ones_like(before.second))
    output, slope = apply_activation(before, phi)
    return Passage(output, backward, preactivation=before, slope=slope)


def pass_activation(call: LayerCall) -> Passage:
    """Pass through an Activation layer."""
    phi = find_function(call.operation.activation)
    if phi is None:
        return Passage(
            call.inputs[0], lambda gradient: (gradient,), call.inputs[0], np.ones_like(call.inputs[0].second)
        )
    output, slope = apply_activation(call.inputs[0], phi)
    return Passage(output, lambda gradient: (gradient,), preactivation=call.inputs[0], slope=slope)


def pass_activation_layer(call: LayerCall) -> Passage:
    """Pass through a layer that is an activation function with settings of its own."""
    return _pass_function(call.inputs, find_activation(call.operation))


def pass_operation(call: LayerCall) -> Passage:
    """Pass through an operation that applies an activation function."""
    return _pass_function(call.inputs, find_activation(OPERATIONS[type(call.operation).__name__]))


def pass_prelu(call: LayerCall) -> Passage:
    """Pass through PReLU, whose slopes for negative numbers start at zero."""
    if type(call.operation.alpha_initializer).__name__ != "Zeros":
        raise TheoryError("PReLU is followed with slopes that start at zero only")
    return _pass_function(call.inputs, find_activation("relu"))


def _pass_function(inputs: Sequence[Signal], phi: Activation) -> Passage:
    output, slope = apply_activation(inputs[0], phi)
    return Passage(output, lambda gradient: (gradient * slope,))
