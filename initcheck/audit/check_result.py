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
        batch: the batch in words.
        batch_digest: SHA-256 over dtypes, shapes and values of the batch and its labels.
        loss: the loss in words.
        dtype_policy: name of the model's dtype policy.
    """

    batch: str
    batch_digest: str
    loss: str
    dtype_policy: str


Verdict = Literal["healthy", "findings", "cannot judge"]

EXIT_CODES: Final[Mapping[Verdict, int]] = {"healthy": 0, "findings": 1, "cannot judge": 2}


@dataclass(frozen=True)
class CheckResult:
    """One checked model.

    Attributes:
        model: the model, as the user named it.
        findings: what was found, the worst first; waived and deselected ones are left out.
        waived: findings that were left out on request.
        coverage: what was measured.
        paths: the judged paths, forward and backward in turn, the main path first.
        nodes: the measured sites by position.
        table: the measurement table.
        weights: gradients of all weights: one row per seed and weight.
        facts: what is known of each weight without running the model.
        seeds: the seeds, one for each draw; a single one where the weights were kept.
        redrawn: whether weights were drawn anew; else they were measured as they are.
        conditions: the batch, the loss and the precision.
        limits: the limits.
        allow_inconclusive: whether what the seeds do not decide is let pass.
        versions: of initcheck and what it measures with.
        seconds: how long it took.
    """

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
