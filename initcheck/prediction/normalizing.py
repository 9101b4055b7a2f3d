"""Rules of normalization layers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from initcheck.errors import TheoryError
from initcheck.prediction.passage import LayerCall, Passage
from initcheck.prediction.signal import Signal
from initcheck.theory.gaussian import Activation
from initcheck.theory.normalization import compute_normalized_gradient_gain
from initcheck.theory.pieces import Array


def pass_batch_normalization(call: LayerCall) -> Passage:
    """Pass through batch normalization of a batch of known correlations, or with its first moving statistics."""
    (signal,) = call.inputs
    _require_plain_normalization(call.operation)
    epsilon = float(call.operation.epsilon)
    if not call.training or not call.operation.trainable:
        return Passage(_scale(signal, 1.0 / (1.0 + epsilon)), lambda gradient: (gradient / (1.0 + epsilon),))
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
    spread = (batch - 1.0) / (batch - 3.0)
    factor = spread * compute_normalized_gradient_gain(variance, batch, epsilon)
    return Passage(output, lambda gradient: (factor * gradient,))


def pass_layer_normalization(call: LayerCall) -> Passage:
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
    return Passage(output, lambda gradient: (factor * gradient,))


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
