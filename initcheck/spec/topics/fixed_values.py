"""Experiments on initializers that leave nothing to chance: their values against the documented ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from initcheck.models.initializers import InitializerSpec
from initcheck.spec.subjects import to_numpy
from initcheck.spec.table import ExactRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from initcheck.spec.claim import RunContext


@dataclass(frozen=True)
class FixedValues:
    """The largest difference from the documented values, for each shape, over the largest documented value.

    Attributes:
        documented: the initializer whose documented values are expected; None for the target's own. Another one is the
            negative control.
    """

    target: InitializerSpec
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...] = ("float32",)
    limit: float = 0.0
    documented: InitializerSpec | None = None

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        """Measure."""
        for shape in self.shapes:
            for dtype in self.dtypes:
                got = to_numpy(self.target.create(None)(shape, dtype=dtype)).astype(np.float64)
                wanted = documented_values(self.documented or self.target, shape)
                if got.shape == shape:
                    # The documented number is rounded to the dtype too; float32 holds all of bfloat16's values.
                    rounded = wanted.astype(dtype if dtype != "bfloat16" else np.float32).astype(np.float64)
                    scale = float(np.abs(wanted).max()) or 1.0
                    deviation = float(np.abs(got - rounded).max()) / scale
                else:
                    deviation = np.inf
                limit = 2.0**-8 if dtype == "bfloat16" and self.limit == 0.0 else self.limit
                yield ExactRow(f"{shape} {dtype}".replace(", ", ","), deviation, limit, int(np.prod(shape)))


def documented_values(spec: InitializerSpec, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Make the values that Keras documents, in float64 and without Keras.

    Returns:
        The values. For STFT, with frame length T and F = 2 (bins - 1) frequencies: window[t] / scaling times
        cos(2 pi t f / F) on the real side, -sin on the imaginary one; scaling is the window's L2 norm ("density")
        or its L1 norm ("spectrum").
    """
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.class_name == "Zeros":
        return np.zeros(shape)
    if spec.class_name == "Ones":
        return np.ones(shape)
    if spec.class_name == "Constant":
        return np.full(shape, float(arguments.get("value", 0.0)))
    if spec.class_name == "Identity":
        return float(arguments.get("gain", 1.0)) * np.eye(shape[0], shape[1])
    frame, _, bins = shape
    window, scaling = arguments.get("window", "hann"), arguments.get("scaling", "density")
    weights = np.ones(frame)
    norm = 1.0
    if window is not None:
        weights = signal.get_window(window, frame, fftbins=bool(arguments.get("periodic", False)))
        norm = {"density": float(np.sqrt(np.sum(weights**2))), "spectrum": float(np.sum(np.abs(weights))), None: 1.0}[
            scaling
        ]
    angle = 2.0 * np.pi * np.outer(np.arange(frame), np.arange(bins)) / (2 * (bins - 1))
    wave = np.cos(angle) if arguments.get("side", "real") == "real" else -np.sin(angle)
    found: NDArray[np.float64] = (weights[:, None] * wave / norm)[:, None, :]
    return found


@dataclass(frozen=True)
class RefusesRanks:
    """Whether an initializer refuses the ranks that it documents to refuse, with ValueError."""

    target: InitializerSpec
    shapes: tuple[tuple[int, ...], ...]

    def measure(self, context: RunContext) -> Iterator[ExactRow]:  # noqa: ARG002 - nothing here is drawn
        """Measure; the deviation is 1 where the shape was accepted."""
        for shape in self.shapes:
            try:
                self.target.create(None)(shape)
                deviation, seen = 1.0, "accepted"
            except ValueError:
                deviation, seen = 0.0, "ValueError"
            yield ExactRow(str(shape), deviation, seen=seen)
