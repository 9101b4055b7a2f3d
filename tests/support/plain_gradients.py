"""Gradients as anybody would take them on the backend that Keras runs on: nothing of initcheck is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


def differentiate(function: Callable[..., Any], values: Sequence[Any]) -> list[Any]:
    """Differentiate a function of tensors, a scalar, with respect to each of them.

    Returns:
        Arrays. Without a path to the result: None, on JAX zeros.
    """
    tensors = [keras.ops.convert_to_tensor(value) for value in values]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            result = function(*tensors)
        gradients = [None if each is None else tf.convert_to_tensor(each) for each in tape.gradient(result, tensors)]
    elif keras.backend.backend() == "jax":
        import jax

        gradients = jax.grad(lambda given: function(*given))(tensors)
    else:
        import torch

        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        with torch.enable_grad():
            gradients = torch.autograd.grad(function(*leaves), leaves, allow_unused=True)
    return [None if each is None else keras.ops.convert_to_numpy(each) for each in gradients]


def differentiate_weights(function: Callable[[], Any], weights: Sequence[Any]) -> list[Any]:
    """Differentiate a function that reads Keras variables with respect to some of them; see :func:`differentiate`."""

    def compute(*values: Any) -> Any:
        with keras.StatelessScope(list(zip(weights, values, strict=True)), initialize_variables=False):
            return function()

    return differentiate(compute, [weight.value for weight in weights])
