"""Findings: what is wrong with a model, where, by how much, and what would mend it.

Every finding bears a code of :mod:`initcheck.audit.rules`. A finding is either *wrong*, which makes ``initcheck check``
exit with 1, or *unjudged*: something that could not be measured or decided, which makes it exit with 2. Neither is
ever silently green.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

from initcheck.audit.rules import RULES

Severity = Literal["wrong", "unjudged"]

UNJUDGED_CODES: Final = frozenset({"IC601", "IC603"})


@dataclass(frozen=True)
class Measured:
    """The figure behind a finding.

    Attributes:
        quantity: what was measured, in words.
        value: the mean over seeds, or the figure itself where seeds do not come into it.
        low: lower end of its 95 % interval over seeds; NaN where there is none.
        high: upper end.
        limit: the limit that it was held against; NaN where none applies.
        seeds: how many seeds; 1 for weights measured as they are, 0 for what needs no measurement.
    """

    quantity: str
    value: float
    low: float = math.nan
    high: float = math.nan
    limit: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class Remedy:
    """A change that was tried on a copy of the model, and what it did.

    Attributes:
        change: what to change, in words.
        code: the code to write.
        before: the figure of the finding before the change.
        after: the same figure after it.
        solved: whether the finding is gone after it.
    """

    change: str
    code: str
    before: Measured
    after: Measured
    solved: bool


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that could not be judged.

    Attributes:
        code: such as ``IC101``.
        layer: path of the first offending layer in order of execution, or of the offending weight; empty for the whole.
        message: what is wrong there, in one sentence that holds the figure.
        measured: the figure with its interval and limit; None where there is no figure.
        layers: all layers or weights that it holds for, the first one included.
        remedy: a change that was tried and helped; None where none was tried or none helped.
    """

    code: str
    layer: str
    message: str
    measured: Measured | None = None
    layers: tuple[str, ...] = ()
    remedy: Remedy | None = None

    @property
    def name(self) -> str:
        """The name of its rule, such as ``vanishing-activations``."""
        return RULES[self.code].name

    @property
    def severity(self) -> Severity:
        """Whether something is wrong, or could not be judged."""
        return "unjudged" if self.code in UNJUDGED_CODES else "wrong"

    def with_remedy(self, remedy: Remedy) -> Finding:
        """Return the same finding with a remedy."""
        return replace(self, remedy=remedy)


def rank_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put the worst first: by the rank of the rule, then by code."""
    return tuple(sorted(findings, key=lambda each: (RULES[each.code].rank, each.code)))


def select_findings(
    findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Keep the findings that are asked for, as ruff does: the longest prefix of a code or name that fits decides.

    Args:
        findings: the findings.
        select: prefixes of codes (``IC1``), or names; empty selects all.
        ignore: likewise, of what is left out.
    """

    def longest(prefixes: Sequence[str], finding: Finding) -> int:
        fitting = [each for each in prefixes if matches_rule(each, finding.code)]
        whole = len(finding.code)
        return max((len(each) if finding.code.startswith(each) else whole for each in fitting), default=-1)

    return tuple(
        finding for finding in findings if (longest(select, finding) if select else 0) > longest(ignore, finding)
    )


def waive_layers(findings: Iterable[Finding], patterns: Sequence[str]) -> tuple[Finding, ...]:
    """Leave out findings all of whose layers are waived.

    Args:
        findings: the findings.
        patterns: paths of layers or weights, with the wildcards of ``fnmatch``; a layer's path stands for all in it.
    """

    def waived(layer: str) -> bool:
        return any(fnmatchcase(layer, each) or fnmatchcase(layer, f"{each}/*") for each in patterns)

    kept = []
    for finding in findings:
        layers = finding.layers or (finding.layer,)
        remaining = tuple(layer for layer in layers if not waived(layer))
        if remaining:
            first = finding.layer if not waived(finding.layer) else remaining[0]
            kept.append(replace(finding, layer=first, layers=remaining) if finding.layers else finding)
    return tuple(kept)


def matches_rule(prefix: str, code: str) -> bool:
    """Tell whether a prefix of codes, or a name, means a rule."""
    return bool(prefix) and (code.startswith(prefix) or RULES[code].name == prefix)
