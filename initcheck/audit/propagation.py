"""The summary of a measurement table: gains, intervals and a verdict for every network x initializer x activation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck import schema
from initcheck.audit.gains import Travel, measure_travel
from initcheck.audit.signal_path import SignalPath, trace_signal_paths
from initcheck.audit.verdicts import PRESERVING_MARGIN, describe_propagation
from initcheck.inference import estimate_mean


def summarize_propagation(
    table: pd.DataFrame,
    signal_layers: Mapping[str, Sequence[str]],
    *,
    margin: float = PRESERVING_MARGIN,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Summarize how the signal travels, forward and backward, with an interval over seeds.

    Followed are q, the second moment of the pre-activation (of the output, in layers without one), along the hidden
    layers from the input to the output, and g, the squared norm of one sample's dL/dz, the other way. The step from
    the input to the first hidden layer does not count: no activation function stands before it. Both directions are
    judged by the deep half of the network, the half nearer to the output. How gains and verdicts are defined, and why
    so, is told in :mod:`initcheck.audit.gains`.

    Args:
        table: a measurement table (``schema.MEASUREMENT_COLUMNS``), its rows in any order. Only the keys, the site and
            the columns followed are needed.
        signal_layers: by network, its hidden layers from the input to the output.
        margin: relative change per layer that still counts as preserved; .05 is a factor 1000 in 142 layers.
        alpha: level of the equivalence tests behind the verdicts. The intervals in the table are at 95 %.

    Returns:
        One row per combination of all keys but the seed, sorted by key; the columns, their order and dtypes are
        ``schema.SUMMARY_COLUMNS``. Undefined figures are null.

    Raises:
        UsageError: what :func:`initcheck.audit.signal_path.trace_signal_paths` finds missing; a margin or a level out
            of range.
    """
    rows = [_summarize(path, margin, alpha) for path in trace_signal_paths(table, signal_layers)]
    summary = pd.DataFrame(rows, columns=[column.name for column in schema.SUMMARY_COLUMNS])
    return summary.astype({column.name: column.dtype for column in schema.SUMMARY_COLUMNS})


def _summarize(path: SignalPath, margin: float, alpha: float) -> dict[str, object]:
    forward = measure_travel(path.forward, deep_end="end", margin=margin, alpha=alpha)
    backward = measure_travel(path.backward[:, ::-1], deep_end="start", margin=margin, alpha=alpha)
    share = _geometric_mean(path.batch_variance_share)
    return {
        **path.keys,
        "seeds": path.seeds,
        **_name_columns("forward", forward),
        **_name_columns("backward", backward),
        "batch_variance_share": share,
        "dead_fraction": estimate_mean(path.dead_fraction).value,
        "saturated_fraction": estimate_mean(path.saturated_fraction).value,
        "nonfinite_from_position": path.nonfinite_from_position,
        "symmetric": path.symmetric,
        "verdict": describe_propagation(
            forward.verdict, backward.verdict, symmetric=path.symmetric, batch_variance_share=share
        ),
    }


def _name_columns(direction: str, travel: Travel) -> dict[str, object]:
    figures: dict[str, object] = {
        "gain": travel.gain.value,
        "gain_low": travel.gain.low,
        "gain_high": travel.gain.high,
        "log_gain": travel.log_gain.value,
        "log_gain_low": travel.log_gain.low,
        "log_gain_high": travel.log_gain.high,
        "log_gain_shallow_half": travel.shallow_half.value,
        "log_gain_deep_half": travel.deep_half.value,
        "steps": travel.steps,
        "layers_until_thousandth": travel.layers_until_thousandth,
        "verdict": travel.verdict,
    }
    return {f"{direction}_{name}": figure for name, figure in figures.items()}


def _geometric_mean(shares: NDArray[np.float64]) -> float:
    """Take exp of the mean logarithm: 0 where one is 0, NaN where one is undefined."""
    if not np.isfinite(shares).all():
        return math.nan
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(shares).mean()))
