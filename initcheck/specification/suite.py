"""Claims as a parametrized test of pytest.

A file of tests for one topic is two lines::

    from initcheck.specification.suite import claim_test
    test_claim = claim_test("distribution")
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from initcheck.claims.base import Claim, Outcome
from initcheck.claims.catalogue import catalogue


def claim_test(topic: str | None = None) -> Callable[..., None]:
    """Make the test of a topic's claims, one case a claim, named by its id. It needs the plugin of this package.

    Args:
        topic: a topic of the catalogue; None for all of them.

    Returns:
        The test function.

    Raises:
        UsageError: there is no such topic.
    """

    @pytest.mark.parametrize("claim", [_case(claim) for claim in catalogue(topic)])
    def test_claim(claim: Claim, judge_claim: Callable[[Claim], Outcome]) -> None:
        """Put the claim to the test."""
        outcome = judge_claim(claim)
        if not outcome.green:
            pytest.fail(f"{outcome.status}: {outcome.reason}", pytrace=False)

    return test_claim


def _case(claim: Claim) -> object:
    marks = [pytest.mark.claim(claim.id), *([pytest.mark.slow] if claim.slow else [])]
    return pytest.param(claim, id=claim.id, marks=marks)
