"""One problem a cause: findings that say the same of one model, with what follows from it, are brought together.

Findings of one cause are one problem. Findings without a cause of their own are consequences of the worst problem that
can bring them about: what lies behind its layers on the way forward, and anything on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from initcheck.audit.findings import Cause, Finding, Fix, Severity
from initcheck.audit.paths import SiteNode

_FOLLOWING: Final = {
    "IC101": ("IC103", "IC203", "IC502", "IC603"),
    "IC102": ("IC103", "IC203", "IC303", "IC304", "IC501", "IC502", "IC603"),
    "IC103": ("IC603",),
    "IC201": ("IC103", "IC203", "IC502", "IC603"),
    "IC202": ("IC103", "IC502", "IC603"),
    "IC203": ("IC201",),
    "IC303": ("IC101", "IC103", "IC201", "IC203", "IC502", "IC603"),
    "IC304": ("IC103", "IC201", "IC203", "IC502", "IC603"),
    "IC501": ("IC102", "IC103", "IC202", "IC203", "IC303", "IC304", "IC502", "IC503", "IC603"),
    "IC602": ("IC203",),
}
"""By the code of a finding, those that may follow from it."""

_LEVELS: Final[tuple[Severity, ...]] = ("wrong", "unjudged", "note")


@dataclass(frozen=True)
class Problem:
    """What is wrong for one reason: the finding that says most, and what goes with it."""

    findings: tuple[Finding, ...]

    @property
    def main(self) -> Finding:
        """The finding that says most."""
        return self.findings[0]

    @property
    def level(self) -> Severity:
        """The worst severity among its findings."""
        return min((each.severity for each in self.findings), key=_LEVELS.index)

    @property
    def cause(self) -> Cause | None:
        """Why; None where that is not known."""
        return next((each.cause for each in self.findings if each.cause is not None), None)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers or weights that did it, else those that the main finding is about."""
        return self.main.named if self.cause is None else self.cause.layers

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its findings, each once."""
        return tuple(dict.fromkeys(each.code for each in self.findings))

    @property
    def fix(self) -> Fix | None:
        """The first fix among its findings that solves one, else the first that helps."""
        fixes = [each.fix for each in self.findings if each.fix is not None]
        return next((each for each in fixes if each.solved), fixes[0] if fixes else None)


def group_findings(findings: Sequence[Finding], nodes: Sequence[SiteNode]) -> tuple[Problem, ...]:
    """Bring findings together by cause, the worst problem first; their order within one is kept."""
    groups: list[list[Finding]] = []
    for finding in findings:
        if finding.cause is not None:
            same = [group for group in groups if any(_agree(finding, each) for each in group)]
            for other in same[1:]:
                groups.remove(other)
            if same:
                same[0] += [finding, *(each for other in same[1:] for each in other)]
                continue
        groups.append([finding])
    order = _order(nodes)
    for group in [each for each in groups if len(each) == 1 and each[0].cause is None]:
        if (before := _find_origin(group[0], groups, order)) is not None:
            groups.remove(group)
            before.append(group[0])
    problems = [Problem(tuple(group)) for group in groups]
    return tuple(sorted(problems, key=lambda each: _LEVELS.index(each.level)))


def _agree(one: Finding, other: Finding) -> bool:
    """Find whether two findings have one cause: of one kind, in layers of which some are the same."""
    first, second = one.cause, other.cause
    if first is None or second is None or first.kind != second.kind or one.note != other.note:
        return False
    return bool(_layers(first.layers) & _layers(second.layers))


def _layers(paths: Sequence[str]) -> set[str]:
    return {*paths, *(path.rpartition("/")[0] for path in paths)} - {""}


def _find_origin(finding: Finding, groups: list[list[Finding]], order: dict[str, int]) -> list[Finding] | None:
    for group in groups:
        main = group[0]
        if main is finding or finding.code not in _FOLLOWING.get(main.code, ()):
            continue
        if main.severity == "wrong" and finding.severity != "note" and _may_reach(group, finding, order):
            return group
    return None


def _may_reach(group: Sequence[Finding], finding: Finding, order: dict[str, int]) -> bool:
    """Find whether a finding lies where a problem acts: behind its first layer, or on the way back from there."""
    if finding.rule.directions != ("forward",):
        return True
    begins = [
        order[name]
        for each in group
        for name in _layers(each.cause.layers if each.cause else each.named)
        if name in order
    ]
    ends = [order[name] for name in _layers(finding.named) if name in order]
    return not begins or not ends or max(ends) >= min(begins)


def _order(nodes: Sequence[SiteNode]) -> dict[str, int]:
    order: dict[str, int] = {}
    for position, node in enumerate(nodes):
        order.setdefault(node.layer, position)
    return order
