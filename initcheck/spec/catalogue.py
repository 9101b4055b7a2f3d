"""All claims, in the order of their topics."""

from __future__ import annotations

import importlib
from collections import Counter
from functools import cache
from typing import Final

from initcheck.core.errors import name_unknown
from initcheck.spec.claim import Claim

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
"""Each is a module of ``initcheck.spec.topics`` with a function ``claims``."""


@cache
def catalogue(topic: str | None = None) -> tuple[Claim, ...]:
    """List the claims of a topic, or of all, each with its own id; neither Keras nor its backend is imported."""
    if topic is None:
        listed = tuple(claim for each in TOPICS for claim in catalogue(each))
    elif topic in TOPICS:
        listed = tuple(importlib.import_module(f"initcheck.spec.topics.{topic}").claims())
    else:
        raise name_unknown("topic", topic, TOPICS)
    repeated = [name for name, count in Counter(claim.id for claim in listed).items() if count > 1]
    if repeated:
        raise AssertionError(f"Two claims share an id: {repeated}")
    return listed


def find_claim(claim_id: str) -> Claim:
    """Find a claim by its id."""
    by_id = {claim.id: claim for claim in catalogue()}
    if claim_id not in by_id:
        raise name_unknown("claim", claim_id, by_id)
    return by_id[claim_id]
