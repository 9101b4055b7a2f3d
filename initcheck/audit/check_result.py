"""The result of ``initcheck check``: what was measured of one model, what was found, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

# Types alone: a baseline, which keeps its conditions, is read and checked without pandas and SciPy.
if TYPE_CHECKING:
    import pandas as pd

    from initcheck.audit.findings import Finding
    from initcheck.audit.limits import Limits
    from initcheck.audit.paths import SiteNode
    from initcheck.audit.total_change import JudgedPath
    from initcheck.probe.coverage import Coverage
    from initcheck.probe.weights import WeightFacts


@dataclass(frozen=True)
class Conditions:
    """The conditions of a measurement, apart from the libraries.

    Attributes:
        batch_digest: SHA-256 over dtypes, shapes and values of the batch and its labels.
    """

    batch: str
    batch_digest: str
    loss: str
    dtype_policy: str


Verdict = Literal["healthy", "findings", "cannot judge"]

EXIT_CODES: Final[Mapping[Verdict, int]] = {"healthy": 0, "findings": 1, "cannot judge": 2}


@dataclass(frozen=True)
class CheckResult:
    """One checked model."""

    model: str
    findings: tuple[Finding, ...]
    waived: tuple[Finding, ...]
    coverage: Coverage
    paths: tuple[JudgedPath, ...]
    nodes: tuple[SiteNode, ...]
    table: pd.DataFrame = field(repr=False)
    weights: pd.DataFrame = field(repr=False)
    facts: tuple[WeightFacts, ...] = field(repr=False)
    seeds: tuple[int, ...]
    redrawn: bool
    conditions: Conditions
    limits: Limits
    allow_inconclusive: bool
    versions: Mapping[str, str]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """``findings`` if something is wrong; else ``cannot judge`` if something was not judged; else ``healthy``."""
        if any(finding.severity == "wrong" for finding in self.findings):
            return "findings"
        if any(not (self.allow_inconclusive and finding.rule.inconclusive) for finding in self.findings):
            return "cannot judge"
        return "healthy"

    @property
    def exit_code(self) -> int:
        """What a command exits with: 0, 1 or 2."""
        return EXIT_CODES[self.verdict]
