"""The reduction of a single site, where nothing but its size and that of its values decides on the way it is taken."""

from __future__ import annotations

import keras
import numpy as np
import numpy_twin
import pytest

from initcheck.core.columns import QUANTITIES
from initcheck.probe import Probe, measure
from initcheck.probe.reduce import LARGEST_COPIED, PARTS, SiteTensors, finish, reduce_site

LARGE = {"2 axes": (16, 12000), "odd": (16, 11999), "images": (8, 40, 41, 12), "many samples": (200, 1000)}


def reduce(values, feature_axis=-1, bounds=None):
    """The finished quantities of a site with these values as output, pre-activation and gradient."""
    tensor = keras.ops.convert_to_tensor(values)
    parts = np.asarray(reduce_site(SiteTensors(tensor, tensor, tensor, None, None, bounds, feature_axis)))
    units = np.asarray([values.size / len(values)])
    finished = finish(parts[None, None], units, np.asarray([np.nan]), np.asarray([True]))
    return dict(zip(QUANTITIES, finished[0, 0], strict=True))


def expect(values, feature_axis=-1):
    exact = values.astype(np.float64)
    by_unit = np.moveaxis(exact, feature_axis, -1).reshape(-1, exact.shape[feature_axis])
    return {
        **numpy_twin.reduce_preactivation(exact),
        **numpy_twin.reduce_activation(exact, ""),
        **numpy_twin.reduce_gradient(exact.reshape(len(exact), -1)),
        "dead_fraction": np.mean(np.all(by_unit == 0, axis=0)),
    }


def assert_as_expected(values, feature_axis=-1):
    found = reduce(values, feature_axis)
    for name, value in expect(values, feature_axis).items():
        scale = np.sqrt(np.mean(values.astype(np.float64) ** 2)) if name.endswith("_mean") else abs(value)
        exact = name in ("zero_fraction", "dead_fraction", "activation_max_abs", "nonfinite_fraction")
        assert abs(found[name] - value) <= (1e-15 if exact else 1e-6) * scale, (name, found[name], value)


@pytest.mark.parametrize("exponent", [0, -14, -17, -18, -19, -20, -21, -22, -30, 18, 25])
def test_mean_squares_are_right_at_any_size_a_float32_can_have(exponent):
    values = (np.random.default_rng(0).normal(size=(64, 32)) * 10.0**exponent).astype(np.float32)
    tensor = keras.ops.convert_to_tensor(values)
    site = SiteTensors(tensor, None, tensor, None, None, None)
    parts = dict(zip(PARTS, np.asarray(reduce_site(site)), strict=True))
    exact = values.astype(np.float64)
    assert parts["gradient_square"] == pytest.approx(np.mean(exact**2), rel=1e-6)
    assert parts["batch_square"] - parts["batch_mean_square"] == pytest.approx(exact.var(axis=0).mean(), rel=1e-6)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
def test_large_tensors_give_the_same_as_numpy(shape, axis):
    values = np.maximum(np.random.default_rng(0).normal(size=shape), -0.5).astype(np.float32)
    values[values == -0.5] = 0.0
    units = np.moveaxis(values, axis, -1)
    units[..., 3] = 0.0
    units[..., 5] = 0.0
    units[1, ..., 5] = -7.0
    assert values.size > LARGEST_COPIED
    assert expect(values, axis)["dead_fraction"] > 0
    assert_as_expected(values, axis)


@pytest.mark.parametrize("offset", [2.0, 30.0, 1000.0])
@pytest.mark.parametrize("shape", [(64, 32), (8, 40, 41, 12)], ids=["small", "large"])
def test_a_variance_far_from_zero_is_that_of_numpy(shape, offset):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32) + np.float32(offset)
    assert_as_expected(values)


@pytest.mark.parametrize("exponent", [-17, -20, -30, 18, 25])
def test_large_tensors_are_right_at_any_size_a_float32_can_have(exponent):
    assert_as_expected((np.random.default_rng(0).normal(size=(8, 40, 41, 12)) * 10.0**exponent).astype(np.float32))


@pytest.mark.parametrize("shape", [(64, 32), (8, 40, 41, 12)], ids=["small", "large"])
def test_identical_samples_have_exactly_no_variance_across_the_batch(shape):
    one = np.random.default_rng(0).normal(size=(1, *shape[1:])).astype(np.float32)
    found = reduce(np.repeat(one, shape[0], axis=0))
    assert found["activation_batch_variance"] == 0.0
    assert found["activation_variance"] == pytest.approx(one.astype(np.float64).var(), rel=1e-6)


@pytest.mark.parametrize("shape", [(64, 32), (8, 40, 41, 12)], ids=["small", "large"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_leaves_no_moment(shape, value):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values[0, ..., 0] = value
    found = reduce(values)
    assert found["nonfinite_fraction"] == pytest.approx(np.mean(~np.isfinite(values)), abs=1e-15)
    assert np.isnan(found["activation_mean"])
    assert np.isnan(found["activation_batch_variance"])


def build_convolutional():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20, 20, 3)),
            layers.Conv2D(8, 3, name="convolution"),
            layers.BatchNormalization(name="normalization"),
            layers.Activation("relu", name="activation"),
            layers.Conv2D(4, 3, activation="tanh", name="fused"),
            layers.Flatten(),
            layers.Dense(5, name="output"),
        ]
    )


def test_a_preactivation_that_is_an_output_is_measured_as_if_it_was_reduced_by_itself(monkeypatch):
    model = build_convolutional()
    images = np.random.default_rng(0).normal(size=(8, 20, 20, 3)).astype(np.float32)
    probe = Probe(model, images)
    shared = probe.measure([0, 1])
    monkeypatch.setattr(measure, "find_sources", lambda recorded, outputs, _: (None,) * len(outputs))
    apart = Probe(model, images).measure([0, 1])
    assert probe._sources == (None, 1, None, 2, None, None, 6)
    for name in QUANTITIES:
        left, right = (frame[name].to_numpy(float, na_value=np.nan) for frame in (shared, apart))
        atol = 1e-7 if name.endswith("_mean") else 0.0
        np.testing.assert_allclose(left, right, rtol=2e-6, atol=atol, err_msg=name)


def test_a_preactivation_taken_from_another_site_brings_what_is_not_finite():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, name="dense"), keras.layers.Activation("sigmoid", name="sigmoid")]
    )
    model.get_layer("dense").set_weights([np.eye(4, dtype=np.float32) * np.float32(3e38), np.zeros(4, np.float32)])
    batch = np.asarray([[2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    rows = Probe(model, batch).measure_current().set_index("layer")
    assert rows.loc["dense", "nonfinite_fraction"] == rows.loc["sigmoid", "nonfinite_fraction"] == 1 / 8
    assert np.isnan(rows["preactivation_variance"].to_numpy(float, na_value=np.nan)).all()
