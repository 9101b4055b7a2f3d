"""Layers whose kernels have an initializer and a seed of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from initcheck.backend.runtime import import_keras
from initcheck.core.errors import InitializerError, ModelError
from initcheck.models.initializers import InitializerSpec, in_one_line

HEAD: Final = "output"
"""Name of the last layer of every reference network."""


class SeededLayers:
    """Makes the layers of one network.

    Args:
        seeds: the seed of each weight by its path, ``"layer/weight"``.
    """

    def __init__(
        self,
        network: str,
        initializer: InitializerSpec,
        head_initializer: InitializerSpec,
        seeds: Mapping[str, int],
    ) -> None:
        self._network = network
        self._initializer = initializer
        self._head_initializer = head_initializer
        self._seeds = seeds

    def flatten(self, x: Any) -> Any:
        """Make samples of several axes one-dimensional.

        Args:
            x: symbolic tensor of shape [batch, ...].

        Returns:
            Symbolic tensor of shape [batch, numbers of a sample]; ``x`` itself where it has that shape.
        """
        return x if len(x.shape) == 2 else import_keras().layers.Flatten(name="flatten")(x)

    def dense(self, x: Any, name: str, units: int, activation: str = "linear") -> Any:
        """Append a Dense layer with a fused activation, so that pre-activation and output can be distinguished.

        Args:
            x: symbolic tensor of shape [batch, inputs].

        Returns:
            Symbolic tensor of shape [batch, units].
        """
        return self._append(import_keras().layers.Dense, x, name, units=units, activation=activation)

    def convolution(self, x: Any, name: str, channels: int, activation: str) -> Any:
        """Append a 3 x 3 convolution with stride 1 and a fused activation.

        Args:
            x: symbolic tensor of shape [batch, height, width, inputs].

        Returns:
            Symbolic tensor of shape [batch, height, width, channels].
        """
        convolution = import_keras().layers.Conv2D
        return self._append(
            convolution, x, name, filters=channels, kernel_size=3, padding="same", activation=activation
        )

    def kernel_initializer(self, name: str) -> Any:
        """Make the initializer of the kernel of a layer."""
        return self._spec(name).create(self._seeds[f"{name}/kernel"])

    def draw_kernel(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        """Draw a kernel, to see whether it can be had.

        Args:
            shape: shape of the kernel.
        """
        with self._refusals(name):
            return self.kernel_initializer(name)(shape, dtype=dtype)

    def _append(self, layer_class: Any, x: Any, name: str, **settings: Any) -> Any:
        initializer = self.kernel_initializer(name)
        with self._refusals(name):
            return layer_class(name=name, kernel_initializer=initializer, **settings)(x)

    def _spec(self, name: str) -> InitializerSpec:
        return self._head_initializer if name == HEAD else self._initializer

    @contextmanager
    def _refusals(self, layer: str) -> Iterator[None]:
        """Word in one line what goes wrong while Keras makes a layer's kernel."""
        initializer = self._spec(layer).label
        where = f"layer {layer!r} of the {self._network} network"
        try:
            yield
        except (TypeError, ValueError) as error:
            raise InitializerError(f"{initializer} cannot make the kernel of {where}: {in_one_line(error)}") from error
        except _backend_errors() as error:
            raise ModelError(f"Cannot build {where}: {in_one_line(error)}") from error


def _backend_errors() -> tuple[type[Exception], ...]:
    """TensorFlow's own exceptions, such as exhausted memory, derive from none of Python's."""
    tensorflow = sys.modules.get("tensorflow")
    return () if tensorflow is None else (tensorflow.errors.OpError,)
