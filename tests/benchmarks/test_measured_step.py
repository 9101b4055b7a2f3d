"""What a measurement costs: against the plain training step, and against the straightforward loop."""

from __future__ import annotations

from functools import cache

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from interleaved import estimate_ratio, time_in_turns
from numpy_twin import reduce_activation, reduce_gradient, reduce_preactivation, reduce_weights

from initcheck.core.columns import QUANTITIES
from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import MlpSpec, NetworkSpec, NotebookSpec
from initcheck.probe import Probe
from initcheck.probe.measure import random_loss

SEEDS = 16
DEFAULT = InitializerSpec("GlorotUniform")  # the default of Keras' layers
HE = InitializerSpec("HeNormal")  # truncated normal: TensorFlow takes five times as long to draw it


def deep(initializer):
    return MlpSpec(initializer=initializer, activation="relu", depth=20, width=256)


def small(initializer):
    return MlpSpec(initializer=initializer, activation="relu", depth=10, width=64)


def notebook(initializer):
    return NotebookSpec(initializer=initializer)


def measure_straightforwardly(spec: NetworkSpec, inputs, seed: int) -> pd.DataFrame:
    """Measure a fully connected network as most people would: rebuild, differentiate eagerly, reduce in NumPy.

    It is the loop that the probe replaces, with the same rows and columns, for one seed.
    """
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
    rows = [{"layer": "input", **reduce_activation(inputs.numpy(), ""), **reduce_gradient(input_gradient.numpy())}]
    for layer, z, h, gradient, kernel, kernel_gradient in zip(
        layers, preactivations, activations, gradients, kernels, kernel_gradients, strict=True
    ):
        rows.append(
            {
                "layer": layer.name,
                **reduce_preactivation(z.numpy()),
                **reduce_activation(h.numpy(), ""),
                **reduce_gradient(gradient.numpy()),
                **reduce_weights(kernel.numpy(), kernel_gradient.numpy()),
            }
        )
    return pd.DataFrame(rows)


class Candidates:
    """The measured step of one network, and what it is compared with; each runs SEEDS replicates."""

    def __init__(self, spec, batch_size):
        shape = (batch_size, *spec.sample_shape)
        self.spec = spec
        self.inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self.model = spec.build(spec.sample_shape, seed=0)
        self.probe = Probe(self.model, self.inputs)
        self.fixed = [tf.stack([weight.value] * SEEDS) for weight in self.model.weights]
        self.derived = tf.constant(self.probe.plan.derive(range(SEEDS)))
        self.batch = tf.constant(self.inputs)

        @tf.function
        def plain_step(batch):
            with tf.GradientTape() as tape:
                loss = random_loss(self.model(batch, training=True))
            return tape.gradient(loss, [weight.value for weight in self.model.trainable_weights])

        self._plain_step, self._draw_once = plain_step, tf.function(self.probe.plan.draw)

    def plain(self):
        for _ in range(SEEDS):
            result = self._plain_step(self.batch)
        return result[0].numpy()

    def draw(self):
        for row in range(SEEDS):
            result = self._draw_once(self.derived[row])
        return result[0].numpy()

    def draw_and_plain(self):
        self.draw()
        self.plain()

    def measured(self):
        return self.probe.measure(range(SEEDS))

    def measured_with_fixed_weights(self):
        return self.probe.measure_weights(range(SEEDS), self.fixed)

    def straightforward(self):
        """One seed only: it is slow."""
        return measure_straightforwardly(self.spec, self.inputs, seed=1)


@cache
def candidates(spec, batch_size):
    return Candidates(spec, batch_size)


@pytest.mark.parametrize("initializer", [DEFAULT, HE], ids=lambda spec: spec.label)
def test_one_more_seed_costs_little_more_than_a_draw_and_a_plain_step(benchmark, compare, initializer):
    network = candidates(deep(initializer), 256)
    name = f"20 x 256, {initializer.label}: measured seed / (draw + plain step)"
    ratio = compare(name, network.measured, network.draw_and_plain, rounds=15, limit="at most 1.15")
    benchmark.pedantic(network.measured, rounds=3)
    assert ratio.value <= 1.15


def test_fixed_weights_cost_little_more_than_a_plain_step(benchmark, compare):
    network = candidates(deep(DEFAULT), 256)
    name = "20 x 256: measured, fixed weights / plain step"
    ratio = compare(name, network.measured_with_fixed_weights, network.plain, rounds=15, limit="at most 1.25")
    benchmark.pedantic(network.measured_with_fixed_weights, rounds=3)
    assert ratio.value <= 1.25


@pytest.mark.parametrize("initializer", [DEFAULT, HE], ids=lambda spec: spec.label)
@pytest.mark.parametrize(
    ("name", "make", "batch_size", "least"),
    [("20 x 256", deep, 256, 4.0), ("notebook", notebook, 32, 8.0), ("10 x 64", small, 256, 25.0)],
    ids=["deep", "notebook", "small"],
)
def test_one_more_seed_is_faster_than_the_straightforward_loop(
    benchmark, report_ratio, name, make, batch_size, least, initializer
):
    """The bound is for Keras' default initializer; where drawing dominates, both ways pay for it alike."""
    network = candidates(make(initializer), batch_size)
    timed = time_in_turns({"loop": network.straightforward, "measured": network.measured}, rounds=15)
    ratio = estimate_ratio(timed["loop"] * SEEDS, timed["measured"])
    bound = f"at least {least:g}" if initializer == DEFAULT else ""
    report_ratio(f"{name}, {initializer.label}: straightforward loop / measured seed", ratio, bound)
    benchmark.pedantic(network.measured, rounds=3)
    assert ratio.value >= (least if initializer == DEFAULT else 1.0)


def test_the_straightforward_loop_measures_the_same():
    """The loop is a fair opponent only if it measures the same rows of the same network."""
    network = candidates(small(DEFAULT), 256)
    rows = network.measured().query("seed == 1").reset_index(drop=True)
    loop = network.straightforward()
    assert list(loop["layer"]) == list(rows["layer"])
    for quantity in QUANTITIES:
        if "gradient" in quantity or quantity == "saturated_fraction":
            continue  # the loss is another random functional there; ReLU does not saturate
        expected, measured = loop[quantity].to_numpy(float), rows[quantity].to_numpy(float, na_value=np.nan)
        np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-6, err_msg=quantity)
    assert (loop["gradient_second_moment"] > 0).all()
