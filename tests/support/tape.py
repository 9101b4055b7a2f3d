"""What anybody would differentiate with: the tape of the backend, on what is computed eagerly; nothing of initcheck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]

BACKEND = keras.backend.backend()


class Tape:
    """Differentiates what is computed inside it, any number of times, with respect to any tensor on the way."""

    def __enter__(self) -> Tape:
        if BACKEND == "jax":
            pytest.skip("JAX has no tape: it differentiates functions, and no tensor on the way")
        if BACKEND == "tensorflow":
            import tensorflow as tf

            self._tape = tf.GradientTape(persistent=True)
            self._tape.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if BACKEND == "tensorflow":
            self._tape.__exit__(kind, error, trace)

    def watch(self, values: Any) -> Any:
        """Return a tensor with respect to which what follows can be differentiated."""
        tensor = keras.ops.convert_to_tensor(values)
        if BACKEND == "torch":
            return tensor.detach().requires_grad_()
        self._tape.watch(tensor)
        return tensor

    def gradient(self, loss: Any, tensors: Sequence[Any]) -> list[Array | None]:
        """Differentiate a scalar; None where no path leads to it."""
        if BACKEND == "tensorflow":
            found = self._tape.gradient(loss, list(tensors))
        else:
            import torch

            known = [place for place, each in enumerate(tensors) if each.requires_grad]
            some = torch.autograd.grad(loss, [tensors[place] for place in known], allow_unused=True, retain_graph=True)
            found = [None] * len(tensors)
            for place, each in zip(known, some, strict=True):
                found[place] = each
        return [None if each is None else to_array(each) for each in found]


def differentiate(compute: Callable[..., Any], *values: Any) -> list[Array | None]:
    """Differentiate a scalar function of tensors with respect to each of them; None where no path leads to it."""
    with Tape() as tape:
        watched = [tape.watch(each) for each in values]
        loss = compute(*watched)
    return tape.gradient(loss, watched)


def to_array(tensor: Any) -> Array:
    """Give the values of a tensor; of the gradient of a table that was looked up, which comes by row, those of all."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor)))
