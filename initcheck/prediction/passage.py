"""How one layer passes on the signal and the gradient: what a rule is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from initcheck.errors import TheoryError
from initcheck.prediction.signal import Signal
from initcheck.theory.pieces import Array
from initcheck.theory.weights import WeightLaw

Backward = Callable[[Array], Sequence[Array]]
"""From E (dL/dx)^2 at the output, by sample and place, to that at each input."""


@dataclass(frozen=True, eq=False)
class Laws:
    """The laws of one layer's weights.

    Attributes:
        kernel: of its kernel; None for a layer without one.
        bias_variance: of its biases; 0 without.
    """

    kernel: WeightLaw | None
    bias_variance: float


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of one layer.

    Attributes:
        operation: the layer or operation of Keras.
        inputs: the signals that enter it.
        place: its node.
        laws: of its weights.
        training: whether normalization uses the batch, and Dropout drops.
    """

    operation: Any
    inputs: Sequence[Signal]
    place: int
    laws: Laws
    training: bool


@dataclass(frozen=True, eq=False)
class Passage:
    """What a layer does to the signal.

    Attributes:
        output: the signal that leaves it.
        backward: from the gradient's second moment at the pre-activation, or at the output of a layer without one, to
            that at its inputs.
        preactivation: the signal before the fused activation function; None without one.
        slope: E phi'^2 of that function, by sample and place.
    """

    output: Signal
    backward: Backward
    preactivation: Signal | None = None
    slope: Array | None = None


def require_kernel(laws: Laws) -> WeightLaw:
    """Return the law of a layer's kernel.

    Raises:
        TheoryError: there is none.
    """
    if laws.kernel is None:
        raise TheoryError("the law of its kernel is not known")
    return laws.kernel


def join_restarts(inputs: Sequence[Signal]) -> str:
    """Name the layers from whose measured values the predictions of several signals were begun anew."""
    return ", ".join(dict.fromkeys(signal.restarted for signal in inputs if signal.restarted))


def pass_unchanged(call: LayerCall) -> Passage:
    """Pass on the signal as it is."""
    return Passage(call.inputs[0], lambda gradient: (gradient,))
