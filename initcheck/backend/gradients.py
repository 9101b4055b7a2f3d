"""One step of training, on values instead of variables, so that many networks are trained in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from initcheck.backend.interface import backend
from initcheck.backend.runtime import import_keras

Optimizer = Literal["sgd", "adam"]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # those of keras.optimizers.Adam


class Step(NamedTuple):
    """One step of training."""

    weights: list[Any]
    slots: list[Any]
    loss: Any
    extra: Any


def make_slots(optimizer: Optimizer, weights: Sequence[Any]) -> list[Any]:
    """Make the state of an optimizer before the first step: two moments for each weight of Adam, of SGD nothing."""
    ops = import_keras().ops
    return [ops.zeros_like(weight) for weight in weights for _ in range(2)] if optimizer == "adam" else []


def update_step(
    compute_loss: Callable[[Sequence[Any]], tuple[Any, Any]],
    weights: Sequence[Any],
    learning_rate: float,
    optimizer: Optimizer = "sgd",
    slots: Sequence[Any] = (),
    number: Any = None,
) -> Step:
    """Make one step of gradient descent, or of Adam (Kingma and Ba 2015), with the arithmetic of Keras' optimizers.

    Args:
        compute_loss: from the weights to the loss and anything else that is wanted.
    """
    ops = import_keras().ops
    found = backend().differentiate(compute_loss, weights)
    updated, state = list(weights), list(slots)
    for place, gradient in enumerate(found.gradients):
        if gradient is None:
            continue
        rate: Any = learning_rate
        if optimizer == "adam":
            first, second = state[2 * place : 2 * place + 2]
            first = _BETA_1 * first + (1.0 - _BETA_1) * gradient
            second = _BETA_2 * second + (1.0 - _BETA_2) * ops.square(gradient)
            count = ops.cast(number, gradient.dtype)
            rate = rate * ops.sqrt(1.0 - _BETA_2**count) / (1.0 - _BETA_1**count)
            state[2 * place : 2 * place + 2] = [first, second]
            updated[place] = weights[place] - rate * first / (ops.sqrt(second) + _EPSILON)
        else:
            updated[place] = weights[place] - rate * gradient
    return Step(updated, state, found.loss, found.extra)
