"""What one run of the specification found, as plain data: it crosses processes, and becomes JSON and pages.

Nothing here knows Keras, pandas or pytest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from initcheck.core.formatting import to_json
from initcheck.spec.causes import CAUSES
from initcheck.spec.claim import GREEN, Evidence, Outcome, Status, Verdict
from initcheck.spec.versions import KerasVersions

SCHEMA_VERSION: Final = 1
AMISS: Final[tuple[Status, ...]] = ("broken", "now holds", "not shown", "inconclusive", "changed")
"""What is listed claim by claim, in the order of :mod:`initcheck.spec.order`."""
STATUSES: Final[tuple[Status, ...]] = ("holds", "refuted", *AMISS, "not there")


@dataclass(frozen=True)
class ClaimRecord:
    """A claim that was judged, without what it takes to judge it again: fields of ``Claim`` and ``Outcome``."""

    id: str
    statement: str
    source: str
    condition: str
    expected: str
    cause: str
    """Why it is known to be false, the slug of its cause; empty where it is expected to hold."""
    rows: tuple[str, ...]
    keras: KerasVersions
    backends: tuple[str, ...]
    false_alarm: float
    evidence: Evidence
    control_note: str
    control_verdict: str
    """Empty where the control was not run, as is the reason."""
    control_reason: str
    status: Status
    reason: str
    seconds: float

    @property
    def topic(self) -> str:
        """The first part of the id."""
        return self.id.split(".")[0]

    @property
    def subject(self) -> str:
        """The second part of the id: what the claim is about."""
        return self.id.split(".")[1]

    @property
    def green(self) -> bool:
        """Whether the claim came out as the specification expects."""
        return self.status in GREEN

    def to_plain(self) -> dict[str, Any]:
        """Give the record as dictionaries, tuples and Python's own numbers, which any worker process can send."""
        plain: dict[str, Any] = _purify(asdict(self))
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ClaimRecord:
        """Read what :meth:`to_plain` gave."""
        evidence = dict(plain["evidence"])
        evidence["verdict"] = Verdict(evidence["verdict"])
        evidence["bounds"] = tuple(evidence["bounds"])
        keras = KerasVersions(**plain["keras"])
        lists = {name: tuple(plain.get(name, ())) for name in ("rows", "backends")}
        return cls(**{**plain, **lists, "keras": keras, "evidence": Evidence(**evidence)})


@dataclass(frozen=True)
class PowerTable:
    """Which claims turn red when a defect is planted into Keras: the defect in the first column, one row a defect."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SpecificationRecord:
    """A run of the specification."""

    claims: tuple[ClaimRecord, ...]
    left_out: int
    seed: int
    command_line: str
    started: str
    duration_seconds: float
    versions: Mapping[str, str]


def make_record(outcome: Outcome) -> ClaimRecord:
    """Make the record of an outcome."""
    claim, control = outcome.claim, outcome.control
    return ClaimRecord(
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        condition=claim.condition,
        expected=claim.expected,
        cause=claim.cause.slug if claim.cause is not None and claim.expected == "refuted" else "",
        rows=claim.rows,
        keras=claim.keras,
        backends=claim.backends,
        false_alarm=claim.false_alarm,
        evidence=outcome.evidence,
        control_note=claim.control_note,
        control_verdict="" if control is None else str(control.verdict),
        control_reason="" if control is None else control.reason,
        status=outcome.status,
        reason=outcome.reason,
        seconds=outcome.seconds,
    )


def count_statuses(records: Sequence[ClaimRecord]) -> dict[Status, int]:
    """Count the claims of each status; none is missing."""
    counted = Counter(record.status for record in records)
    return {status: counted[status] for status in STATUSES}


def describe_counts(records: Sequence[ClaimRecord]) -> str:
    """Say how many claims have each status, in one line."""
    counted = count_statuses(records)
    words = {"refuted": "refuted as expected", "now holds": "now hold", "holds": "hold"}
    return ", ".join(f"{number} {words.get(status, status)}" for status, number in counted.items())


def specification_json(record: SpecificationRecord) -> str:
    """Write a run as JSON, whose fields ``spec_schema.json`` describes: NaN is null, infinity is "inf"."""
    causes = dict.fromkeys(claim.cause for claim in record.claims if claim.cause)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "seed": record.seed,
        "command_line": record.command_line,
        "started": record.started,
        "duration_seconds": record.duration_seconds,
        "versions": dict(record.versions),
        "left_out": record.left_out,
        "counts": count_statuses(record.claims),
        "causes": [CAUSES[cause] for cause in causes],
        "claims": [claim.to_plain() for claim in record.claims],
    }
    return to_json(facts)


def _purify(value: Any) -> Any:
    """Turn NumPy's numbers and enumerations into Python's own types: a worker of pytest-xdist can send no others."""
    if isinstance(value, dict):
        return {name: _purify(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_purify(each) for each in value)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    return int(value) if hasattr(value, "dtype") and value.dtype.kind in "iub" else float(value)
