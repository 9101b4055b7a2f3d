"""The rules behind the findings: what each code means, why it matters, an example that triggers it, and the way out.

``initcheck explain CODE`` and ``docs/findings.md`` are made from this table; the examples run in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from initcheck.audit import rule_texts as texts


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        code: the stable code, ``IC`` and three digits; the first digit is the family.
        name: the stable name.
        rank: what is told first: 0 is the worst.
        what: what the finding says, with the definition and the limit.
        why: why it matters.
        example: Python code that makes a ``model`` with this finding.
        fix: what to do.
        source: where the rule comes from (author, year).
    """

    code: str
    name: str
    rank: int
    what: str
    why: str
    example: str
    fix: str
    source: str


FAMILIES: Final = {
    "IC1": "forward signal",
    "IC2": "gradients",
    "IC3": "weights and units",
    "IC4": "fans",
    "IC5": "numerical range",
    "IC6": "coverage",
}
"""Families of findings by the start of their codes."""

_ORDER: Final = (
    ("IC501", "non-finite"),
    ("IC101", "vanishing-activations"),
    ("IC102", "exploding-activations"),
    ("IC201", "vanishing-gradients"),
    ("IC202", "exploding-gradients"),
    ("IC203", "zero-gradients"),
    ("IC302", "symmetric-units"),
    ("IC301", "identical-weights"),
    ("IC602", "unused-weights"),
    ("IC103", "collapsed-samples"),
    ("IC303", "dead-units"),
    ("IC304", "saturated-units"),
    ("IC401", "fan-mismatch"),
    ("IC502", "low-precision-range"),
    ("IC601", "unmeasured"),
    ("IC603", "undecided"),
)

RULES: Final = {
    code: Rule(code=code, name=name, rank=rank, **texts.TEXTS[code]) for rank, (code, name) in enumerate(_ORDER)
}
"""All rules by code."""
