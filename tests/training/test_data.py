"""What cannot be trained on is refused in one line, before any network is built."""

from __future__ import annotations

import numpy as np
import pytest

from initcheck.core.errors import DataError
from initcheck.training.data import MOST_CLASSES, load_labelled

X = np.linspace(-1.0, 1.0, 40).reshape(20, 2)
Y = np.arange(20) % 3


def load(tmp_path, x, y):
    np.savez(tmp_path / "set.npz", x=x, y=y)
    return load_labelled(str(tmp_path / "set.npz"))


def refuse(tmp_path, x, y):
    with pytest.raises(DataError) as error:
        load(tmp_path, x, y)
    message = str(error.value)
    assert "\n" not in message and "set.npz" in message
    return message


def with_value(value, dtype=np.float64):
    x = X.astype(dtype)
    x[3, 1] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    message = refuse(tmp_path, with_value(value), Y)
    assert "1 value is NaN or infinite in the samples, the first at index (3, 1)" in message


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_samples_too_large_for_float32_are_refused(tmp_path, value):
    assert "too large for float32. Scale the data." in refuse(tmp_path, with_value(value), Y)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.uint64])
def test_a_label_that_would_wrap_in_32_bits_is_refused(tmp_path, dtype):
    message = refuse(tmp_path, X, np.where(np.arange(20) == 7, 3_000_000_000, Y).astype(dtype))
    assert "Received: a label of 3000000000. Number the classes from 0" in message


@pytest.mark.parametrize("label", [10**9, MOST_CLASSES, -1])
def test_a_label_that_no_output_layer_has_a_unit_for_is_refused(tmp_path, label):
    message = refuse(tmp_path, X, np.where(np.arange(20) == 7, label, Y))
    assert f"from 0 to {MOST_CLASSES - 1}. Received: a label of {label}." in message


@pytest.mark.parametrize("labels", [Y.astype(float), Y[:5], np.zeros((20, 3), int)])
def test_what_is_not_one_class_for_each_sample_is_refused(tmp_path, labels):
    message = refuse(tmp_path, X, labels)
    assert f"shape {labels.shape}, dtype {labels.dtype}. Save whole numbers from 0, shape (20,)." in message


def test_the_largest_class_allowed_and_pixels_of_8_bits_are_taken(tmp_path):
    data = load(tmp_path, np.full((20, 2), 255, np.uint8), np.where(np.arange(20) == 7, MOST_CLASSES - 1, Y)[:, None])
    assert data.classes == MOST_CLASSES and data.y.dtype == np.int32 and data.y.ndim == 1
    assert float(data.x.max()) == 1.0 and data.x.dtype == np.float32
