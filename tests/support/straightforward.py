"""The straightforward loop that the probe replaces: for each seed rebuild, differentiate eagerly, reduce in NumPy.

It delivers the same columns for the same layers, as most people would write them.
"""

from __future__ import annotations

import numpy as np

from initcheck.keras_runtime import import_keras
from initcheck.networks import NetworkSpec


def measure_straightforwardly(spec: NetworkSpec, inputs, seed: int) -> dict[str, dict[str, float]]:
    """Measure the hidden layers of one fully connected network.

    Args:
        spec: the network.
        inputs: one batch.
        seed: seed of the network.

    Returns:
        Quantities by layer.
    """
    keras = import_keras()
    import tensorflow as tf

    model = spec.build(inputs.shape[1:], seed)
    names = spec.signal_layers()
    activation = keras.activations.get(spec.activation)
    preactivations, activations, kernels = {}, {}, {}
    with tf.GradientTape() as tape:
        signal = tf.reshape(inputs, (len(inputs), -1))
        for name in names:
            layer = model.get_layer(name)
            layer.activation = keras.activations.linear
            kernels[name] = layer.kernel.value
            preactivations[name] = layer(signal)
            tape.watch(preactivations[name])
            signal = activations[name] = activation(preactivations[name])
        top = model.get_layer("output")(signal)
        loss = tf.reduce_sum(top * tf.random.stateless_normal(top.shape, seed=(1, 2)))
    gradients = tape.gradient(loss, [preactivations, kernels])
    return {
        name: reduce_in_numpy(
            np.asarray(preactivations[name]),
            np.asarray(activations[name]),
            np.asarray(gradients[0][name]),
            np.asarray(kernels[name]),
            np.asarray(gradients[1][name]),
        )
        for name in names
    }


def reduce_in_numpy(z, h, gradient, kernel, kernel_gradient) -> dict[str, float]:
    """The columns of the measurement table, each by its NumPy one-liner."""
    zero = h == 0
    return {
        "preactivation_mean": z.mean(),
        "preactivation_variance": z.var(),
        "preactivation_second_moment": (z**2).mean(),
        "activation_mean": h.mean(),
        "activation_variance": h.var(),
        "activation_second_moment": (h**2).mean(),
        "activation_batch_variance": h.var(axis=0).mean(),
        "zero_fraction": zero.mean(),
        "dead_fraction": zero.all(axis=0).mean(),
        "nonfinite_fraction": (~np.isfinite(h)).mean(),
        "activation_max_abs": np.abs(h).max(),
        "gradient_second_moment": (gradient**2).mean(),
        "gradient_norm": np.sqrt((gradient**2).sum(axis=1).mean()),
        "weight_gradient_norm": np.linalg.norm(kernel_gradient),
        "gradient_to_weight_ratio": np.linalg.norm(kernel_gradient) / np.linalg.norm(kernel),
        "weight_mean": kernel.mean(),
        "weight_variance": kernel.var(),
        "weight_norm": np.linalg.norm(kernel),
    }
