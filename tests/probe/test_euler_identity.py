"""Euler's identity for homogeneous functions, as a metamorphic test of what the probe captures and differentiates.

A ReLU network without biases is homogeneous of degree one in each of its kernels: L(..., a W_l, ...) = a L. So
<W_l, dL/dW_l> = L for every layer l, whatever the weights (Euler 1755; Du, Hu and Lee 2018 for its consequences). It
holds per seed and needs no second way of computing anything. A kernel paired with another's gradient, a gradient taken
at the wrong tensor, or a lost sample breaks it.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from initcheck.models.initializers import InitializerSpec
from initcheck.models.networks import ConvSpec, MlpSpec, ResidualSpec
from initcheck.probe import Probe, measure
from initcheck.probe.reduce import PARTS

SEEDS = range(6)
ROUNDING = 1e-6
"""Of the inner product, in units of |W| |dL/dW|: float32 sums over a kernel and a dozen layers; measured below 2e-8."""


def measure_inner_products(spec, monkeypatch, sample_shape) -> tuple[np.ndarray, np.ndarray]:
    """<W, dL/dW> and |W| |dL/dW| by seed and kernel, from the very tensors that the probe reduces."""
    original = measure.reduce_site

    def reduce_with_product(site):
        parts = original(site)
        if site.kernel is None:
            return parts
        product = keras.ops.sum(keras.ops.cast(site.kernel * site.kernel_gradient, "float64"))
        # The product travels in the place of the kernel's mean.
        place, shift = PARTS.index("weight_mean"), PARTS.index("weight_shift")
        kept = np.ones(len(PARTS))
        kept[[place, shift]] = 0.0
        return parts * kept + product * np.eye(len(PARTS))[place]

    monkeypatch.setattr(measure, "reduce_site", reduce_with_product)
    x = np.random.default_rng(3).standard_normal((8, *sample_shape)).astype("float32")
    table = Probe(spec.build(sample_shape, seed=0), x).measure(SEEDS)
    kernels = table[table["weight_norm"].notna()]
    shape = (len(SEEDS), -1)
    products = kernels["weight_mean"].to_numpy(dtype=np.float64).reshape(shape)
    # What the kernel's variance is made of was replaced as well, so the norms are taken from a second measurement.
    monkeypatch.setattr(measure, "reduce_site", original)
    table = Probe(spec.build(sample_shape, seed=0), x).measure(SEEDS)
    kernels = table[table["weight_norm"].notna()]
    sizes = (kernels["weight_norm"] * kernels["weight_gradient_norm"]).to_numpy(dtype=np.float64).reshape(shape)
    return products, sizes


def spread_over_layers(products: np.ndarray, sizes: np.ndarray) -> float:
    """The largest difference between two layers of one seed, in units of the largest |W| |dL/dW|."""
    return float(np.max(np.ptp(products, axis=1) / sizes.max(axis=1)))


HE = InitializerSpec("HeNormal")


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MlpSpec(initializer=HE, activation="relu", depth=12, width=48), (32,)),
        (ConvSpec(initializer=HE, activation="relu", depth=4, width=8), (8, 8, 3)),
        pytest.param(
            MlpSpec(initializer=InitializerSpec("GlorotUniform"), activation="leaky_relu", depth=6, width=32),
            (32,),
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["relu", "conv", "leaky_relu"],
)
def test_every_kernel_has_the_same_inner_product_with_its_gradient(spec, shape, monkeypatch):
    products, sizes = measure_inner_products(spec, monkeypatch, shape)
    assert products.shape == (len(SEEDS), spec.depth + 1)
    # Seeds differ, so the layers' agreement says something.
    assert np.ptp(products[:, 0]) > 0.01 * np.abs(products).max()
    assert spread_over_layers(products, sizes) < ROUNDING


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MlpSpec(initializer=HE, activation="tanh", depth=12, width=48), (32,)),
        (ResidualSpec(initializer=HE, activation="relu", depth=4, width=32), (32,)),
    ],
    ids=["tanh", "residual"],
)
def test_networks_that_are_not_homogeneous_in_each_kernel_break_it(spec, shape, monkeypatch):
    products, sizes = measure_inner_products(spec, monkeypatch, shape)
    assert spread_over_layers(products, sizes) > 100.0 * ROUNDING
