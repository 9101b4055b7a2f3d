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
    """All that was measured of one model: what rules judge.

    Attributes:
        table: the measurement table.
        nodes: its sites, by position.
        paths: the judged paths, forward and backward in turn, the main path first.
        gradients: one row per seed and weight, with ``seed``, ``weight``, ``trainable``, ``has_gradient`` and
            ``gradient_is_zero``.
        facts: what is known of each weight without running the model.
        comparison: the weights as they are, compared with each other.
        gaps: path of each layer or weight that was not measured, and the reason.
        limits: the limits.
    """

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
    """Which changes are tried for a finding, and by which value it is known that one helped.

    Attributes:
        candidates: a kind of change that :mod:`initcheck.checking.fixes` makes.
        rate: the factor a layer along the finding's path, in this direction, has to come closer to 1; or
        share: a share (:data:`initcheck.audit.site_shares.SHARES`) at one layer has to leave its finding; else the
            candidates measure a value of their own.
        at_last: whether the share is that of the last layer that the finding names, not of the first.
    """

    candidates: Literal["initializers", "separate seeds", "random kernels", "true fans"]
    rate: Direction | None = None
    share: str | None = None
    at_last: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        code: the stable code, ``IC`` and three digits; the first digit is the family.
        name: the stable name.
        what: what the finding says, with the definition and the limit.
        why: why it matters.
        example: Python code that makes a ``model`` with this finding.
        fix: what to do.
        source: where the rule comes from (author, year).
        find: makes the findings of a measured model.
        limits: names of the limits that it compares with.
        severity: whether its findings are wrong, or say that something could not be judged.
        inconclusive: whether more seeds might decide; ``allow_inconclusive`` lets its findings pass.
        compares_weights: whether it compares weights with each other, as they are.
        directions: the panels of the report's figure that show its findings.
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
