"""What cannot be trained on is refused in one line, before any network is built."""

from __future__ import annotations

import math

import numpy as np
import pytest

from initcheck.core.errors import DataError
from initcheck.training.data import MOST_CLASSES, LabelledData, chance_loss, load_labelled

X = np.linspace(-1.0, 1.0, 40).reshape(20, 2)
Y = np.arange(20) % 3


def load(tmp_path, x, y):
    np.savez(tmp_path / "set.npz", x=x, y=y)
    return load_labelled(str(tmp_path / "set.npz"))


def with_value(value):
    x = X.copy()
    x[3, 1] = value
    return x


def with_label(label, dtype=np.int64):
    return np.where(np.arange(20) == 7, label, Y).astype(dtype)


OUT_OF_RANGE = f"from 0 to {MOST_CLASSES - 1}. Received: a label of "
REFUSED = [
    *(
        (with_value(value), Y, "1 value is NaN or infinite in the samples, the first at index (3, 1)")
        for value in (np.nan, np.inf, -np.inf)
    ),
    *((with_value(value), Y, "too large for float32. Scale the data.") for value in (1e39, -1e300)),
    *(
        (X, with_label(3_000_000_000, dtype), "Received: a label of 3000000000. Number the classes from 0")
        for dtype in (np.int64, np.uint32, np.uint64)  # it would wrap in 32 bits
    ),
    *((X, with_label(label), f"{OUT_OF_RANGE}{label}.") for label in (10**9, MOST_CLASSES, -1)),
    *(
        (X, labels, f"shape {labels.shape}, dtype {labels.dtype}. Save whole numbers from 0, shape (20,).")
        for labels in (Y.astype(float), Y[:5], np.zeros((20, 3), int))
    ),
]


@pytest.mark.parametrize(("x", "y", "message"), REFUSED)
def test_samples_and_labels_that_cannot_be_trained_on_are_refused_in_one_line(tmp_path, x, y, message):
    with pytest.raises(DataError) as error:
        load(tmp_path, x, y)
    assert message in str(error.value) and "set.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_largest_class_allowed_and_pixels_of_8_bits_are_taken(tmp_path):
    data = load(tmp_path, np.full((20, 2), 255, np.uint8), with_label(MOST_CLASSES - 1)[:, None])
    assert data.classes == MOST_CLASSES and data.y.dtype == np.int32 and data.y.ndim == 1
    assert float(data.x.max()) == 1.0 and data.x.dtype == np.float32


def test_guessing_costs_the_entropy_of_the_classes():
    assert chance_loss(np.arange(10, dtype=np.int32), 10) == pytest.approx(math.log(10.0))
    assert chance_loss(np.asarray([0, 0, 0, 1], dtype=np.int32), 3) == pytest.approx(0.5623351446)
    x, y = np.zeros((4, 2), dtype=np.float32), np.asarray([0, 0, 0, 1], dtype=np.int32)
    data = LabelledData("coins", x, y[::-1] * 2, x, y, 3)
    assert (data.chance, data.chance_loss) == (0.75, pytest.approx(0.5623351446))
