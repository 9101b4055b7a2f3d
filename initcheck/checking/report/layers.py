"""The layers of an examined model as rows: geometric means over seeds, and the findings that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initcheck.audit.findings import CheckResult
from initcheck.audit.total_change import second_moments

_SHOWN: Final = 30
_AROUND: Final = 2


@dataclass(frozen=True)
class LayerRow:
    """One measured site."""

    order: int
    name: str
    layer: str
    kind: str
    on_main_path: bool
    second_moment: float
    variance: float
    varies: float
    zero: float
    gradient: float
    codes: tuple[str, ...]


def layer_rows(result: CheckResult) -> list[LayerRow]:
    """Make one row of each measured site, in the order of execution."""
    table = result.table
    main = {position for judged in result.paths if judged.path.is_main for position in judged.levels.positions}
    first = table.drop_duplicates("position").sort_values("position")
    values = {
        "second_moment": _geometric(table, second_moments(table)),
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
                on_main_path=position in main,
                codes=_codes(result, str(layer)),
                **{name: float(means.get(position, np.nan)) for name, means in values.items()},
            )
        )
    return rows


def rows_that_matter(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Pick what a first screen needs: the main path, thinned out evenly to 30 rows, and each finding's first layer."""
    keep: set[int] = set()
    seen: set[str] = set()
    for row in rows:
        fresh = [code for code in row.codes if code not in seen]
        seen.update(fresh)
        if fresh:
            keep.add(row.order)
    main = [row.order for row in rows if row.on_main_path or row.kind == "Input"]
    room = max(_SHOWN - len(keep), _AROUND)
    if len(main) > room:
        places = np.unique(np.linspace(0, len(main) - 1, room).round().astype(int))
        main = [main[int(place)] for place in places]
    if not main:
        main = [row.order for row in rows[:room]]
    keep.update(main)
    return [row for row in rows if row.order in keep]


def _codes(result: CheckResult, layer: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.code for finding in result.findings if names_layer(finding.named, layer)))


def names_layer(paths: Sequence[str], layer: str) -> bool:
    """Find whether a layer, or a weight of it, is among paths of layers and weights."""
    return any(each == layer or each.startswith(f"{layer}/") for each in paths)


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
