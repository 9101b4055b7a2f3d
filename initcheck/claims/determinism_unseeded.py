"""The claim that initializers without a seed draw theirs from many, not from a few."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from initcheck.claims.base import Claim
from initcheck.claims.decisions import AllWithin
from initcheck.claims.sampling import to_numpy
from initcheck.keras_runtime import import_keras

if TYPE_CHECKING:
    from pandas import DataFrame

    from initcheck.claims.laboratory import Laboratory

_CLASSES: Final = ("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal")
_INSTANCES: Final = 200


@dataclass(frozen=True)
class Coincidences:
    """How many of several instances without a seed give the values of an earlier one.

    Keras draws a seed from a thousand million. Of 200 instances two share one with probability 2e-5, and twice that
    happens with probability 2e-10 in a class; one coincidence is allowed. Among a thousand seeds there would be
    twenty, and one or none with probability 5e-8.

    Attributes:
        seeds: for a control, the number of seeds that instances are given at random; None for Keras' own choice.
    """

    seeds: int | None = None

    def measure(self, laboratory: Laboratory) -> DataFrame:
        """Measure; see :class:`~initcheck.claims.decisions.AllWithin` for the columns."""
        import pandas as pd

        initializers = import_keras().initializers
        # Keras draws from Python's state, which the laboratory restores afterwards.
        random.seed(laboratory.seed("determinism/unseeded"))
        chance = np.random.default_rng(laboratory.seed("determinism/few seeds"))
        rows = []
        for name in _CLASSES:
            found: Counter[bytes] = Counter()
            for _ in range(_INSTANCES):
                arguments: dict[str, Any] = {} if self.seeds is None else {"seed": int(chance.integers(self.seeds))}
                found[to_numpy(getattr(initializers, name)(**arguments)((2, 3))).tobytes()] += 1
            rows.append((name, float(_INSTANCES - len(found)), 1.0, _INSTANCES))
        return pd.DataFrame(rows, columns=["member", "deviation", "limit", "count"])


def unseeded_claims() -> list[Claim]:
    """List the claims."""
    return [
        Claim(
            id="determinism.unseeded.seldom_coincide",
            statement="Initializers without a seed draw one from so many that hundreds of instances all differ.",
            source="Keras, keras.random.SeedGenerator: without a seed, a random one",
            condition=f"{_INSTANCES} instances of {', '.join(_CLASSES)}; one coincidence of a class is allowed",
            experiment=Coincidences(),
            decide=AllWithin("instances that repeat an earlier one", "instances"),
            control=Coincidences(seeds=1000),
            control_note="a thousand seeds to choose from",
            false_alarm=1e-9,  # five classes, 2e-10 each
            rows=("C1", "C3"),
        )
    ]
