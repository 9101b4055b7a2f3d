"""Under which conditions a model was measured: what has to be the same for two measurements to be compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conditions:
    """The conditions of a measurement, apart from the libraries.

    Attributes:
        batch: the batch in words.
        batch_digest: SHA-256 over dtypes, shapes and values of the batch and its labels.
        loss: the loss in words.
        dtype_policy: name of the model's dtype policy.
    """

    batch: str
    batch_digest: str
    loss: str
    dtype_policy: str
