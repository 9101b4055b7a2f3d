"""What a test has measured, as plain data: it crosses processes, and becomes the closing table and JUnit properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initcheck.diagnosis.report import Report


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes:
        subject: what the table calls it: the id of the test, or the model of tests without code.
        call: what was asked: ``check``, ``gate``, ``assert_preserves``...
        verdict: what came out, in a word or two.
        failed: whether the test fails for it.
        model: the model's name; empty where there is none.
        calls: measured layer calls.
        weights: weights.
        seeds: draws.
        same: figures that are shown to be the same as in the baseline.
        changed: figures that are shown to have changed.
        inconclusive: figures of which neither is shown.
        baseline: the baseline's file; empty without one.
        margin: of the comparison with the baseline; None without one.
        gate: the verdict of the gate; empty without one.
        findings: code, name and layer of each finding.
        keras: version of Keras; empty where nothing was measured.
        message: what the test fails with.
        markdown: the same for the page of a pull request.
        part: which tests of a model without code it belongs to; empty for a test's own.
    """

    subject: str
    call: str
    verdict: str
    failed: bool
    model: str = ""
    calls: int = 0
    weights: int = 0
    seeds: int = 0
    same: int = 0
    changed: int = 0
    inconclusive: int = 0
    baseline: str = ""
    margin: float | None = None
    gate: str = ""
    findings: tuple[str, ...] = ()
    keras: str = ""
    message: str = ""
    markdown: str = ""
    part: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Give the record as a dictionary of Python's own types, which any worker process can send."""
        return {**asdict(self), "findings": list(self.findings)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Record:
        """Read what :meth:`to_plain` gave."""
        return cls(**{**plain, "findings": tuple(plain["findings"])})

    def properties(self) -> list[tuple[str, str]]:
        """List what the JUnit file keeps, as text."""
        told = [
            ("model", self.model),
            ("verdict", self.verdict),
            ("margin", "" if self.margin is None else f"{self.margin:g}"),
            ("seeds", str(self.seeds or "")),
            ("findings", "; ".join(self.findings) or ("none" if self.seeds else "")),
            ("gate", self.gate),
            ("baseline", self.baseline),
            ("keras", self.keras),
        ]
        return [(f"initcheck_{name}", text) for name, text in told if text]


def describe_report(report: Report) -> dict[str, Any]:
    """Take from a report the fields of a record that every measurement has."""
    examination, comparison = report.examination, report.comparison
    fields: dict[str, Any] = {
        "model": str(examination.model),
        "calls": int(examination.coverage.calls),
        "weights": int(examination.coverage.weights),
        "seeds": len(examination.seeds),
        "findings": tuple(f"{each.code} {each.name} {each.layer}".rstrip() for each in examination.findings),
        "keras": str(examination.versions.get("keras", "")),
        "baseline": report.baseline,
    }
    if comparison is not None:
        fields |= {name: len(comparison.of_verdict(name)) for name in ("same", "changed", "inconclusive")}
        fields |= {"margin": float(comparison.margin), "gate": str(comparison.verdict)}
    return fields
