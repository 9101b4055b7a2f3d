"""What a rule is: one finding of ``initcheck check``, with all that any part of the package needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from initcheck.audit.findings import Finding, Measured, Severity
from initcheck.core.columns import DIRECTIONS, Direction

if TYPE_CHECKING:
    # Rules are read without a measurement by `initcheck explain` and by Pytest's plugin, which load none of this.
    import pandas as pd

    from initcheck.audit.limits import Limits
    from initcheck.audit.paths import SiteNode
    from initcheck.audit.total_change import JudgedPath
    from initcheck.probe.weight_copies import WeightComparison
    from initcheck.probe.weights import WeightFacts


@dataclass(frozen=True)
class ModelMeasurement:
    """All that was measured of one model: what rules judge."""

    table: pd.DataFrame
    nodes: Sequence[SiteNode]
    paths: Sequence[JudgedPath]
    gradients: pd.DataFrame
    facts: Sequence[WeightFacts]
    comparison: WeightComparison
    gaps: Sequence[tuple[str, str]]
    limits: Limits


@dataclass(frozen=True)
class FixPlan:
    """Which changes are tried for a finding, and by which value it is known that one helped."""

    candidates: Literal["initializers", "separate seeds", "random kernels", "true fans"]
    rate: Direction | None = None
    share: str | None = None
    at_last: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        direction_of: picks one panel by the value of a finding; None shows each in all of them.
        fix_plan: which changes are tried; None for none.
    """

    code: str
    name: str
    what: str
    why: str
    example: str
    fix: str
    source: str
    find: Callable[[ModelMeasurement], Iterable[Finding]]
    limits: tuple[str, ...] = ()
    severity: Severity = "wrong"
    inconclusive: bool = False
    compares_weights: bool = False
    directions: tuple[Direction, ...] = DIRECTIONS
    direction_of: Callable[[Measured], Direction] | None = None
    fix_plan: FixPlan | None = None

    @property
    def family(self) -> str:
        """The start of the code."""
        return self.code[:3]

    def panels_of(self, finding: Finding) -> tuple[Direction, ...]:
        """Name the panels of the report's figure that show a finding."""
        if self.direction_of is None or finding.measured is None:
            return self.directions
        return (self.direction_of(finding.measured),)


def example(code: str) -> str:
    """Complete the code of an example."""
    return f"import keras\n\n{code.strip()}\n"


def stack_example(depth: int, activation: str, initializer: str) -> str:
    """Write an example: a stack of Dense layers of 64 units."""
    return example(
        f"""
model = keras.Sequential([keras.Input((64,))])
for _ in range({depth}):
    model.add(keras.layers.Dense(64, activation="{activation}", kernel_initializer={initializer}))
"""
    )
