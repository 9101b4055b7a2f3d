"""Tables of the claims' experiments: a type of row for each kind of decision, and the frame that is made of the rows.

An experiment yields rows, and :class:`~initcheck.spec.claim.RunContext` makes the table that its decision reads::

    @dataclass(frozen=True)
    class LargestEntry:
        shapes: tuple[tuple[int, ...], ...]

        def measure(self, context: RunContext) -> Iterator[ExactRow]:
            for shape in self.shapes:
                values = to_numpy(import_keras().initializers.Zeros()(shape))
                yield ExactRow(f"{shape}", float(np.abs(values).max()), limit=0.0, count=values.size)

    context.measure(LargestEntry(((3, 4),)))  # columns: member, deviation, limit, count, seen
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class ExactRow:
    """A member without chance, for :class:`~initcheck.spec.decisions.AllWithin`."""

    member: str
    deviation: float
    limit: float = 0.0
    """0 where equality is exact."""
    count: int = 1
    seen: str = ""
    """What was seen, in words."""


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """An estimate and its standard error, for :class:`~initcheck.spec.decisions.EstimateWithin`."""

    member: str
    estimate: float
    standard_error: float
    count: int
    freedom: float = math.inf
    """Degrees of freedom of the standard error; infinite where it is known."""


@dataclass(frozen=True, slots=True)
class FitRow:
    """A test of fit, for :class:`~initcheck.spec.decisions.NoDifference`."""

    member: str
    p_value: float
    effect: float
    detectable: float
    """The effect that the test sees with probability :data:`~initcheck.spec.decisions.POWER`."""
    count: int


@dataclass(frozen=True, slots=True)
class SeedRow:
    """The value of one seed, for :class:`~initcheck.spec.decisions.SeedMeanWithin`."""

    member: str
    seed: int
    value: float


Row: TypeAlias = ExactRow | EstimateRow | FitRow | SeedRow


def seed_rows(member: str, values: Iterable[float]) -> list[SeedRow]:
    """Make the rows of a member's values, one a seed."""
    return [SeedRow(member, seed, value) for seed, value in enumerate(values)]


def make_table(rows: Iterable[Row] | DataFrame) -> DataFrame:
    """Make the table of rows of one type; a table stays as it is."""
    import pandas as pd

    return rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
