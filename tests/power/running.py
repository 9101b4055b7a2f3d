"""All planted defects, and claims, picked by patterns and judged with or without one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import planted_fans
import planted_fixed
import planted_forward
import planted_layers
import planted_seeds
import planted_settings
import planted_values
from planting import Planted

from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import Claim, Outcome, RunContext
from initcheck.spec.order import listing_key

DEFECTS: Final[tuple[Planted, ...]] = (
    *planted_values.DEFECTS,
    *planted_seeds.DEFECTS,
    *planted_fans.DEFECTS,
    *planted_settings.DEFECTS,
    *planted_fixed.DEFECTS,
    *planted_layers.DEFECTS,
    *planted_forward.DEFECTS,
)


@dataclass(frozen=True)
class Judged:
    """One claim with and without a defect.

    Attributes:
        claim: the claim.
        before: its outcome in the Keras that is installed.
        after: its outcome with the defect.
    """

    claim: Claim
    before: Outcome
    after: Outcome

    @property
    def caught(self) -> bool:
        """Whether the defect, and nothing else, gave the claim another status: red, or changed where it is pinned."""
        return self.before.green and self.after.status != self.before.status

    @property
    def red(self) -> bool:
        """Whether the defect made it one of the claims that are listed as red."""
        return self.before.green and not self.after.green


def first_listed(judged: Iterable[Judged]) -> Judged | None:
    """Give the claim that the terminal names first of those that a defect turned red; None where there is none."""
    red = [each for each in judged if each.red]
    return min(red, key=lambda each: listing_key(each.claim.id, each.after.status), default=None)


def pick(patterns: Iterable[str], *, slow: bool = True) -> list[Claim]:
    """List the claims whose ids match one of the patterns, in the catalogue's order."""
    wanted = tuple(patterns)
    return [
        claim
        for claim in catalogue()
        if (slow or not claim.slow) and any(fnmatchcase(claim.id, pattern) for pattern in wanted)
    ]


def wider(planted: Planted) -> list[Claim]:
    """List the claims whose subject a defect concerns, in every topic, besides those that have to catch it.

    Where that is VarianceScaling, those on what it counts of a shape too. Of several subjects that one pattern stands
    for, it is all claims of the first. Left out are the slow ones, and of deep networks, which take seconds and are
    listed last, those not named.
    """
    named = (*planted.caught_by, *planted.spared, *(each for each in planted.named_first if ".*." not in each))
    subjects = set().union(*(_subjects(pattern) for pattern in (*planted.caught_by, *planted.named_first)))
    if any(subject.startswith("variance_scaling") for subject in subjects):
        subjects.add("computation")
    costly = ("forward.*_gain", "forward.*_law", "forward.*_isometry", "backward.*", "training.*")
    return [
        claim
        for claim in catalogue()
        if any(fnmatchcase(claim.id, pattern) for pattern in named)
        or (
            claim.id.split(".")[1] in subjects
            and not claim.slow
            and not any(fnmatchcase(claim.id, pattern) for pattern in costly)
        )
    ]


def _subjects(pattern: str) -> set[str]:
    """Give the subject that a pattern of ids is about, of several the first; none where it is about all."""
    subject = pattern.split(".")[1]
    found = (claim.id.split(".")[1] for claim in catalogue() if fnmatchcase(claim.id, pattern))
    return set() if subject == "*" else {next(found)}


def names(planted: Planted, claim: Claim) -> bool:
    """Say whether a claim is one of those that say what was planted."""
    return any(fnmatchcase(claim.id, pattern) for pattern in planted.names)


class Baseline:
    """The outcomes without a defect, each found once."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._outcomes: dict[str, Outcome] = {}
        self._context = RunContext(seed)

    def outcome(self, claim: Claim) -> Outcome:
        if claim.id not in self._outcomes:
            self._outcomes[claim.id] = self._context.judge(claim, with_control=False)
        return self._outcomes[claim.id]


def judge_planted(planted: Planted, claims: Iterable[Claim], baseline: Baseline) -> list[Judged]:
    """Judge claims with a defect planted, each compared with its outcome without.

    Args:
        planted: the defect.
        claims: the claims.
        baseline: the outcomes without defects.
    """
    listed = sorted(claims, key=lambda claim: claim.group)  # which share what they draw
    before = [baseline.outcome(claim) for claim in listed]
    context = RunContext(baseline.seed)
    with planted.plant():
        after = [context.judge(claim, with_control=False) for claim in listed]
    return [Judged(*each) for each in zip(listed, before, after, strict=True)]


def judge_wider(planted: Planted, baseline: Baseline) -> list[Judged]:
    """Judge the claims that :func:`wider` lists, with a defect planted.

    What takes many draws, and is not named with the defect, is judged only as far as it would be listed before all that
    is red without it.
    """
    claims = wider(planted)
    needed = [claim for claim in claims if not claim.id.startswith("distribution.") or _is_named(claim, planted)]
    judged = judge_planted(planted, needed, baseline)
    first = first_listed(judged)
    last = listing_key(first.claim.id, first.after.status) if first else None
    further = [claim for claim in claims if claim not in needed]
    return judged + judge_planted(
        planted, [claim for claim in further if last is None or listing_key(claim.id, "broken") < last], baseline
    )


def _is_named(claim: Claim, planted: Planted) -> bool:
    patterns = (*planted.caught_by, *planted.spared, *planted.named_first)
    return any(fnmatchcase(claim.id, pattern) for pattern in patterns)
