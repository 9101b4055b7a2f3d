"""Which weights ``assert_independent_weights`` cannot judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np

from initcheck.backend.runtime import import_keras
from initcheck.probe.weight_copies import FEWEST
from initcheck.probe.weights import WeightFacts

_FEWEST_VALUES: Final = 8
"""Different values among the first entries from which on two weights are compared, as in ``probe.weight_copies``."""


def find_incomparable(model: Any, facts: Sequence[WeightFacts], waive: Sequence[str] = ()) -> list[str]:
    """List the weights that may be copies of others, and could not be compared with them.

    Weights whose initializer leaves nothing to chance, constants, vectors (the bias of an LSTM holds ones and zeros)
    and weights of fewer than 16 entries are alike on purpose, and not among them.
    """
    return [
        reason
        for each, variable in zip(facts, model.weights, strict=True)
        if not any(fnmatchcase(each.path, pattern) or fnmatchcase(each.path, f"{pattern}/*") for pattern in waive)
        for reason in _explain(each, variable)
    ]


def _explain(facts: WeightFacts, variable: Any) -> Iterator[str]:
    if "float" not in facts.dtype:
        return
    held = np.asarray(import_keras().ops.convert_to_numpy(variable.value)).astype(np.float64)
    if not np.isfinite(held).all():
        yield f"{facts.path}: it holds values that are not finite."
    elif held.ndim > 1 and math.prod(facts.shape) >= FEWEST and not facts.constant and len(np.unique(held)) > 1:
        values = len(np.unique(held.reshape(-1)[:FEWEST]))
        if values < _FEWEST_VALUES:
            yield f"{facts.path}: its first {FEWEST} entries have {values} different values, too few to tell copies."
