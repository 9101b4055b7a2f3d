"""Findings: what is wrong with a model, where, by how much, and which change would fix it.

A finding bears the code of a rule (:mod:`initcheck.audit.rules`). It is either *wrong*, which makes ``initcheck check``
exit with 1, or *unjudged*: something that could not be measured or decided, which makes it exit with 2. Neither is
ever silently green.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from initcheck.audit.rules.rule import Rule

Severity = Literal["wrong", "unjudged"]


@dataclass(frozen=True)
class Measured:
    """The value behind a finding.

    Attributes:
        low: lower end of its 95% interval over seeds; NaN where there is none.
        limit: the limit that it was compared with; NaN where none applies.
    """

    quantity: str
    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class Fix:
    """A change that was tried on draws of the model and measured."""

    change: str
    code: str
    before: Measured
    after: Measured
    solved: bool


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that could not be judged.

    Attributes:
        layer: path of the first offending layer in order of execution, or of the offending weight; empty for the whole.
        measured: the value with its interval and limit; None where there is none.
        fix: a change that was tried and helped; None where none was tried or none helped.
    """

    code: str
    layer: str
    message: str
    measured: Measured | None = None
    layers: tuple[str, ...] = ()
    fix: Fix | None = None

    @property
    def rule(self) -> Rule:
        """The rule that it is a finding of."""
        from initcheck.audit.rules import RULES  # the rules make findings, and import this module

        return RULES[self.code]

    @property
    def name(self) -> str:
        """The name of its rule, such as ``vanishing-activations``."""
        return self.rule.name

    @property
    def severity(self) -> Severity:
        """Whether something is wrong, or could not be judged."""
        return self.rule.severity

    @property
    def named(self) -> tuple[str, ...]:
        """The layers or weights that it is about: all, or the first one where no others are listed."""
        return self.layers or (self.layer,)

    def with_fix(self, fix: Fix) -> Finding:
        """Return the same finding with a fix."""
        return replace(self, fix=fix)


def waive_layers(findings: Iterable[Finding], patterns: Sequence[str]) -> tuple[Finding, ...]:
    """Leave out findings all of whose layers are waived."""

    def is_waived(layer: str) -> bool:
        return any(fnmatchcase(layer, each) or fnmatchcase(layer, f"{each}/*") for each in patterns)

    kept = []
    for finding in findings:
        remaining = tuple(layer for layer in finding.named if not is_waived(layer))
        if remaining:
            first = finding.layer if not is_waived(finding.layer) else remaining[0]
            kept.append(replace(finding, layer=first, layers=remaining) if finding.layers else finding)
    return tuple(kept)
