"""How long a run of the specification will take, by what its claims took on a reference machine."""

from __future__ import annotations

import csv
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from initcheck.core.forecast import TimeLeft
from initcheck.core.formatting import Progress, count, format_duration
from initcheck.spec.claim import Claim

RECORDED: Final = Path(__file__).with_name("recorded_seconds.csv")
"""Processor time of the claims of a complete run, by subject and mark; ``tests/spec/record_seconds.py`` writes it."""
_START_SECONDS: Final = 8.0
"""Loading Keras, TensorFlow and what the experiments use."""


@dataclass(frozen=True)
class Recorded:
    """What the claims of one subject with one mark took: how many they are, all of them, and the longest."""

    claims: int
    seconds: float
    longest: float


@cache
def read_recorded() -> dict[tuple[str, str], Recorded]:
    """Read what was recorded, by subject (``topic.subject``) and mark (``fast`` or ``slow``)."""
    with RECORDED.open(encoding="utf-8", newline="") as file:
        return {
            (row["subject"], row["mark"]): Recorded(int(row["claims"]), float(row["seconds"]), float(row["longest"]))
            for row in csv.DictReader(file)
        }


@cache
def _mean_of(topic: str, mark: str) -> float:
    found = [each for (subject, of), each in read_recorded().items() if of == mark and _topic_of(subject) == topic]
    claims = sum(each.claims for each in found)
    return math.fsum(each.seconds for each in found) / claims if claims else 0.1


def _topic_of(subject: str) -> str:
    return subject.partition(".")[0]


def estimate_seconds(claim: Claim) -> float:
    """Estimate the time of a claim: the mean of its subject and mark, or of its topic for a subject that is new."""
    subject = ".".join(claim.id.split(".")[:2])
    recorded = read_recorded().get((subject, claim.mark))
    return _mean_of(claim.topic, claim.mark) if recorded is None else recorded.seconds / recorded.claims


def group_claims(claims: Sequence[Claim]) -> list[list[Claim]]:
    """List the groups of claims, those that take longest first; in each, claims stay in their order."""
    groups: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        groups[claim.group].append(claim)
    return sorted(groups.values(), key=lambda group: -math.fsum(map(estimate_seconds, group)))


@dataclass(frozen=True)
class SpecificationForecast:
    """What a run of the specification will take."""

    claims: int
    workers: int
    seconds: float

    @property
    def text(self) -> str:
        """The forecast for a terminal."""
        where = f" in {count(self.workers, 'process', 'processes')}"
        return f"{count(self.claims, 'claim')}{where}: about {format_duration(self.seconds)}."


def forecast_specification(claims: Sequence[Claim], workers: int, slowdown: float) -> SpecificationForecast:
    """Forecast a run of some claims on a machine that takes so many times as long as the reference machine."""
    # Whoever is free first takes the next group, as the workers do.
    ends = [0.0] * workers
    for group in group_claims(claims):
        heapq.heapreplace(ends, ends[0] + math.fsum(map(estimate_seconds, group)))
    return SpecificationForecast(len(claims), workers, (_START_SECONDS + max(ends)) * slowdown)


def follow_claims(claims: Sequence[Claim], progress: Progress, left: TimeLeft) -> Progress:
    """Make the function that passes on the progress of a run and notes what is done."""
    needed = {claim.id: estimate_seconds(claim) for claim in claims}
    start = _START_SECONDS * left.workers
    left.begin(start + math.fsum(needed.values()))
    known: Counter[str] = Counter()

    def follow(done: int, total: int, what: str) -> None:
        if done > known["done"]:
            left.finish(needed[what] + (0.0 if known["done"] else start))
            known["done"] = done
        progress(done, total, what)

    return follow
