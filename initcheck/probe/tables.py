"""Numbers to tables: the measurement table, and the table of all weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.backend.runtime import import_keras
from initcheck.core.columns import MEASUREMENT_COLUMNS, WEIGHTS_COLUMNS
from initcheck.probe.moments import reduce_norms


@dataclass(frozen=True)
class Measurement:
    """What one measurement yields."""

    table: pd.DataFrame = field(repr=False)
    weights: pd.DataFrame = field(repr=False)


@dataclass(frozen=True)
class WeightInfo:
    """What is known of one weight before any number is: columns of ``schema.WEIGHTS_COLUMNS``."""

    weight: str
    layer: str
    shape: str
    trainable: bool
    has_gradient: bool


def tabulate(columns: Mapping[str, Any], length: int) -> pd.DataFrame:
    """Make a measurement table of arrays.

    Returns:
        All of the columns, in order, with their dtypes; null where a column is not given, or NaN.
    """
    arrays = {}
    for column in MEASUREMENT_COLUMNS:
        values = columns.get(column.name)
        if values is None:
            arrays[column.name] = pd.Series([pd.NA], dtype=column.dtype).array.take(np.zeros(length, dtype=np.intp))
        elif isinstance(values, np.ndarray) and values.dtype == np.float64:
            arrays[column.name] = pd.arrays.FloatingArray(np.ascontiguousarray(values), np.isnan(values))
        elif isinstance(values, np.ndarray) and values.dtype == np.int64:
            arrays[column.name] = pd.arrays.IntegerArray(values, np.zeros(length, dtype=bool))
        else:
            arrays[column.name] = values
    return pd.DataFrame(arrays, copy=False)


def tabulate_weights(
    seeds: Sequence[int],
    weights: Sequence[WeightInfo],
    weight_norms: NDArray[np.float64],
    gradient_norms: NDArray[np.float64],
) -> pd.DataFrame:
    """Make the table of all weights.

    Args:
        weight_norms: shape [len(seeds), len(weights)]; NaN where undefined.
    """
    columns: dict[str, Any] = {
        each.name: np.tile(np.asarray([getattr(weight, each.name) for weight in weights], dtype=object), len(seeds))
        for each in fields(WeightInfo)
    }
    unreached = np.logical_not(columns["has_gradient"].astype(bool))
    norms = gradient_norms.reshape(-1)
    columns["seed"] = np.repeat(np.asarray(seeds, dtype=np.int64), len(weights))
    columns["weight_norm"] = pd.arrays.FloatingArray(weight_norms.reshape(-1), np.isnan(weight_norms.reshape(-1)))
    columns["gradient_norm"] = pd.arrays.FloatingArray(norms, unreached | np.isnan(norms))
    columns["gradient_is_zero"] = pd.arrays.BooleanArray(norms == 0.0, unreached)
    frame = pd.DataFrame({column.name: columns[column.name] for column in WEIGHTS_COLUMNS})
    return frame.astype({column.name: column.dtype for column in WEIGHTS_COLUMNS})


@dataclass(frozen=True)
class WeightReduction:
    """Where the norms of all weights come from: a site's kernel from the measurement table, all others from here."""

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
        """Decide what is reduced here."""
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
