"""The reduction of a single site, where nothing but the size of its values decides between quick and careful."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.keras_runtime import import_keras
from initcheck.probe.reduce import PARTS, SiteTensors, reduce_site


@pytest.mark.parametrize("exponent", [0, -14, -17, -18, -19, -20, -21, -22, -30, 18, 25])
def test_mean_squares_are_right_at_any_size_a_float32_can_have(exponent):
    values = (np.random.default_rng(0).normal(size=(64, 32)) * 10.0**exponent).astype(np.float32)
    tensor = import_keras().ops.convert_to_tensor(values)
    site = SiteTensors(tensor, None, tensor, None, None, None)
    parts = dict(zip(PARTS, np.asarray(reduce_site(site)), strict=True))
    exact = values.astype(np.float64)
    assert parts["gradient_square"] == pytest.approx(np.mean(exact**2), rel=1e-6)
    assert parts["batch_square"] - parts["batch_mean_square"] == pytest.approx(exact.var(axis=0).mean(), rel=1e-6)
