"""The rules of ``initcheck check``: all findings, and how they are ranked and selected.

A rule is one place: a :class:`initcheck.audit.findings.Rule` in the module of its family. From this registry derive
``initcheck explain``, ``--select`` and ``--ignore``, ``docs/findings.md``, the check and its fixes, the report's
figure, Pytest's plugin and the gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from initcheck.audit.findings import Finding, ModelMeasurement, Rule, is_waived
from initcheck.audit.rules import signal, sites, sizes, time, weights
from initcheck.core.columns import Direction

FAMILIES: Final = {
    "IC1": "forward signal",
    "IC2": "gradients",
    "IC3": "weights and units",
    "IC4": "fans",
    "IC5": "numerical range",
    "IC6": "coverage",
}
"""Families of findings by the start of their codes."""

RULES: Final[dict[str, Rule]] = {
    rule.code: rule
    for rule in (
        sites.NON_FINITE,
        sites.NON_FINITE_GRADIENT,
        signal.VANISHING_ACTIVATIONS,
        signal.EXPLODING_ACTIVATIONS,
        signal.VANISHING_GRADIENTS,
        signal.EXPLODING_GRADIENTS,
        time.VANISHING_OVER_TIME,
        time.EXPLODING_OVER_TIME,
        sizes.UNBALANCED_SUM,
        signal.OUTLYING_LAYER,
        weights.ZERO_GRADIENTS,
        weights.SYMMETRIC_UNITS,
        weights.IDENTICAL_WEIGHTS,
        weights.UNUSED_WEIGHTS,
        sizes.LARGE_OUTPUTS,
        sizes.UNSCALED_INPUTS,
        sites.COLLAPSED_SAMPLES,
        sites.DEAD_UNITS,
        sites.SATURATED_UNITS,
        sites.ONE_HOT_SOFTMAX,
        weights.FAN_MISMATCH,
        sites.LOW_PRECISION_RANGE,
        sites.UNMEASURED,
        signal.UNDECIDED,
        weights.REPEATED_DRAWS,
    )
}
"""All rules by code, the worst first: findings are listed in this order."""


def find_findings(measurement: ModelMeasurement) -> tuple[Finding, ...]:
    """Let all rules judge a measured model; the worst findings come first."""
    return tuple(finding for rule in RULES.values() for finding in rule.find(measurement))


def select_findings(
    findings: Iterable[Finding], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Keep the findings that are asked for, as ruff does: the longest prefix of a code or name that fits decides."""

    def longest(prefixes: Sequence[str], finding: Finding) -> int:
        fitting = [each for each in prefixes if matches_rule(each, finding.code)]
        whole = len(finding.code)
        return max((len(each) if finding.code.startswith(each) else whole for each in fitting), default=-1)

    return tuple(
        finding for finding in findings if (longest(select, finding) if select else 0) > longest(ignore, finding)
    )


def find_unneeded(
    findings: Iterable[Finding], ignore: Sequence[str], waive: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """List what is to be ignored or waived though nothing of it is found, each with the name of its setting."""
    found = list(findings)
    names = {name for each in found for name in (each.layer, *each.named)}
    codes = {each.code for each in found}
    return (
        *(("ignore", str(each)) for each in ignore if not any(matches_rule(each, code) for code in codes)),
        *(("waive", str(each)) for each in waive if not any(is_waived(name, (each,)) for name in names)),
    )


def matches_rule(prefix: str, code: str) -> bool:
    """Find whether a prefix of codes, or a name, means a rule."""
    return bool(prefix) and (code.startswith(prefix) or RULES[code].name == prefix)


def direction_of_family(family: str) -> Direction | None:
    """Give the direction that all rules of a family are about; None where they are about several or none."""
    directions = {rule.directions for rule in RULES.values() if rule.family == family}
    return next(iter(directions))[0] if len(directions) == 1 and len(next(iter(directions))) == 1 else None
