"""The order in which claims that did not come out as specified are listed: what is listed first explains what follows.

A fault seldom turns one claim alone red. Weights with the wrong variance change the signal of every network, and an
initializer that ignores its seed has other values after each copy; but no network changes the variance of weights.
The claims are therefore sorted into stages, so that a fault of one stage turns claims of later stages red and leaves
those of earlier ones alone. Three things make that so: exact comparisons of an initializer with itself, which hold
whatever it draws, come before what is measured of its values; independence goes by ranks, which a wrong variance or
distribution leaves as they are, and comes before moments, which dependent entries disturb; and layers come after
initializers, deep networks and training last.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from initcheck.spec.catalogue import catalogue
from initcheck.spec.claim import Status
from initcheck.spec.records import AMISS, ClaimRecord

STAGES: Final[tuple[tuple[str, ...], ...]] = (
    # NaN and infinity disturb every comparison.
    ("distribution.*.finite",),
    # Functions without weights.
    ("forward.*.values", "forward.*.small_inputs", "forward.*.tiny_inputs", "forward.dropout.moments"),
    # What is equal and what is not, bit for bit.
    ("dtype.*.returned",),
    ("determinism.*.seed_repeats", "determinism.*.unseeded_repeats"),
    ("determinism.*.draws_differ", "determinism.*.streams_are_no_shifts", "determinism.unseeded.seldom_coincide"),
    ("determinism.*.seed_types", "determinism.*.python_random_state", "determinism.*_seed.build_repeats"),
    # Configurations, defaults and names, and what is refused.
    ("determinism.*.config_*",),
    ("determinism.*.defaults",),
    ("determinism.*.alias*_raises", "determinism.*.aliases"),
    (
        "distribution.*.two_dimensions*",
        "distribution.*.scalars_only",
        "distribution.keras.*",
        "layer_defaults.catalogue.*",
        "determinism.custom_*",
        "dtype.*.any_float",
    ),
    # How modes and shapes are counted, whatever the scale.
    ("fans.computation.modes",),
    ("fans.computation.*",),
    ("dtype.*.resolution",),
    # The values of initializers: those without chance, dependence of entries, moments, the rest of the distribution.
    ("distribution.*.values", "distribution.*.orthonormal"),
    ("distribution.*.independence_*",),
    ("distribution.*.mean",),
    ("distribution.*.variance", "distribution.*_is_the_standard_deviation"),
    ("distribution.*.distribution",),
    ("distribution.*.support",),
    ("distribution.*",),
    # Between draws; the distribution of orthogonal matrices comes before.
    (
        "determinism.*.clone",
        "determinism.*_independent",
        "determinism.*_differ",
        "determinism.*_differs",
        "determinism.*.seed_*",
    ),
    ("dtype.*",),
    ("determinism.*.arguments",),
    ("determinism.*",),
    # Layers: their own rules, what they do with an initializer, and then their defaults.
    ("layer_defaults.*.unit_forget_bias*", "layer_defaults.*.gate_order"),
    ("layer_defaults.*_is_used",),
    ("fans.*.glorot_*", "fans.*.he_*", "fans.*.lecun_*", "fans.*_orthogonal"),
    ("layer_defaults.*",),
    ("fans.*",),
    # Networks.
    ("forward.*",),
    ("backward.*",),
    ("symmetry.*",),
    ("training.*", "notebook.*"),
)
"""Patterns of claims' ids (as in ``fnmatch``); a claim belongs to the first stage that has a pattern for it."""

RED: Final[tuple[Status, ...]] = ("broken", "now holds")
"""What a fault of Keras makes of a claim, as against what shows nothing."""


def stage_of(claim_id: str) -> int:
    """Give the number of a claim's stage; what the stages do not know comes last."""
    for number, patterns in enumerate(STAGES):
        if any(fnmatchcase(claim_id, pattern) for pattern in patterns):
            return number
    return len(STAGES)


@cache
def _places() -> dict[str, int]:
    return {claim.id: place for place, claim in enumerate(catalogue())}


def listing_key(claim_id: str, status: Status) -> tuple[int, int, int]:
    """Give the key that sorts claims that are amiss: what is red first, by stages and then as in the catalogue."""
    group = 0 if status in RED else AMISS.index(status)
    return group, stage_of(claim_id), _places().get(claim_id, len(_places()))


def list_amiss(records: Iterable[ClaimRecord]) -> list[ClaimRecord]:
    """List what did not come out as specified, or has changed, what explains the rest first."""
    amiss = (record for record in records if record.status in AMISS)
    return sorted(amiss, key=lambda record: listing_key(record.id, record.status))
