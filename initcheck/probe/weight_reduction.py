"""The norms of all weights and of their gradients, each tensor reduced once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.keras_runtime import import_keras
from initcheck.probe.norms import reduce_norms
from initcheck.probe.tables import WeightInfo


@dataclass(frozen=True)
class WeightReduction:
    """Where the norms of all weights come from: the kernel of a site from the measurement table, all others from here.

    Attributes:
        weights: all weights of the model.
        values: indices of the weights whose own norm is reduced here.
        gradients: indices of the weights whose gradient's norm is reduced here.
        kernels: by index of a weight the position of a site whose kernel it is.
    """

    weights: tuple[WeightInfo, ...] = ()
    values: tuple[int, ...] = ()
    gradients: tuple[int, ...] = ()
    kernels: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def plan(
        cls,
        weights: Sequence[WeightInfo],
        values: Sequence[Any],
        gradients: Sequence[Any | None],
        kernels: Sequence[int | None],
    ) -> WeightReduction:
        """Decide what is reduced here.

        Args:
            weights: all weights of the model.
            values: a tensor for each.
            gradients: for each dL/dw, or None.
            kernels: for each site the index of its kernel among the weights, or None.
        """
        known: dict[int, int] = {}
        for position, index in enumerate(kernels):
            # A site's mean of squares, taken in float64, is 0 for small float64 gradients: those are reduced here.
            if index is not None and values[index].dtype.name != "float64":
                known.setdefault(index, position)
        float_dtype = import_keras().backend.is_float_dtype
        others = [index for index in range(len(weights)) if index not in known]
        return cls(
            tuple(weights),
            tuple(index for index in others if float_dtype(values[index].dtype.name)),
            tuple(index for index in others if gradients[index] is not None),
            known,
        )

    def reduce(self, values: Sequence[Any], gradients: Sequence[Any | None]) -> Any:
        """Reduce the tensors that the plan lists, in a graph that is being traced: first the values' norms."""
        return reduce_norms([values[index] for index in self.values] + [gradients[index] for index in self.gradients])

    def collect(
        self, measured: NDArray[np.float64], table: pd.DataFrame
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bring the norms of all weights together.

        Args:
            measured: shape [seeds, ...]; the last entries of the second axis are what :meth:`reduce` made.
            table: the measurement table of the same seeds.

        Returns:
            The norms of the weights and of their gradients, shape [seeds, weights]; NaN where there is none.
        """
        seeds = len(measured)
        start = measured.shape[1] - len(self.values) - len(self.gradients)
        own, gradient = (np.full((seeds, len(self.weights)), np.nan) for _ in range(2))
        own[:, list(self.values)] = measured[:, start : start + len(self.values)]
        gradient[:, list(self.gradients)] = measured[:, start + len(self.values) :]
        sites = list(self.kernels.values())
        for norms, column in ((own, "weight_norm"), (gradient, "weight_gradient_norm")):
            by_site = table[column].to_numpy(dtype=np.float64, na_value=np.nan).reshape(seeds, -1)
            norms[:, list(self.kernels)] = by_site[:, sites]
        return own, gradient
