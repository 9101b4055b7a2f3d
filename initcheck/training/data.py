"""Labelled samples to train on and to validate on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from initcheck.core.errors import DataError, UsageError
from initcheck.models.data import load_set, to_float32

NOTEBOOK_VALIDATION: Final = 5000
"""Samples held out by the notebook that this project began with: the first ones of MNIST."""

MOST_CLASSES: Final = 100_000
"""Five times those of ImageNet-21k; the network's last layer has a unit for each."""

SMALL_SHARE: Final = 5
"""Of a small set, one sample in so many is held out."""


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Samples, float32, with their classes, int32, divided in two."""

    name: str
    x: NDArray[np.float32] = field(repr=False)
    y: NDArray[np.int32] = field(repr=False)
    x_valid: NDArray[np.float32] = field(repr=False)
    y_valid: NDArray[np.int32] = field(repr=False)
    classes: int

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @property
    def chance(self) -> float:
        """Share of the most frequent class among the samples to validate on: what a constant answer reaches."""
        return float(np.bincount(self.y_valid, minlength=self.classes).max() / len(self.y_valid))

    @property
    def chance_loss(self) -> float:
        """The cross-entropy of the best constant answer on the samples to validate on, in nats."""
        return chance_loss(self.y_valid, self.classes)

    @property
    def description(self) -> str:
        """The data in words."""
        shape = "×".join(map(str, self.sample_shape))
        return f"{self.name}: {len(self.x):,} samples of {shape} to train on, {len(self.x_valid):,} to validate on"


def chance_loss(labels: NDArray[np.int32], classes: int) -> float:
    """Return the cross-entropy of an answer that knows only how frequent the classes are: their entropy, in nats."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    present = shares[shares > 0.0]
    return float(-(present * np.log(present)).sum())


def load_labelled(source: str | None = None, validation: int | None = None) -> LabelledData:
    """Load labelled samples and hold out the first ones for validation; nothing is downloaded by default."""
    chosen = source or default_source()
    if chosen == "gaussian":
        raise UsageError("Training needs labels, and 'gaussian' has none. Give digits, mnist, or PATH.npz.")
    x, y, name = load_set(chosen)
    classes = _check_classes(x, y, name)
    labels = np.asarray(y).reshape(-1).astype(np.int32)  # fits: there are at most MOST_CLASSES
    held_out = _check_validation(validation, len(x), name)
    scaled = to_float32(np.asarray(x), name)
    return LabelledData(name, scaled[held_out:], labels[held_out:], scaled[:held_out], labels[:held_out], classes)


def default_source() -> str:
    """Name the data that are there without a download: MNIST in Keras' cache, else the digits."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return "mnist" if (home / "datasets" / "mnist.npz").exists() else "digits"


def _check_classes(x: NDArray[Any], y: NDArray[Any] | None, name: str) -> int:
    if y is None:
        raise DataError(f"{name!r} has no labels. Save them beside the samples: numpy.savez(path, x=..., y=...).")
    if y.size != len(x) or y.dtype.kind not in "biu":
        raise DataError(
            f"{name!r}: training takes one class per sample ({len(x)} here). Received: labels of shape {y.shape}, "
            f"dtype {y.dtype}. Save whole numbers from 0, shape ({len(x)},)."
        )
    least, largest = int(y.min()), int(y.max())
    if least < 0 or largest >= MOST_CLASSES:
        raise DataError(
            f"{name!r}: classes are whole numbers from 0 to {MOST_CLASSES - 1}. "
            f"Received: a label of {least if least < 0 else largest}. Number the classes from 0 without gaps."
        )
    return largest + 1


def _check_validation(validation: int | None, samples: int, name: str) -> int:
    large = samples >= 4 * NOTEBOOK_VALIDATION
    held_out = (NOTEBOOK_VALIDATION if large else samples // SMALL_SHARE) if validation is None else validation
    if not 1 <= held_out < samples:
        raise UsageError(
            f"Between 1 and {samples - 1} samples of {name!r} can be held out for validation. Received: {held_out}."
        )
    return held_out
