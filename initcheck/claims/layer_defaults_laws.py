"""Weights against the law that they are documented to start from.

Every test is exact for its sample size. A uniform law has two: Kolmogorov and Smirnov's of its shape, and one of its
support: none of N independent entries lies outside, and the largest, over the limit, is below x with probability x^N.
The second sees a limit that is off by 1 - alpha^(1/N), .4 % at 3,600 entries, where the first sees a few per cent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from initcheck.claims.layer_defaults_built import Declared
from initcheck.claims.layer_defaults_table import Argument, Law
from initcheck.claims.rates import CLAIM_FALSE_ALARM, POWER

if TYPE_CHECKING:
    from pandas import DataFrame

_EMBEDDING_LIMIT: Final = 0.05
_ROUNDING: Final = 2.0**-22
"""Relative; single precision rounds the limit, and the product of the limit with a number below one."""

_DECLARED: Final[dict[Law, tuple[str, dict[str, object]]]] = {
    "glorot_uniform": ("GlorotUniform", {"seed": None}),
    "uniform": ("RandomUniform", {"seed": None, "minval": -_EMBEDDING_LIMIT, "maxval": _EMBEDDING_LIMIT}),
    "orthogonal": ("Orthogonal", {"seed": None, "gain": 1.0}),
    "zeros": ("Zeros", {}),
    "ones": ("Ones", {}),
}

ExactRow = tuple[str, float, float, int, str]
"""Member, deviation, limit, count and what was seen."""

FitRow = tuple[str, float, float, float, int]
"""Member, p-value, effect, what the test detects, and count."""


def limit_of(law: Law, shape: Sequence[int], input_axes: int = 0) -> float:
    """Give the limit of a uniform law for a weight of that shape.

    Glorot and Bengio's is sqrt(6 / (fan_in + fan_out)). The fans of a kernel whose axes are inputs and outputs are the
    products of their sizes; Keras takes those of other kernels from the last two axes, and multiplies both by the sizes
    of all others. A single axis is both. Whether these are the fans of the layer is another claim's matter.
    """
    if law == "uniform":
        return _EMBEDDING_LIMIT
    if input_axes:
        return math.sqrt(6.0 / (math.prod(shape[:input_axes]) + math.prod(shape[input_axes:])))
    fans = (shape[0], shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
    return math.sqrt(6.0 / (sum(fans) * math.prod(shape[:-2])))


def declared_rows(argument: Argument, declared: Sequence[Declared]) -> list[ExactRow]:
    """Compare what a layer says of an argument with its documented default: one row a place, 1 where it differs."""
    name, settings = _DECLARED[argument.default]
    rows: list[ExactRow] = []
    for found in declared:
        if found.settings is None:
            equal = _letters(found.name) == _letters(argument.default)
        else:
            equal = found.name == name and all(found.settings.get(key, 0) == value for key, value in settings.items())
        rows.append((found.where, float(not equal), 0.0, 1, f"{found.name} {found.settings or ''}".strip()))
    return rows


def exact_rows(weight: str, values: NDArray[np.float64], law: Law) -> list[ExactRow]:
    """Hold a weight against a law without chance: zeros, ones, or orthonormal rows or columns."""
    if law != "orthogonal":
        wanted = {"zeros": 0.0, "ones": 1.0}[law]
        return [constant_row(weight, values, wanted)]
    matrix = values.reshape(-1, values.shape[-1])
    matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    size = matrix.shape[0]
    error = float(np.abs(matrix @ matrix.T - np.eye(size)).max())
    # Householder's QR in single precision: a few roundings a reflection. The identity and its permutations are
    # orthogonal too, and nearly all zeros, which a matrix that is uniform on the orthogonal ones never is.
    return [
        (f"{weight}: distance of Q Q' from the identity", error, 16.0 * size * 2.0**-24, values.size, ""),
        (f"{weight}: share of entries that are zero", float(np.mean(matrix == 0.0)), 0.01, values.size, ""),
    ]


def constant_row(weight: str, values: NDArray[np.float64], wanted: float) -> ExactRow:
    """Hold a weight against a constant."""
    seen = f"from {values.min():.4g} to {values.max():.4g}, not {wanted:g}" if values.size else "no entries"
    deviation = float(np.abs(values - wanted).max()) if values.size else math.nan
    return weight, deviation, 0.0, int(values.size), seen


def fit_rows(weight: str, values: NDArray[np.float64], limit: float, members: int) -> list[FitRow]:
    """Test a weight for a uniform law; effects are distances between distribution functions.

    Args:
        weight: name of the weight.
        values: its entries.
        limit: of the uniform law.
        members: members of the claim, over which its level is shared.

    Returns:
        One row for the shape and one for the support. A limit that is off by the share c is a distance of c / 2.
    """
    scaled = values.ravel() / limit
    count = scaled.size
    level = CLAIM_FALSE_ALARM / members
    shape = stats.kstest(scaled, stats.uniform(-1.0, 2.0).cdf)
    # Massart's bound of the distance under the law, and of how far the sample's is from the true one.
    seen = (math.sqrt(math.log(2.0 / level) / 2.0) + math.sqrt(math.log(2.0 / (1.0 - POWER)) / 2.0)) / math.sqrt(count)
    largest = float(np.abs(scaled).max())
    inside = largest <= 1.0 + _ROUNDING
    p_support = min(largest, 1.0) ** count if inside else 0.0
    return [
        (f"{weight}: shape", float(shape.pvalue), float(shape.statistic), seen, count),
        (f"{weight}: support", p_support, abs(1.0 - largest) / 2.0, (1.0 - level ** (1.0 / count)) / 2.0, count),
    ]


def as_fit_rows(rows: Sequence[ExactRow]) -> list[FitRow]:
    """Take exact rows into a table of tests: a deviation cannot happen by chance."""
    return [
        (f"{member}: {told}", float(deviation <= limit), deviation, 0.0, count)
        for member, deviation, limit, count, told in rows
    ]


def exact_table(rows: Sequence[ExactRow]) -> DataFrame:
    """Make the table that :class:`~initcheck.claims.decisions.AllWithin` reads."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=["member", "deviation", "limit", "count", "told"])


def fit_table(rows: Sequence[FitRow]) -> DataFrame:
    """Make the table that :class:`~initcheck.claims.decisions.NoDifference` reads."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=["member", "p_value", "effect", "detectable", "count"])


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
