"""The layers of an examined model as rows: geometric means over seeds, and the findings that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.examination import Examination

_SHOWN: Final = 30
_AROUND: Final = 2


@dataclass(frozen=True)
class LayerRow:
    """One measured site.

    Attributes:
        order: place in the table, from 0.
        name: path of the layer, with ``#2`` for its second call.
        layer: path of the layer.
        kind: its class.
        on_trunk: whether every path passes it and it is followed.
        second_moment: of the pre-activation, or of the output without one: geometric mean over seeds.
        variance: of the output, geometric mean over seeds.
        varies: share of the output's second moment that varies across samples, geometric mean.
        zero: share of outputs that are exactly 0, mean over seeds.
        gradient: squared norm of one sample's gradient, geometric mean.
        codes: codes of the findings that name the layer.
    """

    order: int
    name: str
    layer: str
    kind: str
    on_trunk: bool
    second_moment: float
    variance: float
    varies: float
    zero: float
    gradient: float
    codes: tuple[str, ...]


def layer_rows(examination: Examination) -> list[LayerRow]:
    """Make one row of each measured site, in the order of execution."""
    table = examination.table
    trunk = {p for course in examination.courses if not course.levels.route.inside for p in course.levels.positions}
    first = table.drop_duplicates("position").sort_values("position")
    moments = table["preactivation_second_moment"].fillna(table["activation_second_moment"])
    figures = {
        "second_moment": _geometric(table, moments),
        "variance": _geometric(table, table["activation_variance"]),
        "varies": _geometric(table, table["activation_batch_variance"] / table["activation_second_moment"]),
        "gradient": _geometric(table, table["gradient_norm"] ** 2),
        "zero": table.assign(_v=table["zero_fraction"].astype(float)).groupby("position")["_v"].mean(),
    }
    rows = []
    sites = zip(first["position"], first["call"], first["layer"], first["kind"], strict=True)
    for order, (position, call, layer, kind) in enumerate(sites):
        rows.append(
            LayerRow(
                order=order,
                name=f"{layer}#{call + 1}" if call else str(layer),
                layer=str(layer),
                kind=str(kind),
                on_trunk=position in trunk,
                codes=_codes(examination, str(layer)),
                **{name: float(values.get(position, np.nan)) for name, values in figures.items()},
            )
        )
    return rows


def rows_that_matter(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Pick what a first screen needs: the trunk, thinned out evenly to at most 30 rows, and each finding's first."""
    keep: set[int] = set()
    seen: set[str] = set()
    for row in rows:
        fresh = [code for code in row.codes if code not in seen]
        seen.update(fresh)
        if fresh:
            keep.add(row.order)
    trunk = [row.order for row in rows if row.on_trunk or row.kind == "Input"]
    room = max(_SHOWN - len(keep), _AROUND)
    if len(trunk) > room:
        places = np.unique(np.linspace(0, len(trunk) - 1, room).round().astype(int))
        trunk = [trunk[int(place)] for place in places]
    if not trunk:
        trunk = [row.order for row in rows[:room]]
    keep.update(trunk)
    return [row for row in rows if row.order in keep]


def _codes(examination: Examination, layer: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            finding.code
            for finding in examination.findings
            if any(each == layer or each.startswith(f"{layer}/") for each in (finding.layers or (finding.layer,)))
        )
    )


def _geometric(table: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Take the geometric mean over seeds by position: 0 where one is 0, NaN where one is undefined."""
    numbers: NDArray[np.float64] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(divide="ignore"):
        logs = np.log(numbers)
    means = pd.Series(logs, index=table["position"].to_numpy(dtype=np.int64)).groupby(level=0).agg(_mean)
    return means.map(np.exp)


def _mean(values: pd.Series) -> float:
    numbers = values.to_numpy(dtype=np.float64)
    return float(numbers.mean()) if not np.isnan(numbers).any() else float("nan")
