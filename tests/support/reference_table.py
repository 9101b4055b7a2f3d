"""The table of reference numbers, and which functions compute them.

``tests/theory/references.json`` was collected from the literature and from arbitrary-precision arithmetic, apart from
the package. What computes an entry sees its inputs and its id, and never its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Inputs = Mapping[str, Any]
Numbers = float | Iterable[float]
Expression = Callable[..., Numbers]

PATH = Path(__file__).parents[1] / "theory" / "references.json"


@dataclass(frozen=True)
class Entry:
    id: str
    inputs: Inputs
    value: float
    rel: float
    abs: float

    def agrees(self, numbers: Numbers) -> bool:
        got = np.atleast_1d(np.asarray(list(numbers) if isinstance(numbers, Iterable) else numbers, dtype=np.float64))
        # NaN agrees with nothing.
        return bool(got.size and (np.abs(got - self.value) <= self.tolerance).all())

    @property
    def tolerance(self) -> float:
        return self.abs + self.rel * abs(self.value)


def read_entries() -> dict[str, Entry]:
    table = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        row["id"]: Entry(row["id"], row["inputs"], row["value"], row["tolerance"]["rel"], row["tolerance"]["abs"])
        for row in table["entries"]
    }


EXPRESSIONS: list[tuple[re.Pattern[str], Expression]] = []


def expresses(pattern: str) -> Callable[[Expression], Expression]:
    """Register what computes the entries whose ids match; it gets the inputs and the named groups of the pattern."""

    def register(expression: Expression) -> Expression:
        EXPRESSIONS.append((re.compile(pattern), expression))
        return expression

    return register


def find_expressions(entry_id: str) -> list[Callable[[Inputs], Numbers]]:
    matches = [(pattern.fullmatch(entry_id), expression) for pattern, expression in EXPRESSIONS]
    return [partial(expression, **match.groupdict()) for match, expression in matches if match]
