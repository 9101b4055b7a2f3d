"""The error rates of the specification, in one place.

A *false alarm* is a claim that is true and does not pass (or, of a claim that is documented and false, one that is
still false and is not refuted). A *miss* is a claim that is off by its margin or more and passes.
"""

from __future__ import annotations

from typing import Final

SPECIFICATION_FALSE_ALARM: Final = 1e-3
"""Of the whole specification, run once with fresh seeds: the sum over its claims stays below this."""

CLAIM_FALSE_ALARM: Final = 1e-6
"""Of one statistical claim, over all its members. Sample sizes and levels follow from it."""

MISS_RATE: Final = 1e-3
"""Level of the equivalence tests: a claim that is off by its margin passes at most this often."""

POWER: Final = 0.999
"""Probability at which the deviation that a claim detects is stated."""
