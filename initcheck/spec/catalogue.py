"""All claims, in the order of their topics: those of the installed Keras on its backend, and those not there in it."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final

from initcheck.backend.runtime import backend_name
from initcheck.core.errors import name_unknown
from initcheck.spec.claim import Claim
from initcheck.spec.versions import installed_keras

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
def catalogue(topic: str | None = None, keras: str = "", backend: str = "") -> tuple[Claim, ...]:
    """List the claims of a topic, or of all, each with its own id; neither Keras nor its backend is imported.

    Args:
        topic: one of ``TOPICS``; None for all.
        keras: the version whose claims are listed; empty for the installed one.
        backend: the backend whose claims are listed; empty for the one that Keras runs on.
    """
    setup = (keras or installed_keras(), backend or backend_name())
    listed = tuple(claim for claim in _of_all_setups(topic) if claim.is_about(*setup))
    repeated = [name for name, count in Counter(claim.id for claim in listed).items() if count > 1]
    if repeated:
        raise AssertionError(f"Two claims share an id: {repeated}")
    return listed


def claims_not_there(topic: str | None = None, keras: str = "", backend: str = "") -> tuple[Claim, ...]:
    """List a claim of each id that is about other versions or backends alone; arguments as :func:`catalogue`."""
    listed = {claim.id for claim in catalogue(topic, keras, backend)}
    return tuple({claim.id: claim for claim in _of_all_setups(topic) if claim.id not in listed}.values())


def _of_all_setups(topic: str | None) -> Iterator[Claim]:
    if topic is not None and topic not in TOPICS:
        raise name_unknown("topic", topic, TOPICS)
    for each in TOPICS if topic is None else (topic,):
        yield from importlib.import_module(f"initcheck.spec.topics.{each}").claims()


def find_claim(claim_id: str) -> Claim:
    """Find a claim by its id, that of the installed Keras if there is one."""
    by_id = {claim.id: claim for claim in (*claims_not_there(), *catalogue())}
    if claim_id not in by_id:
        raise name_unknown("claim", claim_id, by_id)
    return by_id[claim_id]
