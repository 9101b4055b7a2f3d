"""The table of a monitored training: one row per measured step x site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.probe.sites import SiteInfo
from initcheck.schema import BACKWARD_COLUMNS, FORWARD_COLUMNS, QUANTITIES, SITE_COLUMNS, WEIGHT_COLUMNS, Column

_SITE: Final = tuple(column for column in SITE_COLUMNS if not column.name.startswith("fan_"))

STEP_COLUMNS: Final = (
    Column("step", "Int64", "steps", "training steps made until then, over all fits; 0 is the start", "key"),
    Column("epoch", "Int64", "1", "epoch of the step, from 0, as fit counts them", "key"),
)

UPDATE_COLUMNS: Final = (
    Column("update_steps", "Int64", "steps", "steps that made the update: 1, or steps_per_execution", "training"),
    Column("update_norm", "Float64", "1", "Frobenius norm of the change of W in these steps", "training"),
    Column("update_to_weight_ratio", "Float64", "1", "update_norm / weight_norm", "training"),
)

MONITOR_COLUMNS: Final = (
    *STEP_COLUMNS,
    *_SITE,
    *FORWARD_COLUMNS,
    *BACKWARD_COLUMNS,
    *WEIGHT_COLUMNS,
    *UPDATE_COLUMNS,
)
"""The columns of a monitor's table; quantities are those of the measurement table."""

SCALARS: Final = (
    "activation_second_moment",
    "activation_variance",
    "gradient_norm",
    "weight_gradient_norm",
    "weight_norm",
    "update_to_weight_ratio",
    "dead_fraction",
    "zero_fraction",
    "saturated_fraction",
    "nonfinite_fraction",
)
"""The quantities that are followed by eye: TensorBoard's scalars, and the pictures."""


@dataclass(frozen=True)
class Moment:
    """When a measurement was made.

    Attributes:
        step: training steps made until then.
        epoch: of the last of them.
        update_steps: how many steps made the update; 0 where there was none.
        wall_time: seconds since 1970.
    """

    step: int
    epoch: int
    update_steps: int
    wall_time: float


def tabulate_moments(
    moments: Sequence[Moment],
    sites: Sequence[SiteInfo],
    quantities: NDArray[np.float64],
    changes: NDArray[np.float64],
) -> pd.DataFrame:
    """Make the rows of some measurements.

    Args:
        moments: when they were made.
        sites: where.
        quantities: shape [moments, sites, len(schema.QUANTITIES)].
        changes: norm of the change of each site's kernel, shape [moments, sites]; NaN without a kernel.

    Returns:
        The columns of ``MONITOR_COLUMNS``; null where a quantity is undefined. An update is undefined before the first
        step, and its ratio where the weights are all zero.
    """
    updated = np.asarray([moment.update_steps > 0 for moment in moments], dtype=bool)[:, np.newaxis]
    norms = np.where(updated, changes, np.nan)
    weights = quantities[:, :, QUANTITIES.index("weight_norm")]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(weights > 0.0, norms / weights, np.nan)
    numbers = {name: quantities[:, :, place].reshape(-1) for place, name in enumerate(QUANTITIES)}
    numbers |= {"update_norm": norms.reshape(-1), "update_to_weight_ratio": ratios.reshape(-1)}
    columns: dict[str, Any] = {
        name: pd.arrays.FloatingArray(np.ascontiguousarray(numbers[name]), np.isnan(numbers[name])) for name in numbers
    }
    for name in ("step", "epoch", "update_steps"):
        values = np.repeat(np.asarray([getattr(moment, name) for moment in moments], dtype=np.int64), len(sites))
        unknown = np.repeat(~updated[:, 0], len(sites)) if name == "update_steps" else np.zeros(len(values), dtype=bool)
        columns[name] = pd.arrays.IntegerArray(values, unknown)
    places = np.tile(np.arange(len(sites)), len(moments))
    for column in _SITE:
        dtype: Any = column.dtype
        by_site = pd.Series([getattr(site, column.name) for site in sites], dtype=dtype)
        columns[column.name] = by_site.array.take(places)
    return pd.DataFrame({column.name: columns[column.name] for column in MONITOR_COLUMNS}, copy=False)


def empty_table() -> pd.DataFrame:
    """Make the table before anything was measured."""
    return pd.DataFrame({column.name: pd.Series(dtype=column.dtype) for column in MONITOR_COLUMNS})
