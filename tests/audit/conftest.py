"""Synthetic measurement tables, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from initcheck.core import columns as schema

KEYS: Mapping[str, object] = {
    "network": "mlp",
    "initializer": "HeNormal",
    "activation": "relu",
    "depth": 20,
    "width": 64,
    "data": "gaussian",
    "batch_size": 64,
}


def build_table(
    forward: NDArray[np.float64],
    backward: NDArray[np.float64] | None = None,
    **keys: object,
) -> pd.DataFrame:
    """Make a measurement table from second moments by seed and layer, with an input before and a head after.

    The backward moments are in the order of the layers too. NaN is null, as the probe writes it.
    """
    forward = np.atleast_2d(np.asarray(forward, dtype=float))
    backward = np.ones_like(forward) if backward is None else np.atleast_2d(np.asarray(backward, dtype=float))
    seeds, count = forward.shape
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        shared = {**KEYS, **keys, "seed": seed, "call": 0}
        rows.append(
            {**shared, "layer": "input", "position": 0, "kind": "Input", "activation_second_moment": 1.0}
            | {"nonfinite_fraction": 0.0, "gradient_norm": 1.0}
        )
        for number in range(count):
            moment = forward[seed, number]
            rows.append(
                {
                    **shared,
                    "layer": f"hidden_{number + 1}",
                    "position": number + 1,
                    "kind": "Dense",
                    "preactivation_second_moment": moment,
                    "activation_second_moment": moment / 2,
                    "activation_batch_variance": moment / 8,
                    "nonfinite_fraction": 0.0,
                    "dead_fraction": 0.125,
                    "saturated_fraction": np.nan,
                    "gradient_norm": np.sqrt(backward[seed, number]),
                    "weight_gradient_norm": 1.0,
                    "weight_variance": 0.02,
                }
            )
        rows.append(
            {**shared, "layer": "head", "position": count + 1, "kind": "Dense", "weight_variance": 0.01}
            | {"activation_second_moment": 1.0, "nonfinite_fraction": 0.0, "gradient_norm": 1.0}
        )
    columns = {column.name: column.dtype for column in schema.MEASUREMENT_COLUMNS}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


@pytest.fixture(scope="session")
def make_table() -> Callable[..., pd.DataFrame]:
    """Lend the builder: test modules cannot import from each other."""
    return build_table
