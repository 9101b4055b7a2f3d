"""Numbers to tables: the measurement table, and the table of all weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.schema import MEASUREMENT_COLUMNS, WEIGHTS_COLUMNS


@dataclass(frozen=True)
class Measurement:
    """What one measurement yields.

    Attributes:
        table: the measurement table, one row per seed and site (``schema.MEASUREMENT_COLUMNS``).
        weights: one row per seed and weight of the model, in the order of ``model.weights``
            (``schema.WEIGHTS_COLUMNS``).
    """

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

    Args:
        columns: some of the columns of ``schema.MEASUREMENT_COLUMNS``.
        length: number of rows.

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
        seeds: the replicates.
        weights: the weights of the model.
        weight_norms: shape [len(seeds), len(weights)]; NaN where undefined.
        gradient_norms: the same; a norm is 0 only where each entry is exactly 0.
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
