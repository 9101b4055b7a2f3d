"""What theory makes of each kind of layer: one rule a class, from a call of the layer to its effect on the signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from initcheck.backend.keras_private import is_keras_operation
from initcheck.backend.runtime import import_keras
from initcheck.core.errors import TheoryError
from initcheck.prediction.signal import (
    Backward,
    LayerCall,
    LayerEffect,
    Signal,
    apply_activation,
    join_restarts,
    make_gaussian,
    make_input,
    pass_unchanged,
    require_kernel,
)
from initcheck.probe.capture import own_activation
from initcheck.theory.breakpoints import Array
from initcheck.theory.gaussian import Activation, find_activation
from initcheck.theory.layers import compute_dropout_gain, compute_normalized_gradient_gain

Rule = Callable[[LayerCall], LayerEffect]


# --- layers with a kernel ---------------------------------------------------------------------------------------------


def pass_dense(call: LayerCall) -> LayerEffect:
    """Pass through a Dense layer: K = fan_in Var(W) E x^2 + Var(b), and back by fan_out Var(W)."""
    (signal,) = call.inputs
    kernel = require_kernel(call.weights)
    gain = kernel.forward_gain
    variance = gain * signal.second + call.weights.bias_variance
    covariance = None if signal.cross is None else gain * signal.cross + call.weights.bias_variance
    before = make_gaussian(variance, covariance, int(call.operation.units), call.place, signal.restarted)
    factor = kernel.backward_gain
    return _activate(call.operation, before, lambda gradient: (factor * gradient,))


def pass_convolution(call: LayerCall) -> LayerEffect:
    """Pass through a convolution: sums over its windows, which hold less at a padded border."""
    (signal,) = call.inputs
    kernel = require_kernel(call.weights)
    if getattr(call.operation, "data_format", "channels_last") != "channels_last":
        raise TheoryError("convolutions are followed with channels last only")
    windows = Windows(call.operation, signal.second.shape[1:])
    taps = windows.taps
    variance = kernel.forward_gain / taps * windows.sum(signal.second) + call.weights.bias_variance
    before = make_gaussian(variance, None, int(call.operation.filters), call.place, signal.restarted)
    factor = kernel.backward_gain / taps
    return _activate(call.operation, before, lambda gradient: (factor * windows.scatter(gradient),))


def _activate(operation: Any, before: Signal, backward: Backward) -> LayerEffect:
    phi = find_function(getattr(operation, "activation", None))
    if phi is None:
        return LayerEffect(before, backward, preactivation=before, slope=np.ones_like(before.second))
    output, slope = apply_activation(before, phi)
    return LayerEffect(output, backward, preactivation=before, slope=slope)


class Windows:
    """The windows of one convolution over the spatial axes of its input."""

    def __init__(self, operation: Any, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._kernel = tuple(operation.kernel_size)
        self._strides = tuple(operation.strides)
        self._dilation = tuple(operation.dilation_rate)
        if operation.padding not in ("same", "valid"):
            raise TheoryError(f"convolutions with padding {operation.padding!r} are not followed")
        self._before, self._padded, self._outputs = [], [], []
        for size, kernel, stride, dilation in zip(shape, self._kernel, self._strides, self._dilation, strict=True):
            extent = (kernel - 1) * dilation + 1
            if operation.padding == "same":
                outputs = -(-size // stride)
                padding = max((outputs - 1) * stride + extent - size, 0)
            else:
                outputs, padding = (size - extent) // stride + 1, 0
            self._before.append(padding // 2)
            self._padded.append(size + padding)
            self._outputs.append(outputs)

    @property
    def taps(self) -> int:
        """Number of places that a window sums."""
        return math.prod(self._kernel)

    def sum(self, values: Array) -> Array:
        """Sum over every window: shape [B, *inputs] to [B, *outputs]; places beyond the border count as zero."""
        padded = np.zeros((values.shape[0], *self._padded))
        padded[self._inside()] = values
        total = np.zeros((values.shape[0], *self._outputs))
        for offset in np.ndindex(*self._kernel):
            total += padded[self._shifted(offset)]
        return total

    def scatter(self, values: Array) -> Array:
        """Sum at every input what the windows that it is in hold: shape [B, *outputs] to [B, *inputs]."""
        padded = np.zeros((values.shape[0], *self._padded))
        for offset in np.ndindex(*self._kernel):
            padded[self._shifted(offset)] += values
        return np.asarray(padded[self._inside()])

    def _inside(self) -> tuple[slice, ...]:
        spans = (slice(before, before + size) for before, size in zip(self._before, self._shape, strict=True))
        return slice(None), *spans

    def _shifted(self, offset: tuple[int, ...]) -> tuple[slice, ...]:
        spans = []
        for step, stride, dilation, outputs in zip(offset, self._strides, self._dilation, self._outputs, strict=True):
            start = step * dilation
            spans.append(slice(start, start + (outputs - 1) * stride + 1, stride))
        return slice(None), *spans


# --- activation functions ---------------------------------------------------------------------------------------------


def pass_activation(call: LayerCall) -> LayerEffect:
    """Pass through an Activation layer."""
    return _activate(call.operation, call.inputs[0], lambda gradient: (gradient,))


def pass_activation_layer(call: LayerCall) -> LayerEffect:
    """Pass through a layer that is an activation function with settings of its own."""
    return _pass_function(call.inputs, find_activation(call.operation))


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


def pass_operation(call: LayerCall) -> LayerEffect:
    """Pass through an operation that applies an activation function."""
    return _pass_function(call.inputs, find_activation(OPERATIONS[type(call.operation).__name__]))


def pass_prelu(call: LayerCall) -> LayerEffect:
    """Pass through PReLU, whose slopes for negative numbers start at zero."""
    if type(call.operation.alpha_initializer).__name__ != "Zeros":
        raise TheoryError("PReLU is followed with slopes that start at zero only")
    return _pass_function(call.inputs, find_activation("relu"))


def _pass_function(inputs: Sequence[Signal], phi: Activation) -> LayerEffect:
    output, slope = apply_activation(inputs[0], phi)
    return LayerEffect(output, lambda gradient: (gradient * slope,))


def find_function(function: Any) -> Activation | None:
    """Find the theory's view of a layer's activation function, a function or a layer; None for the identity."""
    function = own_activation(function)
    if function is None:
        return None
    keras = import_keras()
    name = getattr(function, "__name__", "")
    if getattr(keras.activations, name, None) is function and name:
        return None if name == "linear" else find_activation(name)
    return find_activation(function)


# --- layers that join, drop and reshape signals -----------------------------------------------------------------------


def pass_add(call: LayerCall) -> LayerEffect:
    """Pass through a sum of independent signals; means add coherently."""
    if len(call.inputs) < 2:
        raise TheoryError("sums with constants are not followed")
    shapes = {signal.second.shape for signal in call.inputs}
    if len(shapes) != 1 or len({signal.units for signal in call.inputs}) != 1:
        raise TheoryError("sums with broadcasting are not followed")
    for index, signal in enumerate(call.inputs):
        for other in call.inputs[index + 1 :]:
            if signal.sources & other.sources:
                raise TheoryError("the summands share weights or data, so they are not independent")
    second: Array = np.zeros_like(call.inputs[0].second)
    mean: Array = np.zeros_like(second)
    cross: Array | None = np.zeros((second.size, second.size)) if second.ndim == 1 else None
    for signal in call.inputs:
        second = second + signal.second + 2.0 * mean * signal.mean
        if cross is None or signal.cross is None:
            cross = None
        else:
            cross = cross + signal.cross + np.outer(mean, signal.mean) + np.outer(signal.mean, mean)
        mean = mean + signal.mean
    gaussian = all(signal.variance is not None and signal.function is None for signal in call.inputs)
    output = Signal(
        second=second,
        mean=mean,
        cross=cross,
        units=call.inputs[0].units,
        sources=frozenset().union(*(signal.sources for signal in call.inputs)),
        variance=second if gaussian else None,
        covariance=cross if gaussian else None,
        restarted=join_restarts(call.inputs),
    )
    return LayerEffect(output, lambda gradient: tuple(gradient for _ in call.inputs))


def pass_concatenate(call: LayerCall) -> LayerEffect:
    """Pass through a concatenation along the units."""
    rank = call.inputs[0].second.ndim + 1
    if call.operation.axis not in (-1, rank - 1):
        raise TheoryError("concatenation is followed along the units only")
    units = np.asarray([signal.units for signal in call.inputs], dtype=np.float64)
    share = units / units.sum()
    crosses = [signal.cross for signal in call.inputs]
    known = [cross for cross in crosses if cross is not None]
    output = Signal(
        second=np.sum([part * signal.second for part, signal in zip(share, call.inputs, strict=True)], axis=0),
        mean=np.sum([part * signal.mean for part, signal in zip(share, call.inputs, strict=True)], axis=0),
        cross=np.einsum("p,pab->ab", share, np.stack(known)) if len(known) == len(call.inputs) else None,
        units=int(units.sum()),
        sources=frozenset().union(*(signal.sources for signal in call.inputs)),
        restarted=join_restarts(call.inputs),
    )
    return LayerEffect(output, lambda gradient: tuple(gradient for _ in call.inputs))


def pass_dropout(call: LayerCall) -> LayerEffect:
    """Pass through inverted dropout: squares grow by 1 / keep, forward and backward."""
    (signal,) = call.inputs
    keep = 1.0 - float(call.operation.rate)
    if not call.training or keep == 1.0:
        return pass_unchanged(call)
    # E x and products of two samples stay, squares grow. What is left is no function of a Gaussian.
    gain = compute_dropout_gain(keep)
    second = gain * signal.second
    cross = None if signal.cross is None else signal.cross + np.diag(second - np.diag(signal.cross))
    output = replace(signal, second=second, cross=cross, variance=None, covariance=None, function=None, data=None)
    return LayerEffect(output, lambda gradient: (gain * gradient,))


def pass_flatten(call: LayerCall) -> LayerEffect:
    """Pass through Flatten: places become units."""
    (signal,) = call.inputs
    shape = signal.second.shape
    if signal.data is not None:
        return LayerEffect(_reshape_data(signal, (-1,)), _unflatten(shape))
    if len(shape) == 1:
        return pass_unchanged(call)
    axes = tuple(range(1, len(shape)))
    output = Signal(
        second=signal.second.mean(axis=axes),
        mean=signal.mean.mean(axis=axes),
        cross=None,
        units=signal.units * math.prod(shape[1:]),
        sources=signal.sources,
        restarted=signal.restarted,
    )
    return LayerEffect(output, _unflatten(shape))


def _unflatten(shape: tuple[int, ...]) -> Backward:
    spatial = (1,) * (len(shape) - 1)
    return lambda gradient: (np.broadcast_to(gradient.reshape(-1, *spatial), shape),)


def pass_reshape(call: LayerCall) -> LayerEffect:
    """Pass through a change of shape of the data."""
    (signal,) = call.inputs
    if signal.data is None:
        raise TheoryError("only inputs of the model are followed through a change of shape")
    output = _reshape_data(signal, tuple(call.operation.target_shape))
    if output.second.ndim == signal.second.ndim == 1:
        return LayerEffect(output, lambda gradient: (gradient,))
    shape = signal.second.shape
    return LayerEffect(output, lambda gradient: (np.full(shape, gradient.mean()),))


def _reshape_data(signal: Signal, shape: tuple[int, ...]) -> Signal:
    assert signal.data is not None
    (place,) = signal.sources
    return make_input(signal.data.reshape(signal.data.shape[0], *shape), place)


def pass_rescaling(call: LayerCall) -> LayerEffect:
    """Pass through a linear change of the data."""
    (signal,) = call.inputs
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset) or signal.data is None:
        raise TheoryError("Rescaling is followed for inputs of the model and single numbers only")
    (source,) = signal.sources
    scale = float(call.operation.scale)
    return LayerEffect(
        make_input(signal.data * scale + float(call.operation.offset), source),
        lambda gradient: (gradient * scale**2,),
    )


# --- normalization ----------------------------------------------------------------------------------------------------


def pass_batch_normalization(call: LayerCall) -> LayerEffect:
    """Pass through batch normalization of a batch of known correlations, or with its first moving statistics."""
    (signal,) = call.inputs
    _require_plain_normalization(call.operation)
    epsilon = float(call.operation.epsilon)
    if not call.training or not call.operation.trainable:
        return LayerEffect(_scale(signal, 1.0 / (1.0 + epsilon)), lambda gradient: (gradient / (1.0 + epsilon),))
    if signal.cross is None:
        raise TheoryError("batch normalization is followed where the correlation of the samples is known only")
    batch = signal.second.size
    if batch < 4:
        raise TheoryError("the gradient through batch normalization has no mean for fewer than four samples")
    row = signal.cross.mean(axis=1)
    centered = signal.cross - row[:, np.newaxis] - row + row.mean()
    variance = float(np.trace(centered)) / batch
    cross = centered / (variance + epsilon)
    gaussian = signal.variance is not None and signal.function is None
    output = Signal(
        second=np.diag(cross).copy(),
        mean=np.zeros(batch),
        cross=cross,
        units=signal.units,
        sources=signal.sources,
        variance=np.diag(cross).copy() if gaussian else None,
        covariance=cross if gaussian else None,
        # One unit's batch is a point on a sphere in B - 1 dimensions.
        excess=-6.0 / (batch + 1.0),
        restarted=signal.restarted,
    )
    # The batch's own variance fluctuates like a chi-square of B - 1 degrees of freedom: E 1/v = (B - 1) / (B - 3) / v.
    inverse = (batch - 1.0) / (batch - 3.0)
    factor = inverse * compute_normalized_gradient_gain(variance, batch, epsilon)
    return LayerEffect(output, lambda gradient: (factor * gradient,))


def pass_layer_normalization(call: LayerCall) -> LayerEffect:
    """Pass through layer normalization along the units."""
    (signal,) = call.inputs
    _require_plain_normalization(call.operation)
    rank = signal.second.ndim + 1
    axes = call.operation.axis if isinstance(call.operation.axis, list | tuple) else [call.operation.axis]
    if [axis % rank for axis in axes] != [rank - 1]:
        raise TheoryError("layer normalization is followed along the units only")
    epsilon = float(call.operation.epsilon)
    centered = signal.variance is not None and signal.function is None
    variance = signal.second if centered else signal.second - np.square(signal.mean)
    scale = 1.0 / (variance + epsilon)
    cross = None
    if signal.cross is not None:
        cross = (signal.cross - np.outer(signal.mean, signal.mean)) * np.sqrt(np.outer(scale, scale))
    output = Signal(
        second=variance * scale,
        mean=np.zeros_like(variance),
        cross=cross,
        units=signal.units,
        sources=signal.sources,
        variance=variance * scale if centered else None,
        covariance=cross if centered else None,
        excess=-6.0 / (signal.units + 2.0),
        restarted=signal.restarted,
    )
    units = signal.units
    factor = ((units - 2.0) + np.square(1.0 - variance * scale)) / units * scale
    return LayerEffect(output, lambda gradient: (factor * gradient,))


def _scale(signal: Signal, factor: float) -> Signal:
    """Multiply the second moments of a signal."""
    root = math.sqrt(factor)
    function = signal.function
    if function is not None:
        unscaled = function.function
        function = Activation(function.name, lambda x: root * unscaled(x))

    def scaled(part: Array | None) -> Array | None:
        return None if part is None else part * factor

    return replace(
        signal,
        second=signal.second * factor,
        mean=signal.mean * root,
        cross=scaled(signal.cross),
        variance=signal.variance if function is not None else scaled(signal.variance),
        covariance=signal.covariance if function is not None else scaled(signal.covariance),
        function=function,
        data=None if signal.data is None else signal.data * root,
    )


def _require_plain_normalization(operation: Any) -> None:
    for name, expected in (("gamma_initializer", "Ones"), ("beta_initializer", "Zeros")):
        initializer = getattr(operation, name, None)
        if initializer is not None and type(initializer).__name__ != expected:
            raise TheoryError(f"normalization is followed with {name[:-12]} starting at {expected.lower()} only")


# --- the rule of each class -------------------------------------------------------------------------------------------


RULES: Final[dict[str | type, Rule]] = {
    "Activation": pass_activation,
    "ActivityRegularization": pass_unchanged,
    "Add": pass_add,
    "BatchNormalization": pass_batch_normalization,
    "Concatenate": pass_concatenate,
    "Conv1D": pass_convolution,
    "Conv2D": pass_convolution,
    "Conv3D": pass_convolution,
    "Dense": pass_dense,
    "Dropout": pass_dropout,
    "ELU": pass_activation_layer,
    "Flatten": pass_flatten,
    "Identity": pass_unchanged,
    "LayerNormalization": pass_layer_normalization,
    "LeakyReLU": pass_activation_layer,
    "PReLU": pass_prelu,
    "ReLU": pass_activation_layer,
    "Rescaling": pass_rescaling,
    "Reshape": pass_reshape,
}
"""The rule of each class, by the name of one that Keras ships, or by the class itself."""


def find_rule(operation: Any) -> Rule:
    """Find the rule of a layer."""
    kind = type(operation)
    name = kind.__name__
    if kind in RULES:
        return RULES[kind]
    # Only Keras' own classes: one derived from them may do anything in its call.
    if getattr(import_keras().layers, name, None) is kind:
        if name in RULES:
            return RULES[name]
        if "Pooling" in name:
            raise TheoryError("pooling needs the joint distribution of neighbouring places, which is not followed")
    elif is_keras_operation(operation):
        if name in OPERATIONS:
            return pass_operation
        if name == "Add":
            return pass_add
    raise TheoryError(f"there is no theory of {name}")
