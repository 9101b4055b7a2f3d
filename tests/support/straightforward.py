"""The straightforward loop that the probe replaces: for each seed rebuild, differentiate eagerly, reduce in NumPy.

It delivers the same rows and columns, as most people would write them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from initcheck.backend.runtime import import_keras
from initcheck.models.networks import NetworkSpec


def measure_straightforwardly(spec: NetworkSpec, inputs, seed: int) -> pd.DataFrame:
    """Measure a fully connected network.

    Args:
        spec: the network.
        inputs: one batch.
        seed: seed of the network.

    Returns:
        One row for the input and each layer.
    """
    keras = import_keras()
    import tensorflow as tf

    model = spec.build(inputs.shape[1:], seed)
    layers = [layer for layer in model.layers if layer.weights]
    inputs = tf.reshape(inputs, (len(inputs), -1))
    kernels, preactivations, activations = [], [], []
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        signal = inputs
        for layer in layers:
            activation, layer.activation = layer.activation, keras.activations.linear
            kernels.append(layer.kernel.value)
            preactivations.append(layer(signal))
            tape.watch(preactivations[-1])
            signal = activation(preactivations[-1])
            activations.append(signal)
        loss = tf.reduce_sum(signal * tf.random.stateless_normal(signal.shape, seed=(1, 2)))
    input_gradient, gradients, kernel_gradients = tape.gradient(loss, [inputs, preactivations, kernels])
    rows = [{"layer": "input", **reduce_activation(inputs.numpy()), **reduce_gradient(input_gradient.numpy())}]
    for layer, z, h, gradient, kernel, kernel_gradient in zip(
        layers, preactivations, activations, gradients, kernels, kernel_gradients, strict=True
    ):
        rows.append(
            {
                "layer": layer.name,
                **reduce_preactivation(z.numpy()),
                **reduce_activation(h.numpy()),
                **reduce_gradient(gradient.numpy()),
                **reduce_weights(kernel.numpy(), kernel_gradient.numpy()),
            }
        )
    return pd.DataFrame(rows)


def reduce_preactivation(z):
    return {
        "preactivation_mean": z.mean(),
        "preactivation_variance": z.var(),
        "preactivation_second_moment": (z**2).mean(),
    }


def reduce_activation(h):
    zero = h == 0
    return {
        "activation_mean": h.mean(),
        "activation_variance": h.var(),
        "activation_second_moment": (h**2).mean(),
        "activation_batch_variance": h.var(axis=0).mean(),
        "zero_fraction": zero.mean(),
        "dead_fraction": zero.all(axis=0).mean(),
        "nonfinite_fraction": (~np.isfinite(h)).mean(),
        "activation_max_abs": np.abs(h).max(),
    }


def reduce_gradient(gradient):
    return {
        "gradient_second_moment": (gradient**2).mean(),
        "gradient_norm": np.sqrt((gradient**2).sum(axis=1).mean()),
    }


def reduce_weights(kernel, kernel_gradient):
    return {
        "weight_mean": kernel.mean(),
        "weight_variance": kernel.var(),
        "weight_norm": np.linalg.norm(kernel),
        "weight_gradient_norm": np.linalg.norm(kernel_gradient),
        "gradient_to_weight_ratio": np.linalg.norm(kernel_gradient) / np.linalg.norm(kernel),
    }
