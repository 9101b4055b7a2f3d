"""Rules of layers without weights: sums, concatenation, changes of shape, dropout."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from initcheck.errors import TheoryError
from initcheck.prediction.passage import Backward, LayerCall, Passage, join_restarts, pass_unchanged
from initcheck.prediction.signal import Signal, make_input
from initcheck.theory.layers import compute_dropout_gain
from initcheck.theory.pieces import Array


def pass_dropout(call: LayerCall) -> Passage:
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
    return Passage(output, lambda gradient: (gain * gradient,))


def pass_add(call: LayerCall) -> Passage:
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
    return Passage(output, lambda gradient: tuple(gradient for _ in call.inputs))


def pass_concatenate(call: LayerCall) -> Passage:
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
    return Passage(output, lambda gradient: tuple(gradient for _ in call.inputs))


def pass_flatten(call: LayerCall) -> Passage:
    """Pass through Flatten: places become units."""
    (signal,) = call.inputs
    shape = signal.second.shape
    if signal.data is not None:
        return Passage(_reshape_data(signal, (-1,)), _unflatten(shape))
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
    return Passage(output, _unflatten(shape))


def _unflatten(shape: tuple[int, ...]) -> Backward:
    spatial = (1,) * (len(shape) - 1)
    return lambda gradient: (np.broadcast_to(gradient.reshape(-1, *spatial), shape),)


def pass_reshape(call: LayerCall) -> Passage:
    """Pass through a change of shape of the data."""
    (signal,) = call.inputs
    if signal.data is None:
        raise TheoryError("only inputs of the model are followed through a change of shape")
    output = _reshape_data(signal, tuple(call.operation.target_shape))
    if output.second.ndim == signal.second.ndim == 1:
        return Passage(output, lambda gradient: (gradient,))
    shape = signal.second.shape
    return Passage(output, lambda gradient: (np.full(shape, gradient.mean()),))


def _reshape_data(signal: Signal, shape: tuple[int, ...]) -> Signal:
    assert signal.data is not None
    (place,) = signal.sources
    return make_input(signal.data.reshape(signal.data.shape[0], *shape), place)


def pass_rescaling(call: LayerCall) -> Passage:
    """Pass through a linear change of the data."""
    (signal,) = call.inputs
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset) or signal.data is None:
        raise TheoryError("Rescaling is followed for inputs of the model and single numbers only")
    (source,) = signal.sources
    scale = float(call.operation.scale)
    return Passage(
        make_input(signal.data * scale + float(call.operation.offset), source),
        lambda gradient: (gradient * scale**2,),
    )
