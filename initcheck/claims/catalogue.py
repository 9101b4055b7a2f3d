"""All claims, in the order of their topics."""

from __future__ import annotations

import importlib
from collections import Counter
from functools import cache
from typing import Final

from initcheck.claims.base import Claim
from initcheck.errors import name_unknown

TOPICS: Final = (
    "distribution",
    "fans",
    "layer_defaults",
    "determinism",
    "dtype",
    "forward",
    "backward",
    "symmetry",
    "training",
    "notebook",
)
"""The topics, each a module of this package with a function ``claims``."""


@cache
def catalogue(topic: str | None = None) -> tuple[Claim, ...]:
    """List the claims; neither Keras nor its backend is imported.

    Args:
        topic: one of :data:`TOPICS`; None for all of them.

    Returns:
        The claims, each with an id of its own.

    Raises:
        UsageError: there is no such topic.
    """
    if topic is None:
        listed = tuple(claim for each in TOPICS for claim in catalogue(each))
    elif topic in TOPICS:
        listed = tuple(importlib.import_module(f"initcheck.claims.{topic}").claims())
    else:
        raise name_unknown("topic", topic, TOPICS)
    repeated = [name for name, count in Counter(claim.id for claim in listed).items() if count > 1]
    if repeated:
        raise AssertionError(f"Two claims share an id: {repeated}")
    return listed


def find_claim(claim_id: str) -> Claim:
    """Find a claim by its id.

    Raises:
        UsageError: there is no such claim.
    """
    by_id = {claim.id: claim for claim in catalogue()}
    if claim_id not in by_id:
        raise name_unknown("claim", claim_id, by_id)
    return by_id[claim_id]
